package dnsbl

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	"mailwicket/filter/mail"
)

// The networks of IPv4 that no stranger's mail comes from (RFC 6890): a list
// that has them is wrong, and asking tells others about our own network. Those
// for documentation are asked: they hurt nobody, and examples use them.
var unasked = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

// global is what RFC 4291, 2.4 and the registry give out of IPv6.
var global = netip.MustParsePrefix("2000::/3")

// Askable tells whether zones are asked for an address.
func Askable(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.Is4() {
		return global.Contains(a)
	}
	for _, p := range unasked {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// reversed gives the labels of an address: octets (RFC 5782, 2.1) or nibbles
// (2.4), the last one first.
func reversed(a netip.Addr) string {
	a = a.Unmap()
	var out []byte
	if a.Is4() {
		b := a.As4()
		for i := 3; i >= 0; i-- {
			out = strconv.AppendUint(out, uint64(b[i]), 10)
			out = append(out, '.')
		}
		return string(out[:len(out)-1])
	}
	return nibbles(a)
}

func nibbles(a netip.Addr) string {
	const digits = "0123456789abcdef"
	var out []byte
	b := a.As16()
	for i := 15; i >= 0; i-- {
		out = append(out, digits[b[i]&15], '.', digits[b[i]>>4], '.')
	}
	return string(out[:len(out)-1])
}

// nameFor gives the name that a domain zone is asked for; "" if it is not to be
// asked.
func (z *zone) nameFor(domain string) string {
	if !isDomain(domain) {
		return ""
	}
	if z.Ask == Registered {
		// A public suffix by itself is nobody's.
		org, err := publicsuffix.EffectiveTLDPlusOne(domain)
		if err != nil {
			return ""
		}
		domain = org
	}
	// Nobody can register other letters. A name server that takes offence at them
	// would look as if the zone were down, and whoever writes links could bring that
	// about. Nor shall long or odd labels in front hide a name: what is behind them
	// is asked for.
	for !validName(domain) || len(domain)+len(z.suffix) > 253 { // RFC 1035, 2.3.4
		_, domain, _ = strings.Cut(domain, ".")
		if !isDomain(domain) {
			return ""
		}
	}
	return domain
}

// isDomain tells names from address literals, single labels and what looks like
// an IP address: lists of domains answer those with errors, or with hits.
func isDomain(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	return mail.ValidDomain(s) && len(last) < len(s) && !strings.ContainsAny(s, "[]:") &&
		strings.ContainsFunc(last, func(r rune) bool { return r < '0' || r > '9' })
}

// maxReason bounds what a zone says about a hit.
const maxReason = 200

// printable makes foreign text fit for headers, replies and logs.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\r' || r == '\n':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s)
	if len(s) > maxReason {
		s = s[:maxReason-3] + "..."
	}
	return strings.TrimSpace(s)
}

// plain takes the zone's key out of a text.
func (z *zone) plain(s string) string {
	if z.Key == "" {
		return s
	}
	return strings.ReplaceAll(s, string(z.Key), z.Key.String())
}
