package limit

import (
	"net/netip"
	"strings"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

// bucket names the count that a limit keeps for what is known, with to as the
// recipient. A limit of which one key has no value does not apply: no login, no
// address, the null sender.
func (h hasher) bucket(l Limit, s *fact.Set, to mail.Address) (Bucket, bool) {
	parts := make([]string, 0, 2+2*len(l.Key))
	parts = append(parts, "rate", l.Name)
	for _, k := range l.Key {
		v := k.value(s, to)
		if v == "" {
			return Bucket{}, false
		}
		parts = append(parts, string(k), v)
	}
	return h.sum(parts...), true
}

// value is "" where there is none.
func (k Key) value(s *fact.Set, to mail.Address) string {
	switch k {
	case Client:
		return client(s.Conn.IP)
	case Net:
		return network(s.Conn.IP)
	case Sender:
		return address(s.Txn.MailFrom.Value)
	case SenderDomain:
		return s.Txn.MailFrom.Value.Domain
	case Rcpt:
		return address(to)
	case RcptDomain:
		return to.Domain
	case AuthUser:
		return strings.ToLower(s.Txn.AuthUser.Value)
	}
	return ""
}

func client(ip fact.Fact[netip.Addr]) string {
	if !ip.Known() || !ip.Value.IsValid() {
		return ""
	}
	return ip.Value.Unmap().WithZone("").String()
}

func network(ip fact.Fact[netip.Addr]) string {
	if !ip.Known() || !ip.Value.IsValid() {
		return ""
	}
	a, bits := ip.Value.Unmap().WithZone(""), 64
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits) // fails only for lengths that the family does not have
	return p.String()
}

// address folds case: no receiver tells mailboxes apart by it. The null sender
// gives "": all the world's bounces are not one sender.
func address(a mail.Address) string {
	if a.IsNull() {
		return ""
	}
	return strings.ToLower(a.String())
}

// sameRcpt tells whether a limit keeps one count for both recipients, all else
// being equal.
func (l Limit) sameRcpt(a, b mail.Address) bool {
	for _, k := range l.Key {
		switch {
		case k == Rcpt && address(a) != address(b), k == RcptDomain && a.Domain != b.Domain:
			return false
		}
	}
	return true
}
