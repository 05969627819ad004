package mime

import (
	"bytes"
	"strings"

	"mailwicket/filter/content/hex"
)

// encoding is how content was made fit for transfer (RFC 2045, 6).
type encoding uint8

const (
	identity encoding = iota
	base64
	quotedPrintable
	unknown
)

// encoded tells whether content has to be decoded.
func (e encoding) encoded() bool { return e == base64 || e == quotedPrintable }

func parseEncoding(s string) encoding {
	word, _, _ := strings.Cut(uncomment(s), ";")
	switch strings.ToLower(strings.Trim(word, "\"' \t")) {
	case "", "7bit", "8bit", "binary", "7-bit", "8-bit":
		return identity
	case "base64", "base-64":
		return base64
	case "quoted-printable":
		return quotedPrintable
	}
	return unknown
}

// decoded puts a decoder before a sink; nil stays nil.
func (w *Walker) decoded(e encoding, s Sink) Sink {
	switch {
	case s == nil:
		return nil
	case e == base64:
		return &base64Decoder{s: w.s, to: s}
	case e == quotedPrintable:
		return &quotedDecoder{s: w.s, to: s}
	}
	return s
}

// base64Decoder reads base64 (RFC 2045, 6.8) as mail programs do: foreign bytes
// are passed over, and data may go on behind the padding.
type base64Decoder struct {
	s     *shared
	to    Sink
	acc   uint32
	n     int // characters in acc
	ended bool
	out   [3 << 10]byte
}

const (
	blank   = 0xfe // white space
	padding = 0xfd
	foreign = 0xff
)

// sextets gives the value of each byte, or one of the above.
var sextets = func() (t [256]byte) {
	for i := range t {
		t[i] = foreign
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i)
	}
	t['='], t[' '], t['\t'], t['\r'], t['\n'] = padding, blank, blank, blank, blank
	return t
}()

func (d *base64Decoder) Write(p []byte) {
	k := 0
	for len(p) > 0 {
		if d.n == 0 && !d.ended {
			var m int
			if m, k = d.groups(p, k); m > 0 {
				p = p[m:]
				continue
			}
		}
		k = d.one(p[0], k)
		p = p[1:]
	}
	d.flush(k)
}

// groups decodes whole groups of four, up to a byte of another kind.
func (d *base64Decoder) groups(p []byte, k int) (m, n int) {
	for m+4 <= len(p) {
		a, b, c, e := sextets[p[m]], sextets[p[m+1]], sextets[p[m+2]], sextets[p[m+3]]
		if a|b|c|e > 63 {
			break
		}
		if k+3 > len(d.out) { // padding in the middle makes k any number
			d.flush(k)
			k = 0
		}
		d.out[k], d.out[k+1], d.out[k+2] = a<<2|b>>4, b<<4|c>>2, c<<6|e
		k += 3
		m += 4
	}
	return m, k
}

// one takes a single byte.
func (d *base64Decoder) one(c byte, k int) int {
	switch v := sextets[c]; v {
	case blank:
	case padding:
		k = d.rest(k)
		d.ended = true
	case foreign:
		d.s.defect(BadBase64)
	default:
		if d.ended {
			d.s.defect(BadBase64)
			d.ended = false
		}
		d.acc, d.n = d.acc<<6|uint32(v), d.n+1
		if d.n == 4 {
			k = d.put(k, byte(d.acc>>16), byte(d.acc>>8), byte(d.acc))
			d.acc, d.n = 0, 0
		}
	}
	return k
}

func (d *base64Decoder) put(k int, b ...byte) int {
	if k+len(b) > len(d.out) {
		d.flush(k)
		k = 0
	}
	return k + copy(d.out[k:], b)
}

// rest decodes a group that is cut short.
func (d *base64Decoder) rest(k int) int {
	switch d.n {
	case 1:
		d.s.defect(BadBase64)
	case 2:
		k = d.put(k, byte(d.acc>>4))
	case 3:
		k = d.put(k, byte(d.acc>>10), byte(d.acc>>2))
	}
	d.acc, d.n = 0, 0
	return k
}

func (d *base64Decoder) flush(k int) {
	if k > 0 {
		d.to.Write(d.out[:k])
	}
}

func (d *base64Decoder) End() {
	if d.n > 0 { // the padding is missing
		d.s.defect(BadBase64)
	}
	d.flush(d.rest(0))
	d.to.End()
}

// quotedDecoder reads quoted-printable (RFC 2045, 6.7). A broken escape stands for
// itself.
type quotedDecoder struct {
	s    *shared
	to   Sink
	held []byte // "=" and what follows, until it can be told what it is
	n    int
	out  [3 << 10]byte
}

// maxHeld is how much white space may stand behind a soft line break.
const maxHeld = 200

func (d *quotedDecoder) Write(p []byte) {
	for len(p) > 0 {
		if len(d.held) > 0 {
			d.held, p = append(d.held, p[0]), p[1:]
			d.escape()
			continue
		}
		i := bytes.IndexByte(p, '=')
		if i < 0 {
			d.put(p)
			break
		}
		d.put(p[:i])
		if c, ok := hexPair(p[i+1:]); ok { // most of them
			d.put([]byte{c})
			p = p[i+3:]
			continue
		}
		d.held, p = append(d.held, '='), p[i+1:]
	}
	d.flush()
}

// escape looks whether what is held makes sense.
func (d *quotedDecoder) escape() {
	last := d.held[len(d.held)-1]
	if hex.Digit(d.held[1]) < 16 {
		if len(d.held) == 2 {
			return
		}
		if c, ok := hexPair(d.held[1:]); ok {
			d.held = d.held[:0]
			d.put([]byte{c})
			return
		}
		d.literal()
		return
	}
	switch {
	case last == '\n': // a soft line break
		d.held = d.held[:0]
	case (last == ' ' || last == '\t' || last == '\r') && len(d.held) < maxHeld:
	default:
		d.literal()
	}
}

// literal gives what was held as it is, but for an "=" at its end, which may begin
// an escape.
func (d *quotedDecoder) literal() {
	d.s.defect(BadQuoted)
	text, again := bytes.CutSuffix(d.held[1:], []byte("="))
	d.put(d.held[:1+len(text)])
	d.held = d.held[:0]
	if again {
		d.held = append(d.held, '=')
	}
}

func (d *quotedDecoder) put(p []byte) {
	for len(p) > 0 {
		n := copy(d.out[d.n:], p)
		d.n, p = d.n+n, p[n:]
		if d.n == len(d.out) {
			d.flush()
		}
	}
}

func (d *quotedDecoder) flush() {
	if d.n > 0 {
		d.to.Write(d.out[:d.n])
		d.n = 0
	}
}

func (d *quotedDecoder) End() {
	if len(d.held) > 1 { // a lone "=" at the end is a line break without its line
		d.s.defect(BadQuoted)
		d.put(d.held)
	}
	d.flush()
	d.to.End()
}

func hexPair(p []byte) (byte, bool) {
	if len(p) < 2 || hex.Digit(p[0]) > 15 || hex.Digit(p[1]) > 15 {
		return 0, false
	}
	return hex.Digit(p[0])<<4 | hex.Digit(p[1]), true
}
