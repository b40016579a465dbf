package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"zombiezen.com/go/sqlite"
)

// Value is one column of a row on its way out of a database or into one.
type Value struct {
	Kind  ValueKind
	Int   int64
	Bytes []byte // of text or bytes; valid until the next row
}

// ValueKind is what a Value holds. Numbers are part of backups and never change.
type ValueKind uint8

// The kinds, which are all that both databases have alike.
const (
	ValueNull  ValueKind = 0
	ValueInt   ValueKind = 1
	ValueText  ValueKind = 2
	ValueBytes ValueKind = 3
)

// Table is a table with the columns that are stored in their own right: what is
// computed from others is computed again.
type Table struct {
	Name    string
	Columns []string
}

// Dump is one consistent state of a whole database. A table whose columns are
// not all numbers, text or bytes is an index of the others' content (full-text
// search) and is not in it.
type Dump struct {
	Schema int64 // number of the last migration
	Tables []Table
	Seq    int64 // the last sequence number of an event
	Fence  int64 // the last fence

	ctx  context.Context
	lite *liteConn // one of lite and pg is set
	pg   *pgx.Conn
}

const (
	qSchemaNumber Q = `SELECT CAST(COALESCE(MAX(version_id), 0) AS BIGINT) FROM goose_db_version`

	qDumpColumnsSQLite Q = `SELECT m.name, c.name, c.type IN ('INTEGER', 'TEXT', 'BLOB') FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c
WHERE m.type = 'table' AND c.hidden = 0 AND (SELECT k.type FROM pragma_table_list(m.name) AS k WHERE k.schema = 'main') = 'table'
  AND m.name NOT IN ('goose_db_version', 'sqlite_sequence') ORDER BY m.name, c.name`

	qDumpColumnsPostgres Q = `SELECT CAST(t.relname AS TEXT), CAST(a.attname AS TEXT),
  CAST(CAST(a.atttypid IN (CAST('int8' AS regtype), CAST('text' AS regtype), CAST('bytea' AS regtype)) AS INTEGER) AS BIGINT)
FROM pg_class AS t JOIN pg_attribute AS a ON a.attrelid = t.oid
WHERE t.relnamespace = CAST(current_schema() AS regnamespace) AND t.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND t.relname <> 'goose_db_version' ORDER BY CAST(t.relname AS TEXT) COLLATE "C", CAST(a.attname AS TEXT) COLLATE "C"`
)

// Dump calls fn with one consistent state of the database, that of the moment at
// which it begins, while reads and writes go on. On SQLite the write-ahead log
// cannot be emptied meanwhile and grows by what is written; on PostgreSQL VACUUM
// cannot remove rows that die meanwhile.
func (db *DB) Dump(ctx context.Context, fn func(*Dump) error) error {
	if db.lite != nil {
		return db.lite.dump(ctx, fn)
	}
	return db.pg.dump(ctx, fn)
}

func (l *lite) dump(ctx context.Context, fn func(*Dump) error) error {
	l.dumping(1) // before the snapshot: see empty
	defer l.dumping(-1)
	c, err := l.connect(false)
	if err != nil {
		return unavailable("storage failed", err)
	}
	defer c.conn.Close() //nolint:errcheck // it has only read
	c.conn.SetInterrupt(ctx.Done())
	if err := c.do(qBegin); err != nil {
		return unavailable("storage failed", err)
	}
	d := &Dump{ctx: ctx, lite: c}
	if err := d.look(&View{lite: c}, qDumpColumnsSQLite); err != nil {
		return err
	}
	return fn(d)
}

func (l *lite) dumping(more int) {
	l.emptying.Lock()
	defer l.emptying.Unlock()
	l.dumps += more
}

func (p *pg) dump(ctx context.Context, fn func(*Dump) error) error {
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	pc := &pgConn{ctx: ctx, conn: c.Conn(), driver: p}
	pc.later(qBeginSnapshotPostgres, nil)
	defer func() { _, _ = c.Exec(context.WithoutCancel(ctx), string(qRollback)) }()
	d := &Dump{ctx: ctx, pg: c.Conn()}
	if err := d.look(&View{pg: pc}, qDumpColumnsPostgres); err != nil {
		return err
	}
	return fn(d)
}

