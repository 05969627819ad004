package limit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Bucket names one count: a keyed hash over a limit's name and the values of its
// keys. A store holds no addresses.
type Bucket [16]byte

// Charge is a cost, and what it goes to.
type Charge struct {
	Bucket Bucket
	Limit  Limit
	Cost   int64
}

// Store keeps what was spent. Implementations must pass limittest.RunStore. All
// methods are safe for concurrent use, may block on a network, and give up when
// ctx ends.
type Store interface {
	// Spend makes each charge as Spend does, in order, each as an atomic step of
	// its own, and gives one decision for each. A store that several processes
	// share may use a clock of its own instead of now. After an error some of
	// the charges may have been made.
	Spend(ctx context.Context, now time.Time, charges []Charge) ([]Decision, error)
}

// Exact is up to how many distinct clients or recipients a ReplayStore counts
// exactly. Above, a count may be wrong by about a tenth.
const Exact = 500

// Sighting is one message of a signature. All its members are keyed hashes.
type Sighting struct {
	Signature Bucket
	Client    int64   // not negative
	Rcpts     []int64 // not negative; may be empty
	Window    time.Duration
}

// Seen is how many distinct clients and recipients a signature had.
type Seen struct{ Clients, Recipients int }

// ReplayStore counts distinct things. Implementations must pass
// limittest.RunReplays; for the rest it is as Store.
type ReplayStore interface {
	// Seen adds a sighting, as one atomic step, and gives the counts with it in.
	// A signature that was not seen for its Window is forgotten.
	Seen(ctx context.Context, now time.Time, s Sighting) (Seen, error)
}

// hasher makes the names under which things are stored. All sidecars of a store
// must have the same secret.
type hasher struct{ secret []byte }

// sum is HMAC-SHA256 (RFC 2104) truncated to 128 bits. Lengths are hashed with
// the parts, so that no two lists of parts read the same.
func (h hasher) sum(parts ...string) (out Bucket) {
	m := hmac.New(sha256.New, h.secret)
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		m.Write(n[:])
		m.Write([]byte(p))
	}
	copy(out[:], m.Sum(nil))
	return out
}

// member is a hash of 63 bits: Redis keeps sets of integers small.
func (h hasher) member(kind, value string) int64 {
	b := h.sum(kind, value)
	return int64(binary.BigEndian.Uint64(b[:8]) >> 1)
}
