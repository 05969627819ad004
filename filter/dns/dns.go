// Package dns declares the resolver that all checks ask, and the kinds of
// failure that they tell apart. The client is in dns/client, the zone-file fake
// in dns/dnstest.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Resolver answers the questions that mail checks ask. Names are canonical
// (lower case, A-labels, with or without the trailing dot). Methods block until
// an answer, the context's end, or the resolver's own timeout; they are safe
// for concurrent use. Slices returned belong to the caller.
//
// Every error is a *net.DNSError and nothing around it: the SPF and DKIM
// libraries look at the concrete type. Use Kind to classify it.
type Resolver interface {
	// LookupTXT gives the TXT records, each with its strings joined
	// (RFC 7208, 3.3), as raw bytes.
	LookupTXT(ctx context.Context, name string) ([]string, error)
	// LookupMX gives the MX records sorted by preference.
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	// LookupA and LookupAAAA give the addresses of one family.
	LookupA(ctx context.Context, name string) ([]netip.Addr, error)
	LookupAAAA(ctx context.Context, name string) ([]netip.Addr, error)
	// LookupPTR gives the names of an address, without trailing dots.
	LookupPTR(ctx context.Context, addr netip.Addr) ([]string, error)
}

// Failure is the kind of an answer that is not data.
type Failure uint8

// The kinds. NXDomain and NoData are answers; Temporary may differ on the next
// try; Permanent will not (a name that cannot exist, a malformed reply).
const (
	None Failure = iota
	NXDomain
	NoData
	Temporary
	Permanent
)

// The text of net.DNSError.Err by which the two kinds of "nothing" differ: the
// libraries force the concrete error type, so there is no sentinel to wrap.
const (
	TextNXDomain = "no such domain"
	TextNoData   = "no record of that type"
)

// Kind classifies an error of a Resolver. A context error counts as Temporary.
func Kind(err error) Failure {
	if err == nil {
		return None
	}
	var de *net.DNSError
	if !errors.As(err, &de) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return Temporary
		}
		return Permanent
	}
	switch {
	case de.IsNotFound && de.Err == TextNoData:
		return NoData
	case de.IsNotFound:
		return NXDomain
	case de.IsTimeout || de.IsTemporary:
		return Temporary
	}
	return Permanent
}

// IsNotFound tells whether the answer was that there is nothing: no such name,
// or no record of that type.
func IsNotFound(err error) bool {
	k := Kind(err)
	return k == NXDomain || k == NoData
}

// Answer is one lookup as it is told in traces.
type Answer struct {
	Name   string        `json:"name"`
	Type   string        `json:"type"`
	Result string        `json:"result"`           // "ok", or the failure in words
	Data   []string      `json:"data,omitempty"`   // the records, shortened
	TTL    time.Duration `json:"ttl,omitempty"`    // remaining lifetime
	Server string        `json:"server,omitempty"` // who said it
	Cached bool          `json:"cached,omitempty"`
	Took   time.Duration `json:"took,omitempty"`
}

// Trail collects the answers given while it is in the context, at most
// MaxTrail of them. It is safe for concurrent use.
type Trail struct {
	mu      sync.Mutex
	answers []Answer
	dropped int
}

// MaxTrail bounds a trail, so that a message cannot make it grow for ever.
const MaxTrail = 200

type trailKey struct{}

// WithTrail gives a context whose lookups are recorded in t.
func WithTrail(ctx context.Context, t *Trail) context.Context {
	return context.WithValue(ctx, trailKey{}, t)
}

// Record adds an answer to the context's trail, if it has one. Resolvers call
// it once for each lookup.
func Record(ctx context.Context, a Answer) {
	t, _ := ctx.Value(trailKey{}).(*Trail)
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.answers) >= MaxTrail {
		t.dropped++
		return
	}
	t.answers = append(t.answers, a)
}

// Recording tells whether the context has a trail, so that resolvers need not
// build an Answer for nobody.
func Recording(ctx context.Context) bool {
	t, _ := ctx.Value(trailKey{}).(*Trail)
	return t != nil
}

type freshKey struct{}

// Fresh gives a context whose lookups go past the answers that this process keeps:
// for questions that are asked to see whether somebody still answers.
func Fresh(ctx context.Context) context.Context {
	return context.WithValue(ctx, freshKey{}, true)
}

// IsFresh tells whether the context is one of Fresh.
func IsFresh(ctx context.Context) bool { return ctx.Value(freshKey{}) != nil }

// Answers gives a copy of what was recorded and how many did not fit.
func (t *Trail) Answers() ([]Answer, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Answer(nil), t.answers...), t.dropped
}
