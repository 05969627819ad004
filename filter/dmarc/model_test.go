package dmarc

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailwicket/filter/dns"
)

// world is a DNS made up from a few bytes: each name has one of the answers.
type world struct {
	seed  string
	whole bool // no question fails: what would have failed has some other answer
}

var answers = []string{
	"nodata", "nxdomain", "nxdomain", "nxdomain", "nxdomain", "temporary", "permanent",
	"v=spf1 -all", "v=DMARC1; p=reject|v=DMARC1; p=none", "v=DMARC1; p=reject; p=none",
	"v=DMARC1; p=reject", "v=DMARC1; p=quarantine; aspf=s", "v=DMARC1; p=reject; adkim=s; aspf=s; t=y",
	"v=DMARC1; p=none; sp=reject; np=quarantine", "v=DMARC1; p=quarantine; np=none", "v=DMARC1; sp=quarantine",
	"v=DMARC1; p=reject; psd=y; sp=none", "v=DMARC1; p=none; psd=n", "v=DMARC1; p=quarantine; psd=y; np=reject",
	"v=DMARC1; p=x", "v=DMARC1; p=reject; sp=x; rua=mailto:a@b.example",
}

func (w world) pick(name, salt string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name + "|" + salt + "|" + w.seed))
	return answers[h.Sum32()%uint32(len(answers))]
}

// answer is what a name gives. A name above one that exists does exist.
func (w world) answer(name string) string {
	a := w.pick(name, "")
	for i := 0; w.whole && (a == "temporary" || a == "permanent"); i++ {
		a = w.pick(name, "again"+strings.Repeat("!", i))
	}
	above := !strings.HasPrefix(name, prefix)
	if above && a == "nxdomain" && (world{w.seed, true}).answer(prefix+name) != "nxdomain" {
		return "nodata"
	}
	return a
}

func (w world) LookupTXT(_ context.Context, name string) ([]string, error) {
	switch a := w.answer(name); a {
	case "nodata":
		return nil, &net.DNSError{Err: dns.TextNoData, Name: name, IsNotFound: true}
	case "nxdomain":
		return nil, &net.DNSError{Err: dns.TextNXDomain, Name: name, IsNotFound: true}
	case "temporary":
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	case "permanent":
		return nil, &net.DNSError{Err: "malformed reply", Name: name}
	default:
		return strings.Split(a, "|"), nil
	}
}

func (world) LookupMX(context.Context, string) ([]*net.MX, error)      { return nil, errUnused }
func (world) LookupA(context.Context, string) ([]netip.Addr, error)    { return nil, errUnused }
func (world) LookupAAAA(context.Context, string) ([]netip.Addr, error) { return nil, errUnused }
func (world) LookupPTR(context.Context, netip.Addr) ([]string, error)  { return nil, errUnused }

var errUnused = &net.DNSError{Err: "not in this test"}

// model follows the text of RFC 9989 word by word for one author domain, in a
// world where no question fails. It never takes a short cut.
type model struct{ w world }

type finding struct {
	Result  Result
	Policy  Policy
	Record  string
	Aligned []string
}

func (m model) record(name string) (Record, bool) {
	var rs []Record
	bad := false
	texts, _ := m.w.LookupTXT(context.Background(), prefix+name)
	for _, t := range texts {
		if strings.HasPrefix(t, "v=DMARC1") {
			r, err := ParseRecord(t)
			rs, bad = append(rs, r), bad || err != nil
		}
	}
	if len(rs) != 1 || bad {
		return Record{}, false
	}
	return rs[0], true
}

type foundAt struct {
	name string
	r    Record
}

// walk is section 4.10.
func (m model) walk(start string) []foundAt {
	var out []foundAt
	target := strings.Split(start, ".")
	for len(target) > 0 {
		name := strings.Join(target, ".")
		if r, ok := m.record(name); ok {
			out = append(out, foundAt{name, r})
			if r.PSD != PSDUnknown {
				return out
			}
		}
		if name == start && len(target) >= 8 {
			target = target[len(target)-7:]
		} else {
			target = target[1:]
		}
	}
	return out
}

