package sig

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"mailwicket/filter/mail"
)

// Signature is what a DKIM-Signature, an ARC-Message-Signature or an ARC-Seal
// says. After an error it holds what could be read, for reports.
type Signature struct {
	Field     mail.Field
	Tags      Tags
	Algorithm Algorithm
	Domain    string // d=, canonical; "" where it is no domain
	Selector  string // s=, canonical; "" likewise
	Prefix    string // first eight characters of b=
	Value     []byte // b=
	Time      time.Time
	Expires   time.Time

	// Of message signatures only.
	Header   Canon
	Body     Canon
	Names    []string // h=, folded
	BodyHash []byte
	Partial  bool // l= is there
}

// Blank is the signature's own field as it is hashed, with b= emptied.
func (s *Signature) Blank() mail.Field {
	return mail.Field{Name: s.Field.Name, Value: s.Tags.Without(s.Field.Value, "b")}
}

// ParseSeal reads the tags that all three fields have: a, b, d, s, t.
func ParseSeal(f mail.Field) (*Signature, error) {
	s := &Signature{Field: f}
	if len(f.Name)+len(f.Value) > MaxField {
		return s, invalid("signature field is too long")
	}
	tags, err := ParseTags(f.Value)
	if err != nil {
		return s, err
	}
	s.Tags = tags
	b, _ := tags.Get("b")
	b = StripFWS(b)
	s.Prefix = prefix(b)
	s.readNames()
	for _, name := range []string{"a", "b", "d", "s"} {
		if _, ok := tags.Get(name); !ok {
			return s, invalid("missing tag " + name + "=")
		}
	}
	switch {
	case s.Domain == "":
		return s, invalid("d= is not a domain name")
	case s.Selector == "":
		return s, invalid("s= is not a selector")
	case s.Algorithm == RSASHA1:
		return s, policy("rsa-sha1 is not accepted") // RFC 8301, 3.1
	case s.Algorithm == "":
		return s, invalid("unknown algorithm")
	}
	if s.Value, err = base64.StdEncoding.DecodeString(b); err != nil || len(s.Value) == 0 {
		return s, syntax("b= is not base64")
	}
	if s.Time, err = s.stamp("t"); err != nil {
		return s, err
	}
	return s, nil
}

func prefix(b string) string {
	for i := 0; i < len(b) && i < 8; i++ {
		c := b[i]
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return ""
		}
	}
	return b[:min(len(b), 8)]
}

// readNames takes d=, s= and a= as far as they are well-formed. RFC 8616, 4
// allows U-labels in the first two.
func (s *Signature) readNames() {
	d, _ := s.Tags.Get("d")
	sel, _ := s.Tags.Get("s")
	a, _ := s.Tags.Get("a")
	if d = Host(StripFWS(d)); strings.Contains(d, ".") {
		s.Domain = d
	}
	s.Selector = Host(StripFWS(sel))
	if len(s.Selector)+len("._domainkey.")+len(s.Domain) > 253 {
		s.Selector = ""
	}
	switch a := Algorithm(StripFWS(a)); a {
	case RSASHA256, Ed25519SHA256, RSASHA1:
		s.Algorithm = a
	}
}

// Host gives the canonical form of a name out of a signature, "" where it is
// none. It is stricter than mail.ValidDomain: nothing but letters, digits,
// hyphens, underscores and dots may come out of a signature and be believed.
func Host(s string) string {
	s = mail.CanonicalDomain(s)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return ""
		}
	}
	if !mail.ValidDomain(s) {
		return ""
	}
	return s
}

