package boltstore

import (
	"bytes"
	"context"

	"go.etcd.io/bbolt"

	"mailwicket/greylist"
)

// Delete implements greylist.Store.
func (s *Store) Delete(_ context.Context, k greylist.Key) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, ErrClosed
	}
	if !k.IsIdentity() {
		r, err := s.record(k)
		if err != nil || r.IsZero() {
			return 0, err
		}
		s.pending[k] = nil
		return 1, nil
	}
	keys, err := s.under(k)
	for _, k := range keys {
		s.pending[k] = nil
	}
	return len(keys), err
}

// under lists an identity and its triplets, as they will stand after the next
// commit.
func (s *Store) under(id greylist.Key) ([]greylist.Key, error) {
	have := map[greylist.Key]bool{}
	err := guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket([]byte(recordsBucket)).Cursor()
			for b, _ := c.Seek(id.Identity[:]); bytes.HasPrefix(b, id.Identity[:]); b, _ = c.Next() {
				if k, ok := parseFileKey(b); ok {
					have[k] = true
				}
			}
			return nil
		})
	})
	for _, b := range []batch{s.writing, s.pending} {
		for k, v := range b {
			if k.Identity == id.Identity {
				have[k] = len(v) > 0
			}
		}
	}
	var keys []greylist.Key
	for k, there := range have {
		if there {
			keys = append(keys, k)
		}
	}
	return keys, err
}

// Entries implements greylist.Store. What waits is committed first.
func (s *Store) Entries(ctx context.Context, cursor string, n int) (page []greylist.Entry, next string, err error) {
	from := []byte(nil)
	if cursor != "" {
		k, err := greylist.ParseKey(cursor)
		if err != nil {
			return nil, "", greylist.ErrCursor
		}
		from = append(fileKey(k), 0) // behind it
	}
	if err := s.Sync(ctx); err != nil {
		return nil, "", err
	}
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket([]byte(recordsBucket)).Cursor()
			for b, v := c.Seek(from); b != nil; b, v = c.Next() {
				if len(page) >= max(n, 1) {
					next = page[len(page)-1].Key.String()
					return nil
				}
				k, ok := parseFileKey(b)
				if r, err := greylist.ParseRecord(v); ok && err == nil {
					page = append(page, greylist.Entry{Key: k, Record: r})
				}
			}
			return nil
		})
	})
	return page, next, err
}
