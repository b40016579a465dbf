package provenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Sealer moves what is full or old of the log of exposures into segments. A part
// of the log is due when it has blockPages pages, or BlockRows rows, or when the
// day (UTC) of its first row is over; a segment has rows of one day. What stays
// is less than that, and what came since the last pass.
//
// A part leaves the log in the transaction that adds its segment, and only if
// what leaves is what was sealed. So sealing may be cut off at any line and done
// by several at once: nothing is lost or sealed twice. Only one Seal may run on a
// Sealer at a time.
type Sealer struct {
	db     *store.DB
	packer *packer
	pages  int // of a full part
	rows   int
}

const (
	// BlockRows is how many rows of the log are sealed without waiting for the day
	// to end.
	BlockRows  = 4096
	blockPages = 8192
	sealTries  = 3 // when others seal, or a late row falls into the part
)

// NewSealer returns a sealer of a database's log.
func NewSealer(db *store.DB) (*Sealer, error) {
	p, err := newPacker()
	if err != nil {
		return nil, err
	}
	return &Sealer{db: db, packer: p, pages: blockPages, rows: BlockRows}, nil
}

// On SQLite positions have the order of the sequence. On PostgreSQL rows that have
// no number yet wait until they have one.
const (
	qSealableSQLite store.Q = `SELECT pos, after_seq, agent, at, channel, again, count, items, trace, pages
FROM exposure WHERE pos > 0 ORDER BY pos LIMIT $1`
	qSealablePostgres store.Q = `SELECT pos, after_seq, agent, at, channel, again, count, items, trace, pages
FROM exposure WHERE after_seq >= 0 ORDER BY after_seq, pos LIMIT $1`

	qSegmentLast store.Q = `SELECT id, last_seq FROM segment WHERE id > 0 ORDER BY id DESC LIMIT 1`

	qSegmentAdd store.Q = `INSERT INTO segment (id, kind, first_seq, last_seq, first_at, last_at, pages, items, head, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

	qExposureDrop store.Q = `DELETE FROM exposure WHERE pos >= $1 AND pos <= $2 AND (after_seq < $3 OR after_seq = $3 AND pos <= $4)`
)

// part is the beginning of the log, in the order of the sequence.
type part struct {
	pages     []Exposure
	rows      int64
	low, high int64 // the least and the greatest position
}

var errMoved = errors.New("the log has changed meanwhile")

// Seal seals what is due and returns how many segments it made.
func (s *Sealer) Seal(ctx context.Context) (made int, err error) {
	for tries := 0; ; {
		p, err := s.due(ctx)
		if err != nil || p == nil {
			return made, err
		}
		switch err := s.seal(ctx, p); {
		case err == nil:
			made, tries = made+1, 0
		case errors.Is(err, errMoved) && tries < sealTries:
			tries++
		default:
			return made, err
		}
	}
}

const day = int64(24 * time.Hour / time.Microsecond)

// due returns the part of the log that is to be sealed next, nil if none is.
func (s *Sealer) due(ctx context.Context) (*part, error) {
	q := qSealableSQLite
	if s.db.Dialect() == store.Postgres {
		q = qSealablePostgres
	}
	p := &part{}
	var first int64 // day
	full := false
	err := s.db.View(ctx, func(v *store.View) error {
		*p, full = part{}, false
		err := v.All(q, func(r *store.Row) error {
			pos, at := r.Int(0), r.Int(3)/day
			if p.rows == 0 {
				first, p.low, p.high = at, pos, pos
			}
			if at != first || len(p.pages) >= s.pages {
				full = true
				return errFound
			}
			p.rows, p.low, p.high = p.rows+1, min(p.low, pos), max(p.high, pos)
			return pagesOf(r, func(x Exposure) error { p.pages = append(p.pages, x); return nil })
		}, int64(s.rows))
		if errors.Is(err, errFound) {
			return nil
		}
		return err
	})
	if err != nil || p.rows == 0 {
		return nil, err
	}
	full = full || p.rows >= int64(s.rows) || len(p.pages) >= s.pages
	if !full && first >= act.Micros(s.db.Clock()())/day {
		return nil, nil
	}
	return p, nil
}

// Load adds pages that stand in no log as a segment, behind those that are there: how a
// network is filled with years of traffic. They are in the order of the sequence.
func (s *Sealer) Load(ctx context.Context, pages []Exposure) (bytes int64, err error) {
	seg, head, body := sealExposures(pages, s.packer)
	return int64(len(head) + len(body)), s.db.Write(ctx, func(tx *store.Tx) error { return addSegment(tx, &seg, pages, head, body) })
}

func addSegment(tx *store.Tx, seg *segment, pages []Exposure, head, body []byte) error {
	id := int64(0)
	if _, err := tx.One(qSegmentLast, func(r *store.Row) error { id = r.Int(0); return nil }); err != nil {
		return err
	}
	first, last := &pages[0], &pages[len(pages)-1]
	return tx.Batch(qSegmentAdd, id+1, int64(seg.kind), first.AfterSeq, last.AfterSeq, first.At, last.At,
		int64(seg.rows), int64(seg.items), head, body)
}

// seal makes a segment of a part of the log.
func (s *Sealer) seal(ctx context.Context, p *part) error {
	seg, head, body := sealExposures(p.pages, s.packer)
	if err := proveSame(head, body, p.pages); err != nil {
		return err // the log stays as it is
	}
	last := &p.pages[len(p.pages)-1]
	ctx, cancel := context.WithTimeout(ctx, writeBound)
	defer cancel()
	return s.db.Write(ctx, func(tx *store.Tx) error {
		gone, err := tx.Exec(qExposureDrop, p.low, p.high, last.AfterSeq, last.Pos)
		if err != nil {
			return err
		}
		if gone != p.rows {
			return errMoved
		}
		return addSegment(tx, &seg, p.pages, head, body)
	})
}

// proveSame opens what has been sealed, as a reader will, and fails unless it has
// exactly the pages.
func proveSame(head, body []byte, pages []Exposure) error {
	s, err := openSegment(head)
	if err != nil {
		return err
	}
	n := 0
	if err := s.exposures(body, everyone, func(x Exposure) error {
		if n >= len(pages) || !samePage(&x, &pages[n]) {
			return fmt.Errorf("page %d of a segment differs from what was sealed", n)
		}
		n++
		return nil
	}); err != nil {
		return err
	}
	if n != len(pages) {
		return fmt.Errorf("a segment has %d pages, %d were sealed", n, len(pages))
	}
	return nil
}

func everyone(act.ID) bool { return true }

func samePage(a, b *Exposure) bool {
	return a.Pos == b.Pos && a.Ord == b.Ord && a.AfterSeq == b.AfterSeq && a.Reader == b.Reader && a.At == b.At &&
		a.Channel == b.Channel && a.Again == b.Again && a.Count == b.Count && a.Trace == b.Trace && slices.Equal(a.Items, b.Items)
}
