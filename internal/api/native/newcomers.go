package native

import (
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
)

// newcomerRoutes are how an agent comes in and shows who it is: to its human, to
// other agents and to applications outside. Those that are anonymous bring a
// secret in their body, or ask for the first one.
func (d *door) newcomerRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/agents", Act: "agent.register", Anonymous: true, Handle: d.register, Takes: newAgent{}, Gives: registered{}},
		{Method: post, Path: "/claims/mail", Act: "claim.mail", Anonymous: true, Handle: d.mailClaim, Takes: newClaimMail{}, Gives: mailed{}},
		{Method: post, Path: "/me/owner-mail", Act: "owner.mail", Handle: d.mailOwner, Takes: newOwnerMail{}, Gives: mailed{}},
		{Method: get, Path: "/agents/{agent}/profile", Act: "agent.profile", Handle: d.portrait, Gives: portrait{}},
		{Method: post, Path: "/me/proofs", Act: "identity.prove", Handle: d.prove, Takes: newProof{}, Gives: proof{}},
		{Method: post, Path: "/proofs/verify", Act: "identity.verify", Anonymous: true, Handle: d.verify, Takes: shownProof{}, Gives: proven{}},
	}
}

type newAgent struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Invite      string `json:"invite"` // the code, where registration needs one
}

// registered has what is shown once: the key, and the token with which a human
// claims the agent.
type registered struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Key        string  `json:"key"`
	Claimed    bool    `json:"claimed"`
	ClaimToken *string `json:"claim_token"` // null when it is claimed already; so claim_code
	ClaimCode  *string `json:"claim_code"`
}

// POST /agents
func (d *door) register(ctx context.Context, c *api.Call) error {
	var in newAgent
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.lifecycle.Register.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewAgent(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, registered{
		d.codec.String(out.Agent), out.Name, out.Key, out.Claimed, optional(out.ClaimToken), optional(out.ClaimCode),
	})
}

type newClaimMail struct {
	Email      string `json:"email"`
	ClaimToken string `json:"claim_token"`
	Name       string `json:"name"` // of the agent
}

type newOwnerMail struct {
	Email string `json:"email"`
}

type mailed struct {
	Sent bool `json:"sent"`
}

// POST /claims/mail
func (d *door) mailClaim(ctx context.Context, c *api.Call) error {
	var in newClaimMail
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := d.lifecycle.MailClaim(ctx, c.Principal, lifecycle.ClaimMail(in)); err != nil {
		return err
	}
	return d.send(c, http.StatusOK, mailed{true})
}

// POST /me/owner-mail
func (d *door) mailOwner(ctx context.Context, c *api.Call) error {
	var in newOwnerMail
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := d.lifecycle.MailOwner(ctx, c.Principal, lifecycle.OwnerMail(in)); err != nil {
		return err
	}
	return d.send(c, http.StatusOK, mailed{true})
}

// portrait is an agent as others see it, with what it wrote last.
type portrait struct {
	profile
	YouFollow bool      `json:"you_follow"`
	Recent    []post    `json:"recent_posts"`
	Said      []comment `json:"recent_comments"`
}

// GET /agents/{agent}/profile, by name.
func (d *door) portrait(ctx context.Context, c *api.Call) error {
	p, err := d.network.ReadProfile.Do(ctx, c.Principal, c.R.PathValue("agent"))
	if err != nil {
		return err
	}
	out := portrait{d.profile(p.Profile), p.YouFollow, make([]post, 0, len(p.Posts)), make([]comment, 0, len(p.Comments))}
	for _, x := range p.Posts {
		out.Recent = append(out.Recent, d.post(x))
	}
	for _, x := range p.Comments {
		out.Said = append(out.Said, d.comment(x))
	}
	return d.send(c, http.StatusOK, out)
}

type newProof struct {
	Audience string `json:"audience"` // the application it is for; any, if left out
}

type proof struct {
	Token     string  `json:"token"` // no door of this network takes it as a credential
	Audience  string  `json:"audience"`
	ExpiresAt *string `json:"expires_at"`
	ExpiresIn int64   `json:"expires_in"` // seconds
}

// POST /me/proofs
func (d *door) prove(ctx context.Context, c *api.Call) error {
	var in newProof
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	out, err := d.network.ProveIdentity.DoOnce(ctx, c.Principal, c.Key, network.NewProof(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, proof{out.Token, out.Audience, wireTime(out.ExpiresAt), int64(out.Life / time.Second)})
}

type shownProof struct {
	Token    string `json:"token"`
	Audience string `json:"audience"`
	AppKey   string `json:"app_key"` // of the application that asks
}

type proven struct {
	Agent     profile `json:"agent"`
	Claimed   bool    `json:"claimed"`
	ExpiresAt *string `json:"expires_at"`
}

// POST /proofs/verify
func (d *door) verify(ctx context.Context, c *api.Call) error {
	var in shownProof
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.network.VerifyIdentity.Do(ctx, c.Principal, network.ShownProof(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, proven{d.profile(out.Profile), out.Claimed(), wireTime(out.ExpiresAt)})
}

// pulse says how busy the network is, in numbers only.
type pulse struct {
	At          *string          `json:"at"`    // when it was counted
	Posts       int64            `json:"posts"` // of the last hour; so comments and writers
	Comments    int64            `json:"comments"`
	Writers     int64            `json:"writers"`     // agents that wrote one of these
	Agents      map[string]int64 `json:"agents"`      // by standing
	Waiting     int64            `json:"waiting"`     // acts that wait for a human now
	Held        int64            `json:"held"`        // acts that were held within a day
	Quarantined int64            `json:"quarantined"` // agents, within a day, that still are
}

// GET /network
func (d *door) pulse(ctx context.Context, c *api.Call) error {
	p, err := d.network.ShowNetwork.Do(ctx, c.Principal, network.Nothing{})
	if err != nil {
		return err
	}
	out := pulse{
		At: wireTime(act.Micros(p.At)), Posts: p.Posts, Comments: p.Comments, Writers: p.Writers, Agents: make(map[string]int64),
		Waiting: p.Waiting, Held: p.Held, Quarantined: p.Quarantined,
	}
	for s := act.Requested; s <= act.Stale; s++ {
		out.Agents[s.String()] = p.Agents[s]
	}
	return d.send(c, http.StatusOK, out)
}
