package filter_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/greylist"
	"mailwicket/policy"
)

// strictBox lets one recipient refuse what others take.
const strictBox = `rules:
  - {name: kim, when: {rcpt.address: kim@our.example}, do: {tag: strict}}
  - {name: strict-unsigned, stage: message, when: {tags: strict, dkim.result: none}, do: {reject: {code: 550, enhanced: 5.7.1, text: unsigned}}}
`

const kim, lou, mia = "<kim@our.example>", "<lou@our.example>", "<mia@our.example>"

// rcpt plays a message up to RCPT and gives the answers.
func (d dialogue) rcpt(ctx context.Context, s *filter.Session) []filter.Answer {
	s.Mail(ctx, d.mailFrom, filter.Envelope{AuthUser: d.user})
	var out []filter.Answer
	for _, r := range d.rcpts {
		out = append(out, s.Rcpt(ctx, r))
	}
	return out
}

// TestSplit: who differs is asked for in another message, which then gets its own
// verdict, in the same session.
func TestSplit(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, strictBox))
	d := usual().message(honestMail)
	s := d.open(t.Context(), filter.NewEngine(cfg))
	defer s.Close()
	for _, c := range []struct {
		rcpts []string
		want  string
		taken []string
		apart []string
	}{
		{[]string{lou, kim, mia}, "accept", []string{"lou@our.example", "mia@our.example"}, []string{"kim@our.example unlike lou@our.example: tag strict"}},
		{[]string{kim}, "reject 550 5.7.1 strict-unsigned", []string{"kim@our.example"}, nil},
		{[]string{kim, lou}, "reject 550 5.7.1 strict-unsigned", []string{"kim@our.example"}, []string{"lou@our.example unlike kim@our.example: no tag strict"}},
		{[]string{lou}, "accept", []string{"lou@our.example"}, nil},
	} {
		d.rcpts = c.rcpts
		out := d.send(t.Context(), s)
		r := w.last(t)
		if got := describe(out, r); got != c.want {
			t.Errorf("%s: got %s, want %s", c.rcpts, got, c.want)
		}
		var taken, apart []string
		for _, a := range r.Facts.Txn.Rcpts {
			taken = append(taken, a.String())
		}
		for _, x := range r.Decisions {
			if x.Rule == policy.RecipientsDiffer {
				apart = append(apart, x.Recipient+" "+x.Reason)
				if x.Verdict != policy.Tempfail || x.Decision.Reply.Code != 452 || !strings.HasSuffix(x.Reply, " (ref "+r.Ref+")") {
					t.Errorf("%s is answered %+v, %q", x.Recipient, x.Decision.Reply, x.Reply)
				}
			}
		}
		if diff := cmp.Diff([][]string{c.taken, c.apart}, [][]string{taken, apart}); diff != "" {
			t.Errorf("%s: taken, and to come apart\n%s", c.rcpts, diff)
		}
		if first := r.Facts.Txn.First.To; first.Value.String() != c.taken[0] {
			t.Errorf("%s: the first is %v", c.rcpts, first)
		}
	}
}

// A recipient who was sent away is not the message's verdict, also where nothing
// follows.
func TestSplitIsNoVerdict(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, strictBox))
	d := usual()
	d.rcpts = []string{lou, kim}
	s := d.open(t.Context(), filter.NewEngine(cfg))
	d.rcpt(t.Context(), s)
	s.Close()
	if r := w.last(t); r.Verdict != policy.Continue || r.Rule != "" || r.Complete {
		t.Errorf("%+v", r)
	}
}

