// Package doctor tells what is wrong with an installation. Examine decides, out of
// evidence that others have gathered (packages probe, mta and watch below it), and
// does nothing else: it has no clock and asks nobody.
package doctor

import (
	"cmp"
	"slices"

	"mailwicket/policy"
)

// Severity says how much a finding matters.
type Severity string

// The severities.
const (
	Info    Severity = "info"    // worth knowing, or something that could not be looked at
	Warning Severity = "warning" // works, but not as well as it should, or not for long
	Problem Severity = "problem" // mail is judged wrongly, lost or delayed, or soon will be
)

// rank orders severities, the worst first.
func (s Severity) rank() int {
	return map[Severity]int{Problem: 0, Warning: 1, Info: 2}[s]
}

// Finding is one thing that is wrong.
type Finding struct {
	ID       string          `json:"id"`
	Severity Severity        `json:"severity"`
	Summary  string          `json:"summary"`
	Evidence []string        `json:"evidence"` // what was seen: numbers and names
	Fix      string          `json:"fix"`      // what to change
	Key      string          `json:"key,omitempty"`
	At       policy.Position `json:"at,omitzero"`     // where the key stands
	Place    string          `json:"place,omitempty"` // where the lines go, if that is not our configuration
	Lines    []string        `json:"lines,omitempty"` // the very lines to put there, or to run
}

// Kind is a finding as the manual tells of it.
type Kind struct {
	ID       string
	Severity Severity
	Meaning  string
	Fix      string
}

// examiner collects the findings of one examination.
type examiner struct {
	Evidence
	found []Finding
}

// add takes a finding. Its severity is that of its kind.
func (x *examiner) add(id string, f Finding) {
	all := Kinds()
	i := slices.IndexFunc(all, func(k Kind) bool { return k.ID == id })
	f.ID, f.Severity = id, all[i].Severity
	if f.Key != "" {
		f.At = x.place(f.Key)
	}
	if f.Evidence == nil {
		f.Evidence = []string{}
	}
	x.found = append(x.found, f)
}

// place tells where a key of the configuration stands.
func (x *examiner) place(key string) policy.Position {
	if x.Settings == nil {
		return policy.Position{}
	}
	if at, ok := x.Settings.At[key]; ok {
		return at
	}
	return policy.Position{File: x.Settings.File}
}

// Examine gives what is wrong, the worst first. Equal evidence gives equal
// findings, in the same order.
func Examine(e Evidence) []Finding {
	x := &examiner{Evidence: e}
	x.config()
	x.server()
	x.data()
	x.clients()
	x.macros()
	x.mta()
	x.redis()
	x.dns()
	x.zones()
	x.lists()
	x.clocks()
	slices.SortStableFunc(x.found, func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	return x.found
}

// Has tells whether a finding of that kind is among them.
func Has(all []Finding, id string) bool {
	return slices.ContainsFunc(all, func(f Finding) bool { return f.ID == id })
}
