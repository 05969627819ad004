package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"

	"mailwicket/filter"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// Session is one SMTP session as the engine sees it: *filter.Session. Calls come
// from one goroutine. Connect is the first, Close the last, each once; between
// them they come in the order in which the MTA speaks. Abort may come at any
// time and more than once.
type Session interface {
	Connect(context.Context, mail.Conn) filter.Answer
	Helo(ctx context.Context, name string, tls mail.TLS) filter.Answer
	Mail(ctx context.Context, path string, env filter.Envelope) filter.Answer
	Rcpt(ctx context.Context, path string) filter.Answer
	Header(name, value string)
	EndOfHeader(ctx context.Context, queueID string) filter.Answer
	Body(ctx context.Context, chunk []byte)
	EndOfMessage(ctx context.Context, queueID string) filter.Plan
	Abort()
	Close()
}

// backend turns go-milter's callbacks into calls of one Session. It lives as
// long as the connection: every reply keeps it (see keep).
type backend struct {
	srv     *Server
	conn    *conn
	session Session // nil before a connect packet: nobody may be asked then
	macros  macros
	shed    bool        // over the connection limit: answer 4xx at once
	broken  bool        // a callback without reply failed; the message's next reply says so
	open    atomic.Bool // a message is under way
}

var _ gomilter.Milter = (*backend)(nil)

// macros is a table for each stage, as MTAs send them: each macro packet
// replaces the map that go-milter holds.
type macros [6]map[string]string

// get looks from the latest stage back to the connection, as libmilter does.
func (m *macros) get(name string) string {
	braced := name
	if len(name) > 1 {
		braced = "{" + name + "}"
	}
	for i := len(m) - 1; i >= 0; i-- {
		if v, ok := m[i][braced]; ok {
			return v
		}
		if v, ok := m[i][name]; ok {
			return v
		}
	}
	return ""
}

// set stores a stage's macros and forgets those of later stages.
func (m *macros) set(stage mail.Stage, v map[string]string) {
	m[stage] = v
	for i := int(stage) + 1; i < len(m); i++ {
		m[i] = nil
	}
}

// busy tells whether a message is under way, for a server that stops.
func (b *backend) busy() bool { return b.open.Load() }

// ask runs one callback that is answered: bounded in time, and whatever happens
// the MTA gets an answer. A Go error or a panic would end the connection, and
// with it the filtering of the whole SMTP session.
func (b *backend) ask(stage mail.Stage, budget time.Duration, f func(context.Context) filter.Answer) (gomilter.Response, error) {
	start := time.Now()
	defer func() { b.srv.Observer.stage(stage, time.Since(start)) }()
	if !b.usable() {
		return response(b.refusal()), nil
	}
	ctx, cancel := context.WithTimeout(b.srv.base, budget)
	defer cancel()
	var a filter.Answer
	if !b.try(stage, func() { a = f(ctx) }) || b.srv.base.Err() != nil {
		// After the grace of a stopping server checks have been cut off: what
		// was decided without them is not worth much.
		a = b.srv.Failure()
	}
	if stage >= mail.StageMail && stage != mail.StageRcpt && ends(a.Verdict) {
		b.open.Store(false) // Sendmail sends no abort then
	}
	return response(a), nil
}

// usable tells whether the session may be asked.
func (b *backend) usable() bool { return b.session != nil && !b.broken }

// refusal is the answer where the session cannot be asked.
func (b *backend) refusal() filter.Answer {
	if b.shed {
		return filter.Answer{Verdict: policy.Tempfail, Code: 451, Enhanced: "4.3.2",
			Text: "Filter is busy, try again later"}
	}
	return b.srv.Failure()
}

// try runs f and tells whether it came to its end.
func (b *backend) try(stage mail.Stage, f func()) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			ok = false
			b.srv.Observer.panicked(stage)
			b.srv.Log.Error("milter callback panicked", slog.String("stage", stage.String()),
				slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
		}
	}()
	f()
	return true
}

// ends tells whether the MTA forgets the message after such an answer.
func ends(v policy.Verdict) bool {
	return v == policy.Tempfail || v == policy.Reject || v == policy.Discard
}

