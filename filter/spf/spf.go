// Package spf checks whether a domain allows a client to use its name (RFC
// 7208). The library blitiri.com.ar/go/spf evaluates; this package gives it what
// it does not do itself: the identity to check, a full check of the syntax
// before any term counts (4.6), macros by the letter (7), the classification of
// DNS errors (2.6.6), and words for what was found.
//
// For that, the library never sees a record as its owner wrote it. It gets each
// one rewritten, with every domain-spec replaced by an alias (rewrite.go), and
// asks a resolver that knows what the aliases stand for (resolver.go).
package spf

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	lib "blitiri.com.ar/go/spf"

	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// Result is the word of RFC 7208, 8.
type Result string

// The results.
const (
	None      Result = "none"
	Neutral   Result = "neutral"
	Pass      Result = "pass"
	Fail      Result = "fail"
	SoftFail  Result = "softfail"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Identity tells which name is checked.
type Identity uint8

// The identities (RFC 7208, 2.3 and 2.4). That of MAIL FROM is postmaster at
// the HELO name where the sender is null.
const (
	MailFrom Identity = iota
	Helo
)

// Input is what a check needs to know of the client.
type Input struct {
	IP       netip.Addr
	Helo     string // as given
	MailFrom mail.Address
	Identity Identity
}

// Finding is the outcome of a check.
type Finding struct {
	Result Result
	Domain string // that was checked, in A-labels; "" where there was no name
	Reason string // in words for postmasters; ASCII, short
	// Explanation is the domain owner's text for a fail (RFC 7208, 6.2): printable
	// ASCII, at most maxExplanation bytes. It is a stranger's and proves nothing.
	Explanation string
	Lookups     int // terms that asked the DNS; over the limit: those needed at least
}

// The limits of RFC 7208, 4.6.4, and one of our own: all records of a check
// together may be as long as one TXT record can be.
const (
	maxLookups = 10
	maxVoid    = 2
	maxTime    = 20 * time.Second
	maxBytes   = 1 << 16
)

// Check evaluates the policy of the sender's domain. It blocks until the result
// stands, for 20 seconds or until the context ends, which is a temporary error.
func Check(ctx context.Context, r dns.Resolver, in Input) Finding {
	local, domain := in.sender()
	if why := unusable(domain); why != "" {
		f := Finding{Result: None, Reason: why}
		if mail.ValidDomain(domain) {
			f.Domain = domain
		}
		return f
	}
	if !in.IP.IsValid() {
		return Finding{Result: None, Domain: domain, Reason: "no client address"}
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	e := &evaluation{ctx: ctx, r: r, ip: in.IP.Unmap().WithZone(""),
		helo: in.Helo, local: local, domain: domain}
	return e.run()
}

// sender gives the mailbox whose domain is checked (RFC 7208, 2.4 and 4.3).
func (in Input) sender() (local, domain string) {
	if in.Identity == Helo || in.MailFrom.IsNull() {
		return "postmaster", mail.CanonicalDomain(in.Helo)
	}
	local = in.MailFrom.Local
	if local == "" {
		local = "postmaster"
	}
	return local, mail.CanonicalDomain(in.MailFrom.Domain)
}

// unusable tells why a domain cannot have a policy (RFC 7208, 4.3).
func unusable(domain string) string {
	_, err := netip.ParseAddr(domain)
	switch {
	case domain == "":
		return "no domain"
	case err == nil || strings.HasPrefix(domain, "["):
		return "an address and not a domain"
	case !mail.ValidDomain(domain):
		return "malformed domain"
	case !strings.Contains(domain, "."):
		return "not a qualified domain"
	}
	return ""
}

// run lets the library evaluate, and words its result.
func (e *evaluation) run() Finding {
	f := Finding{Domain: e.domain}
	start := e.alias(ask{})
	result, err := lib.CheckHostWithSender(e.ip.AsSlice(), "", "x@"+start,
		lib.WithContext(e.ctx), lib.WithResolver(e),
		lib.OverrideLookupLimit(maxLookups), lib.OverrideVoidLookupLimit(maxVoid))
	f.Result, f.Lookups = Result(result), e.lookups
	f.Reason = cut(printable(e.reason(f.Result, err)), maxReason)
	if f.Result == PermError && errors.Is(err, lib.ErrLookupLimitReached) {
		f.Lookups = e.needed()
	}
	if f.Result == Fail {
		f.Explanation = e.explanation()
	}
	return f
}
