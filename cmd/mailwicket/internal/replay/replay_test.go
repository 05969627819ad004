package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mailwicket/filter"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

func quiet(int64, int64) {}

// run judges files by rules.
func run(t *testing.T, text string, since time.Time, files []string) *Report {
	t.Helper()
	r, err := Run(context.Background(), Policy{Policy: rules(t, text)}, files, since, quiet)
	check(t, err)
	r.Seconds = 0
	return r
}

// TestSamePolicy: what the engine judged is judged the same again.
func TestSamePolicy(t *testing.T) {
	records := real(t)
	var verdicts []string
	for _, r := range records {
		verdicts = append(verdicts, r.Verdict.String())
	}
	if !slices.Equal(verdicts, []string{"tempfail", "continue", "tempfail", "reject"}) {
		t.Fatalf("the engine judged %v", verdicts)
	}
	got := run(t, "standard", time.Time{}, keep(t, records))
	// Deferred at RCPT: four stages; the others have header and message too.
	want := &Report{Messages: 4, Decisions: 4 + 6 + 4 + 6, Changes: []Change{}, Rules: []Count{}, Senders: []Count{}, Lacking: []Count{}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want, +got)\n%s", diff)
	}
}

// message is a record of a whole message that was accepted.
func message(ref, from, subject string, start time.Time) *filter.Record {
	r := &filter.Record{Ref: ref, Start: start, Complete: true}
	r.Facts.Conn.Trusted = fact.Is("")
	r.Facts.Txn = fact.Txn{MailFrom: fact.Is(mail.ParsePath("<" + from + ">")), From: fact.Is(fact.From{}), Subject: fact.Is(subject),
		Size: fact.Is(int64(100)), Rcpts: []mail.Address{mail.ParsePath("<b@home.example>")}}
	r.Decisions = []filter.Decided{{Recipient: "b@home.example", Rcpt: fact.Rcpt{To: fact.Is(mail.ParsePath("<b@home.example>"))}}}
	return r
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const strictRules = `rules:
  - {name: bad-subject, when: {header.subject: bad}, do: reject}
  - {name: odd-subject, when: {header.subject: odd}, do: quarantine}
  - {name: sender, when: {mail_from.domain: spam.example}, do: tempfail}
`

// week is a journal of three days.
func week(t *testing.T) []string {
	var days [3][]*filter.Record
	for i := range 30 {
		start := noon.Add(time.Duration(i/10)*24*time.Hour + time.Duration(i)*time.Minute)
		from, subject := "a@good.example", "fine"
		switch {
		case i%10 < 3:
			subject = "bad"
		case i%10 < 5:
			subject = "odd"
		case i%10 == 5:
			from = "x@spam.example"
		case i%10 == 6:
			from = "" // the null sender
			subject = "odd"
		}
		days[i/10] = append(days[i/10], message(fmt.Sprintf("m%02d", i), from, subject, start))
	}
	return keep(t, days[:]...)
}

func TestChanges(t *testing.T) {
	files := week(t)
	if len(files) != 3 {
		t.Fatal(files)
	}
	for range 5 { // however the workers share the files
		got := run(t, strictRules, time.Time{}, files)
		want := &Report{Messages: 30, Decisions: 30*6 - 9*1 - 3*2, // refused at header, and at RCPT
			Changed: 21, Lacking: []Count{},
			Changes: []Change{
				{Old: policy.Continue, New: policy.Quarantine, Count: 9, Examples: Examples{"m26", "m24", "m23"}},
				{Old: policy.Continue, New: policy.Reject, Count: 9, Examples: Examples{"m22", "m21", "m20"}},
				{Old: policy.Continue, New: policy.Tempfail, Count: 3, Examples: Examples{"m25", "m15", "m05"}},
			},
			Rules:   []Count{{"bad-subject", 9}, {"odd-subject", 9}, {"sender", 3}},
			Senders: []Count{{"good.example", 15}, {"<>", 3}, {"spam.example", 3}},
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want, +got)\n%s", diff)
		}
	}
}

