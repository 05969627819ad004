package entry

import (
	"bytes"
	"strings"
)

// Response policy zones (draft-vixie-dnsop-dns-rpz) are master files (RFC 1035,
// 5): [owner] [TTL] [class] type data. Owners below the zone are the listed
// names.

// directive reads $ORIGIN and $TTL.
func (p *Parser) directive(f [][]byte) (why string) {
	switch strings.ToUpper(string(f[0])) {
	case "$TTL":
		return ""
	case "$ORIGIN":
		if len(f) < 2 {
			return "$ORIGIN without a name"
		}
		p.origin = p.absolute(nil, bytes.ToLower(f[1]))
		if p.zone == nil {
			p.zone = p.origin
		}
		return ""
	}
	return "a directive that is not supported"
}

// absolute appends to dst the full name of an owner, without the final dot.
func (p *Parser) absolute(dst, owner []byte) []byte {
	if len(owner) == 1 && owner[0] == '@' {
		return append(dst, p.origin...)
	}
	if n := len(owner); n > 0 && owner[n-1] == '.' {
		return append(dst, owner[:n-1]...)
	}
	dst = append(dst, owner...)
	if len(p.origin) > 0 {
		dst = append(append(dst, '.'), p.origin...)
	}
	return dst
}

// typeAt gives the place of the record type, -1 where there is none.
func typeAt(f [][]byte) int {
	for i := 0; i < len(f) && i < 4; i++ {
		if len(f[i]) > len("DNSKEY") {
			continue
		}
		switch strings.ToUpper(string(f[i])) {
		case "CNAME", "A", "AAAA", "TXT", "NS", "SOA", "MX", "DNAME", "SRV", "PTR", "DS", "RRSIG", "NSEC", "DNSKEY":
			return i
		}
	}
	return -1
}

// record reads a record of a zone. Records without an owner repeat the one
// before, which is listed already.
func (p *Parser) record(f [][]byte, indented bool) (why string) {
	t := typeAt(f)
	kind := strings.ToUpper(string(f[t]))
	data := f[t+1:]
	p.paren = unclosed(data)
	switch {
	case indented:
		return ""
	case t == 0:
		return "a record without an owner"
	case len(data) == 0:
		return "a record without data"
	}
	owner := f[0]
	lower(owner)
	switch kind {
	case "SOA":
		p.zone = p.absolute(nil, owner)
		return ""
	case "CNAME", "A", "AAAA", "TXT", "DNAME":
	default:
		return ""
	}
	target := ""
	if kind == "CNAME" {
		target = strings.TrimSuffix(strings.ToLower(string(data[0])), ".")
	}
	if target == "rpz-tcp-only" {
		return ""
	}
	return p.trigger(owner, target)
}

// trigger adds the name that an owner stands for. Owners that stand for
// addresses and name servers have no use here. An alias to "rpz-passthru", or, as
// in old zones, to the name itself, says that the name is not listed.
func (p *Parser) trigger(owner []byte, target string) (why string) {
	p.buf = p.absolute(p.buf[:0], owner)
	name := p.buf
	if len(p.zone) > 0 {
		rest, ok := bytes.CutSuffix(name, p.zone)
		switch {
		case ok && len(rest) == 0: // the zone's own name
			return ""
		case ok && rest[len(rest)-1] == '.':
			name = rest[:len(rest)-1]
		}
	}
	if len(name) == 0 || string(name) == "@" {
		return ""
	}
	last := name[bytes.LastIndexByte(name, '.')+1:]
	switch string(last) {
	case "rpz-ip", "rpz-client-ip", "rpz-nsip", "rpz-nsdname":
		return ""
	}
	return p.add(name, false, target == "rpz-passthru" || target == string(name))
}

// unclosed tells whether a record goes on in the next line (RFC 1035, 5.1). In
// quotes parentheses are text.
func unclosed(data [][]byte) bool {
	open, quoted, escaped := false, false, false
	for _, d := range data {
		for _, c := range d {
			switch {
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				quoted = !quoted
			case !quoted && c == '(':
				open = true
			case !quoted && c == ')':
				open = false
			}
		}
	}
	return open
}
