package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// fate is what becomes of one recipient's copy of a message.
type fate string

const (
	apart    fate = "apart"    // 452: to come in a message of its own
	asked    fate = "asked"    // the greylist had to be asked, which these tests do not
	dropped  fate = "dropped"  // a discard at RCPT: the whole message is gone, whoever differs
	disagree fate = "disagree" // one message cannot have the verdicts of all
)

// carry leads a message with several recipients through all stages, as a session
// does, and gives each one's fate.
func carry(p *policy.Policy, s fact.Set, rcpts ...fact.Rcpt) []fate {
	fates := make([]fate, len(rcpts))
	atHeader := s.Txn.Greylist
	s.Txn.Rcpts, s.Txn.First, s.Txn.Unlike, s.Txn.Greylist = nil, fact.Rcpt{}, nil, fact.Fact[fact.Greylist]{}
	for _, s.Stage = range []mail.Stage{mail.StageConnect, mail.StageHelo, mail.StageMail} {
		s.Rcpt = fact.Rcpt{}
		if d := p.Decide(&s); d.Verdict != policy.Continue {
			for i := range fates {
				fates[i] = fateOf(d)
			}
			return fates
		}
	}
	var taken []int
	exempt := 0
	for i, r := range rcpts {
		s.Stage, s.Rcpt = mail.StageRcpt, r
		d := p.Decide(&s)
		fates[i] = fateOf(d)
		switch {
		case d.Verdict == policy.Discard:
			return slices.Repeat([]fate{dropped}, len(rcpts))
		case d.Greylist, d.Verdict == policy.Tempfail, d.Verdict == policy.Reject:
			if fates[i] == apart {
				s.Txn.Apart++
			}
			continue
		case d.Verdict == policy.Accept:
			exempt++
		}
		taken = append(taken, i)
		s.Txn.Rcpts = append(s.Txn.Rcpts, r.To.Value)
		if d.Differs != "" {
			s.Txn.Unlike = append(s.Txn.Unlike, r)
		} else if s.Txn.First.To.State == fact.Absent {
			s.Txn.First = r
		}
	}
	if s.Txn.Greylist = atHeader; exempt < len(taken) {
		end := content(p, s)
		for _, i := range taken {
			fates[i] = end
		}
	}
	return fates
}

// content leads a message on from RCPT.
func content(p *policy.Policy, s fact.Set) fate {
	var d policy.Decision
	var headers []policy.HeaderEdit
	for _, s.Stage = range []mail.Stage{mail.StageHeader, mail.StageMessage} {
		s.Rcpt = fact.Rcpt{}
		d = p.Decide(&s)
		headers = append(headers, d.Headers...)
		if d.Verdict != policy.Continue || d.Greylist {
			break
		}
	}
	if len(headers) == 0 || d.Verdict >= policy.Tempfail {
		return fateOf(d)
	}
	return fateOf(d) + fate(fmt.Sprintf(" %v", headers))
}

func fateOf(d policy.Decision) fate {
	switch {
	case d.Greylist:
		return asked
	case d.Rule == policy.RecipientsDiffer && d.Stage == mail.StageRcpt:
		return apart
	case d.Rule == policy.RecipientsDiffer:
		return disagree
	}
	return fate(strings.TrimSpace(d.Verdict.String() + " " + d.Rule))
}

// effect leaves out what nobody feels: by which rule a message is let in, or that
// by none, and the order of tags in an added field.
func (f fate) effect() fate {
	verdict, added, _ := strings.Cut(string(f), "[")
	if strings.HasPrefix(verdict, "continue") || strings.HasPrefix(verdict, "accept") {
		verdict = "delivered "
	}
	return fate(verdict + string(slices.Sorted(slices.Values([]byte(added)))))
}

func recipient(address string, more ...func(*fact.Rcpt)) fact.Rcpt {
	r := fact.Rcpt{To: fact.Is(mail.ParsePath("<" + address + ">"))}
	for _, m := range more {
		m(&r)
	}
	return r
}

func grey(result string) func(*fact.Rcpt) {
	return func(r *fact.Rcpt) { r.Greylist = fact.Is(fact.Greylist{Result: result}) }
}

// fast is a recipient that came too quickly.
func fast(r *fact.Rcpt) { r.Rates = fact.Is([]string{"fast"}) }