// Connect starts a session, with the engine of the moment. Should the MTA start
// another SMTP session on the same connection, nothing of the first remains.
func (b *backend) Connect(host, family string, port uint16, addr net.IP, m *gomilter.Modifier) (gomilter.Response, error) {
	b.end()
	b.macros.set(mail.StageConnect, m.Macros)
	b.srv.Observer.macros(mail.StageConnect, b.macros.missing(mail.StageConnect))
	if !b.shed {
		b.try(mail.StageConnect, func() { b.session = b.srv.NewSession() })
	}
	began := false
	r, err := b.ask(mail.StageConnect, b.srv.Limits.Command, func(ctx context.Context) filter.Answer {
		a := b.session.Connect(ctx, b.client(host, family, port, addr))
		began = true
		return a
	})
	if !began {
		b.end() // a session that does not know its client judges nobody
	}
	return r, err
}

// end closes the session, if there is one.
func (b *backend) end() {
	s := b.session
	b.session, b.broken = nil, false
	b.open.Store(false)
	if s != nil {
		b.try(mail.StageConnect, s.Close)
	}
}

// client gathers what the MTA tells of the client. A missing address stays the
// zero value: it is never taken for a local one.
func (b *backend) client(host, family string, port uint16, addr net.IP) mail.Conn {
	c := mail.Conn{
		Port: port, MTAName: b.macros.get("j"), Version: b.macros.get("v"),
		Daemon: b.macros.get("daemon_name"), PTRName: b.macros.get("client_ptr"),
	}
	if family == "tcp4" || family == "tcp6" {
		if a, ok := netip.AddrFromSlice(addr); ok {
			c.Addr = a.Unmap()
		}
	}
	verified := !strings.HasPrefix(host, "[") && host != "unknown" &&
		!strings.Contains(b.macros.get("_"), "(may be forged)")
	switch b.macros.get("client_resolve") {
	case "FAIL", "TEMP", "FORGED":
		verified = false
	}
	if verified {
		c.HostName = mail.CanonicalDomain(host)
	}
	if c.PTRName == "unknown" {
		c.PTRName = ""
	}
	return c
}

// Helo comes again after STARTTLS.
func (b *backend) Helo(name string, m *gomilter.Modifier) (gomilter.Response, error) {
	b.macros.set(mail.StageHelo, m.Macros)
	return b.ask(mail.StageHelo, b.srv.Limits.Command, func(ctx context.Context) filter.Answer {
		return b.session.Helo(ctx, name, b.tls())
	})
}

func (b *backend) tls() mail.TLS {
	bits, _ := strconv.Atoi(b.macros.get("cipher_bits")) // 0 where there is no TLS
	return mail.TLS{Version: b.macros.get("tls_version"), Cipher: b.macros.get("cipher"), Bits: bits,
		CertSubject: b.macros.get("cert_subject"), CertIssuer: b.macros.get("cert_issuer")}
}

// MailFrom starts a message; whatever an earlier one left is void (Sendmail
// sends no abort after a finished message).
func (b *backend) MailFrom(from string, m *gomilter.Modifier) (gomilter.Response, error) {
	b.macros.set(mail.StageMail, m.Macros)
	b.srv.Observer.macros(mail.StageMail, b.macros.missing(mail.StageMail))
	b.broken = false
	b.open.Store(b.session != nil)
	return b.ask(mail.StageMail, b.srv.Limits.Command, func(ctx context.Context) filter.Answer {
		return b.session.Mail(ctx, from, filter.Envelope{
			QueueID: b.macros.get("i"), AuthUser: b.macros.get("auth_authen"),
			AuthType: b.macros.get("auth_type"), Params: b.conn.params, TLS: b.tls(),
		})
	})
}

// RcptTo asks for one recipient.
func (b *backend) RcptTo(to string, m *gomilter.Modifier) (gomilter.Response, error) {
	b.macros.set(mail.StageRcpt, m.Macros)
	return b.ask(mail.StageRcpt, b.srv.Limits.Command, func(ctx context.Context) filter.Answer {
		return b.session.Rcpt(ctx, to)
	})
}

// Header keeps a field. No answer is due where the MTA agreed to
// OptNoHeaderReply: one too many would be taken for that of a later command.
func (b *backend) Header(name, value string, m *gomilter.Modifier) (gomilter.Response, error) {
	clear(m.Headers) // go-milter's own map, which beside Sendmail grows from message to message
	b.macros[mail.StageHeader] = m.Macros
	if !b.conn.agreed(gomilter.OptHeaderLeadingSpace) {
		value = " " + value // the MTA took the blank away
	}
	b.tell(mail.StageHeader, func() { b.session.Header(name, strings.ReplaceAll(value, "\n", "\r\n")) })
	return b.silent(gomilter.OptNoHeaderReply), nil
}

