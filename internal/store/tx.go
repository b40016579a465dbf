package store

import (
	"fmt"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
)

// View reads. It is valid only inside the function it was passed to and only on
// that function's goroutine.
type View struct {
	lite   *liteConn // SQLite: nil before the first question of a view that borrows
	borrow func() (*liteConn, error)
	pg     *pgConn // nil on SQLite
}

// Dialect says which database the view reads, for the few queries that must
// differ.
func (v *View) Dialect() Dialect {
	if v.pg != nil {
		return Postgres
	}
	return SQLite
}

// One runs a query that gives at most one row and calls scan with it. It
// reports whether there was a row.
func (v *View) One(q Q, scan func(*Row) error, args ...any) (found bool, err error) {
	err = v.query(q, 1, func(r *Row) error { found = true; return scan(r) }, args)
	return found, err
}

// All runs a query and calls scan with each row.
func (v *View) All(q Q, scan func(*Row) error, args ...any) error {
	return v.query(q, 0, scan, args)
}

func (v *View) query(q Q, limit int, scan func(*Row) error, args []any) error {
	if err := v.connect(); err != nil {
		return err
	}
	if v.pg != nil {
		return v.pg.query(q, limit, scan, args)
	}
	return v.lite.query(q, limit, scan, args)
}

// Connect sees to it that the view has a connection. Who makes others wait for
// what it will ask has to have one before: those who wait may hold all there are.
func (v *View) Connect() error { return v.connect() }

func (v *View) connect() (err error) {
	switch {
	case v.pg != nil:
		return v.pg.connect()
	case v.lite == nil:
		v.lite, err = v.borrow()
	}
	return err
}

// Tx is a View that also writes. Everything it does is undone if the function
// it was passed to returns an error.
type Tx struct {
	View
	now  int64
	node *node
	seq  *sequence // SQLite: the writer's counters; nil on PostgreSQL

	adds    []addition
	fences  []fenceRow
	touched []act.ID // each once
	fence   int64    // number of the last fence, known after commit
	event   int64    // position of the last event, 0 before the first
}

// Outcome is what a transaction leaves to do once it has committed.
type Outcome struct {
	Fence   int64    // number of its last fence, 0 if it made none
	Touched []act.ID // see Tx.Touch
}

type addition struct {
	q     Q
	id    act.ID
	delta int64
	raise bool  // delta is a value to rise to, not one to add
	short error // of Draw: why the transaction fails when the row has not so much; nil for a counter
}

type fenceRow struct {
	kind act.Kind
	id   act.ID
}

// Now returns the time of the transaction in Unix microseconds.
func (tx *Tx) Now() int64 { return tx.now }

// Turn stands between two acts in one transaction: what the first has put off is
// done, so that an error of it is found here, and the clock is read again for the
// second. What the first has touched is returned, and no longer the transaction's:
// each act's events tell of its own.
func (tx *Tx) Turn() (touched []act.ID, err error) {
	tx.now = act.Micros(tx.node.db.cfg.Clock())
	touched, tx.touched = tx.touched, nil
	if tx.pg == nil {
		return touched, nil
	}
	return touched, tx.pg.flush()
}

// Mint makes an id of the given kind.
func (tx *Tx) Mint(kind act.Kind) (act.ID, error) { return tx.node.minter.New(kind) }

// Exec runs a statement and returns how many rows it changed.
func (tx *Tx) Exec(q Q, args ...any) (changed int64, err error) {
	if tx.pg != nil {
		return tx.pg.exec(q, args)
	}
	return tx.lite.exec(q, args)
}

// Batch runs a statement whose result nobody needs. On PostgreSQL it travels
// with the next statement that does, or with the commit; an error of it fails
// the transaction there.
func (tx *Tx) Batch(q Q, args ...any) error {
	if tx.pg == nil {
		_, err := tx.lite.exec(q, args)
		return err
	}
	if err := tx.pg.inject(StepStatement); err != nil {
		return err
	}
	tx.pg.later(q, args)
	return nil
}

// Soon runs a query whose answer is only checked: check gets its row, or nil
// without one, and its error fails the transaction. On PostgreSQL the query
// travels with the next statement that has an answer, and is checked before the
// commit at the latest; on SQLite it runs at once.
func (tx *Tx) Soon(q Q, check func(*Row) error, args ...any) error {
	if tx.pg != nil {
		tx.pg.soon(q, check, args)
		return nil
	}
	found, err := tx.One(q, check, args...)
	if err == nil && !found {
		err = check(nil)
	}
	return err
}

// Add changes a counter: q is "UPDATE t SET c = c + $2 WHERE id = $1". The
// change is applied at the end of the transaction, in the order of the ids so
// that two transactions can never wait for each other's counters; on SQLite it
// is folded over the whole group. A Tx does not see its own additions. The row is
// touched.
func (tx *Tx) Add(q Q, id act.ID, delta int64) {
	if id != 0 && delta != 0 {
		tx.adds = append(tx.adds, addition{q: q, id: id, delta: delta})
		tx.Touch(id)
	}
}

// Raise lifts a high-water mark: q is "UPDATE t SET c = CASE WHEN c < $2 THEN $2
// ELSE c END WHERE id = $1". It is applied with the counters and in their order,
// and of a SQLite group only the highest value is written. The row is touched.
func (tx *Tx) Raise(q Q, id act.ID, to int64) {
	if id != 0 {
		tx.adds = append(tx.adds, addition{q: q, id: id, delta: to, raise: true})
		tx.Touch(id)
	}
}

