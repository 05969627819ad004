package dnsbl

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/dns"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/list"
)

func start0(text string) dns.Resolver { return dnstest.MustParse(text).Resolver() }

// clean asks for an address that is not listed.
func (b bench) clean(t *testing.T) error {
	_, err := b.Client(t.Context(), addr("192.0.2.99"))
	return err
}

// An error answer takes a zone out at once, once, and for its whole pause; a
// pattern that spans it makes no hit.
func TestErrorAnswers(t *testing.T) {
	for _, answer := range []string{"127.255.255.252", "127.255.255.254", "127.255.255.255", "127.255.255.0", "192.0.2.80", "126.255.255.255", "128.0.0.0"} {
		t.Run(answer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{Zone: "zen.example", Name: "zen", Type: IP, Codes: codes(t, map[string]string{"127.0.0.0/8": "any"})}
				b := start(t, []Config{cfg}, "$ORIGIN zen.example.\n"+testEntries+"3.2.0.192 A "+answer+"\n", nil)
				for range 3 {
					if hits, err := b.Client(t.Context(), addr("192.0.2.3")); hits != nil || !errors.Is(err, ErrNoAnswer) {
						t.Errorf("got %v, %v", hits, err)
					}
				}
				if q := b.dns.Queries()["3.2.0.192.zen.example A"]; q != 1 {
					t.Errorf("asked %d times", q)
				}
				told := b.told()
				if len(told) != 2 || told[0] != "zen true" || !strings.HasPrefix(told[1], "zen false answered "+answer) {
					t.Errorf("told %q", told)
				}
				if l := b.logged(); len(l) != 2 || !strings.Contains(l[1], "level=WARN") || !strings.Contains(l[1], "zone=zen") {
					t.Errorf("logged %q", l)
				}
				s := b.Status()[0]
				if s.OK || !strings.Contains(s.Why, answer) || s.Lookups != 1 || s.Hits != 0 || s.Errors != 1 {
					t.Errorf("%+v", s)
				}
				time.Sleep(10*time.Minute - time.Second)
				synctest.Wait()
				if b.clean(t) == nil {
					t.Error("came back before its time")
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if err := b.clean(t); err != nil {
					t.Errorf("a good probe did not bring it back: %v", err)
				}
			})
		})
	}
}

