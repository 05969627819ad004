package filter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"mailwicket/filter"
	"mailwicket/filter/casefile"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/greylist"
	"mailwicket/policy"
)

func commonZone(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("testdata/common.zone")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	honestMail = "From: Alice <alice@good.example>\nSubject: hello\nDate: Wed, 25 Nov 2026 10:00:00 +0000\n\nHello.\n"
	forgedMail = "From: The Bank <ceo@bank.example>\nSubject: your account\n\nPay.\n"
)

// readsAll makes the checks that the profiles leave alone be awaited.
const readsAll = `rules:
  - {name: look-helo, mode: observe, stage: helo, when: {helo.dns: other, spf.helo.result: fail}, do: reject}
  - {name: look-rcpt, mode: observe, stage: rcpt, when: {spf.result: fail, iprev.result: fail}, do: reject}
`

// normal gives a record without what may differ: references, times, and the
// order of checks and questions that ran at the same time.
func normal(t testing.TB, r *filter.Record, without string) string {
	t.Helper()
	c := *r
	c.Ref, c.Start, c.Took = "", time.Time{}, 0
	c.Facts.Now, c.Facts.Conn.Session = time.Time{}, ""
	c.Checks = slices.Clone(c.Checks)
	for i := range c.Checks {
		c.Checks[i].Took = 0
	}
	slices.SortFunc(c.Checks, func(a, b filter.CheckRun) int { return strings.Compare(a.Name, b.Name) })
	c.DNS = slices.DeleteFunc(slices.Clone(c.DNS), func(a dns.Answer) bool { return strings.Contains(a.Name, without) })
	for i := range c.DNS {
		c.DNS[i].Took = 0
	}
	slices.SortFunc(c.DNS, func(a, b dns.Answer) int { return strings.Compare(a.Name+a.Type, b.Name+b.Type) })
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`\(ref r\d+\)`).ReplaceAllString(string(b), "(ref)")
}

// elsewhere is a name that only disturbances use.
const elsewhere = "disturbance.example"

// disturb does to a session what clients do before they send the message that
// counts. It ends between messages, and greets as usual.
func disturb(t *rapid.T, ctx context.Context, s *filter.Session, messages []dialogue) {
	greeted := true
	for range rapid.IntRange(0, 6).Draw(t, "steps") {
		d := rapid.SampledFrom(messages).Draw(t, "message")
		env := filter.Envelope{AuthUser: rapid.SampledFrom([]string{"", "alice"}).Draw(t, "login"),
			Params: rapid.SampledFrom([][]string{nil, {"SMTPUTF8"}}).Draw(t, "params")}
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0:
			s.Abort()
		case 1:
			s.Helo(ctx, "x."+elsewhere, mail.TLS{})
			greeted = false
		case 2:
			s.EndOfMessage(ctx, "")
		case 3:
			s.Mail(ctx, d.mailFrom, env)
		case 4:
			s.Rcpt(ctx, "<x@our.example>")
		case 5:
			s.Header("From", " x@"+elsewhere)
			s.Header("Authentication-Results", " "+ourID+"; none")
		case 6:
			s.EndOfHeader(ctx, "Q0")
		case 7:
			s.Body(ctx, []byte("x\r\n"))
		default:
			d.user, d.params = env.AuthUser, env.Params
			d.send(ctx, s)
		}
	}
	if !greeted {
		s.Helo(ctx, "mail.good.example", mail.TLS{})
	}
	s.Abort()
}

