package keys

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"mailwicket/policy"
)

// Decoded is what came of reading a file.
type Decoded struct {
	At       map[string]policy.Position // where each key stands that is given
	Broken   map[string]bool            // paths whose value could not be read
	Problems []policy.Problem
}

// Decode reads a file into a section, which is a pointer to a struct that holds
// the defaults. Keys with a problem keep theirs. later tells of paths that a later
// version will know: they may stand there without a value.
func Decode(name string, text []byte, section any, later func(path string) bool) Decoded {
	d := &decoder{file: name, root: section, later: later}
	d.At, d.Broken = map[string]policy.Position{}, map[string]bool{}
	root, problem := document(name, text)
	switch {
	case problem != nil:
		d.Problems = []policy.Problem{*problem}
	case root != nil:
		d.section(root, "", reflect.ValueOf(section).Elem())
	}
	return d.Decoded
}

// decoder walks a document along the struct tags.
type decoder struct {
	file  string
	root  any // the whole, for hints
	later func(path string) bool
	Decoded
}

// MaxProblems is as many as anybody would read: files that are no configurations
// at all may have millions.
const MaxProblems = 100

func (d *decoder) problem(n *yaml.Node, path, message, hint string) {
	d.Broken[path] = true
	at := policy.Position{File: d.file, Line: n.Line, Col: n.Column}
	switch {
	case len(d.Problems) < MaxProblems:
		d.Problems = append(d.Problems, policy.Problem{At: at, Path: path, Message: message, Hint: hint})
	case len(d.Problems) == MaxProblems:
		d.Problems = append(d.Problems, policy.Problem{At: at, Message: "too many problems: the rest is not told"})
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
	all := Of(v)
	for i := 0; i+1 < len(n.Content) && len(d.Problems) <= MaxProblems; i += 2 {
		d.key(resolve(n.Content[i]), n.Content[i+1], path, all, given)
	}
	for _, f := range all {
		if _, ok := given[f.Name]; f.Tag.Get("required") != "" && !ok {
			d.problem(n, Join(path, f.Name), "is missing", "")
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
func (d *decoder) key(k, x *yaml.Node, path string, all []Field, given map[string]policy.Position) {
	if k.Kind != yaml.ScalarNode {
		d.problem(k, path, "want the name of a key, got "+got(k), "")
		return
	}
	sub := Join(path, k.Value)
	at := policy.Position{File: d.file, Line: k.Line, Col: k.Column}
	if first, ok := given[k.Value]; ok {
		d.problem(k, sub, "is given twice", fmt.Sprintf("first given at line %d", first.Line))
		return
	}
	given[k.Value] = at
	i := slices.IndexFunc(all, func(f Field) bool { return f.Name == k.Value })
	switch {
	case i >= 0:
		d.At[sub] = at
		d.value(x, sub, all[i].Value, all[i].Tag)
	case d.later(sub):
		if !vacant(x, 0) {
			d.problem(k, sub, "is not supported by this version", "take it out: it would have no effect")
		}
	case k.Value == "<<":
		d.problem(k, sub, "merge keys are not read", "write the keys out")
	default:
		d.problem(k, sub, "unknown key", d.nearKey(k.Value, path, all))
	}
}

// nearKey is the hint for an unknown key.
func (d *decoder) nearKey(name, path string, all []Field) string {
	var names []string
	for _, f := range all {
		names = append(names, f.Name)
	}
	if near := policy.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if whole := d.elsewhere(name); whole != "" && path == "" {
		return "did you mean " + whole + "?"
	}
	return "known keys here: " + strings.Join(names, ", ")
}

// elsewhere finds the one section that has a key of that name.
func (d *decoder) elsewhere(name string) string {
	found := ""
	for _, f := range All(d.root) {
		if f.Name == name {
			if found != "" {
				return ""
			}
			found = f.Path
		}
	}
	return found
}

// value reads whatever the type of v asks for.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value, tag reflect.StructTag) {
	n = resolve(n)
	switch {
	case IsOwn(v.Type()):
		problems := v.Addr().Interface().(Own).Read(d.file, n, path)
		d.Problems = append(d.Problems, problems...)
		d.Broken[path] = d.Broken[path] || len(problems) > 0
	case v.Kind() == reflect.Slice:
		d.list(n, path, v, tag)
	case v.Kind() == reflect.Map:
		d.texts(n, path, v)
	case IsSection(v.Type()):
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
	t := v.Type()
	v.SetZero()
	for i, x := range n.Content {
		sub := fmt.Sprintf("%s[%d]", path, i)
		d.At[sub] = policy.Position{File: d.file, Line: x.Line, Col: x.Column}
		item := reflect.New(t.Elem()).Elem()
		if IsSections(t) {
			item = Item(t)
		}
		d.value(x, sub, item, tag)
		v.Set(reflect.Append(v, item))
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
		d.At[sub] = policy.Position{File: d.file, Line: k.Line, Col: k.Column}
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

// vacant tells whether a value asks for nothing, so that it may stand under a
// key of a later version.
func vacant(n *yaml.Node, depth int) bool {
	n = resolve(n)
	switch n.Kind {
	case yaml.ScalarNode:
		return isNull(n) || n.Value == ""
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			if depth > 2 || !vacant(n.Content[i], depth+1) {
				return false
			}
		}
		return true
	}
	return n.Kind == yaml.SequenceNode && len(n.Content) == 0
}
