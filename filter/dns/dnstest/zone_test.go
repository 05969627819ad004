package dnstest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"mailwicket/filter/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zoneText = `$TTL 1h
; a comment, and CRLF at the next line's end
plain.example   A 192.0.2.1` + "\r" + `
plain.example   300 IN AAAA 2001:db8::1
txt.example     TXT "v=spf1 " "-all"
bytes.example   TXT "a\"b\\c" "\195\169\000"
utf8.example    TXT "é"
mx.example      MX 20 b.example.
mx.example      MX 10 A.Example.
nullmx.example  MX 0 .
1.2.0.192.in-addr.arpa PTR Host.Example.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.
alias.example   CNAME plain.example.
dangling.example CNAME nowhere.example.
loop.example    CNAME loop2.example.
loop2.example   CNAME loop.example.
toloop.example  CNAME loop.example.
deep.a.b.example A 192.0.2.9
*.wild.example  A 192.0.2.7
*.wild.example  TXT "any"
known.wild.example TXT "own"
x.ent.wild.example A 192.0.2.8
gone.wild.example NXDOMAIN ; not covered by the wildcard
bad.example     TEMPERROR
half.example    A 192.0.2.2
half.example TXT TEMPERROR
slow.example    mx TIMEOUT
*.down.example  TEMPERROR
neg.example     SOA ns. host. 1 2 3 4 60
$ORIGIN rel.example.
@       A 192.0.2.3
www     A 192.0.2.4
absolute.example. A 192.0.2.5
broken  TEMPERROR
`

// answer asks as tests write it: "TXT name" or "PTR addr".
func answer(ctx context.Context, r dns.Resolver, question string) (string, error) {
	kind, name, _ := strings.Cut(question, " ")
	var out []string
	var err error
	switch kind {
	case "TXT":
		out, err = r.LookupTXT(ctx, name)
	case "PTR":
		out, err = r.LookupPTR(ctx, netip.MustParseAddr(name))
	case "MX":
		var mx []*net.MX
		mx, err = r.LookupMX(ctx, name)
		for _, m := range mx {
			out = append(out, m.Host)
		}
	default:
		ask := r.LookupA
		if kind == "AAAA" {
			ask = r.LookupAAAA
		}
		var as []netip.Addr
		as, err = ask(ctx, name)
		for _, a := range as {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, " "), err
}

var zoneTests = []struct {
	question, want string
	kind           dns.Failure
}{
	{"A plain.example", "192.0.2.1", dns.None},
	{"A PLAIN.Example.", "192.0.2.1", dns.None},
	{"AAAA plain.example", "2001:db8::1", dns.None},
	{"TXT plain.example", "", dns.NoData},
	{"TXT absent.example", "", dns.NXDomain},
	{"TXT txt.example", "v=spf1 -all", dns.None},
	{"TXT bytes.example", "a\"b\\c\xc3\xa9\x00", dns.None},
	{"TXT utf8.example", "é", dns.None},
	{"MX mx.example", "a.example b.example", dns.None},
	{"MX nullmx.example", ".", dns.None},
	{"PTR 192.0.2.1", "host.example", dns.None},
	{"PTR 2001:db8::1", "six.example", dns.None},
	{"PTR 192.0.2.2", "", dns.NXDomain},
	{"A alias.example", "192.0.2.1", dns.None},
	{"TXT alias.example", "", dns.NoData},
	{"A dangling.example", "", dns.NXDomain},
	{"A loop.example", "", dns.Temporary},
	{"A example", "", dns.NoData}, // empty non-terminals
	{"A b.example", "", dns.NoData},
	{"A a.b.example", "", dns.NoData},
	{"A other.b.example", "", dns.NXDomain},
	// RFC 4592, 2.2.1
	{"A foo.wild.example", "192.0.2.7", dns.None},
	{"A foo.bar.wild.example", "192.0.2.7", dns.None},
	{"MX foo.wild.example", "", dns.NoData},
	{"A known.wild.example", "", dns.NoData},
	{"TXT known.wild.example", "own", dns.None},
	{"A below.known.wild.example", "", dns.NXDomain},
	{"A ent.wild.example", "", dns.NoData},
	{"A y.ent.wild.example", "", dns.NXDomain},
	{"A wild.example", "", dns.NoData},
	{"TXT *.wild.example", "any", dns.None},
	{"A gone.wild.example", "", dns.NXDomain},
	{"A bad.example", "", dns.Temporary},
	{"TXT bad.example", "", dns.Temporary},
	{"A half.example", "192.0.2.2", dns.None},
	{"TXT half.example", "", dns.Temporary},
	{"MX slow.example", "", dns.Temporary},
	{"TXT slow.example", "", dns.NoData},
	{"A x.down.example", "", dns.Temporary},
	{"A rel.example", "192.0.2.3", dns.None},
	{"A www.rel.example", "192.0.2.4", dns.None},
	{"A absolute.example", "192.0.2.5", dns.None},
	{"A broken.rel.example", "", dns.Temporary},
	{"A a..b", "", dns.NXDomain}, // cannot be written on the wire
	{"A " + strings.Repeat("x", 64) + ".example", "", dns.NXDomain},
}

func TestResolver(t *testing.T) {
	r := MustParse(zoneText).Resolver()
	for _, tt := range zoneTests {
		got, err := answer(t.Context(), r, tt.question)
		if got != tt.want || dns.Kind(err) != tt.kind {
			t.Errorf("%s: %q, %v; want %q, kind %d", tt.question, got, err, tt.want, tt.kind)
		}
		if err != nil && reflect.TypeOf(err) != reflect.TypeFor[*net.DNSError]() {
			t.Errorf("%s: error is a %T", tt.question, err)
		}
	}
	_, err := r.LookupMX(t.Context(), "slow.example")
	if de := new(net.DNSError); !errors.As(err, &de) || !de.IsTimeout {
		t.Errorf("TIMEOUT gives %#v", err)
	}
	if _, err := r.LookupPTR(t.Context(), netip.Addr{}); dns.Kind(err) != dns.NXDomain {
		t.Errorf("the zero address gives %v", err)
	}
}

func TestTrail(t *testing.T) {
	var tr dns.Trail
	ctx := dns.WithTrail(t.Context(), &tr)
	r := MustParse(zoneText).Resolver()
	_, _ = r.LookupTXT(ctx, "txt.example")
	_, _ = r.LookupA(ctx, "absent.neg.example")
	got, dropped := tr.Answers()
	for i := range got {
		got[i].Took = 0
	}
	want := []dns.Answer{
		{Name: "txt.example", Type: "TXT", Result: "ok", Data: []string{"v=spf1 -all"}, TTL: time.Hour, Server: "zone"},
		{Name: "absent.neg.example", Type: "A", Result: dns.TextNXDomain, TTL: time.Minute, Server: "zone"},
	}
	if dropped != 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("trail is %+v, want %+v", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a.example A 192.0.2.300":           "line: 1",
		"\n\na.example NOTYPE x":            "line: 3",
		"\na.example NOTYPE TEMPERROR":      `line 2: unknown record type "NOTYPE"`,
		"a..example TEMPERROR":              `line 1: invalid name "a..example"`,
		"a.example CH TXT \"x\"":            "class CH",
		"$INCLUDE /etc/passwd":              "$INCLUDE",
		"x TEMPERROR\ny TIMEOUT\nz A junk ": "line: 3",
	} {
		z, err := Parse("file", strings.NewReader(text))
		if err == nil || z != nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "file") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestSetAndQueries(t *testing.T) {
	z := MustParse("a.example TXT one")
	r := z.Resolver()
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for range 100 {
			_, _ = r.LookupTXT(t.Context(), "A.example")
		}
	}()
	if err := z.Set("a.example TXT two"); err != nil {
		t.Fatal(err)
	}
	if err := z.Set("a.example A nonsense"); err == nil {
		t.Error("nonsense was accepted")
	}
	<-stop
	if got, _ := answer(t.Context(), r, "TXT a.example"); got != "two" {
		t.Errorf("after Set: %q", got)
	}
	if n := z.Queries()["a.example TXT"]; n != 101 {
		t.Errorf("%d queries counted, want 101", n)
	}
	z.Reset()
	if n := len(z.Queries()); n != 0 {
		t.Errorf("%d questions after Reset", n)
	}
}

func TestKnobs(t *testing.T) {
	z := MustParse(zoneText)
	r := z.Resolver()
	for _, k := range []Knobs{{Drop: true}, {Refuse: true}, {ServFail: true}} {
		z.Tune(k)
		if _, err := r.LookupA(t.Context(), "plain.example"); dns.Kind(err) != dns.Temporary {
			t.Errorf("%+v: %v", k, err)
		}
	}
	z.Tune(Knobs{Wildcard: netip.MustParseAddr("198.51.100.1")})
	if got, _ := answer(t.Context(), r, "A absent.example"); got != "198.51.100.1" {
		t.Errorf("wildcard gives %q", got)
	}
	z.Tune(Knobs{NoChase: true})
	if got, _ := answer(t.Context(), r, "A alias.example"); got != "192.0.2.1" {
		t.Errorf("alias without its end gives %q", got)
	}
	for _, name := range []string{"loop.example", "toloop.example"} {
		if _, err := r.LookupA(t.Context(), name); dns.Kind(err) != dns.Temporary {
			t.Errorf("%s: %v", name, err)
		}
	}
	z.Tune(Knobs{Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(5*time.Millisecond, cancel)
	if _, err := r.LookupA(ctx, "plain.example"); dns.Kind(err) != dns.Temporary {
		t.Errorf("a cancelled wait gives %v", err)
	}
}

// exchange asks a server with the library's own client.
func exchange(t *testing.T, s *Server, network, name string, qtype uint16, edns uint16) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg)
	m.SetQuestion(name, qtype)
	if edns > 0 {
		m.SetEdns0(edns, false)
	}
	c := mdns.Client{Net: network, Timeout: 5 * time.Second}
	reply, _, err := c.Exchange(m, s.Addr())
	if err != nil {
		t.Fatalf("%s %s: %v", network, name, err)
	}
	return reply
}

func TestServer(t *testing.T) {
	z := MustParse(zoneText + "\nbig.example. TXT " + strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 8))
	s, err := Serve(z, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tests := []struct {
		network, name string
		qtype, edns   uint16
		rcode, n      int
		tc            bool
	}{
		{"udp", "plain.example.", mdns.TypeA, 0, 0, 1, false},
		{"tcp", "plain.example.", mdns.TypeA, 0, 0, 1, false},
		{"udp", "alias.example.", mdns.TypeA, 1232, 0, 2, false},
		{"udp", "absent.example.", mdns.TypeA, 1232, mdns.RcodeNameError, 0, false},
		{"udp", "plain.example.", mdns.TypeTXT, 1232, 0, 0, false},
		{"udp", "bad.example.", mdns.TypeA, 1232, mdns.RcodeServerFailure, 0, false},
		{"udp", "big.example.", mdns.TypeTXT, 1232, 0, 0, true},
		{"udp", "big.example.", mdns.TypeTXT, 4096, 0, 1, false},
		{"tcp", "big.example.", mdns.TypeTXT, 1232, 0, 1, false},
	}
	for _, tt := range tests {
		m := exchange(t, s, tt.network, tt.name, tt.qtype, tt.edns)
		if m.Rcode != tt.rcode || len(m.Answer) != tt.n || m.Truncated != tt.tc {
			t.Errorf("%+v: got\n%s", tt, m)
		}
	}
	s.Close() // a second one is harmless
}

// FuzzParse: what parses can be asked, and each name with records answers
// with data, an alias' end, or the fault that the file names.
func FuzzParse(f *testing.F) {
	f.Add(zoneText)
	f.Add("*. TEMPERROR\n* A 192.0.2.1")
	f.Add("$TTL 5\n$ORIGIN a.\n@ 1 IN SOA . . 1 2 3 4 5\nb (\n A 192.0.2.1 )")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || strings.Contains(strings.ToUpper(text), "$GENERATE") {
			return
		}
		z, err := Parse("fuzz", strings.NewReader(text))
		if err != nil {
			return
		}
		for name, n := range z.content.nodes {
			for qtype := range n.records {
				o := z.ask(name, qtype)
				faulty := n.faults[qtype] != "" || n.faults[anyType] != ""
				if !faulty && (o.rcode != 0 || len(o.answer) == 0) {
					t.Fatalf("%q type %d is in the zone but answers %+v", name, qtype, o)
				}
			}
			if o := z.ask("nx-label."+name, mdns.TypeA); o.rcode == 0 && len(o.answer) == 0 && !o.drop && o.soa == nil {
				t.Fatalf("below %q: an answer without data and SOA", name)
			}
		}
	})
}
