package greylist_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"mailwicket/greylist"
)

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// step is a contact at a time after the start.
type step struct {
	at       time.Duration
	status   greylist.Status
	left     time.Duration // Remaining
	delayed  time.Duration
	attempts int
}

func TestDecide(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name  string
		p     func(*greylist.Params)
		steps []step
	}{
		{"retry passes at the delay, not before", nil, []step{
			{0, greylist.Defer, 240 * time.Second, 0, 1},
			{100 * time.Second, greylist.Defer, 140 * time.Second, 0, 2},
			{240*time.Second - time.Millisecond, greylist.Defer, time.Millisecond, 0, 3},
			{240 * time.Second, greylist.Pass, 0, 240 * time.Second, 4},
			{241 * time.Second, greylist.Pass, 0, 0, 4},
		}},
		{"contacts count a minute apart", nil, []step{
			{0, greylist.Defer, 240 * time.Second, 0, 1}, {time.Second, greylist.Defer, 239 * time.Second, 0, 2},
			{59999 * time.Millisecond, greylist.Defer, 180001 * time.Millisecond, 0, 2},
			{60 * time.Second, greylist.Defer, 180 * time.Second, 0, 2}, {61 * time.Second, greylist.Defer, 179 * time.Second, 0, 3},
			{120 * time.Second, greylist.Defer, 120 * time.Second, 0, 3}, {239 * time.Second, greylist.Defer, time.Second, 0, 4},
			{240 * time.Second, greylist.Pass, 0, 240 * time.Second, 5}, {241 * time.Second, greylist.Pass, 0, 0, 5},
		}},
		{"retry at the end of the window passes", nil, []step{
			{0, greylist.Defer, 240 * time.Second, 0, 1}, {48 * time.Hour, greylist.Pass, 0, 48 * time.Hour, 2},
		}},
		{"retry after the window starts over", nil, []step{
			{0, greylist.Defer, 240 * time.Second, 0, 1},
			{48*time.Hour + time.Millisecond, greylist.Defer, 240 * time.Second, 0, 1},
			{48*time.Hour + 240*time.Second, greylist.Defer, time.Millisecond, 0, 2},
			{48*time.Hour + 240*time.Second + time.Millisecond, greylist.Pass, 0, 240 * time.Second, 3},
		}},
		{"early retries do not move the window", nil, []step{
			{0, greylist.Defer, 240 * time.Second, 0, 1}, {239 * time.Second, greylist.Defer, time.Second, 0, 2},
			{48*time.Hour + time.Second, greylist.Defer, 240 * time.Second, 0, 1},
		}},
		{"the pass's life is refreshed", func(p *greylist.Params) { p.AutoAllowAfter = 0 }, []step{
			{0, greylist.Defer, 240 * time.Second, 0, 1}, {day, greylist.Pass, 0, day, 2},
			{36 * day, greylist.Pass, 0, 0, 2}, {71 * day, greylist.Pass, 0, 0, 2},
			{107 * day, greylist.Defer, 240 * time.Second, 0, 1},
		}},
		{"two passes an hour apart make the identity known", nil, []step{
			{0, greylist.Defer, 240 * time.Second, 0, 1}, {time.Hour, greylist.Pass, 0, time.Hour, 2},
			{2*time.Hour - time.Millisecond, greylist.Pass, 0, 0, 2}, {2 * time.Hour, greylist.Pass, 0, 0, 2},
			{2*time.Hour + 1, greylist.Known, 0, 0, 2}, {60 * day, greylist.Known, 0, 0, 2},
			{119 * day, greylist.Known, 0, 0, 2}, {179 * day, greylist.Defer, 240 * time.Second, 0, 1},
		}},
		{"one pass is enough where so set", func(p *greylist.Params) { p.AutoAllowAfter = 1 }, []step{
			{0, greylist.Defer, 240 * time.Second, 0, 1}, {time.Hour, greylist.Pass, 0, time.Hour, 2},
			{time.Hour + 1, greylist.Known, 0, 0, 2},
		}},
		{"a clock a little behind is told the whole wait", nil, []step{
			{time.Minute, greylist.Defer, 240 * time.Second, 0, 1}, {0, greylist.Defer, 300 * time.Second, 0, 2},
			{5 * time.Minute, greylist.Pass, 0, 4 * time.Minute, 2}, {0, greylist.Pass, 0, 0, 2},
		}},
		{"a record from far ahead starts over", nil, []step{
			{365 * day, greylist.Defer, 240 * time.Second, 0, 1}, {0, greylist.Defer, 240 * time.Second, 0, 1},
			{240 * time.Second, greylist.Pass, 0, 240 * time.Second, 2},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := greylist.DefaultParams()
			if tt.p != nil {
				tt.p(&p)
			}
			var seen greylist.Pair
			for i, s := range tt.steps {
				o, next := greylist.Decide(start.Add(s.at), p, false, seen)
				want := greylist.Outcome{Status: s.status, FirstSeen: o.FirstSeen, Remaining: s.left, Delayed: s.delayed, Attempts: s.attempts}
				if o != want {
					t.Errorf("step %d at %s: %+v, want %+v", i, s.at, o, want)
				}
				seen = next
			}
		})
	}
}

