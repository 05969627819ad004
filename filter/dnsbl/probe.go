package dnsbl

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// retry is the pause after a bad probe; it doubles up to Options.Every.
const retry = time.Minute

// Run probes the zones until ctx ends: at once, and then every Options.Every. It
// returns when all lookups have ended.
func (b *Book) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, z := range b.zones {
		wg.Go(func() { b.watch(ctx, z) })
	}
	wg.Wait()
}

// Probe probes all zones once, in parallel, and tells how they stand. It is for
// who does not Run.
func (b *Book) Probe(ctx context.Context) []ZoneStatus {
	var wg sync.WaitGroup
	for _, z := range b.zones {
		wg.Go(func() {
			o, f, why := b.probe(ctx, z)
			b.change(z, func(h health) health { return h.afterProbe(o, f, why) })
		})
	}
	wg.Wait()
	return b.Status()
}

// watch probes one zone.
func (b *Book) watch(ctx context.Context, z *zone) {
	for misses := 0; ; {
		o, f, why := b.probe(ctx, z)
		if ctx.Err() != nil {
			return // what the probe met was the end
		}
		b.change(z, func(h health) health { return h.afterProbe(o, f, why) })
		misses++
		if o == Clean {
			misses = 0
		}
		if !b.pause(ctx, z, misses) {
			return
		}
	}
}

// pause waits for the next probe. A zone that messages have found hanging is
// probed sooner; not so one that refused us, which would go on refusing.
func (b *Book) pause(ctx context.Context, z *zone, misses int) bool {
	d := b.o.Every
	if misses > 0 {
		d = min(d, retry<<min(misses-1, 10))
	}
	t := time.NewTimer(b.spread(d))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return true
		case <-z.kick:
			t.Reset(b.spread(min(d, retry)))
		case <-ctx.Done():
			return false
		}
	}
}

// spread keeps the probes of many filters apart: by a tenth up or down.
func (b *Book) spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*b.o.Rand()))
}

// probe asks for the test entries (RFC 5782, 5). The outcome is Clean if they
// are as they should be, Failed if the DNS gave no answer, else Refused. What is
// kept from the probe before would hide a change.
func (b *Book) probe(ctx context.Context, z *zone) (o Outcome, f Fault, why string) {
	ctx = dns.Fresh(ctx)
	for _, entry := range append(z.mustNot(), z.chance(b.o.Rand)) {
		addrs, _, err := b.question(ctx, z, entry)
		switch {
		case err != nil:
			return Failed, FaultSilent, "the test entries cannot be looked up: " + z.failure(err)
		case refusal(addrs) != "":
			return Refused, refusalFault(addrs), refusal(addrs)
		case len(addrs) > 0:
			return Refused, FaultWildcard, fmt.Sprintf("lists %s (%s), as if it listed everything", entry, addrs[0])
		}
	}
	must := z.must()
	for _, entry := range must {
		addrs, _, err := b.question(ctx, z, entry)
		switch {
		case err != nil:
			return Failed, FaultSilent, "the test entries cannot be looked up: " + z.failure(err)
		case refusal(addrs) != "":
			return Refused, refusalFault(addrs), refusal(addrs)
		case len(addrs) > 0:
			return Clean, "", ""
		}
	}
	return Refused, FaultEmpty, fmt.Sprintf("does not list its test entry %s, as if it were empty", must[0])
}

// mustNot gives the entries that no zone may have: 127.0.0.1, its IPv6 form, or
// "invalid".
func (z *zone) mustNot() []string {
	if z.Type == IP {
		return []string{reversed(netip.MustParseAddr("127.0.0.1")), nibbles(netip.MustParseAddr("::ffff:127.0.0.1"))}
	}
	return []string{"invalid"}
}

// chance gives an entry that no zone may have, another one each time: the servers
// that we ask keep answers too.
func (z *zone) chance(rand func() float64) string {
	n := 1<<16 + int(rand()*(254<<16)) // 127.1.0.0 to 127.254.255.255
	if z.Type == IP {
		return reversed(netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)}))
	}
	return fmt.Sprintf("x%x.invalid", n)
}

// must gives the entries of which the zone must have one. That of IPv6 is not
// among them: many zones hold IPv4 only, and some forget it.
func (z *zone) must() []string {
	switch {
	case z.Test != "" && z.Type == IP:
		a, _ := netip.ParseAddr(z.Test)
		return []string{reversed(a)}
	case z.Test != "":
		return []string{mail.CanonicalDomain(z.Test)}
	case z.Type == IP:
		return []string{reversed(netip.MustParseAddr("127.0.0.2"))}
	}
	return append([]string{"test"}, ownTest(z.Zone)...)
}

// ownTest gives the test entries of well-known zones that have another one
// than the standard's.
func ownTest(zone string) []string {
	switch zone {
	case "dbl.spamhaus.org", "dbl.dq.spamhaus.net":
		return []string{"dbltest.com"}
	case "multi.surbl.org":
		return []string{"test.surbl.org", "surbl-org-permanent-test-point.com"}
	case "multi.uribl.com", "black.uribl.com":
		return []string{"test.uribl.com"}
	}
	return nil
}
