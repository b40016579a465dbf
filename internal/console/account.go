package console

import (
	"context"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/idp"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// accountView is what operators see of themselves.
type accountView struct {
	Name     string
	ID       string
	Roles    []string
	AuthAt   time.Time // zero when nobody has said
	Sessions []sessionView
}

type sessionView struct {
	ID            string
	Opened, Until time.Time
	Used, AuthAt  time.Time
	Roles         []string
	This          bool // in which the page is looked at
}

// GET /account
func (d *door) account(ctx context.Context, c *api.Call) (*page, error) {
	list, err := d.Lifecycle.ListSessions.Do(ctx, c.Principal, lifecycle.Nothing{})
	if err != nil {
		return nil, err
	}
	p := c.Principal
	v := &accountView{Name: p.Name, ID: d.codec.String(p.ID), Roles: gate.OperatorRoles(p.Roles).Names(), AuthAt: moment(p.AuthAt)}
	for _, s := range list {
		v.Sessions = append(v.Sessions, sessionView{
			ID: d.codec.String(s.ID), Opened: moment(s.CreatedAt), Until: moment(s.ExpiresAt), Used: moment(max(s.UsedAt, s.CreatedAt)),
			AuthAt: moment(s.AuthAt), Roles: s.Roles.Names(), This: s.ID == p.Credential,
		})
	}
	keys, err := d.passkeys(ctx, c, d.Passkeys.ToAdd)
	return &page{Page: "account", Title: "Your account", Account: v, Passkeys: keys}, err
}

func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return act.FromMicros(micros).UTC()
}

// POST /account ends one of one's own sessions.
func (d *door) endSession(ctx context.Context, c *api.Call) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	id, err := d.codec.ParseKind(values.Get("session"), act.KindCredential)
	if err != nil {
		return act.Errorf(act.NotFound, "no such session").WithRule("credential.unknown").WithHint("load the page again")
	}
	if _, err := d.Issuer.End.Do(ctx, c.Principal, identity.CredentialEnd{Credential: id, Reason: "ended by its operator"}); err != nil {
		return err
	}
	seeOther(c, "./account")
	return nil
}

// GET /step-up asks who is signed in to prove again who they are.
func (d *door) stepUpPage(ctx context.Context, c *api.Call) (*page, error) {
	keys, err := d.passkeys(ctx, c, d.Passkeys.ToProve)
	if err != nil {
		return nil, err
	}
	p, err := d.again(c, here(c.R.URL.Query().Get("next"))[1:])
	if err == nil {
		p.Passkeys = keys
	}
	return p, err
}

func (d *door) again(c *api.Call, next string) (*page, error) {
	if c.Principal.Binding != act.BindingSession {
		return nil, act.Errorf(act.Invalid, "this call was made in no session").WithRule("session.none").WithHint("open the page in the browser that is signed in")
	}
	return &page{Page: "step-up", Title: "Is it still you?", Next: next}, nil
}

// POST /step-up takes the operators' token again, or sends to the identity provider,
// which has to ask again. Either way the session gets a new key.
func (d *door) stepUp(ctx context.Context, c *api.Call) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	p, next := c.Principal, here(values.Get("next"))
	switch {
	case p.Binding != act.BindingSession:
		_, err := d.again(c, next)
		return err
	case values.Get("with") == "provider":
		return d.sendTo(ctx, c, idp.Begun{Next: next[1:], Session: p.Credential, Operator: p.ID})
	}
	if err := d.open(ctx, c, lifecycle.NewSession{Token: strings.TrimSpace(values.Get("token")), Ends: p.Credential, Again: p.ID}); err != nil {
		return err
	}
	seeOther(c, next)
	return nil
}
