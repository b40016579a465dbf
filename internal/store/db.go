package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Q is the text of one SQL statement. Every statement is a package-level
// constant of this type in the file that uses it, so that the architecture test
// can find it, prepare it on both databases and check whose tables it touches.
// A constant whose name ends in SQLite or Postgres is for that database only.
type Q string

// Dialect names the database behind a DB.
type Dialect uint8

// The databases.
const (
	SQLite Dialect = iota
	Postgres
)

// String returns the name used in bench output and test names.
func (d Dialect) String() string {
	if d == Postgres {
		return "postgres"
	}
	return "sqlite"
}

// Config says which database to open. Exactly one of Dir and URL is set.
type Config struct {
	Dir    string // SQLite: the directory that holds reef.db; made if absent
	URL    string // PostgreSQL: connection URL; a password comes from PGPASSWORD or PGPASSFILE
	Schema string // PostgreSQL: the network's schema, "public" if empty; made if absent

	Clock   act.Clock // act.RealClock if nil
	Log     *slog.Logger
	Readers int // SQLite reader connections or PostgreSQL pool size; 8 or 16 if 0

	// Unfinished opens a database whose restore has not ended; see Restore.
	Unfinished bool

	// MaxBytes bounds the size of a SQLite database; a write beyond it fails as
	// on a full disk. 0 is no bound.
	MaxBytes int64

	// WAL is how many bytes of SQLite's write-ahead log may wait before they are
	// moved into the database; 32 MiB if 0. The log is begun anew from four times
	// as many.
	WAL int64

	// Fault injects failures for tests; nil in the product.
	Fault func(Step) error
}

// Step is a place in a write where Config.Fault is asked whether to fail.
type Step uint8

// The steps. An error at StepCommitted is given to the caller although the
// data is stored: the case of a connection lost while the commit's answer was
// on its way.
const (
	StepBegin Step = iota
	StepStatement
	StepCommit
	StepCommitted
)

// String returns the step's name for test output.
func (s Step) String() string {
	return [...]string{"begin", "statement", "commit", "committed"}[s]
}

// DB is one network's database. It is safe for concurrent use.
type DB struct {
	cfg  Config
	log  *slog.Logger
	lite *lite // nil on PostgreSQL
	pg   *pg   // nil on SQLite
	node *node
	led  led

	since func(*View) (int64, bool, error)                      // set by Retain, before it is asked
	said  func(*View, Term, int64) (time.Duration, bool, error) // as since
}

// Open opens the database, brings its schema up to date under a lock, and
// leases a node number. Close gives all of it back.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if (cfg.Dir == "") == (cfg.URL == "") {
		return nil, errors.New("store: set exactly one of Dir and URL")
	}
	if cfg.Clock == nil {
		cfg.Clock = act.RealClock
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{cfg: cfg, log: cfg.Log}
	var err error
	if cfg.Dir != "" {
		db.lite, err = openLite(ctx, cfg)
	} else {
		db.pg, err = openPostgres(ctx, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("store: open: %w", err)
	}
	if err = leaseNode(ctx, db); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("store: lease a node number: %w", err)
	}
	if db.lite != nil {
		db.lite.start(db.node)
	} else {
		db.pg.convoy = startConvoy(db.pg, db.node)
	}
	if !cfg.Unfinished {
		if err := db.unfinished(ctx); err != nil {
			_ = db.Close()
			return nil, fmt.Errorf("store: open: %w", err)
		}
	}
	return db, nil
}

// Dialect says which database is behind db.
func (db *DB) Dialect() Dialect {
	if db.pg != nil {
		return Postgres
	}
	return SQLite
}

// Node returns this process's leased node number (0..act.MaxNode).
func (db *DB) Node() int { return db.node.n }

// Clock returns the clock the database was opened with.
func (db *DB) Clock() act.Clock { return db.cfg.Clock }

// View runs fn on a read connection. Each statement sees the latest committed
// state; use Snapshot where several statements must agree.
func (db *DB) View(ctx context.Context, fn func(*View) error) error {
	if db.pg != nil {
		return db.pg.view(ctx, false, fn)
	}
	return db.lite.view(ctx, false, fn)
}

