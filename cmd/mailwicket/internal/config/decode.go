package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"mailwicket/policy"
	"mailwicket/policy/rulefile"
)

// Parse reads a configuration over the defaults and gives every problem of its
// form: syntax, unknown keys, wrong types, values out of range. With problems
// the configuration holds defaults in their places, and is only good for
// finding more of them (Validate).
func Parse(name string, text []byte) (*Config, []policy.Problem) {
	c := Default()
	c.File, c.at, c.broken = name, map[string]policy.Position{}, map[string]bool{}
	root, problem := document(name, text)
	if problem != nil {
		return c, []policy.Problem{*problem}
	}
	d := &decoder{file: name, at: c.at, broken: c.broken}
	if root != nil {
		d.section(root, "", reflect.ValueOf(c).Elem())
	}
	for i := range c.Lists {
		c.Lists[i].fill()
	}
	for i := range c.DNSBL {
		c.DNSBL[i].fill()
	}
	for i := range c.Rates {
		c.Rates[i].fill()
	}
	return c, d.problems
}

// decoder walks a document along the struct tags of Config.
type decoder struct {
	file     string
	at       map[string]policy.Position // where each key stands that is given
	broken   map[string]bool            // paths that have a problem
	problems []policy.Problem
}

// maxProblems is as many as anybody would read: files that are no configurations
// at all may have millions.
const maxProblems = 100

func (d *decoder) problem(n *yaml.Node, path, message, hint string) {
	d.broken[path] = true
	at := policy.Position{File: d.file, Line: n.Line, Col: n.Column}
	switch {
	case len(d.problems) < maxProblems:
		d.problems = append(d.problems, policy.Problem{At: at, Path: path, Message: message, Hint: hint})
	case len(d.problems) == maxProblems:
		d.problems = append(d.problems, policy.Problem{At: at, Message: "too many problems: the rest is not told"})
	}
}

// section reads a mapping into a struct. One without any key is what remains
// when all keys are commented out.
func (d *decoder) section(n *yaml.Node, path string, v reflect.Value) {
	n = resolve(n)
	if isNull(n) && !required(v.Type()) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "want a mapping (key: value), got "+got(n), "")
		return
	}
	given := map[string]policy.Position{}
	all := fields(v)
	for i := 0; i+1 < len(n.Content) && len(d.problems) <= maxProblems; i += 2 {
		d.key(resolve(n.Content[i]), n.Content[i+1], path, all, given)
	}
	for _, f := range all {
		if _, ok := given[f.name]; f.tag.Get("required") != "" && !ok {
			d.problem(n, join(path, f.name), "is missing", "")
		}
	}
}

// required tells whether a struct has keys that must be given.
func required(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("required") != "" {
			return true
		}
	}
	return false
}

// key reads one key of a section that may have all of these.
func (d *decoder) key(k, x *yaml.Node, path string, all []field, given map[string]policy.Position) {
	if k.Kind != yaml.ScalarNode {
		d.problem(k, path, "want the name of a key, got "+got(k), "")
		return
	}
	sub := join(path, k.Value)
	at := policy.Position{File: d.file, Line: k.Line, Col: k.Column}
	if first, ok := given[k.Value]; ok {
		d.problem(k, sub, "is given twice", fmt.Sprintf("first given at line %d", first.Line))
		return
	}
	given[k.Value] = at
	i := slices.IndexFunc(all, func(f field) bool { return f.name == k.Value })
	switch {
	case i >= 0:
		d.at[sub] = at
		d.value(x, sub, all[i].value, all[i].tag)
	case later(sub):
		if !vacant(x, 0) {
			d.problem(k, sub, "is not supported by this version", "take it out: it would have no effect")
		}
	case k.Value == "<<":
		d.problem(k, sub, "merge keys are not read", "write the keys out")
	default:
		d.problem(k, sub, "unknown key", nearKey(k.Value, path, all))
	}
}

