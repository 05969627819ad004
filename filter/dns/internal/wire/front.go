package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	mdns "github.com/miekg/dns"

	"mailwicket/filter/dns"
)

// Result is the outcome of one lookup. Values are shared and must not be
// changed; exactly one of Values and Err is set.
type Result struct {
	Values *Values
	Err    *net.DNSError // its Name is set by the Front
	TTL    time.Duration // remaining
	Server string
	Cached bool
}

// Front gives the methods of dns.Resolver over one lookup function. It checks
// and canonicalizes names, copies what callers get, and records trails.
type Front struct {
	// Lookup gets canonical names that are valid. It must return soon after
	// the context's end.
	Lookup func(ctx context.Context, name string, qtype uint16) Result
}

var _ dns.Resolver = Front{}

// LookupTXT implements dns.Resolver.
func (f Front) LookupTXT(ctx context.Context, name string) ([]string, error) {
	v, err := f.ask(ctx, name, mdns.TypeTXT)
	if err != nil {
		return nil, err
	}
	return append([]string(nil), v.TXT...), nil
}

// LookupMX implements dns.Resolver. The null MX (RFC 7505) has the host ".",
// other hosts come without the trailing dot.
func (f Front) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	v, err := f.ask(ctx, name, mdns.TypeMX)
	if err != nil {
		return nil, err
	}
	return v.MXCopy(), nil
}

// LookupA implements dns.Resolver.
func (f Front) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	return f.addrs(ctx, name, mdns.TypeA)
}

// LookupAAAA implements dns.Resolver.
func (f Front) LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	return f.addrs(ctx, name, mdns.TypeAAAA)
}

func (f Front) addrs(ctx context.Context, name string, qtype uint16) ([]netip.Addr, error) {
	v, err := f.ask(ctx, name, qtype)
	if err != nil {
		return nil, err
	}
	return append([]netip.Addr(nil), v.Addrs...), nil
}

// LookupPTR implements dns.Resolver.
func (f Front) LookupPTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	name, ok := Reverse(addr)
	if !ok {
		return nil, NotFound(dns.NXDomain, "invalid address", "")
	}
	v, err := f.ask(ctx, name, mdns.TypePTR)
	if err != nil {
		return nil, err
	}
	return append([]string(nil), v.Names...), nil
}

// ask returns a plain error interface that is nil or holds a *net.DNSError.
func (f Front) ask(ctx context.Context, asked string, qtype uint16) (*Values, error) {
	recording := dns.Recording(ctx)
	var start time.Time
	if recording {
		start = time.Now() // only a length is told, never a time of day
	}
	name, ok := Canonical(asked)
	var r Result
	if ok {
		r = f.Lookup(ctx, name, qtype)
	} else {
		// A name that cannot be written on the wire cannot exist.
		r.Err = NotFound(dns.NXDomain, asked, "")
	}
	if recording {
		record(ctx, asked, qtype, r, time.Since(start))
	}
	if r.Err != nil {
		err := *r.Err
		err.Name = asked
		return nil, &err
	}
	return r.Values, nil
}

func record(ctx context.Context, name string, qtype uint16, r Result, took time.Duration) {
	a := dns.Answer{Name: name, Type: mdns.TypeToString[qtype], Result: "ok",
		TTL: r.TTL, Server: r.Server, Cached: r.Cached, Took: took}
	if r.Err != nil {
		a.Result = r.Err.Err
	} else {
		a.Data = r.Values.Show()
	}
	dns.Record(ctx, a)
}

// Ended gives the error of a lookup whose caller's context ended first.
func Ended(ctx context.Context, name string) *net.DNSError {
	if errors.Is(ctx.Err(), context.Canceled) {
		return Temporary(TextCanceled, name, "")
	}
	return Temporary(TextTimeout, name, "")
}
