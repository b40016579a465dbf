package provenance

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
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
	note   Note
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

// Sealed is what is put on record of a segment.
type Sealed struct {
	ID                       int64
	Digest                   [32]byte
	FirstSeq, LastSeq, Pages int64
}

// Note puts a segment on record, in the transaction that adds it.
type Note func(tx *store.Tx, s Sealed) error

// NewSealer returns a sealer of a database's log. Without a note nothing is put on record.
func NewSealer(db *store.DB, note Note) (*Sealer, error) {
	p, err := newPacker()
	if err != nil {
		return nil, err
	}
	return &Sealer{db: db, note: note, packer: p, pages: blockPages, rows: BlockRows}, nil
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
		if err == nil && p == nil {
			err = s.catchUp(ctx)
		}
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
		if err := addSegment(tx, &seg, p.pages, head, body); err != nil {
			return err
		}
		return s.record(tx)
	})
}

// noted is whose row in the table cursor says which segment was put on record last.
const noted = "segments on record"

const (
	noteBatch = 64

	qSegmentsNotNoted store.Q = `SELECT id, first_seq, last_seq, pages, head, body FROM segment WHERE id > $1 ORDER BY id LIMIT $2`
)

// record puts segments on record that are not: the one that was just added, and those
// that earlier releases have made.
func (s *Sealer) record(tx *store.Tx) error {
	if s.note == nil {
		return nil
	}
	after, err := tx.Cursor(noted)
	if err != nil {
		return err
	}
	var list []Sealed
	if err := tx.All(qSegmentsNotNoted, func(r *store.Row) error {
		x := Sealed{ID: r.Int(0), FirstSeq: r.Int(1), LastSeq: r.Int(2), Pages: r.Int(3)}
		x.Digest = digestOf(x.ID, r.Bytes(4), r.Bytes(5))
		list = append(list, x)
		return nil
	}, after, int64(noteBatch)); err != nil {
		return err
	}
	for _, x := range list {
		if err := s.note(tx, x); err != nil {
			return err
		}
		after = x.ID
	}
	return tx.SaveCursor(noted, after)
}

// catchUp puts on record what is sealed and is not.
func (s *Sealer) catchUp(ctx context.Context) error {
	if s.note == nil {
		return nil
	}
	for {
		var last, after int64
		if err := s.db.View(ctx, func(v *store.View) (err error) {
			if after, err = v.Cursor(noted); err == nil {
				_, err = v.One(qSegmentLast, func(r *store.Row) error { last = r.Int(0); return nil })
			}
			return err
		}); err != nil || last <= after {
			return err
		}
		if err := s.db.Write(ctx, s.record); err != nil {
			return err
		}
	}
}

// digestOf is what the record says of a segment: nothing of it can be changed, nor can two
// change places.
func digestOf(id int64, head, body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(id))) // never fails
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(head))))
	_, _ = h.Write(head)
	_, _ = h.Write(body)
	h.Sum(sum[:0])
	return sum
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
