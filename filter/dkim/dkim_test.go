package dkim

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func matrixBodies() map[string]string {
	return map[string]string{
		"empty":          "",
		"line ends only": "\r\n\r\n\r\n",
		"trailing lines": "Hello\r\n\r\n\r\n",
		"trailing blank": "Hello  \t \r\n  \t\r\nx \t y\r\n \r\n",
		"eight bit":      "caf\xe9 \xff\x00\x01\r\n",
		"no final end":   "Hello\r\nworld",
		"inner lines":    "a\r\n\r\n\r\n\r\nb\r\n",
		"dots":           ".\r\n..\r\n",
	}
}

// TestMatrix holds guard and own verifier against the library's signer: every
// algorithm, canonicalization and body, cut at every offset.
func TestMatrix(t *testing.T) {
	z := testZone(t)
	for key := range testKeys() {
		for _, hc := range []string{"simple", "relaxed"} {
			for _, bc := range []string{"simple", "relaxed"} {
				for name, body := range matrixBodies() {
					t.Run(strings.Join([]string{key, hc, bc, name}, "/"), func(t *testing.T) {
						msg := signLib(t, key, testHeader, body, hc, bc)
						h, body := split(t, msg)
						for n := 1; n <= len(body)+1; n++ {
							f := verifyParts(z, h, body, n, Options{})
							if len(f) != 1 || f[0].Result != Pass || f[0].Domain != "example.com" || f[0].Selector != key {
								t.Fatalf("pieces of %d: %+v", n, f)
							}
						}
						if err := own(t, z, msg); err != nil {
							t.Fatalf("own verifier: %v", err)
						}
					})
				}
			}
		}
	}
}

// TestMutations holds both verifiers against each other on messages with one
// byte changed: the guard, which asks the library, and ours must agree.
func TestMutations(t *testing.T) {
	z := testZone(t)
	passed := 0
	for _, canon := range []string{"simple", "relaxed"} {
		msg := signLib(t, "ed", testHeader, "Hello  world \r\n\r\n tail\r\n\r\n", canon, canon)
		for i := range len(msg) {
			for _, c := range []byte{' ', 'X', msg[i] ^ 0x20, '=', ';'} {
				if msg[i] == '\r' || msg[i] == '\n' || c == msg[i] || c < ' ' {
					continue
				}
				bad := msg[:i] + string(c) + msg[i+1:]
				if !strings.HasPrefix(strings.ToLower(bad), "dkim-signature:") {
					continue
				}
				f := verify(t, z, bad, 7, Options{})
				err := own(t, z, bad)
				if strings.Contains(bad, " v=1") && (f[0].Result == Pass) != (err == nil) {
					t.Errorf("%s, byte %d %q -> %q: guard %+v, own %v", canon, i, msg[i], c, f, err)
				}
				if f[0].Result == Pass {
					passed++
				}
			}
		}
	}
	if passed == 0 || passed > 400 {
		t.Errorf("%d mutations passed", passed)
	}
}

// ownTags are the tags of a signature made by ourselves.
const ownTags = " v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=ed; h=from:to:subject; bh=%BH%; b="

type attack struct {
	name   string
	tags   string // of our own signature by the key "ed"
	head   string // default testHeader
	body   string
	zone   func(zone)
	change func(string) string // after signing
	want   Result
	reason string
}

func tag(from, to string) string { return strings.Replace(ownTags, from, to, 1) }

