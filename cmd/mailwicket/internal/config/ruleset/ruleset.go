// Package ruleset makes the rules that the keys of a configuration stand for.
// There is one mechanism: every knob is a rule that `config rules` prints.
package ruleset

import (
	"fmt"
	"slices"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/filter/dnsbl"
	"mailwicket/filter/list"
	"mailwicket/filter/mail"
	"mailwicket/policy"
	"mailwicket/policy/profile"
)

// Of gives the effective rules in their order: allow lists, the user's own rules,
// rates, the other lists, DNS lists, the profile's, greylisting.
//
// Rates come before lists that only mark a message: a mark must not lift a limit.
func Of(cfg *config.Config) ([]policy.Rule, error) {
	c := maker{cfg}
	builtin, err := profile.Rules(c.Profile)
	if err != nil {
		return nil, err
	}
	for i := range builtin {
		c.corroborate(&builtin[i].When)
	}
	var rules []policy.Rule
	rules = append(rules, c.listRules(true)...)
	rules = append(rules, c.Rules...)
	rules = append(rules, c.rateRules()...)
	rules = append(rules, c.listRules(false)...)
	rules = append(rules, c.zoneRules()...)
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

// maker makes the rules of one configuration.
type maker struct{ *config.Config }

// corroborate lets built-in rules take a DNS list for a bad sign only where the
// list may act by itself: not one that is observed or left to other rules.
func (c maker) corroborate(when *policy.Cond) {
	var names []string
	for _, z := range c.DNSBL {
		if z.Type == dnsbl.IP && z.Mode == "enforce" && z.Do != "none" {
			names = append(names, z.Name)
		}
	}
	for i := range when.All {
		c.corroborate(&when.All[i])
	}
	when.Any = slices.DeleteFunc(when.Any, func(x policy.Cond) bool {
		return len(names) == 0 && x.Leaf != nil && x.Leaf.Field == "dnsbl.zones"
	})
	for i, x := range when.Any {
		if x.Leaf != nil && x.Leaf.Field == "dnsbl.zones" {
			when.Any[i] = is("dnsbl.zones", names...)
		}
	}
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
	case list.PointLinks:
		return point{"links.lists", "link to {links.listed}", nil}
	}
	return point{}
}

// listRules gives one rule for each list and point, of allow lists or of the
// others.
func (c maker) listRules(allow bool) []policy.Rule {
	var rules []policy.Rule
	for i, l := range c.Lists {
		if (l.Do == "accept") != allow || l.Do == "none" || l.Do == "suspicious" {
			continue
		}
		mode, _ := policy.ParseMode(l.Mode)
		for _, p := range l.Apply {
			rules = append(rules, listRule(l, pointOf(p), policy.Rule{
				Name: l.Name + "-" + string(p), Auto: true, Mode: mode, At: c.Position(index("lists", i))}))
		}
	}
	return rules
}

func listRule(l config.List, p point, r policy.Rule) policy.Rule {
	r.When = is(p.lists, l.Name)
	r.Reason = p.subject + " is on list " + l.Name + ": {" + p.lists + "}"
	if l.Do == "accept" && len(p.proof) > 0 {
		// A name that anyone may write proves nothing.
		r.When = all(r.When, anyOf(p.proof...))
	}
	r.Do = hitAction(l.Do, l.Name, p.subject+" is on our list "+l.Name)
	return r
}

// hitAction is what a list does, with a text for the client.
func hitAction(do, name, text string) policy.Action {
	var a policy.Action
	if do == "tag" {
		a.Tags = []string{name}
		return a
	}
	a.Verdict, _ = policy.ParseVerdict(do)
	switch a.Verdict {
	case policy.Reject:
		a.Reply = policy.Reply{Code: 550, Enhanced: "5.7.1", Text: text}
	case policy.Tempfail:
		a.Reply = policy.Reply{Code: 451, Enhanced: "4.7.1", Text: text + ", try again later"}
	}
	return a
}

// zoneRules gives one rule for each DNS list and point.
func (c maker) zoneRules() []policy.Rule {
	var rules []policy.Rule
	for i, z := range c.DNSBL {
		if z.Do == "none" || z.Do == "suspicious" {
			continue
		}
		mode, _ := policy.ParseMode(z.Mode)
		for _, p := range asked(z) {
			at := zonePoint(p)
			text := at.subject + " is listed by " + mail.CanonicalDomain(z.Zone)
			rules = append(rules, policy.Rule{Name: zoneRuleName(z, p), Auto: true, Mode: mode, At: c.Position(index("dnsbl", i)),
				When: is(at.lists, z.Name), Do: hitAction(z.Do, z.Name, text), Reason: text})
		}
	}
	return rules
}

