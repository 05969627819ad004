package dnsbl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
)

func hit(name, subject, entry, comment string) fact.ListHit {
	return fact.ListHit{List: name, Subject: subject, Entry: entry, Source: name + ".example", Comment: comment, Weight: 1}
}

func silent(name, why string) fact.ListHit { return fact.ListHit{List: name, Silent: why} }

func TestClient(t *testing.T) {
	for _, c := range []struct {
		name, addr string
		want       []fact.ListHit
		outcomes   string
	}{
		{"several codes, bits, and a reason", "192.0.2.1", []fact.ListHit{
			hit("zen", "192.0.2.1", "127.0.0.4", "XBL: https://zen.example/?q=192.0.2.1"),
			hit("zen", "192.0.2.1", "127.0.0.10", "PBL: https://zen.example/?q=192.0.2.1"),
			hit("bits", "192.0.2.1", "127.0.0.6", "two"), hit("bits", "192.0.2.1", "127.0.0.6", "four"),
		}, "zen listed, bits listed"},
		{"written as IPv6", "::ffff:192.0.2.8", []fact.ListHit{hit("zen", "192.0.2.8", "127.0.0.4", "XBL")}, "zen listed, bits clean"},
		{"IPv6", "2001:db8::1", []fact.ListHit{hit("zen", "2001:db8::1", "127.0.0.3", "listed")}, "zen listed, bits clean"},
		{"not listed", "192.0.2.99", nil, "zen clean, bits clean"},
		{"a code without name", "192.0.2.2", nil, "zen unknown_code, bits clean"},
		{"refused", "192.0.2.3", []fact.ListHit{silent("zen", "answered 127.255.255.254: questions of public resolvers are refused")}, "zen error, bits clean"},
		{"a code beside a false address", "192.0.2.4", []fact.ListHit{silent("zen", "answered 192.0.2.80, which is no code: someone else answers for the zone")}, "zen error, bits clean"},
		{"SERVFAIL, and a hit of another zone", "192.0.2.5", []fact.ListHit{
			hit("bits", "192.0.2.5", "127.0.0.2", "two"), silent("zen", "server misbehaving"),
		}, "zen failed, bits listed"},
		{"no answer", "192.0.2.6", []fact.ListHit{silent("zen", "timeout")}, "zen failed, bits clean"},
		{"a name without address", "192.0.2.7", nil, "zen clean, bits clean"},
		{"no reason in time", "192.0.2.8", []fact.ListHit{hit("zen", "192.0.2.8", "127.0.0.4", "XBL")}, "zen listed, bits clean"},
		{"an ugly reason", "192.0.2.9", []fact.ListHit{hit("zen", "192.0.2.9", "127.0.0.4", "XBL: another; two lines and ?")}, "zen listed, bits clean"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, zones(t), world, nil)
				got, err := b.Client(t.Context(), addr(c.addr))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
				want := map[string]int{}
				for _, o := range strings.Split(c.outcomes, ", ") {
					want[o] = 1
				}
				if diff := cmp.Diff(want, b.lookups); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestNeverAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t), world, nil)
		b.dns.Reset()
		for _, s := range []string{"0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.2", "169.254.1.1", "172.16.0.1", "172.31.255.255", "192.0.0.9",
			"192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "fd00::1",
			"ff02::1", "64:ff9b::192.0.2.1"} {
			if hits, err := b.Client(t.Context(), addr(s)); hits != nil || err != nil {
				t.Errorf("%s: %v, %v", s, hits, err)
			}
		}
		if hits, err := b.Client(t.Context(), netip.Addr{}); hits != nil || err != nil {
			t.Errorf("no address: %v, %v", hits, err)
		}
		for _, s := range []string{"", ".", "localhost", "test", "com", "co.uk", "[192.0.2.1]", "[IPv6:2001:db8::1]", "192.0.2.1", "2001:db8::1",
			"[garbage.example", "1.2.3.4.5", "a..example", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 122) + "example.", "a b.example"} {
			if hits, err := b.Domain(t.Context(), list.PointHelo, s); hits != nil || err != nil {
				t.Errorf("%q: %v, %v", s, hits, err)
			}
		}
		if hits, err := b.Domain(t.Context(), list.PointPTR, "spam.example"); hits != nil || err != nil {
			t.Errorf("at a point without zones: %v, %v", hits, err)
		}
		q := b.dns.Queries()
		delete(q, "a.example.dbl.example A") // the long name's registered domain may be asked
		if len(q) > 0 {
			t.Errorf("asked %v", q)
		}
	})
}

