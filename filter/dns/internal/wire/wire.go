// Package wire turns DNS messages into the values of dns.Resolver. The client
// and the zone-file fake share it, so that tests see what production sees.
package wire

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	mdns "github.com/miekg/dns"

	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// The texts of errors that are not "nothing there".
const (
	TextTimeout   = "timeout"
	TextCanceled  = "lookup canceled"
	TextMisbehave = "server misbehaving"
)

// Canonical gives the form of a name that keys caches and zones: lower case
// without the final dot. It reports false for names that cannot exist.
func Canonical(name string) (string, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name, mail.ValidDomain(name)
}

// Presentation escapes a valid canonical name for the DNS library, which reads
// backslashes and prints the characters below with one (RFC 4343, 2.1).
func Presentation(name string) string {
	if !strings.ContainsAny(name, `\"'();@`) {
		return name + "."
	}
	var b strings.Builder
	for i := range len(name) {
		if strings.IndexByte(`\"'();@`, name[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(name[i])
	}
	return b.String() + "."
}

// Reverse gives the name of an address' PTR records (RFC 1035, 3.5 and
// RFC 3596, 2.5).
func Reverse(a netip.Addr) (string, bool) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return "", false
	}
	name, err := mdns.ReverseAddr(a.String())
	return strings.TrimSuffix(name, "."), err == nil
}

// Unescape gives the bytes of a character-string in presentation form
// (RFC 1035, 5.1).
func Unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) && digit(s[i+1]) && digit(s[i+2]) && digit(s[i+3]) {
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
			continue
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// Values holds the records of one name and type. Which member is filled
// follows from the type.
type Values struct {
	TXT   []string
	MX    []net.MX
	Addrs []netip.Addr
	Names []string
}

// Answer is what a reply says about a name and type.
type Answer struct {
	Failure dns.Failure // None, NXDomain or NoData
	Values  Values
	TTL     time.Duration // zero: not to be cached
	Follow  string        // canonical name to ask on, where the reply ends in an alias
	Lame    bool          // a referral: the server does not know and will not ask
}

// The bounds on lifetimes. A day is long enough for anything; one hour bounds
// negative answers (RFC 2308, 5 advises one to three).
const (
	MaxTTL         = 24 * time.Hour
	MaxNegativeTTL = time.Hour
	maxAliases     = 16
)

// Read finds in a reply with rcode NOERROR or NXDOMAIN what it says about the
// canonical name. Records of other owners do not count.
func Read(m *mdns.Msg, name string, qtype uint16) Answer {
	var a Answer
	ttl := uint32(MaxTTL / time.Second)
	owner, aliases := name, 0
	for aliases <= maxAliases {
		target := ""
		found := false
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != mdns.ClassINET || ownerOf(h.Name) != owner {
				continue
			}
			if h.Rrtype == qtype {
				found = a.Values.add(rr) || found
				ttl = min(ttl, lifetime(h.Ttl))
			} else if c, ok := rr.(*mdns.CNAME); ok && target == "" {
				target = ownerOf(c.Target)
				ttl = min(ttl, lifetime(h.Ttl))
			}
		}
		if found {
			a.TTL = time.Duration(ttl) * time.Second
			a.Values.sort()
			return a
		}
		if target == "" {
			break
		}
		owner = target
		aliases++
	}
	return negative(m, a, owner, aliases, time.Duration(ttl)*time.Second)
}

// negative classifies a reply without the records (RFC 2308, 2).
func negative(m *mdns.Msg, a Answer, owner string, aliases int, ttl time.Duration) Answer {
	soa, referral := authority(m)
	switch {
	case m.Rcode == mdns.RcodeNameError:
		a.Failure = dns.NXDomain
	case soa == nil && aliases > 0:
		a.Follow = owner
		a.TTL = ttl
		return a
	case soa == nil && referral && !m.Authoritative:
		a.Lame = true
		return a
	default:
		a.Failure = dns.NoData
	}
	if soa != nil {
		// RFC 2308, 3 and 5: the lesser of the SOA's own TTL and its minimum.
		neg := time.Duration(min(lifetime(soa.Hdr.Ttl), lifetime(soa.Minttl))) * time.Second
		a.TTL = min(neg, ttl, MaxNegativeTTL)
	}
	return a
}

