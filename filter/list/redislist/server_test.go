package redislist

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist/redisstore/redisurl"
)

// client is a client as the program sets it up.
func client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	o, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	// The machine of the test may be busy with others.
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Second, time.Second, time.Second, time.Second
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
