package harness

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// player carries out a dialogue.
type player struct {
	*stage
	client *Client
	last   string // the client line that the next reply answers
	begin  time.Time
	ref    string // the first that the filter gave, for howtos
}

func (p *player) hangUp() {
	if p.client != nil {
		p.client.Close()
		p.client = nil
	}
}

// play carries out the lines; blocks are RETRY..DONE and PIPELINE..END.
func (p *player) play(script []string) error {
	for i := 0; i < len(script); i++ {
		word, arg, _ := strings.Cut(p.vars.Replace(script[i]), " ")
		end, isBlock := map[string]string{"RETRY": "DONE", "PIPELINE": "END"}[word]
		var block []string
		if isBlock {
			for i++; i < len(script) && script[i] != end; i++ {
				block = append(block, script[i])
			}
			if i == len(script) {
				return fmt.Errorf("dialogue: %s without %s", word, end)
			}
		}
		var err error
		switch word {
		case "RUN":
			want := outputs(script[i+1:])
			i += len(want)
			for j := range want {
				want[j] = p.here(want[j])
			}
			err = p.run(p.here(arg), want)
		case "RETRY":
			err = p.retry(arg, block)
		case "PIPELINE":
			err = p.pipeline(block)
		default:
			err = p.step(word, arg)
		}
		if err != nil {
			return fmt.Errorf("dialogue: %s %s: %w", word, arg, err)
		}
	}
	return nil
}

// quit ends the session politely.
func (p *player) quit() {
	if p.client != nil && p.client.Line("QUIT") == nil {
		_, _ = p.client.Reply() // the MTA may have closed first
	}
	p.hangUp()
}

// retry plays a block until all of it goes as wanted, or the time is over.
func (p *player) retry(limit string, block []string) error {
	d, err := time.ParseDuration(limit)
	if err != nil {
		return err
	}
	for end := time.Now().Add(d); ; time.Sleep(200 * time.Millisecond) {
		p.quit()
		sent := len(p.sent)
		if err = p.play(block); err == nil || time.Now().After(end) {
			return err
		}
		p.sent = p.sent[:sent]
	}
}

// pipeline sends the client's lines of a block in one write, then reads the
// replies.
func (p *player) pipeline(block []string) error {
	var all bytes.Buffer
	var replies []string
	for _, line := range block {
		line = p.vars.Replace(line)
		if text, ok := strings.CutPrefix(line, "C: "); ok {
			all.WriteString(text + "\r\n")
		} else {
			replies = append(replies, line)
		}
	}
	if err := p.connected(); err != nil {
		return err
	}
	if err := p.client.Send(all.Bytes()); err != nil {
		return err
	}
	return p.play(replies)
}

func (p *player) step(word, arg string) error {
	switch word {
	case "CLIENT":
		return p.connect(arg)
	case "SUBMIT":
		return p.submit(arg)
	}
	if err := p.connected(); err != nil {
		return err
	}
	switch word {
	case "C:":
		arg = p.here(arg)
		p.last = arg
		return p.client.Line(string(message(arg)))
	case "S:", "S~", "R:":
		reply, err := p.client.Reply()
		if err != nil {
			return fmt.Errorf("after %q: %w", p.last, err)
		}
		if p.ref == "" {
			p.ref = anyReference.FindString(reply)
		}
		if p.c.walk && p.last == "QUIT" {
			p.hangUp()
		}
		return checkReply(word, p.here(arg), reply)
	case "DATA":
		return p.data(arg)
	case "BDAT":
		return p.bdat(arg)
	case "STARTTLS":
		if err := p.ask("STARTTLS", "220"); err != nil {
			return err
		}
		return p.client.StartTLS()
	case "CLOSE":
		p.hangUp()
		return nil
	case "CLOSED":
		return p.client.Closed()
	}
	return p.wait(word, arg)
}

// wait carries out what concerns the filter and the clock.
func (p *player) wait(word, arg string) error {
	switch word {
	case "WAIT":
		d, err := time.ParseDuration(arg)
		time.Sleep(d)
		return err
	case "SIGNAL":
		sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[arg]
		if sig == 0 {
			return errors.New("unknown signal")
		}
		return p.filter.Signal(sig)
	case "WITHIN":
		limit, err := time.ParseDuration(arg)
		if took := time.Since(p.begin); err == nil && took > limit {
			err = fmt.Errorf("the session took %v so far", took)
		}
		return err
	case "EXIT":
		status, err := p.filter.Wait(20 * time.Second)
		if err == nil && fmt.Sprint(status) != arg {
			err = fmt.Errorf("exit status %d", status)
		}
		return err
	}
	return errors.New("unknown word")
}

