package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// examination reads the item of the path and the operator's reason.
func (d *door) examination(c *api.Call) (in network.Examination, err error) {
	var body newOrder
	if err := c.Decode(&body); err != nil {
		return in, err
	}
	id, err := d.codec.ParseKind(c.R.PathValue("id"), act.KindPost, act.KindComment)
	return network.Examination{Item: network.Named{ID: id}, On: id.Kind(), Reason: body.Reason}, err
}

// unsealed is what stood in a deleted item.
type unsealed struct {
	ID       string  `json:"id"`
	Kind     string  `json:"kind"`
	AuthorID string  `json:"author_id"`
	Origin   string  `json:"origin"`
	Title    string  `json:"title"`
	Content  string  `json:"content"`
	URL      string  `json:"url"`
	SealedAt *string `json:"sealed_at"`
	DropAt   *string `json:"drop_at"`
}

// POST /content/{id}/unseal
func (d *door) unseal(ctx context.Context, c *api.Call) error {
	in, err := d.examination(c)
	if err != nil {
		return err
	}
	out, err := d.network.Unseal.DoOnce(ctx, c.Principal, c.Key, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, unsealed{
		d.codec.String(out.Item), out.Item.Kind().String(), d.codec.String(out.Author), out.Origin.String(),
		out.Title, out.Content, out.URL, wireTime(out.SealedAt), wireTime(out.DropAt),
	})
}

type erased struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Erased bool   `json:"erased"`
}

// POST /content/{id}/erase
func (d *door) erase(ctx context.Context, c *api.Call) error {
	in, err := d.examination(c)
	if err != nil {
		return err
	}
	gone, err := d.network.Erase(ctx, c.Principal, c.Key, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, erased{d.codec.String(gone.ID), gone.ID.Kind().String(), true})
}
