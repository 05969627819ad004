package limit

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// Memory is a Store in this process, of bounded size. When it is full, what has
// not been touched for longest goes. It never blocks and never fails.
type Memory struct {
	mu      sync.Mutex
	buckets *turning[State]
}

var _ Store = (*Memory)(nil)

// NewMemory makes a store for at most limit buckets.
func NewMemory(limit int) *Memory {
	return &Memory{buckets: newTurning(limit, func(State) int { return 1 })}
}

// Spend implements Store.
func (m *Memory) Spend(_ context.Context, now time.Time, charges []Charge) ([]Decision, error) {
	out := make([]Decision, len(charges))
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, c := range charges {
		held, _ := m.buckets.take(c.Bucket)
		held, out[i] = Spend(now, c.Limit, held, c.Cost)
		m.buckets.put(c.Bucket, held)
	}
	return out, nil
}

// ReplayMemory is a ReplayStore in this process, of bounded size, and as Memory
// for the rest.
type ReplayMemory struct {
	mu         sync.Mutex
	signatures *turning[sighted]
}

var _ ReplayStore = (*ReplayMemory)(nil)

// sighted is what is kept of one signature.
type sighted struct {
	clients, rcpts sketch
	expires        time.Time
}

// signatureWeight is what an entry takes beside its hashes, in hashes.
const signatureWeight = 28

// NewReplayMemory makes a store that takes about so many bytes at most.
func NewReplayMemory(bytes int) *ReplayMemory {
	return &ReplayMemory{signatures: newTurning(bytes/8, func(s sighted) int {
		return signatureWeight + cap(s.clients) + cap(s.rcpts)
	})}
}

// Seen implements ReplayStore.
func (m *ReplayMemory) Seen(_ context.Context, now time.Time, s Sighting) (Seen, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held, ok := m.signatures.take(s.Signature)
	if ok && !now.Before(held.expires) {
		held = sighted{}
	}
	held.clients = held.clients.with(s.Client)
	for _, r := range s.Rcpts {
		held.rcpts = held.rcpts.with(r)
	}
	held.expires = now.Add(s.Window)
	m.signatures.put(s.Signature, held)
	return Seen{Clients: held.clients.count(), Recipients: held.rcpts.count()}, nil
}

// sketch counts distinct hashes of 63 bits: it holds the smallest ones, at most
// Exact+1, sorted. Up to Exact that is all of them; with more, how dense they lie
// tells how many there were (k minimum values; its standard error is 1/sqrt(k)).
type sketch []int64

func (s sketch) with(h int64) sketch {
	i, found := slices.BinarySearch(s, h)
	switch {
	case found:
		return s
	case len(s) <= Exact:
		return slices.Insert(s, i, h)
	case i < len(s):
		copy(s[i+1:], s[i:])
		s[i] = h
	}
	return s
}

func (s sketch) count() int {
	if len(s) <= Exact {
		return len(s)
	}
	return int(Exact / (float64(s[Exact]) / math.MaxInt64))
}
