package filter_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/casefile"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/greylist"
	"mailwicket/policy"
)

// stuck is a resolver whose questions about some names never come back before
// the caller gives up; deaf, it does not notice that either.
type stuck struct {
	dns.Resolver
	on   func(name string) bool
	deaf chan struct{} // not nil: wait for this alone
}

func (r stuck) hang(ctx context.Context, name string) error {
	if !r.on(name) {
		return nil
	}
	if r.deaf != nil {
		<-r.deaf
	} else {
		<-ctx.Done()
	}
	return &net.DNSError{Err: "timeout", Name: name, IsTimeout: true, IsTemporary: true}
}

func (r stuck) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := r.hang(ctx, name); err != nil {
		return nil, err
	}
	return r.Resolver.LookupTXT(ctx, name)
}

func (r stuck) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	if err := r.hang(ctx, name); err != nil {
		return nil, err
	}
	return r.Resolver.LookupA(ctx, name)
}

func (r stuck) LookupPTR(ctx context.Context, a netip.Addr) ([]string, error) {
	if err := r.hang(ctx, a.String()); err != nil {
		return nil, err
	}
	return r.Resolver.LookupPTR(ctx, a)
}

// stages runs a message, each stage within its own time, and tells how long the
// slowest one took beyond that.
func stages(t *testing.T, d dialogue, s *filter.Session, budget time.Duration) (p filter.Plan, over time.Duration) {
	t.Helper()
	stage := func(f func(context.Context)) {
		ctx, cancel := context.WithTimeout(t.Context(), budget)
		defer cancel()
		start := time.Now()
		f(ctx)
		over = max(over, time.Since(start)-budget)
	}
	stage(func(ctx context.Context) {
		s.Connect(ctx, mail.Conn{Addr: netip.MustParseAddr(d.client), HostName: d.name, MTAName: ourID})
	})
	stage(func(ctx context.Context) { s.Helo(ctx, d.helo, mail.TLS{}) })
	stage(func(ctx context.Context) { s.Mail(ctx, d.mailFrom, filter.Envelope{}) })
	stage(func(ctx context.Context) { s.Rcpt(ctx, d.rcpts[0]) })
	for _, f := range d.header {
		s.Header(f.Name, f.Value)
	}
	stage(func(ctx context.Context) { s.EndOfHeader(ctx, "") })
	for b := d.body; b != ""; {
		n := min(len(b), 60_000)
		stage(func(ctx context.Context) { s.Body(ctx, []byte(b[:n])) })
		b = b[n:]
	}
	stage(func(ctx context.Context) { p = s.EndOfMessage(ctx, "") })
	return p, over
}

// hangs is a message all of whose checks ask the DNS: signed, sealed, and longer
// than what a verification keeps in memory while it waits for keys.
func hangs(t *testing.T) (dialogue, string) {
	t.Helper()
	w := casefile.Workshop{T: t, Msg: casefile.Wire(honestMail + strings.Repeat("A line of the body.\n", 8000))}
	w.Sign("d=good.example s=k1")
	w.Sign("d=list.example s=k2")
	w.Seal("d=list.example s=arc i=1 mx.list.example; dmarc=pass header.from=good.example")
	d := usual()
	d.header, d.body = casefile.Split(w.Msg)
	return d, commonZone(t) + w.Zone.String()
}

