package spf

import (
	"errors"
	"fmt"
	"strings"

	lib "blitiri.com.ar/go/spf"

	"mailwicket/filter/mail"
	"mailwicket/filter/spf/record"
)

// shown gives a name for messages.
func shown(name string) string {
	if mail.ValidDomain(name) {
		return name
	}
	return record.Quote(name)
}

// place words a term: "include:x of example.com".
func (e *evaluation) place(a ask) string {
	if a.in == nil {
		return shown(e.domain)
	}
	return cut(a.term().Text, maxTerm) + " of " + shown(a.in.domain)
}

// The bounds of what is told of strangers' records.
const (
	maxTerm   = 100
	maxReason = 400
)

func cut(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// reason words a result. What goes wrong is noted where it does, the limits are
// the library's, and a match is found again.
func (e *evaluation) reason(result Result, err error) string {
	switch {
	case result == PermError && errors.Is(err, lib.ErrLookupLimitReached):
		at, _ := e.next()
		return fmt.Sprintf("at least %d lookups, limit %d, at %s", e.needed(), maxLookups, e.place(at))
	case result == PermError && errors.Is(err, lib.ErrVoidLookupLimitReached):
		return fmt.Sprintf("%d lookups that found nothing, limit %d, at %s", maxVoid+1, maxVoid, e.place(e.last))
	case result == PermError && errors.Is(err, lib.ErrTooManyMXRecords):
		return fmt.Sprintf("more than 10 MX records, at %s", e.place(e.last))
	case result == None || result == TempError || result == PermError:
		return e.why
	}
	text := e.matched(result, err)
	switch e.lookups {
	case 0:
	case 1:
		text += ", 1 lookup"
	default:
		text += fmt.Sprintf(", %d lookups", e.lookups)
	}
	return text
}

// matched words which term decided.
func (e *evaluation) matched(result Result, err error) string {
	at, found := e.last, true
	if !errors.Is(err, lib.ErrMatchedA) && !errors.Is(err, lib.ErrMatchedMX) && !errors.Is(err, lib.ErrMatchedExists) {
		at, found = e.next()
	}
	if !found {
		return "no term of " + shown(e.domain) + " matches"
	}
	text, decisive := e.place(at), at.term()
	for in := at.in; in.parent != nil; in = in.parent {
		if by := in.parent.rec.Terms[in.at]; by.Kind == record.Include {
			text += ", included by " + shown(in.parent.domain)
			decisive = by
		}
	}
	if results[decisive.Qualifier] != result {
		// An include left at a lookup that matched: next does not know of it.
		return "by the policy of " + shown(e.domain)
	}
	return "matched " + text
}

var results = map[byte]Result{'+': Pass, '-': Fail, '~': SoftFail, '?': Neutral}

// next finds where the evaluation stood after the last lookup: the next term
// that asks the DNS, or the one that decided without. It reports false where
// all records came to their end.
func (e *evaluation) next() (ask, bool) {
	in, at := e.last.in, e.last.at
	if e.fetched != nil {
		in, at = e.fetched, -1
	}
	for in != nil {
		at++
		if at >= len(in.rec.Terms) {
			in, at = in.leave()
			continue
		}
		t := in.rec.Terms[at]
		switch {
		case t.Kind.Asks():
			return ask{in, at}, true
		case t.Kind != record.All && !t.Net.Contains(e.ip):
			continue
		case t.Qualifier != '+' && in.included():
			// RFC 7208, 5.2: anything but a pass is no match of the include.
			in, at = in.leave()
			continue
		}
		return ask{in, at}, true
	}
	return ask{}, false
}

// leave gives the place after which evaluation goes on when a record ends
// without a match: that of the include, past any redirects.
func (in *instance) leave() (*instance, int) {
	for ; in.parent != nil; in = in.parent {
		if in.parent.rec.Terms[in.at].Kind == record.Include {
			return in.parent, in.at
		}
	}
	return nil, 0
}

// included tells whether a record is evaluated for an include.
func (in *instance) included() bool {
	parent, _ := in.leave()
	return parent != nil
}

// needed counts the lookups of a check that ran into the limit: those made, and
// those of the terms that would have followed in the records at hand.
func (e *evaluation) needed() int {
	n := e.lookups
	at, _ := e.next()
	for in, i := at.in, at.at; in != nil; {
		for _, t := range in.rec.Terms[i:] {
			if t.Kind == record.All {
				break
			}
			if t.Kind.Asks() {
				n++
			}
		}
		in, i = in.leave()
		i++
	}
	return n
}

// maxExplanation bounds the foreign text: it fits a reply line (RFC 5321,
// 4.5.3.1.5) with room for our own.
const maxExplanation = 400

// explanation fetches the domain owner's text for a fail (RFC 7208, 6.2). Any
// trouble with it is as if there were none.
func (e *evaluation) explanation() string {
	spec := e.main.rec.Exp
	if spec.IsZero() || spec.Uses("sl") && !ascii(e.local) {
		return ""
	}
	values := e.values(e.main.domain)
	name := spec.Domain(values)
	if !askable(name) {
		return ""
	}
	all, err := e.r.LookupTXT(e.ctx, name)
	if err != nil || len(all) != 1 {
		return ""
	}
	text, err := record.ParseText(all[0])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(printable(text.Text(values, maxExplanation)))
}

// printable replaces what macros brought in: local parts and HELO names may
// hold anything.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
