package author

import (
	"slices"
	"strings"

	"mailwicket/filter/author/encword"

	"mailwicket/filter/mail"
)

type mailbox struct{ local, domain string }

// parser reads an address-list (RFC 5322, 3.4 and 4.4; groups in From by RFC
// 6854). Its functions return what broke the grammar, "" where nothing did.
type parser struct {
	toks   []token
	pos    int
	boxes  []mailbox
	odd    string // why some consumers may read it differently
	sloppy string // a breach of grammar that leaves one reading
}

// next gives the special character at the position, 0 for words and the end.
func (p *parser) next() byte {
	if p.pos < len(p.toks) {
		return p.toks[p.pos].c
	}
	return 0
}

func (p *parser) end() bool { return p.pos >= len(p.toks) }

func (p *parser) list() (why string) {
	group := false
	for !p.end() {
		switch c := p.next(); {
		case c == ',': // also empty elements, RFC 5322, 4.4
			p.pos++
			continue
		case c == ';' && group:
			group = false
			p.pos++
			if !p.end() && p.next() != ',' {
				return "text after a group"
			}
			continue
		}
		start := p.pos
		words := p.words()
		switch c := p.next(); {
		case c == ':' && !group && len(words) > 0:
			group = true
			p.pos++
			p.phrase(words)
			continue
		case c == '<':
			p.phrase(words)
			why = p.angle()
		case c == '@':
			p.pos = start
			why = p.spec()
		default:
			return "no address where one is due"
		}
		if why != "" {
			return why
		}
		if c := p.next(); !p.end() && c != ',' && !(c == ';' && group) {
			return "text after an address"
		}
	}
	if group {
		return "group without end"
	}
	return ""
}

// words takes atoms, quoted strings and dots: a phrase or a local part.
func (p *parser) words() []token {
	start := p.pos
	for !p.end() {
		t := p.toks[p.pos]
		if t.kind == literal || t.kind == special && t.c != '.' {
			break
		}
		p.pos++
	}
	return p.toks[start:p.pos]
}

// phrase looks into a display name. Its text is no address, but consumers that
// decode encoded words before they parse must not find other brackets in it.
func (p *parser) phrase(words []token) {
	var b strings.Builder
	for _, t := range words {
		if t.odd {
			p.strange("special characters in an encoded word")
		}
		b.WriteString(t.text)
		b.WriteByte(' ')
	}
	raw := b.String()
	if !strings.Contains(raw, "=?") {
		return
	}
	dec := encword.Decode(raw)
	if strings.Contains(dec, "@") && strings.Count(dec, "<") > strings.Count(raw, "<") {
		p.strange("address in an encoded word")
	}
}

// brackets asks what readers see who only look for the last angle brackets with
// an address in them: they find those in a comment as well.
func (p *parser) brackets(value string) {
	texts := []string{value}
	if strings.Contains(value, "=?") {
		texts = append(texts, encword.Decode(value))
	}
	for _, t := range texts {
		d := mail.CanonicalDomain(strings.TrimSpace(lastBrackets(t)))
		known := slices.ContainsFunc(p.boxes, func(b mailbox) bool { return mail.CanonicalDomain(b.domain) == d })
		if isHost(d) && !known {
			p.strange("another address in angle brackets")
		}
	}
}

// lastBrackets gives the domain in the last "<...@...>" of s.
func lastBrackets(s string) string {
	for i := strings.LastIndexByte(s, '<'); i >= 0; i = strings.LastIndexByte(s, '<') {
		if inner, _, ok := strings.Cut(s[i+1:], ">"); ok {
			if at := strings.LastIndexByte(inner, '@'); at >= 0 {
				return inner[at+1:]
			}
		}
		s = s[:i]
	}
	return ""
}

func (p *parser) strange(why string) {
	if p.odd == "" {
		p.odd = why
	}
}

// angle reads "<" [route] addr-spec ">".
func (p *parser) angle() (why string) {
	open := p.pos
	p.pos++
	if c := p.next(); c == '@' || c == ',' {
		p.strange("source route") // RFC 5322, 4.4
		for !p.end() && p.next() != ':' {
			p.pos++
		}
		if p.end() {
			return "route without end"
		}
		p.pos++
	}
	if p.next() == '>' {
		p.pos++
		return "empty address"
	}
	if why = p.spec(); why != "" {
		return why
	}
	if p.next() != '>' {
		return "no closing bracket"
	}
	p.pos++
	for _, t := range p.toks[open+1 : p.pos] {
		if t.comment {
			p.strange("comment in an address")
		}
	}
	return ""
}

// spec reads local-part "@" domain.
func (p *parser) spec() (why string) {
	local := p.words()
	if len(local) == 0 {
		return "no local part"
	}
	if p.next() != '@' {
		return "no at-sign"
	}
	var b strings.Builder
	for i, t := range local {
		if i > 0 {
			if why = p.joined(local[i-1], t); why != "" {
				return why
			}
		}
		if t.odd || t.kind == quoted && strings.ContainsAny(t.text, "@<>,;:") {
			p.strange("special characters in a local part")
		}
		b.WriteString(t.text)
	}
	if local[0].c == '.' || local[len(local)-1].c == '.' {
		p.sloppy = "dot at an end of the local part"
	}
	if s := b.String(); strings.Contains(s, "=?") && strings.Contains(encword.Decode(s), "@") {
		p.strange("address in an encoded word")
	}
	p.tight(p.toks[p.pos])
	p.pos++
	domain, why := p.domain()
	if why != "" {
		return why
	}
	p.boxes = append(p.boxes, mailbox{local: b.String(), domain: domain})
	return ""
}

// joined checks two neighbours in a local part.
func (p *parser) joined(a, b token) (why string) {
	p.tight(b)
	switch dotA, dotB := a.c == '.', b.c == '.'; {
	case dotA && dotB:
		p.sloppy = "two dots in a row" // some providers gave out such addresses
	case !dotA && !dotB && (a.gap || b.gap || b.comment):
		return "two words before the at-sign"
	case !dotA && !dotB:
		p.strange("quoted part of a word")
	}
	return ""
}

// tight marks blanks and comments inside an address. They are legal (RFC 5322,
// 4.4), but where they stand, simple readers stop.
func (p *parser) tight(t token) {
	if t.gap {
		p.strange("white space in an address")
	}
	if t.comment {
		p.strange("comment in an address")
	}
}

func (p *parser) domain() (domain, why string) {
	if p.end() {
		return "", "no domain"
	}
	first := p.toks[p.pos]
	if first.kind != literal && first.kind != atom {
		return "", "no domain"
	}
	p.tight(first)
	p.pos++
	if first.kind == literal {
		return first.text, ""
	}
	var b strings.Builder
	b.WriteString(first.text)
	for p.next() == '.' {
		p.tight(p.toks[p.pos])
		p.pos++
		if p.next() == '.' {
			return "", "empty label"
		}
		if p.end() || p.toks[p.pos].kind != atom {
			p.sloppy = "dot at the end of the domain"
			break
		}
		p.tight(p.toks[p.pos])
		b.WriteByte('.')
		b.WriteString(p.toks[p.pos].text)
		p.pos++
	}
	return b.String(), ""
}
