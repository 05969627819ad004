// Package greylist defers mail of clients that are not known until they have
// shown that they try again (RFC 6647). It says who a client is (Identify),
// decides over what was seen before (Decide, pure, the only place of the rules),
// and keeps that in a Store: a shared Redis (redisstore) or a file (boltstore).
//
// Service puts the three together, within a time budget and whatever the store
// does. Left out: which mail is greylisted at all, and the words of the reply.
// Both are policy.
package greylist

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"

	"mailwicket/filter/mail"
)

// Request asks about one recipient of one message.
type Request struct {
	Identity  Identity
	Sender    mail.Address
	Recipient mail.Address
	Doubtful  bool // nobody answers for the client: it waits longer
}

// Observer looks on. Either member may be nil; they must not block.
type Observer struct {
	// Op is called after each operation on the store. The result is ok, conflict,
	// timeout, error, canceled (by the caller), or open (the breaker spared the
	// store the question).
	Op func(op, result string, took time.Duration)
	// Degraded is called when the fallback takes over, and when the store is back
	// and knows all that the fallback learned.
	Degraded func(degraded bool, why string)
}

// ServiceConfig is all that a Service needs. Only Store is required.
type ServiceConfig struct {
	Store    Store
	Params   Params                  // zero means DefaultParams
	Secret   []byte                  // of the key hashes: the same on all sidecars of a store
	Budget   time.Duration           // of one Check, all its operations; 0 means 150 ms
	OptedOut func(mail.Address) bool // recipients without greylisting; nil means none
	Now      func() time.Time
	Log      *slog.Logger
	Observer Observer
}

// The breaker: after so many failures in a row the store is left alone for so
// long, and then tried with one operation.
const (
	breakerFailures = 5
	breakerOpen     = time.Second
)

// fallbackRecords bounds the in-process memory: about 20 MB, and as much again in
// an outage.
const fallbackRecords = 1 << 16

// maxTries bounds how often a decision is made anew because somebody else wrote
// in between. Each time at least one other decision went through.
const maxTries = 16

// Service answers greylist questions. It is safe for concurrent use.
type Service struct {
	c        ServiceConfig
	keys     keyer
	store    Store // c.Store, observed
	breaker  *gobreaker.CircuitBreaker[Outcome]
	shadow   *shadow
	recovery *recovery
}

// New makes a Service. It does not touch the store. Close must be called at the
// end.
func New(c ServiceConfig) *Service {
	if c.Params == (Params{}) {
		c.Params = DefaultParams()
	}
	if c.Budget <= 0 {
		c.Budget = 150 * time.Millisecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{c: c, keys: newKeyer(c.Secret), shadow: newShadow(fallbackRecords), recovery: &recovery{}}
	s.store = observed{c.Store, c.Observer.Op}
	s.breaker = gobreaker.NewCircuitBreaker[Outcome](gobreaker.Settings{
		Name: "greylist", Timeout: breakerOpen,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerFailures },
		IsExcluded: func(err error) bool {
			return errors.Is(err, errCaller) || errors.Is(err, ErrConflict) || errors.Is(err, ErrShared) || unreadable(err)
		},
	})
	s.recovery.ctx, s.recovery.stop = context.WithCancel(context.Background())
	return s
}

// With gives a Service of other parameters over the same store and memory: what
// one learned and owes to the store, both know. Close ends both.
func (s *Service) With(p Params) *Service {
	other := *s
	other.c.Params = p
	return &other
}

// unreadable tells of a record that the store has and we cannot read, such as one of
// a later release. It says nothing about the store, or about other clients.
func unreadable(err error) bool { return errors.Is(err, ErrRecord) || errors.Is(err, ErrVersion) }

// errCaller marks errors that say nothing about the store.
var errCaller = errors.New("the caller gave up")

