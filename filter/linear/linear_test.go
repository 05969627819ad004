package linear

import "testing"

// work costs so many steps.
func work(steps int) func() {
	return func() {
		x := uint64(1)
		for range steps {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		if x == 0 {
			panic("xorshift does not come to zero")
		}
	}
}

func TestGrowth(t *testing.T) {
	const n = 1_000_000
	x := Growth(20, 9, work(n), work(8*n))
	square := Growth(3, 9, work(n), work(64*n))
	if Raced {
		if x != 0 || square != 0 {
			t.Errorf("%g and %g under the race detector, want 0", x, square)
		}
		return
	}
	if x < 4 || x > 16 {
		t.Errorf("eight times the work takes %.1f times as long", x)
	}
	if square < 30 {
		t.Errorf("sixty-four times the work takes %.1f times as long", square)
	}
}

// TestEnough: a good answer needs no more tries, a bad one gets all of them.
func TestEnough(t *testing.T) {
	for enough, want := range map[float64]int{1e9: 1, -1: 5} {
		if Raced {
			want = 1
		}
		got := 0
		Growth(5, enough, func() {}, func() { got++ })
		if got != want {
			t.Errorf("enough %g: done %d times, want %d", enough, got, want)
		}
	}
}