// TestNothingIsLeft: whatever came before in the session, a message is judged
// and told as in a new session.
func TestNothingIsLeft(t *testing.T) {
	zone := commonZone(t) + "down." + elsewhere + " TEMPERROR\n*." + elsewhere + " TXT \"v=spf1 -all\"\n"
	rules := append(parseRules(t, readsAll), profileRules(t, "standard")...)
	rules = append(rules, parseRules(t, `rules:
  - {name: greeter, stage: helo, when: {helo.name: x.`+elsewhere+`}, do: accept}
  - {name: friend, stage: mail, when: {mail_from.address: friend@`+elsewhere+`}, do: accept}
  - {name: nobody, stage: rcpt, when: {rcpt.address: nobody@our.example}, do: reject}
  - {name: hello, stage: rcpt, when: {rcpt.address: bob@our.example}, do: {tag: bob}}
`)...)
	cfg, w, _ := newConfig(t, zone, rules)
	cfg.HeaderFields = 20
	e := filter.NewEngine(cfg)
	signed := casefile.Workshop{T: t, Msg: casefile.Wire(honestMail)}
	signed.Sign("d=good.example s=nokey unpublished")
	messages := []dialogue{usual().message(honestMail), usual().message(forgedMail), usual().message("From: x\n\n"),
		usual().message(strings.Repeat("X: y\n", 30) + forgedMail), usual().message(strings.ReplaceAll(signed.Msg, "\r\n", "\n"))}
	for i, from := range []string{"<>", "<x@down." + elsewhere + ">", "<friend@" + elsewhere + ">"} {
		messages[i+1].mailFrom = from
	}
	messages[2].rcpts = []string{"<nobody@our.example>", "<bob@our.example>"}
	messages[3].rcpts = []string{"<nobody@our.example>"}
	rapid.Check(t, func(rt *rapid.T) {
		d := rapid.SampledFrom(messages).Draw(rt, "the message")
		fresh := d.open(t.Context(), e)
		wantOut := d.send(t.Context(), fresh)
		fresh.Close()
		want := normal(t, w.last(t), elsewhere)

		used := d.open(t.Context(), e)
		defer used.Close()
		disturb(rt, t.Context(), used, messages)
		gotOut := d.send(t.Context(), used)
		got := normal(t, w.last(t), elsewhere)
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("the record differs (-new session +used one)\n%s", diff)
		}
		if gotOut.Verdict != wantOut.Verdict || !cmp.Equal(gotOut.plan.Delete, wantOut.plan.Delete) ||
			!cmp.Equal(gotOut.plan.Insert, wantOut.plan.Insert) {
			rt.Fatalf("new session: %+v\nused one: %+v", wantOut, gotOut)
		}
	})
}

