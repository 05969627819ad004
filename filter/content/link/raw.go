package link

import (
	"bytes"
	"strings"
)

// rawText is inside of an element without tags, up to its end tag.
type rawText struct {
	tag    string
	script bool
	words  Sink // what is in it
	flush  func()
	text   *Text
	css    *css

	tail   []byte // the last bytes, lower case: as many as matter
	escape int    // of script: 1 behind "<!--", 2 behind another "<script" in it
}

// Sink takes text in pieces.
type Sink interface{ Write(p []byte) }

func newRawText(f *Found, tag string) *rawText {
	r := &rawText{tag: tag, script: tag == "script", text: NewText(f, false)}
	r.words, r.flush = r.text, func() {}
	if !r.script {
		e := &entities{to: r.text}
		r.words, r.flush = e, e.Flush
	}
	if tag == "style" {
		r.css = &css{f: f}
	}
	return r
}

// maxTail is the length of "</plaintext".
const maxTail = 11

// write takes text, and tells where the end tag's name has ended, if it has.
func (r *rawText) write(p []byte) (n int, ended bool) {
	for i := 0; i < len(p); i++ {
		if len(r.tail) == 0 && !r.script {
			j := bytes.IndexByte(p[i:], '<')
			if j < 0 {
				break
			}
			i += j
		}
		c := lower(p[i])
		if (isSpace(c) || c == '/' || c == '>') && r.endsAt(c) {
			r.take(p[:i])
			return i, true
		}
		if c == '<' {
			r.tail = r.tail[:0]
		}
		if len(r.tail) == maxTail {
			copy(r.tail, r.tail[1:])
			r.tail = r.tail[:maxTail-1]
			if !r.script {
				r.tail = r.tail[:0]
				continue
			}
		}
		r.tail = append(r.tail, c)
		if r.script {
			r.escapes()
		}
	}
	r.take(p)
	return len(p), false
}

// endsAt looks at a byte that may end a tag's name.
func (r *rawText) endsAt(byte) bool {
	t := string(r.tail)
	closing := strings.HasSuffix(t, "</"+r.tag) && r.tag != "plaintext"
	switch {
	case r.escape == 1 && strings.HasSuffix(t, "<script"):
		r.escape = 2
	case r.escape == 2 && closing:
		r.escape = 1
		return false
	}
	return closing
}

// escapes follows the comments of a script (WHATWG HTML, 13.2.5.15 to 31).
func (r *rawText) escapes() {
	switch t := string(r.tail); {
	case r.escape == 0 && strings.HasSuffix(t, "<!--"):
		r.escape = 1
	case r.escape > 0 && strings.HasSuffix(t, "-->"):
		r.escape = 0
	}
}

// take looks at text. Links are found in the order in which they end, however the
// text is cut.
func (r *rawText) take(p []byte) {
	for r.css != nil && len(p) > 0 {
		n, whole := r.css.read(p)
		r.words.Write(p[:n])
		if p = p[n:]; whole {
			r.css.take()
		}
	}
	r.words.Write(p)
}

func (r *rawText) End() {
	r.flush()
	r.text.End()
	if r.css != nil {
		r.css.End()
	}
}
