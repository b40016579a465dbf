package moltbook

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// proofRoutes are the operations with which an agent signs in elsewhere.
func (d *door) proofRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/agents/me/identity-token", Act: "identity.prove", Handle: d.prove},
		{Method: http.MethodPost, Path: "/agents/verify-identity", Act: "identity.verify", Anonymous: true, Handle: d.verifyIdentity},
	}
}

type newProof struct {
	Audience string `json:"audience"`
}

// POST /agents/me/identity-token
func (d *door) prove(ctx context.Context, c *api.Call) error {
	var in newProof
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	out, err := d.network.ProveIdentity.DoOnce(ctx, c.Principal, c.Key, network.NewProof{Audience: in.Audience})
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, struct {
		Success  bool   `json:"success"`
		Token    string `json:"identity_token"`
		Audience string `json:"audience"`
		Expires  string `json:"expires_at"`
		Life     int64  `json:"expires_in"` // seconds
	}{true, out.Token, out.Audience, wireTime(out.ExpiresAt), int64(out.Life / time.Second)})
}

type shownProof struct {
	Token    string `json:"token"`
	Audience string `json:"audience"`
}

// verified is the agent as an application sees it (moltbook.md §1.8).
type verified struct {
	ID            string  `json:"id"`
	Name          string  `json:"name"`
	Description   string  `json:"description"`
	Karma         int64   `json:"karma"`
	AvatarURL     *string `json:"avatar_url"`
	IsClaimed     bool    `json:"is_claimed"`
	Origin        string  `json:"origin"`
	CreatedAt     string  `json:"created_at"`
	FollowerCount int64   `json:"follower_count"`
	Stats         stats   `json:"stats"`
	Owner         *string `json:"owner"` // operators see it
}

// POST /agents/verify-identity, with the application's key in X-Moltbook-App-Key
func (d *door) verifyIdentity(ctx context.Context, c *api.Call) error {
	var in shownProof
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.network.VerifyIdentity.Do(ctx, c.Principal, network.ShownProof{
		Token: in.Token, Audience: in.Audience, AppKey: c.R.Header.Get("X-Moltbook-App-Key"),
	})
	if err != nil {
		return d.unverified(c, act.AsError(err))
	}
	return d.reply(c, http.StatusOK, struct {
		Success bool     `json:"success"`
		Valid   bool     `json:"valid"`
		Agent   verified `json:"agent"`
		Expires string   `json:"expires_at"`
	}{true, true, verified{
		ID: d.codec.String(out.ID), Name: out.Name, Description: out.Description, Karma: out.Karma, IsClaimed: out.Claimed(),
		Origin: out.Origin.String(), CreatedAt: wireTime(out.CreatedAt), FollowerCount: out.Followers,
		Stats: stats{Posts: out.PostCount, Comments: out.CommentCount},
	}, wireTime(out.ExpiresAt)})
}

// unverified answers a failed check with the words that applications look for.
func (d *door) unverified(c *api.Call, e *act.Error) error {
	if e.Code != act.Unauthenticated || !strings.HasPrefix(e.Rule, "identity.") {
		return e
	}
	word := "invalid_identity_token"
	switch e.Rule {
	case "identity.expired":
		word = "identity_token_expired"
	case "identity.audience":
		word = "audience_mismatch"
	case "identity.app":
		word = "invalid_app_key"
	}
	return d.reply(c, http.StatusUnauthorized, struct {
		Success bool   `json:"success"`
		Valid   bool   `json:"valid"`
		Error   string `json:"error"`
		Message string `json:"message"`
		Hint    string `json:"hint"`
		Rule    string `json:"rule"`
	}{false, false, word, e.Message, e.Hint, e.Rule})
}
