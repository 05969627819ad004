package entry

import (
	"bytes"
	"net/netip"
)

// Networks larger than these are refused unless they are meant.
const (
	minBits4 = 8
	minBits6 = 16
)

// ip reads a line of a list of networks: address, CIDR or range, perhaps with
// columns of numbers after it.
func (p *Parser) ip(b []byte) (why string) {
	f := p.split(b)
	first, rest := f[0], f[1:]
	if len(rest) >= 2 && len(rest[0]) == 1 && rest[0][0] == '-' { // "a - b"
		first, rest = append(append(append(p.buf[:0], first...), '-'), rest[1]...), rest[2:]
	}
	for _, r := range rest {
		if !isNumber(r) {
			return "text after the address (a comment starts with #)"
		}
	}
	first, meant := bytes.CutPrefix(first, []byte("="))
	if len(first) > 100 {
		return "not an IP address or network"
	}
	if why = p.networks(string(first)); why != "" {
		return why
	}
	for _, n := range p.nets {
		if !meant && (n.Addr().Is4() && n.Bits() < minBits4 || n.Addr().Is6() && n.Bits() < minBits6) {
			return "a network of this size (write = before it if it is meant)"
		}
	}
	p.items = append(p.items, Item{Nets: p.nets})
	return ""
}

func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) < 20
}

// networks fills p.nets from an address, CIDR or range.
func (p *Parser) networks(s string) (why string) {
	from, to, isRange := cutString(s, '-')
	switch {
	case isRange:
		a, ok := plainAddr(from)
		b, ok2 := plainAddr(to)
		if !ok || !ok2 || a.BitLen() != b.BitLen() || b.Less(a) {
			return "not a range of IP addresses"
		}
		p.nets = cover(p.nets, a, b)
		return ""
	}
	if a, ok := plainAddr(s); ok {
		p.nets = append(p.nets, netip.PrefixFrom(a, a.BitLen()))
		return ""
	}
	n, err := netip.ParsePrefix(s)
	if err != nil {
		return "not an IP address or network"
	}
	if n.Addr().Is4In6() {
		if n.Bits() < 96 {
			return "not an IP address or network"
		}
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	p.nets = append(p.nets, n.Masked())
	return ""
}

func cutString(s string, sep byte) (before, after string, ok bool) {
	for i := range len(s) {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// plainAddr reads an address without zone, unmapped.
func plainAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// cover appends the least networks that hold all addresses from a to b.
func cover(dst []netip.Prefix, a, b netip.Addr) []netip.Prefix {
	for {
		n, last := largest(a, b)
		dst = append(dst, n)
		if last == b {
			return dst
		}
		a = last.Next()
	}
}

// largest gives the largest network that begins at a and does not go beyond b,
// and its last address.
func largest(a, b netip.Addr) (netip.Prefix, netip.Addr) {
	for bits := 0; bits < a.BitLen(); bits++ {
		n := netip.PrefixFrom(a, bits)
		if n.Masked().Addr() != a {
			continue
		}
		if l := lastOf(n); !b.Less(l) {
			return n, l
		}
	}
	return netip.PrefixFrom(a, a.BitLen()), a
}

// lastOf gives the last address of a network.
func lastOf(n netip.Prefix) netip.Addr {
	raw := n.Addr().AsSlice()
	for i := n.Bits(); i < len(raw)*8; i++ {
		raw[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}