func attacks() []attack {
	now := testNow.Unix()
	edKey := func(z zone) string { return z["ed._domainkey.example.com"][0] }
	set := func(f func(rec string) []string) func(zone) {
		return func(z zone) { z["ed._domainkey.example.com"] = f(edKey(z)) }
	}
	return []attack{
		{name: "plain", tags: ownTags, want: Pass},
		// Right where the library is wrong.
		{name: "b= in z=", tags: tag("; b=", "; z=Subject:bob=20x|To:x; b="), want: Pass},
		{name: "b= in i=", tags: tag("; bh", "; i=bob=x@example.com; bh"), want: Pass},
		{name: "b= with blank in i=", tags: tag("; bh", "; i=b =x@example.com; bh"), want: Pass},
		{name: "i= in other case", tags: tag("; bh", "; i=joe@EXAMPLE.com; bh"), want: Pass},
		{name: "d= in other case", tags: tag("d=example.com", "d=Example.COM"), want: Pass},
		{name: "i= below d=", tags: tag("; bh", "; i=@sub.example.com; bh"), want: Pass},
		{name: "x= by our clock", tags: tag("; bh", fmt.Sprintf("; t=%d; x=%d; bh", now-9, now+9)), want: Pass},
		{name: "oversigned signatures", tags: tag("h=from", "h=dkim-signature:from"), want: Pass},
		{name: "lone CR in the body", tags: ownTags, body: "a \rb\r\n", want: Pass},
		{name: "empty lines inside", tags: ownTags, body: strings.Repeat("\r\n", 70000) + "x\r\n", want: Pass},
		{name: "wildcard TXT beside the key", tags: ownTags, want: Pass,
			zone: set(func(r string) []string { return []string{"v=spf1 -all", "hello", r} })},
		{name: "second key fits", tags: ownTags, want: Pass,
			zone: set(func(r string) []string { return []string{"v=DKIM1; p=", r} })},
		{name: "blanks in the key", tags: ownTags, want: Pass,
			zone: set(func(r string) []string { return []string{strings.Replace(r, "p=", "p= \t", 1)} })},
		{name: "testing key", tags: ownTags, want: Pass,
			zone: set(func(r string) []string { return []string{r + "; t=y"} })},
		{name: "strict key", tags: tag("; bh", "; i=@sub.example.com; bh"), want: Permerror, reason: "demands i=",
			zone: set(func(r string) []string { return []string{r + "; t=y:s"} })},
		{name: "strict key obeyed", tags: tag("; bh", "; i=x@example.COM; bh"), want: Pass,
			zone: set(func(r string) []string { return []string{r + "; t=s"} })},
		// Bad signatures.
		{name: "changed body", tags: ownTags, want: Fail, reason: "body hash", change: func(m string) string { return m + "x" }},
		{name: "changed header", tags: ownTags, want: Fail, reason: "does not verify",
			change: func(m string) string { return strings.Replace(m, "Joe", "Eve", 1) }},
		{name: "other From below", tags: ownTags, want: Fail,
			change: func(m string) string {
				return strings.Replace(m, "\r\n\r\n", "\r\nFrom: eve@example.org\r\n\r\n", 1)
			}},
		{name: "oversigned From", tags: tag("h=from", "h=from:from"), want: Fail,
			change: func(m string) string { return "From: eve@example.org\r\n" + m }},
		{name: "sha1", tags: tag("ed25519-sha256", "rsa-sha1"), want: Policy, reason: "rsa-sha1"},
		{name: "l= whole", tags: tag("; b=", "; l=0; b="), want: Policy, reason: "l="},
		{name: "expired", tags: tag("; bh", fmt.Sprintf("; x=%d; bh", now-301)), want: Permerror, reason: "expired"},
		{name: "expired within skew", tags: tag("; bh", fmt.Sprintf("; x=%d; bh", now-299)), want: Pass},
		{name: "future", tags: tag("; bh", fmt.Sprintf("; t=%d; bh", now+301)), want: Policy, reason: "future"},
		{name: "future within skew", tags: tag("; bh", fmt.Sprintf("; t=%d; bh", now+299)), want: Pass},
		{name: "x= before t=", tags: tag("; bh", fmt.Sprintf("; t=%d; x=%d; bh", now, now)), want: Permerror, reason: "x= is not after"},
		{name: "endless x=", tags: tag("; bh", "; x=99999999999999999999999; bh"), want: Pass},
		{name: "x= no number", tags: tag("; bh", "; x=-1; bh"), want: Neutral},
		{name: "version", tags: tag("v=1", "v=2"), want: Permerror, reason: "v="},
		{name: "no version", tags: tag("v=1; ", ""), want: Permerror, reason: "v="},
		{name: "twice d=", tags: ownTags, want: Neutral, reason: "twice",
			change: func(m string) string { return strings.Replace(m, "s=ed;", "s=ed; d=example.org;", 1) }},
		{name: "From not signed", tags: tag("h=from:", "h="), want: Permerror, reason: "From"},
		{name: "i= elsewhere", tags: tag("; bh", "; i=@example.org; bh"), want: Permerror, reason: "i="},
		{name: "i= suffix only", tags: tag("; bh", "; i=@badexample.com; bh"), want: Permerror, reason: "i="},
		{name: "i= without at", tags: tag("; bh", "; i=example.com; bh"), want: Permerror, reason: "i="},
		{name: "top-level d=", tags: tag("d=example.com", "d=com"), want: Permerror, reason: "d="},
		{name: "odd d=", tags: tag("d=example.com", "d=a@example.com"), want: Permerror, reason: "d="},
		{name: "slash in d=", tags: tag("d=example.com", "d=a/example.com"), want: Permerror, reason: "d="},
		{name: "no-break space in d=", tags: tag("d=example.com", "d=example\u00a0.com"), want: Permerror, reason: "d="},
		{name: "odd s=", tags: tag("s=ed", "s=e\\.d"), want: Permerror, reason: "s="},
		{name: "long s=", tags: tag("s=ed", "s="+strings.Repeat("abcdefg.", 30)+"x"), want: Permerror, reason: "s="},
		{name: "unknown query", tags: tag("; bh", "; q=http; bh"), want: Permerror, reason: "query"},
		{name: "query among others", tags: tag("; bh", "; q=http:dns/txt; bh"), want: Pass},
		{name: "unknown canonicalization", tags: tag("c=relaxed/relaxed", "c=fancy/relaxed"), want: Permerror, reason: "canonical"},
		{name: "unknown algorithm", tags: tag("ed25519-sha256", "rsa-sha512"), want: Permerror, reason: "algorithm"},
		{name: "bh= short", tags: tag("%BH%", "AAAA"), want: Neutral, reason: "bh="},
		{name: "b= no base64", tags: ownTags, want: Neutral, reason: "b=",
			change: func(m string) string { return strings.Replace(m, "b=", "b=!", 1) }},
		// Over-long things.
		{name: "long field", tags: tag("; bh", "; z="+strings.Repeat("x", 9000)+"; bh"), want: Permerror, reason: "too long"},
		{name: "many names", tags: tag("h=from", "h=from"+strings.Repeat(":x", 200)), want: Permerror, reason: "too many names"},
		{name: "many fields", tags: ownTags, head: testHeader + strings.Repeat("X: y\r\n", 2001), want: Policy, reason: "too large"},
		{name: "large header", tags: ownTags, head: testHeader + strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 600), want: Policy, reason: "too large"},
		{name: "folded field", tags: ownTags, head: testHeader + "Subject: x" + strings.Repeat("\r\n y", 40000) + "\r\n", want: Pass},
		// Keys.
		{name: "no key", tags: tag("s=ed", "s=none"), want: Permerror, reason: "no key"},
		{name: "no key record", tags: ownTags, want: Permerror, reason: "no key",
			zone: set(func(string) []string { return []string{"v=spf1 -all"} })},
		{name: "resolver down", tags: ownTags, want: Temperror, zone: set(func(string) []string { return []string{"TEMPERROR"} })},
		{name: "revoked", tags: ownTags, want: Permerror, reason: "revoked",
			zone: set(func(string) []string { return []string{"v=DKIM1; k=ed25519; p="} })},
		{name: "long key record", tags: ownTags, want: Permerror, reason: "too long",
			zone: set(func(r string) []string { return []string{r + "; n=" + strings.Repeat("x", 5000)} })},
		{name: "other key type", tags: tag("s=ed", "s=rsa2048"), want: Permerror, reason: "type"},
		{name: "key not for mail", tags: ownTags, want: Permerror, reason: "email",
			zone: set(func(r string) []string { return []string{r + "; s=tlsrpt"} })},
		{name: "key not for sha256", tags: ownTags, want: Permerror, reason: "sha256",
			zone: set(func(r string) []string { return []string{r + "; h=sha1"} })},
		{name: "key of other version", tags: ownTags, want: Permerror,
			zone: set(func(r string) []string { return []string{strings.Replace(r, "DKIM1", "DKIM2", 1)} })},
		{name: "short RSA key", tags: tag("ed25519", "rsa"), want: Policy, reason: "512 bits",
			zone: set(func(string) []string { return []string{"p=" + rsaKey(512)} })},
		{name: "huge RSA key", tags: tag("ed25519", "rsa"), want: Policy, reason: "16384 bits",
			zone: set(func(string) []string { return []string{"p=" + rsaKey(16384)} })},
	}
}

