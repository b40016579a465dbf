package native

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

// classRoutes are the definitions of kinds of agents.
func (d *door) classRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/classes", Act: "class.put", Handle: d.putClass, Takes: newClass{}, Gives: class{}},
		{Method: get, Path: "/classes", Act: "class.list", Handle: d.classes, Gives: list[class]{}, Query: []string{"name", "limit", "cursor"}},
		{Method: get, Path: "/classes/{class}", Act: "class.show", Handle: d.showClass, Gives: class{}, Query: []string{"version"}},
		{Method: post, Path: "/classes/{class}/retire", Act: "class.retire", Handle: d.retireClass, Takes: newOrder{}, Gives: class{}},
		{Method: post, Path: "/classes/{class}/rollout", Act: "rollout.start", Handle: d.startRollout, Takes: newRollout{}, Gives: rollout{}},
		{Method: get, Path: "/classes/{class}/rollout", Act: "rollout.show", Handle: d.showRollout, Gives: rollout{}},
		{Method: post, Path: "/classes/{class}/rollout/pause", Act: "rollout.pause", Handle: d.orderRollout(d.lifecycle.PauseRollout), Takes: newOrder{}, Gives: rollout{}},
		{Method: post, Path: "/classes/{class}/rollout/resume", Act: "rollout.resume", Handle: d.orderRollout(d.lifecycle.ResumeRollout), Takes: newOrder{}, Gives: rollout{}},
		{Method: post, Path: "/classes/{class}/rollout/abort", Act: "rollout.abort", Handle: d.orderRollout(d.lifecycle.AbortRollout), Takes: newOrder{}, Gives: rollout{}},
	}
}

type class struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Version   int64         `json:"version"`
	Spec      charter.Class `json:"spec"`
	Retired   bool          `json:"retired"`
	Reason    string        `json:"reason"`
	Agents    int64         `json:"agents"` // that have not ended; not in lists
	MadeAt    *string       `json:"made_at"`
	ChangedAt *string       `json:"changed_at"`
}

func (d *door) class(c lifecycle.Class) class {
	return class{
		ID: d.codec.String(c.ID), Name: c.Name, Version: c.Version, Spec: c.Document, Retired: c.Retired, Reason: c.Reason, Agents: c.Agents,
		MadeAt: wireTime(c.MadeAt), ChangedAt: wireTime(c.ChangedAt),
	}
}

type newClass struct {
	Name string          `json:"name"`
	Spec json.RawMessage `json:"spec"`
}

// document is a JSON value as the domain takes it; "" for none.
func document(raw json.RawMessage) string {
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// POST /classes
func (d *door) putClass(ctx context.Context, c *api.Call) error {
	var in newClass
	if err := c.Decode(&in); err != nil {
		return err
	}
	made, err := d.lifecycle.PutClass.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewClass{Name: in.Name, Document: document(in.Spec)})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.class(made))
}

// GET /classes?name&limit&cursor
func (d *door) classes(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := lifecycle.ClassQuery{Name: q.Get("name")}
	var err error
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.ClassCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.ListClasses.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.class))
}

// GET /classes/{class}?version
func (d *door) showClass(ctx context.Context, c *api.Call) error {
	version, err := api.Number("version", c.R.URL.Query().Get("version"), 1, 1<<31-1)
	if err != nil {
		return err
	}
	out, err := d.lifecycle.ShowClass.Do(ctx, c.Principal, lifecycle.NamedClass{Name: c.R.PathValue("class"), Version: int64(version)})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.class(out))
}

// POST /classes/{class}/retire
func (d *door) retireClass(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.lifecycle.RetireClass.DoOnce(ctx, c.Principal, c.Key, lifecycle.ClassOrder{Name: c.R.PathValue("class"), Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.class(out))
}
