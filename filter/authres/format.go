package authres

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"mailwicket/filter/mail"
)

const (
	maxText = 200 // characters of any text from outside
	maxProp = 320 // of a property: a domain of 253 and a local part of 64 fit
	column  = 78  // where lines are folded (RFC 5322, 2.1.1)
	fold    = "\r\n\t"
)

// Format writes the value of an Authentication-Results field, without name and
// leading blank, folded with CRLF and a tab before column 78 (a longer word
// gets a line of its own, below 998 bytes).
//
// All parts are taken for hostile. What is left of them can neither end the
// field nor begin another result, nor be taken for one by consumers that split
// before they unquote or search the text: what is not visible ASCII becomes "?",
// `;` becomes ",", `"` becomes "'", `\` becomes "/", "=" before "pass" becomes "?",
// and texts are cut at 200 characters. A property of more than 320 is left out: the
// beginning of a domain is another domain. Results without method or value are left
// out; none at all is written as "none". UTF-8 goes too, only an identifier in
// U-labels becomes A-labels: a message need not be an internationalized one, and
// then its header is ASCII (RFC 6532, 3).
func Format(h Header) string {
	h = clean(h)
	f := folder{col: len(FieldName) + 2}
	id := quoteUnless(h.AuthservID, isTokenText)
	f.word(id + ";")
	if len(h.Results) == 0 {
		f.word("none")
		return f.b.String()
	}
	for i, r := range h.Results {
		m := r.Method
		if r.Version > 0 {
			m += "/" + strconv.Itoa(r.Version)
		}
		words := []string{m + "=" + r.Value}
		if r.Comment != "" {
			words = append(words, strings.Split("("+r.Comment+")", " ")...)
		}
		if r.Reason != "" {
			words = append(words, `reason="`+r.Reason+`"`)
		}
		for _, p := range r.Props {
			words = append(words, p.Type+"."+p.Property+"="+quoteUnless(p.Value, isPlainValue))
		}
		if i < len(h.Results)-1 {
			words[len(words)-1] += ";"
		}
		f.line()
		for _, w := range words {
			f.word(w)
		}
	}
	return f.b.String()
}

// folder joins words with blanks and folds.
type folder struct {
	b     strings.Builder
	col   int
	fresh bool // at the start of a folded line
}

func (f *folder) line() {
	f.b.WriteString(fold)
	f.col, f.fresh = 8, true
}

func (f *folder) word(w string) {
	n := len(w)
	switch {
	case f.b.Len() == 0 || f.fresh:
	case f.col+1+n > column:
		f.line()
	default:
		f.b.WriteByte(' ')
		f.col++
	}
	f.b.WriteString(w)
	f.col += n
	f.fresh = false
}

// clean gives what is left of a header when Format writes it: Parse(Format(h))
// equals clean(h).
func clean(h Header) Header {
	out := Header{AuthservID: cleanText(hostOr(h.AuthservID))}
	if out.AuthservID == "" {
		out.AuthservID = "localhost"
	}
	for _, r := range h.Results {
		c := Result{
			Method: cleanKeyword(r.Method), Value: cleanKeyword(r.Value),
			Reason: cleanText(r.Reason), Comment: cleanComment(r.Comment),
		}
		if c.Method == "" || c.Value == "" {
			continue
		}
		if r.Version > 1 && r.Version < 1e9 {
			c.Version = r.Version
		}
		for _, p := range r.Props {
			value, ok := cleanProp(p.Value)
			q := Prop{Type: cleanKeyword(p.Type), Property: cleanKeyword(p.Property), Value: value}
			if q.Type == "" || q.Property == "" || !ok {
				continue
			}
			if !isPlainValue(q.Value) {
				// Odd addresses may spell a whole property of ours.
				q.Value = strings.ReplaceAll(q.Value, "=", "?")
			}
			c.Props = append(c.Props, q)
		}
		out.Results = append(out.Results, c)
	}
	return out
}

// hostOr gives a name in U-labels as A-labels, and everything else as it is.
func hostOr(id string) string {
	if len(id) > 255 || !utf8.ValidString(id) || isASCII(id) {
		return id
	}
	if a := mail.CanonicalDomain(id); isHostName(a) {
		return a
	}
	return id
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

func cleanKeyword(s string) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < 64; i++ {
		if c := s[i]; isKeyword(c) {
			b.WriteByte(c)
		}
	}
	return strings.Trim(strings.ToLower(b.String()), "-_")
}