// kim is strict, lou and mia are not, and postmaster takes everything.
const byRecipient = `
  - {name: open, when: {rcpt.address: postmaster@a.example}, do: accept}
  - {name: no-one, when: {rcpt.address: nobody@a.example}, do: reject}
  - {name: kim, when: {rcpt.address: [kim@a.example, kit@a.example]}, do: {tag: strict}}
  - {name: lou, when: {rcpt.address: lou@a.example}, do: {tag: noted}}
  - {name: strict, when: {tags: strict, dkim.count: 0}, do: reject}
`

func TestRecipientsDiffer(t *testing.T) {
	s := facts
	s.Txn.DKIM = fact.Is([]fact.DKIM{})
	for _, c := range []struct {
		name, rules, rcpts string
		want               string
	}{
		{"alone and strict", byRecipient, "kim", "reject strict"},
		{"alone and not", byRecipient, "mia", "continue"},
		{"strict first", byRecipient, "kim mia", "reject strict, apart"},
		{"strict last", byRecipient, "mia kim", "continue, apart"},
		{"alike", byRecipient, "kim kit", "reject strict, reject strict"},
		{"a tag that nobody asks for", byRecipient, "mia lou mia", "continue, continue, continue"},
		{"after a refused one", byRecipient, "nobody kim mia kit", "reject no-one, reject strict, apart, reject strict"},
		{"let in first", byRecipient, "postmaster mia postmaster kim", "accept open, apart, accept open, apart"},
		{"let in last", byRecipient, "mia postmaster lou", "continue, apart, continue"},

		{"by way of other rules", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: a}}
  - {name: by-tag, when: {tags: a}, do: {points: 2}}
  - {name: header, stage: header, when: {points: {ge: 2}}, do: {tag: b}}
  - {name: end, stage: message, when: {tags: b}, do: quarantine}
`, "kim mia", "quarantine end, apart"},
		{"a way that leads nowhere", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: a, points: 1}}
  - {name: by-tag, when: {tags: a}, do: {points: 2}}
  - {name: header, stage: header, when: {points: {ge: 2}}, do: {tag: b}}
  - {name: end, mode: observe, stage: message, when: {tags: b}, do: quarantine}
  - {name: texts, stage: message, do: reject, reason: "{tags} {points}"}
`, "kim mia", "reject texts, reject texts"},
		{"points", `
  - {name: kim, when: {rcpt.address: [kim@a.example, kit@a.example]}, do: {points: 2}}
  - {name: kit, when: {rcpt.address: kit@a.example}, do: {points: -2}}
  - {name: sum, stage: message, when: {points: {ge: 2}}, do: reject}
`, "kim mia kit", "reject sum, apart, apart"},
		{"the sum counts", `
  - {name: kim, when: {rcpt.address: [kim@a.example, kit@a.example]}, do: {points: 2}}
  - {name: kit, when: {rcpt.address: kit@a.example}, do: {points: -2}}
  - {name: sum, stage: message, when: {points: {ge: 2}}, do: reject}
`, "mia kit kim", "continue, continue, apart"},
		{"observed marks", strings.Replace(byRecipient, "{name: kim,", "{name: kim, mode: observe,", 1), "kim mia", "continue, continue"},
		{"observed accept", strings.Replace(byRecipient, "{name: open,", "{name: open, mode: observe,", 1), "postmaster mia", "continue, continue"},
		{"asked for by an observed rule", strings.Replace(byRecipient, "{name: strict,", "{name: strict, mode: observe,", 1), "kim mia postmaster", "continue, continue, continue"},
		{"off", strings.Replace(byRecipient, "{name: strict,", `{name: strict, mode: "off",`, 1), "kim mia postmaster", "continue, continue, continue"},
		{"asked for at rcpt alone", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: strict}}
  - {name: strict, stage: rcpt, when: {tags: strict, spf.result: pass}, do: reject}
  - {name: all, stage: message, do: {header: {name: X-A, value: all}}}
`, "kim mia", "continue [{X-A all}], continue [{X-A all}]"},
		{"added fields", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: strict}}
  - {name: all, stage: message, do: {header: {name: X-A, value: "<{tags}>"}}}
`, "kim mia", "continue [{X-A <strict>}], apart"},
		{"another tag is asked for", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: strict}}
  - {name: end, stage: message, when: {tags: {not: {prefix: loose}}}, do: reject}
