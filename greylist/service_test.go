package greylist_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter/mail"
	"mailwicket/greylist"
	"mailwicket/greylist/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// flaky is a store that fails, or hangs until its context ends, on demand.
type flaky struct {
	greylist.Store
	mode atomic.Int32
	ops  atomic.Int32
}

const (
	works int32 = iota
	fails
	hangs
	readOnly
	failsShared
)

var errDown = errors.New("store is down")

func (f *flaky) trouble(ctx context.Context, write bool) error {
	f.ops.Add(1)
	switch f.mode.Load() {
	case fails:
		return errDown
	case failsShared:
		return fmt.Errorf("%w: %w", greylist.ErrShared, errDown)
	case hangs:
		<-ctx.Done()
		return ctx.Err()
	case readOnly:
		if write {
			return errDown
		}
	}
	return nil
}

func (f *flaky) Get(ctx context.Context, k greylist.Key) (greylist.Pair, error) {
	if err := f.trouble(ctx, false); err != nil {
		return greylist.Pair{}, err
	}
	return f.Store.Get(ctx, k)
}

func (f *flaky) GetOrAdd(ctx context.Context, k greylist.Key, triplet greylist.Record) (greylist.Pair, bool, error) {
	if err := f.trouble(ctx, true); err != nil {
		return greylist.Pair{}, false, err
	}
	return f.Store.GetOrAdd(ctx, k, triplet)
}

func (f *flaky) CompareAndSet(ctx context.Context, k greylist.Key, old, next greylist.Pair) (greylist.Pair, error) {
	if err := f.trouble(ctx, true); err != nil {
		return greylist.Pair{}, err
	}
	return f.Store.CompareAndSet(ctx, k, old, next)
}

// bench is a service over a flaky store, with what it told.
type bench struct {
	*greylist.Service
	store *flaky
	mu    sync.Mutex
	ops   []string
	told  []bool
}

func newBench(store greylist.Store, now func() time.Time, log *slog.Logger) *bench {
	b := &bench{store: &flaky{Store: store}}
	b.Service = greylist.New(greylist.ServiceConfig{Store: b.store, Secret: []byte("secret"), Now: now, Log: log,
		OptedOut: func(a mail.Address) bool { return a.Local == "postmaster" },
		Observer: greylist.Observer{
			Op: func(op, result string, _ time.Duration) {
				b.mu.Lock()
				b.ops = append(b.ops, op+" "+result)
				b.mu.Unlock()
			},
			Degraded: func(on bool, _ string) { b.mu.Lock(); b.told = append(b.told, on); b.mu.Unlock() },
		}})
	return b
}

// check asks, and wants an answer; it gives the operations on the store.
func (b *bench) check(t *testing.T, r greylist.Request, want greylist.Status, degraded bool) (greylist.Outcome, string) {
	t.Helper()
	b.mu.Lock()
	b.ops = nil
	b.mu.Unlock()
	o, err := b.Check(t.Context(), r)
	if err != nil || o.Status != want || o.Degraded != degraded {
		t.Errorf("Check = %+v, %v, want %s, degraded %v", o, err, want, degraded)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return o, strings.Join(b.ops, ", ")
}

func (b *bench) tells() []bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.told)
}

// sleep is for synctest bubbles.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const delay = 240 * time.Second

