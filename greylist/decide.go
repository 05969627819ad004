package greylist

import (
	"fmt"
	"math"
	"time"
)

// Params are the times of greylisting.
type Params struct {
	Delay             time.Duration // how long the first retry must wait
	RetryWindow       time.Duration // after the first contact; a later retry is a new attempt
	PassLifetime      time.Duration // after its latest counted message a passed triplet is forgotten
	AutoAllowAfter    int           // passes, PassGap apart, after which an identity is let through; 0 never
	AutoAllowLifetime time.Duration // after its latest counted pass an identity is forgotten

	// Of doubtful clients; zero means that they are like the others.
	DoubtfulDelay  time.Duration // where it is longer than Delay
	DoubtfulWindow time.Duration // where it is shorter than RetryWindow
}

// DelayOf is how long a first retry waits.
func (p Params) DelayOf(doubtful bool) time.Duration {
	if doubtful {
		return max(p.Delay, p.DoubtfulDelay)
	}
	return p.Delay
}

// WindowOf is how long after the first contact a retry may come.
func (p Params) WindowOf(doubtful bool) time.Duration {
	if doubtful && p.DoubtfulWindow > 0 {
		return min(p.RetryWindow, p.DoubtfulWindow)
	}
	return p.RetryWindow
}

// DefaultParams gives the shipped settings: retries of five-minute queues pass
// at once, weekends fit into the window, and monthly mail into the lifetime. What
// comes from nobody in particular, and is a bot's mostly, waits longer than the ten
// minutes after which bots try again, and must come within half a day, which every
// queue does and bots that come again after a day do not.
func DefaultParams() Params {
	return Params{Delay: 240 * time.Second, RetryWindow: 48 * time.Hour, PassLifetime: 36 * 24 * time.Hour,
		AutoAllowAfter: 2, AutoAllowLifetime: 60 * 24 * time.Hour,
		DoubtfulDelay: 30 * time.Minute, DoubtfulWindow: 12 * time.Hour}
}

// PassGap is how far apart passes of an identity must be to count as two: many
// recipients of one message show one working queue, not many.
const PassGap = time.Hour

// CountGap is how far apart contacts of a triplet must be to be counted: what
// comes all the time is then read often but seldom written. The first contact and
// the first pass always count.
const CountGap = time.Minute

// Status is the answer of greylisting.
type Status uint8

// The answers. Zero is none of them.
const (
	Defer    Status = iota + 1 // answer 4xx
	Pass                       // this triplet came again in time
	Known                      // the identity is allowed
	OptedOut                   // the recipient does not want greylisting
)

var statusNames = [...]string{Defer: "defer", Pass: "pass", Known: "known", OptedOut: "opted_out"}