// Programs of people cannot split a mail: trusted and logged-in clients may send
// to all, and the end is judged for each kind of recipient. So it is for a stranger
// who was sent away too often.
func TestWhoIsNotSplit(t *testing.T) {
	many := []string{lou}
	var kits []string
	for i := range 15 {
		many = append(many, fmt.Sprintf("<kit%d@our.example>", i))
		kits = append(kits, fmt.Sprintf("kit%d@our.example", i))
	}
	rules := parseRules(t, `rules:
  - {name: kim, when: {rcpt.address: [kim@our.example, `+strings.Join(kits, ", ")+`]}, do: {tag: strict}}
  - {name: strict, stage: message, when: {tags: strict, header.subject: bad}, do: {reject: {code: 550, enhanced: 5.7.1, text: strict}}}
`)
	bad := strings.ReplaceAll(honestMail, "hello", "bad")
	for _, c := range []struct {
		who   string
		msg   string
		rcpts []string
		want  string
		taken int
		kinds int
	}{
		{"trusted", bad, []string{kim}, "reject 550 5.7.1 strict", 1, 1},
		{"trusted", bad, []string{kim, lou}, "reject 550 5.5.3 recipients-differ", 2, 2},
		{"trusted", honestMail, []string{lou, kim, kim}, "accept +strict", 3, 2},
		{"login", honestMail, []string{kim, lou, mia}, "accept +strict", 3, 2},
		{"login", bad, []string{lou, mia}, "accept", 2, 1},
		{"stranger", honestMail, slices.Concat(many, []string{kim, lou}), "accept +strict", 3, 2},
		{"stranger", bad, slices.Concat(many, []string{kim, lou}), "reject 550 5.5.3 recipients-differ", 3, 2},
		{"stranger", bad, slices.Concat(many, []string{lou, mia}), "accept", 3, 1},
	} {
		cfg, w, _ := newConfig(t, commonZone(t), rules)
		cfg.TrustLogin = false // who has logged in is spared the splitting even so
		d := usual().message(c.msg)
		d.rcpts = c.rcpts
		switch c.who {
		case "trusted":
			cfg.Trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		case "login":
			d.user = "alice"
		}
		out := d.play(t, filter.NewEngine(cfg))
		r := w.last(t)
		x := r.Facts.Txn
		if got := describe(out, r); got != c.want || len(x.Rcpts) != c.taken || 1+len(x.Unlike) != c.kinds || x.Apart != len(c.rcpts)-c.taken {
			t.Errorf("%s to %s: %s, %d taken, %d kinds, %d apart; want %s, %d, %d", c.who, c.rcpts, got, len(x.Rcpts), 1+len(x.Unlike), x.Apart, c.want, c.taken, c.kinds)
		}
		if again := filter.Replay(cfg.Policy, r); again.Verdict != r.Verdict || again.Rule != r.Rule {
			t.Errorf("%s to %s: judged again it is %+v", c.who, c.rcpts, again)
		}
	}
}

// Sent away, a recipient has met the greylist and the limits like any other who is
// refused: a wait has begun, and a pass stays one.
func TestSplitAndGreylist(t *testing.T) {
	rules := parseRules(t, strictBox+`
  - {name: limit, mode: observe, when: {rates.exceeded: per-user}, do: reject}
  - {name: grey, when: {mail_from.null: false}, do: greylist}
`)
	now := &clock{}
	grey := greylist.New(greylist.ServiceConfig{Store: greylist.NewMemory(100), Secret: []byte("s"), Now: now.now})
	defer grey.Close()
	counts := &asked{}
	cfg, w, _ := newConfig(t, commonZone(t), rules)
	cfg.Greylist, cfg.Rates, cfg.Now = grey, counts, now.now
	d := usual().message(honestMail)
	e := filter.NewEngine(cfg)
	try := func(after time.Duration, rcpts ...string) string {
		t.Helper()
		now.forward(after)
		d.rcpts = rcpts
		d.play(t, e)
		var out []string
		for _, x := range w.last(t).Decisions {
			if x.Recipient != "" {
				out = append(out, fmt.Sprintf("%s %s %s", x.Rcpt.Greylist.Value.Result, x.Verdict, x.Rule))
			}
		}
		return strings.Join(out, ", ")
	}
	for i, step := range []struct{ got, want string }{
		{try(0, lou, kim), "defer tempfail grey, defer tempfail grey"},
		{try(5*time.Minute, lou, kim), "pass continue , pass tempfail recipients-differ"},
		{try(time.Minute, kim), "pass continue "},
	} {
		if step.got != step.want {
			t.Errorf("try %d: %s, want %s", i, step.got, step.want)
		}
	}
	if n := len(counts.asks); n != 5 {
		t.Errorf("%d recipients were counted: %q", n, counts.asks)
	}
}

