package provenance

import (
	"bytes"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
)

// sheet is a page that was shown: its items in their order. Very many readers
// are shown the same page, so the memory keeps each page once. Nothing in it
// changes but the counters at its end.
type sheet struct {
	hash  uint64
	items []act.Ref
	coded []byte   // the items as they are stored
	marks []uint32 // a hash of each item
	sieve []uint64 // the bits of the marks; a power of two of words
	index []uint16 // 1 + the place of an item, by its mark; nil for few items
	next  *sheet   // in the pool, of the same hash; guarded by the rack

	holders atomic.Int64 // readers who have it on record
	public  atomic.Bool  // all of it is on record as shown to the observers
	used    atomic.Bool  // met again since the pool last thought of dropping it
	queued  bool         // stands in its rack's line; guarded by the rack
	pooled  bool         // guarded by the rack
}

const (
	golden     = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio, for hashing ids
	fewItems   = 8                  // as many are compared one after the other
	sieveShare = 16                 // bits of the sieve for each item
	sheetSize  = 240                // bytes of a sheet and its place in the pool
)

// mark hashes an item.
func mark(it act.Ref) uint32 {
	h := (uint64(it.ID) + uint64(it.Version)<<56) * golden
	return uint32(h>>32) ^ uint32(h)
}

// newSheet makes the sheet of at most MaxItems items, which it copies.
func newSheet(hash uint64, items []act.Ref) *sheet {
	s := &sheet{hash: hash, items: slices.Clone(items), marks: make([]uint32, len(items))}
	var room [1024]byte
	s.coded = bytes.Clone(AppendItems(room[:0], items))
	words := 1
	for words*64 < sieveShare*len(items) {
		words *= 2
	}
	s.sieve = make([]uint64, words)
	if len(items) > fewItems {
		s.index = make([]uint16, 1<<bits.Len(uint(2*len(items))))
	}
	for i, it := range items {
		m := mark(it)
		s.marks[i] = m
		s.sieve[s.word(m)] |= 1 << (m & 63)
		for j := m; s.index != nil; j++ {
			if at := &s.index[int(j)&(len(s.index)-1)]; *at == 0 {
				*at = uint16(i + 1)
				break
			}
		}
	}
	return s
}

func (s *sheet) word(m uint32) int { return int(m>>6) & (len(s.sieve) - 1) }

// may reports whether an item with the mark m may be on the sheet. It is cheap
// and right nine times out of ten.
func (s *sheet) may(m uint32) bool { return s.sieve[s.word(m)]&(1<<(m&63)) != 0 }

// has reports whether an item, whose mark is m, is on the sheet.
func (s *sheet) has(m uint32, it act.Ref) bool {
	if s.index == nil {
		return slices.Contains(s.items, it)
	}
	for j := m; ; j++ {
		at := s.index[int(j)&(len(s.index)-1)]
		if at == 0 {
			return false
		}
		if s.items[at-1] == it {
			return true
		}
	}
}

// within reports whether all of the sheet's items are on a larger one.
func (s *sheet) within(larger *sheet) bool {
	if len(s.items) >= len(larger.items) {
		return false
	}
	for i, m := range s.marks {
		if !larger.may(m) || !larger.has(m, s.items[i]) {
			return false
		}
	}
	return true
}

// size is about how many bytes the sheet takes.
func (s *sheet) size() int64 {
	return sheetSize + int64(20*len(s.items)+len(s.coded)+8*len(s.sieve)+2*len(s.index))
}

// pool has the sheets that readers have on record, and for a while those that
// nobody has, so that a page is known again by one look.
type pool struct {
	seed  uint64
	racks [rackCount]rack
	idle  int64         // bytes of one rack's sheets that nobody has on record, at most
	bytes *atomic.Int64 // of all sheets; shared with the memory
}

const rackCount = 16

// rack is a part of the pool, by hash.
type rack struct {
	mu     sync.RWMutex
	sheets map[uint64]*sheet // guarded by mu
	line   []*sheet          // guarded by mu: those that nobody had when they were queued, oldest first
	idle   int64             // guarded by mu: bytes of the sheets in line
}

func newPool(idle int64, bytes *atomic.Int64) *pool {
	p := &pool{seed: rand.Uint64(), idle: idle / rackCount, bytes: bytes} //nolint:gosec // it spreads, it keeps no secret
	for i := range p.racks {
		p.racks[i].sheets = make(map[uint64]*sheet)
	}
	return p
}

func (p *pool) rack(hash uint64) *rack { return &p.racks[hash>>60] }

// hash depends on every item and on their order. That it is the same says
// nothing: items are compared.
func (p *pool) hash(items []act.Ref) uint64 {
	h := p.seed
	for _, it := range items {
		hi, lo := bits.Mul64(h^uint64(it.ID), golden^uint64(it.Version)<<1)
		h = hi ^ lo
	}
	return h * golden
}

// get returns the sheet of the items, which may be a new one.
func (p *pool) get(items []act.Ref) *sheet {
	h := p.hash(items)
	r := p.rack(h)
	r.mu.RLock()
	s := r.find(h, items)
	r.mu.RUnlock()
	if s != nil {
		if !s.used.Load() {
			s.used.Store(true)
		}
		return s
	}
	made := newSheet(h, items)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.find(h, items); s != nil {
		return s
	}
	p.put(r, made)
	r.queue(made)
	p.trim(r)
	return made
}

func (r *rack) find(hash uint64, items []act.Ref) *sheet {
	for s := r.sheets[hash]; s != nil; s = s.next {
		if slices.Equal(s.items, items) {
			return s
		}
	}
	return nil
}

// queue puts a sheet in the line of those that may go. The caller holds mu.
func (r *rack) queue(s *sheet) {
	if s.queued || !s.pooled {
		return
	}
	s.queued = true
	r.line = append(r.line, s)
	r.idle += s.size()
}

// trim takes sheets that nobody has on record out of the pool until the rest
// fits, those that were met again last. The caller holds the rack's mu.
func (p *pool) trim(r *rack) {
	for tries := 2 * len(r.line); r.idle > p.idle && tries > 0; tries-- {
		s := r.line[0]
		r.line[0], r.line = nil, r.line[1:]
		s.queued = false
		r.idle -= s.size()
		switch {
		case s.holders.Load() > 0: // it comes back when the last holder lets go
		case s.used.Load():
			s.used.Store(false)
			r.queue(s)
		default:
			r.remove(s)
			p.bytes.Add(-s.size())
		}
	}
}

func (r *rack) remove(s *sheet) {
	s.pooled = false
	at := r.sheets[s.hash]
	switch {
	case at == s && s.next == nil:
		delete(r.sheets, s.hash)
	case at == s:
		r.sheets[s.hash] = s.next
	default:
		for at.next != s {
			at = at.next
		}
		at.next = s.next
	}
}

// hold takes a sheet for one more reader.
func (p *pool) hold(s *sheet) {
	if s.holders.Add(1) > 1 {
		return
	}
	r := p.rack(s.hash)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.pooled { // it was dropped while its row was being committed
		p.put(r, s)
	}
}

// put takes a sheet into the pool. The caller holds the rack's mu.
func (p *pool) put(r *rack, s *sheet) {
	s.next, s.pooled = r.sheets[s.hash], true
	r.sheets[s.hash] = s
	p.bytes.Add(s.size())
}

// release lets go of a sheet for one reader.
func (p *pool) release(s *sheet) {
	if s.holders.Add(-1) > 0 {
		return
	}
	r := p.rack(s.hash)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.holders.Load() > 0 {
		return
	}
	r.queue(s)
	p.trim(r)
}
