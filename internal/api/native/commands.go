package native

import (
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// commandRoutes are how operators' orders come in that were signed away from the network.
// Whoever carries one needs no credential, and has no place among those who wait for one:
// it has to get through when everything else is full.
func (d *door) commandRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/command-keys", Act: "command.register", Handle: d.registerCommandKey, Takes: newCommandKey{}, Gives: credential{}},
		{Method: http.MethodPost, Path: "/commands", Anonymous: true, Body: true, Exempt: "does the act that the command names, as the operator who signed it", Handle: d.execute, Takes: sentCommand{}, Gives: executed{}},
	}
}

type newCommandKey struct {
	Key      string   `json:"key"`       // the public key (JWK), as a text
	Proof    string   `json:"proof"`     // an assertion by the key over the operator's id
	Acts     []string `json:"acts"`      // what it may order
	ValidFor int64    `json:"valid_for"` // seconds; ninety days if 0
}

// POST /command-keys
func (d *door) registerCommandKey(ctx context.Context, c *api.Call) error {
	var in newCommandKey
	if err := c.Decode(&in); err != nil {
		return err
	}
	const most = int64(identity.MaxCommandKeyLife / time.Second)
	if in.ValidFor < 0 || in.ValidFor > most {
		return act.Errorf(act.Invalid, "valid_for is not a number of seconds up to %d", most).WithRule("command.life").WithHint("leave it out for ninety days")
	}
	out, err := d.issuer.Commander.DoOnce(ctx, c.Principal, c.Key, identity.NewCommandKey{
		Key: in.Key, Proof: in.Proof, Acts: in.Acts, ValidFor: time.Duration(in.ValidFor) * time.Second,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, credential{d.codec.String(out.ID), out.KeyID, out.Scope, wireTime(out.ExpiresAt)})
}

type sentCommand struct {
	Command string `json:"command"` // the document, as reef command sign prints it
}

// executed says what a command has done.
type executed struct {
	ID  string `json:"id"` // of the command (jti)
	Act string `json:"act"`

	Agent *agent     `json:"agent,omitempty"` // as it is now, of an order about one
	Scope *contained `json:"scope,omitempty"` // as it is now, of an order about one
}

// POST /commands
func (d *door) execute(ctx context.Context, c *api.Call) error {
	var in sentCommand
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.lifecycle.Command(ctx, c.Principal.Source, in.Command)
	if err != nil {
		return err
	}
	done := executed{ID: out.ID, Act: out.Act}
	if out.Agent.ID != 0 {
		a := d.agent(out.Agent)
		done.Agent = &a
	} else {
		s := d.contained(out.Scope)
		done.Scope = &s
	}
	return d.send(c, http.StatusOK, done)
}