// org is section 4.10.2.
func (m model) org(start string) string {
	found := m.walk(start)
	for _, f := range found {
		if f.r.PSD == PSDNo {
			return f.name
		}
		if f.r.PSD == PSDYes && f.name != start {
			rest := strings.Split(strings.TrimSuffix(start, "."+f.name), ".")
			return rest[len(rest)-1] + "." + f.name
		}
	}
	if len(found) == 0 {
		return start
	}
	return found[len(found)-1].name
}

func (m model) check(author string, in Input) finding {
	at, r, ok := author, Record{}, false
	if r, ok = m.record(author); !ok {
		at = m.org(author)
		if r, ok = m.record(at); !ok || !slices.ContainsFunc(m.walk(author), func(f foundAt) bool { return f.name == at }) {
			found := m.walk(author)
			if len(found) == 0 || found[len(found)-1].r.PSD != PSDYes {
				return finding{Result: None}
			}
			at, r = found[len(found)-1].name, found[len(found)-1].r
		}
	}
	if r.Bad != "" && len(r.RUA) == 0 {
		return finding{Result: None, Record: at}
	}
	p := r.P
	if at != author {
		p = r.below(m.w.answer(author) != "nxdomain")
	} else if r.Testing {
		p = r.own()
	}
	f := finding{Result: Fail, Policy: p, Record: at}
	add := func(id Identifier, by string, strict bool) {
		if id.Result == "pass" && (id.Domain == author || !strict && m.org(id.Domain) == m.org(author)) {
			f.Result = Pass
			if s := by + "=" + id.Domain; !slices.Contains(f.Aligned, s) {
				f.Aligned = append(f.Aligned, s)
			}
		}
	}
	add(in.SPF, "spf", r.StrictSPF)
	for _, id := range in.DKIM {
		add(id, "dkim", r.StrictDKIM)
	}
	return f
}

func short(f Finding) finding {
	return finding{f.Result, f.Policy, f.RecordDomain, f.Aligned}
}

// domains makes names out of bytes: few labels, so that they are often related.
func domains(shape []byte) []string {
	out := []string{}
	for len(shape) > 0 {
		n := int(shape[0])%10 + 1
		shape = shape[1:]
		name := []string{"example", "test"}[n%2]
		for range n - 1 {
			if len(shape) == 0 {
				break
			}
			name = string('a'+shape[0]%3) + "." + name
			shape = shape[1:]
		}
		out = append(out, name)
	}
	return out
}

// compare plays one message in one world. Without errors the finding is the
// model's. With errors, what is not left open holds for any world that has
// answers in their place. One more pass for the author's own domain never makes
// it worse.
func compare(t *testing.T, seed string, shape []byte, passed byte) Result {
	t.Helper()
	names := domains(shape)
	if len(names) == 0 {
		return None
	}
	author, in := names[0], Input{From: names[:1]}
	for i, name := range names {
		in.DKIM = append(in.DKIM, Identifier{name, []string{"pass", "fail"}[passed>>(i%8)&1]})
	}
	in.SPF, in.DKIM = in.DKIM[len(in.DKIM)-1], in.DKIM[:len(in.DKIM)-1]

	check := func(w world, in Input) Finding { return NewLookup(w).Check(t.Context(), in) }
	whole, holes := world{seed, true}, world{seed, false}
	want := model{whole}.check(author, in)
	if d := cmp.Diff(want, short(check(whole, in))); d != "" {
		t.Fatalf("%+v (-model +got)\n%s", in, d)
	}
	got := check(holes, in)
	if d := cmp.Diff(got, check(holes, in)); d != "" {
		t.Fatalf("%+v: not the same again\n%s", in, d)
	}
	if got.Result != TempError && got.Result != PermError && got.Result != want.Result {
		t.Fatalf("%+v: %+v without some answers, %+v with them", in, got, want)
	}
	if got.Policy != PolicyUnknown && got.Policy != want.Policy {
		t.Fatalf("%+v: policy %q without some answers, %q with them", in, got.Policy, want.Policy)
	}
	in.DKIM = append(in.DKIM, Identifier{author, "pass"})
	if better := check(holes, in); better.weight() > got.weight() {
		t.Fatalf("%+v: a pass more makes %+v of %+v", in, better, got)
	}
	return got.Result
}

func FuzzCheck(f *testing.F) {
	f.Add("seed", []byte{1, 'a', 3, 'a', 'a', 'b', 2, 'a', 'b'}, byte(0))
	f.Add("", []byte{9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 7, 8, 9}, byte(255))
	f.Fuzz(func(t *testing.T, seed string, shape []byte, passed byte) {
		compare(t, seed, shape[:min(len(shape), 60)], passed)
	})
}

