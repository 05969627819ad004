package milter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter"
	"mailwicket/filter/mail"
	"mailwicket/filter/milter"
	"mailwicket/filter/milter/client"
	"mailwicket/policy"
)

// script is a session that notes its calls and answers from a table.
type script struct {
	mu      sync.Mutex
	calls   []string
	client  mail.Conn
	body    []byte
	answers map[string]filter.Answer // by call
	plan    filter.Plan
	panicAt string
	closed  chan struct{}
	block   chan struct{} // EndOfMessage waits for it where set
	pause   time.Duration // of Rcpt
	// EndOfMessage waits for the end of its context.
	untilCtx bool
}

func newScript() *script {
	return &script{answers: map[string]filter.Answer{}, closed: make(chan struct{})}
}

func (s *script) note(format string, args ...any) filter.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	call := fmt.Sprintf(format, args...)
	s.calls = append(s.calls, call)
	if s.panicAt != "" && strings.HasPrefix(call, s.panicAt) {
		panic("scripted")
	}
	return s.answers[call]
}

func (s *script) Connect(_ context.Context, c mail.Conn) filter.Answer {
	s.client = c
	return s.note("connect %s", c.Addr)
}
func (s *script) Helo(_ context.Context, n string, t mail.TLS) filter.Answer {
	return s.note("helo %s%s", n, t.Version)
}
func (s *script) Mail(_ context.Context, p string, e filter.Envelope) filter.Answer {
	return s.note("mail %s %s%s", p, e.AuthUser, strings.Join(e.Params, ","))
}
func (s *script) Rcpt(_ context.Context, p string) filter.Answer {
	time.Sleep(s.pause)
	return s.note("rcpt %s", p)
}
func (s *script) Header(n, v string) { s.note("header %s:%s", n, v) }
func (s *script) EndOfHeader(_ context.Context, q string) filter.Answer {
	return s.note("eoh %s", q)
}
func (s *script) Body(_ context.Context, b []byte) {
	s.body = append(s.body, b...)
	s.note("body %d", len(b))
}
func (s *script) EndOfMessage(ctx context.Context, q string) filter.Plan {
	if s.untilCtx {
		<-ctx.Done()
	}
	if s.block != nil {
		<-s.block
	}
	a := s.note("eom %s", q)
	if a.Verdict != policy.Continue {
		return filter.Plan{Answer: a}
	}
	return s.plan
}
func (s *script) Abort() { s.note("abort") }
func (s *script) Close() { close(s.closed) }

