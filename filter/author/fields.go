package author

import (
	"slices"
	"strings"
	"unicode/utf8"

	"mailwicket/filter/author/encword"
	"mailwicket/filter/mail"
)

// once lists the fields that may occur once at most (RFC 5322, 3.6), with
// their words in Defects.
var once = [...]struct{ name, word string }{
	{"Date", "repeated_date"},
	{"From", "repeated_from"},
	{"Sender", "repeated_sender"},
	{"Reply-To", "repeated_reply_to"},
	{"To", "repeated_to"},
	{"Cc", "repeated_cc"},
	{"Bcc", "repeated_bcc"},
	{"Message-ID", "repeated_message_id"},
	{"In-Reply-To", "repeated_in_reply_to"},
	{"References", "repeated_references"},
	{"Subject", "repeated_subject"},
}

// DefectWords lists all words that Defects can give, in their order.
func DefectWords() []string {
	var ws []string
	for _, o := range once {
		ws = append(ws, o.word)
	}
	return append(ws, "missing_date", "missing_from", "missing_sender", "malformed_from", "sloppy_from",
		"multiple_sender", "malformed_sender", "bad_name", "8bit_name", "nul", "bare_cr", "bare_lf",
		"control_bytes", "invalid_utf8", "blank_fold", "long_line")
}

// Defects names the breaches of RFC 5322 in a header block, each word once, in
// the order of DefectWords. "sloppy_from" is a From field that breaks the
// grammar and still has one reading; "invalid_utf8" is a value with 8-bit text
// that is not UTF-8 (RFC 6532, 3.1).
func Defects(h mail.Header) []string {
	found := map[string]bool{}
	for _, o := range once {
		n := 0
		for _, f := range h {
			if isNamed(f.Name, o.name) {
				n++
			}
		}
		if n > 1 {
			found[o.word] = true
		}
		if n == 0 && (o.name == "Date" || o.name == "From") {
			found["missing_"+strings.ToLower(o.name)] = true
		}
	}
	people(h, found)
	for _, f := range h {
		name(f.Name, found)
		value(f, found)
	}
	return slices.DeleteFunc(DefectWords(), func(w string) bool { return !found[w] })
}

// people checks From and Sender (RFC 5322, 3.6.2).
func people(h mail.Header, found map[string]bool) {
	from := Parse(h)
	switch {
	case from.Defect == Missing || from.Defect == Repeated:
	case from.Defect == ManyDomains || from.Defect == TooMany && len(from.Addresses) > 1:
	case from.Defect != Usable:
		found["malformed_from"] = true
	case from.Detail != "":
		found["sloppy_from"] = true
	}
	sender := false
	for _, f := range h {
		if !isNamed(f.Name, "Sender") {
			continue
		}
		sender = true
		toks, why := lex(unfold(f.Value))
		p := parser{toks: toks}
		if why == "" {
			why = p.list()
		}
		switch {
		case why != "" || len(p.boxes) == 0:
			found["malformed_sender"] = true
		case len(p.boxes) > 1:
			found["multiple_sender"] = true
		}
	}
	several := from.Defect == ManyDomains || from.Defect == Usable && from.Detail == ""
	if !sender && several && len(from.Addresses) > 1 {
		found["missing_sender"] = true
	}
}

func name(n string, found map[string]bool) {
	bad := n == ""
	for i := 0; i < len(n); i++ {
		switch c := n[i]; {
		case c >= 0x80:
			found["8bit_name"] = true
		case c <= ' ' || c == ':' || c == 0x7f: // RFC 5322, 2.2
			bad = true
		}
	}
	if bad {
		found["bad_name"] = true
	}
}

func value(f mail.Field, found map[string]bool) {
	v := f.Value
	if !utf8.ValidString(v) {
		found["invalid_utf8"] = true
	}
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c >= ' ' && c != 0x7f || c == '\t':
		case c == 0:
			found["nul"] = true
		case c == '\r' && (i+1 == len(v) || v[i+1] != '\n'):
			found["bare_cr"] = true
		case c == '\n' && (i == 0 || v[i-1] != '\r'):
			found["bare_lf"] = true
		case c != '\r' && c != '\n':
			found["control_bytes"] = true
		}
	}
	lines := strings.Split(v, "\n")
	for i, l := range lines {
		l = strings.TrimSuffix(l, "\r")
		n := len(l)
		if i == 0 {
			n += len(f.Name) + 1
		} else if strings.Trim(l, " \t") == "" {
			found["blank_fold"] = true // RFC 5322, 4.2
		}
		if n > 998 { // RFC 5322, 2.1.1
			found["long_line"] = true
		}
	}
}

const (
	maxSubject = 500   // characters
	maxRaw     = 16384 // bytes of a field that are looked at for display
	maxListID  = 255   // RFC 2919, 6
)

// Subject gives the first Subject field, decoded, on one line, cut at 500
// characters, with a blank for each character that is not seen.
func Subject(h mail.Header) string {
	for _, f := range h {
		if isNamed(f.Name, "Subject") {
			return display(f.Value, maxSubject)
		}
	}
	return ""
}

func display(value string, limit int) string {
	value = unfold(value[:min(len(value), maxRaw)])
	s := strings.TrimSpace(strings.Map(printable, encword.Decode(value)))
	n := 0
	for i := range s {
		if n == limit {
			return s[:i]
		}
		n++
	}
	return s
}

// ListID gives the identifier of the first List-Id field (RFC 2919, 2): what
// stands in the last angle brackets, in lower case; without brackets the whole
// value. It is false where there is none.
func ListID(h mail.Header) (string, bool) {
	for _, f := range h {
		if !isNamed(f.Name, "List-Id") {
			continue
		}
		s := display(f.Value, maxRaw)
		if i := strings.LastIndexByte(s, '<'); i >= 0 {
			s, _, _ = strings.Cut(s[i+1:], ">")
		}
		s = strings.ToLower(strings.TrimSpace(s))
		if s = s[:min(len(s), maxListID)]; s != "" {
			return strings.ToValidUTF8(s, ""), true
		}
	}
	return "", false
}
