package provenance

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
)

// memory knows what has been shown and is on record, and counts what is shown
// again. It is bounded: readers that have not been met for long are forgotten
// (what they read is recorded anew), and when too many counts wait to be stored,
// pages are recorded as if they were new.
//
// Of each reader it keeps which pages he has on record, the last maxPages of
// them. An item is on record when it stands on one of them.
type memory struct {
	shelves  [shelfCount]shelf
	pool     *pool
	crowd    crowd
	channels channels

	bytes     atomic.Int64 // of readers and sheets, about
	maxBytes  int64
	counts    atomic.Int64 // counts that wait, over all shelves
	maxCounts int64
}

const (
	shelfBits  = 6
	shelfCount = 1 << shelfBits
	maxPages   = 64  // of one reader
	readerSize = 176 // bytes of a reader without his pages
	slotSize   = 16
	evictions  = 4 // readers that one new page may push out
)

// shelf holds some of the readers.
type shelf struct {
	mu      sync.Mutex
	readers map[act.ID]*reader // guarded by mu
	round   []*reader          // guarded by mu: all of them, in the order in which they may go
	hand    int                // guarded by mu: who is looked at next
	again   map[repeat]int64   // guarded by mu: counts that stand in no slot
	dirty   []*reader          // guarded by mu: readers whose slots hold counts
	closed  bool               // guarded by mu: the last counts have been taken
}

// reader is what one reader has on record. It belongs to its shelf's lock.
type reader struct {
	id    act.ID
	pages []slot // the one to go first comes first
	met   bool   // since the hand passed
	dirty bool   // it is on its shelf's list
}

// slot is a page on a reader's record.
type slot struct {
	sheet   *sheet
	count   uint32  // showings again that wait to be stored,
	channel channel // all through this channel
}

// repeat is what showings are counted by where they have no slot.
type repeat struct {
	reader  act.ID
	sheet   *sheet
	channel channel
}

// newMemory returns a memory of about so many bytes.
func newMemory(bytes int64) *memory {
	m := &memory{maxBytes: bytes, maxCounts: max(1, bytes/1024)}
	m.pool = newPool(bytes/8, &m.bytes)
	m.crowd.keep = int(bytes / 8 / crowdItem / 2)
	for i := range m.shelves {
		m.shelves[i] = shelf{readers: make(map[act.ID]*reader), again: make(map[repeat]int64)}
	}
	return m
}

func (m *memory) shelf(reader act.ID) *shelf {
	h := uint64(reader) * golden
	return &m.shelves[(h^h<<32)>>(64-shelfBits)]
}

// showing is what is to be done about a page: fresh is to be recorded, then again
// is to be counted. Both are parts of the sheet.
type showing struct {
	reader  act.ID
	sheet   *sheet
	channel channel
	fresh   []act.Ref
	again   []act.Ref
}

// whole reports whether nothing on the page is on record.
func (s *showing) whole() bool { return len(s.fresh) == len(s.sheet.items) }

// look finds out what is on record of the sheet and sets fresh and again. A page
// that is wholly on record is counted at once, and known is true; ok is false
// when counting has ended.
func (m *memory) look(s *showing) (known, ok bool) {
	s.fresh, s.again = s.fresh[:0], s.again[:0]
	switch {
	case m.counts.Load() >= m.maxCounts:
		s.fresh = append(s.fresh, s.sheet.items...)
	case s.reader == 0:
		m.crowd.split(s)
	default:
		sh := m.shelf(s.reader)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		r := sh.readers[s.reader]
		if r == nil {
			s.fresh = append(s.fresh, s.sheet.items...)
			break
		}
		r.met = true
		if at := r.find(s.sheet); at >= 0 {
			return true, m.countSlot(sh, r, r.last(at), s.channel)
		}
		if r.split(s); len(s.fresh) == 0 {
			return true, m.add(sh, repeat{s.reader, s.sheet, s.channel}, 1)
		}
	}
	if len(s.fresh) == 0 {
		return true, m.count(repeat{s.reader, s.sheet, s.channel}, 1)
	}
	return false, true
}

// find returns where the reader has the sheet, -1 if he has not.
func (r *reader) find(s *sheet) int {
	for i := range r.pages {
		if r.pages[i].sheet == s {
			return i
		}
	}
	return -1
}

