package provenance

import (
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
)

// memory knows what has been shown and is on record, and counts what is shown
// again. Both are bounded: what has not been shown for long is forgotten (and
// recorded anew), and when too many counts wait to be stored, items are
// recorded as if they were new.
type memory struct {
	shelves   [shelfCount]shelf
	keep      int          // entries of one generation of a shelf
	counts    atomic.Int64 // counts that wait, over all shelves
	maxCounts int64
}

const (
	shelfBits  = 6
	shelfCount = 1 << shelfBits
)

// showing is one item, at one version, shown to one reader.
type showing struct {
	reader, item act.ID
	version      int64
}

// repeat is a showing through a channel, to be counted.
type repeat struct {
	showing
	channel string
}

// shelf holds a part of the showings in two generations: when the young one is
// full it becomes the old one and the old one is forgotten; what is met in the
// old one moves to the young.
type shelf struct {
	mu         sync.Mutex
	young, old map[showing]struct{}         // guarded by mu
	again      map[string]map[showing]int64 // guarded by mu: by channel, how often since the last take
	closed     bool                         // guarded by mu: the last counts have been taken
}

func newMemory(entries int) *memory {
	m := &memory{keep: max(1, entries/2/shelfCount), maxCounts: int64(max(1, entries/4))}
	for i := range m.shelves {
		m.shelves[i] = shelf{young: make(map[showing]struct{}), again: make(map[string]map[showing]int64)}
	}
	return m
}

// shelf returns where a showing stands: with all others of its reader, so that
// a page takes one lock; the observers, who are one reader and see everything,
// are spread over the shelves by item.
func (m *memory) shelf(reader, item act.ID) *shelf {
	if reader == 0 {
		reader = item
	}
	h := uint64(reader) * 0x9e3779b97f4a7c15
	return &m.shelves[(h^h<<32)>>(64-shelfBits)]
}

// each calls fn with every item and its shelf, locked.
func (m *memory) each(reader act.ID, items []act.Ref, fn func(sh *shelf, s showing)) {
	var held *shelf
	for _, it := range items {
		if sh := m.shelf(reader, it.ID); sh != held {
			if held != nil {
				held.mu.Unlock()
			}
			sh.mu.Lock()
			held = sh
		}
		fn(held, showing{reader, it.ID, it.Version})
	}
	if held != nil {
		held.mu.Unlock()
	}
}

// split appends to known the items whose showing is on record and may be
// counted, and to fresh the others.
func (m *memory) split(reader act.ID, items, fresh, known []act.Ref) (_, _ []act.Ref) {
	if m.counts.Load() >= m.maxCounts {
		return append(fresh, items...), known
	}
	m.each(reader, items, func(sh *shelf, s showing) {
		_, ok := sh.young[s]
		if !ok {
			if _, ok = sh.old[s]; ok {
				sh.put(s, m.keep)
			}
		}
		if it := (act.Ref{ID: s.item, Version: s.version}); ok {
			known = append(known, it)
		} else {
			fresh = append(fresh, it)
		}
	})
	return fresh, known
}

// remember notes that the items' showing is on record.
func (m *memory) remember(reader act.ID, items []act.Ref) {
	m.each(reader, items, func(sh *shelf, s showing) { sh.put(s, m.keep) })
}

// put adds s to the young generation. The caller holds mu.
func (sh *shelf) put(s showing, keep int) {
	if len(sh.young) >= keep {
		sh.young, sh.old = make(map[showing]struct{}), sh.young
	}
	sh.young[s] = struct{}{}
}

// count adds n showings of each item. It reports false when the last counts
// have been taken already.
func (m *memory) count(reader act.ID, channel string, items []act.Ref, n int64) (ok bool) {
	ok = true
	added := int64(0)
	m.each(reader, items, func(sh *shelf, s showing) {
		if sh.closed {
			ok = false
			return
		}
		counts := sh.again[channel]
		if counts == nil {
			counts = make(map[showing]int64)
			sh.again[channel] = counts
		}
		before := len(counts)
		counts[s] += n
		added += int64(len(counts) - before)
	})
	if added > 0 {
		m.counts.Add(added)
	}
	return ok
}

// crowded reports whether the counts should be stored before their time.
func (m *memory) crowded() bool { return m.counts.Load() >= m.maxCounts/2 }

// take removes all counts and returns them; after the last take nothing is
// counted any more.
func (m *memory) take(last bool) map[repeat]int64 {
	all := make(map[repeat]int64)
	for i := range m.shelves {
		sh := &m.shelves[i]
		sh.mu.Lock()
		again := sh.again
		sh.again = make(map[string]map[showing]int64)
		sh.closed = sh.closed || last
		sh.mu.Unlock()
		for channel, counts := range again {
			for s, n := range counts {
				all[repeat{s, channel}] = n
			}
			m.counts.Add(-int64(len(counts)))
		}
	}
	return all
}
