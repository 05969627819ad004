package spf

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"mailwicket/filter/spf/record"
)

// instance is a record in evaluation. The same record included twice has two.
type instance struct {
	domain string
	rec    record.Record
	parent *instance // nil for the first one
	at     int       // index of the parent's include or redirect
}

// ask is what an alias stands for: a term that needs the DNS, or with a nil
// instance the domain itself.
type ask struct {
	in *instance
	at int
}

func (a ask) term() record.Term {
	if a.in == nil {
		return record.Term{Kind: record.Include}
	}
	return a.in.rec.Terms[a.at]
}

// aliasMark starts aliases. No name of the DNS reaches the library with it.
const aliasMark = "\x01"

// alias gives a fresh alias.
func (e *evaluation) alias(a ask) string {
	e.asks = append(e.asks, a)
	return aliasMark + strconv.Itoa(len(e.asks)-1)
}

// meant gives the ask of an alias.
func (e *evaluation) meant(alias string) (ask, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(alias, aliasMark))
	if err != nil || !strings.HasPrefix(alias, aliasMark) || n >= len(e.asks) {
		return ask{}, false
	}
	return e.asks[n], true
}

// rewrite gives a record as the library evaluates it:
//
//   - Domain-specs become aliases, also those left out. The library would not
//     take a slash in a name, nor expand macro p, nor cut long names.
//   - ptr becomes exists, of a name that the resolver makes exist if a
//     confirmed name of the client lies below the target. So each term asks once
//     and can be counted, and the names are the same as those of macro p.
//   - ip6 networks of IPv4-mapped addresses go: they would match IPv4 clients,
//     which only ip4 may (RFC 7208, 5).
//   - exp and unknown modifiers go, they do not change the result. So does what
//     follows the first eleven terms that ask: the limit is met there at last.
func (e *evaluation) rewrite(in *instance) string {
	var b strings.Builder
	b.WriteString("v=spf1")
	asks := 0
	for i, t := range in.rec.Terms {
		if asks > maxLookups {
			break
		}
		if t.Kind.Asks() {
			asks++
		}
		if t.Kind == record.IP6 && t.Net.Addr().Is4In6() {
			continue
		}
		b.WriteByte(' ')
		if t.Kind != record.Redirect {
			b.WriteByte(t.Qualifier)
		}
		switch t.Kind {
		case record.All:
			b.WriteString("all")
		case record.IP4:
			b.WriteString("ip4:" + t.Net.String())
		case record.IP6:
			b.WriteString("ip6:" + t.Net.String())
		case record.A:
			b.WriteString("a:" + e.alias(ask{in, i}) + lengths(t))
		case record.MX:
			b.WriteString("mx:" + e.alias(ask{in, i}) + lengths(t))
		case record.Exists, record.PTR:
			b.WriteString("exists:" + e.alias(ask{in, i}))
		case record.Include:
			b.WriteString("include:" + e.alias(ask{in, i}))
		case record.Redirect:
			b.WriteString("redirect=" + e.alias(ask{in, i}))
		}
	}
	return b.String()
}

func lengths(t record.Term) string {
	return "/" + strconv.Itoa(t.Bits4) + "//" + strconv.Itoa(t.Bits6)
}

// target gives the name that a term asks for, without a final dot. It reports
// false for a term that can never match: one that needs the local part of a
// sender that has no form in the DNS (RFC 8616, 4).
func (e *evaluation) target(a ask) (string, bool) {
	if a.in == nil {
		return e.domain, true
	}
	spec := a.term().Spec
	if spec.IsZero() {
		return a.in.domain, true
	}
	if spec.Uses("sl") && !ascii(e.local) {
		return "", false
	}
	return spec.Domain(e.values(a.in.domain)), true
}

// values gives what macro letters stand for (RFC 7208, 7.2) in a record of the
// domain.
func (e *evaluation) values(domain string) func(byte) string {
	return func(letter byte) string {
		switch letter {
		case 's':
			return e.local + "@" + e.domain
		case 'l':
			return e.local
		case 'o':
			return e.domain
		case 'd':
			return domain
		case 'i':
			return dotted(e.ip)
		case 'p':
			return e.clientName(domain)
		case 'v':
			if e.ip.Is4() {
				return "in-addr"
			}
			return "ip6"
		case 'h':
			return e.helo
		case 'c':
			return e.ip.String()
		case 't':
			return strconv.FormatInt(time.Now().Unix(), 10)
		}
		return "unknown" // r, the receiver, need not be told (RFC 7208, 7.3)
	}
}

// dotted gives an address as macro i does: IPv6 as 32 nibbles.
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	digits := strings.ReplaceAll(ip.StringExpanded(), ":", "")
	return strings.Join(strings.Split(digits, ""), ".")
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
