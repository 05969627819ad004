package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwicket/filter/fact"
	"mailwicket/filter/list"
)

// ErrNoAnswer is the kind of error when no zone could say anything.
var ErrNoAnswer = errors.New("no DNS list answered")

// reasonTime bounds the wait for the text to a hit.
const reasonTime = time.Second

// Client asks all IP zones for a client's address, in parallel. It blocks until
// each has answered, its time is over, or the context ends. What some zones
// fail to say takes no hit of the others away: they are told as Silent beside the
// hits, and the error, of kind ErrNoAnswer, comes only if none of them answered.
// Addresses that are no stranger's are
// not asked, and have no hits.
func (b *Book) Client(ctx context.Context, a netip.Addr) ([]fact.ListHit, error) {
	a = a.Unmap().WithZone("")
	if !Askable(a) {
		return nil, nil
	}
	return b.message(ctx, b.ip, func(z *zone) (label, subject string) { return reversed(a), a.String() })
}

// Domain asks the domain zones that are applied at p for a name, as Client does
// for addresses. Address literals and single labels are not asked.
func (b *Book) Domain(ctx context.Context, p list.Point, name string) ([]fact.ListHit, error) {
	a, domain := canonical(name)
	if a.IsValid() {
		return nil, nil
	}
	return b.message(ctx, b.at[p], func(z *zone) (label, subject string) {
		label = z.nameFor(domain)
		return label, label
	})
}

