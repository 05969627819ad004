package entry

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCanonical(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		text string
		want []string // nil: no entry
	}{
		{Domain, " *.Example.COM. ", []string{"example.com"}},
		{Domain, "||example.com^", []string{"example.com"}},
		{Domain, "@@||good.example.com^", []string{"@@||good.example.com^"}},
		{Domain, "bücher.example", []string{"xn--bcher-kva.example"}},
		{Domain, "zip", nil},
		{Domain, "=zip", []string{"=zip"}},
		{Domain, "=example.com", []string{"example.com"}},
		{Domain, "example.com # why", nil},
		{Domain, "example.com\nexample.net", nil},
		{Domain, "0.0.0.0 a.example b.example", nil},
		{Domain, "# example.com", nil},
		{Domain, "", nil},
		{Domain, "192.0.2.1", nil},
		{IP, "192.0.2.1", []string{"192.0.2.1"}},
		{IP, "192.0.2.1/32", []string{"192.0.2.1"}},
		{IP, "192.0.2.77/24", []string{"192.0.2.0/24"}},
		{IP, "::ffff:192.0.2.0/120", []string{"192.0.2.0/24"}},
		{IP, "192.0.2.1-192.0.2.4", []string{"192.0.2.1", "192.0.2.2/31", "192.0.2.4"}},
		{IP, "2001:DB8::/32", []string{"2001:db8::/32"}},
		{IP, "10.0.0.0/4", nil},
		{IP, "=16.0.0.0/4", []string{"=16.0.0.0/4"}},
		{IP, "example.com", nil},
		{Address, "<John.Doe@Example.COM>", []string{"john.doe@example.com"}},
		{Address, `"john doe"@example.com`, []string{`"john doe"@example.com`}},
		{Address, `"john.doe"@example.com`, []string{"john.doe@example.com"}},
		{Address, `"a\"b\\c"@example.com`, []string{`"a\"b\\c"@example.com`}},
		{Address, `"\"x\""@example.com`, []string{`"\"x\""@example.com`}},
		{Address, "@Example.com", []string{"@example.com"}},
		{Address, ".example.com", []string{"example.com"}},
		{Address, "a@b@example.com", nil},
	} {
		got, err := Canonical(c.kind, c.text)
		if d := cmp.Diff(c.want, got); d != "" || (err == nil) != (c.want != nil) || err != nil && !errors.Is(err, ErrEntry) {
			t.Errorf("%s %q: %v %s", c.kind, c.text, err, d)
		}
	}
}

// What Canonical gives is an entry that means the same, alone on its line, and
// its own canonical form.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"example.com", "=zip", "@@||a.example^", `"a b#c"@example.com`, `"a\ b"@x.example`, "#a@example.com",
		"192.0.2.1-192.0.2.9", "=0.0.0.0/0", "0.0.0.0 a.example", "a.example CNAME .", "<a@b.example>", ";@b.example", `"//"@b.example`} {
		for k := range uint8(3) {
			f.Add(k, s)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, text string) {
		k := [...]Kind{Domain, IP, Address}[kind%3]
		entries, err := Canonical(k, text)
		if err != nil {
			return
		}
		var want, got string
		for _, it := range NewParser(k).Parse([]byte(strings.TrimSpace(text))).Items {
			want += fmt.Sprintf("%s %v %v\n", it.Name, it.Nets, it.Except)
		}
		got = "\n"
		for i, e := range entries {
			again, err := Canonical(k, e)
			if err != nil || len(again) != 1 || again[0] != e {
				t.Fatalf("%q: %q gives %q, %v", text, e, again, err)
			}
			l := NewParser(k).Parse([]byte(e + " # comment"))
			if len(l.Items) != 1 || l.Why != "" || string(l.Comment) != "comment" {
				t.Fatalf("%q: %q is read as %+v", text, e, l)
			}
			switch it := l.Items[0]; {
			case k != IP:
				got = fmt.Sprintf("%s %v %v\n", it.Name, it.Nets, it.Except)
			case i == 0:
				got = fmt.Sprintf(" [%v", it.Nets[0])
			default:
				got += fmt.Sprintf(" %v", it.Nets[0])
			}
		}
		if k == IP {
			got += "] false\n"
		}
		if got != want {
			t.Fatalf("%q means %q, its canonical form %q", text, want, got)
		}
	})
}
