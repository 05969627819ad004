package filter_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/policy"
)

// linked is a message with a text.
func linked(text string) dialogue {
	return usual().message(strings.Replace(honestMail, "Hello.", text, 1))
}

const readsLinks = `rules:
  - {name: listed, mode: observe, when: {links.lists: l}, do: reject}
  - {name: zones, mode: observe, when: {dnsbl.links: dbl}, do: reject}
  - {name: odd, mode: observe, when: {content.defects: bad_base64}, do: reject}
`

// zonesAsked gives what DNS lists were asked, sorted.
func zonesAsked(a *asked) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, s := range a.asks {
		if q, ok := strings.CutPrefix(s, "dnsbl links "); ok {
			out = append(out, q)
		}
	}
	slices.Sort(out)
	return out
}

// TestLinks: hosts are looked up in lists, and DNS lists are asked for each name
// once, both in the order in which the body has them.
func TestLinks(t *testing.T) {
	a := &asked{}
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, readsLinks))
	cfg.Lists, cfg.DNSBL = harmful(t, "evil.example sub.b.example"), zonesOf{a}
	linked(`http://www.evil.example http://evil.example http://b.example http://x.b.example http://x.sub.b.example http://192.0.2.1
http://one.other.example http://two.other.example http://one.other.example`).play(t, filter.NewEngine(cfg))
	f := w.last(t).Facts.Txn
	want := fact.Content{Hosts: []string{"www.evil.example", "evil.example", "b.example", "x.b.example", "x.sub.b.example", "one.other.example", "two.other.example"},
		Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	if d := cmp.Diff(want, f.Content.Value, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	var hits []string
	for _, h := range f.ListLinks.Value {
		hits = append(hits, fmt.Sprintf("%s %s %s:%d", h.Subject, h.Entry, h.List, h.Line))
	}
	// Of what is below one entry the first is told.
	if want := []string{"www.evil.example evil.example harmful:1", "x.sub.b.example sub.b.example harmful:2"}; !slices.Equal(hits, want) {
		t.Errorf("hits %q, want %q", hits, want)
	}
	if want := []string{"b.example", "one.other.example", "two.other.example", "www.evil.example"}; !slices.Equal(zonesAsked(a), want) {
		t.Errorf("asked %q, want %q", zonesAsked(a), want)
	}
	if got := len(f.DNSBLLinks.Value); got != 4 || f.LinksLeft != fact.Is(0) {
		t.Errorf("%d hits of DNS lists, %+v left", got, f.LinksLeft)
	}
	for _, name := range []string{"content known", "dnsbl_links known"} {
		if w.checks[name] != 1 {
			t.Errorf("%s is counted %d times", name, w.checks[name])
		}
	}
}

// TestLinksNobodyReads: without a rule that may want to know, the body is not read
// and nobody is asked.
func TestLinksNobodyReads(t *testing.T) {
	d := linked("http://evil.example")
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct {
		name, rules string
		trusted     []netip.Prefix
		off         bool
		state       fact.State
		why         string
	}{
		{"no rule", "rules: []", nil, false, fact.Absent, ""},
		{"a rule that is off", "rules: [{name: x, mode: off, when: {links.lists: l}, do: reject}]", nil, false, fact.Absent, ""},
		{"a rule that cannot match", "rules: [{name: x, when: {links.lists: l, mail_from.domain: other.example}, do: reject}]", nil, false, fact.Absent, ""},
		{"accepted before", "rules: [{name: y, when: {mail_from.domain: good.example}, do: accept}, {name: x, when: {links.lists: l}, do: reject}]", nil, false, fact.Absent, ""},
		{"trusted, rule for strangers", "rules: [{name: x, when: {links.lists: l, client.trusted: false}, do: reject}]", trusted, false,
			fact.Skipped, "client is in the trusted network 192.0.2.0/24"},
		{"switched off", "rules: [{name: x, when: {links.lists: l, dnsbl.links: dbl}, do: reject}]", nil, true, fact.Skipped, "content.links is false"},
		{"trusted, rule for all", "rules: [{name: x, when: {links.lists: l, dnsbl.links: dbl}, do: reject}]", trusted, false, fact.Known, ""},
		{"a text of a rule", `rules: [{name: x, stage: message, when: {mail_from.domain: good.example}, do: {header: {name: X-Links, value: "{links.host}"}}}]`, nil, false, fact.Known, ""},
		{"what may come", "rules: [{name: x, when: {any: [{spf.result: fail}, {dkim.result: {state: failed}}], links.lists: l}, do: reject}]", nil, false, fact.Known, ""},
		{"marks", "rules: [{name: y, do: {tag: a}}, {name: x, when: {tags: a, links.lists: l}, do: reject}]", nil, false, fact.Known, ""},
	} {
		a := &asked{}
		cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, c.rules))
		cfg.Lists, cfg.DNSBL, cfg.Trusted, cfg.NoLinks = a, zonesOf{a}, c.trusted, c.off
		d.play(t, filter.NewEngine(cfg))
		r := w.last(t)
		if f := r.Facts.Txn.Content; f.State != c.state || f.Why != c.why {
			t.Errorf("%s: %s %q, want %s %q", c.name, f.State, f.Why, c.state, c.why)
		}
		asks := 0
		if strings.Contains(c.rules, "dnsbl.links") && c.state == fact.Known {
			asks = 1
		}
		if got := zonesAsked(a); len(got) != asks {
			t.Errorf("%s: DNS lists were asked for %q", c.name, got)
		}
		lacks := filter.Replay(cfg.Policy, r).Lacking
		if len(lacks) > 0 {
			t.Errorf("%s: replay lacks %q", c.name, lacks)
		}
		reads, _ := policy.Compile(parseRules(t, readsLinks))
		if got := slices.Contains(filter.Replay(reads, r).Lacking, "links"); got != (c.state == fact.Absent) {
			t.Errorf("%s: replay under rules that read links lacks them: %v", c.name, got)
		}
	}
}

