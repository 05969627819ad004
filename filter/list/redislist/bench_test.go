package redislist

import (
	"fmt"
	"testing"
	"time"

	"mailwicket/filter/list"
	"mailwicket/greylist/redisstore/redistest"
)

// BenchmarkRead reads a full list.
func BenchmarkRead(b *testing.B) {
	s := New(redistest.Start(b).Direct(b), "")
	start := time.Now()
	if _, _, err := s.Edit(b.Context(), "l", entries(MaxEntries), nil); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d entries were put in in %v", MaxEntries, time.Since(start))
	for b.Loop() {
		if _, all, err := s.Read(b.Context(), "l"); err != nil || len(all) != MaxEntries {
			b.Fatal(len(all), err)
		}
	}
}

// BenchmarkSeen is the time from an edit through one Book until a lookup in another
// finds it, by the number of entries that the list has.
func BenchmarkSeen(b *testing.B) {
	for _, n := range []int{1000, 10_000, MaxEntries - 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { seen(b, n) })
	}
}

func seen(b *testing.B, n int) {
	s := redistest.Start(b)
	url := "redis://" + s.Addr
	if _, _, err := New(s.Direct(b), "").Edit(b.Context(), "names", entries(n), nil); err != nil {
		b.Fatal(err)
	}
	one, two := book(b, client(b, url), ""), book(b, client(b, url), b.TempDir())
	redistest.Await(b, "the first copies", func() bool { return synced(one)() && synced(two)() })
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("x%d.example", i)
		if _, err := one.Add(b.Context(), "names", []string{name}, list.Note{}); err != nil {
			b.Fatal(err)
		}
		redistest.Await(b, "the edit", func() bool { return two.Domain(list.PointHelo, name) != nil })
	}
}
