package harness

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// patience is how long a reply of the MTA may take.
const patience = 30 * time.Second

// Client is one SMTP session, line by line.
type Client struct {
	c net.Conn
	r *bufio.Reader
}

// Dial connects from the local address, or from any where that is "".
func Dial(addr, local string) (*Client, error) {
	d := net.Dialer{Timeout: patience}
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Client{c: c, r: bufio.NewReader(c)}, nil
}

// Close ends the session without a word.
func (c *Client) Close() { c.c.Close() }

// Send writes the bytes as they are.
func (c *Client) Send(b []byte) error {
	if err := c.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.c.Write(b)
	return err
}

// Line sends one line.
func (c *Client) Line(s string) error { return c.Send([]byte(s + "\r\n")) }

// Reply reads one reply; its lines are joined with LF.
func (c *Client) Reply() (string, error) {
	if err := c.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	var lines []string
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(lines, "\n"), fmt.Errorf("reply: %w", err)
		}
		if !strings.HasSuffix(l, "\r\n") {
			return "", fmt.Errorf("reply line ends without CR: %q", l)
		}
		l = strings.TrimSuffix(l, "\r\n")
		lines = append(lines, l)
		if len(l) < 3 {
			return "", fmt.Errorf("not a reply: %q", l)
		}
		if len(l) == 3 || l[3] == ' ' {
			return strings.Join(lines, "\n"), nil
		}
		if l[3] != '-' || l[:3] != lines[0][:3] {
			return "", fmt.Errorf("malformed reply: %q", lines)
		}
	}
}

// Content sends a message after the 354, dot-stuffed, with the final dot.
func (c *Client) Content(msg []byte) error {
	b := bytes.ReplaceAll(msg, []byte("\r\n."), []byte("\r\n.."))
	if bytes.HasPrefix(b, []byte(".")) {
		b = append([]byte("."), b...)
	}
	return c.Send(append(bytes.Clone(b), ".\r\n"...))
}

// StartTLS goes on encrypted. The test certificate is nobody's, so it is not
// verified.
func (c *Client) StartTLS() error {
	t := tls.Client(c.c, &tls.Config{InsecureSkipVerify: true})
	if err := c.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := t.Handshake(); err != nil {
		return err
	}
	c.c, c.r = t, bufio.NewReader(t)
	return nil
}

var errQuiet = errors.New("the connection is still open")

// Closed waits for the MTA to close the connection.
func (c *Client) Closed() error {
	if err := c.c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.r.ReadByte(); err == nil {
		return errors.New("the MTA says more")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return errQuiet
	}
	return nil
}
