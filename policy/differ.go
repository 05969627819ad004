package policy

import (
	"fmt"
	"slices"
	"strings"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

// RecipientsDiffer names the decision about recipients who cannot share a
// message. No rule may have that name.
//
// Up to RCPT each recipient has a decision of its own; after it, a message has
// one for all. Recipients differ in what rules ask for later: in being let in by
// a rule, or in tags and points that hang on the recipient. Who differs from the
// first one is answered 452 4.5.3, upon which clients bring the rest in another
// message (RFC 5321, 4.5.3.1.10). The first one is always taken, so each message
// brings the client further.
//
// Where that cannot be asked of the client, all are taken, and the message is
// judged for each kind of them at its end. It goes where all agree.
const RecipientsDiffer = "recipients-differ"

// The replies. RFC 3463, 3.6: X.5.3 is about too many recipients.
var (
	share    = Reply{452, "4.5.3", "Too many recipients: please send this one in another mail"}
	disagree = Reply{550, "5.5.3", "The rules of the recipients differ: please send this mail to fewer at a time"}
	unclear  = Reply{451, "4.5.3", "The rules of the recipients differ: please try again later, or send this mail to fewer at a time"}
)

const (
	// maxApart bounds the refusals in a message: Postfix hangs up on a client after
	// 20 errors (smtpd_hard_error_limit), and would do so at each retry.
	maxApart = 15
	// maxUnlike bounds for how many kinds of recipients a stranger's message is
	// judged.
	maxUnlike = 20
)

// marks are what rules leave for later ones.
type marks struct {
	tags   []string
	points float64
}

func (m *marks) add(more marks) {
	for _, t := range more.tags {
		if !slices.Contains(m.tags, t) {
			m.tags = append(m.tags, t)
		}
	}
	m.points += more.points
}

// Apart lists what sets recipients of a message apart, and by which rule: "accept
// by rule friends", "tag strict by rule kim". Who differs in it is answered as
// RecipientsDiffer says.
func (p *Policy) Apart() []string {
	var out []string
	for i := range p.rules {
		r := &p.rules[i]
		var what []string
		if r.bound && r.rule.Do.Verdict == Accept {
			what = append(what, "accept")
		}
		for _, t := range r.brings.tags {
			what = append(what, "tag "+t)
		}
		if r.brings.points != 0 {
			what = append(what, fmt.Sprintf("points %g", r.brings.points))
		}
		for _, w := range what {
			out = append(out, w+" by rule "+r.rule.Name)
		}
	}
	return out
}

// part finds out whether a recipient can share the message with those before.
func (p *Policy) part(e *evaluation) {
	if v := e.d.Verdict; e.d.Greylist || v != Continue && v != Accept {
		return
	}
	t := &e.set.Txn
	why := p.difference(e, t.First)
	if why == "" || slices.ContainsFunc(t.Unlike, func(r fact.Rcpt) bool { return p.difference(e, r) == "" }) {
		return
	}
	e.d.Differs = fact.Clean("unlike " + t.First.To.Value.String() + ": " + why)
	step := Step{Rule: RecipientsDiffer, Matched: true}
	switch {
	case !splits(e.set):
		step.Did = "nothing, for the client cannot split a mail"
	case t.Apart >= maxApart && len(t.Unlike) < maxUnlike:
		step.Did = "nothing, for too many are asked for in other mails already"
	default:
		e.settle(&Rule{Name: RecipientsDiffer}, Tempfail, share, e.d.Differs)
		step.Did = Tempfail.String()
	}
	e.d.Trace = append(e.d.Trace, step)
}

// splits tells whether the client may be asked to bring a recipient in another
// message. Programs that people write mail with cannot; they show an error.
func splits(s *fact.Set) bool { return s.Conn.Trusted.Value == "" && !s.Txn.AuthUser.Known() }

// difference says in what a recipient differs from another, "" when they can
// share a message.
func (p *Policy) difference(e *evaluation, from fact.Rcpt) string {
	other := evaluation{set: asFirst(e.set, from)}
	p.evaluate(&other)
	if p.spares {
		mine, its := e.d.Verdict == Accept, other.d.Verdict == Accept
		switch {
		case mine && its:
			return ""
		case mine:
			return "accepted by rule " + e.d.Rule
		case its:
			return "not accepted by rule " + other.d.Rule
		}
	}
	var all []string
	for _, t := range e.brought.tags {
		if !slices.Contains(other.brought.tags, t) {
			all = append(all, "tag "+t)
		}
	}
	for _, t := range other.brought.tags {
		if !slices.Contains(e.brought.tags, t) {
			all = append(all, "no tag "+t)
		}
	}
	if mine, its := e.brought.points, other.brought.points; mine != its {
		all = append(all, fmt.Sprintf("points %g instead of %g", mine, its))
	}
	return strings.Join(all, ", ")
}

// asFirst gives the facts as they were at RCPT of a recipient who was the first.
func asFirst(s *fact.Set, r fact.Rcpt) *fact.Set {
	then := *s
	then.Stage, then.Rcpt = mail.StageRcpt, r
	then.Txn.Rcpts, then.Txn.Greylist = nil, fact.Fact[fact.Greylist]{}
	return &then
}

// bind finds the rules whose marks hang on a recipient, and which of these are
// asked for after RCPT.
func (c *compiler) bind() {
	late := c.late()
	var bound []*program
	for _, p := range c.p.stages[mail.StageRcpt] {
		hangs := p.hangs || slices.ContainsFunc(bound, func(b *program) bool { return c.sees(p, b) })
		switch {
		case !hangs || p.rule.Mode != Enforce:
		case p.rule.Do.Verdict == Accept:
			p.bound = len(late) > 0
			c.p.spares = c.p.spares || p.bound
		case p.leavesMarks():
			bound = append(bound, p)
			p.bound, p.brings = true, c.asked(p, late)
			c.p.contested = c.p.contested || len(p.brings.tags) > 0 || p.brings.points != 0
		}
	}
}

// late lists the enforced rules after RCPT that have a say in what becomes of a
// message, the last one first. A mark has a say where such a rule asks for it.
func (c *compiler) late() []*program {
	var out []*program
	for at := stages - 1; at > int(mail.StageRcpt); at-- {
		for _, p := range slices.Backward(c.p.stages[at]) {
			// To accept is to keep the rules behind from their say.
			do := &p.rule.Do
			acts := do.Greylist || len(do.Headers) > 0 || do.Verdict.terminal() && (do.Verdict != Accept || len(out) > 0)
			asked := func(later *program) bool { return c.sees(later, p) }
			if p.rule.Mode == Enforce && (acts || slices.ContainsFunc(out, asked)) {
				out = append(out, p)
			}
		}
	}
	return out
}

// asked gives those of a rule's marks that any of the others asks for.
func (c *compiler) asked(p *program, by []*program) marks {
	wanted := func(do Action) bool {
		one := &program{rule: Rule{Do: do}}
		return slices.ContainsFunc(by, func(q *program) bool { return c.sees(q, one) })
	}
	var m marks
	for _, t := range p.rule.Do.Tags {
		if wanted(Action{Tags: []string{t}}) {
			m.tags = append(m.tags, t)
		}
	}
	if wanted(Action{Points: p.rule.Do.Points}) {
		m.points = p.rule.Do.Points
	}
	return m
}

// sees tells whether what p does can hang on the marks of another rule.
func (c *compiler) sees(p, left *program) bool {
	return left.leavesMarks() && slices.ContainsFunc(p.asks, func(l Leaf) bool { return c.asksFor(&l, &left.rule.Do) })
}

// turns tells whether the truth of a condition on tags can hang on one tag.
func (c *compiler) turns(m Match, tag string) bool {
	switch {
	case m.Not != nil:
		return c.turns(*m.Not, tag)
	case len(m.All) > 0:
		return slices.ContainsFunc(m.All, func(x Match) bool { return c.turns(x, tag) })
	case m.Op == "":
		return true // a text that shows them all
	}
	scratch := compiler{fields: c.fields} // what is wrong is told elsewhere
	t := scratch.match(m, c.fields[fieldTags], Position{}, "")
	return len(scratch.problems) > 0 || t(fact.Value{State: fact.Known, Text: []string{tag}}) != t(fact.Value{State: fact.Known})
}
