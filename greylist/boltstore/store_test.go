package boltstore

import (
	"path/filepath"
	"testing"

	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "greylist.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) greylist.Store { return openTest(t, Options{}) })
}

func TestRace(t *testing.T) {
	s := openTest(t, Options{})
	storetest.Race(t, []greylist.Store{s, s, s, s, s, s, s, s})
}