func TestAskable(t *testing.T) {
	for _, s := range []string{"192.0.2.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "223.255.255.255", "2001:db8::1", "2a00::1", "::ffff:192.0.2.1"} {
		if !Askable(addr(s)) {
			t.Errorf("%s is not asked", s)
		}
	}
}

func TestDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfgs := zones(t)
		whole := cfgs[2]
		whole.Name, whole.Ask = "whole", Whole
		b := start(t, append(cfgs, whole), world, nil)
		for _, c := range []struct{ name, want string }{
			{"spam.example", "dbl spam.example, whole spam.example"},
			{"Mail.SPAM.example.", "dbl spam.example"},
			{"host.ham.example", "whole host.ham.example"},
			{"ham.example", ""},
			{"clean.example", ""},
		} {
			hits, err := b.Domain(t.Context(), list.PointDKIM, c.name)
			var got []string
			for _, h := range hits {
				got = append(got, h.List+" "+h.Subject)
				if h.Entry != "127.0.0.2" || h.Source != "dbl.example" || h.Comment != "listed" {
					t.Errorf("%s: %+v", c.name, h)
				}
			}
			if err != nil || strings.Join(got, ", ") != c.want {
				t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
			}
		}
	})
}

// TestNames: what zones would be asked for is told without asking.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfgs := zones(t)
		whole := cfgs[2]
		whole.Name, whole.Ask = "whole", Whole
		for _, c := range []struct {
			zones []Config
			point list.Point
			name  string
			want  string
		}{
			{cfgs, list.PointDKIM, "Mail.SPAM.example.", "spam.example"},
			{append(cfgs, whole), list.PointDKIM, "mail.spam.example", "spam.example mail.spam.example"},
			{append(cfgs, whole), list.PointDKIM, "spam.example", "spam.example"},
			{append(cfgs, whole), list.PointMailFrom, "spam.example", ""},
			{cfgs, list.PointDKIM, "example", ""},
			{cfgs, list.PointDKIM, "x&y.spam.example", "spam.example"},
			{cfgs, list.PointDKIM, "x.sp\"am.example", ""},
			{append(cfgs, whole), list.PointDKIM, "x;y.spam.example", "spam.example"},
			{cfgs, list.PointDKIM, "co.uk", ""},
			{cfgs, list.PointDKIM, "192.0.2.1", ""},
			{cfgs, list.PointDKIM, "[IPv6:2001:db8::1]", ""},
		} {
			b := start(t, c.zones, world, nil)
			if got := strings.Join(b.Names(c.point, c.name), " "); got != c.want {
				t.Errorf("%s at %s: %q, want %q", c.name, c.point, got, c.want)
			}
			for _, z := range b.Status() {
				if z.Lookups > 0 {
					t.Errorf("%s: %s was asked", c.name, z.Name)
				}
			}
		}
	})
}

// RFC 5782, 2.4 has these two forms.
func TestReversed(t *testing.T) {
	for _, c := range [][2]string{
		{"192.0.2.99", "99.2.0.192"},
		{"2001:db8:1:2:3:4:567:89ab", "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2"},
	} {
		if got := reversed(addr(c[0])); got != c[1] {
			t.Errorf("%s: %s", c[0], got)
		}
	}
}

func TestNoAnswerIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t)[:1], world, nil)
		hits, err := b.Client(t.Context(), addr("192.0.2.5"))
		if hits != nil || !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "zen: ") {
			t.Errorf("got %v, %v", hits, err)
		}
		if _, err := b.Client(t.Context(), addr("192.0.2.3")); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("refused: %v", err)
		}
		b.dns.Reset()
		_, err = b.Client(t.Context(), addr("192.0.2.1"))
		if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "out of service: answered 127.255.255.254") {
			t.Errorf("out of service: %v", err)
		}
		if q := b.dns.Queries(); len(q) > 0 {
			t.Errorf("asked %v", q)
		}
	})
}

func TestNothingConfigured(t *testing.T) {
	b := New(nil, Options{})
	if hits, err := b.Client(t.Context(), addr("192.0.2.1")); hits != nil || err != nil {
		t.Errorf("%v, %v", hits, err)
	}
	b.Run(t.Context()) // has nothing to do
}

// A zone that never answers costs its own time and no hit of another.
func TestHangingZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hang{}
		b := start(t, zones(t), world, h.options)
		h.on.Store(true)
		begin := time.Now()
		hits, err := b.Client(t.Context(), addr("192.0.2.5"))
		if err != nil || len(hits) != 2 || hits[0].List != "bits" || hits[1].List != "zen" || hits[1].Silent == "" {
			t.Errorf("got %v, %v", hits, err)
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		if hits, err = b.Client(ctx, addr("192.0.2.5")); err != nil || len(hits) != 2 {
			t.Errorf("got %v, %v", hits, err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %v in spite of the context", took)
		}
	})
}

