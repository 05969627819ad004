package redislist

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist/redisstore/redistest"
)

// thief takes the hash that is being built away before the n-th command of a name, as a
// server that is out of memory does with what has a lifetime.
type thief struct {
	direct redis.UniversalClient
	before string
	n      int
}

func (h *thief) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *thief) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error { h.take(ctx, c); return next(ctx, c) }
}

func (h *thief) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, c []redis.Cmder) error { h.take(ctx, c...); return next(ctx, c) }
}

func (h *thief) take(ctx context.Context, cmds ...redis.Cmder) {
	for _, c := range cmds {
		if c.Name() != h.before {
			continue
		}
		if h.n--; h.n == 0 {
			for _, k := range h.direct.Keys(ctx, DefaultPrefix+"*:*").Val() {
				h.direct.Del(ctx, k)
			}
		}
	}
}

// TestRestoreIsWhole: a list is given back whole or not at all.
func TestRestoreIsWhole(t *testing.T) {
	s := redistest.Start(t)
	direct := s.Direct(t)
	for before, n := range map[string]int{"evalsha": 1, "hset": 2} {
		c := client(t, "redis://"+s.Addr)
		c.AddHook(&thief{direct, before, n})
		store := New(c, "")
		if err := store.Restore(t.Context(), before, entries(1500)); !errors.Is(err, ErrIncomplete) {
			t.Errorf("before %s: %v", before, err)
		}
		if state, err := store.State(t.Context(), before); state != "" || err != nil {
			t.Errorf("before %s: there is a list, %q, %v", before, state, err)
		}
		if err := store.Restore(t.Context(), before, entries(1500)); err != nil {
			t.Error(err)
		}
		if _, all := set(t, store, before); len(all) != 1500 {
			t.Errorf("%d entries", len(all))
		}
	}
}
