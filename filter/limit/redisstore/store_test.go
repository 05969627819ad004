package redisstore

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/fact"
	"mailwicket/filter/limit"
	"mailwicket/filter/limit/limittest"
	"mailwicket/filter/mail"
	"mailwicket/greylist/redisstore/redistest"
)

// suites runs both suites over one server.
func suites(t *testing.T, url func(t *testing.T) string) {
	open := func(t *testing.T) *Store {
		c := client(t, url(t))
		redistest.Flush(t, c)
		s := New(c, "")
		s.callersClock = true
		return s
	}
	t.Run("rates", func(t *testing.T) { limittest.RunStore(t, func(t *testing.T) limit.Store { return open(t) }) })
	t.Run("replays", func(t *testing.T) {
		limittest.RunReplays(t, func(t *testing.T) limit.ReplayStore { return open(t) })
	})
}

func TestStoreMini(t *testing.T) {
	suites(t, func(t *testing.T) string { return "redis://" + miniredis.RunT(t).Addr() })
}

func TestStoreReal(t *testing.T) {
	addr := redistest.Start(t).Addr
	suites(t, func(*testing.T) string { return "redis://" + addr + "/3" })
}

func TestStoreCluster(t *testing.T) {
	url := "redis+cluster://" + strings.Join(redistest.Cluster(t, 3), ",")
	suites(t, func(*testing.T) string { return url })
}

// The server's clock counts, whatever the sidecars' say.
func TestServersClock(t *testing.T) {
	m := miniredis.RunT(t)
	s, now := New(client(t, "redis://"+m.Addr()), ""), time.Now()
	m.SetTime(now)
	limittest.Spend(t, s, now.Add(time.Hour), 1, limittest.Ten, 9)
	limittest.Spend(t, s, now.Add(-time.Hour), 1, limittest.Ten, 1)
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		want := limit.Decision{Exceeded: true, Retry: 6 * time.Minute}
		if got := limittest.Spend(t, s, now.Add(skew), 1, limittest.Ten, 1); got.Exceeded != true || (got.Retry-want.Retry).Abs() > time.Microsecond {
			t.Errorf("a sidecar that is %s off: %+v, want %+v", skew, got, want)
		}
	}
	m.SetTime(now.Add(6*time.Minute + time.Microsecond))
	if got := limittest.Spend(t, s, now, 1, limittest.Ten, 1); got.Exceeded {
		t.Errorf("six minutes later: %+v", got)
	}
}

// On a real server too, with the time that passes.
func TestServersClockReal(t *testing.T) {
	addr := redistest.Start(t).Addr
	s := New(client(t, "redis://"+addr), "")
	daily, now := limit.Limit{Count: 3, Per: 24 * time.Hour}, time.Time{} // a caller without any clock
	for i := range 5 {
		if got := limittest.Spend(t, s, now, 1, daily, 1); got.Exceeded != (i >= 3) {
			t.Errorf("spending %d: %+v", i, got)
		}
	}
	quick := limit.Limit{Count: 1, Per: 50 * time.Millisecond}
	limittest.Spend(t, s, now, 2, quick, 1)
	redistest.Await(t, "the limit to allow more", func() bool { return !limittest.Spend(t, s, now, 2, quick, 1).Exceeded })
}

// Every key has a time to live, and it is no longer than the key is of use.
func TestTimeToLive(t *testing.T) {
	addr := redistest.Start(t).Addr
	c := client(t, "redis://"+addr)
	s, ctx := New(c, ""), t.Context()
	limittest.Spend(t, s, time.Now(), 1, limittest.Ten, 5)
	limittest.Spend(t, s, time.Now(), 2, limittest.Ten, 0) // a look leaves nothing
	limittest.Spend(t, s, time.Now(), 3, limittest.Ten, 99)
	limittest.See(t, s, 1, 1, 1)
	var large []int64
	for i := range int64(limit.Exact + 1) {
		large = append(large, i)
	}
	limittest.See(t, s, 2, 1, large...)
	keys := c.Keys(ctx, "*").Val()
	if len(keys) != 5 {
		t.Errorf("keys %q, want 5", keys)
	}
	for _, k := range keys {
		most := time.Hour
		if strings.HasPrefix(k, "mw:rate:") {
			most = 30 * time.Minute
		}
		if ttl := c.PTTL(ctx, k).Val(); ttl > most || ttl < most-time.Minute {
			t.Errorf("%s lives for %s, want %s", k, ttl, most)
		}
	}
	short := limit.Sighting{Signature: limittest.Bucket(3), Client: 1, Window: 30 * time.Millisecond}
	if _, err := s.Seen(ctx, time.Now(), short); err != nil {
		t.Fatal(err)
	}
	// Only looked at: another sighting would renew the time to live.
	redistest.Await(t, "a signature to be forgotten", func() bool {
		left, err := c.Keys(ctx, "mw:replay:{"+text(short.Signature)+"}*").Result()
		return err == nil && len(left) == 0
	})
	short.Client++
	if got, err := s.Seen(ctx, time.Now(), short); err != nil || got.Clients != 1 {
		t.Errorf("after the window: %+v, %v, want the second client alone", got, err)
	}
}

