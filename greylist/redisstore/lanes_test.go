package redisstore

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"mailwicket/greylist"
)

// wire stands in a client's hook in place of the network: writes wait for an
// answer that the test gives.
type wire struct {
	answers chan error

	mu     sync.Mutex
	writes [][]string // the keys of each
}

func (w *wire) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (w *wire) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (w *wire) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		var keys []string
		for _, c := range cmds {
			keys = append(keys, c.Args()[1].(string))
		}
		w.mu.Lock()
		w.writes = append(w.writes, keys)
		w.mu.Unlock()
		var err error
		select {
		case err = <-w.answers:
		case <-ctx.Done():
			err = ctx.Err()
		}
		for _, c := range cmds {
			if c.SetErr(err); err == nil && c.Args()[1] == "nothing" {
				c.SetErr(redis.Nil)
			}
		}
		return err
	}
}

func (w *wire) sizes() (sizes []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, keys := range w.writes {
		sizes = append(sizes, len(keys))
	}
	return sizes
}

// newLanes makes lanes over a wire.
func newLanes(t *testing.T) (*lanes, *wire) {
	c := redis.NewClient(&redis.Options{
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no network in this test")
		}})
	t.Cleanup(func() { _ = c.Close() })
	w := &wire{answers: make(chan error)}
	c.AddHook(w)
	return &lanes{c: c}, w
}

// ask sends one command, and gives what came of it.
func (l *lanes) ask(ctx context.Context, key string) error {
	cmd := redis.NewStringCmd(ctx, "get", key)
	if err := l.do(ctx, cmd); err != nil {
		return err
	}
	return cmd.Err()
}

// A call that finds a lane free goes alone and at once; those that find none go
// together.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLanes(t)
		const more = laneCalls + 3
		var wg sync.WaitGroup
		for range laneCount + more {
			wg.Go(func() {
				if err := l.ask(t.Context(), "x"); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		want := []int{}
		for range laneCount {
			want = append(want, 1)
		}
		for _, n := range []int{laneCalls, 3} {
			wantSizes(t, w, want)
			w.answers <- nil
			synctest.Wait()
			want = append(want, n)
		}
		for range laneCount {
			wantSizes(t, w, want)
			w.answers <- nil
		}
		wg.Wait()
		synctest.Wait()
		if l.busy != 0 || l.waiting != nil {
			t.Errorf("%d lanes busy, %d calls waiting at the end", l.busy, len(l.waiting))
		}
	})
}

func wantSizes(t *testing.T, w *wire, want []int) {
	t.Helper()
	got := w.sizes()
	if len(got) != len(want) {
		t.Fatalf("writes of %v commands, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("writes of %v commands, want %v", got, want)
		}
	}
}

// Who waits for a lane, or in a write with others, waits no longer than its own
// context; what it would have sent is not sent any more.
func TestLanesDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLanes(t)
		start := time.Now()
		var wg sync.WaitGroup
		ask := func(key string, limit, want time.Duration) {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				if err := l.ask(ctx, key); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != want {
					t.Errorf("%s: %v after %s, want its deadline after %s", key, err, time.Since(start), want)
				}
			})
			synctest.Wait()
		}
		for range laneCount {
			ask("first", 100*time.Millisecond, 100*time.Millisecond)
		}
		ask("given up", 50*time.Millisecond, 50*time.Millisecond)
		ask("short", 150*time.Millisecond, 150*time.Millisecond)
		ask("long", 200*time.Millisecond, 200*time.Millisecond)
		wg.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		last := w.writes[len(w.writes)-1]
		if len(w.writes) != laneCount+1 || len(last) != 2 || last[0] != "short" || last[1] != "long" {
			t.Errorf("writes %v, want the last one to be of two", w.writes)
		}
	})
}

// A write that fails is one failure, whoever waited for it.
func TestLanesBlame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLanes(t)
		errs := make(chan error, 10)
		var wg sync.WaitGroup
		for _, key := range []string{"a", "b", "c", "d", "nothing"} {
			wg.Go(func() { errs <- l.ask(t.Context(), key) })
			synctest.Wait()
		}
		down := errors.New("connection lost")
		for range laneCount {
			w.answers <- nil
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		w.answers <- down
		wg.Wait()
		shared := 0
		for range 5 - laneCount {
			err := <-errs
			if !errors.Is(err, down) {
				t.Errorf("%v, want the connection's error", err)
			}
			if errors.Is(err, greylist.ErrShared) {
				shared++
			}
		}
		if shared != 2 {
			t.Errorf("%d errors are marked as shared, want two", shared)
		}
	})
}

// What the server answers is no failure of the write.
func TestLanesAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newLanes(t)
		errs := make(chan error, 10)
		for range laneCount + 3 {
			go func() { errs <- l.ask(t.Context(), "nothing") }()
			synctest.Wait()
		}
		for range laneCount + 1 {
			w.answers <- nil
			synctest.Wait()
		}
		for range laneCount + 3 {
			if err := <-errs; !errors.Is(err, redis.Nil) || errors.Is(err, greylist.ErrShared) {
				t.Errorf("%v, want nothing found", err)
			}
		}
	})
}
