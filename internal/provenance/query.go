package provenance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

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

// The tail is what is not sealed. Rows without a number sort last on PostgreSQL;
// SQLite has none.
const (
	qTailOf store.Q = `SELECT pos, after_seq, agent, at, channel, again, count, items, trace, pages
FROM exposure WHERE agent = $1 OR pages > 1 ORDER BY after_seq, pos`

	qSegmentHeads store.Q = `SELECT id, head FROM segment ORDER BY id`
	qSegment      store.Q = `SELECT head, body FROM segment WHERE id = $1`
)

// Exposures calls fn with every exposure of a reader (0: the observers) in the
// order of the sequence, whether it is sealed or not.
func Exposures(v *store.View, reader act.ID, fn func(Exposure) error) error {
	// What is sealed between the questions below is met in both, or in the segment
	// only: the tail comes first.
	var tail []Exposure
	if err := v.All(qTailOf, func(r *store.Row) error {
		return pagesOf(r, func(x Exposure) error {
			if x.Reader == reader {
				tail = append(tail, x)
			}
			return nil
		})
	}, reader); err != nil {
		return err
	}
	type place struct{ pos, ord int64 }
	waits := make(map[place]struct{}, len(tail))
	for i := range tail {
		waits[place{tail[i].Pos, tail[i].Ord}] = struct{}{}
	}
	order := sorter{fn: fn}
	if err := sealedOf(v, reader, func(x Exposure) error {
		delete(waits, place{x.Pos, x.Ord})
		return order.add(x)
	}); err != nil {
		return err
	}
	for _, x := range tail {
		if _, is := waits[place{x.Pos, x.Ord}]; !is {
			continue
		}
		if x.AfterSeq < 0 { // no number yet, so it comes after those that have one
			if err := order.flush(); err != nil {
				return err
			}
			if err := fn(x); err != nil {
				return err
			}
			continue
		}
		if err := order.add(x); err != nil {
			return err
		}
	}
	return order.flush()
}

// sealedOf calls fn with every sealed exposure of a reader, in the order of the
// segments.
func sealedOf(v *store.View, reader act.ID, fn func(Exposure) error) error {
	var ids []int64
	if err := v.All(qSegmentHeads, func(r *store.Row) error {
		s, err := openSegment(r.Bytes(1))
		if err != nil {
			return fmt.Errorf("segment %d: %w", r.Int(0), err)
		}
		if s.kind == sealedExposures && s.has(reader) {
			ids = append(ids, r.Int(0))
		}
		return nil
	}); err != nil {
		return err
	}
	for _, id := range ids {
		var head, body []byte
		if _, err := v.One(qSegment, func(r *store.Row) error {
			head, body = r.Bytes(0), r.Bytes(1)
			return nil
		}, id); err != nil {
			return err
		}
		s, err := openSegment(head)
		if err == nil {
			err = s.exposures(body, func(r act.ID) bool { return r == reader }, fn)
		}
		if err != nil {
			return fmt.Errorf("segment %d: %w", id, err)
		}
	}
	return nil
}

// sorter brings pages into the order of the sequence that come in it but for
// those with the same number: on PostgreSQL a row that was committed late may be
// sealed after one of a higher position.
type sorter struct {
	fn   func(Exposure) error
	same []Exposure // with one number
}

func (s *sorter) add(x Exposure) error {
	if len(s.same) > 0 && s.same[0].AfterSeq != x.AfterSeq {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.same = append(s.same, x)
	return nil
}

func (s *sorter) flush() error {
	slices.SortFunc(s.same, func(a, b Exposure) int { return cmp.Or(cmp.Compare(a.Pos, b.Pos), cmp.Compare(a.Ord, b.Ord)) })
	for i := range s.same {
		if err := s.fn(s.same[i]); err != nil {
			return err
		}
	}
	s.same = s.same[:0]
	return nil
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
// the reader. It reads the reader's pages one after the other: a tool for checks
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
