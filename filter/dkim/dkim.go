// Package dkim verifies DKIM signatures (RFC 6376, 8301, 8463, 8616) while the
// message streams by.
//
// The verifier of ordinary signatures is go-msgauth/dkim. This package stands
// guard before it: it reads the signature fields itself, refuses what is not
// worth computing, chooses which signatures are tried, fetches the keys, and
// hands the library one signature with the fields that it covers and a body in
// pieces that keep it fast. What the library cannot judge rightly goes to our
// own verifier in the package sig; library.go says which inputs and why.
//
// Time is linear in the size of the message and memory is constant, whatever
// the message holds. Not done: signing, l= (such signatures are never good),
// q= other than dns/txt.
package dkim

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// Result is the finding on one signature, in the words of RFC 8601, 2.7.1.
type Result string

// The results.
const (
	None      Result = "none"      // not signed
	Pass      Result = "pass"      // good
	Fail      Result = "fail"      // computed, and does not match
	Policy    Result = "policy"    // good or not, it is of a kind that is not accepted
	Neutral   Result = "neutral"   // cannot be read
	Temperror Result = "temperror" // the key could not be had now
	Permerror Result = "permerror" // breaks a rule, or has no key
)

// Finding is what was found on one signature. The texts come from the message
// where they name its tags, but Domain and Selector are valid names or empty.
type Finding struct {
	Result     Result
	Reason     string        // of every result but Pass, in our words
	Domain     string        // d=, canonical
	Identity   string        // i=, by default "@" and the domain
	Selector   string        // s=, canonical
	Algorithm  sig.Algorithm // "" where unknown
	KeyBits    int           // 0 where the key was not had
	Signature  string        // first eight characters of b= (RFC 6008)
	Testing    bool          // the key says t=y: on failure treat as unsigned
	BodyLength bool          // l= is there: covers part of the body only
}

// Options of a verification. The zero value is usable but for Now.
type Options struct {
	From          []string      // author domains, canonical: their signatures are tried first
	MaxSignatures int           // how many are looked at; 0 means 8
	Now           time.Time     // the time for t= and x=
	Skew          time.Duration // how far clocks may be apart; 0 means 5 minutes
}

func (o Options) withDefaults() Options {
	if o.MaxSignatures <= 0 {
		o.MaxSignatures = 8
	}
	if o.Skew == 0 {
		o.Skew = 5 * time.Minute
	}
	return o
}

// Verification is the work on one message. It is for one goroutine. Close or
// Abort must be called, whichever first ends it.
type Verification struct {
	ctx    context.Context
	cancel context.CancelFunc
	sigs   []*signature
	more   int // signatures beyond the limit
	index  *sig.Index
	header mail.Header
	bodies [2]*sig.Body // by sig.Canon; nil where nobody asks for it
	sums   [2][sha256.Size]byte
	feed   feed
	keys   bool // every key has come, and the library runs
	early  []byte
	done   bool
}

// maxEarly is how much of the body waits in memory for the keys. More must wait
// outside: Write blocks then.
const maxEarly = 64 << 10

// New starts verifying the signatures in h, which must not change until Close.
// Key lookups start at once, and end with ctx. It does not block.
func New(ctx context.Context, r dns.Resolver, h mail.Header, opt Options) *Verification {
	opt = opt.withDefaults()
	v := &Verification{header: h}
	v.sigs, v.more = choose(h, opt)
	if len(v.sigs) == 0 {
		return v
	}
	v.ctx, v.cancel = context.WithCancel(ctx)
	for _, s := range v.sigs {
		if s.settled() {
			continue
		}
		if v.index == nil {
			v.index = sig.NewIndex(h)
		}
		if c := s.msg.Body; v.bodies[c] == nil {
			v.bodies[c] = sig.NewBody(c)
		}
		s.lookup(v.ctx, r)
	}
	return v
}

// Write takes the next piece of the body, CRLF line ends, split anywhere. It
// does not keep it. It blocks for the keys only when 64 KiB are waiting for
// them, until the context's end at the latest. It never fails.
func (v *Verification) Write(chunk []byte) (int, error) {
	if v.done || v.index == nil || len(chunk) == 0 {
		return len(chunk), nil
	}
	for _, b := range v.bodies {
		if b != nil {
			b.Write(chunk)
		}
	}
	if !v.keys {
		if !v.arrived() && len(v.early)+len(chunk) <= maxEarly {
			v.early = append(v.early, chunk...)
			return len(chunk), nil
		}
		v.begin()
	}
	v.feed.write(chunk)
	return len(chunk), nil
}

// arrived tells whether every key is there, without waiting.
func (v *Verification) arrived() bool {
	all := true
	for _, s := range v.sigs {
		all = s.poll() && all
	}
	return all
}

// begin waits for the keys, sets the library to work, and gives it what has
// come of the body meanwhile.
func (v *Verification) begin() {
	v.keys = true
	for _, s := range v.sigs {
		s.await(v.ctx)
		if s.settled() {
			continue
		}
		s.picked = v.index.Pick(s.msg.Names, s.at)
		if s.ordinary(v.header) {
			v.feed.add(startLibrary(v.header, s))
		}
	}
	v.feed.write(v.early)
	v.early = nil
}

// Close ends the body and gives the findings: none for an unsigned message,
// else one for each signature that was looked at, those of author domains
// first, and one Policy finding without domain if there were more. It waits for
// keys until the context's end.
func (v *Verification) Close() []Finding {
	if v.done || len(v.sigs) == 0 {
		v.Abort()
		return nil
	}
	defer v.Abort()
	if v.index != nil {
		if !v.keys {
			v.begin()
		}
		v.feed.end()
		for c, b := range v.bodies {
			if b != nil {
				v.sums[c] = b.Sum()
			}
		}
	}
	out := make([]Finding, 0, len(v.sigs)+1)
	for _, s := range v.sigs {
		v.judge(s)
		out = append(out, s.finding)
	}
	if v.more > 0 {
		out = append(out, Finding{Result: Policy, Reason: "more signatures than are looked at"})
	}
	return out
}

// judge settles a signature whose key is known.
func (v *Verification) judge(s *signature) {
	if s.settled() {
		return
	}
	good, judged := v.feed.verdict(s)
	if judged && good {
		s.finding.Result = Pass
		return
	}
	err := s.msg.VerifyMessage(v.index, s.at, v.sums[s.msg.Body], s.key)
	switch {
	case judged && err == nil:
		// The two disagree: never the better of both.
		s.settle(Fail, "signature does not verify")
	case err != nil:
		s.trouble(err)
	default:
		s.finding.Result = Pass
	}
}

// Abort ends the verification without a result. It may be called at any time,
// also after Close.
func (v *Verification) Abort() {
	if v.done {
		return
	}
	v.done = true
	v.feed.stop()
	if v.cancel != nil {
		v.cancel()
	}
	v.early, v.bodies = nil, [2]*sig.Body{}
}

// resultOf maps the kinds of trouble to results.
func resultOf(err error) Result {
	switch {
	case errors.Is(err, sig.ErrTemporary):
		return Temperror
	case errors.Is(err, sig.ErrPolicy):
		return Policy
	case errors.Is(err, sig.ErrMismatch):
		return Fail
	case errors.Is(err, sig.ErrSyntax):
		return Neutral
	}
	return Permerror
}
