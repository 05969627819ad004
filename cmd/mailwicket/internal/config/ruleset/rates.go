package ruleset

import (
	"fmt"
	"strings"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/filter/limit"
	"mailwicket/policy"
)

// rateRules gives one rule for each limit. Bytes are known at the end of the
// message, the others at RCPT.
func (c maker) rateRules() []policy.Rule {
	var rules []policy.Rule
	for i, r := range c.Rates {
		if r.Do == "none" {
			continue
		}
		field := "rates.exceeded"
		if r.Unit == limit.Bytes {
			field = "rates.size_exceeded"
		}
		mode, _ := policy.ParseMode(r.Mode)
		rules = append(rules, policy.Rule{
			Name: "rate-" + r.Name, Auto: true, Mode: mode, At: c.Position(index("rates", i)), When: is(field, r.Name),
			Reason: fmt.Sprintf("more than %s %s of %s", r.Limit, r.Unit, whose(r)), Do: rateAction(r)})
	}
	return rules
}

func rateAction(r config.Rate) policy.Action {
	const text = "Too much mail"
	switch r.Do {
	case "tag":
		return policy.Action{Tags: []string{r.Name}}
	case "reject":
		return policy.Action{Verdict: policy.Reject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: text}}
	case "quarantine":
		return policy.Action{Verdict: policy.Quarantine}
	}
	return policy.Action{Verdict: policy.Tempfail, Reply: policy.Reply{Code: 450, Enhanced: "4.7.1", Text: text + ", try again later"}}
}

// whose names what is counted by, with the values that are known when it is
// decided.
func whose(r config.Rate) string {
	fields := map[limit.Key]string{limit.Client: "client.ip", limit.Net: "client.ip", limit.Sender: "mail_from.address",
		limit.SenderDomain: "mail_from.domain", limit.AuthUser: "auth.user"}
	if r.Unit != limit.Bytes {
		fields[limit.Rcpt], fields[limit.RcptDomain] = "rcpt.address", "rcpt.domain"
	}
	var out []string
	for _, k := range r.Key {
		s := string(k)
		if f := fields[k]; f != "" {
			s += " {" + f + "}"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}
