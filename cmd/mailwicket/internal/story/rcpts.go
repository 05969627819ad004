package story

import (
	"fmt"
	"slices"
	"strings"

	"mailwicket/filter"
	"mailwicket/policy"
)

// fate is how a message, or some of its recipients, fared.
type fate struct {
	verdict policy.Verdict
	names   []string // of the recipients, where others fared otherwise
	what    string   // refused
	by      string   // " by rule R (file:line, at rcpt)", or ""
	reason  string   // "" as well where the recipients have several
}

func (f fate) String() string {
	s := f.what
	if len(f.names) > 0 {
		s += " for " + some(f.names)
	}
	s += f.by
	if f.reason != "" {
		s += ": " + f.reason
	}
	return s
}

// fates tells recipients apart who fared differently: those whom the message
// reached, with its verdict, and those who were refused at RCPT, by rule. Where
// all fared alike there is one, without names.
func fates(r *filter.Record) []fate {
	whole := ofMessage(r)
	with, last := atRcpt(r)
	var all []fate
	if len(with) > 0 {
		f := whole
		f.names = with
		all = append(all, f)
	}
	for _, d := range last {
		f := fate{verdict: d.Verdict, what: verdictWords[d.Verdict], by: byRule(d), reason: d.Reason, names: []string{d.Recipient}}
		i := slices.IndexFunc(all, func(a fate) bool { return a.what == f.what && a.by == f.by })
		switch {
		case i < 0:
			all = append(all, f)
			continue
		case all[i].reason != f.reason:
			all[i].reason = ""
		}
		all[i].names = append(all[i].names, d.Recipient)
	}
	if len(all) < 2 {
		return []fate{whole}
	}
	return all
}

// ofMessage is the verdict that the record ends with.
func ofMessage(r *filter.Record) fate {
	f := fate{verdict: r.Verdict, what: verdictWords[r.Verdict], reason: r.Reason}
	if !r.Complete && r.Verdict == policy.Continue {
		return fate{what: "given up by the client before the end of the message"}
	}
	if r.Rule != "" {
		f.by = " by rule " + r.Rule
		if i := slices.IndexFunc(r.Decisions, func(d filter.Decided) bool { return d.Rule == r.Rule && d.At.File != "" }); i >= 0 {
			f.by = byRule(r.Decisions[i])
		}
	}
	return f
}

func byRule(d filter.Decided) string {
	s := " by rule " + d.Rule
	if d.At.File != "" {
		s += fmt.Sprintf(" (%s, at %s)", at(d.At), d.Stage)
	}
	return s
}

// atRcpt gives the recipients whom the message reached, and the last decisions
// about the others. A client may ask for one twice, and who was taken stays so.
func atRcpt(r *filter.Record) (with []string, refused []filter.Decided) {
	seen := map[string]bool{}
	for _, a := range r.Facts.Txn.Rcpts {
		if s := a.String(); !seen[s] {
			seen[s], with = true, append(with, s)
		}
	}
	for _, d := range slices.Backward(r.Decisions) {
		if d.Recipient == "" || seen[d.Recipient] {
			continue
		}
		seen[d.Recipient] = true
		if d.Verdict == policy.Tempfail || d.Verdict == policy.Reject {
			refused = append(refused, d)
		} else {
			with = append(with, d.Recipient) // discarded, and the message with it
		}
	}
	slices.Reverse(refused)
	return with, refused
}

// few are told one by one, more are counted.
const few = 3

func some(names []string) string {
	if len(names) > few {
		return fmt.Sprintf("%d recipients", len(names))
	}
	return strings.Join(names, ", ")
}

// told is what the client was answered; where fates differ, for whom.
func told(r *filter.Record, differ bool) string {
	type answer struct {
		text  string
		names []string
	}
	var all []answer
	for _, d := range r.Decisions {
		if d.Reply == "" {
			continue
		}
		i := slices.IndexFunc(all, func(a answer) bool { return a.text == d.Reply })
		if i < 0 {
			i = len(all)
			all = append(all, answer{text: d.Reply})
		}
		if d.Recipient != "" && !slices.Contains(all[i].names, d.Recipient) {
			all[i].names = append(all[i].names, d.Recipient)
		}
	}
	var parts []string
	for i, a := range all {
		if i == few {
			parts = append(parts, fmt.Sprintf("%d more answers", len(all)-i))
			break
		}
		if (differ || len(all) > 1) && len(a.names) > 0 {
			a.text = "for " + some(a.names) + ": " + a.text
		}
		parts = append(parts, a.text)
	}
	return strings.Join(parts, " / ")
}