// What was refused is let through by a policy without rules; of what was never
// sent it is not known what would have become of it.
func TestLacking(t *testing.T) {
	refused := message("r1", "a@a.example", "", noon)
	refused.Verdict, refused.Complete = policy.Reject, false
	refused.Facts.Txn.From, refused.Facts.Txn.Size = fact.Fact[fact.From]{}, fact.Fact[int64]{}
	files := keep(t, []*filter.Record{refused, message("m1", "a@a.example", "", noon)})
	got := run(t, "rules:\n  - {name: never, when: {header.subject: never}, do: reject}\n", time.Time{}, files)
	want := &Report{Messages: 2, Decisions: 4 + 6, Changed: 1, Changes: []Change{{Old: policy.Reject, New: policy.Continue, Count: 1, Examples: Examples{"r1"}}},
		Rules: []Count{{"(none)", 1}}, Senders: []Count{{"a.example", 1}}, Lacking: []Count{{"content", 1}}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want, +got)\n%s", diff)
	}
	got = run(t, "rules:\n  - {name: grey, when: {client.trusted: false}, do: greylist}\n", time.Time{}, files)
	if want := []Count{{"greylist", 2}, {"content", 1}}; !slices.Equal(got.Lacking, want) {
		t.Errorf("lacking %v, want %v", got.Lacking, want)
	}
}

// dialogue is a session with an engine that has these rules, and what it is told.
func dialogue(t *testing.T, text string, env filter.Envelope) (*filter.Session, *kept) {
	z, err := dnstest.Parse("zone", strings.NewReader(fmt.Sprintf(zone, "")))
	check(t, err)
	told := &kept{}
	ctx := context.Background()
	s := filter.NewEngine(filter.Config{Policy: rules(t, text), Resolver: z.Resolver(), Defers: filter.NewDefers(), TrustLogin: true,
		OnError: policy.Tempfail, DKIMMax: 8, Net4: 24, Net6: 64, HeaderBytes: 256 << 10, HeaderFields: 1000, CheckTimeout: time.Minute,
		Now: time.Now, NewRef: func() string { return "R1-REF" }, Log: slog.New(slog.DiscardHandler), Observer: told}).Open(ctx)
	s.Connect(ctx, mail.Conn{Addr: netip.MustParseAddr("203.0.113.7"), Port: 25000, HostName: "mail.sender.example", MTAName: "mx.our.example"})
	s.Helo(ctx, "mail.sender.example", mail.TLS{})
	s.Mail(ctx, "<x@sender.example>", env)
	s.Rcpt(ctx, "<postmaster@our.example>")
	return s, told
}

// send sends a message until it is refused, and ends the session.
func send(s *filter.Session) {
	defer s.Close()
	ctx := context.Background()
	s.Header("From", " x@sender.example")
	s.Header("Subject", " bad")
	if a := s.EndOfHeader(ctx, ""); a.Verdict >= policy.Discard {
		return
	}
	s.Body(ctx, []byte("hello\r\n"))
	s.EndOfMessage(ctx, "")
}

const (
	never  = "rules:\n  - {name: never, when: {header.subject: never}, do: reject}\n"
	spared = "rules:\n  - {name: pm, when: {rcpt.address: postmaster@our.example}, do: accept}\n"
	early  = "rules:\n  - {name: a, stage: connect, when: {iprev.result: pass}, do: accept}\n  - {name: b, when: {mail_from.domain: sender.example}, do: reject}\n"
	thrown = "rules:\n  - {name: d, when: {header.subject: bad}, do: discard}\n  - {name: big, when: {message.size: {ge: 1}}, do: reject}\n"
)

// TestSameRules: however a session ends, the rules that judged it judge it the same
// again, and lack nothing.
func TestSameRules(t *testing.T) {
	for _, text := range []string{never, spared, early, thrown} {
		for _, env := range []filter.Envelope{{}, {AuthUser: "joe"}} {
			for name, end := range map[string]func(*filter.Session){"sends": send, "hangs up": (*filter.Session).Close} {
				s, told := dialogue(t, text, env)
				end(s)
				got := run(t, text, time.Time{}, keep(t, told.records))
				if len(told.records) != 1 || got.Changed > 0 || got.Rcpts > 0 || len(got.Lacking) > 0 {
					t.Errorf("%s, by %q, %s: %+v", text, env.AuthUser, name, got)
				}
			}
		}
	}
}

// TestDiscardEnds: no rule is asked about a message that was thrown away.
func TestDiscardEnds(t *testing.T) {
	s, told := dialogue(t, never, filter.Envelope{})
	send(s)
	got := run(t, thrown, time.Time{}, keep(t, told.records))
	if len(got.Changes) != 1 || got.Changes[0].New != policy.Discard {
		t.Errorf("%+v", got)
	}
}

