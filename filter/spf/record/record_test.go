package record

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// The grammar of RFC 7208, 12, once more as regular expressions: slow, but
// written down from the ABNF without a parser's thoughts.
var (
	oracleVersion   = regexp.MustCompile(`(?i)^v=spf1(?: |$)`)
	oracleDirective = regexp.MustCompile(build(`^[+?~-]?(?:all|include:DOMAIN|exists:DOMAIN|ptr(?::DOMAIN)?` +
		`|(?:a|mx)(?::DOMAIN)?(?:/LEN4)?(?://LEN6)?|ip4:QNUM\.QNUM\.QNUM\.QNUM(?:/LEN4)?)$`))
	oracleIP6      = regexp.MustCompile(build(`^[+?~-]?ip6:([0-9a-f:.]+)(?:/LEN6)?$`))
	oracleModifier = regexp.MustCompile(build(`^([a-z][a-z0-9_.-]*)=(?:ANYMACRO|LITERAL)*$`))
	oracleKnown    = regexp.MustCompile(build(`^(redirect|exp)=DOMAIN$`))
)

func build(s string) string {
	for _, r := range [][2]string{
		{"DOMAIN", `(?:MACRO|LITERAL)*(?:\.TOP\.?|MACRO)`},
		{"ANYMACRO", `(?:%\{[slodiphvcrt](?:0*[1-9][0-9]*)?r?[.+,/_=-]*\}|%%|%_|%-)`},
		{"MACRO", `(?:%\{[slodiphv](?:0*[1-9][0-9]*)?r?[.+,/_=-]*\}|%%|%_|%-)`},
		{"LITERAL", `[\x21-\x24\x26-\x7e]`},
		{"TOP", `(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])`},
		{"LEN4", `(?:[0-9]|[12][0-9]|3[0-2])`},
		{"LEN6", `(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])`},
		{"QNUM", `(?:[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])`},
	} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return "(?i)(?s)" + s
}

// byGrammar tells whether a record is one by the expressions above.
func byGrammar(txt string) bool {
	// Case folding would take U+017F for an s.
	if strings.ContainsFunc(txt, func(r rune) bool { return r > unicode.MaxASCII }) || !oracleVersion.MatchString(txt) {
		return false
	}
	redirects, exps := 0, 0
	for _, term := range strings.Split(txt[len(version):], " ") {
		if term == "" || oracleDirective.MatchString(term) {
			continue
		}
		if m := oracleIP6.FindStringSubmatch(term); m != nil {
			if a, err := netip.ParseAddr(m[1]); err == nil && a.Is6() {
				continue
			}
			return false
		}
		if m := oracleKnown.FindStringSubmatch(term); m != nil {
			if strings.EqualFold(m[1], "exp") {
				exps++
			} else {
				redirects++
			}
			continue
		}
		m := oracleModifier.FindStringSubmatch(term)
		if m == nil || strings.EqualFold(m[1], "exp") || strings.EqualFold(m[1], "redirect") {
			return false
		}
	}
	return redirects <= 1 && exps <= 1
}

var good = []string{
	"v=spf1", "V=SPF1 ", "v=spf1  -all  ", "v=spf1 a mx ptr -ALL", "v=spf1 a/24 mx//64 a/24//64 mx:x.example/0//0 a:%{d}/32//128",
	"v=spf1 a:foo:bar/baz.example.com a:x/24.com a:%{d/}/24", "v=spf1 ip4:192.0.2.0/24 ip4:0.0.0.0/0 ip6:2001:db8::/32 ip6:::1.1.1.1/0",
	"v=spf1 include:_spf.example.com. exists:%{ir}.%{v}._spf.%{d2} redirect=_x.example", "v=spf1 exists:%{l1r+-}.%%%_%-.x.y",
	"v=spf1 moo.cow-far_out=man:dog/cat x= all=deny mx=1.2.3.4 v=2 -all", "v=spf1 a:foo.example.xn--zckzah exp=e.example redirect=%{d}",
	"v=spf1 x=%{c}%{R}%{t}", "v=spf1 a:.com", "v=spf1 exists:%{d99999999999999999999}", "v=spf1 exists:%{D01}", "v=spf1 a:a.1-2",
}

