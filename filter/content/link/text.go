package link

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"mailwicket/filter/content/hex"
)

// Text looks for links in plain text.
type Text struct {
	f    *Found
	bare bool // names without a scheme count too

	word  []byte // the beginning of a word
	later bool   // word is not the beginning: there was more than fits
	kind  byte   // what the word has
}

// NewText gives a scanner of text. With bare it finds example.com and www.example
// too, else only URLs with a scheme.
func NewText(f *Found, bare bool) *Text { return &Text{f: f, bare: bare} }

// What a byte may mean for a word.
const (
	ends  = 1 << iota // it ends the word
	dot               // of a name
	colon             // of a scheme
	high              // perhaps a dot in another script
)

var kinds = func() (t [256]byte) {
	for i := range t {
		switch {
		case i <= ' ' || i == 0x7f || i == '<' || i == '>' || i == '"' || i == '`':
			t[i] = ends
		case i >= utf8.RuneSelf:
			t[i] = high
		}
	}
	t['.'], t[':'] = dot, colon
	return t
}()

// Write takes text.
func (t *Text) Write(p []byte) {
	for len(p) > 0 {
		i := 0
		kind := t.kind
		for i < len(p) {
			k := kinds[p[i]]
			if k == ends {
				break
			}
			kind |= k
			i++
		}
		t.kind = kind
		if i == len(p) {
			t.keep(p)
			return
		}
		if len(t.word) == 0 {
			if i > 0 && i <= maxURL {
				t.look(p[:i], false)
			} else if i > 0 {
				t.keep(p[:i])
			}
		} else {
			t.keep(p[:i])
		}
		t.Break()
		p = p[i+1:]
	}
}

// keep adds to the word. What is too long is looked at in overlapping pieces, whose
// places do not depend on how the text came.
func (t *Text) keep(p []byte) {
	for len(p) > 0 {
		n := min(len(p), maxURL-len(t.word))
		t.word, p = append(t.word, p[:n]...), p[n:]
		if len(t.word) == maxURL && len(p) > 0 {
			t.look(t.word, true)
			t.word = append(t.word[:0], t.word[maxURL-overlap:]...)
			t.later = true
		}
	}
}

// Break ends the word.
func (t *Text) Break() {
	if len(t.word) > 0 {
		t.look(t.word, false)
	}
	t.word, t.later, t.kind = t.word[:0], false, 0
}

// End ends the text.
func (t *Text) End() { t.Break() }

// look takes a word; cut says that it goes on.
func (t *Text) look(w []byte, cut bool) {
	if t.f.full || t.kind&(dot|colon) == 0 && (t.kind&high == 0 || !bytes.ContainsFunc(w, isDot)) {
		return
	}
	url := len(w)
	if t.kind&colon != 0 {
		if url = t.f.urls(w, cut); url < len(w) && bytes.IndexByte(w, '%') >= 0 {
			t.f.inside(hex.Percent(w), cut)
		}
	}
	if t.bare {
		t.names(w[:url], cut && url == len(w))
	}
}

// names takes what looks like a host by itself.
func (t *Text) names(w []byte, cut bool) {
	for i := 0; i < len(w); {
		n := hostRun(w[i:])
		if n == 0 {
			_, size := utf8.DecodeRune(w[i:])
			i += size
			continue
		}
		start, end := i, i+n
		i = end
		if start == 0 && t.later || end == len(w) && cut {
			continue // a piece of a name
		}
		if path := t.name(w, start, end); path {
			return
		}
	}
}

// name takes one; path says that the word goes on as a path below it.
func (t *Text) name(w []byte, start, end int) (path bool) {
	h := bytes.Trim(w[start:end], ".-_")
	switch {
	case bytes.IndexByte(h, '%') >= 0, !bytes.ContainsFunc(h, isDot):
		return false
	case start > 0 && w[start-1] == '@', end < len(w) && w[end] == '@':
		return false // a mail address
	case start > 0 && isSlash(w[start-1]) && !(start >= 2 && isSlash(w[start-2])):
		return false // a path
	}
	path = end < len(w) && (isSlash(w[end]) || w[end] == '?' || w[end] == ':')
	if t.visited(h, path) {
		return path
	}
	// Text without spaces may stand around a name.
	if asciiRun(h) < len(h) {
		for _, part := range bytes.FieldsFunc(h, func(r rune) bool { return r >= utf8.RuneSelf }) {
			if part = bytes.Trim(part, ".-_"); bytes.IndexByte(part, '.') > 0 {
				t.visited(part, path)
			}
		}
	}
	return path
}

// visited takes a name if mail programs make a link of it.
func (t *Text) visited(h []byte, path bool) bool {
	name := t.f.canonical(h)
	if _, ok := t.f.seen[name]; ok {
		return true
	}
	if len(name) > 4 && strings.HasPrefix(name, "www.") {
		return t.f.host(h)
	}
	if !knownTLD(name) || !path && looksLikeFile(name) {
		return false
	}
	return t.f.host(h)
}
