package policy_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

func TestStageIsFound(t *testing.T) {
	p := parse(t, `
  - {name: rcpt, when: {client.ip: 192.0.2.1}, do: reject}
  - {name: rcpt-spf, when: {spf.result: fail}, do: reject}
  - {name: header, when: {any: [{spf.result: fail}, {not: {header.subject: x}}]}, do: reject}
  - {name: message, when: {dkim.result: fail}, do: reject}
  - {name: message-quarantine, when: {client.ip: 192.0.2.1}, do: quarantine}
  - {name: message-hold, do: hold}
  - {name: message-header, do: {header: {name: X-A, value: b}}}
  - {name: header-discard, when: {client.ip: 192.0.2.1}, do: discard}
  - {name: message-discard, when: {message.size: 1}, do: discard}
  - {name: rcpt-greylist, when: {iprev.result: fail}, do: greylist}
  - {name: header-greylist, when: {header.fields: 1}, do: greylist}
  - {name: rcpt-always, do: accept}
  - {name: message-text, when: {client.ip: 192.0.2.1}, do: {reject: {text: "{message.size}"}}}
  - {name: header-reason, do: reject, reason: "{header.subject}"}
  - {name: connect-written, stage: connect, when: {client.ip: 192.0.2.1}, do: reject}
  - {name: header-written, stage: header, when: {mail_from.null: true}, do: greylist}
  - {name: mail-discard, stage: mail, when: {mail_from.domain: x}, do: discard}
  - {name: rcpt-no-marks, when: {tags: x, points: 3}, do: reject}
  - {name: message-off, mode: "off", when: {dkim.count: 0}, do: {tag: w}}
  - {name: rcpt-off-tag, when: {tags: w}, do: reject}
  - {name: message-marks, when: {dkim.count: 0}, do: {tag: x, points: 1}}
  - {name: rcpt-other-tag, when: {tags: [y, z]}, do: reject}
  - {name: message-this-tag, when: {tags: [y, X]}, do: reject}
  - {name: rcpt-not-that-tag, when: {tags: {not: [y, z]}}, do: reject}
  - {name: message-not-this-tag, when: {tags: {not: x}}, do: reject}
  - {name: message-any-tag, when: {tags: {empty: false}}, do: reject}
  - {name: message-like-this-tag, when: {tags: {regex: "^X$"}}, do: reject}
  - {name: rcpt-unlike-this-tag, when: {tags: {prefix: y}}, do: reject}
  - {name: message-shown-tags, do: reject, reason: "{tags}"}
  - {name: message-points, when: {points: {ge: 5}}, do: reject}
  - {name: rcpt-written, stage: rcpt, when: {points: {ge: 5}}, do: reject}
`)
	for _, r := range p.Rules() {
		want, _, _ := strings.Cut(r.Name, "-")
		if r.Stage.String() != want {
			t.Errorf("%s is at %s", r.Name, r.Stage)
		}
	}
}

