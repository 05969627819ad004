package greylist_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"mailwicket/filter/iprev"
	"mailwicket/filter/mail"
	"mailwicket/greylist"
)

// filter is a greylist under trial: it tells whether it lets a contact in.
type filter interface{ let(c contact) bool }

// mailwicket is the real thing: Identify, NormalizeSender and Decide, with
// maps in place of the store.
type mailwicket struct {
	p          greylist.Params
	all        bool // scope: all
	triplets   map[string]greylist.Record
	identities map[greylist.Identity]greylist.Record
}

func newMailwicket(all bool) filter {
	return &mailwicket{greylist.DefaultParams(), all, map[string]greylist.Record{}, map[greylist.Identity]greylist.Record{}}
}

func (m *mailwicket) let(c contact) bool {
	dynamic := c.host != "" && iprev.Dynamic(c.host, c.ip)
	if suspicious := c.host == "" || dynamic || c.spf == ""; !suspicious && !m.all {
		return true // the rules of scope: suspicious do not ask
	}
	in := greylist.IdentityInput{IP: c.ip, HostName: c.host, Dynamic: dynamic, SPFPassDomain: c.spf}
	id := greylist.Identify(in)
	key := id.String() + " " + greylist.NormalizeSender(c.from) + " " + c.to.String()
	out, next := greylist.Decide(c.at, m.p, in.Doubtful(), greylist.Pair{Triplet: m.triplets[key], Identity: m.identities[id]})
	m.triplets[key], m.identities[id] = next.Triplet, next.Identity
	return out.Status != greylist.Defer
}

// postgrey 1.37 as shipped: 300 s, two days, 35 days; networks of /24 unless the
// client's name shows its last two octets; a client passes after five passes, one
// counted an hour. Its list of clients that are let through knows the freemailer
// and the cloud mailer of our world.
type postgrey struct {
	seen    map[string][2]time.Time // first and last contact
	clients map[netip.Addr]*postgreyClient
}

type postgreyClient struct {
	count int
	last  time.Time
}

func newPostgrey() filter {
	return &postgrey{map[string][2]time.Time{}, map[netip.Addr]*postgreyClient{}}
}

const postgreyDelay, postgreyWindow, postgreyAge = 300 * time.Second, 2 * day, 35 * day

var digits = regexp.MustCompile(`\b\d+\b`)

func (g *postgrey) let(c contact) bool {
	if strings.HasSuffix(c.host, ".gmail-like.example") || strings.HasSuffix(c.host, ".amazon-like.example") {
		return true
	}
	client := g.clients[c.ip]
	if client != nil && c.at.Sub(client.last) > postgreyAge {
		client = nil
	}
	if client != nil && client.count >= 5 {
		if c.at.Sub(client.last) >= time.Hour {
			client.last = c.at
		}
		return true
	}
	local, _, _ := strings.Cut(c.from.Local, "+")
	key := fmt.Sprint(postgreyNet(c), " ", digits.ReplaceAllString(local, "#"), "@", c.from.Domain, " ", c.to)
	s, known := g.seen[key]
	first, before := s[0], known && s[1].Sub(s[0]) >= postgreyDelay
	switch {
	case !known, c.at.Sub(s[1]) > postgreyAge, !before && c.at.Sub(first) > postgreyWindow:
		first, before = c.at, false
	}
	g.seen[key] = [2]time.Time{first, c.at}
	if c.at.Sub(first) < postgreyDelay {
		return false
	}
	if !before && (client == nil || c.at.Sub(client.last) >= time.Hour) {
		if client == nil {
			client = &postgreyClient{}
			g.clients[c.ip] = client
		}
		client.count, client.last = client.count+1, c.at
	}
	return true
}

func postgreyNet(c contact) string {
	a := c.ip.As4()
	if strings.Contains(c.host, fmt.Sprint(a[2])) && strings.Contains(c.host, fmt.Sprint(a[3])) {
		return c.ip.String()
	}
	return network(c.ip, 24)
}

func network(a netip.Addr, bits int) string {
	p, err := a.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p.String()
}

// milterGreylist 4.6 with its built-in settings, greylisting all: 30 min, five
// days, a passed triplet is known for a day after its last mail, the address
// alone counts, and what passes SPF is let through.
type milterGreylist struct{ pending, white map[string]time.Time }

func newMilterGreylist() filter {
	return &milterGreylist{map[string]time.Time{}, map[string]time.Time{}}
}

func (g *milterGreylist) let(c contact) bool {
	if c.spf != "" {
		return true
	}
	local, _, _ := strings.Cut(c.from.Local, "=")
	key := fmt.Sprint(c.ip, " ", local, "@", c.from.Domain, " ", c.to)
	if last, ok := g.white[key]; ok && c.at.Sub(last) < day {
		g.white[key] = c.at
		return true
	}
	first, ok := g.pending[key]
	switch {
	case !ok || c.at.Sub(first) > 5*day:
		g.pending[key] = c.at
		return false
	case c.at.Sub(first) < 30*time.Minute:
		return false
	}
	delete(g.pending, key)
	g.white[key] = c.at
	return true
}

// rspamd's module as shipped: what scores four points or more waits 300 s, by the
// body or by sender, recipients and network (/19); either key is known for a day
// after its last mail.
type rspamd struct{ keys map[any]rspamdKey }

type rspamdKey struct{ set, until time.Time }

type rspamdMeta struct {
	from, to mail.Address
	net      string
}

func newRspamd() filter { return &rspamd{map[any]rspamdKey{}} }

func (g *rspamd) let(c contact) bool {
	if !c.scored {
		return true
	}
	body, meta := any(c.body), any(rspamdMeta{c.from, c.to, network(c.ip, 19)})
	known := false
	for _, k := range []any{body, meta} {
		r, ok := g.keys[k]
		if !ok || c.at.After(r.until) {
			continue
		}
		known = true
		if c.at.Sub(r.set) >= 300*time.Second {
			g.renew(body, c.at)
			g.renew(meta, c.at)
			return true
		}
	}
	if !known {
		g.keys[body] = rspamdKey{c.at, c.at.Add(day)}
		g.keys[meta] = rspamdKey{c.at, c.at.Add(day)}
	}
	return false
}

func (g *rspamd) renew(k any, now time.Time) {
	if r, ok := g.keys[k]; ok && !now.After(r.until) {
		g.keys[k] = rspamdKey{r.set, now.Add(day)}
	}
}
