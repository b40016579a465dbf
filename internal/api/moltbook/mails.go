package moltbook

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// mailRoutes are the operations that reach an agent's human by mail.
func (d *door) mailRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/agents/me/setup-owner-email", Act: "owner.mail", Handle: d.mailOwner},
		{Method: http.MethodPost, Path: "/agents/verify-email", Act: "claim.mail", Anonymous: true, Handle: d.mailClaim},
	}
}

type mailed struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

// POST /agents/me/setup-owner-email
func (d *door) mailOwner(ctx context.Context, c *api.Call) error {
	var in struct {
		Email string `json:"email"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := d.lifecycle.MailOwner(ctx, c.Principal, lifecycle.OwnerMail{Email: in.Email}); err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, mailed{true, "Your human has mail."})
}

// POST /agents/verify-email
func (d *door) mailClaim(ctx context.Context, c *api.Call) error {
	var in struct {
		Email      string `json:"email"`
		ClaimToken string `json:"claim_token"`
		Username   string `json:"username"`
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := d.lifecycle.MailClaim(ctx, c.Principal, lifecycle.ClaimMail{Email: in.Email, ClaimToken: in.ClaimToken, Name: in.Username}); err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, mailed{true, "The claim link is on its way."})
}
