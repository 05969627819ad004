package replay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"mailwicket/filter"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/filter/observe/journal"
	"mailwicket/greylist"
	"mailwicket/policy"
	"mailwicket/policy/profile"
	"mailwicket/policy/rulefile"
)

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// rules gives a policy from text, or from a profile's name with greylisting for
// strangers as the shipped configuration has it.
func rules(tb testing.TB, text string) *policy.Policy {
	tb.Helper()
	list, err := profile.Rules(text)
	if err != nil {
		var problems []policy.Problem
		if list, problems = rulefile.Parse("rules", []byte(text)); len(problems) > 0 {
			tb.Fatal(problems)
		}
	} else {
		list = append(list, policy.Rule{Name: "greylist", Auto: true, Do: policy.Action{Greylist: true},
			When: policy.Cond{Leaf: &policy.Leaf{Field: "client.trusted", Match: policy.Match{Op: policy.Is}}}})
	}
	p, problems := policy.Compile(list)
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	return p
}

// kept collects what an engine tells.
type kept struct{ records []*filter.Record }

func (k *kept) Message(r *filter.Record)                      { k.records = append(k.records, r) }
func (*kept) Check(string, fact.State, string, time.Duration) {}

const zone = `
sender.example.  TXT "v=spf1 include:_spf.sender.example ip4:203.0.113.0/24 -all"
_spf.sender.example. TXT "v=spf1 ip4:198.51.100.0/24 ?all"
_dmarc.sender.example. TXT "v=DMARC1; p=reject; rua=mailto:d@sender.example"
mail.sender.example. A 203.0.113.7
mail.sender.example. TXT "v=spf1 a -all"
7.113.0.203.in-addr.arpa. PTR mail.sender.example.
bank.example. TXT "v=spf1 -all"
_dmarc.bank.example. TXT "v=DMARC1; p=reject"
s1._domainkey.sender.example. TXT "v=DKIM1; k=ed25519; p=%s"
`

// real gives the records of messages that the real engine judged: a stranger's
// first try and the retry, both signed, and a forgery.
func real(tb testing.TB) []*filter.Record {
	tb.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	check(tb, err)
	z, err := dnstest.Parse("zone", strings.NewReader(fmt.Sprintf(zone, base64.StdEncoding.EncodeToString(pub))))
	check(tb, err)
	late, refs, told := time.Duration(0), atomic.Int64{}, &kept{}
	now := func() time.Time { return time.Now().Add(late) }
	grey := greylist.New(greylist.ServiceConfig{Store: greylist.NewMemory(100), Secret: []byte("s"), Now: now})
	defer grey.Close()
	e := filter.NewEngine(filter.Config{
		Policy: rules(tb, "standard"), Resolver: z.Resolver(), Greylist: grey, Defers: filter.NewDefers(),
		OnError: policy.Tempfail, DKIMMax: 8, Net4: 24, Net6: 64, HeaderBytes: 256 << 10, HeaderFields: 1000,
		CheckTimeout: time.Minute, Now: now, NewRef: func() string { return fmt.Sprintf("R%d-REF", refs.Add(1)) },
		Log: slog.New(slog.DiscardHandler), Observer: told,
	})
	msg := "From: Some Body <some.body@sender.example>\r\nTo: user@our.example\r\nSubject: Your order 4711 of Wednesday\r\n" +
		"Date: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <20261125.4711@sender.example>\r\n\r\nHello.\r\n"
	var signed bytes.Buffer
	check(tb, msgauth.Sign(&signed, strings.NewReader(msg), &msgauth.SignOptions{Domain: "sender.example", Selector: "s1", Signer: key,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID"}}))
	play(e, "some.body@sender.example", signed.String())
	late = 10 * time.Minute
	play(e, "some.body@sender.example", signed.String())
	play(e, "x@bank.example", strings.Replace(msg, "sender.example>", "bank.example>", 1))
	late = 20 * time.Minute
	play(e, "x@bank.example", strings.Replace(msg, "sender.example>", "bank.example>", 1))
	return told.records
}

// play drives one session and stops where the message is refused.
func play(e *filter.Engine, from, msg string) {
	ctx := context.Background()
	s := e.Open(ctx)
	defer s.Close()
	s.Connect(ctx, mail.Conn{Addr: netip.MustParseAddr("203.0.113.7"), Port: 25000, HostName: "mail.sender.example",
		MTAName: "mx.our.example", Version: "Postfix 3.7.11"})
	s.Helo(ctx, "mail.sender.example", mail.TLS{Version: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384", Bits: 256})
	s.Mail(ctx, "<"+from+">", filter.Envelope{QueueID: "4WQm3h1Jz5z9vTb"})
	if a := s.Rcpt(ctx, "<user@our.example>"); a.Verdict >= policy.Discard {
		return
	}
	head, body, _ := strings.Cut(msg, "\r\n\r\n")
	var fields []mail.Field
	for _, line := range strings.Split(head, "\r\n") {
		if n := len(fields); n > 0 && strings.HasPrefix(line, " ") {
			fields[n-1].Value += "\r\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, mail.Field{Name: name, Value: value})
	}
	for _, f := range fields {
		s.Header(f.Name, f.Value)
	}
	if a := s.EndOfHeader(ctx, "4WQm3h1Jz5z9vTb"); a.Verdict >= policy.Discard {
		return
	}
	s.Body(ctx, []byte(body))
	s.EndOfMessage(ctx, "4WQm3h1Jz5z9vTb")
}

// keep journals records, one file a day, and gives the files.
func keep(tb testing.TB, days ...[]*filter.Record) []string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "journal")
	for _, records := range days {
		now := records[0].Start
		j, err := journal.New(journal.Config{Dir: dir, Keep: 1e6 * time.Hour, MaxFile: 1 << 40, MaxAll: 1 << 40, Queue: len(records),
			Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
		check(tb, err)
		for _, r := range records {
			j.Message(r)
		}
		over, stop := context.WithCancel(context.Background())
		stop()
		j.Run(over)
	}
	files, err := journal.Files(dir)
	check(tb, err)
	return files
}
