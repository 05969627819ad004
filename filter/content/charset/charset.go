// Package charset turns the text of a mail into UTF-8 while it streams by. It
// knows the charsets of browsers (Encoding Standard), those of IANA that
// golang.org/x/text knows, UTF-7 and UTF-32: whatever some mail program shows.
//
// Text that is UTF-8 or ASCII already, or whose charset is not known, goes through
// as it is, wrong bytes included.
package charset

import (
	"bytes"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"
)

// Sink takes text. Pieces may be cut anywhere, and are only valid during the call.
type Sink interface {
	Write(p []byte)
	End()
}

// Reader puts a conversion before a sink. A byte order mark at the beginning goes
// before what the label says, as in browsers. known is false where the label names
// no charset; "" does.
func Reader(label string, to Sink) (s Sink, known bool) {
	label = strings.ToLower(strings.Trim(label, "\"' \t"))
	d := &decoder{to: to, label: label}
	switch family := strings.NewReplacer("-", "", "_", "").Replace(label); {
	case label == "", family == "utf8", family == "usascii", family == "ascii", family == "unicode11utf8":
		return d, true
	case strings.HasPrefix(family, "utf16"), strings.HasPrefix(family, "utf32"), family == "ucs2", family == "ucs4",
		strings.HasPrefix(family, "iso10646ucs"), family == "unicode", strings.HasSuffix(family, "utf7"):
		d.wide = family
		return d, true
	}
	d.enc = named(label)
	return d, d.enc != nil
}

// named finds a charset; nil where it is none.
func named(label string) encoding.Encoding {
	if e, err := htmlindex.Get(label); err == nil && e != encoding.Replacement {
		return e
	}
	for _, s := range []string{label, "cs" + label} {
		if e, err := ianaindex.MIME.Encoding(s); err == nil && e != nil {
			return e
		}
	}
	return nil
}

const bufferSize = 4 << 10

// head is how many bytes tell what kind of Unicode it is.
const head = 4

// decoder converts.
type decoder struct {
	to    Sink
	label string
	wide  string            // a kind of Unicode other than UTF-8
	enc   encoding.Encoding // nil passes everything through

	begun bool
	first []byte // up to head bytes, before that
	t     transform.Transformer
	plain bool   // bytes below 0x80 stand for themselves, each alone
	n     int    // bytes in in: of an incomplete character, between two pieces
	in    []byte // of bufferSize, where something is converted
	out   []byte
}

func (d *decoder) Write(p []byte) {
	if !d.begun {
		n := min(head-len(d.first), len(p))
		d.first, p = append(d.first, p[:n]...), p[n:]
		if len(d.first) < head {
			return
		}
		d.begin()
	}
	if len(p) > 0 {
		d.convert(p, false)
	}
}

func (d *decoder) End() {
	if !d.begun {
		d.begin()
	}
	if d.t != nil {
		d.convert(nil, true)
	}
	d.to.End()
}

// begin chooses the conversion.
func (d *decoder) begin() {
	d.begun = true
	mark := 0
	switch f := d.first; {
	case bytes.HasPrefix(f, []byte("\xef\xbb\xbf")):
		d.enc, d.wide, mark = nil, "", 3
	case bytes.HasPrefix(f, []byte("\xff\xfe\x00\x00")):
		d.enc, d.wide, mark = utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM), "", 4
	case bytes.HasPrefix(f, []byte("\x00\x00\xfe\xff")):
		d.enc, d.wide, mark = utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM), "", 4
	case bytes.HasPrefix(f, []byte("\xff\xfe")):
		d.enc, d.wide, mark = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), "", 2
	case bytes.HasPrefix(f, []byte("\xfe\xff")):
		d.enc, d.wide, mark = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), "", 2
	}
	switch {
	case strings.HasSuffix(d.wide, "utf7"):
		d.t = &utf7{}
	case d.wide != "":
		d.enc = wide(d.wide, d.first)
	}
	if d.enc != nil {
		d.t = d.enc.NewDecoder().Transformer
		_, single := d.enc.(*charmap.Charmap)
		d.plain = single && passesASCII(d.enc)
	}
	if d.t != nil {
		d.in, d.out = make([]byte, bufferSize), make([]byte, bufferSize)
	}
	if d.first = d.first[mark:]; len(d.first) > 0 {
		d.convert(d.first, false)
	}
}

// wide finds the order of bytes in text that bears no mark: by a zero in its first
// character, which mostly is ASCII, else by the name. RFC 2781, 4.3 has big-endian
// where nothing is told; browsers and most programs have little-endian.
func wide(name string, first []byte) encoding.Encoding {
	zero := func(i int) bool { return i < len(first) && first[i] == 0 }
	big := strings.HasSuffix(name, "be")
	// In both packages little-endian is true.
	if strings.HasPrefix(name, "utf32") || strings.HasSuffix(name, "ucs4") {
		if zero(0) != zero(3) {
			big = zero(0)
		}
		return utf32.UTF32(utf32.Endianness(!big), utf32.IgnoreBOM)
	}
	if zero(0) != zero(1) {
		big = zero(0)
	}
	return unicode.UTF16(unicode.Endianness(!big), unicode.IgnoreBOM)
}

// passesASCII tells whether a charset of single bytes leaves ASCII alone.
func passesASCII(e encoding.Encoding) bool {
	var all [128]byte
	for i := range all {
		all[i] = byte(i)
	}
	got, err := e.NewDecoder().Bytes(all[:])
	return err == nil && bytes.Equal(got, all[:])
}

// convert gives out what p, and what was left of the last piece, say.
func (d *decoder) convert(p []byte, end bool) {
	if d.t == nil || d.plain && ascii(p) {
		if len(p) > 0 {
			d.to.Write(p)
		}
		return
	}
	for len(p) > 0 || end {
		n := copy(d.in[d.n:], p)
		d.n, p = d.n+n, p[n:]
		last := end && len(p) == 0
		left := d.run(d.in[:d.n], last)
		if left == len(d.in) {
			left = 0 // no character is as long
		}
		d.n = copy(d.in, d.in[d.n-left:d.n])
		if last {
			return
		}
	}
}

// run converts, and tells how many bytes at the end wait for more.
func (d *decoder) run(p []byte, end bool) (left int) {
	for {
		dst, src, err := d.t.Transform(d.out, p, end)
		if dst > 0 {
			d.to.Write(d.out[:dst])
		}
		p = p[src:]
		switch {
		case err == transform.ErrShortDst && (dst > 0 || src > 0):
		case err == transform.ErrShortSrc:
			return len(p)
		case err != nil && len(p) > 0: // no decoder does so
			p = p[1:]
		default:
			return len(p)
		}
	}
}

func ascii(p []byte) bool {
	for _, c := range p {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
