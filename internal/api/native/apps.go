package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

type newApp struct {
	Owner string `json:"owner"` // who answers for the application
}

// app is an application's key, shown once.
type app struct {
	Owner string `json:"owner"`
	Key   string `json:"app_key"`
}

// POST /apps
func (d *door) createApp(ctx context.Context, c *api.Call) error {
	var in newApp
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.lifecycle.CreateApp.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewApp{Owner: in.Owner})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, app{in.Owner, out.Key})
}

type revokedApp struct {
	Owner   string `json:"owner"`
	Revoked bool   `json:"revoked"`
}

// DELETE /apps/{owner}
func (d *door) revokeApp(ctx context.Context, c *api.Call) error {
	owner := c.R.PathValue("owner")
	if _, err := d.lifecycle.RevokeApp.DoOnce(ctx, c.Principal, c.Key, lifecycle.NamedOwner{Owner: owner}); err != nil {
		return err
	}
	return d.send(c, http.StatusOK, revokedApp{owner, true})
}
