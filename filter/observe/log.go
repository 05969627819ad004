package observe

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/fact"
)

// Log writes one line for each message. The keys are those of this file.
type Log struct{ L *slog.Logger }

// Message writes the line (filter.Observer).
func (l Log) Message(r *filter.Record) {
	t, c := r.Facts.Txn, r.Facts.Conn
	attrs := []slog.Attr{
		slog.String("ref", r.Ref),
		slog.String("session", c.Session),
		slog.String("queue_id", t.QueueID),
		slog.String("verdict", r.Verdict.String()),
		slog.String("client", known(c.IP.Known(), c.IP.Value.String())),
		slog.String("client_name", known(c.Name.Known(), c.Name.Value)),
		slog.String("helo", known(c.Helo.Known(), c.Helo.Value)),
		slog.String("mail_from", known(t.MailFrom.Known(), t.MailFrom.Value.String())),
		slog.Any("rcpt", recipients(r)),
		slog.String("header_from", strings.Join(t.From.Value.Addresses, ",")),
		slog.String("checks", r.Summary()),
		slog.Int64("took_us", r.Took.Microseconds()),
	}
	optional := func(key, v string) {
		if v != "" {
			attrs = append(attrs, slog.String(key, v))
		}
	}
	optional("rule", r.Rule)
	optional("reason", r.Reason)
	optional("user", t.AuthUser.Value)
	optional("trusted", c.Trusted.Value)
	optional("would", would(r))
	optional("tls", c.TLS.Value.Version)
	if t.Size.Known() {
		attrs = append(attrs, slog.Int64("size", t.Size.Value))
	}
	if !r.Complete {
		attrs = append(attrs, slog.Bool("complete", false))
	}
	if n := len(r.Removed); n > 0 {
		attrs = append(attrs, slog.Int("removed_headers", n))
	}
	if len(r.Degraded) > 0 {
		attrs = append(attrs, slog.String("degraded", strings.Join(r.Degraded, ",")))
	}
	l.L.LogAttrs(context.Background(), slog.LevelInfo, "message", attrs...)
}

// Check is not logged: the message's line sums checks up.
func (Log) Check(string, fact.State, string, time.Duration) {}

func known(ok bool, s string) string {
	if !ok {
		return ""
	}
	return s
}

// maxLogged keeps lines of messages to many recipients readable.
const maxLogged = 20

// recipients gives "address verdict" for those that a rule refused, the plain
// address for the others.
func recipients(r *filter.Record) []string {
	var out []string
	for _, d := range r.Decisions {
		if d.Recipient == "" {
			continue
		}
		if len(out) == maxLogged {
			return append(out, "...")
		}
		s := d.Recipient
		if d.Rule != "" {
			s += " " + d.Verdict.String() + " by " + d.Rule
		}
		out = append(out, s)
	}
	return out
}

func would(r *filter.Record) string {
	var out []string
	for _, d := range r.Decisions {
		for _, w := range d.Would {
			out = append(out, w.Rule+":"+w.Verdict.String())
		}
	}
	return strings.Join(out, ",")
}

// All tells several observers of everything.
type All []filter.Observer

// Message passes a record on.
func (a All) Message(r *filter.Record) {
	for _, o := range a {
		o.Message(r)
	}
}

// Check passes a finding on.
func (a All) Check(name string, st fact.State, result string, took time.Duration) {
	for _, o := range a {
		o.Check(name, st, result, took)
	}
}
