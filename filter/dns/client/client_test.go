package client

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"mailwicket/filter/dns"
	"mailwicket/filter/dns/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zoneText = `$TTL 60
example         SOA ns.example. host.example. 1 2 3 4 30
plain.example   A 192.0.2.1
plain.example   AAAA 2001:db8::1
bytes.example   TXT "a\"b\\c" "\195\169\000"
mx.example      MX 20 b.example.
mx.example      MX 10 a.example.
nullmx.example  MX 0 .
alias.example   CNAME alias2.example.
alias2.example  CNAME plain.example.
loop.example    CNAME loop2.example.
loop2.example   CNAME loop.example.
dangling.example CNAME nowhere.example.
bad.example     TEMPERROR
zero.example    0 IN TXT "fresh"
odd\"label.example TXT "odd"
1.2.0.192.in-addr.arpa PTR host.example.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.
`

// clock is a hand that tests move.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_700_000_000, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func serve(t *testing.T, text string) (*dnstest.Zone, string) {
	t.Helper()
	z := dnstest.MustParse(text)
	s, err := dnstest.Serve(z, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return z, s.Addr()
}

func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// deaf gives the address of a server that never answers, and one of a port
// where nobody listens.
func deaf(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return pc.LocalAddr().String()
}

func closed(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	return pc.LocalAddr().String()
}

func TestAnswers(t *testing.T) {
	ctx := t.Context()
	for _, noChase := range []bool{false, true} {
		z, addr := serve(t, zoneText)
		z.Tune(dnstest.Knobs{NoChase: noChase})
		c := newClient(t, Config{Servers: []string{addr}})
		tests := []struct {
			name string
			ask  func() (any, error)
			want any
			kind dns.Failure
		}{
			{"A", func() (any, error) { return c.LookupA(ctx, "Plain.Example.") }, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, 0},
			{"AAAA", func() (any, error) { return c.LookupAAAA(ctx, "plain.example") }, []netip.Addr{netip.MustParseAddr("2001:db8::1")}, 0},
			{"TXT bytes", func() (any, error) { return c.LookupTXT(ctx, "bytes.example") }, []string{"a\"b\\c\xc3\xa9\x00"}, 0},
			{"odd name", func() (any, error) { return c.LookupTXT(ctx, `odd"label.example`) }, []string{"odd"}, 0},
			{"MX", func() (any, error) { return c.LookupMX(ctx, "mx.example") },
				[]*net.MX{{Host: "a.example", Pref: 10}, {Host: "b.example", Pref: 20}}, 0},
			{"null MX", func() (any, error) { return c.LookupMX(ctx, "nullmx.example") }, []*net.MX{{Host: "."}}, 0},
			{"PTR", func() (any, error) { return c.LookupPTR(ctx, netip.MustParseAddr("192.0.2.1")) }, []string{"host.example"}, 0},
			{"PTR of mapped", func() (any, error) { return c.LookupPTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1")) }, []string{"host.example"}, 0},
			{"PTR IPv6", func() (any, error) { return c.LookupPTR(ctx, netip.MustParseAddr("2001:db8::1")) }, []string{"six.example"}, 0},
			{"alias", func() (any, error) { return c.LookupA(ctx, "alias.example") }, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, 0},
			{"alias without type", func() (any, error) { return c.LookupTXT(ctx, "alias.example") }, []string(nil), dns.NoData},
			{"alias to nothing", func() (any, error) { return c.LookupA(ctx, "dangling.example") }, []netip.Addr(nil), dns.NXDomain},
			{"alias loop", func() (any, error) { return c.LookupA(ctx, "loop.example") }, []netip.Addr(nil), dns.Temporary},
			{"no such name", func() (any, error) { return c.LookupA(ctx, "absent.example") }, []netip.Addr(nil), dns.NXDomain},
			{"no such type", func() (any, error) { return c.LookupMX(ctx, "plain.example") }, []*net.MX(nil), dns.NoData},
			{"SERVFAIL", func() (any, error) { return c.LookupA(ctx, "bad.example") }, []netip.Addr(nil), dns.Temporary},
			{"impossible", func() (any, error) { return c.LookupA(ctx, "a..b") }, []netip.Addr(nil), dns.NXDomain},
			{"long label", func() (any, error) { return c.LookupTXT(ctx, strings.Repeat("x", 64)+".example") }, []string(nil), dns.NXDomain},
		}
		for _, tt := range tests {
			got, err := tt.ask()
			if !reflect.DeepEqual(got, tt.want) || dns.Kind(err) != tt.kind {
				t.Errorf("noChase %v, %s: %v, %v; want %v, kind %d", noChase, tt.name, got, err, tt.want, tt.kind)
			}
			if err != nil && reflect.TypeOf(err) != reflect.TypeFor[*net.DNSError]() {
				t.Errorf("%s: the error is a %T", tt.name, err)
			}
		}
		for q := range z.Queries() {
			if strings.Contains(q, "..") || strings.Contains(q, "xxxx") {
				t.Errorf("%s was asked", q)
			}
		}
	}
}

