// Package policy decides over facts. A policy is an ordered list of rules; the
// first rule with a verdict that matches wins, the others leave marks. It is
// pure: no clock, no chance, no I/O. The same facts always give the same
// decision, which is what lets decisions be explained, replayed and tried dry.
//
// Rules are tried stage by stage, in their order within a stage. Conditions on
// tags and points see what rules before them left, those of earlier stages
// included. After RCPT these are the marks of the first recipient: whoever would
// bring others does not share the message (RecipientsDiffer).
package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

const stages = int(mail.StageMessage) + 1

// Policy is a compiled list of rules. It is immutable and safe for concurrent
// use.
type Policy struct {
	rules   []program
	stages  [stages][]*program // the rules of a stage, in order
	earlier [stages][]*program // rules of earlier stages whose marks are read
	checks  [stages][]string
	grey    [stages]bool

	spares    bool // accept rules hang on recipients, and rules after RCPT have a say
	contested bool // rules after RCPT ask for marks that hang on recipients
}

// Rules gives the rules in order, with the stages that were found for them. They
// are to be read only.
func (p *Policy) Rules() []Rule {
	out := make([]Rule, 0, len(p.rules))
	for i := range p.rules {
		out = append(out, p.rules[i].rule)
	}
	return out
}

// Checks names the checks whose facts the rules of a stage read.
func (p *Policy) Checks(stage mail.Stage) []string { return p.checks[stage] }

// UsesGreylist tells whether a rule of the stage may ask the greylist.
func (p *Policy) UsesGreylist(stage mail.Stage) bool { return p.grey[stage] }

// evaluation is one run of Decide.
type evaluation struct {
	set    *fact.Set
	d      Decision
	tags   []string // so far, those of earlier stages included
	points float64

	brought marks // of these, what hangs on the recipient and is asked for after RCPT

	redacted bool // what is personal may have been anything
	recorded bool // what is not absent is settled
}

// Decide judges the facts by the rules of s.Stage. When the decision says
// Greylist, the caller asks the greylist, puts its answer into the facts, and
// decides again.
func (p *Policy) Decide(s *fact.Set) Decision {
	parts := (p.spares || p.contested) && s.Txn.First.To.Known()
	if parts && s.Stage > mail.StageRcpt && len(s.Txn.Unlike) > 0 {
		return p.together(s)
	}
	e := evaluation{set: s}
	p.evaluate(&e)
	if parts && s.Stage == mail.StageRcpt {
		p.part(&e)
	}
	return e.d
}

// evaluate tries the rules of the set's stage in their order.
func (p *Policy) evaluate(e *evaluation) {
	e.d.Stage = e.set.Stage
	e.past(p.earlier[e.set.Stage])
	rules := p.stages[e.set.Stage]
	if len(rules) > 0 {
		e.d.Trace = make([]Step, 0, len(rules))
	}
	for _, r := range rules {
		step, end := e.rule(r)
		e.d.Trace = append(e.d.Trace, step)
		if end {
			break
		}
	}
}

// past gathers the marks of earlier stages. Those that hang on a recipient are
// the first one's.
func (e *evaluation) past(rules []*program) {
	now := e.set
	var then *fact.Set
	for _, r := range rules {
		if e.set = now; r.bound {
			if !now.Txn.First.To.Known() {
				continue
			}
			if then == nil {
				then = asFirst(now, now.Txn.First)
			}
			e.set = then
		}
		if t, _ := e.eval(&r.when); t == True {
			e.remember(&r.rule.Do)
		}
	}
	e.set = now
}

// rule tries one rule; end says that it settles the matter.
func (e *evaluation) rule(p *program) (step Step, end bool) {
	r := &p.rule
	step = Step{Rule: r.Name, Mode: r.Mode}
	if r.Mode == Off {
		return step, false
	}
	if t, why := e.eval(&p.when); t != True {
		step.Unknown = t == Unknown
		e.explain(&step, why)
		return step, false
	}
	step.Matched = true
	switch {
	case r.Mode == Observe:
		step.Did = e.observe(p)
		return step, false
	case r.Do.Greylist:
		step.Did, end = e.greylist(p)
		return step, end
	}
	e.marks(p)
	step.Did = e.did(&r.Do)
	if r.Do.Verdict.terminal() {
		reply := r.Do.Reply
		reply.Text = e.expand(p.reply)
		e.settle(r, r.Do.Verdict, reply, e.expand(p.reason))
		return step, true
	}
	return step, false
}

