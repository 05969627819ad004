package filter

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwicket/filter/arc"
	"mailwicket/filter/dkim"
	"mailwicket/filter/dmarc"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/iprev"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// Session is one SMTP session. Its methods are called by one goroutine in the
// order of the dialogue; Abort may come at any time. A message may be followed
// by another.
type Session struct {
	e    *Engine
	conn connection
	txn  *message // nil between messages
}

// connection is what lives as long as the SMTP session. Helo and authentication
// change facts in place, a new client is a new Session.
type connection struct {
	scope
	info    mail.Conn
	facts   fact.Conn
	skip    string // why inbound checks are not made for this client; "" for strangers
	exempt  exemption
	helo    bool // the exemption hangs on the HELO name
	checks  []CheckRun
	late    []late // of the futures below
	iprev   *future[iprevFound]
	dnsbl   *future[[]fact.ListHit] // of the address
	dnsName *future[[]fact.ListHit] // of the confirmed names
	dnsHelo *future[[]fact.ListHit]
	decided []Decided // at connect and HELO
	spfHelo *future[fact.SPF]
	heloDNS *future[string]
}

// message is what lives from MAIL to the end of message.
type message struct {
	scope
	ref     string
	start   time.Time
	facts   fact.Txn
	skip    string // as of the connection, or because the client has logged in
	utf8    bool   // the envelope asks for SMTPUTF8
	exempt  exemption
	spared  exemption // of the recipient accepted by a rule last
	exempts int       // recipients accepted by an accept rule
	header  mail.Header
	fields  int // header fields that came, kept or not
	hbytes  int
	over    string         // which header limit was passed
	late    map[string]int // fields beyond the limit whose names are policed
	bytes   int64
	giveUp  context.CancelFunc // no key is awaited from now on
	spf     *future[fact.SPF]
	dnsFrom *future[[]fact.ListHit] // of the envelope sender
	dnsHead *future[[]fact.ListHit] // of the author's domains
	dkim    *dkim.Verification
	arc     *arc.Verification
	dmarc   *dmarc.Lookup
	policy  *future[struct{}] // DMARC records being fetched
	links   *linkSearch       // nil where nobody wants to know
	done    map[string]bool   // checks whose facts are settled
	decided []Decided
	checks  []CheckRun
	verdict policy.Verdict
	rule    string
	reason  string
	removed []Deletion
}

// exemption is the accept rule that frees from further rules.
type exemption struct{ rule, reason string }

// scope is a lifetime with its own resolver memory and trail.
type scope struct {
	ctx      context.Context
	cancel   context.CancelFunc
	trail    *dns.Trail
	resolver dns.Resolver
}

func (e *Engine) scope(parent context.Context) scope {
	t := &dns.Trail{}
	ctx, cancel := context.WithCancel(dns.WithTrail(parent, t))
	return scope{ctx: ctx, cancel: cancel, trail: t, resolver: dns.NewMemo(e.Resolver)}
}

// iprevFound is what the reverse lookup gives.
type iprevFound struct {
	Iprev   fact.Iprev
	Dynamic bool
}

// Open starts a session; ctx bounds its whole life.
func (e *Engine) Open(ctx context.Context) *Session {
	return &Session{e: e, conn: connection{scope: e.scope(ctx)}}
}

// Connect takes the client's connection.
func (s *Session) Connect(ctx context.Context, c mail.Conn) Answer {
	n := &s.conn
	c.Addr = c.Addr.Unmap().WithZone("") // networks hold neither form
	if c.Session == "" {
		c.Session = s.e.NewRef()
	}
	if c.Start.IsZero() {
		c.Start = s.e.Now()
	}
	n.info = c
	n.facts = fact.Conn{Session: c.Session, MTA: fact.MTA{Name: c.MTAName, Version: c.Version}}
	if c.Addr.IsValid() {
		n.facts.IP = fact.Is(c.Addr)
	}
	if c.HostName != "" {
		n.facts.Name = fact.Is(c.HostName)
	}
	if c.PTRName != "" {
		n.facts.PTR = fact.Is(mail.CanonicalDomain(c.PTRName))
	}
	for _, p := range s.e.Trusted {
		if c.Addr.IsValid() && p.Contains(c.Addr) {
			n.skip = "client is in the trusted network " + p.String()
		}
	}
	n.facts.Trusted = fact.Is(n.skip)
	s.startClient()
	return s.atConnection(ctx, mail.StageConnect)
}