// rsaKey makes a public key of so many bits, without a private one.
func rsaKey(bits int) string {
	n := make([]byte, bits/8)
	n[0], n[len(n)-1] = 0x80, 1
	return base64.StdEncoding.EncodeToString(pkcs1(n))
}

func TestAttacks(t *testing.T) {
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			z := testZone(t)
			if a.zone != nil {
				a.zone(z)
			}
			head, body := a.head, a.body
			if head == "" {
				head = testHeader
			}
			if body == "" {
				body = "Hello\r\n"
			}
			msg := signOwn(t, testKeys()["ed"], a.tags, head, body)
			if a.change != nil {
				msg = a.change(msg)
			}
			f := verify(t, z, msg, 65535, Options{Now: testNow})
			if len(f) != 1 || f[0].Result != a.want || !strings.Contains(f[0].Reason, a.reason) {
				t.Errorf("got %+v, want %s %q", f, a.want, a.reason)
			}
			if f[0].Testing != (a.name == "testing key" || a.name == "strict key") {
				t.Errorf("testing is %v", f[0].Testing)
			}
		})
	}
}

func TestInternationalDomain(t *testing.T) {
	z := testZone(t)
	z["xn--s-fka._domainkey.xn--bcher-kva.example"] = z["ed._domainkey.example.com"]
	tags := strings.NewReplacer("d=example.com", "d=b\u00fccher.example", "s=ed", "s=\u00e4s", "; bh", "; i=joe@B\u00dcCHER.example; bh").Replace(ownTags)
	sel := mail.CanonicalDomain("\u00e4s")
	z[sel+"._domainkey.xn--bcher-kva.example"] = z["ed._domainkey.example.com"]
	f := verify(t, z, signOwn(t, testKeys()["ed"], tags, testHeader, "x\r\n"), 9, Options{Now: testNow})
	if len(f) != 1 || f[0].Result != Pass || f[0].Domain != "xn--bcher-kva.example" {
		t.Errorf("got %+v", f)
	}
}

