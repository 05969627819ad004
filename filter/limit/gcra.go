// Package limit counts: mail against rate limits (Rates), and the clients and
// recipients of a DKIM signature (Replays). The arithmetic of rates is pure and
// stands in Spend alone; what was counted is kept in a Store: this process'
// memory, or a Redis that several sidecars share (redisstore).
//
// Counting must never stall mail: a shared store is asked within a time budget,
// and while it does not answer, this process' memory decides.
//
// Left out: what happens to mail over a limit. That is policy.
package limit

import (
	"math"
	"math/bits"
	"time"
)

// Key is one thing that a limit counts by.
type Key string

// The keys. Several keys of one limit combine: each combination of values has a
// count of its own. Case is folded in all of them.
const (
	Client       Key = "client" // the client's address
	Net          Key = "net"    // its /24 or /64
	Sender       Key = "sender" // the envelope sender
	SenderDomain Key = "sender_domain"
	Rcpt         Key = "rcpt"
	RcptDomain   Key = "rcpt_domain"
	AuthUser     Key = "auth_user" // the login name
)

// Unit is what a limit counts.
type Unit string

// The units. The empty one means Messages.
const (
	Messages   Unit = "messages"
	Recipients Unit = "recipients"
	Bytes      Unit = "bytes"
)

// Limit allows Count units in each Per, on the long run; and up to Burst at once
// after a rest.
type Limit struct {
	Name  string
	Key   []Key
	Count int64
	Per   time.Duration
	Burst int64 // 0 means Count
	Unit  Unit
}

// State is what is kept of one count: the moment, in microseconds since 1970,
// when all that was spent will have drained away (the "theoretical arrival time"
// of the generic cell rate algorithm, ITU-T I.371). Zero means that nothing was
// spent.
type State int64

// Decision is the answer about one cost.
type Decision struct {
	Exceeded  bool
	Retry     time.Duration // how long until the same cost fits; 0 when it did, Never when it is more than Burst
	Remaining int64         // units that would fit now
}

// Never is the Retry of a cost that no waiting makes fit.
const Never time.Duration = math.MaxInt64

// Spend takes a cost from a limit and gives what to keep.
//
// What does not fit takes nothing: a client that hammers at its limit still gets
// through as often as the limit allows, and is never locked out. A cost of 0 is
// a look. A state further ahead than a full burst is cut to one: the clock went
// back, or the limit was a longer one.
func Spend(now time.Time, l Limit, state State, cost int64) (State, Decision) {
	at := now.UnixMicro()
	state = min(state, State(at+l.Depth().Microseconds()))
	used := max(int64(state), at) - at
	d := l.Judge(time.Duration(used)*time.Microsecond, cost)
	if d.Exceeded || cost <= 0 {
		return state, d
	}
	return State(at + used + l.Interval(cost).Microseconds()), d
}

// Judge tells whether a cost fits when what was spent before takes that long to
// drain. It is for stores that do the additions of Spend themselves.
func (l Limit) Judge(used time.Duration, cost int64) Decision {
	depth, add := l.Depth(), l.Interval(cost)
	used = min(max(used, 0), depth)
	if add > depth-used {
		d := Decision{Exceeded: true, Retry: used + add - depth, Remaining: l.units(depth - used)}
		if add > depth {
			d.Retry = Never
		}
		return d
	}
	return Decision{Remaining: l.units(depth - used - add)}
}

// Depth is how long a full burst takes to drain.
func (l Limit) Depth() time.Duration {
	if l.Burst > 0 {
		return l.Interval(l.Burst)
	}
	return l.Interval(l.Count)
}

// longest bounds what Interval gives, 71 years. Moments of this century and
// twice that fit the 53 bits of a number in Redis' scripts.
const longest = 1 << 51

// Interval is how long units take to drain, in whole microseconds. It rounds
// down, so that no more than a microsecond of each spending is given away.
func (l Limit) Interval(units int64) time.Duration {
	us := mulDiv(units, l.Per.Microseconds(), l.Count)
	return time.Duration(min(us, longest)) * time.Microsecond
}

// units is how many drain in a time.
func (l Limit) units(d time.Duration) int64 {
	return mulDiv(d.Microseconds(), l.Count, l.Per.Microseconds())
}

// mulDiv gives a*b/c without overflow on the way, and the largest number where
// the result would overflow. What is not positive counts as 0, as c as 1.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(max(a, 0)), uint64(max(b, 0)))
	by := uint64(max(c, 1))
	if hi >= by {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, by)
	return int64(min(q, math.MaxInt64))
}
