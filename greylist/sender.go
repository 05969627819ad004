package greylist

import (
	"strings"

	"mailwicket/filter/mail"
)

// NormalizeSender gives the sender's lasting part, lower case, so that a
// message whose envelope sender is made anew for each attempt or each message
// is known again. It takes away
//
//   - the signatures of BATV (prvs=, msprvs1=, btv1==) and SRS (SRS0, SRS1);
//   - the recipient and the serial number that VERP puts in;
//   - the tag behind "+";
//   - numbers and hexadecimal tokens, in the local part and in the host names
//     below the organizational domain: "#" stands for each.
//
// The result is for comparing only. Senders that differ may share one: the
// client and the recipient are in the key too. The null sender gives "<>".
func NormalizeSender(a mail.Address) string {
	if a.IsNull() {
		return "<>"
	}
	local := stripBATV(unquote(strings.ToLower(a.Local)))
	local, origin := stripSRS(local)
	if origin != "" {
		local = stripBATV(local)
	}
	local = stripVERP(local)
	if i := strings.IndexByte(local, '+'); i > 0 {
		local = local[:i]
	}
	local = blurTokens(local)
	if origin != "" {
		local = blurHost(origin) + ":" + local
	}
	if a.Domain == "" {
		return local
	}
	return local + "@" + blurHost(strings.ToLower(a.Domain))
}

// unquote takes the quotes off, which need not be there for most local parts
// (RFC 5321, 4.1.2).
func unquote(local string) string {
	if n := len(local); n > 2 && local[0] == '"' && local[n-1] == '"' {
		return local[1 : n-1]
	}
	return local
}

// stripBATV removes "prvs=tag=" (draft-levine-smtp-batv), and the variants of
// other signers. Once is enough: nobody signs twice.
func stripBATV(local string) string {
	for _, prefix := range []string{"prvs=", "msprvs1=", "btv1=="} {
		rest, ok := strings.CutPrefix(local, prefix)
		if !ok {
			continue
		}
		sep := "="
		if prefix == "btv1==" {
			sep = "=="
		}
		tag, core, ok := strings.Cut(rest, sep)
		switch {
		case !ok || core == "" || tag == "":
			return local
		case isBATVTag(core) && !isBATVTag(tag):
			return tag // an early draft had them the other way round
		}
		return core
	}
	return local
}

// isBATVTag recognizes the tag of draft-levine-smtp-batv, 4: a key number, three
// digits of the day, six hexadecimal digits.
func isBATVTag(s string) bool {
	if len(s) != 10 {
		return false
	}
	for i, c := range s {
		if (c < '0' || c > '9') && (i < 4 || c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// stripSRS reads SRS0=hash=time=domain=local and SRS1=hash=forwarder==hash=
// time=domain=local, and gives the original local part and domain. The hash and
// the time change from day to day.
func stripSRS(local string) (original, domain string) {
	if len(local) < 6 || !strings.HasPrefix(local, "srs") || !strings.ContainsRune("=+-", rune(local[4])) {
		return local, ""
	}
	rest := local[5:]
	switch local[3] {
	case '1':
		_, after, ok := strings.Cut(rest, "=") // the hash
		if !ok {
			return local, ""
		}
		// The forwarder is a domain, so it ends before the first doubled separator.
		i := strings.IndexAny(after, "=+")
		if i < 0 || i+2 > len(after) {
			return local, ""
		}
		rest = after[i+2:]
	case '0':
	default:
		return local, ""
	}
	parts := strings.SplitN(rest, "=", 4)
	if len(parts) < 4 || parts[2] == "" || parts[3] == "" {
		return local, ""
	}
	return parts[3], parts[2]
}

// stripVERP cuts where a recipient begins that has "=" for its "@", as in
// "list-bounces-user=example.com".
func stripVERP(local string) string {
	stem, domain, ok := strings.Cut(local, "=")
	if !ok || !strings.Contains(domain, ".") {
		return local
	}
	if i := strings.IndexAny(stem, "-+_"); i > 0 {
		return stem[:i]
	}
	return local
}

// blurTokens writes "#" for each token that looks like a number of the message.
func blurTokens(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		i := strings.IndexAny(s, "-_.=+/:")
		if i < 0 {
			b.WriteString(blurToken(s))
			break
		}
		b.WriteString(blurToken(s[:i]))
		b.WriteByte(s[i])
		s = s[i+1:]
	}
	return b.String()
}

// Tokens from these lengths on are numbers as a whole: eight hexadecimal digits,
// or twelve letters and digits mixed.
const hexToken, mixedToken = 8, 12

func blurToken(s string) string {
	digits, hex, plain := 0, true, true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'f':
		case c >= 'g' && c <= 'z':
			hex = false
		default:
			hex, plain = false, false
		}
	}
	switch {
	case digits == 0:
		return s
	case hex && len(s) >= hexToken, plain && digits > 1 && len(s) >= mixedToken:
		return "#"
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < '0' || c > '9' {
			b.WriteByte(c)
		} else if i == 0 || s[i-1] < '0' || s[i-1] > '9' {
			b.WriteByte('#')
		}
	}
	return b.String()
}

// blurHost blurs the labels below the organizational domain.
func blurHost(domain string) string {
	org, ok := organization(domain)
	if !ok || len(org) == len(domain) {
		return domain
	}
	return blurTokens(strings.TrimSuffix(domain, org)) + org
}