// What need not be counted leaves the records as they are; the first contact and
// the first pass are always remembered.
func TestDecideCounted(t *testing.T) {
	p := greylist.DefaultParams()
	p.Delay = time.Second
	var seen greylist.Pair
	for i, s := range []struct {
		at      time.Duration
		changes bool
		passes  uint32
	}{
		{0, true, 0}, {500 * time.Millisecond, false, 0}, {time.Second, true, 1}, {2 * time.Second, false, 1},
		{61*time.Second - time.Millisecond, false, 1}, {61 * time.Second, true, 2}, {62 * time.Second, false, 2},
	} {
		_, next := greylist.Decide(start.Add(s.at), p, false, seen)
		if next.Equal(seen) == s.changes || next.Triplet.Passes != s.passes {
			t.Errorf("step %d: %+v after %+v, want a change: %v, passes %d", i, next.Triplet, seen.Triplet, s.changes, s.passes)
		}
		seen = next
	}
}

func TestDecideAllowed(t *testing.T) {
	p := greylist.DefaultParams()
	p.AutoAllowAfter = 0 // an administrator's word counts all the same
	seen := greylist.Pair{Identity: greylist.Record{FirstSeen: start, LastSeen: start, Expires: start.Add(7200 * time.Hour), Allowed: true}}
	for _, at := range []time.Duration{0, 5000 * time.Hour} {
		o, next := greylist.Decide(start.Add(at), p, false, seen)
		if o.Status != greylist.Known || !next.Identity.Allowed || next.Identity.Expires.Before(seen.Identity.Expires) {
			t.Errorf("after %s: %+v, %+v, want known, living on", at, o, next.Identity)
		}
		seen = next
	}
	if o, next := greylist.Decide(start.Add(7200*time.Hour), p, false, seen); o.Status != greylist.Defer || !next.Identity.IsZero() {
		t.Errorf("after its end: %+v, %+v, want defer and nothing held", o, next.Identity)
	}
}

// TestDoubtful: a client that nobody answers for waits longer and has less time,
// for as long as it is that.
func TestDoubtful(t *testing.T) {
	const min = time.Minute
	type step struct {
		at       time.Duration
		doubtful bool
		status   greylist.Status
		left     time.Duration
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"waits half an hour", []step{{0, true, greylist.Defer, 30 * min}, {10 * min, true, greylist.Defer, 20 * min}, {30 * min, true, greylist.Pass, 0}}},
		{"passes within half a day", []step{{0, true, greylist.Defer, 30 * min}, {12 * time.Hour, true, greylist.Pass, 0}}},
		{"starts over after half a day", []step{{0, true, greylist.Defer, 30 * min}, {10 * min, true, greylist.Defer, 20 * min},
			{24 * time.Hour, true, greylist.Defer, 30 * min}}},
		{"has got a name", []step{{0, true, greylist.Defer, 30 * min}, {2 * min, false, greylist.Defer, 2 * min}, {5 * min, false, greylist.Pass, 0}}},
		{"has lost its name", []step{{0, false, greylist.Defer, 4 * min}, {2 * min, true, greylist.Defer, 2 * min}, {5 * min, true, greylist.Pass, 0}}},
		{"is known by its second pass", []step{{0, true, greylist.Defer, 30 * min}, {40 * min, true, greylist.Pass, 0},
			{100 * min, true, greylist.Pass, 0}, {101 * min, true, greylist.Known, 0}}},
	} {
		var seen greylist.Pair
		for _, s := range c.steps {
			o, next := greylist.Decide(start.Add(s.at), greylist.DefaultParams(), s.doubtful, seen)
			if o.Status != s.status || o.Remaining != s.left {
				t.Errorf("%s: after %s %s, %s left, want %s, %s", c.name, s.at, o.Status, o.Remaining, s.status, s.left)
			}
			b, err := next.Triplet.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			if next.Triplet, err = greylist.ParseRecord(b); err != nil {
				t.Fatal(err)
			}
			seen = next
		}
	}
}

