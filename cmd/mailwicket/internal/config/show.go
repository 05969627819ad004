package config

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"

	"mailwicket/policy/rulefile"
)

// Show gives the effective configuration as YAML that Parse reads: every key,
// defaults too. Secrets are hidden.
func (c *Config) Show() []byte {
	shown := c.hidden()
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields(reflect.ValueOf(shown).Elem()) {
		if f.name != "rules" {
			root.Content = append(root.Content, text(f.name), encode(f.value))
		}
	}
	out := dump(root)
	if len(c.Rules) == 0 {
		return append(out, "rules: []\n"...)
	}
	rules, err := rulefile.Print(c.Rules)
	if err != nil {
		return fmt.Appendf(out, "# rules: %q\n", err.Error())
	}
	return append(out, rules...)
}

// hidden gives a copy without the secrets that URLs may hold.
func (c *Config) hidden() *Config {
	shown := *c
	shown.Redis.URL = hideURL(c.Redis.URL)
	shown.Lists = slices.Clone(c.Lists)
	for i := range shown.Lists {
		shown.Lists[i].URL = hideFeed(shown.Lists[i].URL)
	}
	return &shown
}

// shownFields are the keys of a section, but for those that stand nowhere while
// they have no value.
func shownFields(v reflect.Value) []field {
	return slices.DeleteFunc(fields(v), func(f field) bool { return f.tag.Get("sparse") != "" && f.value.IsZero() })
}

// encode writes a value as Parse reads it.
func encode(v reflect.Value) *yaml.Node {
	switch x := v.Interface().(type) {
	case Secret, Duration, Size:
		return text(fmt.Sprint(x))
	case netip.Prefix:
		if x.IsSingleIP() {
			return text(x.Addr().String())
		}
		return text(x.String())
	case netip.Addr:
		return text(x.String())
	}
	switch v.Kind() {
	case reflect.Bool:
		return bare(strconv.FormatBool(v.Bool()))
	case reflect.Int:
		return bare(strconv.FormatInt(v.Int(), 10))
	case reflect.Float64:
		return bare(strconv.FormatFloat(v.Float(), 'f', -1, 64))
	case reflect.Slice:
		return encodeList(v)
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		texts := v.Interface().(map[string]string)
		for _, k := range slices.Sorted(maps.Keys(texts)) {
			n.Content = append(n.Content, text(k), text(texts[k]))
		}
		return n
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range shownFields(v) {
			n.Content = append(n.Content, text(f.name), encode(f.value))
		}
		return n
	}
	return text(v.String())
}

// encodeList writes lists of sections as blocks, others on one line.
func encodeList(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if !isSection(v.Type().Elem()) || v.Len() == 0 {
		n.Style = yaml.FlowStyle
	}
	for i := range v.Len() {
		n.Content = append(n.Content, encode(v.Index(i)))
	}
	return n
}

func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func bare(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// dump prints nodes that were made here, which cannot go wrong but by a
// mistake of ours.
func dump(n *yaml.Node) []byte {
	out, err := yaml.Dump(n, yaml.WithLineWidth(-1), yaml.WithQuotePreference(yaml.QuoteDouble))
	if err != nil {
		panic(err)
	}
	return bytes.TrimLeft(out, "\n")
}
