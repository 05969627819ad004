package limittest

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"mailwicket/filter/limit"
)

// RunReplays tries a store. The function makes an empty one for each test.
func RunReplays(t *testing.T, open func(t *testing.T) limit.ReplayStore) {
	tests := []struct {
		name string
		run  func(*testing.T, limit.ReplayStore)
	}{
		{"distinct ones count", testDistinct},
		{"exact while small", testExact},
		{"about right when large", testLarge},
		{"many recipients at once", testManyAtOnce},
		{"concurrent sightings", testConcurrentSightings},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

// See notes one sighting.
func See(t *testing.T, s limit.ReplayStore, signature int, client int64, rcpts ...int64) limit.Seen {
	t.Helper()
	got, err := s.Seen(ctx(t), Start(), sighting(signature, client, rcpts...))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func sighting(signature int, client int64, rcpts ...int64) limit.Sighting {
	return limit.Sighting{Signature: Bucket(signature), Client: client, Rcpts: rcpts, Window: time.Hour}
}

func testDistinct(t *testing.T, s limit.ReplayStore) {
	want(t, "new", See(t, s, 1, 7), limit.Seen{Clients: 1})
	want(t, "with a recipient", See(t, s, 1, 7, 1), limit.Seen{Clients: 1, Recipients: 1})
	want(t, "again", See(t, s, 1, 7, 1, 1), limit.Seen{Clients: 1, Recipients: 1})
	want(t, "another client", See(t, s, 1, 8, 2, 3), limit.Seen{Clients: 2, Recipients: 3})
	want(t, "the extremes", See(t, s, 1, math.MaxInt64, 0, math.MaxInt64), limit.Seen{Clients: 3, Recipients: 5})
	want(t, "another signature", See(t, s, 2, 7, 1), limit.Seen{Clients: 1, Recipients: 1})
}

func testExact(t *testing.T, s limit.ReplayStore) {
	r := rand.New(rand.NewPCG(3, 4))
	const each = 5
	for i := range limit.Exact / each {
		client, rcpts := r.Int64(), make([]int64, each)
		for j := range rcpts {
			rcpts[j] = r.Int64()
		}
		for range 1 + i%2 {
			want(t, "so far", See(t, s, 1, client, rcpts...), limit.Seen{Clients: i + 1, Recipients: (i + 1) * each})
		}
	}
}

func testLarge(t *testing.T, s limit.ReplayStore) {
	r := rand.New(rand.NewPCG(5, 6))
	n := 0
	for range 60 {
		rcpts := make([]int64, 99)
		for i := range rcpts {
			rcpts[i] = r.Int64()
		}
		n += len(rcpts)
		near(t, See(t, s, 1, 1, rcpts...), n)
		near(t, See(t, s, 1, 1, rcpts...), n) // again: nobody is new
	}
}

func testManyAtOnce(t *testing.T, s limit.ReplayStore) {
	r := rand.New(rand.NewPCG(7, 8))
	rcpts := make([]int64, 20_000)
	for i := range rcpts {
		rcpts[i] = r.Int64()
	}
	near(t, See(t, s, 1, 1, rcpts...), len(rcpts))
	want(t, "just as many as are exact", See(t, s, 2, 1, rcpts[:limit.Exact]...), limit.Seen{Clients: 1, Recipients: limit.Exact})
}

// near allows three standard errors of the coarsest way to count.
func near(t *testing.T, got limit.Seen, n int) {
	t.Helper()
	off := math.Abs(float64(got.Recipients-n)) / float64(n)
	if got.Clients != 1 || n <= limit.Exact && off != 0 || off > 0.14 {
		t.Errorf("%+v, want 1 client and about %d recipients", got, n)
	}
}

func testConcurrentSightings(t *testing.T, s limit.ReplayStore) {
	var wg sync.WaitGroup
	for w := range int64(8) {
		wg.Go(func() {
			for i := range int64(25) {
				if _, err := s.Seen(ctx(t), Start(), sighting(1, i%5, w*25+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want(t, "after all", See(t, s, 1, 0, 0), limit.Seen{Clients: 5, Recipients: 200})
}