func (s *script) has(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := strings.Join(s.calls, "\n")
	if got != strings.Join(want, "\n") {
		t.Errorf("calls:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// start runs a server over a unix socket; each connection gets the next script.
func start(t *testing.T, change func(*milter.Server), scripts ...*script) (dial func() net.Conn, stop func()) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "m.sock"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	srv := &milter.Server{
		NewSession: func() milter.Session {
			mu.Lock()
			defer mu.Unlock()
			s := scripts[0]
			if len(scripts) > 1 {
				scripts = scripts[1:]
			}
			return s
		},
		Failure: func() filter.Answer {
			return filter.Answer{Verdict: policy.Tempfail, Code: 451, Enhanced: "4.3.0", Text: "broken"}
		},
		Limits: milter.DefaultLimits(),
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	srv.Limits.Grace = 2 * time.Second
	if change != nil {
		change(srv)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, ln) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("server: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return func() net.Conn {
		c, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}, stop
}

func negotiated(t *testing.T, nc net.Conn, protocol uint32) *client.Client {
	t.Helper()
	c := client.New(nc)
	c.Timeout = 5 * time.Second
	if err := c.Negotiate(client.AllActions, protocol); err != nil {
		t.Fatal(err)
	}
	return c
}

func want(t *testing.T, what string, r client.Reply, err error, code byte, text string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if r.Code != code || !strings.HasPrefix(r.Text, text) {
		t.Fatalf("%s: reply %q %q, want %q %q", what, r.Code, r.Text, code, text)
	}
}

const plain = "From: a@sender.example\r\nSubject:x\r\nX-Fold: one\r\n\ttwo\r\n\r\nhello\r\n"

// TestFlagsMatchHandlers pins each no-reply flag to its handler, for every
// subset of flags that an MTA may offer: a reply too many would be taken for
// that of a later command, and a reject at the end of message be lost.
func TestFlagsMatchHandlers(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, offer := range []uint32{client.AllProtocol, 0x37f, 0x7f, 0, client.NoHeaderReply, client.NoBodyReply,
		client.AllProtocol &^ client.NoHeaderReply, client.AllProtocol &^ client.NoBodyReply} {
		t.Run(fmt.Sprintf("%#x", offer), func(t *testing.T) {
			s := newScript()
			s.answers["eom Q1"] = filter.Answer{Verdict: policy.Reject, Code: 550, Enhanced: "5.7.1", Text: "no"}
			dial, stop := start(t, nil, s)
			defer stop()
			c := negotiated(t, dial(), offer)
			if c.Protocol&^offer != 0 {
				t.Fatalf("flags %#x were not offered", c.Protocol&^offer)
			}
			r, err := c.Connect("[203.0.113.7]", "203.0.113.7", 4242)
			want(t, "connect", r, err, 'c', "")
			r, err = c.Helo("h.example")
			want(t, "helo", r, err, 'c', "")
			r, err = c.Mail("<a@sender.example>", "SIZE=10")
			want(t, "mail", r, err, 'c', "")
			r, err = c.Rcpt("<b@rcpt.example>")
			want(t, "rcpt", r, err, 'c', "")
			c.Macros('E', "i", "Q1")
			_, r, err = c.Message([]byte(plain))
			want(t, "message", r, err, 'y', "550 5.7.1 no")
			if c.Pending(50 * time.Millisecond) {
				t.Error("a reply that nobody asked for")
			}
		})
	}
}

// TestTempfailedRecipientKeepsSession: go-milter's own tempfail would put a
// backend in place that never saw the connection.
func TestTempfailedRecipientKeepsSession(t *testing.T) {
	s := newScript()
	s.answers["rcpt grey@rcpt.example"] = filter.Answer{Verdict: policy.Tempfail, Code: 451, Enhanced: "4.7.1", Text: "later"}
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	c.Connect("mail.example", "203.0.113.7", 1)
	c.Helo("mail.example")
	c.Mail("<a@s.example>")
	r, err := c.Rcpt("<grey@rcpt.example>")
	want(t, "grey", r, err, 'y', "451 4.7.1 later")
	r, err = c.Rcpt("<ok@rcpt.example>")
	want(t, "ok", r, err, 'c', "")
	_, r, err = c.Message([]byte(plain))
	want(t, "eom", r, err, 'c', "")
	s.has(t, "connect 203.0.113.7", "helo mail.example", "mail a@s.example ", "rcpt grey@rcpt.example",
		"rcpt ok@rcpt.example", "header From: a@sender.example", "header Subject:x", "header X-Fold: one\r\n\ttwo",
		"eoh ", "body 7", "eom ")
}

// TestMacrosByStage: MTAs replace the macros at each stage and forget the
// message's with an abort; Sendmail sends no abort between messages.
func TestMacrosByStage(t *testing.T) {
	s := newScript()
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	c.Macros('C', "j", "mx.test.example", "{daemon_name}", "in", "v", "Postfix 3.7.11", "_", "unknown [203.0.113.7]")
	c.Connect("[203.0.113.7]", "203.0.113.7", 1)
	c.Macros('H', "{tls_version}", "TLSv1.3")
	c.Helo("h")
	c.Macros('M', "{auth_authen}", "alice", "i", "Q1")
	c.Mail("<a@s.example>")
	c.Rcpt("<b@r.example>")
	c.Message([]byte("A: b\r\n\r\n"))
	c.Macros('M')
	c.Mail("<c@s.example>") // no abort in between
	c.Rcpt("<b@r.example>")
	c.Macros('E', "i", "Q2")
	_, r, err := c.Message([]byte("C: d\r\n\r\n"))
	want(t, "eom", r, err, 'c', "")
	s.has(t, "connect 203.0.113.7", "helo hTLSv1.3", "mail a@s.example alice", "rcpt b@r.example", "header A: b", "eoh Q1",
		"eom Q1", "mail c@s.example ", "rcpt b@r.example", "header C: d", "eoh Q2", "eom Q2")
	if s.client.MTAName != "mx.test.example" || s.client.Version != "Postfix 3.7.11" || s.client.HostName != "" {
		t.Errorf("client %+v", s.client)
	}
}

// TestMacrosOfEarlierMessage: a MAIL that has no macros does not get those that
// came with the end of the message before.
func TestMacrosOfEarlierMessage(t *testing.T) {
	s := newScript()
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	c.Connect("h", "203.0.113.7", 1)
	c.Mail("<a@b>")
	c.Macros('E', "i", "Q1", "{auth_authen}", "alice")
	c.Command('E', nil)
	c.Mail("<c@d>")
	c.EndOfHeader()
	s.has(t, "connect 203.0.113.7", "mail a@b ", "eom Q1", "mail c@d ", "eoh ")
}

// TestTaggedIPv6 is what Sendmail sends for every IPv6 client.
func TestTaggedIPv6(t *testing.T) {
	for _, addr := range []string{"IPv6:2001:db8:0:0:0:0:0:25", "2001:db8::25", "::ffff:192.0.2.1"} {
		s := newScript()
		dial, stop := start(t, nil, s)
		c := negotiated(t, dial(), client.AllProtocol)
		data := append([]byte("[x]\x006\x00\x19"), addr+"\x00"...)
		r, err := c.Command('C', data)
		want(t, addr, r, err, 'c', "")
		wantAddr := netip.MustParseAddr(strings.TrimPrefix(addr, "IPv6:")).Unmap()
		if s.client.Addr != wantAddr {
			t.Errorf("%s: address %s, want %s", addr, s.client.Addr, wantAddr)
		}
		stop()
	}
}

// TestLeadingBlank: with the flag the value is the message's own bytes, without
// it the MTA ate one blank.
func TestLeadingBlank(t *testing.T) {
	s := newScript()
	s.plan = filter.Plan{Insert: []filter.Insertion{{Name: "X-A", Value: "v"}, {Name: "X-B", Value: "w"}},
		Delete: []filter.Deletion{{Name: "X-C", Index: 2}, {Name: "X-C", Index: 1}}}
	for _, tc := range []struct {
		offer uint32
		lead  string
	}{{client.AllProtocol, " "}, {0x7f, ""}} {
		dial, stop := start(t, nil, s)
		s.closed = make(chan struct{})
		c := negotiated(t, dial(), tc.offer)
		c.Connect("h", "203.0.113.7", 1)
		c.Mail("<a@b>")
		c.Rcpt("<c@d>")
		_, r, err := c.Message([]byte("A: b\r\n\r\n"))
		want(t, "eom", r, err, 'c', "")
		got := fmt.Sprint(r.Mods)
		wanted := fmt.Sprint([]client.Modify{{Op: 'm', Index: 2, Name: "X-C"}, {Op: 'm', Index: 1, Name: "X-C"},
			{Op: 'i', Name: "X-B", Value: tc.lead + "w"}, {Op: 'i', Name: "X-A", Value: tc.lead + "v"}})
		if got != wanted {
			t.Errorf("edits %s, want %s", got, wanted)
		}
		stop()
	}
}

// TestOddPackets: what no handler of go-milter understands must neither end the
// session nor shift replies.
func TestOddPackets(t *testing.T) {
	for _, offer := range []uint32{client.AllProtocol, 0x7f} {
		s, next := newScript(), newScript()
		dial, stop := start(t, nil, s, next)
		c := negotiated(t, dial(), offer)
		c.Connect("h", "203.0.113.7", 1)
		r, err := c.Command('U', []byte("FOOBAR\x00"))
		want(t, "unknown command", r, err, 'c', "")
		r, err = c.Command('T', nil)
		want(t, "data", r, err, 'c', "")
		c.Mail("<a@b>")
		c.Rcpt("<c@d>")
		for _, bad := range []string{"Name\x00v1\x00v2\x00", "\x00v\x00", "Name", "Name\x00", ""} {
			c.Packet('L', []byte(bad))
			if offer == 0x7f {
				r, err = c.Command('L', []byte("A\x00b\x00"))
				want(t, "first reply", r, err, 'c', "")
				r, err = c.NextReply()
				want(t, "second reply", r, err, 'c', "")
			}
		}
		r, err = c.EndOfHeader()
		want(t, "eoh", r, err, 'c', "")
		c.Body([]byte("part1 "))
		r, err = c.Command('E', []byte("part2"))
		want(t, "eom with data", r, err, 'c', "")
		if string(s.body) != "part1 part2" {
			t.Errorf("body %q", s.body)
		}
		if c.Pending(30 * time.Millisecond) {
			t.Error("surplus reply")
		}
		// The next client is a stranger to the first one's session.
		c.Packet('K', nil)
		r, err = c.Connect("h2", "203.0.113.8", 1)
		want(t, "connect after quit-new-connection", r, err, 'c', "")
		<-s.closed
		next.has(t, "connect 203.0.113.8")
		c.Quit()
		stop()
	}
}

// TestLongEdits: go-milter writes long packets in pieces, which must not be
// taken for packets.
func TestLongEdits(t *testing.T) {
	s := newScript()
	long := strings.Repeat("O", 70_000)
	s.plan = filter.Plan{Insert: []filter.Insertion{{Name: "X-A", Value: long}}}
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	c.Connect("h", "203.0.113.7", 1)
	c.Mail("<a@b>")
	_, r, err := c.Message([]byte(plain))
	want(t, "eom", r, err, 'c', "")
	if len(r.Mods) != 1 || r.Mods[0].Value != " "+long {
		t.Errorf("%d edits, value changed", len(r.Mods))
	}
}

// TestEditsNotOffered: an MTA takes edits that it did not offer for an error, and
// leaving forged fields in place would be one of ours.
func TestEditsNotOffered(t *testing.T) {
	for name, plan := range map[string]filter.Plan{
		"insert": {Insert: []filter.Insertion{{Name: "X-A", Value: "v"}}},
		"delete": {Delete: []filter.Deletion{{Name: "X-A", Index: 1}}},
		"hold":   {Hold: "why"},
	} {
		s := newScript()
		s.plan = plan
		dial, stop := start(t, nil, s)
		c := client.New(dial())
		if err := c.Negotiate(0, client.AllProtocol); err != nil {
			t.Fatal(err)
		}
		c.Connect("h", "203.0.113.7", 1)
		c.Mail("<a@b>")
		_, r, err := c.Message([]byte(plain))
		want(t, name, r, err, 'y', "451 4.3.0 broken")
		if len(r.Mods) != 0 {
			t.Errorf("%s: edits %v", name, r.Mods)
		}
		stop()
	}
}

// TestPanicIsAnswered: the connection survives, and the MTA hears on_error.
func TestPanicIsAnswered(t *testing.T) {
	s := newScript()
	s.panicAt = "rcpt bad"
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	c.Connect("h", "203.0.113.7", 1)
	c.Mail("<a@b>")
	r, err := c.Rcpt("<bad@d>")
	want(t, "panic", r, err, 'y', "451 4.3.0 broken")
	r, err = c.Rcpt("<good@d>")
	want(t, "next", r, err, 'c', "")
}

// TestPanicWithoutReply: where no answer is due, the next one tells of the
// failure, and the session is not asked about half a message.
func TestPanicWithoutReply(t *testing.T) {
	for at, calls := range map[string][]string{
		"header Subject": {"connect 203.0.113.7", "mail a@b ", "header From: a@sender.example", "header Subject:x"},
		"body": {"connect 203.0.113.7", "mail a@b ", "header From: a@sender.example", "header Subject:x",
			"header X-Fold: one\r\n\ttwo", "eoh ", "body 7"},
	} {
		s := newScript()
		s.panicAt = at
		dial, stop := start(t, nil, s)
		c := negotiated(t, dial(), client.AllProtocol)
		c.Connect("h", "203.0.113.7", 1)
		c.Mail("<a@b>")
		_, r, err := c.Message([]byte(plain))
		want(t, at, r, err, 'y', "451 4.3.0 broken")
		s.has(t, calls...)
		r, err = c.Mail("<next@b>")
		want(t, "next message", r, err, 'c', "")
		c.Quit()
		stop()
	}
}

// TestPanicAtConnect: a session that does not know its client is asked nothing.
func TestPanicAtConnect(t *testing.T) {
	s := newScript()
	s.panicAt = "connect"
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	r, err := c.Connect("h", "203.0.113.7", 1)
	want(t, "connect", r, err, 'y', "451 4.3.0 broken")
	r, err = c.Mail("<a@b>")
	want(t, "mail", r, err, 'y', "451 4.3.0 broken")
	<-s.closed
	s.has(t, "connect 203.0.113.7")
}

// TestNoConnect: without a connect packet there is nobody to judge.
func TestNoConnect(t *testing.T) {
	s := newScript()
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	r, err := c.Mail("<a@b>")
	want(t, "mail", r, err, 'y', "451 4.3.0 broken")
	_, r, err = c.Message([]byte(plain))
	want(t, "message", r, err, 'y', "451 4.3.0 broken")
	c.Abort()
	r, err = c.Connect("h", "203.0.113.7", 1)
	want(t, "connect", r, err, 'c', "")
	s.has(t, "connect 203.0.113.7")
}

// TestProgress: packets that keep the MTA waiting come at the end of message
// only (Sendmail takes them for an error elsewhere), and never after the answer.
func TestProgress(t *testing.T) {
	for _, end := range []string{"", "eom"} {
		s := newScript()
		s.block, s.panicAt = make(chan struct{}), end
		dial, stop := start(t, func(srv *milter.Server) { srv.Limits.Progress = time.Millisecond }, s)
		c := negotiated(t, dial(), client.AllProtocol)
		c.Connect("h", "203.0.113.7", 1)
		c.Mail("<a@b>")
		s.pause = 20 * time.Millisecond
		c.Packet('R', []byte("<c@d>\x00"))
		r, err := c.NextReply()
		want(t, "rcpt", r, err, 'c', "")
		c.EndOfHeader()
		c.Packet('E', nil)
		for range 3 {
			r, err = c.NextReply()
			want(t, "progress", r, err, 'p', "")
		}
		close(s.block)
		for r.Code == 'p' && err == nil {
			r, err = c.NextReply()
		}
		if end == "" {
			want(t, "eom", r, err, 'c', "")
		} else {
			want(t, "eom", r, err, 'y', "451 4.3.0 broken")
		}
		if c.Pending(20 * time.Millisecond) {
			t.Error("progress after the answer")
		}
		stop()
	}
}

// TestReplies: text from mail must not change a verdict (Sendmail makes a 550 of
// any reply with a lone "%", Postfix gives up on a malformed one).
func TestReplies(t *testing.T) {
	for _, tc := range []struct {
		a    filter.Answer
		want string
	}{
		{filter.Answer{Verdict: policy.Tempfail, Code: 451, Enhanced: "4.7.1", Text: "100% x"}, "451 4.7.1 100%% x"},
		{filter.Answer{Verdict: policy.Tempfail, Code: 550, Enhanced: "5.7.1", Text: "x"}, "451 4.7.1 x"},
		{filter.Answer{Verdict: policy.Reject, Code: 451, Enhanced: "4.7.1", Text: "x"}, "550 5.7.1 x"},
		{filter.Answer{Verdict: policy.Reject, Code: 550, Enhanced: "4.7.1", Text: "x"}, "550 5.7.1 x"},
		{filter.Answer{Verdict: policy.Tempfail, Code: 421, Enhanced: "4.7.1", Text: "x"}, "451 4.7.1 x"},
		{filter.Answer{Verdict: policy.Reject, Text: "a\r\nb\x00c\x7f\té"}, "550 5.7.1 a  b c  ?"},
		{filter.Answer{Verdict: policy.Reject}, "550 5.7.1 Refused by policy"},
		{filter.Answer{Verdict: policy.Reject, Enhanced: "5.7.1234"}, "550 5.7.1 Refused by policy"},
		{filter.Answer{Verdict: policy.Reject, Text: strings.Repeat("%", 1000)}, "550 5.7.1 " + strings.Repeat("%", 380)},
	} {
		s := newScript()
		s.answers["rcpt x"] = tc.a
		dial, stop := start(t, nil, s)
		c := negotiated(t, dial(), client.AllProtocol)
		c.Connect("h", "203.0.113.7", 1)
		r, err := c.Rcpt("<x>")
		if err != nil || r.Code != 'y' || r.Text != tc.want {
			t.Errorf("%+v: %v %q %q, want %q", tc.a, err, r.Code, r.Text, tc.want)
		}
		stop()
	}
}

// TestDiscardKeepsSession: discard is a one-letter reply of ours.
func TestDiscardKeepsSession(t *testing.T) {
	s := newScript()
	s.answers["mail a@b "] = filter.Answer{Verdict: policy.Discard}
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	c.Connect("h", "203.0.113.7", 1)
	r, err := c.Mail("<a@b>")
	want(t, "discard", r, err, 'd', "")
	r, err = c.Mail("<c@d>")
	want(t, "next message", r, err, 'c', "")
	s.has(t, "connect 203.0.113.7", "mail a@b ", "mail c@d ")
}

// TestLimits: a peer over the limit is told to come again, whatever it says, and
// reaches no session; one far over it is closed.
func TestLimits(t *testing.T) {
	var refused atomic.Int32
	dial, _ := start(t, func(s *milter.Server) {
		s.Limits.Connections = 1
		s.Observer.Refused = func(string) { refused.Add(1) }
	}, newScript(), newScript())
	first := negotiated(t, dial(), client.AllProtocol)
	first.Connect("h", "203.0.113.7", 1)
	c := negotiated(t, dial(), client.AllProtocol)
	for _, step := range []func() (client.Reply, error){
		func() (client.Reply, error) { return c.Connect("h", "203.0.113.7", 1) },
		func() (client.Reply, error) { return c.Helo("h") },
		func() (client.Reply, error) { return c.Mail("<a@b>") },
		func() (client.Reply, error) { return c.Rcpt("<a@b>") },
		func() (client.Reply, error) { _, r, err := c.Message([]byte(plain)); return r, err },
		func() (client.Reply, error) { c.Body([]byte("x")); return c.EndOfMessage() },
		func() (client.Reply, error) { c.Abort(); return c.Mail("<a@b>") },
	} {
		r, err := step()
		want(t, "over the limit", r, err, 'y', "451 4.3.2")
	}
	closed(t, dial(), "far over the limit")
	if refused.Load() != 2 {
		t.Errorf("%d refused, want 2", refused.Load())
	}
}

// closed waits for the server to close the connection.
func closed(t *testing.T, nc net.Conn, what string) {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, nc); err != nil {
		t.Errorf("%s: %v, want the connection closed", what, err)
	}
}

// TestEnds: however a session ends, the session is told, go-milter has nothing to
// write to the standard logger, and only what is somebody's fault is counted.
func TestEnds(t *testing.T) {
	var noise bytes.Buffer
	old := log.Writer()
	log.SetOutput(&noise)
	defer log.SetOutput(old)
	quick := func(s *milter.Server) { s.Limits.Packet = 50 * time.Millisecond }
	for _, tc := range []struct {
		name   string
		change func(*milter.Server)
		in     string
		hangup bool // the MTA closes
		err    error
	}{
		{"quit", nil, "\x00\x00\x00\x01Q", false, nil},
		{"hang up", nil, "", true, nil},
		{"hang up in a packet", nil, "\x00\x00\x00\x09Hx", true, io.ErrUnexpectedEOF},
		{"hang up in a long packet", nil, "\x00\x00\xff\xffB" + strings.Repeat("x", 20_000), true, io.ErrUnexpectedEOF},
		{"hang up in the length", nil, "\x00\x00", true, io.ErrUnexpectedEOF},
		{"idle", func(s *milter.Server) { s.Limits.Idle = 50 * time.Millisecond }, "", false, nil},
		{"stall", quick, "\x00\x00\x00\x09Hx", false, milter.ErrStalled},
		{"stall in the length", quick, "\x00\x00", false, milter.ErrStalled},
		{"stall in a long packet", quick, "\x00\x00\xff\xffB" + strings.Repeat("x", 20_000), false, milter.ErrStalled},
		{"unknown command", nil, "\x00\x00\x00\x01X", false, milter.ErrCommand},
		{"short connect", nil, "\x00\x00\x00\x05Chost", false, milter.ErrPacketShort},
		{"connect without port", nil, "\x00\x00\x00\x05Ch\x004\x00", false, milter.ErrPacketShort},
		{"macros of no stage", nil, "\x00\x00\x00\x01D", false, milter.ErrPacketShort},
		{"macros too long", nil, "\x00\x00\x40\x01DX", false, milter.ErrPacketSize},
		{"command too long", nil, "\x00\x01\x00\x01M", false, milter.ErrPacketSize},
		{"body too long", nil, "\x00\x0f\xff\xffB", false, milter.ErrPacketSize},
		{"no length", nil, "\x00\x00\x00\x00M", false, milter.ErrPacketSize},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScript()
			broken := make(chan error, 1)
			dial, stop := start(t, func(srv *milter.Server) {
				srv.Observer.Broken = func(err error) { broken <- err }
				if tc.change != nil {
					tc.change(srv)
				}
			}, s)
			nc := dial()
			c := negotiated(t, nc, client.AllProtocol)
			c.Connect("h", "203.0.113.7", 1)
			io.WriteString(nc, tc.in)
			if tc.hangup {
				nc.(*net.UnixConn).CloseWrite()
			}
			closed(t, nc, tc.name)
			<-s.closed
			stop()
			close(broken)
			if err := <-broken; !errors.Is(err, tc.err) {
				t.Errorf("broken: %v, want %v", err, tc.err)
			}
		})
	}
	if noise.Len() > 0 {
		t.Errorf("standard logger: %s", noise.String())
	}
}

