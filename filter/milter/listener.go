package milter

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// listener accepts for one go-milter server. latest is the backend of the
// connection that Accept returned last; only go-milter's accept loop uses it.
type listener struct {
	net.Listener
	srv    *Server
	latest *backend
}

// Accept gives the next peer that may be served. Passing errors are waited out:
// go-milter would end its server on any.
func (l *listener) Accept() (net.Conn, error) {
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			l.srv.Log.Warn("accept failed", slog.String("error", err.Error()), slog.Duration("retry_in", pause))
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		if !l.allowed(nc.RemoteAddr()) {
			l.srv.Observer.refused("peer")
			l.srv.Log.Warn("peer not allowed, see milter.allow", slog.String("peer", nc.RemoteAddr().String()))
			nc.Close()
			continue
		}
		if c := l.srv.open(nc, l); c != nil {
			return c, nil
		}
	}
}

// allowed checks TCP peers; unix sockets are guarded by their file mode.
func (l *listener) allowed(a net.Addr) bool {
	ta, ok := a.(*net.TCPAddr)
	if !ok {
		return true
	}
	ip, _ := netip.AddrFromSlice(ta.IP)
	ip = ip.Unmap()
	if l.srv.Allow == nil {
		return false
	}
	for _, p := range l.srv.Allow() {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// open registers a connection and makes its backend; nil when there are by far
// too many.
func (s *Server) open(nc net.Conn, l *listener) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= 2*s.Limits.Connections {
		s.Observer.refused("limit")
		nc.Close()
		return nil
	}
	c := newConn(nc, s.Limits.Idle, s.Limits.Packet)
	b := &backend{srv: s, conn: c, shed: len(s.conns) >= s.Limits.Connections}
	if b.shed {
		s.Observer.refused("limit")
	}
	c.onEnd = func() { s.forget(c, b) }
	s.conns[c] = b
	s.wg.Add(1)
	s.Observer.session(+1)
	l.latest = b
	return c
}

// forget runs once, when go-milter closes the connection.
func (s *Server) forget(c *conn, b *backend) {
	defer s.wg.Done()
	err := c.fault()
	b.end()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.Observer.session(-1)
	peer := slog.String("peer", c.RemoteAddr().String())
	if err != nil {
		s.Observer.broken(err)
		s.Log.Warn("milter connection broke", peer, slog.String("error", err.Error()))
	}
	if c.malformed > 0 {
		s.Log.Warn("header packets were malformed", peer, slog.Int("packets", c.malformed))
	}
}
