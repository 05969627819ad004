package author

import (
	netmail "net/mail"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	gomail "github.com/emersion/go-message/mail"

	"mailwicket/filter/author/encword"
	"mailwicket/filter/linear"
	"mailwicket/filter/mail"
)

func from(vs ...string) mail.Header {
	var h mail.Header
	for _, v := range vs {
		h = append(h, mail.Field{Name: "From", Value: " " + v})
	}
	return h
}

func TestParse(t *testing.T) {
	const r = "real.example"
	both := []string{"victim.example", "evil.example"}
	one := []string{r}
	tests := []struct {
		why     string
		in      string
		domains []string
		defect  string
		sloppy  bool // a usable field with a flaw
	}{
		// As it should be.
		{"bare address", "a@real.example", one, "", false},
		{"angle address", "<a@real.example>", one, "", false},
		{"display name", "Ann Onymous <a@real.example>", one, "", false},
		{"quoted display name", `"Onymous, Ann" <a@real.example>`, one, "", false},
		{"escaped quote in it", `"Ann \"A\" O" <a@real.example>`, one, "", false},
		{"obsolete dots in the name, RFC 5322 4.1", "Ann O. Nymous <a@real.example>", one, "", false},
		{"name in a comment", "a@real.example (Ann Onymous)", one, "", false},
		{"nested comment", "a@real.example (Ann (the (real)) one)", one, "", false},
		{"comment with an escaped bracket", `a@real.example (\) :-)`, one, "", false},
		{"encoded name", "=?utf-8?q?Ann_=C3=96?= <a@real.example>", one, "", false},
		{"comma in an encoded word", "=?utf-8?q?=C3=96,_Ann?= <a@real.example>", one, "", false},
		{"raw comma in an encoded word", "=?utf-8?q?O,_Ann?= <a@real.example>", one, "", false},
		{"raw UTF-8 name, RFC 6532", "Änn <a@real.example>", one, "", false},
		{"ISO 8859-1 name", "\xc4nn <a@real.example>", one, "", false},
		{"UTF-8 local part", "änn@real.example", one, "", false},
		{"U-label", "a@Bücher.example", []string{"xn--bcher-kva.example"}, "", false},
		{"A-label", "a@XN--BCHER-KVA.example", []string{"xn--bcher-kva.example"}, "", false},
		{"capitals", "A@REAL.Example", one, "", false},
		{"folded", "Ann\r\n <a@real.example>", one, "", false},
		{"two addresses of one domain", "a@real.example, B <b@real.EXAMPLE>", one, "", false},
		{"empty list elements, RFC 5322 4.4", ",a@real.example,,", one, "", false},
		{"group with members, RFC 6854", "Friends: a@real.example, b@real.example;", one, "", false},
		{"atoms with all signs", "a!#$%&'*+-/=?^_`{|}~b@real.example", one, "", false},
		{"quoted local part", `"a b"@real.example`, one, "", false},
		{"subdomain stays itself", "a@b.c.real.example", []string{"b.c.real.example"}, "", false},
		{"underscore", "a@_x.real.example", []string{"_x.real.example"}, "", false},
		{"one label", "a@localhost", []string{"localhost"}, "", false},
		{"quoted address as name", `"x@victim.example" <a@real.example>`, one, "", false},
		{"address in a comment", "a@real.example (x@victim.example)", one, "", false},
		{"encoded address as name", "=?utf-8?q?x=40victim.example_via_Z?= <a@real.example>", one, "", false},
		{"UUCP and percent hack stay local", "victim.example!x%victim.example@real.example", one, "", false},

		// Sloppy, with one reading.
		{"comma in the name", "Foo, Inc. <a@real.example>", one, "", true},
		{"brackets in the name", "[Foo] Bar <a@real.example>", one, "", true},
		{"colon in the name", "Re: Foo: Bar <a@real.example>", one, "", true},
		{"closing bracket too many", "a@real.example>", one, "", true},
		{"no closing bracket", "Ann <a@real.example", one, "", true},
		{"double brackets", "<<a@real.example>>", one, "", true},
		{"address as name, same domain", "a@real.example <a@real.example>", one, "", true},
		{"single quotes", "'a@real.example' <a@real.example>", one, "", true},
		{"trailing dot", "a@real.example.", one, "", true},
		{"two dots in the local part", "a..b@real.example", one, "", true},
		{"dot at the end of the local part", "a.@real.example", one, "", true},
		{"quote without end", `"Ann <a@real.example>`, one, "", true},
		{"comment without end", "a@real.example (Ann", one, "", true},
		{"no comma", "a@real.example b@real.example", one, "", true},
		{"at-sign in the name", "Sales@Shop <a@real.example>", one, "", true},
		{"twelve o'clock", "Lunch @ Joe's <a@real.example>", one, "", true},
		{"blanks around the at-sign", "a @ real.example", one, "", true},
		{"comment in an address", "a(x)@real.example", one, "", true},
		{"semicolon as comma", "a@real.example; b@real.example", one, "", true},
		{"text after", "<a@real.example> Ann", one, "", true},

		// Nothing to hold on to.
		{"empty", "", nil, NoDomain, false},
		{"null", "<>", nil, NoDomain, false},
		{"local only", "MAILER-DAEMON", nil, NoDomain, false},
		{"local only in brackets", "Ann <ann>", nil, NoDomain, false},
		{"empty group", "undisclosed-recipients:;", nil, NoDomain, false},
		{"no domain after the at-sign", "a@", nil, NoDomain, false},
		{"only commas", ",,", nil, NoDomain, false},
		{"address literal", "a@[192.0.2.1]", nil, BadDomain, false},
		{"empty label", "a@real..example", nil, BadDomain, false},
		{"label of 64 bytes", "a@" + strings.Repeat("x", 64) + ".example", nil, BadDomain, false},
		{"name of 300 bytes", "a@" + strings.Repeat("x.", 150) + "example", nil, BadDomain, false},
		{"ISO 8859-1 domain", "a@b\xfccher.example", []string{"cher.example"}, BadDomain, false},

		// Several domains.
		{"two addresses", "<a@victim.example>, <b@evil.example>", both, ManyDomains, false},
		{"two in a group", "x: a@victim.example, b@evil.example;", both, ManyDomains, false},
		{"group and address", "x: a@victim.example;, b@evil.example", both, ManyDomains, false},
		{"six", "a@1.ex, a@2.ex, a@3.ex, a@4.ex, a@5.ex, a@6.ex", []string{"1.ex", "2.ex", "3.ex", "4.ex", "5.ex"}, TooMany, false},
		{"subdomain and parent", "a@x.real.example, b@real.example", []string{"x.real.example", r}, ManyDomains, false},
		{"literal and name", "a@[192.0.2.1], b@real.example", one, BadDomain, false},

		// Attacks: each hides one of two domains from some reader.
		{"address as unquoted name", "a@victim.example <x@evil.example>", both, Malformed, false},
		{"two bracketed addresses without comma", "<a@victim.example> <x@evil.example>", both, Malformed, false},
		{"escaped comma", `<a@victim.example>\,<x@evil.example>`, both, Malformed, false},
		{"two at-signs", "a@victim.example@evil.example", both, Malformed, false},
		{"source route", "<@victim.example,@other.example:x@evil.example>", []string{"evil.example", "victim.example", "other.example"}, Malformed, false},
		{"source route without brackets", "@victim.example:x@evil.example", both, Malformed, false},
		{"quoted local part holds an address", `"a@victim.example>"@evil.example`, []string{"evil.example", "victim.example"}, Malformed, false},
		{"and another way", `"a@victim.example"@evil.example`, []string{"evil.example", "victim.example"}, Malformed, false},
		{"comment before the domain", "<x@(victim.example)evil.example>", []string{"evil.example", "victim.example"}, Malformed, false},
		{"comment inside the domain", "x@victim.example(y).evil.example", []string{"victim.example.evil.example", "victim.example"}, Malformed, false},
		{"comment splits the address", "a@victim.example(<x@evil.example)", both, "-", false},
		{"open comment hides an address", "<x@victim.example>(<a@evil.example>", both, Malformed, false},
		{"blank inside the domain", "x@victim.example .evil.example", []string{"victim.example.evil.example", "victim.example"}, Malformed, false},
		{"fold inside the domain", "x@victim.example\r\n .evil.example", []string{"victim.example.evil.example", "victim.example"}, Malformed, false},
		{"NUL ends the domain", "a@victim.example\x00.evil.example", []string{"victim.example", "evil.example", "victim.example.evil.example"}, Malformed, false},
		{"NUL inside a label", "a@victim.exa\x00mple", []string{"victim.exa", "victim.example"}, Malformed, false},
		{"carriage return", "a@victim.example\rx@evil.example", []string{"victim.example", "evil.example", "victim.examplex"}, Malformed, false},
		{"escape inside the domain", `a@vic\tim.example`, []string{"tim.example", "victim.example"}, Malformed, false},
		{"encoded word as address", "=?utf-8?q?=3Ca=40victim.example=3E?=, <x@evil.example>", []string{"evil.example", "victim.example"}, Malformed, false},
		{"encoded brackets in a name", "=?utf-8?b?PGFAdmljdGltLmV4YW1wbGU+?= <x@evil.example>", []string{"evil.example", "victim.example"}, Malformed, false},
		{"encoded brackets in two words", "=?utf-8?q?=3Ca=40victim?= =?utf-8?q?=2Eexample=3E?= <x@evil.example>", []string{"evil.example", "victim.example"}, Malformed, false},
		{"encoded local part", "=?utf-8?q?a=40victim.example=2C?=@evil.example", []string{"evil.example", "victim.example"}, Malformed, false},
		{"raw brackets in an encoded word", "=?utf-8?q?<a@victim.example>?= <x@evil.example>", []string{"evil.example", "victim.example"}, Malformed, false},
		{"quote in an encoded word moves the quoting", `=?utf-8?q?"?=" <a@victim.example> " <x@evil.example>`, []string{"evil.example", "victim.example"}, Malformed, false},
		{"broken encoded word before it", "=?x =?utf-8?q?=3Ca=40victim.example=3E?= <x@evil.example>", []string{"evil.example", "victim.example"}, Malformed, false},
		{"odd character after the domain", "a@victim.example!evil.example", both, BadDomain, false},
		{"full-width at-sign", "a@victim.example＠evil.example", both, BadDomain, false},
		{"ideographic full stop", "a@victim。example", []string{"victim.example"}, "", false},
		{"soft hyphen", "a@vic\u00adtim.example", []string{"victim.example"}, "", false},
		{"trailing dots", "a@victim.example..", []string{"victim.example"}, "", true},
		{"group hides an address", "x: <a@victim.example>; <b@evil.example>", both, Malformed, false},
		{"open quote hides an address", `"<a@victim.example> <x@evil.example>`, both, Malformed, false},
		{"semicolon", "a@victim.example; <x@evil.example>", both, Malformed, false},
		{"bracketed address in a comment", "<x@evil.example> (<a@victim.example>)", both, Malformed, false},
		{"bracketed address in an encoded comment", "x@evil.example (=?utf-8?q?=3Ca=40victim.example=3E?=)", both, Malformed, false},
		{"the same address in a comment", "a@real.example (Ann <a@real.example>)", one, "", false},
		{"label of 64 characters", "a@" + strings.Repeat("\u4e00", 64) + ".example", nil, BadDomain, false},
	}
	for _, tt := range tests {
		f := Parse(from(tt.in))
		slices.Sort(f.Domains)
		want := slices.Sorted(slices.Values(tt.domains))
		if tt.defect == "-" { // a comment that ends: its text is a name
			want, tt.defect = []string{"victim.example"}, ""
		}
		if f.Defect != tt.defect || !slices.Equal(f.Domains, want) || (f.Defect == "" && f.Detail != "") != tt.sloppy {
			t.Errorf("%s: %q\n got %q %q %q\nwant %q %q sloppy=%v", tt.why, tt.in, f.Domains, f.Defect, f.Detail, want, tt.defect, tt.sloppy)
		}
		if f.Defect != "" && f.Detail == "" {
			t.Errorf("%s: no detail", tt.why)
		}
	}
	if len(tests) < 60 {
		t.Errorf("%d cases", len(tests))
	}
}