func TestProbes(t *testing.T) {
	const origin = "$ORIGIN zen.example.\n"
	ip := Config{Zone: "zen.example", Name: "zen", Type: IP, Codes: codes(t, map[string]string{"127.0.0.2": "listed"})}
	name := Config{Zone: "zen.example", Name: "zen", Type: Domain, Codes: ip.Codes, Apply: []list.Point{list.PointHelo}}
	with := func(c Config, zone, test string) Config { c.Zone, c.Test = zone, test; return c }
	for _, c := range []struct {
		name string
		cfg  Config
		text string
		want string // part of why; empty for a good zone
	}{
		{"good", ip, origin + "2.0.0.127 A 127.0.0.2", ""},
		{"a code that we do not name", ip, origin + "2.0.0.127 A 127.0.0.77", ""},
		{"empty", ip, origin + "x A 127.0.0.2", "does not list its test entry 2.0.0.127"},
		{"gone", ip, "", "does not list its test entry 2.0.0.127"},
		{"lists everything", ip, origin + "* A 127.0.0.2", "lists 1.0.0.127 (127.0.0.2), as if it listed everything"},
		{"lists all of IPv6", ip, origin + "2.0.0.127 A 127.0.0.2\n*.0.0.0.0 A 127.0.0.2", "lists 1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 "},
		{"parked", ip, origin + "* A 192.0.2.80", "192.0.2.80, which is no code"},
		{"refuses", ip, origin + "* A 127.255.255.254", "public resolvers"},
		{"refuses the test entry only", ip, origin + "2.0.0.127 A 127.255.255.255", "too many questions"},
		{"SERVFAIL", ip, origin + "2.0.0.127 TEMPERROR", "cannot be looked up"},
		{"no answer", ip, origin + "1.0.0.127 TIMEOUT\n2.0.0.127 A 127.0.0.2", "cannot be looked up"},
		{"an entry of our own", with(ip, "zen.example", "192.0.2.7"), origin + "7.2.0.192 A 127.0.0.2", ""},
		{"without that", with(ip, "zen.example", "192.0.2.7"), origin + "2.0.0.127 A 127.0.0.2", "does not list its test entry 7.2.0.192"},
		{"domains", name, origin + "test A 127.0.0.2", ""},
		{"no domains", name, origin + "2.0.0.127 A 127.0.0.2", "does not list its test entry test"},
		{"all domains", name, origin + "* A 127.0.0.2", "lists invalid (127.0.0.2)"},
		{"blocks us", name, origin + "* A 127.0.0.1", "answered 127.0.0.1: the question was refused"},
		{"a name of our own", with(name, "zen.example", "Bad.example"), origin + "bad.example A 127.0.0.2", ""},
		{"a known zone with the standard's entry", with(name, "multi.uribl.com", ""), "test.multi.uribl.com A 127.0.0.14", ""},
		{"a known zone with its own entry", with(name, "multi.uribl.com", ""), "test.uribl.com.multi.uribl.com A 127.0.0.14", ""},
		{"a known zone with none", with(name, "multi.uribl.com", ""), "", "does not list its test entry test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, []Config{c.cfg}, c.text, nil)
				s, told := b.Status()[0], b.told()
				if s.OK != (c.want == "") || !strings.Contains(s.Why, c.want) || len(told) != 1 || !strings.Contains(told[0], c.want) {
					t.Errorf("%+v, told %q; want %q", s, told, c.want)
				}
			})
		})
	}
}

// flaky fails as it is told, and notes when the test entry was asked for.
type flaky struct {
	dns.Resolver
	down  atomic.Bool
	begin time.Time
	asked []time.Duration
}

func (f *flaky) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	if strings.HasPrefix(name, "1.0.0.127.") {
		f.asked = append(f.asked, time.Since(f.begin))
	}
	if f.down.Load() {
		return nil, context.DeadlineExceeded
	}
	return f.Resolver.LookupA(ctx, name)
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{begin: time.Now()}
		b := start(t, zones(t)[:1], world, func(o *Options) { f.Resolver, o.Resolver = o.Resolver, f })
		at := func(d time.Duration) { time.Sleep(d - time.Since(f.begin)); synctest.Wait() }

		at(19 * time.Minute) // one probe is lost, then it is as before
		f.down.Store(true)
		at(20*time.Minute + time.Second)
		f.down.Store(false)
		if !b.Status()[0].OK {
			t.Error("one lost probe took the zone out")
		}
		at(22 * time.Minute) // the next at 21
		f.down.Store(true)   // 31 is lost, 32 takes it out; then 34, 38, 46, 56
		at(33 * time.Minute)
		if s := b.Status()[0]; s.OK || s.Since.Sub(f.begin) != 32*time.Minute {
			t.Errorf("in service after two lost probes: %+v", s)
		}
		at(47 * time.Minute)
		f.down.Store(false)
		at(57 * time.Minute)
		if s := b.Status()[0]; !s.OK || s.Why != "" {
			t.Errorf("still out of service: %+v", s)
		}
		at(67 * time.Minute)
		var got []int
		for _, d := range f.asked {
			got = append(got, int(d/time.Minute))
		}
		if want := []int{0, 10, 20, 21, 31, 32, 34, 38, 46, 56, 66}; !slices.Equal(got, want) {
			t.Errorf("probed at %v, want %v", got, want)
		}
		if told := b.told(); len(told) != 3 {
			t.Errorf("told %q", told)
		}
	})
}

