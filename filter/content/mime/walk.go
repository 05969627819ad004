package mime

import (
	"bytes"
	"strings"
)

// maxBoundary is the longest boundary that is looked for. RFC 2046, 5.1.1 allows
// 70 bytes; programs take any length.
const maxBoundary = 2000

// maxPadding is how much white space may stand behind a boundary.
const maxPadding = 200

var lineDashes = []byte("\n--")

// readBody takes bytes of a body, and gives back those that come after a change
// of state.
func (w *Walker) readBody(p []byte) []byte {
	switch {
	case w.limit == 0:
		w.release()
		w.give(p)
		return nil
	case w.atStart:
		return w.readStart(p)
	case len(w.eol) > 0: // a CR
		if p[0] == '\n' {
			w.eol, w.atStart = append(w.eol, '\n'), true
			return p[1:]
		}
		w.release()
	}
	if i := bytes.Index(p, lineDashes); i >= 0 {
		return w.newLine(p, i)
	}
	// The end may be the beginning of what was looked for.
	switch n := len(p); {
	case p[n-1] == '\n':
		return w.newLine(p, n-1)
	case n >= 2 && p[n-2] == '\n' && p[n-1] == '-':
		return w.newLine(p, n-2)
	case p[n-1] == '\r':
		w.give(p[:n-1])
		w.eol = append(w.eol[:0], '\r')
	default:
		w.give(p)
	}
	return nil
}

// newLine gives what stands before the line end at i, and holds that back.
func (w *Walker) newLine(p []byte, i int) []byte {
	end := i
	if i > 0 && p[i-1] == '\r' {
		end--
	}
	w.give(p[:end])
	w.eol, w.line, w.atStart = append(w.eol[:0], p[end:i+1]...), w.line[:0], true
	return p[i+1:]
}

// readStart looks whether a line is a boundary.
func (w *Walker) readStart(p []byte) []byte {
	for len(w.line) < 2 && len(p) > 0 {
		if p[0] != '-' {
			w.release()
			return p
		}
		w.line, p = append(w.line, '-'), p[1:]
	}
	end := bytes.IndexByte(p, '\n') + 1
	complete := end > 0
	if !complete {
		end = len(p)
	}
	if len(w.line)+end > w.limit {
		w.release()
		return p
	}
	w.line, p = append(w.line, p[:end]...), p[end:]
	if complete && !w.delimiter(w.line) {
		w.ordinary()
	}
	return p
}

// ordinary gives a line that is no boundary, but for its end: a boundary may
// follow.
func (w *Walker) ordinary() {
	w.give(w.eol)
	text := bytes.TrimSuffix(bytes.TrimSuffix(w.line, []byte("\n")), []byte("\r"))
	w.give(text)
	w.eol = append(w.eol[:0], w.line[len(text):]...)
	w.line = w.line[:0]
}

// release gives what was held back: it was no boundary.
func (w *Walker) release() {
	w.give(w.eol)
	w.give(w.line)
	w.eol, w.line, w.atStart = w.eol[:0], w.line[:0], false
}

// measure notes the length of the longest line that may be a boundary; 0 where none
// is looked for.
func (w *Walker) measure() {
	w.limit = 0
	for i := range w.stack {
		f := &w.stack[i]
		if f.guess && f.boundary == "" {
			w.limit = max(w.limit, maxGuess+maxPadding)
		} else if f.boundary != "" {
			w.limit = max(w.limit, len(f.boundary)+maxPadding)
		}
	}
}

// delimiter acts on a line that is a boundary, and tells whether it is. Lines are
// compared whole, white space at the end aside, as programs do: RFC 2046, 5.1.1
// would take any line that begins with the boundary. One of an outer container
// ends the inner ones.
func (w *Walker) delimiter(line []byte) bool {
	if len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return false
	}
	name := bytes.TrimRight(line[2:], " \t\r\n")
	odd := false
	for i := len(w.stack) - 1; i >= 0; i-- {
		f := &w.stack[i]
		if f.guess && f.boundary == "" && plausible(name) {
			f.boundary = string(name)
		}
		if f.boundary == "" || !bytes.HasPrefix(name, []byte(f.boundary)) {
			continue
		}
		switch rest := name[len(f.boundary):]; {
		case len(rest) == 0:
			w.nextPart(i)
			return true
		case string(rest) == "--":
			w.lastPart(i)
			return true
		}
		odd = true
	}
	if odd {
		w.s.defect(OddBoundary)
	}
	return false
}

// maxGuess is the longest boundary that is found without being told.
const maxGuess = 70

// plausible tells whether a boundary may be called so that nobody named: one word
// without spaces, and more than dashes.
func plausible(name []byte) bool {
	return len(name) <= maxGuess && !bytes.ContainsAny(name, " \t") && len(bytes.Trim(name, "-")) > 0
}

