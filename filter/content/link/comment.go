package link

import "bytes"

// declaration is what follows "<!".
func (h *HTML) declaration(c byte) bool {
	switch h.decl = append(h.decl, c); {
	case string(h.decl) == "-":
		return true
	case string(h.decl) == "--":
		h.state, h.dashes, h.decl = inComment, commentStart, h.decl[:0]
		return true
	case len(h.decl) == 2: // a dash and something else
		h.state = bogusComment
		return false
	}
	h.state = bogusComment
	return false
}

// How the end of a comment is coming (WHATWG HTML, 13.2.5.43 to 52).
const (
	commentText = iota
	commentStart
	commentStartDash
	commentEndDash
	commentEnd
	commentEndBang
)

// comment takes a comment up to its end. Outlook reads "<!--[if ...]> ... <![endif]-->".
func (h *HTML) comment(p []byte) []byte {
	i := 0
	for i < len(p) {
		c := p[i]
		if h.dashes == commentText && c != '-' {
			n := bytes.IndexByte(p[i:], '-')
			if n < 0 {
				n = len(p) - i
			}
			h.inComment(p[i : i+n])
			i += n
			continue
		}
		i++
		if c == '>' && h.dashes != commentText && h.dashes != commentEndDash {
			h.endComment()
			return p[i:]
		}
		h.dashes = nextDashes(h.dashes, c)
		h.inComment(p[i-1 : i])
	}
	return nil
}

func nextDashes(at int, c byte) int {
	switch {
	case c == '-' && at == commentStart:
		return commentStartDash
	case c == '-' && (at == commentText || at == commentEndBang):
		return commentEndDash
	case c == '-':
		return commentEnd
	case c == '!' && at == commentEnd:
		return commentEndBang
	}
	return commentText
}

// condition begins what only Outlook reads.
const condition = "[if"

// inComment takes text of a comment. Its beginning tells what it is for.
func (h *HTML) inComment(p []byte) {
	for len(p) > 0 && h.cond == nil && len(h.decl) < len(condition) {
		h.decl, p = append(h.decl, lower(p[0])), p[1:]
		if string(h.decl) == condition && !h.inner {
			h.cond = NewHTML(h.f)
			h.cond.inner, h.cond.depth, h.cond.state = true, h.depth, bogusComment // up to the ">" of the condition
		}
	}
	if h.cond != nil {
		h.cond.Write(p)
	}
}

func (h *HTML) endComment() {
	h.state = inData
	if h.cond != nil {
		h.cond.End()
		h.cond = nil
	}
}
