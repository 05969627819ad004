package sig

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// Body computes the body hash (RFC 6376, 3.7 with 3.4.3 and 3.4.4) of a body
// that comes in pieces of any size, split anywhere. It holds back what may turn
// out to be the end of a line or of the body, as counts, so its memory does not
// grow. Only CRLF ends a line; a lone CR or LF is data.
type Body struct {
	canon Canon
	sum   hash.Hash
	out   []byte // canonical bytes not yet hashed
	run   uint64 // line ends held back
	cr    bool   // a CR held back
	blank bool   // relaxed: white space held back
	some  bool   // something was hashed
}

// outSize is a compromise: hash calls for short pieces cost more than a copy.
const outSize = 2048

// NewBody starts a body.
func NewBody(c Canon) *Body {
	return &Body{canon: c, sum: sha256.New(), out: make([]byte, 0, outSize)}
}

// Write takes the next piece. It never fails and does not keep p.
func (b *Body) Write(p []byte) (int, error) {
	if b.canon == Relaxed {
		b.relaxed(p)
	} else {
		b.simple(p)
	}
	return len(p), nil
}

// Sum ends the body and gives its hash.
func (b *Body) Sum() [sha256.Size]byte {
	if b.cr {
		b.release()
		b.putText("\r")
	}
	// RFC 6376, 3.4.3: simple turns an empty body into one CRLF; 3.4.4: relaxed
	// leaves it empty. Trailing empty lines are those still held back.
	if b.some || b.canon == Simple {
		b.putText("\r\n")
	}
	b.sum.Write(b.out)
	var sum [sha256.Size]byte
	b.sum.Sum(sum[:0])
	return sum
}

// put hashes canonical bytes, the short ones by way of the buffer.
func (b *Body) put(p []byte) {
	b.some = true
	if len(b.out)+len(p) > outSize {
		b.sum.Write(b.out)
		b.out = b.out[:0]
	}
	if len(p) >= outSize/2 {
		if len(b.out) > 0 {
			b.sum.Write(b.out)
			b.out = b.out[:0]
		}
		b.sum.Write(p)
		return
	}
	b.out = append(b.out, p...)
}

// putText is put for a few bytes of our own.
func (b *Body) putText(s string) {
	b.some = true
	if len(b.out)+len(s) > outSize {
		b.sum.Write(b.out)
		b.out = b.out[:0]
	}
	b.out = append(b.out, s...)
}

// release hashes the line ends and the white space that were held back: other
// bytes follow, so they count.
func (b *Body) release() {
	const lines = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
	for b.run > 0 {
		n := min(b.run, uint64(len(lines)/2))
		b.putText(lines[:2*n])
		b.run -= n
	}
	if b.blank {
		b.putText(" ")
		b.blank = false
	}
}

// simple is RFC 6376, 3.4.3: only empty lines at the end of the body go.
func (b *Body) simple(p []byte) {
	p = b.leading(p)
	if len(p) == 0 {
		return
	}
	b.release()
	end := len(p)
	if p[end-1] == '\r' {
		b.cr = true
		end--
	}
	for end >= 2 && p[end-1] == '\n' && p[end-2] == '\r' {
		b.run++
		end -= 2
	}
	b.put(p[:end])
}

// leading goes over the line ends at the start of p, and gives the rest, which
// starts with another byte.
func (b *Body) leading(p []byte) []byte {
	for len(p) > 0 {
		switch {
		case b.cr && p[0] == '\n':
			b.cr = false
			b.run++
		case b.cr: // the CR held back was data
			b.cr = false
			b.release()
			b.putText("\r")
			continue
		case p[0] == '\r':
			b.cr = true
		default:
			return p
		}
		p = p[1:]
	}
	return p
}

// relaxed is RFC 6376, 3.4.4: runs of white space become one space, those at
// the end of a line and empty lines at the end of the body go.
func (b *Body) relaxed(p []byte) {
	for len(p) > 0 {
		c := p[0]
		switch {
		case b.cr && c == '\n':
			b.cr, b.blank = false, false
			b.run++
		case b.cr: // the CR held back was data
			b.cr = false
			b.release()
			b.putText("\r")
			continue
		case c == '\r':
			b.cr = true
		case c == ' ' || c == '\t':
			b.blank = true
		default:
			b.release()
			n := canonical(p)
			b.put(p[:n])
			p = p[n:]
			continue
		}
		p = p[1:]
	}
}

// window is how far canonical looks ahead at once: a bound on what it may look
// at in vain.
const window = 256

// canonical tells how much of p, which starts with a byte that is neither white
// space nor CR, already is in relaxed form and ends with such a byte. In
// ordinary text that is nearly all of the piece, so that nothing is copied.
func canonical(p []byte) int {
	n := 1
	for n < len(p) {
		k := canonicalWindow(p[n:min(n+window, len(p))])
		if k == 0 {
			break
		}
		n += k
	}
	return n
}

// canonicalWindow does the same for a piece that follows such a byte.
func canonicalWindow(w []byte) int {
	if i := bytes.IndexByte(w, '\t'); i >= 0 {
		w = w[:i]
	}
	if i := bytes.Index(w, []byte("  ")); i >= 0 {
		w = w[:i]
	}
	for at := 0; at < len(w); {
		i := bytes.IndexByte(w[at:], '\r')
		if i < 0 {
			break
		}
		i += at
		if i > 0 && w[i-1] == ' ' || i+1 == len(w) || w[i+1] != '\n' {
			w = w[:i]
			break
		}
		at = i + 2
	}
	for n := len(w); n > 0; n = len(w) {
		switch {
		case w[n-1] == ' ':
			w = w[:n-1]
		case n > 1 && w[n-1] == '\n' && w[n-2] == '\r':
			w = w[:n-2]
		default:
			return n
		}
	}
	return 0
}

// LineEnds finds out whether all line ends of a body are CRLF. The zero value
// is ready.
type LineEnds struct {
	cr  bool
	bad bool
}

// Write looks at the next piece of the body.
func (l *LineEnds) Write(p []byte) {
	if l.bad || len(p) == 0 {
		return
	}
	if l.cr != (p[0] == '\n') {
		l.bad = true
		return
	}
	pairs := 0
	for rest := p; ; pairs++ {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		if i > 0 && rest[i-1] != '\r' || i == 0 && pairs > 0 {
			l.bad = true
			return
		}
		rest = rest[i+1:]
	}
	crs := bytes.Count(p, []byte{'\r'})
	if l.cr {
		crs++
	}
	l.cr = p[len(p)-1] == '\r'
	if l.cr {
		crs--
	}
	l.bad = crs != pairs
}

// Regular tells whether every CR and LF so far belongs to a CRLF; a CR at the
// very end is given the benefit of the doubt.
func (l *LineEnds) Regular() bool { return !l.bad }
