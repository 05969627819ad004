package bench

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwicket/greylist"
)

// The goals, for a sidecar beside an MTA.
const (
	manyLarge  = 64
	largeBytes = 10 << 20
	largeLimit = 200 << 20
	usualLimit = 40 << 20
)

// TestMemory holds the server to constant memory for each session: many large
// messages at a time, then mail as usual. Client and DNS server are part of the
// process, so the server's own share is smaller.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 640 MiB of mail")
	}
	w := newWorld(t, greylist.NewMemory(1<<16))
	t.Run("large", func(t *testing.T) { testLarge(t, w) })
	t.Run("usual", func(t *testing.T) { testUsual(t, w) })
}

// testLarge brings all messages close to their end before any of them ends.
func testLarge(t *testing.T, w *world) {
	n, size := manyLarge, largeBytes
	if raceEnabled {
		n, size = 8, 2<<20 // the detector is ten times slower and has memory of its own
	}
	l := newLetter(w.message(t, size))
	debug.FreeOSMemory()
	before := resident()
	peak, stop := watch()
	var inFlight, done sync.WaitGroup
	inFlight.Add(n)
	for range n {
		done.Go(func() {
			c, ok := nearlySent(t, w.socket, l)
			inFlight.Done()
			inFlight.Wait()
			if ok {
				finish(t, c, l)
			}
		})
	}
	done.Wait()
	highest := peak()
	stop()
	debug.FreeOSMemory()
	t.Logf("%d messages of %d MiB in flight: peak %s, before %s, afterwards %s",
		n, size>>20, mib(highest), mib(before), mib(resident()))
	if !raceEnabled && highest > largeLimit {
		t.Errorf("peak %s, want at most %s", mib(highest), mib(largeLimit))
	}
}

// held is how much of each body waits until all others are there.
const held = 100_000

// nearlySent plays a message up to the last part of its body. Failures are
// reported with Error: this is not the test's goroutine.
func nearlySent(t *testing.T, socket string, l letter) (c mta, ok bool) {
	failed := &failing{TB: t}
	defer failed.done(&ok)
	c = dial(failed, socket)
	c.envelope(failed, l.size)
	c.fields(failed, l.fields)
	c.body(failed, l.body[:len(l.body)-held])
	return c, true
}

func finish(t *testing.T, c mta, l letter) {
	ok := true
	failed := &failing{TB: t}
	defer failed.done(&ok)
	c.body(failed, l.body[len(l.body)-held:])
	authenticated(failed, c.end(failed))
	check(failed, c.Quit())
}

// failing lets helpers end a goroutine of a test: Fatal is for the test's own.
type failing struct{ testing.TB }

type failure struct{}

func (f *failing) Fatal(args ...any) { f.TB.Helper(); f.TB.Error(args...); panic(failure{}) }

func (f *failing) Fatalf(format string, args ...any) {
	f.TB.Helper()
	f.TB.Errorf(format, args...)
	panic(failure{})
}

func (f *failing) done(ok *bool) {
	if v := recover(); v != nil {
		if _, mine := v.(failure); !mine {
			panic(v)
		}
		*ok = false
	}
}

// testUsual sends ordinary mail through a few sessions.
func testUsual(t *testing.T, w *world) {
	l := newLetter(w.message(t, 50<<10))
	messages := 50
	if raceEnabled {
		messages = 5
	}
	debug.FreeOSMemory()
	peak, stop := watch()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			ok := true
			failed := &failing{TB: t}
			defer failed.done(&ok)
			for range messages {
				c := dial(failed, w.socket)
				c.send(failed, l)
				check(failed, c.Quit())
			}
		})
	}
	all.Wait()
	highest := peak()
	stop()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	live := m.HeapInuse + m.StackInuse
	t.Logf("8 sessions, %d messages of 50 KiB: peak %s, heap and stacks after GC %s", 8*messages, mib(highest), mib(live))
	if !raceEnabled && live > usualLimit {
		t.Errorf("%s in use, want at most %s", mib(live), mib(usualLimit))
	}
}

// resident is the memory that the runtime holds from the system.
func resident() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// watch follows resident until stop.
func watch() (peak func() uint64, stop func()) {
	var highest atomic.Uint64
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			highest.Store(max(highest.Load(), resident()))
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return highest.Load, func() { close(quit); <-done }
}

func mib(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
