package mime

import (
	"slices"
	"strings"

	"golang.org/x/text/encoding/htmlindex"

	"mailwicket/filter/author/encword"
	"mailwicket/filter/content/hex"
)

// The bounds of one field.
const (
	maxParams   = 50
	maxSections = 20 // of one value (RFC 2231, 3)
)

// field is a structured field: a value and its parameters.
type field struct {
	value    string // lower case, without comments
	params   []param
	repeated bool
}

type param struct{ name, value string } // name in lower case, with its "*"

// parseField reads "value; name=value; ..." as far as it can be read. Comments go,
// quotes need not end, and a value without quotes goes on to the next semicolon.
func parseField(s string) field {
	var f field
	value, rest, more := strings.Cut(uncomment(s), ";")
	f.value = strings.ToLower(strings.Join(strings.Fields(value), ""))
	for more && len(f.params) < maxParams {
		var p param
		p, rest, more = nextParam(rest)
		if p.name == "" {
			continue
		}
		if slices.ContainsFunc(f.params, func(o param) bool { return o.name == p.name }) {
			f.repeated = true
			continue
		}
		f.params = append(f.params, p)
	}
	return f
}

// nextParam reads one parameter; more tells whether a semicolon follows.
func nextParam(s string) (p param, rest string, more bool) {
	i := strings.IndexAny(s, "=;")
	if i < 0 || s[i] == ';' {
		_, rest, more = strings.Cut(s, ";")
		return p, rest, more
	}
	p.name = strings.ToLower(strings.TrimSpace(s[:i]))
	s = strings.TrimLeft(s[i+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		p.value, rest, more = strings.Cut(s, ";")
		p.value = strings.TrimSpace(p.value)
		return p, rest, more
	}
	p.value, s = quoted(s[1:])
	_, rest, more = strings.Cut(s, ";")
	return p, rest, more
}

// quoted reads up to the closing quote.
func quoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// uncomment takes comments out (RFC 5322, 3.2.2), outside of quotes and where
// white space or nothing stands before them: "(1)" may end a file name.
func uncomment(s string) string {
	if !strings.Contains(s, "(") {
		return s
	}
	var b strings.Builder
	depth, inQuotes := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && (inQuotes || depth > 0) && i+1 < len(s):
			if depth == 0 {
				b.WriteString(s[i : i+2])
			}
			i++
			continue
		case c == '"' && depth == 0:
			inQuotes = !inQuotes
		case c == '(' && !inQuotes && (depth > 0 || i == 0 || strings.IndexByte(" \t;=", s[i-1]) >= 0):
			depth++
			continue
		case c == ')' && depth > 0:
			depth--
			continue
		}
		if depth == 0 {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (f field) get(name string) (string, bool) {
	for _, p := range f.params {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

// param gives a parameter's value, put together of its sections and decoded (RFC
// 2231, 3 and 4). A plain one goes before.
func (f field) param(name string) string {
	if v, ok := f.get(name); ok {
		return v
	}
	if v, ok := f.get(name + "*"); ok {
		return decode2231([]param{{"*", v}})
	}
	var parts []param
	for i := range maxSections {
		n := name + "*" + string(rune('0'+i%10))
		if i >= 10 {
			n = name + "*1" + string(rune('0'+i%10))
		}
		if v, ok := f.get(n); ok {
			parts = append(parts, param{"", v})
		} else if v, ok := f.get(n + "*"); ok {
			parts = append(parts, param{"*", v})
		} else {
			break
		}
	}
	return decode2231(parts)
}

// decode2231 joins sections; those with a "*" are percent-encoded, and the first
// of them tells the charset.
func decode2231(parts []param) string {
	var b strings.Builder
	charset := ""
	for i, p := range parts {
		if p.name != "*" {
			b.WriteString(p.value)
			continue
		}
		v := p.value
		if i == 0 {
			if c, rest, ok := strings.Cut(v, "'"); ok {
				charset = c
				if _, v, ok = strings.Cut(rest, "'"); !ok {
					v = rest
				}
			}
		}
		b.Write(hex.Percent(v))
	}
	if enc, err := htmlindex.Get(charset); err == nil {
		if s, err := enc.NewDecoder().String(b.String()); err == nil {
			return s
		}
	}
	return b.String()
}

// text is a parameter for people. Many programs put encoded words there, which
// RFC 2047, 5 forbids.
func (f field) text(name string) string { return encword.Decode(f.param(name)) }

// boundary ends in no white space (RFC 2046, 5.1.1).
func (f field) boundary() string { return strings.TrimRight(f.param("boundary"), " \t") }
