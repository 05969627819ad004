// Package arc validates chains of the Authenticated Received Chain (RFC 8617)
// while the message streams by: structure, every seal, the newest message
// signature, and back to which instance the message is unchanged.
//
// It says whether a chain holds, and nothing about what that is worth: anyone
// may seal. Relied is the pure rule by which trust comes in. Sealing is not
// done.
package arc

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// Result is the chain validation status (RFC 8617, 4.4).
type Result string

// The results. Every error is Fail, a silent name server included (RFC 8617,
// 5.2.1); Finding.Temporary tells that one apart.
const (
	None Result = "none" // no ARC fields
	Pass Result = "pass"
	Fail Result = "fail" // to be treated as if there were no chain
)

// MaxInstances is how many sets a chain may have (RFC 8617, 4.2.1).
const MaxInstances = 50

// Finding is what was found on the chain of a message.
type Finding struct {
	Result    Result
	Reason    string // of Fail, in our words
	Temporary bool   // a key could not be had now: the chain may pass on another try
	Instances int    // number of sets, as far as the structure holds
	Oldest    int    // of Pass: the lowest instance whose message signature still holds; 0 when all do

	// Of Pass, in the order of instances: element 0 belongs to i=1. Of a Temporary
	// Fail they are what the sets claim, which nothing has proved.
	Sealers   []string // d= of the seals, canonical
	Selectors []string // s= of the seals
	Results   []AAR    // what each sealer says that it found
}

// AAR is one ARC-Authentication-Results field.
type AAR struct {
	Instance int
	Payload  string // what follows "i=N;", raw: a body of Authentication-Results
}

// Options of a validation.
type Options struct {
	MaxSets int           // longer chains fail without cryptography; 0 means 10
	Now     time.Time     // the time for t= and x= of the newest message signature
	Skew    time.Duration // how far clocks may be apart; 0 means 5 minutes
}

func (o Options) withDefaults() Options {
	if o.MaxSets <= 0 || o.MaxSets > MaxInstances {
		o.MaxSets = 10
	}
	if o.Skew == 0 {
		o.Skew = 5 * time.Minute
	}
	return o
}

// Verification is the work on one message. It is for one goroutine. Close or
// Abort must be called, whichever first ends it.
type Verification struct {
	ctx     context.Context
	cancel  context.CancelFunc
	header  mail.Header
	index   *sig.Index
	sets    []set // element 0 is i=1
	keys    map[string]*lookup
	bodies  [2]*sig.Body // by sig.Canon; nil where nobody asks for it
	finding Finding      // its Result is set as soon as it is certain
	done    bool
}

// New starts validating the chain in h, which must not change until Close. Key
// lookups start at once, one for each name and at most two for each set, and end
// with ctx. It does not block.
func New(ctx context.Context, r dns.Resolver, h mail.Header, opt Options) *Verification {
	opt = opt.withDefaults()
	v := &Verification{header: h}
	sets, err := collect(h)
	v.sets, v.finding.Instances = sets, len(sets)
	switch {
	case err != nil:
		v.fail(err)
	case len(sets) == 0:
		v.finding.Result = None
	case len(sets) > opt.MaxSets:
		v.fail(fmt.Errorf("%d sets, at most %d are validated", len(sets), opt.MaxSets))
	default:
		if err := newest(sets, opt); err != nil {
			v.fail(err)
		}
	}
	if v.finding.Result == "" {
		v.start(ctx, r)
	}
	return v
}

// start prepares the hashes and asks for the keys.
func (v *Verification) start(ctx context.Context, r sig.TXTResolver) {
	v.ctx, v.cancel = context.WithCancel(ctx)
	v.index = sig.NewIndex(v.header)
	v.keys = make(map[string]*lookup)
	for i := range v.sets {
		s := &v.sets[i]
		v.ask(r, s.seal)
		if s.msgErr != nil {
			continue
		}
		v.ask(r, s.msg)
		if c := s.msg.Body; v.bodies[c] == nil {
			v.bodies[c] = sig.NewBody(c)
		}
	}
}

// Write takes the next piece of the body, CRLF line ends, split anywhere. It
// does not keep it, and neither blocks nor fails.
func (v *Verification) Write(chunk []byte) (int, error) {
	if !v.done {
		for _, b := range v.bodies {
			if b != nil {
				b.Write(chunk)
			}
		}
	}
	return len(chunk), nil
}

// Close ends the body and gives the finding. It waits for keys until the
// context's end. After Abort the finding is Fail.
func (v *Verification) Close() Finding {
	if v.done {
		return Finding{Result: Fail, Reason: "validation was given up", Temporary: true}
	}
	defer v.Abort()
	if v.finding.Result == "" {
		v.validate()
	}
	return v.finding
}

// Abort ends the validation without a result. It may be called at any time.
func (v *Verification) Abort() {
	v.done = true
	if v.cancel != nil {
		v.cancel()
	}
	v.bodies = [2]*sig.Body{}
}