// TestRecipients: refused recipients leave the others alone, and an accept rule
// for one frees that one only.
func TestRecipients(t *testing.T) {
	rules := append(parseRules(t, `rules:
  - {name: no-bob, stage: rcpt, when: {rcpt.address: bob@our.example}, do: {tag: bob, reject: {code: 550, enhanced: 5.7.1, text: "not bob"}}, reason: bob}
  - {name: later, stage: rcpt, when: {rcpt.address: carol@our.example}, do: {tempfail: {code: 451, enhanced: 4.7.1, text: "later"}}, reason: carol}
  - {name: mark, stage: rcpt, when: {mail_from.domain: [good.example, bank.example]}, do: {tag: seen}}
  - {name: help, stage: rcpt, when: {rcpt.address: postmaster@our.example}, do: accept, reason: help}
`), profileRules(t, "standard")...)
	const bob, carol, dave, help = "<bob@our.example>", "<carol@our.example>", "<dave@our.example>", "<Postmaster@our.example>"
	for _, c := range []struct {
		name  string
		msg   string
		rcpts []string
		want  string
		rule  string // of the record
		taken int
	}{
		{"good after bad", honestMail, []string{bob, dave}, "accept +seen", "", 1},
		{"good before bad", honestMail, []string{dave, bob}, "accept +seen", "", 1},
		{"two good", honestMail, []string{dave, dave}, "accept +seen", "", 2},
		{"all bad, the last one counts", honestMail, []string{bob, carol}, "tempfail 451 4.7.1 later", "later", 0},
		{"all bad", honestMail, []string{carol, bob}, "reject 550 5.7.1 no-bob", "no-bob", 0},
		{"forged, after a refused one", forgedMail, []string{bob, dave}, "reject 550 5.7.1 dmarc-reject", "dmarc-reject", 1},
		{"forged, to the exempt one", forgedMail, []string{help}, "accept help +seen", "help", 1},
		{"forged, to the exempt one after a refused one", forgedMail, []string{bob, help}, "accept help +seen", "help", 1},
		{"forged, to the exempt one, another is to come apart", forgedMail, []string{help, dave}, "accept help +seen", "help", 1},
		{"forged, to another, the exempt one is to come apart", forgedMail, []string{dave, help}, "reject 550 5.7.1 dmarc-reject", "dmarc-reject", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, w, _ := newConfig(t, commonZone(t), rules)
			d := usual().message(c.msg)
			d.mailFrom, d.rcpts = "<ceo@bank.example>", c.rcpts
			if c.msg == honestMail {
				d.mailFrom = "<alice@good.example>"
			}
			out := d.play(t, filter.NewEngine(cfg))
			r := w.last(t)
			if got := describe(out, r); got != c.want || r.Rule != c.rule || len(r.Facts.Txn.Rcpts) != c.taken {
				t.Errorf("got %s, rule %q, %d recipients; want %s, %q, %d", got, r.Rule, len(r.Facts.Txn.Rcpts), c.want, c.rule, c.taken)
			}
			if len(w.records) != 1 || r.Complete != (c.taken > 0) {
				t.Errorf("%d records, complete %v", len(w.records), r.Complete)
			}
			if refused(out.Answer) && !strings.HasSuffix(out.Text, " (ref "+r.Ref+")") {
				t.Errorf("the reply %q lacks the reference %s", out.Text, r.Ref)
			}
			if got := policyVerdict(out.Answer); r.Verdict != got {
				t.Errorf("the record says %s", r.Verdict)
			}
		})
	}
}

func policyVerdict(a filter.Answer) policy.Verdict { return a.Verdict }

// TestAcceptAtHelo: an exemption by the HELO name ends with that name.
func TestAcceptAtHelo(t *testing.T) {
	rules := append(parseRules(t, `rules:
  - {name: friend, stage: helo, when: {helo.name: friend.example}, do: accept, reason: a friend}
`), profileRules(t, "strict")...)
	cfg, w, _ := newConfig(t, commonZone(t), rules)
	e := filter.NewEngine(cfg)
	d := usual().message(forgedMail)
	d.mailFrom, d.helo = "<ceo@bank.example>", "friend.example"
	s := d.open(t.Context(), e)
	defer s.Close()
	for range 2 { // every message of the session
		if got := describe(d.send(t.Context(), s), w.last(t)); got != "accept friend" {
			t.Errorf("a friend: %s", got)
		}
		if r := w.last(t); r.Verdict != policy.Accept || r.Reason != "a friend" {
			t.Errorf("the record says %s, %q", r.Verdict, r.Reason)
		}
	}
	s.Helo(t.Context(), "other.example", mail.TLS{})
	if got := describe(d.send(t.Context(), s), w.last(t)); got != "reject 550 5.7.1 dmarc-reject" {
		t.Errorf("after another HELO: %s", got)
	}
	s.Helo(t.Context(), "friend.example", mail.TLS{})
	if got := describe(d.send(t.Context(), s), w.last(t)); got != "accept friend" {
		t.Errorf("a friend again: %s", got)
	}
}

// TestAcceptAtConnect: an exemption by the address lasts.
func TestAcceptAtConnect(t *testing.T) {
	rules := append(parseRules(t, `rules:
  - {name: friend, stage: connect, when: {client.ip: {in: 192.0.2.0/24}}, do: accept}
`), profileRules(t, "strict")...)
	cfg, w, _ := newConfig(t, commonZone(t), rules)
	d := usual().message(forgedMail)
	s := d.open(t.Context(), filter.NewEngine(cfg))
	defer s.Close()
	s.Helo(t.Context(), "other.example", mail.TLS{})
	out := d.send(t.Context(), s)
	if got := describe(out, w.last(t)); got != "accept friend" {
		t.Error(got)
	}
	checkPlan(t, d, out.plan, false)
}

