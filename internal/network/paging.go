package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
)

// MaxOffset bounds how many items a page may skip without a cursor: they are
// read and thrown away.
const MaxOffset = 1000

// lastKey is above every sort key and id.
const lastKey = 1<<63 - 1

// start is where a page begins: after an item, or after a number of them.
type start struct {
	keyed  bool
	from   [2]int64 // sort key and id of the item before the page, if keyed
	skip   int64
	passed int64 // how many items come before the page
	as     int64 // the moment at which the list was ranked, 0 when it has none
}

// startOf reads a cursor of this package, whose keys are the last item's sort
// key and id, how many items have passed and, in ranked lists, the moment of
// the ranking; or an offset.
func startOf(c act.Cursor, offset int) (s start, err error) {
	switch {
	case c.IsZero() && (offset < 0 || offset > MaxOffset):
		return s, act.Errorf(act.Invalid, "offset is not a number from 0 to %d", MaxOffset).WithRule("offset").
			WithHint("follow next_cursor with the parameter cursor: it reaches everything, and offset does not")
	case c.IsZero():
		return start{skip: int64(offset), passed: int64(offset)}, nil
	case len(c.Keys) < 3 || len(c.Keys) > 4:
		return s, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor").
			WithHint("use next_cursor exactly as returned; leave it out to start again")
	}
	s = start{keyed: true, from: [2]int64(c.Keys), passed: c.Keys[2]}
	if len(c.Keys) == 4 {
		s.as = c.Keys[3]
	}
	return s, nil
}

// NextOffset returns the offset that reads on where a page ended, for clients
// that know no cursors; false at the end of the list and beyond MaxOffset.
func NextOffset(next act.Cursor) (int64, bool) {
	if len(next.Keys) < 3 || next.Keys[2] > MaxOffset {
		return 0, false
	}
	return next.Keys[2], true
}
