// Package redisstore keeps greylist records in Redis, shared by any number of
// sidecars: one server, Sentinel or Cluster.
//
// Each record is one string key with a time to live; the records of an identity
// and of its triplets bear the identity's hash as hash tag, so that an operation
// touches one slot. CompareAndSet is one script and one round trip. The script
// knows nothing of greylisting: the rules stand in greylist.Decide alone.
//
// Redis replicates asynchronously: a failover may lose the latest writes, and
// the senders concerned then meet a first contact again. Redis should run with
// maxmemory-policy noeviction (a full Redis answers errors, and the Service falls
// back) or volatile-ttl.
package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
)

// DefaultPrefix begins every key.
const DefaultPrefix = "mw:g:"

// Store is a greylist.Store. It is safe for concurrent use.
type Store struct {
	c      redis.UniversalClient
	prefix string
	set    *redis.Script
}

var _ greylist.Store = (*Store)(nil)

// New makes a store of a client, which stays the caller's to close. The client
// should obey deadlines, as redisurl sets it up. An empty prefix means
// DefaultPrefix. New does not touch the network.
func New(c redis.UniversalClient, prefix string) *Store {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return &Store{c: c, prefix: prefix, set: redis.NewScript(compareAndSet)}
}

// compareAndSet gets one or two keys and, for each, what it should hold, what it
// is to hold, and that for how many milliseconds; an empty text stands for no
// key. It answers an empty list, or what the keys hold.
const compareAndSet = `
local held, n = redis.call('MGET', unpack(KEYS)), #KEYS
local same = true
for i = 1, n do
  held[i] = held[i] or ''
  same = same and held[i] == ARGV[i]
end
if not same then return held end
for i = 1, n do
  local next = ARGV[n + i]
  if next == '' then
    if held[i] ~= '' then redis.call('DEL', KEYS[i]) end
  elseif next ~= held[i] then
    redis.call('SET', KEYS[i], next, 'PX', ARGV[2 * n + i])
  end
end
return {}
`

// Get implements greylist.Store in one round trip.
func (s *Store) Get(ctx context.Context, k greylist.Key) (greylist.Pair, error) {
	values, err := s.c.MGet(ctx, s.keys(k)...).Result()
	if err != nil {
		return greylist.Pair{}, err
	}
	return parse(values)
}

// CompareAndSet implements greylist.Store in one round trip, or two where the
// server does not have the script yet.
func (s *Store) CompareAndSet(ctx context.Context, k greylist.Key, old, next greylist.Pair) (greylist.Pair, error) {
	keys, was, now := s.keys(k), records(k, old), records(k, next)
	args := make([]any, 3*len(keys))
	for i := range keys {
		from, err := was[i].MarshalBinary()
		if err != nil {
			return greylist.Pair{}, err
		}
		to, err := now[i].MarshalBinary()
		if err != nil {
			return greylist.Pair{}, err
		}
		args[i], args[len(keys)+i], args[2*len(keys)+i] = from, to, now[i].Lifetime().Milliseconds()
	}
	held, err := s.set.Run(ctx, s.c, keys, args...).Slice()
	switch {
	case err != nil:
		return greylist.Pair{}, err
	case len(held) == 0:
		return next, nil
	}
	p, err := parse(held)
	if err != nil {
		return greylist.Pair{}, err
	}
	return p, greylist.ErrConflict
}

// keys are the identity's key and the triplet's, if there is one.
func (s *Store) keys(k greylist.Key) []string {
	id := s.prefix + "{" + base64.RawURLEncoding.EncodeToString(k.Identity[:]) + "}"
	if k.IsIdentity() {
		return []string{id}
	}
	return []string{id, id + base64.RawURLEncoding.EncodeToString(k.Triplet[:])}
}

// records are a pair's records in the order of keys.
func records(k greylist.Key, p greylist.Pair) []greylist.Record {
	if k.IsIdentity() {
		return []greylist.Record{p.Identity}
	}
	return []greylist.Record{p.Identity, p.Triplet}
}

// parse reads the values of keys.
func parse(values []any) (p greylist.Pair, err error) {
	to := []*greylist.Record{&p.Identity, &p.Triplet}
	if len(values) > len(to) {
		return p, errors.New("too many values from Redis")
	}
	for i, v := range values {
		text, _ := v.(string) // nil where there is no key
		if *to[i], err = greylist.ParseRecord(text); err != nil {
			return greylist.Pair{}, err
		}
	}
	return p, nil
}

// parseKey reads a key of ours.
func (s *Store) parseKey(key string) (greylist.Key, error) {
	text, ours := strings.CutPrefix(key, s.prefix+"{")
	id, triplet, closed := strings.Cut(text, "}")
	if !ours || !closed {
		return greylist.Key{}, fmt.Errorf("%q: %w", key, greylist.ErrKey)
	}
	if triplet != "" {
		id += "." + triplet
	}
	return greylist.ParseKey(id)
}
