// Package story tells one decision in words: for explain, check and the status
// page. It prints what the record holds and finds nothing out by itself. Much of
// that comes from mail: whatever could break a line or steer a terminal is left
// out.
package story

import (
	"fmt"
	"io"
	"strings"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/policy"
)

// Options choose how much is told.
type Options struct {
	Headers []string  // fields that were added, for check
	Now     time.Time // for "seconds left" of the greylist; zero tells the seconds as they were
	Brief   bool      // without rules that did not match and without DNS answers
}

// Write tells the whole story of a record.
func Write(w io.Writer, r *filter.Record, o Options) {
	p := printer{w}
	p.head(r)
	p.words(r)
	p.facts(r)
	p.greylist(r, o.Now)
	p.decisions(r, o.Brief)
	if !o.Brief {
		p.dns(r)
		p.checks(r)
	}
	if len(r.Removed) > 0 || len(o.Headers) > 0 {
		p.section("header fields")
		for _, d := range r.Removed {
			p.line("removed  %s (number %d of that name)", d.Name, d.Index)
		}
		for _, h := range o.Headers {
			first, folds, _ := strings.Cut(h, "\r\n")
			p.line("added    %s", first)
			for fold := range strings.SplitSeq(folds, "\r\n") {
				if fold = strings.TrimSpace(fold); fold != "" {
					p.line("           %s", fold)
				}
			}
		}
	}
}

type printer struct{ w io.Writer }

func (p printer) section(name string) { fmt.Fprintf(p.w, "\n%s\n", name) }

// line prints one line, whatever the values hold.
func (p printer) line(format string, args ...any) {
	s := fact.Clean(fmt.Sprintf("  "+format, args...))
	fmt.Fprintln(p.w, strings.TrimRight(s, " "))
}

// verdictWords say what became of the message.
var verdictWords = map[policy.Verdict]string{
	policy.Continue: "accepted", policy.Accept: "accepted", policy.Quarantine: "accepted, tagged as quarantine",
	policy.Hold: "put on hold", policy.Discard: "discarded", policy.Tempfail: "deferred", policy.Reject: "refused",
}

// Outcome is what became of the message in a sentence, for each recipient where
// they fared differently.
func Outcome(r *filter.Record) string {
	var parts []string
	for _, f := range fates(r) {
		parts = append(parts, f.String())
	}
	return strings.Join(parts, "; ")
}

