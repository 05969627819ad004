package rulefile

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"mailwicket/filter/fact"
	"mailwicket/policy"
)

var (
	verdicts = []string{"accept", "quarantine", "hold", "discard", "tempfail", "reject"}
	actions  = append(verdicts[:len(verdicts):len(verdicts)], "greylist", "continue", "tag", "header", "points")
)

// action reads "reject", or a mapping such as {reject: {text: ...}, tag: x}.
func (p *parser) action(n *yaml.Node, path string) policy.Action {
	var a policy.Action
	switch {
	case n.Kind == yaml.ScalarNode && !isNull(n):
		p.word(n, path, &a)
		return a
	case n.Kind != yaml.MappingNode || len(n.Content) == 0:
		p.problem(n, path, "want an action, got "+kind(n), oneOf("", actions))
		return a
	}
	keys := map[string]func(*yaml.Node){
		"greylist": func(v *yaml.Node) { a.Greylist = p.yes(v, path+".greylist") },
		"tag":      func(v *yaml.Node) { a.Tags = append(a.Tags, p.texts(v, path+".tag")...) },
		"points":   func(v *yaml.Node) { a.Points = p.number(v, fact.Number, path+".points") },
		"header":   func(v *yaml.Node) { a.Headers = append(a.Headers, p.headers(v, path+".header")...) },
	}
	for _, w := range verdicts {
		keys[w] = func(v *yaml.Node) {
			if a.Verdict != policy.Continue {
				p.problem(v, path, "two verdicts in one rule", "keep one")
			}
			a.Verdict, _ = policy.ParseVerdict(w)
			a.Reply = p.reply(v, path+"."+w, a.Verdict)
		}
	}
	p.mapping(n, path, keys)
	return a
}

// word reads an action that needs nothing more.
func (p *parser) word(n *yaml.Node, path string, a *policy.Action) {
	if n.Value == "greylist" {
		a.Greylist = true
		return
	}
	v, ok := policy.ParseVerdict(n.Value)
	if !ok {
		hint := oneOf(n.Value, actions)
		switch n.Value {
		case "tag", "header", "points":
			hint = "write do: {" + n.Value + ": ...}"
		}
		p.problem(n, path, fmt.Sprintf("unknown action %q", n.Value), hint)
	}
	a.Verdict = v
}

// headers reads one {name:, value:} or a list of them.
func (p *parser) headers(n *yaml.Node, path string) []policy.HeaderEdit {
	if n.Kind != yaml.SequenceNode {
		return []policy.HeaderEdit{p.header(n, path)}
	}
	if len(n.Content) == 0 {
		p.problem(n, path, "the list is empty", "")
	}
	var out []policy.HeaderEdit
	for i, x := range items(n) {
		out = append(out, p.header(x, fmt.Sprintf("%s[%d]", path, i)))
	}
	return out
}

func (p *parser) header(n *yaml.Node, path string) policy.HeaderEdit {
	var h policy.HeaderEdit
	if n.Kind != yaml.MappingNode {
		p.problem(n, path, "want {name:, value:}, got "+kind(n), "")
		return h
	}
	p.mapping(n, path, map[string]func(*yaml.Node){
		"name":  func(v *yaml.Node) { h.Name = p.text(v, path+".name") },
		"value": func(v *yaml.Node) { h.Value = p.text(v, path+".value") },
	})
	if !fieldName(h.Name) {
		p.problem(n, path, fmt.Sprintf("%q is no header field name", h.Name), "use printable ASCII without blank and colon")
	} else if reserved(h.Name) {
		p.problem(n, path, fmt.Sprintf("a field %s may not be added: the message has its own, or its readers take it for ours", h.Name),
			"choose a name that nobody else uses, such as X-Spam-Verdict")
	}
	return h
}

// fieldName is RFC 5322, 3.6.8.
func fieldName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return s != "" && len(s) <= 76
}

// reply reads what the client is told; "true" or nothing leaves the default.
func (p *parser) reply(n *yaml.Node, path string, v policy.Verdict) policy.Reply {
	var r policy.Reply
	if n.Kind != yaml.MappingNode {
		if !isNull(n) && (n.Tag != "!!bool" || !p.yes(n, path)) {
			p.problem(n, path, "want {code:, enhanced:, text:}, got "+kind(n), "or only true")
		}
		return r
	}
	p.mapping(n, path, map[string]func(*yaml.Node){
		"code": func(x *yaml.Node) {
			code, err := strconv.Atoi(x.Value)
			if err != nil {
				p.problem(x, path+".code", "want an SMTP reply code, got "+kind(x), "")
			}
			r.Code = code
		},
		"enhanced": func(x *yaml.Node) { r.Enhanced = p.text(x, path+".enhanced") },
		"text":     func(x *yaml.Node) { r.Text = p.text(x, path+".text") },
	})
	class := map[policy.Verdict]int{policy.Tempfail: 4, policy.Reject: 5}[v]
	if class == 0 {
		p.problem(n, path, v.String()+" takes no reply: the client hears 250", "leave the reply out")
		return r
	}
	if r.Code == 421 {
		p.problem(n, path+".code", "421 would end the session for all recipients", "use 450 or 451")
	} else if r.Code != 0 && r.Code/100 != class {
		p.problem(n, path+".code", fmt.Sprintf("%s needs a code of %d00 to %d99", v, class, class), "")
	}
	if r.Enhanced != "" && !enhanced(r.Enhanced, class) {
		p.problem(n, path+".enhanced", fmt.Sprintf("%q is no enhanced code of class %d", r.Enhanced, class), fmt.Sprintf("RFC 3463: for example %d.7.1", class))
	}
	return r
}

// enhanced is RFC 3463, 2.
func enhanced(s string, class int) bool {
	var a, b, c int
	n, err := fmt.Sscanf(s, "%d.%d.%d", &a, &b, &c)
	return err == nil && n == 3 && a == class && b >= 0 && b < 1000 && c >= 0 && c < 1000 && s == fmt.Sprintf("%d.%d.%d", a, b, c)
}

// reserved tells whether a field is one that a message has once (RFC 5322, 3.6),
// that MTAs and signers write (RFC 5321, 4.4; RFC 6376; RFC 8617; RFC 8601), or
// that we write ourselves.
func reserved(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "date", "from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "subject",
		"return-path", "received", "received-spf", "dkim-signature", "authentication-results", "mime-version":
		return true
	}
	for _, family := range []string{"arc-", "resent-", "content-", "x-mailwicket-"} {
		if strings.HasPrefix(name, family) {
			return true
		}
	}
	return false
}
