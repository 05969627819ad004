package storetest

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"mailwicket/filter/mail"
	"mailwicket/greylist"
)

// Clock is a time that tests move.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock starts at the present, so that stores with a clock of their own agree.
func NewClock() *Clock { return &Clock{at: now()} }

// Now gives the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Add moves the time on.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Request makes a request of a client in a network of its own.
func Request(client int, sender, rcpt string) greylist.Request {
	ip := netip.AddrFrom4([4]byte{10, byte(client >> 8), byte(client), 1})
	return greylist.Request{Identity: greylist.Identify(greylist.IdentityInput{IP: ip}),
		Sender: mail.ParsePath(sender), Recipient: mail.ParsePath(rcpt)}
}

// Service makes a sidecar's service with a budget that no slow test machine
// exhausts.
func Service(t testing.TB, s greylist.Store, now func() time.Time) *greylist.Service {
	v := greylist.New(greylist.ServiceConfig{Store: s, Secret: []byte("secret"), Now: now,
		Budget: 20 * time.Second, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(v.Close)
	return v
}

// Race lets sidecars, one for each store value, ask about one triplet at the
// same moments, all stores being views of the same data. No answer may differ
// from that of one sidecar asked one after the other.
func Race(t *testing.T, stores []greylist.Store) {
	clock := NewClock()
	var sidecars []*greylist.Service
	for _, s := range stores {
		sidecars = append(sidecars, Service(t, s, clock.Now))
	}
	p, start := greylist.DefaultParams(), clock.Now()
	r := Request(1, "<a@example.org>", "<b@example.net>")
	n := len(sidecars) // two at least
	for round, tt := range []struct {
		wait     time.Duration
		status   greylist.Status
		delayed  int         // answers that carry the delay
		attempts map[int]int // how many answers said which number
	}{
		{0, greylist.Defer, 0, map[int]int{1: 1, 2: n - 1}},                          // one is the first contact
		{p.Delay - time.Millisecond, greylist.Defer, 0, map[int]int{2: 1, 3: n - 1}}, // one counts
		{time.Millisecond, greylist.Pass, 1, map[int]int{3: n}},
		{greylist.CountGap, greylist.Pass, 0, map[int]int{3: n}},
	} {
		clock.Add(tt.wait)
		delayed, attempts := 0, map[int]int{}
		for _, o := range together(t, sidecars, r) {
			if o.Status != tt.status || !o.FirstSeen.Equal(start) || o.Degraded {
				t.Errorf("round %d: %+v, want %s first seen %s", round, o, tt.status, start)
			}
			if o.Delayed > 0 {
				delayed++
			}
			attempts[o.Attempts]++
		}
		if delayed != tt.delayed || !maps.Equal(attempts, tt.attempts) {
			t.Errorf("round %d: %d answers with a delay, attempts %v, want %d and %v", round, delayed, attempts, tt.delayed, tt.attempts)
		}
	}
	_, held, err := sidecars[0].Lookup(t.Context(), r)
	if err != nil || held.Triplet.Attempts != 3 || held.Triplet.Passes != 2 || held.Identity.Passes != 1 {
		t.Errorf("held %+v, %v, want 3 attempts, 2 passes, one of them counted for the identity", held, err)
	}
}

// together asks all sidecars at once.
func together(t *testing.T, sidecars []*greylist.Service, r greylist.Request) []greylist.Outcome {
	out := make([]greylist.Outcome, len(sidecars))
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i, s := range sidecars {
		wg.Go(func() {
			<-gate
			o, err := s.Check(context.Background(), r)
			if err != nil {
				t.Error(err)
			}
			out[i] = o
		})
	}
	close(gate)
	wg.Wait()
	return out
}
