package dmarc

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailwicket/filter/mail"
)

// The kinds of errors of ParseRecord.
var (
	// ErrVersion: the text does not begin with v=DMARC1. It is no DMARC record
	// at all, but some other use of TXT.
	ErrVersion = errors.New("not a DMARC record")
	// ErrRepeated: a tag occurs twice, which voids the record (RFC 6376, 3.2).
	ErrRepeated = errors.New("tag occurs twice")
)

// Record is a DMARC policy record. What the text left out, or had wrong, has
// the default.
type Record struct {
	P, SP, NP Policy // SP and NP are PolicyUnknown where the record has none

	// Bad names the first of p, sp and np with an invalid value. All policies
	// then are none, and without RUA the record asks for nothing at all.
	Bad string

	PSD        PSD
	Testing    bool     // t=y
	StrictDKIM bool     // adkim=s
	StrictSPF  bool     // aspf=s
	RUA, RUF   []string // the valid URIs, without the obsolete sizes
	FO         string   // as written, lower case; "" where absent, invalid, or without RUF
}

// PSD tells what a record says of its name's place in the tree.
type PSD string

// The values of psd=. By the default, the tree walk decides.
const (
	PSDUnknown PSD = "u"
	PSDYes     PSD = "y" // a public suffix
	PSDNo      PSD = "n" // an organizational domain
)

// known are the tags of RFC 9989, 4.7, in the order in which they are written.
var known = [...]string{"v", "p", "sp", "np", "psd", "t", "adkim", "aspf", "rua", "ruf", "fo"}

const wsp = " \t"

// ParseRecord reads one TXT record, its strings joined. Errors wrap ErrVersion
// or ErrRepeated. Everything else that is wrong is passed over: unknown tags
// and what is no tag are ignored, a bad value counts as absent (RFC 9989, 4.7),
// except that of a policy: see Record.Bad.
func ParseRecord(text string) (Record, error) {
	first, rest, _ := strings.Cut(text, ";")
	name, value, _ := splitTag(first)
	// RFC 9989, 4.8: the tag's name is without regard to case, the value is not.
	if name != "v" || value != "DMARC1" {
		return Record{}, ErrVersion
	}
	r := Record{P: PolicyNone, PSD: PSDUnknown} // 4.7: no p= is p=none
	seen := uint(1)
	for part := range strings.SplitSeq(rest, ";") {
		name, value, ok := splitTag(part)
		i := slices.Index(known[:], name)
		if !ok || i < 0 {
			continue
		}
		if seen&(1<<i) != 0 {
			return Record{}, fmt.Errorf("%w: %s", ErrRepeated, name)
		}
		seen |= 1 << i
		r.set(name, value)
	}
	if r.Bad != "" { // 4.10.1: as if it said p=none
		r.P, r.SP, r.NP = PolicyNone, PolicyUnknown, PolicyUnknown
	}
	if len(r.RUF) == 0 { // 4.7: fo= is nothing without ruf=
		r.FO = ""
	}
	return r, nil
}

// splitTag gives the name in lower case, and the value as it stands or empty
// where it has a character that no value may have.
func splitTag(s string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(s, "=")
	name, value = strings.Trim(name, wsp), strings.Trim(value, wsp)
	if !printable(name) {
		return "", "", false
	}
	if !printable(value) {
		value = ""
	}
	return strings.ToLower(name), value, ok
}

// printable tells whether all bytes are %x20-7E or, in lists, tabs (RFC 9989,
// 4.8). This also keeps signs away that become ASCII letters in lower case.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < ' ' || s[i] > '~') && s[i] != '\t' {
			return false
		}
	}
	return true
}

func (r *Record) set(name, value string) {
	word := strings.ToLower(value)
	switch name {
	case "p":
		r.P = r.policy(name, word)
	case "sp":
		r.SP = r.policy(name, word)
	case "np":
		r.NP = r.policy(name, word)
	case "psd":
		if word == "y" || word == "n" {
			r.PSD = PSD(word)
		}
	case "t":
		r.Testing = word == "y"
	case "adkim":
		r.StrictDKIM = word == "s"
	case "aspf":
		r.StrictSPF = word == "s"
	case "rua":
		r.RUA = uris(value)
	case "ruf":
		r.RUF = uris(value)
	case "fo":
		if failureOptions(word) {
			r.FO = word
		}
	}
}

