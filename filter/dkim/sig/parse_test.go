package sig

import (
	"errors"
	"hash"
	"strings"
	"testing"
	"time"

	"mailwicket/filter/mail"
)

// checkHost holds what every name from a signature or record promises.
func checkHost(t *testing.T, what, s string) {
	t.Helper()
	if s != "" && (!mail.ValidDomain(s) || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || mail.CanonicalDomain(s) != s) {
		t.Errorf("%s %q is no canonical name", what, s)
	}
}

// checkTrouble holds the promise of package sig on its errors.
func checkTrouble(t *testing.T, err error) {
	t.Helper()
	kinds := 0
	for _, k := range []error{ErrSyntax, ErrInvalid, ErrPolicy, ErrTemporary, ErrMismatch} {
		if errors.Is(err, k) {
			kinds++
		}
	}
	if err != nil && (kinds != 1 || len(err.Error()) > 80) {
		t.Errorf("%q is of %d kinds", err, kinds)
	}
}

const sampleTags = " v=1; a=rsa-sha256; c=relaxed/simple; d=example.com; s=s1; t=1; x=2;\r\n h=from:to; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA BBBB"

// FuzzSignature: whatever the field says, what comes out of it is clean, and
// the order of checks never lets a signature through that lacks something.
func FuzzSignature(f *testing.F) {
	f.Add(sampleTags)
	f.Add(strings.Replace(sampleTags, "d=example.com", "d=b\u00fccher.example", 1))
	f.Add(strings.Replace(sampleTags, "rsa-sha256", "ed25519-sha256", 1) + "; l=1; q=dns/txt:x; i=@a")
	f.Fuzz(func(t *testing.T, v string) {
		s, err := ParseMessage(mail.Field{Name: "DKIM-Signature", Value: v})
		checkTrouble(t, err)
		checkHost(t, "d=", s.Domain)
		checkHost(t, "s=", s.Selector)
		if len(s.Prefix) > 8 || strings.ContainsFunc(s.Prefix, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("prefix %q", s.Prefix)
		}
		if len(s.Names) > MaxNames || err != nil {
			return
		}
		from := false
		for _, n := range s.Names {
			from = from || n == "from"
		}
		if !from || s.Domain == "" || s.Selector == "" || s.Algorithm == "" || s.Algorithm == RSASHA1 ||
			len(s.BodyHash) != 32 || len(s.Value) == 0 || s.Partial || len(v) > MaxField {
			t.Errorf("accepted: %+v", s)
		}
		if err := s.InTime(time.Unix(1, 0), time.Minute); err != nil {
			checkTrouble(t, err)
		}
		// The field without its b= still parses but for that tag, and differs
		// nowhere else.
		blank := s.Blank().Value
		if from, to := s.Tags.Span("b"); blank != v[:from]+v[to:] {
			t.Errorf("blank is %q", blank)
		}
	})
}

// FuzzKey: a record is a usable key or an error, and keys beside it do no harm.
func FuzzKey(f *testing.F) {
	const ed = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	f.Add(ed, "v=spf1 -all")
	f.Add("p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==", "k=rsa; p=")
	f.Add("v=DKIM1; t=y:s; s=email; h=sha256; n=x; p=", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		k, err := ParseKey(a)
		checkTrouble(t, err)
		if err == nil && (k.Type == "rsa" && (k.Bits < MinRSABits || k.Bits > MaxRSABits || k.rsa == nil) || k.Type == "ed25519" && k.ed == nil) {
			t.Errorf("%q: %+v", a, k)
		}
		if k != nil && err == nil && k.Verify(make([]byte, 32), make([]byte, 64)) == nil && k.Type == "rsa" {
			t.Errorf("%q verifies nothing at all", a)
		}
		for _, alg := range []Algorithm{RSASHA256, Ed25519SHA256} {
			one, err1 := SelectKey([]string{b}, alg)
			checkTrouble(t, err1)
			// A good key is found whatever stands beside it.
			for _, txts := range [][]string{{b, ed}, {ed, b}, {a, b, ed}} {
				k, err := SelectKey(txts, Ed25519SHA256)
				if err != nil || k.Type != "ed25519" {
					t.Fatalf("%q: %v, %v", txts, k, err)
				}
			}
			if err1 == nil && one.Type != alg.KeyType() {
				t.Errorf("%q for %s is %+v", b, alg, one)
			}
		}
	})
}

// TestHost has names that a signature may bear, and others.
func TestHost(t *testing.T) {
	soft := strings.Repeat("\u00ad", 64)
	for in, want := range map[string]string{
		"Example.COM": "example.com", "example.com.": "example.com", "b\u00fccher.example": "xn--bcher-kva.example",
		"a\u3002example": "a.example", "_a-b.example": "_a-b.example", "a..b": "", "": "", ".": "", "a b": "", "a/b": "", "a@b": "",
		"ex\u00adample.com": "example.com", soft + "a.example": "", strings.Repeat("x", 63) + ".y": strings.Repeat("x", 63) + ".y",
		strings.Repeat("x", 64) + ".y": "", strings.Repeat("\u4e00", 64) + "\uff0ey": "", "\xff.example": "",
	} {
		if got := Host(in); got != want {
			t.Errorf("Host(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestSimpleBytes writes out what the simple canonicalization of a body is,
// byte by byte (RFC 6376, 3.4.3 and 3.4.6).
func TestSimpleBytes(t *testing.T) {
	for _, c := range []struct{ in, simple, relaxed string }{
		{"", "\r\n", ""},
		{"\r\n", "\r\n", ""},
		{"\r\n\r\n", "\r\n", ""},
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		{" ", " \r\n", ""},
		{"\t\r\n", "\t\r\n", ""},
		{"a\r\n \r\n", "a\r\n \r\n", "a\r\n"},
		{"a\r\n \r\n\r\n", "a\r\n \r\n", "a\r\n"},
		{"a", "a\r\n", "a\r\n"},
		{"a\r\n\r\nb", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"},
		{"a\r", "a\r\r\n", "a\r\r\n"},
		{"a\n", "a\n\r\n", "a\n\r\n"},
		{"a\n\n", "a\n\n\r\n", "a\n\n\r\n"},
		{"\r\r\n", "\r\r\n", "\r\r\n"},
		{"a\r\n\n", "a\r\n\n\r\n", "a\r\n\n\r\n"},
		{"a\x00\x80\xff\v\f\r\n", "a\x00\x80\xff\v\f\r\n", "a\x00\x80\xff\v\f\r\n"},
		{".\r\n", ".\r\n", ".\r\n"},
	} {
		if got := slowBody(c.in, Simple); got != c.simple {
			t.Errorf("reference, simple %q: %q, want %q", c.in, got, c.simple)
		}
		if got := slowBody(c.in, Relaxed); got != c.relaxed {
			t.Errorf("reference, relaxed %q: %q, want %q", c.in, got, c.relaxed)
		}
		for canon, want := range []string{c.simple, c.relaxed} {
			var got strings.Builder
			b := NewBody(Canon(canon))
			b.sum = recorder{b.sum, &got}
			for i := range len(c.in) {
				b.Write([]byte(c.in[i : i+1]))
			}
			if b.Sum(); got.String() != want {
				t.Errorf("canon %d of %q: %q, want %q", canon, c.in, got.String(), want)
			}
		}
	}
}

// recorder keeps what is hashed.
type recorder struct {
	hash.Hash
	to *strings.Builder
}

func (r recorder) Write(p []byte) (int, error) {
	r.to.Write(p)
	return r.Hash.Write(p)
}
