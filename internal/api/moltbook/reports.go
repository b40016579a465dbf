package moltbook

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// reportRoutes are the operations on reports.
func (d *door) reportRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/posts/{id}/report", Act: "content.report", Handle: d.report(act.KindPost)},
		{Method: http.MethodPost, Path: "/comments/{id}/report", Act: "content.report", Handle: d.report(act.KindComment)},
		{Method: http.MethodGet, Path: "/submolts/{name}/reports", Act: "report.list", Handle: d.reports},
	}
}

type newReport struct {
	Reason string `json:"reason"`
}

// report answers POST /posts/{id}/report and POST /comments/{id}/report.
func (d *door) report(on act.Kind) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newReport
		if err := c.DecodeAny(&in); err != nil {
			return err
		}
		out, err := d.network.ReportContent.DoOnce(ctx, c.Principal, c.Key, network.NewReport{
			Target: d.named(c.R.PathValue("id")), On: on, Reason: in.Reason,
		})
		if err != nil {
			return err
		}
		return d.reply(c, http.StatusOK, struct {
			Success bool   `json:"success"`
			Message string `json:"message"`
			Already bool   `json:"already_reported"`
		}{true, "Reported to the moderators of m/" + out.Place.Name, out.Already})
	}
}

type reported struct {
	TargetType string           `json:"target_type"`
	TargetID   string           `json:"target_id"`
	PostID     string           `json:"post_id"`
	AuthorID   string           `json:"author_id"`
	Count      int64            `json:"report_count"`
	Reasons    map[string]int64 `json:"reasons"`
	Deleted    bool             `json:"is_deleted"`
	FirstAt    string           `json:"first_reported_at"`
	LastAt     string           `json:"last_reported_at"`
}

// GET /submolts/{name}/reports
func (d *door) reports(ctx context.Context, c *api.Call) error {
	in := network.ReportQuery{Community: c.R.PathValue("name")}
	q := query(c)
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
	out := struct {
		Success bool       `json:"success"`
		Reports []reported `json:"reports"`
		Count   int        `json:"count"`
		HasMore bool       `json:"has_more"`
		Next    *string    `json:"next_cursor"`
	}{Success: true, Reports: []reported{}, Count: len(page.Items)}
	for _, x := range page.Items {
		out.Reports = append(out.Reports, reported{
			TargetType: x.Target.Kind().String(), TargetID: d.codec.String(x.Target), PostID: d.codec.String(x.Post),
			AuthorID: d.codec.String(x.Author), Count: x.Count, Reasons: x.Reasons, Deleted: x.Deleted,
			FirstAt: wireTime(x.FirstAt), LastAt: wireTime(x.LastAt),
		})
	}
	if next := d.codec.SealCursor(page.Next); next != "" {
		out.HasMore, out.Next = true, &next
	}
	return d.reply(c, http.StatusOK, out)
}
