package feed

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipes is a network in memory, so that tests can run in a bubble of time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	a, b := newStream(), newStream()
	select {
	case p.conns <- &conn{in: a, out: b}:
		return &conn{in: b, out: a}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// stream is one direction of a connection. Unlike those of net.Pipe it takes bytes
// before they are read, as a network does.
type stream struct {
	mu       sync.Mutex
	changed  sync.Cond
	bytes    []byte
	ended    bool // no more bytes come
	closed   bool // nobody reads any more
	deadline time.Time
	timer    *time.Timer
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

func (s *stream) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.changed.Broadcast()
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(s.bytes) > 0:
			n := copy(p, s.bytes)
			s.bytes = s.bytes[n:]
			s.changed.Broadcast()
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.bytes) > 1<<20 && !s.closed && !s.ended {
		s.changed.Wait()
	}
	if s.closed || s.ended {
		return 0, net.ErrClosed
	}
	s.bytes = append(s.bytes, p...)
	s.changed.Broadcast()
	return len(p), nil
}

type conn struct{ in, out *stream }

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *conn) LocalAddr() net.Addr         { return &net.TCPAddr{} }
func (c *conn) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

func (c *conn) Close() error {
	c.in.change(func() {
		c.in.closed = true
		if c.in.timer != nil {
			c.in.timer.Stop()
		}
	})
	c.out.change(func() { c.out.ended = true })
	return nil
}

func (c *conn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() {
		c.in.deadline = t
		if c.in.timer != nil {
			c.in.timer.Stop()
		}
		if !t.IsZero() {
			c.in.timer = time.AfterFunc(time.Until(t), func() { c.in.change(func() {}) })
		}
	})
	return nil
}
