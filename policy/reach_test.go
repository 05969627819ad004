package policy_test

import (
	"testing"

	"pgregory.net/rapid"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

// atHeader is what is known at the end of the header of what a set knows at last:
// what the MTA and the header tell.
func atHeader(s fact.Set) fact.Set {
	c, t := s.Conn, s.Txn
	return fact.Set{Stage: mail.StageHeader, Now: s.Now,
		Conn: fact.Conn{IP: c.IP, Name: c.Name, PTR: c.PTR, Trusted: c.Trusted, Helo: c.Helo, HeloIs: c.HeloIs, TLS: c.TLS, MTA: c.MTA},
		Txn: fact.Txn{AuthUser: t.AuthUser, MailFrom: t.MailFrom, Rcpts: t.Rcpts, From: t.From, Subject: t.Subject, MessageID: t.MessageID,
			ListID: t.ListID, Fields: t.Fields, HeaderBytes: t.HeaderBytes, Defects: t.Defects}}
}

// TestMayMatchIsRight: no rule matches in the end of which it was said before that
// it cannot.
func TestMayMatchIsRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, rules().Draw(t, "rules"))
		s := sets().Draw(t, "set")
		s.Stage = mail.StageMessage
		early := atHeader(s)
		byName := map[string]policy.Rule{}
		for _, r := range p.Rules() {
			byName[r.Name] = r
		}
		for _, step := range p.Decide(&s).Trace {
			if !step.Matched {
				continue
			}
			alone, problems := policy.Compile([]policy.Rule{byName[step.Rule]})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			for _, check := range alone.Checks(mail.StageMessage) {
				if !p.MayMatch(mail.StageMessage, check, &early) {
					t.Fatalf("%s matches, and reads %s", step.Rule, check)
				}
			}
		}
	})
}

func TestMayMatch(t *testing.T) {
	for when, want := range map[string]bool{
		"links.lists: l":                                                true,
		"links.lists: l, client.trusted: false":                         true,
		"links.lists: l, client.trusted: true":                          false,
		"links.lists: l, auth.user: {state: known}":                     false,
		"links.lists: l, auth.user: {state: absent}":                    true,
		"links.lists: l, header.list_id: {state: known}":                false,
		"links.lists: l, spf.result: {state: known}":                    true, // it may be found later
		"links.lists: l, message.size: {gt: 1MiB}":                      true,
		"links.lists: l, dnsbl.score: {lt: 5}":                          true,
		"any: [{links.lists: l}, {client.trusted: true}]":               true,
		"any: [{auth.user: x}, {client.trusted: true}], links.lists: l": false,
		"not: {client.trusted: false}, links.lists: l":                  false,
		"not: {client.trusted: true}, links.lists: l":                   true,
		"tags: x, links.lists: l":                                       true,
		"client.trusted: false, dkim.lists: l":                          false, // reads something else
		"rcpt.count: {ge: 5}, links.lists: l":                           false,
	} {
		parsed, problems := rulefile.Parse("rules", []byte("rules: [{name: x, stage: message, when: {"+when+"}, do: reject}]"))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, mode := range []policy.Mode{policy.Enforce, policy.Observe, policy.Off} {
			parsed[0].Mode = mode
			p, problems := policy.Compile(parsed)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			s := fact.Set{Stage: mail.StageHeader, Conn: fact.Conn{Trusted: fact.Is("")}}
			if got := p.MayMatch(mail.StageMessage, "list_links", &s); got != (want && mode != policy.Off) {
				t.Errorf("%s, %s: %v", when, mode, got)
			}
			if p.MayMatch(mail.StageHeader, "list_links", &s) {
				t.Errorf("%s: at a stage where it is not", when)
			}
		}
	}
}

// TestUndecided: what a redacted record does not hold may decide, or may not.
func TestUndecided(t *testing.T) {
	s := fact.Set{Stage: mail.StageMail}
	s.Txn.AuthUser, s.Txn.MailFrom = fact.Is("h0123456789ab"), fact.Is(mail.ParsePath("<h0123@a.example>"))
	for when, want := range map[string]bool{
		"auth.user: jane":                                         true,
		"auth.user: {state: known}":                               true, // that much is sure, but seldom asked
		"auth.user: jane, mail_from.domain: a.example":            true,
		"auth.user: jane, mail_from.domain: b.example":            false,
		"any: [{auth.user: jane}, {mail_from.domain: a.example}]": false,
		"not: {auth.user: jane}":                                  true,
		"mail_from.domain: a.example":                             false,
		"mail_from.address: jane@a.example, mail_from.null: true": false,
	} {
		list, problems := rulefile.Parse("rules", []byte("rules: [{name: r, stage: mail, when: {"+when+"}, do: reject}]"))
		if len(problems) > 0 {
			t.Fatal(when, problems)
		}
		p, problems := policy.Compile(list)
		if len(problems) > 0 {
			t.Fatal(when, problems)
		}
		if got := p.Undecided(&s); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	s.Txn.AuthUser = fact.Fact[string]{}
	list, _ := rulefile.Parse("rules", []byte("rules: [{name: r, stage: mail, when: {auth.user: jane}, do: reject}]"))
	if p, _ := policy.Compile(list); p.Undecided(&s) {
		t.Error("who has not logged in is not jane")
	}
}
