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
// finds it, in a list of a thousand entries.
func BenchmarkSeen(b *testing.B) {
	s := redistest.Start(b)
	url := "redis://" + s.Addr
	if _, _, err := New(s.Direct(b), "").Edit(b.Context(), "names", entries(1000), nil); err != nil {
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
