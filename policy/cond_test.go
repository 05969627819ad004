package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// compile takes rules that have to be right.
func compile(t testing.TB, rules ...policy.Rule) *policy.Policy {
	t.Helper()
	p, problems := policy.Compile(rules)
	for _, x := range problems {
		t.Fatal(x)
	}
	return p
}

func leaf(field string, m policy.Match) policy.Cond {
	return policy.Cond{Leaf: &policy.Leaf{Field: field, Match: m}}
}

func text(field string, op policy.Op, words ...string) policy.Cond {
	return leaf(field, policy.Match{Op: op, Text: words})
}

func no(c policy.Cond) policy.Cond     { return policy.Cond{Not: &c} }
func all(c ...policy.Cond) policy.Cond { return policy.Cond{All: c} }
func some(c ...policy.Cond) policy.Cond {
	return policy.Cond{Any: c}
}

// step tells how a condition fared at the end of the message.
func step(t *testing.T, c policy.Cond, s fact.Set) policy.Step {
	t.Helper()
	p := compile(t, policy.Rule{Name: "r", Stage: mail.StageMessage, When: c, Do: policy.Action{Tags: []string{"x"}}})
	s.Stage = mail.StageMessage
	return p.Decide(&s).Trace[0]
}

func truthOf(s policy.Step) string {
	switch {
	case s.Matched:
		return "T"
	case s.Unknown:
		return "U"
	}
	return "F"
}

// Conditions with a settled truth, each over a field of its own.
var (
	condT = text("helo.kind", policy.Equals, "ok")
	condF = text("iprev.result", policy.Equals, "pass")
	condU = text("spf.result", policy.Equals, "fail")
	facts = fact.Set{
		Conn: fact.Conn{HeloIs: fact.Is("ok"), Iprev: fact.Is(fact.Iprev{Result: "fail"})},
		Txn:  fact.Txn{SPF: fact.Fail[fact.SPF]("timeout")},
	}
)