// TestWorlds compares many worlds, the same ones in each run.
func TestWorlds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	count := map[Result]int{}
	for i := range 2000 {
		shape := make([]byte, 1+rnd.IntN(40))
		for j := range shape {
			shape[j] = byte(rnd.Uint32())
		}
		count[compare(t, fmt.Sprint(i), shape, byte(rnd.Uint32()))]++
	}
	for _, r := range []Result{Pass, Fail, None, TempError, PermError} {
		if count[r] < 30 {
			t.Errorf("only %d worlds give %s", count[r], r)
		}
	}
	t.Log(count)
}

// FuzzEvaluate: whatever the evidence, a pass needs a record that applies and a
// pass in alignment, and one more never makes it worse.
func FuzzEvaluate(f *testing.F) {
	f.Add("v=DMARC1; p=reject", "example.com", "example.com", "www.example.com", "example.com", byte(0))
	f.Add("v=DMARC1; p=none; np=reject", "www.example.com", "example.com", "example.com", "", byte(0xff))
	f.Fuzz(func(t *testing.T, text, domain, org, id, idOrg string, bits byte) {
		on := func(i int) bool { return bits>>i&1 != 0 }
		r, err := ParseRecord(text)
		e := evidence{domain: domain, org: org, missing: on(0)}
		e.policy = level{name: org, record: r, found: err == nil}
		if on(1) {
			e.orgFailed, e.org = failure{TempError, "x"}, ""
		}
		if on(2) {
			e.missingFailed, e.missing = failure{PermError, "x"}, false
		}
		if on(3) {
			e.failure, e.policy.found = failure{PermError, "x"}, false
		}
		one := identifier{by: byDKIM, domain: id, org: idOrg, doubt: on(4)}
		if on(5) {
			one.by = bySPF
		}
		if on(6) {
			one.failed, one.org = failure{TempError, "x"}, ""
		}
		if id != "" || one.doubt {
			e.ids = []identifier{one}
		}
		got := evaluate(e)
		if d := cmp.Diff(got, evaluate(e)); d != "" {
			t.Fatal(d)
		}
		if got.Result == Pass && (err != nil || !r.usable() || one.doubt || len(got.Aligned) != 1) {
			t.Fatalf("a pass by %+v", e)
		}
		if got.Result == Fail && got.Policy == PolicyUnknown {
			t.Fatalf("a fail without policy by %+v", e)
		}
		if domain != "" {
			e.ids = append(e.ids, identifier{by: byDKIM, domain: domain})
			if better := evaluate(e); better.weight() > got.weight() {
				t.Fatalf("a pass more makes %+v of %+v", better, got)
			}
		}
	})
}

// TestPermanent: a permanent error of the DNS is no fail either; a temporary
// one goes before it.
func TestPermanent(t *testing.T) {
	w := stub{"_dmarc.a.example": "permanent", "_dmarc.www.b.example": "nxdomain",
		"_dmarc.b.example": "permanent", "_dmarc.example": "temporary"}
	for from, want := range map[string]Result{"a.example": PermError, "www.b.example": TempError} {
		f := NewLookup(w).Check(t.Context(), Input{From: []string{from}, SPF: Identifier{from, "pass"}})
		if f.Result != want || f.Policy != PolicyUnknown || f.Reason == "" {
			t.Errorf("%s: %+v, want %s", from, f, want)
		}
	}
}

// stub answers TXT from a map of words that world knows.
type stub map[string]string

func (s stub) LookupTXT(ctx context.Context, name string) ([]string, error) {
	switch s[name] {
	case "permanent":
		return nil, &net.DNSError{Err: "malformed reply", Name: name}
	case "temporary":
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	}
	return nil, &net.DNSError{Err: dns.TextNXDomain, Name: name, IsNotFound: true}
}

func (stub) LookupMX(context.Context, string) ([]*net.MX, error)      { return nil, errUnused }
func (stub) LookupA(context.Context, string) ([]netip.Addr, error)    { return nil, errUnused }
func (stub) LookupAAAA(context.Context, string) ([]netip.Addr, error) { return nil, errUnused }
func (stub) LookupPTR(context.Context, netip.Addr) ([]string, error)  { return nil, errUnused }
