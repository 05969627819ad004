package authres

import (
	"errors"
	"mime"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"mailwicket/filter/linear"
	"mailwicket/filter/mail"
)

func TestParse(t *testing.T) {
	one := func(id string, rs ...Result) Header { return Header{AuthservID: id, Results: rs} }
	tests := []struct {
		name, in string
		want     Header
	}{
		{"none (B.2)", " example.org 1; none", Header{AuthservID: "example.org", Version: 1}},
		{"one result (B.3)", " example.com;\r\n          spf=pass smtp.mailfrom=example.net",
			one("example.com", Result{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.net"}}})},
		{"comment (B.4)", "example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n spf=pass smtp.mailfrom=example.net",
			one("example.com",
				Result{Method: "auth", Value: "pass", Comment: "cram-md5", Props: []Prop{{"smtp", "auth", "sender@example.net"}}},
				Result{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.net"}}})},
		{"reason (B.6)", `example.com; dkim=pass reason="good signature" header.i=@mail-router.example.net; dkim=fail reason="bad signature" header.i=@newyork.example.com`,
			one("example.com",
				Result{Method: "dkim", Value: "pass", Reason: "good signature", Props: []Prop{{"header", "i", "@mail-router.example.net"}}},
				Result{Method: "dkim", Value: "fail", Reason: "bad signature", Props: []Prop{{"header", "i", "@newyork.example.com"}}})},
		{"comments everywhere (B.7)", "foo.example.net (foobar) 1 (baz);\r\n    dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n      policy (A dot can go here) . (like that) expired\r\n      (this surprised me) = (as I wasn't expecting it) 1362471462",
			Header{AuthservID: "foo.example.net", Version: 1, Results: []Result{{Method: "dkim", Version: 1, Value: "fail", Props: []Prop{{"policy", "expired", "1362471462"}}}}}},
		{"nested comment, escapes", `mx; spf=fail (a (b \) c)  d) smtp.helo=x`,
			one("mx", Result{Method: "spf", Value: "fail", Comment: "a (b ) c) d", Props: []Prop{{"smtp", "helo", "x"}}})},
		{"semicolon in quotes", `mx; dkim=fail reason="x; dmarc=pass header.from=bank.example"`,
			one("mx", Result{Method: "dkim", Value: "fail", Reason: "x; dmarc=pass header.from=bank.example"})},
		{"property in a comment", `mx; dkim=pass ( header.d=bank.example ) header.d=a.example`,
			one("mx", Result{Method: "dkim", Value: "pass", Comment: "header.d=bank.example", Props: []Prop{{"header", "d", "a.example"}}})},
		{"comment first", `(x) mx; none`, one("mx")},
		{"quoted id", `"mx.example.net"; none`, one("mx.example.net")},
		{"spaces around equals", `mx; spf = pass smtp . mailfrom = a@b`,
			one("mx", Result{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "a@b"}}})},
		{"quoted local part", `mx; spf=pass smtp.mailfrom="a @b"@c.example smtp.helo=h`,
			one("mx", Result{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", `"a @b"@c.example`}, {"smtp", "helo", "h"}}})},
		{"VERP", `mx; spf=pass smtp.mailfrom=b+u=x.example@l.example`,
			one("mx", Result{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "b+u=x.example@l.example"}}})},
		{"internationalized", `mx; spf=pass smtp.mailfrom=köln@bücher.example`,
			one("mx", Result{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "köln@bücher.example"}}})},
		{"keywords in capitals", `mx; SPF=Pass SMTP.MailFrom=A@B`,
			one("mx", Result{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "A@B"}}})},
		{"bare property, large sender", `mx.example 1; dmarc=pass action=none header.from=contoso.example;`,
			Header{AuthservID: "mx.example", Version: 1, Results: []Result{{Method: "dmarc", Value: "pass", Props: []Prop{{"", "action", "none"}, {"header", "from", "contoso.example"}}}}}},
		{"unquoted IPv6", `mx; arc=pass smtp.remote-ip=2001:db8::1 header.oldest-pass=0`,
			one("mx", Result{Method: "arc", Value: "pass", Props: []Prop{{"smtp", "remote-ip", "2001:db8::1"}, {"header", "oldest-pass", "0"}}})},
		{"empty value", `mx; spf=none smtp.mailfrom=; iprev=pass`,
			one("mx", Result{Method: "spf", Value: "none", Props: []Prop{{"smtp", "mailfrom", ""}}}, Result{Method: "iprev", Value: "pass"})},
		{"method called none", `mx; none=pass`, one("mx", Result{Method: "none", Value: "pass"})},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: Parse(%q)\n got %+v, %v\nwant %+v", tt.name, tt.in, got, err, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		in   string
		want error
	}{
		{"", ErrSyntax},
		{"(", ErrSyntax},
		{"mx", ErrSyntax},
		{"mx;", ErrSyntax},
		{"mx; none; spf=pass", ErrSyntax},
		{"mx; spf=pass; none", ErrSyntax},
		{"mx spf=pass", ErrSyntax},
		{"mx; spf", ErrSyntax},
		{"mx; spf=", ErrSyntax},
		{"mx; =pass", ErrSyntax},
		{"mx; spf=pass smtp.mailfrom", ErrSyntax},
		{"mx; spf=pass smtp.=x", ErrSyntax},
		{`mx; spf=pass reason="x`, ErrSyntax},
		{`mx; spf=pass reason="a" reason="b"`, ErrSyntax},
		{`mx; spf=pass (x`, ErrSyntax},
		{`mx; spf=pass reason="x"smtp.helo=y`, ErrSyntax},
		{"mx; spf=pass smtp.helo=\"a\\\r\nb\"", ErrSyntax},
		{"mx; spf=pass (\x00)", ErrSyntax},
		{"mx; spf=pass smtp.mailfrom= smtp.helo=x", ErrSyntax},
		{"mx 2; spf=pass", ErrVersion},
		{"mx 99999999999; spf=pass", ErrSyntax},
		{"mx; spf/x=pass", ErrSyntax},
		{strings.Repeat("x", maxValue+1), ErrTooLong},
	}
	for _, tt := range tests {
		if h, err := Parse(tt.in); !errors.Is(err, tt.want) {
			t.Errorf("Parse(%.40q) = %+v, %v; want %v", tt.in, h, err, tt.want)
		}
	}
}

func TestFormat(t *testing.T) {
	tests := []struct {
		name string
		in   Header
		want string
	}{
		{"none", Header{AuthservID: "mx.example.net"}, "mx.example.net; none"},
		{"usual", Header{AuthservID: "mx.example.net", Results: []Result{
			{Method: "spf", Value: "fail", Comment: "client 192.0.2.1 not authorized", Props: []Prop{{"smtp", "mailfrom", "bob@example.com"}}},
			{Method: "dkim", Value: "pass", Comment: "2048-bit rsa", Props: []Prop{{"header", "d", "example.com"}, {"header", "s", "s1"}, {"header", "a", "rsa-sha256"}, {"header", "b", "AbC/EfGh"}}},
			{Method: "arc", Value: "pass", Props: []Prop{{"smtp", "remote-ip", "2001:db8::1"}, {"header", "oldest-pass", "0"}}},
		}}, "mx.example.net;\r\n\tspf=fail (client 192.0.2.1 not authorized)\r\n\tsmtp.mailfrom=bob@example.com;\r\n" +
			"\tdkim=pass (2048-bit rsa) header.d=example.com header.s=s1\r\n\theader.a=rsa-sha256 header.b=\"AbC/EfGh\";\r\n" +
			"\tarc=pass smtp.remote-ip=\"2001:db8::1\" header.oldest-pass=0"},
		{"line end in a value", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "\"a\r\nX-Evil: 1\r\n b@c\""}}}}},
			"mx;\r\n\tspf=pass smtp.mailfrom=\"'a??X-Evil: 1?? b@c'\""},
		{"U-label and UTF-8 local part", Header{AuthservID: "b\u00fccher.example", Results: []Result{{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "k\u00f6ln@b\u00fccher.example"}}}}},
			"xn--bcher-kva.example;\r\n\tspf=pass smtp.mailfrom=\"k?ln@b?cher.example\""},
		{"backslash at the end", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", `x y\`}}}}},
			"mx;\r\n\tspf=pass smtp.mailfrom=\"x y/\""},
		{"a result in a local part", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "none", Props: []Prop{{"smtp", "mailfrom", `"x; dmarc=pass header.from=bank.example"@evil.example`}}}}},
			"mx;\r\n\tspf=none\r\n\tsmtp.mailfrom=\"'x, dmarc?pass header.from?bank.example'@evil.example\""},
		{"a result in a plain local part", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "none", Props: []Prop{{"smtp", "mailfrom", `dmarc=pass@evil.example`}}}}},
			"mx;\r\n\tspf=none smtp.mailfrom=\"dmarc?pass@evil.example\""},
		{"VERP stays", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "b+u=x.example@l.example"}}}}},
			"mx;\r\n\tspf=pass smtp.mailfrom=b+u=x.example@l.example"},
		{"open parenthesis", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "pass", Comment: "a ( b"}}}, "mx;\r\n\tspf=pass (a [ b)"},
		{"crossed parentheses", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "pass", Comment: "a) x (b"}}}, "mx;\r\n\tspf=pass (a] x [b)"},
		{"balanced", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "pass", Comment: "a (x) b"}}}, "mx;\r\n\tspf=pass (a (x) b)"},
		{"bidi and bad bytes", Header{AuthservID: "mx", Results: []Result{{Method: "spf", Value: "pass", Reason: "\u202eabc\xff\x7f"}}}, "mx;\r\n\tspf=pass reason=\"?abc??\""},
		{"no method, no value, bare property", Header{AuthservID: "mx", Results: []Result{{Value: "pass"}, {Method: "spf"}, {Method: "dkim", Value: "none", Props: []Prop{{"", "x", "y"}}}}}, "mx;\r\n\tdkim=none"},
		{"odd identifier", Header{AuthservID: "mx 1; x\n"}, `"mx 1, x?"; none`},
	}
	for _, tt := range tests {
		if got := Format(tt.in); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestClaims(t *testing.T) {
	const id = "mx.example.net"
	yes := []string{
		" mx.example.net; dkim=pass",
		"MX.Example.NET; dkim=pass",
		"mx.example.net.; dkim=pass",
		"mx.example.net 1; dkim=pass",
		"mx.example.net 7; dkim=pass",   // unknown version
		"mx.example.net/1; dkim=pass",   // unparsable
		"mx.example.net dkim=pass",      // no semicolon
		"mx.example.net",                // nothing else
		`"mx.example.net"; dkim=pass`,   // quoted
		`"mx.example\.net"; dkim=pass`,  // quoted, escaped
		`mx\.example.net; dkim=pass`,    // escaped
		"(c) mx.example.net; dkim=pass", // comment first
		"(a;b) mx.example.net; x=pass",  // comment with a semicolon first
		"\r\n\tmx.example.net;\r\n\tdkim=pass",
		"mx.example.\r\n net; dkim=pass", // folded inside
		"mx.(c)example.net; dkim=pass",   // comment inside
		"mx . example . net; dkim=pass",
		"mx.example.net\x00; dkim=pass",
		"mx.exa\x00mple.net; dkim=pass",
		"mx.ex\u00adample.net; dkim=pass",           // soft hyphen
		"\ufeffmx.example.net; dkim=pass",           // byte order mark
		"mx\u3002example\u3002net; dkim=pass",       // ideographic full stop
		"ｍｘ.example.net; dkim=pass",                 // full width
		"=?utf-8?q?mx=2Eexample.net?=; dkim=pass",   // encoded word
		"=?us-ascii?b?bXguZXhhbXBsZS5uZXQ=?=; x=y",  // encoded word
		"=?a?bad =?utf-8?q?mx=2Eexample.net?=; x=y", // a broken word before it
		"; mx.example.net; dkim=pass",               // empty first part
		"<mx.example.net>; dkim=pass",
		"x mx.example.net; dkim=pass",
		"other.example (mx.example.net); dkim=pass",   // some read any word
		"(open mx; x mx.example.net; dkim=pass",       // comment without end
		`"open mx; x; mx.example.net; dkim=pass`,      // quote without end
		"mx.example.net\xa0; dkim=pass",               // a no-break space in ISO 8859-1
		"mx.example.net\u00a0; dkim=pass",             // and in UTF-8
		"i=1; mx.example.net; dkim=pass"[len("i=1"):], // the instance cut off
		"mx.example.net.evil.example; dkim=pass",      // some compare the beginning
		`"MX.example.network"; dkim=pass`,
	}
	for _, v := range yes {
		if !Claims(v, id) {
			t.Errorf("Claims(%q) = false", v)
		}
	}
	no := []string{
		"", ";", "none",
		"mx2.example.net; dkim=pass",
		"a.mx.example.net; dkim=pass",
		"xmx.example.net; dkim=pass",
		"example.net; dkim=pass",
		"other.example; dkim=pass header.d=mx.example.net",
		"other.example; dkim=pass (mx.example.net)",
		`other.example; dkim=fail reason="; mx.example.net"`,
	}
	for _, v := range no {
		if Claims(v, id) {
			t.Errorf("Claims(%q) = true", v)
		}
	}
	if !Claims("xn--bcher-kva.example; none", "Bücher.example.") || !Claims("bücher.example; none", "xn--bcher-kva.example") {
		t.Error("U-label and A-label are not equal")
	}
	if !Claims("My Server/1; none", "my server/1") {
		t.Error("an identifier that is no host name is not found")
	}
	if Claims("; x", "") {
		t.Error("no identifier is claimed")
	}
}

func TestForged(t *testing.T) {
	h := mail.Header{
		{Name: "authentication-results", Value: " mx.example.net; spf=pass"},
		{Name: "ARC-Authentication-Results", Value: " i=1; mx.example.net; spf=pass"},
		{Name: "Authentication-Results", Value: " other.example; spf=pass"},
		{Name: "X-Mailwicket-Action", Value: " none"},
		{Name: "AUTHENTICATION-RESULTS ", Value: " (c) MX.example.net; spf=pass"},
		{Name: "Authentication-Results", Value: " (open"},
		{Name: "Authentication-Results", Value: " ; dkim=pass"},
		{Name: "Subject", Value: " mx.example.net;"},
	}
	want := []Removal{
		{"Authentication-Results", 5, WhyNameless},
		{"Authentication-Results", 4, WhyNameless},
		{"AUTHENTICATION-RESULTS", 3, WhyClaims},
		{"authentication-results", 1, WhyClaims},
		{"X-Mailwicket-Action", 1, WhyOwn},
	}
	if got := Forged(h, "mx.example.net", "x-mailwicket-action"); !reflect.DeepEqual(got, want) {
		t.Errorf("Forged:\n got %v\nwant %v", got, want)
	}
	if got := Forged(h[1:3], "mx.example.net"); got != nil {
		t.Errorf("Forged removes %v", got)
	}
}

func TestReceivedSPF(t *testing.T) {
	got := ReceivedSPF(SPF{
		Result: "pass", Comment: "mx.example.org: domain of a@example.com designates 2001:db8::1 as permitted sender",
		ClientIP: netip.MustParseAddr("2001:db8::1"), EnvelopeFrom: "a\"\r\nX: y@example.com", Helo: "foo.example.com",
		Identity: "mailfrom", Receiver: "mx.example.org", Mechanism: "ip6:2001:db8::/32",
	})
	want := "pass (mx.example.org: domain of a@example.com designates\r\n\t2001:db8::1 as permitted sender) client-ip=\"2001:db8::1\";\r\n" +
		"\tenvelope-from=\"a'??X: y@example.com\"; helo=foo.example.com;\r\n\tidentity=mailfrom; receiver=mx.example.org;\r\n\tmechanism=\"ip6:2001:db8::/32\""
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := ReceivedSPF(SPF{}); got != "none" {
		t.Errorf("nothing known gives %q", got)
	}
}

// TestHostileInputIsLinear: eight times the input costs about eight times the
// work. Quadratic code would be at sixty-four.
func TestHostileInputIsLinear(t *testing.T) {
	for name, unit := range map[string]string{
		"open comments": "(", "comments": "()", "quotes": `"`, "escapes": `\`, "encoded": "=?a?q?", "encoded2": "=?utf-8?q?x?=",
		"dots": ".", "words": "a ", "wide": "\u00e9 ", "results": ";a=b", "props": " a.b=c", "idn": "\u00e9.", "semicolons": ";",
		"equals": "= ", "long labels": strings.Repeat("\u4e00\u4e01\u4e02", 28) + " ",
	} {
		work := func(n int) func() {
			v := strings.Repeat(unit, n/len(unit))
			return func() {
				Parse(v)
				Parse("mx; spf=pass " + v)
				Claims(v, "mx.example.net")
				Forged(mail.Header{{Name: FieldName, Value: v}}, "mx.example.net")
				Format(Header{AuthservID: v, Results: []Result{{Method: v, Value: v, Reason: v, Comment: v, Props: []Prop{{v, v, v}}}}})
			}
		}
		const n = (maxValue - 64) / 8
		if x := linear.Growth(12, 12, work(n), work(8*n)); x > 30 {
			t.Errorf("%s: eight times the input takes %.1f times as long", name, x)
		}
	}
}

// checkShape holds what no value may break, whatever it was made of: visible
// ASCII, folds that neither end the field nor begin another, lines that fit
// (RFC 5322, 2.1.1), quotes and comments that end.
func checkShape(t *testing.T, v string) {
	t.Helper()
	for i, line := range strings.Split(v, "\r\n") {
		if i > 0 {
			if !strings.HasPrefix(line, "\t") || strings.TrimSpace(line) == "" {
				t.Errorf("line %d could begin a field or is empty: %q", i, line)
			}
			line = line[min(1, len(line)):]
		}
		if len(line)+len(FieldName)+2 > 998 {
			t.Errorf("line of %d bytes", len(line))
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("not visible ASCII: %q", line)
		}
	}
	depth, quoted := 0, false
	for _, c := range v {
		switch {
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
		case c == ')' && !quoted:
			depth--
		}
		if depth < 0 || c == '\\' {
			t.Errorf("unbalanced or escaped: %q", v)
			return
		}
	}
	if depth != 0 || quoted {
		t.Errorf("something is open: %q", v)
	}
}

// passes is how a careless consumer looks for a result.
var passes = regexp.MustCompile(`(?i)(^|[^.\w-])(spf|dkim|dmarc|arc)\s*=\s*"?pass`)

func FuzzFormat(f *testing.F) {
	f.Add("mx", "spf", "pass", "why", "com(ment)", "smtp", "mailfrom", "a@b", 1)
	f.Add("m x", "s\r\nX: y", "p;x", "\"\\", ")(", "a.b", "c=d", "\"x; dmarc=pass\"@c", 2)
	f.Add("", "", "", "\x00\xff", "\u202e", "-", "_", "= pass", 0)
	f.Fuzz(func(t *testing.T, id, method, value, reason, comment, typ, prop, pv string, version int) {
		h := Header{AuthservID: id, Results: []Result{
			{Method: method, Version: version, Value: value, Reason: reason, Comment: comment, Props: []Prop{{typ, prop, pv}, {"smtp", "mailfrom", pv}}},
			{Method: "dmarc", Value: "fail", Reason: pv, Comment: pv, Props: []Prop{{"header", "from", reason}}},
		}}
		out := Format(h)
		checkShape(t, out)
		got, err := Parse(out)
		want := clean(h)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("Parse(Format(h)) = %+v, %v\nwant %+v\nof %q", got, err, want, out)
		}
		if again := Format(got); again != out {
			t.Errorf("not a fixed point:\n%q\n%q", out, again)
		}
		if n := len(got.Results); n != 1 && n != 2 {
			t.Errorf("%d results of at most two", n)
		}
		// What naive consumers see: split at semicolons, no result but ours.
		if parts := strings.Split(out, ";"); len(parts) != len(got.Results)+1 {
			t.Errorf("%d semicolons for %d results: %q", len(parts)-1, len(got.Results), out)
		}
		if !strings.HasPrefix(want.Results[0].Value, "pass") && passes.MatchString(out) {
			t.Errorf("a pass that nobody gave: %q", out)
		}
		checkShape(t, ReceivedSPF(SPF{Result: value, Comment: comment, EnvelopeFrom: pv, Helo: id, Receiver: reason}))
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"mx; none", `"mx" 1; spf=pass (c (d)) reason="x" smtp.mailfrom="a b"@c; dkim/1 = fail header.i=@x`,
		"mx; dmarc=pass action=none;", "(x)mx(y)1(z);(a)a(b)=(c)b", "mx; spf=pass smtp.mailfrom=é@ü",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		h, err := Parse(v)
		if err != nil {
			return
		}
		// What is parsed can be printed, and a printed header is a fixed point.
		want := clean(h)
		got, err := Parse(Format(h))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("Parse(Format(Parse(v))) = %+v, %v; want %+v", got, err, want)
		}
		// A readable identifier is always seen by the lenient reading.
		if id := mail.CanonicalDomain(h.AuthservID); utf8.ValidString(v) && mail.ValidDomain(id) && isHostName(id) && !Claims(v, id) {
			t.Errorf("Claims(%q, %q) = false", v, id)
		}
	})
}

// spellings are ways to write our id that readers understand.
var spellings = []func(id string) string{
	func(id string) string { return id },
	strings.ToUpper,
	func(id string) string { return `"` + id + `"` },
	func(id string) string { return id + ". 1" },
	func(id string) string { return mime.QEncoding.Encode("utf-8", id+"\u00a0") },
	func(id string) string { return mime.BEncoding.Encode("iso-8859-1", id+"\u00a0") },
	func(id string) string { return strings.Replace(id, ".", ".(c)", 1) },
	func(id string) string { return strings.Replace(id, ".", "\r\n .", 1) },
}

// consumers are careless readers: each tells whether it takes a value for one
// of the server id.
var consumers = map[string]func(v, id string) bool{
	"prefix": func(v, id string) bool {
		return strings.HasPrefix(strings.ToLower(strings.TrimSpace(v)), id)
	},
	"first part": firstPart,
	"decoded": func(v, id string) bool {
		dec, err := new(mime.WordDecoder).DecodeHeader(noFolds.Replace(v))
		return err == nil && (firstPart(dec, id) || strings.HasPrefix(strings.ToLower(strings.TrimSpace(dec)), id))
	},
	"by the grammar": func(v, id string) bool {
		h, err := Parse(v)
		return (err == nil || errors.Is(err, ErrVersion)) && strings.EqualFold(strings.TrimSuffix(h.AuthservID, "."), id)
	},
	"without comments": func(v, id string) bool {
		return firstPart(regexp.MustCompile(`\([^()]*\)`).ReplaceAllString(v, ""), id)
	},
}

// firstPart splits at the semicolon, and takes the first word without quotes.
func firstPart(v, id string) bool {
	first, _, _ := strings.Cut(v, ";")
	for _, w := range strings.Fields(first) {
		return strings.EqualFold(strings.TrimSuffix(strings.Trim(w, `"`), "."), id)
	}
	return false
}

// FuzzForged: what any consumer takes for ours is deleted, nothing else than
// Authentication-Results ever is, and then nothing of it is left.
func FuzzForged(f *testing.F) {
	f.Add("(x) ", " 1; spf=pass", "x", 0)
	f.Add("", "; spf=pass", "(;", 4)
	f.Add("\"", ".evil.example", "mx.example.net", 1)
	f.Add(" \t(a;b)", "\xa0; x", "=?utf-8?q?mx=2Eexample?=", 6)
	f.Fuzz(func(t *testing.T, before, after, junk string, how int) {
		const id = "mx.example.net"
		v := before + spellings[uint(how)%uint(len(spellings))](id) + after
		h := mail.Header{{Name: FieldName, Value: v}, {Name: junk, Value: v}, {Name: "authentication-RESULTS", Value: junk}}
		del := map[int]bool{}
		for _, r := range Forged(h, id) {
			if !strings.EqualFold(r.Name, FieldName) {
				t.Errorf("removes %v", r)
			}
			del[r.Index] = true
		}
		var rest mail.Header
		n := 0
		for _, fl := range h {
			if !strings.EqualFold(strings.TrimRight(fl.Name, " \t"), FieldName) {
				rest = append(rest, fl)
				continue
			}
			if n++; del[n] {
				continue
			}
			rest = append(rest, fl)
			for who, ours := range consumers {
				if ours(fl.Value, id) {
					t.Errorf("%q stays, but is ours for a reader of %s", fl.Value, who)
				}
			}
		}
		if left := Forged(rest, id); left != nil {
			t.Errorf("left %v of %q", left, h)
		}
	})
}

func BenchmarkFormat(b *testing.B) {
	h := Header{AuthservID: "mx.example.net", Results: []Result{
		{Method: "spf", Value: "pass", Comment: "client 192.0.2.1 is authorized", Props: []Prop{{"smtp", "mailfrom", "bob@example.com"}}},
		{Method: "dkim", Value: "pass", Comment: "2048-bit rsa", Props: []Prop{{"header", "d", "example.com"}, {"header", "i", "@example.com"}, {"header", "s", "s1"}, {"header", "a", "rsa-sha256"}, {"header", "b", "AbCdEfGh"}}},
		{Method: "dmarc", Value: "pass", Props: []Prop{{"header", "from", "example.com"}, {"policy", "dmarc", "none"}}},
		{Method: "arc", Value: "none"},
		{Method: "iprev", Value: "pass", Props: []Prop{{"policy", "iprev", "192.0.2.1"}}},
	}}
	b.ReportAllocs()
	for b.Loop() {
		Format(h)
	}
}

func BenchmarkParse(b *testing.B) {
	v := "mx.example.net;\r\n\tspf=pass (client 192.0.2.1 is authorized) smtp.mailfrom=bob@example.com;\r\n\tdkim=pass header.d=example.com header.b=AbCdEfGh;\r\n\tdmarc=pass header.from=example.com"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(v); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCutMakesNoOtherDomain(t *testing.T) {
	sub := strings.Repeat("abcdefghi.", 18) // 180 bytes
	sub += strings.Repeat("x", 200-len(sub)-len(".victim.example")) + ".victim.example"
	d := sub + ".evil.example"
	if !mail.ValidDomain(d) {
		t.Fatal(d)
	}
	from := strings.Repeat("a", 200-len("@victim.example")) + "@victim.example.evil.example"
	v := Format(Header{AuthservID: "mx.example.net", Results: []Result{
		{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", from}}},
		{Method: "dkim", Value: "pass", Props: []Prop{{"header", "d", d}}},
		{Method: "dmarc", Value: "pass", Props: []Prop{{"header", "from", d}}},
	}})
	h, err := Parse(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range h.Results {
		for _, p := range r.Props {
			if strings.HasSuffix(p.Value, "victim.example") {
				t.Errorf("%s=%s %s.%s=...%s", r.Method, r.Value, p.Type, p.Property, p.Value[len(p.Value)-24:])
			}
		}
	}
}

func TestKelvinShiftsNoIndex(t *testing.T) {
	h := mail.Header{
		{Name: "X-Mailwic\u212aet-Tags", Value: " x"}, // KELVIN SIGN
		{Name: "X-Mailwicket-Tags", Value: " forged"},
	}
	rs := Forged(h, "mx.example.net", "X-Mailwicket-Tags")
	for _, r := range rs {
		if r.Name == "X-Mailwicket-Tags" && r.Index == 1 {
			return
		}
	}
	t.Errorf("field 1 of the name X-Mailwicket-Tags stays: %+v", rs)
}

// TestLongProblem: words may be cut, names may not.
func TestLongProblem(t *testing.T) {
	long := strings.Repeat("x", 2*maxProp)
	v := ReceivedSPF(SPF{Result: "permerror", EnvelopeFrom: "a@" + long, Problem: long})
	if strings.Contains(v, "envelope-from") || !strings.Contains(v, "problem="+long[:maxText]) {
		t.Errorf("got %q", v)
	}
}
