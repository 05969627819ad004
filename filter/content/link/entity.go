package link

import (
	"bytes"
	"html"
	"strconv"
	"strings"
	"unicode/utf8"

	"mailwicket/filter/content/hex"
)

// entities decodes character references in text (WHATWG HTML, 13.2.5.72).
type entities struct {
	to   interface{ Write(p []byte) }
	held []byte // a reference, as far as it has come
}

// maxEntity is longer than any name, and has room for zeros before a number.
const maxEntity = 200

// Write takes text.
func (e *entities) Write(p []byte) {
	for len(p) > 0 {
		if len(e.held) == 0 {
			i := bytes.IndexByte(p, '&')
			if i < 0 {
				e.to.Write(p)
				return
			}
			e.to.Write(p[:i])
			e.held, p = append(e.held, '&'), p[i+1:]
			continue
		}
		switch c := p[0]; {
		case inEntity(c) && len(e.held) < maxEntity:
			e.held, p = append(e.held, c), p[1:]
		case c == ';':
			e.held, p = append(e.held, c), p[1:]
			e.Flush()
		default:
			e.Flush()
		}
	}
}

// Flush gives what was held: no more of it comes.
func (e *entities) Flush() {
	switch len(e.held) {
	case 0:
		return
	case 1:
		e.to.Write(e.held)
	default:
		e.to.Write([]byte(unescape(string(e.held))))
	}
	e.held = e.held[:0]
}

// unescape decodes one reference, with or without its semicolon. Numbers are read
// here: the library passes over single digits that have none.
func unescape(s string) string {
	if len(s) < 3 || s[1] != '#' {
		return html.UnescapeString(s)
	}
	digits, base := s[2:], rune(10)
	if digits[0]|0x20 == 'x' {
		digits, base = digits[1:], 16
	}
	var r rune
	n := 0
	for n < len(digits) && rune(hex.Digit(digits[n])) < base {
		r = min(r*base+rune(hex.Digit(digits[n])), utf8.MaxRune+1)
		n++
	}
	if n == 0 {
		return s
	}
	return html.UnescapeString("&#"+strconv.Itoa(int(r))+";") + strings.TrimPrefix(digits[n:], ";")
}

func inEntity(c byte) bool { return isLetter(c) || isDigit(c) || c == '#' }

// unescapeValue decodes the references in the value of an attribute. There a name
// without its semicolon counts only if no more letters, digits or "=" follow.
func unescapeValue(v []byte) []byte {
	if bytes.IndexByte(v, '&') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for len(v) > 0 {
		i := bytes.IndexByte(v, '&')
		if i < 0 {
			break
		}
		out = append(out, v[:i]...)
		v = v[i:]
		n := 1
		for n < len(v) && inEntity(v[n]) {
			n++
		}
		out = append(out, reference(v, &n)...)
		v = v[n:]
	}
	return append(out, v...)
}

// reference decodes the one that v begins with; n is the end of its name, and comes
// back as the end of all.
func reference(v []byte, n *int) string {
	end := *n
	if end < len(v) && v[end] == ';' {
		*n = end + 1
		return unescape(string(v[:end+1]))
	}
	name := string(v[:end])
	got := unescape(name)
	named := end > 1 && name[1] != '#'
	if named && (utf8.RuneCountInString(got) != 1 || end < len(v) && v[end] == '=') {
		return name
	}
	return got
}
