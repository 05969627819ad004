package filter

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/greylist"
	"mailwicket/policy"
)

// decide waits for what the stage's rules read, and asks the policy. Where a
// rule asks for greylisting, the store is asked and the policy once more.
func (s *Session) decide(ctx context.Context, stage mail.Stage, r *fact.Rcpt) policy.Decision {
	for _, name := range s.e.Policy.Checks(stage) {
		s.settle(ctx, name)
	}
	now := s.e.Now()
	set := s.facts(stage, r, now)
	if s.e.Rates != nil && slices.Contains(s.e.Policy.Checks(stage), "rates") {
		switch {
		case r != nil:
			r.Rates = s.rates(ctx, set, s.e.Rates.Exceeded)
			set.Rcpt = *r
		case stage == mail.StageMessage:
			s.txn.facts.Rates = s.rates(ctx, set, s.e.Rates.Sized)
			set.Txn = s.txn.facts
		}
	}
	d := s.e.Policy.Decide(&set)
	if !d.Greylist {
		return d
	}
	g := s.greylist(ctx, &set)
	if r != nil {
		r.Greylist = g
	} else {
		s.txn.facts.Greylist = g
	}
	set = s.facts(stage, r, now)
	return s.e.Policy.Decide(&set)
}

// facts is the set as it stands; now is drawn once for each decision.
func (s *Session) facts(stage mail.Stage, r *fact.Rcpt, now time.Time) fact.Set {
	set := fact.Set{Stage: stage, Now: now, Conn: s.conn.facts}
	if m := s.txn; m != nil {
		set.Txn = m.facts
		if m.skip != s.conn.skip {
			spare(&set.Conn, m.skip)
		}
	}
	if r != nil {
		set.Rcpt = *r
	}
	return set
}

// storeTime is more than the stores take for an answer, whatever is wrong with them.
const storeTime = 250 * time.Millisecond

// timeFor leaves the stores their time, also where a check used up the stage's: who
// makes the DNS slow must not get past the greylist and the rates.
func timeFor(ctx context.Context) (context.Context, context.CancelFunc) {
	least := time.Now().Add(storeTime)
	if end, ok := ctx.Deadline(); !ok || end.After(least) {
		return ctx, func() {}
	}
	return context.WithDeadline(context.WithoutCancel(ctx), least)
}

// rates counts a recipient or a size, where a rule wants to know. The set is a
// copy: who gives up waiting leaves the question behind.
func (s *Session) rates(ctx context.Context, set fact.Set, count func(context.Context, *fact.Set) ([]string, error)) fact.Fact[[]string] {
	ctx, cancel := timeFor(ctx)
	defer cancel()
	f, run := launch(ctx, "rates", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[[]string] {
		return found(count(ctx, &set))
	}).wait(ctx)
	s.ran(run, "")
	return f
}

// greylist asks the store about the recipient, or about the message's first one
// (null senders are asked for at the end of the header).
func (s *Session) greylist(ctx context.Context, set *fact.Set) fact.Fact[fact.Greylist] {
	if s.e.Greylist == nil {
		return fact.Skip[fact.Greylist]("no greylist store")
	}
	addr := addrOf(&set.Conn)
	if !addr.IsValid() {
		return fact.Skip[fact.Greylist]("the MTA told no client address")
	}
	s.settle(ctx, "spf")
	s.settle(ctx, "iprev")
	in := greylist.IdentityInput{IP: addr, HostName: verified(&s.conn.facts),
		Dynamic: s.conn.facts.Dynamic.Value, Net4: s.e.Net4, Net6: s.e.Net6}
	spf, rev := s.txn.facts.SPF, s.conn.facts.Iprev
	if spf.Known() && spf.Value.Result == "pass" {
		in.SPFPassDomain = spf.Value.Domain
	}
	in.Unsure = !spf.Known() || spf.Value.Result == "temperror" || !rev.Known() || rev.Value.Result == "temperror"
	to := set.Rcpt.To.Value
	if !set.Rcpt.To.Known() && len(set.Txn.Rcpts) > 0 {
		to = set.Txn.Rcpts[0]
	}
	id := greylist.Identify(in)
	ctx, cancel := timeFor(ctx)
	defer cancel()
	f, run := attempt("greylist", func() fact.Fact[greylist.Outcome] {
		return found(s.e.Greylist.Check(ctx, greylist.Request{Identity: id, Sender: set.Txn.MailFrom.Value,
			Recipient: to, Doubtful: in.Doubtful()}))
	})
	g := fact.Map(f, func(o greylist.Outcome) fact.Greylist {
		return fact.Greylist{Result: o.Status.String(), Identity: id.Value, Kind: id.Kind.String(),
			FirstSeen: o.FirstSeen, Remaining: o.Remaining, Delayed: o.Delayed, Attempts: o.Attempts, Doubtful: o.Doubtful, Degraded: o.Degraded}
	})
	s.tell(func(w Observer) { w.Check(run.Name, run.State, g.Value.Result, run.Took) })
	return g
}

