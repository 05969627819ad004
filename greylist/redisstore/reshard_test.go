package redisstore

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"mailwicket/greylist"
	"mailwicket/greylist/redisstore/redistest"
	"mailwicket/greylist/storetest"
)

// masters are those of a cluster, for moving slots between them.
type masters struct {
	t     *testing.T
	nodes []*redis.Client
	ids   []string
}

func newMasters(t *testing.T, addrs []string) *masters {
	m := &masters{t: t}
	for _, a := range addrs {
		c := dial(t, a)
		id, err := c.Do(t.Context(), "cluster", "myid").Text()
		if err != nil {
			t.Fatal(err)
		}
		m.nodes, m.ids = append(m.nodes, c), append(m.ids, id)
	}
	return m
}

func (m *masters) do(node int, args ...any) {
	m.t.Helper()
	if err := m.nodes[node].Do(context.WithoutCancel(m.t.Context()), args...).Err(); err != nil {
		m.t.Errorf("%v: %v", args, err)
	}
}

// begin opens a slot's move.
func (m *masters) begin(slot, from, to int) {
	m.t.Helper()
	m.do(to, "cluster", "setslot", slot, "importing", m.ids[from])
	m.do(from, "cluster", "setslot", slot, "migrating", m.ids[to])
}

// one moves one key of a slot, and tells whether there was one.
func (m *masters) one(slot, from, to int) bool {
	m.t.Helper()
	keys, err := m.nodes[from].ClusterGetKeysInSlot(context.WithoutCancel(m.t.Context()), slot, 1).Result()
	if err != nil || len(keys) == 0 {
		if err != nil {
			m.t.Error(err)
		}
		return false
	}
	host, port, _ := net.SplitHostPort(m.nodes[to].Options().Addr)
	m.do(from, "migrate", host, port, keys[0], 0, 5000)
	return true
}

// end gives the slot to its new master. The old one is told last but for those
// that have nothing to do with it: so no key is ever nobody's.
func (m *masters) end(slot, from, to int) {
	m.t.Helper()
	order := []int{to, from}
	for i := range m.nodes {
		if i != to && i != from {
			order = append(order, i)
		}
	}
	for _, i := range order {
		m.do(i, "cluster", "setslot", slot, "node", m.ids[to])
	}
}

// errors counts what the servers answered in place of a result.
func (m *masters) errors() map[string]int {
	count := map[string]int{}
	for _, c := range m.nodes {
		stats := c.Info(m.t.Context(), "errorstats").Val()
		for _, f := range regexp.MustCompile(`errorstat_(\w+):count=(\d+)`).FindAllStringSubmatch(stats, -1) {
			n, _ := strconv.Atoi(f[2])
			count[f[1]] += n
		}
	}
	return count
}

// A slot moves from one node to another while its records are asked for: half
// moved, too, nothing is lost.
func TestResharding(t *testing.T) {
	addrs := redistest.Cluster(t, 2)
	m := newMasters(t, addrs)
	clock := storetest.NewClock()
	store := New(patient(t, "redis+cluster://"+addrs[0]), "")
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
	slot := int(m.nodes[0].ClusterKeySlot(t.Context(), store.keys(k)[0]).Val())
	from := m.owner(slot)
	to := 1 - from
	read := func(what string) {
		t.Helper()
		if o := ask(t, v, r, greylist.Pass); o.Degraded || !o.FirstSeen.Equal(held.Triplet.FirstSeen) {
			t.Errorf("%s: %+v, want first seen %s", what, o, held.Triplet.FirstSeen)
		}
	}
	ask(t, v, r, greylist.Pass) // counted: the next ones within the minute only read
	m.begin(slot, from, to)
	read("not begun")
	m.one(slot, from, to)
	read("half moved")
	m.one(slot, from, to)
	read("moved")
	m.end(slot, from, to)
	read("ended")
	clock.Add(greylist.CountGap)
	read("written at the new node")
}

// Slots are moved all the time while two sidecars decide: no caller gets an
// error, nothing passes early and nothing is forgotten.
func TestReshardingTraffic(t *testing.T) {
	const triplets, rounds = 150, 4
	addrs := redistest.Cluster(t, 3)
	url, m := "redis+cluster://"+addrs[0], newMasters(t, addrs)
	clock := storetest.NewClock()
	store := New(patient(t, url), "")
	sidecars := []*greylist.Service{storetest.Service(t, store, clock.Now), storetest.Service(t, New(patient(t, url), ""), clock.Now)}

	var slots []int
	for i := range triplets {
		k, _, err := sidecars[0].Lookup(t.Context(), storetest.Request(i, "<a@example.org>", "<b@example.net>"))
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, int(m.nodes[0].ClusterKeySlot(t.Context(), store.keys(k)[0]).Val()))
	}
	stop, moved := m.shuffle(slots)
	traffic := &traffic{t: t, clock: clock, sidecars: sidecars}
	for round := range rounds {
		traffic.round(triplets, fmt.Sprintf("<user%c@example.net>", 'a'+round))
	}
	stop()
	answers := m.errors()
	t.Logf("%d decisions while %d slots moved; answers %v; %d decided without the store", traffic.asked.Load(), moved.Load(), answers, traffic.degraded.Load())
	if answers["MOVED"] == 0 || answers["ASK"] == 0 {
		t.Error("the traffic never met a move")
	}
	if n := traffic.degraded.Load(); n > 0 {
		t.Errorf("%d decisions without the store, want none", n)
	}
}

