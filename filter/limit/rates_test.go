package limit_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/fact"
	"mailwicket/filter/limit"
	"mailwicket/filter/mail"
)

// message makes the facts of one message, at the suites' start.
func message(from string) *fact.Set {
	s := &fact.Set{Stage: mail.StageRcpt, Now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	s.Conn.IP = fact.Is(netip.MustParseAddr("192.0.2.1"))
	s.Txn.MailFrom = fact.Is(mail.ParsePath(from))
	return s
}

// rcpt asks for one recipient, and accepts it where no limit is exceeded.
func rcpt(t *testing.T, r *limit.Rates, s *fact.Set, to string) string {
	t.Helper()
	s.Rcpt = fact.Rcpt{To: fact.Is(mail.ParsePath(to))}
	names, err := r.Exceeded(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		s.Txn.Rcpts = append(s.Txn.Rcpts, s.Rcpt.To.Value)
	}
	s.Rcpt = fact.Rcpt{}
	return strings.Join(names, " ")
}

func sized(t *testing.T, r *limit.Rates, s *fact.Set, size int64) string {
	t.Helper()
	s.Txn.Size = fact.Is(size)
	names, err := r.Sized(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func one(name string, count int64, unit limit.Unit, keys ...limit.Key) limit.Limit {
	return limit.Limit{Name: name, Key: keys, Count: count, Per: time.Hour, Unit: unit}
}

func rates(limits ...limit.Limit) *limit.Rates {
	return limit.NewRates(limits, nil, limit.Options{})
}

// Each key has a table of messages: those with the same word share a count.
func TestKeys(t *testing.T) {
	ip := func(s string) func(*fact.Set) {
		return func(f *fact.Set) { f.Conn.IP = fact.Is(netip.MustParseAddr(s)) }
	}
	from := func(s string) func(*fact.Set) {
		return func(f *fact.Set) { f.Txn.MailFrom = fact.Is(mail.ParsePath(s)) }
	}
	to := func(s string) func(*fact.Set) {
		return func(f *fact.Set) { f.Rcpt.To = fact.Is(mail.ParsePath(s)) }
	}
	user := func(s string) func(*fact.Set) { return func(f *fact.Set) { f.Txn.AuthUser = fact.Is(s) } }
	both := func(a, b func(*fact.Set)) func(*fact.Set) { return func(f *fact.Set) { a(f); b(f) } }
	none := func(*fact.Set) {}
	type group []func(*fact.Set)
	tests := []struct {
		keys   []limit.Key
		groups []group // members share a count with their group alone
		free   group   // the limit does not apply
	}{
		{[]limit.Key{limit.Client}, []group{{ip("192.0.2.1"), ip("::ffff:192.0.2.1")}, {ip("192.0.2.2")}, {ip("2001:db8::1"), ip("2001:db8::1%eth0")}}, group{none}},
		{[]limit.Key{limit.Net}, []group{{ip("192.0.2.1"), ip("192.0.2.99"), ip("::ffff:192.0.2.7")}, {ip("192.0.3.1")},
			{ip("2001:db8::1"), ip("2001:db8::ffff:ffff:ffff:ffff")}, {ip("2001:db8:0:1::1")}}, group{none}},
		{[]limit.Key{limit.Sender}, []group{{from("<a@example.org>"), from("<A@EXAMPLE.org.>")}, {from("<b@example.org>")}, {from("<a1@example.org>")}}, group{none, from("<>")}},
		{[]limit.Key{limit.SenderDomain}, []group{{from("<a@example.org>"), from("<b@example.ORG>")}, {from("<a@sub.example.org>")}}, group{from("<>"), from("<postmaster>")}},
		{[]limit.Key{limit.Rcpt}, []group{{to("<a@example.org>"), to("<A@example.org>")}, {to("<b@example.org>")}}, group{none}},
		{[]limit.Key{limit.RcptDomain}, []group{{to("<a@example.org>"), to("<b@example.org>")}, {to("<a@example.net>")}}, group{none, to("<postmaster>")}},
		{[]limit.Key{limit.AuthUser}, []group{{user("joe"), user("JOE")}, {user("ann")}}, group{none, user(""), ip("192.0.2.1")}},
		{[]limit.Key{limit.Client, limit.AuthUser}, []group{{both(ip("192.0.2.1"), user("joe"))}, {both(ip("192.0.2.1"), user("ann"))},
			{both(ip("192.0.2.2"), user("joe"))}}, group{ip("192.0.2.1"), user("joe")}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.keys), func(t *testing.T) {
			r := rates(limit.Limit{Name: "x", Key: tt.keys, Count: 1, Per: time.Hour})
			ask := func(set func(*fact.Set)) string {
				s := &fact.Set{Now: time.Unix(1e9, 0)}
				set(s)
				names, err := r.Exceeded(t.Context(), s)
				return fmt.Sprint(names, err)
			}
			for i, g := range tt.groups {
				for j, m := range g {
					check(t, fmt.Sprintf("group %d, member %d", i, j), ask(m), map[bool]string{true: "[] <nil>", false: "[x] <nil>"}[j == 0])
				}
			}
			for _, m := range tt.free {
				ask(m)
				check(t, "where it does not apply", ask(m), "[] <nil>")
			}
		})
	}
}

func TestMessagesAndRecipients(t *testing.T) {
	r := rates(one("messages", 2, "", limit.Client), one("recipients", 5, limit.Recipients, limit.Client))
	for range 2 {
		m := message("<a@example.org>")
		check(t, "first", rcpt(t, r, m, "<1@example.net>"), "")
		check(t, "second", rcpt(t, r, m, "<2@example.net>"), "")
	}
	m := message("<a@example.org>")
	check(t, "third message", rcpt(t, r, m, "<1@example.net>"), "messages") // its recipient was the fifth
	check(t, "its next recipient", rcpt(t, r, m, "<2@example.net>"), "messages recipients")
	m.Now = m.Now.Add(30 * time.Minute)
	check(t, "later", rcpt(t, r, m, "<1@example.net>"), "")
	check(t, "a limit of bytes elsewhere", sized(t, r, m, 1<<40), "")
}

// A count by recipient sees the message once for each, one by domain once for
// each domain.
func TestMessagesByRecipient(t *testing.T) {
	r := rates(one("rcpt", 1, limit.Messages, limit.Rcpt), one("domain", 1, limit.Messages, limit.RcptDomain, limit.Client))
	m := message("<a@example.org>")
	for _, to := range []string{"<1@example.net>", "<2@example.net>", "<1@example.com>", "<1@EXAMPLE.net>"} {
		check(t, to, rcpt(t, r, m, to), "")
	}
	m = message("<a@example.org>")
	check(t, "known recipient", rcpt(t, r, m, "<1@example.com>"), "rcpt domain")
	check(t, "known domain", rcpt(t, r, m, "<3@example.net>"), "domain")
	check(t, "neither", rcpt(t, r, m, "<1@example.edu>"), "")
}

func TestSized(t *testing.T) {
	r := rates(one("client", 1000, limit.Bytes, limit.Client), one("domain", 600, limit.Bytes, limit.RcptDomain), one("messages", 9, "", limit.Client))
	m := message("<a@example.org>")
	check(t, "unknown size", func() string { n, err := r.Sized(t.Context(), m); return fmt.Sprint(n, err) }(), "[] <nil>")
	for _, to := range []string{"<1@example.net>", "<2@example.net>", "<1@example.com>"} {
		check(t, to, rcpt(t, r, m, to), "")
	}
	check(t, "500", sized(t, r, m, 500), "")
	check(t, "600 of 500 and of 100", sized(t, r, m, 600), "client domain")
	m.Txn.Rcpts = m.Txn.Rcpts[:0]
	check(t, "400 without domains", sized(t, r, m, 400), "")
	check(t, "101 of 100", sized(t, r, m, 101), "client")
	check(t, "100 of 100", sized(t, r, m, 100), "")
}

// Hammering does not prolong a refusal.
func TestHammering(t *testing.T) {
	r, m := rates(one("x", 60, "", limit.Client)), message("<a@example.org>")
	passed := 0
	for range 10 * 3600 {
		m.Now = m.Now.Add(time.Second)
		m.Txn.Rcpts = nil
		if rcpt(t, r, m, "<b@example.net>") == "" {
			passed++
		}
	}
	if passed < 60+590 || passed > 60+600 {
		t.Errorf("%d passed in ten hours, want 60, and 60 each hour", passed)
	}
}

// faulty is a store that can hang and fail.
type faulty struct {
	limit.Store
	limit.ReplayStore
	mu    sync.Mutex
	asked int
	fails error // nil: works
	hangs bool
}

func newFaulty() *faulty {
	return &faulty{Store: limit.NewMemory(1000), ReplayStore: limit.NewReplayMemory(1 << 20)}
}

func (f *faulty) set(fails error, hangs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails, f.hangs, f.asked = fails, hangs, 0
}

func (f *faulty) questions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *faulty) fault(ctx context.Context) error {
	f.mu.Lock()
	f.asked++
	fails, hangs := f.fails, f.hangs
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return fails
}

func (f *faulty) Spend(ctx context.Context, now time.Time, c []limit.Charge) ([]limit.Decision, error) {
	if err := f.fault(ctx); err != nil {
		return nil, err
	}
	return f.Store.Spend(ctx, now, c)
}

func (f *faulty) Seen(ctx context.Context, now time.Time, s limit.Sighting) (limit.Seen, error) {
	if err := f.fault(ctx); err != nil {
		return limit.Seen{}, err
	}
	return f.ReplayStore.Seen(ctx, now, s)
}

// told keeps what an observer is told.
type told struct {
	mu       sync.Mutex
	results  map[string]int
	degraded []string
}

func (o *told) observer() limit.Observer {
	o.results = map[string]int{}
	return limit.Observer{
		Op: func(op, result string, took time.Duration) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.results[op+" "+result]++
			if took > 150*time.Millisecond {
				o.results["too slow"]++
			}
		},
		Degraded: func(on bool, why string) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.degraded = append(o.degraded, fmt.Sprint(on, " ", why))
		},
	}
}

