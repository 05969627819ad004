package redisstore

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/storetest"
)

// A master dies, Sentinel promotes the replica: what was replicated counts on,
// and what the fallback learned between is handed to the new master.
func TestSentinelFailover(t *testing.T) {
	master, sentinel := redistest.Sentinel(t)
	clock := storetest.NewClock()
	url := "redis+sentinel://" + sentinel.Addr + "/main"
	v := storetest.Service(t, New(client(t, url), ""), clock.Now)
	before, during := storetest.Request(1, "<a@example.org>", "<b@example.net>"), storetest.Request(2, "<a@example.org>", "<b@example.net>")
	first := ask(t, v, before, greylist.Defer)
	if err := master.Direct(t).Wait(t.Context(), 1, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	master.Kill()
	second := ask(t, v, during, greylist.Defer)
	t.Cleanup(func() {
		if t.Failed() {
			_, why := v.Degraded()
			sentinel.Kill() // its log is complete then
			t.Logf("degraded: %s\nSentinel:\n%s", why, sentinel.Log)
		}
	})
	redistest.Await(t, "the new master to be found", func() bool { on, _ := v.Degraded(); return !on })

	clock.Add(greylist.DefaultParams().Delay)
	other := storetest.Service(t, New(client(t, url), ""), clock.Now)
	for r, want := range map[greylist.Request]greylist.Outcome{before: first, during: second} {
		if o := ask(t, other, r, greylist.Pass); !o.FirstSeen.Equal(want.FirstSeen) || o.Degraded {
			t.Errorf("%+v, want first seen %s, from the new master", o, want.FirstSeen)
		}
	}
}

// A master dies under traffic. No caller gets an error or waits beyond the budget,
// nothing passes early, and of what was asked before and during the failover
// only what had not been replicated starts anew.
func TestSentinelTraffic(t *testing.T) {
	master, sentinel := redistest.Sentinel(t)
	clock := storetest.NewClock()
	url := "redis+sentinel://" + sentinel.Addr + "/main"
	v := greylist.New(greylist.ServiceConfig{Store: New(client(t, url), ""), Secret: []byte("secret"), Now: clock.Now})
	t.Cleanup(v.Close)
	f := &failover{t: t, v: v}
	f.run(500, func() {
		time.Sleep(200 * time.Millisecond) // traffic before the failover
		f.killed.Store(time.Now().UnixNano())
		master.Kill()
		redistest.Await(t, "a decision by the new master", func() bool { return f.gap.Load() > 0 })
		redistest.Await(t, "the store to be well", func() bool { on, _ := v.Degraded(); return !on })
	})
	clock.Add(greylist.DefaultParams().Delay)
	other := storetest.Service(t, New(patient(t, url), ""), clock.Now)
	anew, early := f.retry(other, clock.Now())
	t.Logf("%d decisions, %d errors; %d ms from the kill to the first decision by the new master; %d decided by the fallback, the slowest in %s; %d of %d triplets started anew",
		f.asked.Load(), f.errors.Load(), time.Duration(f.gap.Load()).Milliseconds(), f.degraded.Load(), f.slowest(), anew, f.asked.Load())
	if f.errors.Load() > 0 || early > 0 {
		t.Errorf("%d errors and %d early passes, want none", f.errors.Load(), early)
	}
	// What is written is replicated within milliseconds; far more would mean that
	// the fallback's knowledge was lost.
	if limit := f.asked.Load() / 20; anew > limit {
		t.Errorf("%d triplets started anew, want %d at most", anew, limit)
	}
}

// failover is traffic of new triplets, and what came of it.
type failover struct {
	t                       *testing.T
	v                       *greylist.Service
	asked, errors, degraded atomic.Int64
	killed, gap             atomic.Int64 // nanoseconds; the gap from the kill on

	mu    sync.Mutex
	first map[int]time.Time // when each was first seen
	took  []time.Duration
}

func (f *failover) request(i int) greylist.Request {
	return storetest.Request(i, "<a@example.org>", "<b@example.net>")
}

// run sends so many first contacts a second until while has ended.
func (f *failover) run(perSecond int, while func()) {
	f.first = map[int]time.Time{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				wg.Go(func() { f.ask(i) })
			}
		}
	})
	while()
	close(stop)
	wg.Wait()
}

func (f *failover) ask(i int) {
	start := time.Now()
	o, err := f.v.Check(f.t.Context(), f.request(i))
	f.mu.Lock()
	f.first[i], f.took = o.FirstSeen, append(f.took, time.Since(start))
	f.mu.Unlock()
	f.asked.Add(1)
	killed := f.killed.Load()
	switch {
	case err != nil || o.Status != greylist.Defer:
		f.errors.Add(1)
	case o.Degraded:
		f.degraded.Add(1)
	case killed > 0 && start.UnixNano() > killed:
		f.gap.CompareAndSwap(0, time.Now().UnixNano()-killed)
	}
}

func (f *failover) slowest() time.Duration { return slices.Max(f.took).Round(time.Millisecond) }

// retry lets all triplets come again when their delay is over, at another sidecar.
func (f *failover) retry(v *greylist.Service, now time.Time) (anew, early int64) {
	for i, first := range f.first {
		o, err := v.Check(f.t.Context(), f.request(i))
		switch {
		case err != nil || o.Degraded:
			f.t.Fatalf("%+v, %v, want a decision by the new master", o, err)
		case o.Status == greylist.Defer && o.FirstSeen.Equal(now):
			anew++
		case o.Status != greylist.Pass || !o.FirstSeen.Equal(first) || o.Delayed < greylist.DefaultParams().Delay:
			early++
		}
	}
	return anew, early
}

func ask(t *testing.T, v *greylist.Service, r greylist.Request, want greylist.Status) greylist.Outcome {
	t.Helper()
	o, err := v.Check(t.Context(), r)
	if err != nil || o.Status != want {
		t.Errorf("Check = %+v, %v, want %s", o, err, want)
	}
	return o
}
