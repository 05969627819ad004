package entry

import (
	"bytes"
	"net/netip"

	"golang.org/x/net/publicsuffix"

	"mailwicket/filter/mail"
)

// domain reads a line of a list of domains.
func (p *Parser) domain(b []byte, indented bool) (why string) {
	switch {
	case b[0] == '$':
		return p.directive(p.split(b))
	case bytes.HasPrefix(b, []byte("@@")):
		return p.adblock(b[2:], true)
	case b[0] == '|':
		return p.adblock(b, false)
	}
	f := p.split(b)
	switch {
	case len(f) == 1:
		return p.plain(f[0])
	case isIP(f[0]):
		return p.hosts(f[1:])
	case typeAt(f) >= 0:
		return p.record(f, indented)
	}
	return "text after the name (a comment starts with #)"
}

// plain reads name, *.name or .name, with "=" before it where it may be broad.
func (p *Parser) plain(b []byte) (why string) {
	b, meant := bytes.CutPrefix(b, []byte("="))
	if bytes.IndexByte(b, '@') >= 0 {
		return "an address in a list of domains"
	}
	return p.add(b, meant, false)
}

// add puts a name into the items.
func (p *Parser) add(b []byte, meant, except bool) (why string) {
	if rest, ok := bytes.CutPrefix(b, []byte("*.")); ok {
		b = rest
	} else if len(b) > 1 && b[0] == '.' {
		b = b[1:]
	}
	b, why = canonical(b)
	if why == "" && !meant {
		why = broad(b)
	}
	if why == "" {
		p.items = append(p.items, Item{Name: b, Except: except})
	}
	return why
}

// canonical gives the comparison form of a name, or what is wrong with it.
// ASCII names are changed in place.
func canonical(b []byte) ([]byte, string) {
	if !lower(b) {
		b = []byte(mail.CanonicalDomain(string(b)))
	}
	b = bytes.TrimSuffix(b, []byte("."))
	return b, fault(b)
}

// lower changes ASCII letters in place and tells whether all is ASCII.
func lower(b []byte) (ascii bool) {
	ascii = true
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
		ascii = ascii && c < 0x80
	}
	return ascii
}

// fault tells why b is no name of a domain.
func fault(b []byte) string {
	if len(b) == 0 || len(b) > 253 { // RFC 1035, 2.3.4
		return "not a domain name"
	}
	label, digits := 0, true
	for _, c := range b {
		switch {
		case c == '.':
			if label == 0 {
				return "empty label"
			}
			label, digits = 0, true
			continue
		case 'a' <= c && c <= 'z' || c == '-' || c == '_':
			digits = false
		case '0' <= c && c <= '9':
		default:
			return "not a domain name"
		}
		if label++; label > 63 {
			return "label longer than 63 bytes"
		}
	}
	switch {
	case label == 0:
		return "empty label"
	case digits:
		return "an IP address or number, not a domain name"
	}
	return ""
}

// broad tells why a valid name must not be listed by accident. No public suffix
// of the ICANN part has more than four labels.
func broad(b []byte) string {
	dots := bytes.Count(b, []byte("."))
	switch {
	case dots == 0:
		return "a top-level domain (write =" + string(b) + " to list all of it)"
	case dots > 3:
		return ""
	}
	if !hasSuffixes(b[bytes.LastIndexByte(b, '.')+1:]) {
		return ""
	}
	name := string(b)
	if s, icann := publicsuffix.PublicSuffix(name); icann && s == name {
		return "a public suffix (write =" + name + " to list all of it)"
	}
	return ""
}

// hasSuffixes tells whether the Public Suffix List's ICANN part may have more
// names below this top-level domain: those of countries, and four old ones. The
// list is slow to ask, and most names are under the others.
func hasSuffixes(tld []byte) bool {
	switch string(tld) {
	case "aero", "arpa", "int", "pro":
		return true
	}
	return len(tld) == 2 || bytes.HasPrefix(tld, []byte("xn--"))
}

// hosts reads the names of a line of a hosts file.
func (p *Parser) hosts(names [][]byte) (why string) {
	if len(names) == 0 {
		return "no name after the address"
	}
	for _, n := range names {
		if isOwn(n) {
			continue
		}
		if w := p.add(n, false, false); w != "" {
			why = w
		}
	}
	return why
}

// isOwn tells whether n is one of the names that hosts files hold for the
// machine itself. It changes n to lower case.
func isOwn(n []byte) bool {
	lower(n)
	switch string(n) {
	case "localhost", "localhost.localdomain", "localhost6", "localhost6.localdomain6",
		"local", "broadcasthost", "0.0.0.0":
		return true
	}
	return bytes.HasPrefix(n, []byte("ip6-")) && bytes.IndexByte(n, '.') < 0
}

func isIP(b []byte) bool {
	if len(b) == 0 || len(b) > 64 || bytes.IndexByte(b, ':') < 0 && (b[0] < '0' || b[0] > '9') {
		return false
	}
	_, err := netip.ParseAddr(string(b))
	return err == nil
}

// adblock reads "||name^", perhaps with options that do not change which names
// are meant.
func (p *Parser) adblock(b []byte, except bool) (why string) {
	b, ok := bytes.CutPrefix(b, []byte("||"))
	if !ok {
		return "a rule that is not about a domain"
	}
	b, options, _ := bytes.Cut(b, []byte("$"))
	for o := range bytes.SplitSeq(options, []byte(",")) {
		switch string(o) {
		case "", "important", "all", "document", "doc", "third-party", "3p", "popup":
		default:
			return "a rule with options"
		}
	}
	return p.add(bytes.TrimSuffix(b, []byte("^")), false, except)
}
