package dmarc

import (
	"fmt"
	"strings"

	"mailwicket/filter/mail"
)

// mechanism is what authenticated an identifier.
type mechanism string

const (
	bySPF  mechanism = "spf"
	byDKIM mechanism = "dkim"
)

// identifier is an Identifier that may count: authenticated, or in doubt.
type identifier struct {
	by     mechanism
	domain string // canonical; "" where in doubt and not known
	doubt  bool
	org    string // where it was looked for
	failed failure
}

func (id identifier) String() string { return string(id.by) + "=" + id.domain }

// identifiers gives those of a message that may count, each once. What is no
// domain name counts for nothing.
func (in Input) identifiers() []identifier {
	var out []identifier
	seen := map[identifier]bool{}
	add := func(by mechanism, i Identifier) {
		id := identifier{by: by, doubt: i.Result == "temperror"}
		if !id.doubt && i.Result != "pass" {
			return
		}
		var ok bool
		id.domain, ok = domainName(i.Domain)
		if !ok && (i.Domain != "" || !id.doubt) {
			return
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	add(bySPF, in.SPF)
	for _, i := range in.DKIM {
		add(byDKIM, i)
	}
	return out
}

// evidence is all that was found out for one Author Domain.
type evidence struct {
	domain string

	policy  level   // the level whose record applies, if found
	failure failure // of the search for it
	notes   string  // what did not count in it

	org       string // "" where not sought or not found
	orgFailed failure
	differs   bool

	missing       bool // the domain does not exist
	missingFailed failure

	ids []identifier
}

// evaluate judges what was found (RFC 9989, 5.3).
func evaluate(e evidence) Finding {
	f := Finding{Domain: e.domain, Org: e.org, Differs: e.differs, NonExistent: e.missing}
	switch {
	case e.failure.failed():
		f.Result, f.Reason = e.failure.result, e.failure.why
		return f
	case !e.policy.found:
		f.Result, f.Reason = None, "there is no DMARC record for "+e.domain
		if e.notes != "" {
			f.Reason += ": " + e.notes
		}
		return f
	}
	r := e.policy.record
	f.RecordDomain, f.Record, f.Testing = e.policy.name, r, r.Testing
	if !r.usable() {
		f.Result = None
		f.Reason = fmt.Sprintf("the DMARC record of %s does not apply: %s= is not valid and there is no valid rua=", e.policy.name, r.Bad)
		return f
	}
	var unclear failure
	f.Policy, unclear = e.applied()
	f.Aligned = e.aligned()
	if len(f.Aligned) > 0 {
		f.Result, f.Reason = Pass, strings.Join(f.Aligned, ", ")+" in alignment with "+e.domain
		return f
	}
	if unclear = e.doubt().worse(unclear); unclear.failed() {
		f.Result, f.Reason = unclear.result, unclear.why
		return f
	}
	f.Result, f.Reason = Fail, e.blame()
	return f
}

// applied gives the policy for the domain. It is not known where it depends on
// whether the domain exists and that could not be found out.
func (e evidence) applied() (Policy, failure) {
	r := e.policy.record
	if e.policy.name == e.domain {
		return r.own(), failure{}
	}
	if e.missingFailed.failed() && r.below(true) != r.below(false) {
		return PolicyUnknown, e.missingFailed
	}
	return r.below(!e.missing), failure{}
}

// aligned names the authenticated identifiers in alignment.
func (e evidence) aligned() []string {
	var out []string
	for _, id := range e.ids {
		if !id.doubt && e.align(id) == yes {
			out = append(out, id.String())
		}
	}
	return out
}

// doubt tells what, if it were known, might be in alignment.
func (e evidence) doubt() failure {
	var out failure
	for _, id := range e.ids {
		switch a := e.align(id); {
		case a == no:
		case id.doubt:
			out = out.worse(failure{TempError, strings.TrimSuffix(id.String(), "=") + " could not be checked for now"})
		case a == unsure:
			out = out.worse(id.failed.worse(e.orgFailed))
		}
	}
	return out
}

// answer is a truth that may be out of reach.
type answer uint8

const (
	no answer = iota
	unsure
	yes
)

// align tells whether an identifier is in alignment (RFC 9989, 4.4 and 4.10.2).
func (e evidence) align(id identifier) answer {
	switch {
	case id.domain == "":
		return unsure
	case id.domain == e.domain:
		return yes
	case !mayAlign(e.domain, e.policy.record, id):
		return no
	case e.orgFailed.failed():
		return unsure
	case !mail.IsUnder(id.domain, e.org):
		return no // an organizational domain is the name itself or above it
	case id.failed.failed():
		return unsure
	case id.org == e.org:
		return yes
	}
	return no
}

// mayAlign tells whether it depends on organizational domains if an identifier
// is in alignment: not where both names are equal, not where they must be, and
// not where nothing can be above both.
func mayAlign(domain string, r Record, id identifier) bool {
	return id.domain != "" && id.domain != domain && !r.strict(id.by) &&
		lastLabels(id.domain, 1) == lastLabels(domain, 1)
}

// blame says why nothing is in alignment.
func (e evidence) blame() string {
	const shown = 3
	var passed []string
	for _, id := range e.ids {
		if !id.doubt {
			passed = append(passed, id.String())
		}
	}
	switch n := len(passed); {
	case n == 0:
		return "neither SPF nor DKIM passed for any domain"
	case n > shown:
		passed = append(passed[:shown], fmt.Sprintf("%d more", n-shown))
	}
	return fmt.Sprintf("passed for %s, not in alignment with %s", strings.Join(passed, ", "), e.domain)
}
