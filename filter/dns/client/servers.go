package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"

	"mailwicket/filter/dns/internal/wire"
)

// A server that stays silent so often in a row, or that refuses packets, is
// asked last for a while.
const (
	silences = 3
	restTime = 10 * time.Second
)

// server is one recursive server and what we know of its health.
type server struct {
	addr  string
	fails atomic.Int32 // silences in a row
	rest  atomic.Int64 // asked last until then; Unix nanoseconds of the clock
}

func parseServers(addrs []string) ([]*server, error) {
	if len(addrs) == 0 {
		return nil, ErrNoServers
	}
	var out []*server
	for _, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" {
			return nil, fmt.Errorf("DNS server %q: want HOST:PORT", a)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("DNS server %q: port %q is not a number from 1 to 65535", a, port)
		}
		out = append(out, &server{addr: a})
	}
	return out, nil
}

// order gives the servers as configured, resting ones last.
func (c *Client) order() []*server {
	now := c.cfg.Clock().UnixNano()
	out := make([]*server, 0, len(c.servers))
	for _, resting := range []bool{false, true} {
		for _, s := range c.servers {
			if (s.rest.Load() > now) == resting {
				out = append(out, s)
			}
		}
	}
	return out
}

// note learns from an exchange.
func (c *Client) note(s *server, err error) {
	switch {
	case err == nil:
		s.fails.Store(0)
		s.rest.Store(0)
	case errors.Is(err, errTimeout) && s.fails.Add(1) < silences:
	case errors.Is(err, errTimeout), errors.Is(err, errUnreachable):
		s.rest.Store(c.cfg.Clock().Add(restTime).UnixNano())
	}
}

// query asks the servers in turn until one gives an answer: NOERROR or
// NXDOMAIN. Those that answer otherwise are not asked a second time.
func (c *Client) query(ctx context.Context, name string, qtype uint16) (*mdns.Msg, string, *net.DNSError) {
	failure := wire.Temporary(wire.TextTimeout, name, "")
	order := c.order()
	for round := range c.cfg.Attempts {
		limit := c.cfg.Timeout
		if round == 0 && len(c.servers) > 1 {
			limit /= 2
		}
		silent := order[:0:0]
		for _, s := range order {
			m, err := c.try(ctx, s, name, qtype, limit)
			if ctx.Err() != nil {
				return nil, "", wire.Ended(ctx, name)
			}
			if err == nil {
				return m, s.addr, nil
			}
			failure = wire.Temporary(err.Error(), name, s.addr)
			if errors.Is(err, errTimeout) || errors.Is(err, errUnreachable) {
				silent = append(silent, s)
			}
		}
		order = silent
	}
	return nil, "", failure
}

// try makes one exchange and judges the reply's header.
func (c *Client) try(ctx context.Context, s *server, name string, qtype uint16, limit time.Duration) (*mdns.Msg, error) {
	start := time.Now() // for the length alone
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := exchange(limited, s.addr, name, qtype)
	if ctx.Err() == nil { // else the asker left, which says nothing of the server
		c.note(s, err)
	}
	result := "ok"
	if err == nil {
		result, err = judge(m, name, qtype)
	} else {
		result = word(err)
	}
	if c.cfg.Observer.Query != nil {
		c.cfg.Observer.Query(s.addr, mdns.TypeToString[qtype], result, time.Since(start))
	}
	return m, err
}

// judge tells whether a reply answers, and its word for observers.
func judge(m *mdns.Msg, name string, qtype uint16) (string, error) {
	switch m.Rcode {
	case mdns.RcodeSuccess:
		if wire.Read(m, name, qtype).Lame {
			return "lame", errLame
		}
		return "ok", nil
	case mdns.RcodeNameError:
		return "nxdomain", nil
	case mdns.RcodeServerFailure:
		return "servfail", errServFail
	case mdns.RcodeRefused:
		return "refused", errRefused
	case mdns.RcodeFormatError:
		return "formerr", errFormErr
	}
	return "rcode", errRcode
}

func word(err error) string {
	switch {
	case errors.Is(err, errTimeout):
		return "timeout"
	case errors.Is(err, errUnreachable):
		return "unreachable"
	}
	return "malformed"
}

// What a server can do other than answer. The texts get into traces.
var (
	errTimeout     = errors.New(wire.TextTimeout)
	errUnreachable = errors.New("server unreachable")
	errMalformed   = errors.New("malformed reply")
	errLame        = errors.New("server gave a referral")
	errServFail    = errors.New("SERVFAIL")
	errRefused     = errors.New("REFUSED")
	errFormErr     = errors.New("FORMERR")
	errRcode       = errors.New("unexpected response code")
)
