package greylist

import (
	"bytes"
	"context"
	"slices"
	"sync"
)

// Memory is a Store of bounded size in this process: the fallback while the
// shared store is away, and enough for trials. When it is full, what has not
// been touched for longest goes. It never blocks and never fails.
type Memory struct {
	mu      sync.Mutex
	records *turning[Record]
}

var _ Store = (*Memory)(nil)

// NewMemory makes a store for at most limit records.
func NewMemory(limit int) *Memory { return &Memory{records: newTurning[Record](limit)} }

// Get implements Store.
func (m *Memory) Get(_ context.Context, k Key) (Pair, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pair(k), nil
}

// GetOrAdd implements Store.
func (m *Memory) GetOrAdd(_ context.Context, k Key, triplet Record) (Pair, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := m.pair(k)
	if k.IsIdentity() || !held.Triplet.IsZero() {
		return held, false, nil
	}
	m.write(k, triplet)
	return held, true, nil
}

// CompareAndSet implements Store.
func (m *Memory) CompareAndSet(_ context.Context, k Key, old, next Pair) (Pair, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.IsIdentity() {
		old.Triplet, next.Triplet = Record{}, Record{}
	}
	if held := m.pair(k); !held.Equal(old) {
		return held, ErrConflict
	}
	m.put(k, next)
	return next, nil
}

// set writes without comparing.
func (m *Memory) set(k Key, next Pair) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(k, next)
}

// Delete implements Store.
func (m *Memory) Delete(_ context.Context, k Key) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case k.IsIdentity():
		return m.records.removeIdentity(k), nil
	case m.records.remove(k):
		return 1, nil
	}
	return 0, nil
}

// Entries implements Store. Each page sorts all keys, which is well enough for
// a store of this size.
func (m *Memory) Entries(_ context.Context, cursor string, n int) ([]Entry, string, error) {
	after, err := ParseKey(cursor)
	if cursor != "" && err != nil {
		return nil, "", ErrCursor
	}
	m.mu.Lock()
	var all []Entry
	for k, r := range m.records.all {
		if cursor == "" || after.Compare(k) < 0 {
			all = append(all, Entry{k, r})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b Entry) int { return a.Key.Compare(b.Key) })
	if n = max(n, 1); len(all) <= n {
		return all, "", nil
	}
	return all[:n], all[n-1].Key.String(), nil
}

// Compare orders keys: an identity stands before its triplets.
func (k Key) Compare(o Key) int {
	if c := bytes.Compare(k.Identity[:], o.Identity[:]); c != 0 {
		return c
	}
	return bytes.Compare(k.Triplet[:], o.Triplet[:])
}

func (m *Memory) pair(k Key) (p Pair) {
	p.Identity, _ = m.records.get(k.Owner())
	if !k.IsIdentity() {
		p.Triplet, _ = m.records.get(k)
	}
	return p
}

func (m *Memory) put(k Key, p Pair) {
	m.write(k.Owner(), p.Identity)
	if !k.IsIdentity() {
		m.write(k, p.Triplet)
	}
}

func (m *Memory) write(k Key, r Record) {
	if r.IsZero() {
		m.records.remove(k)
		return
	}
	m.records.put(k, r)
}