// atConnection judges connect and HELO. Refusals there are rare: rules are given
// at RCPT unless they name an earlier stage.
func (s *Session) atConnection(ctx context.Context, stage mail.Stage) Answer {
	n := &s.conn
	if n.exempt.rule != "" {
		return Answer{}
	}
	d := s.decide(ctx, stage, nil)
	ref := n.info.Session
	a := answer(d, ref)
	if len(d.Trace) > 0 {
		n.decided = append(n.decided, Decided{Decision: d, Reply: a.Text})
	}
	switch d.Verdict {
	case policy.Accept:
		n.exempt, n.helo = exemption{d.Rule, d.Reason}, stage == mail.StageHelo
	case policy.Tempfail, policy.Reject:
		// The MTA refuses every later MAIL by itself: the story ends here.
		now := s.e.Now()
		r := &Record{Ref: ref, Host: s.e.Host, Settings: s.e.Settings, Start: n.info.Start, Took: now.Sub(n.info.Start),
			Facts: s.facts(stage, nil, now), Verdict: d.Verdict, Rule: d.Rule, Reason: d.Reason,
			Decisions: slices.Clone(n.decided), Checks: slices.Clone(n.checks)}
		r.DNS, r.DNSDropped = n.trail.Answers()
		r.Degraded = r.degradedParts()
		s.tell(func(w Observer) { w.Message(r) })
	}
	return a
}

// atMessage judges the whole message at MAIL, the end of header or the end.
func (s *Session) atMessage(ctx context.Context, stage mail.Stage) Answer {
	m := s.txn
	if by := s.exempt(); by.rule != "" {
		m.verdict, m.rule, m.reason = policy.Accept, by.rule, by.reason
		return Answer{Verdict: policy.Accept}
	}
	d := s.decide(ctx, stage, nil)
	a := answer(d, m.ref)
	m.decided = append(m.decided, Decided{Decision: d, Reply: a.Text})
	s.note(d)
	if d.Verdict == policy.Accept && stage < mail.StageMessage {
		m.exempt = exemption{d.Rule, d.Reason}
	}
	return a
}

// exempt tells whether accept rules free the message from further rules: one for
// the session or the message, or one for each of its recipients. A single
// recipient's does not free the others.
func (s *Session) exempt() exemption {
	m := s.txn
	if m.exempt.rule == "" && len(m.facts.Rcpts) > 0 && m.exempts == len(m.facts.Rcpts) {
		return m.spared
	}
	return m.exempt
}

// atRecipient judges one recipient.
func (s *Session) atRecipient(ctx context.Context, r fact.Rcpt) Answer {
	m := s.txn
	if m.exempt.rule != "" {
		m.facts.Rcpts = append(m.facts.Rcpts, r.To.Value)
		return Answer{Verdict: policy.Accept}
	}
	d := s.decide(ctx, mail.StageRcpt, &r)
	a := answer(d, m.ref)
	m.decided = append(m.decided, Decided{Decision: d, Recipient: r.To.Value.String(), Rcpt: r, Reply: a.Text})
	switch d.Verdict {
	case policy.Tempfail, policy.Reject:
		if len(m.facts.Rcpts) == 0 {
			s.note(d) // unless another recipient is accepted, that was the message
		}
		decline(&m.facts, d)
		return a
	case policy.Discard:
		s.note(d) // of the whole message: the MTA asks no more
		return a
	case policy.Accept:
		m.exempts, m.spared = m.exempts+1, exemption{d.Rule, d.Reason}
	}
	admit(&m.facts, r, d)
	if m.verdict == policy.Tempfail || m.verdict == policy.Reject {
		m.verdict, m.rule, m.reason = policy.Continue, "", ""
	}
	return a
}

// admit takes a recipient into the message, and keeps what it is like.
func admit(t *fact.Txn, r fact.Rcpt, d policy.Decision) {
	t.Rcpts = append(t.Rcpts, r.To.Value)
	switch {
	case d.Differs != "":
		t.Unlike = append(t.Unlike, r)
	case t.First.To.State == fact.Absent:
		t.First = r
	}
}

// decline notes that a recipient was refused.
func decline(t *fact.Txn, d policy.Decision) {
	if d.Rule == policy.RecipientsDiffer {
		t.Apart++
	}
}

