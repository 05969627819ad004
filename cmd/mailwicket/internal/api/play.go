package api

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/greylist"
	"mailwicket/policy"
)

// askLimit is for what the DNS says of one client.
const askLimit = 5 * time.Second

// onlooker keeps the facts of the one message that it sees.
type onlooker struct{ record *filter.Record }

func (o *onlooker) Message(r *filter.Record)                      { o.record = r }
func (*onlooker) Check(string, fact.State, string, time.Duration) {}

// answering is a greylist that gives a prepared answer, and keeps the question.
type answering struct {
	give func(context.Context, greylist.Request) (greylist.Outcome, error)
	got  *greylist.Request
}

func (g *answering) Check(ctx context.Context, r greylist.Request) (greylist.Outcome, error) {
	g.got = &r
	return g.give(ctx, r)
}

// envelope is a mail of which only the envelope is known.
type envelope struct {
	ip             netip.Addr
	helo, from, to string
}

// play shows an envelope to the engine in force, with another greylist and, if
// it is not nil, another policy. Nothing is counted or written.
func (a *Answerer) play(ctx context.Context, e envelope, p *policy.Policy, g *answering) (filter.Answer, *filter.Record) {
	look := &onlooker{}
	c := a.InForce().Engine
	c.Greylist, c.Observer, c.Rates, c.Replays, c.Defers = g, look, nil, nil, filter.NewDefers()
	if p != nil {
		c.Policy, c.Trusted, c.Lists, c.DNSBL = p, nil, nil, nil // who the client is hangs on none of them
	}
	sess := filter.NewEngine(c).Open(ctx)
	ans := talk(ctx, sess, e)
	sess.Close()
	return ans, look.record
}

// talk says an envelope up to the stage where its greylisting is decided.
func talk(ctx context.Context, s *filter.Session, e envelope) filter.Answer {
	over := func(a filter.Answer) bool { return a.Verdict >= policy.Discard }
	a := s.Connect(ctx, mail.Conn{Addr: e.ip})
	if over(a) {
		return a
	}
	if a = s.Helo(ctx, e.helo, mail.TLS{}); over(a) {
		return a
	}
	if a = s.Mail(ctx, e.from, filter.Envelope{}); over(a) {
		return a
	}
	if a = s.Rcpt(ctx, e.to); over(a) || !mail.ParsePath(e.from).IsNull() {
		return a
	}
	// A bounce's author is the mailer itself (RFC 3464, 2).
	host := strings.Trim(e.helo, "[]")
	if host != e.helo {
		host = "localhost"
	}
	s.Header("From", " MAILER-DAEMON@"+host)
	s.Header("To", " "+mail.ParsePath(e.to).String())
	s.Header("Date", " "+time.Now().Format(time.RFC1123Z))
	return s.EndOfHeader(ctx, "")
}

// alwaysAsk is a policy that asks the greylist about every recipient.
func alwaysAsk() (*policy.Policy, error) {
	p, problems := policy.Compile([]policy.Rule{{Name: "greylist", Stage: mail.StageRcpt, Do: policy.Action{Greylist: true}}})
	if len(problems) > 0 {
		return nil, fmt.Errorf("the greylist's own rule: %s", problems[0])
	}
	return p, nil
}

func parseEnvelope(q url.Values) (envelope, error) {
	e := envelope{helo: q.Get("helo"), from: q.Get("from"), to: q.Get("rcpt")}
	var err error
	if e.ip, err = netip.ParseAddr(q.Get("ip")); err != nil {
		return e, fmt.Errorf("--ip %q is no IP address; %s", q.Get("ip"), "want what=IDENTITY or KEY, or ip, from and rcpt")
	}
	if e.from == "" || e.to == "" {
		return e, fmt.Errorf("want the envelope: from (\"<>\" for the null sender) and rcpt")
	}
	if e.helo == "" {
		e.helo = literal(e.ip)
	}
	return e, nil
}

// literal is the HELO of a client that has no name (RFC 5321, 4.1.3).
func literal(ip netip.Addr) string {
	if ip.Unmap().Is4() {
		return "[" + ip.Unmap().String() + "]"
	}
	return "[IPv6:" + ip.WithZone("").String() + "]"
}
