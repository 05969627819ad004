package arc

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testNow = time.Unix(1_800_000_000, 0)

type zone map[string]string

func (z zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	switch txt, ok := z[name]; {
	case !ok:
		return nil, &net.DNSError{Err: dns.TextNXDomain, Name: name, IsNotFound: true}
	case txt == "TEMPERROR":
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	case txt == "HANG":
		<-ctx.Done()
		return nil, &net.DNSError{Err: "timeout", Name: name, IsTimeout: true}
	default:
		return []string{txt}, nil
	}
}

var errUnused = &net.DNSError{Err: "not in this test"}

func (zone) LookupMX(context.Context, string) ([]*net.MX, error)      { return nil, errUnused }
func (zone) LookupA(context.Context, string) ([]netip.Addr, error)    { return nil, errUnused }
func (zone) LookupAAAA(context.Context, string) ([]netip.Addr, error) { return nil, errUnused }
func (zone) LookupPTR(context.Context, netip.Addr) ([]string, error)  { return nil, errUnused }

type keyPair struct {
	alg    string
	signer crypto.Signer
	record string
}

// keys gives one key of each type.
var keys = sync.OnceValue(func() []keyPair {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(r.Public())
	if err != nil {
		panic(err)
	}
	pub, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return []keyPair{{"ed25519-sha256", e, "v=DKIM1; k=ed25519; p=" + b64(pub)}, {"rsa-sha256", r, "p=" + b64(der)}}
})

// domainOf names the sealer of an instance.
func domainOf(i int) string { return fmt.Sprintf("d%d.example", i) }

func testZone() zone {
	z := zone{}
	for i := 1; i <= MaxInstances+1; i++ {
		z["s._domainkey."+domainOf(i)] = keys()[i%2].record
	}
	return z
}

