// Package redisstore keeps greylist records in Redis, shared by any number of
// sidecars: one server, Sentinel or Cluster.
//
// Each record is one string key with a time to live; the records of an identity
// and of its triplets bear the identity's hash as hash tag, so that an operation
// touches one slot. Each operation is one round trip: of plain commands, which any
// Redis since 2.6 knows, but for CompareAndSet, which is a script. The script knows
// nothing of greylisting: the rules stand in greylist.Decide alone. What is asked
// at the same moment is sent together (lanes).
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
	c       redis.UniversalClient
	cluster bool
	lanes   lanes // not used in a cluster, where a write to all nodes waits for the slowest
	prefix  string
	set     *redis.Script
}

var _ greylist.Store = (*Store)(nil)

// New makes a store of a client, which stays the caller's to close. The client
// should obey deadlines, as redisurl sets it up. An empty prefix means
// DefaultPrefix. New does not touch the network.
func New(c redis.UniversalClient, prefix string) *Store {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	_, one := c.(*redis.Client)
	return &Store{c: c, cluster: !one, lanes: lanes{c: c}, prefix: prefix, set: redis.NewScript(compareAndSet)}
}

// do runs commands in one round trip. They have their own errors, and must not be
// looked at where do gives one.
func (s *Store) do(ctx context.Context, cmds ...redis.Cmder) error {
	if !s.cluster {
		return s.lanes.do(ctx, cmds...)
	}
	p := s.c.Pipeline()
	_ = p.BatchProcess(ctx, cmds...) // only queues
	_, _ = p.Exec(ctx)
	return nil
}

// Get implements greylist.Store in one round trip.
func (s *Store) Get(ctx context.Context, k greylist.Key) (greylist.Pair, error) {
	cmds := s.reads(ctx, s.keys(k))
	if err := s.do(ctx, cmds...); err != nil {
		return greylist.Pair{}, err
	}
	return pair(cmds)
}

// reads are the commands that read keys. In a cluster each has one key, and is
// answered in the middle of a slot's move too.
func (s *Store) reads(ctx context.Context, keys []string) []redis.Cmder {
	if s.cluster {
		cmds := make([]redis.Cmder, len(keys))
		for i, key := range keys {
			cmds[i] = redis.NewStringCmd(ctx, "get", key)
		}
		return cmds
	}
	args := make([]any, 0, 3)
	args = append(args, "mget")
	for _, key := range keys {
		args = append(args, key)
	}
	return []redis.Cmder{redis.NewSliceCmd(ctx, args...)}
}

// GetOrAdd implements greylist.Store in one round trip: what is held is read when
// the triplet has been added.
func (s *Store) GetOrAdd(ctx context.Context, k greylist.Key, triplet greylist.Record) (greylist.Pair, bool, error) {
	if k.IsIdentity() {
		held, err := s.Get(ctx, k)
		return held, false, err
	}
	value, err := triplet.MarshalBinary()
	if err != nil {
		return greylist.Pair{}, false, err
	}
	keys := s.keys(k)
	add := redis.NewBoolCmd(ctx, "set", keys[1], value, "px", triplet.Lifetime().Milliseconds(), "nx")
	reads := s.reads(ctx, keys)
	if err := s.do(ctx, append([]redis.Cmder{add}, reads...)...); err != nil {
		return greylist.Pair{}, false, err
	}
	added, err := add.Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return greylist.Pair{}, false, err
	}
	held, err := pair(reads)
	if added {
		held.Triplet = greylist.Record{}
	}
	return held, added && err == nil, err
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

// CompareAndSet implements greylist.Store in one round trip, or two where the
// server does not have the script yet.
func (s *Store) CompareAndSet(ctx context.Context, k greylist.Key, old, next greylist.Pair) (greylist.Pair, error) {
	keys := s.keys(k)
	args, err := arguments(k, old, next)
	if err != nil {
		return greylist.Pair{}, err
	}
	cmd, err := s.script(ctx, "evalsha", s.set.Hash(), keys, args)
	if err == nil && redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		cmd, err = s.script(ctx, "eval", compareAndSet, keys, args)
	}
	if err != nil {
		return greylist.Pair{}, err
	}
	held, err := cmd.Slice()
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

// arguments are those of the script.
func arguments(k greylist.Key, old, next greylist.Pair) ([]any, error) {
	was, now := records(k, old), records(k, next)
	n := len(was)
	args := make([]any, 3*n)
	for i := range was {
		from, err := was[i].MarshalBinary()
		if err != nil {
			return nil, err
		}
		to, err := now[i].MarshalBinary()
		if err != nil {
			return nil, err
		}
		args[i], args[n+i], args[2*n+i] = from, to, now[i].Lifetime().Milliseconds()
	}
	return args, nil
}

func (s *Store) script(ctx context.Context, command, script string, keys []string, args []any) (*redis.Cmd, error) {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, command, script, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3)
	return cmd, s.do(ctx, cmd)
}

// keys are the identity's key and the triplet's, if there is one.
func (s *Store) keys(k greylist.Key) []string {
	b := make([]byte, 0, len(s.prefix)+2+2*hashLen)
	b = append(append(b, s.prefix...), '{')
	b = append(base64.RawURLEncoding.AppendEncode(b, k.Identity[:]), '}')
	n := len(b)
	if k.IsIdentity() {
		return []string{string(b)}
	}
	both := string(base64.RawURLEncoding.AppendEncode(b, k.Triplet[:]))
	return []string{both[:n], both}
}

// hashLen is that of a hash in base64.
const hashLen = 22

// records are a pair's records in the order of keys.
func records(k greylist.Key, p greylist.Pair) []greylist.Record {
	if k.IsIdentity() {
		return []greylist.Record{p.Identity}
	}
	return []greylist.Record{p.Identity, p.Triplet}
}

// pair reads the answers to GET of each key, or to MGET.
func pair(cmds []redis.Cmder) (greylist.Pair, error) {
	if all, ok := cmds[0].(*redis.SliceCmd); ok {
		values, err := all.Result()
		if err != nil {
			return greylist.Pair{}, err
		}
		return parse(values)
	}
	values := make([]any, len(cmds))
	for i, cmd := range cmds {
		text, err := cmd.(*redis.StringCmd).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return greylist.Pair{}, err
		}
		values[i] = text
	}
	return parse(values)
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
