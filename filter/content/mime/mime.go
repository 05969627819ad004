// Package mime walks the parts of a message while its body streams by (RFC 2045,
// 2046): it finds where parts begin and end, undoes their transfer encoding, and
// hands their content to visitors.
//
// It is made for hostile mail. What is broken is read as mail programs read it:
// end boundaries may be missing, lines may end in LF, header lines may be no
// fields, base64 may hold foreign bytes. Every such thing, and every bound that
// was passed, is a word among the Defects; nothing ends the walk. The memory that
// it takes is bounded and does not depend on the message's size, its time grows
// with the size and no faster, and how the body is cut into pieces changes
// nothing of what visitors get together.
//
// Left out: uuencode and yEnc, message/partial, encrypted parts.
package mime

import (
	"slices"

	"mailwicket/filter/mail"
)

// The bounds of a walk.
const (
	MaxDepth  = 20  // containers around a part
	MaxParts  = 500 // parts and containers of a message
	maxHeader = 64 << 10
	maxField  = 16 << 10
	maxLine   = 16 << 10 // of a header; longer ones are cut
)

// Part is what a part's header says, in the form in which programs compare it.
type Part struct {
	Type       string // "text/html"; "text/plain" where none can be read (RFC 2045, 5.2)
	Charset    string // lower case, "" where none is told
	Name       string // file name, decoded
	Attachment bool   // Content-Disposition: attachment
	Depth      int    // containers around it, 0 is the body of the message itself

	// Aside is text that belongs to no part: what stands before the first part of a
	// container and after the last, and header lines of a part that are no fields.
	// Some programs show it. Type is "text/plain" then.
	Aside bool
}

// Visitor is told of each part as it begins, in the order of the message, and
// gives what takes the content; nil where the content is not wanted.
type Visitor interface {
	Begin(Part) Sink
}

// Sink takes the content of one part, transfer encoding undone. Pieces may be cut
// anywhere, and are only valid during the call. End comes once, after the last.
type Sink interface {
	Write(p []byte)
	End()
}

// Defect is a word for something that is wrong with the structure of a message.
type Defect string

// The defects.
const (
	TooDeep         Defect = "mime_too_deep"       // more than MaxDepth: what is deeper is read as text
	TooManyParts    Defect = "too_many_parts"      // more than MaxParts: the rest is not read
	HeaderTooLarge  Defect = "part_header_large"   // a part's header is over 64 KiB, or a field or line over 16 KiB
	NoBoundary      Defect = "no_boundary"         // a multipart that names none
	Unclosed        Defect = "boundary_unclosed"   // the end boundary is missing
	PartAfterEnd    Defect = "part_after_end"      // a part behind the end boundary
	OddBoundary     Defect = "odd_boundary"        // a line that only begins like a boundary: programs differ over it
	BadHeaderLine   Defect = "bad_part_header"     // a line in a part's header that is no field
	RepeatedField   Defect = "repeated_mime_field" // two of a field, or of a parameter, that counts once
	BadType         Defect = "bad_content_type"
	UnknownEncoding Defect = "unknown_encoding"  // of transfer: the content is read as it stands
	EncodedPart     Defect = "encoded_container" // a multipart or message in base64 or quoted-printable (RFC 2045, 6.4)
	BadBase64       Defect = "bad_base64"
	BadQuoted       Defect = "bad_quoted_printable"
)

// Defects lists all words, in the order in which a Walker gives them.
func Defects() []Defect {
	return []Defect{TooDeep, TooManyParts, HeaderTooLarge, NoBoundary, Unclosed, PartAfterEnd, OddBoundary, BadHeaderLine,
		RepeatedField, BadType, UnknownEncoding, EncodedPart, BadBase64, BadQuoted}
}

// Over tells whether a defect means that something was not read.
func (d Defect) Over() bool { return d == TooDeep || d == TooManyParts || d == HeaderTooLarge }

// shared is what the walkers of one message have in common.
type shared struct {
	visitors []Visitor
	parts    int
	defects  []Defect
}

func (s *shared) defect(d Defect) {
	if !slices.Contains(s.defects, d) {
		s.defects = append(s.defects, d)
	}
}

// Walker reads one message. It is used by one goroutine: New, Write for each piece
// of the body, Close.
type Walker struct {
	s     *shared
	depth int // of the message itself, where it is attached to another
	stack []frame
	limit int // length of the longest line that may be a boundary; 0 where none is looked for

	sink Sink // of the part that is being read; nil where nobody wants it
	lazy bool // ask who wants it when there is something

	header  *block // the header that is being read; nil in a body
	line    []byte // the beginning of the line that is being read
	cut     bool   // the line was longer, in a header
	atStart bool   // the line has not been told from a boundary yet
	eol     []byte // a line end that belongs to the boundary, if one follows (RFC 2046, 5.1.1)
}

// frame is a container around what is being read.
type frame struct {
	boundary string // "" of a message
	guess    bool   // the header names no boundary: the first line that looks like one is it
	digest   bool   // parts are messages unless they say otherwise (RFC 2046, 5.1.5)
	closed   bool   // its end boundary has come
}

// New starts to walk the body of a message that has this header.
func New(h mail.Header, visitors ...Visitor) *Walker {
	w := &Walker{s: &shared{visitors: visitors}}
	var b block
	for _, f := range h {
		if !b.keep(f.Name, f.Unfolded()) {
			w.s.defect(RepeatedField)
		}
	}
	w.begin(&b, false)
	return w
}

// Defects tells what was wrong so far, each word once, in the order of Defects.
func (w *Walker) Defects() []Defect {
	return slices.DeleteFunc(Defects(), func(d Defect) bool { return !slices.Contains(w.s.defects, d) })
}

// Write takes a piece of the body.
func (w *Walker) Write(p []byte) {
	for len(p) > 0 && w.s.parts <= MaxParts {
		if w.header != nil {
			p = w.readHeader(p)
		} else {
			p = w.readBody(p)
		}
	}
}

// Close ends the message.
func (w *Walker) Close() {
	if w.header != nil {
		w.endOfLine()
		if w.header != nil { // a part without a body
			w.header.flush(w)
		}
		w.header = nil
	} else {
		w.endOfBody()
	}
	w.endPart()
	for _, f := range w.stack {
		if (f.boundary != "" || f.guess) && !f.closed {
			w.s.defect(Unclosed)
		}
	}
	w.stack = nil
}

// endOfBody gives out what was held back, unless it is a boundary.
func (w *Walker) endOfBody() {
	if !w.atStart || !w.delimiter(w.line) {
		w.release()
	}
	if w.header != nil { // a boundary and nothing behind it
		w.header = nil
	}
}

func (w *Walker) endPart() {
	w.lazy = false
	if w.sink != nil {
		w.sink.End()
		w.sink = nil
	}
}

func (w *Walker) give(p []byte) {
	if len(p) == 0 {
		return
	}
	if w.lazy {
		w.sink, w.lazy = w.aside(), false
	}
	if w.sink != nil {
		w.sink.Write(p)
	}
}
