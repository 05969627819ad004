// Package record reads SPF records by the grammar of RFC 7208, 12: all of the
// record, not only up to the first match (4.6). It knows nothing of the DNS.
package record

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrSyntax is wrapped by all errors of Parse and ParseText.
var ErrSyntax = errors.New("syntax error")

// Kind tells what a term is.
type Kind uint8

// The mechanisms, and the modifier that is evaluated like one.
const (
	All Kind = iota
	Include
	A
	MX
	PTR
	IP4
	IP6
	Exists
	Redirect
)

// Asks tells whether the term needs the DNS, and so counts against the limit
// of ten (RFC 7208, 4.6.4).
func (k Kind) Asks() bool { return k != All && k != IP4 && k != IP6 }

// Term is a mechanism or the redirect modifier.
type Term struct {
	Kind      Kind
	Qualifier byte         // '+', '-', '~' or '?'; '+' where left out
	Text      string       // as the record has it
	Spec      Spec         // the domain-spec; zero where left out
	Net       netip.Prefix // of IP4 and IP6
	Bits4     int          // of A and MX: the prefix lengths, 32 and 128 where left out
	Bits6     int
}

// Record is a record without errors.
type Record struct {
	// Terms are in the order of evaluation, so that redirect is last. It is not
	// there if the record has an "all" (RFC 7208, 5.1).
	Terms []Term
	Exp   Spec // zero where left out
}

const version = "v=spf1"

// Is tells whether a TXT record is an SPF record (RFC 7208, 4.5). It need not
// be a good one.
func Is(txt string) bool {
	n := len(version)
	return len(txt) >= n && strings.EqualFold(txt[:n], version) && (len(txt) == n || txt[n] == ' ')
}

// Parse reads a record for which Is holds.
func Parse(txt string) (Record, error) {
	if !Is(txt) {
		return Record{}, fmt.Errorf("%w: no %s at the start", ErrSyntax, version)
	}
	p := parser{}
	for text := range strings.SplitSeq(txt[len(version):], " ") {
		if text == "" {
			continue
		}
		if err := p.term(text); err != nil {
			return Record{}, fmt.Errorf("%w in %s: %w", ErrSyntax, Quote(text), err)
		}
	}
	r := Record{Terms: p.terms, Exp: p.exp.Spec}
	if p.redirect.Text != "" && !p.all {
		r.Terms = append(r.Terms, p.redirect)
	}
	return r, nil
}

// quoted bounds what is told of a hostile record.
const quoted = 80

