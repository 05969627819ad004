package set

import "unsafe"

// mapFrom is the number of slots from which on a table lives outside the heap.
const mapFrom = 1 << 11

// Large tables live outside the garbage collector's heap. In it they would cost
// twice their size, as the heap is let grow to double before it is collected,
// and tables that have been outgrown would wait for the next collection.
//
// arena knows the memory of a set's shards. It is freed when the set cannot be
// reached any more; who looks into a table keeps its set alive meanwhile.
type arena struct{ maps [shardCount][]byte }

func (a *arena) free() {
	for i := range a.maps {
		munmap(a.maps[i])
		a.maps[i] = nil
	}
}

// table makes room for size slots, all free. mem is nil where it lies in the
// heap.
func table(size int) (hashes []uint64, lines []uint32, mem []byte) {
	if size >= mapFrom {
		mem = mmap(size * 12)
	}
	if mem == nil {
		return make([]uint64, size), make([]uint32, size), nil
	}
	p := unsafe.Pointer(unsafe.SliceData(mem))
	return unsafe.Slice((*uint64)(p), size), unsafe.Slice((*uint32)(unsafe.Add(p, size*8)), size), mem
}
