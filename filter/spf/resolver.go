package spf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"mailwicket/filter/dns"
	"mailwicket/filter/iprev"
	"mailwicket/filter/mail"
	"mailwicket/filter/spf/record"
)

// evaluation is one check. It is the resolver that the library asks, so it sees
// every term that needs the DNS at the moment when it counts.
type evaluation struct {
	ctx           context.Context
	r             dns.Resolver
	ip            netip.Addr
	helo          string
	local, domain string // of the sender

	asks    []ask     // what aliases stand for
	last    ask       // asked last
	fetched *instance // by the last ask, if it was for a record
	main    *instance // the record that decides: the first one, or where it redirects to
	bytes   int       // of all records
	lookups int
	why     string // what went wrong, in words
	names   []string
	named   bool // names are known
}

// The errors that the library gets. It looks at the concrete type: not found is
// an answer, temporary ends the check with temperror, the rest with permerror.
var (
	errNothing   = &net.DNSError{Err: dns.TextNXDomain, IsNotFound: true}
	errTemporary = &net.DNSError{Err: "lookup failed", IsTemporary: true}
	errBroken    = &net.DNSError{Err: "broken record"}
)

// verdict turns an error of our resolver into one for the library. All that is
// no answer is temporary (RFC 7208, 2.6.6, 4.4 and 5), as is the context's end.
func (e *evaluation) verdict(qtype, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case dns.IsNotFound(err):
		return errNothing
	}
	text := err.Error()
	var de *net.DNSError
	if errors.As(err, &de) {
		text = de.Err
	}
	e.why = fmt.Sprintf("lookup of %s %s: %s", qtype, shown(name), text)
	return errTemporary
}

// over tells whether the context has ended. The library has to get a temporary
// error then, also for a ptr or a macro, which could go on without the answer.
func (e *evaluation) over() bool {
	if e.ctx.Err() == nil {
		return false
	}
	if e.why == "" {
		e.why = "not finished in time"
	}
	return true
}

// question is what an alias asks for.
type question struct {
	ask
	name     string
	possible bool // false: the term cannot match
}

// begin takes the question of an alias and counts it. It reports false after
// the context's end.
func (e *evaluation) begin(alias string) (question, bool) {
	a, ok := e.meant(alias)
	if !ok || e.over() {
		return question{}, false
	}
	e.last, e.fetched = a, nil
	if a.in != nil {
		e.lookups++
	}
	name, possible := e.target(a)
	return question{a, name, possible}, !e.over() // a macro may have asked, too
}

// LookupTXT gives the record behind an include or redirect, rewritten.
func (e *evaluation) LookupTXT(_ context.Context, alias string) ([]string, error) {
	q, ok := e.begin(alias)
	switch {
	case !ok:
		return nil, errTemporary
	case !q.possible:
		return []string{"v=spf1"}, nil // neutral: no match
	}
	in, err := e.fetch(q.ask, q.name)
	if err != nil {
		return nil, err
	}
	if q.in == nil || q.in == e.main && q.term().Kind == record.Redirect {
		e.main = in
	}
	e.fetched = in
	return []string{e.rewrite(in)}, nil
}

// fetch finds and reads a record (RFC 7208, 4.3 to 4.6).
func (e *evaluation) fetch(a ask, name string) (*instance, error) {
	if !askable(name) || !strings.Contains(name, ".") {
		e.why = e.missing(a, fmt.Sprintf("%s is not a domain", shown(name)))
		return nil, errNothing
	}
	all, err := e.r.LookupTXT(e.ctx, name)
	if err = e.verdict("TXT", name, err); err == errTemporary {
		return nil, err
	}
	var records []string
	for _, txt := range all {
		if record.Is(txt) {
			records = append(records, txt)
		}
	}
	switch {
	case err != nil:
		e.why = e.missing(a, fmt.Sprintf("%s has no TXT record", shown(name)))
		return nil, errNothing
	case len(records) == 0:
		e.why = e.missing(a, fmt.Sprintf("%s has no SPF record", shown(name)))
		return nil, errNothing
	case len(records) > 1: // RFC 7208, 4.5
		e.why = fmt.Sprintf("%s has %d SPF records", shown(name), len(records))
		return nil, errBroken
	}
	if e.bytes += len(records[0]); e.bytes > maxBytes {
		e.why = fmt.Sprintf("the SPF records are longer than %d bytes, at %s", maxBytes, shown(name))
		return nil, errBroken
	}
	rec, err := record.Parse(records[0])
	if err != nil {
		e.why = fmt.Sprintf("SPF record of %s: %v", shown(name), err)
		return nil, errBroken
	}
	return &instance{domain: name, rec: rec, parent: a.in, at: a.at}, nil
}

// missing words that a record is not there, which is an error but at the start.
func (e *evaluation) missing(a ask, what string) string {
	if a.in == nil {
		return what
	}
	return e.place(a) + ": " + what
}

