package rulefile

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"mailwicket/filter/fact"
	"mailwicket/policy"
)

// cond reads a mapping: every key must hold. all, any and not combine.
func (p *parser) cond(n *yaml.Node, path string, depth int) policy.Cond {
	if depth > maxDepth {
		p.problem(n, path, "conditions are nested too deep", "")
		return policy.Cond{}
	}
	if n.Kind != yaml.MappingNode {
		p.problem(n, path, "want conditions (field: value), got "+kind(n), "for example when: {spf.result: fail}")
		return policy.Cond{}
	}
	if depth > 0 && len(n.Content) == 0 {
		p.problem(n, path, "no condition is given", "for example {spf.result: fail}")
	}
	var all []policy.Cond
	p.each(n, path, func(k, v *yaml.Node) {
		sub := join(path, k.Value)
		switch k.Value {
		case "all":
			for _, c := range p.conds(v, sub, depth) {
				if len(c.All) > 0 {
					all = append(all, c.All...)
				} else {
					all = append(all, c)
				}
			}
		case "any":
			all = append(all, policy.Cond{Any: p.conds(v, sub, depth)})
		case "not":
			inner := p.cond(v, sub, depth+1)
			all = append(all, policy.Cond{Not: &inner})
		default:
			all = append(all, policy.Cond{Leaf: &policy.Leaf{Field: k.Value, At: p.at(k), Match: p.match(v, k.Value, sub, depth)}})
		}
	})
	if len(all) == 1 {
		return all[0]
	}
	return policy.Cond{All: all}
}

func (p *parser) conds(n *yaml.Node, path string, depth int) []policy.Cond {
	if n.Kind != yaml.SequenceNode {
		p.problem(n, path, "want a list of conditions, got "+kind(n), "for example any: [{spf.result: fail}, {iprev.result: fail}]")
		return nil
	}
	if len(n.Content) == 0 {
		p.problem(n, path, "the list is empty", "for example any: [{spf.result: fail}, {iprev.result: fail}]")
	}
	var out []policy.Cond
	for i, x := range items(n) {
		out = append(out, p.cond(x, fmt.Sprintf("%s[%d]", path, i), depth+1))
	}
	return out
}

// match reads what a field is compared with: a value, a list of values, or
// {operator: value, ...}.
func (p *parser) match(n *yaml.Node, field, path string, depth int) policy.Match {
	k := fieldKind(field)
	if n.Kind != yaml.MappingNode {
		return p.plain(n, k, path)
	}
	var all []policy.Match
	p.each(n, path, func(op, v *yaml.Node) {
		all = append(all, p.operator(op, v, field, k, join(path, op.Value), depth))
	})
	if len(n.Content) == 0 {
		p.problem(n, path, "no comparison is given", "for example {not: pass}")
	}
	if len(all) == 1 {
		return all[0]
	}
	return policy.Match{All: all}
}

// fieldKind is the type of a field; what is not known is taken for text, and
// found by policy.Compile.
func fieldKind(field string) fact.Kind {
	if field == "points" {
		return fact.Number
	}
	f, _ := fact.Lookup(field)
	return f.Kind
}

// plain is a bare value: what it means follows from the field's kind.
func (p *parser) plain(n *yaml.Node, k fact.Kind, path string) policy.Match {
	switch k {
	case fact.Bool:
		return policy.Match{Op: policy.Is, Bool: p.yes(n, path)}
	case fact.Addr:
		return policy.Match{Op: policy.In, Text: p.texts(n, path)}
	case fact.Number, fact.Duration:
		return policy.Match{Op: policy.Equals, Num: p.number(n, k, path)}
	}
	return policy.Match{Op: policy.Equals, Text: p.texts(n, path)}
}

var operators = []string{"not", "equals", "prefix", "suffix", "contains", "regex", "under", "in", "lt", "le", "gt", "ge", "is", "empty", "state"}

func (p *parser) operator(k, v *yaml.Node, field string, kd fact.Kind, path string, depth int) policy.Match {
	op := policy.Op(k.Value)
	switch op {
	case "not":
		if depth >= maxDepth {
			p.problem(k, path, "conditions are nested too deep", "")
			return policy.Match{}
		}
		inner := p.match(v, field, path, depth+1)
		return policy.Match{Not: &inner}
	case policy.Less, policy.AtMost, policy.Greater, policy.AtLeast:
		return policy.Match{Op: op, Num: p.number(v, kd, path)}
	case policy.Is, policy.Empty:
		return policy.Match{Op: op, Bool: p.yes(v, path)}
	case policy.Equals:
		return p.plain(v, kd, path)
	case policy.Prefix, policy.Suffix, policy.Contains, policy.Regex, policy.Under, policy.In, policy.State:
		return policy.Match{Op: op, Text: p.texts(v, path)}
	}
	hint := oneOf(k.Value, operators)
	if whole := field + "." + k.Value; fieldExists(whole) {
		hint = "write " + whole + ": ..."
	}
	p.problem(k, path, fmt.Sprintf("unknown comparison %q", k.Value), hint)
	return policy.Match{}
}

func fieldExists(name string) bool {
	_, ok := fact.Lookup(name)
	return ok
}
