package greylist

// turning is a map of bounded size that forgets what has not been touched for
// longest, roughly: when the young half is full it becomes the old half, and the
// old half goes. It is for one goroutine at a time.
type turning[V any] struct {
	half       int
	young, old map[Key]V // a key is in one of them
}

func newTurning[V any](limit int) *turning[V] {
	return &turning[V]{half: max(limit/2, 1), young: map[Key]V{}}
}

// get reads a value, and makes it young.
func (t *turning[V]) get(k Key) (V, bool) {
	v, ok := t.young[k]
	if ok {
		return v, true
	}
	if v, ok = t.old[k]; ok {
		t.put(k, v)
	}
	return v, ok
}

func (t *turning[V]) put(k Key, v V) {
	delete(t.old, k)
	t.young[k] = v
	if len(t.young) >= t.half {
		t.old, t.young = t.young, make(map[Key]V)
	}
}

// remove tells whether there was something to remove.
func (t *turning[V]) remove(k Key) bool {
	n := t.len()
	delete(t.young, k)
	delete(t.old, k)
	return t.len() < n
}

func (t *turning[V]) len() int { return len(t.young) + len(t.old) }

func (t *turning[V]) all(yield func(Key, V) bool) {
	for _, half := range []map[Key]V{t.young, t.old} {
		for k, v := range half {
			if !yield(k, v) {
				return
			}
		}
	}
}

// removeIdentity removes an identity and its triplets, and tells how many
// records that were.
func (t *turning[V]) removeIdentity(k Key) int {
	n := t.len()
	for _, half := range []map[Key]V{t.young, t.old} {
		for have := range half {
			if have.Identity == k.Identity {
				delete(half, have)
			}
		}
	}
	return n - t.len()
}
