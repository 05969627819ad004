package dnsbl

import (
	"net/netip"
	"strings"
)

// PublicResolver tells whether a DNS server, as HOST or HOST:PORT, is one that
// everybody uses. Most lists refuse their questions, or count them all as one
// user's.
func PublicResolver(server string) bool {
	a, err := netip.ParseAddr(strings.Trim(server, "[]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(server)
		if err != nil {
			return false
		}
		a = ap.Addr()
	}
	a = a.Unmap().WithZone("")
	for _, p := range public {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// public holds the addresses of well-known public resolvers.
var public = func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range strings.Fields(`
		8.8.8.8/32 8.8.4.4/32 2001:4860:4860::/48
		1.1.1.0/24 1.0.0.0/24 2606:4700:4700::/48
		9.9.9.0/24 149.112.112.0/24 149.112.149.0/24 2620:fe::/48
		208.67.220.0/24 208.67.222.0/24 2620:119:35::/48 2620:119:53::/48
		94.140.14.0/24 94.140.15.0/24 2a10:50c0::/32
		185.228.168.0/24 185.228.169.0/24 2a0d:2a00:1::/48 2a0d:2a00:2::/48
		64.6.64.6/32 64.6.65.6/32 156.154.70.0/24 156.154.71.0/24 2620:74:1b::/48 2620:74:1c::/48 2610:a1:1018::/48 2610:a1:1019::/48
		4.2.2.0/29 8.26.56.26/32 8.20.247.20/32
		77.88.8.0/24 2a02:6b8:0:ff::/96 2a02:6b8::feed:0/112
		76.76.2.0/24 76.76.10.0/24 76.76.19.19/32 2606:1a40::/48 2606:1a40:1::/48
		45.90.28.0/24 45.90.30.0/24 2a07:a8c0::/29
		74.82.42.42/32 2001:470:20::2/128
		84.200.69.80/32 84.200.70.40/32
		193.110.81.0/24 185.253.5.0/24 86.54.11.0/24
		223.5.5.5/32 223.6.6.6/32 2400:3200::/32 119.29.29.29/32 114.114.114.0/24 114.114.115.0/24 180.76.76.76/32`) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()
