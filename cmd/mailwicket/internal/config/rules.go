package config

import (
	"fmt"

	"mailwicket/filter/list"
	"mailwicket/policy"
	"mailwicket/policy/profile"
)

// PolicyRules gives the effective rules in their order: allow lists, the user's
// own rules, the other lists, the profile's, greylisting. There is one mechanism:
// every knob is a rule that `config rules` prints.
func (c *Config) PolicyRules() ([]policy.Rule, error) {
	builtin, err := profile.Rules(c.Profile)
	if err != nil {
		return nil, err
	}
	var rules []policy.Rule
	rules = append(rules, c.listRules(true)...)
	rules = append(rules, c.Rules...)
	rules = append(rules, c.listRules(false)...)
	rules = append(rules, builtin...)
	rules = append(rules, c.greylistRules()...)
	if c.Profile == "observe" {
		profile.Observe(rules)
	}
	if c.Quarantine == "hold" {
		for i := range rules {
			if rules[i].Do.Verdict == policy.Quarantine {
				rules[i].Do.Verdict = policy.Hold
			}
		}
	}
	return rules, nil
}

// Conditions, short enough to be read as sentences.
func is(field string, words ...string) policy.Cond {
	return leaf(field, policy.Match{Op: policy.Equals, Text: words})
}

func yes(field string, want bool) policy.Cond {
	return leaf(field, policy.Match{Op: policy.Is, Bool: want})
}

func under(field string, domains ...string) policy.Cond {
	return leaf(field, policy.Match{Op: policy.Under, Text: domains})
}

func leaf(field string, m policy.Match) policy.Cond {
	return policy.Cond{Leaf: &policy.Leaf{Field: field, Match: m}}
}

func all(cs ...policy.Cond) policy.Cond   { return policy.Cond{All: cs} }
func anyOf(cs ...policy.Cond) policy.Cond { return policy.Cond{Any: cs} }
func not(c policy.Cond) policy.Cond       { return policy.Cond{Not: &c} }

// point tells of a place where lists apply: the field with the lists' names, the
// field with what was looked up, and what proves that name to be the sender's.
type point struct {
	lists, subject string
	proof          []policy.Cond // any of them; none where the name cannot be false
}

func pointOf(p list.Point) point {
	switch p {
	case list.PointClient:
		return point{"client.lists", "{client.ip}", nil}
	case list.PointHelo:
		return point{"helo.lists", "{helo.name}", []policy.Cond{is("spf.helo.result", "pass"), is("helo.dns", "forward")}}
	case list.PointPTR:
		return point{"client.name_lists", "{client.name}", nil}
	case list.PointMailFrom:
		return point{"mail_from.lists", "{mail_from.address}", []policy.Cond{is("spf.result", "pass")}}
	case list.PointRcpt:
		return point{"rcpt.lists", "{rcpt.address}", nil}
	case list.PointHeaderFrom:
		return point{"header_from.lists", "{header_from.address}", []policy.Cond{is("dmarc.result", "pass")}}
	case list.PointDKIM:
		return point{"dkim.lists", "{dkim.domain}", nil}
	}
	return point{}
}

// listRules gives one rule for each list and point, of allow lists or of the
// others.
func (c *Config) listRules(allow bool) []policy.Rule {
	var rules []policy.Rule
	for i, l := range c.Lists {
		if (l.Do == "accept") != allow || l.Do == "none" || l.Do == "suspicious" {
			continue
		}
		mode, _ := policy.ParseMode(l.Mode)
		for _, p := range l.Apply {
			rules = append(rules, listRule(l, pointOf(p), policy.Rule{
				Name: l.Name + "-" + string(p), Auto: true, Mode: mode, At: c.Position(fmt.Sprintf("lists[%d]", i))}))
		}
	}
	return rules
}

