package spf

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"

	"mailwicket/filter/dns"
)

// spaceless asks for names with spaces by underscores, since our resolvers hold
// such names for impossible.
type spaceless struct{ dns.Resolver }

func unspace(name string) string { return strings.ReplaceAll(name, " ", "_") }

func (s spaceless) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return s.Resolver.LookupTXT(ctx, unspace(name))
}

func (s spaceless) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return s.Resolver.LookupMX(ctx, unspace(name))
}

func (s spaceless) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	return s.Resolver.LookupA(ctx, unspace(name))
}

func (s spaceless) LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	return s.Resolver.LookupAAAA(ctx, unspace(name))
}

// cancelling ends the context within its nth lookup, whose answer is lost.
type cancelling struct {
	dns.Resolver
	mu     sync.Mutex
	left   int
	cancel func()
}

func (c *cancelling) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		c.cancel()
	}
}

func (c *cancelling) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.count()
	return c.Resolver.LookupTXT(ctx, name)
}

func (c *cancelling) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	c.count()
	return c.Resolver.LookupMX(ctx, name)
}

func (c *cancelling) LookupA(ctx context.Context, name string) ([]netip.Addr, error) {
	c.count()
	return c.Resolver.LookupA(ctx, name)
}

func (c *cancelling) LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error) {
	c.count()
	return c.Resolver.LookupAAAA(ctx, name)
}

func (c *cancelling) LookupPTR(ctx context.Context, addr netip.Addr) ([]string, error) {
	c.count()
	return c.Resolver.LookupPTR(ctx, addr)
}