// startClient starts what needs the address only.
func (s *Session) startClient() {
	n := &s.conn
	if n.skip != "" {
		spare(&n.facts, n.skip)
		return
	}
	addr := n.info.Addr
	if !addr.IsValid() {
		n.iprev = given(fact.Fail[iprevFound]("the MTA told no client address"))
		n.dnsbl = given(fact.Skip[[]fact.ListHit]("the MTA told no client address"))
		return
	}
	n.iprev = launch(n.ctx, "iprev", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[iprevFound] {
		return findIprev(ctx, n.resolver, addr, n.info.HostName)
	})
	n.dnsName = s.clientZones(n.iprev)
	n.dnsbl = given(fact.Fact[[]fact.ListHit]{})
	if s.e.DNSBL != nil {
		n.dnsbl = launch(n.ctx, "dnsbl", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[[]fact.ListHit] {
			return found(s.e.DNSBL.Client(ctx, addr))
		})
	}
	if s.e.Lists != nil {
		n.facts.ListIP = fact.Is(s.e.Lists.IP(list.PointClient, addr))
	}
}

// spare says for every connection check why it was not made.
func spare(f *fact.Conn, why string) {
	f.Trusted = fact.Is(why)
	f.Iprev, f.Dynamic = fact.Skip[fact.Iprev](why), fact.Skip[bool](why)
	f.DNSBL, f.ListIP = fact.Skip[[]fact.ListHit](why), fact.Skip[[]fact.ListHit](why)
	f.DNSBLName, f.DNSBLHelo = fact.Skip[[]fact.ListHit](why), fact.Skip[[]fact.ListHit](why)
	f.ListName, f.ListHelo = fact.Skip[[]fact.ListHit](why), fact.Skip[[]fact.ListHit](why)
	f.SPFHelo, f.HeloDNS = fact.Skip[fact.SPF](why), fact.Skip[string](why)
}

// Helo takes the client's name; after STARTTLS it comes again. It makes an open
// message void (RFC 5321, 4.1.4).
func (s *Session) Helo(ctx context.Context, name string, tls mail.TLS) Answer {
	s.finish(false)
	n := &s.conn
	if n.helo {
		n.exempt, n.helo = exemption{}, false // it was another name's
	}
	n.checks = slices.DeleteFunc(n.checks, func(r CheckRun) bool { return r.Name == "spf_helo" || r.Name == "helo_dns" || r.Name == "dnsbl_helo" })
	n.decided = slices.DeleteFunc(n.decided, func(d Decided) bool { return d.Stage == mail.StageHelo })
	n.facts.Helo = fact.Is(mail.CanonicalDomain(name))
	n.facts.HeloIs = fact.Is(iprev.HeloKind(name, n.info.MTAName))
	s.tls(tls)
	if n.skip != "" {
		return s.atConnection(ctx, mail.StageHelo)
	}
	helo, addr, r := n.facts.Helo.Value, n.info.Addr, n.resolver
	n.spfHelo = launch(n.ctx, "spf_helo", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[fact.SPF] {
		return findSPF(ctx, r, addr, helo, mail.Address{}, true)
	})
	n.heloDNS, n.dnsHelo = given(fact.Fact[string]{}), given(fact.Is[[]fact.ListHit](nil))
	if n.facts.HeloIs.Value == "ok" {
		n.dnsHelo = s.zones(n.ctx, "dnsbl_helo", list.PointHelo, helo)
		n.heloDNS = launch(n.ctx, "helo_dns", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[string] {
			return foundText(iprev.HeloDNS(ctx, r, helo, addr))
		})
	}
	n.facts.SPFHelo, n.facts.HeloDNS = fact.Fact[fact.SPF]{}, fact.Fact[string]{}
	n.facts.DNSBLHelo = fact.Fact[[]fact.ListHit]{}
	if s.e.Lists != nil {
		n.facts.ListHelo = fact.Is(s.e.Lists.Domain(list.PointHelo, helo))
	}
	return s.atConnection(ctx, mail.StageHelo)
}

func (s *Session) tls(t mail.TLS) {
	if t.Version != "" {
		s.conn.facts.TLS = fact.Is(t)
	}
}