`, "kim mia", "reject end, reject end"},
		{"that it is not there is asked for", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: strict}}
  - {name: end, stage: message, when: {tags: {not: strict}}, do: reject}
`, "kim mia", "continue, apart"},
		{"one of two comparisons", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: strict-a}}
  - {name: end, stage: message, when: {tags: {prefix: strict, suffix: b}}, do: reject}
`, "kim mia", "continue, apart"},
		{"the greylist is asked by it", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: new}}
  - {name: wait, stage: header, when: {tags: new}, do: greylist}
`, "kim mia", "asked, apart"},
		{"any tag is asked for", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: strict}}
  - {name: end, stage: message, when: {tags: {empty: false}}, do: reject}
`, "kim mia", "reject end, apart"},
		{"accept after RCPT", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: good}}
  - {name: let-in, stage: header, when: {tags: good}, do: accept}
  - {name: end, stage: message, do: reject}
`, "kim mia", "accept let-in, apart"},
		{"accept after which nothing comes", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: good}}
  - {name: let-in, stage: header, when: {tags: good}, do: accept}
`, "kim mia", "accept let-in, accept let-in"},
		{"everybody let in", `
  - {name: all, when: {helo.kind: ok}, do: accept}
  - {name: end, stage: message, do: reject}
`, "kim mia", "accept all, accept all"},
		{"let in by a tag", `
  - {name: kim, when: {rcpt.address: kim@a.example}, do: {tag: vip}}
  - {name: vip, when: {tags: vip}, do: accept}
  - {name: end, stage: message, do: reject}
`, "kim mia", "accept vip, apart"},
		{"what the greylist said", `
  - {name: waited, when: {greylist.result: pass}, do: {tag: waited}}
  - {name: end, stage: message, when: {tags: waited}, do: reject}
`, "kim+pass mia+known lou+pass", "reject end, apart, reject end"},
		{"a limit on the way", `
  - {name: fast, when: {rates.exceeded: fast}, do: {tag: fast}}
  - {name: end, stage: message, when: {tags: fast}, do: quarantine}
`, "kim mia+fast", "continue, apart"},
		{"how many there are is of the message", `
  - {name: many, when: {rcpt.count: {ge: 2}}, do: {tag: many}}
  - {name: end, stage: message, when: {tags: many}, do: reject}
`, "kim mia lou", "reject end, reject end, reject end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parse(t, c.rules)
			if got := fatesOf(p, s, c.rcpts); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func fatesOf(p *policy.Policy, s fact.Set, names string) string {
	var rcpts []fact.Rcpt
	for _, name := range strings.Fields(names) {
		name, with, _ := strings.Cut(name, "+")
		r := recipient(name + "@a.example")
		switch with {
		case "":
		case "fast":
			fast(&r)
		default:
			grey(with)(&r)
		}
		rcpts = append(rcpts, r)
	}
	var out []string
	for _, f := range carry(p, s, rcpts...) {
		out = append(out, string(f))
	}
	return strings.Join(out, ", ")
}

// The answer tells the client what to do, and the log why.
func TestAnswerToWhoDiffers(t *testing.T) {
	p := parse(t, byRecipient+`
  - {name: more, when: {rcpt.address: mia@a.example}, do: {points: 3, tag: [a, b]}}
  - {name: less, when: {rcpt.address: kim@a.example}, do: {points: -0.5}}
  - {name: sum, stage: message, when: {points: {ge: 5}, tags: [a, b]}, do: reject}
`)
	for _, c := range []struct{ first, rcpt, why string }{
		{"kim@a.example", "mia@a.example", "unlike kim@a.example: tag a, tag b, no tag strict, points 3 instead of -0.5"},
		{"mia@a.example", "lou@a.example", "unlike mia@a.example: no tag a, no tag b, points 0 instead of 3"},
		{"mia@a.example", "postmaster@a.example", "unlike mia@a.example: accepted by rule open"},
		{"postmaster@a.example", "mia@a.example", "unlike postmaster@a.example: not accepted by rule open"},
	} {
		s := facts
		s.Txn.First, s.Rcpt = recipient(c.first), recipient(c.rcpt)
		d := p.Decide(at(mail.StageRcpt, s))
		if d.Verdict != policy.Tempfail || d.Rule != policy.RecipientsDiffer || d.At != (policy.Position{}) || d.Reason != c.why || d.Differs != c.why {
			t.Errorf("%s after %s: %+v", c.rcpt, c.first, d)
		}
		if want := (policy.Reply{Code: 452, Enhanced: "4.5.3", Text: "Too many recipients: please send this one in another mail"}); d.Reply != want {
			t.Errorf("reply %+v", d.Reply)
		}
		last := d.Trace[len(d.Trace)-1]
		if want := (policy.Step{Rule: policy.RecipientsDiffer, Matched: true, Did: "tempfail"}); last != want {
			t.Errorf("step %+v", last)
		}
	}
}

// Programs of people cannot send a mail in parts: nobody is sent away, and the end
// is judged for each kind of recipient.
func TestWhoCannotSplit(t *testing.T) {
	p := parse(t, byRecipient+`
  - {name: look, stage: header, when: {tags: noted}, do: {tag: looked, points: 1}}
  - {name: field, stage: message, when: {tags: looked}, do: {header: {name: X-A, value: b}}}
