package store

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"zombiezen.com/go/sqlite"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Row is the current row of a query. Its accessors convert nothing but what
// both databases agree on: 64-bit integers, text and bytes. A Row is valid only
// inside the scan function it was passed to.
type Row struct {
	stmt   *sqlite.Stmt
	fields []pgconn.FieldDescription
	values [][]byte
}

// Null reports whether column i (from 0) is NULL.
func (r *Row) Null(i int) bool {
	if r.stmt != nil {
		return r.stmt.ColumnIsNull(i)
	}
	return r.values[i] == nil
}

// Int returns column i as an integer; NULL is 0.
func (r *Row) Int(i int) int64 {
	if r.stmt != nil {
		return r.stmt.ColumnInt64(i)
	}
	b := r.values[i]
	if b == nil {
		return 0
	}
	if r.fields[i].Format == pgtype.TextFormatCode {
		n, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil {
			panic(fmt.Sprintf("store: column %d is not an integer", i))
		}
		return n
	}
	switch len(b) {
	case 8:
		return int64(binary.BigEndian.Uint64(b))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b)))
	case 2:
		return int64(int16(binary.BigEndian.Uint16(b)))
	}
	panic(fmt.Sprintf("store: column %d is not an integer: cast it to BIGINT in the query", i))
}

// ID returns column i as an id; NULL is 0.
func (r *Row) ID(i int) act.ID { return act.ID(r.Int(i)) }

// Bool returns column i, stored as 0 or 1.
func (r *Row) Bool(i int) bool { return r.Int(i) != 0 }

// Text returns a copy of column i; NULL is "".
func (r *Row) Text(i int) string {
	if r.stmt != nil {
		return r.stmt.ColumnText(i)
	}
	return string(r.values[i])
}

// Bytes returns a copy of column i; NULL is nil.
func (r *Row) Bytes(i int) []byte {
	if r.stmt != nil {
		n := r.stmt.ColumnLen(i)
		if n == 0 {
			return nil
		}
		b := make([]byte, n)
		r.stmt.ColumnBytes(i, b)
		return b
	}
	if r.values[i] == nil {
		return nil
	}
	return append([]byte(nil), r.values[i]...)
}

// plain converts an argument to one of the types both drivers take: nil,
// int64, string, []byte. Anything else is a programmer's error.
func plain(arg any) any {
	switch v := arg.(type) {
	case nil, int64, string:
		return v
	case []byte:
		if v == nil { // empty, not NULL: PostgreSQL's driver would take it for NULL
			return []byte{}
		}
		return v
	case int:
		return int64(v)
	case act.ID:
		return int64(v)
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	}
	panic(fmt.Sprintf("store: argument of type %T: pass int64, act.ID, bool, string or []byte", arg))
}
