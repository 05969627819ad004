package fact_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"mailwicket/filter/fact"
	"mailwicket/filter/mail"
)

func TestStatesHaveNames(t *testing.T) {
	for s := fact.Absent; s <= fact.Failed; s++ {
		if got, ok := fact.ParseState(s.String()); !ok || got != s {
			t.Errorf("ParseState(%q) = %v, %v", s, got, ok)
		}
	}
	if _, ok := fact.ParseState("state(9)"); ok {
		t.Error("a state out of range has a name")
	}
	var s fact.State
	if err := s.UnmarshalText([]byte("maybe")); err == nil || s != fact.Absent {
		t.Errorf("unknown state read as %v, %v", s, err)
	}
	if got := fact.State(9).String() + " " + fact.Kind(9).String(); got != "state(9) kind(9)" {
		t.Errorf("out of range: %s", got)
	}
}

func TestMapKeepsWhatIsNotKnown(t *testing.T) {
	length := func(s string) int { return len(s) }
	for _, c := range []struct {
		in   fact.Fact[string]
		want fact.Fact[int]
	}{
		{fact.Is("four"), fact.Is(4)},
		{fact.Fail[string]("timeout"), fact.Fail[int]("timeout")},
		{fact.Skip[string]("trusted"), fact.Skip[int]("trusted")},
		{fact.Fact[string]{}, fact.Fact[int]{}},
	} {
		if got := fact.Map(c.in, length); got != c.want {
			t.Errorf("Map(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

// checkNames are the names under which the engine finds facts.
var checkNames = []string{
	"iprev", "list_name", "dnsbl", "dnsbl_name", "dnsbl_helo", "dnsbl_mail_from", "dnsbl_header_from", "dnsbl_dkim", "dnsbl_links", "content", "list_links", "dnsbl_score", "spf_helo", "helo_dns", "spf", "dkim", "list_dkim", "arc", "dmarc", "replay", "defer_age",
	"list", "header", "rates", "greylist", "mtalog",
}

func TestFieldsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range fact.Fields() {
		if seen[f.Name] {
			t.Errorf("%s: twice in the table", f.Name)
		}
		seen[f.Name] = true
		if f.Doc == "" || strings.HasSuffix(f.Doc, ".") || strings.Contains(f.Doc, "\n") {
			t.Errorf("%s: Doc %q is not one line without a full stop", f.Name, f.Doc)
		}
		if f.Name != strings.ToLower(f.Name) || strings.ContainsAny(f.Name, " {}") || !strings.Contains(f.Name, ".") {
			t.Errorf("%s: not a name of the form part.word", f.Name)
		}
		if f.Check != "" && !slices.Contains(checkNames, f.Check) {
			t.Errorf("%s: no check is named %q", f.Name, f.Check)
		}
		if len(f.Words) > 0 && f.Kind != fact.Text {
			t.Errorf("%s: words on a %s", f.Name, f.Kind)
		}
		for _, w := range f.Words {
			if w != strings.ToLower(w) {
				t.Errorf("%s: word %q is not lower case", f.Name, w)
			}
		}
		if !slices.Contains(mail.Stages(), f.Stage) {
			t.Errorf("%s: no stage", f.Name)
		}
		if got, ok := fact.Lookup(f.Name); !ok || got.Doc != f.Doc {
			t.Errorf("Lookup(%s) finds another", f.Name)
		}
	}
	if _, ok := fact.Lookup("spf"); ok {
		t.Error("Lookup finds half a name")
	}
}

// always are the fields that are known without any check: they count.
var always = []string{"rcpt.count"}

func TestNothingIsKnownOfAnEmptySet(t *testing.T) {
	for _, f := range fact.Fields() {
		want := fact.Value{}
		if slices.Contains(always, f.Name) {
			want.State = fact.Known
		}
		if got := f.Get(&fact.Set{}); !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %+v, want %+v", f.Name, got, want)
		}
	}
}

// full has every fact, none with a zero value.
func full() *fact.Set {
	hit := func(list string) fact.Fact[[]fact.ListHit] {
		return fact.Is([]fact.ListHit{{List: list, Subject: "s", Entry: "e", Source: "f", Line: 3, Comment: "c", Weight: 1}})
	}
	s := &fact.Set{Stage: mail.StageMessage, Now: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	s.Conn = fact.Conn{Session: "S1", IP: fact.Is(netip.MustParseAddr("192.0.2.1")), Name: fact.Is("h.example"), PTR: fact.Is("p.example"),
		Trusted: fact.Is("network"), Iprev: fact.Is(fact.Iprev{Result: "pass", Names: []string{"h.example"}, Reason: "r"}),
		Dynamic: fact.Is(true), Helo: fact.Is("h.example"), HeloIs: fact.Is("ok"), HeloDNS: fact.Is("forward"),
		TLS: fact.Is(mail.TLS{Version: "TLSv1.3", Cipher: "AES", Bits: 256, CertSubject: "cs", CertIssuer: "ci"}),
		MTA: fact.MTA{Name: "mx", Version: "Postfix"}, SPFHelo: fact.Is(fact.SPF{Result: "pass", Domain: "h.example"}),
		ListIP: hit("ip"), ListName: hit("name"), ListHelo: hit("helo"), DNSBL: hit("zen"), DNSBLName: hit("dbl"), DNSBLHelo: hit("dbl"), AuthFails: fact.Is(3)}
	s.Txn = fact.Txn{QueueID: "Q1", AuthUser: fact.Is("ann"), AuthType: "PLAIN", MailFrom: fact.Is(mail.ParsePath("<>")),
		SPF:      fact.Is(fact.SPF{Result: "pass", Domain: "a.example", Reason: "r", Explanation: "x", Lookups: 2}),
		ListFrom: hit("from"), Rcpts: []mail.Address{mail.ParsePath("<b@c.example>")},
		From:    fact.Is(fact.From{Addresses: []string{"a@a.example"}, Domains: []string{"a.example"}, Defect: "d", Detail: "t"}),
		Subject: fact.Is("s"), MessageID: fact.Is("<1@a.example>"), ListID: fact.Is("l"), Fields: fact.Is(7), HeaderBytes: fact.Is(700),
		Defects: fact.Is([]string{"no_date"}), ListHeader: hit("header"), DNSBLFrom: hit("dbl"), DNSBLHeader: hit("dbl"), DNSBLDKIM: hit("dbl"), Rates: fact.Is([]string{"bytes"}),
		DKIM: fact.Is([]fact.DKIM{{Result: "fail", Domain: "no.example", Selector: "n"}, {Result: "pass", Reason: "r", Domain: "a.example",
			Identity: "@a.example", Selector: "s1", Algorithm: "rsa-sha256", KeyBits: 2048, Signature: "b", Testing: true}}),
		Content: fact.Is(fact.Content{Hosts: []string{"h.example", "i.example"}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9")},
			Defects: []string{"bad_base64"}, Over: true}),
		ListLinks: hit("links"), DNSBLLinks: hit("uri"), LinksLeft: fact.Is(5),
		ListDKIM: hit("dkim"), ARC: fact.Is(fact.ARC{Result: "pass", Sealers: []string{"l.example"}, Oldest: 1, Trusted: "l.example", Pending: "p.example", Reason: "r"}),
		DMARC: fact.Is(fact.DMARC{Result: "fail", Policy: "reject", Domain: "a.example", Record: "a.example", Org: "a.example",
			Aligned: []string{"a.example"}, Testing: true, Override: "o", Reason: "r"}),
		Size: fact.Is(int64(900)), ReplayClients: fact.Is(2), ReplayRecipients: fact.Is(4), DeferAge: fact.Is(90 * time.Second),
		Greylist: fact.Is(fact.Greylist{Result: "pass", Identity: "a.example", Kind: "spf", FirstSeen: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			Remaining: time.Second, Delayed: time.Minute, Attempts: 2, Degraded: true})}
	s.Rcpt = fact.Rcpt{To: fact.Is(mail.ParsePath("<b@c.example>")), ListTo: hit("rcpt"), Rates: fact.Is([]string{"per-client"}),
		Greylist: s.Txn.Greylist}
	return s
}

// fullFor is a full set in which the field is not empty: a null sender has no
// domain.
func fullFor(name string) *fact.Set {
	s := full()
	if name == "mail_from.domain" {
		s.Txn.MailFrom = fact.Is(mail.ParsePath("<a@d.example>"))
	}
	return s
}

// A field's value stands in the member that its Kind names, and in no other.
func TestKindTellsTheMember(t *testing.T) {
	for _, f := range fact.Fields() {
		v := f.Get(fullFor(f.Name))
		if v.State != fact.Known {
			t.Errorf("%s is %s in a full set", f.Name, v.String(f.Kind))
			continue
		}
		members := map[fact.Kind]bool{
			fact.Text: len(v.Text) > 0 && v.Text[0] != "", fact.Number: v.Num != 0, fact.Bool: v.Bool, fact.Addr: v.Addr.IsValid(),
		}
		kind := f.Kind
		if kind == fact.Duration {
			kind = fact.Number
		}
		for k, is := range members {
			if is != (k == kind) {
				t.Errorf("%s, a %s: has a %s: %v", f.Name, f.Kind, k, is)
			}
		}
		if len(f.Words) > 0 && !slices.Contains(f.Words, v.Text[0]) {
			t.Errorf("%s: %q is none of its words", f.Name, v.Text[0])
		}
	}
}

func TestFieldsReadTheRightFact(t *testing.T) {
	want := map[string]string{
		"client.ip": "192.0.2.1", "client.name": `"h.example"`, "client.ptr": `"p.example"`, "client.trusted": "true", "client.dynamic": "true",
		"client.lists": `"ip" (s matches e in f:3, c)`, "client.name_lists": `"name" (s matches e in f:3, c)`, "client.auth_failures": "3",
		"dnsbl.zones": `"zen" (s matches e in f:3, c)`, "helo.lists": `"helo" (s matches e in f:3, c)`, "helo.kind": `"ok"`, "helo.dns": `"forward"`,
		"tls.version": `"TLSv1.3"`, "tls.cipher": `"AES"`, "mta.version": `"Postfix"`, "auth.user": `"ann"`, "mail_from.address": `"<>"`,
		"mail_from.null": "true", "mail_from.domain": `"d.example"`, "mail_from.lists": `"from" (s matches e in f:3, c)`, "spf.domain": `"a.example"`, "spf.explanation": `"x"`,
		"spf.helo.result": `"pass"`, "rcpt.address": `"b@c.example"`, "rcpt.domain": `"c.example"`, "rcpt.count": "1",
		"rcpt.lists": `"rcpt" (s matches e in f:3, c)`, "header_from.lists": `"header" (s matches e in f:3, c)`, "header.fields": "7",
		"header.bytes": "700", "dkim.domain": `"a.example"`, "dkim.selector": `"s1"`, "dkim.count": "2", "dkim.result": `"pass"`,
		"dkim.lists": `"dkim" (s matches e in f:3, c)`, "dkim.replay.clients": "2", "dkim.replay.recipients": "4", "arc.trusted": `"l.example"`,
		"dmarc.policy": `"reject"`, "dmarc.override": `"o"`, "message.authenticated": `["a.example" "a.example"]`, "message.size": "900",
		"defer.age": "1m30s", "greylist.result": `"pass"`,
	}
	for name, w := range want {
		f, ok := fact.Lookup(name)
		if !ok {
			t.Errorf("no field %s", name)
			continue
		}
		if got := f.Get(fullFor(name)).String(f.Kind); got != w {
			t.Errorf("%s = %s, want %s", name, got, w)
		}
	}
}

// spoil sets all facts of a part to a state.
func spoil(v reflect.Value, st fact.State, why string) {
	if v.Kind() != reflect.Struct {
		return
	}
	if f := v.FieldByName("State"); f.IsValid() && f.Type() == reflect.TypeFor[fact.State]() {
		f.Set(reflect.ValueOf(st))
		v.FieldByName("Why").SetString(why)
		return
	}
	for i := range v.NumField() {
		spoil(v.Field(i), st, why)
	}
}

// A check that failed is neither a "no" nor a "none", whatever value lies there.
func TestStatesComeThrough(t *testing.T) {
	for _, st := range []fact.State{fact.Absent, fact.Skipped, fact.Failed} {
		s := full()
		spoil(reflect.ValueOf(s).Elem(), st, "because")
		for _, f := range fact.Fields() {
			if slices.Contains(always, f.Name) || f.Name == "mta.version" {
				continue
			}
			if got := f.Get(s); !reflect.DeepEqual(got, fact.Value{State: st, Why: "because"}) {
				t.Errorf("%s of a %s fact is %+v", f.Name, st, got)
			}
		}
	}
}

// What lives with the connection is known by MAIL, what lives with the message
// not before, and what lives with the recipient just at RCPT.
func TestStagesFollowLifetimes(t *testing.T) {
	all := full()
	parts := []struct {
		set         fact.Set
		first, last mail.Stage
	}{
		{fact.Set{Conn: all.Conn}, mail.StageConnect, mail.StageMail},
		{fact.Set{Txn: all.Txn}, mail.StageMail, mail.StageMessage},
		{fact.Set{Rcpt: all.Rcpt}, mail.StageRcpt, mail.StageRcpt},
	}
	for _, f := range fact.Fields() {
		found := false
		for _, p := range parts {
			if f.Get(&p.set).State != fact.Known || slices.Contains(always, f.Name) {
				continue
			}
			found = true
			if f.Stage < p.first || f.Stage > p.last {
				t.Errorf("%s has stage %s, but lives from %s to %s", f.Name, f.Stage, p.first, p.last)
			}
		}
		if !found && !slices.Contains(always, f.Name) {
			t.Errorf("%s is known from no single part", f.Name)
		}
	}
}

func TestDKIMFields(t *testing.T) {
	sig := func(result, domain string) fact.DKIM { return fact.DKIM{Result: result, Domain: domain} }
	cases := []struct {
		name   string
		sigs   []fact.DKIM
		result string
		domain string
	}{
		{"no signature", nil, `"none"`, "nothing"},
		{"best of several", []fact.DKIM{sig("fail", "a"), sig("pass", "b"), sig("pass", "c")}, `"pass"`, `["b" "c"]`},
		{"only failures", []fact.DKIM{sig("permerror", "a"), sig("fail", "b")}, `"fail"`, "nothing"},
		{"who knows", []fact.DKIM{sig("fail", "a"), sig("temperror", "b")}, `"temperror"`, "failed (temperror of dkim)"},
		{"one passes, one cannot be asked", []fact.DKIM{sig("temperror", "a"), sig("pass", "b")}, `"pass"`, `"b"`},
		{"policy before neutral", []fact.DKIM{sig("neutral", "a"), sig("policy", "b")}, `"policy"`, "nothing"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &fact.Set{Txn: fact.Txn{DKIM: fact.Is(c.sigs)}}
			for name, want := range map[string]string{"dkim.result": c.result, "dkim.domain": c.domain} {
				f, _ := fact.Lookup(name)
				if got := f.Get(s).String(f.Kind); got != want {
					t.Errorf("%s = %s, want %s", name, got, want)
				}
			}
		})
	}
}

func TestAuthenticated(t *testing.T) {
	spf := func(result string) fact.Fact[fact.SPF] {
		return fact.Is(fact.SPF{Result: result, Domain: "spf.example"})
	}
	dkim := func(results ...string) fact.Fact[[]fact.DKIM] {
		var ds []fact.DKIM
		for _, r := range results {
			ds = append(ds, fact.DKIM{Result: r, Domain: "dkim.example"})
		}
		return fact.Is(ds)
	}
	none := fact.Is[[]string](nil)
	cases := []struct {
		name string
		spf  fact.Fact[fact.SPF]
		dkim fact.Fact[[]fact.DKIM]
		want fact.Fact[[]string]
	}{
		{"both", spf("pass"), dkim("pass"), fact.Is([]string{"spf.example", "dkim.example"})},
		{"neither", spf("fail"), dkim("fail"), none},
		{"unsigned", spf("none"), dkim(), none},
		{"spf is enough when dkim broke", spf("pass"), fact.Fail[[]fact.DKIM]("timeout"), fact.Is([]string{"spf.example"})},
		{"dkim is enough when spf broke", fact.Fail[fact.SPF]("timeout"), dkim("pass"), fact.Is([]string{"dkim.example"})},
		{"spf broke", fact.Fail[fact.SPF]("timeout"), dkim("fail"), fact.Fail[[]string]("timeout")},
		{"spf temperror", spf("temperror"), dkim(), fact.Fail[[]string]("temperror of spf")},
		{"dkim broke", spf("fail"), fact.Fail[[]fact.DKIM]("timeout"), fact.Fail[[]string]("timeout")},
		{"dkim temperror", spf("fail"), dkim("temperror"), fact.Fail[[]string]("temperror of dkim")},
		{"before the message", spf("fail"), fact.Fact[[]fact.DKIM]{}, fact.Fact[[]string]{}},
		{"spf not run", fact.Fact[fact.SPF]{}, dkim(), fact.Fact[[]string]{}},
		{"trusted client", fact.Skip[fact.SPF]("trusted"), fact.Skip[[]fact.DKIM]("trusted"), fact.Skip[[]string]("trusted")},
		{"stale value", fact.Fact[fact.SPF]{State: fact.Skipped, Value: fact.SPF{Result: "pass"}}, dkim(), fact.Fact[[]string]{State: fact.Skipped}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := fact.Authenticated(&fact.Set{Txn: fact.Txn{SPF: c.spf, DKIM: c.dkim}})
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestGreylistResultIsTheRecipients(t *testing.T) {
	f, _ := fact.Lookup("greylist.result")
	s := &fact.Set{Txn: fact.Txn{Greylist: fact.Is(fact.Greylist{Result: "pass"})}}
	if got := f.Get(s).Text; !slices.Equal(got, []string{"pass"}) {
		t.Errorf("of the message: %v", got)
	}
	s.Rcpt.Greylist = fact.Fail[fact.Greylist]("down")
	if got := f.Get(s); got.State != fact.Failed {
		t.Errorf("a recipient's failure is hidden by the message's answer: %v", got)
	}
}

// Values come from mail: what is shown must neither break lines nor steer a
// terminal.
func TestShownValuesAreSafe(t *testing.T) {
	nasty := "a\x1b[2Jb\r\nc\u202ed\u2028e\xfff\u009b"
	hit := fact.Value{State: fact.Known, Text: []string{nasty}, Note: nasty}
	for _, got := range []string{
		hit.String(fact.Text),
		fact.Value{State: fact.Known, Text: []string{nasty, nasty}}.String(fact.Text),
		fact.Value{State: fact.Failed, Why: nasty}.String(fact.Text),
		fact.Clean(nasty),
	} {
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\r\n\u202e\u2028\u009b") || !strings.Contains(got, "\ufffd") {
			t.Errorf("%q", got)
		}
	}
	if got := fact.Clean("naïve – plain"); got != "naïve – plain" {
		t.Errorf("Clean changed %q", got)
	}
}

// sets draws any set: all states, odd strings, empty and missing lists.
func sets() *rapid.Generator[fact.Set] {
	as := func(g any) *rapid.Generator[any] { return g.(interface{ AsAny() *rapid.Generator[any] }).AsAny() }
	texts := rapid.OneOf(rapid.SampledFrom([]string{"", "pass", "fail", "temperror", "none", "a.example", "\xff\xfe", "a\r\nb"}), rapid.String())
	return rapid.MakeCustom[fact.Set](rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[fact.State](): as(rapid.SampledFrom([]fact.State{fact.Absent, fact.Known, fact.Known, fact.Skipped, fact.Failed})),
		reflect.TypeFor[mail.Stage](): as(rapid.SampledFrom(mail.Stages())),
		reflect.TypeFor[string]():     as(texts),
		reflect.TypeFor[time.Time](): as(rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(-1e9, 1e11).Draw(t, "s"), rapid.Int64Range(0, 1e9).Draw(t, "ns")).UTC()
		})),
		reflect.TypeFor[netip.Addr](): as(rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.1"),
			netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:192.0.2.9")})),
	}})
}

// A recorded set is the same when it is read back; only bytes that are no UTF-8
// are replaced, and no field shows the difference.
func TestSetSurvivesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sets().Draw(t, "set")
		out := roundTrip(t, s)
		if diff := cmp.Diff(roundTrip(t, out), out, compare...); diff != "" {
			t.Fatalf("(-written, +read)\n%s", diff)
		}
		for _, f := range fact.Fields() {
			if a, b := f.Get(&s).String(f.Kind), f.Get(&out).String(f.Kind); a != b {
				t.Fatalf("%s was %s, is %s", f.Name, a, b)
			}
		}
	})
}

func TestFullSetSurvivesJSON(t *testing.T) {
	for _, s := range []fact.Set{{}, *full()} {
		if diff := cmp.Diff(s, roundTrip(t, s), compare...); diff != "" {
			t.Errorf("(-written, +read)\n%s", diff)
		}
	}
}

var compare = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}

func roundTrip(t interface{ Fatal(...any) }, s fact.Set) fact.Set {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var out fact.Set
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
