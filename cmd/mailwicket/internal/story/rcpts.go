package story

import (
	"fmt"
	"slices"
	"strings"

	"mailwicket/filter"
	"mailwicket/policy"
)

// apart is how some recipients fared whom the message did not reach.
type apart struct {
	names []string
	how   string // refused by rule R (file:line, at rcpt): reason
}

// refusedApart groups the recipients who were refused at RCPT while the message
// went on to others. Where all were, that was the end of the message.
func refusedApart(r *filter.Record) []apart {
	if len(r.Facts.Txn.Rcpts) == 0 {
		return nil
	}
	var all []apart
	for _, d := range r.Decisions {
		if d.Recipient == "" || d.Verdict != policy.Tempfail && d.Verdict != policy.Reject {
			continue
		}
		how := verdictWords[d.Verdict] + " by rule " + d.Rule
		if d.At.File != "" {
			how += fmt.Sprintf(" (%s, at %s)", at(d.At), d.Stage)
		}
		if d.Reason != "" {
			how += ": " + d.Reason
		}
		i := slices.IndexFunc(all, func(a apart) bool { return a.how == how })
		if i < 0 {
			i = len(all)
			all = append(all, apart{how: how})
		}
		all[i].names = append(all[i].names, d.Recipient)
	}
	return all
}

// some names a few, and counts many.
func some(names []string) string {
	const few = 3
	if len(names) > few {
		return fmt.Sprintf("%d recipients", len(names))
	}
	return strings.Join(names, ", ")
}

// taken names the recipients whom the message reached, unless it was refused later.
func taken(r *filter.Record) string {
	var names []string
	for _, a := range r.Facts.Txn.Rcpts {
		names = append(names, a.String())
	}
	return some(names)
}
