package network

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	keepNotified = 30 * 24 * time.Hour // read or not
	maxUnread    = 1000                // of an agent that never reads, older ones are dropped
	tidyRows     = 500                 // dropped in one transaction
	tidyAgents   = 10_000              // looked at in one transaction

	qTidyOldest   store.Q = `SELECT id, created_at FROM notification WHERE id > 0 ORDER BY id LIMIT $1`
	qTidyHoarders store.Q = `SELECT agent, unread FROM inbox WHERE agent > $1 ORDER BY agent LIMIT $2`
	qTidyExcess   store.Q = `SELECT id FROM notification WHERE agent = $1 ORDER BY id LIMIT $2`
	qTidyDrop     store.Q = `DELETE FROM notification WHERE id = $1 RETURNING agent, read_at`
)

func (n *Network) registerTidy(g *gate.Gate) {
	n.tidy = gate.RegisterWrite(g, gate.Write[[]act.ID, int]{
		Info: gate.Info{Name: "system.tidy", Doc: "Drop notifications that are old or too many.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, []act.ID) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, ids []act.ID) (dropped int, fx gate.Effects, err error) {
			for _, id := range ids {
				// The row says under its lock whether it is still unread.
				found, err := tx.One(qTidyDrop, func(r *store.Row) error {
					if r.Int(1) == 0 {
						tx.Add(qAddUnread, r.ID(0), -1)
					}
					return nil
				}, id)
				if err != nil {
					return dropped, fx, err
				}
				if found {
					dropped++
				}
			}
			return dropped, fx, nil
		},
	})
}

// tidyNotices drops notifications older than keepNotified, and the oldest of agents
// that let more than maxUnread wait. On several nodes each may do it, and they drop what
// the others left.
func (n *Network) tidyNotices(ctx context.Context) error {
	system := act.SystemPrincipal("housekeeping")
	before := act.Micros(n.gate.Now().Add(-keepNotified))
	for {
		var old []act.ID
		if err := n.db.View(ctx, func(v *store.View) error {
			return v.All(qTidyOldest, func(r *store.Row) error {
				if r.Int(1) < before {
					old = append(old, r.ID(0))
				}
				return nil
			}, int64(tidyRows))
		}); err != nil {
			return err
		}
		if len(old) == 0 {
			break
		}
		if _, err := n.tidy.Do(ctx, system, old); err != nil {
			return err
		}
	}
	for after := act.ID(0); ; {
		type hoard struct {
			agent act.ID
			over  int64
		}
		var hoards []hoard
		seen := 0
		if err := n.db.View(ctx, func(v *store.View) error {
			return v.All(qTidyHoarders, func(r *store.Row) error {
				seen++
				after = r.ID(0)
				if over := r.Int(1) - maxUnread; over > 0 {
					hoards = append(hoards, hoard{after, over})
				}
				return nil
			}, after, int64(tidyAgents))
		}); err != nil {
			return err
		}
		for _, h := range hoards {
			for left := h.over; left > 0; left -= tidyRows {
				var excess []act.ID
				if err := n.db.View(ctx, func(v *store.View) error {
					return v.All(qTidyExcess, func(r *store.Row) error { excess = append(excess, r.ID(0)); return nil },
						h.agent, min(left, tidyRows))
				}); err != nil {
					return err
				}
				if _, err := n.tidy.Do(ctx, system, excess); err != nil {
					return err
				}
			}
		}
		if seen < tidyAgents {
			return nil
		}
	}
}
