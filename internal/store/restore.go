package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"zombiezen.com/go/sqlite"

	"github.com/reefwarden/reefwarden/internal/act"
)

// ErrOccupied says that there is something where a database was to be restored.
var ErrOccupied = errors.New("there is a network already")

// ErrUnfinished says that a restore into the database was interrupted. It cannot
// be served; restoring again starts over.
var ErrUnfinished = errors.New("a restore into it was interrupted: run reef restore again, it starts over")

// ErrNoRoom says that the disk is full.
var ErrNoRoom = errors.New("there is no room left on the disk")

// ErrNewer says that a backup was made by a later version of the program.
var ErrNewer = errors.New("it was made by a later version of reef: restore it with that version, or a later one")

// Loading is what Restore loads.
type Loading struct {
	Schema int64
	Tables []Table // as Dump lists them
	// Rows returns a function that gives the rows of a table, one at a time, and
	// then io.EOF. It is called for each of Tables in their order.
	Rows func(Table) func() ([]Value, error)
	Step func(what string) // told of each step that takes long; may be nil
}

// loader is a database that is being filled, in one transaction.
type loader interface {
	tables() ([]Table, error)
	dropIndexes() (restore func() error, err error)
	load(t Table, next func() ([]Value, error)) error
	tx() *Tx
}

// Restore makes a database of what Dump gave, on either database whichever it
// came from: the schema of that time is filled and then brought up to date. It
// refuses to touch a database in which there is anything. When it fails it leaves
// nothing behind. The database cannot be opened, but with Config.Unfinished,
// until FinishRestore was called.
//
// What is of one process only is reset: leases end, and what a dead PostgreSQL
// sequencer had not numbered is numbered. Reserved ids stay reserved, so that no
// id is given twice.
func Restore(ctx context.Context, cfg Config, what Loading) error {
	if what.Step == nil {
		what.Step = func(string) {}
	}
	known, err := newestSchema()
	if err != nil {
		return err
	}
	if what.Schema > known {
		return ErrNewer
	}
	if cfg.Dir != "" {
		err = restoreLite(ctx, cfg, what)
	} else {
		err = restorePostgres(ctx, cfg, what)
	}
	return plainly(err)
}