// stamp reads a time; the zero time stands for a missing tag.
func (s *Signature) stamp(name string) (time.Time, error) {
	v, ok := s.Tags.Get(name)
	if !ok {
		return time.Time{}, nil
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil && strings.Trim(v, "0123456789") != "" || v == "" {
		return time.Time{}, syntax(name + "= is not a time")
	}
	// RFC 6376, 3.5: values beyond 10^12 may be taken as infinite.
	return time.Unix(int64(min(n, 1e12)), 0), nil
}

// ParseMessage reads a field that signs header and body: ParseSeal, and c, h,
// bh, l, q, t, x (RFC 6376, 3.5 and 6.1.1).
func ParseMessage(f mail.Field) (*Signature, error) {
	s, err := ParseSeal(f)
	if err != nil {
		return s, err
	}
	bh, hasBH := s.Tags.Get("bh")
	h, hasH := s.Tags.Get("h")
	if !hasBH || !hasH {
		return s, invalid("missing tag bh= or h=")
	}
	if err := s.readHeaders(h); err != nil {
		return s, err
	}
	if err := s.readCanon(); err != nil {
		return s, err
	}
	s.BodyHash, err = base64.StdEncoding.DecodeString(StripFWS(bh))
	if err != nil || len(s.BodyHash) != sha256.Size {
		return s, syntax("bh= is not a SHA-256 hash")
	}
	if q, ok := s.Tags.Get("q"); ok && !listed(q, "dns/txt") {
		return s, invalid("unknown query method")
	}
	if s.Expires, err = s.stamp("x"); err != nil {
		return s, err
	}
	if !s.Expires.IsZero() && !s.Expires.After(s.Time) {
		return s, invalid("x= is not after t=") // RFC 6376, 3.5
	}
	if _, s.Partial = s.Tags.Get("l"); s.Partial {
		// RFC 6376, 8.2: whoever relays the message may append to it.
		return s, policy("l= leaves part of the body unsigned")
	}
	return s, nil
}

// readHeaders reads h=. RFC 6376, 5.4: From must be there.
func (s *Signature) readHeaders(h string) error {
	if strings.Count(h, ":") >= MaxNames {
		return invalid("too many names in h=")
	}
	from := false
	for n := range strings.SplitSeq(h, ":") {
		if n = mail.FoldName(StripFWS(n)); n == "" {
			continue
		}
		from = from || n == "from"
		s.Names = append(s.Names, n)
	}
	if !from {
		return invalid("the From field is not signed")
	}
	return nil
}

// readCanon reads c=: header, then body, which is simple where not given.
func (s *Signature) readCanon() error {
	c, ok := s.Tags.Get("c")
	if !ok {
		return nil
	}
	head, body, two := strings.Cut(StripFWS(c), "/")
	if !two {
		body = "simple"
	}
	var ok1, ok2 bool
	s.Header, ok1 = canonOf(head)
	s.Body, ok2 = canonOf(body)
	if !ok1 || !ok2 {
		return invalid("unknown canonicalization")
	}
	return nil
}

func canonOf(word string) (Canon, bool) {
	switch word {
	case "simple":
		return Simple, true
	case "relaxed":
		return Relaxed, true
	}
	return Simple, false
}

// InTime holds t= and x= against the clock. A future t= may be ignored and a
// past x= makes the signature invalid (RFC 6376, 3.5 and 6.1.1); skew is how
// far clocks may be apart.
func (s *Signature) InTime(now time.Time, skew time.Duration) error {
	if !s.Time.IsZero() && s.Time.After(now.Add(skew)) {
		return policy("signed in the future")
	}
	if !s.Expires.IsZero() && now.Add(-skew).After(s.Expires) {
		return invalid("signature has expired")
	}
	return nil
}

// VerifyMessage checks body hash and signature of a message signature that
// stands at position self of the header.
func (s *Signature) VerifyMessage(ix *Index, self int, body [sha256.Size]byte, k *Key) error {
	if !bytes.Equal(s.BodyHash, body[:]) {
		return &problem{ErrMismatch, "body hash does not match"}
	}
	digest := ix.Hash(ix.Pick(s.Names, self), s.Blank(), s.Header)
	return k.Verify(digest[:], s.Value)
}
