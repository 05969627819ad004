package iprev

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mailwicket/filter/dns/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone has at 192.0.2.12 twelve names of which only the last two lead back.
func zone(t *testing.T) *dnstest.Zone {
	t.Helper()
	var b strings.Builder
	b.WriteString(`
1.2.0.192.in-addr.arpa PTR Host.Example.
1.2.0.192.in-addr.arpa PTR alias.example.
1.2.0.192.in-addr.arpa PTR HOST.example.
host.example  A 192.0.2.9
host.example  A 192.0.2.1
alias.example CNAME host.example.
2.2.0.192.in-addr.arpa PTR elsewhere.example.
elsewhere.example A 192.0.2.9
3.2.0.192.in-addr.arpa TEMPERROR
4.2.0.192.in-addr.arpa PTR down.example.
4.2.0.192.in-addr.arpa PTR elsewhere.example.
down.example TEMPERROR
5.2.0.192.in-addr.arpa PTR down.example.
5.2.0.192.in-addr.arpa PTR five.example.
five.example A 192.0.2.5
6.2.0.192.in-addr.arpa PTR gone.example.
7.2.0.192.in-addr.arpa PTR .
8.2.0.192.in-addr.arpa TXT "nothing"
9.2.0.192.in-addr.arpa PTR sixonly.example.
sixonly.example AAAA ::ffff:192.0.2.9
sixonly.example AAAA 2001:db8::1
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR sixonly.example.
half.example A TEMPERROR
half.example AAAA 2001:db8::1
empty.example TXT "x"
a6down.example AAAA TEMPERROR
a6down.example TXT "x"
`)
	for i := range 12 {
		fmt.Fprintf(&b, "12.2.0.192.in-addr.arpa PTR n%02d.example.\nn%02d.example A 192.0.2.%d\n", i, i, 90+i)
	}
	b.WriteString("n10.example A 192.0.2.12\nn11.example A 192.0.2.12\n")
	z, err := dnstest.Parse("zone", strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestCheck(t *testing.T) {
	r := zone(t).Resolver()
	for _, c := range []struct {
		name, addr string
		result     Result
		names      []string
		reason     string
	}{
		{"two names", "192.0.2.1", Pass, []string{"alias.example", "host.example"}, "192.0.2.1 is alias.example"},
		{"mapped", "::ffff:192.0.2.1", Pass, []string{"alias.example", "host.example"}, ""},
		{"leads elsewhere", "192.0.2.2", Fail, nil, "elsewhere.example does not lead back to 192.0.2.2"},
		{"ptr down", "192.0.2.3", TempError, nil, "lookup of the name of 192.0.2.3"},
		{"one down, one elsewhere", "192.0.2.4", TempError, nil, "lookup of the address"},
		{"one down, one confirmed", "192.0.2.5", Pass, []string{"five.example"}, ""},
		{"name does not exist", "192.0.2.6", Fail, nil, ""},
		{"root as name", "192.0.2.7", Fail, nil, "malformed"},
		{"no ptr record", "192.0.2.8", PermError, nil, "has no name"},
		{"no reverse name", "192.0.2.200", PermError, nil, "has no name"},
		{"IPv4 in an AAAA record", "192.0.2.9", Fail, nil, ""},
		{"IPv6", "2001:db8::1", Pass, []string{"sixonly.example"}, ""},
		{"ten names only", "192.0.2.12", Fail, nil, ""},
	} {
		f := Check(t.Context(), r, netip.MustParseAddr(c.addr))
		if f.Result != c.result || !slices.Equal(f.Names, c.names) || f.Reason == "" || !strings.Contains(f.Reason, c.reason) {
			t.Errorf("%s: got %+v, want %+v", c.name, f, c)
		}
	}
}

func TestCheckBounds(t *testing.T) {
	z := zone(t)
	Check(t.Context(), z.Resolver(), netip.MustParseAddr("192.0.2.12"))
	if n := len(z.Queries()); n != 1+maxNames {
		t.Errorf("%d questions: %v", n, z.Queries())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f := Check(ctx, z.Resolver(), netip.MustParseAddr("192.0.2.1")); f.Result != TempError {
		t.Errorf("canceled: %+v", f)
	}
}

func TestHeloKind(t *testing.T) {
	for name, want := range map[string]string{
		"mail.example.com": "ok", "Mail.Example.COM.": "ok", "b\u00fccher.example": "ok", "host_1.example.com": "ok",
		"[192.0.2.1]": "literal", "[IPv6:2001:db8::1]": "literal", "[192.0.2]": "invalid", "[]": "invalid", "[example.com]": "invalid",
		"192.0.2.1": "invalid", "2001:db8::1": "invalid", "1.2.3": "invalid", "12345": "invalid",
		"localhost": "unqualified", "WIN-ABC123": "unqualified", "-x": "invalid", "x-.example": "invalid",
		"": "invalid", ".": "invalid", "a..b": "invalid", "a b.example": "invalid", "x@example.com": "invalid",
		strings.Repeat("a", 64) + ".example": "invalid", "mx.our.example": "own", "MX.Our.Example.": "own", "x.mx.our.example": "ok",
	} {
		if got := HeloKind(name, "mx.Our.example"); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
	if got := HeloKind("", ""); got != "invalid" {
		t.Errorf("nothing is not our name: %s", got)
	}
}

func TestHeloDNS(t *testing.T) {
	z := zone(t)
	for _, c := range []struct {
		helo, addr string
		want       HeloResult
		fails      bool
	}{
		{"Host.Example.", "192.0.2.1", HeloForward, false},
		{"alias.example", "::ffff:192.0.2.1", HeloForward, false},
		{"host.example", "192.0.2.2", HeloOther, false},
		{"host.example", "2001:db8::1", HeloOther, false}, // by its IPv4 addresses
		{"sixonly.example", "2001:db8::1", HeloForward, false},
		{"sixonly.example", "192.0.2.9", HeloOther, false},
		{"gone.example", "192.0.2.1", HeloNone, false},
		{"empty.example", "192.0.2.1", HeloNone, false},
		{"down.example", "192.0.2.1", "", true},
		{"half.example", "192.0.2.1", "", true},
		{"half.example", "2001:db8::1", HeloForward, false},
		{"a6down.example", "192.0.2.1", "", true},
		{"localhost", "192.0.2.1", HeloNone, false},
		{"[192.0.2.1]", "192.0.2.1", HeloNone, false},
		{"192.0.2.1", "192.0.2.1", HeloNone, false},
	} {
		got, err := HeloDNS(t.Context(), z.Resolver(), c.helo, netip.MustParseAddr(c.addr))
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s from %s: got %q, %v", c.helo, c.addr, got, err)
		}
	}
}
