package config

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v4"

	"mailwicket/policy/rulefile"
)

// Show gives the effective configuration as YAML that Parse reads: every key,
// defaults too. Secrets are hidden.
func (c *Config) Show() []byte {
	shown := *c
	shown.Redis.URL = hideURL(c.Redis.URL)
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields(reflect.ValueOf(&shown).Elem()) {
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
	}
	switch v.Kind() {
	case reflect.Bool:
		return bare(strconv.FormatBool(v.Bool()))
	case reflect.Int:
		return bare(strconv.FormatInt(v.Int(), 10))
	case reflect.Slice:
		return encodeList(v)
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range fields(v) {
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