var bad = []struct{ txt, why string }{
	{"v=spf10", "no v=spf1"},
	{"v=spf1\t-all", "no v=spf1"},
	{"v=spf1 -all moo", `"moo": unknown mechanism`},
	{"v=spf1 a\tmx", "not visible ASCII"},
	{"v=spf1 -all.", "unknown mechanism"},
	{"v=spf1 all:x", "nothing may follow"},
	{"v=spf1 +exp=x.example", "unknown mechanism"},
	{"v=spf1 ptr/24", `"ptr" needs a colon`},
	{"v=spf1 include", `"include" needs a colon`},
	{"v=spf1 include:", "domain is empty"},
	{"v=spf1 exists:x.example/24", "does not end in"},
	{"v=spf1 a: -all", "domain is empty"},
	{"v=spf1 a:/24", "domain is empty"},
	{"v=spf1 a:museum", "does not end in"},
	{"v=spf1 a:museum.", "does not end in"},
	{"v=spf1 a:192.0.2.1", "does not end in"},
	{"v=spf1 a:example.com:8080", "does not end in"},
	{"v=spf1 a:x.-com", "does not end in"},
	{"v=spf1 a:x.com-", "does not end in"},
	{"v=spf1 a:%{d}.", "does not end in"},
	{"v=spf1 a:%{d}com", "does not end in"},
	{"v=spf1 a/33", "bad prefix length"},
	{"v=spf1 a/024", "bad prefix length"},
	{"v=spf1 a/24/64", "bad prefix length"},
	{"v=spf1 a/", "bad prefix length"},
	{"v=spf1 a//129", "bad prefix length"},
	{"v=spf1 a/24//64//1", "bad prefix length"},
	{"v=spf1 ip4", "an address has to follow"},
	{"v=spf1 ip4:1.2.3", "not an IPv4 address"},
	{"v=spf1 ip4:01.2.3.4", "not an IPv4 address"},
	{"v=spf1 ip4:1.2.3.4:25", "not an IPv4 address"},
	{"v=spf1 ip4:2001:db8::1", "not an IPv4 address"},
	{"v=spf1 ip4:1.2.3.4/032", "bad prefix length"},
	{"v=spf1 ip4:1.2.3.4//32", "bad prefix length"},
	{"v=spf1 ip4:1.2.3.4/+8", "bad prefix length"},
	{"v=spf1 ip6:1.2.3.4", "not an IPv6 address"},
	{"v=spf1 ip6:fe80::1%eth0", "not an IPv6 address"},
	{"v=spf1 1.2.3.4", "needs ip4: or ip6:"},
	{"v=spf1 ipv4:1.2.3.4", "ip4 or ip6 may be meant"},
	{"v=spf1 redirect:x.example", "followed by ="},
	{"v=spf1 redirect= -all", "domain is empty"},
	{"v=spf1 exp=-all", "does not end in"},
	{"v=spf1 exp=%{r}.example.com", "bad macro"},
	{"v=spf1 redirect=a.b Redirect=a.b", "redirect= stands twice"},
	{"v=spf1 exp=a.b EXP=a.b", "exp= stands twice"},
	{"v=spf1 x=%abc", "begins no macro"},
	{"v=spf1 exists:%{d0}.x.y", "bad macro"},
	{"v=spf1 exists:%{dx}.x.y", "bad macro"},
	{"v=spf1 exists:%{}.x.y", "bad macro"},
	{"v=spf1 exists:%{d", "a macro without }"},
	{"v=spf1 exists:x.y%", "begins no macro"},
	{"v=spf1 =all", "unknown mechanism"},
	{"v=spf1 1up=foo", "unknown mechanism"},
	{"v=spf1 -", "unknown mechanism"},
	{"v=spf1 a:caf\u00e9.example", "not visible ASCII"},
}

func TestParse(t *testing.T) {
	for _, txt := range good {
		if _, err := Parse(txt); err != nil {
			t.Errorf("%q: %v", txt, err)
		}
		if !byGrammar(txt) {
			t.Errorf("%q: the grammar does not have it", txt)
		}
	}
	for _, c := range bad {
		_, err := Parse(c.txt)
		if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q: got %v, want %s", c.txt, err, c.why)
		}
		if byGrammar(c.txt) {
			t.Errorf("%q: the grammar has it", c.txt)
		}
	}
}

func TestTerms(t *testing.T) {
	r, err := Parse("v=spf1 redirect=r.example ?a:x.example/24 -ip4:192.0.2.77/24 mx//48 exp=e.example")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []Kind
	for _, term := range r.Terms {
		kinds = append(kinds, term.Kind)
	}
	if want := []Kind{A, IP4, MX, Redirect}; !equal(kinds, want) {
		t.Errorf("kinds %v, want %v: redirect comes last", kinds, want)
	}
	a, ip, mx := r.Terms[0], r.Terms[1], r.Terms[2]
	if a.Qualifier != '?' || a.Bits4 != 24 || a.Bits6 != 128 || a.Spec.Domain(nil) != "x.example" || a.Text != "?a:x.example/24" {
		t.Errorf("a: %+v", a)
	}
	if ip.Qualifier != '-' || ip.Net != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("ip4: %+v", ip)
	}
	if mx.Bits4 != 32 || mx.Bits6 != 48 || !mx.Spec.IsZero() {
		t.Errorf("mx: %+v", mx)
	}
	if r.Exp.Domain(nil) != "e.example" {
		t.Errorf("exp: %+v", r.Exp)
	}
	r, err = Parse("v=spf1 redirect=r.example -all")
	if err != nil || len(r.Terms) != 1 {
		t.Errorf("redirect beside all: %+v, %v", r, err)
	}
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// rfcValues are those of the examples in RFC 7208, 7.4.
func rfcValues(letter byte) string {
	return map[byte]string{'s': "strong-bad@email.example.com", 'l': "strong-bad", 'o': "email.example.com",
		'd': "email.example.com", 'i': "192.0.2.3", 'v': "in-addr", 'h': "a b~&"}[letter]
}

