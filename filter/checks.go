package filter

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"mailwicket/filter/author"
	"mailwicket/filter/dkim"
	"mailwicket/filter/dmarc"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/iprev"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/filter/spf"
)

// found turns a check's result into a fact.
func found[T any](v T, err error) fact.Fact[T] {
	if err != nil {
		return fact.Fail[T](err.Error())
	}
	return fact.Is(v)
}

func foundText[T ~string](v T, err error) fact.Fact[string] {
	if err != nil {
		return fact.Fail[string](err.Error())
	}
	return fact.Is(string(v))
}

func findIprev(ctx context.Context, r dns.Resolver, addr netip.Addr, hostName string) fact.Fact[iprevFound] {
	f := iprev.Check(ctx, r, addr)
	name := hostName
	if len(f.Names) > 0 {
		name = f.Names[0]
	}
	return fact.Is(iprevFound{
		Iprev:   fact.Iprev{Result: string(f.Result), Names: f.Names, Reason: f.Reason},
		Dynamic: name != "" && iprev.Dynamic(name, addr),
	})
}

func findSPF(ctx context.Context, r dns.Resolver, addr netip.Addr, helo string, from mail.Address, isHelo bool) fact.Fact[fact.SPF] {
	if !addr.IsValid() {
		return fact.Skip[fact.SPF]("the MTA told no client address")
	}
	in := spf.Input{IP: addr, Helo: helo, MailFrom: from, Identity: spf.MailFrom}
	if isHelo {
		in.Identity = spf.Helo
	}
	f := spf.Check(ctx, r, in)
	return fact.Is(fact.SPF{Result: string(f.Result), Domain: f.Domain, Reason: f.Reason,
		Explanation: f.Explanation, Lookups: f.Lookups})
}

// settle waits for one check and writes its facts, once for each message. The
// facts of a connection are settled once for the session; who has logged in does
// not wait for them.
func (s *Session) settle(ctx context.Context, name string) {
	m := s.txn
	if m != nil {
		if m.done[name] {
			return
		}
		m.done[name] = true
	}
	if m == nil || m.skip == "" {
		s.settleClient(ctx, name)
	}
	if m == nil {
		return
	}
	switch name {
	case "spf":
		s.settleSPF(ctx)
	case "dkim":
		s.settleDKIM(ctx)
	case "list_dkim":
		s.settle(ctx, "dkim")
		s.settleListDKIM()
	case "dnsbl_mail_from":
		s.settleZones(ctx, &m.facts.DNSBLFrom, m.dnsFrom)
	case "dnsbl_header_from":
		s.settleZones(ctx, &m.facts.DNSBLHeader, m.dnsHead)
	case "dnsbl_dkim":
		s.signerZones(ctx)
	case "dnsbl_score":
		for _, name := range []string{"dnsbl", "dnsbl_name", "dnsbl_helo", "dnsbl_mail_from"} {
			s.settle(ctx, name)
		}
	case "content":
		s.settleContent()
	case "list_links":
		s.settle(ctx, "content")
		s.settleListLinks()
	case "dnsbl_links":
		s.settle(ctx, "content")
		s.settleZoneLinks(ctx)
	case "arc":
		s.settleARC(ctx)
	case "dmarc":
		s.settleDMARC(ctx)
	case "replay":
		s.settleReplay(ctx)
	case "defer_age":
		s.settleDeferAge(ctx)
	}
}

// settleClient does so for a check of the connection.
func (s *Session) settleClient(ctx context.Context, name string) {
	n := &s.conn
	switch name {
	case "iprev":
		s.settleIprev(ctx)
	case "list_name":
		s.settle(ctx, "iprev")
		s.settleNames()
	case "dnsbl":
		settleConn(s, ctx, &n.facts.DNSBL, n.dnsbl)
	case "dnsbl_name":
		settleConn(s, ctx, &n.facts.DNSBLName, n.dnsName)
	case "dnsbl_helo":
		settleConn(s, ctx, &n.facts.DNSBLHelo, n.dnsHelo)
	case "spf_helo":
		settleConn(s, ctx, &n.facts.SPFHelo, n.spfHelo)
	case "helo_dns":
		settleConn(s, ctx, &n.facts.HeloDNS, n.heloDNS)
	}
}

func (s *Session) settleSPF(ctx context.Context) {
	m := s.txn
	if m.spf == nil {
		return
	}
	f, run := m.spf.wait(ctx)
	m.facts.SPF = f
	s.ran(run, f.Value.Result)
}

