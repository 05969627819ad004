package redislist

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/filter/list/live"
	"mailwicket/greylist/redisstore/redistest"
)

func TestMain(m *testing.M) {
	logging.Disable() // servers are killed on purpose
	goleak.VerifyTestMain(m)
}

func entries(n int) []live.Entry {
	out := make([]live.Entry, n)
	for i := range out {
		out[i] = live.Entry{Entry: fmt.Sprintf("n%06d.example", i), Comment: "why", At: time.Unix(1e9, 0).UTC(), By: "jane"}
	}
	return out
}

// set reads a list as a map.
func set(t *testing.T, s *Store, name string) (string, map[string]live.Entry) {
	t.Helper()
	state, all, err := s.Read(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]live.Entry{}
	for _, e := range all {
		out[e.Entry] = e
	}
	if len(out) != len(all) {
		t.Error("entries are there twice")
	}
	return state, out
}

func same(a, b live.Entry) bool {
	return a.Entry == b.Entry && a.Comment == b.Comment && a.By == b.By && a.At.Equal(b.At)
}

// suite is what a store does, whatever servers are behind it.
func suite(t *testing.T, c redis.UniversalClient) {
	ctx := t.Context()
	for _, name := range []string{"l", "a}b{c", "{}", "ü and more", "x:y"} {
		t.Run(name, func(t *testing.T) {
			s := New(c, "")
			if state, all := set(t, s, name); state != "" || len(all) != 0 {
				t.Errorf("%q, %v", state, all)
			}
			put := entries(1100)
			states := map[string]bool{}
			edit := func(put []live.Entry, remove []string, wantAdded, wantRemoved int) {
				t.Helper()
				a, r, err := s.Edit(ctx, name, put, remove)
				if a != wantAdded || r != wantRemoved || err != nil {
					t.Error(a, r, err)
				}
				state, err := s.State(ctx, name)
				if err != nil || states[state] != (len(put)+wantRemoved == 0) {
					t.Errorf("state %q, %v", state, err)
				}
				states[state] = true
			}
			edit(put[:2], nil, 2, 0)
			edit(put, nil, 1098, 0)
			edit(nil, []string{"gone.example"}, 0, 0)
			put[7].Comment = `other "words" é`
			edit(put[7:8], nil, 0, 0)
			edit(nil, []string{put[0].Entry, put[1].Entry, "gone.example"}, 0, 2)
			want := map[string]live.Entry{}
			for _, e := range put[2:] {
				want[e.Entry] = e
			}
			state, got := set(t, s, name)
			if !maps.EqualFunc(want, got, same) || !states[state] {
				t.Errorf("%q: %d entries, want %d, or others", state, len(got), len(want))
			}
			// Nobody restores a list that is there.
			if err := s.Restore(ctx, name, entries(1)); err != nil {
				t.Error(err)
			}
			if again, _ := set(t, s, name); again != state {
				t.Errorf("state %q, was %q", again, state)
			}
			c.Del(ctx, s.key(name))
			for range 2 {
				if err := s.Restore(ctx, name, put[2:]); err != nil {
					t.Error(err)
				}
				state, got = set(t, s, name)
				if !maps.EqualFunc(want, got, same) || states[state] {
					t.Errorf("%q: %d entries, want %d, or others", state, len(got), len(want))
				}
			}
			if ttl := c.TTL(ctx, s.key(name)).Val(); ttl != -1 {
				t.Error("the list will be gone in ", ttl)
			}
		})
	}
}

func TestSingle(t *testing.T) {
	c := client(t, "redis://"+redistest.Start(t).Addr)
	suite(t, c)
	if n := c.DBSize(t.Context()).Val(); n != 5 {
		t.Error(n, " keys are left of 5 lists")
	}
}

// A cluster refuses an operation on keys of two slots.
func TestCluster(t *testing.T) {
	url := "redis+cluster://" + redistest.Cluster(t, 3)[0]
	suite(t, client(t, url))
	see(t, client(t, url), client(t, url), func() {})
}

func TestSentinel(t *testing.T) {
	master, sentinel := redistest.Sentinel(t)
	url := "redis+sentinel://" + sentinel.Addr + "/main"
	see(t, client(t, url), client(t, url), master.Kill)
}

