package redisstore

import (
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

func ask(t *testing.T, v *greylist.Service, r greylist.Request, want greylist.Status) greylist.Outcome {
	t.Helper()
	o, err := v.Check(t.Context(), r)
	if err != nil || o.Status != want {
		t.Errorf("Check = %+v, %v, want %s", o, err, want)
	}
	return o
}
