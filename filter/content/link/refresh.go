package link

import "bytes"

const space = " \t\n\f\r"

// refresh gives the target of a refresh (WHATWG HTML, 4.2.5.3): a time, then a URL,
// with or without "url=" before it and quotes around it. The time is not asked
// for where "url" says what is meant.
func refresh(v []byte) (target []byte, ok bool) {
	rest := bytes.TrimLeft(v, space)
	after := bytes.TrimLeft(rest, "0123456789.")
	if len(after) == len(rest) || len(after) > 0 && bytes.IndexByte([]byte(space+";,"), after[0]) < 0 {
		after, ok := afterURL(v)
		return unquote(bytes.TrimLeft(after, space+"=")), ok
	}
	after = bytes.TrimLeft(after, space)
	if len(after) > 0 && (after[0] == ';' || after[0] == ',') {
		after = after[1:]
	}
	after = bytes.TrimLeft(after, space)
	if len(after) > 3 && bytes.EqualFold(after[:3], []byte("url")) {
		if is := bytes.TrimLeft(after[3:], space); len(is) > 0 && is[0] == '=' {
			after = bytes.TrimLeft(is[1:], space)
		}
	}
	return unquote(after), len(after) > 0
}

// afterURL gives what follows the first "url", in any case. It folds no more than
// ASCII: other letters change their length by it, and places would not be the same.
func afterURL(v []byte) (after []byte, ok bool) {
	for i := range len(v) - 2 {
		if bytes.EqualFold(v[i:i+3], []byte("url")) {
			return v[i+3:], true
		}
	}
	return nil, false
}

// unquote takes what stands in quotes, where the text begins with one.
func unquote(v []byte) []byte {
	if len(v) == 0 || v[0] != '"' && v[0] != '\'' {
		return v
	}
	v, _, _ = bytes.Cut(v[1:], v[:1])
	return v
}

// maxDepth bounds the pages that stand in attributes of pages.
const maxDepth = 3

// document scans a page that is the value of an attribute (srcdoc), as it comes: the
// value may be of any length.
type document struct {
	page  *HTML
	words *entities
}

func newDocument(in *HTML) *document {
	page := NewHTML(in.f)
	page.inner, page.depth = in.inner, in.depth+1
	return &document{page, &entities{to: page}}
}

func (d *document) end() {
	d.words.Flush()
	d.page.End()
}