// params draws settings that make sense.
func params(t *rapid.T) greylist.Params {
	ms := func(lo, hi int64, name string) time.Duration {
		return time.Duration(rapid.Int64Range(lo, hi).Draw(t, name)) * time.Millisecond
	}
	delay := ms(0, 3600_000, "delay")
	return greylist.Params{Delay: delay, RetryWindow: delay + ms(1, 200_000_000, "window"), PassLifetime: ms(1, 4_000_000_000, "life"),
		AutoAllowAfter: rapid.IntRange(0, 4).Draw(t, "after"), AutoAllowLifetime: ms(1, 8_000_000_000, "allow")}
}

// Over any history of one triplet: nothing passes before the delay after the
// attempt's first contact; whatever comes after that and within the window
// passes; once passed it passes until it was silent for a lifetime; an identity
// becomes known after so many passes, each an hour after the one before.
func TestDecideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := params(t)
		now := start
		var seen greylist.Pair
		var m model
		for range rapid.IntRange(1, 40).Draw(t, "contacts") {
			now = now.Add(pause(t, p))
			want := m.contact(now, p)
			o, next := greylist.Decide(now, p, false, seen)
			if o.Status != want {
				t.Fatalf("at %s: %s, want %s (held %+v)", now.Sub(start), o.Status, want, seen)
			}
			check(t, now, p, o, next)
			if again, same := greylist.Decide(now, p, false, seen); again != o || !same.Equal(next) {
				t.Fatal("not deterministic")
			}
			seen = stored(t, next)
		}
	})
}

// pause draws a time between contacts, with a liking for the edges.
func pause(t *rapid.T, p greylist.Params) time.Duration {
	edge := rapid.SampledFrom([]time.Duration{0, p.Delay, p.RetryWindow, p.PassLifetime, p.AutoAllowLifetime, time.Hour}).Draw(t, "edge")
	off := time.Duration(rapid.Int64Range(-2, 2).Draw(t, "off")) * time.Millisecond
	if rapid.Bool().Draw(t, "far") {
		off = time.Duration(rapid.Int64Range(-3_000_000, 3_000_000).Draw(t, "ms")) * time.Millisecond
	}
	return max(edge+off, 0)
}

func check(t *rapid.T, now time.Time, p greylist.Params, o greylist.Outcome, next greylist.Pair) {
	switch o.Status {
	case greylist.Defer:
		if o.Remaining < 0 || o.Remaining > p.Delay {
			t.Fatalf("remaining %s of %s", o.Remaining, p.Delay)
		}
		if later, _ := greylist.Decide(now.Add(o.Remaining), p, false, next); o.Remaining > 0 && later.Status != greylist.Pass {
			t.Fatalf("told to wait %s, and then %s", o.Remaining, later.Status)
		}
	case greylist.Pass:
		if o.Delayed > 0 && (o.Delayed < p.Delay || o.Delayed > p.RetryWindow) {
			t.Fatalf("passed after %s", o.Delayed)
		}
	}
	for _, r := range []greylist.Record{next.Triplet, next.Identity} {
		if !r.IsZero() && r.LastSeen.Before(r.FirstSeen) {
			t.Fatalf("last seen before first: %+v", r)
		}
	}
	if now.Equal(next.Triplet.LastSeen) && next.Triplet.Expires.Before(now) {
		t.Fatalf("expired when written: %+v", next.Triplet)
	}
}

