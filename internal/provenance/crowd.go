package provenance

import (
	"sync"

	"github.com/reefwarden/reefwarden/internal/act"
)

// crowd knows which items are on record as shown to the observers. They are one
// reader who reads everything, so it keeps items and not pages: a stranger who
// asks for the same items in ever other ways makes no rows. It has two
// generations: when the young one is full it becomes the old one and the old one
// is forgotten.
type crowd struct {
	mu         sync.Mutex
	young, old map[act.Ref]struct{} // guarded by mu
	keep       int                  // items of one generation
}

const crowdItem = 48 // bytes of an item

// split sets what is fresh and what is not of a page of the observers'.
func (c *crowd) split(s *showing) {
	if s.sheet.public.Load() {
		s.again = append(s.again, s.sheet.items...)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range s.sheet.items {
		if c.has(it) {
			s.again = append(s.again, it)
		} else {
			s.fresh = append(s.fresh, it)
		}
	}
}

// has reports whether an item is known, and keeps it young. The caller holds mu.
func (c *crowd) has(it act.Ref) bool {
	if _, known := c.young[it]; known {
		return true
	}
	_, known := c.old[it]
	if known {
		c.add(it)
	}
	return known
}

func (c *crowd) add(it act.Ref) {
	if len(c.young) >= c.keep {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[act.Ref]struct{})
	}
	c.young[it] = struct{}{}
}

// remember notes that all of the sheet is on record.
func (c *crowd) remember(s *sheet) {
	if s.public.Swap(true) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range s.items {
		c.add(it)
	}
}
