package story

import (
	"fmt"
	"strings"

	"mailwicket/filter"
	"mailwicket/filter/fact"
	"mailwicket/policy"
)

// Words tells what was found and why the message ended as it did, a sentence for
// each thing that a postmaster asks: who sent it, who the author is and whether
// that is proved, what else was odd, and what followed. What was not looked at
// has no sentence.
func Words(r *filter.Record) []string {
	var out []string
	for _, s := range []string{client(r), login(r), sender(r), from(r), signatures(r), dmarc(r), chain(r), hits(r), defects(r), putOff(r)} {
		if s != "" {
			out = append(out, fact.Clean(s))
		}
	}
	return append(out, fact.Clean(ending(r)))
}

func client(r *filter.Record) string {
	c := r.Facts.Conn
	if !c.IP.Known() {
		return "The MTA did not tell the client's address."
	}
	s := fmt.Sprintf("The client %s ", c.IP.Value)
	switch {
	case c.Trusted.Value != "":
		return s + "is trusted, so inbound checks were not made: " + c.Trusted.Value + "."
	case !c.Iprev.Known():
		s += "was not asked for its name"
	case c.Iprev.Value.Result == "pass":
		s += "is " + c.Iprev.Value.Names[0]
		if c.Dynamic.Value {
			s += ", a name like those of dial-up lines,"
		}
	case c.Iprev.Value.Result == "temperror":
		s += "may have a name, but the DNS did not answer"
	default:
		s += "has no name that leads back to it"
	}
	if !c.Helo.Known() {
		return s + ", and gave no HELO name."
	}
	return s + " and says HELO " + c.Helo.Value + helo(c) + "."
}

func helo(c fact.Conn) string {
	switch c.HeloIs.Value {
	case "literal":
		return ", an address in place of a name"
	case "unqualified":
		return ", a name without a domain"
	case "invalid":
		return ", which is no host name"
	case "own":
		return ", which is our own name"
	}
	return ""
}

func login(r *filter.Record) string {
	if u := r.Facts.Txn.AuthUser; u.Known() {
		return "The client logged in as " + u.Value + "."
	}
	return ""
}

func sender(r *filter.Record) string {
	t := r.Facts.Txn
	if !t.MailFrom.Known() {
		return ""
	}
	who := "The envelope sender is " + t.MailFrom.Value.String()
	if t.MailFrom.Value.IsNull() {
		who = "The envelope sender is empty, as that of a bounce"
	}
	if !t.SPF.Known() {
		return who + "."
	}
	return who + ". " + spf(t.SPF.Value)
}

func spf(f fact.SPF) string {
	d := f.Domain
	switch f.Result {
	case "pass":
		return "SPF passes: the client may send for " + d + "."
	case "fail":
		return "SPF fails: " + d + " says that the client may not send for it."
	case "softfail":
		return "SPF fails softly: " + d + " says that the client should not send for it."
	case "neutral":
		return "SPF says nothing: " + d + " leaves open whether the client may send for it."
	case "none":
		if d == "" {
			return "SPF says nothing of such a sender."
		}
		return "SPF says nothing: " + d + " has no SPF record."
	case "temperror":
		return "SPF cannot be told now: the DNS of " + d + " did not answer."
	case "permerror":
		return "SPF cannot be told: the record of " + d + " is broken (" + f.Reason + ")."
	}
	return ""
}

func from(r *filter.Record) string {
	f := r.Facts.Txn.From
	if !f.Known() {
		return ""
	}
	who := strings.Join(f.Value.Addresses, ", ")
	switch f.Value.Defect {
	case "":
		return "The author is " + who + "."
	case "missing":
		return "There is no From field, so there is no author."
	case "repeated":
		return "There are several From fields: each reader may see another author (" + who + ")."
	case "malformed":
		return "The From field can be read in several ways (" + f.Value.Detail + "): each reader may see another author."
	case "many_domains":
		return "There are several authors of different domains: " + who + "."
	case "too_many":
		return "The From field has more domains than anybody needs."
	}
	return "The From field has no address that mail could come from (" + f.Value.Detail + ")."
}

