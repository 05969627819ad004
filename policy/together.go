package policy

import (
	"fmt"
	"slices"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

// together judges a message whose recipients differ, at its end: as if it were
// for the first one alone, and for each who is unlike. They have to agree. Where
// they do not, trying again helps only if one of them says so.
func (p *Policy) together(s *fact.Set) Decision {
	if s.Stage == mail.StageHeader {
		return Decision{Stage: s.Stage, Trace: []Step{{Rule: RecipientsDiffer, Matched: true, Did: "nothing, the end of the message decides"}}}
	}
	all := append([]fact.Rcpt{s.Txn.First}, s.Txn.Unlike...)
	each := make([]Decision, len(all))
	for i, r := range all {
		each[i] = p.alone(s, r)
	}
	// Of one who was let in by a rule there is nothing to tell.
	e := evaluation{d: each[max(slices.IndexFunc(each, func(d Decision) bool { return len(d.Trace) > 0 }), 0)]}
	verdict, reply := Reject, disagree
	for i, o := range each {
		if o.effect() != each[0].effect() && e.d.Differs == "" {
			e.d.Differs = fact.Clean(fmt.Sprintf("%s %s, %s %s", all[0].To.Value, each[0].words(), all[i].To.Value, o.words()))
		}
		if o.Greylist || o.Verdict == Tempfail {
			verdict, reply = Tempfail, unclear
		}
		e.d.Tags, e.d.Headers = union(e.d.Tags, o.Tags), union(e.d.Headers, o.Headers)
	}
	if e.d.Differs != "" {
		e.d.Greylist = false
		e.settle(&Rule{Name: RecipientsDiffer}, verdict, reply, e.d.Differs)
		e.d.Trace = append(e.d.Trace, Step{Rule: RecipientsDiffer, Matched: true, Did: verdict.String()})
	}
	return e.d
}

// alone judges a message at its end as if it were one recipient's.
func (p *Policy) alone(s *fact.Set, r fact.Rcpt) Decision {
	set := *s
	set.Txn.First, set.Txn.Unlike = r, nil
	at := evaluation{set: asFirst(&set, r)}
	if p.evaluate(&at); at.d.Verdict == Accept {
		return Decision{Stage: s.Stage}
	}
	set.Stage = mail.StageHeader
	header := evaluation{set: &set}
	if p.evaluate(&header); header.d.Greylist || header.d.Verdict.terminal() {
		header.d.Stage = s.Stage
		return header.d
	}
	set.Stage = mail.StageMessage
	end := evaluation{set: &set}
	p.evaluate(&end)
	d, before := end.d, header.d
	d.Points += before.Points
	d.Tags, d.Headers = union(before.Tags, d.Tags), slices.Concat(before.Headers, d.Headers)
	d.Would, d.Trace = slices.Concat(before.Would, d.Would), slices.Concat(before.Trace, d.Trace)
	return d
}

// union is a list and what it lacks of another.
func union[T comparable](list, more []T) []T {
	out := slices.Clone(list)
	for _, x := range more {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// effect is what a message is sure to meet: to be let in by a rule or by none is
// the same.
func (d *Decision) effect() (e struct {
	verdict  Verdict
	greylist bool
}) {
	if e.verdict, e.greylist = d.Verdict, d.Greylist; e.verdict == Accept {
		e.verdict = Continue
	}
	return e
}

// words give a verdict and its rule.
func (d *Decision) words() string {
	switch {
	case d.Greylist:
		return "greylist"
	case d.Rule == "":
		return d.Verdict.String()
	}
	return d.Verdict.String() + " by rule " + d.Rule
}
