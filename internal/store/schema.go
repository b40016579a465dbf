package store

import (
	"context"
	"strings"
)

// Column is one column of the schema, for the parity test.
type Column struct {
	Table, Name string
	NotNull     bool
	Unique      bool // alone or as the whole of a unique index or primary key
}

const (
	qColumnsSQLite Q = `SELECT m.name, c.name, c."notnull" OR c.pk > 0,
  EXISTS (SELECT 1 FROM pragma_index_list(m.name) AS l WHERE l."unique" = 1 AND l.partial = 0
    AND (SELECT COUNT(*) FROM pragma_index_info(l.name)) = 1
    AND (SELECT i.name FROM pragma_index_info(l.name) AS i) = c.name)
  OR (c.pk = 1 AND (SELECT COUNT(*) FROM pragma_table_info(m.name) AS k WHERE k.pk > 0) = 1)
FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c
WHERE m.type = 'table' AND (SELECT k.type FROM pragma_table_list(m.name) AS k WHERE k.schema = 'main') = 'table' AND m.name NOT IN ('goose_db_version', 'sqlite_sequence') ORDER BY m.name, c.name`

	qColumnsPostgres Q = `SELECT CAST(t.relname AS TEXT), CAST(a.attname AS TEXT), CAST(CAST(a.attnotnull AS INTEGER) AS BIGINT),
  CAST(CAST(EXISTS (SELECT 1 FROM pg_index AS i WHERE i.indrelid = t.oid AND i.indisunique AND i.indpred IS NULL
    AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS INTEGER) AS BIGINT)
FROM pg_class AS t JOIN pg_attribute AS a ON a.attrelid = t.oid
WHERE t.relnamespace = CAST(current_schema() AS regnamespace) AND t.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
  AND t.relname <> 'goose_db_version' ORDER BY t.relname, a.attname`
)

// Schema lists every column of every table, ordered by table and name. SQLite's
// virtual tables, and the tables they keep, are not in it.
func (db *DB) Schema(ctx context.Context) (columns []Column, err error) {
	q := qColumnsSQLite
	if db.pg != nil {
		q = qColumnsPostgres
	}
	err = db.View(ctx, func(v *View) error {
		return v.All(q, func(r *Row) error {
			columns = append(columns, Column{Table: r.Text(0), Name: r.Text(1), NotNull: r.Bool(2), Unique: r.Bool(3)})
			return nil
		})
	})
	return columns, err
}

// Prepare checks that a statement is valid on this database and returns the
// lines of SQLite's query plan (none on PostgreSQL). It runs nothing.
func (db *DB) Prepare(ctx context.Context, q Q) (plan []string, err error) {
	err = db.View(ctx, func(v *View) error {
		if err := v.connect(); err != nil {
			return err
		}
		if v.pg != nil {
			_, err := v.pg.conn.Prepare(ctx, "", string(q))
			return pgError(err)
		}
		if head, _, _ := strings.Cut(string(q), " "); head == "BEGIN" || head == "COMMIT" ||
			head == "ROLLBACK" || head == "SAVEPOINT" || head == "RELEASE" {
			return nil
		}
		stmt, _, err := v.lite.conn.PrepareTransient("EXPLAIN QUERY PLAN " + string(q))
		if err != nil {
			return liteError(err)
		}
		defer stmt.Finalize() //nolint:errcheck // nothing was written
		for {
			row, err := stmt.Step()
			if err != nil {
				return liteError(err)
			}
			if !row {
				return nil
			}
			plan = append(plan, stmt.ColumnText(3))
		}
	})
	return plan, err
}
