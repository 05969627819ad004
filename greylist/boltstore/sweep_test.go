package boltstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

// manual makes a store that commits when the test says so.
func manual(t *testing.T, path string, maxSize int, o Options) *Store {
	t.Helper()
	db, err := open(path, maxSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(db, path); err != nil {
		t.Fatal(err)
	}
	s := newStore(db, o.withDefaults())
	close(s.done) // there is no run
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func records(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket([]byte(recordsBucket)).Stats().KeyN
		if n != count(tx) {
			t.Errorf("%d records, counted as %d", n, count(tx))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func writes(s *Store) int64 {
	stats := s.db.Stats()
	return stats.TxStats.GetWrite()
}

func fill(t *testing.T, s *Store, from, to int, r greylist.Record) {
	t.Helper()
	for i := from; i < to; i++ {
		storetest.Set(t, s, storetest.Key(i, 1), greylist.Pair{}, greylist.Pair{Triplet: r})
		if i%2000 == 0 {
			commit(t, s)
		}
	}
	commit(t, s)
}

func commit(t *testing.T, s *Store) {
	t.Helper()
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
}

func TestSweep(t *testing.T) {
	clock := storetest.NewClock()
	s := manual(t, filepath.Join(t.TempDir(), "greylist.db"), 0, Options{Now: clock.Now})
	fill(t, s, 0, 5000, storetest.Record(1, 0))
	long := storetest.Record(1, 1)
	long.Expires = long.LastSeen.Add(1000 * time.Hour)
	fill(t, s, 5000, 6000, long)
	clock.Add(2 * time.Hour)

	// A record that is written anew just when the sweep finds it must stay.
	k := storetest.Key(1, 1)
	held, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Set(t, s, k, held, greylist.Pair{Triplet: long})

	before := records(t, s)
	for step := 0; records(t, s) > 1001; step++ {
		if step > 20 {
			t.Fatalf("%d records are left after %d steps", records(t, s), step)
		}
		was := records(t, s)
		commit(t, s)
		if removed := was - records(t, s); removed > sweepStep {
			t.Errorf("%d records removed in one step", removed)
		}
		clock.Add(sweepEvery)
	}
	storetest.Holds(t, s, k, greylist.Pair{Triplet: long})
	storetest.Holds(t, s, storetest.Key(5500, 1), greylist.Pair{Triplet: long})
	if before != 6000 || records(t, s) != 1001 {
		t.Errorf("%d records, then %d, want 6000 and 1001", before, records(t, s))
	}
	was := writes(s)
	commit(t, s)
	if writes(s) != was {
		t.Error("a commit without work writes")
	}
}

// Beyond MaxRecords go those that never came again, and passed ones only where
// that is not enough. Identities stay.
func TestMaxRecords(t *testing.T) {
	clock := storetest.NewClock()
	path := filepath.Join(t.TempDir(), "greylist.db")
	s := manual(t, path, 0, Options{Now: clock.Now, MaxRecords: 1000})
	id := greylist.Pair{Identity: storetest.Record(0, 2)}
	storetest.Set(t, s, storetest.Key(0, 0), greylist.Pair{}, id)
	fill(t, s, 1, 400, storetest.Record(1, 1))
	fill(t, s, 400, 5000, storetest.Record(1, 0))
	commit(t, s)
	if n := records(t, s); n != 1000 {
		t.Errorf("%d records, want 1000", n)
	}
	for i := 1; i < 400; i++ {
		if p, err := s.Get(t.Context(), storetest.Key(i, 1)); err != nil || p.Triplet.Passes != 1 {
			t.Fatalf("passed triplet %d is gone: %+v, %v", i, p, err)
		}
	}
	fill(t, s, 5000, 8000, storetest.Record(1, 1))
	for range 5 {
		commit(t, s)
	}
	if n := records(t, s); n > 1000*(100+hardPercent)/100 {
		t.Errorf("%d records, all passed, want %d at most", n, 1000*(100+hardPercent)/100)
	}
	storetest.Holds(t, s, storetest.Key(0, 0), id)

	// Freed pages are used again.
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	was := size()
	for i := range 3 {
		fill(t, s, 10000+4000*i, 14000+4000*i, storetest.Record(1, 0))
	}
	if now := size(); now > 2*was {
		t.Errorf("the file grew from %d to %d bytes", was, now)
	}
}

// A full disk: writes fail at once, nothing that was taken is lost, and it goes
// on when there is room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	s := manual(t, filepath.Join(dir, "greylist.db"), 0, Options{})
	fill(t, s, 0, 10, storetest.Record(1, 0))
	s.db.MaxSize = 1 // no growth from here on
	for i := 10; i < 3000; i++ {
		storetest.Set(t, s, storetest.Key(i, 1), greylist.Pair{}, greylist.Pair{Triplet: storetest.Record(1, 0)})
	}
	if err := s.commit(); err == nil {
		t.Fatal("committed over the limit")
	}
	k := storetest.Key(5000, 1)
	next := greylist.Pair{Triplet: storetest.Record(1, 0)}
	if _, err := s.CompareAndSet(t.Context(), k, greylist.Pair{}, next); err == nil || errors.Is(err, greylist.ErrConflict) {
		t.Errorf("CompareAndSet: %v, want the commit's error", err)
	}
	if p, err := s.Get(t.Context(), storetest.Key(2000, 1)); err != nil || p.Triplet.IsZero() {
		t.Errorf("Get = %+v, %v, want the record that waits", p, err)
	}
	s.db.MaxSize = 0
	commit(t, s)
	storetest.Set(t, s, k, greylist.Pair{}, next)
	commit(t, s)
	if n := records(t, s); n != 3001 {
		t.Errorf("%d records, want 3001", n)
	}
}