func (v *Verification) fail(err error) {
	v.finding.Result, v.finding.Reason = Fail, err.Error()
	v.finding.Temporary = isTemporary(err)
	if v.finding.Temporary {
		v.name()
	}
}

// name writes down what the sets say of themselves.
func (v *Verification) name() {
	for i := range v.sets {
		s := &v.sets[i]
		v.finding.Sealers = append(v.finding.Sealers, s.seal.Domain)
		v.finding.Selectors = append(v.finding.Selectors, s.seal.Selector)
		v.finding.Results = append(v.finding.Results, AAR{Instance: i + 1, Payload: s.payload})
	}
}

// validate is RFC 8617, 5.2, steps 4 to 7; the others were done in New.
func (v *Verification) validate() {
	var sums [2][sha256.Size]byte
	for c, b := range v.bodies {
		if b != nil {
			sums[c] = b.Sum()
		}
	}
	n := len(v.sets)
	// Step 4: the newest message signature must hold.
	open := v.message(n, sums)
	if open != nil {
		open = fmt.Errorf("message signature %d: %w", n, open)
	}
	// Step 6: every seal must hold. Where a key could not be had now, they may
	// still show that the chain never will.
	if open == nil || isTemporary(open) {
		if k, err := v.seals(); err != nil && (open == nil || !isTemporary(err)) {
			open = fmt.Errorf("seal %d: %w", k, err)
		}
	}
	if open != nil {
		v.fail(open)
		return
	}
	// Step 5 is told in a property only: how far back the message is unchanged.
	for k := n - 1; k >= 1; k-- {
		if v.message(k, sums) != nil {
			v.finding.Oldest = k + 1
			break
		}
	}
	v.finding.Result = Pass // step 7
	v.name()
}

// message checks the message signature of instance k.
func (v *Verification) message(k int, sums [2][sha256.Size]byte) error {
	s := &v.sets[k-1]
	if s.msgErr != nil {
		return s.msgErr
	}
	key, err := v.key(s.msg)
	if err != nil {
		return err
	}
	return s.msg.VerifyMessage(v.index, s.at[ams], sums[s.msg.Body], key)
}

// seals checks all seals, and tells one that does not hold: where a key could not be
// had now, others may still show that the chain never will. The seal of
// instance k covers the sets 1 to k, each as results, message signature and
// seal, in relaxed form, its own b= emptied and without the last line end
// (RFC 8617, 5.1.1).
func (v *Verification) seals() (int, error) {
	var buf []byte
	waits, open := 0, error(nil)
	for i := range v.sets {
		s := &v.sets[i]
		for _, at := range []int{s.at[aar], s.at[ams]} {
			buf = sig.AppendField(buf, v.header[at].Name, v.header[at].Value, sig.Relaxed)
		}
		before := len(buf)
		blank := s.seal.Blank()
		buf = sig.AppendField(buf, blank.Name, blank.Value, sig.Relaxed)
		digest := sha256.Sum256(buf[:len(buf)-2])
		key, err := v.key(s.seal)
		if err == nil {
			err = key.Verify(digest[:], s.seal.Value)
		}
		switch {
		case err == nil:
		case !isTemporary(err):
			return i + 1, err
		case open == nil:
			waits, open = i+1, err
		}
		full := v.header[s.at[as]]
		buf = sig.AppendField(buf[:before], full.Name, full.Value, sig.Relaxed)
	}
	return waits, open
}

// Relied applies trust to a chain: it gives the results that may be believed,
// those of the oldest instance from which on every sealer is trusted. It is not
// ok unless the chain passed and its newest seal is a trusted one: an untrusted
// sealer in between could have written anything into the sets before it.
// Trusted names are canonical, and stand for themselves, not for subdomains.
//
// What the payload says must still be held against the message at hand, such as
// its From domain (RFC 8617, 7.2.1).
func Relied(f Finding, trusted []string) (payload string, instance int, sealer string, ok bool) {
	if f.Result != Pass {
		return "", 0, "", false
	}
	return oldestTrusted(f, trusted)
}

// Pending is Relied for a chain that failed only because a key could not be had
// now: it gives what may be believed should the chain pass on another try. It
// proves nothing, so it is good for waiting and for nothing else.
func Pending(f Finding, trusted []string) (payload string, instance int, sealer string, ok bool) {
	if f.Result != Fail || !f.Temporary {
		return "", 0, "", false
	}
	return oldestTrusted(f, trusted)
}

// oldestTrusted finds the oldest set from which on every sealer is trusted.
func oldestTrusted(f Finding, trusted []string) (payload string, instance int, sealer string, ok bool) {
	if len(f.Sealers) == 0 || len(f.Results) != len(f.Sealers) {
		return "", 0, "", false
	}
	k := len(f.Sealers)
	for k > 0 && contains(trusted, f.Sealers[k-1]) {
		k--
	}
	if k == len(f.Sealers) {
		return "", 0, "", false
	}
	return f.Results[k].Payload, f.Results[k].Instance, f.Sealers[k], true
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n != "" && n == name {
			return true
		}
	}
	return false
}
