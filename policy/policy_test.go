package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

// parse compiles rules that have to be right.
func parse(t testing.TB, rules string) *policy.Policy {
	t.Helper()
	rs, problems := rulefile.Parse("rules.yaml", []byte("rules:\n"+strings.TrimPrefix(rules, "\n")))
	for _, x := range problems {
		t.Fatal(x)
	}
	return compile(t, rs...)
}

func at(stage mail.Stage, s fact.Set) *fact.Set {
	s.Stage = stage
	return &s
}

// matched names the rules that matched.
func matched(d policy.Decision) string {
	var names []string
	for _, s := range d.Trace {
		if s.Matched {
			names = append(names, s.Rule)
		}
	}
	return strings.Join(names, " ")
}

func TestFirstTerminalVerdictWins(t *testing.T) {
	p := parse(t, `
  - {name: marks, do: {tag: seen}}
  - {name: nothing, do: continue}
  - {name: no, when: {helo.kind: own}, do: reject}
  - {name: later, do: {tempfail: {code: 450, enhanced: 4.2.0, text: later}}, reason: because}
  - {name: never, do: {tag: never, accept: true}}
`)
	d := p.Decide(at(mail.StageRcpt, facts))
	if d.Verdict != policy.Tempfail || d.Rule != "later" || d.At.Line != 5 || d.Reason != "because" {
		t.Errorf("decision %+v", d)
	}
	if want := (policy.Reply{Code: 450, Enhanced: "4.2.0", Text: "later"}); d.Reply != want {
		t.Errorf("reply %+v", d.Reply)
	}
	if got := matched(d); got != "marks nothing later" || len(d.Trace) != 4 {
		t.Errorf("matched %s of %d", got, len(d.Trace))
	}
	if !slices.Equal(d.Tags, []string{"seen"}) {
		t.Errorf("tags %v", d.Tags)
	}
}

// A rule with a verdict leaves its marks too.
func TestVerdictWithMarks(t *testing.T) {
	p := parse(t, `
  - {name: bad, do: {quarantine: true, tag: [a, b], points: 2.5, header: {name: X-Why, value: "helo {helo.kind}"}}}
`)
	d := p.Decide(at(mail.StageMessage, facts))
	if d.Verdict != policy.Quarantine || d.Points != 2.5 || !slices.Equal(d.Tags, []string{"a", "b"}) {
		t.Errorf("%+v", d)
	}
	if want := []policy.HeaderEdit{{Name: "X-Why", Value: "helo ok"}}; !slices.Equal(d.Headers, want) {
		t.Errorf("headers %v", d.Headers)
	}
	if got := d.Trace[0].Did; got != "quarantine, tag a, tag b, points 2.5, now 2.5, header X-Why" {
		t.Errorf("did %s", got)
	}
}

func TestMarksAreSeenByLaterRules(t *testing.T) {
	p := parse(t, `
  - {name: early, when: {tags: odd}, do: {tag: wrong}}
  - {name: one, do: {tag: Odd, points: 2}}
  - {name: again, do: {tag: Odd, points: 1.5}}
  - {name: by-tag, when: {tags: odd}, do: {tag: found}}
  - {name: by-points, when: {points: {ge: 3.5, lt: 4}}, do: {tag: counted}}
  - {name: by-no-tag, when: {tags: {not: odd}}, do: {tag: wrong}}
  - {name: spelled, when: {points: 3.5}, do: reject, reason: "{points} points, {tags}"}
`)
	d := p.Decide(at(mail.StageRcpt, fact.Set{}))
	if want := []string{"Odd", "found", "counted"}; !slices.Equal(d.Tags, want) {
		t.Errorf("tags %v, want %v", d.Tags, want)
	}
	if d.Points != 3.5 || d.Reason != "3.5 points, Odd, found, counted" {
		t.Errorf("points %v, reason %q", d.Points, d.Reason)
	}
}

