package filter_test

import (
	"strings"
	"testing"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/casefile"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// echoes puts all that strangers write into fields of ours.
const echoes = `rules:
  - name: echo
    when: {client.trusted: false}
    do: {tag: seen, header: {name: X-Echo, value: "{header.subject} {header_from.address} {mail_from.address} {helo.name} {header.message_id} {header.list_id} {spf.explanation} {header.defects} {links.host} {links.ip} {content.defects}"}}
`

// block splits any bytes into header fields, as an MTA might tell them: names
// hold no colon, and a line that begins with white space goes on with the field
// above.
func block(raw string) mail.Header {
	var h mail.Header
	for line := range strings.SplitSeq(raw, "\r\n") {
		if n := len(h); n > 0 && line != "" && (line[0] == ' ' || line[0] == '\t') {
			h[n-1].Value += "\r\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		h = append(h, mail.Field{Name: name, Value: value})
	}
	return h
}

// FuzzHeaderBlock sends whatever there may be in a message through a session.
// Under every profile: no panic; a message that is let in gets exactly one
// Authentication-Results of ours, inserted fields cannot break the header, and
// no field that pretends to be ours stays. Checks run beside each other, so that the
// coverage is never quite the same: fuzz with -fuzzminimizetime=5x.
func FuzzHeaderBlock(f *testing.F) {
	signed := casefile.Workshop{T: f, Msg: casefile.Wire(honestMail)}
	signed.Sign("d=good.example s=k1")
	signed.Seal("d=list.example s=arc i=1 mx.our.example; dmarc=pass header.from=good.example")
	h, body := casefile.Split(signed.Msg)
	for _, s := range []string{string(h.Bytes()), "From: a@b\r\nFROM : c@d", "X:y\r\n\r\n :\r\n: \x00",
		"Authentication-Results: mx.our.example; none\r\nauthentication-results \t:(\r\n \"mx.our.example",
		"Subject: =?utf-8?q?=0d=0aX:_y?=\r\nMessage-ID: <\x01\xff>\r\nList-Id: <a\r\n\tb>\r\nX-Mailwicket-Tags : x",
		strings.Repeat("Authentication-Results: mx.our.example\r\n", 40), "DKIM-Signature: v=1; d=\r\nARC-Seal: i=1\r\nFrom: \"x\r\n"} {
		f.Add(s, body, "<alice@good.example>", "mail.good.example")
	}
	f.Add("From: x@y.example", "\r\n.\r\n", "<\"x; dmarc=pass\"@evil.example>", "x(\r\n y")
	f.Add("From: x@y.example", "", "<j\xc3\xbc@\xff\x00>", "[IPv6:::1]")
	var engines []*filter.Engine
	for _, name := range []string{"observe", "standard", "strict"} {
		cfg, _, _ := newConfig(f, commonZone(f)+signed.Zone.String(), append(parseRules(f, echoes), profileRules(f, name)...))
		cfg.HeaderFields, cfg.HeaderBytes, cfg.TraceHeader, cfg.ReceivedSPF = 30, 4096, true, true
		cfg.Observer = quiet{}
		engines = append(engines, filter.NewEngine(cfg))
	}
	f.Fuzz(func(t *testing.T, raw, body, from, helo string) {
		d := usual()
		d.header, d.body, d.mailFrom, d.helo = block(raw), body, from, helo
		for i, e := range engines {
			out := d.play(t, e)
			if refused(out.Answer) {
				if i == 0 {
					t.Errorf("observe refuses: %+v", out.Answer)
				}
				continue
			}
			if out.Verdict != policy.Continue && out.Verdict != policy.Quarantine {
				t.Errorf("verdict %s", out.Verdict)
			}
			checkPlan(t, d, out.plan, false)
		}
	})
}

// quiet is an observer that forgets.
type quiet struct{}

func (quiet) Message(*filter.Record)                          {}
func (quiet) Check(string, fact.State, string, time.Duration) {}
