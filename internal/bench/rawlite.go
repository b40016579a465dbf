package bench

import (
	"context"
	"os"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// rawLite is the writer connection of a raw side on SQLite, with the durability,
// page cache and checkpoints of store.
type rawLite struct {
	conn  *sqlite.Conn
	stmts map[string]*sqlite.Stmt
	open  bool // a transaction is under way
}

func openRawLite(ctx context.Context, path string) (*rawGroups, error) {
	conn, err := rawLiteConn(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		rawCheckpoints(ctx, path)
	}()
	return openRawGroups([]rawDB{&rawLite{conn: conn, stmts: make(map[string]*sqlite.Stmt)}}, rawMost, func() {
		cancel()
		<-ended
		_ = conn.Close() // the last connection moves the WAL
	})
}

func rawLiteConn(path string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{
		"journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0", "temp_store = MEMORY",
		"cache_size = -65536", "mmap_size = 0", "busy_timeout = 5000",
	} {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+p, nil); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// rawCheckpoints moves the WAL into the database off the writer's path.
func rawCheckpoints(ctx context.Context, path string) {
	const every, from, limit = 250 * time.Millisecond, 32 << 20, 128 << 20
	conn, err := rawLiteConn(path)
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	tick := time.NewTicker(every)
	defer tick.Stop()
	var done time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info, err := os.Stat(path + "-wal")
		if err != nil || info.Size() < from || info.ModTime().Equal(done) {
			continue
		}
		how := "PASSIVE"
		if info.Size() > limit {
			how = "RESTART"
		}
		if sqlitex.ExecuteTransient(conn, "PRAGMA wal_checkpoint("+how+")", nil) == nil {
			done = info.ModTime()
		}
	}
}

func (w *rawLite) load(q string, row func(n int64, b []byte)) error {
	return sqlitex.ExecuteTransient(w.conn, q, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		b := make([]byte, s.ColumnLen(1))
		s.ColumnBytes(1, b)
		row(s.ColumnInt64(0), b)
		return nil
	}})
}

func (w *rawLite) exec(q string, args ...any) error {
	if !w.open {
		if err := w.step("BEGIN IMMEDIATE", nil); err != nil {
			return err
		}
		w.open = true
	}
	return w.step(q, args)
}

func (w *rawLite) commit() error {
	w.open = false
	return w.step("COMMIT", nil)
}

func (w *rawLite) fail() error {
	w.open = false
	if w.conn.AutocommitEnabled() {
		return nil
	}
	return w.step("ROLLBACK", nil)
}

// step runs a prepared statement. SQLite numbers $N by first use, which in
// these texts is the order of N.
func (w *rawLite) step(q string, args []any) error {
	s := w.stmts[q]
	if s == nil {
		var err error
		if s, err = w.conn.Prepare(q); err != nil {
			return err
		}
		w.stmts[q] = s
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case int64:
			s.BindInt64(i+1, v)
		case string:
			s.BindText(i+1, v)
		case []byte:
			s.BindBytes(i+1, v)
		}
	}
	if _, err := s.Step(); err != nil {
		_ = s.Reset()
		return err
	}
	return s.Reset()
}
