package native

import (
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

type agent struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	Owner     *string `json:"owner"` // name; null while unclaimed
	OwnerID   *string `json:"owner_id"`
	Standing  string  `json:"standing"`
	Beneath   *string `json:"beneath"` // the standing that comes back with the release; null unless quarantined
	Epoch     int64   `json:"epoch"`
	KillEpoch string  `json:"kill_epoch,omitempty"` // the network's with the agent's kill; not in lists
	Reason    string  `json:"reason"`
	CreatedAt *string `json:"created_at"`
	ClaimedAt *string `json:"claimed_at"`
	ChangedAt *string `json:"changed_at"`

	Effective string  `json:"effective"` // the standing with what is halted, late or over
	Class     *string `json:"class"`     // null without one
	Version   int64   `json:"class_version"`
	MandateID *string `json:"mandate_id"`
	Revision  int64   `json:"mandate_revision"` // that it is bound to
	ParentID  *string `json:"parent_id"`
	Depth     int64   `json:"depth"`
	EndsAt    *string `json:"ends_at"`

	Trust   string       `json:"trust"`             // in force: unknown, low, normal or high
	Trusted *trustChange `json:"trusted,omitempty"` // that it came with; not in lists
}

func (d *door) agent(a lifecycle.Agent) agent {
	out := agent{
		ID: d.codec.String(a.ID), Name: a.Name, Standing: a.Standing.String(), Epoch: a.Epoch, KillEpoch: a.KillEpoch, Reason: a.Reason,
		CreatedAt: wireTime(a.CreatedAt), ClaimedAt: wireTime(a.ClaimedAt), ChangedAt: wireTime(a.ChangedAt),
		Effective: a.Now.String(), Version: a.Version, MandateID: d.id(a.Mandate), Revision: a.Revision, ParentID: d.id(a.Parent), Depth: a.Depth, EndsAt: wireTime(a.EndsAt),
		Trust: a.Trust.String(),
	}
	if a.Trusted.At != 0 {
		trusted := wireTrust(a.Trusted)
		out.Trusted = &trusted
	}
	if a.Class != "" {
		out.Class = &a.Class
	}
	if a.Beneath != act.StandingUnknown {
		beneath := a.Beneath.String()
		out.Beneath = &beneath
	}
	if a.Owner != 0 {
		id := d.codec.String(a.Owner)
		out.Owner, out.OwnerID = &a.OwnerName, &id
	}
	return out
}

// id renders an id; nil for none.
func (d *door) id(id act.ID) *string {
	if id == 0 {
		return nil
	}
	text := d.codec.String(id)
	return &text
}

type newInvite struct {
	Owner    string `json:"owner"`     // who will own the agent, unless the claim names another
	ValidFor int64  `json:"valid_for"` // seconds; seven days if 0
}

// invite is a code that registers one agent, shown once.
type invite struct {
	ID        string  `json:"id"`
	Code      string  `json:"code"`
	ExpiresAt *string `json:"expires_at"`
}

// POST /invites
func (d *door) makeInvite(ctx context.Context, c *api.Call) error {
	var in newInvite
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	const most = int64(lifecycle.MaxInviteLife / time.Second)
	if in.ValidFor < 0 || in.ValidFor > most {
		return act.Errorf(act.Invalid, "valid_for is not a number of seconds up to %d", most).
			WithRule("invite.life").WithHint("leave it out for seven days")
	}
	out, err := d.lifecycle.Invite.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewInvite{
		Owner: in.Owner, ValidFor: time.Duration(in.ValidFor) * time.Second,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, invite{d.codec.String(out.ID), out.Code, wireTime(out.ExpiresAt)})
}

// GET /agents?standing&owner&limit&cursor
func (d *door) list(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := lifecycle.Query{Owner: q.Get("owner")}
	var err error
	if in.Standing, err = standing(q.Get("standing")); err != nil {
		return err
	}
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.ListCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.List.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.agent))
}

// standing reads a standing's name; "" is any.
func standing(name string) (act.Standing, error) {
	if name == "" {
		return act.StandingUnknown, nil
	}
	for s := act.Requested; s <= act.Stale; s++ {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, act.Errorf(act.Invalid, "there is no such standing").WithRule("http.query").
		WithHint("use requested, active, paused, quarantined, killed, expired or stale")
}

// GET /agents/{agent}: by id, or by name.
func (d *door) show(ctx context.Context, c *api.Call) error {
	in := lifecycle.Named{Name: c.R.PathValue("agent")}
	if id, err := d.codec.ParseKind(in.Name, act.KindAgent); err == nil {
		in = lifecycle.Named{Agent: id}
	}
	a, err := d.lifecycle.Show.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.agent(a))
}

// agentID reads the id of the path. Orders take no names: a name may look like
// another one.
func (d *door) agentID(c *api.Call) (act.ID, error) {
	id, err := d.codec.ParseKind(c.R.PathValue("agent"), act.KindAgent)
	if err != nil {
		return 0, act.Errorf(act.NotFound, "no such agent").
			WithHint("orders take the agent's id; GET /v1/agents/{name} shows it")
	}
	return id, nil
}

type newClaim struct {
	Owner string `json:"owner"` // the invite's owner if ""
}

// POST /agents/{agent}/claim
func (d *door) claim(ctx context.Context, c *api.Call) error {
	var in newClaim
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	id, err := d.agentID(c)
	if err != nil {
		return err
	}
	return d.claimed(ctx, c, lifecycle.NewClaim{Agent: id, Owner: in.Owner})
}

type newTokenClaim struct {
	ClaimToken string `json:"claim_token"`
	Owner      string `json:"owner"` // the invite's owner if "", else who calls
}

// POST /claims: by the token that the agent sent to its human.
func (d *door) claimByToken(ctx context.Context, c *api.Call) error {
	var in newTokenClaim
	if err := c.Decode(&in); err != nil {
		return err
	}
	return d.claimed(ctx, c, lifecycle.NewClaim{ClaimToken: in.ClaimToken, Owner: in.Owner})
}

func (d *door) claimed(ctx context.Context, c *api.Call, in lifecycle.NewClaim) error {
	a, err := d.lifecycle.Claim.DoOnce(ctx, c.Principal, c.Key, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.agent(a))
}

type newOrder struct {
	Reason string `json:"reason"`
}

// order answers POST /agents/{agent}/pause and its siblings.
func (d *door) order(do *gate.WriteAct[lifecycle.Order, lifecycle.Agent]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newOrder
		if err := c.Decode(&in); err != nil {
			return err
		}
		id, err := d.agentID(c)
		if err != nil {
			return err
		}
		a, err := do.DoOnce(ctx, c.Principal, c.Key, lifecycle.Order{Agent: id, Reason: in.Reason})
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, d.agent(a))
	}
}
