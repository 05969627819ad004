package greylist

import (
	"context"
	"errors"
	"time"
)

// Entries lists stored records, page by page, as Store.Entries does. Keys are
// hashes; the records of identities that name an organization bear that name.
// Those of addresses and networks, and all triplets, can only be found by who
// knows what to look for (Lookup).
func (s *Service) Entries(ctx context.Context, cursor string, n int) (page []Entry, next string, err error) {
	all, next, err := s.store.Entries(ctx, cursor, n)
	for _, e := range all {
		if e.Key != (Key{}) { // the probe of handOver
			page = append(page, e)
		}
	}
	return page, next, wrap("list", err)
}

// Lookup gives what the store holds for a request, and its key.
func (s *Service) Lookup(ctx context.Context, r Request) (Key, Pair, error) {
	k := s.keys.triplet(r)
	p, err := s.store.Get(ctx, k)
	return k, p, wrap("get", err)
}

// LookupIdentity gives what the store holds for an identity, and its key.
func (s *Service) LookupIdentity(ctx context.Context, id Identity) (Key, Record, error) {
	k := s.keys.identity(id)
	p, err := s.store.Get(ctx, k)
	return k, p.Identity, wrap("get", err)
}

// LookupKey gives what the store holds for a key that Entries or Lookup gave.
func (s *Service) LookupKey(ctx context.Context, k Key) (Pair, error) {
	p, err := s.store.Get(ctx, k)
	return p, wrap("get", err)
}

// Remember notes that a triplet passed before, at another greylist: its mail then
// passes here as if it had waited here, until PassLifetime after last. What is
// known already stays. It tells whether that time is not over yet.
func (s *Service) Remember(ctx context.Context, r Request, first, last time.Time) (bool, error) {
	k, now := s.keys.triplet(r), moment(s.c.Now())
	last = moment(last)
	if last.After(now) {
		last = now
	}
	if first = moment(first); first.Unix() <= 0 || first.After(last) {
		first = last
	}
	t := Record{FirstSeen: first, LastSeen: last, Expires: last.Add(s.c.Params.PassLifetime), Attempts: 1, Passes: 1}
	if !tripletLives(now, s.c.Params, t) {
		return false, nil
	}
	for {
		err := s.update(ctx, k, now, func(known Pair) Pair {
			known.Triplet = mergeTriplet(now, s.c.Params, known.Triplet, t)
			known.Triplet.Expires = later(known.Triplet.Expires, known.Triplet.LastSeen.Add(s.c.Params.PassLifetime))
			return known
		})
		if !errors.Is(err, ErrConflict) {
			return err == nil, wrap("remember", err)
		}
	}
}

// allowedFor is as good as for ever: what an administrator said does not age.
const allowedFor = 20 * 365 * 24 * time.Hour

// Allow lets an identity through until it is forgotten.
func (s *Service) Allow(ctx context.Context, id Identity) error {
	k, now := s.keys.identity(id), moment(s.c.Now())
	for {
		err := s.update(ctx, k, now, func(known Pair) Pair {
			r := known.Identity
			if !identityLives(now, s.c.Params, r) {
				r = Record{FirstSeen: now}
			}
			r.LastSeen, r.Expires, r.Allowed = later(r.LastSeen, now), now.Add(allowedFor), true
			return named(Pair{Identity: r}, readable(id))
		})
		if !errors.Is(err, ErrConflict) {
			return wrap("allow", err)
		}
	}
}

// Forget removes an identity with all of its triplets, and tells how many
// records there were. Its mail is greylisted anew.
func (s *Service) Forget(ctx context.Context, id Identity) (int, error) {
	return s.ForgetKey(ctx, s.keys.identity(id))
}

// ForgetKey removes one triplet, or an identity with all of its triplets, by
// the key that Entries and Lookup gave.
func (s *Service) ForgetKey(ctx context.Context, k Key) (int, error) {
	s.shadow.forget(k)
	n, err := s.store.Delete(ctx, k)
	s.shadow.forget(k) // what a Check put back meanwhile
	return n, wrap("forget", err)
}
