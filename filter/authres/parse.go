package authres

import (
	"fmt"
	"strings"
)

// maxValue bounds what Parse looks at. MTAs cut fields at about this size.
const maxValue = 1 << 16

// Parse reads a field's value (RFC 8601, 2.2), folded or not. Comments and
// folds may stand between all tokens. A wrong or unknown version is ErrVersion,
// with the identifier and the version filled in; everything else is ErrSyntax.
//
// Four things that large senders write are read although the grammar has no
// place for them: a bare "name=value" among the properties (Prop.Type is then
// empty), the characters ":/[]?" in unquoted property values, an empty property
// value before ";" or the end, and a ";" at the end. None of them changes where
// a result begins. Texts come as the sender wrote them: free of control
// characters, but not always valid UTF-8.
func Parse(value string) (Header, error) {
	if len(value) > maxValue {
		return Header{}, fmt.Errorf("%w: %d bytes", ErrTooLong, len(value))
	}
	s := &scanner{in: value}
	var h Header
	if !s.cfws() {
		return Header{}, s.fail("comment without end")
	}
	id, ok := s.value()
	if !ok || id == "" {
		return Header{}, s.fail("no authserv-id")
	}
	h.AuthservID = id
	if !s.cfws() {
		return Header{}, s.fail("comment without end")
	}
	if isDigit(s.peek()) {
		if h.Version, ok = s.number(); !ok {
			return Header{}, s.fail("bad version")
		}
		if h.Version != 1 {
			return h, fmt.Errorf("%w: %d", ErrVersion, h.Version)
		}
	}
	rs, err := s.results()
	if err != nil {
		return Header{}, err
	}
	h.Results = rs
	return h, nil
}

// results reads everything behind identifier and version.
func (s *scanner) results() ([]Result, error) {
	var rs []Result
	for {
		if !s.cfws() {
			return nil, s.fail("comment without end")
		}
		if s.end() {
			if len(rs) == 0 {
				return nil, s.fail("neither results nor none")
			}
			return rs, nil
		}
		if !s.eat(';') {
			return nil, s.fail("no semicolon")
		}
		if !s.cfws() {
			return nil, s.fail("comment without end")
		}
		if s.end() && len(rs) > 0 {
			return rs, nil
		}
		word, ok := s.keyword()
		if !ok {
			return nil, s.fail("no method")
		}
		if word == "none" && len(rs) == 0 && s.cfws() && s.end() {
			return nil, nil
		}
		r, err := s.result(word)
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
}

// result reads one resinfo whose method is already read.
func (s *scanner) result(method string) (Result, error) {
	r := Result{Method: method}
	ok := s.cfws()
	if ok && s.eat('/') {
		if ok = s.cfws(); ok {
			r.Version, ok = s.number()
		}
		ok = ok && s.cfws()
	}
	if !ok || !s.eat('=') || !s.cfws() {
		return r, s.fail("no equals sign after the method")
	}
	if r.Value, ok = s.keyword(); !ok {
		return r, s.fail("no result")
	}
	s.comments = s.comments[:0]
	if !s.cfws() {
		return r, s.fail("comment without end")
	}
	r.Comment = strings.Join(s.comments, " ")
	hasReason := false
	for !s.end() && s.peek() != ';' {
		p, err := s.prop()
		if err != nil {
			return r, err
		}
		if p.Type != "" || p.Property != "reason" {
			r.Props = append(r.Props, p)
			continue
		}
		if hasReason {
			return r, s.fail("two reasons")
		}
		r.Reason, hasReason = p.Value, true
	}
	return r, nil
}

// prop reads a reasonspec, a propspec, or a bare name=value.
func (s *scanner) prop() (Prop, error) {
	var p Prop
	if s.pos > 0 && !isSpace(s.in[s.pos-1]) && s.in[s.pos-1] != ')' {
		return p, s.fail("no space before a property")
	}
	word, ok := s.keyword()
	if !ok || !s.cfws() {
		return p, s.fail("no property")
	}
	if s.eat('.') {
		p.Type = word
		if !s.cfws() {
			return p, s.fail("comment without end")
		}
		if word, ok = s.keyword(); !ok || !s.cfws() {
			return p, s.fail("no property name")
		}
	}
	p.Property = word
	if !s.eat('=') || !s.cfws() {
		return p, s.fail("no equals sign after a property")
	}
	if p.Type == "" && word == "reason" {
		p.Value, ok = s.value()
	} else {
		p.Value, ok = s.pvalue()
	}
	if !ok || !s.cfws() {
		return p, s.fail("no value")
	}
	return p, nil
}

// scanner walks over a value. Its methods tell whether they found what they
// look for; where they did not, the position is of no more use.
type scanner struct {
	in       string
	pos      int
	comments []string // those met since the caller last emptied it
}

func (s *scanner) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrSyntax, what, s.pos)
}

func (s *scanner) end() bool { return s.pos >= len(s.in) }

// peek gives 0 at the end; a NUL in the input matches nothing either.
func (s *scanner) peek() byte {
	if s.end() {
		return 0
	}
	return s.in[s.pos]
}

