// Package milter is the edge towards the MTA: it turns the callbacks of
// emersion/go-milter into calls of a filter session, and sessions' answers into
// replies and header edits that Postfix and Sendmail both understand.
//
// What go-milter lacks is mended in the connection that it reads from (conn):
// deadlines, limits, buffering, negotiation of flags, and packets that it would
// misread. See the comments there; each stands for a fault seen on the wire.
package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	gomilter "github.com/emersion/go-milter"

	"mailwicket/filter"
	"mailwicket/filter/mail"
)

// Limits bound what one MTA may cost. All are required.
type Limits struct {
	Connections int           // beyond it sessions are answered 451 4.3.2; beyond twice it, closed
	Idle        time.Duration // longest silence between two packets: a client's DATA may take long
	Packet      time.Duration // longest wait for the rest of a packet, and for the MTA to take ours
	Command     time.Duration // budget of connect, HELO, MAIL and RCPT; Sendmail waits 10 s by default
	Header      time.Duration // budget at the end of the header block
	Message     time.Duration // budget at the end of the message; the body streams outside it
	Progress    time.Duration // pace of progress packets at the end of the message
	Grace       time.Duration // how long a stopping server waits for running sessions
}

// DefaultLimits stay below the MTAs' own time limits: Postfix 30 s for commands
// and 300 s for content, Sendmail 10 s and 5 min.
func DefaultLimits() Limits {
	return Limits{Connections: 10000, Idle: 2 * time.Hour, Packet: 30 * time.Second, Command: 8 * time.Second,
		Header: 20 * time.Second, Message: 45 * time.Second, Progress: 10 * time.Second, Grace: 30 * time.Second}
}

// Observer is told what happens; any member may be nil.
type Observer struct {
	Session  func(delta int)                            // sessions opened (+1) and closed (-1)
	Refused  func(why string)                           // peers not served: peer, limit
	Stage    func(stage mail.Stage, took time.Duration) // time to answer
	Panicked func(stage mail.Stage)
	Broken   func(err error)                          // peers that broke the protocol, and connections that broke
	Macros   func(stage mail.Stage, missing []string) // at connect, MAIL and end of header: what the MTA should have told by then
}

func (o Observer) stage(s mail.Stage, d time.Duration) {
	if o.Stage != nil {
		o.Stage(s, d)
	}
}

func (o Observer) panicked(s mail.Stage) {
	if o.Panicked != nil {
		o.Panicked(s)
	}
}

func (o Observer) macros(s mail.Stage, missing []string) {
	if o.Macros != nil {
		o.Macros(s, missing)
	}
}

func (o Observer) broken(err error) {
	if o.Broken != nil {
		o.Broken(err)
	}
}

func (o Observer) refused(why string) {
	if o.Refused != nil {
		o.Refused(why)
	}
}

func (o Observer) session(d int) {
	if o.Session != nil {
		o.Session(d)
	}
}

// Server serves any number of listeners. Fields are set before Run.
type Server struct {
	NewSession func() Session       // called when a client connects to the MTA
	Failure    func() filter.Answer // what to answer when a callback breaks (on_error)
	Limits     Limits
	Allow      func() []netip.Prefix // TCP peers that may speak to us, nil for none; may change while it runs
	Log        *slog.Logger
	Observer   Observer

	base  context.Context
	mu    sync.Mutex
	conns map[*conn]*backend
	wg    sync.WaitGroup
}

// Protocol is what we ask of the MTA. The two no-reply flags belong to handlers
// that return nil when the MTA agreed (Header and BodyChunk), and to no others.
const Protocol = gomilter.OptHeaderLeadingSpace | gomilter.OptNoUnknown | gomilter.OptNoData |
	gomilter.OptNoHeaderReply | gomilter.OptNoBodyReply

// Actions is all that we may do to a message.
const Actions = gomilter.OptAddHeader | gomilter.OptChangeHeader | gomilter.OptQuarantine |
	gomilter.OptSetSymList

// symbols asks for the macros of each stage. The list for the end of message
// needs one for the end of header beside it: Sendmail 8.17 ignores it otherwise.
func symbols() map[gomilter.Stage][]string {
	eom := []string{"i", "{auth_authen}"}
	return map[gomilter.Stage][]string{
		gomilter.StageConnect: {"j", "_", "v", "{daemon_name}", "{client_addr}", "{client_name}",
			"{client_ptr}", "{client_resolve}"},
		gomilter.StageHelo: {"{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"},
		gomilter.StageMailFrom: {"i", "{auth_type}", "{auth_authen}", "{mail_addr}",
			"{tls_version}", "{cipher}", "{cipher_bits}"},
		gomilter.StageRcptTo: {"i", "{rcpt_addr}"},
		gomilter.StageEOH:    eom,
		gomilter.StageEOM:    eom,
	}
}

// ErrStuck says that sessions did not end although they were told to.
var ErrStuck = errors.New("milter sessions did not end")

// Run serves the listeners until ctx ends, then drains: no new sessions, running
// ones get Limits.Grace to finish. It closes the listeners. The error is nil
// after a wanted end. A Server runs once.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s.mu.Lock()
	s.base, s.conns = base, map[*conn]*backend{}
	s.mu.Unlock()

	failed := make(chan error, len(listeners))
	var accepting sync.WaitGroup
	for _, ln := range listeners {
		accepting.Go(func() {
			if err := s.serve(ln); err != nil && !errors.Is(err, net.ErrClosed) {
				failed <- fmt.Errorf("listener %s: %w", ln.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for _, ln := range listeners {
		ln.Close()
	}
	accepting.Wait()
	return errors.Join(err, s.drain(stop))
}

// serve runs one go-milter server over one listener: it asks for the backend
// right after Accept, in the same goroutine, so the listener can hand it over.
// It would ask again after a reply that ends a message: there are none (see
// keep, and connectPacket for go-milter's own).
func (s *Server) serve(ln net.Listener) error {
	w := &listener{Listener: ln, srv: s}
	gs := &gomilter.Server{
		NewMilter: func() gomilter.Milter { return w.latest },
		Actions:   Actions,
		Protocol:  Protocol,
		SymList:   symbols(),
	}
	return gs.Serve(w)
}

// lastWait is how long sessions may take to notice that they must end.
const lastWait = 5 * time.Second

// drain waits for sessions: those within a message until the grace is over, the
// idle ones are let go at once (their MTA answers 4xx to the next message).
// Then stop ends the checks, so that all sessions answer and end.
func (s *Server) drain(stop context.CancelFunc) error {
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	grace := time.After(s.Limits.Grace)
	for running := true; running; {
		s.release(false)
		select {
		case <-done:
			return nil
		case <-grace:
			running = false
		case <-poll.C:
		}
	}
	stop()
	s.release(true)
	select {
	case <-done:
		return nil
	case <-time.After(lastWait):
		return fmt.Errorf("%w: %d", ErrStuck, s.Sessions())
	}
}

// release lets sessions go that wait for their MTA.
func (s *Server) release(busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, b := range s.conns {
		if busy || !b.busy() {
			c.interrupt()
		}
	}
}

// Sessions tells how many connections are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}
