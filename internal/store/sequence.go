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
const (
	qUnnumberedEventsPostgres    Q = `SELECT pos FROM event WHERE seq IS NULL ORDER BY pos LIMIT $1`
	qUnnumberedExposuresPostgres Q = `SELECT pos FROM exposure WHERE after_seq IS NULL ORDER BY pos LIMIT $1`
	qNumberEventsPostgres        Q = `UPDATE event SET seq = fresh.seq FROM unnest(CAST($1 AS BIGINT[]), CAST($2 AS BIGINT[])) AS fresh (pos, seq) WHERE event.pos = fresh.pos`
	qNumberExposuresPostgres     Q = `UPDATE exposure SET after_seq = fresh.seq FROM unnest(CAST($1 AS BIGINT[]), CAST($2 AS BIGINT[])) AS fresh (pos, seq) WHERE exposure.pos = fresh.pos`
)

// SequencePass numbers what has been committed since the last pass, under the
// leader's lease, and returns how many rows it numbered. On SQLite the writer
// has numbered everything already and the pass does nothing.
func (db *DB) SequencePass(ctx context.Context, l Lease) (numbered int, err error) {
	if db.pg == nil {
		return 0, nil
	}
	err = db.Write(ctx, func(tx *Tx) error {
		numbered = 0
		if err := tx.Hold(l); err != nil {
			return err
		}
		var last int64
		if _, err := tx.One(qLastSequence, func(r *Row) error { last = r.Int(0); return nil }); err != nil {
			return err
		}
		events, err := positions(tx, qUnnumberedEventsPostgres)
		if err != nil {
			return err
		}
		shown, err := positions(tx, qUnnumberedExposuresPostgres)
		if err != nil {
			return err
		}
		// Both lists were cut at a batch: an exposure beyond the last event of
		// a full batch must wait for the events between.
		if len(events) == SequenceBatch {
			for len(shown) > 0 && shown[len(shown)-1] > events[len(events)-1] {
				shown = shown[:len(shown)-1]
			}
		}
		seqs, after := make([]int64, len(events)), make([]int64, len(shown))
		next := 0
		for i, pos := range shown {
			for next < len(events) && events[next] < pos {
				next++
			}
			after[i] = last + int64(next)
		}
		for i := range events {
			seqs[i] = last + int64(i) + 1
		}
		numbered = len(events) + len(shown)
		if err := tx.pg.number(qNumberEventsPostgres, events, seqs); err != nil {
			return err
		}
		return tx.pg.number(qNumberExposuresPostgres, shown, after)
	})
	return numbered, err
}

func positions(tx *Tx, q Q) (list []int64, err error) {
	err = tx.All(q, func(r *Row) error { list = append(list, r.Int(0)); return nil }, int64(SequenceBatch))
	return list, err
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

const qEventsAfter Q = `SELECT seq, act, ref, version, actor, at FROM event WHERE seq > $1 ORDER BY seq LIMIT $2`

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
			Act: r.Text(1), Ref: act.Ref{ID: r.ID(2), Version: r.Int(3)}, Actor: r.ID(4), At: r.Int(5),
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
