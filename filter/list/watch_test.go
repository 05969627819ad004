package list

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/fact"
	"mailwicket/filter/list/entry"
	"mailwicket/filter/list/feed"
	"mailwicket/filter/list/live"
)

// site is a feed's server.
type site struct {
	*httptest.Server
	body  atomic.Pointer[string] // nil answers 500
	asked atomic.Int32
}

func newSite(t *testing.T, body string) *site {
	s := &site{}
	s.body.Store(&body)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if b := s.body.Load(); b != nil {
			fmt.Fprint(w, *b)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(s.Close)
	return s
}

// url has a secret in it.
func (s *site) url() string {
	return strings.Replace(s.URL, "://", "://user:secret@", 1) + "/l?key=secret"
}

// events are what an Observer was told.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(s string) { e.mu.Lock(); defer e.mu.Unlock(); e.all = append(e.all, s) }

func (e *events) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.all...)
}

func (e *events) observer() Observer {
	return Observer{
		Loaded:  func(l string, n, _ int, _ time.Time) { e.add(fmt.Sprint("loaded ", l, " ", n)) },
		Fetched: func(l string, r feed.Result, _ time.Duration) { e.add(fmt.Sprint(r, " ", l)) },
		Source:  func(l string, err error) { e.add(fmt.Sprint("source ", l, " ", err == nil)) },
	}
}

// watch watches until stop is called, at the latest when the test ends.
func watch(t *testing.T, b *Book) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { b.Watch(ctx, 0) })
	stop = func() { cancel(); watching.Wait() }
	t.Cleanup(stop)
	return stop
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func names(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "n%d.example # number %d\n", i, i)
	}
	return b.String()
}

func TestFeed(t *testing.T) {
	s, dir := newSite(t, names(100)), filepath.Join(t.TempDir(), "lists")
	cfgs := []Config{{Name: "f", Kind: Domain, URL: s.url(), Dir: dir, Apply: Points()}}
	var e events
	b := New(cfgs, Options{Observer: e.observer()})
	err := b.Load(t.Context())
	source := s.URL + "/l?key=..."
	want := `list "f": ` + source + `: there is no copy of it yet: it is fetched in the background; it is empty until then`
	if err == nil || err.Error() != want || b.Status()[0].Err != want || b.Lookup("n7.example") != nil {
		t.Fatal(err)
	}
	stop := watch(t, b)
	await(t, "the source", func() bool { return len(e.list()) == 3 })
	hits := []fact.ListHit{{List: "f", Subject: "a.n7.example", Entry: "n7.example", Source: source, Line: 8, Comment: "number 7"}}
	if d := cmp.Diff(hits, b.Domain(PointHelo, "a.n7.example")); d != "" {
		t.Error(d)
	}
	st := b.Status()[0]
	if st.Entries != 100 || st.Err != "" || st.LastError != "" || st.LastSuccess.IsZero() || !st.NextTry.After(st.LastTry) || st.Source != source {
		t.Errorf("%+v", st)
	}
	if err := b.Confirm("f"); !errors.Is(err, feed.ErrNothingToConfirm) {
		t.Error(err)
	}
	stop()

	// The next run begins with the copy, and goes on with it while the feed is ill.
	tenfold := names(1000)
	s.body.Store(&tenfold)
	hurry(t, dir)
	e.all = nil
	b = New(cfgs, Options{Observer: e.observer()})
	if err := b.Load(t.Context()); err != nil || b.Domain(PointHelo, "n7.example") == nil {
		t.Fatal(err)
	}
	watch(t, b)
	await(t, "the source", func() bool { return len(e.list()) == 3 })
	if st := b.Status()[0]; st.Entries != 100 || st.Err != "" || !strings.Contains(st.LastError, "more than twice") {
		t.Errorf("%+v", st)
	}
	if err := b.Confirm("f"); err != nil {
		t.Error(err)
	}
	await(t, "the confirmed version", func() bool { return len(e.list()) == 6 })
	wantEvents := []string{"loaded f 100", "refused f", "source f false", "fetched f", "loaded f 1000", "source f true"}
	if d := cmp.Diff(wantEvents, e.list()); d != "" {
		t.Error(d)
	}
	if b.Domain(PointHelo, "n777.example") == nil {
		t.Error("the confirmed version is not in force")
	}
}

