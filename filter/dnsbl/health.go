package dnsbl

import (
	"context"
	"errors"
	"time"
)

// state says whether messages may ask a zone.
type state uint8

const (
	doubtful state = iota // not probed yet: not asked
	good
	bad // out of service
)

// Fault is the kind of what keeps a zone out of service.
type Fault string

// The faults.
const (
	FaultRefusing Fault = "refusing" // it answers error codes: it does not serve us
	FaultForeign  Fault = "foreign"  // addresses that are no codes: someone else answers for it
	FaultWildcard Fault = "wildcard" // it lists what it must not, as if it listed everything
	FaultEmpty    Fault = "empty"    // it does not list its test entry
	FaultSilent   Fault = "silent"   // the DNS gives no answer
)

// health is what is known of a zone. It changes by the two functions below, for
// what messages and probes have met, and by nothing else.
type health struct {
	state  state
	why    string // not good
	fault  Fault  // bad
	since  time.Time
	strain int // of lookups of messages: 2 more for each that failed, 1 less for each that did not
	silent int // probes without an answer, one after the other
}

const (
	notProbed   = "not probed yet"
	maxFailures = 5 // in a row; then a zone that hangs costs messages no more time
	maxSilent   = 2 // one lost probe is no sign
)

// afterAnswer is the health after an answer to a message.
func (h health) afterAnswer(o Outcome, f Fault, why string) health {
	switch {
	case o.answered():
		// Not back to 0: a zone that hangs at every second question costs messages time.
		h.strain = max(h.strain-1, 0)
	case o == Refused:
		h.state, h.why, h.fault = bad, why, f
	case o == Failed:
		if h.strain += 2; h.strain >= 2*maxFailures {
			h.state, h.why, h.fault = bad, "many lookups failed: "+why, FaultSilent
		}
	}
	return h
}

// afterProbe is the health after a probe.
func (h health) afterProbe(o Outcome, f Fault, why string) health {
	switch {
	case o == Clean:
		h.state, h.why, h.fault, h.silent = good, "", "", 0
	case o == Failed && h.state == good && h.silent+1 < maxSilent:
		h.silent++
	default:
		h.state, h.why, h.fault, h.silent = bad, why, f, 0
	}
	return h
}

// inService tells whether messages may ask the zone, and why not.
func (z *zone) inService() (why string, ok bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.health.why, z.health.state == good
}

// learn takes what an answer to a message tells about a zone.
func (b *Book) learn(ctx context.Context, z *zone, a Answer) {
	if a.kept {
		return // the zone was not asked
	}
	if a.Outcome == Failed && errors.Is(ctx.Err(), context.Canceled) {
		return // the client left: the zone may have been about to answer
	}
	hangs := false
	b.change(z, func(h health) health {
		if h.state != good {
			return h // it went out of service meanwhile; probes decide
		}
		h = h.afterAnswer(a.Outcome, a.fault, a.Why)
		hangs = h.state == bad && a.Outcome == Failed
		return h
	})
	if hangs {
		select {
		case z.kick <- struct{}{}:
		default:
		}
	}
}

// change makes a change of health, and tells it where it makes a difference to
// messages. The lock of notify keeps what is told in order.
func (b *Book) change(z *zone, f func(health) health) {
	z.notify.Lock()
	defer z.notify.Unlock()
	z.mu.Lock()
	old := z.health
	h := f(old)
	if h.state != old.state {
		h.since, h.strain = b.o.Now(), 0
	}
	z.health = h
	z.mu.Unlock()
	switch {
	case h.state == old.state:
		return
	case h.state == good:
		b.o.Log.Info("dns list came into service", "zone", z.Name)
	default:
		b.o.Log.Warn("dns list went out of service", "zone", z.Name, "why", h.why)
	}
	b.tellHealth(z, h)
}

func (b *Book) tellHealth(z *zone, h health) {
	if b.o.Observer.Health != nil && h.state != doubtful {
		b.o.Observer.Health(z.Name, h.state == good, h.why)
	}
}
