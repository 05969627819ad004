package keys

import "strings"

// Hidden stands in place of a password.
const Hidden = "xxxxx"

// HideURL takes the password out of a URL, and whatever may be one.
func HideURL(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	scheme, rest, ok := strings.Cut(s[:i], "://")
	if !ok {
		return Hidden + s[i:]
	}
	if user, _, ok := strings.Cut(rest, ":"); ok {
		return scheme + "://" + user + ":" + Hidden + s[i:]
	}
	return scheme + "://" + Hidden + s[i:]
}

// HideQuery takes the parameters off a URL.
func HideQuery(s string) string {
	if before, _, ok := strings.Cut(s, "?"); ok {
		return before + "?" + Hidden
	}
	return s
}