// TestUnmade: where new rules hang on what no rule asked for before, it is said.
func TestUnmade(t *testing.T) {
	s, told := dialogue(t, never, filter.Envelope{})
	send(s)
	files := keep(t, told.records)
	for when, want := range map[string]string{
		"{dnsbl.zones: bl}":                             "check dnsbl",
		"{not: {dnsbl.zones: bl}}":                      "check dnsbl",
		"{helo.dns: forward}":                           "check helo_dns",
		"{rates.exceeded: r}":                           "check rates",
		"{spf.result: fail, dnsbl.zones: bl}":           "", // SPF passed, whatever the zone says
		"{any: [{spf.result: pass}, {helo.dns: none}]}": "",
		"{spf.result: pass, dnsbl.mail_from: bl}":       "check dnsbl_mail_from",
	} {
		got := run(t, "rules:\n  - {name: r, when: "+when+", do: reject}\n", time.Time{}, files)
		var lacking []string
		for _, l := range got.Lacking {
			lacking = append(lacking, l.Name)
		}
		if strings.Join(lacking, " ") != want {
			t.Errorf("%s: lacking %q, want %q", when, lacking, want)
		}
	}
}

// TestApart: a rule for one recipient splits mails that came whole, and is judged
// by the others.
func TestApart(t *testing.T) {
	var records []*filter.Record
	for i, names := range [][]string{{"kim", "lou"}, {"lou", "kim", "kim"}, {"lou", "mia"}, {"kim"}} {
		r := message(fmt.Sprintf("m%d", i), "a@good.example", "odd", noon)
		r.Facts.Txn.Rcpts, r.Decisions = nil, nil
		for _, name := range names {
			to := mail.ParsePath("<" + name + "@home.example>")
			r.Facts.Txn.Rcpts = append(r.Facts.Txn.Rcpts, to)
			r.Decisions = append(r.Decisions, filter.Decided{Recipient: to.String(), Rcpt: fact.Rcpt{To: fact.Is(to)}})
		}
		records = append(records, r)
	}
	got := run(t, `rules:
  - {name: kim, when: {rcpt.address: kim@home.example}, do: {tag: strict}}
  - {name: strict, when: {tags: strict, header.subject: odd}, do: quarantine}
`, time.Time{}, keep(t, records))
	if got.Apart != 3 || got.Changed != 2 || got.Messages != 4 {
		t.Errorf("%+v", got)
	}
}

// TestRecipients: a message that stays accepted may lose a recipient, or win one.
func TestRecipients(t *testing.T) {
	asked := func(ref string, refused ...bool) *filter.Record {
		r := message(ref, "a@good.example", "", noon)
		r.Facts.Txn.Rcpts, r.Decisions = nil, nil
		for i, no := range refused {
			to := mail.ParsePath("<" + []string{"lou", "kim"}[i] + "@home.example>")
			d := filter.Decided{Recipient: to.String(), Rcpt: fact.Rcpt{To: fact.Is(to)}}
			if no {
				d.Verdict = policy.Reject
			} else {
				r.Facts.Txn.Rcpts = append(r.Facts.Txn.Rcpts, to)
			}
			r.Decisions = append(r.Decisions, d)
		}
		return r
	}
	files := keep(t, []*filter.Record{asked("taken", false, false), asked("refused", false, true), asked("other", false)})
	kim := "rules: [{name: kim, when: {rcpt.address: kim@home.example}, do: reject}]"
	nobody := "rules: [{name: never, when: {rcpt.address: nobody@home.example}, do: reject}]"
	for text, want := range map[string]*Report{
		kim: {Messages: 3, Decisions: 20, Rcpts: 1, ByRcpt: []Change{{policy.Continue, policy.Reject, 1, Examples{"taken"}}},
			Rules: []Count{{"kim", 1}}, Senders: []Count{{"good.example", 1}}},
		nobody: {Messages: 3, Decisions: 20, Rcpts: 1, ByRcpt: []Change{{policy.Reject, policy.Continue, 1, Examples{"refused"}}},
			Rules: []Count{{"(none)", 1}}, Senders: []Count{{"good.example", 1}}},
		strings.Replace(kim, "do: reject", "do: tempfail", 1): {Messages: 3, Decisions: 20, Rcpts: 2, ByRcpt: []Change{
			{policy.Continue, policy.Tempfail, 1, Examples{"taken"}}, {policy.Reject, policy.Tempfail, 1, Examples{"refused"}}},
			Rules: []Count{{"kim", 2}}, Senders: []Count{{"good.example", 2}}},
	} {
		if diff := cmp.Diff(want, run(t, text, time.Time{}, files), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want, +got)\n%s", text, diff)
		}
	}
}

