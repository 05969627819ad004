package wire

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"mailwicket/filter/dns"
)

func rr(t *testing.T, s string) mdns.RR {
	t.Helper()
	r, err := mdns.NewRR(s)
	if err != nil || r == nil {
		t.Fatalf("record %q: %v", s, err)
	}
	return r
}

func TestRead(t *testing.T) {
	soa := "example. 300 SOA ns. host. 1 2 3 4 60"
	tests := []struct {
		name          string
		rcode         int
		answer, ns    []string
		qtype         uint16
		want          dns.Failure
		ttl           time.Duration
		follow, shown string
		lame          bool
	}{
		{name: "plain", answer: []string{"a.example. 60 A 192.0.2.1"}, qtype: mdns.TypeA, ttl: time.Minute, shown: "192.0.2.1"},
		{name: "case", answer: []string{"A.Example. 60 A 192.0.2.1"}, qtype: mdns.TypeA, ttl: time.Minute, shown: "192.0.2.1"},
		{name: "least ttl over the chain", answer: []string{"a.example. 10 CNAME b.example.", "b.example. 60 A 192.0.2.1"},
			qtype: mdns.TypeA, ttl: 10 * time.Second, shown: "192.0.2.1"},
		{name: "foreign owner", answer: []string{"evil.example. 60 A 192.0.2.1"}, qtype: mdns.TypeA, want: dns.NoData},
		{name: "top bit of ttl", answer: []string{"a.example. 2147483648 A 192.0.2.1"}, qtype: mdns.TypeA, shown: "192.0.2.1"},
		{name: "long ttl", answer: []string{"a.example. 999999 A 192.0.2.1"}, qtype: mdns.TypeA, ttl: MaxTTL, shown: "192.0.2.1"},
		{name: "alias alone", answer: []string{"a.example. 10 CNAME b.example."}, qtype: mdns.TypeA, follow: "b.example", ttl: 10 * time.Second},
		{name: "alias to nothing of the type", answer: []string{"a.example. 10 CNAME b.example."}, ns: []string{soa},
			qtype: mdns.TypeA, want: dns.NoData, ttl: 10 * time.Second},
		{name: "alias to no name", rcode: 3, answer: []string{"a.example. 100 CNAME b.example."}, ns: []string{soa},
			qtype: mdns.TypeA, want: dns.NXDomain, ttl: time.Minute},
		{name: "nodata", ns: []string{soa}, qtype: mdns.TypeA, want: dns.NoData, ttl: time.Minute},
		{name: "nxdomain without soa", rcode: 3, qtype: mdns.TypeA, want: dns.NXDomain},
		{name: "negative cap", rcode: 3, ns: []string{"example. 99999 SOA ns. host. 1 2 3 4 99999"}, qtype: mdns.TypeA,
			want: dns.NXDomain, ttl: MaxNegativeTTL},
		{name: "referral", ns: []string{"example. 60 NS ns.example."}, qtype: mdns.TypeA, lame: true},
		{name: "alias loop", answer: []string{"a.example. 10 CNAME b.example.", "b.example. 10 CNAME a.example."},
			qtype: mdns.TypeA, follow: "b.example", ttl: 10 * time.Second},
		{name: "mx sorted", answer: []string{"a.example. 60 MX 20 B.example.", "a.example. 60 MX 10 c.example."},
			qtype: mdns.TypeMX, ttl: time.Minute, shown: "10 c.example|20 b.example"},
		{name: "null mx", answer: []string{"a.example. 60 MX 0 ."}, qtype: mdns.TypeMX, ttl: time.Minute, shown: "0 ."},
		{name: "txt joined and raw", answer: []string{`a.example. 60 TXT "a\"b\\c" "\195\169\000"`},
			qtype: mdns.TypeTXT, ttl: time.Minute, shown: "a\"b\\c\xc3\xa9\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &mdns.Msg{}
			m.Rcode = tt.rcode
			for _, s := range tt.answer {
				m.Answer = append(m.Answer, rr(t, s))
			}
			for _, s := range tt.ns {
				m.Ns = append(m.Ns, rr(t, s))
			}
			a := Read(m, "a.example", tt.qtype)
			shown := strings.Join(a.Values.Show(), "|")
			if a.Failure != tt.want || a.TTL != tt.ttl || a.Follow != tt.follow || a.Lame != tt.lame || shown != tt.shown {
				t.Errorf("got %+v shown %q, want %+v", a, shown, tt)
			}
		})
	}
}

// FuzzUnescape: what the library packs for a string is what Unescape gives.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"", "plain", `a"b\c`, "\xc3\xa9\x00", `\065`, `\`, `\\`, `9\9`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if len(raw) > 255 {
			return
		}
		m := new(mdns.Msg)
		var esc strings.Builder
		for i := range len(raw) {
			esc.WriteString(`\` + string([]byte{'0' + raw[i]/100, '0' + raw[i]/10%10, '0' + raw[i]%10}))
		}
		m.Answer = []mdns.RR{&mdns.TXT{Hdr: mdns.RR_Header{Name: "a.", Rrtype: mdns.TypeTXT, Class: 1}, Txt: []string{esc.String()}}}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		got := new(mdns.Msg)
		if err := got.Unpack(b); err != nil {
			t.Fatal(err)
		}
		if s := Unescape(got.Answer[0].(*mdns.TXT).Txt[0]); s != raw {
			t.Fatalf("got %q, want %q", s, raw)
		}
		Unescape(raw) // any text: no panic
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{"a.b": true, "A.b.": true, "": false, ".": false, "a..b": false,
		strings.Repeat("x", 64) + ".b": false, strings.Repeat("a.", 127) + "b": false, "a b.c": false, `we"ird\.x`: true} {
		c, ok := Canonical(name)
		if ok != want {
			t.Errorf("Canonical(%q) = %q, %v", name, c, ok)
		}
		if !ok {
			continue
		}
		p := Presentation(c)
		b := make([]byte, 300)
		if _, err := mdns.PackDomainName(p, b, 0, nil, false); err != nil {
			t.Errorf("Presentation(%q) = %q does not pack: %v", c, p, err)
		}
		if got, _, err := mdns.UnpackDomainName(b, 0); err != nil || got != p {
			t.Errorf("Presentation(%q) = %q, unpacked as %q, %v", c, p, got, err)
		}
		if ownerOf(p) != c {
			t.Errorf("ownerOf(%q) = %q, want %q", p, ownerOf(p), c)
		}
	}
}

func TestReverse(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":        "1.2.0.192.in-addr.arpa",
		"::ffff:192.0.2.1": "1.2.0.192.in-addr.arpa",
		"2001:db8::1":      "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
		"fe80::1%eth0":     "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa",
	} {
		if got, ok := Reverse(netip.MustParseAddr(addr)); !ok || got != want {
			t.Errorf("Reverse(%s) = %q, want %q", addr, got, want)
		}
	}
	if _, ok := Reverse(netip.Addr{}); ok {
		t.Error("the zero address has no reverse name")
	}
}
