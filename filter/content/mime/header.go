package mime

import (
	"bytes"
	"strings"
)

// block is the header of one part, as far as it has been read.
type block struct {
	message bool // of an attached message: its other fields are no text
	digest  bool // of a part of a digest

	contentType, disposition string
	encoding                 encoding
	told                     [3]bool // which of the three have come

	size   int
	field  []byte // the Content- field that is being read, unfolded
	stray  bool   // the last line was no Content- field
	aside  Sink   // takes such lines
	opened bool   // aside has been asked for
}

// readHeader takes bytes of a header, and gives back those that come after a line
// end.
func (w *Walker) readHeader(p []byte) []byte {
	end := bytes.IndexByte(p, '\n') + 1
	complete := end > 0
	if !complete {
		end = len(p)
	}
	piece := p[:end]
	if room := maxLine - len(w.line); len(piece) > room {
		piece, w.cut = piece[:room], true
		w.s.defect(HeaderTooLarge)
	}
	w.line = append(w.line, piece...)
	if complete {
		w.endOfLine()
	}
	return p[end:]
}

// endOfLine reads a complete line of a header.
func (w *Walker) endOfLine() {
	b, line := w.header, bytes.TrimRight(w.line, "\r\n")
	if !w.cut && w.delimiter(line) {
		return
	}
	switch blank := len(line) == 0 && !w.cut; {
	case blank && b.message && b.size == 0: // before the header: mail programs pass over it
	case blank:
		b.flush(w)
		w.begin(b, b.digest)
		return
	default:
		b.line(w, line)
	}
	w.line, w.cut = w.line[:0], false
}

// line takes a line that is not empty.
func (b *block) line(w *Walker, line []byte) {
	first := b.size == 0
	if b.size += len(line); b.size > maxHeader {
		w.s.defect(HeaderTooLarge)
		return
	}
	if line[0] == ' ' || line[0] == '\t' {
		switch {
		case b.stray || len(b.field) == 0:
			b.text(w, line)
		case len(b.field)+len(line) > maxField:
			w.s.defect(HeaderTooLarge)
		default:
			b.field = append(b.field, line...)
		}
		return
	}
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	switch {
	case ok && isToken(name) && len(name) > 8 && strings.EqualFold(string(name[:8]), "content-"):
		b.endField(w)
		b.field, b.stray = append(b.field, line...), false
		return
	case ok && isToken(name):
	case first && b.message && bytes.HasPrefix(line, []byte("From ")): // of a mailbox file
	default:
		w.s.defect(BadHeaderLine)
		ok = false
	}
	b.endField(w)
	b.stray = true
	if !b.message || !ok {
		b.text(w, line)
	}
}

// text is a line that is not about the content. Some programs show it.
func (b *block) text(w *Walker, line []byte) {
	if b.message && b.stray && (line[0] == ' ' || line[0] == '\t') {
		return
	}
	if !b.opened {
		b.aside, b.opened = w.aside(), true
	}
	if b.aside != nil {
		b.aside.Write(line)
		b.aside.Write([]byte("\n"))
	}
}

// endField keeps the field that has been read.
func (b *block) endField(w *Walker) {
	if len(b.field) == 0 {
		return
	}
	name, value, _ := strings.Cut(string(b.field), ":")
	if !b.keep(name, strings.TrimSpace(value)) {
		w.s.defect(RepeatedField)
	}
	b.field = b.field[:0]
}

// flush ends the header.
func (b *block) flush(w *Walker) {
	b.endField(w)
	if b.aside != nil {
		b.aside.End()
		b.aside = nil
	}
}

// keep takes a field; false where it has been there. The first one counts.
func (b *block) keep(name, value string) bool {
	i := -1
	switch strings.ToLower(strings.TrimRight(name, " \t")) {
	case "content-type":
		i = 0
	case "content-transfer-encoding":
		i = 1
	case "content-disposition":
		i = 2
	default:
		return true
	}
	if b.told[i] {
		return false
	}
	b.told[i] = true
	switch i {
	case 0:
		b.contentType = value
	case 1:
		b.encoding = parseEncoding(value)
	case 2:
		b.disposition = value
	}
	return true
}

// part reads the fields.
func (b *block) part(w *Walker, digest bool) (Part, field) {
	p := Part{Type: "text/plain", Depth: w.depth + len(w.stack)}
	if digest {
		p.Type = "message/rfc822"
	}
	f := parseField(b.contentType)
	if strings.TrimSpace(b.contentType) != "" {
		if isType(f.value) {
			p.Type = f.value
		} else {
			w.s.defect(BadType)
		}
	}
	d := parseField(b.disposition)
	if f.repeated || d.repeated {
		w.s.defect(RepeatedField)
	}
	if b.encoding == unknown {
		w.s.defect(UnknownEncoding)
	}
	p.Charset = strings.ToLower(f.param("charset"))
	p.Attachment = d.value == "attachment"
	if p.Name = d.text("filename"); p.Name == "" {
		p.Name = f.text("name")
	}
	return p, f
}

// isType tells whether a value has the form of a media type.
func isType(s string) bool {
	kind, sub, ok := strings.Cut(s, "/")
	return ok && isToken([]byte(kind)) && isToken([]byte(sub))
}

// isToken tells names from text (RFC 2045, 5.1; RFC 5322, 2.2).
func isToken(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return len(s) > 0
}
