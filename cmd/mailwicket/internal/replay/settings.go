package replay

import (
	"slices"
	"strings"
)

// differ tells what is otherwise than when messages were recorded. Few settings
// were in force in a journal's time, so what was found of each is kept.
type differ struct {
	now   map[string]string // fingerprints by name
	known map[string][]string
}

func newDiffer(settings string) differ {
	return differ{now: prints(settings), known: map[string][]string{}}
}

// prints reads fingerprints as filter.Config.Settings has them.
func prints(settings string) map[string]string {
	out := map[string]string{}
	for _, word := range strings.Fields(settings) {
		name, print, _ := strings.Cut(word, "=")
		out[name] = print
	}
	return out
}

// names gives what the new settings have that was not there or was otherwise. What
// the records do not tell is one name, "".
func (d *differ) names(then string) []string {
	switch {
	case len(d.now) == 0:
		return nil // nothing to compare with
	case then == "":
		return unknown
	}
	found, ok := d.known[then]
	if ok {
		return found
	}
	before := prints(then)
	for name, print := range d.now {
		if before[name] != print {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	d.known[strings.Clone(then)] = found
	return found
}

var unknown = []string{""}