func TestChoice(t *testing.T) {
	z := testZone(t)
	z["ed._domainkey.list.example.org"] = z["ed._domainkey.example.com"]
	z["ed._domainkey.sub.example.com"] = z["ed._domainkey.example.com"]
	msg := signOwn(t, testKeys()["ed"], ownTags, testHeader, "x\r\n")
	msg = signOwn(t, testKeys()["ed"], tag("d=example.com", "d=sub.example.com"), strings.TrimSuffix(msg, "\r\nx\r\n"), "x\r\n")
	for range 20 {
		msg = signOwn(t, testKeys()["ed"], tag("d=example.com", "d=list.example.org"), strings.TrimSuffix(msg, "\r\nx\r\n"), "x\r\n")
	}
	msg = "DKIM-Signature: broken\r\n" + msg
	f := verify(t, z, msg, 9, Options{Now: testNow, From: []string{"example.com"}, MaxSignatures: 3})
	var got []string
	for _, x := range f {
		got = append(got, string(x.Result)+" "+x.Domain)
	}
	if s := strings.Join(got, ", "); s != "pass example.com, pass sub.example.com, pass list.example.org, policy " {
		t.Errorf("got %s", s)
	}
}

func TestUnsigned(t *testing.T) {
	if f := verify(t, zone{}, testHeader+"\r\nx\r\n", 9, Options{Now: testNow}); f != nil {
		t.Errorf("got %+v", f)
	}
}

