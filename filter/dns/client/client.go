// Package client resolves names for the mail checks over the servers that the
// configuration names: it keeps answers by their lifetime, lets equal
// questions share one exchange, and never gives a failure out as an answer.
//
// It is a stub resolver (RFC 1034, 5.3.1): it asks recursive servers and
// trusts them and the way to them. It does not validate DNSSEC.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/maypok86/otter/v2"
	mdns "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"mailwicket/filter/dns"
	"mailwicket/filter/dns/internal/wire"
)

// Config says how to resolve. Only Servers must be set.
type Config struct {
	Servers     []string         // HOST:PORT, asked in this order
	Timeout     time.Duration    // for one answer of one server [2s]; with several servers half of it the first time round
	Attempts    int              // times round all servers [2]
	CacheSize   int              // answers kept; those over 512 bytes count for more [100000]
	MaxInFlight int              // questions being asked at a time; more wait [1000]
	Observer    Observer         // optional
	Clock       func() time.Time // for lifetimes [time.Now]
}

// Observer is told what happens; each function may be nil. They are called on
// the resolver's paths and must be quick and safe for concurrent use.
type Observer struct {
	// Query reports one exchange: result is ok, nxdomain, servfail, refused,
	// formerr, rcode, lame, timeout, unreachable or malformed.
	Query func(server, qtype, result string, took time.Duration)
	// Cache reports for each lookup whether the cache had the answer.
	Cache func(hit bool)
}

// The lifetimes that no record tells, and the bounds on work.
const (
	failureTTL = 5 * time.Second // RFC 9520, 3.2: at least 1 s, at most 5 minutes
	maxAliases = 8               // steps that we follow after the server's own
	heavy      = 512             // bytes that one entry of CacheSize stands for
)

// Client implements dns.Resolver. It is safe for concurrent use. Close ends it.
type Client struct {
	front
	cfg     Config
	servers []*server
	cache   *otter.Cache[key, *entry]
	flights singleflight.Group
	slots   chan struct{} // one for each question in flight
	base    context.Context
	cancel  context.CancelFunc
}

type front = wire.Front

var _ dns.Resolver = (*Client)(nil)

type key struct {
	name  string
	qtype uint16
}

// entry is an answer as the cache keeps it. It does not change.
type entry struct {
	values  wire.Values
	err     *net.DNSError
	server  string
	ttl     time.Duration
	expires time.Time
}

