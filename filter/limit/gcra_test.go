package limit

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// In no stretch of time does more than a burst and the rate get through, and a
// client that hammers gets all of the rate.
func TestSpendRate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		l := Limit{Count: 1 + r.Int64N(500), Per: time.Duration(1+r.Int64N(1e6)) * time.Millisecond, Burst: r.Int64N(600)}
		if l.Interval(1) < 100*time.Microsecond {
			continue // there the rounding of a microsecond shows
		}
		burst := l.Burst
		if burst == 0 {
			burst = l.Count
		}
		var at []time.Duration // of what got through
		var state State
		step := max(l.Interval(1)/7, time.Microsecond)
		end := time.Duration(0)
		for range 3000 {
			end += time.Duration(r.Int64N(int64(2 * step)))
			var d Decision
			if state, d = Spend(epoch.Add(end), l, state, 1); !d.Exceeded {
				at = append(at, end)
			}
		}
		rate := float64(l.Count) / float64(l.Per)
		for i := range at {
			for j := i; j < len(at); j += 1 + len(at)/50 {
				if n, most := float64(j-i+1), float64(burst)+rate*float64(at[j]-at[i])*1.01+1; n > most {
					t.Fatalf("%+v: %v in %s, want at most %v", l, n, at[j]-at[i], most)
				}
			}
		}
		if least := math.Min(3000*0.9, rate*float64(end)*0.9-1); float64(len(at)) < least {
			t.Fatalf("%+v: %d in %s, want at least %v", l, len(at), end, least)
		}
	}
}

// Waiting as long as Retry says is enough, and needed.
func TestRetry(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	tried := 0
	for range 5000 {
		l := Limit{Count: 1 + r.Int64N(1000), Per: time.Duration(1+r.Int64N(1e6)) * time.Millisecond, Burst: r.Int64N(2000)}
		state := State(epoch.UnixMicro() + r.Int64N(2e12))
		cost := 1 + r.Int64N(1500)
		next, d := Spend(epoch, l, state, cost)
		if !d.Exceeded {
			if d.Retry != 0 || d.Remaining < 0 {
				t.Fatalf("%+v: %+v", l, d)
			}
			continue
		}
		if d.Retry == Never {
			if l.Interval(cost) <= l.Depth() {
				t.Fatalf("%+v: %d never fits", l, cost)
			}
			continue
		}
		tried++
		if _, early := Spend(epoch.Add(d.Retry-time.Microsecond), l, next, cost); !early.Exceeded {
			t.Fatalf("%+v: %+v, but fits earlier", l, d)
		}
		if _, then := Spend(epoch.Add(d.Retry), l, next, cost); then.Exceeded {
			t.Fatalf("%+v: %+v, but does not fit then: %+v", l, d, then)
		}
		if _, rest := Spend(epoch, l, next, d.Remaining); rest.Exceeded {
			t.Fatalf("%+v: %d remain, but do not fit", l, d.Remaining)
		}
	}
	if tried < 500 {
		t.Errorf("only %d cases tried", tried)
	}
}

func TestSpendExtremes(t *testing.T) {
	most := int64(math.MaxInt64)
	tests := []struct {
		name  string
		l     Limit
		state State
		cost  int64
		want  Decision
	}{
		{"uneven interval", Limit{Count: 7, Per: time.Second}, 0, 7, Decision{}},
		{"bytes", Limit{Count: 10 << 20, Per: day}, 0, 4 << 20, Decision{Remaining: 6 << 20}},
		{"a cost beyond all", Limit{Count: 10, Per: day}, 0, most, Decision{Exceeded: true, Retry: Never, Remaining: 10}},
		{"a count beyond all", Limit{Count: most, Per: time.Second}, 0, 1000, Decision{Remaining: most - 1000}},
		{"a state beyond all", Limit{Count: 10, Per: time.Hour}, State(most), 1, Decision{Exceeded: true, Retry: 6 * time.Minute}},
		{"a state before all", Limit{Count: 10, Per: time.Hour}, State(-most), 1, Decision{Remaining: 9}},
		{"no limit at all", Limit{}, 0, 1, Decision{}},
	}
	for _, tt := range tests {
		_, got := Spend(epoch, tt.l, tt.state, tt.cost)
		if tt.l.Count == most {
			tt.want.Remaining = got.Remaining // not exact up there
		}
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