func TestSpread(t *testing.T) {
	for _, c := range []struct{ rand, want float64 }{{0, 540}, {0.5, 600}, {0.999999, 659.99}} {
		b := New(nil, Options{Rand: func() float64 { return c.rand }})
		if got := b.spread(10 * time.Minute).Seconds(); got < c.want-0.01 || got > c.want+0.01 {
			t.Errorf("%v: %v s, want %v", c.rand, got, c.want)
		}
	}
}

// A zone that has not been probed is not asked, and nobody waits for it.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := dnstest.MustParse(world)
		z.Tune(dnstest.Knobs{Delay: time.Second})
		b := start(t, zones(t), world, func(o *Options) { o.Resolver = z.Resolver() })
		begin := time.Now()
		if _, err := b.Client(t.Context(), addr("192.0.2.1")); !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), notProbed) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("waited %v", took)
		}
		if n := z.Queries()["1.2.0.192.zen.example A"]; n > 0 || len(b.told()) > 0 {
			t.Errorf("asked %d times, told %q", n, b.told())
		}
		time.Sleep(5 * time.Second)
		if hits, err := b.Client(t.Context(), addr("192.0.2.1")); err != nil || len(hits) != 4 {
			t.Errorf("after the probe: %v, %v", hits, err)
		}
	})
}

// A zone that hangs is left alone after five lookups, and probed a minute later.
func TestFailingZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t), world, nil)
		hanging := addr("192.0.2.6")
		for range 4 {
			_, _ = b.Client(t.Context(), hanging)
		}
		for range 8 { // answers in between: it is alive
			if err := b.clean(t); err != nil || !b.Status()[0].OK {
				t.Fatal(err, b.Status()[0])
			}
		}
		for range 5 {
			if !b.Status()[0].OK {
				t.Error("out of service too early")
			}
			_, _ = b.Client(t.Context(), hanging)
		}
		if s := b.Status()[0]; s.OK || !strings.Contains(s.Why, "many lookups failed: ") || s.Errors != 9 {
			t.Errorf("still asked: %+v", s)
		}
		if s := b.Status()[1]; !s.OK || s.Lookups != 17 {
			t.Errorf("the other zone: %+v", s)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if s := b.Status()[0]; !s.OK {
			t.Errorf("a good probe did not bring it back: %+v", s)
		}
		_, _ = b.Client(t.Context(), hanging)
		if !b.Status()[0].OK {
			t.Error("the failures before the probe still count")
		}
	})
}

// A zone that hangs at every second question goes out as well, one that hangs at
// every fourth stays.
func TestOftenFailing(t *testing.T) {
	for every, want := range map[int]bool{2: false, 4: true} {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, zones(t)[:1], world, nil)
			for i := range 40 {
				if i%every == 0 {
					_, _ = b.Client(t.Context(), addr("192.0.2.6"))
				} else {
					_ = b.clean(t)
				}
				if want != b.Status()[0].OK && (want || i > 30) {
					t.Fatalf("every %d fails: %+v after %d", every, b.Status()[0], i)
				}
			}
		})
	}
}

// What was asked before a zone refused us, and fails after, does not hasten the
// next probe.
func TestLateFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hang{}
		b := start(t, zones(t)[:1], world, h.options)
		h.on.Store(true)
		var wg sync.WaitGroup
		for range maxFailures {
			wg.Go(func() { _ = b.clean(t) })
		}
		synctest.Wait() // they wait
		h.on.Store(false)
		_, _ = b.Client(t.Context(), addr("192.0.2.3"))
		wg.Wait()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if s := b.Status()[0]; s.OK || !strings.Contains(s.Why, "127.255.255.254") || len(b.told()) != 2 {
			t.Errorf("%+v, told %q", s, b.told())
		}
	})
}

