package observe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"

	"mailwicket/filter"
	"mailwicket/filter/dns"
	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// Redactor gives a function that copies a record with hashes in place of what
// tells people apart: local parts of addresses, login names, Subject, Message-ID,
// names in client certificates and what an SPF record has to say, also where
// texts quote them. Domains, networks, list identifiers (List-Id) and results
// stay, so that decisions can still be explained and judged again. Equal values
// get equal hashes under one secret; case does not count in addresses and logins.
func Redactor(secret []byte) func(*filter.Record) *filter.Record {
	return func(r *filter.Record) *filter.Record {
		d := redaction{secret: secret, words: newWords()}
		out := *r
		out.Redacted = true
		d.set(&out.Facts)
		out.Decisions = slices.Clone(r.Decisions)
		for i := range out.Decisions {
			d.rcpt(&out.Decisions[i].Rcpt)
			out.Decisions[i].Recipient = d.address(out.Decisions[i].Recipient)
		}
		d.walk(reflect.ValueOf(&out).Elem(), d.inFacts)
		d.walk(reflect.ValueOf(&out).Elem(), d.inText)
		return &out
	}
}

type redaction struct {
	secret []byte
	words  *words
}

// hash gives a short name for a value.
func (d *redaction) hash(s string) string {
	if s == "" {
		return ""
	}
	h := hmac.New(sha256.New, d.secret)
	h.Write([]byte(s))
	return "h" + hex.EncodeToString(h.Sum(nil)[:6])
}

// whole hides a value and what texts make of it.
func (d *redaction) whole(s string) string {
	out := d.hash(s)
	d.words.hide(s, out)
	return out
}

// local hides a local part or a login name.
func (d *redaction) local(s string) string {
	out := d.hash(strings.ToLower(s))
	d.words.hide(s, out)
	d.words.hideParts(s, out)
	return out
}

// address hides the local part. What has no "@" is all local part.
func (d *redaction) address(s string) string {
	if s == "" || s == "<>" {
		return s
	}
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return d.local(s)
	}
	out := d.local(s[:i]) + s[i:]
	d.words.hide(s, out)
	return out
}

// domainOrAddress leaves what has no "@" as it is: a name or a network.
func (d *redaction) domainOrAddress(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	return d.address(s)
}

func (d *redaction) mailbox(a mail.Address) mail.Address {
	if a.IsNull() {
		return mail.Address{Raw: "<>"}
	}
	out := mail.Address{Local: d.local(a.Local), Domain: a.Domain}
	out.Raw = "<" + out.String() + ">"
	d.words.hide(a.String(), out.String())
	d.words.hide(a.Raw, out.Raw)
	return out
}

func (d *redaction) set(s *fact.Set) {
	t := &s.Txn
	t.MailFrom = fact.Map(t.MailFrom, d.mailbox)
	t.AuthUser = fact.Map(t.AuthUser, d.address)
	t.Subject = fact.Map(t.Subject, d.whole)
	t.MessageID = fact.Map(t.MessageID, func(id string) string {
		out := d.whole(id)
		d.words.hide(strings.Trim(id, "<>"), out)
		return out
	})
	t.From = fact.Map(t.From, d.from)
	t.DKIM = fact.Map(t.DKIM, func(sigs []fact.DKIM) []fact.DKIM {
		sigs = slices.Clone(sigs)
		for i := range sigs {
			sigs[i].Identity = d.domainOrAddress(sigs[i].Identity)
		}
		return sigs
	})
	t.Rcpts = slices.Clone(t.Rcpts)
	for i, a := range t.Rcpts {
		t.Rcpts[i] = d.mailbox(a)
	}
	d.rcpt(&t.First)
	t.Unlike = slices.Clone(t.Unlike)
	for i := range t.Unlike {
		d.rcpt(&t.Unlike[i])
	}
	d.rcpt(&s.Rcpt)
}

func (d *redaction) rcpt(r *fact.Rcpt) { r.To = fact.Map(r.To, d.mailbox) }

func (d *redaction) from(f fact.From) fact.From {
	shown := strings.Join(f.Addresses, ", ") // as placeholders show several
	f.Addresses = slices.Clone(f.Addresses)
	for i, a := range f.Addresses {
		f.Addresses[i] = d.address(a)
	}
	if len(f.Addresses) > 1 {
		d.words.hide(shown, strings.Join(f.Addresses, ", "))
	}
	f.Detail = "" // quotes the field, whatever is wrong with it
	return f
}

// walk makes all lists and pointers the record's own and changes the strings for which treat
// gives a function. Fields are known by their name, so that a fact that is added
// is not forgotten.
func (d *redaction) walk(v reflect.Value, treat treatment) {
	switch v.Kind() {
	case reflect.Slice:
		if v.Len() == 0 {
			return
		}
		own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(own, v)
		v.Set(own)
		for i := range v.Len() {
			d.walk(v.Index(i), treat)
		}
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		own := reflect.New(v.Type().Elem())
		own.Elem().Set(v.Elem())
		v.Set(own)
		d.walk(own.Elem(), treat)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if !f.CanSet() {
				continue // time and address are closed: no text is in them
			}
			d.walk(f, treat)
			if to := treat(v.Type(), v.Type().Field(i).Name); to != nil {
				each(f, to)
			}
		}
	}
}

// treatment tells what is done to a field's text; nil leaves it as it is.
type treatment func(of reflect.Type, field string) func(string) string

// each changes a string, or all strings of a list.
func each(v reflect.Value, to func(string) string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(to(v.String()))
	case reflect.Slice:
		for i := range v.Len() {
			each(v.Index(i), to)
		}
	}
}

// inFacts hides what may stand in several facts.
func (d *redaction) inFacts(of reflect.Type, field string) func(string) string {
	switch {
	case of == reflect.TypeFor[fact.ListHit]() && (field == "Subject" || field == "Entry"):
		return d.domainOrAddress
	case field == "Explanation" || field == "CertSubject":
		return d.whole
	}
	return nil
}

// inText comes last, when all that is to be hidden is known.
func (d *redaction) inText(of reflect.Type, field string) func(string) string {
	switch {
	case of == reflect.TypeFor[dns.Answer]() && field == "Name":
		return d.words.cleanName // SPF macros put local parts into names
	case of == reflect.TypeFor[dns.Answer]() && field == "Data", of == reflect.TypeFor[policy.HeaderEdit]() && field == "Value":
		return d.words.clean
	}
	switch field {
	case "Why", "Reason", "Differs", "Text", "Reply", "Got", "Did", "Want", "Comment", "Silent", "Override":
		return d.words.clean
	}
	return nil
}
