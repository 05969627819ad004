package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/storetest"
)

// askers is how many goroutines ask at once, in decisions as in floors.
const askers = 16

// prepared makes n questions ready, the first of them the i-th of the benchmark.
type prepared func(i, n int) func(i int) error

// The floors are what the same client does with one plain command for each
// goroutine and round trip, on the same server and in turns with the decisions:
// GET beside what only reads, SET beside what writes.
func BenchmarkRedis(b *testing.B) {
	s := redistest.Start(b)
	c := patient(b, "redis://"+s.Addr)
	ctx := b.Context()
	value := make([]byte, 20)
	if err := c.Set(ctx, "mw:g:floor", value, 0).Err(); err != nil {
		b.Fatal(err)
	}
	get := func(int, int) func(int) error {
		return func(int) error { return c.Get(ctx, "mw:g:floor").Err() }
	}
	set := func(first, n int) func(int) error {
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprintf("floor%d", first+i)
		}
		return func(i int) error { return c.Set(ctx, keys[i], value, 0).Err() }
	}
	v := storetest.Service(b, New(c, ""), nil)
	decide := func(request func(i int) greylist.Request) prepared {
		return func(first, n int) func(int) error {
			requests := make([]greylist.Request, n)
			for i := range requests {
				requests[i] = request(first + i)
			}
			return func(i int) error {
				o, err := v.Check(ctx, requests[i])
				if o.Degraded {
					return errors.New("degraded")
				}
				return err
			}
		}
	}
	same := decide(func(i int) greylist.Request {
		return storetest.Request(i%1000, "<a@example.org>", "<user@example.net>")
	})
	beside(b, "first contact", "SET", set, decide(func(i int) greylist.Request {
		return storetest.Request(i, fmt.Sprintf("<%c%c@u%d.example>", 'a'+i%26, 'a'+i/26%26, i), "<user@example.net>")
	}))
	beside(b, "early retry", "GET", get, same)
	for i := range 1000 {
		if err := v.Allow(ctx, storetest.Request(i, "", "").Identity); err != nil {
			b.Fatal(err)
		}
	}
	beside(b, "known", "GET", get, same)
}

// slice is how many questions are measured before it is the other's turn.
const slice = 2000

// beside measures f in turns with a floor, so that what else the machine does
// meets both. The figures are medians of all turns.
func beside(b *testing.B, name, floorName string, floor, f prepared) {
	i := 0
	b.Run(name, func(b *testing.B) {
		var floors, decisions, ratios []float64 // per second
		b.StopTimer()
		for left := b.N; left > 0; {
			n := min(left, slice)
			raw := together(b, n, floor(i, n))
			run := f(i, n)
			b.StartTimer()
			took := together(b, n, run)
			b.StopTimer()
			i, left = i+n, left-n
			floors, decisions = append(floors, float64(n)/raw.Seconds()), append(decisions, float64(n)/took.Seconds())
			ratios = append(ratios, raw.Seconds()/took.Seconds())
		}
		b.ReportMetric(median(decisions), "per-s")
		b.ReportMetric(median(floors), floorName+"-per-s")
		b.ReportMetric(median(ratios), "x-of-"+floorName)
	})
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// together shares n questions among all askers.
func together(b *testing.B, n int, f func(i int) error) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for a := range askers {
		wg.Go(func() {
			for i := a; i < n; i += askers {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
