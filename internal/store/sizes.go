package store

import (
	"context"
	"strings"
)

// Size is how many rows a table has. About says that the number is an estimate.
type Size struct {
	Rows  int64
	About bool
}

const (
	// What PostgreSQL counts as it goes, or found when it last looked at the table.
	qSizesPostgres Q = `SELECT CAST(t.relname AS TEXT), CASE WHEN COALESCE(s.n_live_tup, 0) > 0 THEN s.n_live_tup ELSE CAST(t.reltuples AS BIGINT) END
FROM pg_class AS t LEFT JOIN pg_stat_user_tables AS s ON s.relid = t.oid
WHERE t.relnamespace = CAST(current_schema() AS regnamespace) AND t.relkind = 'r' AND t.relname <> 'goose_db_version'`

	qSizesSQLite Q = `SELECT m.name FROM sqlite_schema AS m WHERE m.type = 'table'
  AND (SELECT k.type FROM pragma_table_list(m.name) AS k WHERE k.schema = 'main') = 'table'
  AND m.name NOT IN ('goose_db_version', 'sqlite_sequence')`

	// exactly is how many rows by estimate are still counted on PostgreSQL, where a
	// count looks at each of them.
	exactly = 100_000

	// The full-text index is a virtual table of SQLite; this is the one of its own
	// tables that has a row for each document.
	liteIndex     = "findable"
	liteIndexRows = "findable_docsize"
)

// Sizes counts the rows of every table. It is meant for tables of any size: on
// SQLite it reads the pages of each table's smallest index and not the rows, on
// PostgreSQL large tables are estimated. A leaf stands beside each event, so where
// there is no index to count by, leaves are said to be as many as the events.
func (db *DB) Sizes(ctx context.Context) (map[string]Size, error) {
	sizes := make(map[string]Size)
	err := db.View(ctx, func(v *View) error {
		clear(sizes)
		if err := v.connect(); err != nil {
			return err
		}
		if v.pg != nil {
			return v.sizesPostgres(ctx, sizes)
		}
		return v.sizesLite(sizes)
	})
	return sizes, err
}

func (v *View) sizesPostgres(ctx context.Context, sizes map[string]Size) error {
	if err := v.All(qSizesPostgres, func(r *Row) error {
		sizes[r.Text(0)] = Size{Rows: r.Int(1), About: true}
		return nil
	}); err != nil {
		return err
	}
	for name, s := range sizes {
		if s.Rows > exactly {
			continue
		}
		var n int64
		if err := v.pg.conn.QueryRow(ctx, countText(name)).Scan(&n); err != nil {
			return pgError(err)
		}
		sizes[name] = Size{Rows: n}
	}
	return nil
}

func (v *View) sizesLite(sizes map[string]Size) error {
	count := func(name, by string) error {
		stmt, _, err := v.lite.conn.PrepareTransient(countText(by))
		if err != nil {
			return liteError(err)
		}
		defer stmt.Finalize() //nolint:errcheck // nothing was written
		if _, err := stmt.Step(); err != nil {
			return liteError(err)
		}
		sizes[name] = Size{Rows: stmt.ColumnInt64(0)}
		return nil
	}
	var names []string
	if err := v.All(qSizesSQLite, func(r *Row) error { names = append(names, r.Text(0)); return nil }); err != nil {
		return err
	}
	for _, name := range names {
		if name == "leaf" {
			continue
		}
		if err := count(name, name); err != nil {
			return err
		}
	}
	sizes["leaf"] = Size{Rows: sizes["event"].Rows, About: true}
	return count(liteIndex, liteIndexRows)
}

// countText is the question for the rows of a table, whose name is the schema's.
func countText(table string) string {
	return `SELECT COUNT(*) FROM "` + strings.ReplaceAll(table, `"`, `""`) + `"`
}