// nearKey is the hint for an unknown key.
func nearKey(name, path string, all []field) string {
	var names []string
	for _, f := range all {
		names = append(names, f.name)
	}
	if near := policy.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if whole := elsewhere(name); whole != "" && path == "" {
		return "did you mean " + whole + "?"
	}
	return "known keys here: " + strings.Join(names, ", ")
}

// elsewhere finds the one section that has a key of that name.
func elsewhere(name string) string {
	found := ""
	for _, f := range allFields() {
		if f.name == name {
			if found != "" {
				return ""
			}
			found = f.path
		}
	}
	return found
}

// value reads whatever the type of v asks for.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value, tag reflect.StructTag) {
	n = resolve(n)
	switch {
	case v.Type() == reflect.TypeFor[Rules]():
		rules, problems := rulefile.Node(d.file, n, path)
		d.problems = append(d.problems, problems...)
		d.broken[path] = d.broken[path] || len(problems) > 0
		v.Set(reflect.ValueOf(Rules(rules)))
	case v.Kind() == reflect.Slice:
		d.list(n, path, v, tag)
	case v.Kind() == reflect.Map:
		d.texts(n, path, v)
	case isSection(v.Type()):
		d.section(n, path, v)
	default:
		d.scalar(n, path, v, tag)
	}
}

// list reads a sequence in place of the default.
func (d *decoder) list(n *yaml.Node, path string, v reflect.Value, tag reflect.StructTag) {
	if isNull(n) && v.Len() == 0 {
		return
	}
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if isNull(n) {
			hint = "write [] for none"
		} else if n.Kind == yaml.ScalarNode {
			hint = "a list of one is written in brackets"
		}
		d.problem(n, path, "want a list, got "+got(n), hint)
		return
	}
	v.SetZero()
	for i, x := range n.Content {
		sub := fmt.Sprintf("%s[%d]", path, i)
		d.at[sub] = policy.Position{File: d.file, Line: x.Line, Col: x.Column}
		item := reflect.New(v.Type().Elem()).Elem()
		if isSection(item.Type()) {
			setDefaults(item)
		}
		d.value(x, sub, item, tag)
		v.Set(reflect.Append(v, item))
	}
}

// setDefaults fills a list's item from its tags.
func setDefaults(v reflect.Value) {
	for _, f := range fields(v) {
		if word := f.tag.Get("default"); word != "" {
			set(f.value, &yaml.Node{Kind: yaml.ScalarNode, Value: word}, f.tag)
		}
	}
}

// texts reads a mapping of texts whose keys are the user's own.
func (d *decoder) texts(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "want a mapping (key: value), got "+got(n), "")
		return
	}
	out := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := resolve(n.Content[i])
		if k.Kind != yaml.ScalarNode || strings.ContainsFunc(k.Value, unicode.IsControl) {
			d.problem(k, path, "want a text before the colon, got "+got(k), "")
			continue
		}
		sub := path + "[" + k.Value + "]"
		if first, ok := out[k.Value]; ok {
			d.problem(k, sub, "is given twice", fmt.Sprintf("first given as %q", first))
			continue
		}
		d.at[sub] = policy.Position{File: d.file, Line: k.Line, Col: k.Column}
		text := reflect.New(v.Type().Elem()).Elem()
		d.scalar(resolve(n.Content[i+1]), sub, text, "")
		out[k.Value] = text.String()
	}
	v.Set(reflect.ValueOf(out))
}

// scalar reads a single value and checks it against the tag.
func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value, tag reflect.StructTag) {
	want := wanted(v.Type(), tag)
	switch {
	case n.Kind != yaml.ScalarNode || isNull(n):
		hint := ""
		if isNull(n) && v.Kind() == reflect.String {
			hint = `write "" for none, or leave the key out for its default`
		}
		d.problem(n, path, "want "+want+", got "+got(n), hint)
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.problem(n, path, fmt.Sprintf("type tags such as %q are not read", n.Tag), "")
		return
	}
	if hint, ok := set(v, n, tag); !ok {
		d.problem(n, path, "want "+want+", got "+got(n), hint)
	}
}