func at(p policy.Position) string {
	if p.Line > 0 {
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return p.File
}

func (p printer) head(r *filter.Record) {
	t := r.Facts.Txn
	fmt.Fprintln(p.w, fact.Clean(r.Ref+"  "+Outcome(r)))
	p.line("%s, %s in all%s", r.Start.Format(time.RFC3339), r.Took.Round(time.Microsecond), by(r.Host))
	if t.QueueID != "" {
		p.line("queue id %s", t.QueueID)
	}
	var rcpts []string
	for _, d := range r.Decisions {
		if d.Recipient != "" {
			rcpts = append(rcpts, d.Recipient)
		}
	}
	if len(rcpts) == 0 { // the message was exempt: no rule was asked about them
		for _, a := range t.Rcpts {
			rcpts = append(rcpts, a.String())
		}
	}
	if t.MailFrom.Known() {
		to := ""
		if len(rcpts) > 0 {
			to = " to " + strings.Join(rcpts, ", ")
		}
		p.line("from %s%s", t.MailFrom.Value, to)
	}
	if len(r.Degraded) > 0 {
		p.line("without an answer from: %s", strings.Join(r.Degraded, ", "))
	}
}

func (p printer) words(r *filter.Record) {
	p.section("in short")
	for _, s := range Words(r) {
		p.line("%s", s)
	}
}

func by(host string) string {
	if host == "" {
		return ""
	}
	return ", by the filter on " + host
}

// facts prints every field that is known, failed or skipped.
func (p printer) facts(r *filter.Record) {
	p.section("facts")
	for _, f := range fact.Fields() {
		if strings.HasPrefix(f.Name, "rcpt.") || strings.HasPrefix(f.Name, "greylist.") {
			continue // of one recipient: told with its decision
		}
		v := f.Get(&r.Facts)
		if v.State == fact.Absent {
			continue
		}
		p.line("%-26s %s", f.Name, v.String(f.Kind))
	}
	for _, d := range r.Facts.Txn.DKIM.Value {
		p.line("%-26s %s %s", "signature of "+d.Domain, d.Result, d.Reason)
	}
	if d := r.Facts.Txn.DMARC; d.Known() && d.Value.Reason != "" {
		p.line("%-26s %s", "DMARC in words", d.Value.Reason)
	}
	if s := r.Facts.Txn.SPF; s.Known() && s.Value.Reason != "" {
		p.line("%-26s %s", "SPF in words", s.Value.Reason)
	}
}

func (p printer) greylist(r *filter.Record, now time.Time) {
	show := func(to string, f fact.Fact[fact.Greylist]) {
		if !f.Known() {
			if f.State != fact.Absent {
				p.line("%s: %s (%s)", to, f.State, f.Why)
			}
			return
		}
		g := f.Value
		s := fmt.Sprintf("%s: %s, client known as %s (by %s)", to, g.Result, g.Identity, g.Kind)
		if g.Result == "defer" {
			left := g.Remaining
			if !now.IsZero() {
				left = max(g.Remaining-now.Sub(r.Start), 0)
			}
			s += fmt.Sprintf(", %s left, attempt %d since %s", left.Round(time.Second), g.Attempts, g.FirstSeen.Format(time.RFC3339))
		}
		if g.Delayed > 0 {
			s += fmt.Sprintf(", let through %s after %s", g.Delayed.Round(time.Second), g.FirstSeen.Format(time.RFC3339))
		}
		if g.Degraded {
			s += ", decided by the fallback in memory"
		}
		p.line("%s", s)
	}
	first := true
	for _, d := range r.Decisions {
		if d.Rcpt.Greylist.State == fact.Absent {
			continue
		}
		if first {
			p.section("greylist")
			first = false
		}
		show(d.Recipient, d.Rcpt.Greylist)
	}
	if g := r.Facts.Txn.Greylist; g.State != fact.Absent {
		p.section("greylist")
		show("null sender", g)
	}
}

func (p printer) decisions(r *filter.Record, brief bool) {
	p.section("decisions")
	for _, d := range r.Decisions {
		who := ""
		if d.Recipient != "" {
			who = " for " + d.Recipient
		}
		p.line("%s%s: %s", d.Stage, who, d.Verdict)
		if d.Reply != "" {
			p.line("  told the client: %s", d.Reply)
		}
		p.differs(d)
		p.recipient(r, d.Rcpt)
		for _, w := range d.Would {
			p.line("  would have been: %s by rule %s %s", w.Verdict, w.Rule, w.Reason)
		}
		for _, s := range d.Trace {
			if s.Matched {
				p.line("  * %-32s matched: %s%s", s.Rule, s.Did, observed(s))
			} else if !brief {
				p.line("    %-32s no: %s", s.Rule, unmatched(s))
			}
		}
	}
}

// differs says in what recipients differ, and what follows.
func (p printer) differs(d filter.Decided) {
	switch {
	case d.Differs == "":
	case d.Recipient == "": // at the end
		p.line("  one mail cannot have the verdicts of all its recipients (%s)", d.Differs)
	case d.Rule == policy.RecipientsDiffer:
		p.line("  asked for in a mail of its own (%s)", d.Differs)
	default:
		p.line("  taken all the same; the end of the mail is judged for each kind of recipient (%s)", d.Differs)
	}
}

// recipient prints what was found about one recipient.
func (p printer) recipient(r *filter.Record, to fact.Rcpt) {
	set := fact.Set{Conn: r.Facts.Conn, Rcpt: to}
	for _, f := range fact.Fields() {
		v := f.Get(&set)
		if !f.Rcpt || f.Name == "rcpt.address" || f.Name == "rcpt.domain" || v.State == fact.Absent || v.State == fact.Known && len(v.Text) == 0 {
			continue
		}
		p.line("  %-24s %s", f.Name, v.String(f.Kind))
	}
}

func observed(s policy.Step) string {
	if s.Mode == policy.Observe {
		return " (observed only)"
	}
	return ""
}

func unmatched(s policy.Step) string {
	if s.Field == "" {
		return "off"
	}
	word := "is"
	if s.Unknown {
		word = "is not known:"
	}
	return fmt.Sprintf("wants %s %s, %s %s", s.Field, s.Want, word, s.Got)
}

func (p printer) dns(r *filter.Record) {
	if len(r.DNS) == 0 {
		return
	}
	p.section("DNS answers")
	for _, a := range r.DNS {
		from := a.Server
		if a.Cached {
			from += ", cached"
		}
		p.line("%-5s %s: %s %s (ttl %s, %s)", a.Type, a.Name, a.Result, strings.Join(a.Data, " | "), a.TTL.Round(time.Second), from)
	}
	if r.DNSDropped > 0 {
		p.line("and %d more", r.DNSDropped)
	}
}

func (p printer) checks(r *filter.Record) {
	if len(r.Checks) == 0 {
		return
	}
	p.section("checks")
	for _, c := range r.Checks {
		p.line("%-12s %-8s %s %s", c.Name, c.State, c.Took.Round(time.Microsecond), c.Why)
	}
}
