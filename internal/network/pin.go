package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Pin is what became of a post's pin.
type Pin struct {
	Post    act.ID
	Place   act.ID
	Pinned  bool
	Changed bool // false when it was so before
}

// MaxPins bounds the pinned posts of a community (moltbook.md §1.2).
const MaxPins = 3

const (
	qPin   store.Q = `UPDATE post SET pinned_at = $2 WHERE id = $1 AND deleted_at = 0 AND pinned_at = 0`
	qUnpin store.Q = `UPDATE post SET pinned_at = 0 WHERE id = $1 AND pinned_at > 0 RETURNING community`

	// The count is raised and compared by one statement on one row, so parallel
	// requests cannot pin a fourth post.
	qPinCount store.Q = `UPDATE community SET pin_count = pin_count + 1 WHERE id = $1 AND pin_count < $2`
	qAddPins  store.Q = `UPDATE community SET pin_count = pin_count + $2 WHERE id = $1`
)

func (n *Network) registerPin(g *gate.Gate) {
	target := func(ctx context.Context, v *store.View, p act.Principal, in Named) (gate.Resource, error) {
		res, err := n.postTarget(ctx, v, p, in)
		if err != nil {
			return res, err
		}
		return res, n.withRole(v, p, res.Facts.Community, &res)
	}
	register := func(name, doc string, pinned bool, run func(context.Context, *store.Tx, act.Principal, Named) (Pin, gate.Effects, error)) *gate.WriteAct[Named, Pin] {
		return gate.RegisterWrite(g, gate.Write[Named, Pin]{
			Info:    gate.Info{Name: name, Doc: doc, On: act.KindPost, Quota: gate.QuotaWrite},
			Resolve: target,
			Run:     run,
			Replay: func(_ context.Context, _ *store.View, _ act.Principal, made act.Ref) (Pin, error) {
				return Pin{Post: made.ID, Pinned: pinned}, nil
			},
		})
	}
	n.PinPost = register("post.pin", "Pin a post of a community that one moderates, at most three.", true, n.pin)
	n.UnpinPost = register("post.unpin", "Take a post's pin away.", false, n.unpin)
}

func (n *Network) pin(_ context.Context, tx *store.Tx, _ act.Principal, in Named) (Pin, gate.Effects, error) {
	id, place, err := n.pinned(tx, in)
	if err != nil {
		return Pin{}, gate.Effects{}, err
	}
	out := Pin{Post: id, Place: place, Pinned: true}
	// The post's row before the community's, as in every act that changes both.
	tx.Touch(id)
	changed, err := tx.Exec(qPin, id, tx.Now())
	if err != nil || changed == 0 {
		return out, gate.Effects{Out: act.Ref{ID: id}, Named: true}, err
	}
	counted, err := tx.Exec(qPinCount, place, MaxPins)
	if err == nil && counted == 0 {
		err = act.Errorf(act.Conflict, "the community has %d pinned posts", MaxPins).
			WithRule("post.pin").WithHint("unpin one of them first")
	}
	out.Changed = true
	return out, gate.Effects{Out: act.Ref{ID: id}, Named: true}, err
}

func (n *Network) unpin(_ context.Context, tx *store.Tx, _ act.Principal, in Named) (Pin, gate.Effects, error) {
	id, place, err := n.pinned(tx, in)
	if err != nil {
		return Pin{}, gate.Effects{}, err
	}
	changed, err := dropPin(tx, id)
	return Pin{Post: id, Place: place, Changed: changed}, gate.Effects{Out: act.Ref{ID: id}, Named: true}, err
}

func (n *Network) pinned(tx *store.Tx, in Named) (id, place act.ID, err error) {
	if id, err = n.itemID(&tx.View, in, act.KindPost); err != nil {
		return 0, 0, err
	}
	_, err = tx.One(qPostTarget, func(r *store.Row) error { place = r.ID(0); return nil }, id)
	return id, place, err
}

// dropPin takes a post's pin away, if it has one. Who makes a tombstone of a post
// calls it after that: the row is locked then, and nobody pins it any more.
func dropPin(tx *store.Tx, post act.ID) (dropped bool, err error) {
	tx.Touch(post)
	return tx.One(qUnpin, func(r *store.Row) error { tx.Add(qAddPins, r.ID(0), -1); return nil }, post)
}
