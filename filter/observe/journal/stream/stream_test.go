package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func record(n int) *filter.Record {
	r := &filter.Record{Ref: fmt.Sprintf("REF-%d", n), Start: time.Unix(int64(n), 0), Verdict: policy.Reject, Rule: "r", Complete: true}
	r.Facts.Txn.QueueID = fmt.Sprintf("Q%d", n)
	r.Facts.Txn.MessageID = fact.Is(fmt.Sprintf("<%d@a.example>", n))
	return r
}

// counter counts results.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[result]++
}

func (c *counter) get(result string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[result]
}

// shared runs a stream over a client until the test or stop ends it.
func shared(t *testing.T, c redis.UniversalClient, change func(*Config)) (s *Stream, n *counter, stop func()) {
	n = &counter{}
	conf := Config{Client: c, Max: 1000, Queue: 5000, Log: slog.New(slog.DiscardHandler), Shared: n.add}
	if change != nil {
		change(&conf)
	}
	s = New(conf)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return s, n, stop
}

func find(t *testing.T, s *Stream, ref string) *filter.Record {
	t.Helper()
	r, err := s.Find(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFind: by each name, over many pages, and not beyond the bound.
func TestFind(t *testing.T) {
	srv := redistest.Start(t)
	c := srv.Direct(t)
	s, n, _ := shared(t, c, nil)
	const all = 3000
	for i := range all {
		s.Message(record(i))
	}
	redistest.Await(t, "all records", func() bool { return n.get("shared") == all })
	for _, ref := range []string{"REF-2999", "ref-2100", "q2999", "<2500@a.example>", "2500@a.example", " (ref REF-2999) "} {
		if find(t, s, ref) == nil {
			t.Errorf("%s is not found", ref)
		}
	}
	for _, ref := range []string{"REF-0", "REF-1500", "REF-3000", ""} {
		if r := find(t, s, ref); r != nil {
			t.Errorf("%q finds %s", ref, r.Ref)
		}
	}
	if length := c.XLen(t.Context(), Key).Val(); length > 1200 { // "about": whole nodes of the stream go
		t.Errorf("%d entries are kept", length)
	}
	bytes, err := c.MemoryUsage(t.Context(), Key).Result()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes for each small record", bytes/c.XLen(t.Context(), Key).Val())
}

// TestForeign: what others wrote under our key is passed over.
func TestForeign(t *testing.T) {
	srv := redistest.Start(t)
	c := srv.Direct(t)
	later, err := New(Config{}).pack(record(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range [][]any{{"r", "no gzip"}, {"x", "y"}, {"r", string(later[:len(later)/2])}} {
		if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: Key, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s, n, _ := shared(t, c, nil)
	s.Message(record(1))
	redistest.Await(t, "a record", func() bool { return n.get("shared") == 1 })
	if find(t, s, "REF-1") == nil || find(t, s, "REF-2") != nil {
		t.Error("foreign entries are in the way")
	}
}

// TestEnd: what is queued when the server ends is sent.
func TestEnd(t *testing.T) {
	srv := redistest.Start(t)
	s, n, stop := shared(t, srv.Direct(t), nil)
	for i := range 200 {
		s.Message(record(i))
	}
	stop()
	if got := n.get("shared"); got != 200 {
		t.Errorf("%d are shared, want 200", got)
	}
}

// TestRedisGone: nothing blocks; what is lost is counted, and told once, as the end is.
func TestRedisGone(t *testing.T) {
	srv := redistest.Start(t)
	told := make(chan error, 100)
	s, n, stop := shared(t, srv.Direct(t), func(c *Config) {
		c.Queue, c.Failed = 10, func(err error) { told <- err }
	})
	s.Message(record(1))
	redistest.Await(t, "a record", func() bool { return n.get("shared") == 1 })
	srv.Kill()
	const more = 1000
	for i := range more {
		s.Message(record(i))
	}
	redistest.Await(t, "the loss", func() bool { return n.get("failed")+n.get("dropped") == more })
	if _, err := s.Find(t.Context(), "REF-1"); err == nil {
		t.Error("a search without Redis finds nothing wrong")
	}
	srv.Run(t, []string{`save ""`})
	redistest.Await(t, "the return", func() bool {
		s.Message(record(2))
		return n.get("shared") > 1
	})
	stop()
	if len(told) != 2 || <-told == nil || <-told != nil {
		t.Errorf("told %d times more, want once that it fails, and once that it is over", len(told))
	}
}