// TestHangingDNS: no stage takes longer than its time, whether a check's own
// time ends first or the stage's, and what is not known is told as that.
func TestHangingDNS(t *testing.T) {
	for _, c := range []struct {
		name          string
		check, budget time.Duration
		deaf          bool
		iprev         fact.State
	}{
		{"checks end first", 5 * time.Second, 20 * time.Second, false, fact.Known},
		{"stages end first", time.Minute, 3 * time.Second, false, fact.Failed},
		{"resolver is deaf, checks end first", 5 * time.Second, 20 * time.Second, true, fact.Known},
		{"resolver is deaf, stages end first", time.Minute, 3 * time.Second, true, fact.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, zone := hangs(t)
			synctest.Test(t, func(t *testing.T) {
				cfg, w, _ := newConfig(t, zone, append(parseRules(t, readsAll), profileRules(t, "standard")...))
				r := stuck{Resolver: cfg.Resolver, on: func(string) bool { return true }}
				if c.deaf {
					r.deaf = make(chan struct{})
				}
				cfg.Resolver, cfg.CheckTimeout = r, c.check
				s := filter.NewEngine(cfg).Open(t.Context())
				p, over := stages(t, d, s, c.budget)
				s.Close()
				if c.deaf {
					close(r.deaf)
				}
				synctest.Wait() // nothing is left behind
				if over > 0 {
					t.Errorf("a stage took %s longer than it had", over)
				}
				if p.Verdict != policy.Tempfail {
					t.Errorf("verdict %s", p.Verdict)
				}
				f := w.last(t).Facts
				if f.Conn.Iprev.State != c.iprev || c.iprev == fact.Known && f.Conn.Iprev.Value.Result != "temperror" {
					t.Errorf("iprev is %+v", f.Conn.Iprev)
				}
				if f.Txn.SPF.Known() && f.Txn.SPF.Value.Result != "temperror" {
					t.Errorf("spf is %+v", f.Txn.SPF)
				}
				for _, k := range f.Txn.DKIM.Value {
					if k.Result != "temperror" {
						t.Errorf("dkim is %+v", k)
					}
				}
				if len(f.Txn.DKIM.Value) != 2 || f.Txn.DMARC.Value.Result != "temperror" || f.Txn.ARC.Value.Result != "fail" {
					t.Errorf("dkim %+v, dmarc %+v, arc %+v", f.Txn.DKIM, f.Txn.DMARC, f.Txn.ARC)
				}
			})
		})
	}
}

// TestOneKeyHangs: a signature whose key has come counts, whatever the others
// wait for; and a forger's silent name servers cast no doubt on other domains.
func TestOneKeyHangs(t *testing.T) {
	for _, c := range []struct {
		hangs, want string
	}{
		{"k2._domainkey.list.example", "pass"},
		{"k1._domainkey.good.example", "temperror"},
	} {
		d, zone := hangs(t)
		d.mailFrom = "<x@elsewhere.example>"
		synctest.Test(t, func(t *testing.T) {
			cfg, w, _ := newConfig(t, zone, profileRules(t, "observe"))
			cfg.Resolver = stuck{Resolver: cfg.Resolver, on: func(name string) bool { return name == c.hangs }}
			s := filter.NewEngine(cfg).Open(t.Context())
			_, over := stages(t, d, s, 3*time.Second)
			s.Close()
			if over > 0 {
				t.Errorf("%s: a stage took %s longer than it had", c.hangs, over)
			}
			if got := w.last(t).Facts.Txn.DMARC.Value; got.Result != c.want {
				t.Errorf("%s hangs: dmarc is %+v", c.hangs, got)
			}
		})
	}
}

// TestSilentForger: a forger whose own name servers say nothing is refused as
// one is whose name servers say no.
func TestSilentForger(t *testing.T) {
	w := casefile.Workshop{T: t, Msg: casefile.Wire(forgedMail)}
	w.Sign("d=evil.example s=k1")
	d := usual()
	d.header, d.body = casefile.Split(w.Msg)
	for _, from := range []string{"<a@evil.example>", "<>"} {
		d.mailFrom, d.helo = from, "mail.evil.example"
		for _, rules := range []string{"rules: []", readsAll} {
			synctest.Test(t, func(t *testing.T) {
				cfg, watch, _ := newConfig(t, commonZone(t), append(parseRules(t, rules), profileRules(t, "strict")...))
				cfg.Resolver = stuck{Resolver: cfg.Resolver, on: func(name string) bool { return strings.HasSuffix(name, "evil.example") }}
				s := filter.NewEngine(cfg).Open(t.Context())
				p, _ := stages(t, d, s, 3*time.Second)
				s.Close()
				if r := watch.last(t); p.Verdict != policy.Reject || r.Rule != "dmarc-reject" {
					t.Errorf("from %s: %s by %q: %s", from, p.Verdict, r.Rule, r.Facts.Txn.DMARC.Value.Reason)
				}
			})
		}
	}
}

// oneSilent has a zone that lists everybody and one that does not answer.
type oneSilent struct{ zonesOf }

func (z oneSilent) Client(ctx context.Context, a netip.Addr) ([]fact.ListHit, error) {
	hits, err := z.zonesOf.Client(ctx, a)
	return append(hits, fact.ListHit{List: "dwl", Silent: "out of service"}), err
}

