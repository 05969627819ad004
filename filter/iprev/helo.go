package iprev

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// HeloKind tells what a HELO name is by its looks: "own" (the name of our own
// MTA, which a stranger cannot have), "literal" (a well-formed address literal,
// RFC 5321, 4.1.3), "unqualified" (a single label), "invalid" (no host name; an
// address without brackets is none), or "ok".
func HeloKind(name, mtaName string) string {
	canonical := mail.CanonicalDomain(name)
	own := mail.CanonicalDomain(mtaName)
	_, literal := mail.ParseLiteral(strings.TrimSpace(name))
	switch {
	case own != "" && canonical == own:
		return "own"
	case literal:
		return "literal"
	case !hostName(canonical):
		return "invalid"
	case !strings.Contains(canonical, "."):
		return "unqualified"
	}
	return "ok"
}

// hostName tells whether a name is one that hosts bear (RFC 1123, 2.1).
// Underscores, though wrong, are too common to mind. A last label of digits
// alone makes an address, not a name.
func hostName(name string) bool {
	if !mail.ValidDomain(name) {
		return false
	}
	numeric := false
	for label := range strings.SplitSeq(name, ".") {
		if label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		numeric = true
		for i := range len(label) {
			c := label[i]
			letter := 'a' <= c && c <= 'z' || c == '-' || c == '_'
			if !letter && (c < '0' || c > '9') {
				return false
			}
			numeric = numeric && !letter
		}
	}
	return !numeric
}

// HeloResult tells where a HELO name leads.
type HeloResult string

// The results.
const (
	HeloForward HeloResult = "forward" // an address of the name is the client's
	HeloOther   HeloResult = "other"   // it has addresses, but not the client's
	HeloNone    HeloResult = "none"    // it has no address
)

// HeloDNS looks up the addresses of a HELO name. It fails if the answer that
// decides is not to be had.
func HeloDNS(ctx context.Context, r dns.Resolver, helo string, addr netip.Addr) (HeloResult, error) {
	helo, addr = mail.CanonicalDomain(helo), addr.Unmap().WithZone("")
	if !hostName(helo) || !strings.Contains(helo, ".") {
		return HeloNone, nil
	}
	// The client's own family first: it decides alone if there are addresses.
	for _, v4 := range []bool{addr.Is4(), !addr.Is4()} {
		all, err := family(ctx, r, helo, v4)
		switch {
		case slices.Contains(all, addr):
			return HeloForward, nil
		case len(all) > 0:
			return HeloOther, nil
		case dns.Kind(err) == dns.NXDomain:
			return HeloNone, nil // of either family
		case err != nil && !dns.IsNotFound(err):
			return "", err
		}
	}
	return HeloNone, nil
}

// dnsText gives the cause of a lookup's failure without the name, which the
// message around it tells.
func dnsText(err error) string {
	var de *net.DNSError
	if errors.As(err, &de) {
		return de.Err
	}
	return err.Error()
}