func TestParseFields(t *testing.T) {
	if f := Parse(nil); f.Defect != Missing || f.Domains != nil {
		t.Errorf("no field: %+v", f)
	}
	f := Parse(from("a@victim.example", "b@evil.example"))
	if f.Defect != Repeated || !slices.Equal(f.Domains, []string{"victim.example", "evil.example"}) {
		t.Errorf("two fields: %+v", f)
	}
	if f := Parse(from("a@real.example", "a@real.example")); f.Defect != Repeated {
		t.Errorf("twice the same: %+v", f)
	}
	h := mail.Header{{Name: "FROM ", Value: "a@real.example"}, {Name: "Sender", Value: "x@y"}, {Name: "Resent-From", Value: "x@y"}, {Name: "X-From", Value: "x@y"}}
	if f := Parse(h); f.Defect != "" || !slices.Equal(f.Domains, []string{"real.example"}) {
		t.Errorf("only From counts: %+v", f)
	}
	long := strings.Repeat("x@victim.example, ", maxField/10)
	if f := Parse(from(long + "a@real.example")); f.Defect != Malformed || !slices.Equal(f.Domains, []string{"victim.example"}) {
		t.Errorf("too long: %+v", f)
	}
	if f := Parse(from(long, "a@real.example")); f.Defect != Repeated || !slices.Equal(f.Domains, []string{"victim.example", "real.example"}) {
		t.Errorf("two fields, one too long: %+v", f)
	}
	f = Parse(from(`"Ann" <"a b"@Real.example>, c@REAL.example (x@look.example) `))
	if !slices.Equal(f.Addresses, []string{`"a b"@real.example`, "c@real.example"}) || !slices.Equal(f.Lookalikes, []string{"look.example"}) {
		t.Errorf("addresses: %+v", f)
	}
	f = Parse(from("=?utf-8?q?x=40look.example_via_Z?= <a@real.example>"))
	if !slices.Equal(f.Lookalikes, []string{"look.example"}) {
		t.Errorf("lookalikes: %+v", f)
	}
}