// note keeps the decision that the message's fate hangs on.
func (s *Session) note(d policy.Decision) {
	if d.Verdict != policy.Continue {
		s.txn.verdict, s.txn.rule, s.txn.reason = d.Verdict, d.Rule, d.Reason
	}
}

// answer gives the public side of a decision.
func answer(d policy.Decision, ref string) Answer {
	a := Answer{Verdict: d.Verdict, Code: d.Reply.Code, Enhanced: d.Reply.Enhanced}
	if d.Verdict != policy.Tempfail && d.Verdict != policy.Reject {
		return a
	}
	text := d.Reply.Text
	if text == "" {
		text = "Refused by rule " + d.Rule
		if d.Verdict == policy.Tempfail {
			text = "Put off by rule " + d.Rule + ", try again later"
		}
	}
	a.Text = text + " (ref " + ref + ")"
	return a
}

// ran notes a check's run for the record and for metrics.
func (s *Session) ran(run CheckRun, result string) {
	s.txn.checks = append(s.txn.checks, run)
	s.tell(func(w Observer) { w.Check(run.Name, run.State, result, run.Took) })
}

// ranClient does so for a check of the connection. It is part of the record of
// each of the session's messages; what needed no work is not.
func (s *Session) ranClient(run CheckRun, result string) {
	if run.Name == "" {
		return
	}
	s.conn.checks = append(s.conn.checks, run)
	s.tell(func(w Observer) { w.Check(run.Name, run.State, result, run.Took) })
}

func (s *Session) count(name string, st fact.State, result string) {
	s.tell(func(w Observer) { w.Check(name, st, result, 0) })
}

// tell shields the session from its observer.
func (s *Session) tell(what func(Observer)) {
	defer func() {
		if v := recover(); v != nil {
			s.e.Log.Error("observer panicked", slog.String("panic", fmt.Sprint(v)))
		}
	}()
	what(s.e.Observer)
}

// finish ends the open message, tells the observer, and stops what still runs
// for it.
func (s *Session) finish(complete bool) {
	m := s.txn
	if m == nil {
		return
	}
	now := s.e.Now()
	set := s.facts(mail.StageMessage, nil, now)
	s.txn = nil
	if m.dkim != nil {
		m.dkim.Abort()
	}
	if m.arc != nil {
		m.arc.Abort()
	}
	m.cancel()
	r := &Record{Ref: m.ref, Host: s.e.Host, Settings: s.e.Settings, Start: m.start, Took: now.Sub(m.start), Complete: complete,
		Facts:   set,
		Verdict: m.verdict, Rule: m.rule, Reason: m.reason,
		Decisions: append(slices.Clone(s.conn.decided), m.decided...), Removed: m.removed}
	if m.skip == s.conn.skip {
		r.Checks = slices.Clone(s.conn.checks)
	} else {
		early := s.conn.facts
		r.Early = &early
	}
	r.Checks = append(r.Checks, m.checks...)
	connDNS, dropped := s.conn.trail.Answers()
	msgDNS, more := m.trail.Answers()
	r.DNS, r.DNSDropped = append(connDNS, msgDNS...), dropped+more
	r.Degraded = r.degradedParts()
	if !complete && m.verdict == policy.Continue && len(m.facts.Rcpts) == 0 {
		return // MAIL only: nothing was asked
	}
	s.tell(func(w Observer) { w.Message(r) })
}

// degradedParts lists the dependencies that did not answer for this message.
func (r *Record) degradedParts() []string {
	var out []string
	for _, c := range r.Checks {
		if c.State == fact.Failed {
			out = append(out, c.Name)
		}
	}
	for _, d := range r.Decisions {
		if d.Rcpt.Greylist.Value.Degraded {
			out = append(out, "greylist")
			return out
		}
	}
	if r.Facts.Txn.Greylist.Value.Degraded {
		out = append(out, "greylist")
	}
	return out
}

// Summary gives the record's checks on one line: "spf=pass dkim=fail dmarc=none".
func (r *Record) Summary() string {
	t := r.Facts.Txn
	var parts []string
	add := func(name string, st fact.State, result string) {
		switch st {
		case fact.Known:
			parts = append(parts, name+"="+result)
		case fact.Failed, fact.Skipped:
			parts = append(parts, name+"="+st.String())
		}
	}
	add("iprev", r.Facts.Conn.Iprev.State, r.Facts.Conn.Iprev.Value.Result)
	add("spf", t.SPF.State, t.SPF.Value.Result)
	add("dkim", t.DKIM.State, fact.DKIMBest(t.DKIM.Value))
	add("arc", t.ARC.State, t.ARC.Value.Result)
	add("dmarc", t.DMARC.State, t.DMARC.Value.Result)
	return strings.Join(parts, " ")
}

var _ Greylister = (*greylist.Service)(nil)
