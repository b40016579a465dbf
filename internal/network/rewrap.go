package network

import (
	"context"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What is wrapped under an older version of the wrapping key opens as long as that
// version is kept. Wrapping it anew is a chore: a few rows at a time, each only if
// nobody has changed it meanwhile, so that nobody waits for it and nothing is lost if
// it breaks off.
const (
	rewrapOnce = 100 // rows of one transaction

	qRewrapConversation store.Q = `SELECT id, key_version, wrapped_key FROM conversation WHERE key_version < $1 ORDER BY key_version, id LIMIT $2`
	qRewrapSealed       store.Q = `SELECT item, key_version, body FROM sealed WHERE key_version < $1 ORDER BY key_version, item LIMIT $2`
	qRewrapWebhook      store.Q = `SELECT id, key_version, secret FROM webhook WHERE key_version < $1 ORDER BY key_version, id LIMIT $2`

	qRewrappedConversation store.Q = `UPDATE conversation SET key_version = $3, wrapped_key = $4 WHERE id = $1 AND key_version = $2`
	qRewrappedSealed       store.Q = `UPDATE sealed SET key_version = $3, body = $4 WHERE item = $1 AND key_version = $2`
	// Who rotates a webhook's secret meanwhile raises its epoch or its version.
	qRewrappedWebhook store.Q = `UPDATE webhook SET key_version = $3, secret = $4 WHERE id = $1 AND key_version = $2 AND secret = $5`
)

// wrapped is one table whose rows have something wrapped in them.
type wrapped struct {
	sealer       Sealer
	due, rewrite store.Q
	compare      bool // the old bytes, too, before they are replaced
}

func (n *Network) wrapped() []wrapped {
	return []wrapped{
		{n.sealer, qRewrapConversation, qRewrappedConversation, false},
		{n.vault.Sealer, qRewrapSealed, qRewrappedSealed, false},
		{n.push.Secrets, qRewrapWebhook, qRewrappedWebhook, true},
	}
}

func (n *Network) registerRewrap(g *gate.Gate) {
	n.rewrap = gate.RegisterWrite(g, gate.Write[Nothing, int64]{
		Info: gate.Info{Name: "system.rewrap", Doc: "Wrap anew what is wrapped under an older version of the network's wrapping key; a chore does it.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, Nothing) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, _ Nothing) (done int64, fx gate.Effects, err error) {
			for _, w := range n.wrapped() {
				some, err := w.rewrap(tx)
				if done += some; err != nil {
					return done, fx, err
				}
			}
			return done, gate.Effects{Reason: fmt.Sprintf("%d are wrapped anew", done)}, nil
		},
	})
}

// rewrap wraps some of a table's rows anew and returns how many it looked at.
func (w wrapped) rewrap(tx *store.Tx) (looked int64, err error) {
	type row struct {
		id      act.ID
		version int64
		bytes   []byte
	}
	var rows []row
	if err := tx.All(w.due, func(r *store.Row) error {
		rows = append(rows, row{r.ID(0), r.Int(1), r.Bytes(2)})
		return nil
	}, w.sealer.Version(), int64(rewrapOnce)); err != nil {
		return 0, err
	}
	for _, r := range rows {
		plain, err := w.sealer.Unwrap(r.version, r.bytes, boundIDs(r.id))
		if err != nil {
			return looked, err
		}
		version, fresh := w.sealer.Wrap(plain, boundIDs(r.id))
		clear(plain)
		args := []any{r.id, r.version, version, fresh}
		if w.compare {
			args = append(args, r.bytes)
		}
		if err := tx.Batch(w.rewrite, args...); err != nil {
			return looked, err
		}
		looked++
	}
	return looked, nil
}

// Rewrap wraps anew what is left under older versions of the wrapping key. The server
// calls it on one node at a time.
func (n *Network) Rewrap(ctx context.Context) error {
	for {
		var due bool
		if err := n.db.View(ctx, func(v *store.View) error {
			for _, w := range n.wrapped() {
				found, err := v.One(w.due, func(*store.Row) error { return nil }, w.sealer.Version(), int64(1))
				if due = due || found; err != nil {
					return err
				}
			}
			return nil
		}); err != nil || !due {
			return err
		}
		if _, err := n.rewrap.Do(ctx, act.SystemPrincipal("keys"), Nothing{}); err != nil {
			return err
		}
	}
}
