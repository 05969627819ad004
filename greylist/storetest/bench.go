package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mailwicket/greylist"
)

// Prepared makes n questions ready, the first of them the i-th of the benchmark,
// so that what is measured is the answer alone.
type Prepared func(i, n int) func(i int) error

// Floor is the plain operation of a store that decisions stand beside.
type Floor struct {
	Name string // of the metric
	Do   Prepared
}

// clients is how many ask again and again.
const clients = 1000

// Bench measures the three kinds of decision by one of the measures below, beside
// what the store does for a plain write and a plain read. Saved is called when
// the first contacts are in; it may be nil.
func Bench(b *testing.B, v *greylist.Service, write, read Floor, saved func(b *testing.B), measure func(*testing.B, string, Floor, Prepared)) {
	decide := func(request func(i int) greylist.Request) Prepared {
		return func(first, n int) func(int) error {
			requests := make([]greylist.Request, n)
			for i := range requests {
				requests[i] = request(first + i)
			}
			return func(i int) error {
				o, err := v.Check(b.Context(), requests[i])
				if o.Degraded {
					return errors.New("degraded")
				}
				return err
			}
		}
	}
	same := decide(func(i int) greylist.Request { return Request(i%clients, "<a@example.org>", "<user@example.net>") })
	measure(b, "first contact", write, decide(func(i int) greylist.Request {
		return Request(i, fmt.Sprintf("<%c%c@u%d.example>", 'a'+i%26, 'a'+i/26%26, i), "<user@example.net>")
	}))
	if saved != nil {
		saved(b)
	}
	if err := shared(1, clients, same(0, clients)); err != nil { // their first contacts
		b.Fatal(err)
	}
	measure(b, "early retry", read, same)
	for i := range clients {
		if err := v.Allow(b.Context(), Request(i, "", "").Identity); err != nil {
			b.Fatal(err)
		}
	}
	measure(b, "known", read, same)
}

// askers is how many goroutines ask at once in Rate, and turn is how many
// questions they share before it is the other's turn.
const askers, turn = 16, 2000

// Rate measures f per second in turns with a floor, so that what else the machine
// does meets both. The figures are medians of all turns.
func Rate(b *testing.B, name string, floor Floor, f Prepared) {
	i := 0
	b.Run(name, func(b *testing.B) {
		var floors, decisions, ratios []float64 // per second
		b.StopTimer()
		for left := b.N; left > 0; {
			n := min(left, turn)
			raw := timed(b, n, floor.Do(i, n))
			run := f(i, n)
			b.StartTimer()
			took := timed(b, n, run)
			b.StopTimer()
			i, left = i+n, left-n
			floors, decisions = append(floors, float64(n)/raw.Seconds()), append(decisions, float64(n)/took.Seconds())
			ratios = append(ratios, raw.Seconds()/took.Seconds())
		}
		b.ReportMetric(quantile(decisions, .5), "per-s")
		b.ReportMetric(quantile(floors, .5), floor.Name+"-per-s")
		b.ReportMetric(quantile(ratios, .5), "x-of-"+floor.Name)
	})
}

func timed(b *testing.B, n int, f func(i int) error) time.Duration {
	start := time.Now()
	if err := shared(askers, n, f); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// shared deals n questions out to goroutines.
func shared(goroutines, n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		wg.Go(func() {
			for i := g; i < n && errs[g] == nil; i += goroutines {
				errs[g] = f(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Latency measures how long f takes, at about a thousand questions a second from
// four goroutines. Each of them asks for a floor just as often, in turns.
func Latency(b *testing.B, name string, floor Floor, f Prepared) {
	const goroutines, pause = 4, 2 * time.Millisecond
	i := 0
	b.Run(name, func(b *testing.B) {
		raw, run := floor.Do(i, b.N), f(i, b.N)
		i += b.N
		floors, decisions := make([]float64, b.N), make([]float64, b.N) // microseconds
		err := shared(goroutines, b.N, func(i int) error {
			time.Sleep(pause)
			start := time.Now()
			err := raw(i)
			floors[i] = float64(time.Since(start).Nanoseconds()) / 1000
			time.Sleep(pause)
			start = time.Now()
			err = errors.Join(err, run(i))
			decisions[i] = float64(time.Since(start).Nanoseconds()) / 1000
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(0, "ns/op") // mostly pauses
		b.ReportMetric(quantile(decisions, .5), "p50-us")
		b.ReportMetric(quantile(decisions, .99), "p99-us")
		b.ReportMetric(quantile(floors, .5), floor.Name+"-p50-us")
		b.ReportMetric(quantile(floors, .99), floor.Name+"-p99-us")
	})
}

func quantile(v []float64, q float64) float64 {
	slices.Sort(v)
	return v[int(q*float64(len(v)-1))]
}