func TestDefects(t *testing.T) {
	base := mail.Header{{Name: "From", Value: " a@b.example"}, {Name: "Date", Value: " now"}}
	with := func(fs ...mail.Field) mail.Header { return append(slices.Clone(base), fs...) }
	f := func(name, value string) mail.Field { return mail.Field{Name: name, Value: value} }
	tests := []struct {
		name string
		h    mail.Header
		want []string
	}{
		{"clean", base, nil},
		{"folded", with(f("Subject", " a\r\n b")), nil},
		{"nothing", nil, []string{"missing_date", "missing_from"}},
		{"repeated", with(f("Subject", " a"), f("subject ", " b"), f("From", " x@y"), f("DATE", ""), f("To", ""), f("to", ""), f("Sender", "a@b"), f("Sender", "a@b"), f("Message-Id", ""), f("Message-ID", "")),
			[]string{"repeated_date", "repeated_from", "repeated_sender", "repeated_to", "repeated_message_id", "repeated_subject", "bad_name"}},
		{"rest of repeated", with(f("Reply-To", ""), f("Reply-To", ""), f("Cc", ""), f("Cc", ""), f("Bcc", ""), f("Bcc", ""), f("References", ""), f("References", ""), f("In-Reply-To", ""), f("In-Reply-To", "")),
			[]string{"repeated_reply_to", "repeated_cc", "repeated_bcc", "repeated_in_reply_to", "repeated_references"}},
		{"trace fields may repeat", with(f("Received", ""), f("Received", ""), f("Comments", ""), f("Comments", "")), nil},
		{"malformed From", mail.Header{f("From", "a@b.example <c@d.example>"), f("Date", "")}, []string{"malformed_from"}},
		{"sloppy From", mail.Header{f("From", "Foo, Inc. <c@d.example>"), f("Date", "")}, []string{"sloppy_from"}},
		{"two authors, no Sender", mail.Header{f("From", "a@b.example, c@d.example"), f("Date", "")}, []string{"missing_sender"}},
		{"two authors", mail.Header{f("From", "a@b.example, c@d.example"), f("Date", ""), f("Sender", "a@b.example")}, nil},
		{"two senders", with(f("Sender", "a@b.example, c@d.example")), []string{"multiple_sender"}},
		{"bad sender", with(f("Sender", "<>")), []string{"malformed_sender"}},
		{"names", with(f("X y", ""), f("X\xe4", "")), []string{"bad_name", "8bit_name"}},
		{"empty name", with(f("", "")), []string{"bad_name"}},
		{"NUL", with(f("X", "a\x00")), []string{"nul"}},
		{"bare CR", with(f("X", "a\rb")), []string{"bare_cr"}},
		{"CR at the end", with(f("X", "a\r")), []string{"bare_cr"}},
		{"bare LF", with(f("X", "a\n b")), []string{"bare_lf"}},
		{"escape", with(f("X", "\x1b[0m")), []string{"control_bytes"}},
		{"DEL", with(f("X", "\x7f")), []string{"control_bytes"}},
		{"ISO 8859-1", with(f("X", "\xe4")), []string{"invalid_utf8"}},
		{"UTF-8", with(f("X", "ä")), nil},
		{"blank fold", with(f("X", "a\r\n \r\n b")), []string{"blank_fold"}},
		{"998", with(f("X", strings.Repeat("x", 996))), nil},
		{"999", with(f("X", strings.Repeat("x", 997))), []string{"long_line"}},
		{"999 in a fold", with(f("X", "a\r\n "+strings.Repeat("x", 998))), []string{"long_line"}},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		got := Defects(tt.h)
		if len(got) == 0 {
			got = nil
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		for _, w := range got {
			seen[w] = true
		}
	}
	for _, w := range DefectWords() {
		if !seen[w] {
			t.Errorf("no case gives %s", w)
		}
	}
}

func TestSubject(t *testing.T) {
	tests := []struct{ in, want string }{
		{" Hello", "Hello"},
		{" =?utf-8?q?K=C3=B6ln?=\r\n =?iso-8859-15?q?_=A4?=", "Köln €"},
		{" a\x00b\x1bc", "a b c"},
		{" =?utf-8?q?a=0D=0AX-Evil:_1?=", "a  X-Evil: 1"},
		{" \u202eevil", "evil"},
		{" 👩\u200d🚀", "👩\u200d🚀"},
		{" " + strings.Repeat("ä", 600), strings.Repeat("ä", 500)},
	}
	for _, tt := range tests {
		if got := Subject(mail.Header{{Name: "subject", Value: tt.in}, {Name: "Subject", Value: "second"}}); got != tt.want {
			t.Errorf("Subject(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	if got := Subject(nil); got != "" {
		t.Errorf("no Subject gives %q", got)
	}
}

func TestListID(t *testing.T) {
	tests := []struct {
		in, want string
		ok       bool
	}{
		{" The list <List.Example.org>", "list.example.org", true},
		{" list.example.org", "list.example.org", true},
		{" \"a <b>\" <list.example.org>", "list.example.org", true},
		{" <list.example.org", "list.example.org", true},
		{" <>", "", false},
		{" ", "", false},
		{" <a\r\n b>", "a b", true},
	}
	for _, tt := range tests {
		if got, ok := ListID(mail.Header{{Name: "List-ID", Value: tt.in}}); got != tt.want || ok != tt.ok {
			t.Errorf("ListID(%q) = %q, %v", tt.in, got, ok)
		}
	}
	if _, ok := ListID(nil); ok {
		t.Error("no field gives an identifier")
	}
}

// TestHostileInputIsLinear: eight times the input costs about eight times the
// work. Quadratic code would be at sixty-four.
func TestHostileInputIsLinear(t *testing.T) {
	var many strings.Builder // code points, the worst case of Punycode
	for r := rune(0x4e00); many.Len() < 3000; r++ {
		many.WriteRune(r)
	}
	for _, unit := range []string{
		"(", "(\\", "()", "\"", "[", "\\", "<", "@", "a@b,", "a@b.example,", "<@a", "a.", ",", ":", ";", "x:;", "=?", "=?a?q?", "=?a?q?@<?=", "=?utf-8?q?=40?= ",
		"\x00", "\u00e9", "\u00e9.", "@\u00e9", "a@\u00e9.", "( a@b ", "a ", "\r\n ", "a@\xff", ".", "\u4e00\u4e01\u4e02\u4e03", many.String(), "a@" + many.String() + ">",
	} {
		work := func(n int) func() {
			v := strings.Repeat(unit, 1+n/len(unit))
			return func() {
				for _, s := range []string{v, "<a@b" + v, "a@" + v, v + "@b.example", "x <" + v + "@b.example>"} {
					h := mail.Header{{Name: "From", Value: s}, {Name: "Sender", Value: s}, {Name: "Subject", Value: s}, {Name: "List-Id", Value: s}}
					Defects(h)
					Subject(h)
					ListID(h)
				}
			}
		}
		if x := linear.Growth(12, 12, work(4000), work(8*4000)); x > 30 {
			t.Errorf("%.20q: eight times the input takes %.1f times as long", unit, x)
		}
	}
}

func FuzzFrom(f *testing.F) {
	for _, s := range []string{
		"Ann <a@b.example>", `"a@b.example"@c.example`, "x: a@b, c@d;", "<@a.example:b@c.example>", "=?utf-8?q?=40?= <a@b>",
		"a@b(c).d", "a@[1.2.3.4]", "\x00a@b\r\n c", "Foo, Inc. <a@b.example>", "ä@ü.example", "a @ b . c", "'a@b.c' <a@b.c>", "=?utf-8?q?\"?=\"<a@b.c>\"<d@e.f>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		got := Parse(from(v))
		if len(got.Domains) > MaxDomains || len(got.Addresses) > maxAddresses {
			t.Errorf("too much: %+v", got)
		}
		if !slices.Contains(FromDefects(), got.Defect) || (got.Defect == "" && len(got.Domains) != 1) {
			t.Errorf("%q: %+v", v, got)
		}
		if got.Defect == ManyDomains && len(got.Domains) < 2 || got.Defect == NoDomain && len(got.Domains) > 0 {
			t.Errorf("%q: %+v", v, got)
		}
		for _, d := range append(got.Domains, got.Lookalikes...) {
			if !isHost(d) || mail.CanonicalDomain(d) != d {
				t.Errorf("%q: domain %q is not canonical", v, d)
			}
		}
		for _, a := range got.Addresses {
			if strings.ContainsFunc(a, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.ValidString(a) {
				t.Errorf("%q: address %q", v, a)
			}
		}
		if again := Parse(from(v)); !reflect.DeepEqual(got, again) {
			t.Errorf("%q: %+v, then %+v", v, got, again)
		}
		// What a simple consumer reads is among the domains, or there is a defect.
		if got.Defect != Usable {
			return
		}
		for reader, domains := range consumers(v) {
			for _, d := range domains {
				if d = mail.CanonicalDomain(strings.TrimSpace(d)); isHost(d) && !slices.Contains(got.Domains, d) {
					t.Errorf("%q: %s reads %q, we %+v", v, reader, d, got)
				}
			}
		}
	})
}

var lastAngle = regexp.MustCompile(`<([^<>]*@[^<>]*)>`)

// consumers gives what readers of other makes take for the author's domains.
func consumers(v string) map[string][]string {
	out := map[string][]string{}
	add := func(reader, addr string) {
		out[reader] = append(out[reader], addr[strings.LastIndexByte(addr, '@')+1:])
	}
	if list, err := netmail.ParseAddressList(strings.TrimSpace(v)); err == nil {
		for _, a := range list {
			add("net/mail", a.Address)
		}
	}
	var h gomail.Header
	h.Set("From", strings.TrimSpace(v))
	if list, err := h.AddressList("From"); err == nil {
		for _, a := range list {
			add("go-message", a.Address)
		}
	}
	if all := lastAngle.FindAllStringSubmatch(v, -1); len(all) > 0 {
		add("last brackets", all[len(all)-1][1])
	}
	if all := lastAngle.FindAllStringSubmatch(encword.Decode(v), -1); len(all) > 0 {
		add("last brackets, decoded", all[len(all)-1][1])
	}
	return out
}

func FuzzDefects(f *testing.F) {
	f.Add("From", " a@b", "Subject", "x\r\n y\x00")
	f.Add("Sender", "", "\xff", "\r")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		h := mail.Header{{Name: n1, Value: v1}, {Name: n2, Value: v2}, {Name: n1, Value: v2}}
		got := Defects(h)
		words := DefectWords()
		at := -1
		for _, w := range got {
			i := slices.Index(words, w)
			if i <= at {
				t.Errorf("%q is out of order or unknown in %q", w, got)
			}
			at = i
		}
		// One word never hides another: more fields, no fewer repetitions.
		for _, w := range Defects(h[:2]) {
			if strings.HasPrefix(w, "repeated_") && !slices.Contains(got, w) {
				t.Errorf("%q vanished", w)
			}
		}
		if s := Subject(mail.Header{{Name: "Subject", Value: v1}}); utf8.RuneCountInString(s) > maxSubject || !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00") {
			t.Errorf("Subject %q", s)
		}
		if s, ok := ListID(mail.Header{{Name: "List-Id", Value: v1}}); ok != (s != "") || len(s) > maxListID || !utf8.ValidString(s) {
			t.Errorf("ListID %q", s)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	h := mail.Header{
		{Name: "Received", Value: " from x by y; now"}, {Name: "Received", Value: " from x by y; now"},
		{Name: "DKIM-Signature", Value: " v=1; d=real.example"}, {Name: "Date", Value: " now"},
		{Name: "To", Value: " Bob <bob@other.example>"}, {Name: "Subject", Value: " Hello"},
		{Name: "From", Value: ` "Onymous, Ann" <ann@real.example>`},
	}
	b.ReportAllocs()
	for b.Loop() {
		Parse(h)
	}
}

// Python's email.utils.parseaddr and email.policy.default both read the first
// address of these as v@victim.example.
func TestObsoleteDomainAfterLexError(t *testing.T) {
	for _, in := range []string{
		"v@victim .example <x@evil.example> [",
		"v@victim. example <x@evil.example> (",
		"v@victim .example]",
		"v@victim .example(",
		`v@victim .example <x@evil.example> "`,
	} {
		f := Parse(from(in))
		if !slices.Contains(f.Domains, "victim.example") {
			t.Errorf("%q: defect %q, author %q (%s)", in, f.Defect, f.Domains, f.Detail)
		}
	}
}

// Python's email.policy.default reads v@victim.example.
func TestEncodedWordBeforeBackslash(t *testing.T) {
	f := Parse(from(`=?utf-8?q?v=40victim.example?=\evil.example`))
	if f.Defect == Usable {
		t.Errorf("usable, author %q (%s)", f.Domains, f.Detail)
	}
}

func TestLongLocalPart(t *testing.T) {
	local := strings.Repeat("a", maxAddress-len("@trusted.example"))
	f := Parse(from(local + "@trusted.example.evil.example"))
	got := mail.ParsePath(f.Addresses[0]).Domain
	if got != "trusted.example.evil.example" {
		t.Errorf("defect %q, Domains %q, but Addresses[0] is at %q", f.Defect, f.Domains, got)
	}
}
