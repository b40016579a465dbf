package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// POST /apps
func (d *door) createApp(ctx context.Context, c *api.Call) error {
	var in struct {
		Owner string `json:"owner"` // who answers for the application
	}
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.lifecycle.CreateApp.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewApp{Owner: in.Owner})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, struct {
		Owner string `json:"owner"`
		Key   string `json:"app_key"`
	}{in.Owner, out.Key})
}

// DELETE /apps/{owner}
func (d *door) revokeApp(ctx context.Context, c *api.Call) error {
	owner := c.R.PathValue("owner")
	if _, err := d.lifecycle.RevokeApp.DoOnce(ctx, c.Principal, c.Key, lifecycle.NamedOwner{Owner: owner}); err != nil {
		return err
	}
	return d.send(c, http.StatusOK, struct {
		Owner   string `json:"owner"`
		Revoked bool   `json:"revoked"`
	}{owner, true})
}
