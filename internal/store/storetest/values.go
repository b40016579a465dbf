package storetest

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/store"
)

// Values returns every value of every column of every table of a database, as who has
// stolen it would read them: bytes as they are, numbers in decimal.
func Values(t testing.TB, cfg store.Config) [][]byte {
	t.Helper()
	if dialect(cfg) == store.Postgres {
		return postgresValues(t, cfg)
	}
	return liteValues(t, filepath.Join(cfg.Dir, "reef.db"))
}

func liteValues(t testing.TB, path string) (values [][]byte) {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // read only
	query := func(q string, each func(*sqlite.Stmt)) {
		if err := sqlitex.ExecuteTransient(conn, q, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error { each(s); return nil }}); err != nil {
			t.Fatal(err)
		}
	}
	var tables []string
	query(`SELECT name FROM sqlite_schema WHERE type = 'table'`, func(s *sqlite.Stmt) { tables = append(tables, s.ColumnText(0)) })
	for _, table := range tables {
		query(`SELECT * FROM "`+table+`"`, func(s *sqlite.Stmt) {
			for i := range s.ColumnCount() {
				v := make([]byte, s.ColumnLen(i))
				s.ColumnBytes(i, v)
				if s.ColumnType(i) == sqlite.TypeInteger {
					v = strconv.AppendInt(nil, s.ColumnInt64(i), 10)
				}
				values = append(values, v)
			}
		})
	}
	return values
}

func postgresValues(t testing.TB, cfg store.Config) (values [][]byte) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // read only
	rows, err := conn.Query(ctx, `SELECT table_name FROM information_schema.tables WHERE table_schema = $1`, cfg.Schema)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		rows, err := conn.Query(ctx, "SELECT * FROM "+pgx.Identifier{cfg.Schema, table}.Sanitize())
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			all, err := rows.Values()
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range all {
				if b, ok := v.([]byte); ok {
					values = append(values, b)
				} else {
					values = append(values, fmt.Append(nil, v))
				}
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return values
}