`)
	trusted, login, many := facts, facts, facts
	trusted.Conn.Trusted = fact.Is("client is in the trusted network 192.0.2.0/24")
	login.Txn.AuthUser = fact.Is("kim")
	many.Txn.Apart = 15
	for _, s := range []fact.Set{trusted, login, many} {
		for _, c := range []struct {
			sigs        int
			rcpts, want string
		}{
			{0, "kim", "reject strict"},
			{0, "kim kit", "reject strict, reject strict"},
			{0, "kim mia", "disagree, disagree"},
			{1, "kim mia", "continue, continue"},
			{0, "mia kim kit", "disagree, disagree, disagree"},
			{0, "postmaster kim", "disagree, disagree"},
			{1, "postmaster kim", "continue, continue"},
			{0, "nobody kim", "reject no-one, reject strict"},
			{0, "postmaster", "accept open"},
			{0, "mia lou postmaster", "continue [{X-A b}], continue [{X-A b}], continue [{X-A b}]"},
			{0, "postmaster mia", "continue, continue"},
		} {
			s.Txn.DKIM = fact.Is(make([]fact.DKIM, c.sigs))
			if got := fatesOf(p, s, c.rcpts); got != c.want {
				t.Errorf("%s: got %s, want %s", c.rcpts, got, c.want)
			}
		}
	}
}

// A message that is judged for each kind of recipient says so.
func TestTogether(t *testing.T) {
	p := parse(t, byRecipient+`
  - {name: look, stage: header, when: {helo.kind: ok}, do: {tag: looked, points: 1}}
  - {name: try, mode: observe, stage: header, do: reject}
  - {name: field, stage: message, when: {tags: [looked]}, do: {points: 2, tag: looked, header: {name: X-A, value: b}}}
`)
	s := facts
	s.Txn.DKIM = fact.Is([]fact.DKIM{{Result: "pass"}})
	s.Txn.First, s.Txn.Unlike = recipient("postmaster@a.example"), []fact.Rcpt{recipient("kim@a.example"), recipient("mia@a.example")}
	d := p.Decide(at(mail.StageHeader, s))
	if d.Verdict != policy.Continue || len(d.Tags) > 0 || matched(d) != policy.RecipientsDiffer {
		t.Errorf("at header: %+v", d)
	}
	d = p.Decide(at(mail.StageMessage, s))
	if d.Verdict != policy.Continue || d.Stage != mail.StageMessage || matched(d) != "look try field" || d.Points != 3 || !slices.Equal(d.Tags, []string{"looked"}) ||
		len(d.Headers) != 1 || len(d.Would) != 1 || d.Differs != "" {
		t.Errorf("where they agree: %+v", d)
	}
	s.Txn.DKIM.Value = nil
	d = p.Decide(at(mail.StageMessage, s))
	if d.Verdict != policy.Reject || d.Rule != policy.RecipientsDiffer || d.Reason != "postmaster@a.example continue, kim@a.example reject by rule strict" ||
		d.Differs != d.Reason || d.Reply.Code != 550 || d.Reply.Enhanced != "5.5.3" || matched(d) != "look try strict recipients-differ" {
		t.Errorf("where they do not: %+v", d)
	}
	// Where one of them only puts it off, they may agree later.
	p = parse(t, byRecipient+`
  - {name: wait, stage: message, when: {helo.kind: ok}, do: tempfail}
