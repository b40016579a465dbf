package provenance

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
)

// channel is a channel's number in this process.
type channel uint16

// channels numbers the names of reading acts, of which there are a few dozen.
type channels struct {
	names atomic.Pointer[[]string] // replaced by a longer one
	mu    sync.Mutex               // one writer at a time
}

func (c *channels) number(name string) channel {
	find := func() int {
		if names := c.names.Load(); names != nil {
			return slices.Index(*names, name)
		}
		return -1
	}
	if i := find(); i >= 0 {
		return channel(i)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := find(); i >= 0 {
		return channel(i)
	}
	var names []string
	if old := c.names.Load(); old != nil {
		names = slices.Clone(*old)
	}
	names = append(names, name)
	c.names.Store(&names)
	return channel(len(names) - 1)
}

func (c *channels) name(n channel) string { return (*c.names.Load())[n] }

// countSlot counts one showing of a page that is on its reader's record. It
// reports false when the last counts have been taken already. The caller holds
// the shelf.
func (m *memory) countSlot(sh *shelf, r *reader, at *slot, through channel) (ok bool) {
	switch {
	case sh.closed:
		return false
	case at.count == 0:
		at.channel = through
		m.counts.Add(1)
		if !r.dirty {
			r.dirty = true
			sh.dirty = append(sh.dirty, r)
		}
	case at.channel != through || at.count == math.MaxUint32:
		return m.add(sh, repeat{r.id, at.sheet, through}, 1)
	}
	at.count++
	return true
}

// count adds showings that have no slot.
func (m *memory) count(what repeat, n int64) (ok bool) {
	of := what.reader
	if of == 0 { // the observers are everywhere
		of = act.ID(what.sheet.hash)
	}
	sh := m.shelf(of)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return m.add(sh, what, n)
}

// add is count on a shelf that the caller holds.
func (m *memory) add(sh *shelf, what repeat, n int64) (ok bool) {
	if sh.closed {
		return false
	}
	before := len(sh.again)
	sh.again[what] += n
	m.counts.Add(int64(len(sh.again) - before))
	return true
}

// countPart adds a showing of some items of a page.
func (m *memory) countPart(reader act.ID, through channel, items []act.Ref) (ok bool) {
	if len(items) == 0 {
		return true
	}
	return m.count(repeat{reader, &sheet{coded: AppendItems(nil, items)}, through}, 1)
}

// crowded reports whether the counts should be stored before their time.
func (m *memory) crowded() bool { return m.counts.Load() >= m.maxCounts/2 }

// countRow is a row to be: a page that was shown again.
type countRow struct {
	repeat
	count int64
}

// take removes all counts and returns them; after the last take nothing is
// counted any more.
func (m *memory) take(last bool) (rows []countRow) {
	for i := range m.shelves {
		sh := &m.shelves[i]
		before := len(rows)
		sh.mu.Lock()
		for _, r := range sh.dirty {
			for j := range r.pages {
				if s := &r.pages[j]; s.count > 0 {
					rows = append(rows, countRow{repeat{r.id, s.sheet, s.channel}, int64(s.count)})
					s.count = 0
				}
			}
			r.dirty = false
		}
		clear(sh.dirty)
		sh.dirty = sh.dirty[:0]
		for what, n := range sh.again {
			rows = append(rows, countRow{what, n})
		}
		clear(sh.again)
		sh.closed = sh.closed || last
		sh.mu.Unlock()
		m.counts.Add(int64(before - len(rows)))
	}
	return rows
}
