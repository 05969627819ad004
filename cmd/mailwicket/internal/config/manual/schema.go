package manual

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"mailwicket/cmd/mailwicket/internal/config"
	"mailwicket/cmd/mailwicket/internal/config/keys"
)

// obj is a part of a schema.
type obj = map[string]any

// Schema gives the form of the file as a JSON Schema (draft 7, which all editors
// know), for completion and checks while it is written. What the program takes it
// takes too, if words are written in lower case. It cannot see what keys mean
// together, the range of durations and of sizes with a unit, whether a name,
// address, network or expression is one, keys given twice, or more than one
// document.
func Schema() []byte {
	root := section(reflect.ValueOf(config.Default()).Elem(), "")
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "Mailwicket's configuration"
	root["definitions"] = ruleSchemas()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		panic(err) // maps, texts and numbers of our own
	}
	return b.Bytes()
}

// section gives the schema of a struct: a mapping, or nothing where no key must be
// given.
func section(v reflect.Value, path string) obj {
	properties, required := obj{}, []string{}
	for _, f := range keys.Of(v) {
		f.Path = keys.Join(path, f.Name)
		properties[f.Name] = property(f)
		if f.Tag.Get("required") != "" {
			required = append(required, f.Name)
		}
	}
	for _, p := range config.Later() {
		if keys.Parent(p) == path {
			properties[strings.TrimPrefix(p, path+".")] = obj{"allOf": []obj{{"$ref": ref("vacant")}}, "doNotSuggest": true,
				"description": "Not supported by this version: it may stand here without a value."}
		}
	}
	s := obj{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["type"], s["required"] = "object", required
	}
	return s
}

// property gives the schema of a key, with its manual.
func property(f keys.Field) obj {
	t := f.Value.Type()
	s := valueSchema(t, f)
	doc := f.Doc()
	if preset := f.Tag.Get("preset"); preset != "" {
		doc += " Default: " + preset + "."
	}
	if f.Tag.Get("restart") != "" {
		doc += " (restart)"
	}
	s["description"] = doc
	if f.Tag.Get("required") == "" && f.Tag.Get("preset") == "" && !keys.IsSection(t) {
		s["default"] = plain(keys.Encode(f.Value))
	}
	return s
}

// valueSchema gives the schema of what a key takes.
func valueSchema(t reflect.Type, f keys.Field) obj {
	switch {
	case t == reflect.TypeFor[config.Rules]():
		return obj{"type": []string{"array", "null"}, "items": obj{"$ref": ref("rule")}}
	case keys.IsSection(t):
		return section(f.Value, f.Path)
	case keys.IsSections(t):
		return obj{"type": []string{"array", "null"}, "items": section(keys.Item(t), f.Path+"[]")}
	case t.Kind() == reflect.Slice:
		s := obj{"type": "array", "items": scalarSchema(t.Elem(), f.Tag)}
		if f.Value.Len() == 0 && f.Tag.Get("required") == "" {
			s["type"] = []string{"array", "null"}
		}
		return s
	case t.Kind() == reflect.Map:
		return obj{"type": "object", "additionalProperties": text()}
	}
	return scalarSchema(t, f.Tag)
}

// The forms of scalars, as regular expressions of ECMA 262.
const (
	durationPattern = `^(0|[0-9]+(\.[0-9]+)?[dw]|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$`
	sizePattern     = `^[0-9]+ *(B|KiB|MiB|GiB|TiB)?$`
	networkPattern  = `^[0-9a-fA-F:.]+(/[0-9]{1,3})?$`
	addressPattern  = `^[0-9a-fA-F:.]+$`
	numberPattern   = `^-?[0-9]+(\.[0-9]+)?(KiB|MiB|GiB)?$`
	linePattern     = `^[^\x00-\x1f\x7f]*$`
)

// text is any scalar on one line: what YAML takes for a number is a text as well.
func text() obj {
	return obj{"type": []string{"string", "number", "boolean"}, "pattern": linePattern}
}

// scalarSchema gives the schema of one value. Bounds of JSON Schema hold for
// numbers, patterns for texts: sizes may be either.
func scalarSchema(t reflect.Type, tag reflect.StructTag) obj {
	if words := keys.Words(tag); len(words) > 0 {
		return obj{"enum": words}
	}
	lo, hi := tag.Get("min"), tag.Get("max")
	switch t {
	case reflect.TypeFor[config.Duration]():
		if keys.Bound(t, lo) == 0 {
			return obj{"type": []string{"string", "integer"}, "pattern": durationPattern, "minimum": 0, "maximum": 0}
		}
		return obj{"type": "string", "pattern": durationPattern}
	case reflect.TypeFor[config.Size]():
		return obj{"type": []string{"string", "integer"}, "pattern": sizePattern, "minimum": keys.Bound(t, lo), "maximum": keys.Bound(t, hi)}
	case reflect.TypeFor[netip.Prefix]():
		return obj{"type": "string", "pattern": networkPattern}
	case reflect.TypeFor[netip.Addr]():
		return obj{"type": "string", "pattern": addressPattern}
	}
	switch t.Kind() {
	case reflect.Bool:
		return obj{"type": "boolean"}
	case reflect.Int:
		return obj{"type": "integer", "minimum": keys.Bound(t, lo), "maximum": keys.Bound(t, hi)}
	case reflect.Float64:
		return obj{"type": "number", "minimum": json.Number(lo), "maximum": json.Number(hi)}
	}
	s := text()
	if form := tag.Get("form"); form != "" {
		s["pattern"] = form
	}
	return s
}

// plain gives a node's value for JSON.
func plain(n *yaml.Node) any {
	switch {
	case n.Kind == yaml.SequenceNode:
		out := []any{}
		for _, x := range n.Content {
			out = append(out, plain(x))
		}
		return out
	case n.Kind == yaml.MappingNode:
		out := obj{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return out
	case n.Tag == "!!str":
		return n.Value
	case n.Value == "true" || n.Value == "false":
		return n.Value == "true"
	}
	if _, err := strconv.ParseFloat(n.Value, 64); err == nil {
		return json.Number(n.Value)
	}
	return n.Value
}

func ref(name string) string { return "#/definitions/" + name }

// bare takes the marks of code off a word of the reference.
func bare(s string) string { return strings.Trim(s, "`") }

// described gives a property for each row of a table of the reference.
func described(rows [][]string, schema func(word string) obj) obj {
	out := obj{}
	for _, row := range rows {
		s := schema(bare(row[0]))
		s["description"] = strings.ReplaceAll(row[1], "`", "")
		out[bare(row[0])] = s
	}
	return out
}

// mapping is one with these keys, some of which must be given.
func mapping(properties obj, required ...string) obj {
	s := obj{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// several is a value or a list of such values.
func several(one obj) obj {
	return obj{"anyOf": []obj{one, {"type": "array", "minItems": 1, "items": one}}}
}

func enum(words []string) obj { return obj{"enum": slices.Clone(words)} }