// String gives the word used in facts, rules and metrics.
func (s Status) String() string {
	if s >= Defer && int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// Outcome is a decision and what it rests on.
type Outcome struct {
	Status    Status
	FirstSeen time.Time     // of the triplet; of the identity where that is known
	Remaining time.Duration // of Defer: a retry after this passes
	Delayed   time.Duration // of the first Pass: what the greylist cost the message
	Attempts  int           // contacts of the triplet up to its pass: this one, and those before that were CountGap apart
	Doubtful  bool          // the client waits for longer than others
	Degraded  bool          // the in-process fallback decided
}

// Decide judges one contact by what was seen before, and tells what is to be
// remembered instead. It is pure: the same arguments give the same answer.
//
// An identity that an administrator allowed, or that passed often enough, is
// known. Otherwise the triplet passes if it passed before and has not been
// forgotten, or if it comes between Delay and RetryWindow after its first
// contact (RFC 6647, 5). Coming early costs nothing; coming after the window is
// a new first contact.
//
// What is remembered changes with a first contact, with a first pass, and for the
// rest at most once in a CountGap, of identities in a PassGap.
//
// A doubtful client (IdentityInput.Doubtful) waits longer. What it is at the first
// contact counts: one that is doubtful later is not kept waiting any longer. One
// that is not doubtful any more has the delay of the others.
func Decide(now time.Time, p Params, doubtful bool, seen Pair) (Outcome, Pair) {
	now = moment(now)
	next := seen
	if !identityLives(now, p, seen.Identity) {
		next.Identity = Record{}
	}
	if next.Identity.Allowed || p.AutoAllowAfter > 0 && next.Identity.Passes >= uint32(p.AutoAllowAfter) {
		next.Identity = counted(now, p, next.Identity)
		next.Triplet = seen.Triplet
		return Outcome{Status: Known, FirstSeen: next.Identity.FirstSeen, Attempts: int(seen.Triplet.Attempts)}, next
	}
	out, triplet := decideTriplet(now, p, doubtful, seen.Triplet)
	next.Triplet = triplet
	if out.Status == Pass {
		next.Identity = counted(now, p, next.Identity)
	}
	return out, next
}

// decideTriplet is Decide for identities that are not known.
func decideTriplet(now time.Time, p Params, doubtful bool, t Record) (Outcome, Record) {
	if !tripletLives(now, p, t) {
		t = Record{FirstSeen: now, LastSeen: now, Expires: now.Add(p.WindowOf(doubtful)), Attempts: 1, Doubtful: doubtful}
		return Outcome{Status: Defer, FirstSeen: now, Remaining: p.DelayOf(doubtful), Attempts: 1, Doubtful: doubtful}, t
	}
	doubtful = doubtful && t.Doubtful
	delay := p.DelayOf(doubtful)
	age := now.Sub(t.FirstSeen) // less than nothing where another sidecar's clock is ahead of ours
	out := Outcome{FirstSeen: t.FirstSeen, Doubtful: doubtful}
	switch {
	case t.Passes > 0:
		out.Status, out.Attempts = Pass, int(t.Attempts)
	case age >= delay:
		out.Status, out.Delayed, out.Attempts = Pass, age, int(more(t.Attempts))
	default:
		out.Status, out.Remaining, out.Attempts = Defer, delay-age, int(more(t.Attempts))
	}
	first := out.Status == Pass && t.Passes == 0
	gap := now.Sub(t.LastSeen)
	if !first && gap < CountGap && gap > -PassGap {
		return out, t
	}
	if gap <= -PassGap { // a wrong clock wrote it: it would stand still until then
		t.FirstSeen, t.LastSeen = earlier(t.FirstSeen, now), now
	}
	t.LastSeen, t.Attempts = later(t.LastSeen, now), uint32(out.Attempts)
	if out.Status == Pass {
		t.Passes = more(t.Passes)
		t.Expires = t.LastSeen.Add(p.PassLifetime)
	}
	return out, t
}

// counted adds a pass to an identity, and lengthens its life, at most once in a
// PassGap: busy identities are then read often but seldom written.
func counted(now time.Time, p Params, id Record) Record {
	if p.AutoAllowAfter <= 0 && !id.Allowed {
		return id
	}
	if id.IsZero() {
		id.FirstSeen = now
	} else if now.Sub(id.LastSeen).Abs() < PassGap {
		return id
	}
	id.FirstSeen, id.LastSeen = earlier(id.FirstSeen, now), now
	id.Passes = more(id.Passes)
	if until := now.Add(p.AutoAllowLifetime); !id.Allowed || until.After(id.Expires) {
		id.Expires = until
	}
	return id
}

// tripletLives tells whether the record still counts. One that starts further
// ahead than the delay was written by a wrong clock: waiting for it would never
// end.
func tripletLives(now time.Time, p Params, t Record) bool {
	switch {
	case t.IsZero():
		return false
	case t.Passes > 0:
		return now.Sub(t.LastSeen) < p.PassLifetime
	}
	age := now.Sub(t.FirstSeen)
	return age >= -p.DelayOf(t.Doubtful) && age <= p.WindowOf(t.Doubtful)
}

func identityLives(now time.Time, p Params, id Record) bool {
	switch {
	case id.IsZero():
		return false
	case id.Allowed:
		return now.Before(id.Expires)
	}
	return now.Sub(id.LastSeen) < p.AutoAllowLifetime
}

// Merge joins what two stores learned about the same key while they could not
// see each other; base is the number of identity passes that both knew before.
// The earliest contact that still counts wins, and passes of both count.
func Merge(now time.Time, p Params, a, b Pair, base uint32) Pair {
	return Pair{
		Triplet:  mergeTriplet(now, p, a.Triplet, b.Triplet),
		Identity: mergeIdentity(now, p, a.Identity, b.Identity, base),
	}
}

func mergeTriplet(now time.Time, p Params, a, b Record) Record {
	switch {
	case !tripletLives(now, p, b):
		return a
	case !tripletLives(now, p, a):
		return b
	}
	m := joined(a, b)
	m.Attempts, m.Passes = max(a.Attempts, b.Attempts), max(a.Passes, b.Passes)
	m.Doubtful = a.Doubtful && b.Doubtful
	if m.Passes == 0 {
		m.Expires = m.FirstSeen.Add(p.WindowOf(m.Doubtful))
	}
	return m
}

func mergeIdentity(now time.Time, p Params, a, b Record, base uint32) Record {
	// What an administrator did or undid stands in the store alone, and so do passes
	// from before: a record that is gone from there was forgotten.
	if b.Allowed {
		b.Allowed, b.Expires = false, b.LastSeen.Add(p.AutoAllowLifetime)
	}
	switch {
	case !identityLives(now, p, b):
		return a
	case !identityLives(now, p, a):
		b.Passes -= min(base, b.Passes)
		return b
	}
	m := joined(a, b)
	m.Allowed = a.Allowed || b.Allowed
	if m.Name == "" {
		m.Name = b.Name
	}
	m.Passes = max(a.Passes, b.Passes)
	if b.Passes > base && a.LastSeen.Sub(b.LastSeen).Abs() >= PassGap {
		m.Passes = max(m.Passes, a.Passes+(b.Passes-base))
	}
	return m
}

// joined takes the widest span of both.
func joined(a, b Record) Record {
	m := a
	m.FirstSeen, m.LastSeen, m.Expires = earlier(a.FirstSeen, b.FirstSeen), later(a.LastSeen, b.LastSeen), later(a.Expires, b.Expires)
	return m
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// more counts one up and stays at the end of the scale.
func more(n uint32) uint32 {
	if n == math.MaxUint32 {
		return n
	}
	return n + 1
}