func signWith(t testing.TB, k keyPair, sum []byte) string {
	t.Helper()
	opts := crypto.SignerOpts(crypto.SHA256)
	if k.alg == "ed25519-sha256" {
		opts = crypto.Hash(0)
	}
	b, err := k.signer.Sign(rand.Reader, sum, opts)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// hop is how a set is made; the zero value makes a good one.
type hop struct {
	cv    string            // instead of none or pass
	names string            // h= of the message signature
	extra string            // more tags of the message signature
	seal  string            // more tags of the seal
	canon string            // c= of the message signature
	last  func(*mail.Field) // changes the seal after signing
}

// addSet is a sealer: it puts the set of instance i on top of h.
func addSet(t testing.TB, h mail.Header, body string, i int, o hop) mail.Header {
	t.Helper()
	k := keys()[i%2]
	if o.names == "" {
		o.names = "from:subject:to"
	}
	if o.canon == "" {
		o.canon = "relaxed/relaxed"
	}
	if o.cv == "" {
		o.cv = "pass"
		if i == 1 {
			o.cv = "none"
		}
	}
	c := sig.Simple
	if strings.HasSuffix(o.canon, "/relaxed") {
		c = sig.Relaxed
	}
	b := sig.NewBody(c)
	b.Write([]byte(body))
	bh := b.Sum()
	results := mail.Field{Name: "ARC-Authentication-Results", Value: fmt.Sprintf(" i=%d; mx.%s;\r\n dmarc=pass header.from=example.com", i, domainOf(i))}
	message := mail.Field{Name: "ARC-Message-Signature", Value: fmt.Sprintf(
		" i=%d; a=%s; c=%s; d=%s; s=s; h=%s; bh=%s;%s\r\n b=", i, k.alg, o.canon, domainOf(i), o.names,
		base64.StdEncoding.EncodeToString(bh[:]), o.extra)}
	m, _ := sig.ParseMessage(mail.Field{Value: message.Value + "AAAA"})
	full := append(mail.Header{message}, h...)
	ix := sig.NewIndex(full)
	sum := ix.Hash(ix.Pick(m.Names, 0), message, m.Header)
	message.Value += signWith(t, k, sum[:])
	seal := mail.Field{Name: "ARC-Seal", Value: fmt.Sprintf(" i=%d; a=%s; cv=%s; d=%s; s=s;%s b=", i, k.alg, o.cv, domainOf(i), o.seal)}
	buf := sealed(h, i, results, message)
	buf = sig.AppendField(buf, seal.Name, seal.Value, sig.Relaxed)
	digest := sha256.Sum256(buf[:len(buf)-2])
	seal.Value += signWith(t, k, digest[:])
	if o.last != nil {
		o.last(&seal)
	}
	return append(mail.Header{seal, message, results}, h...)
}

// sealed is what the seal i covers, but for itself: the sets below, lowest
// first, found here by position as this sealer put them.
func sealed(h mail.Header, i int, results, message mail.Field) []byte {
	var buf []byte
	for j := i - 1; j >= 1; j-- { // h starts with set i-1
		at := 3 * (j - 1)
		for _, f := range []mail.Field{h[at+2], h[at+1], h[at]} {
			buf = sig.AppendField(buf, f.Name, f.Value, sig.Relaxed)
		}
	}
	buf = sig.AppendField(buf, results.Name, results.Value, sig.Relaxed)
	return sig.AppendField(buf, message.Name, message.Value, sig.Relaxed)
}

const testBody = "Hello  world\r\n\r\n"

func base() mail.Header {
	return mail.Header{{Name: "From", Value: " joe@example.com"}, {Name: "To", Value: " list@d1.example"}, {Name: "Subject", Value: " x"}}
}

// newChain makes a chain of n sets; special ones are made as hops says.
func newChain(t testing.TB, n int, hops map[int]hop) mail.Header {
	h := base()
	for i := 1; i <= n; i++ {
		h = addSet(t, h, testBody, i, hops[i])
	}
	return h
}

func validate(z zone, h mail.Header, body string, piece int) Finding {
	v := New(context.Background(), z, h, Options{Now: testNow})
	for len(body) > 0 {
		n := min(piece, len(body))
		v.Write([]byte(body[:n]))
		body = body[n:]
	}
	return v.Close()
}

// at gives the position of a field of an instance in a header by newChain.
func at(n, i, kind int) int {
	return 3*(n-i) + map[int]int{as: 0, ams: 1, aar: 2}[kind]
}

func TestGoodChains(t *testing.T) {
	z := testZone()
	for _, n := range []int{1, 2, 3, 10} {
		h := newChain(t, n, nil)
		for piece := 1; piece < 5; piece++ {
			f := validate(z, h, testBody, piece)
			if f.Result != Pass || f.Instances != n || f.Oldest != 0 || len(f.Sealers) != n {
				t.Fatalf("%d sets: %+v", n, f)
			}
		}
		f := validate(z, h, testBody, 100)
		for i := range n {
			if f.Sealers[i] != domainOf(i+1) || f.Results[i].Instance != i+1 || f.Selectors[i] != "s" ||
				!strings.HasPrefix(f.Results[i].Payload, " mx."+domainOf(i+1)+";") {
				t.Errorf("set %d: %s %+v", i+1, f.Sealers[i], f.Results[i])
			}
		}
	}
}

func TestNoChain(t *testing.T) {
	if f := validate(testZone(), base(), testBody, 9); f.Result != None || f.Reason != "" {
		t.Errorf("got %+v", f)
	}
}

// TestSimple covers message signatures with simple canonicalization, mixed.
func TestSimple(t *testing.T) {
	h := newChain(t, 3, map[int]hop{1: {canon: "simple/simple"}, 3: {canon: "relaxed/simple"}})
	if f := validate(testZone(), h, testBody, 2); f.Result != Pass || f.Oldest != 0 {
		t.Errorf("got %+v", f)
	}
}

type broken struct {
	name   string
	sets   int // default 3
	hops   map[int]hop
	change func(h mail.Header) mail.Header
	body   string
	zone   func(zone)
	want   Result // default fail
	reason string
	oldest int
}

func drop(i, kind int) func(mail.Header) mail.Header {
	return func(h mail.Header) mail.Header { k := at(3, i, kind); return slices.Delete(slices.Clone(h), k, k+1) }
}

func double(i, kind int) func(mail.Header) mail.Header {
	return func(h mail.Header) mail.Header { k := at(3, i, kind); return append(slices.Clone(h), h[k]) }
}

func edit(i, kind int, from, to string) func(mail.Header) mail.Header {
	return func(h mail.Header) mail.Header {
		h = slices.Clone(h)
		f := &h[at(3, i, kind)]
		f.Value = strings.Replace(f.Value, from, to, 1)
		return h
	}
}

func brokenChains() []broken {
	cs := []broken{
		{name: "untouched", want: Pass},
		{name: "order of fields does not matter", want: Pass, change: func(h mail.Header) mail.Header {
			h = slices.Clone(h)
			slices.Reverse(h[:9])
			return h
		}},
		{name: "upper case cv", want: Pass, hops: map[int]hop{2: {cv: "PASS"}}},
		{name: "comment in the results", want: Fail, change: edit(3, aar, " i=3;", " (i=9;) i = 3 (x) ;"), reason: "seal 3: signature"},
		{name: "changed body", body: testBody + "footer\r\n", reason: "message signature 3: body hash"},
		{name: "changed subject", change: func(h mail.Header) mail.Header {
			h = slices.Clone(h)
			h[len(h)-1].Value = " y"
			return h
		}, reason: "message signature 3: signature"},
		{name: "cv=fail on top", hops: map[int]hop{3: {cv: "fail"}}, reason: "failed before"},
		{name: "cv=fail below", hops: map[int]hop{2: {cv: "fail"}}, reason: "seal 2 does not say cv=pass"},
		{name: "cv=none above", hops: map[int]hop{3: {cv: "none"}}, reason: "seal 3 does not say cv=pass"},
		{name: "cv=pass at first", hops: map[int]hop{1: {cv: "pass"}}, reason: "seal 1 does not say cv=none"},
		{name: "odd cv", hops: map[int]hop{2: {cv: "maybe"}}, reason: "seal 2 does not"},
		{name: "h= in a seal", hops: map[int]hop{2: {seal: " h=from;"}}, reason: "h= is forbidden"},
		{name: "seal signed by the message signature", hops: map[int]hop{3: {names: "from:arc-seal"}}, reason: "h= names arc-seal"},
		{name: "length tag", hops: map[int]hop{3: {extra: " l=3;"}}, reason: "l="},
		{name: "From not signed", hops: map[int]hop{3: {names: "to"}}, reason: "From"},
		{name: "expired", hops: map[int]hop{3: {extra: " x=1700000000;"}}, reason: "expired"},
		{name: "old one expired", want: Pass, hops: map[int]hop{1: {extra: " x=1700000000;"}}},
		{name: "version is ignored", want: Pass, hops: map[int]hop{3: {extra: " v=7;"}}},
		{name: "old message signature unusable", want: Pass, oldest: 3, hops: map[int]hop{2: {extra: " l=3;"}}},
		{name: "sha1", change: edit(3, as, "rsa-sha256", "rsa-sha1"), sets: 3, hops: nil, reason: ""},
		{name: "instance 0", change: edit(1, aar, "i=1", "i=0"), reason: "instance"},
		{name: "instance 51", change: edit(1, as, "i=1", "i=51"), reason: "instance"},
		{name: "instance 001", change: edit(1, as, "i=1", "i=001"), reason: "instance"},
		{name: "no instance", change: edit(1, ams, "i=1;", ""), reason: "instance"},
		{name: "gap", change: func(h mail.Header) mail.Header { return slices.Delete(slices.Clone(h), at(3, 2, as), at(3, 2, aar)+1) }, reason: "2 is missing"},
		{name: "only results", change: func(h mail.Header) mail.Header { return h[at(3, 1, aar):] }, reason: "missing"},
		{name: "moved up", change: edit(3, ams, "i=3", "i=2"), reason: "twice"},
		{name: "duplicate tag", change: edit(2, as, " d=", " d=x.example; d="), reason: "twice"},
		{name: "no key", zone: func(z zone) { delete(z, "s._domainkey."+domainOf(1)) }, reason: "seal 1: no key"},
		{name: "key revoked", zone: func(z zone) { z["s._domainkey."+domainOf(2)] = "v=DKIM1; k=ed25519; p=" }, reason: "seal 2: key is revoked"},
		{name: "more sets than are validated", sets: 11, reason: "11 sets"},
		{name: "more sets than there may be", sets: 51, reason: "instance"},
		{name: "all fifty", sets: 50, reason: "50 sets"},
		{name: "too many fields", change: func(h mail.Header) mail.Header {
			return append(slices.Clone(h), make(mail.Header, sig.MaxFields)...)
		}, reason: "too large"},
	}
	for i := 1; i <= 3; i++ {
		for k, name := range kindNames {
			cs = append(cs,
				broken{name: fmt.Sprintf("%s %d missing", name, i), change: drop(i, k), reason: "missing"},
				broken{name: fmt.Sprintf("%s %d twice", name, i), change: double(i, k), reason: "is there twice"})
		}
		cs = append(cs,
			broken{name: fmt.Sprintf("results %d changed", i), change: edit(i, aar, "dmarc=pass", "dmarc=fail"), reason: fmt.Sprintf("seal %d: signature", i)},
			broken{name: fmt.Sprintf("seal %d broken", i), hops: map[int]hop{i: {last: func(f *mail.Field) { flip(f, "b=") }}}, reason: fmt.Sprintf("seal %d: signature", i)},
			broken{name: fmt.Sprintf("message signature %d changed", i), change: edit(i, ams, "from:", "from:x:"), reason: "signature"})
	}
	return cs
}

// flip changes a byte after the last mark.
func flip(f *mail.Field, mark string) {
	i := strings.LastIndex(f.Value, mark) + len(mark) + 5
	c := byte('A')
	if f.Value[i] == c {
		c = 'B'
	}
	f.Value = f.Value[:i] + string(c) + f.Value[i+1:]
}

func TestBrokenChains(t *testing.T) {
	for _, c := range brokenChains() {
		t.Run(c.name, func(t *testing.T) {
			z := testZone()
			if c.zone != nil {
				c.zone(z)
			}
			if c.sets == 0 {
				c.sets = 3
			}
			h := newChain(t, min(c.sets, MaxInstances+1), c.hops)
			if c.change != nil {
				h = c.change(h)
			}
			if c.body == "" {
				c.body = testBody
			}
			if c.want == "" {
				c.want = Fail
			}
			f := validate(z, h, c.body, 7)
			if f.Result != c.want || !strings.Contains(f.Reason, c.reason) || f.Temporary || f.Oldest != c.oldest {
				t.Errorf("got %+v, want %s %q", f, c.want, c.reason)
			}
			if f.Result != Pass && (f.Sealers != nil || f.Results != nil) {
				t.Errorf("sealers without a pass: %+v", f)
			}
		})
	}
}

// TestOldestPass: the list at 2 adds a footer and seals again.
func TestOldestPass(t *testing.T) {
	h := addSet(t, base(), testBody, 1, hop{})
	body := testBody + "footer\r\n"
	h = addSet(t, h, body, 2, hop{})
	h = addSet(t, h, body, 3, hop{})
	if f := validate(testZone(), h, body, 7); f.Result != Pass || f.Oldest != 2 {
		t.Errorf("got %+v", f)
	}
}

func TestTemporary(t *testing.T) {
	for i := 1; i <= 3; i++ {
		z := testZone()
		z["s._domainkey."+domainOf(i)] = "TEMPERROR"
		f := validate(z, newChain(t, 3, nil), testBody, 7)
		if f.Result != Fail || !f.Temporary {
			t.Errorf("set %d: got %+v", i, f)
		}
		trusted := []string{domainOf(2), domainOf(3)}
		if _, _, _, ok := Relied(f, trusted); ok {
			t.Errorf("set %d: the chain is relied upon without proof", i)
		}
		if _, n, sealer, ok := Pending(f, trusted); !ok || n != 2 || sealer != domainOf(2) {
			t.Errorf("set %d: pending is %d, %q, %v", i, n, sealer, ok)
		}
		if _, _, _, ok := Pending(f, trusted[:1]); ok {
			t.Errorf("set %d: a stranger's seal on top is waited for", i)
		}
	}
	z := testZone()
	for _, body := range []string{testBody, "another\r\n"} { // a pass, and a failure that stays one
		if _, _, _, ok := Pending(validate(z, newChain(t, 3, nil), body, 7), []string{domainOf(3)}); ok {
			t.Error("a certain result is waited for")
		}
	}
}

func TestContextEnds(t *testing.T) {
	z := testZone()
	z["s._domainkey."+domainOf(2)] = "HANG"
	ctx, cancel := context.WithCancel(context.Background())
	v := New(ctx, z, newChain(t, 3, nil), Options{Now: testNow})
	v.Write([]byte(testBody))
	time.AfterFunc(5*time.Millisecond, cancel)
	if f := v.Close(); f.Result != Fail || !f.Temporary {
		t.Errorf("got %+v", f)
	}
	v = New(context.Background(), z, newChain(t, 3, nil), Options{Now: testNow})
	v.Abort()
	v.Abort()
	if n, err := v.Write([]byte("x")); n != 1 || err != nil {
		t.Error(n, err)
	}
	if f := v.Close(); f.Result != Fail {
		t.Errorf("after abort: %+v", f)
	}
}

func TestRelied(t *testing.T) {
	chain := Finding{Result: Pass, Sealers: []string{"a.example", "b.example", "c.example"},
		Results: []AAR{{1, "one"}, {2, "two"}, {3, "three"}}}
	for _, c := range []struct {
		trusted string
		change  func(*Finding)
		want    string
	}{
		{trusted: "", want: ""},
		{trusted: "c.example", want: "three c.example"},
		{trusted: "c.example b.example", want: "two b.example"},
		{trusted: "c.example b.example a.example", want: "one a.example"},
		{trusted: "a.example b.example", want: ""},                // the newest sealer is a stranger
		{trusted: "a.example c.example", want: "three c.example"}, // a stranger in between
		{trusted: "example", want: ""},
		{trusted: "c.example", change: func(f *Finding) { f.Result = Fail }, want: ""},
		{trusted: "c.example", change: func(f *Finding) { f.Results = f.Results[:2] }, want: ""},
		{trusted: "c.example", change: func(f *Finding) { *f = Finding{Result: Pass} }, want: ""},
		{trusted: "c.example ", change: func(f *Finding) { f.Sealers[2] = "" }, want: ""},
	} {
		f := chain
		f.Sealers = slices.Clone(f.Sealers)
		if c.change != nil {
			c.change(&f)
		}
		payload, n, sealer, ok := Relied(f, strings.Split(c.trusted, " "))
		got := strings.TrimSpace(payload + " " + sealer)
		if got != c.want || ok != (got != "") || ok && f.Results[n-1].Payload != payload {
			t.Errorf("trusted %q: got %q, %d, %v", c.trusted, got, n, ok)
		}
	}
}

func TestParseResults(t *testing.T) {
	for _, c := range []struct {
		in      string
		n       int
		payload string
	}{
		{" i=1; mx; none", 1, " mx; none"},
		{"\r\n\t(c (d) \\) ) i (x)=\r\n 12 (y) ;z", 12, "z"},
		{" i=50;", 50, ""},
		{" i=51;x", 0, ""}, {" i=;x", 0, ""}, {" i=1 x", 0, ""}, {" I=1;x", 0, ""}, {"", 0, ""},
		{"(", 0, ""}, {"i", 0, ""}, {"i=1", 0, ""}, {" i=1 (;", 0, ""}, {" mx; i=1;", 0, ""},
	} {
		n, payload, err := parseResults(c.in)
		if n != c.n || payload != c.payload || (err == nil) != (c.n > 0) {
			t.Errorf("%q: got %d, %q, %v", c.in, n, payload, err)
		}
	}
}

// counter counts questions.
type counter struct {
	zone
	mu    sync.Mutex
	asked map[string]int
}

func (c *counter) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.mu.Lock()
	c.asked[name]++
	c.mu.Unlock()
	return c.zone.LookupTXT(ctx, name)
}

