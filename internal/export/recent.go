package export

// recent is a map that forgets what nobody has used for long. It holds between half of
// most and most entries, in two halves: when the younger one is full it becomes the older
// one, and what was in that is forgotten.
type recent[K comparable, V any] struct {
	most       int
	young, old map[K]V
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{most: most, young: map[K]V{}, old: map[K]V{}}
}

func (r *recent[K, V]) get(k K) (v V, ok bool) {
	if v, ok = r.young[k]; ok {
		return v, true
	}
	if v, ok = r.old[k]; ok {
		r.put(k, v)
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	if len(r.young) >= r.most/2 {
		r.old, r.young = r.young, map[K]V{}
	}
	r.young[k] = v
}
