package dnsbl

import (
	"net/netip"
	"testing"
	"time"

	"mailwicket/filter/dns/client"
	"mailwicket/filter/dns/dnstest"
)

// resolved is a Book that asks over a client that keeps answers.
func resolved(t *testing.T, z *dnstest.Zone, cfg Config) *Book {
	t.Helper()
	srv, err := dnstest.Serve(z, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{Servers: []string{srv.Addr()}, Timeout: 50 * time.Millisecond, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b := New([]Config{cfg}, Options{Resolver: c, Rand: func() float64 { return 0.5 }})
	if s := b.Probe(t.Context())[0]; !s.OK {
		t.Fatalf("%+v", s)
	}
	return b
}

func stranger(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) }

// Probes see what a zone says now, not what it said at the last one.
func TestProbesPassTheCache(t *testing.T) {
	for text, want := range map[string]Fault{
		"* A 127.0.0.4":                   FaultWildcard,
		"* A 127.255.255.254":             FaultRefusing,
		"* A TIMEOUT":                     FaultSilent,
		"3.2.0.192 A 127.0.0.4":           FaultEmpty,
		testEntries + "1 A 127.0.0.4":     "",
		testEntries + "*.127 A 127.0.0.4": FaultWildcard,
	} {
		z := dnstest.MustParse("$ORIGIN zen.example.\n" + testEntries)
		b := resolved(t, z, zones(t)[0])
		if err := z.Set("$ORIGIN zen.example.\n" + text); err != nil {
			t.Fatal(err)
		}
		b.Probe(t.Context())
		s := b.Probe(t.Context())[0] // one lost probe is no sign
		if s.Fault != want || s.OK != (want == "") {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

// TestUnkeptEntries: a resolver before us may have kept the test entries from
// better days. Names that nobody has asked for show a zone that lists the world.
func TestUnkeptEntries(t *testing.T) {
	for i, world := range map[int]string{
		0: "1.0.0.127 TXT kept\n*.127 A 127.0.0.2\n" + nibbles(addr("::ffff:127.0.0.1")) + " TXT kept\n",
		2: "invalid TXT kept\n*.invalid A 127.0.0.2\n",
	} {
		cfg := zones(t)[i]
		z := dnstest.MustParse("$ORIGIN " + cfg.Zone + ".\n" + testEntries + world)
		b := New([]Config{cfg}, Options{Resolver: z.Resolver()})
		if s := b.Probe(t.Context())[0]; s.OK || s.Fault != FaultWildcard {
			t.Errorf("%s: %+v", cfg.Name, s)
		}
	}
}

// A zone that hangs goes out of service beside answers that were kept, and a
// refusal that was kept does not take one out again.
func TestKeptAnswersTellNothing(t *testing.T) {
	z := dnstest.MustParse("$ORIGIN zen.example.\n" + testEntries)
	b := resolved(t, z, zones(t)[0])
	_, _ = b.Client(t.Context(), stranger(1))
	if err := z.Set("$ORIGIN zen.example.\n* A TIMEOUT"); err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 2+maxFailures; i++ {
		for range 4 {
			_, _ = b.Client(t.Context(), stranger(1))
		}
		_, _ = b.Client(t.Context(), stranger(i))
	}
	if s := b.Status()[0]; s.OK || s.Fault != FaultSilent {
		t.Errorf("a zone that hangs: %+v", s)
	}

	if err := z.Set("$ORIGIN zen.example.\n" + testEntries + "9.100.51.198 A 127.255.255.254"); err != nil {
		t.Fatal(err)
	}
	b.Probe(t.Context())
	for _, want := range []bool{false, true} {
		if _, err := b.Client(t.Context(), stranger(9)); err == nil {
			t.Error("a refusal is an answer")
		}
		if s := b.Status()[0]; s.OK != want {
			t.Errorf("after a refusal: %+v, want in service %v", s, want)
		}
		if s := b.Probe(t.Context())[0]; !s.OK {
			t.Errorf("%+v", s)
		}
	}
}