// Stages are found, not written, so what a rule at RCPT leaves must be seen at
// the end of the message.
func TestMarksOfEarlierStages(t *testing.T) {
	p := parse(t, `
  - {name: helo, when: {helo.kind: ok}, do: {points: 2, tag: early}}
  - {name: for-one, when: {rcpt.domain: a.example}, do: {points: 10}}
  - {name: observed, mode: observe, do: {points: 50}}
  - {name: off, mode: "off", do: {points: 50}}
  - {name: size, when: {message.size: {gt: 10}}, do: {points: 3}}
  - {name: sum, when: {points: {ge: 5}, tags: early}, do: quarantine}
  - {name: total, stage: message, do: {tag: last}, reason: "{points}"}
`)
	s := facts
	s.Rcpt.To = fact.Is(mail.ParsePath("<x@a.example>"))
	rcpt := p.Decide(at(mail.StageRcpt, s))
	if rcpt.Points != 12 || matched(rcpt) != "helo for-one observed" {
		t.Errorf("at rcpt: %v points by %s", rcpt.Points, matched(rcpt))
	}
	s.Rcpt, s.Txn.Size = fact.Rcpt{}, fact.Is(int64(11))
	d := p.Decide(at(mail.StageMessage, s))
	if d.Verdict != policy.Quarantine || d.Rule != "sum" {
		t.Errorf("at message: %+v", d)
	}
	// The decision tells what this stage adds: the engine has the rest already.
	if d.Points != 3 || len(d.Tags) != 0 {
		t.Errorf("points %v, tags %v of the stage", d.Points, d.Tags)
	}
	s.Conn.HeloIs = fact.Is("own")
	if d := p.Decide(at(mail.StageMessage, s)); d.Rule == "sum" {
		t.Error("points without their cause")
	}
}

func TestObserveNeverActs(t *testing.T) {
	p := parse(t, `
  - {name: marks, mode: observe, do: {tag: x, points: 4}}
  - {name: headers, mode: observe, stage: message, do: {header: {name: X-A, value: b}}}
  - {name: unseen, when: {any: [{tags: x}, {points: {gt: 0}}]}, do: reject}
  - {name: refuse, mode: observe, do: {reject: {text: no}, tag: y}, reason: "helo {helo.kind}"}
  - {name: greylist, mode: observe, do: greylist}
  - {name: nothing, mode: observe, do: continue}
  - {name: last, when: {helo.kind: ok}, do: {tag: z}}
`)
	d := p.Decide(at(mail.StageRcpt, facts))
	if d.Verdict != policy.Continue || d.Greylist || d.Points != 0 || len(d.Headers) != 0 || !slices.Equal(d.Tags, []string{"z"}) {
		t.Errorf("%+v", d)
	}
	want := []policy.Outcome{
		{Rule: "refuse", Verdict: policy.Reject, Reason: "helo ok", At: policy.Position{File: "rules.yaml", Line: 5, Col: 5}},
		{Rule: "greylist", Verdict: policy.Tempfail, Reason: "would be greylisted", At: policy.Position{File: "rules.yaml", Line: 6, Col: 5}},
	}
	if diff := cmp.Diff(want, d.Would); diff != "" {
		t.Errorf("would (-want +got)\n%s", diff)
	}
	did := map[string]string{}
	for _, s := range d.Trace {
		did[s.Rule] = s.Did
	}
	if did["marks"] != "would tag x, points 4, now 4" || did["refuse"] != "would reject, tag y" || did["nothing"] != "" || did["greylist"] != "would tempfail" {
		t.Errorf("did %v", did)
	}
	if p.UsesGreylist(mail.StageRcpt) {
		t.Error("an observed rule may ask the greylist")
	}
}

// An answer that is there is believed by observed rules: another rule asked.
func TestObservedGreylistBelievesTheAnswer(t *testing.T) {
	p := parse(t, "  - {name: g, mode: observe, do: greylist}\n")
	for result, want := range map[string]int{"pass": 0, "defer": 1, "opted_out": 0} {
		s := fact.Set{Rcpt: fact.Rcpt{Greylist: fact.Is(fact.Greylist{Result: result})}}
		if d := p.Decide(at(mail.StageRcpt, s)); len(d.Would) != want {
			t.Errorf("%s: would %v", result, d.Would)
		}
	}
}

func TestOffIsSkipped(t *testing.T) {
	p := parse(t, `
  - {name: no, mode: "off", when: {spf.result: fail}, do: reject}
  - {name: grey, mode: "off", do: greylist}
  - {name: yes, do: accept}
`)
	d := p.Decide(at(mail.StageRcpt, facts))
	if d.Rule != "yes" || d.Greylist || len(d.Would) != 0 {
		t.Errorf("%+v", d)
	}
	want := []policy.Step{{Rule: "no", Mode: policy.Off}, {Rule: "grey", Mode: policy.Off}, {Rule: "yes", Matched: true, Did: "accept"}}
	if diff := cmp.Diff(want, d.Trace); diff != "" {
		t.Error(diff)
	}
	if p.UsesGreylist(mail.StageRcpt) || len(p.Checks(mail.StageRcpt)) != 0 {
		t.Errorf("rules that are off ask for %v", p.Checks(mail.StageRcpt))
	}
}

