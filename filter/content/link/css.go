package link

import (
	"bytes"
	"unicode/utf8"

	"mailwicket/filter/content/hex"
)

// css looks for url(...) and @import "..." in style sheets.
type css struct {
	f     *Found
	tail  []byte // the last bytes outside of a URL, lower case
	rule  byte   // what has come behind @import
	open  bool   // inside of one
	begun bool   // something but white space has come
	quote byte   // around it; 0 without
	value []byte
	cut   bool // it was longer
}

const importRule = "@import"

// What has come behind @import: white space and comments may (CSS Syntax, 4.3.2).
const (
	noRule = iota
	ruleOpen
	ruleSlash
	ruleComment
	ruleStar
)

func nextRule(at, c byte) byte {
	switch {
	case at == ruleOpen && isSpace(c), at == ruleStar && c == '/':
		return ruleOpen
	case at == ruleOpen && c == '/':
		return ruleSlash
	case at >= ruleComment && c == '*':
		return ruleStar
	case at == ruleSlash && c == '*', at >= ruleComment:
		return ruleComment
	}
	return noRule
}

// Write takes text.
func (s *css) Write(p []byte) {
	for len(p) > 0 {
		n, whole := s.read(p)
		if p = p[n:]; whole {
			s.take()
		}
	}
}

// read takes text up to the end of a URL, and tells whether there is one.
func (s *css) read(p []byte) (n int, whole bool) {
	for i, c := range p {
		if s.open {
			if s.inURL(c) {
				return i + 1, true
			}
			continue
		}
		quoted := c == '"' || c == '\''
		switch {
		case c == '(' && bytes.HasSuffix(s.tail, []byte("url")):
			s.start()
		case quoted && s.rule == ruleOpen:
			s.start()
			s.begun, s.quote = true, c
		default:
			if len(s.tail) == len(importRule) {
				s.tail = append(s.tail[:0], s.tail[1:]...)
			}
			s.tail = append(s.tail, lower(c))
			if s.rule = nextRule(s.rule, c); string(s.tail) == importRule {
				s.rule = ruleOpen
			}
		}
	}
	return len(p), false
}

func (s *css) start() {
	s.open, s.begun, s.quote, s.rule = true, false, 0, noRule
	s.tail, s.value, s.cut = s.tail[:0], s.value[:0], false
}

// inURL takes a byte of a URL, and tells whether it ends it.
func (s *css) inURL(c byte) bool {
	switch {
	case !s.begun && isSpace(c):
	case !s.begun && (c == '"' || c == '\''):
		s.begun, s.quote = true, c
	case s.quote != 0 && c == s.quote, s.quote == 0 && c == ')':
		return true
	case len(s.value) == maxURL:
		s.cut = true
	default:
		s.begun = true
		s.value = append(s.value, c)
	}
	return false
}

// take looks at the URL that has been read.
func (s *css) take() {
	if s.cut {
		s.f.defect(TooLong)
	}
	s.f.Reference(unescapeCSS(s.value), s.cut)
	s.open = false
}

// End ends the style sheet, and a URL in it.
func (s *css) End() {
	if s.open && s.begun {
		s.take()
	}
	s.open, s.tail = false, s.tail[:0]
}

// unescapeCSS undoes backslashes before up to six hexadecimal digits, and before
// other characters (CSS Syntax, 4.3.7).
func unescapeCSS(v []byte) []byte {
	if bytes.IndexByte(v, '\\') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] != '\\' || i+1 == len(v) {
			out = append(out, v[i])
			continue
		}
		var r rune
		n := 0
		for n < 6 && i+1+n < len(v) && hex.Digit(v[i+1+n]) < 16 {
			r = r<<4 | rune(hex.Digit(v[i+1+n]))
			n++
		}
		if n == 0 { // the next character stands for itself
			i++
			out = append(out, v[i])
			continue
		}
		out = utf8.AppendRune(out, r)
		if i += n; i+1 < len(v) && isSpace(v[i+1]) {
			i++
		}
	}
	return out
}