// Each decision is told, by the limit's name; so is one that came to nothing.
func TestDecided(t *testing.T) {
	f := newFaulty()
	told := map[string]int{}
	o := limit.Observer{Decided: func(name, result string) { told[name+" "+result]++ }}
	r := limit.NewRates([]limit.Limit{one("a", 2, "", limit.Client), one("b", 1, "", limit.Client)}, f, limit.Options{Observer: o})
	m := message("<a@example.org>")
	for range 3 {
		m.Txn.Rcpts = nil
		rcpt(t, r, m, "<b@example.net>")
	}
	check(t, "told", told, map[string]int{"a within": 2, "a exceeded": 1, "b within": 1, "b exceeded": 2})
	f.set(errDown, false)
	m.Txn.Rcpts = nil
	rcpt(t, r, m, "<b@example.net>") // this process decides
	check(t, "told without the store", told, map[string]int{"a within": 2, "a exceeded": 2, "b within": 1, "b exceeded": 3})
	f.set(nil, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Txn.Rcpts = nil
	if _, err := r.Exceeded(ctx, m); err == nil {
		t.Error("no error, though the caller is gone")
	}
	check(t, "told of who broke off", told, map[string]int{"a within": 2, "a exceeded": 2, "a error": 1, "b within": 1, "b exceeded": 3, "b error": 1})
}

var errDown = errors.New("down")

// While the store is away this process decides, from what it saw go through.
func TestOutage(t *testing.T) {
	for name, hangs := range map[string]bool{"fails": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outage(t, hangs) })
		})
	}
}

