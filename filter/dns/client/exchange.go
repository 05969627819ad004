package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	mdns "github.com/miekg/dns"

	"mailwicket/filter/dns/internal/wire"
)

const (
	// ednsSize avoids fragments on all usual paths (RFC 9715, 3.1 allows up
	// to 1400, the resolvers of the field agreed on 1232).
	ednsSize = 1232
	// maxStray bounds the foreign datagrams read for one answer. Past it
	// somebody is guessing, and TCP is asked.
	maxStray = 64
)

// exchange asks one server: over UDP, then over TCP where that does not do.
// The error is errTimeout, errUnreachable or errMalformed.
func exchange(ctx context.Context, addr, name string, qtype uint16) (*mdns.Msg, error) {
	q := question(name, qtype)
	q.SetEdns0(ednsSize, false)
	m, err := transport(ctx, addr, q)
	if err != nil {
		return nil, err
	}
	// RFC 6891, 7: servers that do not know the extension say one of these.
	if m.Rcode == mdns.RcodeFormatError || m.Rcode == mdns.RcodeNotImplemented {
		return transport(ctx, addr, question(name, qtype))
	}
	return m, nil
}

func question(name string, qtype uint16) *mdns.Msg {
	// SetQuestion draws a new ID from a secure source; the port is new too,
	// since each exchange has its own socket (RFC 5452, 9.2).
	q := new(mdns.Msg).SetQuestion(wire.Presentation(name), qtype)
	q.RecursionDesired = true
	return q
}

func transport(ctx context.Context, addr string, q *mdns.Msg) (*mdns.Msg, error) {
	m, err := over(ctx, "udp", addr, q)
	if err == nil && !m.Truncated {
		return m, nil
	}
	if err != nil && !errors.Is(err, errMalformed) {
		return nil, err
	}
	// RFC 7766, 5: a truncated reply is not used, but asked again.
	m, err = over(ctx, "tcp", addr, q)
	if err == nil && m.Truncated {
		return nil, errMalformed
	}
	return m, err
}

// over makes one exchange on a connection of its own. It ends with ctx.
func over(ctx context.Context, network, addr string, q *mdns.Msg) (*mdns.Msg, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, classify(ctx)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	co := &mdns.Conn{Conn: conn, UDPSize: ednsSize}
	if err := co.WriteMsg(q); err != nil {
		return nil, classify(ctx)
	}
	for range maxStray {
		m, err := co.ReadMsg()
		switch {
		case m == nil && errors.Is(err, mdns.ErrShortRead):
			continue // not even a header
		case m == nil:
			return nil, classify(ctx)
		case m.Id != q.Id || !m.Response:
			continue // not ours, or late
		case m.Truncated:
			return m, nil
		case err != nil:
			return nil, errMalformed
		case !answers(m, q.Question[0]):
			continue
		}
		return m, nil
	}
	return nil, errMalformed
}

// answers checks that the reply is about our question (RFC 5452, 9.1). Servers
// that refuse may leave it out.
func answers(m *mdns.Msg, q mdns.Question) bool {
	if len(m.Question) == 0 {
		return m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError
	}
	got := m.Question[0]
	return len(m.Question) == 1 && got.Qtype == q.Qtype && got.Qclass == q.Qclass &&
		strings.EqualFold(got.Name, q.Name)
}

// classify tells silence from what the network reported.
func classify(ctx context.Context) error {
	if ctx.Err() != nil {
		return errTimeout
	}
	return errUnreachable
}