func listRule(l List, p point, r policy.Rule) policy.Rule {
	r.When = is(p.lists, l.Name)
	r.Reason = p.subject + " is on list " + l.Name + ": {" + p.lists + "}"
	if l.Do == "tag" {
		r.Do.Tags = []string{l.Name}
		return r
	}
	r.Do.Verdict, _ = policy.ParseVerdict(l.Do)
	switch {
	case l.Do == "accept" && len(p.proof) > 0:
		// A name that anyone may write proves nothing.
		r.When = all(r.When, anyOf(p.proof...))
	case l.Do == "reject":
		r.Do.Reply = policy.Reply{Code: 550, Enhanced: "5.7.1", Text: p.subject + " is on our list " + l.Name}
	case l.Do == "tempfail":
		r.Do.Reply = policy.Reply{Code: 451, Enhanced: "4.7.1", Text: p.subject + " is on our list " + l.Name + ", try again later"}
	}
	return r
}

// greylistRules asks the greylist at RCPT, and for null senders at the end of the
// header: sender verification by others, which ends at RCPT, would take a
// deferral for a no (RFC 6647, 5).
func (c *Config) greylistRules() []policy.Rule {
	g := c.Greylist
	if g.Scope == "off" {
		return nil
	}
	whom := []policy.Cond{yes("client.trusted", false)}
	if g.Scope == "suspicious" {
		whom = append(whom, anyOf(c.suspicious()...))
	}
	if len(g.SkipSenders) > 0 {
		whom = append(whom, not(all(is("spf.result", "pass"), named("mail_from", g.SkipSenders))))
	}
	atRcpt := append(whom[:len(whom):len(whom)], yes("mail_from.null", false))
	if len(g.SkipRecipients) > 0 {
		atRcpt = append(atRcpt, not(named("rcpt", g.SkipRecipients)))
	}
	atHeader := append(whom[:len(whom):len(whom)], yes("mail_from.null", true), late())
	at := c.Position("greylist")
	return []policy.Rule{
		{Name: "greylist", Auto: true, When: all(atRcpt...), Do: policy.Action{Greylist: true}, At: at},
		{Name: "greylist-null-sender", Auto: true, When: all(atHeader...), Do: policy.Action{Greylist: true}, At: at},
	}
}

// late holds always, and is known at the end of the header.
func late() policy.Cond {
	return leaf("header.fields", policy.Match{Op: policy.AtLeast, Num: 0})
}

// suspicious is what makes a stranger wait.
func (c *Config) suspicious() []policy.Cond {
	out := []policy.Cond{
		is("iprev.result", "fail", "permerror"),
		yes("client.dynamic", true),
		is("spf.result", "none", "neutral", "softfail", "fail", "permerror"),
	}
	for _, p := range list.Points() {
		if p == list.PointHeaderFrom || p == list.PointDKIM || p == list.PointLinks {
			continue // not known at RCPT
		}
		var names []string
		for _, l := range c.Lists {
			if l.Do == "suspicious" && l.Mode == "enforce" && l.applies(p) {
				names = append(names, l.Name)
			}
		}
		if len(names) > 0 {
			out = append(out, is(pointOf(p).lists, names...))
		}
	}
	return out
}

func (l List) applies(p list.Point) bool {
	for _, q := range l.Apply {
		if q == p {
			return true
		}
	}
	return false
}

// named matches addresses, and domains with all below them.
func named(field string, entries []string) policy.Cond {
	var addresses, domains []string
	for _, e := range entries {
		if isAddress(e) {
			addresses = append(addresses, e)
		} else {
			domains = append(domains, e)
		}
	}
	var cs []policy.Cond
	if len(addresses) > 0 {
		cs = append(cs, is(field+".address", addresses...))
	}
	if len(domains) > 0 {
		cs = append(cs, under(field+".domain", domains...))
	}
	return anyOf(cs...)
}

// isAddress tells user@domain from a domain.
func isAddress(s string) bool {
	for i := 1; i < len(s); i++ {
		if s[i] == '@' {
			return true
		}
	}
	return false
}
