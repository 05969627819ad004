package observe

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailwicket/filter/fact"
)

// words replaces what must not be seen in texts, whatever its case. The longest
// wins, so that an address is not cut in two.
type words struct {
	by    map[string]string // lower case, and what stands in its place
	parts map[string]string // labels of DNS names
	lens  [256][]int        // by first byte, the lengths of what begins with it, falling
}

func newWords() *words { return &words{by: map[string]string{}, parts: map[string]string{}} }

const (
	// longEnough is found within words too: text around a placeholder may touch it.
	// What is shorter must stand by itself, else "al" would be found in "alias".
	longEnough = 6
	// maxShown is where texts that policy makes cut a value.
	maxShown = 100
	// partEnough keeps parts of local parts from being taken for top-level domains.
	partEnough = 4
)

// hide makes a value unseen in all forms in which texts show it.
func (w *words) hide(s, by string) {
	clean := fact.Clean(s)
	w.add(s, by)
	w.add(clean, by)
	w.add(strings.ToLower(s), by) // not all letters are ASCII
	w.add(quoted(s), by)
	w.add(quoted(clean), by)
	w.add(url.PathEscape(s), by) // SPF macros in upper case
	if len(clean) > maxShown {
		n := maxShown
		for !utf8.RuneStart(clean[n]) {
			n--
		}
		w.add(clean[:n], by)
		w.add(quoted(clean[:n]), by)
	}
}

// quoted gives a value as traces quote it, without the quotes.
func quoted(s string) string {
	q := strconv.Quote(strings.ToValidUTF8(s, "\ufffd"))
	return q[1 : len(q)-1]
}

// hideParts makes the parts of a local part unseen, which SPF macros turn round
// and cut (RFC 7208, 7.3).
func (w *words) hideParts(local, by string) {
	for _, at := range ".-+,/_=" {
		parts := strings.Split(strings.ToLower(local), string(at))
		if len(parts) < 2 {
			continue
		}
		w.add(strings.Join(parts, "."), by)
		for _, p := range parts {
			if len(p) >= partEnough {
				w.parts[p] = by
			}
		}
		slices.Reverse(parts)
		w.add(strings.Join(parts, "."), by)
	}
}

func (w *words) add(s, by string) {
	low := lowered(s)
	if low == "" || w.by[low] != "" {
		return
	}
	w.by[low] = by
	lens := &w.lens[low[0]]
	at, known := slices.BinarySearchFunc(*lens, len(low), func(a, b int) int { return b - a })
	if !known {
		*lens = slices.Insert(*lens, at, len(low))
	}
}

// clean gives a text without what is hidden.
func (w *words) clean(s string) string {
	low := lowered(s)
	var out strings.Builder
	from := 0
	for i := 0; i < len(s); {
		n, by := w.at(low, i)
		if n == 0 {
			i++
			continue
		}
		out.WriteString(s[from:i])
		out.WriteString(by)
		i += n
		from = i
	}
	if from == 0 {
		return s
	}
	out.WriteString(s[from:])
	return out.String()
}

// at finds the longest hidden value that begins at i.
func (w *words) at(low string, i int) (n int, by string) {
	for _, n := range w.lens[low[i]] {
		if i+n > len(low) {
			continue
		}
		by, ok := w.by[low[i:i+n]]
		if ok && (n >= longEnough || byItself(low, i, i+n)) {
			return n, by
		}
	}
	return 0, ""
}

// byItself tells whether no letter or digit touches the value.
func byItself(s string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:from])
	after, _ := utf8.DecodeRuneInString(s[to:])
	first, _ := utf8.DecodeRuneInString(s[from:])
	last, _ := utf8.DecodeLastRuneInString(s[:to])
	return !(wordRune(before) && wordRune(first)) && !(wordRune(after) && wordRune(last))
}

func wordRune(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

// cleanName cleans a DNS name, of which each label may be a part of what is
// hidden.
func (w *words) cleanName(s string) string {
	labels := strings.Split(w.clean(s), ".")
	for i, l := range labels {
		if by, ok := w.parts[lowered(l)]; ok {
			labels[i] = by
		}
	}
	return strings.Join(labels, ".")
}

// lowered is lower case in ASCII, byte by byte: offsets stay.
func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
