package network

import (
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	textsAsk = 32 // asked for at once

	textsIn = `IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
$17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)`

	qPostTexts    store.Q = `SELECT id, title, content FROM post WHERE deleted_at = 0 AND id ` + textsIn + ` ORDER BY id`
	qCommentTexts store.Q = `SELECT id, content FROM comment WHERE deleted_at = 0 AND id ` + textsIn + ` ORDER BY id`
)

// Texts returns what posts and comments say that have not been deleted.
func (n *Network) Texts(v *store.View, things []act.ID) (map[act.ID]string, error) {
	texts := make(map[act.ID]string, len(things))
	for some := range slices.Chunk(things, textsAsk) {
		args := make([]any, textsAsk)
		for i := range args {
			args[i] = some[min(i, len(some)-1)] // the last one fills the rest
		}
		if err := v.All(qPostTexts, func(r *store.Row) error {
			texts[r.ID(0)] = r.Text(1) + "\n" + r.Text(2)
			return nil
		}, args...); err != nil {
			return nil, err
		}
		if err := v.All(qCommentTexts, func(r *store.Row) error { texts[r.ID(0)] = r.Text(1); return nil }, args...); err != nil {
			return nil, err
		}
	}
	return texts, nil
}