func TestExpand(t *testing.T) {
	for spec, want := range map[string]string{
		"%{s}": "strong-bad@email.example.com", "%{o}": "email.example.com", "%{d4}": "email.example.com",
		"%{d3}": "email.example.com", "%{d2}": "example.com", "%{d1}": "com", "%{dr}": "com.example.email",
		"%{d2r}": "example.email", "%{l}": "strong-bad", "%{l-}": "strong.bad", "%{lr}": "strong-bad",
		"%{lr-}": "bad.strong", "%{l1r-}": "strong", "%{ir}.%{v}._spf.%{d2}": "3.2.0.192.in-addr._spf.example.com",
		"%{lr-}.lp._spf.%{d2}":                    "bad.strong.lp._spf.example.com",
		"%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}":        "3.2.0.192.in-addr.strong.lp._spf.example.com",
		"%{d2}.trusted-domains.example.net":       "example.com.trusted-domains.example.net",
		"%{H}.x":                                  "a%20b~%26.x",
		"%%%_%-.x":                                "% %20.x",
		"x.example.":                              "x.example",
		strings.Repeat("abcdefghi.", 25) + "%{i}": strings.Repeat("abcdefghi.", 24) + "192.0.2.3",
		strings.Repeat("x", 300) + ".example.com": "example.com",
		strings.Repeat("x", 300) + "%{v}":         "",
	} {
		p, _, err := parseMacros(spec, domainLetters, false)
		if err != nil {
			t.Errorf("%.50q: %v", spec, err)
			continue
		}
		got := Spec{p}.Domain(rfcValues)
		if got != want {
			t.Errorf("%.50q: got %q, want %q", spec, got, want)
		}
	}
}

// TestManyMacros has a bomb: the right end counts, whatever stands before it.
func TestManyMacros(t *testing.T) {
	p, _, err := parseMacros(strings.Repeat("%{d}.", 5000)+"x.example", domainLetters, false)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	got := Spec{p}.Domain(func(letter byte) string { asked++; return rfcValues(letter) })
	want := "com." + strings.Repeat("email.example.com.", 13) + "x.example"
	if got != want || asked > 20 {
		t.Errorf("got %q after %d expansions, want %q", got, asked, want)
	}
}

func TestText(t *testing.T) {
	s, err := ParseText("%{c} is not %{o}%%, see http://x.example/?s=%{S}.")
	if err != nil {
		t.Fatal(err)
	}
	want := "192.0.2.3 is not email.example.com%, see http://x.example/?s=strong-bad%40email.example.com."
	values := func(c byte) string {
		if c == 'c' {
			c = 'i'
		}
		return rfcValues(c)
	}
	if got := s.Text(values, 400); got != want {
		t.Errorf("got %q", got)
	}
	if got := s.Text(values, 10); got != want[:10] {
		t.Errorf("cut: got %q", got)
	}
	for _, text := range []string{"The %{x}-files.", "tab\there", "\u00e9", "100%"} {
		if _, err := ParseText(text); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzParse compares the parser with the grammar, and expands what it took.
func FuzzParse(f *testing.F) {
	for _, txt := range good {
		f.Add(txt)
	}
	for _, c := range bad {
		f.Add(c.txt)
	}
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := Parse(txt)
		if want := byGrammar(txt); (err == nil) != want {
			t.Fatalf("%q: got %v, the grammar says %v", txt, err, want)
		}
		if err != nil {
			if msg := err.Error(); !errors.Is(err, ErrSyntax) || !printable(msg, true) || len(msg) > 700 {
				t.Fatalf("%q: bad error %q", txt, msg)
			}
			return
		}
		if !Is(txt) {
			t.Fatalf("%q: parsed, but not held for a record", txt)
		}
		for i, term := range r.Terms {
			if name := term.Spec.Domain(rfcValues); len(name) > maxName {
				t.Fatalf("%q: name of %d bytes", txt, len(name))
			}
			if term.Kind == Redirect && i != len(r.Terms)-1 {
				t.Fatalf("%q: a redirect before the end", txt)
			}
		}
	})
}
