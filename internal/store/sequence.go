package store

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
)

// SequenceBatch bounds how many rows one sequencer pass numbers.
const SequenceBatch = 5000

// SequencerLease is the name of the lease under which one process numbers
// events on PostgreSQL.
const SequencerLease = "sequencer"

// The sequencer gives committed events their dense numbers. Positions come from
// a database sequence, so an event that was caused by something its agent had
// been shown has a higher position than the showing, and is never numbered
// before it: the showing was committed, hence visible, before the act began.
// For the same reason a showing comes after the event that made what it shows.
// Both hold only if events and exposures are read in one snapshot and cut at
// one position, so one statement reads both, those of an exposure marked shown.
const (
	qUnnumberedPostgres Q = `SELECT fresh.pos, fresh.shown FROM (
  SELECT event.pos, 0 AS shown FROM event WHERE event.seq IS NULL
  UNION ALL SELECT exposure.pos, 1 AS shown FROM exposure WHERE exposure.after_seq IS NULL
) AS fresh ORDER BY pos LIMIT $1`
	qNumberEventsPostgres    Q = `UPDATE event SET seq = fresh.seq FROM unnest(CAST($1 AS BIGINT[]), CAST($2 AS BIGINT[])) AS fresh (pos, seq) WHERE event.pos = fresh.pos`
	qNumberExposuresPostgres Q = `UPDATE exposure SET after_seq = fresh.seq FROM unnest(CAST($1 AS BIGINT[]), CAST($2 AS BIGINT[])) AS fresh (pos, seq) WHERE exposure.pos = fresh.pos`
)

// SequencePass numbers what has been committed since the last pass, under the
// leader's lease, and returns how many rows it numbered. On SQLite the writer
// has numbered everything already and the pass does nothing.
func (db *DB) SequencePass(ctx context.Context, l Lease) (numbered int, err error) {
	if db.pg == nil {
		return 0, nil
	}
	err = db.upkeep(ctx, func(tx *Tx) error {
		numbered = 0
		if err := tx.Hold(l); err != nil {
			return err
		}
		var last int64
		if _, err := tx.One(qLastSequence, func(r *Row) error { last = r.Int(0); return nil }); err != nil {
			return err
		}
		var events, seqs, shown, after []int64
		err := tx.All(qUnnumberedPostgres, func(r *Row) error {
			if r.Bool(1) {
				shown, after = append(shown, r.Int(0)), append(after, last)
				return nil
			}
			last++
			events, seqs = append(events, r.Int(0)), append(seqs, last)
			return nil
		}, int64(SequenceBatch))
		if err != nil {
			return err
		}
		numbered = len(events) + len(shown)
		if err := tx.pg.number(qNumberEventsPostgres, events, seqs); err != nil {
			return err
		}
		return tx.pg.number(qNumberExposuresPostgres, shown, after)
	})
	return numbered, err
}

// number sends two arrays, which no other statement needs.
func (c *pgConn) number(q Q, pos, seq []int64) error {
	if len(pos) == 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	_, err := c.conn.Exec(c.ctx, string(q), pos, seq)
	return pgError(err)
}

const qEventsAfter Q = `SELECT seq, act, ref, version, target, actor, outcome, at FROM event WHERE seq > $1 ORDER BY seq LIMIT $2`

// NumberedEvent is an event with its sequence number.
type NumberedEvent struct {
	Seq int64
	Event
}

// EventsAfter returns up to limit events with a sequence number above after, in
// order and without gaps. It is the only way to follow what happens: a reader
// that keeps the last number it has seen misses nothing.
func (v *View) EventsAfter(after int64, limit int) (events []NumberedEvent, err error) {
	err = v.All(qEventsAfter, func(r *Row) error {
		events = append(events, NumberedEvent{Seq: r.Int(0), Event: Event{
			Act: r.Text(1), Ref: act.Ref{ID: r.ID(2), Version: r.Int(3)}, Target: r.ID(4), Actor: r.ID(5), Outcome: r.Int(6), At: r.Int(7),
		}})
		return nil
	}, after, int64(limit))
	return events, err
}

// LastSequence returns the number of the newest numbered event.
func (v *View) LastSequence() (seq int64, err error) {
	_, err = v.One(qLastSequence, func(r *Row) error { seq = r.Int(0); return nil })
	return seq, err
}

const qFirstSequence Q = `SELECT seq FROM event WHERE seq > 0 ORDER BY seq LIMIT 1`

// FirstSequence returns the number of the oldest event that is kept, 0 if there
// is none.
func (v *View) FirstSequence() (seq int64, err error) {
	_, err = v.One(qFirstSequence, func(r *Row) error { seq = r.Int(0); return nil })
	return seq, err
}

const qUnnumberedAny Q = `SELECT pos FROM event WHERE seq IS NULL ORDER BY pos LIMIT 1`

// Numbered reports whether every committed event has its sequence number.
func (v *View) Numbered() (bool, error) {
	waits, err := v.One(qUnnumberedAny, func(*Row) error { return nil })
	return !waits, err
}

const qUnnumbered Q = `SELECT COUNT(*) FROM event WHERE seq IS NULL`

// Unnumbered counts the committed events that have no sequence number yet.
func (v *View) Unnumbered() (n int64, err error) {
	_, err = v.One(qUnnumbered, func(r *Row) error { n = r.Int(0); return nil })
	return n, err
}

const (
	qCursorRead Q = `SELECT seq FROM cursor WHERE name = $1`
	qCursorSave Q = `INSERT INTO cursor (name, seq, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, updated_at = excluded.updated_at`
)

// Cursor returns how far the named reader of the event sequence has come.
func (v *View) Cursor(name string) (seq int64, err error) {
	_, err = v.One(qCursorRead, func(r *Row) error { seq = r.Int(0); return nil }, name)
	return seq, err
}

// SaveCursor stores how far the named reader has come, in the transaction that
// stores what it made of the events.
func (tx *Tx) SaveCursor(name string, seq int64) error {
	return tx.Batch(qCursorSave, name, seq, tx.now)
}
