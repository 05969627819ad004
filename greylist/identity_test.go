package greylist_test

import (
	"net/netip"
	"testing"

	"mailwicket/greylist"
)

func TestIdentify(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8:1:2:3:4:5:6")
	tests := []struct {
		name string
		in   greylist.IdentityInput
		want string
	}{
		{"spf before all", greylist.IdentityInput{IP: v4, HostName: "mx.example.net", Dynamic: true, SPFPassDomain: "example.org"}, "spf:example.org"},
		{"spf subdomain is its organization's", greylist.IdentityInput{IP: v4, SPFPassDomain: "u12345.wl.mail.example.co.uk"}, "spf:example.co.uk"},
		{"spf under a private suffix", greylist.IdentityInput{IP: v4, SPFPassDomain: "shop.alice.github.io"}, "spf:alice.github.io"},
		{"spf of a public suffix", greylist.IdentityInput{IP: v4, SPFPassDomain: "co.uk"}, "spf:co.uk"},
		{"spf of one label", greylist.IdentityInput{IP: v4, SPFPassDomain: "localhost"}, "spf:localhost"},
		{"spf not canonical", greylist.IdentityInput{IP: v4, SPFPassDomain: "Mail.EXAMPLE.com."}, "spf:example.com"},
		{"spf internationalized", greylist.IdentityInput{IP: v4, SPFPassDomain: "a.bücher.example"}, "spf:xn--bcher-kva.example"},
		{"spf nonsense", greylist.IdentityInput{IP: v4, SPFPassDomain: "a..b"}, "net:192.0.2.0/24"},
		{"host", greylist.IdentityInput{IP: v4, HostName: "mail-ed1-f41.google.com"}, "host:google.com"},
		{"another host of the pool", greylist.IdentityInput{IP: v6, HostName: "Mail-yb1-f170.Google.COM"}, "host:google.com"},
		{"host that is a suffix", greylist.IdentityInput{IP: v4, HostName: "co.uk"}, "net:192.0.2.0/24"},
		{"host of one label", greylist.IdentityInput{IP: v4, HostName: "mailhost"}, "net:192.0.2.0/24"},
		{"host is an address", greylist.IdentityInput{IP: v4, HostName: "192.0.2.77"}, "net:192.0.2.0/24"},
		{"dynamic", greylist.IdentityInput{IP: v4, HostName: "77-2-0-192.pool.example.net", Dynamic: true}, "addr:192.0.2.77"},
		{"dynamic v6", greylist.IdentityInput{IP: v6, HostName: "dyn-6.example.net", Dynamic: true}, "addr:2001:db8:1:2:3:4:5:6"},
		{"net", greylist.IdentityInput{IP: v4}, "net:192.0.2.0/24"},
		{"net v6", greylist.IdentityInput{IP: v6}, "net:2001:db8:1:2::/64"},
		{"mapped", greylist.IdentityInput{IP: netip.MustParseAddr("::ffff:192.0.2.77")}, "net:192.0.2.0/24"},
		{"zone", greylist.IdentityInput{IP: netip.MustParseAddr("fe80::1%eth0")}, "net:fe80::/64"},
		{"own lengths", greylist.IdentityInput{IP: v4, Net4: 19, Net6: 56}, "net:192.0.0.0/19"},
		{"own lengths v6", greylist.IdentityInput{IP: v6, Net4: 19, Net6: 56}, "net:2001:db8:1::/56"},
		{"too long", greylist.IdentityInput{IP: v4, Net4: 64}, "net:192.0.2.77/32"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := greylist.Identify(tt.in)
			if got.String() != tt.want {
				t.Errorf("Identify = %s, want %s", got, tt.want)
			}
			if back, err := greylist.ParseIdentity(got.String()); err != nil || back != got {
				t.Errorf("ParseIdentity = %s, %v, want %s", back, err, got)
			}
		})
	}
}

func TestParseIdentityErrors(t *testing.T) {
	for _, s := range []string{"", "spf", "spf:", "spf:a..b", "host:.", "net:192.0.2.1", "net:x/24", "addr:example.org", "ip:192.0.2.1"} {
		if got, err := greylist.ParseIdentity(s); err == nil {
			t.Errorf("ParseIdentity(%q) = %s, want an error", s, got)
		}
	}
	if got, err := greylist.ParseIdentity("net:192.0.2.77/24"); err != nil || got.Value != "192.0.2.0/24" {
		t.Errorf("ParseIdentity of an unmasked network = %s, %v, want it masked", got, err)
	}
}

func TestIdentityInputDoubtful(t *testing.T) {
	for _, c := range []struct {
		in   greylist.IdentityInput
		want bool
	}{
		{greylist.IdentityInput{}, true},
		{greylist.IdentityInput{HostName: "pool-1.isp.example", Dynamic: true}, true},
		{greylist.IdentityInput{HostName: "www.shop.example"}, false},
		{greylist.IdentityInput{SPFPassDomain: "shop.example"}, false},
		{greylist.IdentityInput{HostName: "pool-1.isp.example", Dynamic: true, SPFPassDomain: "home.example"}, false},
		{greylist.IdentityInput{Unsure: true}, false},
	} {
		if got := c.in.Doubtful(); got != c.want {
			t.Errorf("%+v: doubtful %v", c.in, got)
		}
	}
}
