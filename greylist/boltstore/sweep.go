package boltstore

import (
	"bytes"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"mailwicket/greylist"
)

// The sweep looks at so many records in a step: a million in ten minutes or so,
// and a million in a few seconds while there are too many.
const (
	sweepEvery  = time.Second
	sweepStep   = 2000
	sweepHurry  = 20000
	hardPercent = 12 // of MaxRecords over it: there triplets that passed go too, if
	scarcePart  = 10 // less than one in ten records never came again
)

// sweeper walks round and round through the file. Keys are hashes, so the order
// has nothing to do with age or sender.
type sweeper struct {
	next   []byte // where the next step begins
	last   time.Time
	scarce bool // the last step over the limit met few records to do without
}

// find gives the keys to remove in this step, mostly none. It only reads.
func (w *sweeper) find(db *bbolt.DB, o Options) (found [][]byte, err error) {
	now := o.Now()
	err = db.View(func(tx *bbolt.Tx) error {
		spare := count(tx) - o.MaxRecords
		if spare <= 0 && now.Sub(w.last).Abs() < sweepEvery {
			return nil
		}
		steps := sweepStep
		if spare > 0 {
			steps = sweepHurry
		}
		hard := w.scarce && spare > o.MaxRecords*hardPercent/100
		w.last = now
		found = w.walk(tx, now, steps, spare, hard)
		return nil
	})
	return found, err
}

// walk looks at the next records, and picks those that are over, and up to spare
// others that can be done without.
func (w *sweeper) walk(tx *bbolt.Tx, now time.Time, steps, spare int, hard bool) (found [][]byte) {
	c := tx.Bucket([]byte(recordsBucket)).Cursor()
	k, v := c.Seek(w.next)
	seen := 0
	for ; k != nil && seen < steps; k, v = c.Next() {
		seen++
		dead, dispensable := judge(now, k, v, hard)
		if dead || dispensable && spare > 0 {
			found = append(found, bytes.Clone(k))
			spare--
		}
	}
	w.next = bytes.Clone(k) // nil at the end: start over
	w.scarce = spare > 0 && len(found) < seen/scarcePart
	return found
}

// judge tells whether a record is over, or could be done without.
func judge(now time.Time, k, v []byte, hard bool) (dead, dispensable bool) {
	r, err := greylist.ParseRecord(v)
	key, ok := parseFileKey(k)
	switch {
	case errors.Is(err, greylist.ErrVersion):
		return false, false
	case err != nil || !ok:
		return true, true
	}
	dispensable = !key.IsIdentity() && (hard || r.Passes == 0)
	return !now.Before(r.Expires), dispensable
}
