package store

import (
	"reflect"
	"testing"
)

// Statements that insert one row become ones that insert several; others do not.
func TestRowForms(t *testing.T) {
	forms := make(rowForms)
	form := forms.of(`INSERT INTO a (x, y, z) VALUES ($1, CAST(CAST($2 AS TEXT) AS tsvector), 0, $1) ON CONFLICT (x) DO NOTHING`)
	if form == nil {
		t.Fatal("a row is not taken for one")
	}
	type sent struct {
		q    Q
		args []any
	}
	var got []sent
	form.each([][]any{{1, "a"}, {2, "b"}, {3, "c"}}, func(q Q, args []any) { got = append(got, sent{q, args}) })
	want := []sent{
		{`INSERT INTO a (x, y, z) VALUES ($1, CAST(CAST($2 AS TEXT) AS tsvector), 0, $1), ($3, CAST(CAST($4 AS TEXT) AS tsvector), 0, $3) ON CONFLICT (x) DO NOTHING`, []any{1, "a", 2, "b"}},
		{`INSERT INTO a (x, y, z) VALUES ($1, CAST(CAST($2 AS TEXT) AS tsvector), 0, $1) ON CONFLICT (x) DO NOTHING`, []any{3, "c"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	rows := make([][]any, 3*convoyMost+5)
	for i := range rows {
		rows[i] = []any{i, ""}
	}
	seen := 0
	form.each(rows, func(_ Q, args []any) {
		for ; len(args) > 0; args = args[2:] {
			if args[0] != seen {
				t.Fatalf("row %v where %d should be", args[0], seen)
			}
			seen++
		}
	})
	if seen != len(rows) {
		t.Errorf("%d of %d rows", seen, len(rows))
	}
	for _, q := range []Q{
		`UPDATE a SET x = $1`, `SELECT 1`, `INSERT INTO a (x) SELECT $1`, `INSERT INTO a (x) VALUES ('(')`,
		`INSERT INTO a (x) VALUES ($1) RETURNING x`, `INSERT INTO a (x) VALUES ($1) ON CONFLICT (x) DO UPDATE SET y = $2`,
	} {
		if forms.of(q) != nil {
			t.Errorf("taken for a row: %s", q)
		}
	}
}
