package authres

import (
	"slices"
	"strings"
	"unicode"

	"mailwicket/filter/author/encword"
	"mailwicket/filter/mail"
)

// Removal names one field to delete. Index counts the fields of that name from
// 1 at the top, without regard to case, as milters do.
type Removal struct {
	Name  string
	Index int
	Why   string
}

// The reasons of Removal.Why.
const (
	WhyClaims   = "claims our authserv-id"
	WhyNameless = "has no readable authserv-id"
	WhyOwn      = "bears a name that only we may set"
)

// Forged lists the fields that a border MTA has to delete (RFC 8601, 5):
// Authentication-Results that claim our identifier or show none that can be
// read, and fields named in own, which only this server may set. Names are
// grouped, and within a name the highest index comes first: deleting in this
// order works whether or not the MTA renumbers after each deletion.
//
// ARC-Authentication-Results stay: they belong to seals (RFC 8617, 4.1.1).
func Forged(h mail.Header, id string, own ...string) []Removal {
	var rs []Removal
	results, ours := mail.FoldName(FieldName), make([]string, len(own))
	for i, o := range own {
		ours[i] = mail.FoldName(o)
	}
	count := map[string]int{}
	for _, f := range h {
		name := strings.TrimRight(f.Name, " \t")
		key := mail.FoldName(name) // of ASCII alone, as MTAs count
		why := ""
		switch {
		case key == results:
			switch {
			case Claims(f.Value, id):
				why = WhyClaims
			case nameless(f.Value):
				why = WhyNameless
			}
		case slices.Contains(ours, key):
			why = WhyOwn
		default:
			continue
		}
		count[key]++
		if why != "" {
			rs = append(rs, Removal{Name: name, Index: count[key], Why: why})
		}
	}
	slices.SortStableFunc(rs, func(a, b Removal) int {
		if c := strings.Compare(mail.FoldName(a.Name), mail.FoldName(b.Name)); c != 0 {
			return c
		}
		return b.Index - a.Index
	})
	return rs
}

// nameless tells that no consumer can know whose results these are, so that
// one without care may take them for ours.
func nameless(value string) bool {
	s := &scanner{in: value}
	if !s.cfws() {
		return true
	}
	id, ok := s.value()
	return !ok || strings.Trim(id, ". ") == ""
}

// Claims tells whether a field's value claims to come from the server id, or
// whether some consumer could read it so. It is deliberately broad: it asks for
// id as a whole word anywhere before the results, in comments and quoted strings
// too, in any case, with a trailing dot, folded, interrupted by comments or
// white space, with escapes, as U-label or A-label, and in encoded words;
// in fields whose beginning cannot be read it asks everywhere. Other servers
// below id, or ending in it, are other words and do not claim it. A value that
// begins with id claims it even if the word goes on: some compare no further.
func Claims(value, id string) bool {
	id = mail.CanonicalDomain(id)
	if id == "" {
		return false
	}
	if claims(value, id) {
		return true
	}
	if h, err := Parse(value); err == nil && mail.CanonicalDomain(h.AuthservID) == id {
		return true
	}
	// Many libraries decode encoded words before they parse.
	return strings.Contains(value, "=?") && claims(encword.Decode(value), id)
}

func claims(value, id string) bool {
	value = strings.Map(visible, value)
	strict, naive := leads(value)
	for _, lead := range []string{strict, naive} {
		plain := strings.ReplaceAll(lead, `\`, "")
		bare := withoutComments(lead)
		if begins(lead, id) || begins(plain, id) || begins(bare, id) {
			return true
		}
		if hasWord(lead, id) || hasWord(plain, id) || hasWord(bare, id) || hasWord(squeeze(plain), id) || hasWord(squeeze(bare), id) {
			return true
		}
	}
	return false
}

// visible maps every kind of blank to a space, and drops what is not seen.
func visible(r rune) rune {
	switch {
	case unicode.IsSpace(r), r == unicode.ReplacementChar: // also a byte that is not UTF-8
		return ' '
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
		return -1
	}
	return r
}

// leads gives what stands before the results: up to the first semicolon that
// is no part of a comment or quoted string, and up to the first one at all.
// Where a comment or quoted string does not end, the former is everything.
// Semicolons with nothing before them do not count.
func leads(value string) (strict, naive string) {
	start := len(value) - len(strings.TrimLeft(value, "; "))
	value = value[start:]
	naive, _, _ = strings.Cut(value, ";")
	depth, quoted := 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\':
			i++
		case quoted:
			quoted = c != '"'
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == '"':
			quoted = true
		case c == ';':
			return value[:i], naive
		}
	}
	return value, naive
}

// withoutComments drops all comments and what follows one that does not end.
func withoutComments(s string) string {
	var b strings.Builder
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i++; i < len(s) && depth == 0 {
				b.WriteByte(s[i])
			}
		case c == '(':
			depth++
		case c == ')':
			depth = max(0, depth-1)
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// begins tells whether s starts with id, quotes and letter case aside.
func begins(s, id string) bool {
	s = strings.TrimLeft(s, ` "'`)
	return len(s) >= len(id) && strings.EqualFold(s[:len(id)], id)
}

func squeeze(s string) string {
	return strings.NewReplacer(" ", "", `"`, "").Replace(s)
}

// hasWord looks for id among the host-name-like words of s.
func hasWord(s, id string) bool {
	if strings.ContainsFunc(id, notHost) { // an identifier need not be a host name
		return strings.Contains(strings.ToLower(s), id)
	}
	for _, w := range strings.FieldsFunc(s, notHost) {
		w = strings.Trim(w, ".")
		if len(w) < 256 && mail.CanonicalDomain(w) == id {
			return true
		}
	}
	return false
}

// notHost ends a word. Other full stops than the ASCII one belong to words:
// IDNA maps them.
func notHost(r rune) bool {
	return r < 0x80 && !isKeyword(byte(r)) && r != '.'
}