// shuffle moves slots until stop is called: all to one master, then all to the
// next, as an administrator empties one server after the other.
func (m *masters) shuffle(slots []int) (stop func(), moved *atomic.Int64) {
	owner := map[int]int{}
	for _, s := range slots {
		owner[s] = m.owner(s)
	}
	moved = new(atomic.Int64)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for pass := 0; ; pass++ {
			to := pass % len(m.nodes)
			for _, slot := range slots {
				select {
				case <-done:
					return
				default:
				}
				if from := owner[slot]; from != to {
					m.move(slot, from, to)
					owner[slot] = to
					moved.Add(1)
				}
			}
			m.agree()
		}
	})
	return func() { close(done); wg.Wait() }, moved
}

func (m *masters) move(slot, from, to int) {
	m.begin(slot, from, to)
	for m.one(slot, from, to) {
		time.Sleep(time.Millisecond) // half moved, for who asks just then
	}
	m.end(slot, from, to)
}

// owner asks who has a slot.
func (m *masters) owner(slot int) int {
	shards, err := m.nodes[0].ClusterShards(m.t.Context()).Result()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, s := range shards {
		for _, r := range s.Slots {
			if int(r.Start) <= slot && slot <= int(r.End) {
				return slices.Index(m.ids, s.Nodes[0].ID)
			}
		}
	}
	m.t.Fatalf("nobody has slot %d", slot)
	return 0
}

// agree waits until all know of the same moves: a master that takes over a slot
// before it has heard of the one before could lose it again.
func (m *masters) agree() {
	ctx := context.WithoutCancel(m.t.Context())
	redistest.Await(m.t, "the cluster to agree", func() bool {
		seen := map[string]bool{}
		for _, c := range m.nodes {
			info, err := c.ClusterInfo(ctx).Result()
			epoch := regexp.MustCompile(`cluster_current_epoch:\d+`).FindString(info)
			shards, err2 := c.ClusterShards(ctx).Result()
			if err != nil || err2 != nil {
				return false
			}
			view := []string{epoch}
			for _, s := range shards {
				view = append(view, fmt.Sprint(s.Nodes[0].ID, s.Slots))
			}
			slices.Sort(view)
			seen[strings.Join(view, " ")] = true
		}
		return len(seen) == 1
	})
}

// traffic is what senders do.
type traffic struct {
	t               *testing.T
	clock           *storetest.Clock
	sidecars        []*greylist.Service
	asked, degraded atomic.Int64
}

// round takes triplets of a recipient from the first contact to the pass, by all
// sidecars at once.
func (f *traffic) round(triplets int, rcpt string) {
	p, first := greylist.DefaultParams(), f.clock.Now()
	for _, step := range []struct {
		wait    time.Duration
		status  greylist.Status
		delayed int // of all answers to one triplet
	}{
		{0, greylist.Defer, 0}, {p.Delay - time.Millisecond, greylist.Defer, 0}, {time.Millisecond, greylist.Pass, 1}, {greylist.CountGap, greylist.Pass, 0},
	} {
		f.clock.Add(step.wait)
		delayed := make([]atomic.Int32, triplets)
		var wg sync.WaitGroup
		for _, v := range f.sidecars {
			for g := range 4 {
				wg.Go(func() {
					for i := g; i < triplets; i += 4 {
						o, err := v.Check(f.t.Context(), storetest.Request(i, "<a@example.org>", rcpt))
						f.asked.Add(1)
						if o.Degraded {
							f.degraded.Add(1)
						}
						if o.Delayed > 0 {
							delayed[i].Add(1)
						}
						if err != nil || o.Status != step.status || !o.FirstSeen.Equal(first) {
							f.t.Errorf("%s %d: %+v, %v, want %s first seen %s", rcpt, i, o, err, step.status, first)
						}
					}
				})
			}
		}
		wg.Wait()
		for i := range delayed {
			if n := int(delayed[i].Load()); n != step.delayed {
				f.t.Errorf("%s %d: %d answers with the delay, want %d", rcpt, i, n, step.delayed)
			}
		}
	}
}