// One operation decides in all common cases, two where another sidecar saw the
// triplet first and something is to be written.
func TestRoundTrips(t *testing.T) {
	clock, store := storetest.NewClock(), greylist.NewMemory(1000)
	a, b := newBench(store, clock.Now, nil), newBench(store, clock.Now, nil)
	defer a.Close()
	defer b.Close()
	r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
	other := storetest.Request(1, "<c@example.org>", "<b@example.net>")
	for i, tt := range []struct {
		wait time.Duration
		at   *bench
		r    greylist.Request
		want greylist.Status
		ops  string
	}{
		{0, a, r, greylist.Defer, "add ok"},
		{time.Second, a, r, greylist.Defer, "get ok"},
		{time.Second, b, r, greylist.Defer, "add ok"},
		{time.Minute, a, r, greylist.Defer, "set ok"}, // a contact that counts
		{time.Second, b, r, greylist.Defer, "set conflict"},
		{delay, a, r, greylist.Pass, "set ok"},
		{time.Second, a, r, greylist.Pass, "get ok"},
		{time.Second, b, r, greylist.Pass, "set conflict"},
		{time.Hour, a, r, greylist.Pass, "set ok"},
		{time.Second, a, r, greylist.Known, "get ok"},
		{time.Second, b, r, greylist.Known, "set conflict"},
		{time.Second, b, r, greylist.Known, "get ok"},
		{time.Second, b, other, greylist.Known, "get ok"},
		{time.Hour, b, r, greylist.Known, "set ok"},
		{time.Hour, a, other, greylist.Known, "set conflict, set ok"},
	} {
		clock.Add(tt.wait)
		if _, ops := tt.at.check(t, tt.r, tt.want, false); ops != tt.ops {
			t.Errorf("step %d: %s, want %s", i, ops, tt.ops)
		}
	}
	r.Recipient = mail.ParsePath("<postmaster@example.net>")
	if _, ops := a.check(t, r, greylist.OptedOut, false); ops != "" {
		t.Errorf("opted out: %s, want no operation", ops)
	}
}

// A process that does not know yet that an identity is known finds out by the
// operation that would begin a triplet, and counts the identity's mail.
func TestKnownElsewhere(t *testing.T) {
	clock, store := storetest.NewClock(), greylist.NewMemory(1000)
	a, b := newBench(store, clock.Now, nil), newBench(store, clock.Now, nil)
	defer a.Close()
	defer b.Close()
	r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
	if err := a.Allow(t.Context(), r.Identity); err != nil {
		t.Fatal(err)
	}
	if o, ops := b.check(t, r, greylist.Known, false); ops != "add ok" || o.Attempts != 0 {
		t.Errorf("%+v by %s, want one operation and no attempt", o, ops)
	}
	if _, ops := b.check(t, r, greylist.Known, false); ops != "get ok" {
		t.Errorf("then %s, want a look", ops)
	}
	c := newBench(store, clock.Now, nil)
	defer c.Close()
	clock.Add(greylist.PassGap)
	r.Recipient = mail.ParsePath("<c@example.net>")
	if _, ops := c.check(t, r, greylist.Known, false); ops != "add ok, set ok" {
		t.Errorf("an hour later %s, want the mail counted", ops)
	}
	if _, held, err := c.LookupIdentity(t.Context(), r.Identity); err != nil || held.Passes != 1 || !held.Allowed {
		t.Errorf("held %+v, %v, want one pass counted", held, err)
	}
	if n, err := c.Forget(t.Context(), r.Identity); n != 3 || err != nil {
		t.Errorf("Forget = %d, %v, want the identity and two triplets", n, err)
	}
}

