// Package rulefile reads rules from YAML and writes them back, with the place
// of every mistake.
package rulefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
	"mailwicket/policy"
)

// Bounds of a file. Aliases count as what they stand for.
const (
	maxBytes    = 4 << 20
	maxNodes    = 200_000
	maxDepth    = 20 // of conditions inside conditions
	maxProblems = 100
)

// Parse reads a file that holds "rules:", a list of rules. All problems are
// given at once, with the rules that have none.
func Parse(name string, text []byte) ([]policy.Rule, []policy.Problem) {
	p := &parser{file: name}
	doc := p.load(text)
	if doc == nil || !p.bounded(doc) {
		return nil, p.problems
	}
	var rules []policy.Rule
	p.mapping(doc, "", map[string]func(*yaml.Node){
		"rules": func(n *yaml.Node) { rules = p.list(n, "rules") },
	})
	return rules, p.problems
}

// Node reads a list of rules from a larger document, as Parse does.
func Node(file string, n *yaml.Node, path string) ([]policy.Rule, []policy.Problem) {
	p := &parser{file: file}
	if n == nil || n.Kind == 0 || !p.bounded(n) {
		return nil, p.problems
	}
	return p.list(resolve(n), path), p.problems
}

type parser struct {
	file     string
	problems []policy.Problem
}

func (p *parser) at(n *yaml.Node) policy.Position {
	return policy.Position{File: p.file, Line: n.Line, Col: n.Column}
}

func (p *parser) problem(n *yaml.Node, path, message, hint string) {
	p.add(policy.Problem{At: p.at(n), Path: path, Message: message, Hint: hint})
}

func (p *parser) add(x policy.Problem) {
	switch {
	case len(p.problems) < maxProblems:
		p.problems = append(p.problems, x)
	case len(p.problems) == maxProblems:
		p.problems = append(p.problems, policy.Problem{At: policy.Position{File: p.file}, Message: "too many problems, the rest is not told"})
	}
}

// load reads the one document of the text; nil where there is none.
func (p *parser) load(text []byte) *yaml.Node {
	whole := policy.Problem{At: policy.Position{File: p.file}}
	if len(text) > maxBytes {
		whole.Message = fmt.Sprintf("the file is longer than %d MiB", maxBytes>>20)
		p.add(whole)
		return nil
	}
	var doc, second yaml.Node
	in, err := yaml.NewLoader(bytes.NewReader(text))
	if err == nil {
		err = in.Load(&doc)
	}
	if err == nil {
		if err = in.Load(&second); err == nil {
			p.problem(&second, "", "a second document in one file", "keep one, without \"---\" between rules")
			return nil
		}
	}
	var bad *yaml.LoadError
	switch {
	case errors.Is(err, io.EOF):
	case errors.As(err, &bad):
		whole.Message = "not YAML: " + bad.Message
		if bad.Mark.Line > 0 {
			whole.At.Line, whole.At.Col = bad.Mark.Line, bad.Mark.Column
		}
		p.add(whole)
		return nil
	default:
		whole.Message = err.Error()
		p.add(whole)
		return nil
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}

// bounded refuses aliases that hold themselves, and trees that aliases blow up.
func (p *parser) bounded(n *yaml.Node) bool {
	const open = -1
	sizes := map[*yaml.Node]int{}
	var loop *yaml.Node
	var weigh func(n *yaml.Node) int
	weigh = func(n *yaml.Node) int {
		if size, ok := sizes[n]; ok {
			if size == open {
				loop = n
				return 0
			}
			return size
		}
		sizes[n] = open
		size := 1
		if n.Kind == yaml.AliasNode && n.Alias != nil {
			size += weigh(n.Alias)
		}
		for _, x := range n.Content {
			size = min(size+weigh(x), maxNodes+1)
		}
		sizes[n] = size
		return size
	}
	size := weigh(n)
	switch {
	case loop != nil:
		p.problem(loop, "", "the anchor holds an alias of itself", "")
		return false
	case size > maxNodes:
		p.problem(n, "", fmt.Sprintf("more than %d values, aliases included", maxNodes), "keep long lists under lists:")
		return false
	}
	return true
}

// resolve gives what an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// items gives a list's values, aliases resolved.
func items(n *yaml.Node) []*yaml.Node {
	out := make([]*yaml.Node, 0, len(n.Content))
	for _, x := range n.Content {
		out = append(out, resolve(x))
	}
	return out
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// each walks a mapping. A key that is no text or comes twice is a problem.
func (p *parser) each(n *yaml.Node, path string, do func(k, v *yaml.Node)) {
	seen := map[string]bool{}
	all := items(n)
	for i := 0; i+1 < len(all); i += 2 {
		k := all[i]
		switch {
		case k.Kind != yaml.ScalarNode:
			p.problem(k, path, "want a key, got "+kind(k), "")
		case seen[k.Value]:
			p.problem(k, join(path, k.Value), "key is given twice", "the first would be lost; in conditions use all: [...]")
		default:
			seen[k.Value] = true
			do(k, all[i+1])
		}
	}
}

// mapping reads a mapping of known keys.
func (p *parser) mapping(n *yaml.Node, path string, keys map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.problem(n, path, "want a mapping (key: value), got "+kind(n), "")
		return
	}
	p.each(n, path, func(k, v *yaml.Node) {
		if read, ok := keys[k.Value]; ok {
			read(v)
			return
		}
		names := make([]string, 0, len(keys))
		for name := range keys {
			names = append(names, name)
		}
		slices.Sort(names)
		hint := "known keys: " + strings.Join(names, ", ")
		if near := policy.Nearest(k.Value, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		p.problem(k, join(path, k.Value), "unknown key", hint)
	})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) == 0:
		return "an empty mapping"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.Kind == yaml.ScalarNode:
		return strconv.Quote(n.Value)
	}
	return "something else"
}

