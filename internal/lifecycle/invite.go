package lifecycle

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// How long an invite code is good for.
const (
	DefaultInviteLife = 7 * 24 * time.Hour
	MinInviteLife     = time.Minute
	MaxInviteLife     = 90 * 24 * time.Hour
)

// NewInvite asks for a code with which one agent can register.
type NewInvite struct {
	Owner    string        // who will claim the agent unless the claim names another; "" if open
	ValidFor time.Duration // MinInviteLife to MaxInviteLife; DefaultInviteLife if 0
}

// Invited is a new invite. The code is in it and nowhere else.
type Invited struct {
	Code      string
	ID        act.ID
	ExpiresAt int64 // Unix microseconds
}

const (
	qInviteAdd store.Q = `INSERT INTO invite (id, hash, owner, created_by, created_at, expires_at, used_at, used_by)
VALUES ($1, $2, $3, $4, $5, $6, 0, 0)`
	qInvite      store.Q = `SELECT id, expires_at, used_at FROM invite WHERE hash = $1`
	qInviteUse   store.Q = `UPDATE invite SET used_at = $2, used_by = $3 WHERE id = $1 AND used_at = 0`
	qInviteOwner store.Q = `SELECT owner FROM invite WHERE id = $1`
)

func (l *Lifecycle) registerInvite(g *gate.Gate) {
	l.Invite = gate.RegisterWrite(g, gate.Write[NewInvite, Invited]{
		Info: gate.Info{Name: "agent.invite", Doc: "Make a code with which one agent can register.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewInvite) (gate.Resource, error) {
			if in.ValidFor != 0 && (in.ValidFor < MinInviteLife || in.ValidFor > MaxInviteLife) {
				return gate.Resource{}, act.Errorf(act.Invalid, "an invite is valid for a minute to 90 days").
					WithRule("invite.life").WithHint("leave it out for seven days")
			}
			if in.Owner != "" {
				if err := identity.CheckName("owner", in.Owner); err != nil {
					return gate.Resource{}, err
				}
			}
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: l.invite,
	})
}

func (l *Lifecycle) invite(_ context.Context, tx *store.Tx, p act.Principal, in NewInvite) (out Invited, fx gate.Effects, err error) {
	var owner act.ID
	if in.Owner != "" {
		if owner, err = l.ids.EnsureOwner(tx, in.Owner); err != nil {
			return out, fx, err
		}
	}
	if in.ValidFor == 0 {
		in.ValidFor = DefaultInviteLife
	}
	if out.ID, err = tx.Mint(act.KindInvite); err != nil {
		return out, fx, err
	}
	out.ExpiresAt = tx.Now() + in.ValidFor.Microseconds()
	var hash []byte
	out.Code, hash = l.ids.NewSecret(identity.InviteCode)
	err = tx.Batch(qInviteAdd, out.ID, hash, owner, p.ID, tx.Now(), out.ExpiresAt)
	return out, gate.Effects{Out: act.Ref{ID: out.ID}}, err
}

// useInvite takes the code for the agent. Of two registrations with one code at
// the same time the second finds no unused row.
func (l *Lifecycle) useInvite(tx *store.Tx, code string, agent act.ID) (invite act.ID, err error) {
	refuse := func(rule, message, hint string) (act.ID, error) {
		return 0, act.Errorf(act.Denied, "%s", message).WithRule(rule).WithHint(hint)
	}
	const again = "ask whoever gave it to you for a new code"
	hash, ok := l.ids.HashSecret(identity.InviteCode, code)
	var expires, used int64
	if ok {
		ok, err = tx.One(qInvite, func(r *store.Row) error {
			invite, expires, used = r.ID(0), r.Int(1), r.Int(2)
			return nil
		}, hash)
	}
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return refuse("invite.unknown", "this is no invite code of this network", "check that the code is whole; it begins with reef_inv_")
	case used != 0:
		return refuse("invite.used", "this invite code has been used", again)
	case tx.Now() >= expires:
		return refuse("invite.expired", "this invite code has expired", again)
	}
	changed, err := tx.Exec(qInviteUse, invite, tx.Now(), agent)
	if err == nil && changed == 0 {
		return refuse("invite.used", "this invite code has been used", again)
	}
	return invite, err
}
