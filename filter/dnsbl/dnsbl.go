// Package dnsbl asks lists in the DNS (RFC 5782) for the addresses of clients
// and for the domains of senders.
//
// An answer is a hit only if the configuration names its code. An answer that
// says "I do not serve you" (127.255.255.0/24, or anything outside 127.0.0.0/8)
// is never one: it takes the zone out of service. So do test entries that are
// not as RFC 5782, 5 wants them, and lookups that keep failing. Messages never
// ask a zone that is out of service, nor one that no probe has found good yet;
// probes bring it back. Answers that the resolver had kept say nothing of how the
// zone is now: probes go past them, and those to messages count for nothing.
//
// Zones are asked in parallel, each within its own time. Zones of hashes, of mail
// addresses or links, are left out.
package dnsbl

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mailwicket/filter/dns"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
)

// Outcome is what came of one question to one zone. The words are labels of
// metrics.
type Outcome string

// The outcomes. Only Listed, Clean and Unknown are answers.
const (
	Listed  Outcome = "listed"
	Clean   Outcome = "clean"
	Unknown Outcome = "unknown_code"   // listed under codes that no rule names
	Refused Outcome = "error"          // an error code, or an address outside 127.0.0.0/8
	Failed  Outcome = "failed"         // the DNS gave no answer
	Out     Outcome = "out_of_service" // not asked
	Skipped Outcome = "skipped"        // such a value is never asked
)

// answered tells whether the zone has said something about the value.
func (o Outcome) answered() bool { return o == Listed || o == Clean || o == Unknown }

// Observer looks on. Members may be nil; they are called on the paths of
// lookups and must be quick and safe for concurrent use. Zones come by name.
type Observer struct {
	Lookup func(zone, outcome string, took time.Duration)  // for messages, not for probes
	Health func(zone string, ok bool, why string)          // when it changes, and after the first probe
	Own    func(addr netip.Addr, zone string, listed bool) // each time that an own address was looked up
}

// Options are what a Book needs beside the zones. Only Resolver must be set.
type Options struct {
	Resolver dns.Resolver
	Log      *slog.Logger // nil discards
	Observer Observer
	Now      func() time.Time // nil takes the clock
	Rand     func() float64   // spreads probes, [0,1); nil takes chance
	Timeout  time.Duration    // of one question [5s]
	Every    time.Duration    // between probes of a good zone [10m]
}

// Book is all zones. It is safe for concurrent use.
type Book struct {
	o     Options
	zones []*zone
	ip    []*zone
	at    map[list.Point][]*zone
}

// zone is one list with its health.
type zone struct {
	Config
	suffix string // what follows the value in a question; holds the key
	shown  string // the same without the key
	counts counts
	kick   chan struct{} // wakes the prober: the zone has just gone out of service

	notify sync.Mutex // held while a change of health is told, so that the order is right
	mu     sync.Mutex // guards health
	health health
}

type counts struct {
	lookups, hits, unknown, errors atomic.Uint64
	told                           atomic.Bool // an unknown code has been logged
}

// New makes a Book of zones that are not asked before Run has found them good.
// The configuration has been checked with Problems.
func New(cfgs []Config, o Options) *Book {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Every <= 0 {
		o.Every = 10 * time.Minute
	}
	o.Resolver = dns.Guard(o.Resolver)
	b := &Book{o: o, at: map[list.Point][]*zone{}}
	for _, c := range cfgs {
		z := newZone(c, o.Now())
		b.zones = append(b.zones, z)
		if z.Type == IP {
			b.ip = append(b.ip, z)
			continue
		}
		for _, p := range z.Apply {
			if !slices.Contains(b.at[p], z) {
				b.at[p] = append(b.at[p], z)
			}
		}
	}
	return b
}

func newZone(c Config, now time.Time) *zone {
	c = c.filled()
	z := &zone{Config: c, suffix: "." + c.Zone, shown: "." + c.Zone, kick: make(chan struct{}, 1)}
	if c.Key != "" {
		z.suffix, z.shown = "."+string(c.Key)+z.suffix, "."+c.Key.String()+z.shown
	}
	z.health = health{state: doubtful, why: notProbed, since: now}
	return z
}