// TestSilentZone: a DNS list that does not answer, beside one that does, is neither
// a hit nor none, and the record names it.
func TestSilentZone(t *testing.T) {
	for rule, want := range map[string]policy.Verdict{
		"{all: [{dnsbl.zones: zen}, {not: {dnsbl.zones: dwl}}]}": policy.Continue,
		"{dnsbl.zones: dwl}": policy.Continue,
		"{dnsbl.zones: zen}": policy.Reject,
		"{all: [{dnsbl.zones: zen}, {dnsbl.score: {ge: 2}}]}": policy.Reject,
	} {
		cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, "rules:\n  - {name: r, when: "+rule+", do: reject}\n"))
		cfg.DNSBL = oneSilent{zonesOf{&asked{}}}
		usual().play(t, filter.NewEngine(cfg))
		r := w.last(t)
		if r.Verdict != want || !contains(r.Degraded, "dnsbl") {
			t.Errorf("%s: %s, degraded %q", rule, r.Verdict, r.Degraded)
		}
		for _, c := range r.Checks {
			if c.Name == "dnsbl" && c.Why != "dwl: out of service" {
				t.Errorf("%+v", c)
			}
		}
	}
}

// TestFailures: what fails or panics beside the DNS makes its fact Failed, is
// counted, and stops nothing.
func TestFailures(t *testing.T) {
	signed := casefile.Workshop{T: t, Msg: casefile.Wire(honestMail)}
	signed.Sign("d=good.example s=k1")
	d := usual()
	d.header, d.body = casefile.Split(signed.Msg)
	for _, a := range []*asked{{err: errors.New("down")}, {panics: true}} {
		a.status = greylist.Defer
		cfg, w, _ := newConfig(t, commonZone(t)+signed.Zone.String(), parseRules(t, asksAll))
		cfg.DNSBL, cfg.Rates, cfg.Replays, cfg.Greylist = zonesOf{a}, a, a, a
		out := d.play(t, filter.NewEngine(cfg))
		r := w.last(t)
		if got := describe(out, r); got != "accept" {
			t.Errorf("panics %v: %s", a.panics, got)
		}
		rc := r.Decisions[1].Rcpt
		for name, st := range map[string]fact.State{"dnsbl": r.Facts.Conn.DNSBL.State, "rates": rc.Rates.State,
			"greylist": rc.Greylist.State, "replay": r.Facts.Txn.ReplayClients.State} {
			if st != fact.Failed || w.checks[name+" failed"] != 1 {
				t.Errorf("panics %v: %s is %s, counted %d times", a.panics, name, st, w.checks[name+" failed"])
			}
		}
		for _, name := range []string{"dnsbl", "rates", "replay"} {
			if !contains(r.Degraded, name) {
				t.Errorf("%s is not among the degraded: %q", name, r.Degraded)
			}
		}
	}
	a := &asked{}
	cfg, w, _ := newConfig(t, commonZone(t)+signed.Zone.String(), parseRules(t, asksAll))
	cfg.DNSBL, cfg.Rates, cfg.Replays = zonesOf{a}, a, a
	d.play(t, filter.NewEngine(cfg))
	r := w.last(t)
	if rc := r.Decisions[1].Rcpt; len(rc.Rates.Value) != 1 || r.Facts.Txn.ReplayClients.Value != 3 || r.Facts.Txn.ReplayRecipients.Value != 5 ||
		len(r.Facts.Conn.DNSBL.Value) != 1 || len(r.Degraded) > 0 {
		t.Errorf("all is well, and told is %+v %+v %+v %q", rc.Rates, r.Facts.Txn.ReplayClients, r.Facts.Conn.DNSBL, r.Degraded)
	}
}

// seenBy counts as it is told, by the signature's domain.
type seenBy map[string][2]int

func (s seenBy) Seen(_ context.Context, sig, _ string, _ []string) (clients, recipients int, err error) {
	domain, _, _ := strings.Cut(sig, " ")
	n, ok := s[domain]
	if !ok {
		err = errors.New("down")
	}
	return n[0], n[1], err
}