// plainly makes an error fit for who runs a restore: what callers of the network
// must not see, they must.
func plainly(err error) error {
	if e, ok := errors.AsType[*act.Error](err); ok && e.Unwrap() != nil {
		err = fmt.Errorf("%w: %w", err, e.Unwrap())
	}
	pg, _ := errors.AsType[*pgconn.PgError](err)
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultFull || pg != nil && pg.Code == "53100" {
		err = fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}

// Vacant reports whether a database could be restored here: nil, ErrOccupied, or
// why that cannot be told. It changes nothing.
func Vacant(ctx context.Context, cfg Config) error {
	if cfg.Dir != "" {
		_, err := vacantLite(ctx, cfg)
		return err
	}
	conn, err := connectPostgres(ctx, &cfg)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it has only read
	_, err = vacantPostgres(ctx, conn, cfg.Schema)
	return err
}

// Discard removes what Restore has made, if it is unfinished still.
func Discard(ctx context.Context, cfg Config) error {
	if cfg.Dir != "" {
		return discardLite(ctx, cfg)
	}
	conn, err := connectPostgres(ctx, &cfg)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // each statement has been committed
	if state, err := vacantPostgres(ctx, conn, cfg.Schema); err != nil || state != unserved {
		return err
	}
	return clearPostgres(ctx, conn, cfg.Schema)
}

const (
	restoreMark = "restore" // name of the row of meta that marks an unfinished restore

	qRestoreMark   Q = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`
	qRestoreMarked Q = `SELECT 1 FROM meta WHERE name = $1`
	qRestoreEnd    Q = `DELETE FROM meta WHERE name = $1`
	qAnyMeta       Q = `SELECT name FROM meta ORDER BY name LIMIT 1`
	qAnyEvent      Q = `SELECT pos FROM event WHERE pos > 0 ORDER BY pos LIMIT 1`

	qRestoreNodes     Q = `UPDATE node SET holder = '', lease_until_at = 0`
	qRestoreLeaders   Q = `UPDATE leader SET holder = '', lease_until_at = 0`
	qRestoreExposures Q = `SELECT pos FROM exposure WHERE after_seq IS NULL ORDER BY pos`
	qRestoreEvents    Q = `SELECT pos FROM event WHERE seq IS NULL ORDER BY pos`
	qRestoreNumber    Q = `UPDATE event SET seq = $2 WHERE pos = $1`
	qRestorePlace     Q = `UPDATE exposure SET after_seq = $2 WHERE pos = $1`
	qRestorePosition  Q = `SELECT CAST(COALESCE(MAX(p.pos), 0) AS BIGINT) FROM (SELECT MAX(pos) AS pos FROM event
UNION ALL SELECT MAX(pos) AS pos FROM exposure UNION ALL SELECT seq AS pos FROM cursor WHERE name = 'position') AS p`

	qRestoreSequencePostgres Q = `SELECT setval('position_seq', CASE WHEN $1 > 0 THEN $1 ELSE 1 END, $1 > 0)`
)

// fill loads everything into a database that has the schema and nothing else.
func fill(l loader, what Loading) error {
	there, err := l.tables()
	if err != nil {
		return err
	}
	if !slices.EqualFunc(there, what.Tables, func(a, b Table) bool {
		return a.Name == b.Name && slices.Equal(a.Columns, b.Columns)
	}) {
		return fmt.Errorf("its tables are not those of schema %d", what.Schema)
	}
	build, err := l.dropIndexes()
	if err != nil {
		return err
	}
	for _, t := range what.Tables {
		what.Step("loading " + t.Name)
		if err := l.load(t, what.Rows(t)); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	what.Step("building indexes")
	if err := build(); err != nil {
		return err
	}
	tx := l.tx()
	if err := settle(tx); err != nil {
		return err
	}
	_, err = tx.Exec(qRestoreMark, restoreMark, []byte("unfinished"))
	return err
}

// settle resets what was of the processes that had the database open, and
// numbers what was committed but not numbered yet, as the sequencer does.
func settle(tx *Tx) error {
	for _, q := range []Q{qRestoreNodes, qRestoreLeaders} {
		if _, err := tx.Exec(q); err != nil {
			return err
		}
	}
	var seq int64
	if _, err := tx.One(qLastSequence, func(r *Row) error { seq = r.Int(0); return nil }); err != nil {
		return err
	}
	list := func(q Q) (pos []int64, err error) {
		err = tx.All(q, func(r *Row) error { pos = append(pos, r.Int(0)); return nil })
		return pos, err
	}
	events, err := list(qRestoreEvents)
	if err != nil {
		return err
	}
	shown, err := list(qRestoreExposures)
	if err != nil {
		return err
	}
	for _, pos := range events {
		for ; len(shown) > 0 && shown[0] < pos; shown = shown[1:] {
			if _, err := tx.Exec(qRestorePlace, shown[0], seq); err != nil {
				return err
			}
		}
		seq++
		if _, err := tx.Exec(qRestoreNumber, pos, seq); err != nil {
			return err
		}
	}
	for _, pos := range shown {
		if _, err := tx.Exec(qRestorePlace, pos, seq); err != nil {
			return err
		}
	}
	var last int64
	if _, err := tx.One(qRestorePosition, func(r *Row) error { last = r.Int(0); return nil }); err != nil {
		return err
	}
	if tx.pg != nil {
		_, err := tx.One(qRestoreSequencePostgres, func(*Row) error { return nil }, last)
		return err
	}
	_, err = tx.Exec(qSavePosition, last)
	return err
}

// FinishRestore lets the database be opened from now on.
func (db *DB) FinishRestore(ctx context.Context) error {
	return db.Write(ctx, func(tx *Tx) error {
		_, err := tx.Exec(qRestoreEnd, restoreMark)
		return err
	})
}

// unfinished returns ErrUnfinished for a database whose restore was interrupted.
func (db *DB) unfinished(ctx context.Context) error {
	return db.View(ctx, func(v *View) error {
		marked, err := v.One(qRestoreMarked, func(*Row) error { return nil }, restoreMark)
		if err == nil && marked {
			err = ErrUnfinished
		}
		return err
	})
}

// vacancy says what stands where a database is to be restored.
type vacancy uint8

const (
	absent   vacancy = iota
	emptied          // PostgreSQL: a schema with nothing in it
	unbegun          // a schema that no network was ever opened in
	unserved         // what an interrupted restore has left
)

// vacant judges a database that has tables.
func vacant(v *View) (vacancy, error) {
	marked, err := v.One(qRestoreMarked, func(*Row) error { return nil }, restoreMark)
	if err != nil || marked {
		return unserved, err
	}
	for _, q := range []Q{qAnyMeta, qAnyEvent} {
		if some, err := v.One(q, func(*Row) error { return nil }); err != nil || some {
			return 0, errors.Join(err, ErrOccupied)
		}
	}
	return unbegun, nil
}

// until adapts a source of rows that ends in io.EOF.
func until(next func() ([]Value, error), fn func([]Value) error) error {
	for {
		row, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(row); err != nil {
			return err
		}
	}
}