// partRules are drawn from in any order.
var partRules = []string{
	`when: {rcpt.address: kim@our.example}, do: {tag: a, points: 1}`,
	`when: {rcpt.address: [lou@our.example, mia@our.example]}, do: {tag: b}`,
	`when: {rcpt.address: [kim@our.example, mia@our.example]}, do: {points: 2}`,
	`when: {rcpt.lists: l, tags: {not: a}}, do: {tag: c}`,
	`when: {rates.exceeded: fast}, do: {tag: a}`,
	`when: {greylist.result: pass}, do: {points: -1}`,
	`when: {rcpt.address: lou@our.example}, do: accept`,
	`when: {tags: a, spf.result: pass}, do: {points: 3}`,
	`when: {rcpt.address: mia@our.example, spf.result: fail}, do: reject`,
	`when: {mail_from.domain: good.example}, do: {tag: b}`,
	`do: greylist`,
	`stage: header, when: {tags: b}, do: {tag: d}`,
	`stage: header, when: {points: {ge: 3}}, do: {tempfail: {text: "{points}"}}`,
	`stage: message, when: {tags: [a, d]}, do: quarantine`,
	`stage: message, when: {tags: c}, do: {header: {name: X-C, value: "{tags}"}}`,
	`stage: message, when: {points: {ge: 2}, dkim.result: none}, do: reject`,
	`stage: message, when: {tags: {not: b}}, do: accept`,
	`stage: message, when: {dmarc.result: fail}, do: reject`,
}

// byName answers as the recipient's name has it: some are on a list, some come
// too fast, some wait.
type byName struct{}

func (byName) IP(list.Point, netip.Addr) []fact.ListHit           { return nil }
func (byName) Domain(list.Point, string) []fact.ListHit           { return nil }
func (byName) Sized(context.Context, *fact.Set) ([]string, error) { return nil, nil }

func (byName) Address(p list.Point, a mail.Address) []fact.ListHit {
	if p == list.PointRcpt && (a.Local == "pat" || a.Local == "kit") {
		return []fact.ListHit{{List: "l"}}
	}
	return nil
}

func (byName) Exceeded(_ context.Context, s *fact.Set) ([]string, error) {
	if s.Rcpt.To.Value.Local == "kit" {
		return []string{"fast"}, nil
	}
	return nil, nil
}

func (byName) Check(_ context.Context, r greylist.Request) (greylist.Outcome, error) {
	status := map[string]greylist.Status{"kim": greylist.Known, "new": greylist.Defer, "lou": greylist.OptedOut}[r.Recipient.Local]
	if status == 0 {
		status = greylist.Pass
	}
	return greylist.Outcome{Status: status}, nil
}

// parts gives what each recipient of a message gets.
func parts(t *rapid.T, w *watcher, e *filter.Engine, d dialogue) []string {
	s := d.open(context.Background(), e)
	defer s.Close()
	out := d.send(context.Background(), s)
	w.mu.Lock()
	r := w.records[len(w.records)-1]
	w.mu.Unlock()
	if again := filter.Replay(e.Policy, r); again.Verdict != r.Verdict || again.Rule != r.Rule || len(again.Lacking) > 0 {
		t.Fatalf("judged again: %+v, was %s by %s", again, r.Verdict, r.Rule)
	}
	end := "delivered"
	if out.Verdict == policy.Tempfail || out.Verdict == policy.Reject {
		end = fmt.Sprintf("%d %s by %s", out.Code, out.Verdict, r.Rule)
	}
	for _, i := range out.plan.Insert {
		if i.Name == "X-C" || i.Name == "X-Mailwicket-Action" {
			end += " with " + i.Name + ": " + i.Value
		}
	}
	var got []string
	for _, x := range r.Decisions {
		switch {
		case x.Recipient == "":
		case x.Verdict == policy.Tempfail || x.Verdict == policy.Reject:
			got = append(got, x.Verdict.String()+" by "+x.Rule)
		default:
			got = append(got, end)
		}
	}
	return got
}

