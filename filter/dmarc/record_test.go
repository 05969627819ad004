package dmarc

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var recordTests = []struct {
	why, in string
	want    string // the record as written by String, or an error
}{
	// What is a record at all.
	{"nothing but the version", "v=DMARC1", "v=DMARC1; p=none"},
	{"final separator", "v=DMARC1;", "v=DMARC1; p=none"},
	{"spaces around the version", " v\t= DMARC1 ; p=reject", "v=DMARC1; p=reject"},
	{"name of the version tag in capitals", "V=DMARC1; p=reject", "v=DMARC1; p=reject"},
	{"version in lower case", "v=dmarc1; p=reject", "not a DMARC record"},
	{"other version", "v=DMARC2; p=reject", "not a DMARC record"},
	{"longer version", "v=DMARC10; p=reject", "not a DMARC record"},
	{"version not first", "p=reject; v=DMARC1", "not a DMARC record"},
	{"separator before the version", ";v=DMARC1; p=reject", "not a DMARC record"},
	{"no separator after the version", "v=DMARC1 p=reject", "not a DMARC record"},
	{"other separator", "v=DMARC1, p=reject", "not a DMARC record"},
	{"SPF", "v=spf1 -all", "not a DMARC record"},
	{"empty", "", "not a DMARC record"},
	{"quotes of a zone file", `"v=DMARC1; p=reject"`, "not a DMARC record"},
	{"line end before it", "\r\nv=DMARC1; p=reject", "not a DMARC record"},

	// Policies.
	{"order is free", "v=DMARC1; np=reject; sp=quarantine; p=none", "v=DMARC1; p=none; sp=quarantine; np=reject"},
	{"capitals", "v=DMARC1; P=Reject; SP=QUARANTINE; nP=NONE", "v=DMARC1; p=reject; sp=quarantine; np=none"},
	{"tabs and spaces", "v=DMARC1;\tp \t=\t reject\t;", "v=DMARC1; p=reject"},
	{"no spaces", "v=DMARC1;p=reject;sp=none", "v=DMARC1; p=reject; sp=none"},
	{"no p", "v=DMARC1; sp=reject", "v=DMARC1; p=none; sp=reject"},
	{"bad p", "v=DMARC1; p=rejected", "v=DMARC1; p=?"},
	{"empty p", "v=DMARC1; p=", "v=DMARC1; p=?"},
	{"p with more behind it", "v=DMARC1; p=reject sp=none", "v=DMARC1; p=?"},
	{"p with a line end", "v=DMARC1; p=reject\n", "v=DMARC1; p=?"},
	{"bad p takes sp along", "v=DMARC1; p=x; sp=reject; np=reject", "v=DMARC1; p=?"},
	{"bad sp takes p along", "v=DMARC1; p=reject; sp=x; np=reject", "v=DMARC1; p=none; sp=?"},
	{"bad np takes p along", "v=DMARC1; p=reject; np=x", "v=DMARC1; p=none; np=?"},
	{"bad p with rua", "v=DMARC1; p=x; rua=mailto:a@b.example", "v=DMARC1; p=?; rua=mailto:a@b.example"},
	{"sign that is an s in lower case only", "v=DMARC1; p=reject; adkim=\u017f", "v=DMARC1; p=reject"},
	{"sign that is a k in lower case only", "v=DMARC1; p=reject; ad\u212aim=s", "v=DMARC1; p=reject"},

	// Other tags.
	{"all of them", "v=DMARC1; p=reject; sp=none; np=quarantine; psd=n; t=y; adkim=s; aspf=s; rua=mailto:a@b.example; ruf=mailto:c@d.example; fo=1:d:s",
		"v=DMARC1; p=reject; sp=none; np=quarantine; psd=n; t=y; adkim=s; aspf=s; rua=mailto:a@b.example; ruf=mailto:c@d.example; fo=1:d:s"},
	{"defaults", "v=DMARC1; p=reject; psd=u; t=n; adkim=r; aspf=r", "v=DMARC1; p=reject"},
	{"capitals", "v=DMARC1; p=reject; psd=Y; t=Y; adkim=S; aspf=S", "v=DMARC1; p=reject; psd=y; t=y; adkim=s; aspf=s"},
	{"bad values are defaults", "v=DMARC1; p=reject; psd=yes; t=1; adkim=strict; aspf=; fo=2", "v=DMARC1; p=reject"},
	{"unknown and removed tags", "v=DMARC1; p=reject; pct=0; rf=iodef; ri=0; x=y; 9=9", "v=DMARC1; p=reject"},
	{"unknown tags twice", "v=DMARC1; p=reject; pct=1; pct=2", "v=DMARC1; p=reject"},
	{"what is no tag", "v=DMARC1; p=reject; junk; =; ;; =x; t y", "v=DMARC1; p=reject"},
	{"value with an equals sign", "v=DMARC1; p=reject; x==; rua=https://h.example/?a=b", "v=DMARC1; p=reject; rua=https://h.example/?a=b"},
	{"fo without ruf", "v=DMARC1; p=none; fo=1", "v=DMARC1; p=none"},
	{"fo with a ruf that is none", "v=DMARC1; p=none; ruf=x; fo=1", "v=DMARC1; p=none"},
	{"bytes that are no text", "v=DMARC1; p=reject; x=\xff\x00; t=y\x00", "v=DMARC1; p=reject"},

	// Repeated tags.
	{"p twice", "v=DMARC1; p=reject; p=reject", "tag occurs twice: p"},
	{"p twice in other case", "v=DMARC1; p=reject; P=none", "tag occurs twice: p"},
	{"bad p and good p", "v=DMARC1; p=x; p=reject", "tag occurs twice: p"},
	{"v twice", "v=DMARC1; p=reject; v=DMARC1", "tag occurs twice: v"},
	{"t twice", "v=DMARC1; t=y; p=reject; t=n", "tag occurs twice: t"},

	// URIs.
	{"several", "v=DMARC1; rua=mailto:a@b.example , https://x.example/y,\tfoo:bar", "v=DMARC1; p=none; rua=mailto:a@b.example,https://x.example/y,foo:bar"},
	{"bad ones among good ones", "v=DMARC1; rua=a@b.example,mailto:,mailto:@b.example,mailto:a@,mailto:a@b..example,mailto:a@b.example", "v=DMARC1; p=none; rua=mailto:a@b.example"},
	{"obsolete sizes", "v=DMARC1; rua=mailto:a@b.example!10m,mailto:c@b.example!50", "v=DMARC1; p=none; rua=mailto:a@b.example,mailto:c@b.example"},
	{"other exclamation marks", "v=DMARC1; rua=mailto:a!b@b.example,mailto:a@b.example!,mailto:a@b.example!10x,mailto:a@b.example!m", "v=DMARC1; p=none"},
	{"encoded", "v=DMARC1; rua=mailto:a%21b@b.example,mailto:a%2@b.example,mailto:%zz@b.example", "v=DMARC1; p=none; rua=mailto:a%21b@b.example"},
	{"subject", "v=DMARC1; rua=mailto:a@b.example?subject=x@y", "v=DMARC1; p=none; rua=mailto:a@b.example?subject=x@y"},
	{"schemes", "v=DMARC1; rua=MAILTO:a@b.example,1x:y,x y:z,:z,+a:b,http:,https:///x,http://:80", "v=DMARC1; p=none; rua=MAILTO:a@b.example"},
	{"characters that no URI has", "v=DMARC1; rua=mailto:<a@b.example>,mailto:a b@b.example,mailto:\xe9@b.example", "v=DMARC1; p=none"},
}

