package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewApp asks for a key with which an application outside checks agents' proofs
// of identity. A new key for the same owner ends the earlier ones.
type NewApp struct {
	Owner string // who answers for the application
}

// App is a new application key. It is in it and nowhere else.
type App struct {
	Key   string
	Owner act.ID
}

// NamedOwner names an owner.
type NamedOwner struct{ Owner string }

func (l *Lifecycle) registerApp(g *gate.Gate) {
	resolve := func(owner string) (gate.Resource, error) {
		return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, identity.CheckName("owner", owner)
	}
	l.CreateApp = gate.RegisterWrite(g, gate.Write[NewApp, App]{
		Info: gate.Info{Name: "app.create", Doc: "Make a key with which an application checks agents' proofs of identity.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewApp) (gate.Resource, error) {
			return resolve(in.Owner)
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in NewApp) (out App, fx gate.Effects, err error) {
			if out.Owner, err = l.ids.EnsureOwner(tx, in.Owner); err != nil {
				return out, fx, err
			}
			if _, err = l.ids.Revoke(tx, out.Owner); err != nil {
				return out, fx, err
			}
			out.Key, err = l.ids.IssueAppKey(tx, out.Owner)
			return out, gate.Effects{Out: act.Ref{ID: out.Owner}}, err
		},
	})
	l.RevokeApp = gate.RegisterWrite(g, gate.Write[NamedOwner, act.Ref]{
		Info: gate.Info{Name: "app.revoke", Doc: "End the application keys of an owner.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NamedOwner) (gate.Resource, error) {
			return resolve(in.Owner)
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in NamedOwner) (act.Ref, gate.Effects, error) {
			owner, found, err := l.ids.Owner(&tx.View, in.Owner)
			if err == nil && !found {
				err = act.Errorf(act.NotFound, "no such owner").WithRule("owner.name").WithHint("use the name under which the key was made")
			}
			if err != nil {
				return act.Ref{}, gate.Effects{}, err
			}
			_, err = l.ids.Revoke(tx, owner)
			return act.Ref{ID: owner}, gate.Effects{Out: act.Ref{ID: owner}}, err
		},
		Replay: func(_ context.Context, _ *store.View, _ act.Principal, made act.Ref) (act.Ref, error) {
			return made, nil
		},
	})
}
