package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Guard gives a resolver whose lookups fail where those of r panic: checks look
// things up in goroutines of their own, and a panic there would end the program.
func Guard(r Resolver) Resolver { return guard{r} }

type guard struct{ r Resolver }

// rescue makes an error of a panic. It may pass, so it is a temporary one.
func rescue(name string, err *error) {
	if v := recover(); v != nil {
		*err = &net.DNSError{Err: fmt.Sprintf("lookup panicked: %v", v), Name: name, IsTemporary: true}
	}
}

func (g guard) LookupTXT(ctx context.Context, name string) (_ []string, err error) {
	defer rescue(name, &err)
	return g.r.LookupTXT(ctx, name)
}

func (g guard) LookupMX(ctx context.Context, name string) (_ []*net.MX, err error) {
	defer rescue(name, &err)
	return g.r.LookupMX(ctx, name)
}

func (g guard) LookupA(ctx context.Context, name string) (_ []netip.Addr, err error) {
	defer rescue(name, &err)
	return g.r.LookupA(ctx, name)
}

func (g guard) LookupAAAA(ctx context.Context, name string) (_ []netip.Addr, err error) {
	defer rescue(name, &err)
	return g.r.LookupAAAA(ctx, name)
}

func (g guard) LookupPTR(ctx context.Context, addr netip.Addr) (_ []string, err error) {
	defer rescue(addr.String(), &err)
	return g.r.LookupPTR(ctx, addr)
}
