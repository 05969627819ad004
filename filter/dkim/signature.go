package dkim

import (
	"context"
	"slices"
	"strings"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/mail"
)

const fieldName = "dkim-signature"

// signature is one DKIM-Signature on its way to a finding.
type signature struct {
	at      int // position in the header
	rank    int // 0 first
	msg     *sig.Signature
	idHost  string // the domain of i=
	finding Finding
	pending chan keyAnswer // nil when nothing is asked
	key     *sig.Key
	picked  []int // positions of the signed fields
	lib     *library
}

type keyAnswer struct {
	key *sig.Key
	err error
}

func (s *signature) settled() bool { return s.finding.Result != "" }

func (s *signature) settle(r Result, why string) { s.finding.Result, s.finding.Reason = r, why }

func (s *signature) trouble(err error) { s.settle(resultOf(err), err.Error()) }

// choose reads the signature fields of h and gives at most opt.MaxSignatures
// of them, the most useful first, and how many more there are. RFC 6376, 6.1
// leaves the order to us and lets us stop.
func choose(h mail.Header, opt Options) ([]*signature, int) {
	size := 0
	var at []int
	for i := range h {
		size += len(h[i].Name) + len(h[i].Value) + 3
		if mail.FoldName(h[i].Name) == fieldName {
			at = append(at, i)
		}
	}
	tooBig := size > sig.MaxHeader || len(h) > sig.MaxFields
	var all []*signature
	for _, i := range at {
		s := &signature{at: i}
		if tooBig {
			if len(all) < opt.MaxSignatures {
				s.settle(Policy, "header is too large")
				all = append(all, s)
			}
			continue
		}
		s.read(h[i], opt)
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b *signature) int { return a.rank - b.rank })
	n := min(len(all), opt.MaxSignatures)
	return all[:n], len(at) - n
}

// read takes one field to the point where the key is needed.
func (s *signature) read(f mail.Field, opt Options) {
	m, err := sig.ParseMessage(f)
	s.msg = m
	s.finding = Finding{Domain: m.Domain, Selector: m.Selector, Algorithm: m.Algorithm,
		Signature: m.Prefix, BodyLength: m.Partial}
	if m.Domain != "" {
		s.finding.Identity = "@" + m.Domain
	}
	s.rank = rank(m.Domain, opt.From)
	if m.Tags != nil {
		if v, _ := m.Tags.Get("v"); v != "1" {
			s.settle(Permerror, "v= is not 1") // RFC 6376, 3.5
		}
	}
	if !s.settled() && err == nil {
		err = s.readIdentity()
	}
	if !s.settled() && err == nil {
		err = m.InTime(opt.Now, opt.Skew)
	}
	if !s.settled() && err != nil {
		s.trouble(err)
	}
	if s.settled() {
		s.rank += 10 // after all that can still pass
	}
}

// rank prefers the author's domains, then their relatives: those are the
// signatures that DMARC may align.
func rank(d string, from []string) int {
	r := 2
	for _, f := range from {
		switch {
		case d == f && d != "":
			return 0
		case d != "" && f != "" && (mail.IsUnder(d, f) || mail.IsUnder(f, d)):
			r = 1
		}
	}
	return r
}

// errIdentity is told when i= lies outside d=.
const errIdentity = "i= is not under d="

// readIdentity reads i=: its domain must be d= or below it, letter case aside
// (RFC 6376, 3.5 and 6.1.1).
func (s *signature) readIdentity() error {
	s.idHost = s.msg.Domain
	id, ok := s.msg.Tags.Get("i")
	if !ok {
		return nil
	}
	id = sig.StripFWS(id)
	i := strings.LastIndexByte(id, '@')
	host := sig.Host(id[i+1:])
	if i < 0 || host == "" || !mail.IsUnder(host, s.msg.Domain) {
		s.settle(Permerror, errIdentity)
		return nil
	}
	s.idHost, s.finding.Identity = host, id[:i+1]+host
	return nil
}

// lookup starts asking for the key.
func (s *signature) lookup(ctx context.Context, r sig.TXTResolver) {
	answer := make(chan keyAnswer, 1)
	s.pending = answer
	domain, selector, alg := s.msg.Domain, s.msg.Selector, s.msg.Algorithm
	go func() {
		k, err := sig.Lookup(ctx, r, domain, selector, alg)
		answer <- keyAnswer{k, err}
	}()
}

// poll takes the answer if it has come, and tells whether none is awaited.
func (s *signature) poll() bool {
	if s.pending == nil {
		return true
	}
	select {
	case a := <-s.pending:
		s.take(a)
		return true
	default:
		return false
	}
}

// await takes the answer when it comes, or gives up with the context.
func (s *signature) await(ctx context.Context) {
	if s.poll() {
		return
	}
	select {
	case a := <-s.pending:
		s.take(a)
	case <-ctx.Done():
		s.pending = nil
		s.settle(Temperror, "no answer for the key in time")
	}
}

func (s *signature) take(a keyAnswer) {
	s.pending, s.key = nil, a.key
	if a.key != nil {
		s.finding.KeyBits, s.finding.Testing = a.key.Bits, a.key.Testing
	}
	switch {
	case a.err != nil:
		s.trouble(a.err)
	case a.key.Strict && s.idHost != s.msg.Domain:
		// RFC 6376, 3.6.1: t=s forbids subdomains in i=.
		s.settle(Permerror, "the key demands i= to be at d=")
	}
}