func TestCompileProblems(t *testing.T) {
	when := func(field string, m policy.Match) policy.Rule {
		return policy.Rule{Name: "r", Auto: true, When: leaf(field, m)}
	}
	words := func(field string, op policy.Op, w ...string) policy.Rule {
		return when(field, policy.Match{Op: op, Text: w})
	}
	do := func(st mail.Stage, a policy.Action) policy.Rule { return policy.Rule{Name: "r", Stage: st, Do: a} }
	auto := func(a policy.Action) policy.Rule { return policy.Rule{Name: "r", Auto: true, Do: a} }
	late := words("dkim.result", policy.Equals, "fail")
	late.Auto, late.Stage = false, mail.StageRcpt
	lateText := do(mail.StageMail, policy.Action{Verdict: policy.Reject, Reply: policy.Reply{Text: "{rcpt.domain}"}})
	lateGrey := words("dkim.result", policy.Equals, "fail")
	lateGrey.Do.Greylist = true
	two := words("helo.kind", policy.Equals, "ok")
	two.When.Any = []policy.Cond{{}}
	gone := func(v policy.Verdict) policy.Rule {
		r := words("rcpt.address", policy.Equals, "a@b.example")
		r.Auto, r.Do.Verdict = true, v
		return r
	}
	cases := []struct {
		name string
		r    policy.Rule
		want string // message (hint)
	}{
		{"field", words("spff.result", policy.Equals, "x"), `unknown field "spff.result" (did you mean "spf.result"?)`},
		{"field far off", words("weather", policy.Equals, "x"), `unknown field "weather" (config reference lists all fields)`},
		{"mark", words("tag", policy.Equals, "x"), `unknown field "tag" (did you mean "tags"?)`},
		{"word", words("spf.result", policy.Equals, "pass", "soft-fail"), `spf.result is never "soft-fail" (did you mean "softfail"? it can be none, neutral, pass, fail, softfail, temperror, permerror)`},
		{"word under not", when("helo.kind", policy.Match{Not: &policy.Match{Op: policy.Equals, Text: []string{"fine"}}}), `helo.kind is never "fine" (it can be ok, literal, unqualified, invalid, own)`},
		{"word of several", words("dmarc.policy", policy.Equals, "rejekt"), `dmarc.policy is never "rejekt" (did you mean "reject"? it can be "", none, quarantine, reject)`},
		{"kind", when("client.ip", policy.Match{Op: policy.Less, Num: 1}), `"lt" does not apply to client.ip, whose kind is address (use a network such as 192.0.2.0/24, or a list of them)`},
		{"kind in all", when("header.fields", policy.Match{All: []policy.Match{{Op: policy.Less}, {Op: policy.Under, Text: []string{"a"}}}}), `"under" does not apply to header.fields, whose kind is number (use a value, or lt, le, gt, ge)`},
		{"no texts", words("header.subject", policy.Equals), `header.subject: no text is given, so this never matches (name at least one)`},
		{"no network", words("client.ip", policy.In), `client.ip: no network is given, so this never matches (name at least one)`},
		{"network", words("client.ip", policy.In, "192.0.2.0/24", "192.0.2.0/33"), `client.ip: "192.0.2.0/33" is neither an address nor a network (write 192.0.2.0/24 or 2001:db8::/32)`},
		{"regex", words("header.subject", policy.Regex, `(a`), "header.subject: error parsing regexp: missing closing ): `(a` (expressions are RE2: no back references or look-around)"},
		{"look-ahead", words("header.subject", policy.Regex, `a(?=b)`), "header.subject: error parsing regexp: invalid or unsupported Perl syntax: `(?=` (expressions are RE2: no back references or look-around)"},
		{"two regexes", words("header.subject", policy.Regex, "a", "b"), "header.subject: regex takes one expression (write a|b for several)"},
		{"state", words("spf.result", policy.State, "failed", "missing"), `unknown state "missing" (states are absent, known, skipped, failed)`},
		{"domain", words("header_from.domain", policy.Under, ".example.com"), `header_from.domain: ".example.com" is no domain (write example.com for it and all names below it)`},
		{"wildcard", words("header_from.domain", policy.Under, "*.example.com"), `header_from.domain: "*.example.com" is no domain (write example.com for it and all names below it)`},
		{"matches all", words("header.subject", policy.Contains, "x", ""), `header.subject: contains "" matches every text (write {empty: false} for any text at all)`},
		{"too early", late, `dkim.result is not known at stage rcpt (it is known from stage message on; leave stage: out to have it found)`},
		{"text too early", lateText, `rcpt.domain is not known at stage mail (it is known from stage rcpt on; leave stage: out to have it found)`},
		{"quarantine at rcpt", do(mail.StageRcpt, policy.Action{Verdict: policy.Quarantine}), `quarantine is only possible at the end of the message (use stage: message or leave it out)`},
		{"hold at header", do(mail.StageHeader, policy.Action{Verdict: policy.Hold}), `hold is only possible at the end of the message (use stage: message or leave it out)`},
		{"header at rcpt", do(mail.StageRcpt, policy.Action{Headers: []policy.HeaderEdit{{Name: "X", Value: "y"}}}), `header fields can only be added at the end of the message (use stage: message or leave it out)`},
		{"discard at connect", do(mail.StageConnect, policy.Action{Verdict: policy.Discard}), `MTAs do not discard before MAIL (use stage: mail or leave it out)`},
		{"greylist at mail", do(mail.StageMail, policy.Action{Greylist: true}), `greylisting needs sender and recipient (use stage: rcpt or leave it out)`},
		{"greylist at message", do(mail.StageMessage, policy.Action{Greylist: true}), `greylisting at the end of the message costs the whole transfer (use stage: rcpt or header)`},
		{"greylist on late facts", lateGrey, `greylisting at the end of the message costs the whole transfer (dkim.result is known only then: ask for something else)`},
		{"greylist and reject", auto(policy.Action{Greylist: true, Verdict: policy.Reject}), `greylist and reject in one rule (greylisting is a verdict of its own: make two rules)`},
		{"points", auto(policy.Action{Points: math.Inf(1)}), `+Inf are no points (write a number up to a million)`},
		{"no points", auto(policy.Action{Points: math.NaN()}), `NaN are no points (write a number up to a million)`},
		{"tag", auto(policy.Action{Tags: []string{"ok", "two words"}}), `"two words" is no tag (a tag is one word of ASCII without comma)`},
		{"empty tag", auto(policy.Action{Tags: []string{""}}), `"" is no tag (a tag is one word of ASCII without comma)`},
		{"placeholder", auto(policy.Action{Verdict: policy.Reject, Reply: policy.Reply{Text: "} {client.ipp}"}}), `unknown field {client.ipp} in a text (did you mean "client.ip"?)`},
		{"recipient forgotten", gone(policy.Quarantine), `rcpt.address is of one recipient and known at stage rcpt only, but the rule waits for stage message (let a rule at rcpt leave a tag by it, and ask for that tag here)`},
		{"recipient in a late text", do(mail.StageHeader, policy.Action{Verdict: policy.Reject, Reply: policy.Reply{Text: "{rcpt.domain}"}}), `rcpt.domain is of one recipient and known at stage rcpt only, but the rule waits for stage header (the texts of such a rule cannot name it)`},
		{"discard by recipient", gone(policy.Discard), `rcpt.address is of one recipient and known at stage rcpt only, but the rule waits for stage header (stage: rcpt drops the message for all its recipients)`},
		{"name of an answer", policy.Rule{Name: policy.RecipientsDiffer, Auto: true}, `this name stands for recipients that cannot share a message (choose another)`},
		{"two conditions in one", two, `a condition has only one of all, any, not and a field (nest them)`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.r.At = policy.Position{File: "f.yaml", Line: 3, Col: 7}
			p, problems := policy.Compile([]policy.Rule{c.r})
			want := "f.yaml:3:7: rule " + c.r.Name + ": " + c.want
			if p != nil || len(problems) != 1 || problems[0].String() != want {
				t.Errorf("got  %v\nwant %s", problems, want)
			}
		})
	}
}