// TestReplayCountsAllSignatures: a new signature on top of each copy does not hide
// the one that comes again and again; one that fails is not counted.
func TestReplayCountsAllSignatures(t *testing.T) {
	msg := casefile.Workshop{T: t, Msg: casefile.Wire(honestMail)}
	msg.Sign("d=good.example s=k1")
	msg.Sign("d=list.example s=k2")
	msg.Sign("d=evil.example s=k3")
	msg.Sign("d=unpublished.example s=k4 unpublished")
	d := usual()
	d.header, d.body = casefile.Split(msg.Msg)
	for _, c := range []struct {
		seen                seenBy
		clients, recipients fact.Fact[int]
	}{
		{seenBy{"good.example": {40, 90}, "list.example": {3, 100}, "evil.example": {1, 1}}, fact.Is(40), fact.Is(100)},
		{seenBy{"good.example": {1, 2}, "list.example": {1, 2}, "evil.example": {9, 8}}, fact.Is(9), fact.Is(8)},
		{seenBy{"good.example": {40, 90}, "evil.example": {1, 1}}, fact.Fail[int]("down"), fact.Fail[int]("down")},
	} {
		cfg, w, _ := newConfig(t, commonZone(t)+msg.Zone.String(), parseRules(t, asksAll))
		cfg.Replays = c.seen
		d.play(t, filter.NewEngine(cfg))
		if x := w.last(t).Facts.Txn; x.ReplayClients != c.clients || x.ReplayRecipients != c.recipients {
			t.Errorf("%v: %+v, %+v", c.seen, x.ReplayClients, x.ReplayRecipients)
		}
		if n := w.checks["replay known"] + w.checks["replay failed"]; n != 1 {
			t.Errorf("%v: counted as %d checks", c.seen, n)
		}
	}
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

// brittle is an observer that always panics.
type brittle struct{}

func (brittle) Message(*filter.Record)                          { panic("message") }
func (brittle) Check(string, fact.State, string, time.Duration) { panic("check") }

// TestBrittleObserver: whoever looks on cannot stop the mail.
func TestBrittleObserver(t *testing.T) {
	cfg, _, _ := newConfig(t, commonZone(t), append(parseRules(t, `rules:
  - {name: out, stage: connect, when: {client.ip: {in: 192.0.2.66/32}}, do: reject, reason: out}
`), append(parseRules(t, readsAll), profileRules(t, "standard")...)...))
	cfg.Observer = brittle{}
	e := filter.NewEngine(cfg)
	d := usual().message(honestMail)
	if out := d.play(t, e); out.Verdict != policy.Continue || out.stage != mail.StageMessage {
		t.Errorf("got %+v", out)
	}
	s := e.Open(t.Context())
	defer s.Close()
	if a := s.Connect(t.Context(), mail.Conn{Addr: netip.MustParseAddr("192.0.2.66")}); a.Verdict != policy.Reject {
		t.Errorf("got %+v", a)
	}
}

// TestSealHangs: a chain without any signature of DKIM beside it keeps the time
// too.
func TestSealHangs(t *testing.T) {
	w := casefile.Workshop{T: t, Msg: casefile.Wire(honestMail)}
	w.Seal("d=list.example s=arc i=1 mx.list.example; dmarc=pass header.from=good.example")
	d := usual()
	d.header, d.body = casefile.Split(w.Msg)
	synctest.Test(t, func(t *testing.T) {
		cfg, watch, _ := newConfig(t, commonZone(t), profileRules(t, "standard"))
		cfg.Resolver = stuck{Resolver: cfg.Resolver, on: func(name string) bool { return strings.HasPrefix(name, "arc.") }}
		s := filter.NewEngine(cfg).Open(t.Context())
		p, over := stages(t, d, s, 3*time.Second)
		s.Close()
		if over > 0 {
			t.Errorf("a stage took %s longer than it had", over)
		}
		if f := watch.last(t).Facts.Txn; p.Verdict != policy.Continue || f.ARC.Value.Result != "fail" || f.DMARC.Value.Result != "pass" {
			t.Errorf("%s: arc %+v, dmarc %+v", p.Verdict, f.ARC, f.DMARC)
		}
	})
}

// lateNames is a resolver that finds names of addresses only once it is let.
type lateNames struct {
	dns.Resolver
	free chan struct{}
}

func (r lateNames) LookupPTR(ctx context.Context, a netip.Addr) ([]string, error) {
	select {
	case <-r.free:
		return r.Resolver.LookupPTR(ctx, a)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestLateAnswers: what a check of the connection had not found in time stays so
// for that message; a later one uses the answer that has come meanwhile, and does
// not wait for one that has not.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, w, _ := newConfig(t, commonZone(t), append(parseRules(t, readsAll), profileRules(t, "standard")...))
		lists := &asked{}
		r := lateNames{cfg.Resolver, make(chan struct{})}
		cfg.Resolver, cfg.Lists = r, lists
		d := usual().message(honestMail)
		s := filter.NewEngine(cfg).Open(t.Context())
		defer s.Close()
		const budget = 3 * time.Second
		send := func(meanwhile func()) (took time.Duration) {
			begin := time.Now()
			stage := func(f func(context.Context)) {
				ctx, cancel := context.WithTimeout(t.Context(), budget)
				defer cancel()
				f(ctx)
			}
			stage(func(ctx context.Context) { s.Mail(ctx, d.mailFrom, filter.Envelope{}) })
			stage(func(ctx context.Context) { s.Rcpt(ctx, d.rcpts[0]) })
			meanwhile()
			synctest.Wait()
			for _, f := range d.header {
				s.Header(f.Name, f.Value)
			}
			stage(func(ctx context.Context) { s.EndOfHeader(ctx, "") })
			stage(func(ctx context.Context) { s.EndOfMessage(ctx, "") })
			return time.Since(begin)
		}
		s.Connect(t.Context(), mail.Conn{Addr: netip.MustParseAddr(d.client), MTAName: ourID})
		s.Helo(t.Context(), d.helo, mail.TLS{})
		for i, c := range []struct {
			meanwhile func()
			took      time.Duration
			want      fact.State
		}{
			{func() {}, budget, fact.Failed},
			{func() { close(r.free) }, 0, fact.Failed}, // not awaited again, and the same to the end
			{func() {}, 0, fact.Known},
			{func() {}, 0, fact.Known},
		} {
			took := send(c.meanwhile)
			rec := w.last(t)
			n := rec.Facts.Conn
			if took != c.took || n.Iprev.State != c.want || n.Dynamic.State != c.want {
				t.Errorf("message %d: %s, iprev %+v, dynamic %+v", i+1, took, n.Iprev, n.Dynamic)
			}
			var runs []fact.State
			for _, x := range rec.Checks {
				if x.Name == "iprev" {
					runs = append(runs, x.State)
				}
			}
			if len(runs) != 1 || runs[0] != c.want || (len(rec.Degraded) > 0) != (c.want == fact.Failed) {
				t.Errorf("message %d: iprev ran %v, degraded %v", i+1, runs, rec.Degraded)
			}
		}
		if !strings.Contains(strings.Join(lists.asks, "\n"), "ptr mail.good.example") {
			t.Errorf("the name that came late was not looked up: %q", lists.asks)
		}
	})
}

