package provenance

import (
	"errors"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Exposure is one stored page: as it was shown first, or items that were shown
// again. Its place in the sequence is AfterSeq, then Pos, then Ord.
type Exposure struct {
	Pos      int64
	Ord      int64 // among the pages that were recorded together
	AfterSeq int64 // the last event before it; -1 until the sequencer has been (PostgreSQL)
	Reader   act.ID
	At       int64  // Unix microseconds; of an Again row, when it was stored
	Channel  string // name of the reading act
	Again    bool
	Count    int64 // how many times each item was shown; 1 unless Again
	Items    []act.Ref
	Trace    string
}

// Rows without a number sort last on PostgreSQL; SQLite has none.
const qExposuresOf store.Q = `SELECT pos, after_seq, agent, at, channel, again, count, items, trace, pages
FROM exposure WHERE agent = $1 OR pages > 1 ORDER BY after_seq, pos`

// Exposures calls fn with every exposure of a reader (0: the observers) in the
// order of the sequence.
func Exposures(v *store.View, reader act.ID, fn func(Exposure) error) error {
	return v.All(qExposuresOf, func(r *store.Row) error {
		return pagesOf(r, func(x Exposure) error {
			if x.Reader != reader {
				return nil
			}
			return fn(x)
		})
	}, reader)
}

// pagesOf calls fn with every page of a row of the log.
func pagesOf(r *store.Row, fn func(Exposure) error) (err error) {
	x := Exposure{
		Pos: r.Int(0), AfterSeq: r.Int(1), Reader: r.ID(2), At: r.Int(3), Channel: r.Text(4),
		Again: r.Bool(5), Count: r.Int(6), Trace: r.Text(8),
	}
	if r.Null(1) {
		x.AfterSeq = -1
	}
	if n := r.Int(9); n > 1 {
		err = decodeGroup(r.Bytes(7), n, x, fn)
	} else if x.Items, err = DecodeItems(r.Bytes(7)); err == nil {
		return fn(x)
	}
	if err != nil {
		return fmt.Errorf("exposure at position %d: %w", x.Pos, err)
	}
	return nil
}

var errFound = errors.New("found")

// Exposed returns the first exposure that showed the item, at any version, to
// the reader. It reads the reader's rows one after the other: a tool for checks
// and tests, not for requests.
func Exposed(v *store.View, reader, item act.ID) (first Exposure, found bool, err error) {
	err = Exposures(v, reader, func(x Exposure) error {
		for _, it := range x.Items {
			if it.ID == item {
				first, found = x, true
				return errFound
			}
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return first, found, err
}
