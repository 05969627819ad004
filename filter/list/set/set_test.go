package set

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func names(t testing.TB, from, to, expect int) *Names {
	t.Helper()
	b := NewNames(expect)
	for i := from; i < to; i++ {
		if !b.Add(fmt.Appendf(nil, "name%d.example", i), Mark{Line: i + 1}) {
			t.Fatal("not new: ", i)
		}
	}
	return b.Names()
}

// The sizes are around the growth steps, and the last one lies outside the heap.
func TestNamesHoldWhatWasAdded(t *testing.T) {
	for _, n := range []int{0, 1, 2, 63, 64, 65, 1000, 150_000} {
		for _, expect := range []int{0, n} {
			s := names(t, 0, n, expect)
			if s.Len() != n {
				t.Fatalf("%d names of %d", s.Len(), n)
			}
			step := n/5000 + 1
			for i := 0; i < n; i += step {
				if m, ok := s.Find(fmt.Sprintf("name%d.example", i)); !ok || m != (Mark{Line: i + 1}) {
					t.Fatalf("%d of %d: %v %v", i, n, m, ok)
				}
			}
			for i := range 5000 {
				if _, ok := s.FindBytes(fmt.Appendf(nil, "name%d.example", n+i)); ok {
					t.Fatalf("%d of %d is found", n+i, n)
				}
			}
		}
	}
	if _, ok := (*Names)(nil).Find("x"); ok || (*Names)(nil).Len() != 0 {
		t.Error("nil is not empty")
	}
}

func TestNamesAreCutToSize(t *testing.T) {
	s := names(t, 0, 100_000, 1_000_000)
	size := 0
	for i := range s.shards {
		size += len(s.shards[i].hashes)
	}
	if size > 100_000*5/4 {
		t.Errorf("%d slots for 100000 names", size)
	}
}

func TestTheFirstLineStays(t *testing.T) {
	b := NewNames(0)
	for _, c := range []struct {
		m     Mark
		added bool
		want  Mark
	}{
		{Mark{Line: 5}, true, Mark{Line: 5}},
		{Mark{Line: 7}, false, Mark{Line: 5}},
		{Mark{Line: 9, Except: true}, false, Mark{Line: 9, Except: true}},
		{Mark{Line: 11}, false, Mark{Line: 9, Except: true}},
		{Mark{Line: 13, Except: true}, false, Mark{Line: 9, Except: true}},
	} {
		if added := b.Add([]byte("a"), c.m); added != c.added {
			t.Errorf("%v: added is %v", c.m, added)
		}
		if m, _ := b.set.Find("a"); m != c.want {
			t.Errorf("%v: got %v", c.m, m)
		}
	}
	if b.Names().Len() != 1 {
		t.Error("not one name")
	}
}

// Sets are dropped while others look into them: memory that is freed too early
// would end the process.
func TestMemoryOutlivesLookups(t *testing.T) {
	const n = 150_000
	var live atomic.Pointer[Names]
	live.Store(names(t, 0, n, n))
	if live.Load().arena.maps[0] == nil && runtime.GOOS == "linux" {
		t.Fatal("the set is in the heap")
	}
	var wg sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if m, ok := live.Load().Find(fmt.Sprintf("name%d.example", i%n)); !ok || m.Line != i%n+1 {
					t.Errorf("%d: %v %v", i, m, ok)
					return
				}
			}
		})
	}
	for range 3 {
		live.Store(names(t, 0, n, 0))
		runtime.GC()
		runtime.GC()
	}
	stop.Store(true)
	wg.Wait()
}

func TestMemoryIsFreed(t *testing.T) {
	a := new(arena)
	_, _, a.maps[3] = table(mapFrom)
	a.free()
	a.free()
	if a.maps[3] != nil {
		t.Error("still there")
	}
	if _, _, mem := table(mapFrom - 1); mem != nil {
		t.Error("a small table is outside the heap")
	}
}

func TestPrefixesAgreeWithAScan(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	addr := func() netip.Addr {
		if r.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(4)), byte(r.Uint32())})
		}
		return netip.AddrFrom16([16]byte{0x20, 1, byte(r.IntN(4)), byte(r.IntN(4)), 15: byte(r.IntN(4))})
	}
	b, model := NewPrefixes(), map[netip.Prefix]int{}
	for line := 1; line < 300; line++ {
		a := addr()
		n, err := a.Prefix(8 + r.IntN(a.BitLen()-7))
		if err != nil {
			t.Fatal(err)
		}
		_, there := model[n]
		if b.Add(n, line) == there {
			t.Fatalf("%s: new is %v", n, there)
		}
		if !there {
			model[n] = line
		}
	}
	s := b.Prefixes()
	for range 5000 {
		a := addr()
		var want netip.Prefix
		for n := range model {
			if n.Contains(a) && (!want.IsValid() || n.Bits() > want.Bits()) {
				want = n
			}
		}
		got, line, ok := s.Find(netip.PrefixFrom(a, a.BitLen()))
		if ok != want.IsValid() || got != want || line != model[want] {
			t.Fatalf("%s: got %s %d %v, want %s %d", a, got, line, ok, want, model[want])
		}
	}
}
