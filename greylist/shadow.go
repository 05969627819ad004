package greylist

import (
	"context"
	"sync"
	"time"
)

// shadow is what this process knows of the store's records. It serves twice: as
// a guess of what the store holds, which CompareAndSet then proves or corrects,
// and as the ground of the fallback's decisions while the store is away. What
// the fallback learns is owed to the store.
type shadow struct {
	mem *Memory // as the store last told

	mu    sync.Mutex
	debts *turning[debt]
}

// debt is a record that the store does not know yet.
type debt struct {
	record Record
	base   uint32 // of an identity: passes that the store was last known to hold
}

// owed are the debts that take part in a decision.
type owed struct{ triplet, identity debt }

func newShadow(limit int) *shadow {
	return &shadow{mem: NewMemory(limit), debts: newTurning[debt](limit)}
}

// seen gives what the store held when it was last asked.
func (s *shadow) seen(k Key) Pair {
	p, _ := s.mem.Get(context.Background(), k)
	return p
}

// merge adds what is owed to what the store holds.
func (s *shadow) merge(now time.Time, p Params, k Key, held Pair) (Pair, owed) {
	s.mu.Lock()
	o := s.owed(k)
	s.mu.Unlock()
	if o.none() {
		return held, o
	}
	return Merge(now, p, held, Pair{o.triplet.record, o.identity.record}, o.identity.base), o
}

func (s *shadow) owed(k Key) (o owed) {
	if s.debts.len() == 0 {
		return o
	}
	if !k.IsIdentity() {
		o.triplet, _ = s.debts.get(k)
	}
	o.identity, _ = s.debts.get(k.Owner())
	return o
}

func (o owed) none() bool { return o.triplet.record.IsZero() && o.identity.record.IsZero() }

// agreed notes what the store holds now, and that the debts in o are paid,
// unless they grew meanwhile.
func (s *shadow) agreed(k Key, held Pair, o owed) {
	s.mem.set(k, held)
	if o.none() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.owed(k)
	if now.triplet.record.Equal(o.triplet.record) {
		s.debts.remove(k)
	}
	switch id := now.identity.record; {
	case id.Equal(o.identity.record):
		s.debts.remove(k.Owner())
	case !id.IsZero():
		s.debts.put(k.Owner(), debt{id, held.Identity.Passes})
	}
}

// decide is the fallback: the same rules over what is known here.
func (s *shadow) decide(now time.Time, p Params, r Request, k Key) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.seen(k)
	o := s.owed(k)
	known := held
	if !o.none() {
		known = Merge(now, p, held, Pair{o.triplet.record, o.identity.record}, o.identity.base)
	}
	out, next := Decide(now, p, r.Doubtful, known)
	next = named(next, readable(r.Identity))
	out.Degraded = true
	if !next.Triplet.Equal(known.Triplet) {
		s.debts.put(k, debt{record: next.Triplet})
	}
	if !next.Identity.Equal(known.Identity) {
		base := o.identity.base
		if o.identity.record.IsZero() {
			base = held.Identity.Passes
		}
		s.debts.put(k.Owner(), debt{next.Identity, base})
	}
	return out
}

// drop gives up what the store cannot be told.
func (s *shadow) drop(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.debts.remove(k)
}

// owes tells whether the store lacks anything.
func (s *shadow) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.debts.len() > 0
}

// owedKeys lists what the store lacks.
func (s *shadow) owedKeys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]Key, 0, s.debts.len())
	for k := range s.debts.all {
		keys = append(keys, k)
	}
	return keys
}

// forget drops a triplet, or an identity with its triplets.
func (s *shadow) forget(k Key) {
	_, _ = s.mem.Delete(context.Background(), k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.IsIdentity() {
		s.debts.removeIdentity(k)
		return
	}
	s.debts.remove(k)
}
