package author

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailwicket/filter/author/encword"
	"mailwicket/filter/mail"
)

// sighting is something that follows an at-sign.
type sighting struct {
	local, text string
	hosts       []string // what can be read as a domain in it
	bad         bool     // there is more to it than one domain
	inName      bool     // a single label amidst words, as in "Sales@Shop <a@b.example>"
}

// collect finds whatever a consumer could take for the domain of an address:
// after every at-sign, in the text as it is, without escapes and control
// characters, without comments, and with encoded words decoded.
func collect(value string) []sighting {
	texts := []string{value}
	also := func(s string) {
		for _, t := range texts {
			if t == s {
				return
			}
		}
		texts = append(texts, s)
	}
	bare := strings.Map(drop, value)
	also(bare)
	open := []string{withoutComments(value), withoutComments(bare)}
	for _, t := range open {
		also(t)
	}
	for _, t := range open { // blanks around dots (RFC 5322, 4.4)
		also(blankDots.ReplaceAllString(t, "."))
	}
	if strings.Contains(value, "=?") {
		raw := encword.Decode(value)
		also(raw)
		dec := strings.Map(drop, raw)
		also(dec)
		also(withoutComments(dec))
	}
	var out []sighting
	seen := map[string]bool{}
	for _, t := range texts {
		for _, s := range sightings(t) {
			if key := s.local + "@" + s.text; !seen[key] {
				seen[key] = true
				out = append(out, s)
			}
		}
	}
	return out
}

var blankDots = regexp.MustCompile(`[ \t]*\.[ \t]*`)

// drop takes out what some readers skip.
func drop(r rune) rune {
	if r == '\\' || r != '\t' && unicode.IsControl(r) {
		return -1
	}
	return r
}

// withoutComments takes out all comments; one without end takes the rest along.
func withoutComments(s string) string {
	if !strings.Contains(s, "(") {
		return s
	}
	var b strings.Builder
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			if depth == 0 {
				b.WriteString(s[i : i+2])
			}
			i++
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// delims end an address for simple readers.
const delims = " \t<>();:,\"@"

func sightings(s string) []sighting {
	var out []sighting
	parts := strings.Split(s, "@")
	for i := 1; i < len(parts); i++ {
		rest := strings.TrimLeft(parts[i], " \t<(\"")
		run, after := rest, ""
		if n := strings.IndexAny(rest, delims); n >= 0 {
			run, after = rest[:n], strings.TrimLeft(rest[n:], " \t")
		}
		run = strings.Trim(run, "'`*.|!?#")
		if run == "" {
			continue
		}
		s := inspect(localBefore(parts[i-1]), run)
		// Nobody is imitated by a single label; where an address may end it counts.
		s.inName = !hasDot(run) && after != "" && strings.IndexByte(">,;(\"", after[0]) < 0
		out = append(out, s)
	}
	return out
}

// localBefore gives the unquoted local part at the end of s.
func localBefore(s string) string {
	s = s[max(0, len(s)-64):]
	s = strings.TrimRight(s, " \t")
	return s[strings.LastIndexAny(s, delims)+1:]
}

// inspect reads a run of characters after an at-sign.
func inspect(local, run string) sighting {
	d := mail.CanonicalDomain(run)
	s := sighting{local: local, text: d}
	if isHost(d) {
		s.hosts = []string{d}
		return s
	}
	s.bad = strings.ContainsAny(run, ".[") || hasControl(run)
	for _, piece := range strings.FieldsFunc(d, notHostRune) {
		piece = strings.Trim(piece, ".-")
		if strings.Contains(piece, ".") && isHost(piece) && mail.CanonicalDomain(piece) == piece {
			s.hosts = append(s.hosts, piece)
		}
		if len(s.hosts) > MaxDomains {
			break
		}
	}
	return s
}

func notHostRune(r rune) bool { return r >= utf8.RuneSelf || !isHostByte(byte(r)) && r != '.' }

func isHostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// isHost tells whether a canonical domain is one that mail can come from. No
// top-level domain is a number (RFC 3696, 2): those are addresses.
func isHost(d string) bool {
	if !mail.ValidDomain(d) || strings.Trim(d[strings.LastIndexByte(d, '.')+1:], "0123456789") == "" {
		return false
	}
	for i := 0; i < len(d); i++ {
		if !isHostByte(d[i]) && d[i] != '.' {
			return false
		}
	}
	return true
}

// show makes a text from outside fit for display.
func show(s string) string {
	s = strings.Map(printable, s[:min(len(s), maxAddress)])
	return strings.TrimSpace(s)
}

// printable replaces what is not seen or turns the writing direction.
func printable(r rune) rune {
	switch {
	case r == '\u200c' || r == '\u200d': // joiners, part of Persian words and of emoji
		return r
	case !unicode.IsPrint(r):
		return ' '
	}
	return r
}
