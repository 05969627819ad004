// Package bench measures the filter at the wire: a client that speaks as Postfix
// does, a unix socket, the real engine with SPF, DKIM, DMARC and greylisting, and
// a DNS whose answers are in the cache.
//
// Each iteration plays the same message to three: a milter on the same library
// that does nothing (the floor), the filter, and nothing but the SHA-256 and the
// RSA verification that the message needs. All three meet the same noise of the
// machine, so their ratios can be compared from run to run.
package bench

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"mailwicket/greylist"
)

func BenchmarkMessage(b *testing.B) {
	stores := []struct {
		name string
		make func(testing.TB) greylist.Store
	}{
		{"memory", func(testing.TB) greylist.Store { return greylist.NewMemory(1 << 16) }},
		{"redis", redisStore},
	}
	for _, kind := range []string{"session", "kept"} {
		for _, store := range stores {
			for _, size := range []int{4 << 10, 50 << 10, 1 << 20} {
				b.Run(fmt.Sprintf("%s/%s/%dKiB", kind, store.name, size>>10), func(b *testing.B) {
					s := store.make(b)
					if s == nil {
						b.Skip("redis-server is not installed")
					}
					measure(b, newWorld(b, s), size, kind == "kept")
				})
			}
		}
	}
}

// measure plays messages of a size, each in a session of its own or all in one.
func measure(b *testing.B, w *world, size int, kept bool) {
	msg := w.message(b, size)
	l := newLetter(msg)
	floorPlay, stopFloor := player(b, serveFloor(b), l, kept)
	filterPlay, stopFilter := player(b, w.socket, l, kept)
	crypto := w.cryptoOnly(b, msg)
	for range 3 { // caches warm
		floorPlay()
		filterPlay()
	}
	c := dial(b, w.socket)
	authenticated(b, c.send(b, l))
	check(b, c.Quit())
	var low, own, pure sample
	for b.Loop() {
		low.add(floorPlay)
		own.add(filterPlay)
		pure.add(crypto)
	}
	b.ReportMetric(own.median(), "ns/op")
	b.ReportMetric(own.median(), "ns/message")
	b.ReportMetric(own.cpuMean(), "cpu-ns/message")
	b.ReportMetric(own.median()/low.median(), "x_floor")
	b.ReportMetric(own.cpuMean()/low.cpuMean(), "x_floor_cpu")
	b.ReportMetric(pure.median()/own.median(), "crypto_share")
	b.ReportMetric(allocated(filterPlay)-allocated(floorPlay), "B-over-floor/message")
	stopFloor()
	stopFilter()
}

// player gives the function that plays one message.
func player(tb testing.TB, socket string, l letter, kept bool) (play, stop func()) {
	if kept {
		c := dial(tb, socket)
		return func() { c.send(tb, l) }, func() { check(tb, c.Quit()) }
	}
	return func() {
		c := dial(tb, socket)
		c.send(tb, l)
		check(tb, c.Quit())
	}, func() {}
}

// sample is what repeated work cost.
type sample struct {
	wall []time.Duration
	cpu  time.Duration
}

func (s *sample) add(f func()) {
	cpu, start := cpuTime(), time.Now()
	f()
	s.wall = append(s.wall, time.Since(start))
	s.cpu += cpuTime() - cpu
}

// median does not mind the neighbours of a busy machine.
func (s *sample) median() float64 {
	slices.Sort(s.wall)
	return float64(s.wall[len(s.wall)/2])
}

func (s *sample) cpuMean() float64 { return float64(s.cpu) / float64(len(s.wall)) }

// cpuTime is the whole process', client included.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// allocated gives the bytes that one call allocates.
func allocated(f func()) float64 {
	const n = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / n
}
