package native

import (
	"context"
	"net/http"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/passkey"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// whoami is the caller as the server sees it: who acts, on whose behalf, with what,
// how far, and until when.
type whoami struct {
	Kind      string    `json:"kind"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Subject   string    `json:"subject"` // whose authority it is in the end: the id of the first of the chain, or one's own
	Chain     []string  `json:"chain"`   // ids of those on whose behalf the caller acts, outermost first
	Binding   string    `json:"binding"`
	Grant     *string   `json:"grant"`      // behind the access token; null for other credentials
	Scopes    *[]string `json:"scopes"`     // null where nothing but policy bounds the caller
	ExpiresAt *string   `json:"expires_at"` // of what was shown; null if it does not expire
	Roles     *[]string `json:"roles"`      // of an operator, which policy decides by; null for others
	AuthAt    *string   `json:"auth_at"`    // when an operator last proved who they are; null for others, and where each call proves it
	PasskeyAt *string   `json:"passkey_at"` // when an operator last did so by a passkey; null for others, and if never
}

// GET /whoami
func (d *door) whoami(ctx context.Context, c *api.Call) error {
	p := c.Principal
	if err := d.kernel.Gate.Knock(ctx, p, "", gate.QuotaRead); err != nil {
		return err
	}
	out := whoami{
		Kind: p.Kind.String(), ID: d.codec.String(p.ID), Name: p.Name, Subject: d.codec.String(p.ID), Chain: []string{},
		Binding: p.Binding.String(), ExpiresAt: wireTime(p.Until),
	}
	if p.Kind == act.Operator {
		roles := gate.OperatorRoles(p.Roles).Names()
		out.Roles, out.AuthAt, out.PasskeyAt = &roles, wireTime(p.AuthAt), wireTime(p.PasskeyAt)
	}
	for _, id := range p.Chain {
		out.Chain = append(out.Chain, d.codec.String(id))
	}
	if len(out.Chain) > 0 {
		out.Subject = out.Chain[0]
	}
	if p.Grant != 0 {
		grant, scopes := d.codec.String(p.Grant), strings.Fields(p.Scope)
		out.Grant, out.Scopes = &grant, &scopes
	}
	return d.send(c, http.StatusOK, out)
}

// session is one of the caller's sessions in browsers.
type session struct {
	ID        string   `json:"id"` // ends by POST /v1/credentials/{id}/revoke
	CreatedAt *string  `json:"created_at"`
	ExpiresAt *string  `json:"expires_at"`
	UsedAt    *string  `json:"used_at"`    // to the minute; null if not since it was opened
	AuthAt    *string  `json:"auth_at"`    // when its human last proved who they are; null if nobody has said
	PasskeyAt *string  `json:"passkey_at"` // when they last did so by a passkey; null if never
	Roles     []string `json:"roles"`
}

// GET /sessions
func (d *door) sessions(ctx context.Context, c *api.Call) error {
	sessions, err := d.lifecycle.ListSessions.Do(ctx, c.Principal, lifecycle.Nothing{})
	if err != nil {
		return err
	}
	out := list[session]{Items: []session{}}
	for _, s := range sessions {
		out.Items = append(out.Items, session{
			d.codec.String(s.ID), wireTime(s.CreatedAt), wireTime(s.ExpiresAt), wireTime(s.UsedAt), wireTime(s.AuthAt), wireTime(s.PasskeyAt), s.Roles.Names(),
		})
	}
	return d.send(c, http.StatusOK, out)
}

// wirePasskey is one of the caller's passkeys. They are added and used on the pages
// /account and /step-up, where there is an authenticator.
type wirePasskey struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	Synced    bool    `json:"synced"` // it may be on several devices
	CreatedAt *string `json:"created_at"`
	UsedAt    *string `json:"used_at"` // null if not since it was added
}

// GET /passkeys
func (d *door) listPasskeys(ctx context.Context, c *api.Call) error {
	have, err := d.passkeys.List.Do(ctx, c.Principal, passkey.Nothing{})
	if err != nil {
		return err
	}
	out := list[wirePasskey]{Items: []wirePasskey{}}
	for _, one := range have {
		out.Items = append(out.Items, wirePasskey{d.codec.String(one.ID), one.Name, one.Synced, wireTime(one.CreatedAt), wireTime(one.UsedAt)})
	}
	return d.send(c, http.StatusOK, out)
}