func TestLargeAnswerOverTCP(t *testing.T) {
	var parts []string
	for i := range 20 {
		parts = append(parts, `"`+strings.Repeat(string(rune('a'+i)), 250)+`"`)
	}
	z, addr := serve(t, "big.example TXT "+strings.Join(parts, " "))
	c := newClient(t, Config{Servers: []string{addr}})
	got, err := c.LookupTXT(t.Context(), "big.example")
	if err != nil || len(got) != 1 || len(got[0]) != 5000 || !strings.HasPrefix(got[0], "aaa") {
		t.Fatalf("got %d records, %v", len(got), err)
	}
	if n := z.Queries()["big.example TXT"]; n != 2 {
		t.Errorf("asked %d times, want once over UDP and once over TCP", n)
	}
}

func TestNextServer(t *testing.T) {
	for name, k := range map[string]dnstest.Knobs{"REFUSED": {Refuse: true}, "SERVFAIL": {ServFail: true}, "silence": {Drop: true}} {
		t.Run(name, func(t *testing.T) {
			first, a := serve(t, zoneText)
			_, b := serve(t, zoneText)
			first.Tune(k)
			c := newClient(t, Config{Servers: []string{a, b}, Timeout: 100 * time.Millisecond})
			var tr dns.Trail
			if _, err := c.LookupA(dns.WithTrail(t.Context(), &tr), "plain.example"); err != nil {
				t.Fatal(err)
			}
			if got, _ := tr.Answers(); len(got) != 1 || got[0].Server != b || got[0].Result != "ok" {
				t.Errorf("trail %+v", got)
			}
			if n := first.Queries()["plain.example A"]; n != 1 {
				t.Errorf("the first server was asked %d times", n)
			}
		})
	}
}