// The parts of the key: what is told apart, and what is not.
func TestKeys(t *testing.T) {
	v := storetest.Service(t, greylist.NewMemory(1000), nil)
	key := func(client int, sender, rcpt string) greylist.Key {
		k, _, err := v.Lookup(t.Context(), storetest.Request(client, sender, rcpt))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	base := key(1, "<a@example.org>", "<b@example.net>")
	for name, k := range map[string]greylist.Key{
		"sender's tag":     key(1, "<a+x@example.org>", "<b@example.net>"),
		"recipient's case": key(1, "<a@example.org>", "<B@EXAMPLE.net>"),
	} {
		if k != base {
			t.Errorf("%s makes another key", name)
		}
	}
	for name, k := range map[string]greylist.Key{
		"client":        key(2, "<a@example.org>", "<b@example.net>"),
		"sender":        key(1, "<c@example.org>", "<b@example.net>"),
		"null sender":   key(1, "<>", "<b@example.net>"),
		"recipient":     key(1, "<a@example.org>", "<c@example.net>"),
		"parts shifted": key(1, "<a@example.orgb>", "<@example.net>"),
	} {
		if k == base {
			t.Errorf("another %s makes the same key", name)
		}
	}
	other := greylist.New(greylist.ServiceConfig{Store: greylist.NewMemory(10), Secret: []byte("another")})
	defer other.Close()
	if k, _, _ := other.Lookup(t.Context(), storetest.Request(1, "<a@example.org>", "<b@example.net>")); k == base || k.Identity == base.Identity {
		t.Error("another secret makes the same key")
	}
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		b := newBench(greylist.NewMemory(1000), time.Now, slog.New(slog.NewTextHandler(&log, nil)))
		defer b.Close()
		b.store.mode.Store(hangs)
		start := time.Now()
		for i := range 20 {
			before := time.Now()
			b.check(t, storetest.Request(i, "<a@example.org>", "<b@example.net>"), greylist.Defer, true)
			if took := time.Since(before); took > 150*time.Millisecond {
				t.Errorf("check %d took %s", i, took)
			}
		}
		if took := time.Since(start); took != 5*150*time.Millisecond {
			t.Errorf("an outage cost %s in all, want five budgets", took)
		}
		sleep(20 * time.Second)
		if n := b.store.ops.Load(); n > 25 {
			t.Errorf("%d operations on a dead store in 20 s", n)
		}
		if on, why := b.Degraded(); !on || why != context.DeadlineExceeded.Error() {
			t.Errorf("Degraded = %v, %q", on, why)
		}
		b.store.mode.Store(works)
		sleep(3 * time.Second)
		if on, why := b.Degraded(); on || why != "" {
			t.Errorf("Degraded = %v, %q after recovery", on, why)
		}
		if got := b.tells(); !slices.Equal(got, []bool{true, false}) {
			t.Errorf("told %v, want true and false", got)
		}
		if strings.Count(log.String(), "greylist degraded") != 1 || strings.Count(log.String(), "greylist recovered") != 1 {
			t.Errorf("logged:\n%s", log.String())
		}
		b.check(t, storetest.Request(1, "<a@example.org>", "<b@example.net>"), greylist.Defer, false)
	})
}

// Operations that failed together are one failure.
func TestBreakerShared(t *testing.T) {
	b := newBench(greylist.NewMemory(1000), nil, nil)
	defer b.Close()
	b.store.mode.Store(failsShared)
	for range 20 {
		if _, ops := b.check(t, storetest.Request(1, "<a@example.org>", "<b@example.net>"), greylist.Defer, true); strings.Contains(ops, "open") {
			t.Fatal("the breaker opened")
		}
	}
}

// A store that can be read only, such as a demoted master, is not well again.
func TestReadOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(greylist.NewMemory(1000), time.Now, nil)
		defer b.Close()
		b.store.mode.Store(readOnly)
		b.check(t, storetest.Request(1, "<a@example.org>", "<b@example.net>"), greylist.Defer, true)
		sleep(time.Minute)
		if on, _ := b.Degraded(); !on || len(b.tells()) != 1 {
			t.Errorf("Degraded = %v, told %v, want degraded once", on, b.tells())
		}
		b.store.mode.Store(works)
		sleep(3 * time.Second)
		if on, _ := b.Degraded(); on {
			t.Error("still degraded")
		}
	})
}

// What a caller breaks off says nothing about the store.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(greylist.NewMemory(1000), time.Now, nil)
		defer b.Close()
		b.store.mode.Store(hangs)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if o, err := b.Check(ctx, storetest.Request(1, "<a@example.org>", "<b@example.net>")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Check = %+v, %v, want the caller's deadline", o, err)
			}
			cancel()
		}
		if on, _ := b.Degraded(); on || len(b.tells()) != 0 {
			t.Error("degraded by the caller")
		}
		b.store.mode.Store(works)
		b.check(t, storetest.Request(1, "<a@example.org>", "<b@example.net>"), greylist.Defer, false)
	})
}

