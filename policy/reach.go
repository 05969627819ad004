package policy

import (
	"slices"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

// MayMatch tells whether a rule of a stage that reads a check's facts can still
// match by what is known at s.Stage, an earlier one. A check that costs much is not
// made for a message that no rule would look at: one of a trusted client, say, where
// the rules are about strangers.
func (p *Policy) MayMatch(stage mail.Stage, check string, s *fact.Set) bool {
	e := evaluation{set: s}
	return slices.ContainsFunc(p.stages[stage], func(r *program) bool {
		if r.rule.Mode == Off || !slices.Contains(r.checks, check) {
			return false
		}
		_, most := e.bounds(&r.when)
		return most == True
	})
}

// Undecided tells whether a rule of s.Stage could go either way, since it reads
// what is personal and a redacted record does not hold.
func (p *Policy) Undecided(s *fact.Set) bool {
	e := evaluation{set: s, redacted: true}
	return slices.ContainsFunc(p.stages[s.Stage], func(r *program) bool {
		if r.rule.Mode == Off || !r.personal {
			return false
		}
		least, most := e.bounds(&r.when)
		return least != most
	})
}

// Hangs tells whether a rule of s.Stage that reads a check's facts could go either
// way, all that is absent from a record being open.
func (p *Policy) Hangs(check string, s *fact.Set) bool {
	e := evaluation{set: s, recorded: true}
	return slices.ContainsFunc(p.stages[s.Stage], func(r *program) bool {
		if r.rule.Mode == Off || !slices.Contains(r.checks, check) {
			return false
		}
		least, most := e.bounds(&r.when)
		return least != most
	})
}

// bounds gives the least and the most that a condition can come to when all is
// known. A fact that has not been found may turn out either way, and so may marks and
// what sums several facts.
func (e *evaluation) bounds(n *node) (least, most Truth) {
	switch n.op {
	case opLeaf:
		f := &n.leaf.field
		settled := f.Get != nil && f.Stage <= e.set.Stage && (f.Check == "" || f.Check == "header" || e.redacted ||
			e.recorded && f.Get(e.set).State != fact.Absent)
		if !settled || e.redacted && f.Personal && f.Get(e.set).State == fact.Known {
			return False, True
		}
		t := n.leaf.test(f.Get(e.set))
		return t, t
	case opNot:
		least, most = e.bounds(&n.kids[0])
		return not(most), not(least)
	case opAny:
		for i := range n.kids {
			l, m := e.bounds(&n.kids[i])
			least, most = max(least, l), max(most, m)
		}
		return least, most
	}
	least, most = True, True
	for i := range n.kids {
		l, m := e.bounds(&n.kids[i])
		least, most = min(least, l), min(most, m)
	}
	return least, most
}
