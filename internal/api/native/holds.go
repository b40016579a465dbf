package native

import (
	"context"
	"net/http"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/audit"
)

// holdRoutes are what auditors keep from retention and erasure.
func (d *door) holdRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/holds", Act: "audit.holds", Handle: d.holds, Gives: list[hold]{}, Query: []string{"limit", "cursor"}},
		{Method: post, Path: "/holds", Act: "audit.hold", Handle: d.placeHold, Takes: newHold{}, Gives: hold{}},
		{Method: post, Path: "/holds/{hold}/release", Act: "audit.release", Handle: d.releaseHold, Takes: newOrder{}, Gives: hold{}},
	}
}

// hold is what must be kept.
type hold struct {
	N          int64   `json:"n"`
	ID         *string `json:"id"` // of the agent, community, post or comment; null is everything
	Kind       *string `json:"kind"`
	From       *string `json:"from"` // made at or after
	To         *string `json:"to"`   // and before
	Since      *string `json:"since"`
	Reason     string  `json:"reason"`
	By         *string `json:"by"`
	At         *string `json:"at"`
	ReleasedAt *string `json:"released_at"` // null while it is in force
	ReleasedBy *string `json:"released_by"`
	Released   string  `json:"release_reason"`
}

func (d *door) wireHold(h audit.Hold) hold {
	out := hold{
		N: h.N, ID: d.idOrNull(h.Thing), From: wireTime(h.From), To: wireTime(h.To), Since: wireTime(h.Since), Reason: h.Reason,
		By: d.idOrNull(h.By), At: wireTime(h.At), ReleasedAt: wireTime(h.ReleasedAt), ReleasedBy: d.idOrNull(h.ReleasedBy), Released: h.Released,
	}
	if h.Thing != 0 {
		kind := h.Thing.Kind().String()
		out.Kind = &kind
	}
	return out
}

// GET /holds
func (d *door) holds(ctx context.Context, c *api.Call) (err error) {
	var in audit.HoldQuery
	if in.Limit, in.Cursor, err = d.paging(c, audit.HoldCursor, audit.MaxHoldPage); err != nil {
		return err
	}
	page, err := d.audit.ListHolds.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.wireHold))
}

type newHold struct {
	ID         string `json:"id"`         // of an agent, community, post or comment; "" is all of them
	From       string `json:"from"`       // RFC 3339; "" without a beginning
	To         string `json:"to"`         // "" without an end
	Everything bool   `json:"everything"` // said where neither a thing nor a time is
	Reason     string `json:"reason"`
}

// POST /holds
func (d *door) placeHold(ctx context.Context, c *api.Call) (err error) {
	var in newHold
	if err := c.Decode(&in); err != nil {
		return err
	}
	order := audit.HoldOrder{Whole: in.Everything, Reason: in.Reason}
	if in.ID != "" {
		if order.Thing, err = d.codec.Parse(in.ID); err != nil {
			return err
		}
	}
	if order.From, err = instant("from", in.From); err != nil {
		return err
	}
	if order.To, err = instant("to", in.To); err != nil {
		return err
	}
	h, err := d.audit.PlaceHold.DoOnce(ctx, c.Principal, c.Key, order)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.wireHold(h))
}

// POST /holds/{hold}/release
func (d *door) releaseHold(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	n, err := strconv.ParseInt(c.R.PathValue("hold"), 10, 64)
	if err != nil || n < 1 {
		return act.Errorf(act.NotFound, "there is no hold %.20q", c.R.PathValue("hold")).WithRule("hold.none").WithHint("GET /v1/holds lists them by number")
	}
	h, err := d.audit.ReleaseHold.DoOnce(ctx, c.Principal, c.Key, audit.ReleaseOrder{N: n, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.wireHold(h))
}
