// Package storetest holds the tests that every greylist.Store must pass, and a
// race of several sidecars over one store.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwicket/greylist"
)

// Run tries a store. The function makes an empty one for each test; it lives
// until the test ends.
func Run(t *testing.T, open func(t *testing.T) greylist.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, greylist.Store)
	}{
		{"nothing is zero", testEmpty},
		{"what is written is read", testRoundTrip},
		{"a conflict writes nothing", testConflict},
		{"what is new is added", testAdd},
		{"one of many adds", testAddConcurrent},
		{"records are removed", testRemove},
		{"an identity alone", testIdentityAlone},
		{"triplets share the identity", testShared},
		{"delete", testDelete},
		{"entries", testEntries},
		{"concurrent writers lose nothing", testConcurrent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

// Key makes a key that is distinct for distinct numbers. A triplet of 0 stands
// for the identity alone.
func Key(identity, triplet int) greylist.Key {
	var k greylist.Key
	copy(k.Identity[:], fmt.Sprintf("id-%d}{*", identity)) // bytes that patterns and hash tags could stumble over
	if triplet > 0 {
		copy(k.Triplet[:], fmt.Sprintf("tr-%d", triplet))
	}
	return k
}

// now is when the suite's records are written: far enough from any real clock's
// view that stores which drop expired records keep them.
func now() time.Time { return time.Now().Truncate(time.Millisecond).UTC() }

// Record makes a living record.
func Record(attempts, passes uint32) greylist.Record {
	return greylist.Record{FirstSeen: now().Add(-time.Minute), LastSeen: now(), Expires: now().Add(time.Hour),
		Attempts: attempts, Passes: passes}
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

// Set writes next where old is expected, and fails the test otherwise.
func Set(t *testing.T, s greylist.Store, k greylist.Key, old, next greylist.Pair) {
	t.Helper()
	got, err := s.CompareAndSet(ctx(t), k, old, next)
	if err != nil {
		t.Fatalf("CompareAndSet: %v, holds %+v", err, got)
	}
}

// Holds fails the test unless the store holds that pair.
func Holds(t *testing.T, s greylist.Store, k greylist.Key, want greylist.Pair) {
	t.Helper()
	got, err := s.Get(ctx(t), k)
	if err != nil || !got.Equal(want) {
		t.Fatalf("Get = %+v, %v, want %+v", got, err, want)
	}
}

func testEmpty(t *testing.T, s greylist.Store) {
	Holds(t, s, Key(1, 1), greylist.Pair{})
	Holds(t, s, Key(1, 0), greylist.Pair{})
	if got := walk(t, s); len(got) != 0 {
		t.Errorf("Entries = %v, want none", got)
	}
	if n, err := s.Delete(ctx(t), Key(1, 1)); n != 0 || err != nil {
		t.Errorf("Delete = %d, %v, want 0", n, err)
	}
}

func testRoundTrip(t *testing.T, s greylist.Store) {
	want := greylist.Pair{Triplet: Record(3, 0), Identity: Record(0, 2)}
	want.Identity.Allowed, want.Identity.Name = true, "spf:example.org"
	Set(t, s, Key(1, 1), greylist.Pair{}, want)
	Holds(t, s, Key(1, 1), want)
	Holds(t, s, Key(1, 0), greylist.Pair{Identity: want.Identity})

	next := want
	next.Triplet.Attempts, next.Triplet.LastSeen = 4, now().Add(time.Second)
	Set(t, s, Key(1, 1), want, next)
	Holds(t, s, Key(1, 1), next)
}

func testConflict(t *testing.T, s greylist.Store) {
	held := greylist.Pair{Triplet: Record(1, 0), Identity: Record(0, 1)}
	Set(t, s, Key(1, 1), greylist.Pair{}, held)
	next := greylist.Pair{Triplet: Record(8, 8), Identity: Record(0, 8)}
	for name, old := range map[string]greylist.Pair{
		"both":     {},
		"triplet":  {Triplet: Record(2, 0), Identity: held.Identity},
		"identity": {Triplet: held.Triplet, Identity: Record(0, 2)},
		"missing":  {Triplet: held.Triplet},
	} {
		got, err := s.CompareAndSet(ctx(t), Key(1, 1), old, next)
		if !errors.Is(err, greylist.ErrConflict) || !got.Equal(held) {
			t.Errorf("%s: CompareAndSet = %+v, %v, want a conflict with what is held", name, got, err)
		}
		Holds(t, s, Key(1, 1), held)
	}
	if got, err := s.CompareAndSet(ctx(t), Key(2, 1), held, next); !errors.Is(err, greylist.ErrConflict) || !got.Equal(greylist.Pair{}) {
		t.Errorf("nothing held: CompareAndSet = %+v, %v, want a conflict with zero", got, err)
	}
}

func testAdd(t *testing.T, s greylist.Store) {
	add := func(k greylist.Key, triplet greylist.Record, want greylist.Pair, added bool) {
		t.Helper()
		held, ok, err := s.GetOrAdd(ctx(t), k, triplet)
		if err != nil || ok != added || !held.Equal(want) {
			t.Fatalf("GetOrAdd = %+v, %v, %v, want %+v, %v", held, ok, err, want, added)
		}
	}
	first := Record(1, 0)
	add(Key(1, 1), first, greylist.Pair{}, true)
	add(Key(1, 1), Record(7, 7), greylist.Pair{Triplet: first}, false)
	Holds(t, s, Key(1, 1), greylist.Pair{Triplet: first})

	id := greylist.Pair{Identity: Record(0, 2)}
	Set(t, s, Key(1, 0), greylist.Pair{}, id)
	add(Key(1, 1), Record(7, 7), greylist.Pair{Triplet: first, Identity: id.Identity}, false)
	add(Key(1, 2), first, id, true)
	Holds(t, s, Key(1, 2), greylist.Pair{Triplet: first, Identity: id.Identity})
	add(Key(1, 0), first, id, false) // there is no triplet to add
	Set(t, s, Key(1, 2), greylist.Pair{Triplet: first, Identity: id.Identity}, id)
	add(Key(1, 2), Record(3, 0), id, true) // removed, and new again
}

func testAddConcurrent(t *testing.T, s greylist.Store) {
	const writers, keys = 8, 25
	var wg sync.WaitGroup
	var added [keys]atomic.Int32
	for w := range writers {
		wg.Go(func() {
			for i := range keys {
				held, ok, err := s.GetOrAdd(ctx(t), Key(1, i+1), Record(uint32(w+1), 0))
				switch {
				case err != nil || ok != held.Triplet.IsZero():
					t.Errorf("GetOrAdd = %+v, %v, %v", held, ok, err)
				case ok:
					added[i].Store(int32(w + 1))
				}
			}
		})
	}
	wg.Wait()
	for i := range keys {
		got, err := s.Get(ctx(t), Key(1, i+1))
		if who := added[i].Load(); err != nil || who == 0 || got.Triplet.Attempts != uint32(who) {
			t.Errorf("key %d holds %+v, %v, added by %d", i, got, err, who)
		}
	}
}

func testRemove(t *testing.T, s greylist.Store) {
	held := greylist.Pair{Triplet: Record(1, 0), Identity: Record(0, 1)}
	Set(t, s, Key(1, 1), greylist.Pair{}, held)
	Set(t, s, Key(1, 1), held, greylist.Pair{Triplet: held.Triplet})
	Holds(t, s, Key(1, 1), greylist.Pair{Triplet: held.Triplet})
	Set(t, s, Key(1, 1), greylist.Pair{Triplet: held.Triplet}, greylist.Pair{})
	Holds(t, s, Key(1, 1), greylist.Pair{})
	Set(t, s, Key(1, 1), greylist.Pair{}, held)
	Holds(t, s, Key(1, 1), held)
}

func testIdentityAlone(t *testing.T, s greylist.Store) {
	id := greylist.Pair{Identity: Record(0, 1)}
	Set(t, s, Key(1, 0), greylist.Pair{}, id)
	more := greylist.Pair{Identity: Record(0, 2), Triplet: Record(9, 9)} // that part is not there
	Set(t, s, Key(1, 0), id, more)
	Holds(t, s, Key(1, 0), greylist.Pair{Identity: more.Identity})
	Holds(t, s, Key(1, 1), greylist.Pair{Identity: more.Identity})
	if _, err := s.CompareAndSet(ctx(t), Key(1, 0), id, id); !errors.Is(err, greylist.ErrConflict) {
		t.Errorf("CompareAndSet over an older identity: %v, want a conflict", err)
	}
}

func testShared(t *testing.T, s greylist.Store) {
	a := greylist.Pair{Triplet: Record(1, 0), Identity: Record(0, 1)}
	Set(t, s, Key(1, 1), greylist.Pair{}, a)
	b := greylist.Pair{Triplet: Record(2, 0), Identity: Record(0, 2)}
	Set(t, s, Key(1, 2), greylist.Pair{Identity: a.Identity}, b)
	Holds(t, s, Key(1, 1), greylist.Pair{Triplet: a.Triplet, Identity: b.Identity})
	Holds(t, s, Key(2, 1), greylist.Pair{})
}

func testDelete(t *testing.T, s greylist.Store) {
	p := greylist.Pair{Triplet: Record(1, 0), Identity: Record(0, 1)}
	Set(t, s, Key(1, 1), greylist.Pair{}, p)
	Set(t, s, Key(1, 2), greylist.Pair{Identity: p.Identity}, p)
	Set(t, s, Key(11, 1), greylist.Pair{}, p)
	if n, err := s.Delete(ctx(t), Key(1, 2)); n != 1 || err != nil {
		t.Errorf("Delete of a triplet = %d, %v, want 1", n, err)
	}
	Holds(t, s, Key(1, 2), greylist.Pair{Identity: p.Identity})
	if n, err := s.Delete(ctx(t), Key(1, 0)); n != 2 || err != nil {
		t.Errorf("Delete of an identity = %d, %v, want 2", n, err)
	}
	Holds(t, s, Key(1, 1), greylist.Pair{})
	Holds(t, s, Key(11, 1), p)
	Set(t, s, Key(1, 1), greylist.Pair{}, p)
	Holds(t, s, Key(1, 1), p)
}

func testEntries(t *testing.T, s greylist.Store) {
	want := map[greylist.Key]greylist.Record{}
	for i := range 60 {
		id := Record(0, uint32(i+1))
		id.Name = fmt.Sprintf("host:example%d.org", i)
		want[Key(i, 0)] = id
		var before greylist.Pair
		for j := 1; j <= 1+i%3; j++ {
			next := greylist.Pair{Triplet: Record(uint32(j), 0), Identity: id}
			Set(t, s, Key(i, j), before, next)
			want[Key(i, j)], before.Identity = next.Triplet, id
		}
	}
	got := walk(t, s)
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for k, r := range want {
		if !got[k].Equal(r) {
			t.Errorf("entry %s = %+v, want %+v", k, got[k], r)
		}
	}
	for _, bad := range []string{"x", "-", strings.Repeat("A", 1000)} {
		if _, _, err := s.Entries(ctx(t), bad, 10); !errors.Is(err, greylist.ErrCursor) {
			t.Errorf("Entries(%.9q): %v, want ErrCursor", bad, err)
		}
	}
}

// walk collects all pages.
func walk(t *testing.T, s greylist.Store) map[greylist.Key]greylist.Record {
	t.Helper()
	got := map[greylist.Key]greylist.Record{}
	cursor := ""
	for range 1000 {
		page, next, err := s.Entries(ctx(t), cursor, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			got[e.Key] = e.Record
		}
		if cursor = next; cursor == "" {
			return got
		}
	}
	t.Fatal("the walk does not end")
	return nil
}

func testConcurrent(t *testing.T, s greylist.Store) {
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := increment(ctx(t), s, Key(1, 1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got, err := s.Get(ctx(t), Key(1, 1))
	if err != nil || got.Triplet.Attempts != writers*each || got.Identity.Passes != writers*each {
		t.Errorf("Get = %+v, %v, want %d counted in both records", got, err, writers*each)
	}
}

func increment(ctx context.Context, s greylist.Store, k greylist.Key) error {
	var held greylist.Pair
	for {
		next := greylist.Pair{Triplet: Record(held.Triplet.Attempts+1, 0), Identity: Record(0, held.Identity.Passes+1)}
		got, err := s.CompareAndSet(ctx, k, held, next)
		if !errors.Is(err, greylist.ErrConflict) {
			return err
		}
		held = got
	}
}
