package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Imported items keep the id they had where they came from: alias maps
// (source, original id) to ours, so that old links resolve and a second import
// of the same item finds it.

const (
	qAliasFind store.Q = `SELECT id FROM alias WHERE source = $1 AND original = $2`
	qAliasMake store.Q = `INSERT INTO alias (source, original, id) VALUES ($1, $2, $3)`
	qAliasItem store.Q = `SELECT id FROM alias WHERE original = $1 ORDER BY source`

	maxOriginal = 100 // bytes of an original id
)

// itemID returns the id a name stands for: itself, or that of an imported item
// of the kind.
func (n *Network) itemID(v *store.View, in Named, kind act.Kind) (act.ID, error) {
	if in.ID != 0 {
		if in.ID.Kind() != kind {
			return 0, notFound(kind)
		}
		return in.ID, nil
	}
	if in.Original == "" || len(in.Original) > maxOriginal || !n.imported.Load() {
		return 0, notFound(kind)
	}
	var found act.ID
	err := v.All(qAliasItem, func(r *store.Row) error {
		if id := r.ID(0); found == 0 && id.Kind() == kind {
			found = id
		}
		return nil
	}, in.Original)
	if err == nil && found == 0 {
		err = notFound(kind)
	}
	return found, err
}
