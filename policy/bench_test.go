package policy_test

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

// typical is an ordinary message of a stranger, at the end of the message.
func typical() *fact.Set {
	return &fact.Set{
		Stage: mail.StageMessage,
		Now:   time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Conn: fact.Conn{
			IP: fact.Is(netip.MustParseAddr("198.51.100.7")), Name: fact.Is("mx.sender.example"), Trusted: fact.Is(""),
			Iprev:   fact.Is(fact.Iprev{Result: "pass", Names: []string{"mx.sender.example"}}),
			Dynamic: fact.Is(false), Helo: fact.Is("mx.sender.example"), HeloIs: fact.Is("ok"), HeloDNS: fact.Is("forward"),
			TLS: fact.Is(mail.TLS{Version: "TLSv1.3", Cipher: "TLS_AES_256_GCM_SHA384"}), MTA: fact.MTA{Name: "mx.rcpt.example", Version: "Postfix 3.7.11"},
			ListIP: fact.Is([]fact.ListHit{}), DNSBL: fact.Is([]fact.ListHit{}), AuthFails: fact.Is(0),
		},
		Txn: fact.Txn{
			MailFrom: fact.Is(mail.ParsePath("<ann@sender.example>")), SPF: fact.Is(fact.SPF{Result: "pass", Domain: "sender.example"}),
			ListFrom: fact.Is([]fact.ListHit{}), Rcpts: []mail.Address{mail.ParsePath("<bob@rcpt.example>")},
			From:    fact.Is(fact.From{Addresses: []string{"ann@sender.example"}, Domains: []string{"sender.example"}}),
			Subject: fact.Is("Minutes of the meeting on Tuesday"), MessageID: fact.Is("<1@sender.example>"),
			Fields: fact.Is(18), HeaderBytes: fact.Is(2100), Defects: fact.Is([]string{}), ListHeader: fact.Is([]fact.ListHit{}),
			DKIM:     fact.Is([]fact.DKIM{{Result: "pass", Domain: "sender.example", Selector: "s1"}}),
			ListDKIM: fact.Is([]fact.ListHit{}), ARC: fact.Is(fact.ARC{Result: "none"}),
			DMARC: fact.Is(fact.DMARC{Result: "pass", Policy: "reject", Domain: "sender.example"}), Size: fact.Is(int64(34000)),
			ReplayClients: fact.Is(1), ReplayRecipients: fact.Is(1),
		},
	}
}

func typicalRules(t testing.TB) []policy.Rule {
	t.Helper()
	text, err := os.ReadFile("testdata/typical.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules, problems := rulefile.Parse("typical.yaml", text)
	for _, x := range problems {
		t.Fatal(x)
	}
	return rules
}

func typicalPolicy(t testing.TB) *policy.Policy {
	t.Helper()
	rules := typicalRules(t)
	for i := range rules {
		// All at one stage, so that a run tries them all.
		rules[i].Stage, rules[i].Auto = mail.StageMessage, false
	}
	return compile(t, rules...)
}

func BenchmarkDecide(b *testing.B) {
	p, s := typicalPolicy(b), typical()
	b.ReportAllocs()
	for b.Loop() {
		if d := p.Decide(s); len(d.Trace) != 31 {
			b.Fatal(len(d.Trace))
		}
	}
}

// A recipient after others is compared with the first of them.
func BenchmarkDecideRecipient(b *testing.B) {
	rules := append(typicalRules(b),
		policy.Rule{Name: "strict-box", Auto: true, When: text("rcpt.address", policy.Equals, "kim@rcpt.example"), Do: policy.Action{Tags: []string{"strict"}}},
		policy.Rule{Name: "strict", Auto: true, When: all(text("tags", policy.Equals, "strict"), text("dkim.result", policy.Equals, "none")), Do: policy.Action{Verdict: policy.Reject}})
	p, s := compile(b, rules...), typical()
	s.Stage, s.Rcpt = mail.StageRcpt, fact.Rcpt{To: fact.Is(mail.ParsePath("<lou@rcpt.example>"))}
	for name, first := range map[string]string{"first": "", "alike": "<bob@rcpt.example>", "apart": "<kim@rcpt.example>"} {
		b.Run(name, func(b *testing.B) {
			s.Txn.First = fact.Rcpt{}
			if first != "" {
				s.Txn.First.To = fact.Is(mail.ParsePath(first))
			}
			b.ReportAllocs()
			for b.Loop() {
				if d := p.Decide(s); (d.Verdict == policy.Tempfail) != (name == "apart") {
					b.Fatal(d.Verdict)
				}
			}
		})
	}
}