// book is a Book with lists in Redis that watches until the test ends.
func book(t testing.TB, c redis.UniversalClient, dir string) *list.Book {
	t.Helper()
	b := list.New([]list.Config{
		{Name: "names", Kind: list.Domain, Redis: true, Apply: []list.Point{list.PointHelo}, Dir: dir},
		{Name: "nets", Kind: list.IP, Redis: true, Apply: []list.Point{list.PointClient}, Dir: dir},
	}, list.Options{Redis: New(c, "")})
	_ = b.Load(t.Context())
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { b.Watch(ctx, 0) })
	t.Cleanup(func() { cancel(); watch.Wait() })
	return b
}

func synced(b *list.Book) func() bool {
	return func() bool {
		for _, s := range b.Status() {
			if s.LastSuccess.IsZero() || s.LastError != "" || s.Err != "" {
				return false
			}
		}
		return true
	}
}

// see edits lists through one Book and looks into another, before and after a
// trouble that passes.
func see(t *testing.T, one, two redis.UniversalClient, trouble func()) {
	a, b := book(t, one, ""), book(t, two, "")
	redistest.Await(t, "the first copies", func() bool { return synced(a)() && synced(b)() })
	listed := func(name string) func() bool {
		return func() bool { return b.Domain(list.PointHelo, name) != nil }
	}
	add := func(name string) {
		t.Helper()
		redistest.Await(t, "an edit", func() bool {
			_, err := a.Add(t.Context(), "names", []string{name}, list.Note{Comment: "spam run", By: "jane"})
			return err == nil
		})
	}
	add("before.example")
	redistest.Await(t, "the edit to be seen", listed("a.before.example"))
	if c, ok := two.(*redis.Client); ok && t.Name() == "TestSentinel" {
		c.Wait(t.Context(), 1, time.Minute) // a failover may lose what was not copied
	}
	trouble()
	add("after.example")
	redistest.Await(t, "the edit to be seen", listed("after.example"))
	redistest.Await(t, "the first edit to be there", listed("before.example"))
	if n, err := b.Remove(t.Context(), "names", []string{"before.example"}); n != 1 || err != nil {
		t.Error(n, err)
	}
	redistest.Await(t, "the removal to be seen", func() bool { return a.Domain(list.PointHelo, "before.example") == nil })
}

