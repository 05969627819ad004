// Package dmarc finds out whether the author's domain of a message is
// authenticated, and what the domain's owner wants done if not (RFC 9989).
//
// The DNS is asked by Lookup. What was found is judged by pure functions:
// ParseRecord reads a record, org and policy choose among those of a tree walk,
// evaluate compares domains. The organizational domain can also be taken from
// the public suffix list, as RFC 7489 did. Left out: the tags pct, rf and ri,
// which are gone; reports and the check of their destinations.
package dmarc

import (
	"strings"

	"mailwicket/filter/mail"
)

// Result is the finding on a message, in the words of RFC 9989, 9.1.
type Result string

// The results. TempError and PermError say that the DNS did not answer a needed
// question, so that the message neither passes nor fails (RFC 9989, 5.3.6).
// PermError also is the result of an author domain that is no domain name.
const (
	None      Result = "none"
	Pass      Result = "pass"
	Fail      Result = "fail"
	TempError Result = "temperror"
	PermError Result = "permerror"
)

// Policy is what a domain's owner asks to be done with mail that fails.
type Policy string

// The policies. Unknown is no policy at all: there is none, or it could not be
// found out.
const (
	PolicyUnknown    Policy = ""
	PolicyNone       Policy = "none"
	PolicyQuarantine Policy = "quarantine"
	PolicyReject     Policy = "reject"
)

// strictness orders the policies.
func (p Policy) strictness() int {
	switch p {
	case PolicyReject:
		return 2
	case PolicyQuarantine:
		return 1
	}
	return 0
}

// Method is how organizational domains are found.
type Method uint8

// The methods. The zero value is what RFC 9989 asks for.
const (
	TreeWalk Method = iota
	PSL
)

// String gives the word that aggregate reports use (RFC 9990).
func (m Method) String() string {
	if m == PSL {
		return "psl"
	}
	return "treewalk"
}

// Identifier is a domain that SPF or DKIM looked at. Result "pass" makes it
// authenticated and "temperror" leaves that open; every other word says no. One
// with temperror and no Domain may be anybody's.
type Identifier struct {
	Domain string
	Result string
}

// MaxFrom bounds the author domains of a message (RFC 9989, 11.5).
const MaxFrom = 5

// Input is what is known of a message. Domains need not be canonical. From are
// the distinct author domains; SPF is the identity of MAIL FROM, DKIM the d= of
// each signature.
type Input struct {
	From   []string
	SPF    Identifier
	DKIM   []Identifier
	Method Method
}

// Finding is what DMARC says of a message. Of several author domains it is the
// one that decided.
type Finding struct {
	Result Result
	Policy Policy // as it applies here, after t=, sp= and np=; also of a pass
	Domain string // Author Domain, canonical where it is a domain name

	RecordDomain string // where the record was found, without "_dmarc."
	Record       Record // means something only if RecordDomain is not empty

	// Org is the organizational domain of Domain. It is empty where it is not
	// known, and where nothing depended on it and it was not looked for.
	Org string
	// Differs tells that a record was found and the public suffix list has
	// another domain than Org. Never with the method PSL.
	Differs bool

	Aligned     []string // "spf=example.com", "dkim=mail.example.com"
	Testing     bool     // t=y
	NonExistent bool     // Domain is not in the DNS; asked only where the record is from above it
	Reason      string   // for the mail administrator
}

// weight orders findings from harmless to bad. A failure that asks for action
// weighs more than a doubt, and a doubt more than a failure without one.
func (f Finding) weight() int {
	switch f.Result {
	case Fail:
		if n := f.Policy.strictness(); n > 0 {
			return 4 + n
		}
		return 2
	case TempError:
		return 4
	case PermError:
		return 3
	case None:
		return 1
	}
	return 0
}

// strictest gives the finding that decides for a message with several author
// domains: a pass only if all pass, else the worst (RFC 9989, 11.5).
func strictest(fs []Finding) Finding {
	worst := fs[0]
	for _, f := range fs[1:] {
		w, m := f.weight(), worst.weight()
		if w > m || w == m && f.Policy.strictness() > worst.Policy.strictness() {
			worst = f
		}
	}
	if len(fs) > 1 {
		worst.Reason = worst.Domain + " of several author domains: " + worst.Reason
	}
	return worst
}

// domainName gives the canonical form of a domain, and whether it is one that
// mail can have: address literals are none.
func domainName(s string) (string, bool) {
	name := mail.CanonicalDomain(s)
	return name, mail.ValidDomain(name) && !strings.ContainsAny(name, "[]")
}
