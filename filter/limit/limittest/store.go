// Package limittest holds the tests that every limit.Store and every
// limit.ReplayStore must pass.
package limittest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/limit"
)

// Start is the moment at which the suites begin: the present, so that stores with
// a clock of their own do not drop what is written.
func Start() time.Time { return time.Now().Truncate(time.Microsecond) }

// Bucket makes a bucket that is distinct for distinct numbers.
func Bucket(n int) (b limit.Bucket) {
	copy(b[:], fmt.Sprintf("%d}{*\r\n", n)) // bytes that patterns and hash tags could stumble over
	return b
}

// Ten allows ten an hour.
var Ten = limit.Limit{Name: "ten", Count: 10, Per: time.Hour}

// RunStore tries a store that takes the time from its caller. The function makes
// an empty one for each test; it lives until the test ends.
func RunStore(t *testing.T, open func(t *testing.T) limit.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, limit.Store)
	}{
		{"a burst, and then the rate", testBurst},
		{"a look takes nothing", testLook},
		{"many at once", testBatch},
		{"limits that change", testChange},
		{"as the pure arithmetic", testParity},
		{"concurrent spending is exact", testConcurrent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

// Spend makes one charge.
func Spend(t *testing.T, s limit.Store, now time.Time, n int, l limit.Limit, cost int64) limit.Decision {
	t.Helper()
	d, err := s.Spend(ctx(t), now, []limit.Charge{{Bucket: Bucket(n), Limit: l, Cost: cost}})
	if err != nil || len(d) != 1 {
		t.Fatalf("Spend = %v, %v, want one decision", d, err)
	}
	return d[0]
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func testBurst(t *testing.T, s limit.Store) {
	now := Start()
	for i := range int64(10) {
		want(t, "in the burst", Spend(t, s, now, 1, Ten, 1), limit.Decision{Remaining: 9 - i})
	}
	for range 3 {
		want(t, "over the limit", Spend(t, s, now, 1, Ten, 1), limit.Decision{Exceeded: true, Retry: 6 * time.Minute})
	}
	want(t, "another bucket", Spend(t, s, now, 2, Ten, 4), limit.Decision{Remaining: 6})
	now = now.Add(6*time.Minute - time.Microsecond)
	want(t, "too early", Spend(t, s, now, 1, Ten, 1), limit.Decision{Exceeded: true, Retry: time.Microsecond})
	now = now.Add(time.Microsecond)
	want(t, "on time", Spend(t, s, now, 1, Ten, 1), limit.Decision{})
	want(t, "too much", Spend(t, s, now, 1, Ten, 11), limit.Decision{Exceeded: true, Retry: limit.Never})
	want(t, "after a rest", Spend(t, s, now.Add(time.Hour), 1, Ten, 10), limit.Decision{})
}

func testLook(t *testing.T, s limit.Store) {
	now := Start()
	for range 3 {
		want(t, "a look", Spend(t, s, now, 1, Ten, 0), limit.Decision{Remaining: 10})
	}
	Spend(t, s, now, 1, Ten, 10)
	want(t, "a look", Spend(t, s, now, 1, Ten, 0), limit.Decision{})
	want(t, "less than nothing", Spend(t, s, now, 1, Ten, -5), limit.Decision{})
}

func testBatch(t *testing.T, s limit.Store) {
	now := Start()
	if d, err := s.Spend(ctx(t), now, nil); err != nil || len(d) != 0 {
		t.Errorf("no charges: %v, %v", d, err)
	}
	var charges []limit.Charge
	for i := range 50 {
		charges = append(charges, limit.Charge{Bucket: Bucket(i), Limit: Ten, Cost: int64(i % 12)})
	}
	charges = append(charges, charges[3], charges[9]) // the same buckets again, in order
	got, err := s.Spend(ctx(t), now, charges)
	if err != nil || len(got) != len(charges) {
		t.Fatalf("%d decisions, %v, want %d", len(got), err, len(charges))
	}
	for i, d := range got[:50] {
		cost := int64(i % 12)
		if over := cost > 10; d.Exceeded != over || !over && d.Remaining != 10-cost {
			t.Errorf("charge %d of %d: %+v", i, cost, d)
		}
	}
	want(t, "once more", got[50], limit.Decision{Remaining: 4})
	want(t, "once too often", got[51], limit.Decision{Exceeded: true, Remaining: 1, Retry: 48 * time.Minute})
}

func testChange(t *testing.T, s limit.Store) {
	now := Start()
	daily := limit.Limit{Count: 10, Per: 24 * time.Hour}
	Spend(t, s, now, 1, daily, 10)
	want(t, "a shorter limit", Spend(t, s, now, 1, Ten, 1), limit.Decision{Exceeded: true, Retry: 6 * time.Minute})
	now = now.Add(6 * time.Minute)
	want(t, "on time by it", Spend(t, s, now, 1, Ten, 1), limit.Decision{})
	now = now.Add(-100 * time.Hour)
	want(t, "the clock back", Spend(t, s, now, 1, Ten, 1), limit.Decision{Exceeded: true, Retry: 6 * time.Minute})
	want(t, "on time by it", Spend(t, s, now.Add(6*time.Minute), 1, Ten, 1), limit.Decision{})
}

// testParity compares random histories with those of the pure function.
func testParity(t *testing.T, s limit.Store) {
	r := rand.New(rand.NewPCG(1, 2))
	now := Start()
	states := map[int]limit.State{}
	for range 40 {
		var charges []limit.Charge
		var expect []limit.Decision
		for range 25 {
			n := r.IntN(8)
			l := randomLimit(r, n)
			cost := randomCost(r, l)
			charges = append(charges, limit.Charge{Bucket: Bucket(n), Limit: l, Cost: cost})
			next, d := limit.Spend(now, l, states[n], cost)
			states[n], expect = next, append(expect, d)
		}
		got, err := s.Spend(ctx(t), now, charges)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i] != expect[i] {
				t.Fatalf("charge %+v: %+v, want %+v", charges[i], got[i], expect[i])
			}
		}
		// Never far ahead of the clock of a store that drops what has drained.
		now = now.Add(time.Duration(r.Int64N(int64(10 * time.Minute))).Truncate(time.Microsecond))
	}
}

// randomLimit gives each bucket one of a few limits, from a few an hour to
// gigabytes a day, none of which drains within the test's own duration.
func randomLimit(r *rand.Rand, n int) limit.Limit {
	l := []limit.Limit{
		{Count: 7, Per: time.Hour},
		{Count: 1, Per: 365 * 24 * time.Hour, Burst: 9},
		{Count: 1_000_003, Per: time.Hour, Burst: 999_983},
		{Count: 3 << 30, Per: 24 * time.Hour, Unit: limit.Bytes},
	}[n%4]
	if r.IntN(20) == 0 {
		l.Per = l.Per/3 + time.Hour // a reload
	}
	return l
}

func randomCost(r *rand.Rand, l limit.Limit) int64 {
	size := max(l.Burst, l.Count)
	switch r.IntN(6) {
	case 0:
		return 0
	case 1:
		return size
	case 2:
		return 1 + size
	case 3:
		return 1 << 62
	}
	return 1 + size/20 + r.Int64N(1+size/3)
}

func testConcurrent(t *testing.T, s limit.Store) {
	now := Start()
	l := limit.Limit{Count: 100, Per: 24 * time.Hour}
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				d, err := s.Spend(ctx(t), now, []limit.Charge{{Bucket: Bucket(1), Limit: l, Cost: 1}, {Bucket: Bucket(2), Limit: l, Cost: 1}})
				if err != nil {
					t.Error(err)
					return
				}
				for _, d := range d {
					if !d.Exceeded {
						passed.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 200 {
		t.Errorf("%d of 400 passed, want 100 of each bucket", passed.Load())
	}
}