// Snapshot is View with one consistent snapshot for all statements of fn.
func (db *DB) Snapshot(ctx context.Context, fn func(*View) error) error {
	if db.pg != nil {
		return db.pg.view(ctx, true, fn)
	}
	return db.lite.view(ctx, true, fn)
}

// Write runs fn in a transaction and returns nil only when its changes are
// durable. fn may run more than once and must change nothing outside the
// transaction. An error from fn rolls its changes back and is returned as it
// is. When Write itself fails the error is Unavailable, and the changes may or
// may not be stored (a lost answer): callers retry with an idempotency key.
//
// ctx bounds the time in the queue, not a running transaction.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	_, err := db.WriteFenced(ctx, fn)
	return err
}

// WriteFenced is Write for a transaction that may record fences (Tx.Fence) or
// change what memory holds (Tx.Touch). It returns what is to be done about them.
func (db *DB) WriteFenced(ctx context.Context, fn func(*Tx) error) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, unavailable("the request ended before it was done", err)
	}
	if db.pg != nil {
		return db.pg.act(ctx, db.node, fn)
	}
	return db.lite.write(ctx, fn)
}

// upkeep is Write for the store's own leases, cursors and numbering, which run
// beside the acts. On PostgreSQL Config.Fault is not asked about them: a test
// that counts the steps of an act would count theirs.
func (db *DB) upkeep(ctx context.Context, fn func(*Tx) error) error {
	if db.lite != nil {
		return db.Write(ctx, fn)
	}
	if err := ctx.Err(); err != nil {
		return unavailable("the request ended before it was done", err)
	}
	_, err := db.pg.write(ctx, db.node, nil, fn)
	return err
}

// Scrub returns when nothing that was deleted or overwritten before the call is
// left in the database's files. On SQLite deleted bytes are overwritten at once
// and the write-ahead log, which still has the old pages, is emptied here. On
// PostgreSQL it does nothing: dead rows stay in the files until VACUUM and in
// the server's own log until that is recycled, and only its administrator can
// hurry either.
func (db *DB) Scrub(ctx context.Context) error {
	if db.lite == nil {
		return nil
	}
	return db.lite.scrub(ctx)
}

// Mint makes an id outside a transaction.
func (db *DB) Mint(ctx context.Context, kind act.Kind) (act.ID, error) {
	id, err := db.node.minter.New(kind)
	if err == nil {
		return id, nil
	}
	if err := db.node.renew(ctx); err != nil {
		return 0, err
	}
	return db.node.minter.New(kind)
}

// Reserve sees to it that ids can be made up to a time that is ahead of the clock,
// for those whose clock leaps.
func (db *DB) Reserve(ctx context.Context, until time.Time) error {
	n := db.node
	n.wanted.Store(act.IDMillis(until))
	if _, due := n.due(); !due {
		return nil
	}
	return n.renew(ctx)
}

// Ping reports whether the database answers, as an Unavailable error if not.
func (db *DB) Ping(ctx context.Context) error {
	return db.View(ctx, func(v *View) error {
		_, err := v.One(qPing, func(*Row) error { return nil })
		return err
	})
}

const qPing Q = `SELECT 1`

// QueueDepth returns how many writes wait for the SQLite writer; 0 on PostgreSQL.
func (db *DB) QueueDepth() int {
	if db.lite == nil {
		return 0
	}
	return len(db.lite.jobs)
}

// Close waits for running work, gives the node number back and closes the
// database. A second Close does nothing.
func (db *DB) Close() error {
	if db.pg != nil && db.pg.convoy != nil {
		db.pg.convoy.close()
	}
	if db.node != nil {
		db.node.release()
	}
	if db.pg != nil {
		db.pg.pool.Close()
		return nil
	}
	return db.lite.close()
}

// unavailable wraps a failure of the database itself. Its text never reaches a
// caller; the credential is fine and the caller may retry.
func unavailable(what string, cause error) error {
	return act.Errorf(act.Unavailable, "%s: %w", what, cause).
		WithHint("the network could not reach its storage; your credential is fine, retry later").
		WithRetry(retryAfter)
}

const retryAfter = 2 * time.Second
