package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	reindexPage = 1000

	qReindexPosts       store.Q = `SELECT id, title, content, '' FROM post WHERE id > $1 AND deleted_at = 0 ORDER BY id LIMIT $2`
	qReindexComments    store.Q = `SELECT id, content, '', '' FROM comment WHERE id > $1 AND deleted_at = 0 ORDER BY id LIMIT $2`
	qReindexProfiles    store.Q = `SELECT id, name, description, '' FROM profile WHERE id > $1 ORDER BY id LIMIT $2`
	qReindexCommunities store.Q = `SELECT id, name, display_name, description FROM community WHERE id > $1 ORDER BY id LIMIT $2`
)

// Reindex makes the index of words from what it is an index of. A backup does not
// hold it: the two databases have it in forms of their own. The network must not
// be served meanwhile.
func (n *Network) Reindex(ctx context.Context, db *store.DB) (items int, err error) {
	for _, q := range []store.Q{qReindexPosts, qReindexComments, qReindexProfiles, qReindexCommunities} {
		for last := act.ID(0); ; {
			type item struct {
				id    act.ID
				texts []string
			}
			var page []item
			if err := db.View(ctx, func(v *store.View) error {
				page = page[:0]
				return v.All(q, func(r *store.Row) error {
					page = append(page, item{r.ID(0), []string{r.Text(1), r.Text(2), r.Text(3)}})
					return nil
				}, last, int64(reindexPage))
			}); err != nil {
				return items, err
			}
			if len(page) == 0 {
				break
			}
			if err := db.Write(ctx, func(tx *store.Tx) error {
				for _, i := range page {
					if err := n.index(tx, i.id, i.texts...); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return items, err
			}
			last = page[len(page)-1].id
			items += len(page)
		}
	}
	return items, nil
}