`)
	if d = p.Decide(at(mail.StageMessage, s)); d.Verdict != policy.Tempfail || d.Rule != policy.RecipientsDiffer || d.Reply.Code != 451 {
		t.Errorf("where one puts it off: %+v", d)
	}
	s.Txn.Unlike = s.Txn.Unlike[1:]
	p = parse(t, byRecipient+`
  - {name: ask, stage: header, when: {rcpt.count: 0}, do: greylist}
`)
	if d = p.Decide(at(mail.StageMessage, s)); d.Verdict != policy.Tempfail || d.Greylist || d.Reason != "postmaster@a.example continue, mia@a.example greylist" {
		t.Errorf("where one would ask the greylist: %+v", d)
	}
}

// So many are sent away that Postfix does not hang up, and so many kinds are kept
// that a message is soon judged.
func TestBoundsOfSplitting(t *testing.T) {
	var rules strings.Builder
	for i := range 40 {
		fmt.Fprintf(&rules, "  - {name: r%d, when: {rcpt.address: u%d@a.example}, do: {points: %d}}\n", i, i, i+1)
	}
	p := parse(t, rules.String()+"  - {name: end, stage: message, when: {points: {ge: 100}}, do: reject}\n")
	var rcpts []fact.Rcpt
	for i := range 40 {
		rcpts = append(rcpts, recipient(fmt.Sprintf("u%d@a.example", i)))
	}
	s := facts
	got := carry(p, s, append(rcpts, rcpts...)...)
	for i, f := range got {
		// One is the first, 15 are sent away, 20 are kept, the rest is sent away.
		i %= 40
		if want := i >= 1 && i <= 15 || i > 35; (f == apart) != want {
			t.Errorf("recipient %d: %s", i, f)
		}
	}
}

// recipients draws those of one message: alike in some things, in others not.
func recipients() *rapid.Generator[[]fact.Rcpt] {
	one := rapid.Custom(func(t *rapid.T) fact.Rcpt {
		r := recipient(rapid.SampledFrom([]string{"x@a.example", "y@a.example", "x@b.a.example"}).Draw(t, "address"))
		if rapid.Bool().Draw(t, "listed") {
			r.ListTo = fact.Is([]fact.ListHit{{List: rapid.SampledFrom(leftTags).Draw(t, "list")}})
		}
		if rapid.Bool().Draw(t, "counted") {
			r.Rates = fact.Is([]string{rapid.SampledFrom(leftTags).Draw(t, "limit")})
		}
		switch result := rapid.SampledFrom([]string{"", "down", "pass", "known", "defer"}).Draw(t, "greylist"); result {
		case "":
		case "down":
			r.Greylist = fact.Fail[fact.Greylist]("down")
		default:
			r.Greylist = fact.Is(fact.Greylist{Result: result})
		}
		return r
	})
	return rapid.SliceOfN(one, 2, 5)
}

var leftTags = []string{"X", "ok", "fail"}

// ofRecipients draws rules that leave marks by recipient, rules after RCPT that
// ask for marks, and others in between. They ask for anything but for the number
// of recipients, which is another in another message.
func ofRecipients() *rapid.Generator[[]policy.Rule] {
	var marks, ofOne, most []fact.Field
	for _, f := range allFields() {
		switch {
		case f.Name == "tags":
			f.Words = leftTags
			fallthrough
		case f.Name == "points":
			marks = append(marks, f)
		case f.Rcpt || f.Name == "greylist.result":
			f.Words = map[string][]string{"rcpt.address": {"x@a.example", "y@a.example"}, "rcpt.domain": {"a.example", "b.a.example"},
				"rcpt.lists": leftTags, "rates.exceeded": leftTags, "greylist.result": {"pass", "known"}}[f.Name]
			ofOne = append(ofOne, f)
		}
		if f.Name != "rcpt.count" {
			most = append(most, f)
		}
	}
	tags := rapid.SliceOfN(rapid.SampledFrom(leftTags), 0, 2)
	modes := rapid.SampledFrom([]policy.Mode{policy.Enforce, policy.Enforce, policy.Enforce, policy.Observe, policy.Off})
	rule := rapid.Custom(func(t *rapid.T) policy.Rule {
		r := policy.Rule{Auto: true, Mode: modes.Draw(t, "mode")}
		r.Do.Tags, r.Do.Points = tags.Draw(t, "tags"), float64(rapid.IntRange(-1, 2).Draw(t, "points"))
		switch rapid.IntRange(0, 11).Draw(t, "what") {
		case 0, 1, 2:
			r.When = conds(ofOne, 1).Draw(t, "when")
		case 3:
			r.When = conds(append(ofOne, marks...), 1).Draw(t, "when")
		case 9, 10:
			r.Auto, r.Stage = false, rapid.SampledFrom([]mail.Stage{mail.StageRcpt, mail.StageHeader}).Draw(t, "stage")
			r.When = conds(marks, 0).Draw(t, "when")
		case 4:
			r.When, r.Do.Verdict = conds(append(ofOne, marks...), 1).Draw(t, "when"), policy.Accept
		case 5, 6, 7, 8:
			r.Auto, r.Stage = false, rapid.SampledFrom([]mail.Stage{mail.StageHeader, mail.StageMessage}).Draw(t, "stage")
			r.When = conds(marks, 1).Draw(t, "when")
			r.Do.Verdict = rapid.SampledFrom([]policy.Verdict{policy.Continue, policy.Accept, policy.Tempfail, policy.Reject}).Draw(t, "verdict")
			r.Do.Greylist = r.Stage == mail.StageHeader && r.Do.Verdict == policy.Continue && rapid.Bool().Draw(t, "greylist")
		default:
			return rulesOver(most).Draw(t, "any")[0]
		}
		return r
	})
	return rapid.Custom(func(t *rapid.T) []policy.Rule {
		rs := rapid.SliceOfN(rule, 3, 10).Draw(t, "rules")
		for i := range rs {
			rs[i].Name = fmt.Sprint("r", i)
		}
		return rs
	})
}

// TestNobodySharesAnothersFate is why recipients are sent apart: of whatever
// others a message has, each recipient gets what it would get alone, or is asked
// for in another message. Where none can be asked for, the message goes if all
// would get it so.
func TestNobodySharesAnothersFate(t *testing.T) {
	seen := map[fate]int{}
	check := func(t *rapid.T) {
		p := compiled(t, ofRecipients().Draw(t, "rules"))
		s := sets().Draw(t, "set")
		s.Conn.Trusted, s.Txn.AuthUser = fact.Is(""), fact.Fact[string]{}
		s.Txn.Apart = rapid.SampledFrom([]int{0, 0, 14, 15}).Draw(t, "apart")
		if rapid.IntRange(0, 4).Draw(t, "trusted") == 0 {
			s.Conn.Trusted = fact.Is("a friend")
		}
		rcpts := recipients().Draw(t, "recipients")
		splits := s.Conn.Trusted.Value == "" && s.Txn.Apart+len(rcpts) < 15
		together := carry(p, s, rcpts...)
		var alone []fate
		for _, r := range rcpts {
			alone = append(alone, carry(p, s, r)[0])
		}
		for i, f := range together {
			switch {
			case f == dropped:
			case f == apart:
				if i == 0 || alone[i] == apart || s.Conn.Trusted.Value != "" {
					t.Fatalf("recipient %d is sent apart, alone: %s", i, alone[i])
				}
			case f == disagree:
				if splits || !disputed(together, alone) {
					t.Fatalf("they agree: %v, alone: %v", together, alone)
				}
			case f.effect() == alone[i].effect():
				f = "alike"
			case splits || f.verdict() != alone[i].verdict():
				t.Fatalf("recipient %d: %v, alone: %v", i, together, alone)
			default:
				f = "alike in verdict" // by another's rule, or with another's field
			}
			seen[f]++
		}
	}
	for range 10 {
		rapid.Check(t, check)
	}
	t.Logf("recipients: %v", seen)
	if seen[apart] < 20 || seen[disagree] < 3 || seen["alike"] < 1000 {
		t.Errorf("too few cases were met: %v", seen)
	}
}

// disputed tells whether those who share a message would get different verdicts
// alone.
func disputed(together, alone []fate) bool {
	var first fate
	for i, f := range together {
		switch {
		case f != disagree:
		case first == "":
			first = alone[i].verdict()
		case first != alone[i].verdict():
			return true
		}
	}
	return false
}

// verdict leaves out the rule too.
func (f fate) verdict() fate {
	verdict, _, _ := strings.Cut(string(f.effect()), " ")
	verdict, _, _ = strings.Cut(verdict, "[")
	if strings.HasPrefix(verdict, "delivered") {
		return "delivered"
	}
	return fate(verdict)
}
