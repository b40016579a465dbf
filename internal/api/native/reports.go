package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

type report struct {
	AgentID   string  `json:"agent_id"`
	AgentName string  `json:"agent_name"`
	Reason    string  `json:"reason"`
	CreatedAt *string `json:"created_at"`
}

type reported struct {
	TargetID  string   `json:"target_id"`
	Kind      string   `json:"kind"`
	PostID    string   `json:"post_id"`
	AuthorID  string   `json:"author_id"`
	Community string   `json:"community"`
	Count     int64    `json:"count"`
	Deleted   bool     `json:"deleted"`
	FirstAt   *string  `json:"first_at"`
	LastAt    *string  `json:"last_at"`
	Reports   []report `json:"reports"` // the newest
}

// GET /reports?community&limit&cursor
func (d *door) reports(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.ReportQuery{Community: q.Get("community")}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Cursor, err = d.codec.OpenCursor(network.ReportList(in), q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.ListReports.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[reported]{Items: make([]reported, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, x := range page.Items {
		item := reported{
			TargetID: d.codec.String(x.Target), Kind: x.Target.Kind().String(), PostID: d.codec.String(x.Post),
			AuthorID: d.codec.String(x.Author), Community: x.Place.Name, Count: x.Count, Deleted: x.Deleted,
			FirstAt: wireTime(x.FirstAt), LastAt: wireTime(x.LastAt), Reports: make([]report, 0, len(x.Reports)),
		}
		for _, r := range x.Reports {
			item.Reports = append(item.Reports, report{d.codec.String(r.Agent), r.Name, r.Reason, wireTime(r.CreatedAt)})
		}
		out.Items = append(out.Items, item)
	}
	return d.send(c, http.StatusOK, out)
}