// A server without the scripts, as after a failover or SCRIPT FLUSH, must go on,
// and charge once.
func TestScriptFlushed(t *testing.T) {
	addr := redistest.Start(t).Addr
	c := client(t, "redis://"+addr)
	s := New(c, "")
	charges := []limit.Charge{{Bucket: limittest.Bucket(1), Limit: limittest.Ten, Cost: 1}, {Bucket: limittest.Bucket(2), Limit: limittest.Ten, Cost: 2}}
	for i := range int64(3) {
		if err := c.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		got, err := s.Spend(t.Context(), time.Time{}, charges)
		if err != nil || got[0].Remaining != 9-i || got[1].Remaining != 8-2*i {
			t.Errorf("round %d: %+v, %v", i, got, err)
		}
		if seen := limittest.See(t, s, 1, i); seen.Clients != int(i+1) {
			t.Errorf("round %d: %+v", i, seen)
		}
	}
}

// Eight sidecars over one server let exactly the limit through, and count every
// client once.
func TestSidecars(t *testing.T) {
	addr := redistest.Start(t).Addr
	l := limit.Limit{Name: "all", Key: []limit.Key{limit.Net}, Count: 40, Per: 24 * time.Hour}
	o := limit.Options{Secret: []byte("secret"), Budget: 20 * time.Second}
	var passed, most int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		s := New(client(t, "redis://"+addr), "")
		rates, replays := limit.NewRates([]limit.Limit{l}, s, o), limit.NewReplays(s, 0, o)
		wg.Go(func() {
			for i := range 20 {
				set := &fact.Set{Now: time.Now()}
				set.Conn.IP = fact.Is(netip.AddrFrom4([4]byte{192, 0, 2, byte(w)}))
				set.Rcpt.To = fact.Is(mail.ParsePath("a@example.org"))
				names, err := rates.Exceeded(t.Context(), set)
				clients, _, err2 := replays.Seen(t.Context(), "sig", fmt.Sprint(w, i%3), nil)
				if err != nil || err2 != nil {
					t.Error(err, err2)
				}
				mu.Lock()
				most = max(most, clients)
				if names == nil {
					passed++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if passed != 40 || most != 24 {
		t.Errorf("%d passed, %d clients, want 40 and 24", passed, most)
	}
	stored := fmt.Sprint(client(t, "redis://"+addr).Keys(t.Context(), "*").Val())
	if strings.Contains(stored, "192.0.2") || strings.Contains(stored, "sig") {
		t.Errorf("names in the keys: %s", stored)
	}
}

// Values that are not ours must not break anything for longer than they live.
func TestForeignValues(t *testing.T) {
	m := miniredis.RunT(t)
	c := client(t, "redis://"+m.Addr())
	s, key := New(c, ""), "mw:rate:"+text(limittest.Bucket(1))
	if err := m.Set(key, "garbage"); err != nil {
		t.Fatal(err)
	}
	if got := limittest.Spend(t, s, time.Now(), 1, limittest.Ten, 1); got.Remaining != 9 {
		t.Errorf("over garbage: %+v", got)
	}
	m.Del(key)
	m.HSet(key, "a", "b")
	if got, err := s.Spend(t.Context(), time.Now(), []limit.Charge{{Bucket: limittest.Bucket(1), Limit: limittest.Ten, Cost: 1}}); err == nil {
		t.Errorf("over a hash: %+v, want an error", got)
	}
}

// The sizes in Redis are a promise of the documentation.
func TestBytes(t *testing.T) {
	addr := redistest.Start(t).Addr
	c := client(t, "redis://"+addr)
	s := New(c, "")
	sizes := map[string]int64{}
	measure := func(name string, n int, write func(i int)) {
		redistest.Flush(t, c)
		for i := range n {
			write(i)
		}
		for _, k := range c.Keys(t.Context(), "*").Val() {
			sizes[name] += c.MemoryUsage(t.Context(), k, 0).Val()
		}
		sizes[name] /= int64(n)
	}
	measure("rate", 200, func(i int) { limittest.Spend(t, s, time.Now(), i, limittest.Ten, 1) })
	measure("signature, 1 recipient", 200, func(i int) { limittest.See(t, s, i, int64(i)<<40, int64(i)<<41) })
	for _, n := range []int64{limit.Exact, 100_000} {
		measure(fmt.Sprintf("signature, %d recipients", n), 8, func(i int) {
			rcpts := make([]int64, n)
			for j := range rcpts {
				rcpts[j] = (int64(j)*2654435761 + int64(i)) << 20
			}
			limittest.See(t, s, i, 1, rcpts...)
		})
	}
	t.Logf("bytes: %v", sizes)
	for name, most := range map[string]int64{"rate": 200, "signature, 1 recipient": 450, "signature, 500 recipients": 8000, "signature, 100000 recipients": 20000} {
		if sizes[name] == 0 || sizes[name] > most {
			t.Errorf("%s takes %d bytes, want at most %d", name, sizes[name], most)
		}
	}
}

func TestText(t *testing.T) {
	if diff := cmp.Diff("AAAAAAAAAAAAAAAAAAAAAA", text(limit.Bucket{})); diff != "" {
		t.Error(diff)
	}
}