// nextPart begins the next part of the container at i.
func (w *Walker) nextPart(i int) {
	w.leave(i)
	f := &w.stack[i]
	if f.closed {
		w.s.defect(PartAfterEnd)
		f.closed = false
	}
	w.startHeader(&block{digest: f.digest})
}

// lastPart ends the container at i. It stays on the stack, since parts may follow
// all the same.
func (w *Walker) lastPart(i int) {
	w.leave(i)
	w.stack[i].closed = true
	w.startAside()
}

// leave ends the part that is being read and all containers within the one at i.
func (w *Walker) leave(i int) {
	if w.header != nil {
		w.header.flush(w)
		w.header = nil
	}
	w.endPart()
	for _, f := range w.stack[i+1:] {
		if (f.boundary != "" || f.guess) && !f.closed {
			w.s.defect(Unclosed)
		}
	}
	w.stack = w.stack[:i+1]
	w.measure()
}

func (w *Walker) enter(f frame) {
	w.stack = append(w.stack, f)
	w.measure()
}

func (w *Walker) startHeader(b *block) {
	w.header, w.line, w.eol, w.cut = b, w.line[:0], w.eol[:0], false
}

func (w *Walker) startBody(s Sink) {
	w.header, w.line, w.eol, w.atStart = nil, w.line[:0], w.eol[:0], true
	w.sink, w.lazy = s, false
}

// startAside starts text that belongs to no part. Mostly there is none.
func (w *Walker) startAside() {
	w.startBody(nil)
	w.lazy = true
}

// begin starts the body that follows a header.
func (w *Walker) begin(b *block, digest bool) {
	p, field := b.part(w, digest)
	w.s.parts++
	switch kind, sub, _ := strings.Cut(p.Type, "/"); {
	case w.s.parts > MaxParts:
		w.s.defect(TooManyParts)
		w.startBody(nil)
	case kind != "multipart" && !isMessage(p.Type):
		w.startBody(w.decoded(b.encoding, w.open(p)))
	case p.Depth >= MaxDepth:
		w.s.defect(TooDeep)
		p.Type = "text/plain"
		w.startBody(w.open(p))
	case kind == "multipart":
		w.multipart(b, p, frame{boundary: field.boundary(), digest: sub == "digest"})
	default:
		w.message(b, p)
	}
}

// multipart enters a container. Where it pretends to be encoded, the boundaries
// stand in the text as it is, or in what is decoded: both are looked at.
func (w *Walker) multipart(b *block, p Part, f frame) {
	if f.boundary == "" || len(f.boundary) > maxBoundary {
		w.s.defect(NoBoundary)
		f.boundary, f.guess = "", true
	}
	w.enter(f)
	if !b.encoding.encoded() {
		w.startAside()
		return
	}
	w.s.defect(EncodedPart)
	inner := w.inner(p.Depth)
	inner.begin(&block{contentType: b.contentType}, false)
	w.startBody(w.decoded(b.encoding, walkerSink{inner}))
}

// message enters an attached message.
func (w *Walker) message(b *block, p Part) {
	if !b.encoding.encoded() {
		w.enter(frame{})
		w.startHeader(&block{message: true})
		return
	}
	w.s.defect(EncodedPart)
	inner := w.inner(p.Depth)
	inner.startHeader(&block{message: true})
	aside := p
	aside.Type, aside.Aside = "text/plain", true
	w.startBody(both{w.decoded(b.encoding, walkerSink{inner}), w.open(aside)})
}

// inner gives a walker for what is decoded.
func (w *Walker) inner(depth int) *Walker { return &Walker{s: w.s, depth: depth + 1} }

// isMessage tells the types that hold a message. Reports on deliveries, and parts
// of messages, are none.
func isMessage(t string) bool {
	return t == "message/rfc822" || t == "message/global" || t == "message/news"
}

// aside opens text that belongs to no part.
func (w *Walker) aside() Sink {
	return w.open(Part{Type: "text/plain", Depth: w.depth + len(w.stack), Aside: true})
}

// open asks the visitors who wants a part.
func (w *Walker) open(p Part) Sink {
	var all Sink
	for _, v := range w.s.visitors {
		switch s := v.Begin(p); {
		case s == nil:
		case all == nil:
			all = s
		default:
			all = both{all, s}
		}
	}
	return all
}

// both hands content to two sinks; the second may be nil.
type both struct{ a, b Sink }

func (s both) Write(p []byte) {
	s.a.Write(p)
	if s.b != nil {
		s.b.Write(p)
	}
}

func (s both) End() {
	s.a.End()
	if s.b != nil {
		s.b.End()
	}
}

// walkerSink reads a message out of decoded content.
type walkerSink struct{ w *Walker }

func (s walkerSink) Write(p []byte) { s.w.Write(p) }
func (s walkerSink) End()           { s.w.Close() }
