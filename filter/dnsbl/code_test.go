package dnsbl

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCodeMatches(t *testing.T) {
	for _, c := range []struct{ code, yes, no string }{
		{"127.0.0.2", "127.0.0.2", "127.0.0.1 127.0.0.3 127.0.1.2 128.0.0.2"},
		{"127.0.0.2-11", "127.0.0.2 127.0.0.7 127.0.0.11", "127.0.0.1 127.0.0.12 127.0.1.5"},
		{"127.0.0.0/24", "127.0.0.0 127.0.0.2 127.0.0.255", "127.0.0.1 127.0.1.0 126.255.255.255"},
		{"127.0.0.4/30", "127.0.0.4 127.0.0.7", "127.0.0.3 127.0.0.8"},
		{"127.0.0.8/32", "127.0.0.8", "127.0.0.9"},
		{"127.0.0.0&4", "127.0.0.4 127.0.0.6 127.0.0.255", "127.0.0.2 127.0.0.8 127.0.1.4"},
		{"127.0.0.0&128", "127.0.0.128 127.0.0.129", "127.0.0.127"},
		{"127.0.0.0&1", "127.0.0.3", "127.0.0.1 127.0.0.2"},
		// The error answers are never a code, whatever the pattern says.
		{"127.0.0.0/8", "127.0.0.2 127.1.2.3 127.255.254.255", "127.255.255.0 127.255.255.254 192.0.2.1 ::1 ::ffff:127.0.0.2"},
		{"127.255.254.0/23", "127.255.254.7", "127.255.255.7"},
	} {
		p, err := ParseCode(c.code)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range strings.Fields(c.yes) {
			if !p.Match(netip.MustParseAddr(s)) {
				t.Errorf("%s does not match %s", c.code, s)
			}
		}
		for _, s := range strings.Fields(c.no) {
			if p.Match(netip.MustParseAddr(s)) {
				t.Errorf("%s matches %s", c.code, s)
			}
		}
	}
	if (Code{}).Match(netip.MustParseAddr("0.0.0.0")) {
		t.Error("the zero pattern matches")
	}
}

func TestParseCodeErrors(t *testing.T) {
	for _, c := range []struct{ code, want string }{
		{"", "want an address"}, {"listed", "want an address"}, {"127.0.0", "want an address"}, {"::1", "want an address"},
		{"::ffff:127.0.0.2", "want an address"}, {"127.0.0.02", "want an address"}, {" 127.0.0.2", "want an address"},
		{"127.0.0.2-", "want an address"}, {"127.0.0.2-256", "want an address"}, {"127.0.0.2-+3", "want an address"},
		{"127.0.0.2-03", "want an address"}, {"127.0.0.2-127.0.0.3", "want an address"}, {"127.0.0.2%lo", "want an address"},
		{"127.0.0.9-2", "2 is not above 9"}, {"127.0.0.2-2", "a range goes up"},
		{"127.0.0.2/24", "the network begins at 127.0.0.0"}, {"127.0.0.0/7", "8 to 32"}, {"0.0.0.0/0", "8 to 32"},
		{"127.0.0.0/33", "8 to 32"}, {"127.0.0.2&4", "write 127.0.0.0&4"}, {"127.0.0.0&0", "one of the bits"},
		{"127.0.0.0&6", "one of the bits"}, {"127.0.0.0&256", "want an address"},
		{"192.0.2.1", "127.0.0.0/8"}, {"128.0.0.0/8", "127.0.0.0/8"},
		{"127.0.0.1", "refused"}, {"127.255.255.254", "refused"}, {"127.255.255.0/24", "refused"}, {"127.255.255.0&4", "refused"}, {"127.255.255.2-9", "refused"},
	} {
		got, err := ParseCode(c.code)
		if err == nil || !strings.Contains(err.Error(), c.want) || got != (Code{}) {
			t.Errorf("%q: got %v, %v; want an error with %q", c.code, got, err, c.want)
		}
	}
}

