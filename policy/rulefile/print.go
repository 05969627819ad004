package rulefile

import (
	"strconv"

	"go.yaml.in/yaml/v4"

	"mailwicket/filter/fact"
	"mailwicket/policy"
)

// Print writes rules as Parse reads them, each with where it came from.
func Print(rules []policy.Rule) ([]byte, error) {
	if len(rules) == 0 {
		return []byte("rules: []\n"), nil
	}
	seq := &yaml.Node{Kind: yaml.SequenceNode}
	for _, r := range rules {
		n := ruleNode(r)
		if at := fact.Clean(r.At.String()); at != "" {
			n.HeadComment = "# " + at
		}
		seq.Content = append(seq.Content, n)
	}
	return yaml.Dump(pairs(bare("rules"), seq), yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
}

// scalar is a text, quoted where YAML would read something else.
func scalar(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// bare is a number, a word of ours or true and false.
func bare(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

func pairs(kv ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: kv}
}

func flow(n *yaml.Node) *yaml.Node { n.Style = yaml.FlowStyle; return n }

func list(ss []string) *yaml.Node {
	if len(ss) == 1 {
		return scalar(ss[0])
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range ss {
		n.Content = append(n.Content, scalar(s))
	}
	return n
}

func ruleNode(r policy.Rule) *yaml.Node {
	n := pairs(bare("name"), scalar(r.Name))
	if !r.Auto {
		n.Content = append(n.Content, bare("stage"), bare(r.Stage.String()))
	}
	if r.Mode != policy.Enforce {
		n.Content = append(n.Content, bare("mode"), scalar(r.Mode.String()))
	}
	if c := condNode(r.When); len(c.Content) > 0 {
		n.Content = append(n.Content, bare("when"), c)
	}
	n.Content = append(n.Content, bare("do"), actionNode(r.Do))
	if r.Reason != "" {
		n.Content = append(n.Content, bare("reason"), scalar(r.Reason))
	}
	return n
}

// condNode writes a condition as a mapping.
func condNode(c policy.Cond) *yaml.Node {
	switch {
	case c.Leaf != nil:
		return pairs(scalar(c.Leaf.Field), matchNode(c.Leaf.Match, fieldKind(c.Leaf.Field)))
	case c.Not != nil:
		return pairs(bare("not"), condNode(*c.Not))
	case len(c.Any) > 0:
		return pairs(bare("any"), condList(c.Any))
	}
	n := pairs()
	seen := map[string]bool{}
	for _, x := range c.All {
		sub := condNode(x)
		if len(sub.Content) != 2 || seen[sub.Content[0].Value] {
			return pairs(bare("all"), condList(c.All))
		}
		seen[sub.Content[0].Value] = true
		n.Content = append(n.Content, sub.Content...)
	}
	return n
}

func condList(cs []policy.Cond) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, c := range cs {
		n.Content = append(n.Content, flow(condNode(c)))
	}
	return n
}

// matchNode writes a comparison with a field of that kind: as a bare value where
// Parse would read the same from it.
func matchNode(m policy.Match, k fact.Kind) *yaml.Node {
	switch {
	case m.Not != nil:
		return flow(pairs(bare("not"), matchNode(*m.Not, k)))
	case len(m.All) > 0:
		n := flow(pairs())
		for _, x := range m.All {
			sub := matchNode(x, k)
			if sub.Kind != yaml.MappingNode {
				sub = pairs(bare("equals"), sub)
			}
			n.Content = append(n.Content, sub.Content...)
		}
		return n
	}
	v, natural := matchValue(m, k)
	if natural {
		return v
	}
	return flow(pairs(bare(string(m.Op)), v))
}

// matchValue writes what is compared with; natural says that the operator
// follows from the field's kind.
func matchValue(m policy.Match, k fact.Kind) (v *yaml.Node, natural bool) {
	switch m.Op {
	case policy.Is:
		return bare(strconv.FormatBool(m.Bool)), k == fact.Bool
	case policy.Empty:
		return bare(strconv.FormatBool(m.Bool)), false
	case policy.In:
		return list(m.Text), k == fact.Addr
	case policy.Less, policy.AtMost, policy.Greater, policy.AtLeast:
		return number(m.Num, k), false
	case policy.Equals:
		if k == fact.Number || k == fact.Duration {
			return number(m.Num, k), true
		}
		return list(m.Text), true
	}
	return list(m.Text), false
}

func number(f float64, k fact.Kind) *yaml.Node {
	if k == fact.Duration {
		return bare(printDuration(f))
	}
	return bare(strconv.FormatFloat(f, 'f', -1, 64))
}

func actionNode(a policy.Action) *yaml.Node {
	plain := len(a.Tags) == 0 && len(a.Headers) == 0 && a.Points == 0 && a.Reply == (policy.Reply{})
	if plain && a.Greylist && a.Verdict == policy.Continue {
		return bare("greylist")
	}
	if plain && !a.Greylist {
		return bare(a.Verdict.String())
	}
	n := pairs()
	add := func(key string, v *yaml.Node) { n.Content = append(n.Content, bare(key), v) }
	if a.Greylist {
		add("greylist", bare("true"))
	}
	if a.Verdict != policy.Continue {
		add(a.Verdict.String(), replyNode(a.Reply))
	}
	if len(a.Tags) > 0 {
		add("tag", list(a.Tags))
	}
	if a.Points != 0 {
		add("points", number(a.Points, fact.Number))
	}
	if len(a.Headers) > 0 {
		hs := &yaml.Node{Kind: yaml.SequenceNode}
		for _, h := range a.Headers {
			hs.Content = append(hs.Content, flow(pairs(bare("name"), scalar(h.Name), bare("value"), scalar(h.Value))))
		}
		add("header", hs)
	}
	return n
}

func replyNode(r policy.Reply) *yaml.Node {
	n := flow(pairs())
	if r.Code != 0 {
		n.Content = append(n.Content, bare("code"), bare(strconv.Itoa(r.Code)))
	}
	if r.Enhanced != "" {
		n.Content = append(n.Content, bare("enhanced"), scalar(r.Enhanced))
	}
	if r.Text != "" {
		n.Content = append(n.Content, bare("text"), scalar(r.Text))
	}
	if len(n.Content) == 0 {
		return bare("true")
	}
	return n
}