// settleAll settles everything that the header fields at the end report. What
// DMARC builds upon gets most of the time, not all: else whoever lets his key
// hang would leave none to ask for his victim's policy.
func (s *Session) settleAll(ctx context.Context) {
	early, cancel := sooner(ctx)
	defer cancel()
	for _, name := range []string{"iprev", "list_name", "spf_helo", "spf", "dkim", "list_dkim", "arc"} {
		s.settle(early, name)
	}
	for _, name := range []string{"dmarc", "replay", "defer_age"} {
		s.settle(ctx, name)
	}
}

// sooner gives a context that ends when three quarters of ctx's time are over.
func sooner(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end.Add(-time.Until(end)/4))
}

// settleConn settles a fact of the connection. A later message finds it settled,
// unless there was no answer in time.
func settleConn[T any](s *Session, ctx context.Context, to *fact.Fact[T], f *future[T]) {
	if f == nil || to.State != fact.Absent {
		return
	}
	got, run := f.wait(ctx)
	*to = got
	if hits, ok := any(got.Value).([]fact.ListHit); ok {
		run = partly(run, hits)
	}
	s.ranClient(run, resultWord(got))
	tooLate(&s.conn, f, run, func() { *to = fact.Fact[T]{} })
}

// resultWord is the word by which a finding is counted.
func resultWord[T any](f fact.Fact[T]) string {
	switch v := any(f.Value).(type) {
	case fact.SPF:
		return v.Result
	case []fact.ListHit:
		if slices.ContainsFunc(v, func(h fact.ListHit) bool { return h.Silent == "" }) {
			return "listed"
		}
		return "clean"
	case string:
		return v
	}
	return ""
}

func (s *Session) settleIprev(ctx context.Context) {
	n := &s.conn
	if n.iprev == nil || n.facts.Iprev.State != fact.Absent {
		return
	}
	f, run := n.iprev.wait(ctx)
	n.facts.Iprev = fact.Map(f, func(v iprevFound) fact.Iprev { return v.Iprev })
	n.facts.Dynamic = fact.Map(f, func(v iprevFound) bool { return v.Dynamic })
	s.ranClient(run, f.Value.Iprev.Result)
	tooLate(n, n.iprev, run, func() {
		n.facts.Iprev, n.facts.Dynamic = fact.Fact[fact.Iprev]{}, fact.Fact[bool]{}
		n.facts.ListName = fact.Fact[[]fact.ListHit]{} // of the names
	})
}

// settleNames looks the client's names up.
func (s *Session) settleNames() {
	n := &s.conn
	if s.e.Lists == nil || n.facts.ListName.State != fact.Absent {
		return
	}
	var hits []fact.ListHit
	for _, name := range clientNames(&n.facts) {
		hits = append(hits, s.e.Lists.Domain(list.PointPTR, name)...)
	}
	n.facts.ListName = fact.Is(hits)
}

func (s *Session) settleDKIM(ctx context.Context) {
	m := s.txn
	if m.dkim == nil {
		return
	}
	v := m.dkim
	m.dkim = nil
	// When ctx ends no key is awaited; what is left to do is arithmetic, and
	// signatures whose key has come are judged.
	defer context.AfterFunc(ctx, m.giveUp)()
	var run CheckRun
	m.facts.DKIM, run = attempt("dkim", func() fact.Fact[[]fact.DKIM] { return fact.Is(dkimFacts(v.Close())) })
	s.ran(run, "")
	for _, d := range m.facts.DKIM.Value {
		s.count("dkim_signature", fact.Known, d.Result)
	}
}

func dkimFacts(fs []dkim.Finding) []fact.DKIM {
	out := make([]fact.DKIM, 0, len(fs))
	for _, f := range fs {
		if f.Result == dkim.None {
			continue
		}
		out = append(out, fact.DKIM{Result: string(f.Result), Reason: f.Reason, Domain: f.Domain, Identity: f.Identity,
			Selector: f.Selector, Algorithm: string(f.Algorithm), KeyBits: f.KeyBits, Signature: f.Signature, Testing: f.Testing})
	}
	return out
}

func (s *Session) settleListDKIM() {
	m := s.txn
	if s.e.Lists == nil || !m.facts.DKIM.Known() {
		return
	}
	var hits []fact.ListHit
	for _, d := range signers(m.facts.DKIM.Value) {
		hits = append(hits, s.e.Lists.Domain(list.PointDKIM, d)...)
	}
	m.facts.ListDKIM = fact.Is(hits)
}

