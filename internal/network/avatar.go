package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/picture"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// One statement reads the old avatar and writes the new one, under the row's
	// lock: of two uploads at once each drops the one it replaced.
	qAvatarLock store.Q = `UPDATE profile SET updated_at = $2 WHERE id = $1 RETURNING avatar`
	qAvatarSet  store.Q = `UPDATE profile SET avatar = $2 WHERE id = $1`
)

func (n *Network) registerAvatar(g *gate.Gate) {
	mine := func(_ context.Context, _ *store.View, p act.Principal, _ Nothing) (gate.Resource, error) {
		return own(p), nil
	}
	again := func(_ context.Context, v *store.View, p act.Principal, _ act.Ref) (Profile, error) {
		return n.profile(v, p.ID)
	}
	n.SetAvatar = gate.RegisterWrite(g, gate.Write[[]byte, Profile]{
		Info: gate.Info{Name: "avatar.set", Doc: "Upload the caller's own avatar: a JPEG, PNG, GIF or WebP of up to 1 MB.", On: act.KindAgent, Quota: gate.QuotaUpload},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, data []byte) (gate.Resource, error) {
			_, err := picture.Read(data, MaxAvatar)
			return own(p), err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, data []byte) (Profile, gate.Effects, error) {
			id, sum, err := n.keepImage(tx, p.ID, data, MaxAvatar)
			if err != nil {
				return Profile{}, gate.Effects{}, err
			}
			out, fx, err := n.showAvatar(tx, p, id)
			fx.In = sum
			return out, fx, err
		},
		Replay: again,
	})
	n.RemoveAvatar = gate.RegisterWrite(g, gate.Write[Nothing, Profile]{
		Info:    gate.Info{Name: "avatar.remove", Doc: "Remove the caller's own avatar; its bytes are deleted.", On: act.KindAgent, Quota: gate.QuotaWrite},
		Resolve: mine,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, _ Nothing) (Profile, gate.Effects, error) {
			return n.showAvatar(tx, p, 0)
		},
		Replay: again,
	})
}

// showAvatar makes an image, or none, the avatar of p, and drops the one before.
func (n *Network) showAvatar(tx *store.Tx, p act.Principal, id act.ID) (out Profile, fx gate.Effects, err error) {
	var old act.ID
	if _, err = tx.One(qAvatarLock, func(r *store.Row) error { old = r.ID(0); return nil }, p.ID, tx.Now()); err != nil {
		return out, fx, err
	}
	tx.Raise(qRaiseActive, p.ID, tx.Now())
	if err = n.dropImage(tx, old); err != nil {
		return out, fx, err
	}
	if _, err = tx.Exec(qAvatarSet, p.ID, id); err != nil {
		return out, fx, err
	}
	out, err = n.profile(&tx.View, p.ID)
	return out, gate.Effects{Out: act.Ref{ID: p.ID}}, err
}
