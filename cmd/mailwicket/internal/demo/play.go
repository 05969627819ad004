// Package demo holds a DNS zone, a list and some messages, and plays them at a
// running server as an MTA would.
package demo

import (
	"bytes"
	"crypto/ed25519"
	_ "embed"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mailwicket/filter/milter/client"
)

//go:embed zone.txt
var zoneText string

// HarmfulList is the demo's list of harmful domains.
//
//go:embed harmful.txt
var HarmfulList []byte

// Delay is how long the demo's greylist defers: short, so that one can watch.
const Delay = 2 * time.Second

// Zone gives the demo's DNS with the public half of key.
func Zone(key ed25519.PrivateKey) string {
	pub := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	return zoneText + "\ndemo._domainkey.shop.example. TXT \"v=DKIM1; k=ed25519; p=" + pub + "\"\n"
}

// message is one case of the demo.
type message struct {
	title string
	ip    string
	name  string // the client's name as the MTA found it, "" where it has none
	helo  string
	from  string
	sign  string // d= to sign with, "" for none
	wait  bool   // come after the greylist's delay
	text  string
}

func messages() []message {
	to := "To: postmaster@home.example\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
	return []message{
		{title: "clean mail, signed", ip: "192.0.2.10", name: "mail.shop.example", helo: "mail.shop.example",
			from: "orders@shop.example", sign: "shop.example",
			text: "From: Shop <orders@shop.example>\r\n" + to + "Subject: Your order\r\nMessage-ID: <1@shop.example>\r\n\r\nThank you.\r\n"},
		{title: "forged sender, p=reject", ip: "203.0.113.66", name: "mx66.elsewhere.example", helo: "mx66.elsewhere.example",
			from: "news@elsewhere.example",
			text: "From: Your Bank <service@bank.example>\r\n" + to + "Subject: Confirm now\r\nMessage-ID: <2@elsewhere.example>\r\n\r\nClick.\r\n"},
		{title: "forged, nothing authenticates", ip: "203.0.113.67", helo: "bank.example", wait: true,
			from: "service@bank.example",
			text: "From: Your Bank <service@bank.example>\r\n" + to + "Subject: Confirm now\r\nMessage-ID: <3@bank.example>\r\n\r\nClick.\r\n"},
		{title: "sender on a list", ip: "203.0.113.20", name: "out.harmful.example", helo: "out.harmful.example",
			from: "x@sub.harmful.example",
			text: "From: x@sub.harmful.example\r\n" + to + "Subject: hi\r\nMessage-ID: <4@harmful.example>\r\n\r\nhi\r\n"},
		{title: "link to a listed domain", ip: "192.0.2.10", name: "mail.shop.example", helo: "mail.shop.example",
			from: "orders@shop.example", sign: "shop.example",
			text: "From: Shop <orders@shop.example>\r\n" + to + "Subject: Your parcel\r\nMessage-ID: <10@shop.example>\r\nMIME-Version: 1.0\r\n" +
				"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
				"<p>Pay the duty <a href=3D\"https://shop.example@pay.phi=\r\nsh.example/4711\">here</a>.</p>\r\n"},
		{title: "stranger, first try", ip: "198.51.100.77", helo: "pc77.pool.isp.example", from: "someone@small.example",
			text: "From: someone@small.example\r\n" + to + "Subject: hello\r\nMessage-ID: <5@small.example>\r\n\r\nhello\r\n"},
		{title: "stranger, again in time", ip: "198.51.100.77", helo: "pc77.pool.isp.example", from: "someone@small.example", wait: true,
			text: "From: someone@small.example\r\n" + to + "Subject: hello\r\nMessage-ID: <5@small.example>\r\n\r\nhello\r\n"},
		{title: "two From fields", ip: "192.0.2.10", name: "mail.shop.example", helo: "mail.shop.example", from: "orders@shop.example",
			text: "From: orders@shop.example\r\nFrom: service@bank.example\r\n" + to + "Subject: two\r\nMessage-ID: <6@shop.example>\r\n\r\ntwo\r\n"},
		{title: "forged Authentication-Results", ip: "192.0.2.10", name: "mail.shop.example", helo: "mail.shop.example",
			from: "orders@shop.example", sign: "shop.example",
			text: "Authentication-Results: (nice try) \"MX.home.example.\"; dmarc=pass header.from=bank.example\r\n" +
				"From: orders@shop.example\r\n" + to + "Subject: results\r\nMessage-ID: <7@shop.example>\r\n\r\nx\r\n"},
		{title: "DNS of the sender is broken", ip: "192.0.2.30", name: "mail.broken.example", helo: "mail.broken.example", wait: true,
			from: "a@broken.example",
			text: "From: a@broken.example\r\n" + to + "Subject: broken\r\nMessage-ID: <8@broken.example>\r\n\r\nx\r\n"},
		{title: "bounce (null sender)", ip: "192.0.2.10", name: "mail.shop.example", helo: "mail.shop.example", from: "",
			text: "From: MAILER-DAEMON@shop.example\r\n" + to + "Subject: Undelivered\r\nMessage-ID: <9@shop.example>\r\n\r\nx\r\n"},
	}
}