// zonePoint tells of a point of domain zones: the field with the zones' names,
// and the field with what was looked up.
func zonePoint(p list.Point) point {
	switch p {
	case list.PointHelo:
		return point{lists: "dnsbl.helo", subject: "{helo.name}"}
	case list.PointPTR:
		return point{lists: "dnsbl.name", subject: "{iprev.name}"}
	case list.PointMailFrom:
		return point{lists: "dnsbl.mail_from", subject: "{mail_from.domain}"}
	case list.PointHeaderFrom:
		return point{lists: "dnsbl.header_from", subject: "{header_from.domain}"}
	case list.PointDKIM:
		return point{lists: "dnsbl.dkim", subject: "{dkim.domain}"}
	case list.PointLinks:
		return point{lists: "dnsbl.links", subject: "link to {dnsbl.links_listed}"}
	}
	return point{lists: "dnsbl.zones", subject: "{client.ip}"}
}

// asked gives the points of a zone; one for addresses.
func asked(z config.Zone) []list.Point {
	if z.Type == dnsbl.IP {
		return []list.Point{list.PointClient}
	}
	return z.Apply
}

// zoneRuleName is dnsbl-NAME of addresses, dnsbl-NAME-POINT of names.
func zoneRuleName(z config.Zone, p list.Point) string {
	if z.Type == dnsbl.IP {
		return "dnsbl-" + z.Name
	}
	return "dnsbl-" + z.Name + "-" + string(p)
}

// greylistRules asks the greylist. Where it is asked for suspicious clients only,
// lists that are observed tell whom they would add.
func (c maker) greylistRules() []policy.Rule {
	ask := greyRule{name: "greylist", at: c.Position("greylist")}
	switch c.Greylist.Scope {
	case "off":
		return nil
	case "all":
		return c.askGreylist(ask)
	}
	ask.whom = suspicious()
	var observed []policy.Rule
	for _, s := range c.suspects() {
		if s.mode == policy.Enforce {
			ask.whom, ask.rcpt = append(ask.whom, s.whom...), append(ask.rcpt, s.rcpt...)
		} else {
			observed = append(observed, c.askGreylist(s)...)
		}
	}
	return append(c.askGreylist(ask), observed...)
}

// greyRule tells who is to be greylisted: any of whom or rcpt. The latter are
// about one recipient. Without either it is everybody.
type greyRule struct {
	name       string
	mode       policy.Mode
	at         policy.Position
	whom, rcpt []policy.Cond
}

// askGreylist asks at RCPT, and for null senders at the end of the header: sender
// verification by others, which ends at RCPT, would take a deferral for a no
// (RFC 6647, 5).
func (c maker) askGreylist(r greyRule) []policy.Rule {
	g := c.Greylist
	rule := func(name string, whom []policy.Cond, more ...policy.Cond) policy.Rule {
		cs := []policy.Cond{yes("client.trusted", false)}
		if len(whom) > 0 {
			cs = append(cs, anyOf(whom...))
		}
		if len(g.SkipSenders) > 0 {
			cs = append(cs, not(all(is("spf.result", "pass"), named("mail_from", g.SkipSenders))))
		}
		return policy.Rule{Name: name, Auto: true, Mode: r.mode, When: all(append(cs, more...)...),
			Do: policy.Action{Greylist: true}, At: r.at}
	}
	atRcpt := []policy.Cond{yes("mail_from.null", false)}
	if len(g.SkipRecipients) > 0 {
		atRcpt = append(atRcpt, not(named("rcpt", g.SkipRecipients)))
	}
	rules := []policy.Rule{rule(r.name, slices.Concat(r.whom, r.rcpt), atRcpt...)}
	if len(r.whom) > 0 || len(r.rcpt) == 0 {
		rules = append(rules, rule(r.name+"-null-sender", r.whom, yes("mail_from.null", true), late()))
	}
	return rules
}

// late holds always, and is known at the end of the header.
func late() policy.Cond {
	return leaf("header.fields", policy.Match{Op: policy.AtLeast, Num: 0})
}

// suspicious is what makes a stranger wait, beside lists.
func suspicious() []policy.Cond {
	return []policy.Cond{
		is("iprev.result", "fail", "permerror"),
		yes("client.dynamic", true),
		is("spf.result", "none", "neutral", "softfail", "fail", "permerror"),
	}
}

// suspects gives the lists and DNS lists that leave it to the greylist.
func (c maker) suspects() []greyRule {
	var out []greyRule
	for i, l := range c.Lists {
		if l.Do != "suspicious" || l.Mode == "off" {
			continue
		}
		mode, _ := policy.ParseMode(l.Mode)
		s := greyRule{name: "greylist-" + l.Name, mode: mode, at: c.Position(index("lists", i))}
		for _, p := range l.Apply {
			hit := is(pointOf(p).lists, l.Name)
			if p == list.PointRcpt {
				s.rcpt = append(s.rcpt, hit)
			} else {
				s.whom = append(s.whom, hit)
			}
		}
		out = append(out, s)
	}
	for i, z := range c.DNSBL {
		if z.Do != "suspicious" || z.Mode == "off" {
			continue
		}
		mode, _ := policy.ParseMode(z.Mode)
		s := greyRule{name: "greylist-dnsbl-" + z.Name, mode: mode, at: c.Position(index("dnsbl", i))}
		for _, p := range asked(z) {
			s.whom = append(s.whom, is(zonePoint(p).lists, z.Name))
		}
		out = append(out, s)
	}
	return out
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

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