// Check answers one request and remembers it, within the budget. When the store
// does not answer, the in-process fallback does, and the Outcome says Degraded.
// An error means that the caller's ctx ended.
func (s *Service) Check(ctx context.Context, r Request) (Outcome, error) {
	if s.c.OptedOut != nil && s.c.OptedOut(r.Recipient) {
		return Outcome{Status: OptedOut}, nil
	}
	key, now := s.keys.triplet(r), s.c.Now()
	out, err := s.breaker.Execute(func() (Outcome, error) {
		budget, cancel := context.WithTimeout(ctx, s.c.Budget)
		defer cancel()
		out, err := s.decide(budget, r, key, now)
		if err != nil && ctx.Err() != nil {
			err = errCaller
		}
		return out, err
	})
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, errCaller):
		return Outcome{}, context.Cause(ctx)
	case spared(err):
		s.observe("check", "open", 0)
	}
	// First the answer, then the notice: recovery ends only when nothing is owed.
	out = s.shadow.decide(now, s.c.Params, r, key)
	if unreadable(err) {
		s.recovery.unread.Do(func() {
			s.c.Log.Warn("greylist record not read; its client is judged from memory", slog.String("error", err.Error()))
		})
		return out, nil
	}
	s.degrade(err)
	return out, nil
}

// spared tells whether the breaker did not let the operation through.
func spared(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}

// decide asks the store, and writes down what follows.
func (s *Service) decide(ctx context.Context, r Request, key Key, now time.Time) (Outcome, error) {
	var out Outcome
	name := readable(r.Identity)
	err := s.update(ctx, key, now, func(known Pair) Pair {
		o, next := Decide(now, s.c.Params, r.Doubtful, known)
		out = o
		return named(next, name)
	})
	if errors.Is(err, ErrConflict) {
		err = nil // the others' writes keep the record alive; ours would only have counted
	}
	return out, err
}

// update changes what the store holds, with what the fallback learned put in. It
// first supposes that the store holds what this process saw last, mostly
// nothing: then one operation does all. Change is called with each state that
// turned up, and the last call is the one that counts; it never removes a
// triplet. After maxTries the error is ErrConflict.
func (s *Service) update(ctx context.Context, key Key, now time.Time, change func(Pair) Pair) error {
	v := view{held: s.shadow.seen(key)}
	v.stored = v.held
	for range maxTries {
		known, owed := s.shadow.merge(now, s.c.Params, key, v.held)
		next := change(known)
		if next.Triplet.IsZero() {
			next.Triplet = v.stored.Triplet
		}
		done, err := s.step(ctx, key, &v, next, owed)
		if err != nil {
			return err
		}
		if done {
			s.shadow.agreed(key, next, owed)
			return nil
		}
	}
	s.shadow.mem.set(key, v.stored)
	known, _ := s.shadow.merge(now, s.c.Params, key, v.held)
	change(known)
	return ErrConflict
}

// view is what one update knows of the store.
type view struct {
	held   Pair // to decide on
	stored Pair // held, with the triplet that this update has added
	proven bool // the store said so; else this process remembers it
}

// step does the one operation that brings next into the store, or else corrects
// the view. It tells whether the store holds next.
func (s *Service) step(ctx context.Context, key Key, v *view, next Pair, o owed) (done bool, err error) {
	same := next.Equal(v.stored)
	switch {
	case same && v.proven:
		return true, nil
	case same:
		v.held, err = s.store.Get(ctx, key)
		v.stored = v.held
	case !v.proven && o.none() && begins(v.held, next):
		added := false
		v.held, added, err = s.store.GetOrAdd(ctx, key, next.Triplet)
		if v.stored = v.held; added {
			v.stored.Triplet = next.Triplet
		}
	default:
		v.held, err = s.store.CompareAndSet(ctx, key, v.stored, next)
		if err == nil {
			return true, nil
		}
		v.stored = v.held
	}
	v.proven = true
	if errors.Is(err, ErrConflict) {
		err = nil
	}
	return false, err
}

// begins tells whether next is a first contact and no more.
func begins(held, next Pair) bool {
	return held.Triplet.IsZero() && next.Triplet.Passes == 0 && next.Identity.Equal(held.Identity)
}

func named(p Pair, name string) Pair {
	if !p.Identity.IsZero() {
		p.Identity.Name = name
	}
	return p
}

func (s *Service) observe(op, result string, took time.Duration) {
	if s.c.Observer.Op != nil {
		s.c.Observer.Op(op, result, took)
	}
}
