package greylist

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"mailwicket/filter/mail"
)

// Kind says what a client is known by.
type Kind uint8

// The kinds, the best known first.
const (
	KindSPF  Kind = iota + 1 // organization of the domain whose SPF record names the client
	KindHost                 // organization of the forward-confirmed host name
	KindNet                  // network of the address
	KindAddr                 // the address alone
)

var kindNames = [...]string{KindSPF: "spf", KindHost: "host", KindNet: "net", KindAddr: "addr"}

// String gives the word used in facts, logs and on the command line.
func (k Kind) String() string {
	if k >= KindSPF && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Identity is what greylisting takes for one client. Values are canonical:
// domains in lower case and A-labels, networks masked.
type Identity struct {
	Kind  Kind
	Value string
}

// String gives "kind:value", which ParseIdentity reads.
func (id Identity) String() string { return id.Kind.String() + ":" + id.Value }

// IdentityInput is what Identify looks at.
type IdentityInput struct {
	IP            netip.Addr
	HostName      string // forward-confirmed (RFC 8601, 3), "" if there is none
	Dynamic       bool   // the host name looks like that of a dial-up address
	Net4, Net6    int    // prefix lengths; 0 means 24 and 64
	SPFPassDomain string // the domain that SPF passed for, "" if it did not
	Unsure        bool   // the DNS did not answer for the name or for SPF
}

// Doubtful tells whether nobody answers for the client: neither a sender's SPF
// record, nor the owner of the address, who gave it no name or the name of a line
// that he rents out.
func (in IdentityInput) Doubtful() bool {
	return in.SPFPassDomain == "" && (in.HostName == "" || in.Dynamic) && !in.Unsure
}

// Identify tells which client this is. All machines of a large sender must be
// one client, or else its mail waits once for each machine that tries:
//
//   - where SPF passed, the organizational domain (by the public suffix list) of
//     the domain that it passed for: large senders use a subdomain for each
//     customer, campaign or machine, but share the queue behind them;
//   - else the organizational domain of the forward-confirmed host name, if the
//     name says that it is a mail server's. The organization of any other name
//     may be an access provider, whose customers have nothing in common: two of
//     their machines that come again would let all others in;
//   - else the address's network, and the address alone where the name looks
//     dynamic.
//
// A domain that is itself a public suffix, or has a single label, counts as it
// stands for SPF and not at all as a host name.
func Identify(in IdentityInput) Identity {
	if d := mail.CanonicalDomain(in.SPFPassDomain); mail.ValidDomain(d) {
		if org, ok := organization(d); ok {
			d = org
		}
		return Identity{KindSPF, d}
	}
	if in.Dynamic {
		return Identity{KindAddr, plain(in.IP).String()}
	}
	if d := mail.CanonicalDomain(in.HostName); mail.ValidDomain(d) {
		if org, ok := organization(d); ok && mailServer(strings.TrimSuffix(d, org)) {
			return Identity{KindHost, org}
		}
	}
	return Identity{KindNet, network(in.IP, in.Net4, in.Net6)}
}

// mailWords begin what mail servers are called, below their organization.
var mailWords = [...]string{"mail", "smtp", "mx", "mta", "out", "relay", "send", "bounce", "post", "email", "lists"}

// mailServer tells whether the part of a host name below its organization says
// that mail comes from there. "static" says that a provider's customer does.
func mailServer(below string) bool {
	words := strings.FieldsFunc(below, func(r rune) bool { return r < 'a' || r > 'z' })
	found := false
	for _, w := range words {
		if w == "static" {
			return false
		}
		for _, m := range mailWords {
			found = found || strings.HasPrefix(w, m) || strings.HasSuffix(w, m)
		}
	}
	return found
}

// organization is the public suffix and one label. Private suffixes count, so
// that customers of a hosting domain are told apart.
func organization(domain string) (string, bool) {
	if _, err := netip.ParseAddr(domain); err == nil || !mail.ValidDomain(domain) || domain[0] == '[' {
		return "", false
	}
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	return org, err == nil
}

// plain strips the IPv4 mapping and the zone, which only mean something here.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func network(a netip.Addr, net4, net6 int) string {
	a = plain(a)
	bits, usual := net4, 24
	if !a.Is4() {
		bits, usual = net6, 64
	}
	if bits <= 0 {
		bits = usual
	}
	p, err := a.Prefix(min(bits, a.BitLen()))
	if err != nil {
		return a.String() // no address at all
	}
	return p.String()
}

// ParseIdentity reads what Identity.String wrote, as people type it:
// "spf:example.org", "host:example.org", "net:192.0.2.0/24", "addr:192.0.2.1".
func ParseIdentity(s string) (Identity, error) {
	word, value, ok := strings.Cut(strings.TrimSpace(s), ":")
	if !ok || value == "" {
		return Identity{}, fmt.Errorf("%q is no identity: want spf:DOMAIN, host:DOMAIN, net:PREFIX or addr:ADDRESS", s)
	}
	switch word {
	case "spf", "host":
		d := mail.CanonicalDomain(value)
		if !mail.ValidDomain(d) {
			return Identity{}, fmt.Errorf("%q is no domain", value)
		}
		if word == "spf" {
			return Identity{KindSPF, d}, nil
		}
		return Identity{KindHost, d}, nil
	case "net":
		p, err := netip.ParsePrefix(value)
		if err != nil {
			return Identity{}, fmt.Errorf("%q is no network, such as 192.0.2.0/24", value)
		}
		return Identity{KindNet, p.Masked().String()}, nil
	case "addr":
		a, err := netip.ParseAddr(value)
		if err != nil {
			return Identity{}, fmt.Errorf("%q is no IP address", value)
		}
		return Identity{KindAddr, plain(a).String()}, nil
	}
	return Identity{}, fmt.Errorf("%q is no kind of identity: want spf, host, net or addr", word)
}
