package dnsbl

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mailwicket/filter/list"
	"mailwicket/filter/mail"
)

// Type says what a zone lists.
type Type string

// The types.
const (
	IP     Type = "ip"     // addresses of clients
	Domain Type = "domain" // names
)

// Form says which name a domain zone is asked for.
type Form string

// The forms. Most zones list registered domains.
const (
	Registered Form = "registered" // example.co.uk of mail.example.co.uk
	Whole      Form = "name"       // the name as it is
)

// Secret is text that is never printed.
type Secret string

// String keeps secrets out of logs.
func (Secret) String() string { return "<key>" }

// GoString does so for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText does so for JSON and slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Config describes one zone. Names are distinct; the same zone may be given
// more than once, with other codes.
type Config struct {
	Zone   string       // such as zen.spamhaus.org, without a key
	Key    Secret       // the label that goes before the zone, for zones that want one
	Name   string       // in hits and metrics; "" takes Zone
	Type   Type         // which values it is asked for
	Apply  []list.Point // of domain zones: where names are looked up
	Codes  []CodeRule   // the only answers that are hits
	Weight float64      // of a hit; 0 stands for 1
	Ask    Form         // of domain zones; "" stands for Registered
	Test   string       // an entry that the zone lists; "" takes that of RFC 5782, 5
}

// Points gives the points where names are looked up in domain zones.
func Points() []list.Point {
	return []list.Point{list.PointHelo, list.PointPTR, list.PointMailFrom, list.PointHeaderFrom, list.PointDKIM, list.PointLinks}
}

// filled gives the canonical form with the defaults.
func (c Config) filled() Config {
	c.Zone = mail.CanonicalDomain(c.Zone)
	c.Key = Secret(strings.ToLower(string(c.Key)))
	if c.Name == "" {
		c.Name = c.Zone
	}
	if c.Weight == 0 {
		c.Weight = 1
	}
	if c.Ask == "" {
		c.Ask = Registered
	}
	c.Codes = ordered(c.Codes)
	for i := range c.Codes {
		if c.Codes[i].Weight == 0 {
			c.Codes[i].Weight = c.Weight
		}
	}
	return c
}

// Problem is one thing that is wrong in a configuration.
type Problem struct {
	Index   int    // of the zone
	Key     string // zone, name, key, type, apply, codes, ask or test
	Message string
	Hint    string // what to do, if that is known
}

// Error gives the problem in one line.
func (p Problem) Error() string {
	s := fmt.Sprintf("zone %d: %s: %s", p.Index+1, p.Key, p.Message)
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// Problems gives all that is wrong.
func Problems(cfgs []Config) []Problem {
	v := &checker{names: map[string]int{}}
	for i, c := range cfgs {
		v.index = i
		v.zone(c)
		v.name(c)
		v.kind(c)
		v.codes(c)
	}
	return v.found
}

type checker struct {
	index int
	names map[string]int
	found []Problem
}

func (v *checker) problem(key, message, hint string) {
	v.found = append(v.found, Problem{Index: v.index, Key: key, Message: message, Hint: hint})
}

func (v *checker) zone(c Config) {
	z := mail.CanonicalDomain(c.Zone)
	if !validName(z) || !strings.Contains(z, ".") {
		v.problem("zone", fmt.Sprintf("want a domain, got %q", c.Zone), "for example zen.spamhaus.org")
		return
	}
	// Keys of this service go before the zone. Part of its name, the key
	// would be printed.
	if front, ok := strings.CutSuffix(z, ".dq.spamhaus.net"); ok && strings.Contains(front, ".") {
		list := front[strings.LastIndexByte(front, '.')+1:]
		v.problem("zone", "holds a key, which would be shown in logs", "write "+list+".dq.spamhaus.net, and the key apart")
	}
	k := string(c.Key)
	if k != "" && (!validName(k) || len(k) > 63 || strings.Contains(k, ".")) {
		v.problem("key", "is not one label of a domain name", "letters, digits and hyphens")
	}
	// A reversed IPv6 address has 64 bytes with its last dot.
	if room := 253 - len(z) - len(k) - 1; room < 64 {
		v.problem("zone", "leaves no room for an address in a name of 253 bytes", "")
	}
}

func (v *checker) name(c Config) {
	name := c.filled().Name
	if name == "" {
		return // the zone is wrong, and told
	}
	if c.Name != "" && !validName(name) {
		v.problem("name", fmt.Sprintf("want a name of letters, digits, hyphens and dots, got %q", c.Name), "for example zen")
	}
	if first, ok := v.names[name]; ok {
		v.problem("name", fmt.Sprintf("%q is the name of zone %d too", name, first+1), "give each zone a name of its own")
		return
	}
	v.names[name] = v.index
}

func (v *checker) kind(c Config) {
	switch c.Type {
	case IP:
		if len(c.Apply) > 0 {
			v.problem("apply", "has no effect: a zone of type ip is asked for the client's address", "take it out, or write type: domain")
		}
		if c.Ask != "" {
			v.problem("ask", "has no effect on a zone of type ip", "take it out")
		}
		if a, err := netip.ParseAddr(c.Test); c.Test != "" && (err != nil || a.Zone() != "") {
			v.problem("test", fmt.Sprintf("want an address that the zone lists, got %q", c.Test), "")
		}
	case Domain:
		v.domain(c)
	default:
		v.problem("type", fmt.Sprintf("want ip or domain, got %q", string(c.Type)), "")
	}
}

func (v *checker) domain(c Config) {
	fit := fmt.Sprintf("these fit: %s", strings.Trim(fmt.Sprint(Points()), "[]"))
	if len(c.Apply) == 0 {
		v.problem("apply", "the zone is asked for nothing", fit)
	}
	for i, p := range c.Apply {
		switch {
		case !slices.Contains(Points(), p):
			v.problem("apply", fmt.Sprintf("names are not looked up in zones at %q", string(p)), fit)
		case slices.Contains(c.Apply[:i], p):
			v.problem("apply", fmt.Sprintf("%q is given twice", string(p)), "")
		}
	}
	if c.Ask != "" && c.Ask != Registered && c.Ask != Whole {
		v.problem("ask", fmt.Sprintf("want registered or name, got %q", string(c.Ask)), "")
	}
	if c.Test != "" && !mail.ValidDomain(mail.CanonicalDomain(c.Test)) {
		v.problem("test", fmt.Sprintf("want a name that the zone lists, got %q", c.Test), "")
	}
}

func (v *checker) codes(c Config) {
	if len(c.Codes) == 0 {
		v.problem("codes", "without codes no answer is a hit", `for example {"127.0.0.2-11": listed}: see the manual of the zone`)
	}
	for i, r := range c.Codes {
		switch {
		case r.Match == Code{}:
			v.problem("codes", "an empty pattern", "")
		case r.Name == "" || len(r.Name) > maxCodeName || printable(r.Name) != r.Name:
			v.problem("codes", fmt.Sprintf("want %s to have a name of 1 to %d visible characters, got %q", r.Match, maxCodeName, r.Name), "")
		case slices.ContainsFunc(c.Codes[:i], func(o CodeRule) bool { return o.Match == r.Match }):
			v.problem("codes", fmt.Sprintf("%s is given twice", r.Match), "")
		}
	}
}

const maxCodeName = 64

// validName tells whether s is made of labels of letters, digits, hyphens and
// underscores.
func validName(s string) bool {
	return mail.ValidDomain(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}
