package sig

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"

	"mailwicket/filter/dns"
)

// Key is a public key with what its record says of it (RFC 6376, 3.6.1).
type Key struct {
	Type    string // rsa or ed25519
	Bits    int    // of the modulus; 256 for ed25519
	Testing bool   // t=y: the domain tests; the signature proves nothing against it
	Strict  bool   // t=s: the domain of i= must be that of d=
	Data    string // p= without white space

	rsa *rsa.PublicKey
	ed  ed25519.PublicKey
}

// ParseKey reads one key record.
func ParseKey(txt string) (*Key, error) {
	if len(txt) > MaxKeyRecord {
		return nil, invalid("key record is too long")
	}
	tags, err := ParseTags(txt)
	if err != nil {
		return nil, invalid("key record: " + err.Error())
	}
	return keyOf(tags)
}

func keyOf(tags Tags) (*Key, error) {
	// RFC 6376, 3.6.1: v= is recommended, and the first tag where it is given.
	if v, ok := tags.Get("v"); ok && (v != "DKIM1" || tags[0].Name != "v") {
		return nil, invalid("key record of another version")
	}
	p, ok := tags.Get("p")
	if !ok {
		return nil, invalid("key record without key")
	}
	k := &Key{Type: "rsa", Data: StripFWS(p)}
	if k.Data == "" {
		return nil, invalid("key is revoked")
	}
	if t, ok := tags.Get("k"); ok {
		k.Type = t
	}
	if h, ok := tags.Get("h"); ok && !listed(h, "sha256") {
		return nil, invalid("key is not for sha256")
	}
	if s, ok := tags.Get("s"); ok && !listed(s, "*") && !listed(s, "email") {
		return nil, invalid("key is not for email")
	}
	if t, ok := tags.Get("t"); ok {
		k.Testing, k.Strict = listed(t, "y"), listed(t, "s")
	}
	return k, k.decode()
}

// listed looks for a word in a list separated by colons.
func listed(list, word string) bool {
	for w := range strings.SplitSeq(list, ":") {
		if TrimFWS(w) == word {
			return true
		}
	}
	return false
}

// decode reads the key itself and holds it against the bounds.
func (k *Key) decode() error {
	raw, err := base64.StdEncoding.DecodeString(k.Data)
	if err != nil {
		return invalid("key is not base64")
	}
	switch k.Type {
	case "ed25519":
		// RFC 8463, 4.2: the bare 32 bytes.
		if len(raw) != ed25519.PublicKeySize {
			return invalid("Ed25519 key of wrong size")
		}
		k.ed, k.Bits = ed25519.PublicKey(raw), 256
		return nil
	case "rsa":
		return k.decodeRSA(raw)
	}
	return invalid("key of unknown type")
}

func (k *Key) decodeRSA(raw []byte) error {
	pub, err := x509.ParsePKIXPublicKey(raw)
	if err != nil {
		// Erratum 3017 of RFC 6376: the bare RSAPublicKey occurs as well.
		pub, err = x509.ParsePKCS1PublicKey(raw)
	}
	key, ok := pub.(*rsa.PublicKey)
	if err != nil || !ok || key == nil {
		return invalid("malformed RSA key")
	}
	k.rsa, k.Bits = key, key.N.BitLen()
	if k.Bits < MinRSABits || k.Bits > MaxRSABits {
		return policy(fmt.Sprintf("RSA key of %d bits", k.Bits))
	}
	return nil
}

// SelectKey chooses among the TXT records at a key's name: wildcard records of
// other kinds are passed over, and the first usable key of the right type is
// taken (RFC 6376, 6.1.2, step 4). Where there is none, the first record's
// trouble is told; the key is then given as far as it is known, or is nil.
func SelectKey(txts []string, a Algorithm) (*Key, error) {
	var first *Key
	var trouble error
	seen := 0
	for _, txt := range txts {
		k, err, isKey := candidate(txt, a)
		if !isKey {
			continue
		}
		if seen++; seen > MaxKeyRecords {
			break
		}
		if err == nil {
			return k, nil
		}
		if trouble == nil {
			first, trouble = k, err
		}
	}
	if trouble == nil {
		trouble = invalid("no key record")
	}
	return first, trouble
}

// candidate reads a record that may be a key. What has neither p= nor the
// version of a key belongs to someone else.
func candidate(txt string, a Algorithm) (k *Key, err error, isKey bool) {
	if len(txt) > MaxKeyRecord {
		return nil, invalid("key record is too long"), strings.HasPrefix(txt, "v=DKIM1") || strings.Contains(txt[:MaxKeyRecord], "p=")
	}
	tags, err := ParseTags(txt)
	if err != nil {
		return nil, invalid("key record: " + err.Error()), strings.HasPrefix(TrimFWS(txt), "v=DKIM1")
	}
	v, hasV := tags.Get("v")
	_, hasP := tags.Get("p")
	if hasV && v != "DKIM1" || !hasV && !hasP {
		return nil, invalid("not a key record"), hasV && hasP
	}
	k, err = keyOf(tags)
	if err == nil && k.Type != a.KeyType() {
		err = invalid("key is not of the signature's type")
	}
	return k, err, true
}

// Verify checks a signature over a SHA-256 digest. Both algorithms sign the
// digest: RFC 6376, 3.3.2 as PKCS #1 v1.5, RFC 8463, 3 as the message of
// PureEdDSA.
func (k *Key) Verify(digest, signature []byte) error {
	good := false
	switch {
	case k.rsa != nil:
		good = rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, digest, signature) == nil
	case k.ed != nil:
		good = ed25519.Verify(k.ed, digest, signature)
	}
	if !good {
		return &problem{ErrMismatch, "signature does not verify"}
	}
	return nil
}

// TXTResolver is the part of dns.Resolver that keys need, with its contract.
type TXTResolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Lookup asks for the key of a selector at a domain, both in canonical form,
// and blocks as the resolver does. No answer is ErrTemporary, no key is
// ErrInvalid (RFC 6376, 6.1.2).
func Lookup(ctx context.Context, r TXTResolver, domain, selector string, a Algorithm) (*Key, error) {
	txts, err := LookupRecords(ctx, r, domain, selector)
	if err != nil {
		return nil, err
	}
	return SelectKey(txts, a)
}

// LookupRecords is Lookup without the choice: one question serves keys of both
// types.
func LookupRecords(ctx context.Context, r TXTResolver, domain, selector string) ([]string, error) {
	txts, err := r.LookupTXT(ctx, selector+"._domainkey."+domain)
	if err == nil {
		return txts, nil
	}
	switch dns.Kind(err) {
	case dns.NXDomain, dns.NoData:
		return nil, invalid("no key record")
	case dns.Temporary:
		return nil, &problem{ErrTemporary, "no answer for the key"}
	}
	if ctx.Err() != nil {
		return nil, &problem{ErrTemporary, "no answer for the key"}
	}
	return nil, invalid("key cannot be asked for")
}
