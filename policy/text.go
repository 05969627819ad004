package policy

import (
	"strings"
	"unicode/utf8"

	"mailwicket/filter/fact"
)

// template is a text with {field.name} placeholders.
type template []part

// part is literal text, or the value of a field.
type part struct {
	text  string
	field *fact.Field
}

// placeholders cuts a text at its braces; braces that are not a pair are
// literal.
func placeholders(s string, text func(string), name func(string)) {
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			break
		}
		j := strings.IndexByte(s[i:], '}')
		if j < 0 {
			break
		}
		text(s[:i])
		name(s[i+1 : i+j])
		s = s[i+j+1:]
	}
	text(s)
}

// template compiles a text; unknown hears of names that are no fields.
func (c *compiler) template(s string, unknown func(name string)) template {
	var t template
	literal := func(s string) {
		if s != "" {
			t = append(t, part{text: s})
		}
	}
	placeholders(s, literal, func(name string) {
		f, ok := c.fields[name]
		if !ok {
			unknown(name)
			return
		}
		t = append(t, part{field: &f})
	})
	return t
}

// expand puts values in place of the placeholders.
func (e *evaluation) expand(t template) string {
	switch {
	case len(t) == 0:
		return ""
	case len(t) == 1 && t[0].field == nil:
		return t[0].text
	}
	var b strings.Builder
	for _, p := range t {
		if p.field == nil {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(plain(e.read(p.field), p.field.Kind))
	}
	return b.String()
}

const maxPlaceholder = 100

// plain shows a value to people outside. It comes from mail, so it is cleaned
// and cut to a length fit for a line; of a fact that is not known only the state
// is told, since its cause may name our own servers.
func plain(v fact.Value, k fact.Kind) string {
	var s string
	switch {
	case v.State != fact.Known:
		return v.State.String()
	case k == fact.Text:
		s = strings.Join(v.Text, ", ")
	default:
		s = v.String(k)
	}
	s = fact.Clean(s)
	if len(s) > maxPlaceholder {
		n := maxPlaceholder
		for !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "..."
	}
	return s
}
