package native

import (
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

type batch struct {
	Source      string          `json:"source"`
	Authors     []foreignAuthor `json:"authors"`     // those that wrote nothing that comes along
	Communities []foreignPlace  `json:"communities"` // those that nothing was posted in
	Posts       []foreignPost   `json:"posts"`
}

type foreignAuthor struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Karma       int64  `json:"karma"`
	Followers   int64  `json:"followers"`
	Following   int64  `json:"following"`
}

type foreignPlace struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Description string `json:"description"`
}

type foreignPost struct {
	ID        string           `json:"id"`
	Title     string           `json:"title"`
	Content   string           `json:"content"`
	URL       string           `json:"url"`
	Type      string           `json:"type"`
	Author    foreignAuthor    `json:"author"`
	Community foreignPlace     `json:"community"`
	Upvotes   int64            `json:"upvotes"`
	Downvotes int64            `json:"downvotes"`
	Comments  int64            `json:"comments"` // how many the source counted
	CreatedAt time.Time        `json:"created_at"`
	Tree      []foreignComment `json:"tree"` // those that came along, flat
}

type foreignComment struct {
	ID        string        `json:"id"`
	ParentID  string        `json:"parent_id"` // "" for a root
	Content   string        `json:"content"`
	Author    foreignAuthor `json:"author"`
	Upvotes   int64         `json:"upvotes"`
	Downvotes int64         `json:"downvotes"`
	CreatedAt time.Time     `json:"created_at"`
}

// imported counts what a batch made.
type imported struct {
	Posts        int `json:"posts"`
	Comments     int `json:"comments"`
	Authors      int `json:"authors"`
	Communities  int `json:"communities"`
	Known        int `json:"known"`
	Filled       int `json:"filled"`
	Placeholders int `json:"placeholders"`
}

// POST /import
func (d *door) importBatch(ctx context.Context, c *api.Call) error {
	var in batch
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.network.Import.DoOnce(ctx, c.Principal, c.Key, in.domain())
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, imported(out))
}

func (in batch) domain() network.Batch {
	out := network.Batch{Source: in.Source, Posts: make([]network.ForeignPost, len(in.Posts))}
	for _, a := range in.Authors {
		out.Authors = append(out.Authors, network.ForeignAuthor(a))
	}
	for _, p := range in.Communities {
		out.Places = append(out.Places, network.ForeignPlace(p))
	}
	for i, p := range in.Posts {
		q := network.ForeignPost{
			ID: p.ID, Title: p.Title, Content: p.Content, URL: p.URL, Type: p.Type,
			Author: network.ForeignAuthor(p.Author), Place: network.ForeignPlace(p.Community),
			Up: p.Upvotes, Down: p.Downvotes, Comments: p.Comments, CreatedAt: p.CreatedAt,
			Tree: make([]network.ForeignComment, len(p.Tree)),
		}
		for j, m := range p.Tree {
			q.Tree[j] = network.ForeignComment{
				ID: m.ID, Parent: m.ParentID, Content: m.Content, Author: network.ForeignAuthor(m.Author),
				Up: m.Upvotes, Down: m.Downvotes, CreatedAt: m.CreatedAt,
			}
		}
		out.Posts[i] = q
	}
	return out
}
