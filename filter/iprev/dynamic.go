package iprev

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mailwicket/filter/mail"
)

// Dynamic tells whether a name looks like one that a provider gives to lines in
// bulk (dial-up, cable, pools), and not like the name of a mail server. It is a
// guess by the name alone:
//
//   - A name that says it sends mail, or that its address stays, is none:
//     "mail" or "smtp" anywhere in it, or a word such as mx, mta, outbound,
//     relay or static. Large senders number their hosts by address, too
//     (mta-70-13-67.sparkpostmail.com), and say so in this way.
//   - Otherwise a word such as dyn, dhcp, pool, ppp or dsl makes it one if there
//     is a digit as well (lines are numbered), both in the labels before the
//     organization's,
//   - and so does the whole address in those labels: its octets in decimal,
//     forward or reversed, apart or joined (padded with zeros or not), or in
//     hexadecimal; of IPv6 half of the address is enough. Fewer octets are not:
//     every second farm of mail servers counts by the last one or two.
//
// Words are whole runs of letters: "dsl" is one in "dsl-12" but not in
// "goldsland2". The organization is the last two labels, or three under
// suffixes such as co.uk.
func Dynamic(name string, addr netip.Addr) bool {
	name, addr = mail.CanonicalDomain(name), addr.Unmap()
	if sends(name) {
		return false
	}
	labels := strings.Split(name, ".")
	labels = labels[:max(0, len(labels)-organization(labels))]
	host := strings.Join(labels, ".")
	switch {
	case !strings.ContainsAny(host, "0123456789"):
		return false
	case slices.ContainsFunc(words(host), bulkWord):
		return true
	case !addr.IsValid():
		return false
	case addr.Is4():
		return carriesV4(host, addr.As4())
	}
	return carriesV6(host, addr.As16())
}

// organization counts the labels that belong to the organization.
func organization(labels []string) int {
	n := len(labels)
	if n >= 3 && len(labels[n-1]) == 2 && len(labels[n-2]) <= 3 {
		return 3
	}
	return 2
}

// sends tells whether a name says that mail comes from it, or that its address
// is given for good. The top label does not count: mx is a country.
func sends(name string) bool {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return false
	}
	name = name[:i]
	return strings.Contains(name, "mail") || strings.Contains(name, "smtp") ||
		slices.ContainsFunc(words(name), sendingWord)
}

func sendingWord(w string) bool {
	switch w {
	case "mx", "mta", "mtas", "out", "outbound", "outgoing", "outbox", "mout", "relay", "relays",
		"sender", "senders", "sending", "bounce", "bounces", "newsletter", "postfix", "exim",
		"static", "stat", "fixed", "fix", "fixe", "fixip", "staticip":
		return true
	}
	return false
}

func bulkWord(w string) bool {
	switch w {
	case "dyn", "dynamic", "dynip", "dynamicip", "dinamic", "dinamica", "dynamique", "dhcp",
		"pool", "pools", "ppp", "pppoe", "dial", "dialup", "dialin", "dialip", "dip", "dup",
		"dsl", "adsl", "vdsl", "xdsl", "cable", "catv", "cablemodem", "broadband", "hsd", "cpe",
		"ftth", "fttx", "fttb", "gpon", "abo", "gprs", "umts", "lte", "wimax", "wifi", "wlan":
		return true
	}
	return false
}

// words gives the runs of letters.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r < 'a' || r > 'z' })
}

// carriesV4 looks for all octets of an address.
func carriesV4(host string, a [4]byte) bool {
	back := [4]byte{a[3], a[2], a[1], a[0]}
	runs := strings.FieldsFunc(host, func(r rune) bool { return r < '0' || r > '9' })
	for _, octets := range [][4]byte{a, back} {
		plain := make([]string, 4)
		padded, joined := "", ""
		for i, o := range octets {
			plain[i] = fmt.Sprint(o)
			padded += fmt.Sprintf("%03d", o)
			joined += plain[i]
		}
		if apart(runs, plain) || slices.Contains(runs, padded) ||
			len(joined) >= minJoined && slices.Contains(runs, joined) ||
			strings.Contains(host, hex.EncodeToString(octets[:])) {
			return true
		}
	}
	return false
}

// minJoined is how many digits a number needs in order to be taken for octets
// joined without padding; shorter ones are serial numbers as well.
const minJoined = 8

// apart tells whether the octets are successive numbers of a name.
func apart(runs, octets []string) bool {
	for i := 0; i+len(octets) <= len(runs); i++ {
		if slices.EqualFunc(runs[i:i+len(octets)], octets, func(run, octet string) bool {
			run = strings.TrimLeft(run, "0")
			return run == octet || run == "" && octet == "0"
		}) {
			return true
		}
	}
	return false
}

// carriesV6 looks for the first or last half of an address: as digits, however
// they are separated, or as four groups without leading zeros.
func carriesV6(host string, a [16]byte) bool {
	digits := hex.EncodeToString(a[:])
	reversed := []byte(digits)
	slices.Reverse(reversed)
	squeezed := strings.NewReplacer("-", "", ".", "", "_", "").Replace(host)
	for _, half := range []string{digits[:16], digits[16:], string(reversed[:16]), string(reversed[16:])} {
		if telling(half) && strings.Contains(squeezed, half) {
			return true
		}
	}
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = fmt.Sprintf("%x", uint16(a[2*i])<<8|uint16(a[2*i+1]))
	}
	parts := "-" + strings.NewReplacer(".", "-", "_", "-").Replace(host) + "-"
	for i, half := range [][]string{groups[:4], groups[4:]} {
		if telling(digits[16*i:16*i+16]) && strings.Contains(parts, "-"+strings.Join(half, "-")+"-") {
			return true
		}
	}
	return false
}

// telling tells whether half of an address is more than zeros and a small
// number, as hosts by hand have it (::25).
func telling(half string) bool { return strings.Count(half, "0") <= 12 }