// Draw takes from what a row has left: q is "UPDATE t SET used = used + $2 WHERE id = $1
// AND used + $2 <= most". When it changes no row the transaction fails with short. On
// PostgreSQL it is applied with the counters and in their order, so that the row is locked
// for the end of the transaction only; on SQLite at once.
func (tx *Tx) Draw(q Q, id act.ID, amount int64, short error) error {
	if tx.pg != nil {
		tx.adds = append(tx.adds, addition{q: q, id: id, delta: amount, short: short})
		return nil
	}
	changed, err := tx.lite.exec(q, []any{id, amount})
	if err == nil && changed == 0 {
		err = short
	}
	return err
}

// Touch says that what any node's memory holds of a thing is out of date when the
// transaction has committed. The caller of DB.WriteFenced is told; other nodes
// are by the events that the transaction makes after the touch. TouchAll says it
// of everything.
func (tx *Tx) Touch(ids ...act.ID) {
	for _, id := range ids {
		if !slices.Contains(tx.touched, id) {
			tx.touched = append(tx.touched, id)
		}
	}
}

// TouchAll stands in place of the id of a thing.
const TouchAll act.ID = 0

// Event is one row of the event sequence: that an act happened to a thing.
type Event struct {
	Act     string  // the act's name
	Ref     act.Ref // what it made or changed, or what it was aimed at
	Target  act.ID  // what it was aimed at, 0 if nothing or the network
	Actor   act.ID  // 0 for observers and system principals
	Outcome int64   // 0 when it was done, else the gate's number for why not
	At      int64   // Unix microseconds
}

const (
	qEvent Q = `INSERT INTO event (pos, seq, act, ref, version, target, actor, outcome, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	qEventTouching Q = `INSERT INTO event (pos, seq, act, ref, version, target, actor, outcome, at, touched)
VALUES ($1, NULL, $2, $3, $4, $5, $6, $7, $8, $9)`
)

// Event adds a row to the event sequence and returns its position. The dense
// sequence number is given by the writer (SQLite) or by the sequencer after
// commit (PostgreSQL); see DB.Events.
func (tx *Tx) Event(e Event) (pos int64, err error) {
	pos, _, err = tx.position()
	if err != nil {
		return 0, err
	}
	tx.event = pos
	if tx.seq == nil {
		return pos, tx.Batch(qEventTouching, pos, e.Act, e.Ref.ID, e.Ref.Version, e.Target, e.Actor, e.Outcome, e.At, appendTouched(nil, tx.node.n, tx.touched))
	}
	tx.seq.seq++
	seq := tx.seq.seq
	return pos, tx.Batch(qEvent, pos, seq, e.Act, e.Ref.ID, e.Ref.Version, e.Target, e.Actor, e.Outcome, e.At)
}

// LastPosition returns the position of the transaction's last event, 0 if it has
// none yet: what belongs to an act is kept under its event's position.
func (tx *Tx) LastPosition() int64 { return tx.event }

// Position reserves a position between events for an exposure row. afterSeq is
// the last sequence number before it, or nil on PostgreSQL, where the sequencer
// fills it in after commit.
func (tx *Tx) Position() (pos int64, afterSeq any, err error) { return tx.position() }

func (tx *Tx) position() (int64, any, error) {
	if tx.seq != nil {
		tx.seq.pos++
		return tx.seq.pos, tx.seq.seq, nil
	}
	pos, err := tx.pg.nextPosition()
	return pos, nil, err
}

// Fence records that the standing or state of a thing has changed in a way that
// every node must have applied before the act is acknowledged. The fence is
// numbered at commit, in commit order; DB.WriteFenced returns the number.
func (tx *Tx) Fence(kind act.Kind, id act.ID) {
	tx.fences = append(tx.fences, fenceRow{kind, id})
}

const (
	qFenceNext Q = `SELECT CAST(COALESCE(MAX(n), 0) + 1 AS BIGINT) FROM fence`
	qFenceAdd  Q = `INSERT INTO fence (n, kind, id, at) VALUES ($1, $2, $3, $4)`
)

// settleFences numbers and writes the transaction's fences. It runs last before
// the commit, because on PostgreSQL the lock that keeps the numbers in commit
// order is held until then.
func (tx *Tx) settleFences() error {
	if len(tx.fences) == 0 {
		return nil
	}
	if tx.pg != nil {
		if err := tx.pg.lockFenceLog(); err != nil {
			return err
		}
	}
	var n int64
	if _, err := tx.One(qFenceNext, func(r *Row) error { n = r.Int(0); return nil }); err != nil {
		return err
	}
	for i, f := range tx.fences {
		tx.fence = n + int64(i)
		if err := tx.Batch(qFenceAdd, tx.fence, int64(f.kind), f.id, tx.now); err != nil {
			return err
		}
	}
	return nil
}

// reset makes tx ready for the next function; slices keep their capacity.
func (tx *Tx) reset(now int64) {
	tx.now, tx.fence, tx.event = now, 0, 0
	tx.adds, tx.fences, tx.touched = tx.adds[:0], tx.fences[:0], tx.touched[:0]
}

// guard calls fn and turns a panic into an error, so that a defect in one act
// cannot take the writer or the process with it.
func guard(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v", p)
		}
	}()
	return fn(tx)
}
