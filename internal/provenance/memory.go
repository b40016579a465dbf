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
//
// A page asks for some 25 items of one reader, so the showings of a reader lie
// together in a small table of their own: one map access a page, and slots that
// are neighbours in memory.
type memory struct {
	shelves   [shelfCount]shelf
	keep      int          // entries of one generation of a shelf
	counts    atomic.Int64 // counts that wait, over all shelves
	maxCounts int64
}

const (
	shelfBits  = 6
	shelfCount = 1 << shelfBits
	firstTable = 32 // slots of a reader's first table
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

// shelf holds some readers in two generations: when the young one is full it
// becomes the old one and the old one is forgotten; a reader that is met in the
// old one moves to the young with all that it was shown.
type shelf struct {
	mu         sync.Mutex
	young, old map[act.ID]*table // guarded by mu
	entries    int               // guarded by mu: showings in the young generation
	again      map[repeat]int64  // guarded by mu: counts that have left their slots
	dirty      []*table          // guarded by mu: tables whose slots hold counts
	closed     bool              // guarded by mu: the last counts have been taken
}

// table is an open-addressed set of what one reader was shown. It belongs to its
// shelf's lock.
type table struct {
	reader  act.ID
	slots   []slot // a power of two of them, never more than three quarters used
	used    int
	dirty   bool   // it is on its shelf's list
	channel string // of the counts in the slots
}

// slot is one showing; item 0 is a free one.
type slot struct {
	item    act.ID
	version int64
	count   int64 // showings again that wait to be stored
}

func newMemory(entries int) *memory {
	m := &memory{keep: max(1, entries/2/shelfCount), maxCounts: int64(max(1, entries/4))}
	for i := range m.shelves {
		m.shelves[i] = shelf{young: make(map[act.ID]*table), again: make(map[repeat]int64)}
	}
	return m
}

const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio, for hashing ids

// shelf returns where a showing stands: with all others of its reader, so that
// a page takes one lock; the observers, who are one reader and see everything,
// are spread over the shelves by item.
func (m *memory) shelf(reader, item act.ID) *shelf {
	if reader == 0 {
		reader = item
	}
	h := uint64(reader) * golden
	return &m.shelves[(h^h<<32)>>(64-shelfBits)]
}

// find returns the slot of an item in the table, or the free slot where it would
// go.
func (t *table) find(it act.Ref) *slot {
	mask := uint64(len(t.slots) - 1)
	for i := (uint64(it.ID) + uint64(it.Version)) * golden >> 32; ; i++ {
		s := &t.slots[i&mask]
		if s.item == 0 || (s.item == it.ID && s.version == it.Version) {
			return s
		}
	}
}

// add puts an item into the table and reports whether it is new there.
func (t *table) add(it act.Ref) bool {
	s := t.find(it)
	if s.item != 0 {
		return false
	}
	if 4*(t.used+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]slot, 2*len(old))
		for i := range old {
			if old[i].item != 0 {
				*t.find(act.Ref{ID: old[i].item, Version: old[i].version}) = old[i]
			}
		}
		s = t.find(it)
	}
	s.item, s.version = it.ID, it.Version
	t.used++
	return true
}

// of returns the reader's table, from whichever generation; nil if it has none.
// The caller holds mu.
func (sh *shelf) of(reader act.ID, keep int) *table {
	if t := sh.young[reader]; t != nil {
		return t
	}
	t := sh.old[reader]
	if t == nil {
		return nil
	}
	delete(sh.old, reader)
	if t.used >= keep {
		return nil // it would fill the generation alone
	}
	sh.room(t.used, keep)
	sh.young[reader] = t
	sh.entries += t.used
	return t
}

// room ends the young generation if n more showings do not fit. The caller
// holds mu.
func (sh *shelf) room(n, keep int) {
	if sh.entries+n <= keep || sh.entries == 0 {
		return
	}
	sh.old, sh.young, sh.entries = sh.young, make(map[act.ID]*table), 0
}

// put remembers a showing. The caller holds mu.
func (sh *shelf) put(reader act.ID, it act.Ref, keep int) {
	t := sh.of(reader, keep)
	sh.room(1, keep)
	if t == nil || sh.young[reader] != t { // none yet, or its generation has just ended
		if t = sh.of(reader, keep); t == nil {
			t = &table{reader: reader, slots: make([]slot, firstTable)}
			sh.young[reader] = t
		}
	}
	if t.add(it) {
		sh.entries++
	}
}

// each calls fn with every item and its shelf, locked.
func (m *memory) each(reader act.ID, items []act.Ref, fn func(sh *shelf, it act.Ref)) {
	var held *shelf
	for _, it := range items {
		if sh := m.shelf(reader, it.ID); sh != held {
			if held != nil {
				held.mu.Unlock()
			}
			sh.mu.Lock()
			held = sh
		}
		fn(held, it)
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
	m.each(reader, items, func(sh *shelf, it act.Ref) {
		if t := sh.of(reader, m.keep); t != nil && t.find(it).item != 0 {
			known = append(known, it)
		} else {
			fresh = append(fresh, it)
		}
	})
	return fresh, known
}

// remember notes that the items' showing is on record.
func (m *memory) remember(reader act.ID, items []act.Ref) {
	m.each(reader, items, func(sh *shelf, it act.Ref) { sh.put(reader, it, m.keep) })
}

// count adds n showings of each item. It reports false when the last counts
// have been taken already.
func (m *memory) count(reader act.ID, channel string, items []act.Ref, n int64) (ok bool) {
	ok = true
	added := int64(0)
	m.each(reader, items, func(sh *shelf, it act.Ref) {
		if sh.closed {
			ok = false
			return
		}
		if t := sh.of(reader, m.keep); t != nil {
			if s := t.find(it); s.item != 0 && t.counts(sh, channel) {
				if s.count == 0 {
					added++
				}
				s.count += n
				return
			}
		}
		before := len(sh.again) // forgotten meanwhile, or counted through another channel too
		sh.again[repeat{showing{reader, it.ID, it.Version}, channel}] += n
		added += int64(len(sh.again) - before)
	})
	if added > 0 {
		m.counts.Add(added)
	}
	return ok
}

// counts makes the table ready to count showings through a channel and reports
// whether it can: it counts one channel at a time. The caller holds the shelf.
func (t *table) counts(sh *shelf, channel string) bool {
	if !t.dirty {
		t.dirty, t.channel = true, channel
		sh.dirty = append(sh.dirty, t)
	}
	return t.channel == channel
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
		taken := int64(len(sh.again))
		for r, n := range sh.again {
			all[r] += n
		}
		clear(sh.again)
		for _, t := range sh.dirty {
			for j := range t.slots {
				if s := &t.slots[j]; s.count != 0 {
					all[repeat{showing{t.reader, s.item, s.version}, t.channel}] += s.count
					s.count = 0
					taken++
				}
			}
			t.dirty = false
		}
		clear(sh.dirty)
		sh.dirty = sh.dirty[:0]
		sh.closed = sh.closed || last
		sh.mu.Unlock()
		m.counts.Add(-taken)
	}
	return all
}