// explain says which condition kept the rule from matching.
func (e *evaluation) explain(step *Step, why cause) {
	l := why.leaf
	if l == nil {
		return
	}
	step.Field, step.Want = l.field.Name, l.want
	if why.negated {
		step.Want = l.unwanted
	}
	step.Got = e.read(&l.field).String(l.field.Kind)
}

// marks leaves what a rule adds without ending the evaluation.
func (e *evaluation) marks(p *program) {
	do := &p.rule.Do
	e.remember(do)
	for _, t := range do.Tags {
		if !slices.Contains(e.d.Tags, t) {
			e.d.Tags = append(e.d.Tags, t)
		}
	}
	e.d.Points += do.Points
	e.brought.add(p.brings)
	for i, h := range do.Headers {
		e.d.Headers = append(e.d.Headers, HeaderEdit{h.Name, e.expand(p.headers[i])})
	}
}

// remember keeps marks for the conditions of later rules.
func (e *evaluation) remember(do *Action) {
	for _, t := range do.Tags {
		if !slices.Contains(e.tags, t) {
			e.tags = append(e.tags, t)
		}
	}
	e.points += do.Points
}

// did tells what a rule does.
func (e *evaluation) did(do *Action) string {
	var did []string
	if do.Verdict.terminal() {
		did = append(did, do.Verdict.String())
	}
	for _, t := range do.Tags {
		did = append(did, "tag "+t)
	}
	if do.Points != 0 {
		did = append(did, fmt.Sprintf("points %g, now %g", do.Points, e.points))
	}
	for _, h := range do.Headers {
		did = append(did, "header "+h.Name)
	}
	return strings.Join(did, ", ")
}

// observe notes what an observed rule would have done. It never asks the
// greylist, so that nothing is written; an answer that is there is believed.
func (e *evaluation) observe(p *program) string {
	r := &p.rule
	do := r.Do
	o := Outcome{Rule: r.Name, Verdict: do.Verdict, Reason: e.expand(p.reason), At: r.At}
	if do.Greylist {
		g := e.asked()
		if g.State != fact.Absent && !deferred(g) {
			return greylistSays(g)
		}
		o.Verdict, o.Reason = Tempfail, "would be greylisted"
		do.Verdict = Tempfail
	}
	if o.Verdict.terminal() {
		e.d.Would = append(e.d.Would, o)
	}
	// Were it enforced, the points would be there.
	after := evaluation{points: e.points + do.Points}
	if s := after.did(&do); s != "" {
		return "would " + s
	}
	return ""
}

// asked gives the greylist's answer: the recipient's, or the message's.
func (e *evaluation) asked() fact.Fact[fact.Greylist] {
	if g := e.set.Rcpt.Greylist; g.State != fact.Absent {
		return g
	}
	return e.set.Txn.Greylist
}

func deferred(g fact.Fact[fact.Greylist]) bool { return g.Known() && g.Value.Result == "defer" }

func greylistSays(g fact.Fact[fact.Greylist]) string {
	if !g.Known() {
		return "greylist " + g.State.String() + ": " + fact.Clean(g.Why)
	}
	return "greylist says " + fact.Clean(g.Value.Result)
}

// greylist acts on the greylist's answer, or asks for it.
func (e *evaluation) greylist(p *program) (did string, end bool) {
	g := e.asked()
	switch {
	case g.State == fact.Absent:
		e.d.Greylist = true
		return "ask the greylist", true
	case !deferred(g):
		return greylistSays(g), false
	}
	e.marks(p)
	// RFC 6647, 5: the wait is told, the mechanism is not.
	seconds := int64(math.Ceil(g.Value.Remaining.Seconds()))
	reply := Reply{451, "4.7.1", fmt.Sprintf("Greylisted, retry in %d seconds", max(seconds, 1))}
	e.settle(&p.rule, Tempfail, reply, fact.Clean(fmt.Sprintf("greylisted: %s (%s) first seen %s", g.Value.Identity, g.Value.Kind,
		g.Value.FirstSeen.UTC().Format("2006-01-02 15:04:05"))))
	return greylistSays(g), true
}

func (e *evaluation) settle(r *Rule, v Verdict, reply Reply, reason string) {
	e.d.Verdict, e.d.Rule, e.d.At = v, r.Name, r.At
	e.d.Reply, e.d.Reason = reply, reason
}
