package harness

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"github.com/emersion/go-msgauth/dkim"
)

// keys are the two signing keys, made once a run.
type keys struct {
	once sync.Once
	err  error
	rsa  *rsa.PrivateKey
	ed   ed25519.PrivateKey
}

func (k *keys) make() error {
	k.once.Do(func() {
		if k.rsa, k.err = rsa.GenerateKey(rand.Reader, 2048); k.err == nil {
			_, k.ed, k.err = ed25519.GenerateKey(rand.Reader)
		}
	})
	return k.err
}

// signature is one line of the part "sign".
type signature struct {
	message string
	options dkim.SignOptions
	key     string
	publish bool
}

func parseSignature(line string) (signature, error) {
	s := signature{message: "message.eml", key: "ed25519", publish: true}
	for _, word := range strings.Fields(line) {
		k, v, ok := strings.Cut(word, "=")
		switch {
		case !ok && strings.HasSuffix(word, ".eml"):
			s.message = word
		case !ok && word == "unpublished":
			s.publish = false
		case k == "d":
			s.options.Domain = v
		case k == "s":
			s.options.Selector = v
		case k == "i":
			s.options.Identifier = v
		case k == "key" && (v == "rsa" || v == "ed25519"):
			s.key = v
		case k == "h":
			s.options.HeaderKeys = strings.Split(v, ":")
		case k == "c":
			h, b, _ := strings.Cut(v, "/")
			s.options.HeaderCanonicalization = dkim.Canonicalization(h)
			s.options.BodyCanonicalization = dkim.Canonicalization(b)
		default:
			return s, fmt.Errorf("sign: unknown word %q", word)
		}
	}
	return s, nil
}

// sign puts the signatures on the messages and gives the zone lines that
// publish their keys.
func (k *keys) sign(part string, messages map[string][]byte) (string, error) {
	var zone strings.Builder
	for _, line := range lines(part, "") {
		if err := k.make(); err != nil {
			return "", err
		}
		s, err := parseSignature(line)
		if err != nil {
			return "", err
		}
		msg, ok := messages[s.message]
		if !ok {
			return "", fmt.Errorf("sign: no message %q", s.message)
		}
		record, signer, err := k.record(s.key)
		if err != nil {
			return "", err
		}
		s.options.Signer = signer
		var out bytes.Buffer
		if err := dkim.Sign(&out, bytes.NewReader(msg), &s.options); err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		messages[s.message] = out.Bytes()
		name := s.options.Selector + "._domainkey." + s.options.Domain
		if s.publish && !strings.Contains(zone.String(), name+" ") {
			fmt.Fprintf(&zone, "%s TXT %s\n", name, quoted(record))
		}
	}
	return zone.String(), nil
}

// record gives the key record (RFC 6376, 3.6.1; RFC 8463, 4) and the private key.
func (k *keys) record(kind string) (string, crypto.Signer, error) {
	if kind == "ed25519" {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(k.ed.Public().(ed25519.PublicKey)), k.ed, nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), k.rsa, err
}

// quoted splits a text into the strings of at most 255 bytes that a TXT
// record holds.
func quoted(s string) string {
	var out []string
	for len(s) > 200 {
		out, s = append(out, `"`+s[:200]+`"`), s[200:]
	}
	return strings.Join(append(out, `"`+s+`"`), " ")
}
