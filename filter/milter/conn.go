package milter

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of a peer that does not speak the protocol, as Observer.Broken gets
// them.
var (
	ErrNotMilter   = errors.New("peer does not speak the milter protocol: first packet is not an option negotiation")
	ErrPacketSize  = errors.New("milter packet length out of bounds")
	ErrPacketShort = errors.New("milter packet is shorter than its command needs")
	ErrCommand     = errors.New("unknown milter command")
	ErrStalled     = errors.New("milter packet did not come to its end")
)

// errIdle is the end of a session whose peer was silent for too long.
var errIdle = errors.New("idle")

const (
	readBuffer = 16 << 10
	flushAt    = 32 << 10
	keepBuffer = 8 << 10 // of the write buffer between messages
)

// conn stands between the MTA's socket and go-milter. It reads and writes in
// large pieces, sets deadlines, and mends what go-milter does not understand
// (see mend). go-milter gets whole packets only, and io.EOF whatever ended the
// session: it would write anything else to the standard logger.
//
// One goroutine (go-milter's session) reads and writes; Progress and interrupt
// may be called from others.
type conn struct {
	net.Conn
	r        *bufio.Reader
	idle     time.Duration
	packet   time.Duration
	quickACK func()

	head []byte // what go-milter has not read yet; a part of r's buffer, of big, or mended
	big  []byte // holds packets that are too long for r's buffer
	end  error  // why reading ended

	offer       *offer // nil before the negotiation
	negotiating bool   // go-milter's next write is its answer to the negotiation
	swallow     bool   // go-milter's next reply is to a packet that the MTA did not send
	macros      bool   // the latest packet was one of macros

	params    []string // ESMTP parameters of the latest MAIL or RCPT
	malformed int      // header packets that could not be read

	stopping atomic.Bool

	wmu   sync.Mutex
	w     []byte
	werr  error
	once  sync.Once
	onEnd func()
}

func newConn(nc net.Conn, idle, packet time.Duration) *conn {
	return &conn{Conn: nc, r: bufio.NewReaderSize(nc, readBuffer), idle: idle, packet: packet,
		quickACK: quickACK(nc)}
}

// Read hands go-milter the stream of mended packets.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.head) == 0 {
		if c.end != nil {
			return 0, io.EOF
		}
		c.head, c.end = c.next()
	}
	n := copy(p, c.head)
	c.head = c.head[n:]
	return n, nil
}

// next gives what go-milter shall read for the next packet; nothing where the
// packet has been dealt with.
func (c *conn) next() ([]byte, error) {
	pkt, err := c.whole()
	if err != nil {
		return nil, err
	}
	return c.mend(pkt[4], pkt)
}

// whole reads one packet. It is valid until the next call.
func (c *conn) whole() ([]byte, error) {
	// Between packets there may be minutes: the client sends its DATA.
	if _, err := c.peek(1, c.idle); err != nil {
		if isTimeout(err) {
			err = errIdle
		}
		return nil, err
	}
	h, err := c.peek(5, c.packet)
	if err != nil {
		return nil, inside(err)
	}
	size, err := c.bounds(h)
	if err != nil {
		return nil, err
	}
	total := 4 + size
	if total <= readBuffer {
		if h[4] != cmdBody && h[4] != cmdMacro {
			c.big = nil // no body is under way
		}
		pkt, err := c.peek(total, c.packet)
		if err != nil {
			return nil, inside(err)
		}
		_, err = c.r.Discard(total)
		return pkt, err
	}
	return c.long(total)
}

// long reads a packet that does not fit the read buffer. Five bytes are not
// worth so much memory: the peer must have sent a good part of it first.
func (c *conn) long(total int) ([]byte, error) {
	if _, err := c.peek(readBuffer, c.packet); err != nil {
		return nil, inside(err)
	}
	if cap(c.big) < total {
		c.big = make([]byte, total)
	}
	pkt := c.big[:total]
	c.arm(c.packet)
	if _, err := io.ReadFull(c.r, pkt); err != nil {
		return nil, inside(err)
	}
	return pkt, nil
}

// peek waits for n bytes.
func (c *conn) peek(n int, limit time.Duration) ([]byte, error) {
	if c.r.Buffered() < n {
		// The MTA may wait for our replies before it speaks again.
		if err := c.flush(); err != nil {
			return nil, err
		}
		c.arm(limit)
	}
	return c.r.Peek(n)
}

// inside tells of an end in the middle of a packet.
func inside(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case isTimeout(err):
		return ErrStalled
	}
	return err
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Write takes go-milter's replies. They leave when the next read would wait, so
// that header edits and the verdict are one segment. It never fails: the session
// ends with the next read then.
func (c *conn) Write(p []byte) (int, error) {
	switch {
	case c.swallow:
		c.swallow = false
	case c.negotiating:
		c.negotiating = false
		c.write(c.offer.agree(p))
	default:
		c.write(p)
	}
	return len(p), nil
}

func (c *conn) write(p []byte) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.werr != nil {
		return
	}
	c.w = append(c.w, p...)
	if len(c.w) >= flushAt {
		c.flushLocked()
	}
}

func (c *conn) flush() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.flushLocked()
	return c.werr
}

func (c *conn) flushLocked() {
	if len(c.w) == 0 || c.werr != nil {
		return
	}
	c.Conn.SetWriteDeadline(time.Now().Add(c.packet))
	if _, err := c.Conn.Write(c.w); err != nil {
		c.werr = fmt.Errorf("replies not sent: %w", err)
	}
	c.w = c.w[:0]
	if cap(c.w) > keepBuffer {
		c.w = nil
	}
}

// Progress tells the MTA that the answer will come (SMFIR_PROGRESS): it then
// starts its timer anew. Sendmail allows it at the end of message only, and it
// must not fall between the pieces of a packet that go-milter writes.
func (c *conn) Progress() {
	c.write(packetBytes(replyProgress, nil))
	_ = c.flush() // an error is kept for the next read
}

// Close sends what is left, closes the socket, and ends the session once.
func (c *conn) Close() error {
	_ = c.flush() // nobody is left to be told
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.onEnd != nil {
			c.onEnd()
		}
	})
	return err
}

// fault gives what the peer did wrong, nil where the session ended as sessions
// do.
func (c *conn) fault() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	switch {
	case c.stopping.Load() || errors.Is(c.end, errIdle):
		return nil
	case c.werr != nil:
		return c.werr
	case errors.Is(c.end, io.EOF):
		return nil
	}
	return c.end
}

// interrupt ends the wait for the next packet; the session then closes.
func (c *conn) interrupt() {
	c.stopping.Store(true)
	c.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (c *conn) arm(d time.Duration) {
	c.quickACK()
	c.Conn.SetReadDeadline(time.Now().Add(d))
	if c.stopping.Load() { // interrupt came before the line above
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}
