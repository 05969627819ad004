package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter/dns"
	"mailwicket/filter/dns/dnstest"
	"mailwicket/filter/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zone = `
ok.example       TXT "v=spf1 ip4:192.0.2.1 -all"
soft.example     TXT "v=spf1 ~all"
post.example     TXT "v=spf1 exists:%{l}.u.post.example -all"
postmaster.u.post.example A 127.0.0.2
victim.example   TXT "v=spf1 -all exp=why.victim.example"
why.victim.example TXT "%{s} may not come from %{c} (%{h})"
xn--bcher-kva.example TXT "v=spf1 ip4:192.0.2.1 -all"
two.example      TXT "v=spf1 -all"
two.example      TXT "V=SPF1 +all"
noise.example    TXT "v=spf10 x"
bad.example      TXT "v=spf1 ip4:192.0.2.1 -all moo"
down.example     TEMPERROR
incdown.example  TXT "v=spf1 include:down.example -all"
reddown.example  TXT "v=spf1 redirect=down.example"
adown.example    TXT "v=spf1 a:down.example -all"
mxdown.example   TXT "v=spf1 mx:down.example -all"
mxhost.example   TXT "v=spf1 mx -all"
mxhost.example   MX 10 down.example.
exdown.example   TXT "v=spf1 exists:down.example -all"
halfdown.example TXT "v=spf1 a:half.example -all"
half.example     A TEMPERROR
half.example     AAAA 2001:db8::9
noa6.example     TXT "v=spf1 a:half6.example -all"
half6.example    A 192.0.2.9
half6.example    AAAA TEMPERROR
v4only.example   A 192.0.2.9
dual.example     TXT "v=spf1 a:v4only.example a:v4only.example a:v4only.example a:v4only.example ~all"
void.example     TXT "v=spf1 a:v1.void.example mx:v2.void.example exists:v3.void.example -all"
mapped.example   TXT "v=spf1 ip6:::ffff:192.0.2.1 ip6:::ffff:0:0/96 a:mapped4.example -all"
mapped4.example  AAAA ::ffff:192.0.2.1
manymx.example   TXT "v=spf1 mx -all"
incnone.example  TXT "v=spf1 include:noise.example -all"
ptr.example      TXT "v=spf1 ptr -all"
host.ptr.example A 192.0.2.1
1.2.0.192.in-addr.arpa PTR other.example.
1.2.0.192.in-addr.arpa PTR Host.PTR.example.
other.example    A 192.0.2.77
3.2.0.192.in-addr.arpa TIMEOUT
pmac.example     TXT "v=spf1 exists:%{p}.seen.example -all"
host.ptr.example.seen.example A 127.0.0.2
eai.example      TXT "v=spf1 include:%{l}.x.example exists:%{l}.x.example a:%{s}.x.example mx:%{l}.x.example ?all"
eaired.example   TXT "v=spf1 redirect=%{l}.x.example"
chain.example    TXT "v=spf1 include:mid.example ~all"
mid.example      TXT "v=spf1 -ip4:192.0.2.9 redirect=end.example"
end.example      TXT "v=spf1 a:v4only.example ip4:192.0.2.0/24 -all"
loop.example     TXT "v=spf1 include:loop.example -all"
deep.example     TXT "v=spf1 a:v4only.example include:deep2.example mx a a:v4only.example/24 ptr redirect=ok.example"
deep2.example    TXT "v=spf1 a:v4only.example a:v4only.example a:v4only.example a:v4only.example a:v4only.example a:v4only.example a:v4only.example a:v4only.example a:v4only.example a:v4only.example -all a"
nullmx.example   TXT "v=spf1 mx -all"
nullmx.example   MX 0 .
label.example    TXT "v=spf1 redirect=%{d1}"
expbad.example   TXT "v=spf1 -all exp=down.example"
explong.example  TXT "v=spf1 -all exp=long.example"
`

func testZone(t testing.TB) *dnstest.Zone {
	t.Helper()
	var b strings.Builder
	b.WriteString(zone)
	for _, n := range strings.Split("abcdefghijk", "") {
		b.WriteString("manymx.example MX 10 " + n + ".example.\n")
	}
	b.WriteString("long.example TXT " + escaped(strings.Repeat("word ", 500)) + "\n")
	z, err := dnstest.Parse("zone", strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func in(ip, from, helo string) Input {
	return Input{IP: netip.MustParseAddr(ip), Helo: helo, MailFrom: mail.ParsePath(from)}
}

func TestCheck(t *testing.T) {
	const ip, helo = "192.0.2.1", "mx.ok.example"
	tests := []struct {
		name   string
		in     Input
		result Result
		domain string
		reason string
	}{
		{"pass", in(ip, "<a@ok.example>", helo), Pass, "ok.example", "matched ip4:192.0.2.1 of ok.example"},
		{"case and dot", in(ip, "a@OK.Example.", helo), Pass, "ok.example", ""},
		{"mapped client", in("::ffff:192.0.2.1", "a@ok.example", helo), Pass, "ok.example", ""},
		{"fail", in("192.0.2.2", "a@ok.example", helo), Fail, "ok.example", "matched -all of ok.example"},
		{"softfail", in(ip, "a@soft.example", helo), SoftFail, "soft.example", ""},
		{"last at sign", in(ip, `<"x@ok.example"@victim.example>`, helo), Fail, "victim.example", ""},
		{"empty local part", in(ip, "<@post.example>", helo), Pass, "post.example", "matched exists:%{l}.u.post.example"},
		{"null sender", in(ip, "<>", "post.example"), Pass, "post.example", ""},
		{"helo identity", Input{IP: netip.MustParseAddr(ip), Helo: "POST.example.", MailFrom: mail.ParsePath("a@ok.example"), Identity: Helo}, Pass, "post.example", ""},
		{"u-labels", in(ip, "a@B\u00fccher.example", helo), Pass, "xn--bcher-kva.example", ""},
		{"no domain", in(ip, "<root>", helo), None, "", "no domain"},
		{"helo literal", in(ip, "<>", "[192.0.2.1]"), None, "[192.0.2.1]", "an address"},
		{"helo address", in(ip, "<>", "192.0.2.1"), None, "192.0.2.1", "an address"},
		{"helo single label", in(ip, "<>", "localhost"), None, "localhost", "not a qualified domain"},
		{"helo empty", in(ip, "<>", ""), None, "", "no domain"},
		{"malformed", in(ip, "a@x..example", helo), None, "", "malformed"},
		{"control characters", in(ip, "a@x\x01.example", helo), None, "", "malformed"},
		{"alias of ours", in(ip, "a@\x010", helo), None, "", "malformed"},
		{"no such domain", in(ip, "a@nowhere.example", helo), None, "nowhere.example", "no TXT record"},
		{"no spf record", in(ip, "a@noise.example", helo), None, "noise.example", "no SPF record"},
		{"two records", in(ip, "a@two.example", helo), PermError, "two.example", "has 2 SPF records"},
		{"error after match", in(ip, "a@bad.example", helo), PermError, "bad.example", `"moo": unknown mechanism`},
		{"include without record", in(ip, "a@incnone.example", helo), PermError, "incnone.example", "include:noise.example of incnone.example: noise.example has no SPF record"},
		{"redirect to one label", in(ip, "a@label.example", helo), PermError, "label.example", "example is not a domain"},
		{"record down", in(ip, "a@down.example", helo), TempError, "down.example", "lookup of TXT down.example"},
		{"include down", in(ip, "a@incdown.example", helo), TempError, "incdown.example", "lookup of TXT down.example"},
		{"redirect down", in(ip, "a@reddown.example", helo), TempError, "reddown.example", "lookup of TXT down.example"},
		{"a down", in(ip, "a@adown.example", helo), TempError, "adown.example", "lookup of A down.example"},
		{"mx down", in(ip, "a@mxdown.example", helo), TempError, "mxdown.example", "lookup of MX down.example"},
		{"mx host down", in(ip, "a@mxhost.example", helo), TempError, "mxhost.example", "lookup of A down.example"},
		{"exists down", in(ip, "a@exdown.example", helo), TempError, "exdown.example", "lookup of A down.example"},
		{"own family down", in(ip, "a@halfdown.example", helo), TempError, "halfdown.example", "lookup of A half.example"},
		{"other family down", in(ip, "a@noa6.example", helo), Fail, "noa6.example", ""},
		{"other family down, none of ours", in("2001:db8::1", "a@halfdown.example", helo), Fail, "halfdown.example", ""},
		{"other family is not void", in("2001:db8::1", "a@dual.example", helo), SoftFail, "dual.example", "4 lookups"},
		{"void", in(ip, "a@void.example", helo), PermError, "void.example", "3 lookups that found nothing, limit 2, at exists:v3.void.example of void.example"},
		{"mapped networks and hosts", in(ip, "a@mapped.example", helo), Fail, "mapped.example", "matched -all"},
		{"eleven mx", in(ip, "a@manymx.example", helo), PermError, "manymx.example", "more than 10 MX records, at mx of manymx.example"},
		{"null mx", in(ip, "a@nullmx.example", helo), Fail, "nullmx.example", ""},
		{"ptr", in(ip, "a@ptr.example", helo), Pass, "ptr.example", "matched ptr of ptr.example"},
		{"ptr elsewhere", in("192.0.2.2", "a@ptr.example", helo), Fail, "ptr.example", ""},
		{"ptr down is no match", in("192.0.2.3", "a@ptr.example", helo), Fail, "ptr.example", ""},
		{"macro p", in(ip, "a@pmac.example", helo), Pass, "pmac.example", ""},
		{"non-ascii local part never matches", in(ip, "\u00fc@eai.example", helo), Neutral, "eai.example", "matched ?all"},
		{"nor redirects", in(ip, "\u00fc@eaired.example", helo), Neutral, "eaired.example", ""},
		{"chain", in(ip, "a@chain.example", helo), Pass, "chain.example", "matched ip4:192.0.2.0/24 of end.example, included by chain.example, 3 lookups"},
		{"chain, include left", in("198.51.100.1", "a@chain.example", helo), SoftFail, "chain.example", "matched ~all of chain.example, 3 lookups"},
		{"chain, left at once", in("192.0.2.9", "a@chain.example", helo), SoftFail, "chain.example", "matched ~all of chain.example, 1 lookup"},
		{"loop", in(ip, "a@loop.example", helo), PermError, "loop.example", "at least 11 lookups, limit 10, at include:loop.example of loop.example"},
		{"too deep", in("203.0.113.1", "a@deep.example", helo), PermError, "deep.example", "at least 17 lookups, limit 10, at a:v4only.example of deep2.example"},
	}
	z := testZone(t)
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			f := Check(t.Context(), z.Resolver(), c.in)
			if f.Result != c.result || f.Domain != c.domain || !strings.Contains(f.Reason, c.reason) || f.Reason == "" {
				t.Errorf("got %+v, want %+v", f, c)
			}
		})
	}
}

// TestNotAsked has identities that must not reach the DNS.
func TestNotAsked(t *testing.T) {
	z := testZone(t)
	for _, helo := range []string{"", "localhost", "[192.0.2.1]", "192.0.2.1", "2001:db8::1", "a..b", "-", strings.Repeat("x", 64) + ".example"} {
		Check(t.Context(), z.Resolver(), Input{IP: netip.MustParseAddr("192.0.2.1"), Helo: helo, Identity: Helo})
	}
	Check(t.Context(), z.Resolver(), Input{Helo: "ok.example", Identity: Helo})
	if q := z.Queries(); len(q) != 0 {
		t.Errorf("asked %v", q)
	}
}

func TestLookups(t *testing.T) {
	z := testZone(t)
	for domain, want := range map[string]int{"ok.example": 0, "chain.example": 3, "loop.example": 11, "deep.example": 17,
		"ptr.example": 1, "void.example": 3, "down.example": 0} {
		if f := Check(t.Context(), z.Resolver(), in("192.0.2.1", "a@"+domain, "h.example")); f.Lookups != want {
			t.Errorf("%s: %d lookups, want %d (%+v)", domain, f.Lookups, want, f)
		}
	}
}

func TestExplanation(t *testing.T) {
	z := testZone(t)
	tests := []struct{ name, from, helo, want string }{
		{"expanded", "a@victim.example", "mx.example", "a@victim.example may not come from 192.0.2.1 (mx.example)"},
		{"hostile values", "a\r\nb@victim.example", "\x1b[0m", "a??b@victim.example may not come from 192.0.2.1 (?[0m)"},
		{"non-ascii values", "\u00fc@victim.example", "h.example", "??@victim.example may not come from 192.0.2.1 (h.example)"},
		{"lookup fails", "a@expbad.example", "h.example", ""},
		{"long", "a@explong.example", "h.example", strings.TrimSpace(strings.Repeat("word ", 80))},
		{"none", "a@ok.example", "h.example", ""},
	}
	for _, c := range tests {
		f := Check(t.Context(), z.Resolver(), in("192.0.2.1", c.from, c.helo))
		if f.Explanation != c.want || c.name != "none" && f.Result != Fail {
			t.Errorf("%s: got %+v, want %q", c.name, f, c.want)
		}
	}
}

// TestContext has checks that end early: never a verdict, and soon.
func TestContext(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	z := testZone(t)
	for _, domain := range []string{"ok.example", "ptr.example", "pmac.example", "chain.example"} {
		f := Check(ended, z.Resolver(), in("192.0.2.1", "a@"+domain, "h.example"))
		if f.Result != TempError || f.Reason == "" {
			t.Errorf("%s: %+v", domain, f)
		}
	}
}

// TestEndsBetween ends the context during the first, second and third lookup.
func TestEndsBetween(t *testing.T) {
	for _, domain := range []string{"ptr.example", "pmac.example", "chain.example"} {
		for n := 1; n <= 3; n++ {
			ctx, cancel := context.WithCancel(t.Context())
			r := &cancelling{Resolver: testZone(t).Resolver(), left: n, cancel: cancel}
			f := Check(ctx, r, in("192.0.2.1", "a@"+domain, "h.example"))
			if f.Result != TempError {
				t.Errorf("%s, lookup %d: %+v", domain, n, f)
			}
			cancel()
		}
	}
}

// TestTwentySeconds has a resolver that answers slowly for ever.
func TestTwentySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := testZone(t)
		z.Tune(dnstest.Knobs{Delay: 7 * time.Second})
		start := time.Now()
		f := Check(t.Context(), z.Resolver(), in("192.0.2.1", "a@loop.example", "h.example"))
		if took := time.Since(start); f.Result != TempError || took != maxTime {
			t.Errorf("%+v after %v", f, took)
		}
	})
}

// TestMemo has the resolver that sessions use.
func TestMemo(t *testing.T) {
	z := testZone(t)
	r := dns.NewMemo(z.Resolver())
	for range 2 {
		if f := Check(t.Context(), r, in("192.0.2.1", "a@chain.example", "h.example")); f.Result != Pass {
			t.Errorf("%+v", f)
		}
	}
	for q, n := range z.Queries() {
		if n != 1 {
			t.Errorf("%s asked %d times", q, n)
		}
	}
}

// failing gives one error for everything that is not a record of its own.
type failing struct {
	yes
	err error
}

func (f failing) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if name == "start.example" && f.txt != "" {
		return []string{f.txt}, nil
	}
	return nil, f.err
}
func (f failing) LookupMX(context.Context, string) ([]*net.MX, error)     { return nil, f.err }
func (f failing) LookupA(context.Context, string) ([]netip.Addr, error)   { return nil, f.err }
func (f failing) LookupPTR(context.Context, netip.Addr) ([]string, error) { return nil, f.err }
func (f failing) LookupAAAA(ctx context.Context, n string) ([]netip.Addr, error) {
	return f.LookupA(ctx, n)
}

// TestErrors has the errors that the library alone would call permanent.
func TestErrors(t *testing.T) {
	for _, err := range []error{context.DeadlineExceeded, context.Canceled, errors.New("refused"),
		&net.DNSError{Err: "server misbehaving"}, &net.DNSError{Err: "timeout", IsTimeout: true}} {
		for _, txt := range []string{"", "v=spf1 a -all", "v=spf1 mx -all", "v=spf1 exists:%{i}.x.y -all",
			"v=spf1 include:x.y -all", "v=spf1 redirect=x.y"} {
			f := Check(t.Context(), failing{yes{txt}, err}, in("192.0.2.1", "a@start.example", "h.example"))
			if f.Result != TempError || !strings.Contains(f.Reason, "lookup of ") {
				t.Errorf("%v, %q: %+v", err, txt, f)
			}
		}
	}
}