// TestSignedSignature: a signature over another signature, in any order of the
// fields.
func TestSignedSignature(t *testing.T) {
	z := testZone(t)
	msg := signOwn(t, testKeys()["ed"], ownTags, testHeader, "x\r\n")
	inner := strings.TrimSuffix(msg, "\r\nx\r\n")
	msg = signOwn(t, testKeys()["ed"], tag("h=from", "h=dkim-signature:from"), inner, "x\r\n")
	for _, f := range verify(t, z, msg, 9, Options{Now: testNow}) {
		if f.Result != Pass {
			t.Errorf("got %+v", f)
		}
	}
}

func TestContextEnds(t *testing.T) {
	z := testZone(t)
	z["ed._domainkey.example.com"] = []string{"HANG"}
	h, body := split(t, signOwn(t, testKeys()["ed"], ownTags, testHeader, textBody(200<<10)))
	ctx, cancel := context.WithCancel(context.Background())
	v := New(ctx, z, h, Options{Now: testNow})
	v.Write([]byte(body[:maxEarly])) // does not block
	time.AfterFunc(10*time.Millisecond, cancel)
	v.Write([]byte(body[maxEarly:]))
	if f := v.Close(); len(f) != 1 || f[0].Result != Temperror {
		t.Errorf("got %+v", f)
	}
}

// TestAbort at every point; goleak sees what stays behind.
func TestAbort(t *testing.T) {
	for _, hang := range []bool{false, true} {
		z := testZone(t) // its own: a lookup may outlive its verification a little
		if hang {
			z["ed._domainkey.example.com"] = []string{"HANG"}
		}
		h, body := split(t, signOwn(t, testKeys()["ed"], ownTags, testHeader, textBody(60<<10)))
		for _, writes := range []int{0, 1, 2} {
			v := New(context.Background(), z, h, Options{Now: testNow})
			for i := range writes {
				v.Write([]byte(body[i*1000 : (i+1)*1000]))
			}
			v.Abort()
			v.Abort()
			if n, err := v.Write([]byte("x")); n != 1 || err != nil {
				t.Errorf("write after abort: %d, %v", n, err)
			}
			if f := v.Close(); f != nil {
				t.Errorf("close after abort: %+v", f)
			}
		}
	}
}

// TestOrdinary pins who judges: the library, but for the inputs that it gets
// wrong.
func TestOrdinary(t *testing.T) {
	long := "Subject: " + strings.Repeat("x", 40000) + "\r\n"
	fold := "Subject: x" + strings.Repeat("\r\n y", 100) + "\r\n"
	for _, c := range []struct {
		name, tags, head string
		want             bool
	}{
		{"plain", ownTags, "", true},
		{"b= first", " b=; v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=ed; h=from; bh=%BH%", "", true},
		{"i=", tag("; bh", "; i=bob@example.com; bh"), "", true},
		{"b= in z=", tag("; bh", "; z=b=20; bh"), "", false},
		{"tag ending in b", tag("; bh", "; bb=x; bh"), "", false},
		{"own signature", tag("h=from", "h=dkim-signature:from"), "", false},
		{"long s in a name", tag("h=from", "h=\u017fubject:from"), "", false},
		{"long field, few names", ownTags, testHeader + long, true},
		{"long field, many names", tag("h=from", "h=from"+strings.Repeat(":subject", 150)), testHeader + long, false},
		{"folds", ownTags, testHeader + fold, false},
		{"folds not signed", ownTags, testHeader + strings.Replace(fold, "Subject", "X", 1), true},
	} {
		head := c.head
		if head == "" {
			head = testHeader
		}
		h, _ := split(t, signOwn(t, testKeys()["ed"], c.tags, head, ""))
		m, err := sig.ParseMessage(h[0])
		if err != nil {
			t.Fatal(c.name, err)
		}
		s := &signature{at: 0, msg: m, picked: sig.NewIndex(h).Pick(m.Names, 0)}
		if got := s.ordinary(h); got != c.want {
			t.Errorf("%s: ordinary is %v", c.name, got)
		}
	}
}
