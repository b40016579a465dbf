package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// retentionRoutes are how operators say for how long is kept what is dropped for its age.
func (d *door) retentionRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/retention", Act: "retention.list", Handle: d.retentions, Gives: list[retention]{}},
		{Method: post, Path: "/retention/{term}", Act: "retention.set", Handle: d.setRetention, Takes: newRetention{}, Gives: retention{}},
		{Method: post, Path: "/retention/{term}/reset", Act: "retention.reset", Handle: d.resetRetention, Takes: newOrder{}, Gives: retention{}},
	}
}

type retention struct {
	Term    string            `json:"term"`
	What    string            `json:"what"`
	Days    int64             `json:"days"`    // in force
	Source  string            `json:"source"`  // "setting" or "act": where that comes from
	Setting int64             `json:"setting"` // days that the settings of this node say
	Said    *int64            `json:"said"`    // days that were said last; null where the settings count
	From    *string           `json:"from"`    // when what was said last comes into force; null if it has
	Least   int64             `json:"least"`   // days that can be said
	Most    int64             `json:"most"`
	Why     string            `json:"why"` // not less, and not more
	Changes []retentionChange `json:"changes"`
}

type retentionChange struct {
	Days   *int64  `json:"days"` // null: as the settings say
	Was    int64   `json:"was"`
	From   *string `json:"from"`
	Reason string  `json:"reason"`
	By     string  `json:"by"` // operator
	At     *string `json:"at"`
}

// daysOf are days that somebody said, nil where the settings count.
func daysOf(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

func (d *door) retentionOf(r audit.Retained) retention {
	out := retention{
		Term: string(r.Name), What: r.What, Days: r.Days, Source: r.Source(), Setting: r.Until(0), Said: daysOf(r.Said), From: wireTime(r.From),
		Least: r.Least, Most: r.Most, Why: r.Why, Changes: []retentionChange{},
	}
	for _, c := range r.Changes {
		out.Changes = append(out.Changes, retentionChange{daysOf(c.Days), c.Was, wireTime(c.From), c.Reason, d.codec.String(c.By), wireTime(c.At)})
	}
	return out
}

// GET /retention
func (d *door) retentions(ctx context.Context, c *api.Call) error {
	found, err := d.audit.ListRetention.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, act.Page[audit.Retained]{Items: found}, d.retentionOf))
}

type newRetention struct {
	Days   int64  `json:"days"`
	Reason string `json:"reason"`
}

// POST /retention/{term}
func (d *door) setRetention(ctx context.Context, c *api.Call) error {
	var in newRetention
	if err := c.Decode(&in); err != nil {
		return err
	}
	return d.retained(ctx, c, d.audit.SetRetention, audit.TermOrder{Days: in.Days, Reason: in.Reason})
}

// POST /retention/{term}/reset
func (d *door) resetRetention(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	return d.retained(ctx, c, d.audit.ResetRetention, audit.TermOrder{Reason: in.Reason})
}

func (d *door) retained(ctx context.Context, c *api.Call, a *gate.WriteAct[audit.TermOrder, audit.Retained], in audit.TermOrder) error {
	in.Term = c.R.PathValue("term")
	r, err := a.DoOnce(ctx, c.Principal, c.Key, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.retentionOf(r))
}
