package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Mail is one message that the sink got.
type Mail struct {
	From  string   // the argument of MAIL, as it came
	Rcpts []string // the arguments of RCPT
	Data  []byte   // the content with its CRLFs, dot-stuffing undone
}

// Sink is an SMTP server that takes everything and changes nothing.
type Sink struct {
	ln    net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	mails []Mail
	conns map[net.Conn]bool
}

// NewSink starts a sink on a free loopback port.
func NewSink() (*Sink, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Sink{ln: ln, conns: map[net.Conn]bool{}}
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// Port tells where the sink listens.
func (s *Sink) Port() int { return s.ln.Addr().(*net.TCPAddr).Port }

// Close ends the sink and its sessions.
func (s *Sink) Close() {
	s.ln.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// For gives the mails with a recipient in the domain, waiting for as many as
// wanted until the time is over.
func (s *Sink) For(domain string, want int, wait time.Duration) []Mail {
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		got := s.now(domain)
		if len(got) >= want || time.Now().After(end) {
			return got
		}
	}
}

func (s *Sink) now(domain string) []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []Mail
	for _, m := range s.mails {
		if strings.Contains(strings.ToLower(strings.Join(m.Rcpts, " ")), "@"+domain+">") {
			got = append(got, m)
		}
	}
	return got
}

func (s *Sink) accept() {
	defer s.wg.Done()
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.serve(c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
	}
}

func (s *Sink) serve(c net.Conn) {
	r := bufio.NewReader(c)
	say := func(text string) { fmt.Fprintf(c, "%s\r\n", text) }
	say("220 sink")
	var m Mail
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, ":")
		switch strings.ToUpper(strings.Fields(verb + " ?")[0]) {
		case "EHLO":
			say("250-sink\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 0")
		case "MAIL":
			m = Mail{From: arg}
			say("250 ok")
		case "RCPT":
			m.Rcpts = append(m.Rcpts, arg)
			say("250 ok")
		case "DATA":
			say("354 go")
			if m.Data, err = readDots(r); err != nil {
				return
			}
			s.mu.Lock()
			s.mails = append(s.mails, m)
			s.mu.Unlock()
			m = Mail{}
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			m = Mail{}
			say("250 ok")
		}
	}
}

// readDots reads up to the final dot, which it takes off.
func readDots(r *bufio.Reader) ([]byte, error) {
	var b bytes.Buffer
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if string(line) == ".\r\n" {
			return b.Bytes(), nil
		}
		b.Write(bytes.TrimPrefix(line, []byte(".")))
	}
}
