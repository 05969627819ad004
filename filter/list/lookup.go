package list

import (
	"net/netip"
	"strings"

	"mailwicket/filter/fact"
	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/set"
	"mailwicket/filter/mail"
)

// maxName is the longest name that can be listed (RFC 1035, 2.3.4).
const maxName = 253

// IP looks an address up in the IP lists that are applied at p.
func (b *Book) IP(p Point, a netip.Addr) []fact.ListHit {
	var hits []fact.ListHit
	for _, l := range b.at[p] {
		hits = l.ip(hits, a)
	}
	return hits
}

// Domain looks a name and its parents up in the domain lists that are applied
// at p. There is one hit for each list, on its longest entry.
func (b *Book) Domain(p Point, name string) []fact.ListHit {
	var hits []fact.ListHit
	for _, l := range b.at[p] {
		hits = l.domain(hits, name)
	}
	return hits
}

// Address looks an address up in the address lists that are applied at p, and
// its domain in the domain lists.
func (b *Book) Address(p Point, a mail.Address) []fact.ListHit {
	var hits []fact.ListHit
	for _, l := range b.at[p] {
		hits = l.address(hits, a)
	}
	return hits
}

// Lookup looks a value up in all lists, whether they are applied or not. The
// value is an IP address or network, an address or a domain.
func (b *Book) Lookup(value string) []fact.ListHit {
	var hits []fact.ListHit
	value = strings.TrimSpace(value)
	addr, err := netip.ParseAddr(value)
	if literal, ok := mail.ParseLiteral(value); ok {
		addr, err = literal, nil
	}
	network, err2 := netip.ParsePrefix(value)
	for _, l := range b.lists {
		switch {
		case err == nil:
			hits = l.ip(hits, addr)
		case err2 == nil:
			hits = l.network(hits, network.Masked(), value)
		case strings.Contains(value, "@"):
			a := mail.ParsePath(value)
			if strings.HasPrefix(value, "@") {
				a = mail.Address{Domain: mail.CanonicalDomain(value[1:])}
			}
			hits = l.address(hits, a)
		default:
			hits = l.domain(hits, value)
			if l.Kind == Address {
				hits = l.address(hits, mail.Address{Domain: mail.CanonicalDomain(value)})
			}
		}
	}
	return hits
}

func (l *list) ip(hits []fact.ListHit, a netip.Addr) []fact.ListHit {
	c := l.live.Load()
	if c == nil || c.nets == nil || !a.IsValid() {
		return hits
	}
	a = a.Unmap().WithZone("")
	n, line, ok := c.nets.Find(netip.PrefixFrom(a, a.BitLen()))
	if !ok {
		return hits
	}
	return append(hits, l.hit(c, a.String(), prefixText(n), line))
}

func (l *list) network(hits []fact.ListHit, n netip.Prefix, subject string) []fact.ListHit {
	c := l.live.Load()
	if c == nil || c.nets == nil {
		return hits
	}
	found, line, ok := c.nets.Find(n)
	if !ok {
		return hits
	}
	return append(hits, l.hit(c, subject, prefixText(found), line))
}

// prefixText writes single addresses as such.
func prefixText(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}

func (l *list) domain(hits []fact.ListHit, name string) []fact.ListHit {
	h, ok := l.under(name)
	if !ok {
		return hits
	}
	h.Subject = name
	return append(hits, h)
}

// under looks a name and its parents up in a domain list. The caller says on
// whose behalf.
func (l *list) under(name string) (h fact.ListHit, ok bool) {
	c := l.live.Load()
	if c == nil || l.Kind != Domain {
		return h, false
	}
	found, m, ok := longest(c.names, mail.CanonicalDomain(name))
	if !ok {
		return h, false
	}
	return l.hit(c, "", found, m.Line), true
}

// longest finds the longest listed name that equals name or is above it. An
// exception that is longer hides it.
func longest(s *set.Names, name string) (string, set.Mark, bool) {
	if s.Len() == 0 {
		return "", set.Mark{}, false
	}
	for name != "" {
		if len(name) <= maxName {
			if m, ok := s.Find(name); ok {
				return name, m, !m.Except
			}
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			break
		}
		name = name[dot+1:]
	}
	return "", set.Mark{}, false
}

func (l *list) address(hits []fact.ListHit, a mail.Address) []fact.ListHit {
	if a.Domain == "" {
		return hits
	}
	h, ok := l.under(a.Domain)
	if l.Kind == Address {
		h, ok = l.person(a)
	}
	if !ok {
		return hits
	}
	h.Subject = a.String()
	if a.Local == "" { // asked for by Lookup
		h.Subject = a.Domain
	}
	return append(hits, h)
}

// person looks the address, then "@domain", then the domain and its parents up
// in an address list.
func (l *list) person(a mail.Address) (h fact.ListHit, ok bool) {
	c := l.live.Load()
	if c == nil || c.names.Len() == 0 {
		return h, false
	}
	var buf [entry.MaxAddress]byte
	if len(a.Local)+1+len(a.Domain) <= len(buf) {
		for _, local := range [...]string{a.Local, ""} {
			key := entry.AppendAddress(buf[:0], local, a.Domain)
			if m, ok := c.names.FindBytes(key); ok {
				return l.hit(c, "", string(key), m.Line), true
			}
		}
	}
	found, m, ok := longest(c.names, a.Domain)
	return l.hit(c, "", found, m.Line), ok
}

func (l *list) hit(c *content, subject, entry string, line int) fact.ListHit {
	h := fact.ListHit{
		List: l.Name, Subject: subject, Entry: entry,
		Source: l.src.name(), Line: line, Comment: c.comments[line],
	}
	if l.shared != nil {
		h.Line = 0 // there are no lines in Redis
	}
	return h
}
