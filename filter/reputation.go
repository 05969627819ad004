package filter

import (
	"context"
	"slices"

	"mailwicket/filter/arc"
	"mailwicket/filter/authres"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

func (s *Session) settleARC(ctx context.Context) {
	m := s.txn
	if m.skip != "" {
		return
	}
	if m.arc == nil {
		if m.facts.ARC.State == fact.Absent {
			m.facts.ARC = fact.Is(fact.ARC{Result: "none"})
		}
		return
	}
	v := m.arc
	m.arc = nil
	defer context.AfterFunc(ctx, m.giveUp)()
	f, run := attempt("arc", func() fact.Fact[arc.Finding] { return fact.Is(v.Close()) })
	m.facts.ARC = fact.Map(f, s.arcFact)
	if !m.facts.ARC.Known() {
		// RFC 8617, 5.2.1: any error is a fail, also one of the DNS.
		m.facts.ARC = fact.Is(fact.ARC{Result: "fail", Reason: m.facts.ARC.Why})
	}
	s.ran(run, m.facts.ARC.Value.Result)
}

// arcFact notes whether the administrator's list of sealers lets the chain count.
func (s *Session) arcFact(f arc.Finding) fact.ARC {
	out := fact.ARC{Result: string(f.Result), Oldest: f.Oldest, Reason: f.Reason}
	from := s.txn.facts.From.Value.Domains
	if f.Result == arc.Pass {
		out.Sealers = f.Sealers // those of a chain that fails are claims
	}
	if aar, _, sealer, ok := arc.Relied(f, s.e.TrustedSealers); ok && authorPassed(aar, from) {
		out.Trusted = sealer
	}
	if aar, _, sealer, ok := arc.Pending(f, s.e.TrustedSealers); ok && authorPassed(aar, from) {
		out.Pending = sealer
	}
	return out
}

// authorPassed tells whether a trusted hop saw DMARC pass for the same author
// domain (RFC 8617, 7.2.1; the safe rule).
func authorPassed(payload string, domains []string) bool {
	h, err := authres.Parse(payload)
	if err != nil || len(domains) != 1 {
		return false
	}
	for _, r := range h.Results {
		if r.Method != "dmarc" || r.Value != "pass" {
			continue
		}
		for _, p := range r.Props {
			if p.Type == "header" && p.Property == "from" && mail.ParsePath("x@"+p.Value).Domain == domains[0] {
				return true
			}
		}
	}
	return false
}

// override notes why a DMARC failure is not to be acted upon. A doubt whether it
// fails is not either, then.
func (s *Session) override() {
	d := &s.txn.facts.DMARC
	open := d.Value.Result == "fail" || d.Value.Result == "temperror"
	if t := s.txn.facts.ARC.Value.Trusted; d.Known() && open && t != "" {
		d.Value.Override = "ARC chain sealed by " + t
	}
}

// settleReplay counts clients and recipients of each passing signature; the most
// seen ones tell. Whoever sends a signed message again can put a new signature of
// his own on every copy, so none of them speaks for the others.
func (s *Session) settleReplay(ctx context.Context) {
	m := s.txn
	if s.e.Replays == nil || m.skip != "" || !slices.Contains(s.e.Policy.Checks(mail.StageMessage), "replay") {
		return // nobody wants to know, so nothing is counted
	}
	s.settle(ctx, "dkim")
	sigs := passing(m.facts.DKIM.Value)
	addr := addrOf(&s.conn.facts)
	if len(sigs) == 0 || !addr.IsValid() {
		return
	}
	rcpts := make([]string, 0, len(m.facts.Rcpts))
	for _, a := range m.facts.Rcpts {
		rcpts = append(rcpts, a.String())
	}
	var asked []*future[[2]int]
	for _, sig := range sigs {
		asked = append(asked, launch(ctx, "replay", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[[2]int] {
			clients, seen, err := s.e.Replays.Seen(ctx, sig, addr.String(), rcpts)
			return found([2]int{clients, seen}, err)
		}))
	}
	f, run := mostSeen(ctx, asked)
	m.facts.ReplayClients = fact.Map(f, func(n [2]int) int { return n[0] })
	m.facts.ReplayRecipients = fact.Map(f, func(n [2]int) int { return n[1] })
	s.ran(run, "")
}

// mostSeen gives the most clients and the most recipients of any signature. It is
// not known while one is not.
func mostSeen(ctx context.Context, asked []*future[[2]int]) (most fact.Fact[[2]int], run CheckRun) {
	for i, a := range asked {
		f, r := a.wait(ctx)
		if i == 0 || most.Known() && !f.Known() {
			most, run = f, r
		}
		run.Took = max(run.Took, r.Took)
		for k, n := range f.Value {
			most.Value[k] = max(most.Value[k], n)
		}
	}
	return most, run
}

// passing names the passing signatures, each once.
func passing(all []fact.DKIM) []string {
	var sigs []string
	for _, d := range all {
		sig := d.Domain + " " + d.Selector + " " + d.Signature
		if d.Result == "pass" && !slices.Contains(sigs, sig) {
			sigs = append(sigs, sig)
		}
	}
	return sigs
}

// settleDeferAge tells for how long this sender's checks have not worked.
func (s *Session) settleDeferAge(ctx context.Context) {
	m := s.txn
	if s.e.Defers == nil {
		return
	}
	s.settle(ctx, "dmarc")
	sender := m.facts.MailFrom.Value.Domain + " " + m.facts.DMARC.Value.Domain
	if m.facts.DMARC.Value.Result == "temperror" || m.facts.SPF.Value.Result == "temperror" || m.facts.ARC.Value.Pending != "" {
		m.facts.DeferAge = fact.Is(s.e.Defers.Age(sender, s.e.Now()))
		return
	}
	if m.facts.DMARC.Known() {
		s.e.Defers.Clear(sender)
	}
}
