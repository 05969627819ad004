package link

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailwicket/filter/content/hex"
)

// maxURL is how much of an attribute or of a word in text is read.
const maxURL = 8 << 10

// overlap is kept of a word that is longer: more than a host and its scheme.
const overlap = 600

// Reference takes the value of an attribute that holds a URL, entities decoded, and
// reads it as browsers do. cut says that it goes on: a host that may go on too is
// not known then.
func (f *Found) Reference(v []byte, cut bool) {
	if f.full {
		return
	}
	v = squeeze(v)
	scheme, rest := splitScheme(v)
	switch strings.ToLower(string(scheme)) {
	case "mailto", "data", "cid", "mid", "tel", "sms", "about", "urn":
		return
	case "http", "https", "ftp", "ws", "wss":
		// Any number of slashes or none, in either direction (WHATWG URL, 4.4).
		f.authority(trimSlashes(rest), cut)
		return
	case "javascript", "vbscript":
		f.inside(rest, cut)
		return
	case "":
	default:
		if n := slashes(rest); n >= 2 {
			f.authority(rest[n:], cut)
			return
		}
	}
	switch n := slashes(v); {
	case n >= 2: // as the page it stands on, or a share of Windows
		f.authority(v[n:], cut)
	case n == 0 && f.relative(v, cut):
	default:
		f.inside(v, cut)
	}
}

// relative takes what has no scheme but looks as if it lacked one: mail programs
// put it there.
func (f *Found) relative(v []byte, cut bool) bool {
	i := bytes.IndexAny(v, `/?#\:`)
	if i < 0 {
		i = len(v)
	}
	if i == 0 || i == len(v) && cut || bytes.IndexByte(v[:i], '.') <= 0 {
		return false
	}
	name := f.canonical(v[:i])
	if !strings.HasPrefix(name, "www.") && (!knownTLD(name) || looksLikeFile(name) && i == len(v)) {
		return false
	}
	f.authority(v, cut)
	return true
}

// squeeze does away with what browsers pass over: white space around a URL, tabs and
// line ends within (WHATWG URL, 4.4); and with NUL, which some mail programs drop.
func squeeze(v []byte) []byte {
	v = bytes.TrimFunc(v, func(r rune) bool { return r <= ' ' })
	if !bytes.ContainsAny(v, "\t\r\n\x00") {
		return v
	}
	return slices.DeleteFunc(slices.Clone(v), func(c byte) bool { return c == '\t' || c == '\r' || c == '\n' || c == 0 })
}

// splitScheme cuts "scheme:" off; without one the scheme is empty.
func splitScheme(v []byte) (scheme, rest []byte) {
	for i, c := range v {
		switch {
		case isLetter(c):
		case i > 0 && (isDigit(c) || c == '+' || c == '-' || c == '.'):
		case i > 0 && c == ':':
			return v[:i], v[i+1:]
		default:
			return nil, v
		}
	}
	return nil, v
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isSlash(c byte) bool  { return c == '/' || c == '\\' }

func slashes(v []byte) int {
	n := 0
	for n < len(v) && isSlash(v[n]) {
		n++
	}
	return n
}

func trimSlashes(v []byte) []byte { return v[slashes(v):] }

// authority takes what follows the slashes of a URL: user, host, port, and then the
// rest, in which other URLs may stand.
func (f *Found) authority(v []byte, cut bool) {
	end := bytes.IndexAny(v, `/?#\`)
	if end < 0 {
		if end = len(v); cut {
			return
		}
	}
	f.host(f.withoutUser(v[:end]))
	f.inside(v[end:], cut)
}

// withoutUser cuts off what stands before the host, and the port.
func (f *Found) withoutUser(v []byte) []byte {
	if i := bytes.LastIndexByte(v, '@'); i >= 0 {
		if bytes.IndexByte(v[:i], '.') >= 0 || bytes.IndexByte(v[:i], '%') >= 0 {
			f.defect(Disguised)
		}
		v = v[i+1:]
	}
	if len(v) > 0 && v[0] == '[' {
		return v[:bytes.IndexByte(v, ']')+1]
	}
	if i := bytes.IndexByte(v, ':'); i >= 0 {
		v = v[:i]
	}
	return v
}

// inside looks for whole URLs in the rest of another, where forwarders put them,
// percent-encoded once or twice.
func (f *Found) inside(v []byte, cut bool) {
	for range 3 {
		f.urls(v, cut)
		if bytes.IndexByte(v, '%') < 0 {
			return
		}
		v = hex.Percent(v)
	}
}

// urls takes every "scheme://host" in a text, and tells where the first begins;
// len(v) without any.
func (f *Found) urls(v []byte, cut bool) (first int) {
	first = len(v)
	for i := 0; ; {
		j := bytes.IndexByte(v[i:], ':')
		if j < 0 {
			return first
		}
		colon := i + j
		i = colon + 1
		n := slashes(v[i:])
		start := colon
		for start > 0 && isLetter(v[start-1]) {
			start--
		}
		if n == 0 || start == colon || n == 1 && !web(v[start:colon]) {
			continue
		}
		f.visibleHost(v[i+n:], cut)
		first = min(first, start)
		i += n
	}
}

// web tells whether a word ends in the name of a scheme that leads to a host.
func web(word []byte) bool {
	for _, s := range []string{"http", "https", "ftp"} {
		if len(word) >= len(s) && strings.EqualFold(string(word[len(word)-len(s):]), s) {
			return true
		}
	}
	return false
}

// visibleHost takes the host at the beginning of a text that goes on with anything:
// it ends where no host goes on.
func (f *Found) visibleHost(v []byte, cut bool) {
	end := bytes.IndexAny(v, "/?#\\\"'<>()[]{}|,; \t\r\n")
	if len(v) > 0 && v[0] == '[' {
		end = bytes.IndexAny(v, "/?#\\\"'<> \t\r\n")
	}
	if end < 0 {
		if end = len(v); cut {
			if end > overlap/2 {
				f.defect(TooLong) // the host does not come in what is kept
			}
			return
		}
	}
	h := f.withoutUser(v[:end])
	if len(h) > 0 && h[0] == '[' {
		f.host(h)
		return
	}
	h = h[:hostRun(h)]
	if n := asciiRun(h); n < len(h) && bytes.IndexByte(h[:n], '.') > 0 && !knownTLD(f.canonical(h)) {
		h = h[:n] // text without spaces goes on behind the name
	}
	f.host(h)
}

// hostRun is the length of what may be a host at the beginning.
func hostRun(v []byte) int {
	for i := 0; i < len(v); {
		if v[i] < utf8.RuneSelf {
			if !hostByte(v[i]) && v[i] != '%' {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(v[i:])
		if r == utf8.RuneError && n <= 1 {
			i++ // of Latin-1
			continue
		}
		if !hostRune(r) {
			return i
		}
		i += n
	}
	return len(v)
}

func hostByte(c byte) bool { return isLetter(c) || isDigit(c) || c == '.' || c == '-' || c == '_' }

func hostRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || visible(r) < 0 || isDot(r)
}

// isDot tells the full stops of IDNA.
func isDot(r rune) bool { return r == '.' || r == '\u3002' || r == '\uff0e' || r == '\uff61' }

func asciiRun(v []byte) int {
	for i, c := range v {
		if c >= utf8.RuneSelf {
			return i
		}
	}
	return len(v)
}