func signatures(r *filter.Record) string {
	f := r.Facts.Txn.DKIM
	if !f.Known() {
		return ""
	}
	if len(f.Value) == 0 {
		return "There is no DKIM signature."
	}
	var parts []string
	for _, d := range f.Value {
		s := "that of " + d.Domain
		if d.Domain == "" {
			s = "one of nobody"
		}
		switch d.Result {
		case "pass":
			s += " holds"
		case "temperror":
			s += " cannot be checked now"
		case "policy":
			s += " does not count"
		default:
			s += " does not hold"
		}
		if d.Reason != "" && d.Result != "pass" {
			s += " (" + d.Reason + ")"
		}
		parts = append(parts, s)
	}
	return "DKIM signatures: " + strings.Join(parts, "; ") + "."
}

func dmarc(r *filter.Record) string {
	f := r.Facts.Txn.DMARC
	if !f.Known() {
		return ""
	}
	d := f.Value
	switch d.Result {
	case "pass":
		return "DMARC passes: the author's domain " + d.Domain + " is proved by " + proofs(d.Aligned) + "."
	case "none":
		if d.Domain == "" {
			return ""
		}
		return "DMARC says nothing: " + d.Domain + " does not publish it."
	case "temperror":
		return "DMARC cannot be told now: " + d.Reason + "."
	case "permerror":
		return "DMARC cannot be told: " + d.Reason + "."
	}
	s := "DMARC fails: neither SPF nor DKIM proves the author's domain " + d.Domain + ", " + asked(d) + "."
	if d.Override != "" {
		s += " Not acted upon: " + d.Override + "."
	}
	return s
}

// asked is what the domain wants done with forgeries.
func asked(d fact.DMARC) string {
	switch d.Policy {
	case "reject":
		return "which asks that such mail be refused"
	case "quarantine":
		return "which asks that such mail be put aside"
	}
	return "which asks for nothing to be done"
}

// proofs says what "spf=a.example", "dkim=b.example" stand for.
func proofs(aligned []string) string {
	var out []string
	for _, a := range aligned {
		switch by, domain, _ := strings.Cut(a, "="); by {
		case "spf":
			out = append(out, "SPF of "+domain)
		case "dkim":
			out = append(out, "the signature of "+domain)
		default:
			out = append(out, a)
		}
	}
	return strings.Join(out, " and ")
}

func chain(r *filter.Record) string {
	f := r.Facts.Txn.ARC
	if !f.Known() || f.Value.Result == "none" {
		return ""
	}
	a := f.Value
	switch {
	case a.Trusted != "":
		return "ARC passes: " + a.Trusted + ", a sealer that we trust, saw the author proved."
	case a.Pending != "":
		return "ARC cannot be told now (" + a.Reason + "): " + a.Pending + ", a sealer that we trust, may have seen the author proved."
	case a.Result == "pass":
		return "ARC passes, sealed by " + strings.Join(a.Sealers, ", ") + ", but that does not vouch for the author here."
	}
	return "ARC does not hold (" + a.Reason + ")."
}

// hits names the entries of lists that anything of the message is on.
func hits(r *filter.Record) string {
	c, t := r.Facts.Conn, r.Facts.Txn
	var parts []string
	add := func(what string, fs ...fact.Fact[[]fact.ListHit]) {
		for _, f := range fs {
			for _, h := range f.Value {
				if h.Silent != "" {
					continue
				}
				s := what + " is on " + h.List
				if h.Subject != "" {
					s = what + " " + h.Subject + " is on " + h.List
				}
				switch {
				case h.Line > 0:
					s += fmt.Sprintf(" (%s:%d)", h.Source, h.Line)
				case h.Source != "" && h.Source != h.List:
					s += " (" + h.Source + ")"
				}
				parts = append(parts, s)
			}
		}
	}
	add("the client", c.ListIP, c.ListName, c.DNSBL, c.DNSBLName)
	add("the HELO name", c.ListHelo, c.DNSBLHelo)
	add("the envelope sender", t.ListFrom, t.DNSBLFrom)
	add("the author", t.ListHeader, t.DNSBLHeader)
	add("the signer", t.ListDKIM, t.DNSBLDKIM)
	add("a link to", t.ListLinks, t.DNSBLLinks)
	for _, d := range r.Decisions {
		add("the recipient", d.Rcpt.ListTo)
	}
	if len(parts) == 0 {
		return ""
	}
	return "Lists: " + strings.Join(parts, "; ") + "."
}

