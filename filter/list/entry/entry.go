// Package entry reads the lines of block and allow lists. It finds out for each
// line alone what form it has:
//
//	example.com  *.example.com  .example.com   names
//	0.0.0.0 example.com example.net            hosts files
//	example.com CNAME .                        response policy zones (RPZ)
//	||example.com^                             ad blockers' rules
//	192.0.2.1  192.0.2.0/24  192.0.2.1-192.0.2.9
//	user@example.com  @example.com             addresses
//
// Comments start with "#", ";" or "//" at the start of a line or after white
// space. Names may be written in upper case, as U-labels, and with a final dot.
//
// What a name means: example.com, *.example.com and .example.com are the same
// entry, which matches the name itself and all below it. List makers use these
// forms for one and the same thing; none of them may let a subdomain slip through.
//
// An entry that matches a good part of the world is a bad line, as it is mostly
// an accident: a top-level domain, a public suffix such as co.uk (of the ICANN
// part of the Public Suffix List: github.io may be listed), networks larger than
// an IPv4 /8 or an IPv6 /16. Whoever means it writes "=" before the entry, as
// in "=zip".
//
// Passthru records of RPZ and exceptions of ad blockers ("@@||name^") make
// entries too; these say that a name is not listed although a parent may be.
package entry

import (
	"bytes"
	"net/netip"
)

// Kind says what a list holds.
type Kind string

// The kinds.
const (
	Domain  Kind = "domain"
	IP      Kind = "ip"
	Address Kind = "address"
)

// Item is one entry of a line. Its bytes are valid until the next line is read.
type Item struct {
	Name   []byte         // key of a name or an address; nil in lists of addresses of hosts
	Nets   []netip.Prefix // of IP lists; several where a range was given
	Except bool           // the name is exempted, not listed
}

// Line is what was found on a line. A comment or something that needs no entry,
// such as an SOA record, has neither items nor a reason.
type Line struct {
	Items   []Item
	Comment []byte
	Why     string // what is wrong, "" where nothing is; items beside it are good
}

// Parser reads lines one after the other. It keeps what RPZ zones say for the
// lines that follow. It is not safe for concurrent use.
type Parser struct {
	kind   Kind
	begun  bool
	zone   []byte // name of the RPZ zone, no final dot
	origin []byte // to which relative names belong
	paren  bool   // inside "( ... )"
	fields [][]byte
	items  []Item
	nets   []netip.Prefix
	buf    []byte
}

// NewParser makes a parser for a list of that kind.
func NewParser(k Kind) *Parser { return &Parser{kind: k} }

var bom = []byte("\xef\xbb\xbf")

// Parse reads a line. It writes to b.
func (p *Parser) Parse(b []byte) Line {
	if !p.begun {
		p.begun = true
		b = bytes.TrimPrefix(b, bom)
	}
	p.items, p.nets = p.items[:0], p.nets[:0]
	body, comment := p.cut(b)
	if p.paren {
		p.paren = bytes.IndexByte(body, ')') < 0
		return Line{}
	}
	indented := len(body) > 0 && isBlank(body[0])
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return Line{}
	}
	var why string
	switch p.kind {
	case IP:
		why = p.ip(body)
	case Address:
		why = p.address(body)
	default:
		why = p.domain(body, indented)
	}
	return Line{Items: p.items, Comment: comment, Why: why}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// cut takes the comment off. "#", ";" and "/" may stand in local parts, and
// "name##selector" is an ad blocker's rule that lists nothing: so a comment
// needs white space before it, but for ";" after names, as in zone files.
func (p *Parser) cut(b []byte) (body, comment []byte) {
	if p.kind != Address && len(b) > 0 && b[0] == '!' {
		return nil, nil
	}
	if p.kind == Domain && (bytes.HasPrefix(b, []byte("[Adblock")) || bytes.HasPrefix(b, []byte("[uBlock"))) {
		return nil, nil
	}
	for i := 0; i < len(b); i++ {
		n := 1
		switch c := b[i]; {
		case c != '#' && c != ';' && c != '/':
			continue
		case c == '/':
			if i+1 == len(b) || b[i+1] != '/' {
				continue
			}
			n = 2
		}
		if i > 0 && !isBlank(b[i-1]) && (b[i] != ';' || p.kind == Address) {
			continue
		}
		return b[:i], bytes.TrimSpace(b[i+n:])
	}
	return b, nil
}

// split cuts b at white space.
func (p *Parser) split(b []byte) [][]byte {
	p.fields = p.fields[:0]
	for i := 0; i < len(b); {
		if isBlank(b[i]) {
			i++
			continue
		}
		j := i
		for j < len(b) && !isBlank(b[j]) {
			j++
		}
		p.fields = append(p.fields, b[i:j:j])
		i = j
	}
	return p.fields
}