// New makes a client. It opens no connection yet.
func New(cfg Config) (*Client, error) {
	servers, err := parseServers(cfg.Servers)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = 2
	}
	if cfg.CacheSize <= 0 {
		cfg.CacheSize = 100_000
	}
	if cfg.MaxInFlight <= 0 {
		cfg.MaxInFlight = 1000
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	cache, err := otter.New(&otter.Options[key, *entry]{
		MaximumWeight: uint64(cfg.CacheSize),
		Weigher:       func(k key, e *entry) uint32 { return uint32(1 + (len(k.name)+e.size())/heavy) },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[key, *entry]) time.Duration {
			return e.Value.ttl
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("make the DNS cache: %w", err)
	}
	c := &Client{cfg: cfg, servers: servers, cache: cache, slots: make(chan struct{}, cfg.MaxInFlight)}
	c.front = front{Lookup: c.lookup}
	c.base, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close abandons the questions in flight. Lookups fail afterwards, except for
// answers that are still in the cache.
func (c *Client) Close() {
	c.cancel()
	c.cache.StopAllGoroutines()
}

// Len gives about how many answers the cache holds.
func (c *Client) Len() int { return c.cache.EstimatedSize() }

// Check asks for the root's SOA, past the cache, and tells whether any server
// answered: the sign that names can be resolved.
func (c *Client) Check(ctx context.Context) error {
	_, _, err := c.query(ctx, "", mdns.TypeSOA)
	if err != nil {
		return err
	}
	return nil
}

// lookup serves the Front: from the cache, unless the context is dns.Fresh, or by a
// flight that it shares with whoever asks the same, and that goes on when this
// caller leaves.
func (c *Client) lookup(ctx context.Context, name string, qtype uint16) wire.Result {
	k, fresh := key{name, qtype}, dns.IsFresh(ctx)
	if e, left := c.cached(k); e != nil && !fresh {
		c.observeCache(true)
		return e.result(left, true)
	}
	c.observeCache(false)
	if ctx.Err() != nil {
		return wire.Result{Err: wire.Ended(ctx, name)}
	}
	flight := c.flights.DoChan(fmt.Sprint(name, "/", qtype, fresh), func() (any, error) {
		return c.resolve(k, fresh), nil
	})
	select {
	case r := <-flight:
		e := r.Val.(*entry)
		return e.result(e.ttl, false)
	case <-ctx.Done():
		return wire.Result{Err: wire.Ended(ctx, name)}
	}
}

func (c *Client) observeCache(hit bool) {
	if c.cfg.Observer.Cache != nil {
		c.cfg.Observer.Cache(hit)
	}
}

// cached gives a live entry and its remaining lifetime, or nil.
func (c *Client) cached(k key) (*entry, time.Duration) {
	e, ok := c.cache.GetIfPresent(k)
	if !ok {
		return nil, 0
	}
	left := e.expires.Sub(c.cfg.Clock())
	if left <= 0 {
		return nil, 0
	}
	return e, left
}

// resolve is the body of a flight.
func (c *Client) resolve(k key, fresh bool) (e *entry) {
	defer func() {
		// The library reads hostile bytes: a defect there must not end the
		// process.
		if p := recover(); p != nil {
			e = c.failure(wire.Temporary(fmt.Sprintf("internal error: %v", p), k.name, ""))
		}
	}()
	// The flight before this one may have ended since its caller looked.
	if e, _ := c.cached(k); e != nil && !fresh {
		return e
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.base.Done():
		return c.failure(wire.Ended(c.base, k.name))
	}
	e = c.follow(c.base, k)
	// RFC 2181, 8 and RFC 1035, 3.2.1: zero is for this transaction only.
	if e.ttl > 0 && c.base.Err() == nil {
		e.expires = c.cfg.Clock().Add(e.ttl)
		c.cache.Set(k, e)
	}
	return e
}

// follow asks, and asks on where a server gives an alias without its end.
func (c *Client) follow(ctx context.Context, k key) *entry {
	name, ttl := k.name, wire.MaxTTL
	for range maxAliases {
		m, server, err := c.query(ctx, name, k.qtype)
		if err != nil {
			return c.failure(err)
		}
		a := wire.Read(m, name, k.qtype)
		ttl = min(ttl, a.TTL)
		switch {
		case a.Follow != "":
			next, ok := wire.Canonical(a.Follow)
			if !ok {
				return c.failure(wire.Temporary("alias to a name that cannot exist", k.name, server))
			}
			name = next
			continue
		case a.Failure != dns.None:
			return &entry{err: wire.NotFound(a.Failure, k.name, server), server: server, ttl: ttl}
		}
		return &entry{values: a.Values, server: server, ttl: ttl}
	}
	return c.failure(wire.Temporary("too many aliases", k.name, ""))
}

func (c *Client) failure(err *net.DNSError) *entry {
	return &entry{err: err, server: err.Server, ttl: failureTTL}
}

func (e *entry) result(left time.Duration, cached bool) wire.Result {
	r := wire.Result{TTL: left, Server: e.server, Cached: cached}
	if e.err != nil {
		r.Err = e.err
		return r
	}
	r.Values = &e.values
	return r
}

// size is about how many bytes an entry's records take.
func (e *entry) size() int {
	n := 24*len(e.values.Addrs) + 40*len(e.values.MX) + 16*(len(e.values.Names)+len(e.values.TXT))
	for _, s := range e.values.TXT {
		n += len(s)
	}
	for _, s := range e.values.Names {
		n += len(s)
	}
	for i := range e.values.MX {
		n += len(e.values.MX[i].Host)
	}
	return n
}

// SystemServers reads the servers of /etc/resolv.conf, in its order.
func SystemServers() ([]string, error) {
	return serversOf("/etc/resolv.conf")
}

func serversOf(file string) ([]string, error) {
	conf, err := mdns.ClientConfigFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("read DNS servers: %w", err)
	}
	var out []string
	for _, s := range conf.Servers {
		out = append(out, net.JoinHostPort(s, conf.Port))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: %w", file, ErrNoServers)
	}
	return out, nil
}

// ErrNoServers tells that there is nobody to ask.
var ErrNoServers = errors.New("no DNS servers")