// TestQuestions: one question for each key, whoever uses it how often, and none
// for a chain that is not validated.
func TestQuestions(t *testing.T) {
	sameName := newChain(t, 4, nil)
	for i := range sameName {
		// No longer a valid chain, but one that asks for keys of both types.
		for d := 1; d <= 4; d++ {
			sameName[i].Value = strings.Replace(sameName[i].Value, domainOf(d)+"; s=s", "d1.example; s=s", 1)
		}
	}
	for _, c := range []struct {
		name string
		h    mail.Header
		want int
	}{
		{"no chain", base(), 0},
		{"three sealers", newChain(t, 3, nil), 3},
		{"ten sealers", newChain(t, 10, nil), 10},
		{"one name for all", sameName, 1},
		{"too many sets", newChain(t, 11, nil), 0},
		{"fifty sets", newChain(t, 50, nil), 0},
		{"chain that says that it failed", newChain(t, 3, map[int]hop{3: {cv: "fail"}}), 0},
		{"broken structure", newChain(t, 3, nil)[1:], 0},
		{"newest signature of no use", newChain(t, 3, map[int]hop{3: {extra: " l=1;"}}), 0},
	} {
		r := &counter{zone: testZone(), asked: map[string]int{}}
		v := New(context.Background(), r, c.h, Options{Now: testNow})
		v.Write([]byte(testBody))
		v.Close()
		n := 0
		for name, times := range r.asked {
			if n++; times != 1 {
				t.Errorf("%s: %s was asked %d times", c.name, name, times)
			}
		}
		if n != c.want {
			t.Errorf("%s: %d questions, want %d", c.name, n, c.want)
		}
	}
}

