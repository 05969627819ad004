package story

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"mailwicket/cmd/mailwicket/internal/golden"
	"mailwicket/filter"
	"mailwicket/filter/author"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

const rules = `rules:
  - {name: known-bad, when: {mail_from.lists: harmful}, do: {reject: {text: "{mail_from.domain} is not welcome"}}, reason: "listed as {mail_from.lists}"}
  - {name: try-spf, when: {spf.result: softfail}, do: reject, mode: observe}
  - {name: not-used, when: {spf.result: fail}, do: reject, mode: off}
  - {name: greylist, when: {spf.result: {not: pass}}, do: greylist}
  - {name: fails, stage: message, when: {dmarc.result: fail, dmarc.policy: quarantine}, do: quarantine, reason: "DMARC of {dmarc.domain}"}
`

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// begin has what most stories share.
func begin() *filter.Record {
	r := &filter.Record{Ref: "XQZTV-64QYC", Start: noon, Took: 1234567 * time.Nanosecond, Complete: true}
	r.Facts.Now = noon
	r.Facts.Conn = fact.Conn{Session: "S1", IP: fact.Is(netip.MustParseAddr("192.0.2.10")), Name: fact.Is("mail.shop.example"),
		Helo: fact.Is("mail.shop.example"), HeloIs: fact.Is("ok"), Trusted: fact.Is(""),
		Iprev: fact.Is(fact.Iprev{Result: "pass", Names: []string{"mail.shop.example"}}), DNSBL: fact.Fail[[]fact.ListHit]("timeout"),
		TLS: fact.Is(mail.TLS{Version: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"})}
	r.Facts.Txn = fact.Txn{QueueID: "4WQm3h1Jz5z9vTb", MailFrom: fact.Is(mail.ParsePath("<a@shop.example>")),
		SPF: fact.Is(fact.SPF{Result: "pass", Domain: "shop.example", Reason: "matched ip4:192.0.2.10"}), ListFrom: fact.Is[[]fact.ListHit](nil)}
	r.Checks = []filter.CheckRun{{Name: "spf", State: fact.Known, Took: 812 * time.Microsecond},
		{Name: "dnsbl", State: fact.Failed, Took: 2 * time.Second, Why: "timeout"}}
	r.DNS = []dns.Answer{{Name: "shop.example", Type: "TXT", Result: "ok", Data: []string{"v=spf1 ip4:192.0.2.10 -all"}, TTL: 299400 * time.Millisecond, Server: "127.0.0.1:53"},
		{Name: "10.2.0.192.in-addr.arpa", Type: "PTR", Result: "ok", Data: []string{"mail.shop.example"}, TTL: time.Hour, Server: "127.0.0.1:53", Cached: true}}
	r.DNSDropped = 3
	r.Degraded = []string{"dnsbl"}
	return r
}

// decide asks the rules at a stage, as a session does.
func decide(t *testing.T, r *filter.Record, stage mail.Stage, to fact.Rcpt) policy.Decision {
	t.Helper()
	return decideBy(t, rules, r, stage, to)
}

func decideBy(t *testing.T, rules string, r *filter.Record, stage mail.Stage, to fact.Rcpt) policy.Decision {
	t.Helper()
	list, problems := rulefile.Parse("mailwicket.yaml", []byte(rules))
	p, more := policy.Compile(list)
	if problems = append(problems, more...); len(problems) > 0 {
		t.Fatal(problems)
	}
	r.Facts.Stage, r.Facts.Rcpt = stage, to
	d := p.Decide(&r.Facts)
	r.Facts.Rcpt = fact.Rcpt{}
	x := filter.Decided{Decision: d}
	if to.To.Known() {
		x.Recipient, x.Rcpt = to.To.Value.String(), to
	}
	if d.Reply.Text != "" {
		x.Reply = d.Reply.Text + " (ref " + r.Ref + ")"
	}
	r.Decisions = append(r.Decisions, x)
	r.Verdict, r.Rule, r.Reason = d.Verdict, d.Rule, d.Reason
	return d
}

// content adds what is found after DATA.
func content(r *filter.Record, dmarc fact.DMARC) {
	t := &r.Facts.Txn
	t.From = fact.Is(fact.From{Addresses: []string{"a@shop.example"}, Domains: []string{"shop.example"}})
	t.Subject, t.MessageID, t.Size = fact.Is("Your order"), fact.Is("<1@shop.example>"), fact.Is(int64(4321))
	t.DKIM = fact.Is([]fact.DKIM{{Result: "fail", Domain: "shop.example", Selector: "s1", Reason: "body hash differs"}})
	t.DMARC = fact.Is(dmarc)
}

func rcpt(address string) fact.Rcpt {
	return fact.Rcpt{To: fact.Is(mail.ParsePath(address)), ListTo: fact.Is[[]fact.ListHit](nil)}
}

// stories are what happens to people's mail.
func stories(t *testing.T) map[string]*filter.Record {
	accepted := begin()
	decide(t, accepted, mail.StageMail, fact.Rcpt{})
	to := rcpt("<b@home.example>")
	to.ListTo = fact.Is([]fact.ListHit{{List: "staff", Subject: "b@home.example", Entry: "home.example", Source: "staff.txt", Line: 7}})
	decide(t, accepted, mail.StageRcpt, to)
	content(accepted, fact.DMARC{Result: "pass", Policy: "reject", Domain: "shop.example", Aligned: []string{"spf"}, Reason: "SPF aligns"})
	accepted.Removed = []filter.Deletion{{Name: "Authentication-Results", Index: 2}}
	decide(t, accepted, mail.StageMessage, fact.Rcpt{})

	greylisted := begin()
	greylisted.Complete = false
	greylisted.Facts.Txn.SPF = fact.Is(fact.SPF{Result: "softfail", Domain: "shop.example", Reason: "matched ~all"})
	to = rcpt("<b@home.example>")
	to.Greylist = fact.Is(fact.Greylist{Result: "defer", Identity: "shop.example", Kind: "host", FirstSeen: noon.Add(-time.Minute),
		Remaining: 3 * time.Minute, Attempts: 2, Degraded: true})
	decide(t, greylisted, mail.StageRcpt, to)

	refused := begin()
	refused.Complete = false
	refused.Facts.Txn.ListFrom = fact.Is([]fact.ListHit{{List: "harmful", Subject: "shop.example", Entry: "example", Source: "harmful.txt", Line: 42}})
	decide(t, refused, mail.StageRcpt, rcpt("<b@home.example>"))

	quarantined := begin()
	to = rcpt("<b@home.example>")
	to.Greylist = fact.Is(fact.Greylist{Result: "pass", Identity: "shop.example", Kind: "spf", FirstSeen: noon.Add(-10 * time.Minute),
		Delayed: 10 * time.Minute, Attempts: 2})
	decide(t, quarantined, mail.StageRcpt, to)
	content(quarantined, fact.DMARC{Result: "fail", Policy: "quarantine", Domain: "shop.example", Reason: "nothing aligns"})
	decide(t, quarantined, mail.StageMessage, fact.Rcpt{})

	// One recipient is asked for in another mail. Had the client logged in, which
	// none does in between, it would be taken, and the end would be judged for both.
	const byRecipient = `rules:
  - {name: strict-box, when: {rcpt.address: c@home.example}, do: {tag: strict}}
  - {name: strict, stage: message, when: {tags: strict}, do: reject}
`
	split := begin()
	split.Facts.Txn.First = rcpt("<b@home.example>")
	decideBy(t, byRecipient, split, mail.StageRcpt, rcpt("<b@home.example>"))
	decideBy(t, byRecipient, split, mail.StageRcpt, rcpt("<c@home.example>"))
	split.Facts.Txn.AuthUser = fact.Is("alice")
	decideBy(t, byRecipient, split, mail.StageRcpt, rcpt("<c@home.example>"))
	split.Facts.Txn.Unlike = []fact.Rcpt{rcpt("<c@home.example>")}
	decideBy(t, byRecipient, split, mail.StageHeader, fact.Rcpt{})
	split.Facts.Txn.Rcpts = []mail.Address{mail.ParsePath("<b@home.example>"), mail.ParsePath("<c@home.example>")}
	content(split, fact.DMARC{Result: "pass"})
	decideBy(t, byRecipient, split, mail.StageMessage, fact.Rcpt{})

	// One of several is refused, and asks why.
	const kims = "rules: [{name: no-kim, when: {rcpt.address: kim@home.example}, do: {reject: {text: \"{rcpt.address} takes no mail from {mail_from.domain}\"}}}]"
	oneRefused := begin()
	decideBy(t, kims, oneRefused, mail.StageRcpt, rcpt("<lou@home.example>"))
	decideBy(t, kims, oneRefused, mail.StageRcpt, rcpt("<kim@home.example>"))
	oneRefused.Facts.Txn.Rcpts = []mail.Address{mail.ParsePath("<lou@home.example>")}
	content(oneRefused, fact.DMARC{Result: "none"})
	decideBy(t, kims, oneRefused, mail.StageMessage, fact.Rcpt{})

	// Nobody is taken, each for a reason of their own; and one asks twice.
	const each = `rules:
  - {name: no-kim, when: {rcpt.address: kim@home.example}, do: {reject: {text: "{rcpt.address} takes no mail from {mail_from.domain}"}}}
  - {name: full, when: {rcpt.domain: home.example}, do: {tempfail: {text: "{rcpt.address} is full"}}, reason: "{rcpt.address} is over quota"}
`
	noneTaken := begin()
	noneTaken.Complete = false
	for _, to := range []string{"<lou@home.example>", "<kim@home.example>", "<pat@home.example>", "<kim@home.example>"} {
		decideBy(t, each, noneTaken, mail.StageRcpt, rcpt(to))
	}

	// Many are refused, and the message is marked for who is left.
	const marked = each + "  - {name: mark, stage: message, when: {dmarc.result: fail}, do: quarantine, reason: \"DMARC of {dmarc.domain}\"}\n"
	many := begin()
	for _, to := range []string{"<lou@other.example>", "<a@home.example>", "<b@home.example>", "<c@home.example>", "<d@home.example>", "<kim@home.example>"} {
		decideBy(t, marked, many, mail.StageRcpt, rcpt(to))
	}
	many.Facts.Txn.Rcpts = []mail.Address{mail.ParsePath("<lou@other.example>")}
	content(many, fact.DMARC{Result: "fail", Policy: "quarantine", Domain: "shop.example", Reason: "nothing aligns"})
	decideBy(t, marked, many, mail.StageMessage, fact.Rcpt{})

	given := begin()
	given.Complete, given.Decisions = false, nil
	given.Facts.Txn.Rcpts = []mail.Address{mail.ParsePath("<b@home.example>")}
	return map[string]*filter.Record{"accepted": accepted, "greylisted": greylisted, "refused": refused, "quarantined": quarantined, "split": split, "given-up": given,
		"one-refused": oneRefused, "none-taken": noneTaken, "many-refused": many}
}

func tell(r *filter.Record, o Options) string {
	var b strings.Builder
	Write(&b, r, o)
	return b.String()
}

func TestStories(t *testing.T) {
	for name, r := range stories(t) {
		o := Options{Now: noon.Add(time.Minute), Brief: name == "refused"}
		if name == "accepted" {
			o.Headers = []string{"Authentication-Results: mx.home.example;\r\n\tspf=pass smtp.mailfrom=a@shop.example;\r\n\tdmarc=pass"}
		}
		got, file := tell(r, o), "testdata/"+name+".txt"
		golden.Compare(t, file, got)
	}
}

// TestTimePasses: a greylist's seconds run down, and not below nothing.
func TestTimePasses(t *testing.T) {
	r := stories(t)["greylisted"]
	for now, want := range map[time.Time]string{{}: "3m0s left", noon: "3m0s left", noon.Add(170 * time.Second): "10s left", noon.Add(time.Hour): " 0s left"} {
		if got := tell(r, Options{Now: now}); !strings.Contains(got, want) {
			t.Errorf("at %v there is no %q in\n%s", now, want, got)
		}
	}
}

// TestDefectWords: each breach of the grammar has words, or is told with the author.
func TestDefectWords(t *testing.T) {
	for _, d := range append(author.DefectWords(), "header_too_large", "too_many_fields") {
		if _, ok := defectWords[d]; !ok {
			t.Errorf("no words for %s", d)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for v := policy.Continue; v <= policy.Reject; v++ {
		if Outcome(&filter.Record{Verdict: v, Complete: true}) == "" {
			t.Errorf("no words for %s", v)
		}
	}
}

const nasty = "x\r\n  verdict: accepted\x1b[2J\x07\x00\u009b1m\u202e\u2028\xff"

// spoil puts hostile text into every string.
func spoil(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(nasty)
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		}
		for i := range v.Len() {
			spoil(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				spoil(f)
			}
		}
	}
}

// TestHostileText: nothing in a record can break a line or steer the terminal.
func TestHostileText(t *testing.T) {
	r := stories(t)["greylisted"]
	spoil(reflect.ValueOf(r).Elem())
	r.Decisions[0].Rcpt.Greylist.Value.Result = "defer"
	for _, st := range []fact.State{fact.Known, fact.Failed} {
		r.Facts.Txn.Greylist.State, r.Facts.Conn.Helo.State, r.Facts.Txn.ListFrom.State, r.Facts.Txn.DKIM.State = st, st, st, st
		got := tell(r, Options{Headers: []string{"X: " + nasty + "\r\n\tfold" + nasty}})
		for line := range strings.SplitSeq(got, "\n") {
			if bad := strings.IndexFunc(line, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }); bad >= 0 || !utf8.ValidString(line) {
				t.Errorf("%q", line)
			}
			if strings.HasPrefix(line, "  verdict: accepted") {
				t.Errorf("a forged line: %q", line)
			}
		}
	}
}