func TestTwoBooks(t *testing.T) {
	s := redistest.Start(t)
	a, b := book(t, client(t, "redis://"+s.Addr), t.TempDir()), book(t, client(t, "redis://"+s.Addr), t.TempDir())
	redistest.Await(t, "the first copies", func() bool { return synced(a)() && synced(b)() })
	for i := range 10 {
		name := fmt.Sprintf("n%d.example", i)
		if n, err := a.Add(t.Context(), "names", []string{name}, list.Note{Comment: "why"}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		redistest.Await(t, "the edit", func() bool { return b.Domain(list.PointHelo, name) != nil })
	}
	want := []fact.ListHit{{List: "names", Subject: "x.n7.example", Entry: "n7.example", Source: "redis", Comment: "why"}}
	if d := cmp.Diff(want, b.Domain(list.PointHelo, "x.n7.example")); d != "" {
		t.Error(d)
	}
	if n, err := b.Add(t.Context(), "nets", []string{"192.0.2.1-192.0.2.4"}, list.Note{}); n != 3 || err != nil {
		t.Error(n, err)
	}
	redistest.Await(t, "the nets", func() bool { return a.IP(list.PointClient, netip.MustParseAddr("192.0.2.3")) != nil })
	if st := a.Status()[1]; st.Entries != 3 || st.Source != "redis" {
		t.Errorf("%+v", st)
	}
}

// Where nobody tells of edits, as through a broken proxy, they are found all the
// same.
func TestWithoutMessages(t *testing.T) {
	s := redistest.Start(t)
	direct := s.Direct(t)
	a, b := book(t, client(t, "redis://"+s.Addr), ""), book(t, client(t, "redis://"+s.Addr), "")
	redistest.Await(t, "the first copies", func() bool { return synced(a)() && synced(b)() })
	if err := direct.Do(t.Context(), "acl", "setuser", "default", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	direct.Do(t.Context(), "client", "kill", "type", "pubsub")
	// The script may not publish either now, so the edit is made by hand.
	if err := direct.HSet(t.Context(), "mw:l:{names}", "hand.example", "by hand").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Await(t, "the edit", func() bool {
		hits := b.Domain(list.PointHelo, "hand.example")
		return len(hits) == 1 && hits[0].Comment == "by hand"
	})
}

// A server that is killed and comes back empty gets the lists back; meanwhile, and
// over a restart of ours, they stay in force.
func TestKilledServer(t *testing.T) {
	s := redistest.Start(t)
	url, dir := "redis://"+s.Addr, t.TempDir()
	a, b := book(t, client(t, url), dir), book(t, client(t, url), t.TempDir())
	redistest.Await(t, "the first copies", func() bool { return synced(a)() && synced(b)() })
	if _, err := a.Add(t.Context(), "names", []string{"one.example"}, list.Note{Comment: "why"}); err != nil {
		t.Fatal(err)
	}
	redistest.Await(t, "the edit", func() bool {
		return a.Domain(list.PointHelo, "one.example") != nil && b.Domain(list.PointHelo, "one.example") != nil
	})
	s.Kill()
	redistest.Await(t, "the outage to be noticed", func() bool { return a.Status()[0].LastError != "" && b.Status()[0].LastError != "" })
	if _, err := a.Add(t.Context(), "names", []string{"two.example"}, list.Note{}); err == nil {
		t.Error("an edit of a dead server")
	}
	redistest.Await(t, "the copy on the disk", func() bool {
		restarted := book(t, client(t, url), dir)
		hits := restarted.Domain(list.PointHelo, "one.example")
		return len(hits) == 1 && hits[0].Comment == "why"
	})
	if a.Domain(list.PointHelo, "one.example") == nil || a.Domain(list.PointHelo, "two.example") != nil {
		t.Errorf("%+v", a.Status())
	}
	s.Run(t, []string{`save ""`})
	redistest.Await(t, "the lists to be restored", func() bool { return synced(a)() && synced(b)() })
	if _, all := set(t, New(s.Direct(t), ""), "names"); len(all) != 1 || all["one.example"].Comment != "why" {
		t.Error(all)
	}
	if _, err := b.Add(t.Context(), "names", []string{"three.example"}, list.Note{}); err != nil {
		t.Error(err)
	}
	redistest.Await(t, "edits after the outage", func() bool { return a.Domain(list.PointHelo, "three.example") != nil })
}

func TestRefusedEdits(t *testing.T) {
	s := redistest.Start(t)
	store := New(s.Direct(t), "")
	for _, name := range []string{"", versionField} {
		_, _, err := store.Edit(t.Context(), "l", []live.Entry{{Entry: name}}, nil)
		_, _, err2 := store.Edit(t.Context(), "l", nil, []string{name})
		if !errors.Is(err, ErrReserved) || !errors.Is(err2, ErrReserved) {
			t.Error(err, err2)
		}
	}
	store.max = 20
	if _, _, err := store.Edit(t.Context(), "l", entries(20), nil); err != nil {
		t.Fatal(err)
	}
	if state, all := set(t, store, "l"); len(all) != 20 || !strings.HasSuffix(state, " 20") {
		t.Error(state, len(all))
	}
	if _, _, err := store.Edit(t.Context(), "l", []live.Entry{{Entry: "more.example"}}, nil); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if _, _, err := store.Edit(t.Context(), "l", entries(10), nil); err != nil {
		t.Error("a new comment in a full list: ", err)
	}
	if err := s.Direct(t).Set(t.Context(), store.key("text"), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.State(t.Context(), "text"); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Error(err)
	}
}

// While a list is edited all the time, what stays in it is always there.
func TestReadDuringEdits(t *testing.T) {
	s := redistest.Start(t)
	store := New(s.Direct(t), "")
	if _, _, err := store.Edit(t.Context(), "l", entries(1500), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var editing sync.WaitGroup
	editing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, _, _ = store.Edit(ctx, "l", []live.Entry{{Entry: fmt.Sprint("extra", i%7, ".example")}}, []string{fmt.Sprint("extra", (i+3)%7, ".example")})
			time.Sleep(time.Millisecond)
		}
	})
	for range 10 {
		_, all, err := store.Read(t.Context(), "l")
		if err != nil || len(all) < 1500 {
			t.Error(len(all), err)
		}
	}
	cancel()
	editing.Wait()
}