// TestLinksTooMany: DNS lists are asked for twenty names at most, and the rest is
// told.
func TestLinksTooMany(t *testing.T) {
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, "http://www.d%d.example http://d%d.example\n", i, i)
	}
	a := &asked{}
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, readsLinks))
	cfg.DNSBL = zonesOf{a}
	linked(b.String()).play(t, filter.NewEngine(cfg))
	if f := w.last(t).Facts.Txn; len(zonesAsked(a)) != 20 || f.LinksLeft != fact.Is(10) || len(f.Content.Value.Hosts) != 60 {
		t.Errorf("asked %d, left %+v, %d hosts", len(zonesAsked(a)), f.LinksLeft, len(f.Content.Value.Hosts))
	}
}

// partly is a DNS list that has no answer for some names.
type partly struct{ zonesOf }

func (p partly) Domain(_ context.Context, at list.Point, name string) ([]fact.ListHit, error) {
	switch {
	case strings.HasPrefix(name, "down"):
		return nil, errors.New("no answer")
	case strings.HasPrefix(name, "clean"):
		return nil, nil
	}
	return []fact.ListHit{{List: "dbl", Subject: name}}, nil
}

// TestLinksPartly: one hit is enough; without any, a name that had no answer leaves
// it open.
func TestLinksPartly(t *testing.T) {
	for text, want := range map[string]fact.State{
		"http://down.example http://evil.test":              fact.Known,
		"http://down.example http://clean.test":             fact.Failed,
		"http://clean.example":                              fact.Known,
		"no links":                                          fact.Known,
		"http://down.example http://[::1]/ http://evil.org": fact.Known,
	} {
		cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, readsLinks))
		cfg.DNSBL = partly{zonesOf{&asked{}}}
		linked(text).play(t, filter.NewEngine(cfg))
		r := w.last(t)
		f := r.Facts.Txn.DNSBLLinks
		if f.State != want || (len(f.Value) > 0) != strings.Contains(text, "evil") {
			t.Errorf("%q: %+v", text, f)
		}
		if slices.Contains(r.Degraded, "dnsbl_links") != strings.Contains(text, "down") {
			t.Errorf("%q: degraded %q", text, r.Degraded)
		}
	}
}

// broken is a DNS list that panics on the way.
type broken struct{ zonesOf }

func (broken) Names(list.Point, string) []string { panic("for the test") }

// TestLinksPanic: what breaks in the middle of a body is a failed fact.
func TestLinksPanic(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, readsLinks))
	cfg.Lists, cfg.DNSBL = &asked{}, broken{zonesOf{&asked{}}}
	out := linked("http://evil.example\n"+strings.Repeat("more\n", 1000)).play(t, filter.NewEngine(cfg))
	f := w.last(t).Facts.Txn
	if out.Verdict != policy.Continue || f.Content.State != fact.Failed || f.ListLinks.State != fact.Failed || f.DNSBLLinks.State != fact.Failed {
		t.Errorf("%s: %+v %+v %+v", out.Verdict, f.Content, f.ListLinks, f.DNSBLLinks)
	}
}

