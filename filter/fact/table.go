package fact

import (
	"math"
	"slices"

	"mailwicket/filter/mail"
)

// Fields gives the table of all fields, in the order of the manual.
func Fields() []Field {
	return []Field{
		{Name: "client.ip", Kind: Addr, Stage: mail.StageConnect,
			Doc: `the client's address`,
			Get: func(s *Set) Value { return addr(s.Conn.IP) }},
		{Name: "client.name", Kind: Text, Stage: mail.StageConnect,
			Doc: `the client's host name as verified by the MTA`,
			Get: func(s *Set) Value { return text(s.Conn.Name, id) }},
		{Name: "client.ptr", Kind: Text, Stage: mail.StageConnect,
			Doc: `the client's reverse name, unverified`,
			Get: func(s *Set) Value { return text(s.Conn.PTR, id) }},
		{Name: "client.trusted", Kind: Bool, Stage: mail.StageMail,
			Doc: `whether the client is trusted: a network of trusted.networks, or authenticated`,
			Get: func(s *Set) Value { return yes(s.Conn.Trusted, func(w string) bool { return w != "" }) }},
		{Name: "client.dynamic", Kind: Bool, Stage: mail.StageConnect, Check: "iprev",
			Doc: `whether the client's name looks like one given to dial-up lines`,
			Get: func(s *Set) Value { return yes(s.Conn.Dynamic, same) }},
		{Name: "client.lists", Kind: Text, Stage: mail.StageConnect, Check: "list",
			Doc: `names of the lists that the client's address is on`,
			Get: func(s *Set) Value { return hits(s.Conn.ListIP) }},
		{Name: "client.name_lists", Kind: Text, Stage: mail.StageConnect, Check: "list_name",
			Doc: `names of the lists that the client's verified name is on`,
			Get: func(s *Set) Value { return hits(s.Conn.ListName) }},
		{Name: "client.auth_failures", Kind: Number, Stage: mail.StageConnect, Check: "mtalog",
			Doc: `failed logins of this client lately; always absent in this version, which does not follow the MTA's log`,
			Get: func(s *Set) Value { return number(s.Conn.AuthFails, num) }},
		{Name: "iprev.result", Kind: Text, Stage: mail.StageConnect, Check: "iprev", Words: iprevWords,
			Doc: `whether address and reverse name agree (RFC 8601, 3)`,
			Get: func(s *Set) Value { return text(s.Conn.Iprev, func(i Iprev) string { return i.Result }) }},
		{Name: "iprev.name", Kind: Text, Stage: mail.StageConnect, Check: "iprev",
			Doc: `names of the client that lead back to its address`,
			Get: func(s *Set) Value { return texts(s.Conn.Iprev, func(i Iprev) []string { return i.Names }) }},
		{Name: "dnsbl.zones", Kind: Text, Stage: mail.StageConnect, Check: "dnsbl",
			Doc: `names of the DNS lists that the client's address is on`,
			Get: func(s *Set) Value { return hits(s.Conn.DNSBL) }},
		{Name: "dnsbl.name", Kind: Text, Stage: mail.StageConnect, Check: "dnsbl_name",
			Doc: `names of the DNS lists that a confirmed name of the client is on`,
			Get: func(s *Set) Value { return hits(s.Conn.DNSBLName) }},
		{Name: "dnsbl.helo", Kind: Text, Stage: mail.StageHelo, Check: "dnsbl_helo",
			Doc: `names of the DNS lists that the HELO name is on`,
			Get: func(s *Set) Value { return hits(s.Conn.DNSBLHelo) }},
		{Name: "dnsbl.mail_from", Kind: Text, Stage: mail.StageMail, Check: "dnsbl_mail_from",
			Doc: `names of the DNS lists that the envelope sender's domain is on`,
			Get: func(s *Set) Value { return hits(s.Txn.DNSBLFrom) }},
		{Name: "dnsbl.score", Kind: Number, Stage: mail.StageMail, Check: "dnsbl_score",
			Doc: `sum of the weights of all DNS lists that the client's address and names and the envelope sender are on; of each list the heaviest code`,
			Get: dnsblScore},
		{Name: "dnsbl.header_from", Kind: Text, Stage: mail.StageHeader, Check: "dnsbl_header_from",
			Doc: `names of the DNS lists that a From domain is on`,
			Get: func(s *Set) Value { return hits(s.Txn.DNSBLHeader) }},
		{Name: "dnsbl.dkim", Kind: Text, Stage: mail.StageMessage, Check: "dnsbl_dkim",
			Doc: `names of the DNS lists that the domain of a passing signature is on`,
			Get: func(s *Set) Value { return hits(s.Txn.DNSBLDKIM) }},
		{Name: "dnsbl.links", Kind: Text, Stage: mail.StageMessage, Check: "dnsbl_links",
			Doc: `names of the DNS lists that the domain of a link in the body is on`,
			Get: func(s *Set) Value { return hits(s.Txn.DNSBLLinks) }},
		{Name: "dnsbl.links_listed", Kind: Text, Stage: mail.StageMessage, Check: "dnsbl_links",
			Doc: `domains of links that a DNS list has`,
			Get: func(s *Set) Value { return texts(s.Txn.DNSBLLinks, subjects) }},
		{Name: "dnsbl.links_left", Kind: Number, Stage: mail.StageMessage, Check: "dnsbl_links",
			Doc: `domains of links that DNS lists were not asked for, since there are more than 20`,
			Get: func(s *Set) Value { return number(s.Txn.LinksLeft, num) }},
		{Name: "helo.name", Kind: Text, Stage: mail.StageHelo,
			Doc: `the name given with HELO or EHLO`,
			Get: func(s *Set) Value { return text(s.Conn.Helo, id) }},
		{Name: "helo.kind", Kind: Text, Stage: mail.StageHelo, Words: []string{"ok", "literal", "unqualified", "invalid", "own"},
			Doc: `what the HELO name is`,
			Get: func(s *Set) Value { return text(s.Conn.HeloIs, id) }},
		{Name: "helo.dns", Kind: Text, Stage: mail.StageHelo, Check: "helo_dns", Words: []string{"forward", "other", "none"},
			Doc: `whether an address of the HELO name is the client's`,
			Get: func(s *Set) Value { return text(s.Conn.HeloDNS, id) }},
		{Name: "helo.lists", Kind: Text, Stage: mail.StageHelo, Check: "list",
			Doc: `names of the lists that the HELO name is on`,
			Get: func(s *Set) Value { return hits(s.Conn.ListHelo) }},
		{Name: "tls.version", Kind: Text, Stage: mail.StageHelo,
			Doc: `TLS version of the session; absent on plaintext`,
			Get: func(s *Set) Value { return text(s.Conn.TLS, func(t mail.TLS) string { return t.Version }) }},
		{Name: "tls.cipher", Kind: Text, Stage: mail.StageHelo,
			Doc: `TLS cipher of the session; absent on plaintext`,
			Get: func(s *Set) Value { return text(s.Conn.TLS, func(t mail.TLS) string { return t.Cipher }) }},
		{Name: "mta.version", Kind: Text, Stage: mail.StageConnect,
			Doc: `name and version of the MTA`,
			Get: mtaVersion},
		{Name: "auth.user", Personal: true, Kind: Text, Stage: mail.StageMail,
			Doc: `login name of an authenticated client; absent for strangers`,
			Get: func(s *Set) Value { return text(s.Txn.AuthUser, id) }},
		{Name: "mail_from.address", Personal: true, Kind: Text, Stage: mail.StageMail,
			Doc: `the envelope sender, "<>" for the null sender`,
			Get: func(s *Set) Value { return text(s.Txn.MailFrom, mail.Address.String) }},
		{Name: "mail_from.domain", Kind: Text, Stage: mail.StageMail,
			Doc: `domain of the envelope sender`,
			Get: func(s *Set) Value { return text(s.Txn.MailFrom, func(a mail.Address) string { return a.Domain }) }},
		{Name: "mail_from.null", Kind: Bool, Stage: mail.StageMail,
			Doc: `whether the envelope sender is "<>"`,
			Get: func(s *Set) Value { return yes(s.Txn.MailFrom, mail.Address.IsNull) }},
		{Name: "mail_from.lists", Kind: Text, Stage: mail.StageMail, Check: "list",
			Doc: `names of the lists that the envelope sender is on`,
			Get: func(s *Set) Value { return hits(s.Txn.ListFrom) }},
		{Name: "spf.result", Kind: Text, Stage: mail.StageMail, Check: "spf", Words: spfWords,
			Doc: `SPF of the envelope sender (RFC 7208)`,
			Get: func(s *Set) Value { return text(s.Txn.SPF, func(r SPF) string { return r.Result }) }},
		{Name: "spf.domain", Kind: Text, Stage: mail.StageMail, Check: "spf",
			Doc: `the domain that SPF was asked for`,
			Get: func(s *Set) Value { return text(s.Txn.SPF, func(r SPF) string { return r.Domain }) }},
		{Name: "spf.explanation", Personal: true, Kind: Text, Stage: mail.StageMail, Check: "spf",
			Doc: `the sender domain's own words for a fail; never to be trusted`,
			Get: func(s *Set) Value { return text(s.Txn.SPF, func(r SPF) string { return r.Explanation }) }},
		{Name: "spf.helo.result", Kind: Text, Stage: mail.StageHelo, Check: "spf_helo", Words: spfWords,
			Doc: `SPF of the HELO name`,
			Get: func(s *Set) Value { return text(s.Conn.SPFHelo, func(r SPF) string { return r.Result }) }},
		{Name: "rcpt.address", Personal: true, Kind: Text, Stage: mail.StageRcpt, Rcpt: true,
			Doc: `the recipient`,
			Get: func(s *Set) Value { return text(s.Rcpt.To, mail.Address.String) }},
		{Name: "rcpt.domain", Kind: Text, Stage: mail.StageRcpt, Rcpt: true,
			Doc: `the recipient's domain`,
			Get: func(s *Set) Value { return text(s.Rcpt.To, func(a mail.Address) string { return a.Domain }) }},
		{Name: "rcpt.count", Kind: Number, Stage: mail.StageRcpt,
			Doc: `recipients accepted so far; 0 before the first`,
			Get: func(s *Set) Value { return Value{State: Known, Num: float64(len(s.Txn.Rcpts))} }},
		{Name: "rcpt.lists", Kind: Text, Stage: mail.StageRcpt, Rcpt: true, Check: "list",
			Doc: `names of the lists that the recipient is on`,
			Get: func(s *Set) Value { return hits(s.Rcpt.ListTo) }},
		{Name: "rates.exceeded", Kind: Text, Stage: mail.StageRcpt, Rcpt: true, Check: "rates",
			Doc: `names of the rate limits that are exceeded`,
			Get: func(s *Set) Value { return texts(s.Rcpt.Rates, ids) }},
		{Name: "rates.size_exceeded", Kind: Text, Stage: mail.StageMessage, Check: "rates",
			Doc: `names of the limits on bytes that the message exceeds`,
			Get: func(s *Set) Value { return texts(s.Txn.Rates, ids) }},
		{Name: "header_from.address", Personal: true, Kind: Text, Stage: mail.StageHeader, Check: "header",
			Doc: `addresses of the From field`,
			Get: func(s *Set) Value { return texts(s.Txn.From, func(f From) []string { return f.Addresses }) }},
		{Name: "header_from.domain", Kind: Text, Stage: mail.StageHeader, Check: "header",
			Doc: `domains of the From field`,
			Get: func(s *Set) Value { return texts(s.Txn.From, func(f From) []string { return f.Domains }) }},
		{Name: "header_from.defect", Kind: Text, Stage: mail.StageHeader, Check: "header",
			Doc: `what is wrong with the From field, "" when it is usable`,
			Get: func(s *Set) Value { return text(s.Txn.From, func(f From) string { return f.Defect }) }},
		{Name: "header_from.lists", Kind: Text, Stage: mail.StageHeader, Check: "list",
			Doc: `names of the lists that a From domain is on`,
			Get: func(s *Set) Value { return hits(s.Txn.ListHeader) }},
		{Name: "header.subject", Personal: true, Kind: Text, Stage: mail.StageHeader, Check: "header",
			Doc: `the Subject field, decoded`,
			Get: func(s *Set) Value { return text(s.Txn.Subject, id) }},
		{Name: "header.message_id", Personal: true, Kind: Text, Stage: mail.StageHeader, Check: "header",
			Doc: `the Message-ID field`,
			Get: func(s *Set) Value { return text(s.Txn.MessageID, id) }},
		{Name: "header.list_id", Kind: Text, Stage: mail.StageHeader, Check: "header",
			Doc: `the List-Id field; absent where there is none`,
			Get: func(s *Set) Value { return text(s.Txn.ListID, id) }},
		{Name: "header.fields", Kind: Number, Stage: mail.StageHeader, Check: "header",
			Doc: `how many header fields there are`,
			Get: func(s *Set) Value { return number(s.Txn.Fields, num) }},
		{Name: "header.bytes", Kind: Number, Stage: mail.StageHeader, Check: "header",
			Doc: `size of the header block`,
			Get: func(s *Set) Value { return number(s.Txn.HeaderBytes, num) }},
		{Name: "header.defects", Kind: Text, Stage: mail.StageHeader, Check: "header",
			Doc: `breaches of RFC 5322 in the header block`,
			Get: func(s *Set) Value { return texts(s.Txn.Defects, ids) }},
		{Name: "links.host", Kind: Text, Stage: mail.StageMessage, Check: "content",
			Doc: `hosts that links in the body lead to`,
			Get: func(s *Set) Value { return texts(s.Txn.Content, func(c Content) []string { return c.Hosts }) }},
		{Name: "links.ip", Kind: Text, Stage: mail.StageMessage, Check: "content",
			Doc: `addresses that links in the body lead to without a host name`,
			Get: func(s *Set) Value { return texts(s.Txn.Content, linkAddrs) }},
		{Name: "links.lists", Kind: Text, Stage: mail.StageMessage, Check: "list_links",
			Doc: `names of the lists that the host of a link is on`,
			Get: func(s *Set) Value { return hits(s.Txn.ListLinks) }},
		{Name: "links.listed", Kind: Text, Stage: mail.StageMessage, Check: "list_links",
			Doc: `hosts of links that a list has`,
			Get: func(s *Set) Value { return texts(s.Txn.ListLinks, subjects) }},
		{Name: "content.defects", Kind: Text, Stage: mail.StageMessage, Check: "content",
			Doc: `what is wrong with the parts of the body, in words of a fixed table`,
			Get: func(s *Set) Value { return texts(s.Txn.Content, func(c Content) []string { return c.Defects }) }},
		{Name: "content.over", Kind: Bool, Stage: mail.StageMessage, Check: "content",
			Doc: `whether some of the body was not read, since it is over a bound`,
			Get: func(s *Set) Value { return yes(s.Txn.Content, func(c Content) bool { return c.Over }) }},
		{Name: "dkim.result", Kind: Text, Stage: mail.StageMessage, Check: "dkim", Words: dkimWords,
			Doc: `the best result over all DKIM signatures`,
			Get: func(s *Set) Value { return text(s.Txn.DKIM, DKIMBest) }},
		{Name: "dkim.domain", Kind: Text, Stage: mail.StageMessage, Check: "dkim",
			Doc: `domains (d=) of passing DKIM signatures`,
			Get: dkimText(func(d DKIM) string { return d.Domain })},
		{Name: "dkim.selector", Kind: Text, Stage: mail.StageMessage, Check: "dkim",
			Doc: `selectors (s=) of passing DKIM signatures`,
			Get: dkimText(func(d DKIM) string { return d.Selector })},
		{Name: "dkim.count", Kind: Number, Stage: mail.StageMessage, Check: "dkim",
			Doc: `how many DKIM signatures there are`,
			Get: func(s *Set) Value { return number(s.Txn.DKIM, func(d []DKIM) float64 { return float64(len(d)) }) }},
		{Name: "dkim.lists", Kind: Text, Stage: mail.StageMessage, Check: "list_dkim",
			Doc: `names of the lists that the domain of a passing signature is on`,
			Get: func(s *Set) Value { return hits(s.Txn.ListDKIM) }},
		{Name: "dkim.replay.clients", Kind: Number, Stage: mail.StageMessage, Check: "replay",
			Doc: `distinct clients that brought a passing DKIM signature of this message lately, the most of any`,
			Get: func(s *Set) Value { return number(s.Txn.ReplayClients, num) }},
		{Name: "dkim.replay.recipients", Kind: Number, Stage: mail.StageMessage, Check: "replay",
			Doc: `distinct recipients that a passing DKIM signature of this message reached lately, the most of any`,
			Get: func(s *Set) Value { return number(s.Txn.ReplayRecipients, num) }},
		{Name: "arc.result", Kind: Text, Stage: mail.StageMessage, Check: "arc", Words: arcWords,
			Doc: `ARC chain validation (RFC 8617)`,
			Get: func(s *Set) Value { return text(s.Txn.ARC, func(a ARC) string { return a.Result }) }},
		{Name: "arc.sealer", Kind: Text, Stage: mail.StageMessage, Check: "arc",
			Doc: `domains that sealed the ARC chain`,
			Get: func(s *Set) Value { return texts(s.Txn.ARC, func(a ARC) []string { return a.Sealers }) }},
		{Name: "arc.trusted", Kind: Text, Stage: mail.StageMessage, Check: "arc",
			Doc: `the trusted sealer relied upon, "" when none`,
			Get: func(s *Set) Value { return text(s.Txn.ARC, func(a ARC) string { return a.Trusted }) }},
		{Name: "arc.pending", Kind: Text, Stage: mail.StageMessage, Check: "arc",
			Doc: `the trusted sealer that would be relied upon if a key that cannot be had now proved the chain, "" when none`,
			Get: func(s *Set) Value { return text(s.Txn.ARC, func(a ARC) string { return a.Pending }) }},
		{Name: "dmarc.result", Kind: Text, Stage: mail.StageMessage, Check: "dmarc", Words: dmarcWords,
			Doc: `DMARC of the author's domain (RFC 9989)`,
			Get: func(s *Set) Value { return text(s.Txn.DMARC, func(d DMARC) string { return d.Result }) }},
		{Name: "dmarc.policy", Kind: Text, Stage: mail.StageMessage, Check: "dmarc", Words: []string{"", "none", "quarantine", "reject"},
			Doc: `the policy that applies, after t=, sp= and np=; "" where it is not known`,
			Get: func(s *Set) Value { return text(s.Txn.DMARC, func(d DMARC) string { return d.Policy }) }},
		{Name: "dmarc.domain", Kind: Text, Stage: mail.StageMessage, Check: "dmarc",
			Doc: `the author's domain`,
			Get: func(s *Set) Value { return text(s.Txn.DMARC, func(d DMARC) string { return d.Domain }) }},
		{Name: "dmarc.override", Kind: Text, Stage: mail.StageMessage, Check: "dmarc",
			Doc: `why the policy is not to be applied, "" when it is`,
			Get: func(s *Set) Value { return text(s.Txn.DMARC, func(d DMARC) string { return d.Override }) }},
		{Name: "message.authenticated", Kind: Text, Stage: mail.StageMessage, Check: "dkim",
			Doc: `domains that authenticate the message: SPF or DKIM pass`,
			Get: func(s *Set) Value { return texts(Authenticated(s), ids) }},
		{Name: "message.size", Kind: Number, Stage: mail.StageMessage,
			Doc: `bytes of header and body`,
			Get: func(s *Set) Value { return number(s.Txn.Size, size) }},
		{Name: "defer.age", Kind: Duration, Stage: mail.StageMessage, Check: "defer_age",
			Doc: `for how long this sender has met our temporary errors`,
			Get: func(s *Set) Value { return number(s.Txn.DeferAge, secs) }},
		{Name: "greylist.result", Kind: Text, Stage: mail.StageRcpt, Check: "greylist", Words: greyWords,
			Doc: `what the greylist said; known once a rule has asked for it`,
			Get: greylistValue},
	}
}

