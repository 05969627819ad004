package greylist_test

import (
	"testing"
	"time"

	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

// What is remembered counts as a pass of that time, whatever was known before,
// and no longer than a pass does.
func TestRemember(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name        string
		first, last time.Duration // before now
		before      []time.Duration
		counts      bool
		after       time.Duration
		want        greylist.Status
	}{
		{"unknown", 9 * day, day, nil, true, 0, greylist.Pass},
		{"no first time", 20000 * day, day, nil, true, 0, greylist.Pass},
		{"until its end", 9 * day, day, nil, true, 35*day - time.Second, greylist.Pass},
		{"not longer", 9 * day, day, nil, true, 35 * day, greylist.Defer},
		{"too old", 90 * day, 36 * day, nil, false, 0, greylist.Defer},
		{"from a clock ahead", 0, -day, nil, true, 36*day - time.Second, greylist.Pass},
		{"waiting here", 9 * day, day, []time.Duration{0}, true, time.Second, greylist.Pass},
		{"waiting here, seen later than there", 9 * day, 30 * day, []time.Duration{0}, true, 36*day - time.Second, greylist.Pass},
		{"passed here, seen later than there", 90 * day, 30 * day, []time.Duration{5 * time.Minute, 0}, true, 36*day - time.Second, greylist.Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := storetest.NewClock()
			b := newBench(greylist.NewMemory(100), clock.Now, nil)
			defer b.Close()
			r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
			for i, wait := range tt.before {
				if i == 0 {
					b.check(t, r, greylist.Defer, false)
				}
				clock.Add(wait)
				if wait >= delay {
					b.check(t, r, greylist.Pass, false)
				}
			}
			now := clock.Now()
			counts, err := b.Remember(t.Context(), r, now.Add(-tt.first), now.Add(-tt.last))
			if err != nil || counts != tt.counts {
				t.Fatalf("Remember = %v, %v, want %v", counts, err, tt.counts)
			}
			k, p, err := b.Lookup(t.Context(), r)
			if again, err2 := b.LookupKey(t.Context(), k); err != nil || err2 != nil || !again.Equal(p) {
				t.Errorf("by its key %+v, %v, by its parts %+v, %v", again, err2, p, err)
			}
			if counts && p.Triplet.Expires.Before(p.Triplet.LastSeen.Add(36*day)) {
				t.Errorf("the store may drop it too early: %+v", p.Triplet)
			}
			clock.Add(tt.after)
			b.check(t, r, tt.want, false)
		})
	}
	down := newBench(greylist.NewMemory(100), nil, nil)
	defer down.Close()
	down.store.mode.Store(fails)
	if ok, err := down.Remember(t.Context(), storetest.Request(1, "<a@b>", "<c@d>"), time.Now(), time.Now()); ok || err == nil {
		t.Errorf("with the store away: %v, %v, want an error", ok, err)
	}
}
