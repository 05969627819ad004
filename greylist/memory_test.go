package greylist_test

import (
	"testing"

	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) greylist.Store { return greylist.NewMemory(10000) })
}

func TestMemoryRace(t *testing.T) {
	s := greylist.NewMemory(10000)
	storetest.Race(t, []greylist.Store{s, s, s, s, s, s, s, s})
}

func TestMemoryIsBounded(t *testing.T) {
	s := greylist.NewMemory(100)
	kept := greylist.Pair{Triplet: storetest.Record(1, 1)}
	storetest.Set(t, s, storetest.Key(0, 1), greylist.Pair{}, kept)
	for i := 1; i < 1000; i++ {
		storetest.Set(t, s, storetest.Key(i, 1), greylist.Pair{}, greylist.Pair{Triplet: storetest.Record(1, 0)})
		storetest.Holds(t, s, storetest.Key(0, 1), kept) // touched, hence kept
	}
	page, _, err := s.Entries(t.Context(), "", 10000)
	if err != nil || len(page) > 100 || len(page) < 50 {
		t.Errorf("%d records, %v, want 50 to 100", len(page), err)
	}
}
