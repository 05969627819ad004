package filter

import (
	"context"
	"slices"
	"time"

	"mailwicket/filter/content"
	"mailwicket/filter/fact"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
)

// maxAsked is how many names of links DNS lists are asked for in one message. It
// keeps a message from causing hundreds of questions.
const maxAsked = 20

// linkSearch reads one message's body. DNS lists are asked for hosts as soon as they
// are found, while the rest of the body comes.
type linkSearch struct {
	walker *content.Walker
	broken string // why it came to nothing
	took   time.Duration

	zones bool            // DNS lists are asked
	told  int             // hosts that have been dealt with
	seen  map[string]bool // names that DNS lists have been asked for, or would have been
	asks  []*future[[]fact.ListHit]
	left  int // names that they were not asked for
}

// startLinks starts to read the body, where a rule may want to know what is in it.
// A trusted client's mail is no exception: what it sends out is looked at as well.
func (s *Session) startLinks() {
	m := s.txn
	if m == nil || s.exempt().rule != "" {
		return
	}
	set := s.facts(mail.StageHeader, nil, s.e.Now())
	may := func(check string) bool { return s.e.Policy.MayMatch(mail.StageMessage, check, &set) }
	zones := s.e.DNSBL != nil && may("dnsbl_links")
	switch {
	case !zones && !may("content") && !may("list_links"):
		if m.skip != "" {
			spareContent(&m.facts, m.skip)
		}
	case s.e.NoLinks:
		spareContent(&m.facts, "content.links is false")
	default:
		m.links = &linkSearch{walker: content.New(m.header), zones: zones, seen: map[string]bool{}}
	}
}

// spareContent says why the body was not read.
func spareContent(f *fact.Txn, why string) {
	f.Content, f.LinksLeft = fact.Skip[fact.Content](why), fact.Skip[int](why)
	f.ListLinks, f.DNSBLLinks = fact.Skip[[]fact.ListHit](why), fact.Skip[[]fact.ListHit](why)
}

// readLinks takes a piece of the body.
func (s *Session) readLinks(chunk []byte) {
	l := s.txn.links
	if l == nil || l.broken != "" {
		return
	}
	f, run := attempt("content", func() fact.Fact[struct{}] {
		l.walker.Write(chunk)
		s.askLinks(l.walker.Hosts())
		return fact.Is(struct{}{})
	})
	l.took += run.Took
	if f.State == fact.Failed {
		l.broken = f.Why
	}
}

// settleContent ends the search.
func (s *Session) settleContent() {
	m := s.txn
	l := m.links
	if l == nil {
		return
	}
	f, run := attempt("content", func() fact.Fact[fact.Content] {
		if l.broken != "" {
			return fact.Fail[fact.Content](l.broken)
		}
		found := l.walker.Close()
		s.askLinks(found.Hosts)
		return fact.Is(fact.Content{Hosts: found.Hosts, Addrs: found.Addrs, Defects: found.Defects, Over: found.Over})
	})
	m.facts.Content = f
	run.Took += l.took
	s.ran(run, "")
}

// settleListLinks looks the hosts up. Of several hosts below one entry the first is
// told.
func (s *Session) settleListLinks() {
	m := s.txn
	if s.e.Lists == nil {
		return
	}
	m.facts.ListLinks = fact.Map(m.facts.Content, func(c fact.Content) []fact.ListHit {
		var hits []fact.ListHit
		for _, host := range c.Hosts {
			for _, h := range s.e.Lists.Domain(list.PointLinks, host) {
				if !slices.ContainsFunc(hits, func(o fact.ListHit) bool { return o.List == h.List && o.Entry == h.Entry }) {
					hits = append(hits, h)
				}
			}
		}
		return hits
	})
}

// askLinks asks DNS lists for the hosts that are new, each name once.
func (s *Session) askLinks(hosts []string) {
	l := s.txn.links
	if !l.zones {
		return
	}
	for _, host := range hosts[min(l.told, len(hosts)):] {
		l.told++
		names := slices.DeleteFunc(s.e.DNSBL.Names(list.PointLinks, host), func(name string) bool { return l.seen[name] })
		if len(names) == 0 {
			continue
		}
		for _, name := range names {
			l.seen[name] = true
		}
		if len(l.asks) >= maxAsked {
			l.left++
			continue
		}
		l.asks = append(l.asks, s.zones(s.txn.ctx, "dnsbl_links", list.PointLinks, host))
	}
}

// settleZoneLinks waits for what DNS lists say. Hits are told also where another
// name had no answer.
func (s *Session) settleZoneLinks(ctx context.Context) {
	m := s.txn
	l := m.links
	switch {
	case l == nil || !l.zones:
		return
	case !m.facts.Content.Known():
		m.facts.DNSBLLinks = fact.Map(m.facts.Content, func(fact.Content) []fact.ListHit { return nil })
		return
	}
	m.facts.LinksLeft = fact.Is(l.left)
	all := CheckRun{Name: "dnsbl_links", State: fact.Known}
	var hits []fact.ListHit
	for _, ask := range l.asks {
		f, run := ask.wait(ctx)
		hits = appendHits(hits, f.Value)
		if f.State == fact.Failed {
			all.State, all.Why = fact.Failed, f.Why
		}
		all.Took = max(all.Took, run.Took)
	}
	m.facts.DNSBLLinks = fact.Is(hits)
	if len(hits) == 0 && all.State == fact.Failed {
		m.facts.DNSBLLinks = fact.Fail[[]fact.ListHit](all.Why)
	}
	all = partly(all, hits)
	s.ran(all, resultWord(m.facts.DNSBLLinks))
}

// appendHits adds those that are not there yet: a zone of names may have said the
// same of two hosts.
func appendHits(hits, more []fact.ListHit) []fact.ListHit {
	for _, h := range more {
		if !slices.Contains(hits, h) {
			hits = append(hits, h)
		}
	}
	return hits
}
