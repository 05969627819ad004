package filter

import (
	"sync"
	"time"
)

// Defers remembers since when a sender has met our temporary errors, so that a
// broken zone cannot hold mail back for days. It is bounded, lives in memory,
// and is safe for concurrent use.
type Defers struct {
	mu   sync.Mutex
	seen map[string]trouble
}

// trouble is when a sender was first and last met in it.
type trouble struct{ first, last time.Time }

const (
	maxDefers    = 50_000
	forgetDefers = 24 * time.Hour // without any mail of the sender
)

// NewDefers gives an empty memory.
func NewDefers() *Defers { return &Defers{seen: map[string]trouble{}} }

// Age tells how long ago the sender was first seen in trouble, and remembers
// that it is now.
func (d *Defers) Age(sender string, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.seen[sender]
	if !ok || now.Sub(t.last) >= forgetDefers {
		t = trouble{first: now}
	}
	t.last = now
	if !ok && len(d.seen) >= maxDefers {
		d.shrink(now)
	}
	d.seen[sender] = t
	return max(now.Sub(t.first), 0)
}

// Clear forgets a sender whose checks worked again.
func (d *Defers) Clear(sender string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seen, sender)
}

// shrink drops what is old, and arbitrary entries when that is not enough.
func (d *Defers) shrink(now time.Time) {
	for k, t := range d.seen {
		if now.Sub(t.last) >= forgetDefers || len(d.seen) > maxDefers*9/10 {
			delete(d.seen, k)
		}
	}
}