// last makes the page at i the last to go and returns its slot. Readers come back
// to few pages, so that those far in front are moved only.
func (r *reader) last(i int) *slot {
	if n := len(r.pages); i < n/2 {
		s := r.pages[i]
		copy(r.pages[i:], r.pages[i+1:])
		i = n - 1
		r.pages[i] = s
	}
	return &r.pages[i]
}

// split divides the items of a page that the reader has not seen as it is: it
// goes through his pages, the last first, until every item has been found.
func (r *reader) split(s *showing) {
	var few [4]uint64 // a bit for each item that has not been found
	items, marks := s.sheet.items, s.sheet.marks
	missing := append(few[:0], make([]uint64, (len(items)+63)/64)...)
	for i := range items {
		missing[i/64] |= 1 << (i % 64)
	}
	left := len(items)
	for n := len(r.pages) - 1; n >= 0 && left > 0; n-- {
		q := r.pages[n].sheet
		for w := range missing {
			for b := missing[w]; b != 0; b &= b - 1 {
				i := w*64 + bits.TrailingZeros64(b)
				if m := marks[i]; q.may(m) && q.has(m, items[i]) {
					missing[w] &^= b & -b
					left--
				}
			}
		}
	}
	for i, it := range items {
		if missing[i/64]&(1<<(i%64)) != 0 {
			s.fresh = append(s.fresh, it)
		} else {
			s.again = append(s.again, it)
		}
	}
}

// remember notes that all of the sheet is on record for the reader.
func (m *memory) remember(id act.ID, s *sheet) {
	if id == 0 {
		m.crowd.remember(s)
		return
	}
	sh := m.shelf(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r := sh.readers[id]
	if r == nil {
		r = &reader{id: id}
		sh.readers[id] = r
		sh.round = append(sh.round, r)
		m.bytes.Add(readerSize)
	} else {
		r.met = true
	}
	if r.find(s) >= 0 {
		return
	}
	m.pool.hold(s)
	m.put(sh, r, s)
	for n := 0; m.bytes.Load() > m.maxBytes && n < evictions; n++ {
		m.forget(sh, r)
	}
}

// put gives the reader one more page. It takes the place of pages that are part
// of it (a thread grows by its end), else of the first if he has all that he may
// have. The caller holds the shelf.
func (m *memory) put(sh *shelf, r *reader, s *sheet) {
	for i := len(r.pages) - 1; i >= 0; i-- {
		if r.pages[i].sheet.within(s) {
			m.drop(sh, r, i)
		}
	}
	if len(r.pages) == maxPages {
		m.drop(sh, r, 0)
	}
	if n := len(r.pages); n == cap(r.pages) {
		grown := make([]slot, n, max(1, 2*n))
		copy(grown, r.pages)
		m.bytes.Add(int64(cap(grown)-n) * slotSize)
		r.pages = grown
	}
	r.pages = append(r.pages, slot{sheet: s})
}

// drop takes one page from a reader. The caller holds the shelf.
func (m *memory) drop(sh *shelf, r *reader, i int) {
	m.move(sh, r.id, &r.pages[i])
	m.pool.release(r.pages[i].sheet)
	r.pages = slices.Delete(r.pages, i, i+1)
}

// move takes a count out of its slot, which will not be there any more. The
// caller holds the shelf.
func (m *memory) move(sh *shelf, id act.ID, s *slot) {
	if s.count > 0 {
		m.counts.Add(-1)
		m.add(sh, repeat{id, s.sheet, s.channel}, int64(s.count))
		s.count = 0
	}
}

// forget takes one reader off the shelf, one that has not been met for long and
// not the one that is here now. The caller holds the shelf.
func (m *memory) forget(sh *shelf, here *reader) {
	for tries := 2 * len(sh.round); tries > 0; tries-- {
		if sh.hand >= len(sh.round) {
			sh.hand = 0
		}
		r := sh.round[sh.hand]
		if r.met || r == here {
			r.met = false
			sh.hand++
			continue
		}
		last := len(sh.round) - 1
		sh.round[sh.hand], sh.round[last] = sh.round[last], nil
		sh.round = sh.round[:last]
		delete(sh.readers, r.id)
		for i := range r.pages {
			m.move(sh, r.id, &r.pages[i])
			m.pool.release(r.pages[i].sheet)
		}
		m.bytes.Add(-readerSize - int64(cap(r.pages))*slotSize)
		r.pages = nil
		return
	}
}