// Names gives the names that the domain zones applied at p are asked for on behalf of
// a name, each once: its registered domain, the name itself, or both. There is none
// for what is not asked.
func (b *Book) Names(p list.Point, name string) []string {
	a, domain := canonical(name)
	if a.IsValid() {
		return nil
	}
	var out []string
	for _, z := range b.at[p] {
		if n := z.nameFor(domain); n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// message asks zones on behalf of a message. An empty label is not asked.
func (b *Book) message(ctx context.Context, zones []*zone, form func(*zone) (label, subject string)) ([]fact.ListHit, error) {
	answers := make([]Answer, len(zones))
	var wg sync.WaitGroup
	for i, z := range zones {
		label, subject := form(z)
		switch why, ok := z.inService(); {
		case label == "":
			answers[i] = Answer{Outcome: Skipped}
		case !ok:
			answers[i] = Answer{Name: z.Name, Outcome: Out, Why: "out of service: " + why}
			b.count(z, answers[i])
		default:
			wg.Go(func() {
				answers[i] = b.ask(ctx, z, label, subject)
				b.count(z, answers[i])
				b.learn(ctx, z, answers[i])
			})
		}
	}
	wg.Wait()
	return sum(answers)
}

// sum gives the hits of all answers and the zones that are silent; the error says
// that there is no answer.
func sum(answers []Answer) ([]fact.ListHit, error) {
	var hits, silent []fact.ListHit
	var why []string
	answered := false
	for _, a := range answers {
		hits = append(hits, a.Hits...)
		answered = answered || a.Outcome.answered()
		if !a.Outcome.answered() && a.Outcome != Skipped {
			silent = append(silent, fact.ListHit{List: a.Name, Silent: a.Why})
			why = append(why, a.Name+": "+a.Why)
		}
	}
	if answered || len(silent) == 0 {
		return append(hits, silent...), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoAnswer, strings.Join(why, "; "))
}

// Answer is what one zone said about a value.
type Answer struct {
	Name    string         `json:"name"`
	Zone    string         `json:"zone"`
	Asked   string         `json:"asked,omitempty"` // address or name
	Outcome Outcome        `json:"outcome"`
	Codes   []string       `json:"codes,omitempty"` // as the zone gave them
	Hits    []fact.ListHit `json:"hits,omitempty"`
	Why     string         `json:"why,omitempty"` // of what is not an answer, or not one for messages
	Took    time.Duration  `json:"took,omitempty"`

	fault Fault // of what is refused
	kept  bool  // by the resolver: the zone was not asked
}

// ask asks one zone, and for its reason when there is a hit.
func (b *Book) ask(ctx context.Context, z *zone, label, subject string) Answer {
	a := Answer{Name: z.Name, Zone: z.Zone, Asked: subject}
	start := b.o.Now()
	addrs, kept, err := b.question(ctx, z, label)
	a.kept = kept
	for _, c := range addrs {
		a.Codes = append(a.Codes, c.String())
	}
	switch {
	case err != nil:
		a.Outcome, a.Why = Failed, z.failure(err)
	case refusal(addrs) != "":
		a.Outcome, a.Why, a.fault = Refused, refusal(addrs), refusalFault(addrs)
	case len(addrs) == 0:
		a.Outcome = Clean
	default:
		a.Outcome, a.Hits = Unknown, z.hits(addrs, subject)
	}
	if len(a.Hits) > 0 {
		a.Outcome = Listed
		addReason(a.Hits, b.reason(ctx, z, label))
	}
	a.Took = b.o.Now().Sub(start)
	return a
}

// hits gives one hit for each rule that names an answer.
func (z *zone) hits(addrs []netip.Addr, subject string) []fact.ListHit {
	var hits []fact.ListHit
	var seen []CodeRule
	for _, a := range addrs {
		for _, r := range named(z.Codes, a) {
			if slices.Contains(seen, r) {
				continue
			}
			seen = append(seen, r)
			hits = append(hits, fact.ListHit{List: z.Name, Subject: subject, Entry: a.String(), Source: z.Zone, Comment: r.Name, Weight: r.Weight})
		}
	}
	return hits
}

// reason asks for the text to a hit (RFC 5782, 2.1). It is a courtesy: it may
// fail, and it may not take long.
func (b *Book) reason(ctx context.Context, z *zone, label string) string {
	ctx, cancel := context.WithTimeout(ctx, min(reasonTime, b.o.Timeout))
	defer cancel()
	text, _, err := ask(ctx, b, z, label, "TXT", b.o.Resolver.LookupTXT, func(s string) string { return printable(s) })
	if err != nil {
		return ""
	}
	slices.Sort(text) // servers change the order
	return printable(z.plain(strings.Join(slices.Compact(text), "; ")))
}

func addReason(hits []fact.ListHit, reason string) {
	if reason == "" {
		return
	}
	for i := range hits {
		hits[i].Comment += ": " + reason
	}
}

// failure tells why a lookup failed. The error's own text has the name that was
// asked, and so the key.
func (z *zone) failure(err error) string {
	var de *net.DNSError
	if errors.As(err, &de) {
		return z.plain(de.Err)
	}
	return z.plain(err.Error())
}

// count tells an answer to a message's question.
func (b *Book) count(z *zone, a Answer) {
	c := &z.counts
	if a.Outcome != Out {
		c.lookups.Add(1)
	}
	switch a.Outcome {
	case Listed:
		c.hits.Add(1)
	case Unknown:
		c.unknown.Add(1)
		if c.told.CompareAndSwap(false, true) {
			b.o.Log.Info("dns list answered a code that has no name", "zone", z.Name, "codes", a.Codes, "asked", a.Asked)
		}
	case Refused, Failed:
		c.errors.Add(1)
	}
	if b.o.Observer.Lookup != nil {
		b.o.Observer.Lookup(z.Name, string(a.Outcome), a.Took)
	}
}

// Lookup asks all zones for a value, an address or a domain, whatever their
// health and points: it is for the administrator. It changes no counts and no
// health. The error is about the value.
func (b *Book) Lookup(ctx context.Context, value string) ([]Answer, error) {
	addr, domain := canonical(strings.TrimSpace(value))
	if !addr.IsValid() && !isDomain(domain) {
		return nil, fmt.Errorf("%q is neither an address nor a domain", value)
	}
	var out []*Answer
	var wg sync.WaitGroup
	for _, z := range b.zones {
		if addr.IsValid() != (z.Type == IP) {
			continue
		}
		a := &Answer{Name: z.Name, Zone: z.Zone, Outcome: Skipped}
		out = append(out, a)
		label, subject := z.nameFor(domain), z.nameFor(domain)
		if z.Type == IP {
			label, subject = reversed(addr), addr.String()
		}
		switch {
		case z.Type == IP && !Askable(addr):
			a.Why = "zones are not asked for private and reserved addresses"
		case label == "":
			a.Why = "a public suffix, or too long"
		default:
			wg.Go(func() {
				*a = b.ask(ctx, z, label, subject)
				if why, ok := z.inService(); !ok {
					a.Why = strings.TrimPrefix(a.Why+"; messages do not ask it: "+why, "; ")
				}
			})
		}
	}
	wg.Wait()
	answers := make([]Answer, len(out))
	for i, a := range out {
		answers[i] = *a
	}
	return answers, nil
}

// Score adds the weights of hits up: of each zone, that of the heaviest code. So
// a threshold above the weight of each zone wants two of them to agree. Hits of
// zones that the Book does not have count nothing.
func (b *Book) Score(hits []fact.ListHit) float64 {
	score := 0.0
	for _, z := range b.zones {
		heaviest := 0.0
		for _, h := range hits {
			a, err := netip.ParseAddr(h.Entry)
			if h.List != z.Name || err != nil {
				continue
			}
			for _, r := range named(z.Codes, a) {
				if abs(r.Weight) > abs(heaviest) {
					heaviest = r.Weight
				}
			}
		}
		score += heaviest
	}
	return score
}

func abs(f float64) float64 { return max(f, -f) }