// TestFormsOfAnAddress: however it is written, it is in its networks.
func TestFormsOfAnAddress(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, `rules:
  - {name: near, stage: connect, when: {client.ip: {in: [192.0.2.0/24, "fe80::/10"]}}, do: {reject: {code: 550, enhanced: 5.7.1, text: "near"}}}
`))
	cfg.Trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("fe80::/10")}
	for _, addr := range []string{"192.0.2.66", "::ffff:192.0.2.66", "fe80::1", "fe80::1%eth0"} {
		s := filter.NewEngine(cfg).Open(t.Context())
		s.Connect(t.Context(), mail.Conn{Addr: netip.MustParseAddr(addr)})
		s.Close()
		if r := w.last(t); r.Rule != "near" || r.Facts.Conn.Trusted.Value == "" {
			t.Errorf("%s: %s by rule %q, trusted %q", addr, r.Verdict, r.Rule, r.Facts.Conn.Trusted.Value)
		}
	}
}

// TestRefusedAtConnect is told once, with what was found.
func TestRefusedAtConnect(t *testing.T) {
	rules := parseRules(t, `rules:
  - {name: no-name, stage: connect, when: {iprev.result: permerror}, do: {reject: {code: 550, enhanced: 5.7.25, text: "no name"}}, reason: "no name"}
`)
	cfg, w, _ := newConfig(t, commonZone(t), rules)
	s := filter.NewEngine(cfg).Open(t.Context())
	a := s.Connect(t.Context(), mail.Conn{Addr: netip.MustParseAddr("192.0.2.66")})
	s.Close()
	r := w.last(t)
	if a.Verdict != policy.Reject || a.Code != 550 || a.Enhanced != "5.7.25" || a.Text != "no name (ref "+r.Ref+")" {
		t.Errorf("got %+v", a)
	}
	if len(w.records) != 1 || r.Complete || r.Rule != "no-name" || len(r.DNS) == 0 || len(r.Checks) != 1 || r.Checks[0].Name != "iprev" {
		t.Errorf("told: %+v", r)
	}
}

// TestProbe: a session that sends MAIL only has sent no message.
func TestProbe(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), profileRules(t, "standard"))
	d := usual()
	s := d.open(t.Context(), filter.NewEngine(cfg))
	s.Mail(t.Context(), d.mailFrom, filter.Envelope{})
	s.Abort()
	s.Mail(t.Context(), d.mailFrom, filter.Envelope{})
	s.Close()
	if len(w.records) != 0 {
		t.Errorf("%d messages were told", len(w.records))
	}
}

// TestLoginEnds: one message with a login does not make the next one trusted.
func TestLoginEnds(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), profileRules(t, "strict"))
	d := usual().message("Authentication-Results: mx.our.example; none\n" + forgedMail)
	d.mailFrom, d.user = "<ceo@bank.example>", "alice"
	s := d.open(t.Context(), filter.NewEngine(cfg))
	defer s.Close()
	out := d.send(t.Context(), s)
	if got := describe(out, w.last(t)); got != "accept" {
		t.Errorf("with a login: %s", got)
	}
	checkPlan(t, d, out.plan, false)
	d.user = ""
	if got := describe(d.send(t.Context(), s), w.last(t)); got != "reject 550 5.7.1 dmarc-reject" {
		t.Errorf("without: %s", got)
	}
}

