package milter

import (
	"fmt"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"mailwicket/filter"
	"mailwicket/policy"
)

// keep is a one-letter reply that leaves go-milter's backend in place: its own
// discard, reject and tempfail replace the backend, and the next recipient
// would meet one that never saw the connection.
type keep byte

func (k keep) Response() *gomilter.Message { return &gomilter.Message{Code: byte(k)} }
func (keep) Continue() bool                { return true }

// response turns an answer into what goes over the wire. Accept is "continue"
// too: at RCPT the milter's accept would let all other recipients pass, and
// before the end of message it would leave forged header fields in place.
func response(a filter.Answer) gomilter.Response {
	switch a.Verdict {
	case policy.Discard:
		return keep(gomilter.ActDiscard)
	case policy.Tempfail, policy.Reject:
		return gomilter.NewResponseStr(byte(gomilter.ActReplyCode), replyLine(a))
	}
	return gomilter.RespContinue
}

// maxReplyText keeps the line within the 512 bytes of RFC 5321, 4.5.3.1.5, also
// after Sendmail has put the address in front.
const maxReplyText = 380

// replyLine gives "451 4.7.1 text" as both MTAs take it: the class of both codes
// the same, printable ASCII, "%" doubled (Sendmail expands it, and turns a
// single one into a 550). What is out of order falls back to the verdict's
// plain codes.
func replyLine(a filter.Answer) string {
	class, code, enhanced := byte('5'), a.Code, a.Enhanced
	def := [2]string{"550", "5.7.1"}
	if a.Verdict == policy.Tempfail {
		class, def = '4', [2]string{"451", "4.7.1"}
	}
	c := fmt.Sprint(code)
	if len(c) != 3 || c[0] != class || c == "421" {
		c = def[0]
	}
	if !validEnhanced(enhanced, class) {
		enhanced = def[1]
	}
	text := strings.TrimSpace(escape(printable(a.Text)))
	if text == "" {
		text = "Refused by policy"
	}
	return c + " " + enhanced + " " + text
}

func validEnhanced(s string, class byte) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != string(class) {
		return false
	}
	for _, p := range parts[1:] {
		if len(p) == 0 || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// printable makes foreign text fit for the wire: printable ASCII, of bounded
// length.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return ' '
		case r > 0x7f:
			return '?'
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), maxReplyText)])
}

// escape doubles each "%", for as much of the text as fits.
func escape(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if len(s) <= maxReplyText {
		return s
	}
	cut := maxReplyText
	if n := cut - len(strings.TrimRight(s[:cut], "%")); n%2 == 1 {
		cut-- // never half an escape
	}
	return s[:cut]
}
