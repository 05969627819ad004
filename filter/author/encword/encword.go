// Package encword decodes the encoded words of header fields (RFC 2047). It is
// lenient where the standard library gives up: one broken word does not keep
// the later ones from being read, since other consumers read them too.
package encword

import (
	"encoding/base64"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
)

// maxWord bounds one encoded word. The RFC allows 75 bytes, senders write more.
const maxWord = 2000

// Decode replaces all encoded words of s. White space between two of them
// vanishes (RFC 2047, 6.2), and neighbours of one charset are converted together,
// for senders that cut characters in two. What cannot be decoded stays as it is;
// bytes that mean nothing in their charset become U+FFFD.
func Decode(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	var d decoder
	for s != "" {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		w, n, ok := match(s[i:])
		if !ok {
			d.text(s[:i+2])
			s = s[i+2:]
			continue
		}
		if i > 0 && !(d.pending && strings.Trim(s[:i], " \t\r\n") == "") {
			d.text(s[:i])
		}
		d.word(w)
		s = s[i+n:]
	}
	d.text(s)
	return d.b.String()
}

// Len gives the length of the encoded word that s begins with, 0 where there
// is none.
func Len(s string) int {
	if !strings.HasPrefix(s, "=?") {
		return 0
	}
	_, n, _ := match(s)
	return n
}

type word struct {
	charset string
	content []byte
}

// match reads the encoded word at the start of s.
func match(s string) (w word, n int, ok bool) {
	s = s[:min(len(s), maxWord)]
	charset, rest, ok := strings.Cut(s[2:], "?")
	if !ok || charset == "" || len(rest) < 4 || rest[1] != '?' || strings.ContainsAny(charset, " \t\r\n") {
		return w, 0, false
	}
	text, _, ok := strings.Cut(rest[2:], "?=")
	if !ok {
		return w, 0, false
	}
	// RFC 2231, 5: a language may follow the charset.
	w.charset, _, _ = strings.Cut(strings.ToLower(charset), "*")
	switch rest[0] {
	case 'b', 'B':
		w.content, ok = base64Text(text)
	case 'q', 'Q':
		w.content = quotedText(text)
	default:
		ok = false
	}
	if !ok {
		return w, 0, false
	}
	return w, 2 + len(charset) + 1 + 2 + len(text) + 2, true
}

// base64Text passes over bytes that are none of base64's, and forgives missing
// padding.
func base64Text(s string) ([]byte, bool) {
	s = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '+' || r == '/' {
			return r
		}
		return -1
	}, s)
	if len(s)%4 == 1 {
		s = s[:len(s)-1]
	}
	b, err := base64.RawStdEncoding.DecodeString(s)
	return b, err == nil && len(b) > 0
}

// quotedText is the "Q" encoding (RFC 2047, 4.2); a broken escape stands for
// itself.
func quotedText(s string) []byte {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		b = append(b, c)
	}
	return b
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// decoder joins texts and words. A word waits for its neighbour.
type decoder struct {
	b       strings.Builder
	wait    word
	pending bool
}

func (d *decoder) text(s string) {
	d.flush()
	d.b.WriteString(s)
}

func (d *decoder) word(w word) {
	if d.pending && d.wait.charset == w.charset {
		d.wait.content = append(d.wait.content, w.content...)
		return
	}
	d.flush()
	d.wait, d.pending = w, true
}

func (d *decoder) flush() {
	if d.pending {
		d.b.WriteString(toUTF8(d.wait))
		d.pending = false
	}
}

func toUTF8(w word) string {
	if w.charset == "utf-8" || w.charset == "utf8" {
		return strings.ToValidUTF8(string(w.content), string(utf8.RuneError))
	}
	if e, err := htmlindex.Get(w.charset); err == nil {
		// A decoder writes U+FFFD for what it cannot read.
		if b, err := io.ReadAll(e.NewDecoder().Reader(strings.NewReader(string(w.content)))); err == nil {
			return strings.ToValidUTF8(string(b), string(utf8.RuneError))
		}
	}
	// Unknown: most charsets have ASCII in common.
	var b strings.Builder
	for _, c := range w.content {
		if c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			b.WriteRune(utf8.RuneError)
		}
	}
	return b.String()
}
