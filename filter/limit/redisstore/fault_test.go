package redisstore

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/filter/fact"
	"mailwicket/filter/limit"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/redisstore/redisurl"
)

// peer is a server that answers whatever comes with one text; "" is silence.
func peer(t *testing.T, answer string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				b := make([]byte, 4096)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// slack is what a busy test machine may add to the budget.
const slack = time.Second

// Whatever is wrong with Redis, answers come within the budget, by the memory of
// this process, and the outage is seen.
func TestFaults(t *testing.T) {
	const budget = 150 * time.Millisecond
	faults := map[string]func(t *testing.T) string{
		"refuses":        func(t *testing.T) string { return redistest.FreeAddr(t) },
		"hangs":          func(t *testing.T) string { return peer(t, "") },
		"loads":          func(t *testing.T) string { return peer(t, "-LOADING Redis is loading the dataset in memory\r\n") },
		"talks nonsense": func(t *testing.T) string { return peer(t, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"answers OK":     func(t *testing.T) string { return peer(t, "+OK\r\n") },
		"was killed": func(t *testing.T) string {
			s := redistest.Start(t)
			addr, kill := s.Addr, s.Kill
			kill()
			return addr
		},
		"is a replica": func(t *testing.T) string {
			addr := redistest.Start(t, "replicaof 127.0.0.1 1").Addr
			return addr
		},
		"is full": func(t *testing.T) string {
			addr := redistest.Start(t, "maxmemory 1", "maxmemory-policy noeviction").Addr
			return addr
		},
	}
	for name, start := range faults {
		for _, scheme := range []string{"redis", "redis+cluster"} {
			t.Run(name+"/"+scheme, func(t *testing.T) {
				t.Parallel()
				tryFault(t, scheme+"://"+start(t), budget)
			})
		}
	}
}

func tryFault(t *testing.T, url string, budget time.Duration) {
	o, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	l := limit.Limit{Name: "x", Key: []limit.Key{limit.Client}, Count: 3, Per: time.Hour}
	two := limit.Limit{Name: "y", Key: []limit.Key{limit.Net}, Count: 9, Per: time.Hour}
	rates := limit.NewRates([]limit.Limit{l, two}, New(c, ""), limit.Options{Budget: budget})
	replays := limit.NewReplays(New(c, ""), 0, limit.Options{Budget: budget})
	set := &fact.Set{Now: time.Now()}
	set.Conn.IP = fact.Is(netip.MustParseAddr("192.0.2.1"))
	for i := range 7 {
		start := time.Now()
		names, err := rates.Exceeded(t.Context(), set)
		if took := time.Since(start); took > budget+slack {
			t.Errorf("a rate took %s, budget %s", took, budget)
		}
		if err != nil || (len(names) > 0) != (i >= 3) {
			t.Errorf("message %d: %q, %v", i, names, err)
		}
		start = time.Now()
		clients, _, err := replays.Seen(t.Context(), "sig", string(rune('a'+i)), nil)
		if took := time.Since(start); took > budget+slack {
			t.Errorf("a sighting took %s, budget %s", took, budget)
		}
		if err != nil || clients != i+1 {
			t.Errorf("sighting %d: %d clients, %v", i, clients, err)
		}
	}
	for name, degraded := range map[string]func() (bool, string){"rates": rates.Degraded, "replays": replays.Degraded} {
		if on, why := degraded(); !on || why == "" {
			t.Errorf("%s: Degraded = %v, %q, want a reason", name, on, why)
		}
	}
}
