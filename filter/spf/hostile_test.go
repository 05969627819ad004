package spf

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	lib "blitiri.com.ar/go/spf"

	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
	"mailwicket/filter/spf/record"
)

// hostile answers every question out of a few texts and names, by the hash of
// the name. It counts what it is asked.
type hostile struct {
	texts, names []string
	asked        atomic.Int64
}

func (h *hostile) pick(name string) uint32 {
	h.asked.Add(1)
	f := fnv.New32a()
	f.Write([]byte(name))
	return f.Sum32()
}

func nothing(text string) error { return &net.DNSError{Err: text, IsNotFound: true} }

func (h *hostile) LookupTXT(_ context.Context, name string) ([]string, error) {
	n := h.pick(name)
	if n%16 == 1 {
		return nil, nothing(dns.TextNXDomain)
	}
	return []string{h.texts[int(n)%len(h.texts)]}, nil
}

func (h *hostile) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	n := h.pick(name)
	var all []*net.MX
	for i := range n % 13 {
		all = append(all, &net.MX{Host: h.names[(int(n)+int(i))%len(h.names)], Pref: uint16(i)})
	}
	return all, nil
}

func (h *hostile) LookupA(_ context.Context, name string) ([]netip.Addr, error) {
	switch n := h.pick(name); n % 8 {
	case 1:
		return nil, nothing(dns.TextNXDomain)
	case 2:
		return nil, nothing(dns.TextNoData)
	case 3:
		return nil, &net.DNSError{Err: "timeout", IsTimeout: true, IsTemporary: true}
	case 4:
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	default:
		return []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(n >> 8)})}, nil
	}
}

func (h *hostile) LookupAAAA(_ context.Context, name string) ([]netip.Addr, error) {
	if h.pick(name)%3 == 0 {
		return []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1")}, nil
	}
	return nil, nothing(dns.TextNoData)
}

func (h *hostile) LookupPTR(_ context.Context, addr netip.Addr) ([]string, error) {
	h.asked.Add(1)
	return h.names, nil
}

// maxAsked is what a check may ask: the records, the hosts of ten mx, two
// families for ten a, the client's names, and the explanation.
const maxAsked = 11 + 10*11 + 2*10 + 1 + 10 + 1

func asciiText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// FuzzCheck evaluates the records of a hostile zone.
func FuzzCheck(f *testing.F) {
	for _, records := range []string{
		"v=spf1 a mx ptr include:%{l}.%{d} exists:%{ir}.%{p}.x.y -all exp=%{s}\nv=spf1 redirect=a.%{o}\n%{c}%{r}%{t} %{H}\nv=spf1 ?all",
		"v=spf1 include:a.b include:b.c -include:c.d ~all\nv=spf1 ip4:192.0.2.0/24 mx//64\nv=spf1 a/0 -all exp=x.y\nv=spf1 ptr:%{p} a:%%.x mx:%_.y ip6:::/0",
		"v=spf1 redirect=%{h}\nv=spf1 ip6:::ffff:192.0.2.1 a:b.c/8//8 -all",
	} {
		f.Add(records, "a.b\nb.c.\nx y\n%.c\n\x01"+"0", "lo%{cal}", "h.example", true)
		f.Add(records, "Mail.B\n.", "\u00fc", "[1.2.3.4]", false)
	}
	words := map[Result]bool{None: true, Neutral: true, Pass: true, Fail: true, SoftFail: true, TempError: true, PermError: true}
	f.Fuzz(func(t *testing.T, records, names, local, helo string, v4 bool) {
		h := &hostile{texts: strings.Split(records, "\n"), names: strings.Split(names, "\n")}
		input := Input{IP: netip.MustParseAddr("2001:db8::1"), Helo: helo, MailFrom: mail.Address{Local: local, Domain: "start.example"}}
		if v4 {
			input.IP = netip.MustParseAddr("192.0.2.1")
		}
		got := Check(t.Context(), h, input)
		switch {
		case !words[got.Result] || got.Reason == "":
			t.Fatalf("result %+v", got)
		case !asciiText(got.Reason) || len(got.Reason) > maxReason+3:
			t.Fatalf("reason %q", got.Reason)
		case !asciiText(got.Explanation) || len(got.Explanation) > maxExplanation || got.Explanation != "" && got.Result != Fail:
			t.Fatalf("explanation %+v", got)
		case got.Lookups > maxLookups && got.Result != PermError:
			t.Fatalf("lookups %+v", got)
		case h.asked.Load() > maxAsked:
			t.Fatalf("%d questions", h.asked.Load())
		}
		if again := Check(t.Context(), h, input); again != got && !strings.Contains(records, "%{t") && !strings.Contains(records, "%{T") {
			t.Fatalf("first %+v, then %+v", got, again)
		}
	})
}

// yes has one record at start.example, and an answer for everything else.
type yes struct{ txt string }

func (y yes) LookupTXT(_ context.Context, name string) ([]string, error) {
	if name == "start.example" {
		return []string{y.txt}, nil
	}
	return []string{"v=spf1 ?all"}, nil
}

func (y yes) LookupMX(context.Context, string) ([]*net.MX, error) {
	return []*net.MX{{Host: "mx.example"}}, nil
}

func (y yes) LookupA(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("198.51.100.1")}, nil
}

func (y yes) LookupAAAA(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("2001:db8::1")}, nil
}

