package keys

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// Encode writes a value as Decode reads it.
func Encode(v reflect.Value) *yaml.Node {
	switch x := v.Interface().(type) {
	case netip.Prefix:
		if x.IsSingleIP() {
			return Text(x.Addr().String())
		}
		return Text(x.String())
	case fmt.Stringer:
		return Text(x.String())
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
			n.Content = append(n.Content, Text(k), Text(texts[k]))
		}
		return n
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range Shown(v) {
			n.Content = append(n.Content, Text(f.Name), Encode(f.Value))
		}
		return n
	}
	return Text(v.String())
}

// encodeList writes lists of sections as blocks, others on one line.
func encodeList(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if !IsSection(v.Type().Elem()) || v.Len() == 0 {
		n.Style = yaml.FlowStyle
	}
	for i := range v.Len() {
		n.Content = append(n.Content, Encode(v.Index(i)))
	}
	return n
}

// Text makes a node of a text, quoted where it must be.
func Text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func bare(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// Dump prints nodes that were made here, which cannot go wrong but by a
// mistake of ours.
func Dump(n *yaml.Node) []byte {
	out, err := yaml.Dump(n, yaml.WithLineWidth(-1), yaml.WithQuotePreference(yaml.QuoteDouble))
	if err != nil {
		panic(err)
	}
	return bytes.TrimLeft(out, "\n")
}