// TestSettings: what facts hang on and is otherwise now is named, message by
// message, since a journal may hold several.
func TestSettings(t *testing.T) {
	var records []*filter.Record
	for i, s := range []string{"trusted=1 list.a=2", "trusted=1 list.a=3", "trusted=4", "", "trusted=1 list.a=2 list.old=5"} {
		r := message(fmt.Sprintf("m%d", i), "a@a.example", "", noon)
		r.Settings = s
		records = append(records, r)
	}
	p := Policy{rules(t, "rules: [{name: never, when: {header.subject: never}, do: reject}]"), "trusted=1 list.a=2"}
	got, err := Run(context.Background(), p, keep(t, records), time.Time{}, quiet)
	check(t, err)
	if want := []Count{{"list.a", 2}, {"", 1}, {"trusted", 1}}; !slices.Equal(got.Settings, want) {
		t.Errorf("%v, want %v", got.Settings, want)
	}
}

// TestRedacted: where the new rules ask for what was hidden, nothing is guessed;
// elsewhere a redacted record is as good as another.
func TestRedacted(t *testing.T) {
	r := message("m1", "a@a.example", "h0123456789ab", noon)
	r.Redacted = true
	files := keep(t, []*filter.Record{r})
	for text, want := range map[string]Report{
		"header.subject: free":                                  {Lacking: []Count{{"hidden", 1}}},
		"not: {header.subject: free}":                           {Lacking: []Count{{"hidden", 1}}},
		"header.subject: free, mail_from.domain: b.example":     {},
		"mail_from.domain: a.example":                           {Changed: 1},
		"mail_from.domain: a.example, mail_from.address: \"x\"": {Lacking: []Count{{"hidden", 1}}},
	} {
		got := run(t, "rules: [{name: r, stage: header, when: {"+text+"}, do: reject}]", time.Time{}, files)
		if got.Changed != want.Changed || !slices.Equal(got.Lacking, want.Lacking) {
			t.Errorf("%s: %d changed, lacking %v, want %+v", text, got.Changed, got.Lacking, want)
		}
	}
}

func TestSince(t *testing.T) {
	files := week(t)
	for since, want := range map[time.Duration]int{0: 30, 24 * time.Hour: 20, 24*time.Hour + 15*time.Minute: 15, 48 * time.Hour: 10, 72 * time.Hour: 0} {
		if got := run(t, strictRules, noon.Add(since), files); got.Messages != want {
			t.Errorf("since %s: %d messages, want %d", since, got.Messages, want)
		}
	}
}

func TestNothing(t *testing.T) {
	got, err := json.Marshal(run(t, strictRules, time.Time{}, nil))
	check(t, err)
	if strings.Contains(string(got), "null") {
		t.Errorf("lists are null: %s", got)
	}
}

// TestTornAndLater: both are told of, and apart.
func TestTornAndLater(t *testing.T) {
	files := week(t)
	add := func(text string) {
		f, err := os.OpenFile(files[1], os.O_APPEND|os.O_WRONLY, 0)
		check(t, err)
		defer f.Close()
		_, err = f.WriteString(text)
		check(t, err)
	}
	add("{\"v\":1,\"ref\":\n")
	if got := run(t, strictRules, time.Time{}, files); got.Messages != 30 || got.Skipped != 1 {
		t.Errorf("%d messages, %d skipped", got.Messages, got.Skipped)
	}
	add("{\"v\":2}\n")
	if got := run(t, strictRules, time.Time{}, files); got.Messages != 30 || got.Skipped != 1 || got.Later != 1 {
		t.Errorf("%d messages, %d skipped, %d later", got.Messages, got.Skipped, got.Later)
	}
}

func TestProgressAndCancel(t *testing.T) {
	files := week(t)
	ctx, stop := context.WithCancel(context.Background())
	var told []int64
	var sum int64
	_, err := Run(ctx, Policy{Policy: rules(t, strictRules)}, files, time.Time{}, func(done, all int64) {
		told, sum = append(told, done), all
	})
	check(t, err)
	if len(told) != 3 || !slices.IsSorted(told) || told[2] != sum {
		t.Errorf("told %v of %d", told, sum)
	}
	stop()
	if _, err := Run(ctx, Policy{Policy: rules(t, strictRules)}, files, time.Time{}, quiet); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Very many sender domains are not all counted: they come from mail.
func TestSendersAreBounded(t *testing.T) {
	own := newTally("")
	r := message("m", "", "", noon)
	for i := range maxNames + 100 {
		r.Facts.Txn.MailFrom.Value = mail.Address{Local: "a", Domain: fmt.Sprint(i, ".example")}
		own.add(r, filter.Replayed{Verdict: policy.Reject, Rule: "r"})
	}
	got := own.report()
	if len(own.senders) != maxNames || got.Changed != maxNames+100 || len(got.Senders) != maxTop {
		t.Errorf("%d senders, %d changed, %d shown", len(own.senders), got.Changed, len(got.Senders))
	}
}