// TestEachGetsItsOwn is the promise to recipients: whoever else a message is for,
// each gets what it would get alone, or is asked for in another message; and what
// was decided is decided again in a replay.
func TestEachGetsItsOwn(t *testing.T) {
	apart, all := 0, 0
	names := []string{"kim", "lou", "mia", "kit", "new", "pat"}
	check := func(rt *rapid.T) {
		var yaml strings.Builder
		yaml.WriteString("rules:\n")
		for i, r := range rapid.SliceOfN(rapid.SampledFrom(partRules), 4, 12).Draw(rt, "rules") {
			fmt.Fprintf(&yaml, "  - {name: r%d, %s}\n", i, r)
		}
		cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, yaml.String()))
		cfg.Greylist, cfg.Rates, cfg.Lists = byName{}, byName{}, byName{}
		d := usual().message(rapid.SampledFrom([]string{honestMail, forgedMail}).Draw(rt, "message"))
		d.mailFrom = rapid.SampledFrom([]string{"<alice@good.example>", "<ceo@bank.example>"}).Draw(rt, "from")
		e := filter.NewEngine(cfg)
		d.rcpts = nil
		for _, n := range rapid.SliceOfN(rapid.SampledFrom(names), 2, 5).Draw(rt, "recipients") {
			d.rcpts = append(d.rcpts, "<"+n+"@our.example>")
		}
		together := parts(rt, w, e, d)
		if len(together) != len(d.rcpts) {
			rt.Fatalf("%d recipients, %v", len(d.rcpts), together)
		}
		for i, to := range d.rcpts {
			one := d
			one.rcpts = []string{to}
			alone := parts(rt, w, e, one)[0]
			all++
			switch {
			case together[i] == "tempfail by "+policy.RecipientsDiffer:
				if apart++; i == 0 {
					rt.Fatal("the first one is sent away")
				}
			case together[i] != alone:
				rt.Fatalf("%s: %s, alone: %s\n%s", to, together[i], alone, yaml.String())
			}
		}
	}
	for range 10 {
		rapid.Check(t, check)
	}
	t.Logf("%d recipients, %d of them apart", all, apart)
	if apart < 20 || all-apart < 200 {
		t.Error("too few cases were met")
	}
}

// TestReplayFindsItsOwnFirst: under other rules another recipient may be the
// first, and others may differ.
func TestReplayFindsItsOwnFirst(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, "rules: [{name: none, stage: message, do: continue}]"))
	d := usual().message(honestMail)
	d.rcpts = []string{kim, lou, mia}
	d.play(t, filter.NewEngine(cfg))
	r := w.last(t)
	if len(r.Facts.Txn.Rcpts) != 3 || r.Facts.Txn.First.To.Value.Local != "kim" {
		t.Fatalf("%+v", r.Facts.Txn)
	}
	for _, c := range []struct{ rules, want string }{
		{`[{name: kim, when: {rcpt.address: kim@our.example}, do: reject},
		   {name: lou, when: {rcpt.address: lou@our.example}, do: {tag: x}},
		   {name: end, stage: message, when: {tags: x}, do: quarantine}]`, "quarantine end"},
		{`[{name: kim, when: {rcpt.address: kim@our.example}, do: {tag: x}},
		   {name: end, stage: message, when: {tags: x}, do: quarantine}]`, "quarantine end"},
		{`[{name: mia, when: {rcpt.address: mia@our.example}, do: {tag: x}},
		   {name: end, stage: message, when: {tags: x}, do: quarantine}]`, "continue "},
		{`[{name: lou, when: {rcpt.address: lou@our.example}, do: accept},
		   {name: end, stage: message, do: quarantine}]`, "quarantine end"},
	} {
		p, problems := policy.Compile(parseRules(t, "rules: "+c.rules))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if got := filter.Replay(p, r); got.Verdict.String()+" "+got.Rule != c.want {
			t.Errorf("%s\ngot %s by %q, want %s", c.rules, got.Verdict, got.Rule, c.want)
		}
	}
}
