package boltstore

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

// benchmark makes a service over a file of its own, and the floors: what bbolt does
// for one value, committed alone and read, in another file.
func benchmark(b *testing.B) (s *Store, v *greylist.Service, commit, read storetest.Floor) {
	raw, err := bbolt.Open(filepath.Join(b.TempDir(), "raw"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = raw.Close() })
	put := func(i int) error {
		return raw.Update(func(tx *bbolt.Tx) error {
			t, err := tx.CreateBucketIfNotExists([]byte("x"))
			if err != nil {
				return err
			}
			return t.Put(fileKey(storetest.Key(i, 1)), make([]byte, 20))
		})
	}
	if err := put(0); err != nil {
		b.Fatal(err)
	}
	commit = storetest.Floor{Name: "commit", Do: func(first, _ int) func(int) error {
		return func(i int) error { return put(first + i) }
	}}
	read = storetest.Floor{Name: "read", Do: func(int, int) func(int) error {
		return func(int) error {
			return raw.View(func(tx *bbolt.Tx) error {
				tx.Bucket([]byte("x")).Get(fileKey(storetest.Key(0, 1)))
				return nil
			})
		}
	}}
	s = openTest(b, Options{})
	return s, storetest.Service(b, s, nil), commit, read
}

func BenchmarkBolt(b *testing.B) {
	s, v, commit, read := benchmark(b)
	storetest.Bench(b, v, commit, read, func(b *testing.B) { size(b, s) }, storetest.Rate)
}

func BenchmarkLatency(b *testing.B) {
	_, v, commit, read := benchmark(b)
	storetest.Bench(b, v, commit, read, nil, storetest.Latency)
}

// size prints what a record takes on disk.
func size(b *testing.B, s *Store) {
	if err := s.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(s.db.Path())
	if err != nil {
		b.Fatal(err)
	}
	_ = s.db.View(func(tx *bbolt.Tx) error {
		b.Logf("%d records in %d bytes: %d bytes each", count(tx), info.Size(), info.Size()/int64(max(count(tx), 1)))
		return nil
	})
}
