package redisstore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/storetest"
)

// The floor is what the same server and client do for one plain command; each
// decision is to cost about one of those.
func BenchmarkRedis(b *testing.B) {
	s := redistest.Start(b)
	c := patient(b, "redis://"+s.Addr)
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
	value := make([]byte, 20)
	if err := c.Set(ctx, "mw:g:floor", value, 0).Err(); err != nil {
		b.Fatal(err)
	}
	parallel("floor GET", func(i int64) error { return c.Get(ctx, "mw:g:floor").Err() })
	parallel("floor SET", func(i int64) error { return c.Set(ctx, fmt.Sprintf("floor%d", i), value, 0).Err() })
	v := storetest.Service(b, New(c, ""), nil)
	check := func(client int64, from string) error {
		o, err := v.Check(ctx, storetest.Request(int(client), from, "<user@example.net>"))
		if o.Degraded {
			return errors.New("degraded")
		}
		return err
	}
	parallel("first contact", func(i int64) error { return check(i, fmt.Sprintf("<%c%c@u%d.example>", 'a'+i%26, 'a'+i/26%26, i)) })
	parallel("early retry", func(i int64) error { return check(i%1000, "<a@example.org>") })
	for i := range 1000 {
		if err := v.Allow(ctx, storetest.Request(i, "", "").Identity); err != nil {
			b.Fatal(err)
		}
	}
	parallel("known", func(i int64) error { return check(i%1000, "<a@example.org>") })
}