// settleDMARC evaluates once SPF, DKIM and ARC are known.
func (s *Session) settleDMARC(ctx context.Context) {
	m := s.txn
	if m.policy == nil {
		return
	}
	for _, name := range []string{"spf", "dkim", "arc"} {
		s.settle(ctx, name)
	}
	from := m.facts.From.Value
	switch {
	case m.over != "":
		m.facts.DMARC = fact.Is(fact.DMARC{Result: "none", Reason: "no author domain: " + overLimit})
		return
	case len(from.Domains) == 0:
		m.facts.DMARC = fact.Is(fact.DMARC{Result: "none", Reason: "no author domain: " + from.Defect})
		return
	}
	in := dmarc.Input{From: from.Domains, Method: s.e.OrgDomain}
	in.SPF = s.spfIdentifier()
	if m.facts.DKIM.State == fact.Failed {
		// Signatures that could not be checked may be the author's.
		for _, d := range from.Domains {
			in.DKIM = append(in.DKIM, dmarc.Identifier{Domain: d, Result: "temperror"})
		}
	}
	for _, d := range m.facts.DKIM.Value {
		in.DKIM = append(in.DKIM, dmarc.Identifier{Domain: d.Domain, Result: d.Result})
	}
	f := launch(m.ctx, "dmarc", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[fact.DMARC] {
		return fact.Is(dmarcFact(m.dmarc.Check(ctx, in)))
	})
	var run CheckRun
	m.facts.DMARC, run = f.wait(ctx)
	if m.facts.DMARC.State == fact.Failed {
		// No answer in time is the standard's temporary error (RFC 9989, 5.3.6).
		m.facts.DMARC = fact.Is(fact.DMARC{Result: "temperror", Domain: from.Domains[0], Reason: m.facts.DMARC.Why})
	}
	if m.facts.DMARC.Value.Differs {
		s.count("dmarc_org_domain", fact.Known, "differs")
	}
	s.override()
	s.ran(run, m.facts.DMARC.Value.Result)
}

// spfIdentifier keeps a check that could not be made from looking like one that
// said no: the name that it would have been about may still align. That of others
// may not: a forger's silent name servers cast no doubt on his victim's domain.
func (s *Session) spfIdentifier() dmarc.Identifier {
	f := s.txn.facts.SPF
	if f.Known() {
		return dmarc.Identifier{Domain: f.Value.Domain, Result: f.Value.Result}
	}
	domain := s.txn.facts.MailFrom.Value.Domain
	if s.txn.facts.MailFrom.Value.IsNull() {
		domain = s.conn.facts.Helo.Value // RFC 7208, 2.4
	}
	return dmarc.Identifier{Domain: domain, Result: "temperror"}
}

func dmarcFact(f dmarc.Finding) fact.DMARC {
	return fact.DMARC{Result: string(f.Result), Policy: string(f.Policy), Domain: f.Domain, Record: f.RecordDomain,
		Org: f.Org, Aligned: f.Aligned, Testing: f.Testing, Differs: f.Differs, Reason: f.Reason}
}

// overLimit is why nothing can be said of a message.
const overLimit = "the header block is over the limit"

// readHeader finds what the header block tells by itself.
func (s *Session) readHeader() {
	m := s.txn
	f := author.Parse(m.header)
	defects := author.Defects(m.header)
	if m.over != "" {
		// The rest of the block is unknown, so nothing can be said of the author.
		defects = append(defects, m.over)
		f.Defect, f.Detail = author.Malformed, overLimit
	}
	m.facts.From = fact.Is(fact.From{Addresses: f.Addresses, Domains: f.Domains, Defect: f.Defect, Detail: f.Detail})
	m.facts.Defects = fact.Is(defects)
	m.facts.Subject = fact.Is(author.Subject(m.header))
	if id := m.header.Get("Message-ID"); id != "" {
		m.facts.MessageID = fact.Is(id)
	}
	if id, ok := author.ListID(m.header); ok {
		m.facts.ListID = fact.Is(id)
	}
	m.facts.Fields, m.facts.HeaderBytes = fact.Is(m.fields), fact.Is(m.hbytes)
	switch {
	case m.skip != "":
		m.facts.ListHeader = fact.Skip[[]fact.ListHit](m.skip)
	case s.e.Lists != nil:
		var hits []fact.ListHit
		for _, a := range f.Addresses {
			hits = append(hits, s.e.Lists.Address(list.PointHeaderFrom, mail.ParsePath(a))...)
		}
		m.facts.ListHeader = fact.Is(hits)
	}
}
