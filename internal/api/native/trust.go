package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
)

// trustRoutes are how far agents are trusted, and why.
func (d *door) trustRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/agents/{agent}/trust", Act: "agent.trust", Handle: d.entrust, Takes: newTrust{}, Gives: agent{}},
		{Method: http.MethodGet, Path: "/agents/{agent}/trust", Act: "trust.list", Handle: d.trustChanges, Gives: list[trustChange]{}, Query: []string{"limit", "cursor"}},
	}
}

// trustChange is a level of trust, since when it is in force and why.
type trustChange struct {
	Level  string  `json:"level"`  // unknown, low, normal or high
	Earned string  `json:"earned"` // what it would be without an operator's word
	Rule   string  `json:"rule"`   // trust.said for an operator's word
	Reason string  `json:"reason"` // theirs, or what was found in the record
	By     *string `json:"by"`     // the operator; null for the server
	At     *string `json:"at"`
}

func wireTrust(c lifecycle.TrustChange) trustChange {
	out := trustChange{Level: c.Level.String(), Earned: c.Earned.String(), Rule: c.Rule, Reason: c.Reason, At: wireTime(c.At)}
	if c.By != 0 {
		out.By = &c.ByName
	}
	return out
}

type newTrust struct {
	Level  string `json:"level"` // low, normal or high; earned takes an operator's word back
	Reason string `json:"reason"`
}

// POST /agents/{agent}/trust
func (d *door) entrust(ctx context.Context, c *api.Call) error {
	var in newTrust
	if err := c.Decode(&in); err != nil {
		return err
	}
	id, err := d.agentID(c)
	if err != nil {
		return err
	}
	level, known := trust.Parse(in.Level)
	if in.Level == "earned" {
		level, known = trust.Unknown, true
	} else if level == trust.Unknown {
		known = false
	}
	if !known {
		return act.Errorf(act.Invalid, "there is no such level").WithRule("trust.level").WithHint("use low, normal or high; earned takes back what was said")
	}
	a, err := d.lifecycle.Entrust.DoOnce(ctx, c.Principal, c.Key, lifecycle.Entrusting{Agent: id, Level: level, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.agent(a))
}

// GET /agents/{agent}/trust?limit&cursor
func (d *door) trustChanges(ctx context.Context, c *api.Call) error {
	id, err := d.agentID(c)
	if err != nil {
		return err
	}
	in := lifecycle.TrustQuery{Agent: id}
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.TrustCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.ListTrust.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, wireTrust))
}