func (p *player) connected() error {
	if p.client != nil {
		return nil
	}
	return p.connect("")
}

// connect opens a session: addr=, name=, helo=, login= are told to Postfix by
// XCLIENT, local= is where the connection to Sendmail comes from, and greet=
// is the greeting wanted.
func (p *player) connect(arg string) error {
	p.hangUp()
	p.begin = time.Now()
	set := map[string]string{"addr": "203.0.113.7", "name": "mail.good.example", "local": "127.0.0.7", "greet": "220"}
	for _, word := range strings.Fields(arg) {
		k, v, _ := strings.Cut(word, "=")
		set[k] = v
	}
	addr, local := p.mta.Addr, ""
	if p.mta.Kind == "sendmail" {
		if local = set["local"]; strings.Contains(local, ":") {
			addr = fmt.Sprintf("[::1]:%d", p.mta.Port)
		}
	}
	var err error
	if p.client, err = Dial(addr, local); err != nil {
		return err
	}
	if p.mta.Kind == "sendmail" {
		return p.expect(set["greet"])
	}
	if err := p.expect("220"); err != nil {
		return err
	}
	x := "XCLIENT ADDR=" + set["addr"] + " NAME=" + set["name"]
	if set["login"] != "" {
		x += " LOGIN=" + set["login"]
	}
	return p.ask(x, set["greet"])
}

func (p *player) ask(line, want string) error {
	p.last = line
	if err := p.client.Line(line); err != nil {
		return err
	}
	return p.expect(want)
}

func (p *player) expect(want string) error {
	reply, err := p.client.Reply()
	if err != nil {
		return fmt.Errorf("after %q: %w", p.last, err)
	}
	return checkReply("S:", want, reply)
}

func (p *player) data(name string) error {
	msg, ok := p.messages[name]
	if !ok {
		return fmt.Errorf("no message %q", name)
	}
	if err := p.ask("DATA", "354"); err != nil {
		return err
	}
	p.last, p.sent = "the message "+name, append(p.sent, msg)
	return p.client.Content(msg)
}

func (p *player) bdat(name string) error {
	msg, ok := p.messages[name]
	if !ok {
		return fmt.Errorf("no message %q", name)
	}
	half := len(msg) / 2
	if err := p.client.Send(append(fmt.Appendf(nil, "BDAT %d\r\n", half), msg[:half]...)); err != nil {
		return err
	}
	if err := p.expect("250"); err != nil {
		return err
	}
	p.last, p.sent = "the last chunk of "+name, append(p.sent, msg)
	return p.client.Send(append(fmt.Appendf(nil, "BDAT %d LAST\r\n", len(msg)-half), msg[half:]...))
}

var reference = regexp.MustCompile(`\(ref [0-9A-Za-z_-]{4,}\)`)

// checkReply compares a reply: "S:" with its beginning, "S~" with a regexp,
// "R:" takes it for the filter's own, with both codes, a cause and a reference
// in the form that every client may see.
func checkReply(word, want, reply string) error {
	ok := true
	switch word {
	case "S:":
		ok = strings.HasPrefix(reply, want)
	case "S~":
		re, err := regexp.Compile("(?is)" + want)
		if err != nil {
			return err
		}
		ok = re.MatchString(reply)
	case "R:":
		return checkOwnReply(want, reply)
	}
	if !ok {
		return fmt.Errorf("got %q", reply)
	}
	return nil
}

func checkOwnReply(want, reply string) error {
	codes, pattern := want, ""
	if f := strings.SplitN(want, " ", 3); len(f) == 3 {
		codes, pattern = f[0]+" "+f[1], f[2]
	}
	re, err := regexp.Compile("(?is)" + pattern)
	if err != nil {
		return err
	}
	for l := range strings.SplitSeq(reply, "\n") {
		if len(l) > 510 || strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("not fit for SMTP: %q", reply)
		}
	}
	switch {
	case !regexp.MustCompile("^" + strings.NewReplacer(".", `\.`, "x", "[0-9]+").Replace(codes) + " ").MatchString(reply):
		return fmt.Errorf("got %q", reply)
	case !reference.MatchString(reply):
		return fmt.Errorf("no reference in %q", reply)
	case !re.MatchString(reply):
		return fmt.Errorf("cause not told in %q", reply)
	}
	return nil
}
