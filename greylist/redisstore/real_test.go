package redisstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/storetest"
)

func TestStoreReal(t *testing.T) {
	url := "redis://" + redistest.Start(t).Addr + "/3"
	storetest.Run(t, func(t *testing.T) greylist.Store {
		c := patient(t, url)
		redistest.Flush(t, c)
		return New(c, "")
	})
}

// A prefix with the characters of patterns must neither miss nor reach others'
// keys.
func TestPrefix(t *testing.T) {
	url := "redis://" + redistest.Start(t).Addr
	storetest.Run(t, func(t *testing.T) greylist.Store {
		c := patient(t, url)
		redistest.Flush(t, c)
		other := New(c, "axb:")
		storetest.Set(t, other, storetest.Key(1, 1), greylist.Pair{}, greylist.Pair{Triplet: storetest.Record(1, 0), Identity: storetest.Record(0, 1)})
		t.Cleanup(func() {
			if got, err := other.Get(context.Background(), storetest.Key(1, 1)); err != nil || got.Triplet.IsZero() {
				t.Errorf("the other store holds %+v, %v, want its record", got, err)
			}
		})
		return New(c, "a[x*]?:")
	})
}

func TestStoreCluster(t *testing.T) {
	url := "redis+cluster://" + strings.Join(redistest.Cluster(t, 3), ",")
	storetest.Run(t, func(t *testing.T) greylist.Store {
		c := patient(t, url)
		redistest.Flush(t, c)
		return New(c, "")
	})
	t.Run("race", func(t *testing.T) { race(t, url) })
}

// With the rights that the manual gives, and no others, a cluster works, and
// Sentinels tell of the master.
func TestACL(t *testing.T) {
	server, cluster, sentinel := redistest.ACL(t)
	login := redistest.User + ":" + strings.ReplaceAll(redistest.Password, " ", "%20")
	t.Run("cluster", func(t *testing.T) {
		addrs := redistest.Cluster(t, 3)
		for _, a := range addrs {
			redistest.Grant(t, dial(t, a), server, cluster)
		}
		admin := patient(t, "redis+cluster://"+addrs[0])
		storetest.Run(t, func(t *testing.T) greylist.Store {
			redistest.Flush(t, admin)
			return New(patient(t, "redis+cluster://"+login+"@"+strings.Join(addrs, ",")), "")
		})
		for _, a := range addrs {
			undenied(t, dial(t, a))
		}
	})
	t.Run("sentinel", func(t *testing.T) {
		master, guard := redistest.Sentinel(t)
		redistest.Grant(t, master.Direct(t), server)
		redistest.Grant(t, guard.Direct(t), sentinel)
		url := "redis+sentinel://" + login + "@" + guard.Addr + "/main?sentinel_user=" + redistest.User +
			"&sentinel_password=" + strings.ReplaceAll(redistest.Password, " ", "%20")
		storetest.Run(t, func(t *testing.T) greylist.Store {
			redistest.Flush(t, master.Direct(t))
			return New(patient(t, url), "")
		})
		undenied(t, master.Direct(t))
		undenied(t, guard.Direct(t))
	})
}

func dial(t *testing.T, addr string) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// undenied complains where the server refused a command.
func undenied(t *testing.T, c *redis.Client) {
	t.Helper()
	if log, err := c.Do(t.Context(), "acl", "log").Slice(); err != nil || len(log) > 0 {
		t.Errorf("denied: %v, %v", log, err)
	}
}

func TestRaceReal(t *testing.T) { race(t, "redis://"+redistest.Start(t).Addr) }

// race lets eight sidecars, each with a client of its own, ask at once.
func race(t *testing.T, url string) {
	var stores []greylist.Store
	for range 8 {
		stores = append(stores, New(patient(t, url), ""))
	}
	for i := range 5 {
		redistest.Flush(t, patient(t, url))
		t.Run(fmt.Sprint(i), func(t *testing.T) { storetest.Race(t, stores) })
	}
}

// Every key must live no longer than its record.
func TestTimeToLive(t *testing.T) {
	s := redistest.Start(t)
	c := patient(t, "redis://"+s.Addr)
	store, ctx := New(c, ""), t.Context()
	p := greylist.Pair{Triplet: storetest.Record(1, 0), Identity: storetest.Record(0, 1)}
	p.Triplet.Expires = p.Triplet.LastSeen.Add(48 * time.Hour)
	p.Identity.Expires = p.Identity.LastSeen.Add(60 * 24 * time.Hour)
	storetest.Set(t, store, storetest.Key(1, 1), greylist.Pair{}, p)
	for i, want := range []time.Duration{60 * 24 * time.Hour, 48 * time.Hour} {
		got, err := s.Direct(t).PTTL(ctx, store.keys(storetest.Key(1, 1))[i]).Result()
		if err != nil || got > want || got < want-time.Minute {
			t.Errorf("key %d lives for %s, %v, want %s", i, got, err, want)
		}
	}
	short := p
	short.Triplet.Expires = short.Triplet.LastSeen // over at once; the store rounds up to a second
	storetest.Set(t, store, storetest.Key(1, 1), p, short)
	redistest.Await(t, "the record to go", func() bool {
		got, err := store.Get(ctx, storetest.Key(1, 1))
		return err == nil && got.Triplet.IsZero() && got.Identity.Equal(p.Identity)
	})
}

// The size of a record in Redis is a promise of the documentation.
func TestBytes(t *testing.T) {
	s := redistest.Start(t)
	c := s.Direct(t)
	clock := storetest.NewClock()
	service := storetest.Service(t, New(c, ""), clock.Now)
	const n = 1000
	for i := range n {
		r := storetest.Request(i, "<news@example.org>", "<user@example.net>")
		r.Identity = greylist.Identity{Kind: greylist.KindSPF, Value: fmt.Sprintf("example%d.org", i)}
		for range 2 {
			if _, err := service.Check(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			clock.Add(5 * time.Minute)
		}
		clock.Add(-10 * time.Minute)
	}
	total, most, keys := 0, 0, c.Keys(t.Context(), "*").Val()
	for _, k := range keys {
		n := int(c.MemoryUsage(t.Context(), k).Val())
		total, most = total+n, max(most, n)
	}
	t.Logf("%d records, %d bytes on average, %d at most", len(keys), total/len(keys), most)
	if len(keys) != 2*n || most > 160 {
		t.Errorf("%d records of at most %d bytes, want %d of 160", len(keys), most, 2*n)
	}
}

// A store without script, as after a failover or SCRIPT FLUSH, must go on.
func TestScriptFlushed(t *testing.T) {
	s := redistest.Start(t)
	store := New(patient(t, "redis://"+s.Addr), "")
	p := greylist.Pair{Triplet: storetest.Record(1, 0)}
	storetest.Set(t, store, storetest.Key(1, 1), greylist.Pair{}, p)
	if err := s.Direct(t).ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	storetest.Set(t, store, storetest.Key(1, 1), p, greylist.Pair{})
}
