package greylist

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"

	"mailwicket/filter/mail"
)

// ErrConflict says that somebody else wrote in between.
var ErrConflict = errors.New("greylist record changed meanwhile")

// ErrShared marks the error of an operation that was sent together with others:
// they all failed at once, and another one of them tells of it without this mark.
var ErrShared = errors.New("together with another operation")

// ErrKey says that a text is no Key.
var ErrKey = errors.New("not a greylist key")

// ErrCursor says that a cursor is not one that Entries gave.
var ErrCursor = errors.New("not a cursor of this store")

// Key names the records of one decision. The parts are keyed hashes: a store
// holds no addresses. A zero Triplet stands for the identity alone.
type Key struct {
	Identity [16]byte
	Triplet  [16]byte
}

// Owner is the key of the identity's own record.
func (k Key) Owner() Key { return Key{Identity: k.Identity} }

// IsIdentity tells whether the key stands for an identity alone.
func (k Key) IsIdentity() bool { return k.Triplet == [16]byte{} }

// String gives the form used on the command line: the identity's hash, and the
// triplet's after a dot. It has a plus sign for the hyphen of base64url, so that no
// key looks like an option.
func (k Key) String() string {
	s := base64.RawURLEncoding.EncodeToString(k.Identity[:])
	if !k.IsIdentity() {
		s += "." + base64.RawURLEncoding.EncodeToString(k.Triplet[:])
	}
	return strings.ReplaceAll(s, "-", "+")
}

// ParseKey reads what Key.String wrote, with hyphens or plus signs.
func ParseKey(s string) (Key, error) {
	var k Key
	id, triplet, both := strings.Cut(strings.ReplaceAll(s, "+", "-"), ".")
	if !parseHash(&k.Identity, id) || both && (!parseHash(&k.Triplet, triplet) || k.IsIdentity()) {
		return Key{}, ErrKey
	}
	return k, nil
}

func parseHash(to *[16]byte, s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && copy(to[:], b) == len(b) && len(b) == len(to)
}

// Entry is one stored record.
type Entry struct {
	Key    Key
	Record Record
}

// Store keeps records. Implementations must pass storetest.Run. All methods are
// safe for concurrent use, may block on a network or disk, and give up when ctx
// ends. Errors other than those named here mean that the store does not work at
// the moment.
type Store interface {
	// Get reads both records of a key; what is not there is zero. A write that
	// has returned is seen, unless the store lost it.
	Get(ctx context.Context, k Key) (Pair, error)

	// GetOrAdd reads both records of a key, and adds a triplet's record where the
	// store has none. It tells whether it did, and what was held before. The
	// record is added as one atomic step, the reading may be of a moment later.
	// For a key without Triplet it is Get. A store that tries again by itself may
	// find the record that it has added.
	GetOrAdd(ctx context.Context, k Key, triplet Record) (held Pair, added bool, err error)

	// CompareAndSet writes next if old is what the store holds, both records as
	// one atomic step. Otherwise it writes nothing and returns what it holds,
	// with ErrConflict. A record that is the same in old and next is compared,
	// not written; one that is zero in next is removed. For a key without
	// Triplet, only the identity's record takes part. The store may forget each
	// record when its Lifetime is over. After any other error than ErrConflict
	// the write may or may not have happened. A store that tries again by itself
	// may then take its own write for another's: a contact is counted twice.
	CompareAndSet(ctx context.Context, k Key, old, next Pair) (Pair, error)

	// Delete removes one triplet's record, or, for a key without Triplet, the
	// identity's record with all of its triplets, and tells how many there were.
	Delete(ctx context.Context, k Key) (int, error)

	// Entries lists about n records, starting behind cursor ("" for the start),
	// and gives the cursor for the next page, "" at the end. A page may be empty
	// or hold more than n; a record may come twice; what is written during the
	// walk may be missed. Order means nothing.
	Entries(ctx context.Context, cursor string, n int) (page []Entry, next string, err error)
}

// keyer makes keys. All sidecars of a store must have the same secret.
type keyer struct{ hashes *sync.Pool } // of *hasher, with the secret in

type hasher struct {
	mac hash.Hash
	buf []byte
}

func newKeyer(secret []byte) keyer {
	return keyer{&sync.Pool{New: func() any { return &hasher{mac: hmac.New(sha256.New, secret)} }}}
}

func (h keyer) identity(id Identity) Key {
	return Key{Identity: h.sum("identity", id.String())}
}

func (h keyer) triplet(r Request) Key {
	id := r.Identity.String()
	return Key{Identity: h.sum("identity", id), Triplet: h.sum("triplet", id, NormalizeSender(r.Sender), normalizeRecipient(r.Recipient))}
}

// sum is HMAC-SHA256 (RFC 2104) truncated to 128 bits. Lengths are hashed with
// the parts, so that no two lists of parts read the same.
func (h keyer) sum(parts ...string) (out [16]byte) {
	m := h.hashes.Get().(*hasher)
	m.buf = m.buf[:0]
	for _, p := range parts {
		m.buf = append(binary.BigEndian.AppendUint64(m.buf, uint64(len(p))), p...)
	}
	m.mac.Reset()
	m.mac.Write(m.buf)
	copy(out[:], m.mac.Sum(m.buf[:0]))
	h.hashes.Put(m)
	return out
}

// normalizeRecipient folds case: no receiver tells mailboxes apart by it.
func normalizeRecipient(a mail.Address) string {
	return strings.ToLower(a.String())
}

// readable is the name under which an identity is listed. Domain names stand
// for organizations and are kept; addresses and networks stand for people, and
// only their hash is. The record stays small.
func readable(id Identity) string {
	name := id.String()
	if id.Kind != KindSPF && id.Kind != KindHost || len(name) > maxName {
		return ""
	}
	return name
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("greylist store: %s: %w", op, err)
}