// dnsblScore sums what is known, in a fixed order; a list that did not answer adds
// nothing.
func dnsblScore(s *Set) Value {
	v := Value{}
	var hits []ListHit
	for _, f := range []Fact[[]ListHit]{s.Conn.DNSBL, s.Conn.DNSBLName, s.Conn.DNSBLHelo, s.Txn.DNSBLFrom} {
		if f.State == Known {
			v.State, v.Why = Known, ""
			hits = append(hits, f.Value...)
		} else if v.State == Absent {
			v.State, v.Why = f.State, f.Why
		}
	}
	for i, h := range hits {
		if !slices.ContainsFunc(hits[:i], func(o ListHit) bool { return o.List == h.List }) {
			v.Num += heaviest(hits[i:], h.List)
		}
	}
	return v
}

func heaviest(hits []ListHit, list string) float64 {
	w := 0.0
	for _, h := range hits {
		if h.List == list && math.Abs(h.Weight) > math.Abs(w) {
			w = h.Weight
		}
	}
	return w
}

// greylistValue is the recipient's answer at RCPT, and the message's later on
// (null senders are asked for at the end of the header).
func greylistValue(s *Set) Value {
	f := s.Rcpt.Greylist
	if f.State == Absent {
		f = s.Txn.Greylist
	}
	return text(f, func(g Greylist) string { return g.Result })
}

// Lookup finds a field by name.
func Lookup(name string) (Field, bool) {
	for _, f := range Fields() {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}
