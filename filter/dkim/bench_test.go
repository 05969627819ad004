package dkim

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"mailwicket/filter/dkim/sig"
)

// textBody is mail-like text of n bytes.
func textBody(n int) string {
	const line = "The quick brown fox jumps over the lazy dog, and so on until the line's end.\r\n"
	return strings.Repeat(line, n/len(line)+1)[:n-2] + "\r\n"
}

func BenchmarkVerify(b *testing.B) {
	z := testZone(b)
	for _, canon := range []string{"relaxed", "simple"} {
		for _, size := range []int{4 << 10, 50 << 10, 1 << 20} {
			msg := signLib(b, "rsa2048", testHeader, textBody(size), canon, canon)
			h, text := split(b, msg)
			body := []byte(text)
			name := fmt.Sprintf("%s/%dKiB", canon, size>>10)
			b.Run(name+"/guard", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if f := verifyBytes(z, h, body, 65535, Options{Now: testNow}); f[0].Result != Pass {
						b.Fatal(f)
					}
				}
			})
			b.Run(name+"/library", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					vs, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{
						LookupTXT: func(n string) ([]string, error) { return z[n], nil }})
					if err != nil || vs[0].Err != nil {
						b.Fatal(err, vs[0].Err)
					}
				}
			})
			b.Run(name+"/own", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := own(b, z, msg); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkBody(b *testing.B) {
	p := []byte(textBody(1 << 20))
	for _, c := range []sig.Canon{sig.Simple, sig.Relaxed} {
		b.Run(fmt.Sprint(c), func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				s := sig.NewBody(c)
				for q := range slices.Chunk(p, 65535) {
					s.Write(q)
				}
				s.Sum()
			}
		})
	}
}
