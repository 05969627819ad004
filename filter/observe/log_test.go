package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// logged gives a record's line as data.
func logged(t *testing.T, r *filter.Record) map[string]any {
	t.Helper()
	var b bytes.Buffer
	Log{slog.New(slog.NewJSONHandler(&b, nil))}.Message(r)
	if strings.Count(b.String(), "\n") != 1 {
		t.Errorf("not one line: %q", b.String())
	}
	got := map[string]any{}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	return got
}

// everything is a record that fills all keys.
func everything() *filter.Record {
	r := &filter.Record{Ref: "R1", Took: 1500 * time.Microsecond, Verdict: policy.Reject, Rule: "no-entry", Reason: "because",
		Removed: make([]filter.Deletion, 2), Degraded: []string{"spf", "greylist"}}
	r.Facts.Conn = fact.Conn{Session: "S1", IP: fact.Is(netip.MustParseAddr("192.0.2.1")), Name: fact.Is("h.example"), Helo: fact.Is("helo.example"),
		Trusted: fact.Is("network"), TLS: fact.Is(mail.TLS{Version: "TLSv1.3"}), Iprev: fact.Is(fact.Iprev{Result: "pass"})}
	r.Facts.Txn = fact.Txn{QueueID: "Q1", AuthUser: fact.Is("ann"), MailFrom: fact.Is(mail.ParsePath("<a@a.example>")), Size: fact.Is(int64(900)),
		From: fact.Is(fact.From{Addresses: []string{"a@a.example", "b@b.example"}}), SPF: fact.Fail[fact.SPF]("timeout")}
	d := filter.Decided{Recipient: "c@d.example"}
	d.Verdict, d.Rule, d.Would = policy.Tempfail, "greylist", []policy.Outcome{{Rule: "try", Verdict: policy.Reject}}
	r.Decisions = []filter.Decided{{}, d, {Recipient: "e@d.example"}}
	return r
}

// TestLogKeys: people search for these; a changed key breaks what they built.
func TestLogKeys(t *testing.T) {
	want := map[string]any{
		"level": "INFO", "msg": "message", "ref": "R1", "session": "S1", "queue_id": "Q1", "verdict": "reject", "client": "192.0.2.1",
		"client_name": "h.example", "helo": "helo.example", "mail_from": "a@a.example",
		"rcpt":        []any{"c@d.example tempfail by greylist", "e@d.example"},
		"header_from": "a@a.example,b@b.example", "checks": "iprev=pass spf=failed", "took_us": 1500.0, "rule": "no-entry", "reason": "because",
		"user": "ann", "trusted": "network", "would": "try:reject", "tls": "TLSv1.3", "size": 900.0, "complete": false,
		"removed_headers": 2.0, "degraded": "spf,greylist",
	}
	if got := logged(t, everything()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	always := []string{"level", "msg", "ref", "session", "queue_id", "verdict", "client", "client_name", "helo", "mail_from", "rcpt",
		"header_from", "checks", "took_us"}
	got := logged(t, &filter.Record{Complete: true})
	for _, key := range always {
		if _, ok := got[key]; !ok {
			t.Errorf("an empty record has no %s", key)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("an empty record has %v", got)
	}
}

// An exempt message's recipients are not in its decisions.
func TestLogExemptRecipients(t *testing.T) {
	r := &filter.Record{}
	r.Facts.Txn.Rcpts = []mail.Address{mail.ParsePath("<c@d.example>")}
	if got := logged(t, r)["rcpt"]; fmt.Sprint(got) != "[c@d.example]" {
		t.Errorf("rcpt is %v", got)
	}
}

// TestLogHostileText: nothing that a client says can forge a line or steer a
// terminal.
func TestLogHostileText(t *testing.T) {
	nasty := "a\r\nlevel=INFO msg=message ref=FORGED \x1b[2J\x00\x7f\u009b31m\u202e\u2028\xff\"b"
	r := everything()
	r.Ref, r.Rule, r.Reason, r.Degraded = nasty, nasty, nasty, []string{nasty}
	c, x := &r.Facts.Conn, &r.Facts.Txn
	c.Session, c.Name.Value, c.Helo.Value, c.Trusted.Value, c.TLS.Value.Version, c.Iprev.Value.Result = nasty, nasty, nasty, nasty, nasty, nasty
	x.QueueID, x.AuthUser.Value, x.From.Value.Addresses = nasty, nasty, []string{nasty}
	x.MailFrom.Value = mail.Address{Local: nasty, Domain: nasty}
	r.Decisions[1].Recipient, r.Decisions[1].Rule, r.Decisions[1].Would[0].Rule = nasty, nasty, nasty
	for name, h := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		Log{slog.New(h(&b))}.Message(r)
		line, rest, _ := strings.Cut(b.String(), "\n")
		if rest != "" || !utf8.ValidString(line) || strings.ContainsAny(line, "\r\x1b\x00\x7f\u009b\u202e\u2028") {
			t.Errorf("%s: %q", name, b.String())
		}
		if name == "text" && strings.Contains(line, " ref=FORGED") && !strings.Contains(line, `ref="alevel=INFO`) {
			t.Errorf("a forged value: %s", line)
		}
	}
}

func TestLogLongValues(t *testing.T) {
	r := everything()
	r.Decisions = nil
	for i := range 5000 {
		r.Decisions = append(r.Decisions, filter.Decided{Recipient: fmt.Sprintf("r%d@d.example", i)})
	}
	r.Reason = strings.Repeat("é", 5000)
	r.Facts.Txn.From.Value.Addresses = slices.Repeat([]string{strings.Repeat("x", 300)}, 100)
	got := logged(t, r)
	rcpt := got["rcpt"].([]any)
	if len(rcpt) != maxLogged+1 || rcpt[0] != "r0@d.example" || rcpt[maxLogged] != "..." {
		t.Errorf("rcpt is %v", rcpt)
	}
	for _, key := range []string{"reason", "header_from"} {
		if s := got[key].(string); len(s) > maxText+3 || !strings.HasSuffix(s, "...") || !utf8.ValidString(s) {
			t.Errorf("%s has %d bytes: %q", key, len(s), s)
		}
	}
	if r.Facts.Txn.From.Value.Addresses[maxLogged] == "..." {
		t.Error("the record was changed")
	}
}

// told notes what it hears, and panics if it is to.
type told struct {
	heard []string
	bad   bool
}

func (o *told) Message(*filter.Record) { o.hear("message") }
func (o *told) Check(name string, _ fact.State, _ string, _ time.Duration) {
	o.hear(name)
}

func (o *told) hear(what string) {
	o.heard = append(o.heard, what)
	if o.bad {
		panic("broken")
	}
}

// One observer that breaks keeps the others from nothing.
func TestAll(t *testing.T) {
	a, b, c := &told{}, &told{bad: true}, &told{}
	all := All{a, b, c}
	for _, tell := range []func(){
		func() { all.Message(&filter.Record{}) },
		func() { all.Check("spf", fact.Known, "pass", 0) },
	} {
		func() {
			defer func() {
				if recover() != "broken" {
					t.Error("the panic is lost")
				}
			}()
			tell()
		}()
	}
	for i, o := range []*told{a, b, c} {
		if !slices.Equal(o.heard, []string{"message", "spf"}) {
			t.Errorf("observer %d heard %v", i, o.heard)
		}
	}
}
