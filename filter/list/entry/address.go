package entry

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// MaxAddress is the longest key of an address (RFC 5321, 4.5.3.1: 64 bytes, "@",
// 255 bytes).
const MaxAddress = 320

// address reads a line of a list of addresses: user@domain, @domain (all
// addresses of exactly that domain) or a name (all of the domain and below).
func (p *Parser) address(b []byte) (why string) {
	if b[0] == '<' && b[len(b)-1] == '>' {
		b = b[1 : len(b)-1]
	}
	at := bytes.LastIndexByte(b, '@')
	if at < 0 {
		if bytes.ContainsAny(b, " \t") {
			return "text after the name (a comment starts with #)"
		}
		return p.plain(b)
	}
	domain, why := canonical(b[at+1:])
	if why != "" {
		return why
	}
	local := string(b[:at])
	if local == "*" { // as people write "all of them"
		local = ""
	}
	if why = localFault(local); why != "" {
		return why
	}
	key := AppendAddress(p.buf[:0], local, string(domain))
	if len(key) > MaxAddress {
		return "longer than an address may be"
	}
	p.buf = key
	p.items = append(p.items, Item{Name: key})
	return ""
}

// localFault tells why s is no local part. "" stands for all of them.
func localFault(s string) string {
	if !utf8.ValidString(s) {
		return "not UTF-8"
	}
	quoted := len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"'
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return "control character"
		case !quoted && strings.IndexByte(" \"(),:;<>@[\\]", c) >= 0: // RFC 5321, 4.1.2
			return "not an address"
		}
	}
	if s == `""` {
		return "an empty local part"
	}
	return ""
}

// AppendAddress appends the comparison form of an address: local parts are
// compared without regard to case, as all the world delivers them, and without
// quotes, which do not change who is meant (RFC 5321, 4.1.2). The domain is
// canonical.
func AppendAddress(dst []byte, local, domain string) []byte {
	if n := len(local); n >= 2 && local[0] == '"' && local[n-1] == '"' {
		dst = appendUnquoted(dst, local[1:n-1])
	} else {
		dst = appendLower(dst, local)
	}
	return append(append(dst, '@'), domain...)
}

func appendLower(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return append(dst, strings.ToLower(s)...)
		}
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func appendUnquoted(dst []byte, s string) []byte {
	if strings.IndexByte(s, '\\') < 0 {
		return appendLower(dst, s)
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return appendLower(dst, b.String())
}