// During an outage all goes on from what this process saw before; afterwards the
// store knows what happened, as if there had been none.
func TestFallbackIsMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := greylist.NewMemory(1000)
		b, other := newBench(store, time.Now, nil), newBench(store, time.Now, nil)
		defer b.Close()
		defer other.Close()
		early, late := storetest.Request(1, "<a@example.org>", "<b@example.net>"), storetest.Request(2, "<a@example.org>", "<b@example.net>")
		b.check(t, early, greylist.Defer, false)
		sleep(delay)
		b.check(t, early, greylist.Pass, false) // the identity's first counted pass
		sleep(time.Hour)

		b.store.mode.Store(fails)
		first, _ := b.check(t, late, greylist.Defer, true)
		b.check(t, early, greylist.Pass, true) // its second
		b.check(t, early, greylist.Known, true)
		sleep(100 * time.Second)
		other.check(t, late, greylist.Defer, false) // the other sidecar sees it later
		b.store.mode.Store(works)
		sleep(10 * time.Second)

		_, held, err := other.Lookup(t.Context(), early)
		if err != nil || held.Identity.Passes != 2 {
			t.Errorf("held %+v, %v, want two passes", held.Identity, err)
		}
		other.check(t, early, greylist.Known, false)
		sleep(delay - 110*time.Second - time.Millisecond)
		other.check(t, late, greylist.Defer, false)
		sleep(time.Millisecond)
		o, _ := other.check(t, late, greylist.Pass, false)
		if !o.FirstSeen.Equal(first.FirstSeen) || o.Delayed != delay {
			t.Errorf("%+v, want first seen %s", o, first.FirstSeen)
		}
	})
}

// A retry that comes between the store's return and the hand-over must find what
// the fallback learned.
func TestMergedOnAccess(t *testing.T) {
	clock := storetest.NewClock()
	b := newBench(greylist.NewMemory(1000), clock.Now, nil)
	defer b.Close()
	r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
	b.store.mode.Store(fails)
	b.check(t, r, greylist.Defer, true)
	b.store.mode.Store(works)
	clock.Add(delay)
	if o, _ := b.check(t, r, greylist.Pass, false); o.Delayed != delay {
		t.Errorf("delayed %s, want %s", o.Delayed, delay)
	}
}

// A reload in an outage changes the times, and nothing that was learned is lost.
func TestWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := greylist.NewMemory(1000)
		b, other := newBench(store, time.Now, nil), newBench(store, time.Now, nil)
		defer other.Close()
		r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
		b.store.mode.Store(fails)
		first, _ := b.check(t, r, greylist.Defer, true)

		p := greylist.DefaultParams()
		p.Delay = time.Minute
		old := b.Service
		b.Service = old.With(p)
		defer b.Close()
		if on, _ := b.Degraded(); !on {
			t.Error("the outage is forgotten")
		}
		if o, _ := b.check(t, r, greylist.Defer, true); o.Remaining != time.Minute || !o.FirstSeen.Equal(first.FirstSeen) {
			t.Errorf("%+v, want a minute from %s", o, first.FirstSeen)
		}
		if o, err := old.Check(t.Context(), r); err != nil || o.Remaining != delay {
			t.Errorf("a session of before the reload: %+v, %v, want %s", o, err, delay)
		}
		b.store.mode.Store(works)
		sleep(delay)
		if on, _ := old.Degraded(); on {
			t.Error("the one before is still degraded")
		}
		if o, _ := other.check(t, r, greylist.Pass, false); !o.FirstSeen.Equal(first.FirstSeen) {
			t.Errorf("the store learned %+v, want first seen %s", o, first.FirstSeen)
		}
	})
}

