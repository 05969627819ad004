package filter

import (
	"cmp"
	"slices"
	"strings"

	"mailwicket/filter/authres"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// Our own header fields: those that come with a message are not ours.
const (
	actionField = "X-Mailwicket-Action"
	tagField    = "X-Mailwicket-Tags"
	traceField  = "X-Mailwicket-Trace"
)

// plan turns the answer at the end of message into header edits.
func (s *Session) plan(a Answer) Plan {
	m := s.txn
	p := Plan{Answer: a}
	if a.Verdict == policy.Reject || a.Verdict == policy.Tempfail || a.Verdict == policy.Discard {
		return p
	}
	// RFC 8601, 5: what comes directly from inside is kept; it may be the work of
	// our own border.
	inside := s.conn.skip != "" && !m.facts.AuthUser.Known()
	p.Delete = s.forged(inside)
	if !inside {
		p.Insert = append(p.Insert, s.results()...)
	}
	m.removed = p.Delete
	s.marks(&p)
	return p
}

// ownFields are those that only we may write.
var ownFields = [...]string{actionField, tagField, traceField}

// policed gives the usual spelling of a field name that is not taken on trust,
// "" for all others. MTAs pass over blanks before the colon.
func policed(name string) string {
	name = mail.FoldName(name) // of ASCII alone, as MTAs count
	for _, p := range append(ownFields[:], authres.FieldName) {
		if name == mail.FoldName(p) {
			return p
		}
	}
	return ""
}

// forged lists the fields to delete. Those beyond the limits of the header block
// were not read, so they all go (RFC 8601, 5 allows it). From inside, only our
// own fields go.
func (s *Session) forged(inside bool) []Deletion {
	m := s.txn
	var ds []Deletion
	for name, n := range m.late {
		if inside && name == authres.FieldName {
			continue
		}
		seen := 0
		for _, f := range m.header {
			if policed(f.Name) == name {
				seen++
			}
		}
		for i := seen + n; i > seen; i-- {
			ds = append(ds, Deletion{Name: name, Index: i})
		}
	}
	for _, r := range authres.Forged(m.header, s.authservID(), ownFields[:]...) {
		if !inside || r.Why == authres.WhyOwn {
			ds = append(ds, Deletion{Name: r.Name, Index: r.Index})
		}
	}
	slices.SortStableFunc(ds, func(a, b Deletion) int {
		return cmp.Or(strings.Compare(mail.FoldName(a.Name), mail.FoldName(b.Name)), b.Index-a.Index)
	})
	return ds
}

// marks adds what the rules wanted to say.
func (s *Session) marks(p *Plan) {
	m := s.txn
	var tags []string
	for _, d := range m.decided {
		if d.Verdict == policy.Tempfail || d.Verdict == policy.Reject {
			continue // of a recipient that does not get the message
		}
		for _, t := range d.Tags {
			if !slices.Contains(tags, t) {
				tags = append(tags, t)
			}
		}
		for _, h := range d.Headers {
			p.Insert = append(p.Insert, Insertion{Name: h.Name, Value: oneLine(h.Value)})
		}
	}
	switch p.Verdict {
	case policy.Quarantine:
		// SPEC 3.4: a tag by default, so that the delivery agent files it.
		p.Insert = append(p.Insert, Insertion{Name: actionField, Value: "quarantine; rule=" + oneLine(m.rule)})
	case policy.Hold:
		p.Hold = oneLine(m.rule + ": " + m.reason + " (ref " + m.ref + ")")
	}
	if len(tags) > 0 {
		p.Insert = append(p.Insert, Insertion{Name: tagField, Value: oneLine(strings.Join(tags, ", "))})
	}
	if s.e.TraceHeader {
		p.Insert = append(p.Insert, Insertion{Name: traceField, Value: "ref=" + m.ref})
	}
}

// authservID is stable for the administrative domain (RFC 8601, 2.5).
func (s *Session) authservID() string {
	for _, id := range []string{s.e.AuthservID, s.conn.info.MTAName} {
		if id != "" {
			return id
		}
	}
	return "mailwicket.invalid"
}

// results writes the Authentication-Results field.
func (s *Session) results() []Insertion {
	m := s.txn
	h := authres.Header{AuthservID: s.authservID()}
	if u := m.facts.AuthUser; u.Known() {
		h.Results = append(h.Results, authres.Result{Method: "auth", Value: "pass",
			Props: []authres.Prop{{Type: "smtp", Property: "auth", Value: u.Value}}})
	}
	if m.skip == "" {
		h.Results = append(h.Results, iprevResult(&s.conn.facts), spfResult(m.facts.SPF, &m.facts, &s.conn.facts))
		h.Results = append(h.Results, dkimResults(m.facts.DKIM)...)
		h.Results = append(h.Results, arcResults(m.facts.ARC)...)
		h.Results = append(h.Results, dmarcResult(m.facts.DMARC, m.facts.From.Value))
	}
	out := []Insertion{{Name: authres.FieldName, Value: s.charset(authres.Format(h))}}
	if s.e.ReceivedSPF && m.facts.SPF.Known() {
		f, from := m.facts.SPF.Value, m.facts.MailFrom.Value
		identity, sender := "mailfrom", from.String()
		if from.IsNull() {
			identity, sender = "helo", "" // RFC 7208, 2.4
		}
		out = append(out, Insertion{Name: "Received-SPF", Value: s.charset(authres.ReceivedSPF(authres.SPF{
			Result: f.Result, Comment: f.Reason, ClientIP: addrOf(&s.conn.facts), Helo: s.conn.facts.Helo.Value,
			EnvelopeFrom: sender, Identity: identity, Receiver: s.authservID()}))})
	}
	return out
}

// charset keeps fields in ASCII where the envelope does not ask for more (RFC
// 6531, 3.4): who relays the message may not be able to take them.
func (s *Session) charset(value string) string {
	if s.txn.utf8 {
		return value
	}
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, value)
}

