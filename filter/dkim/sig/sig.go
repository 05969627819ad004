// Package sig holds the parts of RFC 6376 that DKIM-Signature and the ARC
// fields (RFC 8617) have in common: tag lists, canonicalization, key records
// and the cryptography, all of it with bounds on time and memory.
//
// Nothing in here keeps a clock. Only Lookup does I/O.
package sig

import "errors"

// The kinds of trouble that a signature can be in. Every error of this package
// wraps exactly one of them; its text is fit for a report and holds no bytes
// from the message.
var (
	ErrSyntax    = errors.New("syntax error")          // cannot be read
	ErrInvalid   = errors.New("invalid")               // can be read, but breaks a rule for ever
	ErrPolicy    = errors.New("not acceptable")        // valid, but refused by us or by RFC 8301
	ErrTemporary = errors.New("temporary")             // may differ on the next try
	ErrMismatch  = errors.New("signature is not good") // was computed, and does not match
)

// problem is an error with one of the kinds above and a text of its own.
type problem struct {
	kind error
	text string
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.kind }

func syntax(text string) error  { return &problem{ErrSyntax, text} }
func invalid(text string) error { return &problem{ErrInvalid, text} }
func policy(text string) error  { return &problem{ErrPolicy, text} }

// Algorithm is the value of a= (RFC 6376, 3.3; RFC 8463, 3).
type Algorithm string

// The algorithms that are known. RFC 8301, 3.1 forbids to verify RSASHA1.
const (
	RSASHA256     Algorithm = "rsa-sha256"
	Ed25519SHA256 Algorithm = "ed25519-sha256"
	RSASHA1       Algorithm = "rsa-sha1"
)

// KeyType is the value of k= that the algorithm needs.
func (a Algorithm) KeyType() string {
	if a == Ed25519SHA256 {
		return "ed25519"
	}
	return "rsa"
}

// The bounds on what is looked at. Real signatures stay far below.
const (
	MaxField      = 8 << 10   // bytes of one signature field
	MaxTags       = 64        // tags of one list
	MaxNames      = 200       // names in h=
	MaxKeyRecord  = 4 << 10   // bytes of one key record
	MaxKeyRecords = 8         // key records at one name
	MinRSABits    = 1024      // RFC 8301, 3.2: less MUST NOT count as valid
	MaxRSABits    = 8192      // RFC 8301, 3.2 asks for 4096
	MaxHeader     = 512 << 10 // bytes of a header block
	MaxFields     = 2000      // fields of a header block
)
