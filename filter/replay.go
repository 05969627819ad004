package filter

import (
	"slices"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// Replayed is how a recorded message would be judged under another policy.
type Replayed struct {
	Verdict policy.Verdict
	Rule    string
	Asked   int          // decisions made
	Apart   int          // recipients who would be asked for in another message
	Rcpts   []RcptChange // those who would have another answer at RCPT

	// Lacking names what the policy asked for and the record does not hold:
	// "content" of a message that was refused before it was sent, "links" of one
	// whose body nobody read, "greylist" where the store was not asked, or "check "
	// and the name of one that nobody made. The verdict then is the one so far. Of
	// "hidden", what redaction hid, it may be any.
	Lacking []string
}

// RcptChange is an answer at RCPT and what it would be: Tempfail, Reject, or
// Continue where the recipient is taken.
type RcptChange struct {
	Old, New policy.Verdict
	Rule     string // of New, or "" where no rule refuses
}

// Unsure tells that the verdict may be any: what decides was hidden.
func (r *Replayed) Unsure() bool { return slices.Contains(r.Lacking, hidden) }

const hidden = "hidden"

// Replay judges a record's facts under a policy, stage by stage, as a Session
// would. It is pure: under the policy that made the record it gives the record's
// verdict.
func Replay(p *policy.Policy, r *Record) Replayed {
	j := replay{p: p, set: fact.Set{Now: r.Facts.Now, Conn: r.Facts.Conn}, redacted: r.Redacted}
	if r.Early != nil {
		j.set.Conn = *r.Early
	}
	for _, stage := range []mail.Stage{mail.StageConnect, mail.StageHelo} {
		if d := j.decide(stage); refusal(d.Verdict) || d.Verdict == policy.Accept {
			j.settle(d)
			return j.out
		}
	}
	if !r.Facts.Txn.MailFrom.Known() {
		return j.lacks("content")
	}
	j.set.Conn, j.set.Txn = r.Facts.Conn, r.Facts.Txn
	j.set.Txn.Greylist = fact.Fact[fact.Greylist]{} // asked for at the end of the header
	if d := j.decide(mail.StageMail); d.Verdict != policy.Continue {
		j.settle(d)
		return j.out
	}
	if !j.recipients(r) {
		return j.out
	}
	return j.content(r)
}

type replay struct {
	p        *policy.Policy
	set      fact.Set
	out      Replayed
	redacted bool
}

func refusal(v policy.Verdict) bool { return v == policy.Tempfail || v == policy.Reject }

func (j *replay) decide(stage mail.Stage) policy.Decision {
	j.set.Stage = stage
	j.out.Asked++
	if j.redacted && j.p.Undecided(&j.set) {
		j.lacks(hidden)
	}
	for _, check := range j.p.Checks(stage) {
		if unmade(check, &j.set) && j.p.Hangs(check, &j.set) {
			j.lacks("check " + check)
		}
	}
	d := j.p.Decide(&j.set)
	if d.Greylist {
		j.lacks("greylist")
	}
	return d
}

func (j *replay) settle(d policy.Decision) { j.out.Verdict, j.out.Rule = d.Verdict, d.Rule }

func (j *replay) lacks(what string) Replayed {
	if !slices.Contains(j.out.Lacking, what) {
		j.out.Lacking = append(j.out.Lacking, what)
	}
	return j.out
}

// recipients judges each recipient, and tells whether the message goes on.
func (j *replay) recipients(r *Record) bool {
	var spared policy.Decision
	exempts := 0
	t := &j.set.Txn
	t.Rcpts, t.First, t.Unlike, t.Apart = nil, fact.Rcpt{}, nil, 0
	for _, rcpt := range rcpts(r) {
		j.set.Rcpt = rcpt.Rcpt
		d := j.decide(mail.StageRcpt)
		j.compare(rcpt.was, d)
		switch d.Verdict {
		case policy.Tempfail, policy.Reject:
			if len(t.Rcpts) == 0 {
				j.settle(d)
			}
			decline(t, d)
			continue
		case policy.Discard:
			j.settle(d)
			return false
		case policy.Accept:
			exempts, spared = exempts+1, d
		}
		if refusal(j.out.Verdict) {
			j.out.Verdict, j.out.Rule = policy.Continue, ""
		}
		admit(t, rcpt.Rcpt, d)
	}
	j.set.Rcpt, j.out.Apart = fact.Rcpt{}, t.Apart
	if len(t.Rcpts) > 0 && exempts == len(t.Rcpts) {
		if r.Facts.Txn.From.State != fact.Absent { // it is exempt from the header on
			j.settle(spared)
		}
		return false
	}
	return len(t.Rcpts) > 0
}

// compare notes a recipient whose answer would be another.
func (j *replay) compare(was policy.Verdict, d policy.Decision) {
	c := RcptChange{Old: was, New: policy.Continue}
	if refusal(d.Verdict) {
		c.New, c.Rule = d.Verdict, d.Rule
	}
	if c.New != c.Old {
		j.out.Rcpts = append(j.out.Rcpts, c)
	}
}

// answered is a recipient with the answer at RCPT.
type answered struct {
	fact.Rcpt
	was policy.Verdict // Tempfail, Reject, else Continue
}

// rcpts gives the facts of the recipients. Those that no rule was asked about,
// since the message was exempt, have their address alone.
func rcpts(r *Record) []answered {
	var out []answered
	for i := range r.Decisions {
		d := &r.Decisions[i]
		if d.Recipient == "" {
			continue
		}
		a := answered{d.Rcpt, policy.Continue}
		if refusal(d.Verdict) {
			a.was = d.Verdict
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		for _, a := range r.Facts.Txn.Rcpts {
			out = append(out, answered{fact.Rcpt{To: fact.Is(a)}, policy.Continue})
		}
	}
	return out
}

// content judges what was sent after DATA.
func (j *replay) content(r *Record) Replayed {
	if r.Facts.Txn.From.State == fact.Absent {
		return j.unsent(r)
	}
	j.set.Txn.Greylist = r.Facts.Txn.Greylist
	for _, stage := range []mail.Stage{mail.StageHeader, mail.StageMessage} {
		if stage == mail.StageMessage && !r.Facts.Txn.Size.Known() {
			return j.unsent(r)
		}
		if stage == mail.StageMessage && j.lacksLinks() {
			j.lacks("links")
		}
		d := j.decide(stage)
		if d.Verdict != policy.Continue {
			j.settle(d)
		}
		if d.Verdict == policy.Discard || refusal(d.Verdict) || d.Verdict == policy.Accept {
			break
		}
	}
	return j.out
}

// unsent ends where the record does. Who was refused might have sent more; who was
// not has left by himself.
func (j *replay) unsent(r *Record) Replayed {
	if r.Verdict == policy.Discard || refusal(r.Verdict) || len(j.out.Rcpts) > 0 {
		return j.lacks("content")
	}
	return j.out
}

// unmade tells whether a check could have been made, and was not.
func unmade(check string, s *fact.Set) bool {
	c, t := &s.Conn, &s.Txn
	name := c.HeloIs.Value == "ok"
	none := func(f fact.Fact[[]fact.ListHit]) bool { return f.State == fact.Absent }
	switch check {
	case "iprev":
		return c.Iprev.State == fact.Absent && c.IP.Known()
	case "dnsbl":
		return none(c.DNSBL) && c.IP.Known()
	case "dnsbl_name":
		return none(c.DNSBLName) && c.IP.Known()
	case "dnsbl_helo":
		return none(c.DNSBLHelo) && name
	case "helo_dns":
		return c.HeloDNS.State == fact.Absent && name
	case "spf_helo":
		return c.SPFHelo.State == fact.Absent && c.Helo.Known()
	case "spf":
		return t.SPF.State == fact.Absent && t.MailFrom.Known()
	case "dnsbl_mail_from":
		return none(t.DNSBLFrom) && t.MailFrom.Known() && !t.MailFrom.Value.IsNull()
	case "dnsbl_header_from":
		return none(t.DNSBLHeader) && t.From.Known()
	case "dnsbl_dkim":
		return none(t.DNSBLDKIM) && t.DKIM.Known()
	case "rates":
		return s.Rcpt.To.Known() && s.Rcpt.Rates.State == fact.Absent
	}
	return false
}

// lacksLinks tells whether a rule may want to know what nobody looked for.
func (j *replay) lacksLinks() bool {
	return j.set.Txn.Content.State == fact.Absent && slices.ContainsFunc([]string{"content", "list_links", "dnsbl_links"},
		func(check string) bool { return j.p.MayMatch(mail.StageMessage, check, &j.set) })
}