func TestNamesAreUnique(t *testing.T) {
	rule := func(name string, line int) policy.Rule {
		r := policy.Rule{Name: name, Auto: true}
		if line > 0 {
			r.At = policy.Position{File: "f", Line: line}
		}
		return r
	}
	_, problems := policy.Compile([]policy.Rule{rule("a", 1), rule("b", 2), rule("a", 3), rule("c", 0), rule("c", 4), rule("a", 5)})
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := []string{
		"f:3: rule a: name is used twice (first used at f:1)",
		"f:4: rule c: name is used twice (rules are told apart by name)",
		"f:5: rule a: name is used twice (first used at f:1)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// The place of a condition is told where it is known.
func TestAllProblemsAtOnce(t *testing.T) {
	bad := leaf("helo.kynd", policy.Match{})
	bad.Leaf.At = policy.Position{File: "f", Line: 9, Col: 2}
	r := policy.Rule{Name: "r", Auto: true, When: all(bad, text("spf.result", policy.Equals, "good")), Do: policy.Action{Tags: []string{" "}}, At: policy.Position{File: "f", Line: 8}}
	_, problems := policy.Compile([]policy.Rule{r, r})
	var at []string
	for _, p := range problems {
		at = append(at, p.At.String())
	}
	if want := []string{"f:9:2", "f:8", "f:8", "f:8", "f:9:2", "f:8", "f:8"}; !slices.Equal(at, want) {
		t.Errorf("problems at %v: %v", at, problems)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"", "reject", "accept", "tempfail", "spf.result", "spf.helo.result"}
	for in, want := range map[string]string{
		"reject": "reject", "rejct": "reject", "REJECT": "reject", "tmpfail": "tempfail", "rejcet": "reject", "acept": "accept", "spf": "", "": "", "x": "", "zzzzzz": "",
		"spf.reslt": "spf.result", strings.Repeat("a", 1<<20): "",
	} {
		if got := policy.Nearest(in, words); got != want {
			t.Errorf("Nearest(%.20q) = %q, want %q", in, got, want)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.9/24": "192.0.2.0/24", "2001:db8::1": "2001:db8::1/128", "2001:db8::1/32": "2001:db8::/32",
		"::ffff:192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1/120": "192.0.2.0/24", "fe80::1%eth0": "fe80::1/128", "0.0.0.0/0": "0.0.0.0/0", "::ffff:0:0/95": "::fffe:0:0/95",
		"": "", "192.0.2": "", "192.0.2.0/33": "", "host.example": "", "192.0.2.01": "",
	} {
		got, err := policy.ParsePrefix(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q is read as %s", in, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q = %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestWordsRoundTrip(t *testing.T) {
	for v := policy.Continue; v <= policy.Reject; v++ {
		var back policy.Verdict
		if err := back.UnmarshalText([]byte(v.String())); err != nil || back != v {
			t.Errorf("%s: %v, %v", v, back, err)
		}
	}
	for m := policy.Enforce; m <= policy.Off; m++ {
		var back policy.Mode
		if err := back.UnmarshalText([]byte(m.String())); err != nil || back != m {
			t.Errorf("%s: %v, %v", m, back, err)
		}
	}
	var v policy.Verdict
	var m policy.Mode
	if v.UnmarshalText([]byte("bounce")) == nil || m.UnmarshalText([]byte("on")) == nil || v != 0 || m != 0 {
		t.Error("unknown words are read")
	}
	if policy.Verdict(9).String() != "verdict(9)" || policy.Mode(9).String() != "mode(9)" {
		t.Error("out of range")
	}
	if !(policy.Continue < policy.Accept && policy.Accept < policy.Quarantine && policy.Tempfail < policy.Reject) {
		t.Error("verdicts are not ordered by severity")
	}
}

// Every field can be asked for and shown in texts.
func TestEveryFieldCompiles(t *testing.T) {
	var rules []policy.Rule
	for _, f := range fact.Fields() {
		rules = append(rules, policy.Rule{Name: f.Name, Auto: true, When: text(f.Name, policy.State, "known"), Reason: "{" + f.Name + "}"})
	}
	for i, r := range compile(t, rules...).Rules() {
		if want := max(fact.Fields()[i].Stage, mail.StageRcpt); r.Stage != want {
			t.Errorf("%s at %s, want %s", r.Name, r.Stage, want)
		}
	}
}