func iprevResult(c *fact.Conn) authres.Result {
	r := authres.Result{Method: "iprev", Value: "temperror", Comment: c.Iprev.Why}
	if c.Iprev.Known() {
		r.Value, r.Comment = c.Iprev.Value.Result, c.Iprev.Value.Reason
		if n := verified(c); n != "" {
			r.Comment = n
		}
	}
	if a := addrOf(c); a.IsValid() {
		r.Props = []authres.Prop{{Type: "policy", Property: "iprev", Value: a.String()}}
	}
	return r
}

func spfResult(f fact.Fact[fact.SPF], t *fact.Txn, c *fact.Conn) authres.Result {
	r := authres.Result{Method: "spf", Value: "temperror", Comment: f.Why}
	if f.Known() {
		r.Value, r.Comment = f.Value.Result, f.Value.Reason
	}
	p := authres.Prop{Type: "smtp", Property: "mailfrom", Value: t.MailFrom.Value.String()}
	if t.MailFrom.Value.IsNull() {
		// RFC 7208, 2.4: the checked identity is postmaster@HELO.
		p = authres.Prop{Type: "smtp", Property: "helo", Value: c.Helo.Value}
	}
	r.Props = []authres.Prop{p}
	return r
}

func dkimResults(f fact.Fact[[]fact.DKIM]) []authres.Result {
	if !f.Known() {
		return []authres.Result{{Method: "dkim", Value: "temperror", Comment: f.Why}}
	}
	if len(f.Value) == 0 {
		return []authres.Result{{Method: "dkim", Value: "none"}}
	}
	var out []authres.Result
	for _, d := range f.Value {
		r := authres.Result{Method: "dkim", Value: d.Result, Comment: d.Reason}
		for _, p := range []authres.Prop{{Type: "header", Property: "d", Value: d.Domain},
			{Type: "header", Property: "i", Value: d.Identity}, {Type: "header", Property: "s", Value: d.Selector},
			{Type: "header", Property: "a", Value: d.Algorithm}, {Type: "header", Property: "b", Value: d.Signature}} {
			if p.Value != "" {
				r.Props = append(r.Props, p)
			}
		}
		out = append(out, r)
	}
	return out
}

func arcResults(f fact.Fact[fact.ARC]) []authres.Result {
	if !f.Known() {
		return nil
	}
	return []authres.Result{{Method: "arc", Value: f.Value.Result, Comment: f.Value.Reason}}
}

func dmarcResult(f fact.Fact[fact.DMARC], from fact.From) authres.Result {
	r := authres.Result{Method: "dmarc", Value: "temperror", Comment: f.Why}
	domain := ""
	if len(from.Domains) > 0 {
		domain = from.Domains[0]
	}
	if f.Known() {
		r.Value, r.Comment = f.Value.Result, f.Value.Reason
		if f.Value.Override != "" {
			r.Comment = "policy not applied: " + f.Value.Override
		}
		if f.Value.Domain != "" {
			domain = f.Value.Domain
		}
	}
	if domain != "" {
		r.Props = append(r.Props, authres.Prop{Type: "header", Property: "from", Value: domain})
	}
	if f.Known() && f.Value.Policy != "" {
		r.Props = append(r.Props, authres.Prop{Type: "policy", Property: "dmarc", Value: f.Value.Policy})
	}
	return r
}

// oneLine makes text fit for a header field of ours.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = s[:300]
	}
	return strings.TrimSpace(s)
}