// Quote gives foreign text for messages: short, in ASCII, with quotes.
func Quote(s string) string {
	if len(s) > quoted {
		return strconv.QuoteToASCII(s[:quoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

type parser struct {
	terms    []Term
	all      bool
	redirect Term
	exp      Term
}

// term reads one term into the parser.
func (p *parser) term(text string) error {
	if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 {
		return errors.New("a character that is not visible ASCII")
	}
	if name, value, ok := cutModifier(text); ok {
		return p.modifier(text, strings.ToLower(name), value)
	}
	t := Term{Text: text, Qualifier: '+', Bits4: 32, Bits6: 128}
	mech := text
	if strings.IndexByte("+-~?", text[0]) >= 0 {
		t.Qualifier, mech = text[0], text[1:]
	}
	name, rest := mech, ""
	if i := strings.IndexAny(mech, ":/"); i >= 0 {
		name, rest = mech[:i], mech[i:]
	}
	if err := t.mechanism(strings.ToLower(name), rest); err != nil {
		return err
	}
	p.all = p.all || t.Kind == All
	p.terms = append(p.terms, t)
	return nil
}

// cutModifier finds the "=" that makes a term a modifier: right after the name,
// before any ":" or "/" (RFC 7208, 4.6.1).
func cutModifier(text string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(text, "=")
	if !ok || name == "" || !alpha(name[0]) {
		return "", "", false
	}
	for i := range len(name) {
		if c := name[i]; !alphanum(c) && c != '-' && c != '_' && c != '.' {
			return "", "", false
		}
	}
	return name, value, true
}

// modifier reads redirect and exp, which may stand once (RFC 7208, 6), and
// checks the syntax of the unknown ones, which are ignored.
func (p *parser) modifier(text, name, value string) error {
	to := &p.redirect
	switch name {
	case "redirect":
	case "exp":
		to = &p.exp
	default:
		_, _, err := parseMacros(value, allLetters, false)
		return err
	}
	if to.Text != "" {
		return fmt.Errorf("%s= stands twice", name)
	}
	spec, err := parseDomain(value)
	*to = Term{Kind: Redirect, Text: text, Spec: spec}
	return err
}

// mechanism reads what stands after the qualifier; rest starts with the colon
// or slash after the name, if there is one.
func (t *Term) mechanism(name, rest string) (err error) {
	switch name {
	case "all":
		t.Kind = All
		if rest != "" {
			return errors.New(`nothing may follow "all"`)
		}
		return nil
	case "a", "mx":
		t.Kind = A
		if name == "mx" {
			t.Kind = MX
		}
		return t.hosts(rest)
	case "ip4":
		t.Kind = IP4
		t.Net, err = parseNet(rest, 32)
		return err
	case "ip6":
		t.Kind = IP6
		t.Net, err = parseNet(rest, 128)
		return err
	case "ptr":
		t.Kind = PTR
		if rest == "" {
			return nil
		}
	case "include":
		t.Kind = Include
	case "exists":
		t.Kind = Exists
	default:
		return unknown(name, rest)
	}
	if rest == "" || rest[0] != ':' {
		return fmt.Errorf("%q needs a colon and a domain", name)
	}
	t.Spec, err = parseDomain(rest[1:])
	return err
}

// unknown words the commonest mistakes.
func unknown(name, rest string) error {
	switch {
	case name == "redirect" || name == "exp":
		return fmt.Errorf("%q is followed by =, not by a colon", name)
	case name == "ipv4" || name == "ipv6" || name == "ip":
		return errors.New("unknown mechanism (ip4 or ip6 may be meant)")
	case rest == "":
		if _, err := netip.ParseAddr(name); err == nil {
			return errors.New("an address needs ip4: or ip6: before it")
		}
	}
	return errors.New("unknown mechanism")
}

// hosts reads the argument of a and mx:
// [ ":" domain-spec ] [ dual-cidr-length ].
func (t *Term) hosts(rest string) (err error) {
	spec, lengths := cutLengths(rest)
	if spec != "" {
		if spec[0] != ':' {
			return errors.New("bad prefix length")
		}
		if t.Spec, err = parseDomain(spec[1:]); err != nil {
			return err
		}
	}
	if lengths == "" {
		return nil
	}
	four, six, dual := strings.Cut(lengths, "//")
	if four != "" {
		if t.Bits4, err = parseLength(four[1:], 32); err != nil {
			return err
		}
	}
	if dual {
		t.Bits6, err = parseLength(six, 128)
	}
	return err
}

// cutLengths splits before the prefix lengths at the end. A domain-spec may
// hold slashes, but none followed by digits alone: its end is a macro or a top
// label.
func cutLengths(s string) (spec, lengths string) {
	i := len(s)
	for i > 0 && (digit(s[i-1]) || s[i-1] == '/') {
		i--
	}
	if j := strings.IndexByte(s[i:], '/'); j >= 0 {
		return s[:i+j], s[i+j:]
	}
	return s, ""
}

// parseLength reads a prefix length: no sign, no leading zero.
func parseLength(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || !digit(s[0]) || n > most || s[0] == '0' && len(s) > 1 {
		return 0, fmt.Errorf("bad prefix length (0 to %d)", most)
	}
	return n, nil
}

// parseNet reads ":" network [ "/" length ] of ip4 and ip6, which differ by the
// size of their addresses.
func parseNet(rest string, most int) (netip.Prefix, error) {
	if rest == "" || rest[0] != ':' {
		return netip.Prefix{}, errors.New("an address has to follow")
	}
	text, length, cut := strings.Cut(rest[1:], "/")
	a, err := netip.ParseAddr(text)
	if err != nil || a.BitLen() != most || a.Zone() != "" {
		family := "an IPv4"
		if most == 128 {
			family = "an IPv6"
		}
		return netip.Prefix{}, fmt.Errorf("not %s address", family)
	}
	bits := most
	if cut {
		if bits, err = parseLength(length, most); err != nil {
			return netip.Prefix{}, err
		}
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}

func digit(c byte) bool    { return '0' <= c && c <= '9' }
func alpha(c byte) bool    { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func alphanum(c byte) bool { return digit(c) || alpha(c) }
