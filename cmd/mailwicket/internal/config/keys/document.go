package keys

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"mailwicket/policy"
)

// document reads the one document of a file. An empty file has none.
func document(name string, text []byte) (*yaml.Node, *policy.Problem) {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, syntax(name, text, err)
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, syntax(name, text, err)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		at := policy.Position{File: name, Line: second.Line, Col: second.Column}
		return nil, &policy.Problem{At: at, Message: "a second document begins here", Hint: "keep one: take out the lines --- and ..."}
	case !errors.Is(err, io.EOF):
		return nil, syntax(name, text, err)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	s := sizer{sizes: map[*yaml.Node]int{}}
	if n := s.size(doc.Content[0]); n > maxNodes && s.aliased || s.cycle != nil {
		at := policy.Position{File: name, Line: 1}
		if s.cycle != nil {
			at.Line, at.Col = s.cycle.Line, s.cycle.Column
		}
		return nil, &policy.Problem{At: at, Message: "aliases (*name) make the document endless or far too large", Hint: "write the values out"}
	}
	return doc.Content[0], nil
}

// maxNodes bounds what aliases may blow a document up to.
const maxNodes = 100_000

// sizer counts the values of a document with its aliases written out, without
// writing them out.
type sizer struct {
	sizes   map[*yaml.Node]int // -1 while it is counted
	aliased bool
	cycle   *yaml.Node
}

func (s *sizer) size(n *yaml.Node) int {
	if n.Kind == yaml.AliasNode {
		s.aliased = true
		if s.sizes[n.Alias] < 0 {
			s.cycle = n
			return 1
		}
		return s.size(n.Alias)
	}
	if known := s.sizes[n]; known > 0 {
		return known
	}
	s.sizes[n] = -1
	total := 1
	for _, x := range n.Content {
		total = min(total+s.size(x), maxNodes+1)
	}
	s.sizes[n] = total
	return total
}

// syntax rewords what the YAML library says.
func syntax(name string, text []byte, err error) *policy.Problem {
	p := &policy.Problem{At: policy.Position{File: name}, Message: err.Error()}
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return p
	}
	p.Message = strings.TrimPrefix(le.Message, "yaml: ")
	p.At.Line, p.At.Col = le.Mark.Line, le.Mark.Column
	if le.Mark.Line == 0 {
		p.At.Line, p.At.Col = unreadable(text)
	}
	if le.ContextMsg != "" && le.ContextMark.Line > 0 {
		p.Hint = le.ContextMsg + " that begins at line " + strconv.Itoa(le.ContextMark.Line)
	}
	if isTab(text, p.At.Line) && strings.Contains(p.Message, "cannot start any token") {
		p.Message, p.Hint = "the line is indented with a tab", "indent with blanks"
	}
	return p
}

// unreadable finds the first character that YAML does not allow.
func unreadable(text []byte) (line, col int) {
	line, col = 1, 1
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '\n':
			line, col = line+1, 0
		case r == utf8.RuneError && n == 1, r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			return line, col
		}
		col, text = col+1, text[n:]
	}
	return 0, 0
}

// isTab tells whether a line's indentation holds a tab.
func isTab(text []byte, line int) bool {
	lines := strings.Split(string(text), "\n")
	if line < 1 || line > len(lines) {
		return false
	}
	s := lines[line-1]
	return strings.Contains(s[:len(s)-len(strings.TrimLeft(s, " \t"))], "\t")
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// maxQuoted keeps messages on one line.
const maxQuoted = 60

// got tells what stands in place of what is wanted, but no password of a URL.
func got(n *yaml.Node) string {
	value := n.Value
	if strings.Contains(value, "://") {
		value = HideQuery(HideURL(value))
	}
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case len(value) > maxQuoted:
		return strconv.Quote(strings.ToValidUTF8(value[:maxQuoted], "") + "...")
	}
	return strconv.Quote(value)
}
