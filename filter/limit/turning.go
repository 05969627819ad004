package limit

// turning is a map of bounded weight that forgets what has not been touched for
// longest, roughly: when the young half is full it becomes the old half, and the
// old half goes. It is for one goroutine at a time.
type turning[V any] struct {
	half       int
	weigh      func(V) int
	weight     int          // of the young half
	young, old map[Bucket]V // a key is in one of them
}

func newTurning[V any](limit int, weigh func(V) int) *turning[V] {
	return &turning[V]{half: max(limit/2, 1), weigh: weigh, young: map[Bucket]V{}}
}

// take takes a value out; put is to follow.
func (t *turning[V]) take(k Bucket) (V, bool) {
	v, ok := t.young[k]
	if ok {
		t.weight -= t.weigh(v)
		delete(t.young, k)
		return v, true
	}
	v, ok = t.old[k]
	delete(t.old, k)
	return v, ok
}

// put puts a value in that is not in.
func (t *turning[V]) put(k Bucket, v V) {
	t.young[k] = v
	t.weight += t.weigh(v)
	if t.weight >= t.half {
		t.old, t.young, t.weight = t.young, map[Bucket]V{}, 0
	}
}