// A probe that the end of Run cuts off says nothing.
func TestEndOfRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hang{Resolver: start0(world)}
		h.on.Store(true)
		s := &seen{}
		b := New(zones(t)[:1], Options{Resolver: h, Observer: s.observer()})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.Run(ctx)
		if st := b.Status()[0]; st.Why != notProbed || len(s.told()) > 0 {
			t.Errorf("%+v, told %q", st, s.told())
		}
	})
}

func TestCanceledIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hang{}
		b := start(t, zones(t)[:1], world, h.options)
		h.on.Store(true)
		for range 2 * maxFailures {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			if _, err := b.Client(ctx, addr("192.0.2.1")); err == nil {
				t.Error("no error")
			}
		}
		if s := b.Status()[0]; !s.OK {
			t.Errorf("clients that left took the zone out: %+v", s)
		}
	})
}

func TestUnknownCodeIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t)[:1], world, nil)
		for range 3 {
			if hits, err := b.Client(t.Context(), addr("192.0.2.2")); hits != nil || err != nil {
				t.Errorf("got %v, %v", hits, err)
			}
		}
		s := b.Status()[0]
		if !s.OK || s.Unknown != 3 || s.Hits != 0 || s.Errors != 0 {
			t.Errorf("%+v", s)
		}
		if l := b.logged(); len(l) != 2 || !strings.Contains(l[1], "127.0.0.77") {
			t.Errorf("logged %q", l)
		}
	})
}

func TestCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := start(t, zones(t), world, nil)
		if _, err := old.Client(t.Context(), addr("192.0.2.3")); err != nil { // zen goes out of service
			t.Fatal(err)
		}
		cfgs := zones(t)
		cfgs[1].Name = "renamed"
		cfgs[2].Zone = "other.example"
		another := cfgs[0]
		another.Name, another.Key = "key", "k3y"
		cfgs = append(cfgs, another)
		s := &seen{}
		b := New(cfgs, Options{Resolver: old.o.Resolver, Observer: s.observer()})
		b.Carry(nil)
		b.Carry(old.Book)
		var got []string
		for i, z := range b.Status() {
			got = append(got, z.Name+" "+map[bool]string{true: "ok", false: z.Why[:min(len(z.Why), 10)]}[z.OK])
			if want := (i == 0); (z.Lookups == 1) != want || !z.Since.Equal(old.Status()[0].Since) {
				t.Errorf("%+v", z)
			}
		}
		if diff := cmp.Diff([]string{"zen answered 1", "renamed ok", "dbl not probed", "key not probed"}, got); diff != "" {
			t.Error(diff)
		}
		if told := s.told(); len(told) != 2 || told[1] != "renamed true" {
			t.Errorf("told %q", told)
		}
	})
}

func TestOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t), world, nil)
		o := NewOwn(b.Book, []netip.Addr{addr("192.0.2.1"), addr("10.0.0.1"), addr("192.0.2.6")}, 0)
		begin := time.Now()
		run(t, o.Run)
		synctest.Wait()
		// zen does not answer for the second address.
		want := []string{"192.0.2.1 zen true", "192.0.2.1 bits true", "192.0.2.6 bits false"}
		if diff := cmp.Diff(want, b.tookOwn()); diff != "" {
			t.Error(diff)
		}
		s := o.Status()
		if len(s) != 4 || !s[0].Listed || !strings.HasPrefix(s[0].Reason, "XBL: ") || !s[0].At.Equal(begin) || !s[2].At.IsZero() || s[3].Listed {
			t.Errorf("%+v", s)
		}
		if l := b.logged(); !strings.Contains(strings.Join(l, "\n"), `msg="own address was listed" addr=192.0.2.1 zone=zen why="XBL: `) {
			t.Errorf("logged %q", l)
		}

		if err := b.dns.Set("$ORIGIN zen.example.\n" + testEntries + "$ORIGIN bits.example.\n" + testEntries); err != nil {
			t.Fatal(err)
		}
		time.Sleep(90 * time.Second) // what failed is asked again soon, the rest not
		synctest.Wait()
		if diff := cmp.Diff([]string{"192.0.2.6 zen false"}, b.tookOwn()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Hour - 90*time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"192.0.2.1 zen false", "192.0.2.1 bits false", "192.0.2.6 bits false"}, b.tookOwn()); diff != "" {
			t.Error(diff)
		}
		if s := o.Status(); s[0].Listed || s[0].Reason != "" {
			t.Errorf("%+v", s)
		}
	})
}