func stored(t *rapid.T, p greylist.Pair) greylist.Pair {
	var out greylist.Pair
	for _, x := range []struct{ from, to *greylist.Record }{{&p.Triplet, &out.Triplet}, {&p.Identity, &out.Identity}} {
		b, err := x.from.MarshalBinary()
		if err == nil {
			*x.to, err = greylist.ParseRecord(b)
		}
		if err != nil || !x.to.Equal(*x.from) {
			t.Fatalf("stored and read: %+v, %v, want %+v", *x.to, err, *x.from)
		}
	}
	return out
}

// model says the rules once more, from the list of what happened.
type model struct {
	first   time.Time   // of the running attempt
	passed  []time.Time // messages let through since the attempt began, a minute apart
	counted []time.Time // the identity's passes, an hour apart
}

func (m *model) contact(now time.Time, p greylist.Params) greylist.Status {
	if n := len(m.counted); n > 0 && now.Sub(m.counted[n-1]) >= p.AutoAllowLifetime {
		m.counted = nil
	}
	if p.AutoAllowAfter > 0 && len(m.counted) >= p.AutoAllowAfter {
		m.count(now)
		return greylist.Known
	}
	if n := len(m.passed); n > 0 {
		if now.Sub(m.passed[n-1]) >= p.PassLifetime {
			*m = model{first: now, counted: m.counted}
			return greylist.Defer
		}
	} else if age := now.Sub(m.first); m.first.IsZero() || age > p.RetryWindow {
		m.first = now
		return greylist.Defer
	} else if age < p.Delay {
		return greylist.Defer
	}
	if n := len(m.passed); n == 0 || now.Sub(m.passed[n-1]) >= time.Minute {
		m.passed = append(m.passed, now)
	}
	m.count(now)
	return greylist.Pass
}

func (m *model) count(now time.Time) {
	if n := len(m.counted); n == 0 || now.Sub(m.counted[n-1]) >= time.Hour {
		m.counted = append(m.counted, now)
	}
}

