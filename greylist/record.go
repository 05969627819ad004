package greylist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Record is what is kept about one identity, or about one triplet of identity,
// sender and recipient. The zero value stands for "never seen". Times have a
// resolution of one millisecond.
type Record struct {
	FirstSeen time.Time // start of the triplet's attempt; the identity's first counted pass
	LastSeen  time.Time // latest counted contact; the identity's latest counted pass
	Expires   time.Time // the record means nothing from then on, and stores may drop it
	Attempts  uint32    // of a triplet: contacts up to its pass, those a CountGap apart
	Passes    uint32    // of a triplet: contacts let through, those a CountGap apart; of an identity: passes a PassGap apart
	Doubtful  bool      // of a triplet: the client was doubtful at its first contact
	Allowed   bool      // of an identity: an administrator allowed it
	Name      string    // of an identity: "kind:value" where that names an organization, else ""
}

// Pair is all that one decision is about. Stores read and write it as one.
type Pair struct {
	Triplet  Record
	Identity Record
}

// IsZero tells whether nothing is known.
func (r Record) IsZero() bool { return r.FirstSeen.IsZero() }

// Equal compares records as they are stored.
func (r Record) Equal(o Record) bool {
	return r.IsZero() == o.IsZero() && millis(r.FirstSeen) == millis(o.FirstSeen) && millis(r.LastSeen) == millis(o.LastSeen) &&
		millis(r.Expires) == millis(o.Expires) && r.Attempts == o.Attempts && r.Passes == o.Passes &&
		r.Allowed == o.Allowed && r.Doubtful == o.Doubtful && r.Name == o.Name
}

// Equal compares pairs as they are stored.
func (p Pair) Equal(o Pair) bool { return p.Triplet.Equal(o.Triplet) && p.Identity.Equal(o.Identity) }

// Lifetime is how long the record had to live when it was last written. It is
// never less than a second, so that stores can count it down.
func (r Record) Lifetime() time.Duration { return max(r.Expires.Sub(r.LastSeen), time.Second) }

// The errors of ParseRecord.
var (
	ErrRecord  = errors.New("not a greylist record")
	ErrVersion = errors.New("written by a later version")
)

// recordVersion stands first in a stored record. A change of the layout takes
// the next number, and ParseRecord goes on reading all earlier ones.
const recordVersion = 1

const (
	flagAllowed  = 1
	flagDoubtful = 2
)

// maxName bounds Record.Name as stored; longer names are left out by the
// Service.
const maxName = 64

// AppendBinary appends the stored form: the version, then first seen in
// milliseconds since 1970, last seen and expiry each as milliseconds after the
// one before, attempts, passes, flags, all as varints; the rest is the name.
// The zero Record is stored as no bytes at all.
func (r Record) AppendBinary(b []byte) ([]byte, error) {
	if r.IsZero() {
		return b, nil
	}
	first, last, expires := millis(r.FirstSeen), millis(r.LastSeen), millis(r.Expires)
	var flags uint64
	if r.Allowed {
		flags |= flagAllowed
	}
	if r.Doubtful {
		flags |= flagDoubtful
	}
	b = append(b, recordVersion)
	b = binary.AppendVarint(b, first)
	b = binary.AppendVarint(b, last-first)
	b = binary.AppendVarint(b, expires-last)
	b = binary.AppendUvarint(b, uint64(r.Attempts))
	b = binary.AppendUvarint(b, uint64(r.Passes))
	b = binary.AppendUvarint(b, flags)
	return append(b, r.Name...), nil
}

// MarshalBinary gives the stored form.
func (r Record) MarshalBinary() ([]byte, error) { return r.AppendBinary(nil) }

// ParseRecord reads the stored form. Its errors are ErrRecord and, for records
// of a later version of this program, ErrVersion.
func ParseRecord[T ~string | ~[]byte](stored T) (Record, error) {
	b := []byte(stored)
	if len(b) == 0 {
		return Record{}, nil
	}
	switch v := b[0]; {
	case v > recordVersion && v < 0x20: // versions will not reach the printable bytes
		return Record{}, fmt.Errorf("greylist record of format %d: %w", v, ErrVersion)
	case v != recordVersion:
		return Record{}, ErrRecord
	}
	f := fields{b: b[1:]}
	first := f.signed()
	last := f.sum(first, f.signed())
	expires := f.sum(last, f.signed())
	r := Record{FirstSeen: f.time(first), LastSeen: f.time(last), Expires: f.time(expires)}
	r.Attempts, r.Passes = f.count(), f.count()
	flags := f.unsigned()
	r.Allowed, r.Doubtful = flags&flagAllowed != 0, flags&flagDoubtful != 0
	if f.bad || flags > flagAllowed|flagDoubtful || len(f.b) > maxName {
		return Record{}, ErrRecord
	}
	r.Name = string(f.b)
	return r, nil
}

// fields reads varints one after the other; bad sticks.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) signed() int64 {
	v, n := binary.Varint(f.b)
	return v * f.took(n)
}

func (f *fields) unsigned() uint64 {
	v, n := binary.Uvarint(f.b)
	return v * uint64(f.took(n))
}

// took steps over n bytes, and gives 1, or 0 where the field cannot be read.
func (f *fields) took(n int) int64 {
	if n <= 0 {
		f.bad, f.b = true, nil
		return 0
	}
	f.b = f.b[n:]
	return 1
}

func (f *fields) count() uint32 {
	v := f.unsigned()
	f.bad = f.bad || v > math.MaxUint32
	return uint32(v)
}

func (f *fields) sum(a, b int64) int64 {
	s := a + b
	f.bad = f.bad || (s > a) != (b > 0)
	return s
}

// maxMillis is the end of the year 9999, beyond which times are not ours.
const maxMillis = 253402300799999

func (f *fields) time(ms int64) time.Time {
	f.bad = f.bad || ms < 0 || ms > maxMillis
	return time.UnixMilli(ms).UTC()
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment brings a time to the form that records hold.
func moment(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }
