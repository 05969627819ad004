// Package set holds immutable sets of names and of networks that remember for
// each entry the line it came from.
//
// Names are kept as 64-bit hashes under a secret seed, 14 bytes for each with
// its line, and not as text. So a name that is not in the set is taken for one
// that is with a chance of n/2^64 for each look: with ten million names one in
// 1.8 million million. At a thousand million messages with ten hosts of four
// labels that makes 0.02 wrong hits. Nobody outside can search for such a name,
// as the seed is drawn anew for each set.
package set

import (
	"hash/maphash"
	"math/bits"
	"runtime"
)

// A set is cut into shards so that it can grow, and be cut to size in the end,
// without ever being in memory twice.
const (
	shardBits  = 6
	shardCount = 1 << shardBits
)

const exceptBit = 1 << 31

// Mark is what is known of an entry.
type Mark struct {
	Line   int
	Except bool // says that the name is not listed
}

// Names is an immutable set of names. The zero value and nil are empty. It is
// safe for concurrent use.
type Names struct {
	seed   maphash.Seed
	shards [shardCount]shard
	n      int
	arena  *arena
}

// shard is a hash table with linear probing.
type shard struct {
	hashes []uint64 // 0 where the slot is free
	lines  []uint32 // 31 bits of line, and exceptBit
	n      int
}

// Len gives the number of names.
func (s *Names) Len() int {
	if s == nil {
		return 0
	}
	return s.n
}

// Find looks for exactly this name.
func (s *Names) Find(name string) (Mark, bool) {
	if s == nil || s.n == 0 {
		return Mark{}, false
	}
	return s.find(maphash.String(s.seed, name))
}

// FindBytes is Find for bytes.
func (s *Names) FindBytes(name []byte) (Mark, bool) {
	if s == nil || s.n == 0 {
		return Mark{}, false
	}
	return s.find(maphash.Bytes(s.seed, name))
}

func (s *Names) find(h uint64) (Mark, bool) {
	h = max(h, 1)
	sh := &s.shards[h>>(64-shardBits)]
	if sh.n == 0 {
		return Mark{}, false
	}
	i, found := sh.slot(h)
	if !found {
		runtime.KeepAlive(s)
		return Mark{}, false
	}
	l := sh.lines[i]
	runtime.KeepAlive(s) // and with it the table's memory
	return Mark{Line: int(l &^ exceptBit), Except: l&exceptBit != 0}, true
}

// slot gives the place of h, or the free one where it belongs. There is always
// a free one.
func (sh *shard) slot(h uint64) (int, bool) {
	home, _ := bits.Mul64(h<<shardBits, uint64(len(sh.hashes)))
	for i := int(home); ; {
		switch sh.hashes[i] {
		case h:
			return i, true
		case 0:
			return i, false
		}
		if i++; i == len(sh.hashes) {
			i = 0
		}
	}
}

// slots gives the size of a table for n names: seven eighths full.
func slots(n int) int { return n + n/7 + 1 }

// resize moves the k-th shard into a table of that size.
func (s *Names) resize(k, size int) {
	sh := &s.shards[k]
	next := shard{n: sh.n}
	var mem []byte
	next.hashes, next.lines, mem = table(size)
	for i, h := range sh.hashes {
		if h != 0 {
			j, _ := next.slot(h)
			next.hashes[j], next.lines[j] = h, sh.lines[i]
		}
	}
	*sh = next
	munmap(s.arena.maps[k])
	s.arena.maps[k] = mem
}

// NamesBuilder collects names for a set. It is not safe for concurrent use.
type NamesBuilder struct{ set *Names }

// NewNames begins a set of about expect names.
func NewNames(expect int) *NamesBuilder {
	s := &Names{seed: maphash.MakeSeed(), arena: new(arena)}
	runtime.AddCleanup(s, (*arena).free, s.arena)
	if expect >= 1<<16 {
		each := expect / shardCount
		for i := range s.shards {
			s.resize(i, slots(each+each/32)) // shards are not of quite the same size
		}
	}
	return &NamesBuilder{s}
}

// Add puts a name into the set and tells whether it was new. The first line
// that has the name stays, but an exception holds wherever it stands.
func (b *NamesBuilder) Add(name []byte, m Mark) bool {
	line := uint32(m.Line) &^ exceptBit
	if m.Except {
		line |= exceptBit
	}
	h := max(maphash.Bytes(b.set.seed, name), 1)
	k := int(h >> (64 - shardBits))
	sh := &b.set.shards[k]
	if slots(sh.n+1) > len(sh.hashes) {
		b.set.resize(k, slots(sh.n+sh.n/4+8))
	}
	i, found := sh.slot(h)
	switch {
	case !found:
		sh.hashes[i], sh.lines[i] = h, line
		sh.n++
		b.set.n++
	case m.Except && sh.lines[i]&exceptBit == 0:
		sh.lines[i] = line
	}
	return !found
}

// Names ends the work and gives the set, cut to size. The builder must not be
// used any more.
func (b *NamesBuilder) Names() *Names {
	s := b.set
	b.set = nil
	for i := range s.shards {
		sh := &s.shards[i]
		if want := slots(sh.n); len(sh.hashes) > want+want/16 {
			s.resize(i, want)
		}
	}
	return s
}