// Carry takes over from old the health of zones that are the same, so that mail
// is checked right after a reload of the configuration, and their counts where
// the name is the same too. It is called before Run; old stays usable.
func (b *Book) Carry(old *Book) {
	if old == nil {
		return
	}
	for _, z := range b.zones {
		i := slices.IndexFunc(old.zones, func(o *zone) bool {
			return o.Zone == z.Zone && o.Key == z.Key && o.Type == z.Type && o.Test == z.Test
		})
		if i < 0 {
			continue
		}
		o := old.zones[i]
		o.mu.Lock()
		h := o.health
		o.mu.Unlock()
		z.mu.Lock()
		z.health = h
		z.mu.Unlock()
		b.tellHealth(z, h)
		if o.Name == z.Name {
			z.counts.lookups.Store(o.counts.lookups.Load())
			z.counts.hits.Store(o.counts.hits.Load())
			z.counts.unknown.Store(o.counts.unknown.Load())
			z.counts.errors.Store(o.counts.errors.Load())
		}
	}
}

// ZoneStatus tells how a zone stands. The counts are of questions for messages.
type ZoneStatus struct {
	Name    string    `json:"name"`
	Zone    string    `json:"zone"`
	Type    Type      `json:"type"`
	OK      bool      `json:"ok"`            // in service
	Why     string    `json:"why,omitempty"` // it is not
	Fault   Fault     `json:"fault,omitempty"`
	Since   time.Time `json:"since"` // when that changed last
	Lookups uint64    `json:"lookups"`
	Hits    uint64    `json:"hits"`
	Unknown uint64    `json:"unknown_codes"`
	Errors  uint64    `json:"errors"` // error codes and failed lookups
}

// Status tells how the zones stand, in the order of the configuration.
func (b *Book) Status() []ZoneStatus {
	out := make([]ZoneStatus, 0, len(b.zones))
	for _, z := range b.zones {
		z.mu.Lock()
		h := z.health
		z.mu.Unlock()
		out = append(out, ZoneStatus{Name: z.Name, Zone: z.Zone, Type: z.Type, OK: h.state == good, Why: h.why, Fault: h.fault, Since: h.since,
			Lookups: z.counts.lookups.Load(), Hits: z.counts.hits.Load(),
			Unknown: z.counts.unknown.Load(), Errors: z.counts.errors.Load()})
	}
	return out
}

// question asks a zone for the A records of a label, within the zone's time, and
// tells whether the resolver had the answer already. No record is no error. The
// key stays out of traces and errors.
func (b *Book) question(ctx context.Context, z *zone, label string) (addrs []netip.Addr, kept bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	addrs, kept, err = ask(ctx, b, z, label, "A", b.o.Resolver.LookupA, netip.Addr.String)
	if dns.IsNotFound(err) {
		return nil, kept, nil
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs, kept, err
}

// ask makes one lookup, and tells whether its answer is one that the resolver had
// kept. The resolver records on a trail of its own, since where the zone has a key
// nobody may see the name that it was asked.
func ask[T any](ctx context.Context, b *Book, z *zone, label, qtype string,
	lookup func(context.Context, string) ([]T, error), show func(T) string,
) (got []T, kept bool, err error) {
	var own dns.Trail
	start := b.o.Now()
	got, err = lookup(dns.WithTrail(ctx, &own), label+z.suffix)
	told, _ := own.Answers()
	for _, a := range told {
		kept = kept || a.Cached
		if z.Key == "" {
			dns.Record(ctx, a)
		}
	}
	if z.Key == "" || !dns.Recording(ctx) {
		return got, kept, err
	}
	a := dns.Answer{Name: label + z.shown, Type: qtype, Result: "ok", Cached: kept, Took: b.o.Now().Sub(start)}
	if err != nil {
		a.Result = z.failure(err)
	}
	for _, v := range got {
		a.Data = append(a.Data, z.plain(show(v)))
	}
	dns.Record(ctx, a)
	return got, kept, err
}

// canonical gives the form of a value that the zones are asked for: an address
// without zone or IPv4 prefix, or a domain.
func canonical(value string) (a netip.Addr, domain string) {
	if a, ok := mail.ParseLiteral(value); ok {
		return a, ""
	}
	if a, err := netip.ParseAddr(value); err == nil {
		return a.Unmap().WithZone(""), ""
	}
	return netip.Addr{}, mail.CanonicalDomain(value)
}
