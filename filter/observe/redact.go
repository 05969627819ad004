package observe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// Redactor gives a function that copies a record with hashes in place of what
// tells people apart: local parts of addresses, login names, Subject and
// Message-ID, also where texts quote them. Domains, networks and results stay, so
// that decisions can still be explained and judged again. Equal values get equal
// hashes under one secret.
func Redactor(secret []byte) func(*filter.Record) *filter.Record {
	return func(r *filter.Record) *filter.Record {
		d := redaction{secret: secret, seen: map[string]string{}}
		out := *r
		out.Facts = d.set(r.Facts)
		out.Decisions = slices.Clone(r.Decisions)
		for i := range out.Decisions {
			out.Decisions[i].Rcpt = d.rcpt(out.Decisions[i].Rcpt)
			out.Decisions[i].Recipient = d.address(out.Decisions[i].Recipient)
		}
		d.quotes(&out)
		return &out
	}
}

type redaction struct {
	secret []byte
	seen   map[string]string // what was replaced, and by what
}

// hash gives a short name for a value.
func (d *redaction) hash(s string) string {
	if s == "" {
		return ""
	}
	h := hmac.New(sha256.New, d.secret)
	h.Write([]byte(s))
	out := "h" + hex.EncodeToString(h.Sum(nil)[:6])
	d.seen[s] = out
	return out
}

func (d *redaction) address(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	out := d.hash(strings.ToLower(s[:i])) + s[i:]
	d.seen[s] = out
	return out
}

func (d *redaction) mailbox(a mail.Address) mail.Address {
	if a.IsNull() {
		return a
	}
	local := d.hash(strings.ToLower(a.Local))
	out := mail.Address{Local: local, Domain: a.Domain}
	out.Raw = out.String()
	d.seen[a.String()], d.seen[a.Raw] = out.String(), out.Raw
	return out
}

func (d *redaction) set(s fact.Set) fact.Set {
	t := &s.Txn
	t.MailFrom = fact.Map(t.MailFrom, d.mailbox)
	t.AuthUser = fact.Map(t.AuthUser, d.hash)
	t.Subject = fact.Map(t.Subject, d.hash)
	t.MessageID = fact.Map(t.MessageID, d.hash)
	t.From = fact.Map(t.From, func(f fact.From) fact.From {
		f.Addresses = slices.Clone(f.Addresses)
		for i, a := range f.Addresses {
			f.Addresses[i] = d.address(a)
		}
		f.Detail = ""
		return f
	})
	t.DKIM = fact.Map(t.DKIM, func(sigs []fact.DKIM) []fact.DKIM {
		sigs = slices.Clone(sigs)
		for i := range sigs {
			sigs[i].Identity = d.address(sigs[i].Identity)
		}
		return sigs
	})
	t.Rcpts = slices.Clone(t.Rcpts)
	for i, a := range t.Rcpts {
		t.Rcpts[i] = d.mailbox(a)
	}
	s.Rcpt = d.rcpt(s.Rcpt)
	t.ListFrom, t.ListHeader = d.hits(t.ListFrom), d.hits(t.ListHeader)
	return s
}

func (d *redaction) rcpt(r fact.Rcpt) fact.Rcpt {
	r.To = fact.Map(r.To, d.mailbox)
	r.ListTo = d.hits(r.ListTo)
	return r
}

func (d *redaction) hits(f fact.Fact[[]fact.ListHit]) fact.Fact[[]fact.ListHit] {
	return fact.Map(f, func(hits []fact.ListHit) []fact.ListHit {
		hits = slices.Clone(hits)
		for i := range hits {
			hits[i].Subject, hits[i].Entry = d.address(hits[i].Subject), d.address(hits[i].Entry)
		}
		return hits
	})
}

// quotes replaces in texts what was replaced in facts; the longest first, so that
// an address is not cut in two.
func (d *redaction) quotes(r *filter.Record) {
	var olds []string
	for s := range d.seen {
		if len(s) >= 3 {
			olds = append(olds, s)
		}
	}
	slices.SortFunc(olds, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	for _, s := range olds {
		pairs = append(pairs, s, d.seen[s])
	}
	clean := strings.NewReplacer(pairs...).Replace
	r.Reason = clean(r.Reason)
	for i := range r.Decisions {
		x := &r.Decisions[i]
		x.Reason, x.Decision.Reply.Text, x.Reply = clean(x.Reason), clean(x.Decision.Reply.Text), clean(x.Reply)
		x.Would = slices.Clone(x.Would)
		for j := range x.Would {
			x.Would[j].Reason = clean(x.Would[j].Reason)
		}
		x.Headers = slices.Clone(x.Headers)
		for j := range x.Headers {
			x.Headers[j].Value = clean(x.Headers[j].Value)
		}
		x.Trace = slices.Clone(x.Trace)
		for j := range x.Trace {
			x.Trace[j] = cleanStep(x.Trace[j], clean)
		}
	}
	r.DNS = slices.Clone(r.DNS)
	for i := range r.DNS {
		r.DNS[i].Name = clean(r.DNS[i].Name) // SPF macros put local parts into names
	}
}

func cleanStep(s policy.Step, clean func(string) string) policy.Step {
	s.Got, s.Did = clean(s.Got), clean(s.Did)
	return s
}
