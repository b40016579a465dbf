package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// ownerRoutes are how operators see who answers for what, and make it so.
func (d *door) ownerRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/owners", Act: "owner.list", Handle: d.owners, Gives: list[owner]{}, Query: []string{"limit", "cursor"}},
		{Method: http.MethodPost, Path: "/owners/link", Act: "owner.link", Handle: d.linkOwner, Takes: newOwnerLink{}, Gives: owner{}},
		{Method: http.MethodPost, Path: "/owners/move", Act: "owner.move", Handle: d.moveOwner, Takes: newOwnerMove{}, Gives: owner{}},
	}
}

type owner struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Operator   *string `json:"operator"` // name of the person who answers as it; null while nobody does
	OperatorID *string `json:"operator_id"`
	Team       *string `json:"team"`   // that they work in; null for none
	Agents     int64   `json:"agents"` // that have not ended
	CreatedAt  *string `json:"created_at"`
}

func (d *door) owner(o lifecycle.Owner) owner {
	out := owner{ID: d.codec.String(o.ID), Name: o.Name, Agents: o.Agents, CreatedAt: wireTime(o.CreatedAt)}
	if o.Operator != 0 {
		id := d.codec.String(o.Operator)
		out.Operator, out.OperatorID = &o.OperatorName, &id
	}
	if o.Team != "" {
		out.Team = &o.Team
	}
	return out
}

// GET /owners?limit&cursor
func (d *door) owners(ctx context.Context, c *api.Call) error {
	var in lifecycle.OwnerQuery
	var err error
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.OwnerCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.ListOwners.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.owner))
}

type newOwnerLink struct {
	Owner    string `json:"owner"`    // name of one that is there
	Operator string `json:"operator"` // name of the person who answers as it from now on; "" for nobody
	Reason   string `json:"reason"`
}

// POST /owners/link
func (d *door) linkOwner(ctx context.Context, c *api.Call) error {
	var in newOwnerLink
	if err := c.Decode(&in); err != nil {
		return err
	}
	o, err := d.lifecycle.LinkOwner.DoOnce(ctx, c.Principal, c.Key, lifecycle.OwnerLink(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.owner(o))
}

type newOwnerMove struct {
	Owner  string `json:"owner"` // name of one that is there
	Team   string `json:"team"`  // "" for none
	Keep   bool   `json:"keep"`  // its agents come along; else they wait until they are taken over
	Reason string `json:"reason"`
}

// POST /owners/move
func (d *door) moveOwner(ctx context.Context, c *api.Call) error {
	var in newOwnerMove
	if err := c.Decode(&in); err != nil {
		return err
	}
	o, err := d.lifecycle.MoveOwner.DoOnce(ctx, c.Principal, c.Key, lifecycle.OwnerMove(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.owner(o))
}
