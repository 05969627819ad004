package observe

import (
	"context"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"mailwicket/filter"
	"mailwicket/filter/fact"
)

// Log writes one line for each message. The keys are those of this file.
type Log struct{ L *slog.Logger }

// Message writes the line (filter.Observer).
func (l Log) Message(r *filter.Record) {
	t, c := r.Facts.Txn, r.Facts.Conn
	attrs := []slog.Attr{
		text("ref", r.Ref),
		text("session", c.Session),
		text("queue_id", t.QueueID),
		slog.String("verdict", r.Verdict.String()),
		text("client", known(c.IP.Known(), c.IP.Value.String())),
		text("client_name", known(c.Name.Known(), c.Name.Value)),
		text("helo", known(c.Helo.Known(), c.Helo.Value)),
		text("mail_from", known(t.MailFrom.Known(), t.MailFrom.Value.String())),
		slog.Any("rcpt", recipients(r)),
		text("header_from", strings.Join(short(t.From.Value.Addresses), ",")),
		text("checks", r.Summary()),
		slog.Int64("took_us", r.Took.Microseconds()),
	}
	optional := func(key, v string) {
		if v != "" {
			attrs = append(attrs, text(key, v))
		}
	}
	optional("rule", r.Rule)
	optional("reason", r.Reason)
	optional("user", t.AuthUser.Value)
	optional("trusted", c.Trusted.Value)
	optional("would", strings.Join(short(would(r)), ","))
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
	optional("degraded", strings.Join(short(r.Degraded), ","))
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

const (
	maxLogged = 20  // of a list
	maxText   = 500 // bytes of a value
)

// text is a value as the log shows it: whatever comes from mail can neither break
// the line nor steer the terminal that shows it, and has an end.
func text(key, v string) slog.Attr { return slog.String(key, shown(v)) }

func shown(s string) string {
	if len(s) > maxText {
		n := maxText
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "..."
	}
	return fact.Clean(s)
}

// short cuts a list.
func short(list []string) []string {
	if len(list) > maxLogged {
		return append(list[:maxLogged:maxLogged], "...")
	}
	return list
}

// recipients gives "address verdict by rule" for those about whom a rule decided,
// the plain address for the others.
func recipients(r *filter.Record) []string {
	var out []string
	for _, d := range r.Decisions {
		if d.Recipient == "" {
			continue
		}
		s := d.Recipient
		if d.Rule != "" {
			s += " " + d.Verdict.String() + " by " + d.Rule
		}
		if out = append(out, shown(s)); len(out) > maxLogged {
			break
		}
	}
	if len(out) == 0 { // nobody was asked: the message was exempt
		for _, a := range r.Facts.Txn.Rcpts[:min(len(r.Facts.Txn.Rcpts), maxLogged+1)] {
			out = append(out, shown(a.String()))
		}
	}
	return short(out)
}

func would(r *filter.Record) []string {
	var out []string
	for _, d := range r.Decisions {
		for _, w := range d.Would {
			out = append(out, w.Rule+":"+w.Verdict.String())
		}
	}
	return out
}

// All tells several observers of everything. One that panics keeps the others
// from nothing; the panic goes on afterwards.
type All []filter.Observer

// Message passes a record on.
func (a All) Message(r *filter.Record) {
	a.each(func(o filter.Observer) { o.Message(r) })
}

// Check passes a finding on.
func (a All) Check(name string, st fact.State, result string, took time.Duration) {
	a.each(func(o filter.Observer) { o.Check(name, st, result, took) })
}

func (a All) each(tell func(filter.Observer)) {
	if len(a) == 0 {
		return
	}
	defer a[1:].each(tell)
	tell(a[0])
}
