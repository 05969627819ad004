package dnsbl

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter/dns"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/list"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testEntries are what a good zone answers to probes.
const testEntries = `
2.0.0.127 A 127.0.0.2
test      A 127.0.0.2
`

// world is the DNS of most tests.
const world = `
$ORIGIN zen.example.
` + testEntries + `
1.2.0.192    A   127.0.0.10
1.2.0.192    A   127.0.0.4
1.2.0.192    TXT "https://zen.example/?q=192.0.2.1"
2.2.0.192    A   127.0.0.77
3.2.0.192    A   127.255.255.254
4.2.0.192    A   127.0.0.2
4.2.0.192    A   192.0.2.80
5.2.0.192    TEMPERROR
6.2.0.192    A   TIMEOUT
7.2.0.192    TXT "no address"
8.2.0.192    A   127.0.0.4
8.2.0.192    TXT TIMEOUT
9.2.0.192    A   127.0.0.4
9.2.0.192    TXT "two\010lines and \195\164"
9.2.0.192    TXT "another"
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.3
$ORIGIN bits.example.
` + testEntries + `
1.2.0.192    A   127.0.0.6
5.2.0.192    A   127.0.0.2
$ORIGIN dbl.example.
` + testEntries + `
spam.example    A 127.0.0.2
host.ham.example A 127.0.0.2
`

// seen is what observer and log were told.
type seen struct {
	mu      sync.Mutex
	lookups map[string]int // by "zone outcome"
	health  []string
	own     []string
	log     strings.Builder
}

func (s *seen) observer() Observer {
	return Observer{
		Lookup: func(zone, outcome string, _ time.Duration) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lookups[zone+" "+outcome]++
		},
		Health: func(zone string, ok bool, why string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.health = append(s.health, strings.TrimSpace(fmt.Sprint(zone, " ", ok, " ", why)))
		},
		Own: func(a netip.Addr, zone string, listed bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.own = append(s.own, fmt.Sprint(a, " ", zone, " ", listed))
		},
	}
}

func (s *seen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *seen) logged() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.FieldsFunc(s.log.String(), func(r rune) bool { return r == '\n' })
}

func (s *seen) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.health...)
}

// tookOwn gives what was told of own addresses since the last call.
func (s *seen) tookOwn() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.own
	s.own = nil
	return own
}

// bench is a Book over a zone file, inside a bubble of false time.
type bench struct {
	*Book
	*seen
	dns *dnstest.Zone
}

// zones gives a Config for each of the world's.
func zones(t testing.TB) []Config {
	any8 := codes(t, map[string]string{"127.0.0.2-11": "listed", "127.0.0.4": "XBL", "127.0.0.10": "PBL"})
	return []Config{
		{Zone: "zen.example", Name: "zen", Type: IP, Codes: any8},
		{Zone: "bits.example", Name: "bits", Type: IP, Codes: codes(t, map[string]string{"127.0.0.0&2": "two", "127.0.0.0&4": "four", "127.0.0.0&8": "eight"})},
		{Zone: "dbl.example", Name: "dbl", Type: Domain, Codes: any8, Apply: []list.Point{list.PointHelo, list.PointDKIM}},
	}
}

// start makes a Book and lets its first probes end. Chance is always in the
// middle, so that pauses are exact.
func start(t *testing.T, cfgs []Config, text string, change func(*Options)) bench {
	t.Helper()
	if ps := Problems(cfgs); len(ps) > 0 {
		t.Fatal(ps)
	}
	b := bench{seen: &seen{lookups: map[string]int{}}, dns: dnstest.MustParse(text)}
	o := Options{Resolver: b.dns.Resolver(), Log: slog.New(slog.NewTextHandler(b.seen, nil)), Observer: b.observer(),
		Rand: func() float64 { return 0.5 }}
	if change != nil {
		change(&o)
	}
	b.Book = New(cfgs, o)
	run(t, b.Run)
	synctest.Wait()
	return b
}

// run runs f until the test's end.
func run(t *testing.T, f func(context.Context)) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// hang answers nothing below zen.example from the moment that it is switched on.
type hang struct {
	dns.Resolver
	on, text atomic.Bool // for addresses, for text
}

// options is a change for start.
func (h *hang) options(o *Options) { h.Resolver, o.Resolver = o.Resolver, h }

func (h *hang) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	if h.on.Load() && strings.HasSuffix(name, ".zen.example") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.Resolver.LookupA(ctx, name)
}

func (h *hang) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if h.text.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.Resolver.LookupTXT(ctx, name)
}