// cleanText is idempotent: cleaning twice changes nothing more.
func cleanText(s string) string { return cleanUpTo(maxText, s) }

// cleanProp is cleanText of what must not be cut; it is not ok where that would be
// longer than maxProp.
func cleanProp(s string) (string, bool) {
	return cleanUpTo(maxProp, s), utf8.RuneCountInString(s) <= maxProp
}

func cleanUpTo(limit int, s string) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(s) && n < limit; n++ {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r < ' ' || r > '~':
			r = '?'
		case r == ';':
			r = ','
		case r == '"':
			r = '\''
		case r == '\\':
			r = '/'
		case r == '=' && sayspass(s[i+1:]):
			r = '?'
		}
		b.WriteRune(r)
		i += size
	}
	return strings.Trim(b.String(), " ")
}

// sayspass finds what makes "=" look like a result of ours.
func sayspass(rest string) bool {
	rest = strings.TrimLeft(rest[:min(len(rest), maxText)], " ")
	return len(rest) >= 4 && strings.EqualFold(rest[:4], "pass")
}

// cleanComment keeps parentheses only where they balance.
func cleanComment(s string) string {
	words := strings.FieldsFunc(s[:min(len(s), 8*maxText)], func(r rune) bool { return isSpaceRune(r) })
	s = cleanText(strings.Join(words, " "))
	depth, low := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
			low = min(low, depth)
		}
	}
	if depth != 0 || low < 0 {
		s = strings.NewReplacer("(", "[", ")", "]").Replace(s)
	}
	return s
}

func quoteUnless(s string, plain func(string) bool) string {
	if plain(s) {
		return s
	}
	return `"` + s + `"` // clean has left nothing in it that needs an escape
}

func isTokenText(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isToken(s[i]) {
			return false
		}
	}
	return s != ""
}

// isPlainValue tells whether a property value may stand without quotes: a
// token, or a dot-atom local part (or none) before "@" and a domain.
func isPlainValue(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return isTokenText(s)
	}
	for i := 0; i < at; i++ {
		// In a local part "/" and "?" are legal as well, yet rare enough to quote.
		if c := s[i]; !isToken(c) && c != '=' {
			return false
		}
	}
	return isHostName(s[at+1:])
}

func isHostName(s string) bool {
	for _, l := range strings.Split(s, ".") {
		if l == "" {
			return false
		}
		for i := 0; i < len(l); i++ {
			if !isKeyword(l[i]) {
				return false
			}
		}
	}
	return true
}

// SPF is what ReceivedSPF writes. Empty members are left out.
type SPF struct {
	Result       string // a word of RFC 7208, 2.6
	Comment      string
	ClientIP     netip.Addr
	EnvelopeFrom string
	Helo         string
	Identity     string // mailfrom or helo
	Receiver     string
	Mechanism    string
	Problem      string
}

// ReceivedSPF writes the value of a Received-SPF field (RFC 7208, 9.1) without
// name and leading blank. Texts are cleaned as in Format.
func ReceivedSPF(s SPF) string {
	f := folder{col: len("Received-SPF: ")}
	result := cleanKeyword(s.Result)
	if result == "" {
		result = "none"
	}
	f.word(result)
	if c := cleanComment(s.Comment); c != "" {
		for _, w := range strings.Split("("+c+")", " ") {
			f.word(w)
		}
	}
	var pairs []string
	add := func(key, value string) {
		if v, ok := cleanProp(value); ok && v != "" {
			pairs = append(pairs, key+"="+quoteUnless(v, isDotAtom))
		}
	}
	if s.ClientIP.IsValid() {
		add("client-ip", s.ClientIP.Unmap().WithZone("").String())
	}
	add("envelope-from", s.EnvelopeFrom)
	add("helo", s.Helo)
	add("identity", s.Identity)
	add("receiver", s.Receiver)
	add("mechanism", s.Mechanism)
	add("problem", cleanText(s.Problem)) // words, which may be cut
	for i, p := range pairs {
		if i < len(pairs)-1 {
			p += ";"
		}
		f.word(p)
	}
	return f.b.String()
}

func isDotAtom(s string) bool {
	for _, atom := range strings.Split(s, ".") {
		if !isTokenText(atom) {
			return false
		}
	}
	return true
}
