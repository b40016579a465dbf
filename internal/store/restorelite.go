package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const restoreCacheKiB = 131072

// vacantLite says whether a SQLite database can be made in the directory.
func vacantLite(_ context.Context, cfg Config) (vacancy, error) {
	path := filepath.Join(cfg.Dir, liteFile)
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return absent, nil
		}
		return 0, err
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return 0, errors.Join(ErrOccupied, err)
	}
	defer conn.Close() //nolint:errcheck // it has only read
	state, err := vacant(&View{lite: &liteConn{conn: conn, stmts: make(map[Q]*liteStmt)}})
	if err != nil && !errors.Is(err, ErrOccupied) {
		err = errors.Join(ErrOccupied, err) // whatever it is, it is somebody's
	}
	return state, err
}

// restoreLite fills a file beside the database's place and gives it its name when
// it is whole and on the disk.
func restoreLite(ctx context.Context, cfg Config, what Loading) (err error) {
	_, missing := os.Stat(cfg.Dir)
	if err := os.MkdirAll(cfg.Dir, liteFolderPerm); err != nil {
		return err
	}
	lock, err := lockDir(cfg.Dir) // no server, and no second restore
	if err != nil {
		return err
	}
	final := filepath.Join(cfg.Dir, liteFile)
	draft := final + ".restoring"
	defer func() {
		if err != nil {
			forgetFiles(draft)
			if errors.Is(missing, fs.ErrNotExist) {
				forgetFiles(lock.Name())
				_ = os.Remove(cfg.Dir) // unless something is in it
			}
		}
		_ = lock.Close()
	}()
	state, err := vacantLite(ctx, cfg)
	if err != nil {
		return err
	}
	forgetFiles(draft) // of a restore that was killed
	if err := draftLite(ctx, cfg, draft, what); err != nil {
		return err
	}
	if state != absent {
		forgetFiles(final)
	}
	if err := os.Rename(draft, final); err != nil {
		return err
	}
	return syncPath(cfg.Dir)
}

// discardLite removes an unfinished database, and its folder if nothing else is
// in it.
func discardLite(ctx context.Context, cfg Config) error {
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // that it is open is all it is for
	if state, err := vacantLite(ctx, cfg); err != nil || state != unserved {
		return err
	}
	forgetFiles(filepath.Join(cfg.Dir, liteFile))
	if left, err := os.ReadDir(cfg.Dir); err == nil && len(left) == 1 { // the lock
		forgetFiles(lock.Name())
		_ = os.Remove(cfg.Dir)
	}
	return nil
}

func forgetFiles(path string) {
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		_ = os.Remove(path + suffix)
	}
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// draftLite makes the file. Without a journal and without waiting for the disk,
// because nobody but this process sees it before it is whole.
func draftLite(ctx context.Context, cfg Config, path string, what Loading) (err error) {
	if err := touch(path); err != nil {
		return err
	}
	pragma := func(conn *sqlite.Conn, list ...string) error {
		for _, p := range list {
			if err := sqlitex.ExecuteTransient(conn, p, nil); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		}
		return nil
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	// VACUUM fixes the size of pages before there is a table.
	if err := errors.Join(pragma(conn, "PRAGMA page_size = "+strconv.Itoa(litePageSize), "VACUUM"), conn.Close()); err != nil {
		return err
	}
	if err := migrateLite(ctx, path, what.Schema); err != nil {
		return err
	}
	if conn, err = sqlite.OpenConn(path, sqlite.OpenReadWrite); err != nil {
		return err
	}
	conn.SetInterrupt(ctx.Done())
	l := &liteLoader{conn: &liteConn{conn: conn, stmts: make(map[Q]*liteStmt)}}
	list := []string{
		"PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA locking_mode = EXCLUSIVE",
		"PRAGMA cache_size = -" + strconv.Itoa(restoreCacheKiB), "PRAGMA temp_store = FILE",
	}
	if cfg.MaxBytes > 0 {
		list = append(list, "PRAGMA max_page_count = "+strconv.FormatInt(cfg.MaxBytes/litePageSize, 10))
	}
	err = pragma(conn, append(list, "BEGIN IMMEDIATE")...)
	if err == nil {
		err = fill(l, what)
	}
	if err == nil {
		err = pragma(conn, "COMMIT")
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return err
	}
	what.Step("writing to the disk")
	if err := migrateLite(ctx, path, newest); err != nil {
		return err
	}
	return syncPath(path)
}

// liteLoader fills a SQLite file.
type liteLoader struct{ conn *liteConn }

func (l *liteLoader) tx() *Tx { return &Tx{View: View{lite: l.conn}} }

func (l *liteLoader) tables() ([]Table, error) {
	return tablesOf(&View{lite: l.conn}, qDumpColumnsSQLite)
}

const qIndexesSQLite Q = `SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name`

// dropIndexes drops the indexes, which are built faster from all rows at once.
func (l *liteLoader) dropIndexes() (func() error, error) {
	var names, texts []string
	if err := l.conn.query(qIndexesSQLite, 0, func(r *Row) error {
		names, texts = append(names, r.Text(0)), append(texts, r.Text(1))
		return nil
	}, nil); err != nil {
		return nil, err
	}
	run := func(list []string, before string) error {
		for _, s := range list {
			if before != "" {
				s = identifiers([]string{s})
			}
			if err := sqlitex.ExecuteTransient(l.conn.conn, before+s, nil); err != nil {
				return liteError(err)
			}
		}
		return nil
	}
	return func() error { return run(texts, "") }, run(names, "DROP INDEX ")
}

func (l *liteLoader) load(t Table, next func() ([]Value, error)) error {
	if err := sqlitex.ExecuteTransient(l.conn.conn, "DELETE FROM "+identifiers([]string{t.Name}), nil); err != nil {
		return liteError(err) // what migrations have put there
	}
	places := ""
	for i := range t.Columns {
		places += ", ?" + strconv.Itoa(i+1)
	}
	stmt, _, err := l.conn.conn.PrepareTransient("INSERT INTO " + identifiers([]string{t.Name}) + " (" + identifiers(t.Columns) + ") VALUES (" + places[2:] + ")")
	if err != nil {
		return liteError(err)
	}
	defer stmt.Finalize() //nolint:errcheck // a failed step has been reported already
	return until(next, func(row []Value) error {
		for i, v := range row {
			switch v.Kind {
			case ValueNull:
				stmt.BindNull(i + 1)
			case ValueInt:
				stmt.BindInt64(i+1, v.Int)
			case ValueText:
				stmt.BindText(i+1, string(v.Bytes))
			case ValueBytes:
				stmt.BindBytes(i+1, v.Bytes)
			}
		}
		if _, err := stmt.Step(); err != nil {
			return liteError(err)
		}
		return liteError(stmt.Reset())
	})
}