// changed gives a chain with one byte replaced, in the field at position i or,
// beyond the fields, in the body, and tells whether the byte is a signed one:
// what relaxed canonicalization forgives is not, and neither is what base64
// ignores in the newest seal's b=.
func changed(chain mail.Header, i, pos int, c byte) (h mail.Header, body string, signed bool) {
	h, body = slices.Clone(chain), testBody
	if i == len(h) {
		pos %= len(body)
		body = body[:pos] + string([]byte{c}) + body[pos+1:]
		a, b := sig.NewBody(sig.Relaxed), sig.NewBody(sig.Relaxed)
		a.Write([]byte(body))
		b.Write([]byte(testBody))
		return h, body, a.Sum() != b.Sum()
	}
	f := &h[i]
	if pos %= len(f.Name) + len(f.Value); pos < len(f.Name) {
		f.Name = f.Name[:pos] + string([]byte{c}) + f.Name[pos+1:]
	} else {
		pos -= len(f.Name)
		f.Value = f.Value[:pos] + string([]byte{c}) + f.Value[pos+1:]
	}
	if i == 0 {
		now, err := sig.ParseSeal(*f)
		was, _ := sig.ParseSeal(chain[0])
		return h, body, err != nil || relaxed(now.Blank()) != relaxed(was.Blank()) || !slices.Equal(now.Value, was.Value)
	}
	return h, body, relaxed(*f) != relaxed(chain[i])
}