func TestMerge(t *testing.T) {
	p := greylist.DefaultParams()
	rec := func(first, last time.Duration, attempts, passes uint32) greylist.Record {
		r := greylist.Record{FirstSeen: start.Add(first), LastSeen: start.Add(last), Attempts: attempts, Passes: passes}
		r.Expires = r.FirstSeen.Add(p.RetryWindow)
		return r
	}
	now := start.Add(10 * time.Hour)
	tests := []struct {
		name       string
		a, b, want greylist.Pair
		base       uint32
	}{
		{"nothing learned", greylist.Pair{Triplet: rec(0, 1, 2, 0)}, greylist.Pair{}, greylist.Pair{Triplet: rec(0, 1, 2, 0)}, 0},
		{"nothing held", greylist.Pair{}, greylist.Pair{Triplet: rec(0, 1, 2, 0)}, greylist.Pair{Triplet: rec(0, 1, 2, 0)}, 0},
		{"the earlier start counts", greylist.Pair{Triplet: rec(time.Hour, 2*time.Hour, 2, 0)}, greylist.Pair{Triplet: rec(0, time.Hour, 3, 0)},
			greylist.Pair{Triplet: rec(0, 2*time.Hour, 3, 0)}, 0},
		{"an attempt that is over does not", greylist.Pair{Triplet: rec(-100*time.Hour, -99*time.Hour, 2, 0)}, greylist.Pair{Triplet: rec(0, 0, 1, 0)},
			greylist.Pair{Triplet: rec(0, 0, 1, 0)}, 0},
		{"a pass stays one", greylist.Pair{Triplet: rec(0, 1, 1, 0)}, greylist.Pair{Triplet: rec(0, 2, 2, 1)}, greylist.Pair{Triplet: rec(0, 2, 2, 1)}, 0},
		{"passes of both sides add up", greylist.Pair{Identity: rec(0, 0, 0, 1)}, greylist.Pair{Identity: rec(2*time.Hour, 2*time.Hour, 0, 1)},
			greylist.Pair{Identity: rec(0, 2*time.Hour, 0, 2)}, 0},
		{"those known to both do not", greylist.Pair{Identity: rec(0, 0, 0, 3)}, greylist.Pair{Identity: rec(0, 2*time.Hour, 0, 4)},
			greylist.Pair{Identity: rec(0, 2*time.Hour, 0, 4)}, 3},
		{"nor those of the same hour", greylist.Pair{Identity: rec(0, 0, 0, 1)}, greylist.Pair{Identity: rec(time.Minute, time.Minute, 0, 1)},
			greylist.Pair{Identity: rec(0, time.Minute, 0, 1)}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := greylist.Merge(now, p, tt.a, tt.b, tt.base)
			again := greylist.Merge(now, p, got, tt.b, max(tt.base, tt.b.Identity.Passes))
			if !again.Equal(got) {
				t.Errorf("merged once more = %+v, want %+v", again, got)
			}
			got.Triplet.Expires, got.Identity.Expires = tt.want.Triplet.Expires, tt.want.Identity.Expires
			if !got.Equal(tt.want) {
				t.Errorf("Merge = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// Whatever two sides learned: the merged record passes no earlier than the one
// that started first, and no later.
func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := params(t)
		var a, b greylist.Pair
		at := start
		for range rapid.IntRange(0, 6).Draw(t, "contacts") {
			at = at.Add(pause(t, p))
			side := &a
			if rapid.Bool().Draw(t, "side") {
				side = &b
			}
			_, *side = greylist.Decide(at, p, false, *side)
		}
		at = at.Add(pause(t, p))
		m := greylist.Merge(at, p, a, b, 0)
		got, _ := greylist.Decide(at, p, false, m)
		oa, _ := greylist.Decide(at, p, false, a)
		ob, _ := greylist.Decide(at, p, false, b)
		lets := func(o greylist.Outcome) bool { return o.Status != greylist.Defer }
		if (lets(oa) || lets(ob)) && !lets(got) {
			t.Fatalf("one side lets it through (%s, %s), merged %s", oa.Status, ob.Status, got.Status)
		}
		if got.Status == greylist.Pass && !lets(oa) && !lets(ob) {
			t.Fatalf("both sides defer, merged passes: %+v from %+v and %+v", m, a, b)
		}
	})
}

// TestWrittenAhead: what a clock that was ahead wrote is counted and refreshed again
// as soon as the clock is right. The store drops records when their lifetime is over,
// by its own clock, as Redis does.
func TestWrittenAhead(t *testing.T) {
	const day = 24 * time.Hour
	p := greylist.DefaultParams()
	ahead := start.Add(200 * day)
	for name, c := range map[string]struct {
		p    func(*greylist.Params)
		seen greylist.Pair
		want greylist.Status
		days int
	}{
		"known identity": {nil, greylist.Pair{Identity: greylist.Record{FirstSeen: ahead, LastSeen: ahead, Expires: ahead.Add(p.AutoAllowLifetime), Passes: 2}}, greylist.Known, 90},
		"passed triplet": {func(p *greylist.Params) { p.AutoAllowAfter = 0 },
			greylist.Pair{Triplet: greylist.Record{FirstSeen: ahead, LastSeen: ahead, Expires: ahead.Add(p.PassLifetime), Attempts: 2, Passes: 1}}, greylist.Pass, 90},
		"identity with one pass": {nil, greylist.Pair{
			Identity: greylist.Record{FirstSeen: ahead, LastSeen: ahead, Expires: ahead.Add(p.AutoAllowLifetime), Passes: 1},
			Triplet:  greylist.Record{FirstSeen: ahead, LastSeen: ahead, Expires: ahead.Add(p.PassLifetime), Attempts: 2, Passes: 1}}, greylist.Known, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := p
			if c.p != nil {
				c.p(&p)
			}
			seen, written := c.seen, [2]time.Time{start, start}
			var last greylist.Status
			for d := range c.days {
				now := start.Add(time.Duration(d) * day)
				if now.Sub(written[0]) >= seen.Triplet.Lifetime() {
					seen.Triplet = greylist.Record{}
				}
				if now.Sub(written[1]) >= seen.Identity.Lifetime() {
					seen.Identity = greylist.Record{}
				}
				o, next := greylist.Decide(now, p, false, seen)
				if last = o.Status; last == greylist.Defer {
					t.Fatalf("day %d: %s, though mail came every day", d, last)
				}
				if !next.Triplet.Equal(seen.Triplet) {
					written[0] = now
				}
				if !next.Identity.Equal(seen.Identity) {
					written[1] = now
				}
				seen = next
			}
			if last != c.want {
				t.Errorf("%s in the end, %d passes", last, seen.Identity.Passes)
			}
		})
	}
}
