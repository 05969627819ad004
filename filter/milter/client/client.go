// Package client speaks the MTA's side of the milter protocol: for the demo,
// for benchmarks and for tests that must send what go-milter's own client
// cannot (macros, version 6 flags, data in the end-of-message packet, half
// packets). One goroutine uses a Client.
package client

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Offers of real MTAs (MILTER version 6): all actions, all protocol flags.
const (
	AllActions  = 0x1ff
	AllProtocol = 0x1fffff
)

// Flags of the negotiation that change who answers what.
const (
	NoHeaderReply = 1 << 7
	NoBodyReply   = 1 << 19
	NoEOHReply    = 1 << 18
	LeadingSpace  = 1 << 20
)

// ErrReply is a packet that the protocol does not allow at this point.
var ErrReply = errors.New("unexpected reply from the filter")

// Client is one milter connection.
type Client struct {
	Conn     net.Conn
	Timeout  time.Duration // for each reply
	Version  uint32        // agreed
	Actions  uint32
	Protocol uint32
	r        *bufio.Reader
	w        bytes.Buffer
}

// Reply is the filter's answer to one command.
type Reply struct {
	Code byte     // c, a, r, t, d, y, s; 0 where none was due
	Text string   // of y: "451 4.7.1 text"
	Mods []Modify // header edits and quarantine, in order (end of message)
}

// Modify is one edit.
type Modify struct {
	Op    byte // h add, i insert, m change, q quarantine
	Index uint32
	Name  string
	Value string
}

// New takes an open connection.
func New(c net.Conn) *Client {
	return &Client{Conn: c, Timeout: 30 * time.Second, r: bufio.NewReaderSize(c, 8<<10)}
}

// Negotiate offers what Postfix and Sendmail offer, or the flags given.
func (c *Client) Negotiate(actions, protocol uint32) error {
	var b [12]byte
	binary.BigEndian.PutUint32(b[0:], 6)
	binary.BigEndian.PutUint32(b[4:], actions)
	binary.BigEndian.PutUint32(b[8:], protocol)
	c.Packet('O', b[:])
	code, data, err := c.read()
	if err != nil {
		return fmt.Errorf("negotiating: %w", err)
	}
	if code != 'O' || len(data) < 12 {
		return fmt.Errorf("%w: %q to the negotiation", ErrReply, code)
	}
	c.Version = binary.BigEndian.Uint32(data)
	c.Actions = binary.BigEndian.Uint32(data[4:])
	c.Protocol = binary.BigEndian.Uint32(data[8:])
	return nil
}

// Packet queues a raw packet; it leaves with the next read.
func (c *Client) Packet(code byte, data []byte) {
	var h [5]byte
	binary.BigEndian.PutUint32(h[:], uint32(len(data)+1))
	h[4] = code
	c.w.Write(h[:])
	c.w.Write(data)
}

// Macros queues the macros of a stage: names and values in turn.
func (c *Client) Macros(stage byte, nameValue ...string) {
	c.Packet('D', append([]byte{stage}, cstrings(nameValue...)...))
}

func cstrings(ss ...string) []byte {
	var b []byte
	for _, s := range ss {
		b = append(append(b, s...), 0)
	}
	return b
}

// Connect tells the client's address; host is its name, or "[address]".
func (c *Client) Connect(host string, ip string, port uint16) (Reply, error) {
	family := byte('4')
	if strings.Contains(ip, ":") {
		family = '6'
	}
	data := append(cstrings(host), family, byte(port>>8), byte(port))
	return c.Command('C', append(data, cstrings(ip)...))
}

// Helo, Mail and Rcpt send the command; a path has its angle brackets.
func (c *Client) Helo(name string) (Reply, error) { return c.Command('H', cstrings(name)) }

// Mail sends the envelope sender and ESMTP parameters.
func (c *Client) Mail(path string, params ...string) (Reply, error) {
	return c.Command('M', cstrings(append([]string{path}, params...)...))
}

// Rcpt sends one recipient.
func (c *Client) Rcpt(path string) (Reply, error) { return c.Command('R', cstrings(path)) }

// Header sends one field; value as it stands after the colon, folds as LF.
func (c *Client) Header(name, value string) (Reply, error) {
	if c.Protocol&LeadingSpace == 0 {
		value = strings.TrimPrefix(value, " ")
	}
	return c.unless(NoHeaderReply, 'L', cstrings(name, value))
}

// EndOfHeader ends the header block.
func (c *Client) EndOfHeader() (Reply, error) { return c.unless(NoEOHReply, 'N', nil) }

// Body sends one chunk, at most 65,535 bytes.
func (c *Client) Body(chunk []byte) (Reply, error) { return c.unless(NoBodyReply, 'B', chunk) }

// EndOfMessage collects the edits and the verdict.
func (c *Client) EndOfMessage() (Reply, error) { return c.Command('E', nil) }

