//go:build unix

package dkim

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"mailwicket/filter/linear"
	"mailwicket/filter/mail"
)

// bomb is an input that is meant to cost far more than its size: setup makes
// one of size n and gives the work that a verifier has with it.
type bomb struct {
	name  string
	n     int // of the benchmark; the test is content with a sixteenth
	setup func(t testing.TB, n int) func()
}

// eight makes eight signatures of different domains over the same header and
// body, so that none of them is spared.
func eight(t testing.TB, tags, head, body string) (zone, mail.Header, []byte) {
	t.Helper()
	z := zone{}
	h := parseHeader(strings.TrimSuffix(head, "\r\n"))
	for i := range 8 {
		d := fmt.Sprintf("d%d.example", i)
		z["ed._domainkey."+d] = []string{keyRecord(t, testKeys()["ed"])}
		msg := signOwn(t, testKeys()["ed"], strings.Replace(tags, "example.com", d, 1), head, body)
		line, _, _ := strings.Cut(msg, "\r\n"+head)
		h = append(mail.Header{parseHeader(line)[0]}, h...)
	}
	return z, h, []byte(body)
}

// bodyBomb is a body under eight signatures, in pieces of some size. In relaxed
// form the header of "simple" signatures is free of folds here.
func bodyBomb(canon string, piece int, body func(n int) string) func(testing.TB, int) func() {
	return func(t testing.TB, n int) func() {
		z, h, b := eight(t, tag("relaxed/relaxed", "relaxed/"+canon), testHeader, body(n))
		return passes(t, z, h, b, piece)
	}
}

// passes verifies a message all of whose signatures are good.
func passes(t testing.TB, z zone, h mail.Header, body []byte, piece int) func() {
	return func() {
		fs := verifyBytes(z, h, body, piece, Options{Now: testNow})
		for _, f := range fs {
			if f.Result != Pass {
				t.Fatalf("got %+v", f)
			}
		}
	}
}

func repeat(unit string) func(int) string {
	return func(n int) string { return strings.Repeat(unit, n/len(unit)) }
}

func bombs() []bomb {
	const kib, mib = 1 << 10, 1 << 20
	ends := func(n int) string { return strings.Repeat("\r\n", n/2) }
	return []bomb{
		{"CRLFs, simple", 2 * mib, bodyBomb("simple", 65535, ends)},
		{"CRLFs and text behind, simple", 2 * mib, bodyBomb("simple", 65535, func(n int) string { return ends(n) + "x\r\n" })},
		{"runs of CRLFs just below the limit, simple", 2 * mib, bodyBomb("simple", 65535, repeat(strings.Repeat("\r\n", maxBlank/2)+"x"))},
		{"CRLFs, relaxed", 2 * mib, bodyBomb("relaxed", 65535, ends)},
		{"blank lines, relaxed", 2 * mib, bodyBomb("relaxed", 65535, repeat(" \r\n"))},
		{"blanks, relaxed", 2 * mib, bodyBomb("relaxed", 65535, repeat(" "))},
		{"one blank in two bytes, relaxed", 2 * mib, bodyBomb("relaxed", 65535, repeat("x \t"))},
		{"single bytes, simple", 256 * kib, bodyBomb("simple", 1, textBody)},
		{"single bytes, relaxed", 256 * kib, bodyBomb("relaxed", 1, textBody)},
		{"line ends cut in two, simple", mib, bodyBomb("simple", 3, ends)},
		{"trailing blanks cut up, relaxed", mib, bodyBomb("relaxed", 7, func(n int) string { return "x" + repeat(" \t\r\n")(n) })},
		{"lone CRs, simple", 2 * mib, bodyBomb("simple", 65535, repeat("\r"))},
		{"one field of folds, relaxed", 200 * kib, folded("relaxed")},
		{"one field of folds, simple", 200 * kib, folded("simple")},
		{"one field of blanks, 200 names", 200 * kib, blankField},
		{"names in h= beyond the limit", 25000, names},
		{"fields under 200 names", 900, fields},
		{"RSA key records beyond the limit", 29 * kib, keyRecords(1)},
		{"RSA key records, many", 64, keyRecords(0)},
		{"signatures", 700, signatures},
		{"one long U-label", 1200, unicodeNames(hanLabel)},
		{"many U-labels", 64, unicodeNames(func(n int) string { return strings.Repeat(hanLabel(20)+".", n) + "x" })},
		{"aborted", 400, aborted},
	}
}

// folded signs one field of many lines.
func folded(canon string) func(testing.TB, int) func() {
	return func(t testing.TB, n int) func() {
		head := testHeader + "Subject: x" + strings.Repeat("\r\n ", n/3) + "\r\n"
		z, h, b := eight(t, tag("c=relaxed/relaxed", "c="+canon+"/relaxed"), head, "x\r\n")
		return passes(t, z, h, b, 100)
	}
}

// blankField has a long field at the bottom, where every search begins, and as
// many names as there may be.
func blankField(t testing.TB, n int) func() {
	head := testHeader + strings.Repeat("Y: y\r\n", 150) + "X: " + strings.Repeat(" ", n) + "\r\n"
	tags := tag("h=from:to:subject", "h=from:x"+strings.Repeat(":y", 198))
	z, h, b := eight(t, tags, head, "x\r\n")
	return passes(t, z, h, b, 100)
}