// Sidecars that ask all the time, over a store that comes and goes, must lose no
// triplet and let none through early.
func TestStormWithOutages(t *testing.T) {
	clock, store := storetest.NewClock(), greylist.NewMemory(100000)
	b := newBench(store, clock.Now, nil)
	defer b.Close()
	const clients = 50
	ask := func(want greylist.Status) {
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				b.store.mode.Store(int32(i % 2)) // works or fails
				o, err := b.Check(context.Background(), storetest.Request(i, "<a@example.org>", "<b@example.net>"))
				if err != nil || o.Status != want {
					t.Errorf("client %d: %+v, %v, want %s", i, o, err, want)
				}
			})
		}
		wg.Wait()
	}
	ask(greylist.Defer)
	clock.Add(delay - time.Millisecond)
	ask(greylist.Defer)
	clock.Add(time.Millisecond)
	ask(greylist.Pass)
	ask(greylist.Pass)
}

func TestAdmin(t *testing.T) {
	ctx := t.Context()
	store := greylist.NewMemory(1000)
	v := storetest.Service(t, store, nil)
	ask := func(r greylist.Request, want greylist.Status) {
		t.Helper()
		if o, err := v.Check(ctx, r); err != nil || o.Status != want {
			t.Errorf("Check = %+v, %v, want %s", o, err, want)
		}
	}
	r := storetest.Request(1, "<alice@example.org>", "<bob@example.net>")
	org := greylist.Request{Identity: greylist.Identity{Kind: greylist.KindSPF, Value: "example.org"}, Sender: r.Sender, Recipient: r.Recipient}
	ask(r, greylist.Defer)
	ask(org, greylist.Defer)
	for _, id := range []greylist.Identity{r.Identity, org.Identity} {
		if err := v.Allow(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	ask(r, greylist.Known)
	ask(org, greylist.Known)

	page, next, err := v.Entries(ctx, "", 100)
	if err != nil || next != "" || len(page) != 4 {
		t.Fatalf("Entries = %d, %q, %v, want four", len(page), next, err)
	}
	names := ""
	for _, e := range page {
		names += e.Record.Name
	}
	if names != "spf:example.org" {
		t.Errorf("readable are %q, want the organization alone", names)
	}

	key, rec, err := v.LookupIdentity(ctx, org.Identity)
	if err != nil || !rec.Allowed || rec.Name != "spf:example.org" {
		t.Errorf("LookupIdentity = %+v, %v", rec, err)
	}
	if n, err := v.ForgetKey(ctx, key); n != 2 || err != nil {
		t.Errorf("ForgetKey = %d, %v, want 2", n, err)
	}
	if n, err := v.Forget(ctx, r.Identity); n != 2 || err != nil {
		t.Errorf("Forget = %d, %v, want 2", n, err)
	}
	if o, err := v.Check(ctx, r); err != nil || o.Status != greylist.Defer || o.Attempts != 1 {
		t.Errorf("Check = %+v, %v, want a first contact", o, err)
	}
}

// No address stands in the store in clear.
func TestPrivacy(t *testing.T) {
	store, clock := greylist.NewMemory(1000), storetest.NewClock()
	v := storetest.Service(t, store, clock.Now)
	ip := netip.MustParseAddr("198.51.100.7")
	for _, in := range []greylist.IdentityInput{{IP: ip}, {IP: ip, Dynamic: true}, {IP: ip, HostName: "mail.example.com"}, {IP: ip, SPFPassDomain: "example.org"}} {
		r := greylist.Request{Identity: greylist.Identify(in), Sender: mail.ParsePath("<alice@example.org>"), Recipient: mail.ParsePath("<bob@example.net>")}
		for range 2 {
			if _, err := v.Check(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			clock.Add(delay)
		}
	}
	page, _, err := store.Entries(t.Context(), "", 100)
	if err != nil || len(page) != 8 {
		t.Fatalf("%d records, %v, want eight", len(page), err)
	}
	for _, e := range page {
		b, _ := e.Record.MarshalBinary()
		text := fmt.Sprintf("%s %s %s %s", e.Key, b, e.Key.Identity, e.Key.Triplet)
		for _, secret := range []string{"alice", "bob", "198.51", "example.net"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q stands in a record: %q", secret, text)
			}
		}
	}
}

// TestForgottenInPartition: what an administrator makes the store forget stays
// forgotten when a sidecar that was cut off comes back.
func TestForgottenInPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := greylist.NewMemory(1000)
		cut, other := newBench(store, time.Now, nil), newBench(store, time.Now, nil)
		defer cut.Close()
		defer other.Close()
		r := storetest.Request(1, "<a@example.org>", "<b@example.net>")
		if err := other.Allow(t.Context(), r.Identity); err != nil {
			t.Fatal(err)
		}
		sleep(time.Hour)
		cut.check(t, r, greylist.Known, false)
		cut.store.mode.Store(fails)
		sleep(time.Hour)
		cut.check(t, r, greylist.Known, true)
		if n, err := other.Forget(t.Context(), r.Identity); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		sleep(time.Minute)
		cut.store.mode.Store(works)
		sleep(10 * time.Second)
		if _, held, err := other.LookupIdentity(t.Context(), r.Identity); err != nil || held.Allowed {
			t.Errorf("allowed until %s again, %v", held.Expires, err)
		}
		other.check(t, r, greylist.Defer, false)
	})
}

