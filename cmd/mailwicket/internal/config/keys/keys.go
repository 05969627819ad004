// Package keys makes a configuration file of a struct: its fields are the keys,
// their tags say what a key takes and what it is for. Reading is strict and finds
// all problems at once, each with line, column and a hint.
//
// The tags:
//
//	yaml      the key's name; fields without it are none
//	doc       what the key is for: the manual
//	default   of keys in the items of a list: the value where it is not given
//	preset    what the manual calls the default, where that is found out later
//	enum      the only texts that it takes, set apart by commas
//	later     texts that a later version will take
//	form      a regular expression that texts match: for editors; what they
//	          mean is looked at later, with better words
//	min, max  the range of numbers, durations and sizes
//	required  it must be given
//	restart   only a restart can change it
//	sparse    it is not shown while it has no value
package keys

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"mailwicket/policy"
)

// Field is one key: a struct's field with what its tags say.
type Field struct {
	Name  string
	Path  string // of All: such as lists[].name
	Value reflect.Value
	Tag   reflect.StructTag
}

// Doc is what the key is for.
func (f Field) Doc() string { return f.Tag.Get("doc") }

// Own is a value with a form of its own, which reads itself from a node. path
// says where it stands.
type Own interface {
	Read(file string, n *yaml.Node, path string) []policy.Problem
}

// Of gives the keys of a section in order.
func Of(v reflect.Value) []Field {
	var out []Field
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if name := tag.Get("yaml"); name != "" && name != "-" {
			out = append(out, Field{Name: name, Value: v.Field(i), Tag: tag})
		}
	}
	return out
}

// Shown gives the keys of a section, but for those that stand nowhere while they
// have no value.
func Shown(v reflect.Value) []Field {
	return slices.DeleteFunc(Of(v), func(f Field) bool { return f.Tag.Get("sparse") != "" && f.Value.IsZero() })
}

// IsOwn tells values with a form of their own.
func IsOwn(t reflect.Type) bool { return reflect.PointerTo(t).Implements(reflect.TypeFor[Own]()) }

// IsSection tells structs with keys from those that are one value.
func IsSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[netip.Prefix]() && t != reflect.TypeFor[netip.Addr]()
}

// IsSections tells lists of sections from those of values.
func IsSections(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && !IsOwn(t) && IsSection(t.Elem())
}

// All gives every key below a section, which is a pointer to a struct: sections
// before what they hold, and the keys of a list's items with their defaults.
func All(section any) []Field { return walk(reflect.ValueOf(section).Elem(), "") }

func walk(v reflect.Value, path string) []Field {
	var out []Field
	for _, f := range Of(v) {
		f.Path = Join(path, f.Name)
		out = append(out, f)
		t := f.Value.Type()
		switch {
		case IsSection(t):
			out = append(out, walk(f.Value, f.Path)...)
		case IsSections(t):
			out = append(out, walk(Item(t), f.Path+"[]")...)
		}
	}
	return out
}

// Item gives an item of a list of sections, with its defaults.
func Item(t reflect.Type) reflect.Value {
	item := reflect.New(t.Elem()).Elem()
	setDefaults(item)
	return item
}

// setDefaults fills a list's item from its tags.
func setDefaults(v reflect.Value) {
	for _, f := range Of(v) {
		if word := f.Tag.Get("default"); word != "" {
			set(f.Value, &yaml.Node{Kind: yaml.ScalarNode, Value: word}, f.Tag)
		}
	}
}

// Join adds a key to a path.
func Join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Parent cuts the last key or index off a path.
func Parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	return path[:max(i, 0)]
}