// Nor does the text to a hit: it may come late, but not the hit.
func TestHangingReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hang{}
		b := start(t, zones(t)[:1], world, h.options)
		h.text.Store(true)
		begin := time.Now()
		hits, err := b.Client(t.Context(), addr("192.0.2.1"))
		if err != nil || len(hits) != 2 || hits[0].Comment != "XBL" || time.Since(begin) != time.Second {
			t.Errorf("got %v, %v in %v", hits, err, time.Since(begin))
		}
	})
}

func TestKeyIsHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := zones(t)[0]
		cfg.Key = "K3Y"
		text := strings.ReplaceAll(world, "$ORIGIN zen.example.", "$ORIGIN k3y.zen.example.") + `
$ORIGIN k3y.zen.example.
11.2.0.192 A 127.0.0.4
11.2.0.192 TXT "asked by k3y"
`
		b := start(t, []Config{cfg}, text, nil)
		trail := &dns.Trail{}
		ctx := dns.WithTrail(t.Context(), trail)
		hits, err := b.Client(ctx, addr("192.0.2.11"))
		if err != nil || len(hits) != 1 || hits[0].Comment != "XBL: asked by <key>" || hits[0].Source != "zen.example" {
			t.Errorf("got %+v, %v", hits, err)
		}
		var errs []string
		for _, s := range []string{"192.0.2.5", "192.0.2.2", "192.0.2.3", "192.0.2.3"} {
			_, err := b.Client(ctx, addr(s))
			errs = append(errs, fmt.Sprint(err))
		}
		found, err := b.Lookup(ctx, "192.0.2.1")
		answers, _ := trail.Answers()
		if len(answers) < 6 || answers[0].Name != "11.2.0.192.<key>.zen.example" || answers[0].Data[0] != "127.0.0.4" {
			t.Errorf("trail: %+v", answers)
		}
		all, _ := json.Marshal([]any{hits, errs, found, answers, b.Status(), b.told(), b.logged()})
		if strings.Contains(strings.ToLower(string(all)), "k3y") || err != nil {
			t.Errorf("%s, %v", all, err)
		}
	})
}

func TestTrailWithoutKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t)[:1], world, nil)
		trail := &dns.Trail{}
		if _, err := b.Client(dns.WithTrail(t.Context(), trail), addr("192.0.2.99")); err != nil {
			t.Fatal(err)
		}
		if a, _ := trail.Answers(); len(a) != 1 || a[0].Name != "99.2.0.192.zen.example" {
			t.Errorf("%+v", a)
		}
	})
}

