package redisstore

import (
	"fmt"
	"testing"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/storetest"
)

// benchmark makes a service over a server of its own, and the floors: what the
// same client does with one plain command for each goroutine and round trip.
func benchmark(b *testing.B) (v *greylist.Service, set, get storetest.Floor) {
	c := patient(b, "redis://"+redistest.Start(b).Addr)
	ctx, value := b.Context(), make([]byte, 20)
	if err := c.Set(ctx, "mw:g:floor", value, 0).Err(); err != nil {
		b.Fatal(err)
	}
	get = storetest.Floor{Name: "GET", Do: func(int, int) func(int) error {
		return func(int) error { return c.Get(ctx, "mw:g:floor").Err() }
	}}
	set = storetest.Floor{Name: "SET", Do: func(first, n int) func(int) error {
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprintf("floor%d", first+i)
		}
		return func(i int) error { return c.Set(ctx, keys[i], value, 0).Err() }
	}}
	return storetest.Service(b, New(c, ""), nil), set, get
}

func BenchmarkRedis(b *testing.B) {
	v, set, get := benchmark(b)
	storetest.Bench(b, v, set, get, nil, storetest.Rate)
}

func BenchmarkLatency(b *testing.B) {
	v, set, get := benchmark(b)
	storetest.Bench(b, v, set, get, nil, storetest.Latency)
}
