package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter/dns"
	"mailwicket/filter/dns/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const memoZone = `
a.example 0 IN TXT one
mx.example MX 10 m.example.
1.2.0.192.in-addr.arpa PTR host.example.
bad.example TEMPERROR
*.w.example A 192.0.2.1
`

func TestMemoAsksOnce(t *testing.T) {
	z := dnstest.MustParse(memoZone)
	m := dns.NewMemo(z.Resolver())
	var tr dns.Trail
	ctx := dns.WithTrail(t.Context(), &tr)
	for range 3 {
		if got, err := m.LookupTXT(ctx, "A.Example."); err != nil || !reflect.DeepEqual(got, []string{"one"}) {
			t.Fatalf("got %q, %v", got, err)
		}
		if got, err := m.LookupMX(ctx, "mx.example"); err != nil || got[0].Host != "m.example" {
			t.Fatalf("got %v, %v", got, err)
		} else {
			got[0].Host = "changed" // is the caller's own
		}
		if got, err := m.LookupPTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1")); err != nil || got[0] != "host.example" {
			t.Fatalf("got %v, %v", got, err)
		}
		if _, err := m.LookupA(ctx, "bad.example"); dns.Kind(err) != dns.Temporary {
			t.Fatalf("got %v", err)
		}
		if _, err := m.LookupAAAA(ctx, "absent.example"); dns.Kind(err) != dns.NXDomain {
			t.Fatalf("got %v", err)
		}
		// The answers hold though the zone changes.
		if err := z.Set("a.example TXT two"); err != nil {
			t.Fatal(err)
		}
	}
	for q, n := range z.Queries() {
		if n != 1 {
			t.Errorf("%s was asked %d times", q, n)
		}
	}
	if got, _ := tr.Answers(); len(got) != 5 {
		t.Errorf("the trail has %d answers, want 5: %+v", len(got), got)
	}
}

func TestMemoShares(t *testing.T) {
	z := dnstest.MustParse(memoZone)
	z.Tune(dnstest.Knobs{Delay: 30 * time.Millisecond})
	m := dns.NewMemo(z.Resolver())
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			ctx, kind := t.Context(), dns.None
			if i%2 == 0 {
				ctx, kind = short, dns.Temporary
			}
			if _, err := m.LookupTXT(ctx, "a.example"); dns.Kind(err) != kind {
				t.Errorf("caller %d got %v", i, err)
			}
		})
	}
	wg.Wait()
	if _, err := m.LookupTXT(t.Context(), "a.example"); err != nil {
		t.Error(err)
	}
}

// TestMemoAbandoned: a lookup that nobody waits for ends, and is asked anew.
func TestMemoAbandoned(t *testing.T) {
	z := dnstest.MustParse(memoZone)
	z.Tune(dnstest.Knobs{Delay: time.Hour})
	m := dns.NewMemo(z.Resolver())
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := m.LookupTXT(ctx, "a.example"); dns.Kind(err) != dns.Temporary {
		t.Fatalf("got %v", err)
	}
	z.Tune(dnstest.Knobs{})
	if got, err := m.LookupTXT(t.Context(), "a.example"); err != nil || got[0] != "one" {
		t.Errorf("asked anew: %q, %v", got, err)
	}
}

func TestMemoBound(t *testing.T) {
	z := dnstest.MustParse(memoZone)
	m := dns.NewMemo(z.Resolver())
	for range 2 {
		for i := range dns.MaxMemo + 10 {
			if _, err := m.LookupA(t.Context(), fmt.Sprintf("%d.w.example", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	twice := 0
	for _, n := range z.Queries() {
		if n == 2 {
			twice++
		}
	}
	if twice != 10 {
		t.Errorf("%d questions were asked twice, want the 10 that did not fit", twice)
	}
}

// broken panics at every question.
type broken struct{}

func (broken) LookupTXT(context.Context, string) ([]string, error)      { panic("TXT") }
func (broken) LookupMX(context.Context, string) ([]*net.MX, error)      { panic("MX") }
func (broken) LookupA(context.Context, string) ([]netip.Addr, error)    { panic("A") }
func (broken) LookupAAAA(context.Context, string) ([]netip.Addr, error) { panic("AAAA") }
func (broken) LookupPTR(context.Context, netip.Addr) ([]string, error)  { panic("PTR") }

// TestPanics: a resolver that panics, in goroutines of ours, gives temporary errors.
func TestPanics(t *testing.T) {
	m := dns.NewMemo(broken{})
	ctx := t.Context()
	_, txt := m.LookupTXT(ctx, "a.example")
	_, mx := m.LookupMX(ctx, "a.example")
	_, a := m.LookupA(ctx, "a.example")
	_, aaaa := m.LookupAAAA(ctx, "a.example")
	_, ptr := m.LookupPTR(ctx, netip.MustParseAddr("192.0.2.1"))
	for i, err := range []error{txt, mx, a, aaaa, ptr} {
		if dns.Kind(err) != dns.Temporary {
			t.Errorf("question %d: %v", i, err)
		}
	}
}
