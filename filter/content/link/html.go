package link

import "bytes"

// HTML looks for links in HTML. It cuts the text into tags, attributes and visible
// text as browsers do (WHATWG HTML, 13.2.5), and builds no tree: where an element
// stands changes nothing of where its links lead.
type HTML struct {
	f     *Found
	text  *Text     // what is seen
	words *entities // before it
	raw   *rawText  // inside of script, style and their like
	cond  *HTML     // inside of a comment that Outlook reads
	inner bool      // this is cond of another, or stands in one
	doc   *document // a page that is the value of an attribute
	depth int       // how many of those this stands in

	state  state
	tag    []byte // name, lower case, cut
	end    bool   // an end tag
	attr   []byte // name, lower case, cut
	wanted bool   // the attribute may hold links
	value  []byte
	cut    bool   // the value was longer
	quote  byte   // around the value; 0 without
	decl   []byte // what follows "<!", until it is clear what it is
	dashes int    // of a comment: how its end is coming
}

type state uint8

// The states of the tokenizer, under the names that the standard gives them.
const (
	inData state = iota
	tagOpen
	endTagOpen
	tagName
	beforeAttr
	attrName
	afterAttr
	beforeValue
	inValue
	afterValue
	markupDeclaration
	bogusComment
	inComment
	inRaw
)

// NewHTML gives a scanner of HTML.
func NewHTML(f *Found) *HTML {
	h := &HTML{f: f, text: NewText(f, true)}
	h.words = &entities{to: h.text}
	return h
}

// Write takes text.
func (h *HTML) Write(p []byte) {
	for len(p) > 0 && !h.f.full {
		switch h.state {
		case inData:
			p = h.data(p)
		case inValue:
			p = h.inValue(p)
		case inRaw:
			p = h.inRaw(p)
		case inComment:
			p = h.comment(p)
		case bogusComment:
			if i := bytes.IndexByte(p, '>'); i >= 0 {
				h.state, p = inData, p[i+1:]
			} else {
				p = nil
			}
		default:
			if h.step(p[0]) {
				p = p[1:]
			}
		}
	}
}

// End ends the text. Browsers drop a tag that has no end, which those who only
// look for links may not.
func (h *HTML) End() {
	if h.state == inValue {
		h.endValue()
	}
	if h.raw != nil {
		h.raw.End()
	}
	if h.cond != nil {
		h.cond.End()
	}
	h.words.Flush()
	h.text.End()
}

// data takes text up to a tag.
func (h *HTML) data(p []byte) []byte {
	i := bytes.IndexByte(p, '<')
	if i < 0 {
		h.words.Write(p)
		return nil
	}
	h.words.Write(p[:i])
	h.state = tagOpen
	return p[i+1:]
}

// step takes one byte; false leaves it to the next state.
func (h *HTML) step(c byte) bool {
	switch h.state {
	case tagOpen:
		return h.openTag(c)
	case endTagOpen:
		return h.openEndTag(c)
	case tagName:
		return h.inTagName(c)
	case beforeAttr, afterAttr, afterValue:
		return h.betweenAttrs(c)
	case attrName:
		return h.inAttrName(c)
	case beforeValue:
		return h.beforeValue(c)
	}
	return h.declaration(c)
}

func (h *HTML) openTag(c byte) bool {
	switch {
	case isLetter(c):
		h.words.Flush()
		h.state, h.tag, h.end = tagName, h.tag[:0], false
		return false
	case c == '!':
		h.words.Flush()
		h.state, h.decl = markupDeclaration, h.decl[:0]
	case c == '/':
		h.state = endTagOpen
	case c == '?':
		h.words.Flush()
		h.state = bogusComment
	default:
		h.words.Write([]byte("<"))
		h.state = inData
		return false
	}
	return true
}

func (h *HTML) openEndTag(c byte) bool {
	h.words.Flush()
	switch {
	case isLetter(c):
		h.state, h.tag, h.end = tagName, h.tag[:0], true
		return false
	case c == '>':
		h.state = inData
	default:
		h.state = bogusComment
		return false
	}
	return true
}

// maxTagName is longer than any name that matters.
const maxTagName = 20

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func (h *HTML) inTagName(c byte) bool {
	if isSpace(c) || c == '/' || c == '>' {
		if !withinWord(string(h.tag)) {
			h.text.Break()
		}
		h.state = beforeAttr
		return false
	}
	if len(h.tag) <= maxTagName {
		h.tag = append(h.tag, lower(c))
	}
	return true
}

// withinWord tells the elements that may stand inside of a word and leave it one.
func withinWord(tag string) bool {
	switch tag {
	case "abbr", "acronym", "b", "bdi", "bdo", "big", "blink", "cite", "code", "dfn", "em", "font", "i", "ins", "kbd", "mark", "nobr",
		"o:p", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr":
		return true
	}
	return false
}

