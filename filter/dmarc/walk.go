package dmarc

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// prefix makes the name that has the record (RFC 9989, 4.5).
const prefix = "_dmarc."

// The limits of a tree walk (RFC 9989, 4.10): longer names than shortcut are
// cut to one label less, so that there are never more questions than that.
const shortcut = 8

// failure is a question that the DNS did not answer. The zero value is none.
type failure struct {
	result Result // TempError or PermError
	why    string
}

func (f failure) failed() bool { return f.result != "" }

// worse gives the failure that decides: what may be over soon goes before what
// stays, so that the question is asked again.
func (f failure) worse(g failure) failure {
	if !f.failed() || f.result == PermError && g.result == TempError {
		return g
	}
	return f
}

// level is what the DNS said of one name.
type level struct {
	name    string
	record  Record // where found
	found   bool
	failure failure
	note    string // why what is there does not count
	there   bool   // the name is known to exist, because one below it does
}

// read takes the TXT records of a name.
func (lv *level) read(texts []string) {
	var count int
	for _, t := range texts {
		r, err := ParseRecord(t)
		if errors.Is(err, ErrVersion) {
			continue
		}
		count++
		lv.record, lv.found = r, err == nil
		if err != nil {
			lv.note = fmt.Sprintf("the DMARC record of %s is void: %v", lv.name, err)
		}
	}
	if count > 1 { // RFC 9989, 4.10, steps 2 and 6: all are discarded
		lv.record, lv.found = Record{}, false
		lv.note = fmt.Sprintf("%s has %d DMARC records, so that none counts", lv.name, count)
	}
}

// ends tells whether the walk stops here.
func (lv level) ends() bool { return lv.found && lv.record.PSD != PSDUnknown }

// walk is what was found for a domain and above it, longest name first. It has
// one level at least, that of the domain itself.
type walk []level

// targets gives the names that a tree walk visits (RFC 9989, 4.10).
func targets(domain string) []string {
	out := append(make([]string, 0, shortcut), domain)
	for n := min(labels(domain), shortcut) - 1; n > 0; n-- {
		out = append(out, lastLabels(domain, n))
	}
	return out
}

// suffixNames gives the names that count by the public suffix list.
func suffixNames(domain string) []string {
	if org := suffixOrg(domain); org != domain {
		return []string{domain, org}
	}
	return []string{domain}
}

// org chooses by the rules of RFC 9989, 4.10.2. A level that failed might have
// ended the walk, or be the highest with a record.
func (w walk) org() (string, failure) {
	var f failure
	for _, lv := range w {
		f = f.worse(lv.failure)
	}
	if f.failed() {
		return "", f
	}
	org := w[0].name // where nothing is found
	for i, lv := range w {
		switch {
		case !lv.found:
		case lv.record.PSD == PSDNo:
			return lv.name, failure{}
		case lv.record.PSD == PSDYes && i > 0:
			return lastLabels(w[0].name, labels(lv.name)+1), failure{}
		default:
			org = lv.name // in the end the one with the fewest labels
		}
	}
	return org, failure{}
}

// policy chooses the level whose record that applies: that of the domain itself, else of
// its organizational domain, else of its public suffix (RFC 9989, 4.10.1).
func (w walk) policy(org string, orgFailure failure) (level, failure) {
	if w[0].found || w[0].failure.failed() {
		return w[0], w[0].failure
	}
	if orgFailure.failed() {
		return level{}, orgFailure
	}
	for _, lv := range w {
		if lv.name == org && (lv.found || lv.failure.failed()) {
			return lv, lv.failure
		}
	}
	if last := w[len(w)-1]; last.found && last.record.PSD == PSDYes {
		return last, failure{}
	}
	return level{}, failure{}
}

// notes tells what was found and did not count.
func (w walk) notes() string {
	var notes []string
	for _, lv := range w {
		if lv.note != "" {
			notes = append(notes, lv.note)
		}
	}
	return strings.Join(notes, "; ")
}

// suffixOrg gives the organizational domain by the public suffix list. Public
// suffixes and addresses are their own.
func suffixOrg(domain string) string {
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return org
}

func labels(name string) int { return strings.Count(name, ".") + 1 }

// lastLabels gives the end of a name, the whole where it has no more than n
// labels.
func lastLabels(name string, n int) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			if n--; n == 0 {
				return name[i+1:]
			}
		}
	}
	return name
}