// names is h= with more names than are looked at, over many fields.
func names(t testing.TB, n int) func() {
	h := parseHeader(strings.TrimSuffix(testHeader, "\r\n"))
	for range 1900 {
		h = append(h, mail.Field{Name: "X", Value: " y"})
	}
	sigs := mail.Header{}
	for range 8 {
		sigs = append(sigs, mail.Field{Name: "DKIM-Signature", Value: strings.Replace(
			strings.Replace(ownTags, "subject", strings.Repeat("x:", n)+"subject", 1), "%BH%", "AAAA", 1) + "AAAA"})
	}
	h = append(sigs, h...)
	return func() {
		for _, f := range verifyBytes(testZone(t), h, nil, 9, Options{Now: testNow}) {
			if f.Result == Pass {
				t.Fatalf("got %+v", f)
			}
		}
	}
}

// fields is as many names as there may be, over so many fields.
func fields(t testing.TB, n int) func() {
	head := strings.Repeat("X: y\r\n", n) + testHeader
	z, h, b := eight(t, tag("h=from", "h=from"+strings.Repeat(":x", 190)), head, "x\r\n")
	return passes(t, z, h, b, 100)
}

// keyRecords puts RSA keys where a key is due: one of n bytes, or n of the
// largest kind that is looked at.
func keyRecords(count int) func(testing.TB, int) func() {
	return func(t testing.TB, n int) func() {
		z, h, _ := eight(t, tag("ed25519", "rsa"), testHeader, "x\r\n")
		size, many := n*8*3/4, count
		if count == 0 {
			size, many = 16384, n // refused for its size, after it was decoded
		}
		for name := range z {
			z[name] = nil
			for range many {
				z[name] = append(z[name], "v=DKIM1; p="+rsaKey(size))
			}
		}
		return func() {
			for _, f := range verifyBytes(z, h, []byte("x\r\n"), 9, Options{Now: testNow}) {
				if f.Result == Pass || f.Result == Temperror {
					t.Fatalf("got %+v", f)
				}
			}
		}
	}
}

// signatures is one message of 256 KiB under so many of them.
func signatures(t testing.TB, n int) func() {
	body := textBody(256 << 10)
	msg := signOwn(t, testKeys()["ed"], tag("h=from:to:subject", "h=from"), "From: a@example.com\r\n", body)
	h, _ := split(t, msg)
	for len(h) <= n {
		h = append(mail.Header{h[0]}, h...)
	}
	z, b := testZone(t), []byte(body)
	return func() {
		fs := verifyBytes(z, h, b, 65535, Options{Now: testNow})
		if len(fs) != 9 || fs[0].Result != Pass || fs[8].Result != Policy {
			t.Fatalf("%d findings, %+v", len(fs), fs)
		}
	}
}

// unicodeNames has domains whose conversion is dear.
func unicodeNames(domain func(n int) string) func(testing.TB, int) func() {
	return func(_ testing.TB, n int) func() {
		h := parseHeader(strings.TrimSuffix(testHeader, "\r\n"))
		v := strings.NewReplacer("d=example.com", "d="+domain(n)+".example", "%BH%", "AAAA").Replace(ownTags) + "AAAA"
		for range 60 {
			h = append(mail.Header{{Name: "DKIM-Signature", Value: v}}, h...)
		}
		return func() { New(context.Background(), zone{}, h, Options{Now: testNow}).Abort() }
	}
}

// hanLabel is n different characters, the worst case of Punycode.
func hanLabel(n int) string {
	var b strings.Builder
	for r := range rune(n) {
		b.WriteRune(0x4e00 + r)
	}
	return b.String()
}

// aborted gives up n messages at all stages.
func aborted(t testing.TB, n int) func() {
	z, h, b := eight(t, ownTags, testHeader, textBody(64<<10))
	return func() {
		for i := range n {
			v := New(context.Background(), z, h, Options{Now: testNow})
			for range i % 3 {
				v.Write(b[:30000])
			}
			v.Abort()
		}
	}
}

// TestBombs is what BenchmarkAttack measures, on small inputs and so far apart
// that no busy machine blurs it: quadratic work would take sixty-four times as
// long. And goleak sees what an abort leaves behind.
func TestBombs(t *testing.T) {
	for _, b := range bombs() {
		t.Run(b.name, func(t *testing.T) {
			n := b.n / 32
			if linear.Raced {
				n = max(b.n/256, 9) // more than the signatures that are looked at
			}
			if x := linear.Growth(12, 12, b.setup(t, n), b.setup(t, 8*n)); x > 30 {
				t.Errorf("eight times the input takes %.1f times as long", x)
			}
		})
	}
}

// BenchmarkAttack shows that twice the input takes twice the time:
// "x_doubled" says how much longer it takes.
func BenchmarkAttack(b *testing.B) {
	for _, a := range bombs() {
		b.Run(a.name, func(b *testing.B) {
			x := linear.Growth(11, 0, a.setup(b, a.n), a.setup(b, 2*a.n))
			work := a.setup(b, a.n)
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
			b.ReportMetric(x, "x_doubled")
		})
	}
}

// TestMemory: a verification keeps nothing of the body, whatever it holds.
func TestMemory(t *testing.T) {
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, canon := range []string{"simple", "relaxed"} {
		for _, unit := range []string{"\r\n", " \r\n", " ", "\t", "\r", "x", "x \r\n", strings.Repeat("\r\n", maxBlank/2) + "x"} {
			z, h, _ := eight(t, tag("relaxed/relaxed", "relaxed/"+canon), testHeader, "x")
			piece := []byte(strings.Repeat(unit, 1+32<<10/len(unit)))
			v := New(context.Background(), z, h, Options{Now: testNow})
			for range 8 { // the keys come, the buffers grow to their size
				v.Write(piece)
			}
			before := live()
			for range 32 {
				v.Write(piece)
			}
			if after := live(); after > before+256<<10 {
				t.Errorf("%s: %d KiB more in memory after 1 MiB of %.10q", canon, (after-before)>>10, unit)
			}
			v.Close()
		}
	}
}
