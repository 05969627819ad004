// Package redisstore keeps counts in Redis, shared by any number of sidecars:
// one server, Sentinel or Cluster.
//
// A rate's count is one string, the moment when all will have drained. A
// signature's clients and its recipients are two sets of integers, which become
// HyperLogLogs when they have grown; they share a hash tag. Each step is a script
// that touches one slot, each question one round trip, and every key has a time
// to live. Keys and members are keyed hashes.
//
// Counts are about right through faults. Redis replicates asynchronously: a
// failover may lose the latest, which lets a little more through. After a network
// error the client may ask again and count twice. Redis should run with
// maxmemory-policy noeviction or volatile-ttl.
package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/filter/limit"
)

// DefaultPrefix begins every key.
const DefaultPrefix = "mw:"

// Store is a limit.Store and a limit.ReplayStore. It is safe for concurrent use.
type Store struct {
	c      redis.UniversalClient
	prefix string
	spend  *redis.Script
	seen   *redis.Script

	callersClock bool // instead of the server's, in tests
}

var (
	_ limit.Store       = (*Store)(nil)
	_ limit.ReplayStore = (*Store)(nil)
)

// New makes a store of a client, which stays the caller's to close. The client
// should obey deadlines, as redisurl sets it up. An empty prefix means
// DefaultPrefix. New does not touch the network.
func New(c redis.UniversalClient, prefix string) *Store {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return &Store{c: c, prefix: prefix, spend: redis.NewScript(spend), seen: redis.NewScript(seen)}
}

// spend is limit.Spend in microseconds: it gets what the cost takes to drain,
// what a full burst takes, and the time, or "" for the server's: sidecars'
// clocks differ. All numbers are whole and below 2^53, hence exact. It answers
// how long what was spent before takes to drain.
const spend = `
local add, depth, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local held = (tonumber(redis.call('GET', KEYS[1]) or 0) or 0) - now
local used = math.min(math.max(held, 0), depth)
local keep = used + add
if add <= 0 or keep > depth then
  keep = held > depth and depth or 0 -- 0: leave what is there
end
if keep > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', now + keep), 'PX', string.format('%.0f', math.ceil(keep / 1000)))
end
return used
`

// Spend implements limit.Store: one round trip for all charges, or two where the
// server does not have the script yet. The time is the server's.
func (s *Store) Spend(ctx context.Context, now time.Time, charges []limit.Charge) ([]limit.Decision, error) {
	at := ""
	if s.callersClock {
		at = fmt.Sprint(now.UnixMicro())
	}
	cmds := make([]*redis.Cmd, len(charges))
	if err := s.send(ctx, charges, cmds, at, s.spend.EvalSha); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		_ = s.send(ctx, charges, cmds, at, s.spend.Eval)
	}
	out := make([]limit.Decision, len(charges))
	for i, cmd := range cmds {
		used, err := cmd.Int64()
		if err != nil {
			return nil, err
		}
		out[i] = charges[i].Limit.Judge(time.Duration(used)*time.Microsecond, charges[i].Cost)
	}
	return out, nil
}

// send sends those of the charges that have not been made, in one pipeline.
func (s *Store) send(ctx context.Context, charges []limit.Charge, cmds []*redis.Cmd, at string,
	eval func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) error {
	_, err := s.c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, c := range charges {
			if cmds[i] != nil && cmds[i].Err() == nil {
				continue
			}
			add, depth := c.Limit.Interval(c.Cost).Microseconds(), c.Limit.Depth().Microseconds()
			cmds[i] = eval(ctx, p, []string{s.prefix + "rate:" + text(c.Bucket)}, add, depth, at)
		}
		return nil
	})
	return err
}

// seen adds members to two sets and answers how many there are. It gets the time
// to live, how large a set may grow, the client and the recipients. A set that
// grows further becomes a HyperLogLog under the same key. Arguments go in by the
// hundreds: Lua's stack is limited.
const seen = `
local function add(key, first, last)
  local kind = redis.call('TYPE', key).ok
  local sketch = kind ~= 'set' and kind ~= 'none'
  for i = first, last, 500 do
    local j = math.min(i + 499, last)
    redis.call(sketch and 'PFADD' or 'SADD', key, unpack(ARGV, i, j))
    if not sketch and redis.call('SCARD', key) > tonumber(ARGV[2]) then
      local all = redis.call('SMEMBERS', key)
      redis.call('DEL', key)
      redis.call('PFADD', key, unpack(all))
      sketch = true
    end
  end
  redis.call('PEXPIRE', key, ARGV[1])
  return redis.call(sketch and 'PFCOUNT' or 'SCARD', key)
end
return {add(KEYS[1], 3, 3), add(KEYS[2], 4, #ARGV)}
`

// Seen implements limit.ReplayStore in one round trip, or two where the server
// does not have the script yet.
func (s *Store) Seen(ctx context.Context, _ time.Time, g limit.Sighting) (limit.Seen, error) {
	key := s.prefix + "replay:{" + text(g.Signature) + "}"
	args := make([]any, 0, 3+len(g.Rcpts))
	args = append(args, max(g.Window.Milliseconds(), 1), limit.Exact, g.Client)
	for _, r := range g.Rcpts {
		args = append(args, r)
	}
	counts, err := s.seen.Run(ctx, s.c, []string{key + "c", key + "r"}, args...).Int64Slice()
	if err != nil {
		return limit.Seen{}, err
	}
	if len(counts) != 2 {
		return limit.Seen{}, errors.New("want two counts from Redis")
	}
	return limit.Seen{Clients: int(counts[0]), Recipients: int(counts[1])}, nil
}

func text(b limit.Bucket) string { return base64.RawURLEncoding.EncodeToString(b[:]) }