// betweenAttrs is before, behind and between attributes. After a name an "=" brings
// its value; elsewhere it begins a name.
func (h *HTML) betweenAttrs(c byte) bool {
	switch {
	case isSpace(c):
		if h.state == afterValue {
			h.state = beforeAttr
		}
	case c == '/':
		h.state = beforeAttr
	case c == '>':
		h.endTag()
	case c == '=' && h.state == afterAttr:
		h.state = beforeValue
	default:
		h.state, h.attr = attrName, append(h.attr[:0], lower(c))
	}
	return true
}

func (h *HTML) inAttrName(c byte) bool {
	switch {
	case isSpace(c) || c == '/' || c == '>':
		h.state = afterAttr
		return false
	case c == '=':
		h.state = beforeValue
	case len(h.attr) <= maxTagName:
		h.attr = append(h.attr, lower(c))
	}
	return true
}

func (h *HTML) beforeValue(c byte) bool {
	switch {
	case isSpace(c):
		return true
	case c == '>':
		h.endTag()
		return true
	}
	h.state, h.value, h.cut, h.quote = inValue, h.value[:0], false, 0
	h.wanted = !h.end && holdsLinks(string(h.tag), string(h.attr))
	if string(h.attr) == "srcdoc" && !h.end && h.depth < maxDepth {
		h.doc = newDocument(h)
	}
	if c == '"' || c == '\'' {
		h.quote = c
		return true
	}
	return false
}

// inValue takes the value of an attribute up to its end.
func (h *HTML) inValue(p []byte) []byte {
	var end int
	if h.quote != 0 {
		end = bytes.IndexByte(p, h.quote)
	} else {
		end = bytes.IndexAny(p, " \t\n\f\r>")
	}
	piece := p
	if end >= 0 {
		piece = p[:end]
	}
	if h.doc != nil {
		h.doc.words.Write(piece)
	}
	if h.wanted {
		if room := maxURL - len(h.value); len(piece) > room {
			piece, h.cut = piece[:room], true
		}
		h.value = append(h.value, piece...)
	}
	if end < 0 {
		return nil
	}
	h.endValue()
	switch {
	case h.quote != 0:
		h.state = afterValue
	case p[end] == '>':
		h.endTag()
	default:
		h.state = beforeAttr
	}
	return p[end+1:]
}

// holdsLinks tells the attributes that are read. Whatever they stand on, some
// program follows them.
func holdsLinks(tag, attr string) bool {
	switch attr {
	case "href", "src", "action", "formaction", "background", "poster", "data", "longdesc", "lowsrc", "dynsrc", "ping",
		"xlink:href", "o:href", "srcset", "imagesrcset", "style":
		return true
	case "values", "to", "from", "by": // SVG gives a link its target by them
		return tag == "animate" || tag == "set"
	case "content":
		return tag == "meta"
	case "value":
		return tag == "param"
	}
	return false
}

// endValue takes the value that has been read.
func (h *HTML) endValue() {
	if h.doc != nil {
		h.doc.end()
		h.doc = nil
	}
	if !h.wanted {
		return
	}
	if h.cut {
		h.f.defect(TooLong)
	}
	v := unescapeValue(h.value)
	switch string(h.attr) {
	case "style":
		if bytes.IndexByte(v, '(') >= 0 {
			s := css{f: h.f}
			s.Write(v)
			s.End()
		}
	case "content":
		if target, ok := refresh(v); ok {
			h.f.Reference(target, h.cut)
		}
	case "srcset", "imagesrcset", "values":
		for _, u := range bytes.FieldsFunc(v, func(r rune) bool { return r <= ' ' || r == ',' || r == ';' }) {
			if bytes.IndexByte(u, '/') >= 0 || bytes.IndexByte(u, '\\') >= 0 {
				h.f.Reference(u, false)
			}
		}
	default:
		h.f.Reference(v, h.cut)
	}
	if cap(h.value) > 1<<10 {
		h.value = nil // long ones are rare, and sessions many
	}
}

// endTag comes to the end of a tag.
func (h *HTML) endTag() {
	h.state = inData
	if h.end {
		return
	}
	switch string(h.tag) {
	case "script", "style", "xmp", "iframe", "noembed", "noframes", "title", "textarea", "plaintext":
		h.raw, h.state = newRawText(h.f, string(h.tag)), inRaw
	}
}

// inRaw takes the text of an element that holds no tags.
func (h *HTML) inRaw(p []byte) []byte {
	n, ended := h.raw.write(p)
	if !ended {
		return nil
	}
	h.raw.End()
	h.tag, h.end, h.raw, h.state = append(h.tag[:0], h.raw.tag...), true, nil, beforeAttr
	return p[n:]
}
