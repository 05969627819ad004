package filter_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter"
	"mailwicket/filter/casefile"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/profile"
	"mailwicket/policy/rulefile"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.nofailfile", "true") // the seed is told anyway
	_ = flag.Set("rapid.checks", "25")       // each plays up to eight messages
	goleak.VerifyTestMain(m)
}

// ourID is the authserv-id of all tests.
const ourID = "mx.our.example"

// watcher keeps what an engine tells.
type watcher struct {
	mu      sync.Mutex
	records []*filter.Record
	checks  map[string]int // "name state"
}

func (w *watcher) Message(r *filter.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
}

func (w *watcher) Check(name string, st fact.State, _ string, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.checks == nil {
		w.checks = map[string]int{}
	}
	w.checks[name+" "+st.String()]++
}

// last gives the newest record.
func (w *watcher) last(t testing.TB) *filter.Record {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.records) == 0 {
		t.Fatal("no message was told")
	}
	return w.records[len(w.records)-1]
}

// clock is a time that only tests move. It starts now: signatures made by the
// library bear the real time.
type clock struct{ ahead atomic.Int64 }

var began = time.Now()

func (c *clock) now() time.Time          { return began.Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// newConfig is what all engines of the tests have in common.
func newConfig(t testing.TB, zone string, rules []policy.Rule) (filter.Config, *watcher, *clock) {
	t.Helper()
	p, problems := policy.Compile(rules)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	z, err := dnstest.Parse("zone", strings.NewReader(zone))
	if err != nil {
		t.Fatal(err)
	}
	w, c := &watcher{}, &clock{}
	var refs atomic.Int64
	return filter.Config{
		Policy: p, Resolver: z.Resolver(), Defers: filter.NewDefers(), TrustLogin: true, OnError: policy.Tempfail,
		DKIMMax: 8, Net4: 24, Net6: 64, HeaderBytes: 512 << 10, HeaderFields: 2000, CheckTimeout: time.Minute,
		Now: c.now, NewRef: func() string { return fmt.Sprintf("r%d", refs.Add(1)) },
		Log: slog.New(slog.DiscardHandler), Observer: w,
	}, w, c
}

func profileRules(t testing.TB, name string) []policy.Rule {
	t.Helper()
	rules, err := profile.Rules(name)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func parseRules(t testing.TB, yaml string) []policy.Rule {
	t.Helper()
	rules, problems := rulefile.Parse("rules", []byte(yaml))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return rules
}

// dialogue is one SMTP session with one message. The zero value of a member
// leaves that step as it usually is, but for those that can be missing.
type dialogue struct {
	client   string // address; "none" where the MTA tells none
	name     string // verified by the MTA
	helo     string // "none" where the client gives none
	mailFrom string
	rcpts    []string
	user     string
	params   []string
	tls      string
	header   mail.Header
	body     string
}

// usual is an honest sender.
func usual() dialogue {
	return dialogueOf(&casefile.Case{Session: casefile.Usual()})
}

// outcome is what became of a message.
type outcome struct {
	filter.Answer
	stage mail.Stage
	plan  filter.Plan // where the end was reached
}

func refused(a filter.Answer) bool {
	return a.Verdict == policy.Tempfail || a.Verdict == policy.Reject
}

// open begins a session up to HELO.
func (d dialogue) open(ctx context.Context, e *filter.Engine) *filter.Session {
	s := e.Open(ctx)
	c := mail.Conn{MTAName: ourID, HostName: d.name}
	if d.client != "none" {
		c.Addr = netip.MustParseAddr(d.client)
	}
	s.Connect(ctx, c)
	if d.helo != "none" {
		s.Helo(ctx, d.helo, mail.TLS{Version: d.tls})
	}
	return s
}

// send plays the message and stops where it is refused, as an MTA does.
func (d dialogue) send(ctx context.Context, s *filter.Session) outcome {
	env := filter.Envelope{AuthUser: d.user, Params: d.params, TLS: mail.TLS{Version: d.tls}}
	if a := s.Mail(ctx, d.mailFrom, env); refused(a) {
		return outcome{Answer: a, stage: mail.StageMail}
	}
	var bad filter.Answer
	taken := 0
	for _, r := range d.rcpts {
		if a := s.Rcpt(ctx, r); refused(a) {
			bad = a
		} else {
			taken++
		}
	}
	if taken == 0 {
		s.Abort()
		return outcome{Answer: bad, stage: mail.StageRcpt}
	}
	for _, f := range d.header {
		s.Header(f.Name, f.Value)
	}
	if a := s.EndOfHeader(ctx, "Q1"); refused(a) {
		s.Abort()
		return outcome{Answer: a, stage: mail.StageHeader}
	}
	for body := d.body; body != ""; {
		n := min(len(body), 1000)
		s.Body(ctx, []byte(body[:n]))
		body = body[n:]
	}
	p := s.EndOfMessage(ctx, "Q1")
	return outcome{Answer: p.Answer, stage: mail.StageMessage, plan: p}
}

// play is a session with one message.
func (d dialogue) play(t testing.TB, e *filter.Engine) outcome {
	t.Helper()
	s := d.open(t.Context(), e)
	defer s.Close()
	return d.send(t.Context(), s)
}

// message gives a dialogue the message, written with LF.
func (d dialogue) message(msg string) dialogue {
	d.header, d.body = casefile.Split(strings.ReplaceAll(msg, "\n", "\r\n"))
	return d
}

// checkPlan holds what is true of every accepted message: one field with our
// results, unless the client is ours; nothing inserted can break the header;
// no field that pretends to be ours is left.
func checkPlan(t testing.TB, d dialogue, p filter.Plan, inside bool) {
	t.Helper()
	results := 0
	for _, i := range p.Insert {
		if i.Name == "Authentication-Results" {
			results++
		}
		if bad := badField(i); bad != "" {
			t.Errorf("%s is inserted with %s: %q", i.Name, bad, i.Value)
		}
	}
	if want := map[bool]int{true: 0, false: 1}[inside]; results != want {
		t.Errorf("%d Authentication-Results are inserted, want %d", results, want)
	}
	checkLeft(t, d.header, p, inside)
}