// tell runs a callback that has no answer of its own.
func (b *backend) tell(stage mail.Stage, f func()) {
	if b.usable() {
		b.broken = !b.try(stage, f)
	}
}

// silent is nil where the MTA waits for no answer.
func (b *backend) silent(flag gomilter.OptProtocol) gomilter.Response {
	if b.conn.agreed(flag) {
		return nil
	}
	return gomilter.RespContinue
}

// Headers is the end of the header block. go-milter's map of fields lacks their
// order and is not used.
func (b *backend) Headers(_ textproto.MIMEHeader, m *gomilter.Modifier) (gomilter.Response, error) {
	b.macros[mail.StageHeader] = m.Macros
	b.srv.Observer.macros(mail.StageHeader, b.macros.missing(mail.StageHeader))
	return b.ask(mail.StageHeader, b.srv.Limits.Header, func(ctx context.Context) filter.Answer {
		return b.session.EndOfHeader(ctx, b.macros.get("i"))
	})
}

// BodyChunk streams the body into the checks.
func (b *backend) BodyChunk(chunk []byte, _ *gomilter.Modifier) (gomilter.Response, error) {
	b.tell(mail.StageMessage, func() { b.session.Body(b.srv.base, chunk) })
	return b.silent(gomilter.OptNoBodyReply), nil
}

// Body is the end of the message: header edits, then the verdict.
func (b *backend) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	b.macros[mail.StageMessage] = m.Macros
	defer b.open.Store(false)
	return b.ask(mail.StageMessage, b.srv.Limits.Message, func(ctx context.Context) filter.Answer {
		plan := b.plan(ctx)
		if err := b.apply(plan, m); err != nil {
			b.srv.Log.Error("header edits not sent", slog.String("error", err.Error()))
			return b.srv.Failure()
		}
		return plan.Answer
	})
}

// plan waits for the session's plan. The MTA's timer is kept from running out
// meanwhile, and nothing of that is left when it returns or panics.
func (b *backend) plan(ctx context.Context) filter.Plan {
	p := &pacer{conn: b.conn, pace: b.srv.Limits.Progress}
	p.start()
	defer p.stop()
	return b.session.EndOfMessage(ctx, b.macros.get("i"))
}

// pacer sends progress packets at a pace. Most messages are over before the
// first one is due.
type pacer struct {
	conn  *conn
	pace  time.Duration
	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (p *pacer) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(p.pace, p.beat)
}

func (p *pacer) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.conn.Progress()
		p.timer.Reset(p.pace)
	}
}

// stop returns when no more packets will be sent.
func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
}

// Abort makes the message void; connection and HELO stay.
func (b *backend) Abort(*gomilter.Modifier) error {
	b.open.Store(false)
	b.macros.set(mail.StageHelo, b.macros[mail.StageHelo])
	b.broken = false
	if b.session != nil {
		b.try(mail.StageMail, b.session.Abort)
	}
	return nil
}

// errNotAgreed is an edit that the MTA did not offer; it would take it for an
// error of ours.
var errNotAgreed = errors.New("the MTA does not offer this kind of edit")

// apply sends header edits in the order that means the same on both MTAs:
// deletions first, the highest index of each name first, then insertions.
func (b *backend) apply(p filter.Plan, m *gomilter.Modifier) error {
	if ends(p.Verdict) {
		return nil
	}
	if len(p.Delete) > 0 && !b.conn.allowed(gomilter.OptChangeHeader) ||
		len(p.Insert) > 0 && !b.conn.allowed(gomilter.OptAddHeader) ||
		p.Hold != "" && !b.conn.allowed(gomilter.OptQuarantine) {
		return errNotAgreed
	}
	for _, d := range p.Delete {
		if err := m.ChangeHeader(d.Index, d.Name, ""); err != nil {
			return err
		}
	}
	lead := ""
	if b.conn.agreed(gomilter.OptHeaderLeadingSpace) {
		lead = " "
	}
	// The later of two insertions at the top comes to stand above.
	for i := len(p.Insert) - 1; i >= 0; i-- {
		if err := m.InsertHeader(0, p.Insert[i].Name, lead+p.Insert[i].Value); err != nil {
			return err
		}
	}
	if p.Hold != "" {
		return m.Quarantine(printable(p.Hold))
	}
	return nil
}