// codes makes rules; the weights follow the names after "=".
func codes(t testing.TB, named map[string]string) []CodeRule {
	t.Helper()
	rules, err := ParseCodes(named)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestNamed(t *testing.T) {
	rules := codes(t, map[string]string{"127.0.0.0/8": "any", "127.0.0.2-11": "some", "127.0.0.4": "four",
		"127.0.1.0&2": "two", "127.0.1.0&8": "eight", "127.0.1.4": "exact"})
	for _, c := range []struct{ code, want string }{
		{"127.0.0.4", "four"}, {"127.0.0.5", "some"}, {"127.0.0.12", "any"}, {"127.0.0.1", ""},
		{"127.0.1.10", "two eight any"}, {"127.0.1.2", "two any"}, {"127.0.1.4", "exact"},
		{"127.255.255.254", ""}, {"192.0.2.4", ""},
	} {
		var got []string
		for _, r := range named(rules, netip.MustParseAddr(c.code)) {
			got = append(got, r.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %q", c.code, got, c.want)
		}
	}
}

func TestParseCodesTellsAll(t *testing.T) {
	rules, err := ParseCodes(map[string]string{"127.0.0.2": "good", "bad": "x", "1.2.3.4": "y"})
	if err == nil || !strings.Contains(err.Error(), `"bad"`) || !strings.Contains(err.Error(), `"1.2.3.4"`) {
		t.Errorf("got %v, want an error about both", err)
	}
	if len(rules) != 1 || rules[0].Name != "good" {
		t.Errorf("got %v, want the good rule", rules)
	}
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct{ answers, want string }{
		{"", ""}, {"127.0.0.2 127.0.0.255", ""},
		{"127.0.0.2 127.255.255.254", "public resolvers"}, {"127.255.255.255", "too many"}, {"127.255.255.252", "mistyped"},
		{"127.255.255.1", "was refused"}, {"192.0.2.80", "192.0.2.80, which is no code"}, {"127.0.0.2 0.0.0.0", "0.0.0.0"},
	} {
		var addrs []netip.Addr
		for _, s := range strings.Fields(c.answers) {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		got := refusal(addrs)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.answers, got, c.want)
		}
	}
}

// A pattern that was read prints as one that is read the same, lies within the
// codes, and matches its own ends unless they are error answers.
func FuzzParseCode(f *testing.F) {
	for _, s := range []string{"127.0.0.2", "127.0.0.2-11", "127.0.0.0/24", "127.0.0.0&4", "127.255.254.0/23", "127.0.0.0/31",
		"127.0.0.0-255", "127.255.255.254", "127.0.0.2&4", "1.2.3.4/8", "127.0.0.0/8", "127.0.0.0-1"} {
		f.Add(s, uint32(127<<24|4))
	}
	f.Fuzz(func(t *testing.T, s string, answer uint32) {
		c, err := ParseCode(s)
		if err != nil {
			if c != (Code{}) {
				t.Fatalf("%q: an error and %v", s, c)
			}
			return
		}
		again, err := ParseCode(c.String())
		if err != nil || again != c {
			t.Fatalf("%q: printed %q, which reads %v, %v", s, c, again, err)
		}
		if c.from > c.to || c.from>>24 != 127 || c.to>>24 != 127 {
			t.Fatalf("%q: from %x to %x", s, c.from, c.to)
		}
		a := address(answer)
		if c.Match(a) && (answer < c.from || answer > c.to || !isCode(a) || refusal([]netip.Addr{a}) != "") {
			t.Fatalf("%q matches %s", s, a)
		}
		if c.bit == 0 && !c.Match(address(c.from)) {
			t.Fatalf("%q does not match its first address", s)
		}
	})
}

func TestOrderIsFixed(t *testing.T) {
	a := codes(t, map[string]string{"127.0.0.2": "a", "127.0.0.3": "b", "127.0.0.2-3": "c", "127.0.0.0&1": "d", "127.0.0.0&2": "e"})
	b := []CodeRule{a[4], a[2], a[3], a[0], a[1]}
	if diff := cmp.Diff(a, ordered(b), cmp.Comparer(func(x, y CodeRule) bool { return x == y })); diff != "" {
		t.Error(diff)
	}
}
