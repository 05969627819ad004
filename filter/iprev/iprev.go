// Package iprev looks at the names of a client: whether its address leads to a
// name and back (RFC 8601, 2.7.3 and 3), whether that name is one of those
// given to lines that change hands, and whether the client's HELO makes sense.
package iprev

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// Result is the word of RFC 8601, 2.7.3.
type Result string

// The results. PermError: the address has no name at all.
const (
	Pass      Result = "pass"
	Fail      Result = "fail"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Finding is what the reverse lookup gave.
type Finding struct {
	Result Result
	Names  []string // that lead back to the address: canonical, sorted
	Reason string   // in words
}

// maxNames bounds the names of an address that are looked up (RFC 8601, 3 with
// RFC 7208, 5.5).
const maxNames = 10

// Check looks the names of an address up, and the addresses of those names. A
// temporary failure is the result only if nothing was confirmed. It blocks until
// the resolver has answered or the context ends.
func Check(ctx context.Context, r dns.Resolver, addr netip.Addr) Finding {
	addr = addr.Unmap().WithZone("")
	names, err := r.LookupPTR(ctx, addr)
	switch {
	case dns.IsNotFound(err) || err == nil && len(names) == 0:
		return Finding{Result: PermError, Reason: fmt.Sprintf("%s has no name", addr)}
	case err != nil:
		return Finding{Result: TempError, Reason: fmt.Sprintf("lookup of the name of %s: %v", addr, dnsText(err))}
	}
	usable := candidates(names)
	if len(usable) == 0 {
		return Finding{Result: Fail, Reason: fmt.Sprintf("the name of %s is malformed", addr)}
	}
	confirmed, err := confirm(ctx, r, usable, addr)
	switch {
	case len(confirmed) > 0:
		return Finding{Result: Pass, Names: confirmed, Reason: fmt.Sprintf("%s is %s", addr, confirmed[0])}
	case err != nil:
		return Finding{Result: TempError, Reason: fmt.Sprintf("lookup of the address of %s: %v", usable[0], dnsText(err))}
	}
	return Finding{Result: Fail, Reason: fmt.Sprintf("%s does not lead back to %s", usable[0], addr)}
}

// candidates gives the names that may be looked up. Servers answer in changing
// order, so they are sorted before any are left out.
func candidates(names []string) []string {
	var usable []string
	for _, n := range names {
		if n = mail.CanonicalDomain(n); mail.ValidDomain(n) {
			usable = append(usable, n)
		}
	}
	slices.Sort(usable)
	usable = slices.Compact(usable)
	return usable[:min(len(usable), maxNames)]
}

// confirm gives the names that have the address, and an error if one could not
// be looked up.
func confirm(ctx context.Context, r dns.Resolver, names []string, addr netip.Addr) ([]string, error) {
	has, errs := make([]bool, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			var all []netip.Addr
			all, errs[i] = family(ctx, r, name, addr.Is4())
			has[i] = slices.Contains(all, addr)
		})
	}
	wg.Wait()
	var confirmed []string
	var failed error
	for i, name := range names {
		if has[i] {
			confirmed = append(confirmed, name)
		}
		if errs[i] != nil && !dns.IsNotFound(errs[i]) {
			failed = errs[i]
		}
	}
	return confirmed, failed
}

// family asks for the addresses of one family.
func family(ctx context.Context, r dns.Resolver, name string, v4 bool) ([]netip.Addr, error) {
	if v4 {
		return r.LookupA(ctx, name)
	}
	return r.LookupAAAA(ctx, name)
}
