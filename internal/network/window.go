package network

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	windowNetwork = 1000     // posts that a window on the whole network begins with
	windowPlace   = 300      // and one on a community
	windowBytes   = 16 << 20 // of the posts of one window; long posts make it shorter
)

// windowKey names an order of posts: FeedHot, FeedNew or FeedTop, of a community
// or, with place 0, of the network.
type windowKey struct {
	place act.ID
	sort  FeedSort
}

// window is the beginning of an order of posts: every post at or above its floor.
// It belongs to the board and its lock.
type window struct {
	windowKey
	size  int    // posts that it is cut back to when it has grown by a quarter
	slots []slot // in order, the best first
	floor slot   // the place of the last post that is surely here; only key and id are used
	whole bool   // nothing is below the floor
	bytes int
	used  atomic.Int64 // the board's tick at its last use
}

// slot is a place in an order.
type slot struct {
	key  int64
	id   act.ID
	item *item
}

// before orders slots, the best first. No two have the same id.
func before(a, b slot) int { return cmp.Or(cmp.Compare(b.key, a.key), cmp.Compare(b.id, a.id)) }

// after returns where the posts begin that come after a place.
func (w *window) after(key int64, id act.ID) int {
	i, found := slices.BinarySearchFunc(w.slots, slot{key: key, id: id}, before)
	if found {
		i++
	}
	return i
}

// covers reports whether a post with this place is here if it exists.
func (w *window) covers(s slot) bool { return w.whole || before(s, w.floor) <= 0 }

// put adds a post at its place.
func (w *window) put(s slot) {
	i, found := slices.BinarySearchFunc(w.slots, s, before)
	if found {
		w.slots[i] = s
		return
	}
	w.slots = slices.Insert(w.slots, i, s)
	w.bytes += s.item.size()
}

// drop takes a post out that stands at the given place.
func (w *window) drop(s slot) {
	i, found := slices.BinarySearchFunc(w.slots, s, before)
	if !found {
		return
	}
	w.bytes -= w.slots[i].item.size()
	w.slots = slices.Delete(w.slots, i, i+1)
}

// excess cuts the window back and returns what fell off.
func (w *window) excess() []slot {
	n := len(w.slots)
	if n <= w.size+w.size/4 && w.bytes <= windowBytes {
		return nil
	}
	bytes := w.bytes
	for n > 1 && (n > w.size || bytes > windowBytes) {
		n--
		bytes -= w.slots[n].item.size()
	}
	if n == len(w.slots) {
		return nil
	}
	off := slices.Clone(w.slots[n:])
	clear(w.slots[n:])
	w.slots, w.bytes, w.whole = w.slots[:n], bytes, false
	w.floor = slot{key: w.slots[n-1].key, id: w.slots[n-1].id}
	return off
}

// short reports whether so much has gone that the window is better read anew.
func (w *window) short() bool { return !w.whole && len(w.slots) < w.size/4 }
