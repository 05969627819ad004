package policy

import (
	"fmt"
	"slices"
	"strings"
)

// LostTags finds conditions on tags that no rule leaves: mostly slips of the pen,
// of rules that then never match. It is for the rules of a whole configuration;
// those of its lists, limits and profile leave tags too.
func LostTags(rules []Rule) []Problem {
	var left []string
	for _, r := range rules {
		for _, tag := range r.Do.Tags {
			left = append(left, strings.ToLower(tag))
		}
	}
	var problems []Problem
	for _, r := range rules {
		r.When.leaves(func(l *Leaf) {
			if l.Field != fieldTags {
				return
			}
			for _, tag := range l.Match.exact() {
				if slices.Contains(left, strings.ToLower(tag)) {
					continue
				}
				hint := "a rule before it must have do: {tag: " + tag + "}"
				if n := Nearest(tag, left); n != "" {
					hint = fmt.Sprintf("did you mean %q?", n)
				}
				at := l.At
				if at == (Position{}) {
					at = r.At
				}
				problems = append(problems, Problem{at, "rule " + r.Name, fmt.Sprintf("no rule leaves the tag %q", tag), hint})
			}
		})
	}
	return problems
}

// leaves hands over every comparison of a condition.
func (c *Cond) leaves(each func(*Leaf)) {
	for i := range c.All {
		c.All[i].leaves(each)
	}
	for i := range c.Any {
		c.Any[i].leaves(each)
	}
	if c.Not != nil {
		c.Not.leaves(each)
	}
	if c.Leaf != nil {
		each(c.Leaf)
	}
}

// exact gives the words that a value must equal, or must not.
func (m *Match) exact() []string {
	switch {
	case m.Not != nil:
		return m.Not.exact()
	case m.Op == Equals:
		return m.Text
	}
	var words []string
	for i := range m.All {
		words = append(words, m.All[i].exact()...)
	}
	return words
}
