package record

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The macro letters (RFC 7208, 7.2). The last three are for explanation texts
// alone.
const (
	domainLetters = "slodiphv"
	allLetters    = domainLetters + "crt"
)

// Spec is a domain-spec or an explanation text: literal text and macros.
type Spec struct{ pieces []piece }

// piece is literal text, or a macro where letter is set.
type piece struct {
	text    string
	letter  byte // lower case
	escape  bool // the letter was upper case
	reverse bool
	digits  int // how many parts to keep; 0: all
	delims  string
}

// IsZero tells whether there is nothing, which a domain-spec never is.
func (s Spec) IsZero() bool { return len(s.pieces) == 0 }

// Uses tells whether a macro with one of these letters occurs.
func (s Spec) Uses(letters string) bool {
	return slices.ContainsFunc(s.pieces, func(p piece) bool {
		return p.letter != 0 && strings.IndexByte(letters, p.letter) >= 0
	})
}

// ParseText reads an explanation text (RFC 7208, 6.2: explain-string).
func ParseText(text string) (Spec, error) {
	pieces, _, err := parseMacros(text, allLetters, true)
	if err != nil {
		return Spec{}, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	return Spec{pieces}, nil
}

// parseDomain reads a domain-spec: a macro-string whose end is a macro, or a
// dot and a top label that may bear one dot more.
func parseDomain(s string) (Spec, error) {
	if s == "" {
		return Spec{}, errors.New("the domain is empty")
	}
	pieces, tail, err := parseMacros(s, domainLetters, false)
	if err != nil {
		return Spec{}, err
	}
	if tail != "" {
		tail = strings.TrimSuffix(tail, ".")
		i := strings.LastIndexByte(tail, '.')
		if i < 0 || !topLabel(tail[i+1:]) {
			return Spec{}, errors.New("the domain does not end in a macro, or in a dot and a top-level name")
		}
	}
	return Spec{pieces}, nil
}

// topLabel is the toplabel of RFC 7208, 7.1: letters, digits and inner hyphens,
// and not digits alone.
func topLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	numeric := true
	for i := range len(s) {
		if !alphanum(s[i]) && s[i] != '-' {
			return false
		}
		numeric = numeric && digit(s[i])
	}
	return !numeric
}

// parseMacros reads a macro-string, or with spaces an explain-string. Tail is
// the literal text after the last macro.
func parseMacros(s, letters string, spaces bool) (pieces []piece, tail string, err error) {
	for s != "" {
		n := strings.IndexByte(s, '%')
		if n < 0 {
			n = len(s)
		}
		if n > 0 {
			if !printable(s[:n], spaces) {
				return nil, "", errors.New("a character that is not visible ASCII")
			}
			pieces, tail = append(pieces, piece{text: s[:n]}), s[:n]
			s = s[n:]
			continue
		}
		var p piece
		if p, s, err = cutMacro(s, letters); err != nil {
			return nil, "", err
		}
		pieces, tail = append(pieces, p), ""
	}
	return pieces, tail, nil
}

// cutMacro reads the macro-expand at the start of s.
func cutMacro(s, letters string) (p piece, rest string, err error) {
	switch {
	case strings.HasPrefix(s, "%%"):
		return piece{text: "%"}, s[2:], nil
	case strings.HasPrefix(s, "%_"):
		return piece{text: " "}, s[2:], nil
	case strings.HasPrefix(s, "%-"):
		return piece{text: "%20"}, s[2:], nil
	case !strings.HasPrefix(s, "%{"):
		return piece{}, "", errors.New(`a "%" that begins no macro`)
	}
	body, rest, ok := strings.Cut(s[2:], "}")
	if !ok {
		return piece{}, "", errors.New("a macro without }")
	}
	p, err = parseMacro(body, letters)
	return p, rest, err
}

func printable(s string, spaces bool) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == ' ' && !spaces {
			return false
		}
	}
	return true
}