// Mail starts a message.
func (s *Session) Mail(ctx context.Context, path string, env Envelope) Answer {
	s.finish(false)
	s.conn.again()
	m := &message{scope: s.e.scope(s.conn.ctx), ref: s.e.NewRef(), start: s.e.Now(), done: map[string]bool{}}
	s.txn = m
	m.exempt = s.conn.exempt
	m.utf8 = slices.ContainsFunc(env.Params, func(p string) bool { return strings.EqualFold(p, "SMTPUTF8") })
	m.facts.QueueID = env.QueueID
	s.tls(env.TLS)
	s.login(env)
	from := mail.ParsePath(path)
	m.facts.MailFrom = fact.Is(from)
	if m.skip != "" {
		m.facts.SPF = fact.Skip[fact.SPF](m.skip)
		m.facts.ListFrom, m.facts.DNSBLFrom = fact.Skip[[]fact.ListHit](m.skip), fact.Skip[[]fact.ListHit](m.skip)
		return s.atMessage(ctx, mail.StageMail)
	}
	addr, helo := s.conn.info.Addr, s.conn.facts.Helo.Value
	m.spf = launch(m.ctx, "spf", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[fact.SPF] {
		return findSPF(ctx, m.resolver, addr, helo, from, false)
	})
	if !from.IsNull() {
		m.dnsFrom = s.zones(m.ctx, "dnsbl_mail_from", list.PointMailFrom, from.Domain)
	}
	if s.e.Lists != nil && !from.IsNull() {
		m.facts.ListFrom = fact.Is(s.e.Lists.Address(list.PointMailFrom, from))
	}
	return s.atMessage(ctx, mail.StageMail)
}

// login notes an authenticated client, and trusts it where that is wanted: for
// this message, since STARTTLS may end a login (RFC 3207, 4.2).
func (s *Session) login(env Envelope) {
	m := s.txn
	m.skip = s.conn.skip
	if env.AuthUser == "" {
		return
	}
	m.facts.AuthUser, m.facts.AuthType = fact.Is(env.AuthUser), env.AuthType
	if s.e.TrustLogin && s.conn.skip == "" {
		m.skip = "client is authenticated"
	}
}

// Rcpt asks for one recipient.
func (s *Session) Rcpt(ctx context.Context, path string) Answer {
	if s.txn == nil {
		return s.e.Failure() // RCPT without MAIL: the peer is no MTA
	}
	to := mail.ParsePath(path)
	r := fact.Rcpt{To: fact.Is(to)}
	if s.e.Lists != nil {
		r.ListTo = fact.Is(s.e.Lists.Address(list.PointRcpt, to))
	}
	return s.atRecipient(ctx, r)
}

// Header takes one field, value as in mail.Field.
func (s *Session) Header(name, value string) {
	m := s.txn
	if m == nil {
		return
	}
	m.fields++
	m.hbytes += len(name) + len(value) + 3
	m.bytes += int64(len(name) + len(value) + 3)
	switch {
	case m.over != "":
	case m.hbytes > s.e.HeaderBytes:
		m.over = "header_too_large"
	case len(m.header) >= s.e.HeaderFields:
		m.over = "too_many_fields"
	}
	if m.over == "" {
		m.header = append(m.header, mail.Field{Name: name, Value: value})
	} else if p := policed(name); p != "" {
		if m.late == nil {
			m.late = map[string]int{}
		}
		m.late[p]++
	}
}

// EndOfHeader judges the header block and starts what needs it.
func (s *Session) EndOfHeader(ctx context.Context, queueID string) Answer {
	m := s.txn
	if m == nil {
		return s.e.Failure()
	}
	if queueID != "" {
		m.facts.QueueID = queueID
	}
	s.readHeader()
	s.startAuthentication()
	a := s.atMessage(ctx, mail.StageHeader)
	s.startLinks()
	return a
}

