package set

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// Prefixes is an immutable set of networks. Nil is empty. It is safe for
// concurrent use.
type Prefixes struct{ table bart.Table[uint32] }

// Find gives the smallest network of the set that holds the whole of n, and its
// line. IPv4 is not to be given mapped into IPv6.
func (s *Prefixes) Find(n netip.Prefix) (netip.Prefix, int, bool) {
	if s == nil || !n.IsValid() {
		return netip.Prefix{}, 0, false
	}
	found, line, ok := s.table.LookupPrefixLPM(n)
	return found, int(line), ok
}

// PrefixesBuilder collects networks for a set. It is not safe for concurrent
// use.
type PrefixesBuilder struct{ set *Prefixes }

// NewPrefixes begins a set.
func NewPrefixes() *PrefixesBuilder { return &PrefixesBuilder{new(Prefixes)} }

// Add puts a network into the set and tells whether it was new. The first line
// that has it stays.
func (b *PrefixesBuilder) Add(n netip.Prefix, line int) (added bool) {
	b.set.table.Modify(n, func(old uint32, there bool) (uint32, bool) {
		added = !there
		if there {
			return old, false
		}
		return uint32(line), false
	})
	return added
}

// Prefixes ends the work and gives the set. The builder must not be used any
// more.
func (b *PrefixesBuilder) Prefixes() *Prefixes {
	s := b.set
	b.set = nil
	return s
}
