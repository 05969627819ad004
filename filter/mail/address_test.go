package mail

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for raw, want := range map[string]Address{
		"":                              {},
		"<>":                            {},
		"<a@B.Example.>":                {Local: "a", Domain: "b.example"},
		"a@b.example":                   {Local: "a", Domain: "b.example"},
		" < a@b.example > ":             {Local: "a", Domain: "b.example"},
		"<@r1,@r2:a@b.example>":         {Local: "a", Domain: "b.example"},
		`<"x@evil.example"@b.example>`:  {Local: `"x@evil.example"`, Domain: "b.example"},
		`<"q>s"@b.example>`:             {Local: `"q>s"`, Domain: "b.example"},
		"<postmaster>":                  {Local: "postmaster"},
		"<@b.example>":                  {Domain: "b.example"},
		"<jürgen@bücher.example>":       {Local: "jürgen", Domain: "xn--bcher-kva.example"},
		"<a@b。example>":                 {Local: "a", Domain: "b.example"},
		"<a@[192.0.2.1]>":               {Local: "a", Domain: "[192.0.2.1]"},
		"<a@b.example> SIZE=1 injected": {Local: "a", Domain: "b.example> size=1 injected"},
	} {
		got := ParsePath(raw)
		if got.Raw != raw || got.Local != want.Local || got.Domain != want.Domain {
			t.Errorf("%q: %+v", raw, got)
		}
	}
	for a, want := range map[Address]string{{}: "<>", {Local: "a", Domain: "b"}: "a@b", {Local: "a"}: "a"} {
		if a.String() != want || a.IsNull() != (want == "<>") {
			t.Errorf("%+v: %q", a, a.String())
		}
	}
}

func TestCanonicalDomain(t *testing.T) {
	long := strings.Repeat("ü", 64)
	for in, want := range map[string]string{
		"Example.COM.":           "example.com",
		"MÜNCHEN.example":        "xn--mnchen-3ya.example",
		"xn--mnchen-3ya.example": "xn--mnchen-3ya.example",
		"a_b.example":            "a_b.example",
		"r3---sn-x.example":      "r3---sn-x.example",
		"\xff.example":           "\ufffd.example",
		long + ".example":        long + ".example",
		strings.ToUpper(long):    long,
	} {
		if got := CanonicalDomain(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestValidDomain(t *testing.T) {
	label := strings.Repeat("a", 63)
	for in, want := range map[string]bool{
		"": false, "a": true, "a.b": true, ".a": false, "a.": false, "a..b": false, "a b": false, "a\x00b": false, "\xc3\xbc": false,
		label: true, label + "a": false, strings.Join([]string{label, label, label, label[:61]}, "."): true,
		strings.Join([]string{label, label, label, label[:62]}, "."): false,
	} {
		if got := ValidDomain(in); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestIsUnder(t *testing.T) {
	for _, c := range []struct {
		name, domain string
		want         bool
	}{{"a.example", "a.example", true}, {"b.a.example", "a.example", true}, {"ba.example", "a.example", false}, {"example", "a.example", false}} {
		if got := IsUnder(c.name, c.domain); got != c.want {
			t.Errorf("%v: %v", c, got)
		}
	}
}

func TestParseLiteral(t *testing.T) {
	for in, want := range map[string]string{"[192.0.2.1]": "192.0.2.1", "[IPv6:2001:db8::1]": "2001:db8::1", "[ipv6:::ffff:192.0.2.1]": "192.0.2.1",
		"192.0.2.1": "", "[]": "", "[x]": "", "[fe80::1%eth0]": "", "[": ""} {
		got, ok := ParseLiteral(in)
		if ok != (want != "") || ok && got != netip.MustParseAddr(want) {
			t.Errorf("%q: %v %v", in, got, ok)
		}
	}
}

func TestHeader(t *testing.T) {
	h := Header{{"From", " a@b"}, {"X-A", "\tone\r\n two "}, {"x-a", "three"}}
	if got := string(h.Bytes()); got != "From: a@b\r\nX-A:\tone\r\n two \r\nx-a:three\r\n" {
		t.Errorf("%q", got)
	}
	if h.Get("X-A") != "one two" || h.Count("x-A") != 2 || len(h.Values("X-A")) != 2 || h.Get("none") != "" {
		t.Errorf("%q %d", h.Get("X-A"), h.Count("x-A"))
	}
}

func TestStages(t *testing.T) {
	for _, s := range Stages() {
		text, err := s.MarshalText()
		var back Stage
		if err != nil || back.UnmarshalText(text) != nil || back != s {
			t.Errorf("%s does not come back", s)
		}
	}
	if _, ok := ParseStage("data"); ok {
		t.Error("an unknown stage is known")
	}
}

// FuzzParsePath: whatever the client sends, the domain is canonical, and what is
// printed is read as the same address.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b.example>", `<"x@y"@z>`, "<@r:a@b>", "<a@ü。example>", "a@b> x", "<<a>>", "@@", "\xff@\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a := ParsePath(raw)
		if CanonicalDomain(a.Domain) != a.Domain && ValidDomain(a.Domain) {
			t.Errorf("%q: domain %q is not canonical", raw, a.Domain)
		}
		if a.Domain == "" || !ValidDomain(a.Domain) || strings.ContainsAny(a.Local, "<>@: ") || strings.TrimSpace(a.Local) != a.Local {
			return
		}
		if b := ParsePath("<" + a.String() + ">"); b.Local != a.Local || b.Domain != a.Domain {
			t.Errorf("%q: %q is read as %+v", raw, a.String(), b)
		}
	})
}