func TestDeadServerRests(t *testing.T) {
	var mu sync.Mutex
	var log []string
	z, good := serve(t, zoneText+"*.w.example TXT x")
	dead, hand := closed(t), &clock{}
	c := newClient(t, Config{Servers: []string{dead, good}, Clock: hand.now, Observer: Observer{
		Query: func(server, qtype, result string, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, strings.Replace(server, dead, "dead", 1)+" "+result)
		}}})
	ask := func(name string) {
		t.Helper()
		if _, err := c.LookupTXT(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	ask("1.w.example")
	ask("2.w.example") // the dead one is not tried
	hand.advance(restTime + time.Second)
	ask("3.w.example") // tried again
	want := []string{"dead unreachable", good + " ok", good + " ok", "dead unreachable", good + " ok"}
	if !reflect.DeepEqual(log, want) {
		t.Errorf("exchanges %q, want %q", log, want)
	}
	// With nobody left, the resting ones are still asked.
	z.Tune(dnstest.Knobs{Refuse: true})
	if _, err := c.LookupTXT(t.Context(), "4.w.example"); dns.Kind(err) != dns.Temporary {
		t.Errorf("got %v", err)
	}
}

func TestSilentServerRestsAfterSome(t *testing.T) {
	_, good := serve(t, "*.w.example TXT x")
	silent := deaf(t)
	var asked atomic.Int32
	c := newClient(t, Config{Servers: []string{silent, good}, Timeout: 40 * time.Millisecond, Clock: (&clock{}).now,
		Observer: Observer{Query: func(server, _, result string, _ time.Duration) {
			if server == silent && result == "timeout" {
				asked.Add(1)
			}
		}}})
	for i := range 6 {
		if _, err := c.LookupTXT(t.Context(), fmt.Sprintf("%d.w.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != silences {
		t.Errorf("the silent server was asked %d times, want %d", n, silences)
	}
}

func TestTimeoutError(t *testing.T) {
	c := newClient(t, Config{Servers: []string{deaf(t)}, Timeout: 20 * time.Millisecond})
	_, err := c.LookupA(t.Context(), "plain.example")
	de, ok := err.(*net.DNSError)
	if !ok || !de.IsTimeout || !de.IsTemporary || de.Name != "plain.example" {
		t.Errorf("got %#v", err)
	}
}

func TestCoalescing(t *testing.T) {
	z, addr := serve(t, zoneText)
	z.Tune(dnstest.Knobs{Delay: 100 * time.Millisecond})
	c := newClient(t, Config{Servers: []string{addr}})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if got, err := c.LookupTXT(t.Context(), "zero.example"); err != nil || got[0] != "fresh" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := z.Queries()["zero.example TXT"]; n != 1 {
		t.Errorf("200 lookups made %d exchanges", n)
	}
	// RFC 1035, 3.2.1: what has no lifetime is not kept.
	if _, err := c.LookupTXT(t.Context(), "zero.example"); err != nil {
		t.Fatal(err)
	}
	if n := z.Queries()["zero.example TXT"]; n != 2 {
		t.Errorf("TTL 0 was kept: %d exchanges", n)
	}
}

func TestCallerLeaves(t *testing.T) {
	z, addr := serve(t, zoneText)
	z.Tune(dnstest.Knobs{Delay: 300 * time.Millisecond})
	c := newClient(t, Config{Servers: []string{addr}})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	start := time.Now()
	_, err := c.LookupA(ctx, "plain.example")
	if dns.Kind(err) != dns.Temporary || time.Since(start) > 200*time.Millisecond {
		t.Errorf("the leaver got %v after %v", err, time.Since(start))
	}
	if got, err := c.LookupA(t.Context(), "plain.example"); err != nil || len(got) != 1 {
		t.Errorf("the other got %v, %v", got, err)
	}
	if n := z.Queries()["plain.example A"]; n != 1 {
		t.Errorf("%d exchanges, want 1", n)
	}
	if _, err := c.LookupA(ctx, "absent.example"); dns.Kind(err) != dns.Temporary {
		t.Errorf("a dead context got %v", err)
	}
	if n := z.Queries()["absent.example A"]; n != 0 {
		t.Error("a dead context made a query")
	}
}

func TestLifetimes(t *testing.T) {
	tests := []struct {
		name string
		ask  func(context.Context, *Client) error
		ttl  time.Duration
	}{
		{"positive", func(ctx context.Context, c *Client) error { _, err := c.LookupA(ctx, "plain.example"); return err }, 60 * time.Second},
		{"NXDOMAIN", func(ctx context.Context, c *Client) error { _, err := c.LookupA(ctx, "absent.example"); return err }, 30 * time.Second},
		{"NODATA", func(ctx context.Context, c *Client) error { _, err := c.LookupTXT(ctx, "plain.example"); return err }, 30 * time.Second},
		{"failure", func(ctx context.Context, c *Client) error { _, err := c.LookupA(ctx, "bad.example"); return err }, 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z, addr := serve(t, zoneText)
			hand, hits := &clock{}, 0
			c := newClient(t, Config{Servers: []string{addr}, Clock: hand.now,
				Observer: Observer{Cache: func(hit bool) {
					if hit {
						hits++
					}
				}}})
			queries := func() (n int) {
				for _, q := range z.Queries() {
					n += q
				}
				return n
			}
			first := tt.ask(t.Context(), c)
			hand.advance(tt.ttl - time.Second)
			var tr dns.Trail
			again := tt.ask(dns.WithTrail(t.Context(), &tr), c)
			if fmt.Sprint(again) != fmt.Sprint(first) {
				t.Errorf("from the cache: %v, before: %v", again, first)
			}
			if n := queries(); n != 1 || hits != 1 {
				t.Errorf("%d queries and %d hits while it lives", n, hits)
			}
			if got, _ := tr.Answers(); len(got) != 1 || !got[0].Cached || got[0].TTL != time.Second {
				t.Errorf("trail %+v", got)
			}
			hand.advance(2 * time.Second)
			_ = tt.ask(t.Context(), c)
			if n := queries(); n != 2 {
				t.Errorf("%d queries after its end", n)
			}
		})
	}
}

func TestAnswersBelongToCaller(t *testing.T) {
	_, addr := serve(t, zoneText)
	c := newClient(t, Config{Servers: []string{addr}})
	mx, _ := c.LookupMX(t.Context(), "mx.example")
	mx[0].Host = "changed"
	txt, _ := c.LookupTXT(t.Context(), "bytes.example")
	txt[0] = "changed"
	mx, _ = c.LookupMX(t.Context(), "mx.example")
	txt, _ = c.LookupTXT(t.Context(), "bytes.example")
	if mx[0].Host != "a.example" || txt[0] == "changed" {
		t.Errorf("a caller changed the cache: %v %q", mx[0], txt)
	}
}

// liar answers over UDP and TCP with what fn makes of the right reply; several
// replies go out in their order.
func liar(t *testing.T, fn func(network string, right *mdns.Msg) []*mdns.Msg) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Skipf("the TCP port is taken: %v", err)
	}
	h := mdns.HandlerFunc(func(w mdns.ResponseWriter, req *mdns.Msg) {
		m := new(mdns.Msg).SetReply(req)
		rr, _ := mdns.NewRR(req.Question[0].Name + " 60 A 192.0.2.1")
		m.Answer = []mdns.RR{rr}
		for _, out := range fn(w.RemoteAddr().Network(), m) {
			_ = w.WriteMsg(out)
		}
	})
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // runs after both have been shut down
	for _, s := range []*mdns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return pc.LocalAddr().String()
}

