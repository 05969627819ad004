package dkim

import (
	"bytes"
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
	"strings"
	"sync"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/dns"
	"mailwicket/filter/mail"
)

// zone answers TXT from a map; "TEMPERROR" as a record is a temporary failure,
// "HANG" waits for the context's end.
type zone map[string][]string

func (z zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	txts, ok := z[name]
	switch {
	case !ok:
		return nil, &net.DNSError{Err: dns.TextNXDomain, Name: name, IsNotFound: true}
	case txts[0] == "TEMPERROR":
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	case txts[0] == "HANG":
		<-ctx.Done()
		return nil, &net.DNSError{Err: "timeout", Name: name, IsTimeout: true, IsTemporary: true}
	}
	return append([]string(nil), txts...), nil
}

func (zone) LookupMX(context.Context, string) ([]*net.MX, error)      { return nil, errUnused }
func (zone) LookupA(context.Context, string) ([]netip.Addr, error)    { return nil, errUnused }
func (zone) LookupAAAA(context.Context, string) ([]netip.Addr, error) { return nil, errUnused }
func (zone) LookupPTR(context.Context, netip.Addr) ([]string, error)  { return nil, errUnused }

var errUnused = &net.DNSError{Err: "not in this test"}

var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	m := map[string]crypto.Signer{}
	for _, bits := range []int{1024, 2048} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		m[fmt.Sprint("rsa", bits)] = k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	m["ed"] = ed
	return m
})

func keyRecord(t testing.TB, k crypto.Signer) string {
	t.Helper()
	if pub, ok := k.Public().(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub)
	}
	b, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(b)
}

func testZone(t testing.TB) zone {
	z := zone{}
	for name, k := range testKeys() {
		z[name+"._domainkey.example.com"] = []string{keyRecord(t, k)}
	}
	return z
}

var testNow = time.Unix(1_800_000_000, 0)

const testHeader = "From: Joe <joe@example.com>\r\n" +
	"To:  Jane <jane@example.net>,\r\n\tJim <jim@example.net> \r\n" +
	"Subject: A  test\r\n of folding\r\n" +
	"Date: Mon, 1 Jan 2026 00:00:00 +0000\r\n" +
	"X-Empty:\r\n" +
	"Message-ID: <1@example.com>\r\n"

// split parts a message as an MTA does.
func split(t testing.TB, msg string) (mail.Header, string) {
	t.Helper()
	head, body, ok := strings.Cut(msg, "\r\n\r\n")
	if !ok {
		head = strings.TrimSuffix(msg, "\r\n")
	}
	return parseHeader(head), body
}

func parseHeader(head string) mail.Header {
	var h mail.Header
	for head != "" {
		end := 0 // of the field, its folds included
		for {
			i := strings.Index(head[end:], "\r\n")
			if end += i; i < 0 {
				end = len(head)
			}
			if end+2 >= len(head) || head[end+2] != ' ' && head[end+2] != '\t' {
				break
			}
			end += 2
		}
		name, value, _ := strings.Cut(head[:end], ":")
		h = append(h, mail.Field{Name: name, Value: value})
		head = head[min(end+2, len(head)):]
	}
	return h
}

// signLib signs with the library.
func signLib(t testing.TB, key, head, body, hc, bc string) string {
	t.Helper()
	var out bytes.Buffer
	err := msgauth.Sign(&out, strings.NewReader(head+"\r\n"+body), &msgauth.SignOptions{
		Domain: "example.com", Selector: key, Signer: testKeys()[key],
		HeaderCanonicalization: msgauth.Canonicalization(hc),
		BodyCanonicalization:   msgauth.Canonicalization(bc),
	})
	if err != nil {
		t.Fatal(err)
	}

	return out.String()
}

// signOwn signs with this project's canonicalization. tags is the field's value
// with "%BH%" and an empty b=; the result is the whole message.
func signOwn(t testing.TB, k crypto.Signer, tags, head, body string) string {
	t.Helper()
	h := parseHeader(strings.TrimSuffix(head, "\r\n"))
	canon := sig.Simple
	if strings.Contains(tags, "/relaxed") {
		canon = sig.Relaxed
	}
	b := sig.NewBody(canon)
	b.Write([]byte(body))
	bh := b.Sum()
	tags = strings.ReplaceAll(tags, "%BH%", base64.StdEncoding.EncodeToString(bh[:]))
	f := mail.Field{Name: "DKIM-Signature", Value: tags}
	parsed, err := sig.ParseTags(tags)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := parsed.Get("h")
	list := strings.Split(sig.StripFWS(names), ":")
	for i := range list {
		list[i] = mail.FoldName(list[i])
	}
	hcanon := sig.Simple
	if c, _ := parsed.Get("c"); strings.HasPrefix(c, "relaxed") {
		hcanon = sig.Relaxed
	}
	full := append(mail.Header{f}, h...)
	ix := sig.NewIndex(full)
	sum := ix.Hash(ix.Pick(list, 0), mail.Field{Name: f.Name, Value: parsed.Without(tags, "b")}, hcanon)
	from, to := parsed.Span("b")
	v := tags[:from] + sign(t, k, sum) + tags[to:]
	return f.Name + ":" + v + "\r\n" + head + "\r\n" + body
}

func sign(t testing.TB, k crypto.Signer, sum [sha256.Size]byte) string {
	t.Helper()
	opts := crypto.SignerOpts(crypto.SHA256)
	if _, ok := k.(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	}
	b, err := k.Sign(rand.Reader, sum[:], opts)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// verify runs a message through the guard, its body in pieces of n bytes.
func verify(t testing.TB, z zone, msg string, n int, opt Options) []Finding {
	t.Helper()
	h, body := split(t, msg)
	return verifyParts(z, h, body, n, opt)
}

func verifyParts(z zone, h mail.Header, body string, n int, opt Options) []Finding {
	return verifyBytes(z, h, []byte(body), n, opt)
}

func verifyBytes(z zone, h mail.Header, body []byte, n int, opt Options) []Finding {
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	v := New(context.Background(), z, h, opt)
	for len(body) > 0 {
		k := min(n, len(body))
		v.Write(body[:k])
		body = body[k:]
	}
	return v.Close()
}

// own judges a message's only signature by our own verifier alone.
func own(t testing.TB, z zone, msg string) error {
	t.Helper()
	h, body := split(t, msg)
	for i := range h {
		if mail.FoldName(h[i].Name) != fieldName {
			continue
		}
		s, err := sig.ParseMessage(h[i])
		if err != nil {
			return err
		}
		k, err := sig.Lookup(context.Background(), z, s.Domain, s.Selector, s.Algorithm)
		if err != nil {
			return err
		}
		b := sig.NewBody(s.Body)
		b.Write([]byte(body))
		return s.VerifyMessage(sig.NewIndex(h), i, b.Sum(), k)
	}
	t.Fatal("no signature")
	return nil
}

// pkcs1 encodes an RSA public key with exponent 65537.
func pkcs1(n []byte) []byte {
	der := func(tag byte, body []byte) []byte {
		l := []byte{byte(len(body))}
		if len(body) > 127 {
			l = []byte{0x82, byte(len(body) >> 8), byte(len(body))}
		}
		return append(append([]byte{tag}, l...), body...)
	}
	return der(0x30, append(der(2, append([]byte{0}, n...)), der(2, []byte{1, 0, 1})...))
}
