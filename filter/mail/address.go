package mail

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Address is an envelope or header mailbox. The zero value is the null sender
// "<>" (RFC 5321, 4.5.5).
type Address struct {
	Raw    string `json:"raw,omitempty"`    // as the peer sent it, for traces
	Local  string `json:"local,omitempty"`  // local part as sent, quotes kept
	Domain string `json:"domain,omitempty"` // lower case, A-labels, no trailing dot; "" where there is none
}

// IsNull tells whether this is the null sender.
func (a Address) IsNull() bool { return a.Local == "" && a.Domain == "" }

// String gives local@domain, or "<>".
func (a Address) String() string {
	switch {
	case a.IsNull():
		return "<>"
	case a.Domain == "":
		return a.Local
	}
	return a.Local + "@" + a.Domain
}

// ParsePath reads the path of MAIL FROM or RCPT TO as milters get it: raw
// client input with or without angle brackets. Source routes are dropped
// (RFC 5321, 4.1.1.3 and appendix F.2). The domain starts after the last "@":
// quoted local parts may hold others.
func ParsePath(raw string) Address {
	s := strings.TrimSpace(raw)
	s = strings.TrimPrefix(s, "<")
	s = strings.TrimSuffix(s, ">")
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "@") {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			s = s[i+1:]
		}
	}
	a := Address{Raw: raw}
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		a.Local = s
		return a
	}
	a.Local, a.Domain = s[:i], CanonicalDomain(s[i+1:])
	return a
}

// The profile accepts what occurs in real host names (underscores, hyphens in
// third and fourth place) and maps case, width and the ideographic full stops.
var hostProfile = idna.New(idna.MapForLookup(), idna.StrictDomainName(false),
	idna.CheckHyphens(false), idna.Transitional(false), idna.BidiRule())

// CanonicalDomain gives the comparison form of a domain: lower case, A-labels,
// no trailing dot. What cannot be converted comes back lower-cased, so that it
// equals no valid name but is still shown. Address literals stay as they are.
func CanonicalDomain(s string) string {
	s = strings.TrimSuffix(strings.TrimSpace(s), ".")
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(s)
	}
	if mappable(s) {
		if a, err := hostProfile.ToASCII(s); err == nil {
			return strings.TrimSuffix(strings.ToLower(a), ".")
		}
	}
	return strings.ToLower(s)
}

// maxName is more bytes than any name of 253 characters has.
const maxName = 4 * 253

// mappable tells whether IDNA may be asked for a name: UTF-8, and no label has
// more characters than an A-label has bytes (RFC 1035, 2.3.4). The conversion of
// a longer one would be in vain, and its time grows with the square of the label.
func mappable(s string) bool {
	n := 0
	for _, r := range s {
		switch r {
		case utf8.RuneError:
			return false
		case '.', '\u3002', '\uff0e', '\uff61': // the full stops of IDNA
			n = 0
		default:
			if n++; n > 63 {
				return false
			}
		}
	}
	return len(s) <= maxName
}

// ValidDomain tells whether s is a name that may be asked in the DNS: 1 to 253
// bytes, labels of 1 to 63 bytes of visible ASCII (RFC 1035, 2.3.4).
func ValidDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
		case c <= ' ' || c >= 0x7f:
			return false
		default:
			if label++; label > 63 {
				return false
			}
		}
	}
	return label > 0
}

// IsUnder tells whether name equals domain or lies below it. Both are
// canonical.
func IsUnder(name, domain string) bool {
	if !strings.HasSuffix(name, domain) {
		return false
	}
	return len(name) == len(domain) || name[len(name)-len(domain)-1] == '.'
}

// ParseLiteral reads an address literal such as "[192.0.2.1]" or
// "[IPv6:2001:db8::1]" (RFC 5321, 4.1.3).
func ParseLiteral(s string) (netip.Addr, bool) {
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, false
	}
	s = s[1 : len(s)-1]
	if len(s) > 5 && strings.EqualFold(s[:5], "ipv6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}
