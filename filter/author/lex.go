package author

import (
	"strings"

	"mailwicket/filter/author/encword"
)

type kind uint8

const (
	atom    kind = iota // also an encoded word, in one piece
	quoted              // a quoted string
	literal             // "[...]"
	special             // one of . < > @ , : ;
)

// token is a piece of a structured field (RFC 5322, 3.2).
type token struct {
	kind    kind
	c       byte   // of special
	text    string // as written
	gap     bool   // white space stands before it
	comment bool   // a comment stands before it
	odd     bool   // other readers would cut it in pieces
}

// lex cuts a value into tokens; comments and white space become marks. why says
// what broke it, "" where nothing did.
func lex(s string) (toks []token, why string) {
	var t token
	for i := 0; i < len(s); {
		n := 1
		switch c := s[i]; {
		case c == ' ' || c == '\t':
			t.gap = true
			i++
			continue
		case c == '(':
			if n = commentLen(s[i:]); n == 0 {
				return toks, "comment without end"
			}
			t.comment = true
			i += n
			continue
		case c == '"':
			if n = quotedLen(s[i:], '"'); n == 0 {
				return toks, "quoted string without end"
			}
			t.kind = quoted
		case c == '[':
			if n = quotedLen(s[i:], ']'); n == 0 {
				return toks, "bracket without end"
			}
			t.kind = literal
		case strings.IndexByte(".<>@,:;", c) >= 0:
			t.kind, t.c = special, c
		case isAtext(c):
			t.kind = atom
			if n = encword.Len(s[i:]); n > 0 {
				t.odd = strings.ContainsAny(s[i:i+n], "\"\\()<>@:;[] \t")
				break
			}
			for n = 1; i+n < len(s) && isAtext(s[i+n]); n++ {
			}
		default:
			return toks, "character that is not allowed"
		}
		if hasControl(s[i : i+n]) {
			return toks, "control character"
		}
		t.text = s[i : i+n]
		toks = append(toks, t)
		t = token{}
		i += n
	}
	return toks, ""
}

// isAtext is RFC 5322, 3.2.3 with RFC 6532, 3.2; bytes of older charsets are
// let through as well, they are frequent in display names.
func isAtext(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c >= 0x80 ||
		c != 0 && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// commentLen gives the length of the comment at the start of s, nested ones
// included, 0 where it does not end.
func commentLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// quotedLen gives the length of a quoted string or literal.
func quotedLen(s string, end byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case end:
			return i + 1
		}
	}
	return 0
}

// unfold takes out the folds (RFC 5322, 2.2.3). A carriage return that is no
// part of one stays, to be seen as a control character.
func unfold(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "")
	return strings.Trim(strings.ReplaceAll(s, "\n", ""), " \t")
}