// TestLoginNotTrusted: where logins are not trusted, all is checked and told.
func TestLoginNotTrusted(t *testing.T) {
	cfg, _, _ := newConfig(t, commonZone(t), profileRules(t, "strict"))
	cfg.TrustLogin = false
	d := usual().message(honestMail)
	d.user = "alice\r\nX: y; dmarc=pass"
	out := d.play(t, filter.NewEngine(cfg))
	checkPlan(t, d, out.plan, false)
	got := ours(out.plan)
	for _, want := range []string{"auth=pass", "spf=pass", "dkim=none", "dmarc=pass (", "iprev=pass"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if strings.Contains(got, "dmarc=pass\"") || strings.Count(got, "dmarc=pass") != 1 {
		t.Errorf("a login name makes a result: %q", got)
	}
}

// TestHeaderLimits: what is beyond the limits was not read, so nothing is
// believed of the message, and no field that might be forged stays.
func TestHeaderLimits(t *testing.T) {
	signed := casefile.Workshop{T: t, Msg: casefile.Wire(honestMail)}
	signed.Sign("d=good.example s=k1 h=from")
	zone := commonZone(t) + signed.Zone.String()
	forged := []mail.Field{{Name: "Authentication-Results", Value: " mx.our.example; dmarc=pass"},
		{Name: "x-mailwicket-tags ", Value: " x"}, {Name: "From", Value: " ceo@bank.example"}}
	for _, c := range []struct {
		name, defect string
		fill         []mail.Field
		n            int
	}{
		{"fields", "too_many_fields", []mail.Field{{Name: "X", Value: " y"}}, 50},
		{"bytes", "header_too_large", []mail.Field{{Name: "X", Value: strings.Repeat(" y", 3000)}}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			for profile, want := range map[string]string{"observe": "accept", "standard": "reject 550 5.6.0 from-unusable", "strict": "reject 550 5.6.0 from-unusable"} {
				cfg, w, _ := newConfig(t, zone, profileRules(t, profile))
				cfg.HeaderFields, cfg.HeaderBytes = 40, 10_000
				d := usual()
				d.header, d.body = casefile.Split(signed.Msg)
				d.header = append(slices.Clone(forged[:1]), d.header...)
				for range c.n {
					d.header = append(d.header, c.fill...)
				}
				d.header = append(append(d.header, forged...), forged...)
				out := d.play(t, filter.NewEngine(cfg))
				r := w.last(t)
				if got := describe(out, r); got != want {
					t.Errorf("%s: %s", profile, got)
				}
				if !slices.Contains(r.Facts.Txn.Defects.Value, c.defect) {
					t.Errorf("defects are %v", r.Facts.Txn.Defects.Value)
				}
				if n := r.Facts.Txn.Fields.Value; n != len(d.header) {
					t.Errorf("%d fields counted of %d", n, len(d.header))
				}
				if profile != "observe" {
					continue
				}
				checkPlan(t, d, out.plan, false)
				if got := ours(out.plan); strings.Contains(got, "dmarc=pass") || strings.Contains(got, "dkim=pass") {
					t.Errorf("believed: %s", got)
				}
				want := []filter.Deletion{{Name: "Authentication-Results", Index: 3}, {Name: "Authentication-Results", Index: 2},
					{Name: "Authentication-Results", Index: 1}, {Name: "X-Mailwicket-Tags", Index: 2}, {Name: "X-Mailwicket-Tags", Index: 1}}
				if diff := cmp.Diff(want, out.plan.Delete); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestTrustedBeyondLimits: from inside, results stay wherever they are.
func TestTrustedBeyondLimits(t *testing.T) {
	cfg, _, _ := newConfig(t, commonZone(t), profileRules(t, "strict"))
	cfg.HeaderFields, cfg.Trusted = 2, []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	d := usual().message("A: b\nX-Mailwicket-Tags: x\nAuthentication-Results: mx.our.example; none\nX-Mailwicket-Tags: y\n" + forgedMail)
	out := d.play(t, filter.NewEngine(cfg))
	checkPlan(t, d, out.plan, true)
	if want := []filter.Deletion{{Name: "X-Mailwicket-Tags", Index: 2}, {Name: "X-Mailwicket-Tags", Index: 1}}; !cmp.Equal(out.plan.Delete, want) {
		t.Errorf("deleted: %v", out.plan.Delete)
	}
}

// TestOrder: a peer that leaves steps out gets an answer and harms nobody.
func TestOrder(t *testing.T) {
	for verdict, want := range map[policy.Verdict]policy.Verdict{policy.Tempfail: policy.Tempfail, policy.Accept: policy.Accept} {
		cfg, w, _ := newConfig(t, commonZone(t), profileRules(t, "standard"))
		cfg.OnError = verdict
		s := usual().open(t.Context(), filter.NewEngine(cfg))
		s.Header("From", "x")
		s.Body(t.Context(), []byte("x"))
		for _, a := range []filter.Answer{s.Rcpt(t.Context(), "<x@y>"), s.EndOfHeader(t.Context(), ""), s.EndOfMessage(t.Context(), "").Answer} {
			if a.Verdict != want {
				t.Errorf("on_error %s: got %+v", verdict, a)
			}
		}
		s.Close()
		if len(w.records) > 0 {
			t.Error("a message was told")
		}
	}
	cfg, w, _ := newConfig(t, commonZone(t), profileRules(t, "standard"))
	s := usual().open(t.Context(), filter.NewEngine(cfg))
	defer s.Close()
	s.Mail(t.Context(), "<alice@good.example>", filter.Envelope{})
	s.Rcpt(t.Context(), "<bob@our.example>")
	p := s.EndOfMessage(t.Context(), "") // no end of header: no author was read
	if r := w.last(t); p.Verdict != policy.Continue || r.Facts.Txn.From.State != fact.Absent {
		t.Errorf("%+v", p)
	}
	if got := ours(p); !strings.Contains(got, "dmarc=temperror") || !strings.Contains(got, "dkim=temperror") {
		t.Errorf("results of nothing: %s", got)
	}
}

// asked is a fake of all that an engine asks beside the DNS.
type asked struct {
	mu     sync.Mutex
	asks   []string
	status greylist.Status
	err    error
	panics bool
}

func (a *asked) note(format string, args ...any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asks = append(a.asks, fmt.Sprintf(format, args...))
	if a.panics {
		panic("for the test")
	}
	return a.err
}

func (a *asked) IP(p list.Point, addr netip.Addr) []fact.ListHit {
	_ = a.note("%s %s", p, addr)
	return []fact.ListHit{{List: "l", Subject: addr.String(), Entry: "e"}}
}

func (a *asked) Domain(p list.Point, name string) []fact.ListHit {
	_ = a.note("%s %s", p, name)
	return nil
}

func (a *asked) Address(p list.Point, addr mail.Address) []fact.ListHit {
	_ = a.note("%s %s", p, addr)
	return nil
}

func (a *asked) Check(_ context.Context, r greylist.Request) (greylist.Outcome, error) {
	err := a.note("greylist %s %s %s", r.Identity, r.Sender, r.Recipient)
	return greylist.Outcome{Status: a.status, Remaining: 90 * time.Second}, err
}

func (a *asked) Exceeded(_ context.Context, s *fact.Set) ([]string, error) {
	return []string{"per-user"}, a.note("rates %s", s.Rcpt.To.Value)
}

func (a *asked) Seen(_ context.Context, sig, client string, rcpts []string) (int, int, error) {
	return 3, 5, a.note("replay %.15s %s %q", sig, client, rcpts)
}

func (a *asked) Sized(_ context.Context, s *fact.Set) ([]string, error) {
	return []string{"bytes"}, a.note("size %d", s.Txn.Size.Value)
}

// zonesOf is an asked as DNS lists.
type zonesOf struct{ *asked }

func (z zonesOf) Client(context.Context, netip.Addr) ([]fact.ListHit, error) {
	return []fact.ListHit{{List: "zen", Weight: 2}}, z.note("dnsbl")
}

func (z zonesOf) Domain(_ context.Context, p list.Point, name string) ([]fact.ListHit, error) {
	return []fact.ListHit{{List: "dbl", Subject: name, Weight: 1}}, z.note("dnsbl %s %s", p, name)
}

// Names gives the last two labels of a name, and the name itself below other.example.
func (z zonesOf) Names(_ list.Point, name string) []string {
	labels := strings.Split(name, ".")
	if len(labels) < 2 {
		return nil
	}
	org := strings.Join(labels[len(labels)-2:], ".")
	if org == "other.example" {
		return []string{org, name}
	}
	return []string{org}
}

const asksAll = `rules:
  - {name: rate, mode: observe, when: {rates.exceeded: per-user}, do: reject}
  - {name: listed, mode: observe, when: {client.lists: l, client.name_lists: l, dnsbl.zones: zen}, do: reject}
  - {name: replay, mode: observe, when: {dkim.replay.clients: {gt: 2}, dkim.lists: l, dkim.replay.recipients: {gt: 4}}, do: reject}
  - {name: grey, when: {mail_from.null: false}, do: greylist}
  - {name: grey-null, stage: header, when: {mail_from.null: true}, do: greylist}
`

// TestLists: every name is looked up at its own point.
func TestLists(t *testing.T) {
	a := &asked{}
	cfg, _, _ := newConfig(t, commonZone(t), parseRules(t, asksAll))
	signed := casefile.Workshop{T: t, Msg: casefile.Wire(honestMail)}
	signed.Sign("d=good.example s=k1")
	cfg, _, _ = newConfig(t, commonZone(t)+signed.Zone.String(), parseRules(t, asksAll))
	cfg.Lists = a
	d := usual()
	d.helo = "mail.evil.example"
	d.header, d.body = casefile.Split(signed.Msg)
	d.play(t, filter.NewEngine(cfg))
	want := []string{
		"client 192.0.2.1", "helo mail.evil.example", "mail_from alice@good.example", "rcpt bob@our.example",
		"ptr mail.good.example", "header_from alice@good.example", "dkim good.example",
	}
	slices.Sort(want)
	slices.Sort(a.asks)
	if diff := cmp.Diff(want, a.asks); diff != "" {
		t.Error(diff)
	}
	a.asks = nil
	cfg.Trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	d.play(t, filter.NewEngine(cfg))
	if want := []string{"rcpt bob@our.example"}; !cmp.Equal(want, a.asks) {
		t.Errorf("for a trusted client: %q", a.asks)
	}
}

// TestGreylist: each recipient is asked for, null senders at the end of the
// header; the answer is the reply.
func TestGreylist(t *testing.T) {
	for _, c := range []struct {
		name, from string
		rcpts      []string
		status     greylist.Status
		err        error
		want       string
		asks       []string
	}{
		{"deferred", "<alice@good.example>", []string{"<a@our.example>", "<b@our.example>"}, greylist.Defer, nil, "tempfail 451 4.7.1 grey",
			[]string{"greylist spf:good.example alice@good.example a@our.example", "greylist spf:good.example alice@good.example b@our.example"}},
		{"passed", "<alice@good.example>", []string{"<a@our.example>"}, greylist.Pass, nil, "accept",
			[]string{"greylist spf:good.example alice@good.example a@our.example"}},
		{"null sender", "<>", []string{"<a@our.example>", "<b@our.example>"}, greylist.Defer, nil, "tempfail 451 4.7.1 grey-null",
			[]string{"greylist host:good.example <> a@our.example"}},
		{"no answer", "<alice@good.example>", []string{"<a@our.example>"}, greylist.Defer, errors.New("down"), "accept",
			[]string{"greylist spf:good.example alice@good.example a@our.example"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &asked{status: c.status, err: c.err}
			cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, asksAll))
			cfg.Greylist = a
			d := usual().message(honestMail)
			d.mailFrom, d.rcpts = c.from, c.rcpts
			out := d.play(t, filter.NewEngine(cfg))
			if got := describe(out, w.last(t)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if refused(out.Answer) && !strings.HasPrefix(out.Text, "Greylisted, retry in 90 seconds (ref r") {
				t.Errorf("the reply is %q", out.Text)
			}
			if diff := cmp.Diff(c.asks, a.asks); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNow: a decision has one time, also when the greylist was asked in between.
func TestNow(t *testing.T) {
	cfg, _, _ := newConfig(t, commonZone(t), parseRules(t, asksAll))
	cfg.Greylist, cfg.Rates = &asked{status: greylist.Pass}, &asked{}
	drawn := 0
	cfg.Now = func() time.Time { drawn++; return began }
	d := usual()
	s := d.open(t.Context(), filter.NewEngine(cfg))
	defer s.Close()
	s.Mail(t.Context(), d.mailFrom, filter.Envelope{})
	before := drawn
	s.Rcpt(t.Context(), d.rcpts[0])
	if drawn != before+1 {
		t.Errorf("the time was drawn %d times", drawn-before)
	}
}

// TestDiscardAtRCPT: the message is gone, and the record says so.
func TestDiscardAtRCPT(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, `rules:
  - {name: trap, stage: rcpt, when: {rcpt.address: kim@our.example}, do: discard}
`))
	for _, rcpts := range [][]string{{"<kim@our.example>"}, {"<lou@our.example>", "<kim@our.example>"}} {
		d := usual()
		s := d.open(t.Context(), filter.NewEngine(cfg))
		s.Mail(t.Context(), d.mailFrom, filter.Envelope{})
		for _, to := range rcpts {
			s.Rcpt(t.Context(), to)
		}
		s.Close()
		r := w.last(t)
		if again := filter.Replay(cfg.Policy, r); r.Verdict != policy.Discard || r.Rule != "trap" || again.Verdict != policy.Discard || again.Rule != "trap" {
			t.Errorf("%s: %s by %q, judged again %+v", rcpts, r.Verdict, r.Rule, again)
		}
	}
}

// TestSharedEngine: sessions share an engine and nothing else.
func TestSharedEngine(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), profileRules(t, "standard"))
	e := filter.NewEngine(cfg)
	good, bad := usual().message(honestMail), usual().message(forgedMail)
	bad.mailFrom = "<ceo@bank.example>"
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d, want := good, policy.Continue
			if i%2 == 0 {
				d, want = bad, policy.Reject
			}
			s := d.open(t.Context(), e)
			defer s.Close()
			for range 5 {
				if out := d.send(t.Context(), s); out.Verdict != want {
					t.Errorf("got %s, want %s", out.Verdict, want)
				}
			}
		})
	}
	wg.Wait()
	if len(w.records) != 40 {
		t.Errorf("%d messages were told", len(w.records))
	}
}

// TestDefers holds the memory of temporary errors to its bounds.
func TestDefers(t *testing.T) {
	d := filter.NewDefers()
	now := began
	for _, c := range []struct {
		after time.Duration
		clear bool
		want  time.Duration
	}{
		{0, false, 0}, {time.Hour, false, time.Hour}, {5 * time.Hour, false, 5 * time.Hour},
		{4 * time.Hour, false, 4 * time.Hour}, {-time.Hour, false, 0}, // clocks go back
		{22 * time.Hour, false, 22 * time.Hour}, {45 * time.Hour, false, 45 * time.Hour}, // trouble that lasts is not forgotten
		{69 * time.Hour, false, 0}, // a day without mail is
		{70 * time.Hour, true, 0},
	} {
		if c.clear {
			d.Clear("a")
		}
		if got := d.Age("a", now.Add(c.after)); got != c.want {
			t.Errorf("after %s: %s, want %s", c.after, got, c.want)
		}
	}
	for i := range 52_000 {
		d.Age(fmt.Sprint(i), now)
	}
	if got := d.Age("51999", now.Add(time.Hour)); got != time.Hour {
		t.Errorf("the newest is forgotten: %s", got)
	}
}