// ofLaterRelease is a store that holds a record of a later release for one identity.
type ofLaterRelease struct {
	greylist.Store
	identity greylist.Key
}

func (s ofLaterRelease) err(k greylist.Key) error {
	if k.Owner() == s.identity {
		return greylist.ErrVersion
	}
	return nil
}

func (s ofLaterRelease) Get(ctx context.Context, k greylist.Key) (greylist.Pair, error) {
	if err := s.err(k); err != nil {
		return greylist.Pair{}, err
	}
	return s.Store.Get(ctx, k)
}

func (s ofLaterRelease) GetOrAdd(ctx context.Context, k greylist.Key, r greylist.Record) (greylist.Pair, bool, error) {
	if err := s.err(k); err != nil {
		return greylist.Pair{}, false, err
	}
	return s.Store.GetOrAdd(ctx, k, r)
}

func (s ofLaterRelease) CompareAndSet(ctx context.Context, k greylist.Key, old, next greylist.Pair) (greylist.Pair, error) {
	if err := s.err(k); err != nil {
		return greylist.Pair{}, err
	}
	return s.Store.CompareAndSet(ctx, k, old, next)
}

// TestRecordOfLaterRelease: such a record is no outage, its own client is judged
// from memory, and a real outage ends in spite of it.
func TestRecordOfLaterRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := greylist.NewMemory(1000)
		plain := newBench(memory, time.Now, nil)
		defer plain.Close()
		his, other := storetest.Request(1, "<a@example.org>", "<b@example.net>"), storetest.Request(2, "<a@example.org>", "<b@example.net>")
		key, _, err := plain.LookupIdentity(t.Context(), his.Identity)
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(ofLaterRelease{memory, key}, time.Now, nil)
		defer b.Close()
		degraded := func(want bool) {
			t.Helper()
			if on, why := b.Degraded(); on != want {
				t.Errorf("degraded: %v, %s", on, why)
			}
		}
		b.check(t, his, greylist.Defer, true)
		sleep(5 * time.Minute)
		b.check(t, his, greylist.Pass, true)
		b.check(t, other, greylist.Defer, false)
		degraded(false)
		b.store.mode.Store(fails)
		b.check(t, other, greylist.Defer, true)
		degraded(true)
		b.store.mode.Store(works)
		sleep(10 * time.Second)
		degraded(false)
	})
}