// storesOf are the greylist and the rates of a store that answers in a moment, but
// nobody whose time is over.
type storesOf struct{ *asked }

func (s storesOf) Check(ctx context.Context, r greylist.Request) (greylist.Outcome, error) {
	time.Sleep(10 * time.Millisecond)
	out, _ := s.asked.Check(ctx, r)
	return out, ctx.Err()
}

func (s storesOf) Exceeded(ctx context.Context, set *fact.Set) ([]string, error) {
	time.Sleep(10 * time.Millisecond)
	names, _ := s.asked.Exceeded(ctx, set)
	return names, ctx.Err()
}

// TestSlowDNSOfSender: a sender whose DNS takes all of a stage's time gets past
// neither the greylist nor the rates.
func TestSlowDNSOfSender(t *testing.T) {
	for name, rule := range map[string]string{
		"greylist": `{name: grey, when: {any: [{spf.result: fail}, {client.ip: {in: 0.0.0.0/0}}]}, do: greylist}`,
		"rates":    `{name: rate, when: {any: [{spf.result: fail}, {rates.exceeded: per-user}]}, do: tempfail}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, "rules:\n  - "+rule+"\n"))
				cfg.Resolver = stuck{Resolver: cfg.Resolver, on: func(string) bool { return true }}
				store := storesOf{&asked{status: greylist.Defer}}
				cfg.Greylist, cfg.Rates = store, store
				d := usual()
				s := d.open(t.Context(), filter.NewEngine(cfg))
				s.Mail(t.Context(), d.mailFrom, filter.Envelope{})
				for _, to := range []string{"<a@our.example>", "<b@our.example>"} {
					start := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					a := s.Rcpt(ctx, to)
					cancel()
					if took := time.Since(start); !refused(a) || took > time.Second+50*time.Millisecond {
						t.Errorf("%s: %s after %s", to, a.Verdict, took)
					}
				}
				s.Close()
				if r := w.last(t); r.Verdict != policy.Tempfail {
					t.Errorf("%s, %+v", r.Verdict, r.Decisions)
				}
			})
		})
	}
}
