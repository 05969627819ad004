// Package boltstore keeps greylist records in one bbolt file, for a single
// process without Redis.
//
// Writes are answered from memory and committed together, five times a second:
// a crash (kill -9, power) loses at most what was written in the last interval
// and the commit that follows it, and leaves the file whole. For greylisting that
// is a first contact seen again. Reads see what waits for its commit.
//
// A sweep removes expired records, a bounded number at a time. Beyond MaxRecords
// it removes triplets that never came again too, then any triplets. bbolt uses
// freed pages again, but never gives them back: the file stays as large as it
// once was.
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"mailwicket/greylist"
)

// ErrBusy says that the disk does not keep up.
var ErrBusy = errors.New("too many records wait to be written")

// ErrClosed says that the store is closed.
var ErrClosed = errors.New("greylist file is closed")

// Writes that wait: from commitAt on a commit is made at once, at maxPending the
// store takes no more.
const (
	commitAt   = 4096
	maxPending = 1 << 16
)

// batch maps keys to stored records; an empty one is a removal.
type batch map[greylist.Key][]byte

// Store is a greylist.Store. It is safe for concurrent use.
type Store struct {
	o  Options
	db *bbolt.DB

	mu      sync.Mutex
	pending batch // waits for the next commit
	writing batch // is being committed, or could not be; nothing changes it but commit
	broken  error // why the last commit failed
	closed  bool

	full  chan struct{}   // pending has grown to commitAt
	syncs chan chan error // requests to commit now
	done  chan struct{}   // run has ended
	stop  chan struct{}
	sweep sweeper
}

var _ greylist.Store = (*Store)(nil)

func newStore(db *bbolt.DB, o Options) *Store {
	return &Store{o: o, db: db, pending: batch{}, full: make(chan struct{}, 1), syncs: make(chan chan error),
		done: make(chan struct{}), stop: make(chan struct{})}
}

// Get implements greylist.Store. It waits for the disk at most.
func (s *Store) Get(_ context.Context, k greylist.Key) (greylist.Pair, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return greylist.Pair{}, ErrClosed
	}
	return s.pair(k)
}

// GetOrAdd implements greylist.Store. While commits fail it writes nothing.
func (s *Store) GetOrAdd(_ context.Context, k greylist.Key, triplet greylist.Record) (greylist.Pair, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, err := s.writable(k)
	if err != nil || k.IsIdentity() || !held.Triplet.IsZero() {
		return held, false, err
	}
	s.put(k, greylist.Record{}, triplet)
	s.hurry()
	return held, true, nil
}

// CompareAndSet implements greylist.Store. While commits fail it writes nothing.
func (s *Store) CompareAndSet(_ context.Context, k greylist.Key, old, next greylist.Pair) (greylist.Pair, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, err := s.writable(k)
	if err != nil {
		return greylist.Pair{}, err
	}
	if !k.IsIdentity() {
		if !held.Triplet.Equal(old.Triplet) || !held.Identity.Equal(old.Identity) {
			return held, greylist.ErrConflict
		}
		s.put(k, old.Triplet, next.Triplet)
	} else if !held.Identity.Equal(old.Identity) {
		return held, greylist.ErrConflict
	}
	s.put(k.Owner(), old.Identity, next.Identity)
	s.hurry()
	return next, nil
}

// writable reads both records, if a write may follow.
func (s *Store) writable(k greylist.Key) (greylist.Pair, error) {
	switch {
	case s.closed:
		return greylist.Pair{}, ErrClosed
	case s.broken != nil:
		return greylist.Pair{}, fmt.Errorf("last commit: %w", s.broken)
	case len(s.pending) >= maxPending:
		return greylist.Pair{}, ErrBusy
	}
	return s.pair(k)
}

// hurry has much that waits committed at once.
func (s *Store) hurry() {
	if len(s.pending) >= commitAt {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
}

func (s *Store) put(k greylist.Key, old, next greylist.Record) {
	if !next.Equal(old) {
		s.pending[k], _ = next.MarshalBinary()
	}
}

// pair reads both records. The lock is held, so that nothing is committed and
// dropped from memory in between.
func (s *Store) pair(k greylist.Key) (p greylist.Pair, err error) {
	if p.Identity, err = s.record(k.Owner()); err != nil || k.IsIdentity() {
		return p, err
	}
	p.Triplet, err = s.record(k)
	return p, err
}

func (s *Store) record(k greylist.Key) (r greylist.Record, err error) {
	for _, b := range []batch{s.pending, s.writing} {
		if v, ok := b[k]; ok {
			return greylist.ParseRecord(v)
		}
	}
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			r, err = greylist.ParseRecord(tx.Bucket([]byte(recordsBucket)).Get(fileKey(k)))
			return err
		})
	})
	return r, err
}

// fileKey puts an identity before its triplets.
func fileKey(k greylist.Key) []byte { return append(k.Identity[:], k.Triplet[:]...) }

func parseFileKey(b []byte) (k greylist.Key, ok bool) {
	if len(b) != len(k.Identity)+len(k.Triplet) {
		return k, false
	}
	copy(k.Triplet[:], b[copy(k.Identity[:], b):])
	return k, true
}

// Sync commits what was written up to now, and returns when it is on disk.
func (s *Store) Sync(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case s.syncs <- answer:
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close commits what waits and closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.done
	return errors.Join(s.commit(), s.db.Close())
}

// run commits until Close.
func (s *Store) run() {
	defer close(s.done)
	tick := time.NewTicker(s.o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case answer := <-s.syncs:
			answer <- s.commit()
			continue
		case <-s.full:
		case <-tick.C:
		}
		_ = s.commit() // kept in broken
	}
}

// commit writes what waits, and removes what the sweep found. Where it fails,
// all is kept for the next time.
func (s *Store) commit() error {
	s.mu.Lock()
	if s.writing == nil {
		s.writing, s.pending = s.pending, batch{}
	} else {
		for k, v := range s.pending {
			s.writing[k] = v
		}
		s.pending = batch{}
	}
	s.mu.Unlock()

	err := guard(func() error { return s.write(s.writing) })

	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.writing = nil
	}
	s.note(err)
	return err
}

// note keeps the commits' state, and logs its changes.
func (s *Store) note(err error) {
	switch {
	case err != nil && s.broken == nil:
		s.o.Log.Error("greylist file not written", slog.String("file", s.db.Path()), slog.String("error", err.Error()))
	case err == nil && s.broken != nil:
		s.o.Log.Info("greylist file written again", slog.String("file", s.db.Path()))
	}
	s.broken = err
}

func (s *Store) write(b batch) error {
	expired, err := s.sweep.find(s.db, s.o)
	if err != nil {
		return err
	}
	if len(b) == 0 && len(expired) == 0 {
		return nil
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		records, n := tx.Bucket([]byte(recordsBucket)), count(tx)
		for _, e := range expired {
			if k, ok := parseFileKey(e); ok && b[k] != nil {
				continue // written since it was found
			}
			if err := records.Delete(e); err != nil {
				return err
			}
			n--
		}
		for k, v := range b {
			added, err := apply(records, fileKey(k), v)
			if err != nil {
				return err
			}
			n += added
		}
		return setCount(tx, n)
	})
}

// apply writes or removes one record, and tells by how much their number grew.
func apply(records *bbolt.Bucket, key, value []byte) (int, error) {
	had := records.Get(key) != nil
	switch {
	case len(value) > 0 && had:
		return 0, records.Put(key, value)
	case len(value) > 0:
		return 1, records.Put(key, value)
	case had:
		return -1, records.Delete(key)
	}
	return 0, nil
}
