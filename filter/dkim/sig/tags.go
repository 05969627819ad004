package sig

import "strings"

// Tag is one name=value of a tag list.
type Tag struct {
	Name  string
	Value string // surrounding white space removed, inner kept

	from, to int // where everything between "=" and ";" stands in the list
}

// Tags is a tag list in its order (RFC 6376, 3.2).
type Tags []Tag

// ParseTags reads a tag list. Names are case-sensitive and at most once there:
// a duplicate makes the whole list invalid (RFC 6376, 3.2). Empty entries
// ("a=1;;b=2") are passed over, as they occur. Bytes above 0x7f are let through
// (RFC 8616 allows UTF-8 in domains), control bytes are not.
func ParseTags(s string) (Tags, error) {
	ts := make(Tags, 0, 12)
	for at := 0; at <= len(s); {
		end := len(s)
		if i := strings.IndexByte(s[at:], ';'); i >= 0 {
			end = at + i
		}
		if TrimFWS(s[at:end]) != "" {
			t, err := parseTag(s, at, end)
			if err != nil {
				return nil, err
			}
			if _, dup := ts.Get(t.Name); dup {
				return nil, syntax("a tag occurs twice")
			}
			if len(ts) == MaxTags {
				return nil, syntax("too many tags")
			}
			ts = append(ts, t)
		}
		at = end + 1
	}
	if len(ts) == 0 {
		return nil, syntax("empty tag list")
	}
	return ts, nil
}

// parseTag reads the tag in s[at:end].
func parseTag(s string, at, end int) (Tag, error) {
	i := strings.IndexByte(s[at:end], '=')
	if i < 0 {
		return Tag{}, syntax("a tag without value")
	}
	t := Tag{Name: TrimFWS(s[at : at+i]), from: at + i + 1, to: end}
	if !validTagName(t.Name) {
		return Tag{}, syntax("malformed tag name")
	}
	t.Value = TrimFWS(s[t.from:t.to])
	for j := 0; j < len(t.Value); j++ {
		if c := t.Value[j]; c == 0x7f || c < ' ' && !isFWS(c) {
			return Tag{}, syntax("control character in a tag")
		}
	}
	return t, nil
}

// validTagName is ALPHA *(ALPHA / DIGIT / "_") (RFC 6376, 3.2).
func validTagName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		letter := c >= 'a' && c <= 'z' && s[i] < 0x80
		if !letter && (i == 0 || s[i] != '_' && (s[i] < '0' || s[i] > '9')) {
			return false
		}
	}
	return s != ""
}

// Get gives the value of a tag and whether it is there.
func (ts Tags) Get(name string) (string, bool) {
	for i := range ts {
		if ts[i].Name == name {
			return ts[i].Value, true
		}
	}
	return "", false
}

// Without gives the list s, from which ts was parsed, with the value of the
// named tag deleted together with the white space around it (RFC 6376, 3.7).
func (ts Tags) Without(s, name string) string {
	for i := range ts {
		if ts[i].Name == name {
			return s[:ts[i].from] + s[ts[i].to:]
		}
	}
	return s
}

// Span tells where the raw value of a tag stands in the list that was parsed;
// both are 0 where the tag is missing.
func (ts Tags) Span(name string) (from, to int) {
	for i := range ts {
		if ts[i].Name == name {
			return ts[i].from, ts[i].to
		}
	}
	return 0, 0
}

func isFWS(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// TrimFWS removes folding white space from both ends.
func TrimFWS(s string) string {
	for len(s) > 0 && isFWS(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isFWS(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// StripFWS removes all folding white space.
func StripFWS(s string) string {
	if !strings.ContainsAny(s, " \t\r\n") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if !isFWS(s[i]) {
			b = append(b, s[i])
		}
	}
	return string(b)
}
