package live

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"mailwicket/filter/list/entry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the store is away")

// memory is a store.
type memory struct {
	mu      sync.Mutex
	away    bool
	deaf    bool // tells nobody of edits
	version int
	there   bool
	entries map[string]Entry
	edited  map[*func()]bool
	asked   int
}

func (m *memory) State(ctx context.Context, _ string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.away {
		m.mu.Unlock()
		<-ctx.Done()
		m.mu.Lock()
		return "", errAway
	}
	return m.state(), nil
}

func (m *memory) state() string {
	if !m.there {
		return ""
	}
	return strconv.Itoa(m.version)
}

func (m *memory) Read(context.Context, string) (string, []Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return "", nil, errAway
	}
	return m.state(), slices.Collect(maps.Values(m.entries)), nil
}

func (m *memory) Edit(_ context.Context, _ string, put []Entry, remove []string) (added, removed int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return 0, 0, errAway
	}
	if m.entries == nil {
		m.entries = map[string]Entry{}
	}
	for _, e := range put {
		if _, ok := m.entries[e.Entry]; !ok {
			added++
		}
		m.entries[e.Entry] = e
	}
	for _, name := range remove {
		if _, ok := m.entries[name]; ok {
			removed++
		}
		delete(m.entries, name)
	}
	m.version++
	m.there = true
	if !m.deaf {
		for f := range m.edited {
			(*f)()
		}
	}
	return added, removed, nil
}

func (m *memory) Restore(_ context.Context, _ string, entries []Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.there {
		m.there, m.version, m.entries = true, m.version+100, map[string]Entry{}
		for _, e := range entries {
			m.entries[e.Entry] = e
		}
	}
	return nil
}

func (m *memory) Watch(ctx context.Context, _ string, edited func()) {
	m.mu.Lock()
	if m.edited == nil {
		m.edited = map[*func()]bool{}
	}
	m.edited[&edited] = true
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	delete(m.edited, &edited)
	m.mu.Unlock()
}

func (m *memory) set(f func()) { m.mu.Lock(); defer m.mu.Unlock(); f() }

// follower runs a list and keeps what it was told.
type follower struct {
	*List
	told []error
	stop func()
}

func follow(s Store, file string) *follower {
	f := &follower{List: New(Config{Name: "l", Kind: entry.Domain, File: file}, s, nil, nil)}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.Run(ctx, func(err error) { f.told = append(f.told, err) })
	}()
	f.stop = func() { cancel(); <-over }
	return f
}

func (f *follower) expect(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	if s := f.Snapshot(); s != nil {
		for _, e := range s.Entries {
			got = append(got, e.Entry)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a, b := follow(m, filepath.Join(dir, "x", "a")), follow(m, "")
		synctest.Wait()
		a.expect(t)
		if a.Snapshot() == nil {
			t.Error("a list that is not there is not empty")
		}
		n, err := a.Add(t.Context(), []string{"*.Two.example", "one.example", "one.example."}, " why\nthat ", "jane")
		if n != 2 || err != nil {
			t.Error(n, err)
		}
		synctest.Wait() // no time passes
		b.expect(t, "one.example", "two.example")
		want := Entry{Entry: "two.example", Comment: "why that", At: time.Now().UTC(), By: "jane"}
		if d := cmp.Diff(want, b.Snapshot().Entries[1]); d != "" {
			t.Error(d)
		}
		if got := string(b.Snapshot().Text()); got != "# edited live\none.example # why that\ntwo.example # why that\n" {
			t.Errorf("%q", got)
		}
		m.set(func() { m.deaf = true })
		if n, err := b.Remove(t.Context(), []string{".one.example"}); n != 1 || err != nil {
			t.Error(n, err)
		}
		synctest.Wait()
		b.expect(t, "two.example") // its own edit
		time.Sleep(time.Second)
		synctest.Wait()
		a.expect(t, "two.example")
		if st := a.Status(); st.Err != nil || st.LastSuccess != time.Now() {
			t.Errorf("%+v", st)
		}
		a.stop()
		b.stop()
		if len(a.told) != 3 || errors.Join(a.told...) != nil {
			t.Error(a.told)
		}
		// A restart while the store is away.
		m.set(func() { m.away = true })
		a = follow(m, filepath.Join(dir, "x", "a"))
		a.expect(t, "two.example")
		time.Sleep(time.Minute)
		a.expect(t, "two.example")
		if st := a.Status(); !errors.Is(st.Err, errAway) || !st.LastSuccess.IsZero() || st.LastTry.IsZero() {
			t.Errorf("%+v", st)
		}
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Add(limited, []string{"three.example"}, "", ""); !errors.Is(err, errAway) {
			t.Error(err)
		}
		m.set(func() {
			m.away = false
			m.version++
			m.entries = map[string]Entry{"new.example": {Entry: "new.example"}}
		})
		time.Sleep(3 * time.Second)
		a.expect(t, "new.example")
		a.stop()
		if len(a.told) != 2 || !errors.Is(a.told[0], errAway) || a.told[1] != nil {
			t.Error(a.told)
		}
	})
}