// startAuthentication starts DKIM and ARC, whose keys are fetched while the body
// streams in, and the search for the DMARC policy.
func (s *Session) startAuthentication() {
	m := s.txn
	if m.skip != "" {
		m.facts.DKIM, m.facts.ARC = fact.Skip[[]fact.DKIM](m.skip), fact.Skip[fact.ARC](m.skip)
		m.facts.DMARC, m.facts.ListDKIM = fact.Skip[fact.DMARC](m.skip), fact.Skip[[]fact.ListHit](m.skip)
		m.facts.DNSBLHeader, m.facts.DNSBLDKIM = fact.Skip[[]fact.ListHit](m.skip), fact.Skip[[]fact.ListHit](m.skip)
		return
	}
	from := m.facts.From.Value.Domains
	m.dnsHead = s.zones(m.ctx, "dnsbl_header_from", list.PointHeaderFrom, from...)
	m.dmarc = dmarc.NewLookup(m.resolver)
	if m.over != "" {
		// Signatures cover fields from the bottom up, and the bottom is unknown.
		from = nil
		m.facts.DKIM = fact.Is([]fact.DKIM{{Result: "policy", Reason: overLimit}})
		m.facts.ARC = fact.Is(fact.ARC{Result: "fail", Reason: overLimit})
	} else {
		s.startSignatures(from)
	}
	m.policy = launch(m.ctx, "dmarc", s.e.CheckTimeout, func(ctx context.Context) fact.Fact[struct{}] {
		var all sync.WaitGroup
		for _, d := range from {
			all.Go(func() {
				// The check itself meets a panic again, and tells of it.
				_, _ = attempt("dmarc", func() fact.Fact[struct{}] {
					m.dmarc.Prefetch(ctx, d)
					return fact.Is(struct{}{})
				})
			})
		}
		all.Wait()
		return fact.Is(struct{}{})
	})
}

// startSignatures starts what streams with the body. Its keys have the time of
// one check, from now on; nothing else in it waits.
func (s *Session) startSignatures(from []string) {
	m := s.txn
	var ctx context.Context
	ctx, m.giveUp = context.WithTimeout(m.ctx, s.e.CheckTimeout)
	m.dkim = dkim.New(ctx, m.resolver, m.header, dkim.Options{From: from, MaxSignatures: s.e.DKIMMax, Now: s.e.Now()})
	if m.header.Count("ARC-Seal")+m.header.Count("ARC-Message-Signature")+m.header.Count("ARC-Authentication-Results") > 0 {
		m.arc = arc.New(ctx, m.resolver, m.header, arc.Options{Now: s.e.Now()})
	}
}

// Body takes a piece of the body; pieces may be split anywhere. It may wait for
// keys, until ctx ends.
func (s *Session) Body(ctx context.Context, chunk []byte) {
	m := s.txn
	if m == nil {
		return
	}
	m.bytes += int64(len(chunk))
	if m.giveUp != nil {
		defer context.AfterFunc(ctx, m.giveUp)()
	}
	// A write error means that the verification has ended: its finding says why.
	if m.dkim != nil {
		_, _ = m.dkim.Write(chunk)
	}
	if m.arc != nil {
		_, _ = m.arc.Write(chunk)
	}
	s.readLinks(chunk)
}

// EndOfMessage gives the verdict and the edits.
func (s *Session) EndOfMessage(ctx context.Context, queueID string) Plan {
	m := s.txn
	if m == nil {
		return Plan{Answer: s.e.Failure()}
	}
	if queueID != "" {
		m.facts.QueueID = queueID
	}
	m.facts.Size = fact.Is(m.bytes + 2) // the empty line counts
	s.settleAll(ctx)
	a := s.atMessage(ctx, mail.StageMessage)
	plan := s.plan(a)
	s.finish(true)
	return plan
}

// Abort makes the open message void.
func (s *Session) Abort() { s.finish(false) }

// Close ends the session and everything that it started.
func (s *Session) Close() {
	s.finish(false)
	s.conn.cancel()
}

// localpart and domain of names for lists: the client's names are those that the
// MTA verified and those that lead back to the address.
func clientNames(c *fact.Conn) []string {
	var names []string
	if c.Name.Known() {
		names = append(names, c.Name.Value)
	}
	if c.Iprev.Known() {
		for _, n := range c.Iprev.Value.Names {
			if !strings.EqualFold(n, c.Name.Value) {
				names = append(names, n)
			}
		}
	}
	return names
}

// verified gives the client's forward-confirmed name, "" where it has none.
func verified(c *fact.Conn) string {
	if c.Iprev.Known() && c.Iprev.Value.Result == "pass" && len(c.Iprev.Value.Names) > 0 {
		return c.Iprev.Value.Names[0]
	}
	return ""
}

// addrOf is the client's address, invalid where it is not known.
func addrOf(c *fact.Conn) netip.Addr {
	if c.IP.Known() {
		return c.IP.Value
	}
	return netip.Addr{}
}