func (p *parser) list(n *yaml.Node, path string) []policy.Rule {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		p.problem(n, path, "want a list of rules, got "+kind(n), "begin each rule with \"- name:\"")
		return nil
	}
	var out []policy.Rule
	for i, item := range items(n) {
		before := len(p.problems)
		if r := p.rule(item, fmt.Sprintf("%s[%d]", path, i)); len(p.problems) == before {
			out = append(out, r)
		}
	}
	return out
}

func (p *parser) rule(n *yaml.Node, path string) policy.Rule {
	r := policy.Rule{At: p.at(n), Auto: true}
	if n.Kind != yaml.MappingNode {
		p.problem(n, path, "want a rule, got "+kind(n), "begin each rule with \"- name:\"")
		return r
	}
	did, named := false, false
	p.mapping(n, path, map[string]func(*yaml.Node){
		"name": func(v *yaml.Node) {
			named = true
			r.Name = p.name(v, path+".name")
		},
		"reason": func(v *yaml.Node) { r.Reason = p.text(v, path+".reason") },
		"stage": func(v *yaml.Node) {
			s, ok := mail.ParseStage(v.Value)
			if !ok {
				p.problem(v, path+".stage", "unknown stage "+kind(v), oneOf(v.Value, stageNames()))
			}
			r.Stage, r.Auto = s, false
		},
		"mode": func(v *yaml.Node) {
			m, ok := policy.ParseMode(v.Value)
			if !ok {
				p.problem(v, path+".mode", "unknown mode "+kind(v), oneOf(v.Value, []string{"enforce", "observe", "off"}))
			}
			r.Mode = m
		},
		"when": func(v *yaml.Node) { r.When = p.cond(v, path+".when", 0) },
		"do":   func(v *yaml.Node) { did = true; r.Do = p.action(v, path+".do") },
	})
	if !named {
		p.problem(n, path, "rule has no name", "add name: some-words")
	}
	if !did {
		p.problem(n, path, "rule has no do", "add do: reject, tempfail, accept, quarantine, hold, discard, greylist, or {tag: word}")
	}
	return r
}

// name reads a rule's name, which stands in logs, metrics and header fields.
func (p *parser) name(n *yaml.Node, path string) string {
	s := p.text(n, path)
	if n.Kind == yaml.ScalarNode && !isNull(n) && (strings.TrimSpace(s) == "" || fact.Clean(s) != s) {
		p.problem(n, path, fmt.Sprintf("%q is no name", s), "write some-words")
	}
	return s
}

func stageNames() []string {
	var out []string
	for _, s := range mail.Stages() {
		out = append(out, s.String())
	}
	return out
}

func oneOf(got string, words []string) string {
	hint := "it can be " + strings.Join(words, ", ")
	if n := policy.Nearest(got, words); n != "" {
		hint = fmt.Sprintf("did you mean %q? %s", n, hint)
	}
	return hint
}
