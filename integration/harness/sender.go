package harness

import (
	"fmt"
	"path/filepath"
	"strings"
)

// sender gives a second mail server of the MTA's kind. It has no filter, and its
// queue brings all mail to the MTA. It is started when it is first asked for.
func (w *World) sender(to *MTA) (*MTA, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.senders[to.Kind]
	if l == nil {
		l = &lane{}
		l.mta, l.err = startMTA(to.Kind, filepath.Join(w.dir, to.Kind+"-out"), "out.test.example", 0, to.Port)
		w.senders[to.Kind] = l
	}
	return l.mta, l.err
}

// submit gives a message to the sender: its name, the envelope sender, and the
// recipients.
func (p *player) submit(arg string) error {
	words := strings.Fields(arg)
	if len(words) < 3 {
		return fmt.Errorf("want a message, a sender and recipients")
	}
	msg, ok := p.messages[words[0]]
	if !ok {
		return fmt.Errorf("no message %q", words[0])
	}
	out, err := p.world.sender(p.mta)
	if err != nil {
		return err
	}
	c, err := Dial(out.Addr, "")
	if err != nil {
		return err
	}
	defer c.Close()
	lines := []string{"", "EHLO client.example", "MAIL FROM:<" + words[1] + ">"}
	for _, to := range words[2:] {
		lines = append(lines, "RCPT TO:<"+to+">")
	}
	for i, line := range append(lines, "DATA") {
		if line != "" {
			if err := c.Line(line); err != nil {
				return err
			}
		}
		want := "250"
		switch {
		case i == 0:
			want = "220"
		case line == "DATA":
			want = "354"
		}
		if err := expectFrom(c, line, want); err != nil {
			return err
		}
	}
	p.sent = append(p.sent, msg)
	if err := c.Content(msg); err != nil {
		return err
	}
	return expectFrom(c, "the message", "250")
}

// expectFrom reads a reply that begins as wanted.
func expectFrom(c *Client, after, want string) error {
	reply, err := c.Reply()
	if err == nil {
		err = checkReply("S:", want, reply)
	}
	if err != nil {
		return fmt.Errorf("the sender, after %q: %w", after, err)
	}
	return nil
}
