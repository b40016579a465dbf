package network

import (
	"context"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Classify says how confidential what stands in a community is.
type Classify struct {
	Community string // name
	As        gate.Classification
	Reason    string // goes on record
}

const (
	qClassified store.Q = `SELECT id, classification FROM community WHERE classification > 0 ORDER BY id`
	qClassify   store.Q = `UPDATE community SET classification = $2, epoch = epoch + 1, version = version + 1 WHERE id = $1 AND classification <> $2`
)

func (n *Network) registerClassify(g *gate.Gate) {
	n.ClassifyCommunity = gate.RegisterWrite(g, gate.Write[Classify, Community]{
		Info: gate.Info{Name: "community.classify", Doc: "Say how confidential what stands in a community is: who is not cleared for it neither reads nor writes there.", On: act.KindCommunity, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Classify) (gate.Resource, error) {
			if err := checkText("reason", strings.TrimSpace(in.Reason), MaxReason, true); err != nil {
				return gate.Resource{}, err
			}
			c, _, err := n.community(v, qCommunityByName, in.Community)
			return gate.Resource{Ref: act.Ref{ID: c.ID, Version: c.Version}, Facts: n.communityFacts(&c)}, err
		},
		// What was decided when it was less confidential must not be committed afterwards.
		After: true,
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Classify) (Community, gate.Effects, error) {
			return n.classify(tx, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Community, error) {
			c, _, err := n.community(v, qCommunity, made.ID)
			return c, err
		},
	})
	g.OnFence(act.KindCommunity, func(ctx context.Context, _ []act.ID) error { return n.db.View(ctx, n.loadClassified) })
}

func (n *Network) classify(tx *store.Tx, in Classify) (c Community, fx gate.Effects, err error) {
	if c, _, err = n.community(&tx.View, qCommunityByName, in.Community); err != nil {
		return c, fx, err
	}
	changed, err := tx.Exec(qClassify, c.ID, int64(in.As))
	if err != nil {
		return c, fx, err
	}
	if changed == 0 {
		return c, fx, act.Errorf(act.Conflict, "the community %q is %s", in.Community, in.As).WithRule("community.classified").
			WithHint("nothing has to be done")
	}
	tx.Fence(act.KindCommunity, c.ID)
	c.Classification, c.Version = in.As, c.Version+1
	return c, gate.Effects{Out: act.Ref{ID: c.ID, Version: c.Version}, Reason: in.Reason}, nil
}

// loadClassified reads which communities are classified; most are not.
func (n *Network) loadClassified(v *store.View) error {
	now := make(map[act.ID]gate.Classification)
	err := v.All(qClassified, func(r *store.Row) error {
		now[r.ID(0)] = gate.Classification(r.Int(1))
		return nil
	})
	if err == nil {
		n.classified.Store(&now)
	}
	return err
}

// Classified is how confidential what stands in a community is, from memory.
func (n *Network) Classified(community act.ID) gate.Classification {
	if now := n.classified.Load(); now != nil && community != 0 {
		return (*now)[community]
	}
	return gate.Unclassified
}

// between is how confidential what two agents say to each other may be: what the one who
// is cleared for less may read.
func (n *Network) between(a, b act.ID) gate.Classification {
	if n.clearance == nil {
		return gate.Unclassified
	}
	return min(n.clearance(a), n.clearance(b))
}
