package config

import (
	"net/netip"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// field is one key: a struct's field with what its tags say.
type field struct {
	name  string
	path  string // of allFields: such as lists[].name
	value reflect.Value
	tag   reflect.StructTag
}

// fields gives the keys of a section in order.
func fields(v reflect.Value) []field {
	var out []field
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if name := tag.Get("yaml"); name != "" && name != "-" {
			out = append(out, field{name: name, value: v.Field(i), tag: tag})
		}
	}
	return out
}

// isSection tells structs with keys from those that are one value.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[netip.Prefix]() && t != reflect.TypeFor[netip.Addr]()
}

// isSections tells lists of sections from those of values. Rules have a form of
// their own.
func isSections(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t != reflect.TypeFor[Rules]() && isSection(t.Elem())
}

// allFields gives every key with its default, sections before what they hold.
func allFields() []field { return walk(reflect.ValueOf(Default()).Elem(), "") }

// walk gives every key below a section.
func walk(v reflect.Value, path string) []field {
	var out []field
	for _, f := range fields(v) {
		f.path = join(path, f.name)
		out = append(out, f)
		t := f.value.Type()
		switch {
		case isSection(t):
			out = append(out, walk(f.value, f.path)...)
		case isSections(t):
			item := reflect.New(t.Elem()).Elem()
			setDefaults(item)
			out = append(out, walk(item, f.path+"[]")...)
		}
	}
	return out
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// parent cuts the last key or index off a path.
func parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	return path[:max(i, 0)]
}

// RestartKeys names the keys that differ and that only a restart can change.
func RestartKeys(old, new *Config) []string {
	a, b := walk(reflect.ValueOf(old).Elem(), ""), walk(reflect.ValueOf(new).Elem(), "")
	var out []string
	for i := range a {
		if a[i].tag.Get("restart") != "" && !reflect.DeepEqual(a[i].value.Interface(), b[i].value.Interface()) {
			out = append(out, a[i].path)
		}
	}
	return out
}

// later tells whether a path is one that a later version will know.
func later(path string) bool {
	switch path {
	case "content", "tls", "mta_log", "iprev", "trusted.relays", "dmarc.reports":
		return true
	}
	return false
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
