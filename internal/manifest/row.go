package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// row is an object as it is kept: what is to be, and who says which field of it.
type row struct {
	kind      string
	owner     act.ID // whose it is, in kinds of things that are one's own; 0 in others
	name      string
	managers  map[string]*fieldpath.Set
	desired   map[string]any
	leaving   int64 // when it was taken out of the files, Unix microseconds; 0 while it is in them
	changedBy act.ID
	changedAt int64 // Unix microseconds; 0 for one that is not kept yet
}

const (
	rowColumns = `kind, owner, name, managers, desired, leaving_at, changed_by, changed_at`

	qRow       store.Q = `SELECT ` + rowColumns + ` FROM manifest WHERE kind = $1 AND owner = $2 AND name = $3`
	qRowsKind  store.Q = `SELECT ` + rowColumns + ` FROM manifest WHERE kind = $1 AND owner = $2 ORDER BY kind, owner, name`
	qRows      store.Q = `SELECT ` + rowColumns + ` FROM manifest ORDER BY kind, owner, name`
	qRowCount  store.Q = `SELECT COUNT(*) FROM manifest`
	qRowDelete store.Q = `DELETE FROM manifest WHERE kind = $1 AND owner = $2 AND name = $3`
	qRowPut    store.Q = `INSERT INTO manifest (kind, owner, name, managers, desired, leaving_at, changed_by, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (kind, owner, name) DO UPDATE SET managers = $4, desired = $5, leaving_at = $6, changed_by = $7, changed_at = $8`
)

func scanRow(r *store.Row) (row, error) {
	x := row{kind: r.Text(0), owner: r.ID(1), name: r.Text(2), leaving: r.Int(5), changedBy: r.ID(6), changedAt: r.Int(7)}
	var managers map[string]json.RawMessage
	err := json.Unmarshal([]byte(r.Text(3)), &managers)
	x.managers = make(map[string]*fieldpath.Set, len(managers))
	for name, raw := range managers {
		set := fieldpath.NewSet()
		if err == nil {
			err = set.FromJSON(bytes.NewReader(raw))
		}
		x.managers[name] = set
	}
	if err == nil {
		err = tree([]byte(r.Text(4)), &x.desired)
	}
	if err != nil {
		return x, fmt.Errorf("manifest: %s is kept in a form that cannot be read: %w", title(x.kind, x.name), err)
	}
	x.desired, _ = numbers(x.desired).(map[string]any)
	return x, nil
}

// keep stores the row.
func (x row) keep(tx *store.Tx) error {
	managers := make(map[string]json.RawMessage, len(x.managers))
	for name, set := range x.managers {
		raw, err := set.ToJSON()
		if err != nil {
			return err
		}
		managers[name] = raw
	}
	texts := make([]string, 0, 2)
	for _, v := range []any{managers, x.desired} {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		texts = append(texts, string(raw))
	}
	return tx.Batch(qRowPut, x.kind, x.owner, x.name, texts[0], texts[1], x.leaving, x.changedBy, x.changedAt)
}

func (x row) drop(tx *store.Tx) error { return tx.Batch(qRowDelete, x.kind, x.owner, x.name) }

// rowOf reads the row of an object, an empty one where there is none.
func (k *kind) rowOf(v *store.View, who act.ID, name string) (x row, err error) {
	x = row{kind: k.name, owner: k.whose(who), name: name, desired: map[string]any{}}
	_, err = v.One(qRow, func(r *store.Row) (err error) { x, err = scanRow(r); return err }, k.name, x.owner, name)
	return x, err
}

// rowsOf reads the rows of a kind that who sees.
func (k *kind) rowsOf(v *store.View, who act.ID) (list []row, err error) {
	err = v.All(qRowsKind, func(r *store.Row) error {
		x, err := scanRow(r)
		list = append(list, x)
		return err
	}, k.name, k.whose(who))
	return list, err
}

// whose is the owner in the key of rows.
func (k *kind) whose(who act.ID) act.ID {
	if k.own {
		return who
	}
	return 0
}

// kept reports whether somebody's files say the object.
func (x row) kept() bool { return x.changedAt != 0 }

// last is what the object was to be when it was applied, nil if it never was.
func (x row) last() map[string]any {
	if !x.kept() {
		return nil
	}
	return x.desired
}

// equal reports whether two rows say the same.
func (x row) equal(o row) bool {
	return x.kept() == o.kept() && x.leaving == o.leaving && len(changes(x.desired, o.desired)) == 0 &&
		maps.EqualFunc(x.managers, o.managers, (*fieldpath.Set).Equals)
}

// Holding is a manager with the fields that its files say.
type Holding struct {
	Manager string
	Fields  []string
}

// holdings lists the managers of a row by name. Sets hold what fields stand in, too, which
// is left out.
func (x row) holdings() (list []Holding) {
	said := fields(x.desired)
	for _, name := range slices.Sorted(maps.Keys(x.managers)) {
		h := Holding{Manager: name}
		for p := range x.managers[name].All() {
			if path := pathText(p); said[path] != nil {
				h.Fields = append(h.Fields, path)
			}
		}
		slices.Sort(h.Fields)
		list = append(list, h)
	}
	return list
}

func pathText(p fieldpath.Path) string { return strings.TrimPrefix(p.String(), ".") }
