package entry

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show writes what a file holds: "number: entries (comment) !reason".
func show(t *testing.T, k Kind, file string) []string {
	t.Helper()
	raw, err := os.ReadFile("../testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	p := NewParser(k)
	for line := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		l := p.Parse([]byte(line))
		s := strings.Join(texts(l), " ")
		if len(l.Comment) > 0 && len(l.Items) > 0 {
			s += " (" + string(l.Comment) + ")"
		}
		if l.Why != "" {
			s = strings.TrimSpace(s + " !" + l.Why)
		}
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func texts(l Line) (out []string) {
	for _, it := range l.Items {
		s := string(it.Name)
		for i, n := range it.Nets {
			if i > 0 {
				s += "+"
			}
			s += n.String()
		}
		if it.Except {
			s = "not:" + s
		}
		out = append(out, s)
	}
	return out
}

func TestFiles(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		file string
		want []string
	}{
		{Domain, "names.txt", []string{
			"plain.example.com",
			"wild.example",
			"dot.example",
			"xn--bcher-kva.example (written as a U-label)",
			"xn--mnchen-3ya.example",
			"full.width.example",
			"_under_score.example (seen in phishing)",
			"zip",
			"!a public suffix (write =co.uk to list all of it)",
			"!a top-level domain (write =com to list all of it)",
			"!text after the name (a comment starts with #)",
			"!an address in a list of domains",
			"!an IP address or number, not a domain name",
			"-dash-.example (fine for hosts)",
			"!empty label",
		}},
		{Domain, "crlf.txt", []string{"windows.example", "second.example", "no-newline.example"}},
		{Domain, "hosts.txt", []string{
			"one.example",
			"two.example three.example (both)",
			"four.example",
			"good.example !not a domain name",
			"!an IP address or number, not a domain name",
		}},
		{Domain, "rpz.zone", []string{
			"relative.example",
			"relative.example",
			"absolute.example",
			"drop.example",
			"not:good.listed.example",
			"listed.example",
			"local.example",
			"deep.sub.example",
			"!a directive that is not supported",
		}},
		{Domain, "adblock.txt", []string{
			"ads.example",
			"track.example",
			"loose.example",
			"parent.example",
			"not:fine.parent.example",
			"!not a domain name",
			"!a rule with options",
			"!not a domain name",
			"!not a domain name",
		}},
		{IP, "nets.txt", []string{
			"192.0.2.0/24 (SBL1)",
			"198.51.100.7/32 (a host)",
			"198.51.100.8/32",
			"203.0.113.10/31+203.0.113.12/30+203.0.113.16/30+203.0.113.20/32",
			"203.0.113.30/31",
			"2001:db8::/32",
			"2001:db9::1/128",
			"10.1.2.3/32",
			"10.2.0.0/16",
			"10.9.0.0/16",
			"100.0.0.0/7",
			"!a network of this size (write = before it if it is meant)",
			"!a network of this size (write = before it if it is meant)",
			"!a network of this size (write = before it if it is meant)",
			"!not a range of IP addresses",
			"!not a range of IP addresses",
			"!not an IP address or network",
			"!not an IP address or network",
			"!text after the address (a comment starts with #)",
			"!not an IP address or network",
		}},
		{Address, "addresses.txt", []string{
			"john.doe@example.com (the boss)",
			"@partner.example",
			"brackets@example.net",
			"quoted user@example.net",
			"simple@example.net",
			"a#b/c@example.net",
			"wide@xn--bcher-kva.example",
			"whole.example",
			"!text after the name (a comment starts with #)",
			"!not an address",
			"!not a domain name",
			"!not a domain name",
			"!not a domain name",
			"!a top-level domain (write =com to list all of it)",
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			if d := cmp.Diff(c.want, show(t, c.kind, c.file)); d != "" {
				t.Error(d)
			}
		})
	}
}

// The names are of the ICANN part of the Public Suffix List, or not.
func TestBroad(t *testing.T) {
	for name, want := range map[string]bool{
		"com": true, "zip": true, "nonsense": true, "co.uk": true, "com.au": true, "k12.ca.us": true,
		"in-addr.arpa": true, "eu.int": true, "airport.aero": true, "med.pro": true, "xn--55qx5d.xn--j6w193g": true,
		"pvt.k12.ma.us": true, "foo.ck": true, "kobe.jp": false, "city.kobe.jp": false, "x.kobe.jp": true,
		"github.io": false, "blogspot.com": false, "example.com": false, "example.co.uk": false, "www.ck": false,
		"a.b.c.d.e.f.uk": false,
	} {
		if got := broad([]byte(name)) != ""; got != want {
			t.Errorf("%s: broad is %v", name, got)
		}
	}
}

// A zone without $ORIGIN names itself in its SOA record, or not at all.
func TestZoneNames(t *testing.T) {
	for _, c := range []struct{ name, zone, want string }{
		{"absolute owners", "rpz.test. 60 IN SOA a. b. 1 2 3 4 5\nbad.example.rpz.test. 60 IN CNAME .", "bad.example"},
		{"root origin", "$ORIGIN .\nrpz.test IN SOA a. b. 1 2 3 4 5\nbad.example.rpz.test CNAME .", "bad.example"},
		{"shifting origin", "$ORIGIN rpz.test.\n@ SOA a. b. 1 2 3 4 5\n$ORIGIN example.rpz.test.\nbad CNAME .\n@ CNAME .", "bad.example !a top-level domain (write =example to list all of it)"},
		{"unknown zone", "@ SOA a. b. 1 2 3 4 5\nbad.example CNAME .", "bad.example"},
		{"own name in another", "$ORIGIN rpz.test.\nnotrpz.test. CNAME .", "notrpz.test"},
		{"apex", "$ORIGIN rpz.test.\nrpz.test. TXT \"about\"", ""},
		{"comment in parentheses", "$ORIGIN rpz.test.\n@ SOA a. b. (\n 1 ; ) not yet\n 2 3 4 5 )\nbad.example CNAME .", "bad.example"},
		{"wildcard of all", "$ORIGIN rpz.test.\n* CNAME .", "!not a domain name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewParser(Domain)
			var got []string
			for line := range strings.SplitSeq(c.zone, "\n") {
				l := p.Parse([]byte(line))
				got = append(got, texts(l)...)
				if l.Why != "" {
					got = append(got, "!"+l.Why)
				}
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

func TestAppendAddress(t *testing.T) {
	for _, c := range []struct{ local, want string }{
		{"User", "user@d"}, {`"User"`, "user@d"}, {`"a\"b"`, `a"b@d`}, {`"a\\b"`, `a\b@d`}, {"", "@d"},
		{"ÄÖ", "äö@d"}, {`"`, `"@d`}, {`""`, "@d"},
	} {
		if got := string(AppendAddress(nil, c.local, "d")); got != c.want {
			t.Errorf("%q: got %q, want %q", c.local, got, c.want)
		}
	}
}

// Whatever a line holds, what is accepted is in comparison form: reading it
// again gives the same entry.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"names.txt", "crlf.txt", "hosts.txt", "rpz.zone", "adblock.txt", "nets.txt", "addresses.txt"} {
		raw, err := os.ReadFile("../testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		for i := range 3 {
			f.Add(uint8(i), raw)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		k := [...]Kind{Domain, IP, Address}[kind%3]
		p := NewParser(k)
		for line := range strings.SplitSeq(string(raw), "\n") {
			l := p.Parse([]byte(line))
			if words := len(strings.Fields(line)); len(l.Items) > words {
				t.Fatalf("%q: %d entries of %d words", line, len(l.Items), words)
			}
			for _, it := range l.Items {
				again(t, k, it)
			}
		}
	})
}

func again(t *testing.T, k Kind, it Item) {
	for _, n := range it.Nets {
		l := NewParser(IP).Parse([]byte("=" + n.String()))
		if len(l.Items) != 1 || len(l.Items[0].Nets) != 1 || l.Items[0].Nets[0] != n {
			t.Fatalf("%s reads as %v, %s", n, l.Items, l.Why)
		}
	}
	name := string(it.Name)
	switch at := strings.LastIndexByte(name, '@'); {
	case k == IP:
	case at > 0: // local parts have lost their quotes
		if got := string(AppendAddress(nil, quote(name[:at]), name[at+1:])); got != name {
			t.Fatalf("%q reads as %q", name, got)
		}
	case at == 0:
		if l := NewParser(Address).Parse([]byte(name)); len(l.Items) != 1 || string(l.Items[0].Name) != name {
			t.Fatalf("%q reads as %v, %s", name, texts(l), l.Why)
		}
	default:
		if l := NewParser(Domain).Parse([]byte("=" + name)); len(l.Items) != 1 || string(l.Items[0].Name) != name {
			t.Fatalf("%q reads as %v, %s", name, texts(l), l.Why)
		}
	}
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