// TestNotMilter: a peer that speaks something else is let go at once, and costs
// no memory (the first four bytes of HTTP are a length of 1.2 GB).
func TestNotMilter(t *testing.T) {
	for in, want := range map[string]error{
		"GET / HTTP/1.1\r\n\r\n": milter.ErrNotMilter, "\x00\x00\x00\x00O": milter.ErrPacketSize,
		"\x00\x00\x00\x01M": milter.ErrNotMilter, "\x00\x0f\x00\x00O": milter.ErrPacketSize,
		"\x00\x00\x00\x02Ox": milter.ErrPacketShort,
	} {
		s := newScript()
		broken := make(chan error, 1)
		dial, stop := start(t, func(srv *milter.Server) {
			srv.Observer.Broken = func(err error) { broken <- err }
		}, s)
		nc := dial()
		io.WriteString(nc, in)
		closed(t, nc, in)
		if err := <-broken; !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
		s.has(t)
		stop()
	}
}

// TestAllow: TCP peers are served from the allowed networks only, and the list
// may change.
func TestAllow(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var allowed atomic.Pointer[[]netip.Prefix]
	allowed.Store(&[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	s := newScript()
	srv := &milter.Server{
		NewSession: func() milter.Session { return s }, Failure: func() filter.Answer { return filter.Answer{} },
		Limits: milter.DefaultLimits(), Allow: func() []netip.Prefix { return *allowed.Load() },
		Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, ln) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	stranger := dial()
	closed(t, stranger, "a stranger")
	stranger.Close()
	allowed.Store(&[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	c := negotiated(t, dial(), client.AllProtocol)
	r, err := c.Connect("h", "203.0.113.7", 1)
	want(t, "connect", r, err, 'c', "")
	c.Quit()
}

// TestLongPackets: what MTAs may send arrives whole.
func TestLongPackets(t *testing.T) {
	s := newScript()
	dial, _ := start(t, nil, s)
	c := negotiated(t, dial(), client.AllProtocol)
	c.Connect("h", "203.0.113.7", 1)
	c.Mail("<a@b>")
	field := strings.Repeat("v", 200_000)
	var body []byte
	for i := range 300_000 {
		body = append(body, byte(i%251))
	}
	_, r, err := c.Message([]byte("A:" + field + "\r\n\r\n" + string(body)))
	want(t, "eom", r, err, 'c', "")
	if !bytes.Equal(s.body, body) {
		t.Error("body changed")
	}
	if s.calls[2] != "header A:"+field {
		t.Error("field changed")
	}
}

// TestDrain: a stopping server lets the running message finish and idle
// sessions go.
func TestDrain(t *testing.T) {
	busy, idle := newScript(), newScript()
	busy.block = make(chan struct{})
	dial, stop := start(t, nil, busy, idle)
	b := negotiated(t, dial(), client.AllProtocol)
	b.Connect("h", "203.0.113.7", 1)
	b.Mail("<a@b>")
	b.Rcpt("<c@d>")
	i := negotiated(t, dial(), client.AllProtocol)
	i.Connect("h", "203.0.113.7", 1)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	<-idle.closed
	go func() { close(busy.block) }()
	_, r, err := b.Message([]byte("A: b\r\n\r\nbody\r\n"))
	want(t, "message while stopping", r, err, 'c', "")
	<-stopped
	<-busy.closed
}

// TestDrainForces: after the grace checks are cut off, and the message gets the
// answer for failures: it was not judged.
func TestDrainForces(t *testing.T) {
	s := newScript()
	s.untilCtx = true
	dial, stop := start(t, func(srv *milter.Server) { srv.Limits.Grace = 10 * time.Millisecond }, s)
	c := negotiated(t, dial(), client.AllProtocol)
	c.Connect("h", "203.0.113.7", 1)
	c.Mail("<a@b>")
	c.EndOfHeader()
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	r, err := c.EndOfMessage()
	want(t, "eom", r, err, 'y', "451 4.3.0 broken")
	<-stopped
	<-s.closed
}

// TestDrainIgnoresEndedMessages: Sendmail sends no abort after a refusal, so a
// refused message does not hold up the end.
func TestDrainIgnoresEndedMessages(t *testing.T) {
	for _, at := range []string{"mail a@b ", "eoh "} {
		s := newScript()
		s.answers[at] = filter.Answer{Verdict: policy.Reject}
		dial, stop := start(t, func(srv *milter.Server) { srv.Limits.Grace = time.Hour }, s)
		c := negotiated(t, dial(), client.AllProtocol)
		c.Connect("h", "203.0.113.7", 1)
		if r, _ := c.Mail("<a@b>"); r.Code == 'c' {
			c.EndOfHeader()
		}
		stop()
		<-s.closed
	}
}