// A store that lost the list gets it back; one in which the last entry was removed
// does not.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := follow(m, "")
		defer a.stop()
		a.Add(t.Context(), []string{"one.example", "two.example"}, "why", "jane")
		synctest.Wait()
		before := a.Snapshot().Entries
		m.set(func() { m.there, m.entries = false, nil })
		time.Sleep(2 * time.Second)
		if _, entries, _ := m.Read(t.Context(), ""); len(entries) != 2 {
			t.Error(entries)
		}
		if d := cmp.Diff(before, a.Snapshot().Entries); d != "" {
			t.Error(d)
		}
		m.set(func() { m.there, m.entries = false, nil })
		a.Add(t.Context(), []string{"three.example"}, "", "") // before anybody has noticed
		synctest.Wait()
		a.expect(t, "one.example", "three.example", "two.example")
		a.Remove(t.Context(), []string{"one.example", "two.example", "three.example"})
		time.Sleep(2 * time.Second)
		a.expect(t)
	})
}

func TestHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := follow(m, "")
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		var second sync.WaitGroup
		second.Go(func() { a.Run(ctx, func(error) { told++ }) })
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if m.asked != 11 || told != 0 {
			t.Error(m.asked, told)
		}
		a.stop()
		synctest.Wait()
		if told != 1 {
			t.Error(told)
		}
		cancel()
		second.Wait()
		a.Run(ctx, nil) // returns
	})
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		entries []string
		comment string
		want    error
	}{
		{[]string{"one.example", "com"}, "", entry.ErrEntry},
		{[]string{"one.example # x"}, "", entry.ErrEntry},
		{nil, "", ErrNothing},
		{[]string{"one.example"}, strings.Repeat("x", maxComment+1), ErrTooLong},
	} {
		m := &memory{}
		l := New(Config{Name: "l", Kind: entry.Domain}, m, nil, nil)
		if n, err := l.Add(t.Context(), c.entries, c.comment, ""); n != 0 || !errors.Is(err, c.want) || m.entries != nil {
			t.Error(n, err, m.entries)
		}
	}
	m := &memory{}
	l := New(Config{Name: "l", Kind: entry.Domain}, m, nil, nil)
	if n, err := l.Add(t.Context(), []string{"=zip", "a.example"}, "", ""); n != 2 || err != nil {
		t.Error(n, err)
	}
	m.entries["by hand!"] = Entry{Entry: "by hand!"}
	if n, err := l.Remove(t.Context(), []string{"zip", "by hand!", "gone.example"}); n != 2 || err != nil || len(m.entries) != 1 {
		t.Error(n, err, m.entries)
	}
	if _, err := l.Remove(t.Context(), nil); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}

func TestWithoutStore(t *testing.T) {
	l := New(Config{Name: "l", Kind: entry.Domain}, nil, nil, nil)
	l.Run(t.Context(), nil) // returns
	_, err := l.Add(t.Context(), []string{"a.example"}, "", "")
	_, err2 := l.Sync(t.Context())
	if !errors.Is(err, ErrNoStore) || !errors.Is(err2, ErrNoStore) || l.Snapshot() != nil {
		t.Error(err, err2)
	}
}

func TestBadCopies(t *testing.T) {
	for _, text := range []string{"", "{", `{"format":2,"state":"1"}`, `[]`} {
		path := filepath.Join(t.TempDir(), "l")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := New(Config{Name: "l", Kind: entry.Domain, File: path}, &memory{}, nil, nil)
		if s := l.Snapshot(); s != nil {
			t.Errorf("%q gives %+v", text, s)
		}
		if changed, err := l.Sync(t.Context()); !changed || err != nil {
			t.Error(changed, err)
		}
		if b, _ := os.ReadFile(path); !strings.HasPrefix(string(b), `{"format":1,`) {
			t.Errorf("%q", b)
		}
	}
}

// A copy that cannot be saved is in force all the same.
func TestDiskFull(t *testing.T) {
	m := &memory{}
	l := New(Config{Name: "l", Kind: entry.Domain, File: "/dev/null/l"}, m, nil, nil)
	l.Add(t.Context(), []string{"one.example"}, "", "")
	if changed, err := l.Sync(t.Context()); !changed || err != nil || len(l.Snapshot().Entries) != 1 {
		t.Error(changed, err)
	}
}

// TestRemoveAsShown: an entry is removed by the text that lookup shows, and one that
// somebody wrote by hand by that text.
func TestRemoveAsShown(t *testing.T) {
	for _, c := range []struct {
		kind         entry.Kind
		stored, said string
	}{
		{entry.Address, `"a b"@example.com`, "a b@example.com"}, {entry.Domain, "Evil.Example", "Evil.Example"},
		{entry.Domain, "evil.example", "*.Evil.Example."}, {entry.Domain, "no entry!", "no entry!"},
	} {
		m := &memory{there: true, version: 1, entries: map[string]Entry{c.stored: {Entry: c.stored}}}
		l := New(Config{Name: "l", Kind: c.kind}, m, nil, nil)
		if n, err := l.Remove(t.Context(), []string{c.said}); n != 1 || err != nil || len(m.entries) > 0 {
			t.Errorf("%s: %d removed, %v", c.said, n, err)
		}
	}
}