func (y yes) LookupPTR(context.Context, netip.Addr) ([]string, error) {
	return []string{"ptr.example"}, nil
}

// The library's own view of yes.
func (y yes) LookupAddr(context.Context, string) ([]string, error) {
	return []string{"ptr.example."}, nil
}

func (y yes) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) {
	return []net.IPAddr{{IP: net.IPv4(198, 51, 100, 1)}}, nil
}

// laxity of the library in the other direction: slashes in names and large
// numbers in macros are legal.
var beyondLibrary = regexp.MustCompile(`/\D*[^/\d ]|/\d+[^/\d ]|/\d*/\d+/|\d{9}`)

func librarySyntax(err error) bool {
	for _, e := range []error{lib.ErrUnknownField, lib.ErrInvalidIP, lib.ErrInvalidMask, lib.ErrInvalidMacro, lib.ErrInvalidDomain} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// FuzzSyntax compares the syntax check with the whole and with the library:
// what it refuses is a permerror, and in what it takes, neither we nor the
// library find an error later.
func FuzzSyntax(f *testing.F) {
	for _, txt := range []string{"v=spf1 a mx:%{d2} ip4:1.2.3.4/24 ip6:a::/16 include:x.y exists:%{ir}.z exp=a.b redirect=c.d",
		"v=spf1 ptr ptr:a.b -all", "v=spf1 a:foo:bar/baz.com/24//64", "v=spf1 ~all x=%{c}", "v=spf1 a:%{d0} a//129", "V=spf1  moo +all"} {
		f.Add(txt)
	}
	f.Fuzz(func(t *testing.T, txt string) {
		if !record.Is(txt) || len(txt) > maxBytes {
			return
		}
		got := Check(t.Context(), yes{txt}, in("192.0.2.1", "l@start.example", "h.example"))
		broken := strings.HasPrefix(got.Reason, "SPF record of start.example: syntax error")
		_, err := record.Parse(txt)
		if (err != nil) != (broken && got.Result == PermError) {
			t.Fatalf("%q: parsed with %v, but %+v", txt, err, got)
		}
		if err != nil {
			return
		}
		if got.Result == PermError && !strings.Contains(got.Reason, "limit") && !strings.Contains(got.Reason, "is not a domain") {
			t.Fatalf("%q: taken, but %+v", txt, got)
		}
		_, liberr := lib.CheckHostWithSender(net.IPv4(192, 0, 2, 1), "h.example", "l@start.example", lib.WithResolver(yes{txt}))
		if librarySyntax(liberr) && !beyondLibrary.MatchString(txt[6:]) {
			t.Fatalf("%q: taken, but the library says %v", txt, liberr)
		}
	})
}

// bombs are records made to cost: each alone as long as a TXT record can be, or
// as many as a check may fetch.
func bombs() map[string]*hostile {
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (65000-len(head)-len(tail))/len(unit)) + tail
	}
	one := func(txt string) *hostile { return &hostile{texts: []string{txt}, names: []string{"a.b", "b.c"}} }
	return map[string]*hostile{
		"ip4 terms":        one(fill("v=spf1", " ip4:10.0.0.1", " -all")),
		"ip6 terms":        one(fill("v=spf1", " ip6:a::", " -all")),
		"a terms":          one(fill("v=spf1", " a", " -all")),
		"unknown":          one(fill("v=spf1", " x=", " -all")),
		"percent signs":    one(fill("v=spf1 exists:", "%%", ".x.y -all")),
		"empty expansions": one(fill("v=spf1 exists:", "%{l1r}", " -all")),
		"long expansions":  one(fill("v=spf1 exists:", "%{l99r.-+,/_=}", " -all")),
		"all in exp":       one(fill("v=spf1 -all exp=", "%{S}", "")),
		"spaces":           one(fill("v=spf1", "    ", " -all")),
		"include of all":   one(fill("v=spf1 include:%{d}.a", " ip4:10.0.0.1", " -all")),
		"mx everywhere":    one("v=spf1 mx:1.x.y mx:2.x.y mx:3.x.y mx:4.x.y mx:5.x.y mx:6.x.y mx:7.x.y mx:8.x.y mx:9.x.y include:a.b"),
	}
}

// TestBombs bounds the questions; BenchmarkBombs shows the time.
func TestBombs(t *testing.T) {
	for name, h := range bombs() {
		f := Check(t.Context(), h, bombInput())
		if n := h.asked.Load(); n > maxAsked {
			t.Errorf("%s: %d questions", name, n)
		}
		if name == "include of all" && (f.Result != PermError || !strings.Contains(f.Reason, "longer than")) {
			t.Errorf("%s: %+v", name, f)
		}
		t.Logf("%-16s %-9s %3d questions: %s", name, f.Result, h.asked.Load(), f.Reason)
	}
}

func bombInput() Input {
	return in("192.0.2.1", strings.Repeat(".", 2000)+"@start.example", strings.Repeat("h.", 1000))
}

func BenchmarkBombs(b *testing.B) {
	for name, h := range bombs() {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Check(b.Context(), h, bombInput())
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	r := testZone(b).Resolver()
	for _, domain := range []string{"ok.example", "chain.example", "deep.example"} {
		b.Run(fmt.Sprint(domain), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Check(b.Context(), r, in("192.0.2.1", "a@"+domain, "h.example"))
			}
		})
	}
}