func TestGreylist(t *testing.T) {
	p := parse(t, `
  - {name: grey, when: {helo.kind: ok}, do: {greylist: true, tag: suspicious}}
  - {name: next, do: {accept: true}}
`)
	first := time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 7200))
	deferred := fact.Is(fact.Greylist{Result: "defer", Identity: "a.example\r\n", Kind: "spf", FirstSeen: first, Remaining: 239*time.Second + 1})
	cases := []struct {
		name    string
		rcpt    fact.Fact[fact.Greylist]
		message fact.Fact[fact.Greylist]
		rule    string
		did     string
	}{
		{"pass", fact.Is(fact.Greylist{Result: "pass"}), fact.Fact[fact.Greylist]{}, "next", "greylist says pass"},
		{"known", fact.Is(fact.Greylist{Result: "known"}), deferred, "next", "greylist says known"},
		{"opted out", fact.Is(fact.Greylist{Result: "opted_out"}), fact.Fact[fact.Greylist]{}, "next", "greylist says opted_out"},
		{"failed", fact.Fail[fact.Greylist]("redis:\ndown"), deferred, "next", "greylist failed: redis:down"},
		{"skipped", fact.Skip[fact.Greylist]("no store"), fact.Fact[fact.Greylist]{}, "next", "greylist skipped: no store"},
		{"deferred", deferred, fact.Fact[fact.Greylist]{}, "grey", "greylist says defer"},
		{"message deferred", fact.Fact[fact.Greylist]{}, deferred, "grey", "greylist says defer"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := facts
			s.Rcpt.Greylist, s.Txn.Greylist = c.rcpt, c.message
			d := p.Decide(at(mail.StageRcpt, s))
			if d.Greylist || d.Rule != c.rule || d.Trace[0].Did != c.did || !d.Trace[0].Matched {
				t.Errorf("%+v", d)
			}
			if c.rule != "grey" {
				if d.Verdict != policy.Accept || len(d.Tags) != 0 {
					t.Errorf("%+v", d)
				}
				return
			}
			want := policy.Decision{Stage: mail.StageRcpt, Verdict: policy.Tempfail, Rule: "grey", At: d.At, Tags: []string{"suspicious"},
				Reply:  policy.Reply{Code: 451, Enhanced: "4.7.1", Text: "Greylisted, retry in 240 seconds"},
				Reason: "greylisted: a.example (spf) first seen 2026-05-04 01:02:01", Trace: d.Trace}
			if diff := cmp.Diff(want, d); diff != "" {
				t.Error(diff)
			}
		})
	}
	if !p.UsesGreylist(mail.StageRcpt) || p.UsesGreylist(mail.StageHeader) {
		t.Error("UsesGreylist is wrong")
	}
	d := p.Decide(at(mail.StageRcpt, facts))
	if !d.Greylist || d.Verdict != policy.Continue || d.Rule != "" || len(d.Trace) != 1 || d.Trace[0].Did != "ask the greylist" {
		t.Errorf("before the answer: %+v", d)
	}
	s := facts
	s.Conn.HeloIs = fact.Is("own")
	if d := p.Decide(at(mail.StageRcpt, s)); d.Greylist || d.Rule != "next" {
		t.Errorf("asked although the rule does not match: %+v", d)
	}
}