// A zone that is out of service says nothing about own addresses: what it said
// last stays.
func TestOwnOutOfService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t)[:1], world, nil)
		o := NewOwn(b.Book, []netip.Addr{addr("192.0.2.1")}, 0)
		run(t, o.Run)
		synctest.Wait()
		b.dns.Tune(dnstest.Knobs{ServFail: true})
		b.tookOwn()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if s, own := o.Status(), b.tookOwn(); len(own) > 0 || !s[0].Listed || b.Status()[0].OK {
			t.Errorf("told %q, %+v, zone %+v", own, s, b.Status()[0])
		}
	})
}

// What was told of an own address is not told again after a reload.
func TestOwnCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t)[:1], world, nil)
		addrs := []netip.Addr{addr("192.0.2.1"), addr("192.0.2.99")}
		o := NewOwn(b.Book, addrs, 0)
		run(t, o.Run)
		synctest.Wait()
		next := NewOwn(b.Book, addrs[:1], 0)
		next.Carry(o)
		next.Carry(nil)
		run(t, next.Run)
		synctest.Wait()
		if n := strings.Count(strings.Join(b.logged(), "\n"), "own address was listed"); n != 1 || !next.Status()[0].Listed || len(next.Status()) != 1 {
			t.Errorf("told %d times, %+v", n, next.Status())
		}
	})
}

// A zone that lists everything lists us too, and nobody is to believe it.
func TestOwnInBadZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, zones(t)[:1], "*.zen.example A 127.0.0.4", nil)
		o := NewOwn(b.Book, []netip.Addr{addr("192.0.2.1")}, 0)
		run(t, o.Run)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if s := o.Status(); len(b.tookOwn()) > 0 || s[0].Listed {
			t.Errorf("%+v", s)
		}
	})
}

// A single probe finds what keeps a zone out of service.
func TestFaults(t *testing.T) {
	ip := Config{Zone: "zen.example", Name: "zen", Type: IP, Codes: codes(t, map[string]string{"127.0.0.2": "listed"})}
	for text, want := range map[string]Fault{
		"2.0.0.127 A 127.0.0.2":       "",
		"* A 127.255.255.254":         FaultRefusing,
		"* A 192.0.2.80":              FaultForeign,
		"* A 127.0.0.2":               FaultWildcard,
		"x A 127.0.0.2":               FaultEmpty,
		"2.0.0.127 TEMPERROR":         FaultSilent,
		"2.0.0.127 A 127.255.255.255": FaultRefusing,
	} {
		z := dnstest.MustParse("$ORIGIN zen.example.\n" + text)
		got := New([]Config{ip}, Options{Resolver: z.Resolver()}).Probe(t.Context())[0]
		if got.Fault != want || got.OK != (want == "") || (got.Why == "") != got.OK {
			t.Errorf("%s: %+v, want %q", text, got, want)
		}
	}
	b := New([]Config{ip}, Options{Resolver: dnstest.MustParse("$ORIGIN zen.example.\n2.0.0.127 A 127.0.0.2\n1.2.0.192 A 127.255.255.254").Resolver()})
	b.Probe(t.Context())
	if _, err := b.Client(t.Context(), addr("192.0.2.1")); err == nil || b.Status()[0].Fault != FaultRefusing {
		t.Errorf("a message met a refusal: %v, %+v", err, b.Status()[0])
	}
}