func relaxed(f mail.Field) string {
	return string(sig.AppendField(nil, f.Name, f.Value, sig.Relaxed))
}

func parseHeader(head string) mail.Header {
	var h mail.Header
	for line := range strings.SplitSeq(head, "\r\n") {
		if n := len(h); n > 0 && line != "" && (line[0] == ' ' || line[0] == '\t') {
			h[n-1].Value += "\r\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		h = append(h, mail.Field{Name: name, Value: value})
	}
	return h
}

// FuzzARC: whatever the header and body, the result is a known word, and the way
// of cutting the body makes no difference; a good chain is good, and with any
// signed byte changed it fails.
func FuzzARC(f *testing.F) {
	z := testZone()
	var chains []mail.Header
	for n := 1; n <= 4; n++ {
		chains = append(chains, newChain(f, n, nil))
	}
	f.Add(string(chains[1].Bytes()), testBody, uint(0), uint(0), uint(30), byte('x'))
	f.Add("ARC-Seal: i=1\r\nFrom: x\r\n", "x", uint(2), uint(5), uint(17), byte(' '))
	f.Add("ARC-Authentication-Results: i=1 (; mx", "", uint(3), uint(15), uint(3), byte('\r'))
	f.Fuzz(func(t *testing.T, head, body string, n, field, pos uint, c byte) {
		h := parseHeader(head)
		a, b := validate(z, h, body, 3), validate(z, h, body, len(body)+1)
		if a.Result != b.Result || a.Reason != b.Reason {
			t.Fatalf("%+v and %+v", a, b)
		}
		switch {
		case a.Result != None && a.Result != Pass && a.Result != Fail:
			t.Fatalf("result %q", a.Result)
		case (a.Result == Fail) != (a.Reason != ""), a.Result == Pass && len(a.Sealers) != a.Instances, a.Result != Pass && a.Sealers != nil:
			t.Fatalf("%+v", a)
		}
		chain := chains[n%uint(len(chains))]
		if f := validate(z, chain, testBody, 1+int(pos%7)); f.Result != Pass || f.Oldest != 0 {
			t.Fatalf("untouched: %+v", f)
		}
		bad, badBody, signed := changed(chain, int(field%uint(len(chain)+1)), int(pos%4096), c)
		if f := validate(z, bad, badBody, 5); (f.Result == Pass) == signed {
			t.Fatalf("signed byte %v: %+v\n%q", signed, f, bad.Bytes())
		}
	})
}

// TestEveryByte changes each byte of a chain in turn.
func TestEveryByte(t *testing.T) {
	z := testZone()
	chain := newChain(t, 2, nil)
	failed := 0
	for i := range len(chain) + 1 {
		size := len(testBody)
		if i < len(chain) {
			size = len(chain[i].Name) + len(chain[i].Value)
		}
		for pos := range size {
			for _, c := range []byte{'x', ' ', ';', 0} {
				bad, body, signed := changed(chain, i, pos, c)
				if f := validate(z, bad, body, 5); (f.Result == Pass) == signed {
					t.Errorf("field %d, byte %d, %q: signed %v, %+v", i, pos, c, signed, f)
				}
				if signed {
					failed++
				}
			}
		}
	}
	if failed < 3000 {
		t.Errorf("only %d changes matter", failed)
	}
}

func BenchmarkChain(b *testing.B) {
	z := testZone()
	for _, n := range []int{1, 3, 10} {
		h := newChain(b, n, nil)
		b.Run(fmt.Sprint(n, " sets"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if f := validate(z, h, testBody, 100); f.Result != Pass {
					b.Fatal(f)
				}
			}
		})
	}
}

func TestTemporaryHidesNoForgedSeal(t *testing.T) {
	for forged, silent := range map[int]int{2: 1, 1: 2} { // 2 signs the message as well
		h := newChain(t, 2, map[int]hop{forged: {last: func(f *mail.Field) { flip(f, " b=") }}})
		z := testZone()
		if f := validate(z, h, testBody, 100); f.Result != Fail || f.Temporary {
			t.Fatalf("control: %+v", f)
		}
		z["s._domainkey."+domainOf(silent)] = "TEMPERROR"
		f := validate(z, h, testBody, 100)
		if _, _, sealer, ok := Pending(f, []string{domainOf(2)}); ok {
			t.Errorf("seal %d can never hold, yet the chain waits for trusted %s: %s", forged, sealer, f.Reason)
		}
	}
}
