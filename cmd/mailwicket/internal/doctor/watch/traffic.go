// Package watch keeps what doctor needs to know of the mail that passes: who the
// clients are, and what the MTA does not tell. It is bounded, whatever passes.
package watch

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"mailwicket/cmd/mailwicket/internal/doctor"
	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/observe/journal"
)

const (
	keptMessages = 1000
	keptFor      = 24 * time.Hour
)

// Traffic looks at the clients of recent messages. It is a filter.Observer, and
// safe for concurrent use. The zero value is ready.
type Traffic struct {
	mu   sync.Mutex
	ring []seen // the latest, in a circle
	next int
}

// seen is what is kept of a message.
type seen struct {
	at      time.Time
	client  netip.Addr
	trusted string
	name    string // macros j and v
	version string
}

// Message implements filter.Observer. Clients that have logged in may come from
// anywhere: they are left out.
func (t *Traffic) Message(r *filter.Record) {
	if r.Facts.Txn.AuthUser.State == fact.Known && r.Facts.Txn.AuthUser.Value != "" {
		return
	}
	c := &r.Facts.Conn
	if c.IP.State != fact.Known {
		return
	}
	s := seen{at: r.Start, client: c.IP.Value.Unmap(), trusted: c.Trusted.Value, name: c.MTA.Name, version: c.MTA.Version}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.ring) < keptMessages {
		t.ring = append(t.ring, s)
		return
	}
	t.ring[t.next] = s
	t.next = (t.next + 1) % keptMessages
}

// Check implements filter.Observer.
func (*Traffic) Check(string, fact.State, string, time.Duration) {}

// Evidence tells what was seen in the last day.
func (t *Traffic) Evidence(now time.Time) *doctor.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := &doctor.Traffic{Since: now}
	counts := map[netip.Addr]int{}
	var latest time.Time
	for _, s := range t.ring {
		if now.Sub(s.at) > keptFor {
			continue
		}
		out.Messages++
		counts[s.client]++
		if s.at.Before(out.Since) {
			out.Since = s.at
		}
		if !s.at.Before(latest) {
			latest, out.MTAName, out.Version = s.at, s.name, s.version
		}
	}
	out.Clients = len(counts)
	for a, n := range counts {
		if doctor.IsPrivate(a) && (n > out.TopCount || n == out.TopCount && a.Less(out.Top)) {
			out.Top, out.TopCount = a, n
		}
	}
	for _, s := range t.ring {
		if out.Top.IsValid() && s.client == out.Top {
			out.Trusted = s.trusted
		}
	}
	return out
}

// Journal gives what the journal of a directory tells of the last day; nil where it
// holds nothing of that.
func Journal(dir string, now time.Time) (*doctor.Traffic, error) {
	files, err := journal.Files(dir)
	if err != nil {
		return nil, err
	}
	var t Traffic
	if _, err := journal.Read(files, now.Add(-keptFor), func(r *filter.Record) error { t.Message(r); return nil }); err != nil && !errors.Is(err, journal.ErrVersion) {
		return nil, err
	}
	out := t.Evidence(now)
	if out.Messages == 0 {
		return nil, nil
	}
	out.FromDisk = true
	return out, nil
}