func (r *Record) policy(name, word string) Policy {
	switch p := Policy(word); p {
	case PolicyNone, PolicyQuarantine, PolicyReject:
		return p
	}
	if r.Bad == "" {
		r.Bad = name
	}
	return PolicyUnknown
}

func failureOptions(s string) bool {
	for o := range strings.SplitSeq(s, ":") {
		if len(o) != 1 || !strings.Contains("01ds", o) {
			return false
		}
	}
	return true
}

// uris gives the valid URIs of a list.
func uris(list string) []string {
	var out []string
	for u := range strings.SplitSeq(list, ",") {
		u, size, sized := strings.Cut(strings.Trim(u, wsp), "!")
		// Sizes are gone and ignored; any other "!" must be encoded (4.8).
		if (!sized || validSize(size)) && validURI(u) {
			out = append(out, u)
		}
	}
	return out
}

// validSize tells whether s is a size of RFC 7489, such as "10m".
func validSize(s string) bool {
	unit := strings.TrimLeft(s, "0123456789")
	return unit != s && (unit == "" || len(unit) == 1 && strings.Contains("kmgtKMGT", unit))
}

// validURI tells whether s is a URI (RFC 3986) where a report can go: mail needs
// an address, the web a host.
func validURI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" || !validScheme(scheme) || !uriChars(rest) {
		return false
	}
	switch strings.ToLower(scheme) {
	case "mailto":
		addr, _, _ := strings.Cut(rest, "?")
		i := strings.LastIndexByte(addr, '@')
		return i > 0 && mail.ValidDomain(addr[i+1:])
	case "http", "https":
		host, ok := strings.CutPrefix(rest, "//")
		return ok && host != "" && !strings.ContainsRune("/?#:", rune(host[0]))
	}
	return true
}

func validScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlpha(s[i]) && (i == 0 || !isDigit(s[i]) && strings.IndexByte("+-.", s[i]) < 0) {
			return false
		}
	}
	return s != ""
}

// uriChars tells whether s has the characters of a URI only (RFC 3986, 2).
func uriChars(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isAlpha(c) || isDigit(c):
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
		case strings.IndexByte("-._~:/?#[]@!$&'()*+,;=", c) < 0:
			return false
		}
	}
	return true
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// String writes the record so that ParseRecord reads the same one.
func (r Record) String() string {
	b := []byte("v=DMARC1")
	put := func(name, value string, wanted bool) {
		if wanted {
			b = append(b, "; "+name+"="+value...)
		}
	}
	put("p", string(r.P), r.P != "" && r.Bad != "p")
	put("sp", string(r.SP), r.SP != "")
	put("np", string(r.NP), r.NP != "")
	put(r.Bad, "?", r.Bad != "")
	put("psd", string(r.PSD), r.PSD == PSDYes || r.PSD == PSDNo)
	put("t", "y", r.Testing)
	put("adkim", "s", r.StrictDKIM)
	put("aspf", "s", r.StrictSPF)
	put("rua", strings.Join(r.RUA, ","), len(r.RUA) > 0)
	put("ruf", strings.Join(r.RUF, ","), len(r.RUF) > 0)
	put("fo", r.FO, r.FO != "")
	return string(b)
}

// usable tells whether the record asks for DMARC at all (RFC 9989, 4.10.1).
func (r Record) usable() bool { return r.Bad == "" || len(r.RUA) > 0 }

// strict tells whether the identifiers of a mechanism must be equal to the
// Author Domain.
func (r Record) strict(m mechanism) bool {
	if m == bySPF {
		return r.StrictSPF
	}
	return r.StrictDKIM
}

// own is the policy for the domain that has the record.
func (r Record) own() Policy { return r.tested(r.P) }

// below is the policy for a domain under it (RFC 9989, 4.10.1).
func (r Record) below(exists bool) Policy {
	switch {
	case !exists && r.NP != PolicyUnknown:
		return r.tested(r.NP)
	case r.SP != PolicyUnknown:
		return r.tested(r.SP)
	}
	return r.tested(r.P)
}

// tested steps one level down while the owner is testing (RFC 9989, 4.7).
func (r Record) tested(p Policy) Policy {
	switch {
	case !r.Testing:
		return p
	case p == PolicyReject:
		return PolicyQuarantine
	}
	return PolicyNone
}
