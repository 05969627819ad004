package boltstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"

	"mailwicket/greylist/storetest"
)

// The floors are what bbolt does for one value: read, and committed alone.
func BenchmarkBolt(b *testing.B) {
	s := openTest(b, Options{})
	ctx := b.Context()
	var n atomic.Int64
	parallel := func(name string, f func(i int64) error) {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := f(n.Add(1)); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "per-s")
		})
	}
	raw, err := bbolt.Open(filepath.Join(b.TempDir(), "raw"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	put := func(i int64) error {
		return raw.Update(func(tx *bbolt.Tx) error {
			t, err := tx.CreateBucketIfNotExists([]byte("x"))
			if err != nil {
				return err
			}
			return t.Put(fileKey(storetest.Key(int(i), 1)), make([]byte, 20))
		})
	}
	parallel("floor write", put)
	parallel("floor read", func(i int64) error {
		return raw.View(func(tx *bbolt.Tx) error { tx.Bucket([]byte("x")).Get([]byte("y")); return nil })
	})
	v := storetest.Service(b, s, nil)
	check := func(client int64, from string) error {
		o, err := v.Check(ctx, storetest.Request(int(client), from, "<user@example.net>"))
		if o.Degraded {
			return errors.New("degraded")
		}
		return err
	}
	parallel("first contact", func(i int64) error { return check(i, fmt.Sprintf("<%c%c@u%d.example>", 'a'+i%26, 'a'+i/26%26, i)) })
	if err := s.Sync(ctx); err != nil {
		b.Fatal(err)
	}
	if info, err := os.Stat(s.db.Path()); err == nil {
		_ = s.db.View(func(tx *bbolt.Tx) error {
			b.Logf("%d records in %d bytes: %d bytes each", count(tx), info.Size(), info.Size()/int64(max(count(tx), 1)))
			return nil
		})
	}
	parallel("early retry", func(i int64) error { return check(i%1000, "<a@example.org>") })
	for i := range 1000 {
		if err := v.Allow(ctx, storetest.Request(i, "", "").Identity); err != nil {
			b.Fatal(err)
		}
	}
	parallel("known", func(i int64) error { return check(i%1000, "<a@example.org>") })
}
