package filter

import (
	"sync"
	"time"
)

// Defers remembers since when a sender has met our temporary errors, so that a
// broken zone cannot hold mail back for days. It is bounded, lives in memory,
// and is safe for concurrent use.
type Defers struct {
	mu    sync.Mutex
	first map[string]time.Time
}

const (
	maxDefers    = 50_000
	forgetDefers = 24 * time.Hour
)

// NewDefers gives an empty memory.
func NewDefers() *Defers { return &Defers{first: map[string]time.Time{}} }

// Age tells how long ago the sender was first seen in trouble, and remembers
// now when it was not.
func (d *Defers) Age(sender string, now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t, ok := d.first[sender]; ok && now.Sub(t) < forgetDefers {
		return max(now.Sub(t), 0)
	}
	if len(d.first) >= maxDefers {
		d.shrink(now)
	}
	d.first[sender] = now
	return 0
}

// Clear forgets a sender whose checks worked again.
func (d *Defers) Clear(sender string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.first, sender)
}

// shrink drops what is old, and arbitrary entries when that is not enough.
func (d *Defers) shrink(now time.Time) {
	for k, t := range d.first {
		if now.Sub(t) >= forgetDefers || len(d.first) > maxDefers*9/10 {
			delete(d.first, k)
		}
	}
}
