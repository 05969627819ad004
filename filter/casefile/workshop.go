package casefile

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"mailwicket/filter/dkim/sig"
	"mailwicket/filter/mail"
)

// signer is a key with its record.
type signer struct {
	crypto.Signer
	record string
}

var signers = sync.OnceValue(func() map[string]signer {
	r, err := rsa.GenerateKey(rand.Reader, 1024) // the smallest that counts, for speed
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
	return map[string]signer{
		"rsa":     {r, "v=DKIM1; k=rsa; p=" + b64(der)},
		"ed25519": {e, "v=DKIM1; k=ed25519; p=" + b64(pub)},
	}
})

func (s signer) sum(t testing.TB, digest []byte) string {
	t.Helper()
	opts := crypto.SignerOpts(crypto.SHA256)
	if _, ok := s.Signer.(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	}
	b, err := s.Sign(rand.Reader, digest, opts)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Workshop signs and seals a message and gathers the zone lines for the keys.
type Workshop struct {
	T    testing.TB
	Msg  string          // with CRLF
	Zone strings.Builder // lines of the keys
	seen map[string]bool
}

func (w *Workshop) publish(selector, domain, record string) {
	name := selector + "._domainkey." + domain
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	if !w.seen[name] {
		w.seen[name] = true
		fmt.Fprintf(&w.Zone, "%s TXT %s\n", name, quotedText(record))
	}
}

// PublicKey is the value of p= of the Ed25519 key.
func (w *Workshop) PublicKey() string {
	_, p, _ := strings.Cut(signers()["ed25519"].record, "p=")
	return p
}

// quotedText splits a text into the strings that a TXT record holds.
func quotedText(s string) string {
	var out []string
	for len(s) > 200 {
		out, s = append(out, `"`+s[:200]+`"`), s[200:]
	}
	return strings.Join(append(out, `"`+s+`"`), " ")
}

// Sign obeys one line of the part "sign". "stale" signs the message as it was
// before somebody changed it; "raw" gives all tags.
func (w *Workshop) Sign(line string) {
	if tags, ok := strings.CutPrefix(line, "raw "); ok {
		w.raw(tags)
		return
	}
	o := msgauth.SignOptions{}
	key, publish, stale := "ed25519", true, false
	for word := range strings.FieldsSeq(line) {
		k, v, _ := strings.Cut(word, "=")
		switch k {
		case "d":
			o.Domain = v
		case "s":
			o.Selector = v
		case "i":
			o.Identifier = v
		case "h":
			o.HeaderKeys = strings.Split(v, ":")
		case "c":
			h, b, _ := strings.Cut(v, "/")
			o.HeaderCanonicalization, o.BodyCanonicalization = msgauth.Canonicalization(h), msgauth.Canonicalization(b)
		case "key":
			key = v
		case "unpublished":
			publish = false
		case "stale":
			stale = true
		default:
			w.T.Fatalf("sign: unknown word %q", word)
		}
	}
	o.Signer = signers()[key].Signer
	msg := w.Msg
	if stale {
		msg += "The last line of the original.\r\n"
	}
	var out bytes.Buffer
	if err := msgauth.Sign(&out, strings.NewReader(msg), &o); err != nil {
		w.T.Fatal(err)
	}
	w.Msg = strings.TrimSuffix(out.String(), msg) + w.Msg
	if publish {
		w.publish(o.Selector, o.Domain, signers()[key].record)
	}
}

// raw signs with tags that the library would not write. "%BH%" stands for the
// body hash; c=relaxed/relaxed, or simple where c= is not given.
func (w *Workshop) raw(tags string) {
	parsed, err := sig.ParseTags(tags)
	if err != nil {
		w.T.Fatal(err)
	}
	get := func(name string) string { v, _ := parsed.Get(name); return v }
	canon := sig.Simple
	if get("c") != "" {
		canon = sig.Relaxed
	}
	h, body := Split(w.Msg)
	if l, err := strconv.Atoi(get("l")); err == nil {
		body = body[:l]
	}
	b := sig.NewBody(canon)
	b.Write([]byte(body))
	bh := b.Sum()
	tags = strings.ReplaceAll(tags, "%BH%", base64.StdEncoding.EncodeToString(bh[:]))
	if parsed, err = sig.ParseTags(tags); err != nil {
		w.T.Fatal(err)
	}
	key := signers()[strings.TrimSuffix(get("a"), "-sha256")]
	var names []string
	for n := range strings.SplitSeq(get("h"), ":") {
		names = append(names, mail.FoldName(n))
	}
	own := mail.Field{Name: "DKIM-Signature", Value: " " + tags}
	ix := sig.NewIndex(append(mail.Header{own}, h...))
	sum := ix.Hash(ix.Pick(names, 0), own, canon)
	w.Msg = "DKIM-Signature: " + tags + key.sum(w.T, sum[:]) + "\r\n" + w.Msg
	if !strings.ContainsAny(get("d"), `"<>@(`) {
		w.publish(get("s"), mail.CanonicalDomain(get("d")), key.record)
	}
}

// Seal obeys one line of the part "arc": "d= s= i= [cv=] RESULTS", where the
// rest of the line is what the sealer says that it found.
func (w *Workshop) Seal(line string) {
	var d, s, cv, results string
	i := 0
	words := strings.Fields(line)
	for len(words) > 0 {
		k, v, _ := strings.Cut(words[0], "=")
		switch k {
		case "d":
			d = v
		case "s":
			s = v
		case "cv":
			cv = v
		case "i":
			i, _ = strconv.Atoi(v)
		default:
			results, words = strings.Join(words, " "), words[:1]
		}
		words = words[1:]
	}
	if cv == "" {
		cv = map[bool]string{true: "none", false: "pass"}[i == 1]
	}
	key := signers()["ed25519"]
	h, body := Split(w.Msg)
	b := sig.NewBody(sig.Relaxed)
	b.Write([]byte(body))
	bh := b.Sum()
	aar := mail.Field{Name: "ARC-Authentication-Results", Value: fmt.Sprintf(" i=%d; %s", i, results)}
	ams := mail.Field{Name: "ARC-Message-Signature", Value: fmt.Sprintf(
		" i=%d; a=ed25519-sha256; c=relaxed/relaxed; d=%s; s=%s; h=from:to:subject; bh=%s; b=", i, d, s,
		base64.StdEncoding.EncodeToString(bh[:]))}
	ix := sig.NewIndex(append(mail.Header{ams}, h...))
	sum := ix.Hash(ix.Pick([]string{"from", "to", "subject"}, 0), ams, sig.Relaxed)
	ams.Value += key.sum(w.T, sum[:])
	as := mail.Field{Name: "ARC-Seal", Value: fmt.Sprintf(" i=%d; a=ed25519-sha256; cv=%s; d=%s; s=%s; b=", i, cv, d, s)}
	buf := sealedSets(h, i)
	for _, f := range []mail.Field{aar, ams, as} {
		buf = sig.AppendField(buf, f.Name, f.Value, sig.Relaxed)
	}
	digest := sha256.Sum256(buf[:len(buf)-2])
	as.Value += key.sum(w.T, digest[:])
	w.Msg = string(mail.Header{as, ams, aar}.Bytes()) + w.Msg
	w.publish(s, d, key.record)
}

// sealedSets is what the seal i covers of the sets below it, lowest first. Each
// sealer puts seal, signature and results on top.
func sealedSets(h mail.Header, i int) (buf []byte) {
	var fields []mail.Field
	for _, f := range h {
		if strings.HasPrefix(f.Name, "ARC-") {
			fields = append(fields, f)
		}
	}
	slices.Reverse(fields)
	for _, f := range fields[:min(len(fields), 3*(i-1))] {
		buf = sig.AppendField(buf, f.Name, f.Value, sig.Relaxed)
	}
	return buf
}