// defectWords say what is wrong with a header block; "" is told with the author.
var defectWords = map[string]string{
	"repeated_date": "several Date fields", "repeated_from": "", "repeated_sender": "several Sender fields",
	"repeated_reply_to": "several Reply-To fields", "repeated_to": "several To fields", "repeated_cc": "several Cc fields",
	"repeated_bcc": "several Bcc fields", "repeated_message_id": "several Message-ID fields",
	"repeated_in_reply_to": "several In-Reply-To fields", "repeated_references": "several References fields",
	"repeated_subject": "several Subject fields", "missing_date": "no Date field", "missing_from": "",
	"missing_sender": "several authors and no Sender field", "malformed_from": "", "sloppy_from": "a From field against the grammar",
	"multiple_sender": "a Sender field with several addresses", "malformed_sender": "a Sender field against the grammar",
	"bad_name": "a field whose name is none", "8bit_name": "a field name beyond ASCII", "nul": "a NUL byte",
	"bare_cr": "a CR without LF", "bare_lf": "an LF without CR", "control_bytes": "control bytes",
	"invalid_utf8": "bytes that are not UTF-8", "blank_fold": "a folded line of blanks", "long_line": "a line that is too long",
	"header_too_large": "a size over the limit", "too_many_fields": "more fields than the limit",
}

func defects(r *filter.Record) string {
	var parts []string
	for _, d := range r.Facts.Txn.Defects.Value {
		words, known := defectWords[d]
		if !known {
			words = d // of a later version
		}
		if words != "" {
			parts = append(parts, words)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "The header has defects: " + strings.Join(parts, ", ") + "."
}

// putOff tells of recipients whose mail has to come again.
func putOff(r *filter.Record) string {
	g := r.Facts.Txn.Greylist
	for _, d := range r.Decisions {
		if d.Rcpt.Greylist.Known() {
			g = d.Rcpt.Greylist
		}
	}
	switch {
	case !g.Known():
		return ""
	case g.Value.Result == "defer":
		s := "The greylist does not know the client yet, as " + g.Value.Identity + ": mail that comes again in time is let through."
		if g.Value.Doubtful {
			s += " It waits longer than others, for nobody answers for the client: SPF does not pass, and its address has no name of its own."
		}
		return s
	case g.Value.Delayed > 0:
		return "The greylist let it through, since it came again."
	}
	return "The greylist knows the client."
}

// ending is the verdict and what the client was told.
func ending(r *filter.Record) string {
	all := fates(r)
	differ := len(all) > 1
	s := "So it was " + Outcome(r) + "."
	if r.Rule == "" && !differ {
		s = "No rule spoke against it: it was " + Outcome(r) + "."
	}
	if t := told(r, differ); t != "" {
		s += " The client was told: " + t
	}
	if a := again(all); a != "" {
		s = strings.TrimSuffix(s, ".") + ". " + a
	}
	return s
}

// again says whose mail will come once more.
func again(all []fate) string {
	var names []string
	for _, f := range all {
		switch {
		case f.verdict != policy.Tempfail:
		case len(all) == 1:
			return "It will try again by itself."
		default:
			names = append(names, f.names...)
		}
	}
	if names == nil {
		return ""
	}
	return "It will try again by itself for " + some(names) + "."
}