func outage(t *testing.T, hangs bool) {
	f, o := newFaulty(), &told{}
	r := limit.NewRates([]limit.Limit{one("x", 6, "", limit.Client)}, f, limit.Options{Observer: o.observer()})
	m := message("<a@example.org>")
	ask := func(want string) {
		t.Helper()
		m.Txn.Rcpts = nil
		check(t, "exceeded", rcpt(t, r, m, "<b@example.net>"), want)
	}
	for range 4 {
		ask("")
	}
	f.set(errDown, hangs)
	start := time.Now()
	ask("")
	ask("")
	for range 20 {
		ask("x")
	}
	waited := time.Since(start)
	if most := 5 * 150 * time.Millisecond; waited > most {
		t.Errorf("22 answers took %s, want at most %s", waited, most)
	}
	if n := f.questions(); n != 5 {
		t.Errorf("a store that is away was asked %d times, want 5", n)
	}
	on, why := r.Degraded()
	check(t, "degraded", on, true)
	time.Sleep(2 * time.Second) // the breaker's
	f.set(nil, false)
	ask("") // the store did not see the outage's messages
	off, _ := r.Degraded()
	check(t, "still degraded", off, false)
	word := map[bool]string{true: "timeout", false: "error"}[hangs]
	check(t, "results", o.results, map[string]int{"rates ok": 5, "rates " + word: 5, "rates open": 17})
	check(t, "notices", o.degraded, []string{"true " + why, "false "})
}

func TestReplayOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := newFaulty(), &told{}
		r := limit.NewReplays(f, 0, limit.Options{Observer: o.observer()})
		see := func(client string, clients, recipients int, rcpts ...string) {
			t.Helper()
			c, n, err := r.Seen(t.Context(), "example.org s1 abc=", client, rcpts)
			check(t, client, fmt.Sprint(c, n, err), fmt.Sprint(clients, recipients, error(nil)))
		}
		see("192.0.2.1", 1, 1, "a@example.net", "A@example.net")
		f.set(errDown, false)
		see("192.0.2.2", 2, 2, "b@example.net")
		see("192.0.2.2", 2, 2, "b@example.net")
		on, _ := r.Degraded()
		check(t, "degraded", on, true)
		time.Sleep(2 * time.Second)
		f.set(nil, false)
		see("192.0.2.3", 2, 1)
		on, _ = r.Degraded()
		check(t, "degraded", on, false)
		time.Sleep(limit.DefaultWindow)
		see("192.0.2.3", 1, 0)
		check(t, "results", o.results, map[string]int{"replay ok": 3, "replay error": 2})
	})
}

// A caller that gives up says nothing about the store.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := newFaulty(), &told{}
		f.set(nil, true)
		opts := limit.Options{Observer: o.observer()}
		r, p := limit.NewRates([]limit.Limit{one("x", 6, "", limit.Client)}, f, opts), limit.NewReplays(f, 0, opts)
		m := message("<a@example.org>")
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			_, err := r.Exceeded(ctx, m)
			_, _, err2 := p.Seen(ctx, "sig", "192.0.2.1", nil)
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err2, context.DeadlineExceeded) {
				t.Fatalf("%v, %v, want the caller's deadline", err, err2)
			}
			cancel()
		}
		on, _ := r.Degraded()
		check(t, "degraded", on, false)
		check(t, "results", o.results, map[string]int{"rates canceled": 20, "replay canceled": 20})
	})
}

// What is not counted asks no store.
func TestNothingToCount(t *testing.T) {
	f := newFaulty()
	r := limit.NewRates([]limit.Limit{one("x", 6, "", limit.AuthUser), one("y", 6, limit.Bytes, limit.Client)}, f, limit.Options{})
	rcpt(t, r, message("<a@example.org>"), "<b@example.net>")
	if n := f.questions(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// Sidecars share counts when they share the secret, and only then.
func TestSecret(t *testing.T) {
	store := limit.NewMemory(100)
	sidecar := func(secret string) *limit.Rates {
		return limit.NewRates([]limit.Limit{one("x", 1, "", limit.Client)}, store, limit.Options{Secret: []byte(secret)})
	}
	check(t, "first", rcpt(t, sidecar("a"), message("<>"), "<b@example.net>"), "")
	check(t, "second", rcpt(t, sidecar("a"), message("<>"), "<b@example.net>"), "x")
	check(t, "stranger", rcpt(t, sidecar("b"), message("<>"), "<b@example.net>"), "")
}