func authority(m *mdns.Msg) (soa *mdns.SOA, referral bool) {
	for _, rr := range m.Ns {
		switch rr := rr.(type) {
		case *mdns.SOA:
			soa = rr
		case *mdns.NS:
			referral = true
		}
	}
	return soa, referral
}

// lifetime obeys RFC 2181, 8: a TTL with the top bit set counts as zero.
func lifetime(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		return 0
	}
	return ttl
}

// ownerOf gives the comparison form of a name in a message. Escapes of
// printable characters are undone, as in names that callers pass.
func ownerOf(s string) string {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		// An escaped dot is no label separator, and stays told apart.
		if s[i] == '\\' && i+1 < len(s) && s[i+1] != '.' && !digit(s[i+1]) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// add takes one record in. Records of the right type but of a foreign Go type
// (unparsable ones) are left out.
func (v *Values) add(rr mdns.RR) bool {
	switch rr := rr.(type) {
	case *mdns.TXT:
		// RFC 7208, 3.3: strings of one record are joined without space.
		var b strings.Builder
		for _, s := range rr.Txt {
			b.WriteString(Unescape(s))
		}
		v.TXT = append(v.TXT, b.String())
	case *mdns.MX:
		v.MX = append(v.MX, net.MX{Host: hostOf(rr.Mx), Pref: rr.Preference})
	case *mdns.A:
		a, ok := netip.AddrFromSlice(rr.A.To4())
		if !ok {
			return false
		}
		v.Addrs = append(v.Addrs, a)
	case *mdns.AAAA:
		a, ok := netip.AddrFromSlice(rr.AAAA.To16())
		if !ok {
			return false
		}
		v.Addrs = append(v.Addrs, a)
	case *mdns.PTR:
		v.Names = append(v.Names, hostOf(rr.Ptr))
	case *mdns.NS:
		v.Names = append(v.Names, hostOf(rr.Ns))
	default:
		return false
	}
	return true
}

// hostOf keeps the lone dot of a null MX (RFC 7505, 3).
func hostOf(s string) string {
	if s == "." {
		return s
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

func (v *Values) sort() {
	slices.SortStableFunc(v.MX, func(a, b net.MX) int { return int(a.Pref) - int(b.Pref) })
}

// MXCopy gives the MX records as the caller's own.
func (v *Values) MXCopy() []*net.MX {
	all := make([]net.MX, len(v.MX))
	copy(all, v.MX)
	out := make([]*net.MX, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	return out
}

// The bounds of what a trace shows of an answer.
const (
	shownRecords = 16
	shownBytes   = 300
)

// Show gives the records for traces, shortened.
func (v *Values) Show() []string {
	var out []string
	add := func(s string) {
		switch {
		case len(out) < shownRecords && len(s) > shownBytes:
			out = append(out, s[:shownBytes]+"…")
		case len(out) < shownRecords:
			out = append(out, s)
		case len(out) == shownRecords:
			out = append(out, "…")
		}
	}
	for _, s := range v.TXT {
		add(s)
	}
	for _, m := range v.MX {
		add(strconv.Itoa(int(m.Pref)) + " " + m.Host)
	}
	for _, a := range v.Addrs {
		add(a.String())
	}
	for _, n := range v.Names {
		add(n)
	}
	return out
}

// NotFound gives the error of an NXDomain or NoData answer.
func NotFound(f dns.Failure, name, server string) *net.DNSError {
	text := dns.TextNXDomain
	if f == dns.NoData {
		text = dns.TextNoData
	}
	return &net.DNSError{Err: text, Name: shown(name), Server: server, IsNotFound: true}
}

// Temporary gives the error of a failure that may pass.
func Temporary(text, name, server string) *net.DNSError {
	return &net.DNSError{Err: text, Name: shown(name), Server: server, IsTemporary: true,
		IsTimeout: text == TextTimeout || text == TextCanceled}
}

// shown gives the root a name that can be seen in an error.
func shown(name string) string { return cmp.Or(name, ".") }
