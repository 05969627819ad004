package dnsbl

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Own looks addresses of our own up in all IP zones on schedule, to learn when
// others will refuse our mail. Zones that are out of service are asked once they
// are back.
type Own struct {
	book  *Book
	addrs []netip.Addr
	every time.Duration

	mu    sync.Mutex // guards found
	found []OwnStatus
}

// OwnStatus is what a zone said last about an own address.
type OwnStatus struct {
	Addr   netip.Addr `json:"addr"`
	Zone   string     `json:"zone"` // its name
	Listed bool       `json:"listed"`
	Reason string     `json:"reason,omitempty"`
	At     time.Time  `json:"at,omitzero"` // of the last answer; zero: none yet
}

// ownTick is how often zones that did not answer are asked again.
const ownTick = time.Minute

// NewOwn makes the schedule; every defaults to an hour. Addresses that are not
// Askable are left out.
func NewOwn(b *Book, addrs []netip.Addr, every time.Duration) *Own {
	if every <= 0 {
		every = time.Hour
	}
	o := &Own{book: b, every: every}
	for _, a := range addrs {
		if a = a.Unmap().WithZone(""); Askable(a) {
			o.addrs = append(o.addrs, a)
		}
	}
	for _, a := range o.addrs {
		for _, z := range b.ip {
			o.found = append(o.found, OwnStatus{Addr: a, Zone: z.Name})
		}
	}
	return o
}

// Carry takes over what zones said of the same addresses, so that a reload of the
// configuration neither asks nor tells it again. It is called before Run; old stays
// usable.
func (o *Own) Carry(old *Own) {
	if old == nil {
		return
	}
	for _, s := range old.Status() {
		i := slices.IndexFunc(o.found, func(f OwnStatus) bool { return f.Addr == s.Addr && f.Zone == s.Zone })
		if i >= 0 {
			o.found[i] = s
		}
	}
}

// Run looks the addresses up until ctx ends.
func (o *Own) Run(ctx context.Context) {
	t := time.NewTicker(min(ownTick, o.every))
	defer t.Stop()
	for {
		o.round(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Status tells what the zones said, by address and zone in the order of the
// configuration.
func (o *Own) Status() []OwnStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]OwnStatus(nil), o.found...)
}

// round asks for what is due. It goes one by one: there is no hurry.
func (o *Own) round(ctx context.Context) {
	i := 0
	for _, a := range o.addrs {
		for _, z := range o.book.ip {
			if ctx.Err() != nil {
				return
			}
			o.renew(ctx, i, z, a)
			i++
		}
	}
}

// renew asks one zone about one address if the last answer is old enough.
func (o *Own) renew(ctx context.Context, i int, z *zone, addr netip.Addr) {
	b := o.book
	o.mu.Lock()
	last := o.found[i]
	o.mu.Unlock()
	if _, ok := z.inService(); !ok || !last.At.IsZero() && b.o.Now().Sub(last.At) < o.every {
		return
	}
	a := b.ask(ctx, z, reversed(addr), addr.String())
	b.learn(ctx, z, a)
	if !a.Outcome.answered() {
		return
	}
	now := OwnStatus{Addr: addr, Zone: z.Name, Listed: a.Outcome == Listed, At: b.o.Now()}
	if now.Listed {
		now.Reason = a.Hits[0].Comment
	}
	o.mu.Lock()
	o.found[i] = now
	o.mu.Unlock()
	if now.Listed != last.Listed {
		o.tell(now)
	}
	if b.o.Observer.Own != nil {
		b.o.Observer.Own(addr, z.Name, now.Listed)
	}
}

func (o *Own) tell(s OwnStatus) {
	if s.Listed {
		o.book.o.Log.Warn("own address was listed", "addr", s.Addr, "zone", s.Zone, "why", s.Reason)
		return
	}
	o.book.o.Log.Info("own address was taken off", "addr", s.Addr, "zone", s.Zone)
}