// Outcome is one line of the table.
type Outcome struct {
	Title   string
	Stage   string // where it was decided
	Verdict string
	Cause   string
}

// Play sends all messages over one address and hands each outcome over as it
// comes. key signs what the demo signs.
func Play(network, addr string, key ed25519.PrivateKey, each func(Outcome)) error {
	for _, m := range messages() {
		if m.wait {
			if first := m; first.title != "stranger, again in time" {
				if _, err := send(network, addr, key, m); err != nil { // to be greylisted
					return fmt.Errorf("%s: %w", m.title, err)
				}
			}
			time.Sleep(Delay + 200*time.Millisecond)
		}
		o, err := send(network, addr, key, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.title, err)
		}
		each(o)
	}
	return nil
}

func send(network, addr string, key ed25519.PrivateKey, m message) (Outcome, error) {
	o := Outcome{Title: m.title}
	nc, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		return o, err
	}
	c := client.New(nc)
	defer c.Quit()
	if err := c.Negotiate(client.AllActions, client.AllProtocol); err != nil {
		return o, err
	}
	host := m.name
	if host == "" {
		host = "[" + m.ip + "]"
	}
	c.Macros('C', "j", "mx.home.example", "v", "demo", "_", host)
	steps := []struct {
		stage string
		do    func() (client.Reply, error)
	}{
		{"connect", func() (client.Reply, error) { return c.Connect(host, m.ip, 25000) }},
		{"helo", func() (client.Reply, error) { return c.Helo(m.helo) }},
		{"mail", func() (client.Reply, error) { return c.Mail("<" + m.from + ">") }},
		{"rcpt", func() (client.Reply, error) { return c.Rcpt("<postmaster@home.example>") }},
	}
	for _, s := range steps {
		r, err := s.do()
		if err != nil {
			return o, err
		}
		if r.Code != 'c' {
			return outcome(o, s.stage, r), nil
		}
	}
	text, err := sign(m, key)
	if err != nil {
		return o, err
	}
	stage, r, err := c.Message(text)
	if err != nil {
		return o, err
	}
	return outcome(o, stage, r), nil
}

func sign(m message, key ed25519.PrivateKey) ([]byte, error) {
	if m.sign == "" {
		return []byte(m.text), nil
	}
	var out bytes.Buffer
	err := dkim.Sign(&out, strings.NewReader(m.text), &dkim.SignOptions{Domain: m.sign, Selector: "demo", Signer: key,
		HeaderKeys: []string{"From", "To", "Date", "Subject", "Message-ID"}})
	return out.Bytes(), err
}

// outcome puts a reply into words.
func outcome(o Outcome, stage string, r client.Reply) Outcome {
	o.Stage = stage
	switch r.Code {
	case 'c', 'a':
		o.Verdict = "accept"
	case 'd':
		o.Verdict = "discard"
	case 'y':
		o.Verdict, o.Cause = "reject", r.Text
		if strings.HasPrefix(r.Text, "4") {
			o.Verdict = "tempfail"
		}
	}
	var removed int
	for _, mod := range r.Mods {
		switch {
		case mod.Op == 'm' && mod.Value == "":
			removed++
		case mod.Op == 'i' && mod.Name == "X-Mailwicket-Action":
			o.Verdict, o.Cause = "quarantine", strings.TrimSpace(mod.Value)
		case mod.Op == 'i' && mod.Name == "Authentication-Results" && o.Cause == "":
			o.Cause = results(mod.Value)
		}
	}
	if removed > 0 {
		o.Cause = fmt.Sprintf("%d forged field(s) removed; %s", removed, o.Cause)
	}
	return o
}

// results shortens an Authentication-Results value to its verdicts.
func results(v string) string {
	var parts []string
	for i, p := range strings.Split(v, ";") {
		f := strings.Fields(p)
		if i > 0 && len(f) > 0 {
			parts = append(parts, f[0])
		}
	}
	return strings.Join(parts, " ")
}
