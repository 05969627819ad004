package redisstore

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mailwicket/filter/limit"
	"mailwicket/filter/limit/limittest"
	"mailwicket/greylist/redisstore/redistest"
)

// The floor is what the same server and client do for one plain command; each
// decision is to cost about one of those.
func BenchmarkRedis(b *testing.B) {
	addr := redistest.Start(b).Addr
	c := client(b, "redis://"+addr)
	ctx, s := b.Context(), New(c, "")
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
	parallel("floor EXISTS", func(i int64) error { return c.Exists(ctx, "floor").Err() })
	value := make([]byte, 16)
	parallel("floor SET", func(i int64) error { return c.Set(ctx, fmt.Sprintf("floor%d", i%10_000), value, 0).Err() })
	spend := func(charges int) func(i int64) error {
		return func(i int64) error {
			batch := make([]limit.Charge, charges)
			for j := range batch {
				batch[j] = limit.Charge{Bucket: limittest.Bucket(int(i%10_000)*8 + j), Limit: limittest.Ten, Cost: 1}
			}
			_, err := s.Spend(ctx, time.Time{}, batch)
			return err
		}
	}
	parallel("1 limit", spend(1))
	parallel("4 limits", spend(4))
	parallel("replay, new signature", func(i int64) error {
		_, err := s.Seen(ctx, time.Time{}, limit.Sighting{Signature: limittest.Bucket(int(i)), Client: i, Rcpts: []int64{i}, Window: time.Hour})
		return err
	})
	parallel("replay, one signature", func(i int64) error {
		_, err := s.Seen(ctx, time.Time{}, limit.Sighting{Client: i % 5000, Rcpts: []int64{i % 20_000}, Window: time.Hour})
		return err
	})
}
