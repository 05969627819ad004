package limit

import (
	"context"
	"slices"
	"time"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

// memoryBuckets bounds the counts in this process, to about 20 MB.
const memoryBuckets = 1 << 18

// Rates counts mail against limits. It is safe for concurrent use.
type Rates struct {
	limits []Limit
	keys   hasher
	store  Store   // may be nil
	memory *Memory // what this process saw; decides while the store is away
	guard  *guard
}

// NewRates makes Rates of limits that Validate found right. A nil store means
// this process' memory alone. NewRates does not touch the store.
func NewRates(limits []Limit, store Store, o Options) *Rates {
	return &Rates{limits: slices.Clone(limits), keys: hasher{o.Secret}, store: store,
		memory: NewMemory(memoryBuckets), guard: newGuard("rates", o)}
}

// Exceeded counts the recipient s.Rcpt.To and gives the names of the limits that
// are exceeded, in order. It is to be called once for each RCPT, before it is
// decided: what other rules refuse has been counted too.
//
// A message counts once for each count that a limit keeps: with the first of its
// recipients, or of those with the same value where a key is about recipients.
// Earlier ones are those in s.Txn.Rcpts, which were accepted; so a message of
// which none was yet counts with each RCPT. Limits of bytes are left to Sized. A
// limit of which one key has no value does not apply.
//
// When the store does not answer, this process' memory decides. An error means
// that ctx ended.
func (r *Rates) Exceeded(ctx context.Context, s *fact.Set) ([]string, error) {
	var charges []Charge
	for _, l := range r.limits {
		if l.Unit == Bytes || l.Unit != Recipients && l.counted(s) {
			continue
		}
		if b, ok := r.keys.bucket(l, s, s.Rcpt.To.Value); ok {
			charges = append(charges, Charge{Bucket: b, Limit: l, Cost: 1})
		}
	}
	return r.spend(ctx, s.Now, charges)
}

// counted tells whether an earlier recipient brought the message to this count.
func (l Limit) counted(s *fact.Set) bool {
	return slices.ContainsFunc(s.Txn.Rcpts, func(a mail.Address) bool { return l.sameRcpt(a, s.Rcpt.To.Value) })
}

// Sized counts the bytes of a whole message, s.Txn.Size, and gives the names of
// the limits of bytes that had no room for it, as Exceeded does. It is to be
// called once, at the end of the message and before that is decided. A count by
// recipient or recipient's domain is charged once for each that the message has.
func (r *Rates) Sized(ctx context.Context, s *fact.Set) ([]string, error) {
	if !s.Txn.Size.Known() {
		return nil, nil
	}
	var charges []Charge
	for _, l := range r.limits {
		if l.Unit == Bytes {
			charges = append(charges, r.sizes(l, s)...)
		}
	}
	return r.spend(ctx, s.Now, charges)
}

// sizes gives a limit's charges for a message's bytes.
func (r *Rates) sizes(l Limit, s *fact.Set) []Charge {
	to := s.Txn.Rcpts
	if !slices.Contains(l.Key, Rcpt) && !slices.Contains(l.Key, RcptDomain) {
		to = []mail.Address{{}}
	}
	var out []Charge
	done := map[Bucket]bool{}
	for _, a := range to {
		if b, ok := r.keys.bucket(l, s, a); ok && !done[b] {
			done[b] = true
			out = append(out, Charge{Bucket: b, Limit: l, Cost: s.Txn.Size.Value})
		}
	}
	return out
}

// spend makes charges, those of one limit side by side.
func (r *Rates) spend(ctx context.Context, now time.Time, charges []Charge) ([]string, error) {
	if len(charges) == 0 {
		return nil, nil
	}
	decisions, err := r.decide(ctx, now, charges)
	r.tell(charges, decisions)
	if err != nil {
		return nil, err
	}
	var names []string
	for i, d := range decisions {
		name := charges[i].Limit.Name
		if d.Exceeded && (len(names) == 0 || names[len(names)-1] != name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// tell tells the observer of each charge. Without decisions they all came to
// nothing.
func (r *Rates) tell(charges []Charge, decisions []Decision) {
	decided := r.guard.o.Observer.Decided
	if decided == nil {
		return
	}
	for i, c := range charges {
		switch {
		case i >= len(decisions):
			decided(c.Limit.Name, "error")
		case decisions[i].Exceeded:
			decided(c.Limit.Name, "exceeded")
		default:
			decided(c.Limit.Name, "within")
		}
	}
}

func (r *Rates) decide(ctx context.Context, now time.Time, charges []Charge) ([]Decision, error) {
	if r.store == nil {
		return r.memory.Spend(ctx, now, charges)
	}
	var out []Decision
	ok, err := r.guard.ask(ctx, func(ctx context.Context) (err error) {
		out, err = r.store.Spend(ctx, now, charges)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return r.memory.Spend(ctx, now, charges)
	}
	r.remember(ctx, now, charges, out)
	return out, nil
}

// remember notes what went through, so that an outage does not begin with full
// bursts for those who have just used them up.
func (r *Rates) remember(ctx context.Context, now time.Time, charges []Charge, decisions []Decision) {
	var spent []Charge
	for i, d := range decisions {
		if !d.Exceeded {
			spent = append(spent, charges[i])
		}
	}
	_, _ = r.memory.Spend(ctx, now, spent) // never fails
}

// Degraded tells whether this process' memory decides in the store's place, and
// why.
func (r *Rates) Degraded() (bool, string) { return r.guard.state() }