func TestLiars(t *testing.T) {
	forged := func(right *mdns.Msg) *mdns.Msg {
		m := right.Copy()
		m.Answer[0].(*mdns.A).A = net.IPv4(203, 0, 113, 66)
		return m
	}
	tests := []struct {
		name string
		fn   func(string, *mdns.Msg) []*mdns.Msg
		want string // address, or "" for a temporary error
	}{
		{"honest", func(_ string, m *mdns.Msg) []*mdns.Msg { return []*mdns.Msg{m} }, "192.0.2.1"},
		{"wrong ID first", func(_ string, m *mdns.Msg) []*mdns.Msg {
			f := forged(m)
			f.Id++
			return []*mdns.Msg{f, m}
		}, "192.0.2.1"},
		{"other question first", func(_ string, m *mdns.Msg) []*mdns.Msg {
			f := forged(m)
			f.Question[0].Name = "other.example."
			return []*mdns.Msg{f, m}
		}, "192.0.2.1"},
		{"other question only", func(_ string, m *mdns.Msg) []*mdns.Msg {
			f := forged(m)
			f.Question[0].Name = "other.example."
			return []*mdns.Msg{f}
		}, ""},
		{"other type only", func(_ string, m *mdns.Msg) []*mdns.Msg {
			f := forged(m)
			f.Question[0].Qtype = mdns.TypeTXT
			return []*mdns.Msg{f}
		}, ""},
		{"no question", func(_ string, m *mdns.Msg) []*mdns.Msg {
			m.Question = nil
			return []*mdns.Msg{m}
		}, ""},
		{"a query for an answer", func(_ string, m *mdns.Msg) []*mdns.Msg {
			m.Response = false
			return []*mdns.Msg{m}
		}, ""},
		{"truncated with data", func(network string, m *mdns.Msg) []*mdns.Msg {
			if network == "udp" {
				m = forged(m)
				m.Truncated = true
			}
			return []*mdns.Msg{m}
		}, "192.0.2.1"},
		{"truncated over TCP too", func(_ string, m *mdns.Msg) []*mdns.Msg {
			m.Truncated = true
			return []*mdns.Msg{m}
		}, ""},
		{"no EDNS", func(_ string, m *mdns.Msg) []*mdns.Msg { return []*mdns.Msg{m} }, "192.0.2.1"},
		{"flood of guesses", func(network string, m *mdns.Msg) []*mdns.Msg {
			if network != "udp" {
				return []*mdns.Msg{m}
			}
			out := make([]*mdns.Msg, maxStray)
			for i := range out {
				out[i] = forged(m)
				out[i].Id += uint16(i + 1)
			}
			return append(out, forged(m))
		}, "192.0.2.1"},
		{"referral", func(_ string, m *mdns.Msg) []*mdns.Msg {
			rr, _ := mdns.NewRR("example. 60 NS ns.example.")
			m.Answer, m.Ns = nil, []mdns.RR{rr}
			return []*mdns.Msg{m}
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, Config{Servers: []string{liar(t, tt.fn)}, Timeout: 150 * time.Millisecond, Attempts: 1})
			got, err := c.LookupA(t.Context(), "plain.example")
			if tt.want == "" {
				if dns.Kind(err) != dns.Temporary {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if err != nil || len(got) != 1 || got[0].String() != tt.want {
				t.Errorf("got %v, %v; want %s", got, err, tt.want)
			}
		})
	}
}

// TestOldServer: one that does not know EDNS is asked without it.
func TestOldServer(t *testing.T) {
	var plain atomic.Int32
	addr := liar(t, func(_ string, m *mdns.Msg) []*mdns.Msg {
		if plain.Add(1) == 1 {
			m.Rcode, m.Answer = mdns.RcodeFormatError, nil
		}
		return []*mdns.Msg{m}
	})
	c := newClient(t, Config{Servers: []string{addr}})
	if got, err := c.LookupA(t.Context(), "plain.example"); err != nil || len(got) != 1 || plain.Load() != 2 {
		t.Errorf("got %v, %v after %d queries", got, err, plain.Load())
	}
}

func TestCheck(t *testing.T) {
	_, addr := serve(t, zoneText)
	if err := newClient(t, Config{Servers: []string{closed(t), addr}}).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := newClient(t, Config{Servers: []string{closed(t)}}).Check(t.Context()); dns.Kind(err) != dns.Temporary || !strings.Contains(err.Error(), "lookup . on 127.0.0.1:") {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := newClient(t, Config{Servers: []string{deaf(t)}}).Check(ctx); dns.Kind(err) != dns.Temporary || time.Since(start) > time.Second {
		t.Errorf("silence: %v after %v", err, time.Since(start))
	}
}

func TestClose(t *testing.T) {
	c := newClient(t, Config{Servers: []string{deaf(t)}})
	time.AfterFunc(20*time.Millisecond, c.Close)
	start := time.Now()
	if _, err := c.LookupA(t.Context(), "plain.example"); dns.Kind(err) != dns.Temporary || time.Since(start) > time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}

func TestConfig(t *testing.T) {
	for _, servers := range [][]string{nil, {"192.0.2.1"}, {":53"}, {"192.0.2.1:0"}, {"192.0.2.1:dns"}, {"2001:db8::1:53"}} {
		if c, err := New(Config{Servers: servers}); err == nil {
			c.Close()
			t.Errorf("%q was accepted", servers)
		}
	}
	c := newClient(t, Config{Servers: []string{"[2001:db8::1]:53", "resolver:5353"}})
	if len(c.servers) != 2 {
		t.Error("servers got lost")
	}
}

func TestSystemServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("search example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := serversOf(file)
	if want := []string{"192.0.2.53:53", "[2001:db8::53]:53"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := serversOf(file); err == nil {
		t.Error("an empty file was accepted")
	}
}

// TestBounded: large answers weigh more, so that hostile zones cannot fill the
// memory.
func TestBounded(t *testing.T) {
	_, addr := serve(t, "*.big.example TXT "+strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 8)) // 4 units each
	c := newClient(t, Config{Servers: []string{addr}, CacheSize: 40})
	for i := range 60 {
		if _, err := c.LookupTXT(t.Context(), fmt.Sprintf("%d.big.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	c.cache.CleanUp()
	if n := c.Len(); n > 10 || n == 0 {
		t.Errorf("%d entries of 4 units in a cache of 40", n)
	}
}

func BenchmarkCached(b *testing.B) {
	z := dnstest.MustParse(zoneText)
	s, err := dnstest.Serve(z, "")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := newClient(b, Config{Servers: []string{s.Addr()}})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.LookupA(ctx, "plain.example"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUncached(b *testing.B) {
	z := dnstest.MustParse(zoneText)
	s, err := dnstest.Serve(z, "")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := newClient(b, Config{Servers: []string{s.Addr()}})
	ctx := b.Context()
	for b.Loop() {
		if _, err := c.LookupTXT(ctx, "zero.example"); err != nil {
			b.Fatal(err)
		}
	}
}