// askable tells whether a name can be asked at all. Names made of macros need
// not be host names.
func askable(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// LookupIPAddr answers for a, exists and ptr, and for the hosts of mx.
func (e *evaluation) LookupIPAddr(_ context.Context, alias string) ([]net.IPAddr, error) {
	if !strings.HasPrefix(alias, aliasMark) {
		return e.host(alias)
	}
	q, ok := e.begin(alias)
	switch {
	case !ok:
		return nil, errTemporary
	case !q.possible:
		return e.unlike(), nil
	case q.term().Kind == record.PTR:
		return e.ptr(q.name)
	case !askable(q.name):
		// A name that cannot be asked does not exist (RFC 7208, 4.8 leaves it open).
		return nil, errNothing
	case q.term().Kind == record.Exists:
		// RFC 7208, 5.7: type A whatever the client's family.
		all, err := e.r.LookupA(e.ctx, q.name)
		return addresses(all), e.verdict("A", q.name, err)
	}
	return e.addrs(q.name)
}

// own asks for the addresses of the client's family, which alone count
// (RFC 7208, 5).
func (e *evaluation) own(name string) (addrs []netip.Addr, qtype string, err error) {
	if e.ip.Is4() {
		addrs, err = e.r.LookupA(e.ctx, name)
		return addrs, "A", err
	}
	addrs, err = e.r.LookupAAAA(e.ctx, name)
	return addrs, "AAAA", err
}

// addrs answers for an "a" term. A host that has addresses of the other family
// only is no void lookup: else owners without IPv6 would run into the limit for
// IPv6 clients.
func (e *evaluation) addrs(name string) ([]net.IPAddr, error) {
	all, qtype, err := e.own(name)
	if dns.Kind(err) != dns.NoData && (err != nil || len(all) > 0) {
		return addresses(all), e.verdict(qtype, name, err)
	}
	lookup := e.r.LookupA
	if e.ip.Is4() {
		lookup = e.r.LookupAAAA
	}
	if other, err := lookup(e.ctx, name); dns.IsNotFound(err) || err == nil && len(other) == 0 {
		return nil, errNothing
	}
	if e.over() {
		return nil, errTemporary
	}
	return e.unlike(), nil
}

// host answers for a host of mx.
func (e *evaluation) host(name string) ([]net.IPAddr, error) {
	switch {
	case e.over():
		return nil, errTemporary
	case !askable(name):
		return nil, errNothing
	}
	all, qtype, err := e.own(name)
	return addresses(all), e.verdict(qtype, name, err)
}

// unlike is an answer that cannot match: the other family, and never IPv4 for
// exists.
func (e *evaluation) unlike() []net.IPAddr {
	if t := e.last.term().Kind; e.ip.Is4() || t == record.Exists || t == record.PTR {
		return []net.IPAddr{{IP: net.IPv6unspecified}}
	}
	return []net.IPAddr{{IP: net.IPv4zero}}
}

func addresses(all []netip.Addr) []net.IPAddr {
	out := make([]net.IPAddr, len(all))
	for i, a := range all {
		out[i].IP = a.AsSlice()
	}
	return out
}

// LookupMX gives the hosts of an mx term. The library counts them.
func (e *evaluation) LookupMX(_ context.Context, alias string) ([]*net.MX, error) {
	q, ok := e.begin(alias)
	switch {
	case !ok:
		return nil, errTemporary
	case !q.possible:
		return []*net.MX{{Host: "."}}, nil
	case !askable(q.name):
		return nil, errNothing
	}
	all, err := e.r.LookupMX(e.ctx, q.name)
	if err = e.verdict("MX", q.name, err); err != nil {
		return nil, err
	}
	for i, mx := range all {
		host := strings.TrimSuffix(mx.Host, ".")
		if !mail.ValidDomain(host) {
			host = "." // also the null MX (RFC 7505)
		}
		all[i] = &net.MX{Host: host, Pref: mx.Pref}
	}
	return all, nil
}

// LookupAddr is never asked: the library gets no ptr.
func (e *evaluation) LookupAddr(context.Context, string) ([]string, error) {
	return nil, errTemporary
}

// ptr answers for the exists that stands for a ptr: it is there if a confirmed
// name of the client is the target or lies below it. Errors are no match
// (RFC 7208, 5.5), since the client controls these names and not the domain.
func (e *evaluation) ptr(target string) ([]net.IPAddr, error) {
	target = strings.ToLower(target)
	first := !e.named
	names, none := e.confirmed()
	if e.over() {
		return nil, errTemporary
	}
	for _, n := range names {
		if mail.IsUnder(n, target) {
			return []net.IPAddr{{IP: net.IPv4(127, 0, 0, 2)}}, nil
		}
	}
	if none && first {
		return nil, errNothing // a void lookup, once
	}
	return e.unlike(), nil
}

// confirmed gives the names of the client that lead back to it, and whether it
// has no name at all. They are looked up once.
func (e *evaluation) confirmed() (names []string, none bool) {
	if !e.named {
		f := iprev.Check(e.ctx, e.r, e.ip)
		e.names, e.named = f.Names, true
		none = f.Result == iprev.PermError
	}
	return e.names, none
}

// clientName is macro p (RFC 7208, 7.3): the domain itself if it is one of the
// confirmed names, or a name below it, or any, or "unknown".
func (e *evaluation) clientName(domain string) string {
	names, _ := e.confirmed()
	best := "unknown"
	for i, n := range names {
		switch {
		case strings.EqualFold(n, domain):
			return n
		case mail.IsUnder(n, strings.ToLower(domain)):
			best = n
		case i == 0:
			best = n
		}
	}
	return best
}