// look begins the snapshot and reads what there is.
func (d *Dump) look(v *View, columns Q) error {
	number := func(q Q, into *int64) error {
		_, err := v.One(q, func(r *Row) error { *into = r.Int(0); return nil })
		return err
	}
	for _, n := range []struct {
		q    Q
		into *int64
	}{{qSchemaNumber, &d.Schema}, {qLastSequence, &d.Seq}, {qFenceLast, &d.Fence}} {
		if err := number(n.q, n.into); err != nil {
			return err
		}
	}
	var err error
	d.Tables, err = tablesOf(v, columns)
	return err
}

// tablesOf lists tables and columns, both by name.
func tablesOf(v *View, columns Q) (tables []Table, err error) {
	derived := ""
	err = v.All(columns, func(r *Row) error {
		name := r.Text(0)
		if n := len(tables); n == 0 || tables[n-1].Name != name {
			tables = append(tables, Table{Name: name})
		}
		last := &tables[len(tables)-1]
		last.Columns = append(last.Columns, r.Text(1))
		if !r.Bool(2) {
			derived = name
		}
		if name == derived {
			last.Columns = nil
		}
		return nil
	})
	kept := tables[:0]
	for _, t := range tables {
		if len(t.Columns) > 0 {
			kept = append(kept, t)
		}
	}
	return kept, err
}

// Rows calls fn with every row of a table, in the order of its columns. The
// values are valid until fn returns.
func (d *Dump) Rows(t Table, fn func([]Value) error) error {
	q := "SELECT " + identifiers(t.Columns) + " FROM " + identifiers([]string{t.Name})
	if d.lite != nil {
		return d.liteRows(q, len(t.Columns), fn)
	}
	return d.pgRows(q, len(t.Columns), fn)
}

// identifiers quotes names, for both databases alike.
func identifiers(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = pgx.Identifier{n}.Sanitize()
	}
	return strings.Join(quoted, ", ")
}

func (d *Dump) liteRows(q string, width int, fn func([]Value) error) error {
	stmt, _, err := d.lite.conn.PrepareTransient(q)
	if err != nil {
		return liteError(err)
	}
	defer stmt.Finalize() //nolint:errcheck // a failed step has been reported already
	row := make([]Value, width)
	var bytes []byte // of one row
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return liteError(err)
		}
		bytes = bytes[:0]
		for i := range row {
			switch kind := stmt.ColumnType(i); kind {
			case sqlite.TypeNull:
				row[i] = Value{}
			case sqlite.TypeInteger:
				row[i] = Value{Kind: ValueInt, Int: stmt.ColumnInt64(i)}
			case sqlite.TypeText, sqlite.TypeBlob:
				from, size := len(bytes), stmt.ColumnLen(i)
				bytes = slices.Grow(bytes, size)[:from+size]
				stmt.ColumnBytes(i, bytes[from:])
				row[i] = Value{Kind: ValueBytes, Bytes: bytes[from:]}
				if kind == sqlite.TypeText {
					row[i].Kind = ValueText
				}
			case sqlite.TypeFloat:
				return fmt.Errorf("store: dump: %s has a fraction in column %d", q, i)
			}
		}
		if err := fn(row); err != nil {
			return err
		}
	}
}

func (d *Dump) pgRows(q string, width int, fn func([]Value) error) error {
	rows, err := d.pg.Query(d.ctx, q)
	if err != nil {
		return pgError(err)
	}
	defer rows.Close()
	row, fields := make([]Value, width), rows.FieldDescriptions()
	for rows.Next() {
		r := Row{fields: fields, values: rows.RawValues()}
		for i := range row {
			switch row[i] = (Value{Bytes: r.values[i]}); {
			case r.values[i] == nil:
			case fields[i].DataTypeOID == pgtype.Int8OID:
				row[i] = Value{Kind: ValueInt, Int: r.Int(i)}
			case fields[i].DataTypeOID == pgtype.TextOID:
				row[i].Kind = ValueText
			case fields[i].DataTypeOID == pgtype.ByteaOID && fields[i].Format == pgtype.BinaryFormatCode:
				row[i].Kind = ValueBytes
			default:
				return fmt.Errorf("store: dump: %s has an unknown type in column %d", q, i)
			}
		}
		if err := fn(row); err != nil {
			return err
		}
	}
	return pgError(rows.Err())
}