// hurry makes the next try of the feed f due.
func hurry(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "f.feed.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var keep []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, `"next"`) {
			keep = append(keep, line)
		}
	}
	text := strings.Replace(strings.Join(keep, ""), ",\n}", "\n}", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A reload of the configuration does not ask for a feed again.
func TestCarryFeed(t *testing.T) {
	s, dir := newSite(t, names(10)), t.TempDir()
	cfg := Config{Name: "f", Kind: Domain, URL: s.url(), Dir: dir, Apply: Points()}
	old := New([]Config{cfg}, Options{})
	stop := watch(t, old)
	await(t, "the feed", func() bool { return old.Lookup("n7.example") != nil })
	slower, moved := cfg, cfg
	slower.Every = 2 * time.Hour
	moved.URL = s.URL + "/other"
	for _, c := range []Config{cfg, slower, moved} {
		b := New([]Config{c}, Options{})
		b.Carry(old)
		if b.Lookup("n7.example") == nil == (c.URL == cfg.URL) {
			t.Errorf("%+v: carried or not", c)
		}
		if err := b.Load(t.Context()); err != nil || b.Lookup("n7.example") == nil {
			t.Error("the copy is not in force: ", err)
		}
		if shared := b.lists[0].feed == old.lists[0].feed; shared != (c.URL == cfg.URL && c.Every == cfg.Every) {
			t.Errorf("%+v: the feed is shared: %v", c, shared)
		}
		stopNew := watch(t, b)
		stop()
		if c.URL != cfg.URL {
			await(t, "the new feed", func() bool { return s.asked.Load() == 2 })
		}
		stopNew()
	}
	if n := s.asked.Load(); n != 2 {
		t.Error(n, " requests")
	}
}

// fixed is a store with one list that does not change.
type fixed struct{ live.Store }

func (fixed) State(context.Context, string) (string, error) { return "1", nil }
func (fixed) Read(context.Context, string) (string, []live.Entry, error) {
	return "1", []live.Entry{{Entry: "one.example", Comment: "why"}, {Entry: "<p>"}}, nil
}
func (fixed) Watch(ctx context.Context, _ string, _ func()) { <-ctx.Done() }

func TestRedis(t *testing.T) {
	dir := t.TempDir()
	cfgs := []Config{{Name: "r", Kind: Domain, Redis: true, Dir: dir, Apply: Points()}, {Name: "file", Kind: Domain, File: "testdata/names.txt"}}
	var e events
	b := New(cfgs, Options{Redis: fixed{}, Observer: e.observer()})
	if err := b.Load(t.Context()); err == nil || !strings.Contains(err.Error(), `list "r": redis: there is no copy`) {
		t.Error(err)
	}
	stop := watch(t, b)
	await(t, "the source", func() bool { return len(e.list()) == 3 })
	hits := []fact.ListHit{{List: "r", Subject: "one.example", Entry: "one.example", Source: "redis", Comment: "why"}}
	if d := cmp.Diff(hits, b.Domain(PointHelo, "one.example")); d != "" {
		t.Error(d)
	}
	st := b.Status()[0]
	if st.Source != "redis" || st.Entries != 1 || st.Bad != 1 || st.LastSuccess.IsZero() || st.LastError != "" {
		t.Errorf("%+v", st)
	}
	if all, err := b.Entries("r"); len(all) != 2 || err != nil {
		t.Error(all, err)
	}
	await(t, "the saved copy", func() bool { _, err := os.Stat(filepath.Join(dir, "r.redis.json")); return err == nil })
	next := New(cfgs, Options{Redis: fixed{}})
	next.Carry(b)
	if next.lists[0].shared != b.lists[0].shared || next.Lookup("one.example") == nil {
		t.Error("not carried")
	}
	stop()

	// Without Redis, as for a check of one message, it is what was saved.
	b = New(cfgs, Options{})
	if err := b.Load(t.Context()); err != nil || b.Lookup("one.example") == nil {
		t.Error(err)
	}
	watch(t, b)()
	for _, c := range []struct {
		list string
		want error
	}{{"r", live.ErrNoStore}, {"file", ErrNotLive}, {"other", ErrNoList}} {
		_, err := b.Add(t.Context(), c.list, []string{"a.example"}, Note{})
		_, err2 := b.Remove(t.Context(), c.list, []string{"a.example"})
		if !errors.Is(err, c.want) || !errors.Is(err2, c.want) {
			t.Error(c.list, err, err2)
		}
	}
	if _, err := b.Add(t.Context(), "r", []string{"not one"}, Note{}); !errors.Is(err, entry.ErrEntry) {
		t.Error(err)
	}
	if _, err := b.Entries("file"); !errors.Is(err, ErrNotLive) {
		t.Error(err)
	}
	if err := b.Confirm("file"); !errors.Is(err, ErrNotFeed) {
		t.Error(err)
	}
	if err := b.Confirm("other"); !errors.Is(err, ErrNoList) {
		t.Error(err)
	}
}
