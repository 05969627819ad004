package redisstore

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redisurl"
	"mailwicket/greylist/storetest"
)

// go-redis reports each failure to a logger of its own, by default to stderr.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	if url := os.Getenv(processEnv); url != "" {
		if err := serve(url, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// client makes a client as the server makes it.
func client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	o, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// patient makes a client like client's, but for tests that count: a slow machine
// must not make it try again.
func patient(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	o, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Minute, time.Minute, time.Minute, time.Minute
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestStoreMini(t *testing.T) {
	storetest.Run(t, func(t *testing.T) greylist.Store {
		return New(patient(t, "redis://"+miniredis.RunT(t).Addr()), "")
	})
}
