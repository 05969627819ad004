package link

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"mailwicket/filter/content/hex"
	"mailwicket/filter/mail"
)

// maxHost is more bytes than a host has that can be visited.
const maxHost = 2000

// host takes the host of a URL as it is written there, and tells whether it is one
// (WHATWG URL, 3.5).
func (f *Found) host(h []byte) bool {
	if len(h) == 0 {
		return false
	}
	if h[0] == '[' {
		return f.literal(h)
	}
	if bytes.IndexByte(h, '%') >= 0 {
		h = hex.Percent(h)
		f.defect(Disguised)
	}
	name := f.canonical(h)
	if _, ok := f.seen[name]; ok {
		return true
	}
	if lastIsNumber(name) {
		a, ok := parse4(name)
		if ok {
			if a.String() != name {
				f.defect(Disguised)
			}
			f.addAddr(a)
		}
		return ok
	}
	// A single label leads nowhere outside.
	if !strings.Contains(name, ".") || !mail.ValidDomain(name) || strings.ContainsAny(name, `#/:<>?@[\]^|%`) {
		return false
	}
	f.addHost(name)
	return true
}

// literal takes an IPv6 address in brackets.
func (f *Found) literal(h []byte) bool {
	a, err := netip.ParseAddr(string(bytes.TrimSuffix(h[1:], []byte("]"))))
	if err != nil || a.Is4() || a.Zone() != "" {
		return false
	}
	f.addAddr(a.Unmap())
	return true
}

// canonical gives the name that is looked up in the DNS. Bytes that are not UTF-8
// are taken for Latin-1. Where IDNA forbids a name that some program may look up
// all the same, it gets A-labels without the rules.
func canonical(h string) string {
	if !isASCII(h) {
		if !utf8.ValidString(h) {
			h = latin1(h)
		}
		h = strings.Map(visible, h)
	}
	name := mail.CanonicalDomain(h)
	if !isASCII(name) && len(name) <= maxHost/2 && !strings.ContainsRune(name, utf8.RuneError) {
		if a, err := idna.Punycode.ToASCII(name); err == nil {
			name = a
		}
	}
	return strings.TrimRight(name, ".")
}

// visible leaves out what names lose before they are looked up (UTS 46: ignored).
func visible(r rune) rune {
	switch {
	case r == '\u00ad', r == '\u034f', r == '\u2060', r == '\u2064', r == '\ufeff',
		r >= '\u180b' && r <= '\u180d', r >= '\u200b' && r <= '\u200d', r >= '\ufe00' && r <= '\ufe0f':
		return -1
	}
	return r
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func latin1(s string) string {
	rs := make([]rune, len(s))
	for i := range rs {
		rs[i] = rune(s[i])
	}
	return string(rs)
}

// lastIsNumber tells whether a host has to be an IPv4 address (WHATWG URL, 3.5:
// ends in a number).
func lastIsNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" || last[0] < '0' || last[0] > '9' {
		return false
	}
	if _, ok := number(last); ok {
		return true
	}
	return !strings.ContainsFunc(last, func(r rune) bool { return r < '0' || r > '9' })
}

// number reads a number in decimal, octal (0) or hexadecimal (0x).
func number(s string) (uint64, bool) {
	base := 10
	switch {
	case len(s) >= 2 && (s[:2] == "0x" || s[:2] == "0X"):
		s, base = s[2:], 16
	case len(s) >= 2 && s[0] == '0':
		s, base = s[1:], 8
	}
	if s == "" && base == 16 {
		return 0, true
	}
	if strings.HasPrefix(s, "+") || strings.Contains(s, "_") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}

// parse4 reads an IPv4 address of one to four numbers, the last of which fills
// what is left.
func parse4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, p := range parts {
		n, ok := number(p)
		last := i == len(parts)-1
		switch {
		case !ok, !last && n > 255, last && n >= 1<<(8*(5-len(parts))):
			return netip.Addr{}, false
		case last:
			sum += n
		default:
			sum += n << (8 * (3 - i))
		}
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

// knownTLD tells whether a name ends in a top-level domain that is in use.
func knownTLD(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if len(last) < 2 || last[0] >= '0' && last[0] <= '9' {
		return false
	}
	_, icann := publicsuffix.PublicSuffix(last)
	return icann
}

// looksLikeFile tells names with an ending that files have at least as often as
// hosts; in text nobody means a host by them.
func looksLikeFile(name string) bool {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "md", "mov", "pl", "ps", "py", "rs", "sh", "so", "zip":
		return true
	}
	return false
}