// Abort makes the message void; no reply is due.
func (c *Client) Abort() error { c.Packet('A', nil); return c.flush() }

// Quit ends the session.
func (c *Client) Quit() error {
	c.Packet('Q', nil)
	err := c.flush()
	c.Conn.Close()
	return err
}

// Message sends header and body as an MTA does, up to and with the end. raw has
// CRLF line ends. It stops at the first verdict that ends the message.
func (c *Client) Message(raw []byte) (stage string, r Reply, err error) {
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	for _, f := range Fields(string(head)) {
		if r, err = c.Header(f[0], f[1]); err != nil || r.Code != 0 && r.Code != 'c' {
			return "header", r, err
		}
	}
	if r, err = c.EndOfHeader(); err != nil || r.Code != 'c' {
		return "header", r, err
	}
	for len(body) > 0 {
		n := min(len(body), 65535)
		if r, err = c.Body(body[:n]); err != nil || r.Code != 0 && r.Code != 'c' {
			return "message", r, err
		}
		body = body[n:]
	}
	r, err = c.EndOfMessage()
	return "message", r, err
}

// Fields splits a header block into names and values as MTAs send them: the
// value with its leading blank, folds as LF.
func Fields(head string) [][2]string {
	var out [][2]string
	for _, line := range strings.Split(head, "\r\n") {
		if len(out) > 0 && line != "" && (line[0] == ' ' || line[0] == '\t') {
			out[len(out)-1][1] += "\n" + line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if ok {
			out = append(out, [2]string{name, value})
		}
	}
	return out
}

func (c *Client) unless(flag uint32, code byte, data []byte) (Reply, error) {
	if c.Protocol&flag != 0 {
		c.Packet(code, data)
		if c.w.Len() > 64<<10 {
			return Reply{}, c.flush()
		}
		return Reply{}, nil
	}
	return c.Command(code, data)
}

// Command sends a packet and reads its reply.
func (c *Client) Command(code byte, data []byte) (Reply, error) {
	c.Packet(code, data)
	var r Reply
	for {
		got, p, err := c.read()
		if err != nil {
			return r, fmt.Errorf("reply to %q: %w", code, err)
		}
		switch got {
		case 'p': // progress
		case 'h', 'i', 'm', 'q':
			if code != 'E' {
				return r, fmt.Errorf("%w: edit %q at %q", ErrReply, got, code)
			}
			r.Mods = append(r.Mods, modify(got, p))
		case 'c', 'a', 'r', 't', 'd', 's':
			if len(p) != 0 {
				return r, fmt.Errorf("%w: %q with %d bytes of data", ErrReply, got, len(p))
			}
			r.Code = got
			return r, nil
		case 'y':
			if len(p) == 0 || p[len(p)-1] != 0 {
				return r, fmt.Errorf("%w: reply text without its NUL", ErrReply)
			}
			r.Code, r.Text = got, string(p[:len(p)-1])
			return r, nil
		default:
			return r, fmt.Errorf("%w: %q", ErrReply, got)
		}
	}
}

func modify(op byte, p []byte) Modify {
	m := Modify{Op: op}
	if op == 'i' || op == 'm' {
		if len(p) < 4 {
			return m
		}
		m.Index = binary.BigEndian.Uint32(p)
		p = p[4:]
	}
	name, rest, _ := bytes.Cut(p, []byte{0})
	value, _, _ := bytes.Cut(rest, []byte{0})
	m.Name, m.Value = string(name), string(value)
	return m
}

func (c *Client) flush() error {
	if c.w.Len() == 0 {
		return nil
	}
	c.Conn.SetWriteDeadline(time.Now().Add(c.Timeout))
	_, err := c.Conn.Write(c.w.Bytes())
	c.w.Reset()
	return err
}

// maxReply is far above what a filter of ours sends.
const maxReply = 1 << 20

func (c *Client) read() (byte, []byte, error) {
	if err := c.flush(); err != nil {
		return 0, nil, err
	}
	c.Conn.SetReadDeadline(time.Now().Add(c.Timeout))
	var h [5]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[:])
	if n == 0 || n > maxReply {
		return 0, nil, fmt.Errorf("%w: packet of %d bytes", ErrReply, n)
	}
	data := make([]byte, n-1)
	_, err := io.ReadFull(c.r, data)
	return h[4], data, err
}

// Pending tells whether a reply that was not asked for waits to be read: one too
// many shifts all later verdicts.
func (c *Client) Pending(wait time.Duration) bool {
	c.flush()
	c.Conn.SetReadDeadline(time.Now().Add(wait))
	_, err := c.r.Peek(1)
	return err == nil
}

// NextReply reads one more reply without sending anything: tests of
// packets whose reply is late use it.
func (c *Client) NextReply() (Reply, error) {
	code, p, err := c.read()
	return Reply{Code: code, Text: string(p)}, err
}
