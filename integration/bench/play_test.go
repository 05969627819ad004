package bench

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"mailwicket/filter/mail"
	"mailwicket/filter/milter/client"
)

var (
	sender    = mail.ParsePath("<some.body@sender.example>")
	recipient = mail.ParsePath("<user@rcpt.example>")
)

// mta plays Postfix' side of messages.
type mta struct{ *client.Client }

// dial opens a session up to HELO.
func dial(tb testing.TB, socket string) mta {
	tb.Helper()
	nc, err := net.Dial("unix", socket)
	check(tb, err)
	c := mta{client.New(nc)}
	check(tb, c.Negotiate(client.AllActions, client.AllProtocol))
	c.Macros('C', "j", "mx.test.example", "{daemon_name}", "mx.test.example", "v", "Postfix 3.7.11",
		"_", "mail.sender.example [203.0.113.7]", "{client_addr}", clientIP, "{client_name}", "mail.sender.example",
		"{client_ptr}", "mail.sender.example", "{client_resolve}", "OK")
	c.expect(tb, "connect")(c.Connect("mail.sender.example", clientIP, 4242))
	c.Macros('H', "{tls_version}", "TLSv1.3", "{cipher}", "TLS_AES_256_GCM_SHA384", "{cipher_bits}", "256")
	c.expect(tb, "helo")(c.Helo("mail.sender.example"))
	return c
}

func (c mta) expect(tb testing.TB, what string) func(client.Reply, error) {
	return func(r client.Reply, err error) {
		tb.Helper()
		if err != nil || r.Code != 'c' {
			tb.Fatalf("%s: %q %q %v", what, r.Code, r.Text, err)
		}
	}
}

// envelope, fields, body and end are a message's parts; each event has its
// macros before it, as Postfix sends them.
func (c mta) envelope(tb testing.TB, size int) {
	c.Macros('M', "{mail_addr}", sender.String(), "{mail_host}", "sender.example", "{mail_mailer}", "smtp")
	c.expect(tb, "mail")(c.Mail("<"+sender.String()+">", fmt.Sprint("SIZE=", size)))
	c.Macros('R', "{rcpt_addr}", recipient.String(), "{rcpt_host}", "rcpt.example", "{rcpt_mailer}", "smtp")
	c.expect(tb, "rcpt")(c.Rcpt("<" + recipient.String() + ">"))
}

func (c mta) fields(tb testing.TB, fields [][2]string) {
	for _, f := range fields {
		c.Macros('L', "i", "4WQm3h1Jz5z9vTb")
		_, err := c.Header(f[0], f[1])
		check(tb, err)
	}
	c.Macros('N', "i", "4WQm3h1Jz5z9vTb")
	c.expect(tb, "end of header")(c.EndOfHeader())
}

func (c mta) body(tb testing.TB, body []byte) {
	for len(body) > 0 {
		n := min(len(body), 65535)
		c.Macros('B', "i", "4WQm3h1Jz5z9vTb")
		_, err := c.Body(body[:n])
		check(tb, err)
		body = body[n:]
	}
}

func (c mta) end(tb testing.TB) []client.Modify {
	c.Macros('E', "i", "4WQm3h1Jz5z9vTb")
	r, err := c.EndOfMessage()
	c.expect(tb, "end of message")(r, err)
	check(tb, c.Abort()) // as Postfix does
	return r.Mods
}

// letter is a message as it is played.
type letter struct {
	size   int
	fields [][2]string
	body   []byte
}

func newLetter(msg []byte) letter {
	head, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	return letter{len(msg), client.Fields(string(head)), body}
}

func (c mta) send(tb testing.TB, l letter) []client.Modify {
	c.envelope(tb, l.size)
	c.fields(tb, l.fields)
	c.body(tb, l.body)
	return c.end(tb)
}

// authenticated fails unless the filter found what it should have: a benchmark
// of checks that fail early would be worth nothing.
func authenticated(tb testing.TB, mods []client.Modify) {
	tb.Helper()
	text := fmt.Sprint(mods)
	for _, want := range []string{"spf=pass", "dkim=pass", "dmarc=pass", "iprev=pass"} {
		if !strings.Contains(text, want) {
			tb.Fatalf("no %s in %s", want, text)
		}
	}
}