func TestParseRecord(t *testing.T) {
	for _, tt := range recordTests {
		r, err := ParseRecord(tt.in)
		got := r.String()
		if err != nil {
			got = err.Error()
			if !errors.Is(err, ErrVersion) && !errors.Is(err, ErrRepeated) {
				t.Errorf("%s: kind of %v", tt.why, err)
			}
			if d := cmp.Diff(Record{}, r); d != "" {
				t.Errorf("%s: a record with an error", tt.why)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q gives\n %s, want\n %s", tt.why, tt.in, got, tt.want)
		}
	}
}

func TestUsable(t *testing.T) {
	for in, want := range map[string]bool{
		"v=DMARC1":                                           true,
		"v=DMARC1; p=x":                                      false,
		"v=DMARC1; p=x; rua=mailto:a@b.example":              true,
		"v=DMARC1; p=x; ruf=mailto:a@b.example":              false,
		"v=DMARC1; p=reject; np=x; rua=a@b.example":          false,
		"v=DMARC1; p=reject; sp=x; rua=a,mailto:a@b.example": true,
	} {
		if r, err := ParseRecord(in); err != nil || r.usable() != want {
			t.Errorf("%q: %v, %v", in, r.usable(), err)
		}
	}
}

// FuzzParseRecord: what String writes is read as the same record, so nothing in
// a record can be taken for something else later; only valid words come out.
func FuzzParseRecord(f *testing.F) {
	for _, tt := range recordTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecord(text)
		if err != nil {
			return
		}
		again, err := ParseRecord(r.String())
		if d := cmp.Diff(r, again); err != nil || d != "" {
			t.Fatalf("%q written as %q: %v\n%s", text, r, err, d)
		}
		for _, p := range []Policy{r.own(), r.below(true), r.below(false)} {
			if p != PolicyNone && p != PolicyQuarantine && p != PolicyReject {
				t.Fatalf("%q gives policy %q", text, p)
			}
			if p != PolicyNone && r.Bad != "" {
				t.Fatalf("%q is bad and gives policy %q", text, p)
			}
		}
		if strings.ContainsAny(r.String(), "\r\n\x00") {
			t.Fatalf("%q written as %q", text, r)
		}
	})
}
