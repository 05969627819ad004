package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// Lookup finds the DMARC records for one message. Each name is asked once,
// whatever the number of domains that lead to it, and a domain leads to eight
// at most. It is safe for concurrent use.
type Lookup struct{ r dns.Resolver }

// NewLookup gives the lookup for a new message.
func NewLookup(r dns.Resolver) *Lookup { return &Lookup{r: dns.NewMemo(r)} }

// Prefetch asks what Check will ask about an author domain whatever the
// identifiers are, and waits for the answers. Check finds them, errors
// included, and waits for those still under way.
func (l *Lookup) Prefetch(ctx context.Context, domain string) {
	if name, ok := domainName(domain); ok {
		l.gather(ctx, TreeWalk, name, nil)
	}
}

// Check evaluates a message. When the context ends, what is not yet known counts
// as a temporary error.
func (l *Lookup) Check(ctx context.Context, in Input) Finding {
	switch n := len(in.From); {
	case n == 0:
		return Finding{Result: None, Reason: "the message has no author domain"}
	case n > MaxFrom:
		return Finding{Result: PermError, Domain: in.From[0], Reason: fmt.Sprintf("more than %d author domains", MaxFrom)}
	}
	ids := in.identifiers()
	out := make([]Finding, len(in.From))
	each(len(in.From), func(i int) {
		name, ok := domainName(in.From[i])
		if !ok {
			out[i] = Finding{Result: PermError, Domain: name, Reason: "the author domain is not a domain name"}
			return
		}
		out[i] = evaluate(l.gather(ctx, in.Method, name, ids))
	})
	return strictest(out)
}

// gather finds what evaluate needs to know of one Author Domain.
func (l *Lookup) gather(ctx context.Context, m Method, domain string, ids []identifier) evidence {
	e := evidence{domain: domain, ids: append([]identifier(nil), ids...)}
	first := l.level(ctx, domain)
	w := walk{first}
	switch {
	case first.failure.failed():
	case m == PSL:
		if !first.found {
			w = l.walk(ctx, suffixNames(domain))
		}
		e.org = suffixOrg(domain)
	case !first.found || needsOrg(domain, first.record, ids):
		w = l.walk(ctx, targets(domain))
		e.org, e.orgFailed = w.org()
	}
	e.notes = w.notes()
	e.policy, e.failure = w.policy(e.org, e.orgFailed)
	if !e.policy.found {
		return e
	}
	e.differs = e.org != "" && e.org != suffixOrg(domain)
	if e.policy.name != domain && !first.there {
		e.missing, e.missingFailed = l.missing(ctx, domain)
	}
	l.findOrgs(ctx, m, &e)
	return e
}

// needsOrg tells whether an identifier makes the organizational domain matter.
func needsOrg(domain string, r Record, ids []identifier) bool {
	return r.usable() && slices.ContainsFunc(ids, func(id identifier) bool { return mayAlign(domain, r, id) })
}

// findOrgs finds the organizational domains of those identifiers that can be in
// alignment by them. Names elsewhere are not walked, whatever a message with
// foreign signatures names.
func (l *Lookup) findOrgs(ctx context.Context, m Method, e *evidence) {
	if !e.policy.record.usable() || e.org == "" {
		return
	}
	each(len(e.ids), func(i int) {
		id := &e.ids[i]
		if mayAlign(e.domain, e.policy.record, *id) && mail.IsUnder(id.domain, e.org) {
			id.org, id.failed = l.org(ctx, m, id.domain)
		}
	})
}

func (l *Lookup) org(ctx context.Context, m Method, domain string) (string, failure) {
	if m == PSL {
		return suffixOrg(domain), failure{}
	}
	return l.walk(ctx, targets(domain)).org()
}

// walk visits names: the first alone, because it may end the walk, the others at
// the same time.
func (l *Lookup) walk(ctx context.Context, names []string) walk {
	w := make(walk, len(names))
	w[0] = l.level(ctx, names[0])
	if w[0].ends() {
		return w[:1]
	}
	each(len(names)-1, func(i int) { w[i+1] = l.level(ctx, names[i+1]) })
	for i, lv := range w {
		if lv.ends() {
			return w[:i+1]
		}
	}
	return w
}

// level asks for the record of one name.
func (l *Lookup) level(ctx context.Context, name string) level {
	lv := level{name: name}
	asked := prefix + name
	if !mail.ValidDomain(asked) {
		return lv // too long to have one
	}
	texts, err := l.r.LookupTXT(ctx, asked)
	lv.failure = failureOf(asked, err)
	lv.there = err == nil || dns.Kind(err) == dns.NoData
	if err == nil {
		lv.read(texts)
	}
	return lv
}

// missing tells whether a domain does not exist: its name is answered with
// NXDOMAIN (RFC 9989, 3.2.13 and A.4). TXT is what SPF asks too.
func (l *Lookup) missing(ctx context.Context, domain string) (bool, failure) {
	_, err := l.r.LookupTXT(ctx, domain)
	return dns.Kind(err) == dns.NXDomain, failureOf(domain, err)
}

// failureOf tells whether a question was left without an answer.
func failureOf(name string, err error) failure {
	f := failure{result: PermError}
	switch dns.Kind(err) {
	case dns.None, dns.NXDomain, dns.NoData:
		return failure{}
	case dns.Temporary:
		f.result = TempError
	}
	why := err.Error()
	if de := new(net.DNSError); errors.As(err, &de) {
		why = de.Err
	}
	f.why = fmt.Sprintf("the DNS gave no answer for %s: %s", name, why)
	return f
}

// each calls do for 0 to n-1 at the same time and waits for all.
func each(n int, do func(i int)) {
	if n == 1 {
		do(0)
		return
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}