// parseMacro reads what stands between the braces: a letter, digits, "r", and
// delimiters.
func parseMacro(body, letters string) (piece, error) {
	if body == "" || !alpha(body[0]) {
		return piece{}, badMacro(body)
	}
	p := piece{letter: body[0] | 0x20, escape: body[0] < 'a'}
	if strings.IndexByte(letters, p.letter) < 0 {
		return piece{}, badMacro(body)
	}
	rest := strings.TrimLeft(body[1:], "0123456789")
	if digits := body[1 : len(body)-len(rest)]; digits != "" {
		n, err := strconv.Atoi(digits)
		if err != nil { // digits alone: out of range, and so more than there can be
			n = 1 << 30
		}
		if n == 0 { // RFC 7208, 7.3: the value must not be zero
			return piece{}, badMacro(body)
		}
		p.digits = n
	}
	if rest != "" && rest[0]|0x20 == 'r' {
		p.reverse, rest = true, rest[1:]
	}
	if strings.Trim(rest, ".-+,/_=") != "" {
		return piece{}, badMacro(body)
	}
	p.delims = rest
	return p, nil
}

func badMacro(body string) error { return fmt.Errorf("bad macro %s", Quote("%{"+body+"}")) }

// maxName is the length of the longest name (RFC 7208, 7.3).
const maxName = 253

// Domain expands the macros of a domain-spec for a DNS question; value gives
// what a letter (in lower case) stands for. Names that are too long lose labels
// at the left. The result has no final dot; it is empty where no name is left,
// and need not be a valid name. The work is bounded whatever the number of
// macros: only the right end counts.
func (s Spec) Domain(value func(letter byte) string) string {
	var parts []string
	total := 0
	for i := len(s.pieces) - 1; i >= 0 && total <= maxName+1; i-- {
		part := s.pieces[i].expand(value)
		parts = append(parts, part)
		total += len(part)
	}
	slices.Reverse(parts)
	name := strings.TrimSuffix(strings.Join(parts, ""), ".")
	for len(name) > maxName {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return ""
		}
		name = rest
	}
	return name
}

// Text expands the macros of an explanation, and cuts it at most bytes.
func (s Spec) Text(value func(letter byte) string, most int) string {
	var b strings.Builder
	for _, p := range s.pieces {
		b.WriteString(p.expand(value))
		if b.Len() >= most {
			return b.String()[:most]
		}
	}
	return b.String()
}

// expand is RFC 7208, 7.3: split, reverse, keep the parts at the right, join
// with dots, escape. Empty parts count.
func (p piece) expand(value func(byte) string) string {
	if p.letter == 0 {
		return p.text
	}
	v := value(p.letter)
	if p.reverse || p.digits > 0 || p.delims != "" {
		delims := p.delims
		if delims == "" {
			delims = "."
		}
		parts := split(p.shorten(v, delims), delims)
		if p.reverse {
			slices.Reverse(parts)
		}
		v = strings.Join(parts, ".")
	}
	if p.escape {
		v = escape(v)
	}
	return v
}

// shorten keeps as many parts as the digits say: those at the right, or where
// the macro reverses them, at the left. Only those are looked at, so that many
// macros that give little cost little.
func (p piece) shorten(v, delims string) string {
	if p.digits == 0 {
		return v
	}
	at := 0
	if p.reverse {
		for range p.digits {
			i := strings.IndexAny(v[at:], delims)
			if i < 0 {
				return v
			}
			at += i + 1
		}
		return v[:at-1]
	}
	at = len(v)
	for range p.digits {
		if at = strings.LastIndexAny(v[:at], delims); at < 0 {
			return v
		}
	}
	return v[at+1:]
}

func split(s, delims string) []string {
	var parts []string
	for {
		i := strings.IndexAny(s, delims)
		if i < 0 {
			return append(parts, s)
		}
		parts = append(parts, s[:i])
		s = s[i+1:]
	}
}

// escape percent-encodes all but the unreserved characters (RFC 3986, 2.3).
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if alphanum(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