func (s *scanner) eat(c byte) bool {
	if s.end() || s.in[s.pos] != c {
		return false
	}
	s.pos++
	return true
}

// cfws skips white space, folds and comments (RFC 5322, 3.2.2). It is false
// where a comment does not end.
func (s *scanner) cfws() bool {
	for !s.end() {
		switch {
		case isSpace(s.in[s.pos]):
			s.pos++
		case s.in[s.pos] == '(':
			text, ok := s.comment()
			if !ok {
				return false
			}
			s.comments = append(s.comments, text)
		default:
			return true
		}
	}
	return true
}

// comment reads one comment, nested ones included, counting instead of
// recursing. White space in it shrinks to single blanks.
func (s *scanner) comment() (string, bool) {
	var b strings.Builder
	depth := 0
	for ; !s.end(); s.pos++ {
		c := s.in[s.pos]
		switch c {
		case '(':
			if depth++; depth == 1 {
				continue
			}
		case ')':
			if depth--; depth == 0 {
				s.pos++
				return strings.Join(strings.FieldsFunc(b.String(), isSpaceRune), " "), true
			}
		case '\\':
			s.pos++
			c = s.peek()
			if isSpace(c) {
				c = ' '
			}
		}
		if isControl(c) {
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}

// keyword reads a Keyword (RFC 5321, 4.1.2) in lower case. Underscores are
// taken too: private methods have them.
func (s *scanner) keyword() (string, bool) {
	start := s.pos
	for !s.end() && isKeyword(s.in[s.pos]) {
		s.pos++
	}
	w := s.in[start:s.pos]
	if w == "" || w[len(w)-1] == '-' {
		return "", false
	}
	return strings.ToLower(w), true
}

func (s *scanner) number() (int, bool) {
	n, start := 0, s.pos
	for !s.end() && isDigit(s.in[s.pos]) {
		if s.pos-start == 9 {
			return 0, false
		}
		n = n*10 + int(s.in[s.pos]-'0')
		s.pos++
	}
	return n, s.pos > start
}

// value reads a token or quoted-string (RFC 2045, 5.1). UTF-8 counts as token
// text (RFC 6532, 3.2).
func (s *scanner) value() (string, bool) {
	if s.peek() == '"' {
		_, text, ok := s.quoted()
		return text, ok
	}
	return s.run(isToken)
}

// run reads at least one byte of a class.
func (s *scanner) run(class func(byte) bool) (string, bool) {
	start := s.pos
	for !s.end() && class(s.in[s.pos]) {
		s.pos++
	}
	return s.in[start:s.pos], s.pos > start
}

// pvalue reads a value or [local-part]@domain. A quoted local part keeps its
// quotes, so that the domain still starts after the last "@".
func (s *scanner) pvalue() (string, bool) {
	if s.end() || s.peek() == ';' {
		return "", true
	}
	if s.peek() == '"' {
		raw, text, ok := s.quoted()
		if !ok || s.peek() != '@' {
			return text, ok
		}
		s.pos++
		domain, ok := s.run(isToken)
		return raw + "@" + domain, ok
	}
	start := s.pos
	s.run(isLocal)
	if !s.eat('@') {
		s.pos = start
		return s.run(isLoose)
	}
	_, ok := s.run(isLoose)
	return s.in[start:s.pos], ok
}

// quoted reads a quoted-string; raw keeps quotes and escapes, text does not.
// Folds vanish from both (RFC 5322, 3.2.4).
func (s *scanner) quoted() (raw, text string, ok bool) {
	start := s.pos
	var b strings.Builder
	for s.pos++; !s.end(); s.pos++ {
		c := s.in[s.pos]
		switch c {
		case '"':
			s.pos++
			return noFolds.Replace(s.in[start:s.pos]), b.String(), true
		case '\\':
			s.pos++
			c = s.peek()
		case '\r', '\n':
			continue
		}
		if isControl(c) || c == '\r' || c == '\n' {
			return "", "", false
		}
		b.WriteByte(c)
	}
	return "", "", false
}

var noFolds = strings.NewReplacer("\r", "", "\n", "")

func isSpace(c byte) bool     { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
func isSpaceRune(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }
func isDigit(c byte) bool     { return '0' <= c && c <= '9' }

// isControl is a control character other than white space.
func isControl(c byte) bool { return c < ' ' && !isSpace(c) || c == 0x7f }

func isKeyword(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '-' || c == '_'
}

// isToken is a character of a token: visible and no tspecial (RFC 2045, 5.1).
func isToken(c byte) bool {
	return c > ' ' && c != 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}

// isLocal is a character of an unquoted local part (RFC 5322, 3.2.3).
func isLocal(c byte) bool {
	return isToken(c) || c == '/' || c == '=' || c == '?'
}

// isLoose is a token character, or one of those that Parse forgives.
func isLoose(c byte) bool { return isToken(c) || strings.IndexByte(":/[]?", c) >= 0 }
