package filter

import (
	"context"

	"mailwicket/filter/fact"
	"mailwicket/filter/list"
)

// zones asks the DNS lists that are applied at a point for names, beside the
// dialogue.
func (s *Session) zones(ctx context.Context, check string, p list.Point, names ...string) *future[[]fact.ListHit] {
	if s.e.DNSBL == nil {
		return given(fact.Fact[[]fact.ListHit]{})
	}
	return launch(ctx, check, s.e.CheckTimeout, func(ctx context.Context) fact.Fact[[]fact.ListHit] {
		return s.e.domains(ctx, p, names)
	})
}

// clientZones asks for the client's names once the reverse lookup has found them.
func (s *Session) clientZones(iprev *future[iprevFound]) *future[[]fact.ListHit] {
	if s.e.DNSBL == nil {
		return given(fact.Fact[[]fact.ListHit]{})
	}
	c := s.conn.facts
	return launch(s.conn.ctx, "dnsbl_name", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[[]fact.ListHit] {
		f, _ := iprev.wait(ctx)
		c.Iprev = fact.Map(f, func(v iprevFound) fact.Iprev { return v.Iprev })
		return s.e.domains(ctx, list.PointPTR, clientNames(&c))
	})
}

// domains joins the hits of several names. What was found is told also where
// another name had no answer.
func (e *Engine) domains(ctx context.Context, p list.Point, names []string) fact.Fact[[]fact.ListHit] {
	var hits []fact.ListHit
	var failed error
	for _, name := range names {
		got, err := e.DNSBL.Domain(ctx, p, name)
		hits = appendHits(hits, got)
		if err != nil {
			failed = err
		}
	}
	if failed != nil && resultWord(fact.Is(hits)) != "listed" {
		return fact.Fail[[]fact.ListHit](failed.Error())
	}
	return fact.Is(hits)
}

// settleZones settles a fact of the message.
func (s *Session) settleZones(ctx context.Context, to *fact.Fact[[]fact.ListHit], f *future[[]fact.ListHit]) {
	if f == nil {
		return
	}
	got, run := f.wait(ctx)
	*to = got
	run = partly(run, got.Value)
	if run.Name != "" {
		s.ran(run, resultWord(got))
	}
}

// partly makes a check that has a fact one that failed, in the record of the work,
// where some lists did not answer.
func partly(run CheckRun, hits []fact.ListHit) CheckRun {
	for _, h := range hits {
		if h.Silent == "" {
			continue
		}
		if run.State == fact.Known {
			run.State, run.Why = fact.Failed, ""
		} else {
			run.Why += "; "
		}
		run.Why += h.List + ": " + h.Silent
	}
	return run
}

// signerZones asks for the domains of passing signatures, which are known last.
func (s *Session) signerZones(ctx context.Context) {
	m := s.txn
	s.settle(ctx, "dkim")
	if s.e.DNSBL == nil || !m.facts.DKIM.Known() {
		return
	}
	s.settleZones(ctx, &m.facts.DNSBLDKIM, s.zones(m.ctx, "dnsbl_dkim", list.PointDKIM, signers(m.facts.DKIM.Value)...))
}

// signers are the distinct domains of passing signatures.
func signers(sigs []fact.DKIM) []string {
	var out []string
	seen := map[string]bool{}
	for _, d := range sigs {
		if d.Result == "pass" && !seen[d.Domain] {
			seen[d.Domain] = true
			out = append(out, d.Domain)
		}
	}
	return out
}
