// Package author finds out whom a message claims as its author: the From
// field (RFC 5322, 3.6.2), read so that it fails closed (RFC 9989, 11.5). Where
// consumers may read a field differently, every domain that one of them could
// see is returned, and none is picked. The package also names the breaches of
// RFC 5322 in a header block, and reads Subject and List-Id for display.
//
// All functions are pure, take time linear in their input, and may be used
// concurrently.
package author

import (
	"slices"
	"strings"

	"mailwicket/filter/mail"
)

// The values of Finding.Defect. Usable is the only one under which Domains is
// the one Author Domain.
const (
	Usable      = ""
	Missing     = "missing"      // no From field
	Repeated    = "repeated"     // several From fields
	Malformed   = "malformed"    // can be read in several ways
	NoDomain    = "no_domain"    // no address, or addresses without domain
	BadDomain   = "bad_domain"   // a domain that DNS cannot hold, or an address literal
	ManyDomains = "many_domains" // several addresses of different domains
	TooMany     = "too_many"     // more domains than MaxDomains
)

// FromDefects lists the values that Finding.Defect can have.
func FromDefects() []string {
	return []string{Usable, Missing, Repeated, Malformed, NoDomain, BadDomain, ManyDomains, TooMany}
}

// Bounds of what is returned.
const (
	MaxDomains   = 5 // RFC 9989, 11.5 asks for a limit and leaves it to us
	maxAddresses = 20
	maxAddress   = 320
	maxField     = 64 << 10 // bytes of all From fields that are read
)

// Finding is what the From field says.
type Finding struct {
	Addresses []string // as written, the domains canonical; at most 20
	Domains   []string // distinct and canonical, in order; at most MaxDomains
	Defect    string   // a word of FromDefects
	Detail    string   // what is odd, in plain words; also of a usable field

	// Lookalikes are domains of addresses in display names and comments that
	// differ from Domains. They are common in honest mail ("x@y.example via Z")
	// and prove nothing. At most MaxDomains, and only of fields that have one
	// reading.
	Lookalikes []string
}

// Parse reads the author of a message. Sloppy fields that still have one
// reading, such as "Foo, Inc. <a@b.example>", are usable; Detail names the flaw.
func Parse(h mail.Header) Finding {
	var values []string
	for _, f := range h {
		if isNamed(f.Name, "From") {
			values = append(values, f.Value)
		}
	}
	switch len(values) {
	case 0:
		return Finding{Defect: Missing, Detail: "no From field"}
	case 1:
		return read(values[0], maxField)
	}
	// All instances speak: consumers differ in which one they take.
	out := Finding{Defect: Repeated, Detail: "several From fields"}
	var s set
	values = values[:min(len(values), 2*MaxDomains)]
	for _, v := range values {
		f := read(v, maxField/len(values))
		out.Addresses = append(out.Addresses, f.Addresses...)
		s.add(f.Domains...)
	}
	out.Addresses = out.Addresses[:min(len(out.Addresses), maxAddresses)]
	out.Domains = s.first(MaxDomains)
	return out
}

// isNamed compares field names; blanks before the colon are dropped by MTAs.
func isNamed(have, want string) bool {
	return strings.EqualFold(strings.TrimRight(have, " \t"), want)
}

// read finds the author in one field's value, of which it looks at limit bytes.
func read(value string, limit int) Finding {
	if len(value) > limit {
		// Not in the middle of a name: what is left of it could be another's.
		end := strings.LastIndexAny(value[:limit], ", \t\r\n")
		f := read(value[:end+1], limit)
		f.Defect, f.Detail, f.Lookalikes = Malformed, "too long", nil
		return f
	}
	value = unfold(value)
	toks, why := lex(value)
	var p parser
	if why == "" {
		p = parser{toks: toks}
		why = p.list()
	}
	p.brackets(value)
	if why == "" && p.odd == "" {
		return plain(value, &p)
	}
	return cautious(value, &p, why)
}

// plain is the finding of a field that has one reading only.
func plain(value string, p *parser) Finding {
	out := Finding{Detail: p.sloppy}
	var s set
	bad := ""
	for _, b := range p.boxes {
		d := mail.CanonicalDomain(b.domain)
		out.note(b.local, d)
		if isHost(d) {
			s.add(d)
		} else {
			bad = d
		}
	}
	out.Domains = s.first(MaxDomains)
	switch {
	case bad != "":
		out.Defect, out.Detail = BadDomain, "not a host name: "+show(bad)
		// What a consumer could cut out of it counts too.
		for _, d := range collect(value) {
			s.add(d.hosts...)
		}
		out.Domains = s.first(MaxDomains)
	case len(s.list) == 0:
		out.Defect, out.Detail = NoDomain, "no address"
	case len(s.list) > MaxDomains:
		out.Defect, out.Detail = TooMany, "more than five domains"
	case len(s.list) > 1:
		out.Defect, out.Detail = ManyDomains, "addresses of different domains"
	}
	if strings.Count(value, "@") > len(p.boxes) || strings.Contains(value, "=?") {
		var looks set
		for _, d := range collect(value) {
			for _, host := range d.hosts {
				if hasDot(host) && !s.has(host) {
					looks.add(host)
				}
			}
		}
		out.Lookalikes = looks.first(MaxDomains)
	}
	return out
}

// cautious is the finding of a field that breaks the grammar or can be read in
// several ways: all domains that anyone could see. why says what broke the
// grammar, if anything did.
func cautious(value string, p *parser, why string) Finding {
	out := Finding{Detail: why}
	if why == "" {
		out.Detail = p.odd
	}
	var s, names set
	for _, b := range p.boxes {
		if d := mail.CanonicalDomain(b.domain); isHost(d) && (why == "" || hasDot(d)) {
			s.add(d)
		}
	}
	bad := false
	for _, d := range collect(value) {
		if d.inName {
			names.add(d.hosts...)
		} else {
			s.add(d.hosts...)
		}
		bad = bad || d.bad
		out.note(d.local, d.text)
	}
	if len(s.list) == 0 {
		s = names
	}
	// The last brackets are what simple readers show, also a name without dot.
	if d := mail.CanonicalDomain(strings.TrimSpace(lastBrackets(value))); isHost(d) && !s.has(d) {
		bad = true
	}
	out.Domains = s.first(MaxDomains)
	switch {
	case len(s.list) > MaxDomains:
		out.Defect = TooMany
	case len(s.list) > 1, len(s.list) == 1 && bad:
		out.Defect = Malformed
	case len(s.list) == 1:
		// One domain in every reading: nothing can be hidden.
	case bad:
		out.Defect = BadDomain
	default:
		out.Defect = NoDomain
	}
	return out
}

// note keeps an address once. One that is too long loses some of its local part: without
// its end the domain would be another one.
func (f *Finding) note(local, domain string) {
	addr := show(local[:min(len(local), max(0, maxAddress-1-len(domain)))] + "@" + domain)
	if len(f.Addresses) < maxAddresses && !slices.Contains(f.Addresses, addr) {
		f.Addresses = append(f.Addresses, addr)
	}
}

// set is an ordered set that stops growing once it is clear that it is too
// large.
type set struct{ list []string }

func (s *set) add(vs ...string) {
	for _, v := range vs {
		if len(s.list) <= MaxDomains && !s.has(v) {
			s.list = append(s.list, v)
		}
	}
}

func (s *set) has(v string) bool { return slices.Contains(s.list, v) }

func (s *set) first(n int) []string {
	return slices.Clone(s.list[:min(len(s.list), n)])
}

func hasDot(d string) bool { return strings.Contains(d, ".") }
