package store

import (
	"encoding/binary"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
)

// appendTouched codes what a transaction touched, and the node on which it ran.
func appendTouched(b []byte, node int, ids []act.ID) []byte {
	b = binary.AppendUvarint(b, uint64(node))
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

func parseTouched(b []byte) (node int, ids []act.ID, err error) {
	for first := true; len(b) > 0; first = false {
		x, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, nil, fmt.Errorf("store: what an event touched is not readable at byte -%d", len(b))
		}
		b = b[n:]
		if first {
			node = int(x)
			continue
		}
		ids = append(ids, act.ID(x))
	}
	return node, ids, nil
}

const qTouchedAfter Q = `SELECT seq, act, actor, touched FROM event WHERE seq > $1 ORDER BY seq LIMIT $2`

// Touched is what one event says that other nodes' memory has to doubt.
type Touched struct {
	Act   string
	Actor act.ID
	IDs   []act.ID
}

// TouchedAfter calls fn with what other nodes' acts have touched, for up to limit
// events with a sequence number above after, and returns the number of the last
// one. On SQLite there are no other nodes.
func (v *View) TouchedAfter(after int64, limit, own int, fn func(Touched)) (last int64, err error) {
	last = after
	err = v.All(qTouchedAfter, func(r *Row) error {
		last = r.Int(0)
		node, ids, err := parseTouched(r.Bytes(3))
		if err != nil {
			node, ids = -1, []act.ID{TouchAll} // unreadable is not harmless
		}
		if node != own && len(ids) > 0 {
			fn(Touched{Act: r.Text(1), Actor: r.ID(2), IDs: ids})
		}
		return nil
	}, after, int64(limit))
	return last, err
}
