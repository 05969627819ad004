package dkim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/linear"
	"mailwicket/filter/mail"
)

// generator makes messages that differ in everything that a signature can see.
type generator struct{ *rand.Rand }

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g generator) join(most int, from ...string) string {
	var b strings.Builder
	for range g.IntN(most + 1) {
		b.WriteString(g.pick(from...))
	}
	return b.String()
}

// letters changes the case of some letters.
func (g generator) letters(s string) string {
	b := []byte(s)
	for i, c := range b {
		if (c|0x20) >= 'a' && (c|0x20) <= 'z' && g.IntN(3) == 0 {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

func (g generator) header() string {
	var b strings.Builder
	from := g.IntN(6)
	for i := range 6 {
		name := g.pick("To", "Subject", "Date", "X-Long-Name", "received", "Reply-To")
		value := g.join(8, "word", " ", "  ", "\t", "\r\n ", "\r\n\t", "caf\xc3\xa9", "\xff", "=", ";", ":", "b=", "(c)") + g.pick("", "x", "x ")
		if i == from {
			name, value = "From", " Joe <joe@example.com>"
		}
		fmt.Fprintf(&b, "%s%s:%s\r\n", g.letters(name), g.pick("", "", "", " "), value)
	}
	return strings.ReplaceAll(b.String(), "\r\n\r\n", "\r\n x\r\n")
}

func (g generator) body() string {
	pieces := []string{"", "\r\n", "\r\n\r\n", " ", "\t", "text", "a  b", " \r\n", ".\r\n", "\xff\x00", strings.Repeat("long ", 300)}
	if g.IntN(12) == 0 {
		pieces = append(pieces, "\r", "\n")
	}
	if g.IntN(40) == 0 {
		pieces = append(pieces, strings.Repeat(" \r\n", 8000)+"x")
	}
	return g.join(12, pieces...)
}

// tags makes the signature field, with the b= tag anywhere in it.
func (g generator) tags(key string) string {
	names := []string{g.letters("from")}
	for range g.IntN(6) {
		names = append(names, g.letters(g.pick("to", "subject", "date", "x-long-name", "received", "reply-to", "none", "from", "to", "subject")))
	}
	if g.IntN(20) == 0 {
		names = append(names, g.pick("dkim-signature", "\u017fubject"))
	}
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	alg := "rsa-sha256"
	if key == "ed" {
		alg = "ed25519-sha256"
	}
	tags := []string{"v=1", "a=" + alg, "d=example.com", "s=" + key, "bh=%BH%", "b=",
		"h=" + strings.Join(names, g.pick(":", " : ", ":\r\n\t"))}
	for _, optional := range []string{
		g.pick("c=simple/simple", "c=relaxed/simple", "c=simple/relaxed", "c=relaxed/relaxed", "c=relaxed", "c=simple"),
		g.pick("t=1790000000", "t=1790000000; x=4000000000", "x=4000000000", "q=dns/txt"),
		g.pick("i=@example.com", "i=joe@example.com", "i=@sub.example.com", "i=@Example.com", "i=b=x@example.com"),
		g.pick("z=Subject:x|To:y", "z=Sub:b=20x", "n=x", "bb=y", "l1=b"),
	} {
		if g.IntN(3) > 0 {
			tags = append(tags, optional)
		}
	}
	g.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
	return g.pick("", " ", "\r\n\t") + strings.Join(tags, g.pick("; ", ";", ";\r\n ")) + g.pick("", "", ";")
}

// tamper changes something, which need not matter.
func (g generator) tamper(msg string) string {
	first := len("DKIM-Signature:")
	head, body, _ := strings.Cut(msg, "\r\n\r\n")
	switch g.IntN(6) {
	case 0:
		return head + "\r\n\r\n" + g.pick("", " ", "x", "\r\n") + body
	case 1:
		return msg + g.pick("\r\n", " ", "\r\n\r\n", "x")
	case 2: // another instance below the signed ones
		return head + "\r\n" + g.pick("From: eve@example.org", "To: x", "Subject: x", "X-New: x") + "\r\n\r\n" + body
	case 3: // white space somewhere
		at := first + g.IntN(len(head)-first)
		if i := strings.IndexByte(head[at:], ' '); i >= 0 {
			return head[:at+i] + " " + msg[at+i:]
		}
		return msg
	}
	i := first + g.IntN(len(msg)-first)
	if c := msg[i]; c > ' ' && c < 0x7f {
		return msg[:i] + string(rune('!'+(c-'!'+1+byte(g.IntN(92)))%94)) + msg[i+1:]
	}
	return msg
}

// listed are the inputs that go to our own verifier, told again in another way
// than the guard does.
func listed(msg string) bool {
	head, body, _ := strings.Cut(msg, "\r\n\r\n")
	field := regexp.MustCompile(`(?s)\A[^:]*:(.*?)(\r\n[^ \t]|\z)`).FindStringSubmatch(head)[1]
	bare := strings.ReplaceAll(body, "\r\n", "")
	return len(regexp.MustCompile(`b[ \t\r\n\f]*=[^;]`).FindAllString(field, -1)) > 1 ||
		regexp.MustCompile(`[hH]=[^;]*((?i:dkim-signature)|[^\x00-\x7f])`).MatchString(field) ||
		regexp.MustCompile(`i=[^;]*@[^;]*[A-Z]`).MatchString(field) ||
		strings.Contains(field, "i=") && regexp.MustCompile(`d=[^;]*[A-Z]`).MatchString(field) ||
		strings.ContainsAny(bare, "\r\n") ||
		regexp.MustCompile(`[ \t\r\n]{800}`).MatchString(body)
}

// byLibrary asks go-msgauth alone, about the message as it is.
func byLibrary(z zone, msg string) bool {
	vs, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{
		LookupTXT: func(n string) ([]string, error) { return z.LookupTXT(context.Background(), n) }})
	return err == nil && len(vs) == 1 && vs[0].Err == nil
}

// message makes one under a good signature.
func (g generator) message(t testing.TB) string {
	key := g.pick("ed", "ed", "rsa1024", "rsa2048")
	return signOwn(t, testKeys()[key], g.tags(key), g.header(), g.body())
}

// agree holds three judges against each other: the library alone, our own
// verifier alone, and the guard, which asks the one or the other. All agree but
// for the listed inputs, and on those the guard follows our own.
func agree(t *testing.T, z zone, msg string, piece int) (found Finding, judged bool) {
	t.Helper()
	h, body := split(t, msg)
	found, judged = guard(z, h, []byte(body), piece)
	pass := found.Result == Pass
	computed := pass || found.Result == Fail
	if ours := own(t, z, msg); computed && pass != (ours == nil) {
		t.Errorf("guard %+v, own verifier %v\n%q", found, ours, msg)
	}
	if judged && byLibrary(z, msg) != pass {
		t.Errorf("guard %+v, the library differs\n%q", found, msg)
	}
	if computed && !judged && !listed(msg) {
		t.Errorf("not given to the library\n%q", msg)
	}
	return found, judged
}

func TestDifferential(t *testing.T) {
	z := testZone(t)
	rounds := 2000
	if testing.Short() || linear.Raced {
		rounds = 500
	}
	count := map[string]int{}
	for seed := range rounds {
		g := generator{rand.New(rand.NewPCG(uint64(seed), 7))}
		msg := g.message(t)
		intact := g.IntN(2) == 0
		if !intact {
			msg = g.tamper(msg)
		}
		found, judged := agree(t, z, msg, 1+g.IntN(5000))
		if intact && found.Result != Pass {
			t.Errorf("an untouched message is %+v\n%q", found, msg)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		count[fmt.Sprintf("intact %v, by the library %v, %s", intact, judged, found.Result)]++
	}
	for _, c := range []string{"intact true, by the library true, pass", "intact false, by the library true, pass",
		"intact false, by the library true, fail", "intact true, by the library false, pass", "intact false, by the library false, fail"} {
		if count[c] < rounds/40 {
			t.Errorf("%d of %d are %s", count[c], rounds, c)
		}
	}
}

// FuzzGuard changes any bytes of messages made from a seed. Keys differ from run
// to run, so inputs are seeds and not messages.
func FuzzGuard(f *testing.F) {
	f.Add(uint64(1), uint(100), "x", uint(3))
	f.Add(uint64(2), uint(0), "", uint(1))
	f.Add(uint64(3), uint(200), "\r\n b=", uint(99))
	z := testZone(f)
	f.Fuzz(func(t *testing.T, seed uint64, pos uint, s string, piece uint) {
		msg := generator{rand.New(rand.NewPCG(seed, 7))}.message(t)
		first := len("DKIM-Signature:")
		at := first + int(pos%uint(len(msg)-first))
		msg = msg[:at] + s + msg[min(at+len(s), len(msg)):]
		head, _, whole := strings.Cut(msg, "\r\n\r\n")
		lines := strings.ReplaceAll(head, "\r\n", "")
		if !whole || strings.ContainsAny(lines, "\r\n") || strings.Contains(lines[first:], "D\u212aIM") ||
			strings.Contains(strings.ToLower(head), "\r\ndkim-signature") {
			return // it is the MTA that cuts a message into fields, not the guard
		}
		agree(t, z, msg, 1+int(piece%5000))
	})
}

// guard verifies a message under one signature, and tells whether the library
// had a say in it.
func guard(z zone, h mail.Header, body []byte, n int) (Finding, bool) {
	v := New(context.Background(), z, h, Options{Now: testNow})
	for len(body) > 0 {
		k := min(n, len(body))
		v.Write(body[:k])
		body = body[k:]
	}
	found := v.Close()
	_, judged := v.feed.verdict(v.sigs[0])
	return found[0], judged
}

// TestSimpleIsByteExact changes what "relaxed" forgives: nothing of it is
// forgiven here (RFC 6376, 3.4.1 and 3.4.3).
func TestSimpleIsByteExact(t *testing.T) {
	z := testZone(t)
	for _, key := range []string{"ed", "rsa2048"} {
		for _, canon := range []string{"simple", "relaxed"} {
			msg := signLib(t, key, testHeader, "Hello  world \r\n tail\r\n\r\n\r\n", canon, canon)
			for _, c := range [][2]string{
				{"From: Joe", "from: Joe"}, {"From: Joe", "From:  Joe"}, {"From: Joe", "From:Joe"}, {"From: Joe", "From : Joe"},
				{"\r\n\tJim", "\r\n Jim"}, {"\r\n\tJim", "\tJim"}, {"example.net> \r\n", "example.net>\r\n"}, {"X-Empty:\r\n", "X-Empty: \r\n"},
				{"A  test", "A test"}, {"Hello  world", "Hello world"}, {"world \r\n", "world\r\n"}, {"\r\n tail", "\r\n\ttail"},
			} {
				if strings.Count(msg, c[0]) == 0 {
					t.Fatalf("no %q in %q", c[0], msg)
				}
				f := verify(t, z, strings.Replace(msg, c[0], c[1], 1), 3, Options{})
				if want := canon == "relaxed"; (f[0].Result == Pass) != want {
					t.Errorf("%s %s: %q for %q: %+v", key, canon, c[1], c[0], f[0])
				}
			}
			// Empty lines at the end are nobody's, in both forms.
			for _, end := range []string{"", "\r\n", "\r\n\r\n\r\n\r\n\r\n"} {
				f := verify(t, z, strings.TrimRight(msg, "\r\n")+end, 3, Options{})
				if f[0].Result != Pass {
					t.Errorf("%s %s: end %q: %+v", key, canon, end, f[0])
				}
			}
		}
	}
}

// TestFinding has every member of a finding.
func TestFinding(t *testing.T) {
	z := testZone(t)
	for key, want := range map[string]Finding{
		"ed":      {Algorithm: sig.Ed25519SHA256, KeyBits: 256},
		"rsa1024": {Algorithm: sig.RSASHA256, KeyBits: 1024},
		"rsa2048": {Algorithm: sig.RSASHA256, KeyBits: 2048},
	} {
		tags := strings.NewReplacer("ed25519-sha256", string(want.Algorithm), "s=ed", "s="+key, "; bh", "; i=Joe@Sub.Example.com; bh").Replace(ownTags)
		msg := signOwn(t, testKeys()[key], tags, testHeader, "x\r\n")
		_, b, _ := strings.Cut(msg, "; b=")
		want.Result, want.Domain, want.Identity, want.Selector, want.Signature = Pass, "example.com", "Joe@sub.example.com", key, b[:8]
		if f := verify(t, z, msg, 9, Options{Now: testNow}); len(f) != 1 || f[0] != want {
			t.Errorf("got  %+v\nwant %+v", f, want)
		}
	}
}