func TestGreylistNeverSaysZeroSeconds(t *testing.T) {
	p := parse(t, "  - {name: g, do: greylist}\n")
	for remaining, want := range map[time.Duration]string{0: "in 1 seconds", -5: "in 1 seconds", 1: "in 1 seconds", time.Second + 1: "in 2 seconds", 3 * time.Second: "in 3 seconds"} {
		s := fact.Set{Rcpt: fact.Rcpt{Greylist: fact.Is(fact.Greylist{Result: "defer", Remaining: remaining})}}
		if d := p.Decide(at(mail.StageRcpt, s)); !strings.HasSuffix(d.Reply.Text, want) {
			t.Errorf("%d ns: %q", remaining, d.Reply.Text)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	s := values()
	s.Conn.Helo = fact.Is("a\r\n250 ok\x00\x1b[2J\u202e\u2028{client.ip}\x7f\u0085z")
	s.Conn.Name = fact.Is(strings.Repeat("ä", 80))
	s.Conn.PTR = fact.Is("\xff\xfe")
	s.Txn.SPF = fact.Fail[fact.SPF]("no answer from 10.0.0.53")
	s.Conn.DNSBL = fact.Is([]fact.ListHit{{List: "zen", Comment: "secret"}, {List: "bl"}})
	cases := []struct{ text, want string }{
		{"plain", "plain"},
		{"{client.ip}", "192.0.2.7"},
		{"from {client.ip}, {header.fields} fields after {defer.age}: {client.dynamic}", "from 192.0.2.7, 18 fields after 1h30m0s: true"},
		{"{header_from.domain}", "mail.example.com, other.example"},
		{"<{header.defects}>", "<>"},
		{"{dnsbl.zones}", "zen, bl"},                       // the notes are not for clients
		{"{spf.result}", "failed"},                         // and neither is the cause
		{"{helo.name}", "a250 ok[2J{client.ip}z"},          // cleaned, and not expanded again
		{"{client.name}", strings.Repeat("ä", 50) + "..."}, // cut between characters
		{"{client.ptr}", "\ufffd\ufffd"},
		{"} {client.ip} {", "} 192.0.2.7 {"},
		{"{client.ip", "{client.ip"},
		{"client.ip}", "client.ip}"},
		{"{points}{tags}", "3seen"},
	}
	for _, c := range cases {
		p := compile(t,
			policy.Rule{Name: "mark", Stage: mail.StageMessage, Do: policy.Action{Tags: []string{"seen"}, Points: 3}},
			policy.Rule{Name: "r", Stage: mail.StageMessage, Reason: c.text, Do: policy.Action{Verdict: policy.Reject,
				Reply: policy.Reply{Text: c.text}, Headers: []policy.HeaderEdit{{Name: "X-A", Value: c.text}}}})
		d := p.Decide(at(mail.StageMessage, s))
		if d.Reply.Text != c.want || d.Reason != c.want || d.Headers[0].Value != c.want {
			t.Errorf("%q:\nreply  %q\nreason %q\nheader %q\nwant   %q", c.text, d.Reply.Text, d.Reason, d.Headers[0].Value, c.want)
		}
	}
}

// A long value is cut, and so short that a line stays a line.
func TestPlaceholdersAreCut(t *testing.T) {
	p := parse(t, "  - {name: r, do: {reject: {text: '{helo.name}'}}}\n")
	for _, r := range []string{"a", "é", "€", "😀", "\xff"} {
		s := fact.Set{Conn: fact.Conn{Helo: fact.Is(strings.Repeat(r, 5000))}}
		got := p.Decide(at(mail.StageRcpt, s)).Reply.Text
		if len(got) > 103 || len(got) < 98 || !strings.HasSuffix(got, "...") || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%q: %d bytes, %q", r, len(got), got)
		}
	}
}

func TestChecksOfStages(t *testing.T) {
	p := parse(t, `
  - {name: a, stage: connect, when: {iprev.result: fail}, do: reject}
  - {name: b, when: {any: [{spf.result: fail}, {not: {dnsbl.zones: zen}}, {client.ip: 192.0.2.1}]}, do: {reject: {text: "{client.lists}"}}}
  - {name: c, when: {dkim.result: fail}, do: reject, mode: observe}
  - {name: d, when: {arc.result: fail}, do: reject, mode: "off"}
`)
	want := map[mail.Stage][]string{mail.StageConnect: {"iprev"}, mail.StageRcpt: {"dnsbl", "list", "spf"}, mail.StageMessage: {"dkim"}}
	for _, st := range mail.Stages() {
		if got := p.Checks(st); !slices.Equal(got, want[st]) {
			t.Errorf("%s: %v, want %v", st, got, want[st])
		}
	}
}

// Only the rules of the stage are tried.
func TestStagesAreApart(t *testing.T) {
	p := parse(t, `
  - {name: message, when: {message.size: {ge: 0}}, do: reject}
  - {name: rcpt, do: accept}
`)
	s := facts
	s.Txn.Size = fact.Is(int64(5))
	for st, want := range map[mail.Stage]string{mail.StageConnect: "", mail.StageHelo: "", mail.StageMail: "", mail.StageRcpt: "rcpt", mail.StageHeader: "", mail.StageMessage: "message"} {
		d := p.Decide(at(st, s))
		if d.Rule != want || d.Stage != st || (want == "") != (d.Trace == nil) {
			t.Errorf("%s: %+v", st, d)
		}
	}
}

// A policy does not change when the rules it was made of do.
func TestCompileCopies(t *testing.T) {
	r := policy.Rule{Name: "r", Stage: mail.StageRcpt, When: text("helo.kind", policy.Equals, "OK"), Do: policy.Action{Tags: []string{"a"}}}
	p := compile(t, r)
	if r.When.Leaf.Match.Text[0] != "OK" {
		t.Error("Compile changed the caller's rule")
	}
	r.When.Leaf.Match.Text[0], r.Do.Tags[0] = "own", "b"
	if d := p.Decide(at(mail.StageRcpt, facts)); !slices.Equal(d.Tags, []string{"a"}) {
		t.Errorf("tags %v", d.Tags)
	}
	again := compile(t, p.Rules()...)
	if len(again.Rules()) != 1 || again.Rules()[0].Name != "r" {
		t.Errorf("rules %v", again.Rules())
	}
}
