package limit_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"mailwicket/filter/limit"
	"mailwicket/filter/limit/limittest"
)

func TestMemory(t *testing.T) {
	limittest.RunStore(t, func(*testing.T) limit.Store { return limit.NewMemory(1000) })
}

func TestReplayMemory(t *testing.T) {
	limittest.RunReplays(t, func(*testing.T) limit.ReplayStore { return limit.NewReplayMemory(1 << 20) })
}

// Whoever keeps coming is not forgotten, however many others do.
func TestMemoryKeepsTheBusy(t *testing.T) {
	m, now := limit.NewMemory(100), limittest.Start()
	limittest.Spend(t, m, now, 0, limittest.Ten, 10)
	for i := range 5000 {
		limittest.Spend(t, m, now, i+1, limittest.Ten, 1)
		if i%20 == 0 && !limittest.Spend(t, m, now, 0, limittest.Ten, 1).Exceeded {
			t.Fatalf("forgotten after %d others", i)
		}
	}
}

func TestReplayMemoryForgets(t *testing.T) {
	m, now := limit.NewReplayMemory(1<<20), limittest.Start()
	see := func(at time.Duration, client int64, clients int) {
		t.Helper()
		got, err := m.Seen(t.Context(), now.Add(at), limit.Sighting{Client: client, Window: time.Hour})
		if err != nil || got.Clients != clients {
			t.Errorf("at %s: %+v, %v, want %d clients", at, got, err, clients)
		}
	}
	see(0, 1, 1)
	see(59*time.Minute, 2, 2)
	see(118*time.Minute, 3, 3) // the window begins anew with each sighting
	see(178*time.Minute, 4, 1)
}

// No flood of keys, signatures or recipients makes the memory grow.
func TestBounds(t *testing.T) {
	const bytes = 4 << 20
	grown := func(f func()) int64 {
		var a, b runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&a)
		f()
		runtime.GC()
		runtime.ReadMemStats(&b)
		return int64(b.HeapAlloc) - int64(a.HeapAlloc)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, rcpts := range []int{0, 1, 40, 1000} {
		t.Run(fmt.Sprint(rcpts), func(t *testing.T) {
			m := limit.NewReplayMemory(bytes)
			n := grown(func() {
				for i := range 50_000 / (1 + rcpts) {
					s := limit.Sighting{Signature: limittest.Bucket(i), Window: time.Hour}
					for range rcpts {
						s.Rcpts = append(s.Rcpts, r.Int64())
					}
					if _, err := m.Seen(t.Context(), limittest.Start(), s); err != nil {
						t.Fatal(err)
					}
				}
			})
			runtime.KeepAlive(m)
			if t.Logf("%d bytes", n); n > bytes*5/4 {
				t.Errorf("grew by %d bytes, want at most about %d", n, bytes)
			}
		})
	}
}

func BenchmarkMemory(b *testing.B) {
	m, now := limit.NewMemory(1<<18), limittest.Start()
	charge := []limit.Charge{{Limit: limittest.Ten, Cost: 1}}
	for i := 0; b.Loop(); i++ {
		charge[0].Bucket = limittest.Bucket(i % 10_000)
		if _, err := m.Spend(b.Context(), now, charge); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemoryKey measures bytes for each bucket of a full memory.
func BenchmarkMemoryKey(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		const n = 1 << 18
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := limit.NewMemory(n)
		for i := range 2*n - 1 { // both halves full
			_, _ = m.Spend(b.Context(), limittest.Start(), []limit.Charge{{Bucket: limittest.Bucket(i), Limit: limittest.Ten, Cost: 1}})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/key")
		runtime.KeepAlive(m)
	}
}