// slow is a DNS list that takes its time.
type slow struct{ zonesOf }

func (z slow) Domain(ctx context.Context, p list.Point, name string) ([]fact.ListHit, error) {
	hits, err := z.zonesOf.Domain(ctx, p, name)
	if p == list.PointLinks {
		time.Sleep(time.Second)
	}
	return hits, err
}

// TestLinksWhileBodyComes: names are asked for while the rest of the body comes, so
// that its end waits for the last of them only, and all are asked at the same time.
func TestLinksWhileBodyComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{}
		cfg, _, _ := newConfig(t, commonZone(t), parseRules(t, readsLinks))
		cfg.DNSBL = slow{zonesOf{a}}
		d := linked("x")
		s := d.open(t.Context(), filter.NewEngine(cfg))
		defer s.Close()
		s.Mail(t.Context(), d.mailFrom, filter.Envelope{})
		s.Rcpt(t.Context(), d.rcpts[0])
		s.Header("Content-Type", " text/html")
		s.Header("Content-Transfer-Encoding", " base64")
		s.EndOfHeader(t.Context(), "")
		body := base64.StdEncoding.EncodeToString([]byte("<a href=http://a.example><a href=http://b.example> and more text</a>"))
		s.Body(t.Context(), []byte(body[:80]))
		synctest.Wait()
		if got := zonesAsked(a); !slices.Equal(got, []string{"a.example", "b.example"}) {
			t.Errorf("in the middle, %q were asked for", got)
		}
		time.Sleep(700 * time.Millisecond)
		s.Body(t.Context(), []byte(body[80:]))
		start := time.Now()
		s.EndOfMessage(t.Context(), "")
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("the end waited %s", took)
		}
	})
}

// TestLinksOfNoMessage: a message without its end of header has no links, and one
// that is given up leaves nothing behind.
func TestLinksOfNoMessage(t *testing.T) {
	cfg, w, _ := newConfig(t, commonZone(t), parseRules(t, readsLinks))
	cfg.DNSBL = zonesOf{&asked{}}
	e := filter.NewEngine(cfg)
	d := linked("http://evil.example")
	s := d.open(t.Context(), e)
	defer s.Close()
	s.Mail(t.Context(), d.mailFrom, filter.Envelope{})
	s.Rcpt(t.Context(), d.rcpts[0])
	s.EndOfHeader(t.Context(), "")
	s.Body(t.Context(), []byte("http://left.example "))
	s.Abort()
	d.send(t.Context(), s)
	if got := w.last(t).Facts.Txn.Content.Value.Hosts; !slices.Equal(got, []string{"evil.example"}) {
		t.Errorf("hosts %q", got)
	}
	s.Mail(t.Context(), d.mailFrom, filter.Envelope{})
	s.Body(t.Context(), []byte("http://evil.example"))
	s.EndOfMessage(t.Context(), "")
	if f := w.last(t).Facts.Txn; f.Content.State != fact.Absent || f.DNSBLLinks.State != fact.Absent {
		t.Errorf("without a header: %+v", f.Content)
	}
}

// BenchmarkBody is what a message of 50 KiB costs with and without a rule that reads
// links.
func BenchmarkBody(b *testing.B) {
	html := strings.Repeat(`<tr><td style="padding:0 20px"><a href="https://click.shop.example/?q=1&amp;u=3"><img src="https://img.shop.example/1.png" alt=""></a></td></tr>
<p>Dear customer, the quick brown fox jumps over the lazy dog, and so on.</p>
`, 50<<10/230)
	d := usual().message("From: a@good.example\nDate: Wed, 25 Nov 2026 10:00:00 +0000\nContent-Type: text/html\n\n" + html)
	for name, rules := range map[string]string{"unread": "rules: []", "read": readsLinks} {
		b.Run(name, func(b *testing.B) {
			cfg, _, _ := newConfig(b, commonZone(b), parseRules(b, rules))
			cfg.Lists, cfg.DNSBL, cfg.Observer = harmful(b, "evil.example"), zonesOf{&asked{}}, quiet{}
			e := filter.NewEngine(cfg)
			b.SetBytes(int64(len(d.body)))
			for b.Loop() {
				s := d.open(b.Context(), e)
				d.send(b.Context(), s)
				s.Close()
			}
		})
	}
}