func TestLookup(t *testing.T) {
	b := New(zones(t), Options{Resolver: start0(world)}) // no probe: all are asked
	for _, c := range []struct{ value, want string }{
		{"192.0.2.1", "zen listed, bits listed"}, {"[192.0.2.1]", "zen listed, bits listed"}, {" 192.0.2.2 ", "zen unknown_code, bits clean"},
		{"192.0.2.3", "zen error, bits clean"}, {"192.0.2.5", "zen failed, bits listed"}, {"10.0.0.1", "zen skipped, bits skipped"},
		{"mail.spam.example", "dbl listed"}, {"clean.example", "dbl clean"}, {"co.uk", "dbl skipped"},
	} {
		answers, err := b.Lookup(t.Context(), c.value)
		var got []string
		for _, a := range answers {
			got = append(got, a.Name+" "+string(a.Outcome))
			if strings.Contains(a.Why, "zen.example") { // the DNS error's own text
				t.Errorf("%s: told %q", c.value, a.Why)
			}
			why, told := strings.CutSuffix(a.Why, "messages do not ask it: "+notProbed)
			if told != (a.Outcome != Skipped) || (why == "") != a.Outcome.answered() || (a.Outcome == Listed) != (len(a.Hits) > 0) {
				t.Errorf("%s: %+v", c.value, a)
			}
		}
		if err != nil || strings.Join(got, ", ") != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.value, got, err, c.want)
		}
	}
	for _, s := range []string{"", "com", "[x]", "a b"} {
		if got, err := b.Lookup(t.Context(), s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
	if s := b.Status()[0]; s.OK || s.Why != notProbed || s.Lookups+s.Hits+s.Errors != 0 {
		t.Errorf("it was counted: %+v", s)
	}
}

func TestScore(t *testing.T) {
	rules := []CodeRule{}
	for _, r := range codes(t, map[string]string{"127.0.0.4": "XBL", "127.0.0.10": "PBL"}) {
		if r.Name == "PBL" {
			r.Weight = 0.5
		}
		rules = append(rules, r)
	}
	b := New([]Config{{Zone: "zen.example", Name: "zen", Type: IP, Codes: rules, Weight: 3},
		{Zone: "bits.example", Name: "bits", Type: IP, Codes: codes(t, map[string]string{"127.0.0.2": "x"})},
		{Zone: "white.example", Name: "white", Type: IP, Codes: codes(t, map[string]string{"127.0.0.0/16": "x"}), Weight: -2}}, Options{})
	for _, c := range []struct {
		hits string
		want float64
	}{{"", 0}, {"zen 127.0.0.4", 3}, {"zen 127.0.0.10", 0.5}, {"zen 127.0.0.10,zen 127.0.0.4", 3}, {"zen 127.0.0.4,bits 127.0.0.2", 4},
		{"white 127.0.9.3", -2}, {"white 127.0.9.3,bits 127.0.0.2", -1}, {"gone 127.0.0.2", 0}, {"zen 127.0.0.9", 0}, {"zen junk", 0}} {
		var hits []fact.ListHit
		for _, s := range strings.FieldsFunc(c.hits, func(r rune) bool { return r == ',' }) {
			name, entry, _ := strings.Cut(s, " ")
			hits = append(hits, fact.ListHit{List: name, Entry: entry})
		}
		if got := b.Score(hits); got != c.want {
			t.Errorf("%q: got %v, want %v", c.hits, got, c.want)
		}
	}
}

// Labels in front that cannot be asked for hide no name behind them.
func TestHiddenNames(t *testing.T) {
	z := newZone(Config{Zone: "dbl.example", Type: Domain, Ask: Whole}, time.Time{})
	long := strings.Repeat(strings.Repeat("a", 60)+".", 3)
	for name, want := range map[string]string{
		"x.evil.example": "x.evil.example",
		long + strings.Repeat("b", 49) + ".evil.test": long[61:] + strings.Repeat("b", 49) + ".evil.test",
		"x!y.mail.evil.test":                          "mail.evil.test",
		"x.y!":                                        "",
	} {
		if got := z.nameFor(name); got != want {
			t.Errorf("%s: asked for %q, want %q", name, got, want)
		}
	}
}

// Whatever a name is, the zone is asked for a name that fits, lies at or above
// it and is no IP address; or it is not asked.
func FuzzNameFor(f *testing.F) {
	for _, s := range []string{"mail.example.co.uk", "[192.0.2.1]", "192.0.2.1", "1.2.3.4.5", "com", "a.b.c.d.example", "_x.example", "xn--a.example",
		"bücher.example", strings.Repeat("a.", 120) + "com", "[.com", "a\x00b.com", "::1.com"} {
		f.Add(s)
	}
	registered := newZone(Config{Zone: "dbl.example", Type: Domain}, time.Time{})
	whole := newZone(Config{Zone: "dbl.example", Type: Domain, Ask: Whole}, time.Time{})
	f.Fuzz(func(t *testing.T, s string) {
		_, domain := canonical(s)
		for _, z := range []*zone{registered, whole} {
			got := z.nameFor(domain)
			if got == "" {
				continue
			}
			if !mail.ValidDomain(got+z.suffix) || !mail.IsUnder(domain, got) || !strings.Contains(got, ".") || strings.ContainsAny(got, "[]: \x00") {
				t.Errorf("%q: asked for %q", s, got)
			}
			if _, err := netip.ParseAddr(got); err == nil {
				t.Errorf("%q: asked for the address %q", s, got)
			}
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("see https://zen.example/\r\nX: y")
	f.Add(strings.Repeat("\xff\x00ä", 100))
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		if len(got) > maxReason || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) || printable(got) != got {
			t.Errorf("%q: %q", s, got)
		}
	})
}

// Everything at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t), world, func(o *Options) { o.Every = time.Second })
		run(t, NewOwn(b.Book, []netip.Addr{addr("192.0.2.1")}, time.Second).Run)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for j := range 50 {
					_, _ = b.Client(t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, byte(i*j%10 + 1)}))
					_, _ = b.Domain(t.Context(), list.PointHelo, "mail.spam.example")
					b.Score(nil)
					b.Status()
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		s := b.Status()[2]
		if s.Lookups != 1000 || s.Hits != 1000 || s.Errors != 0 {
			t.Errorf("%+v", s)
		}
	})
}