func TestKleene(t *testing.T) {
	T, F, U := condT, condF, condU
	cases := []struct {
		name string
		c    policy.Cond
		want string
	}{
		{"T", T, "T"}, {"F", F, "F"}, {"U", U, "U"},
		{"not T", no(T), "F"}, {"not F", no(F), "T"}, {"not U", no(U), "U"}, {"not not U", no(no(U)), "U"},
		{"TT", all(T, T), "T"}, {"TF", all(T, F), "F"}, {"TU", all(T, U), "U"},
		{"FF", all(F, F), "F"}, {"FU", all(F, U), "F"}, {"UF", all(U, F), "F"}, {"UU", all(U, U), "U"},
		{"T|F", some(T, F), "T"}, {"F|F", some(F, F), "F"}, {"F|U", some(F, U), "U"}, {"U|F", some(U, F), "U"},
		{"U|T", some(U, T), "T"}, {"U|U", some(U, U), "U"},
		{"not (U or F)", no(some(U, F)), "U"}, {"not (U and F)", no(all(U, F)), "T"}, {"not (U or T)", no(some(U, T)), "F"},
		{"(F or U) and T", all(some(F, U), T), "U"}, {"(F or U) and F", all(some(F, U), F), "F"},
		{"not (T and not (F or T))", no(all(T, no(some(F, T)))), "T"},
		{"U or not U", some(U, no(U)), "U"}, {"U and not U", all(U, no(U)), "U"},
		{"nothing", policy.Cond{}, "T"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := truthOf(step(t, c.c, facts)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The step names a condition that has the outcome's truth, as it was asked:
// under a "not" the wish is turned round.
func TestTraceNamesTheCause(t *testing.T) {
	T, F, U := condT, condF, condU
	cases := []struct {
		name string
		c    policy.Cond
		want string
	}{
		{"false leaf", F, `iprev.result: "pass", got "fail"`},
		{"unknown leaf", U, `spf.result: "fail", got failed (timeout)`},
		{"the false one settles", all(U, F), `iprev.result: "pass", got "fail"`},
		{"the unknown one settles", all(T, U), `spf.result: "fail", got failed (timeout)`},
		{"any: the first", some(F, no(T)), `iprev.result: "pass", got "fail"`},
		{"any: the unknown one", some(F, U), `spf.result: "fail", got failed (timeout)`},
		{"not", no(T), `helo.kind: not "ok", got "ok"`},
		{"not not", no(no(F)), `iprev.result: "pass", got "fail"`},
		{"not any: the one that held", no(some(F, T)), `helo.kind: not "ok", got "ok"`},
		{"not all: the first", no(all(T, no(F))), `helo.kind: not "ok", got "ok"`},
		{"not unknown", no(U), `spf.result: not "fail", got failed (timeout)`},
		{"inside not any", no(some(F, no(F))), `iprev.result: "pass", got "fail"`},
		{"negated match", leaf("helo.kind", policy.Match{Not: &policy.Match{Op: policy.Equals, Text: []string{"ok", "own"}}}),
			`helo.kind: not one of ["ok" "own"], got "ok"`},
		{"not negated match", no(leaf("iprev.result", policy.Match{Not: &policy.Match{Op: policy.Equals, Text: []string{"pass"}}})),
			`iprev.result: "pass", got "fail"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := step(t, c.c, facts)
			if s.Matched {
				t.Fatal("matched")
			}
			if got := fmt.Sprintf("%s: %s, got %s", s.Field, s.Want, s.Got); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// values is a set with one field of each kind.
func values() fact.Set {
	return fact.Set{
		Conn: fact.Conn{IP: fact.Is(netip.MustParseAddr("192.0.2.7")), Dynamic: fact.Is(true)},
		Txn: fact.Txn{
			Subject: fact.Is("Invoice 123456 Überfällig"), Fields: fact.Is(18), DeferAge: fact.Is(90 * time.Minute), MessageID: fact.Is(""),
			From:     fact.Is(fact.From{Addresses: []string{"a@Mail.Example.com", "b@other.example"}, Domains: []string{"mail.example.com", "other.example"}}),
			Defects:  fact.Is([]string{}),
			MailFrom: fact.Is(mail.ParsePath("<Ann@Example.com>")),
			DMARC:    fact.Is(fact.DMARC{Result: "temperror"}),
		},
	}
}

func TestOperators(t *testing.T) {
	const fields = "header.fields"     // 18
	const age = "defer.age"            // 90 minutes
	const from = "header_from.domain"  // two
	const subject = "header.subject"   // of mixed case
	const defects = "header.defects"   // none
	const id = "header.message_id"     // known, but empty
	const sender = "mail_from.address" // Ann@example.com
	num := func(f string, op policy.Op, n float64) policy.Cond { return leaf(f, policy.Match{Op: op, Num: n}) }
	yes := func(f string, op policy.Op, b bool) policy.Cond { return leaf(f, policy.Match{Op: op, Bool: b}) }
	not := func(m policy.Match) policy.Match { return policy.Match{Not: &m} }
	cases := []struct {
		c    policy.Cond
		want string
	}{
		{text(subject, policy.Equals, "invoice 123456 überfällig"), "T"}, {text(subject, policy.Equals, "INVOICE"), "F"},
		{text(sender, policy.Equals, "x", "ANN@example.COM"), "T"},
		{text(subject, policy.Prefix, "INVOICE"), "T"}, {text(subject, policy.Prefix, "nvoice", "bill"), "F"},
		{text(subject, policy.Suffix, "FÄLLIG"), "T"}, {text(subject, policy.Suffix, "fäll"), "F"},
		{text(subject, policy.Contains, "bill", "123"), "T"}, {text(subject, policy.Contains, "1235"), "F"},
		{text(subject, policy.Regex, `^invoice\s+\d{6}\b`), "T"}, {text(subject, policy.Regex, `(?-i:invoice)`), "F"},
		{text(subject, policy.Regex, `bill|INVOICE`), "T"},
		{text(from, policy.Equals, "other.example"), "T"}, {text(from, policy.Equals, "example.com"), "F"},
		{text(from, policy.Under, "Example.COM."), "T"}, {text(from, policy.Under, "ample.com"), "F"},
		{text(from, policy.Under, "mail.example.com"), "T"}, {text(from, policy.Under, "x.mail.example.com"), "F"},
		{text(from, policy.Under, "bücher.example"), "F"},
		{leaf(from, not(policy.Match{Op: policy.Equals, Text: []string{"other.example"}})), "F"}, // any value matches: not none
		{text(defects, policy.Equals, "no_date"), "F"}, {yes(defects, policy.Empty, true), "T"}, {yes(defects, policy.Empty, false), "F"},
		{yes(id, policy.Empty, true), "T"}, {yes(subject, policy.Empty, true), "F"}, {yes("header.list_id", policy.Empty, true), "U"},
		{num(fields, policy.Equals, 18), "T"}, {num(fields, policy.Equals, 17), "F"},
		{num(fields, policy.Less, 18), "F"}, {num(fields, policy.Less, 18.5), "T"}, {num(fields, policy.AtMost, 18), "T"},
		{num(fields, policy.Greater, 18), "F"}, {num(fields, policy.Greater, 17), "T"}, {num(fields, policy.AtLeast, 18), "T"}, {num(fields, policy.AtLeast, 19), "F"},
		{num(age, policy.Less, 5400), "F"}, {num(age, policy.AtMost, 5400), "T"}, {num(age, policy.Equals, 5400), "T"},
		{num(age, policy.Greater, 3600), "T"}, {num(age, policy.AtLeast, 5401), "F"},
		{num("message.size", policy.Less, 1), "U"},
		{yes("client.dynamic", policy.Is, true), "T"}, {yes("client.dynamic", policy.Is, false), "F"}, {yes("client.trusted", policy.Is, false), "U"},
		{text("client.ip", policy.In, "198.51.100.0/24", "192.0.2.0/29"), "T"}, {text("client.ip", policy.In, "192.0.2.8/29"), "F"},
		{text("client.ip", policy.In, "192.0.2.7"), "T"}, {text("client.ip", policy.In, "::ffff:192.0.2.0/120"), "T"},
		{text("client.ip", policy.In, "::ffff:192.0.2.7"), "T"}, {text("client.ip", policy.In, "2001:db8::/32"), "F"},
		{text("client.ip", policy.State, "known"), "T"}, {text("client.name", policy.State, "failed", "ABSENT"), "T"},
		{text("client.ip", policy.State, "absent"), "F"}, {no(text("client.name", policy.State, "known")), "T"},
		{leaf(fields, policy.Match{All: []policy.Match{{Op: policy.Greater, Num: 10}, {Op: policy.Less, Num: 20}}}), "T"},
		{leaf(fields, policy.Match{All: []policy.Match{{Op: policy.Greater, Num: 10}, {Op: policy.Less, Num: 15}}}), "F"},
		{leaf(fields, not(policy.Match{All: []policy.Match{{Op: policy.Greater, Num: 10}, {Op: policy.Less, Num: 15}}})), "T"},
		{leaf("client.name", not(policy.Match{Op: policy.Equals, Text: []string{"a"}})), "U"},
		{leaf("client.name", not(policy.Match{Op: policy.State, Text: []string{"known"}})), "T"},
	}
	for _, c := range cases {
		t.Run(name(c.c), func(t *testing.T) {
			s := step(t, c.c, values())
			if got := truthOf(s); got != c.want {
				t.Errorf("got %s, want %s: %+v", got, c.want, s)
			}
		})
	}
}

// A link-local client's zone does not keep it out of its network.
func TestAddressesAreBare(t *testing.T) {
	for _, a := range []string{"fe80::1%eth0", "fe80::1"} {
		s := fact.Set{Conn: fact.Conn{IP: fact.Is(netip.MustParseAddr(a))}}
		if got := truthOf(step(t, text("client.ip", policy.In, "fe80::/10"), s)); got != "T" {
			t.Errorf("%s: %s", a, got)
		}
	}
	s := fact.Set{Conn: fact.Conn{IP: fact.Is(netip.MustParseAddr("::ffff:192.0.2.1"))}}
	if got := truthOf(step(t, text("client.ip", policy.In, "192.0.2.1"), s)); got != "T" {
		t.Errorf("mapped: %s", got)
	}
}

func name(c policy.Cond) string {
	if c.Not != nil {
		return "not " + name(*c.Not)
	}
	return c.Leaf.Field + " " + c.Leaf.Match.String()
}

// A temporary error is neither a pass nor a fail: it matches by its name, and
// nothing else may be concluded from it.
func TestTemperrorIsNoAnswer(t *testing.T) {
	not := func(words ...string) policy.Match {
		return policy.Match{Not: &policy.Match{Op: policy.Equals, Text: words}}
	}
	for _, c := range []struct {
		m    policy.Match
		want string
	}{
		{policy.Match{Op: policy.Equals, Text: []string{"temperror"}}, "T"},
		{policy.Match{Op: policy.Equals, Text: []string{"fail", "TempError"}}, "T"},
		{policy.Match{Op: policy.Equals, Text: []string{"fail", "none"}}, "U"},
		{not("pass"), "U"}, {not("pass", "temperror"), "F"},
		{policy.Match{Op: policy.Prefix, Text: []string{"temp"}}, "T"},
		{policy.Match{Not: &policy.Match{Op: policy.Regex, Text: []string{"pass"}}}, "U"},
		{policy.Match{Op: policy.Empty, Bool: false}, "T"},
		{policy.Match{Op: policy.State, Text: []string{"known"}}, "T"},
	} {
		s := step(t, leaf("dmarc.result", c.m), values())
		if got := truthOf(s); got != c.want {
			t.Errorf("%s: got %s, want %s", c.m, got, c.want)
		}
		if s.Unknown && s.Got != `"temperror"` {
			t.Errorf("%s: got is %s", c.m, s.Got)
		}
	}
	// A text that only looks like one is a text.
	s := values()
	s.Txn.Subject = fact.Is("temperror")
	if got := truthOf(step(t, leaf("header.subject", not("pass")), s)); got != "T" {
		t.Errorf("a subject: %s", got)
	}
}

// Every operator is refused on the kinds that it does not fit, and does not
// panic on those that it fits.
func TestOperatorsFitKinds(t *testing.T) {
	fields := map[string]string{"text": "header.subject", "number": "header.fields", "yes/no": "client.dynamic", "address": "client.ip", "duration": "defer.age"}
	fit := map[policy.Op]string{
		policy.Equals: "text number duration", policy.Prefix: "text", policy.Suffix: "text", policy.Contains: "text", policy.Regex: "text",
		policy.Under: "text", policy.In: "address", policy.Less: "number duration", policy.AtMost: "number duration",
		policy.Greater: "number duration", policy.AtLeast: "number duration", policy.Is: "yes/no", policy.Empty: "text",
		policy.State: "text number yes/no address duration", policy.Op(""): "", policy.Op("like"): "",
	}
	arg := func(op policy.Op) []string {
		switch op {
		case policy.In:
			return []string{"192.0.2.0/24"}
		case policy.State:
			return []string{"known"}
		}
		return []string{"example.com"}
	}
	for op, kinds := range fit {
		for kind, field := range fields {
			m := policy.Match{Op: op, Text: arg(op)}
			p, problems := policy.Compile([]policy.Rule{{Name: "r", Auto: true, When: leaf(field, m)}})
			fits := strings.Contains(" "+kinds+" ", " "+kind+" ")
			if fits != (p != nil) || fits != (len(problems) == 0) {
				t.Errorf("%q on a %s: %v", op, kind, problems)
			}
			if !fits && len(problems) > 0 && (!strings.Contains(problems[0].Message, kind) || problems[0].Hint == "") {
				t.Errorf("%q on a %s: %v", op, kind, problems[0])
			}
		}
	}
}

func TestMatchString(t *testing.T) {
	eq := policy.Match{Op: policy.Equals, Text: []string{"a"}}
	for _, c := range []struct {
		m    policy.Match
		want string
	}{
		{eq, `"a"`}, {policy.Match{Op: policy.Equals, Text: []string{"a", "b"}}, `one of ["a" "b"]`}, {policy.Match{Op: policy.Equals, Num: 2.5}, "2.5"},
		{policy.Match{Op: policy.Under, Text: []string{"a"}}, `under "a"`}, {policy.Match{Op: policy.Less, Num: 3}, "< 3"},
		{policy.Match{Op: policy.AtMost, Num: 3}, "<= 3"}, {policy.Match{Op: policy.Greater, Num: 3}, "> 3"}, {policy.Match{Op: policy.AtLeast, Num: 3}, ">= 3"},
		{policy.Match{Op: policy.Is, Bool: true}, "true"}, {policy.Match{Op: policy.Empty}, "not empty"}, {policy.Match{Op: policy.Empty, Bool: true}, "empty"},
		{policy.Match{Not: &eq}, `not "a"`}, {policy.Match{Not: &policy.Match{Not: &eq}}, `"a"`},
		{policy.Match{All: []policy.Match{eq, {Op: policy.Less, Num: 3}}}, `"a" and < 3`},
		{policy.Match{Not: &policy.Match{All: []policy.Match{eq, {Op: policy.Less, Num: 3}}}}, `not ("a" and < 3)`},
	} {
		if got := c.m.String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// Durations are wished and got in the same words.
func TestTraceOfDurations(t *testing.T) {
	s := step(t, leaf("defer.age", policy.Match{Op: policy.Greater, Num: 4 * 3600}), values())
	if s.Want != "> 4h0m0s" || s.Got != "1h30m0s" {
		t.Errorf("want %s, got %s", s.Want, s.Got)
	}
}

// TestOpen: a list that did not answer is neither on nor off, beside the hits of
// the others.
func TestOpen(t *testing.T) {
	silent := []fact.ListHit{{List: "dwl", Silent: "out of service"}}
	nobody := fact.Set{Conn: fact.Conn{DNSBL: fact.Is(silent)}}
	one := fact.Set{Conn: fact.Conn{DNSBL: fact.Is(append([]fact.ListHit{{List: "bl"}}, silent...))}}
	zones := func(w ...string) policy.Cond { return text("dnsbl.zones", policy.Equals, w...) }
	empty := leaf("dnsbl.zones", policy.Match{Op: policy.Empty, Bool: true})
	for i, c := range []struct {
		c    policy.Cond
		s    fact.Set
		want string
	}{
		{zones("dwl"), one, "U"}, {no(zones("dwl")), one, "U"}, {zones("bl"), one, "T"}, {zones("bl", "dwl"), one, "T"},
		{zones("other"), one, "F"}, {no(zones("other")), one, "T"}, {all(zones("bl"), no(zones("dwl"))), one, "U"}, {empty, one, "F"},
		{zones("dwl"), nobody, "U"}, {zones("bl"), nobody, "F"}, {empty, nobody, "U"}, {no(empty), nobody, "U"},
		{text("dnsbl.zones", policy.Prefix, "d"), nobody, "U"}, {text("dnsbl.zones", policy.Prefix, "b"), nobody, "F"},
	} {
		got := step(t, c.c, c.s)
		if truthOf(got) != c.want {
			t.Errorf("%d: %s, want %s", i, truthOf(got), c.want)
		}
	}
	if got := step(t, zones("dwl"), nobody); got.Got != "nothing (dwl did not answer: out of service)" {
		t.Errorf("told: %q", got.Got)
	}
}
