package network

import (
	"context"
	"sync"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qErasePost    store.Q = `UPDATE post SET deleted_at = CASE WHEN deleted_at = 0 THEN $2 ELSE deleted_at END, erased_at = $2, updated_at = $2, epoch = epoch + 1, version = version + 1 WHERE id = $1`
	qEraseComment store.Q = `UPDATE comment SET deleted_at = CASE WHEN deleted_at = 0 THEN $2 ELSE deleted_at END, erased_at = $2, updated_at = $2, epoch = epoch + 1, version = version + 1 WHERE id = $1`

	qEvidencePost    store.Q = `SELECT author, community, id, created_at FROM post WHERE id = $1`
	qEvidenceComment store.Q = `SELECT m.author, p.community, m.post, m.created_at FROM comment AS m JOIN post AS p ON p.id = m.post WHERE m.id = $1`
)

func (n *Network) registerErase(g *gate.Gate) {
	n.erase = gate.RegisterWrite(g, gate.Write[Examination, act.Ref]{
		Info:    gate.Info{Name: "content.erase", Doc: "Erase a post or comment for ever: text, salt, sealed copy and index; the tombstone stays.", On: act.KindPost, Also: []act.Kind{act.KindComment}, Quota: gate.QuotaNone},
		Resolve: n.examined,
		Run:     n.eraseItem,
		Replay: func(_ context.Context, _ *store.View, _ act.Principal, made act.Ref) (act.Ref, error) {
			return made, nil
		},
	})
}

// Erase does content.erase and then has the database's own remains overwritten:
// when it returns without an error, SQLite's file and WAL hold no byte of the
// text. (PostgreSQL keeps dead rows until its next VACUUM, and both keep what
// backups hold.) It can be repeated.
func (n *Network) Erase(ctx context.Context, p act.Principal, key gate.Key, in Examination) (act.Ref, error) {
	made, err := n.erase.DoOnce(ctx, p, key, in)
	if err != nil {
		return made, err
	}
	return made, n.db.Scrub(ctx)
}

func (n *Network) eraseItem(_ context.Context, tx *store.Tx, _ act.Principal, in Examination) (act.Ref, gate.Effects, error) {
	if err := tx.LockRetention(); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	id, err := n.itemID(&tx.View, in.Item, in.On)
	if err == nil {
		err = n.heldBack(&tx.View, id)
	}
	if err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	q := qErasePost
	if in.On == act.KindComment {
		q = qEraseComment
	}
	if err := n.uncount(tx, id); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	if _, err := tx.Exec(q, id, tx.Now()); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	if _, err := dropPin(tx, id); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	if err := n.forgetText(tx, id); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	if _, err := tx.Exec(qSealedDrop, id); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	tx.Fence(id.Kind(), id)
	made := act.Ref{ID: id}
	return made, gate.Effects{Out: made, Reason: in.Reason}, nil
}

// Evidence is a post or comment as those know it who say what must not be erased.
type Evidence struct {
	Item, Author, Community act.ID
	Post                    act.ID // that it is, or stands under
	At                      int64  // made, Unix microseconds
}

// heldBack fails where an item must not be erased.
func (n *Network) heldBack(v *store.View, id act.ID) error {
	if n.evidence == nil {
		return nil
	}
	q := qEvidencePost
	if id.Kind() == act.KindComment {
		q = qEvidenceComment
	}
	e := Evidence{Item: id}
	if _, err := v.One(q, func(r *store.Row) error {
		e.Author, e.Community, e.Post, e.At = r.ID(0), r.ID(1), r.ID(2), r.Int(3)
		return nil
	}, id); err != nil {
		return err
	}
	return n.evidence(v, e)
}

// uncount takes a post or comment that is about to become a tombstone out of
// the counters. One that is a tombstone already counts nowhere.
func (n *Network) uncount(tx *store.Tx, id act.ID) error {
	if id.Kind() == act.KindComment {
		_, err := tx.One(qCommentHome, func(r *store.Row) error {
			if r.Int(2) == 0 {
				tx.Add(qAddPostComments, r.ID(0), -1)
				tx.Add(qAddComments, r.ID(1), -1)
			}
			return nil
		}, id)
		return err
	}
	_, err := tx.One(qPostTarget, func(r *store.Row) error {
		if r.Int(4) == 0 {
			tx.Add(qAddCommunityPosts, r.ID(0), -1)
			tx.Add(qAddPosts, r.ID(1), -1)
		}
		return nil
	}, id)
	return err
}

// listeners are told which items have lost their text, so that they drop what
// they made of it.
type listeners struct {
	mu sync.Mutex
	fn []func(act.ID) // guarded by mu
}

// OnForget has fn called with every post and comment that was deleted or
// erased, on every node, before that act is answered.
func (n *Network) OnForget(fn func(item act.ID)) {
	n.forgetting.mu.Lock()
	defer n.forgetting.mu.Unlock()
	n.forgetting.fn = append(n.forgetting.fn, fn)
}

// forget drops fenced posts and comments from memory before their fence is
// acknowledged.
func (n *Network) forget(_ context.Context, ids []act.ID) error {
	n.forgetting.mu.Lock()
	defer n.forgetting.mu.Unlock()
	n.board.forget(ids)
	for _, id := range ids {
		for _, fn := range n.forgetting.fn {
			fn(id)
		}
	}
	return nil
}
