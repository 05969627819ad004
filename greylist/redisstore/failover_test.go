package redisstore

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/storetest"
)

// A master dies, Sentinel promotes the replica: what was replicated counts on,
// and what the fallback learned between is handed to the new master.
func TestSentinelFailover(t *testing.T) {
	master, sentinel := redistest.Sentinel(t)
	clock := storetest.NewClock()
	url := "redis+sentinel://" + sentinel.Addr + "/main"
	v := storetest.Service(t, New(client(t, url), ""), clock.Now)
	before, during := storetest.Request(1, "<a@example.org>", "<b@example.net>"), storetest.Request(2, "<a@example.org>", "<b@example.net>")
	first := ask(t, v, before, greylist.Defer)
	if err := master.Direct(t).Wait(t.Context(), 1, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	master.Kill()
	second := ask(t, v, during, greylist.Defer)
	t.Cleanup(func() {
		if t.Failed() {
			_, why := v.Degraded()
			sentinel.Kill() // its log is complete then
			t.Logf("degraded: %s\nSentinel:\n%s", why, sentinel.Log)
		}
	})
	redistest.Await(t, "the new master to be found", func() bool { on, _ := v.Degraded(); return !on })

	clock.Add(greylist.DefaultParams().Delay)
	other := storetest.Service(t, New(client(t, url), ""), clock.Now)
	for r, want := range map[greylist.Request]greylist.Outcome{before: first, during: second} {
		if o := ask(t, other, r, greylist.Pass); !o.FirstSeen.Equal(want.FirstSeen) || o.Degraded {
			t.Errorf("%+v, want first seen %s, from the new master", o, want.FirstSeen)
		}
	}
}

func ask(t *testing.T, v *greylist.Service, r greylist.Request, want greylist.Status) greylist.Outcome {
	t.Helper()
	o, err := v.Check(t.Context(), r)
	if err != nil || o.Status != want {
		t.Errorf("Check = %+v, %v, want %s", o, err, want)
	}
	return o
}

// A slot moves from one node to another while its records are asked for. Half
// moved, the server answers TRYAGAIN, and the fallback decides; nothing is lost.
func TestResharding(t *testing.T) {
	addrs := redistest.Cluster(t, 2)
	c := patient(t, "redis+cluster://"+addrs[0])
	clock := storetest.NewClock()
	store := New(c, "")
	v := storetest.Service(t, store, clock.Now)
	r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
	for _, want := range []greylist.Status{greylist.Defer, greylist.Pass} { // two records
		ask(t, v, r, want)
		clock.Add(greylist.DefaultParams().Delay)
	}
	k, held, err := v.Lookup(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	m := newMove(t, addrs, store.keys(k))
	m.step("importing")
	ask(t, v, r, greylist.Pass)
	m.migrate(0)
	ask(t, v, r, greylist.Pass)
	m.migrate(1)
	ask(t, v, r, greylist.Pass)
	m.step("node")
	redistest.Await(t, "the store to be well", func() bool { on, _ := v.Degraded(); return !on })
	if o := ask(t, v, r, greylist.Pass); o.Degraded || !o.FirstSeen.Equal(held.Triplet.FirstSeen) {
		t.Errorf("%+v, want first seen %s, from the new node", o, held.Triplet.FirstSeen)
	}
}

// move takes one slot from its node to the other, in steps.
type move struct {
	t        *testing.T
	keys     []string
	slot     int64
	from, to *redis.Client
	ids      [2]string // of from and to
}

func newMove(t *testing.T, addrs, keys []string) *move {
	m := &move{t: t, keys: keys}
	for _, a := range addrs {
		n := redis.NewClient(&redis.Options{Addr: a})
		t.Cleanup(func() { _ = n.Close() })
		m.slot = n.ClusterKeySlot(t.Context(), keys[0]).Val()
		if n.ClusterCountKeysInSlot(t.Context(), int(m.slot)).Val() > 0 {
			m.from = n
		} else {
			m.to = n
		}
	}
	m.ids = [2]string{m.from.Do(t.Context(), "cluster", "myid").String(), m.to.Do(t.Context(), "cluster", "myid").String()}
	for i, s := range m.ids {
		m.ids[i] = s[strings.LastIndexByte(s, ' ')+1:]
	}
	return m
}

func (m *move) do(c *redis.Client, args ...any) {
	m.t.Helper()
	if err := c.Do(m.t.Context(), args...).Err(); err != nil {
		m.t.Fatalf("%v: %v", args, err)
	}
}

func (m *move) step(name string) {
	m.t.Helper()
	if name == "importing" {
		m.do(m.to, "cluster", "setslot", m.slot, "importing", m.ids[0])
		m.do(m.from, "cluster", "setslot", m.slot, "migrating", m.ids[1])
		return
	}
	m.do(m.to, "cluster", "setslot", m.slot, "node", m.ids[1])
	m.do(m.from, "cluster", "setslot", m.slot, "node", m.ids[1])
}

func (m *move) migrate(i int) {
	m.t.Helper()
	host, port, _ := net.SplitHostPort(m.to.Options().Addr)
	m.do(m.from, "migrate", host, port, m.keys[i], 0, 5000)
}
