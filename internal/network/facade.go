package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/picture"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Facade says which picture of a community is meant.
type Facade string

// The pictures of a community.
const (
	FacadeAvatar Facade = "avatar"
	FacadeBanner Facade = "banner"
)

// Limit is the most bytes of an upload (moltbook.md §1.2); 0 for what is none.
func (f Facade) Limit() int {
	switch f {
	case FacadeAvatar:
		return 500 << 10
	case FacadeBanner:
		return MaxBanner
	}
	return 0
}

// MaxBanner bounds the largest upload for a community, in bytes.
const MaxBanner = 2 << 20

// NewFacade sets a picture of a community.
type NewFacade struct {
	Community string // name
	Facade    Facade
	Data      []byte // none removes the picture there is
}

const (
	qFacade    store.Q = `SELECT avatar, banner FROM community WHERE id = $1`
	qAvatarPut store.Q = `UPDATE community SET avatar = $2, version = version + 1 WHERE id = $1`
	qBannerPut store.Q = `UPDATE community SET banner = $2, version = version + 1 WHERE id = $1`
)

func (n *Network) registerFacade(g *gate.Gate) {
	n.SetFacade = gate.RegisterWrite(g, gate.Write[NewFacade, CommunityView]{
		Info: gate.Info{Name: "community.picture", Doc: "Upload or remove a community's avatar (up to 500 KB) or banner (up to 2 MB).", On: act.KindCommunity, Quota: gate.QuotaUpload},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewFacade) (gate.Resource, error) {
			if in.Facade.Limit() == 0 {
				return gate.Resource{}, act.Errorf(act.Invalid, "type is neither avatar nor banner").WithRule("community.picture").
					WithHint("send type as avatar or banner")
			}
			if len(in.Data) > 0 {
				if _, err := picture.Read(in.Data, in.Facade.Limit()); err != nil {
					return gate.Resource{}, err
				}
			}
			return n.communityTarget(v, p, in.Community)
		},
		Run: n.setFacade,
		Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (CommunityView, error) {
			return n.communityView(v, p, qCommunity, made.ID)
		},
		Told: n.toldCommunity,
	})
}

func (n *Network) setFacade(_ context.Context, tx *store.Tx, p act.Principal, in NewFacade) (out CommunityView, fx gate.Effects, err error) {
	place, err := n.placeIn(tx, in.Community)
	if err != nil {
		return out, fx, err
	}
	// Of two uploads at once, each drops the picture that it replaced.
	if _, err := tx.Exec(qHoldCommunity, place.ID); err != nil {
		return out, fx, err
	}
	var avatar, banner, made act.ID
	if _, err := tx.One(qFacade, func(r *store.Row) error { avatar, banner = r.ID(0), r.ID(1); return nil }, place.ID); err != nil {
		return out, fx, err
	}
	if len(in.Data) > 0 {
		if made, fx.In, err = n.keepImage(tx, p.ID, in.Data, in.Facade.Limit()); err != nil {
			return out, fx, err
		}
	}
	old, put := avatar, qAvatarPut
	if in.Facade == FacadeBanner {
		old, put = banner, qBannerPut
	}
	if err := n.dropImage(tx, old); err != nil {
		return out, fx, err
	}
	if _, err := tx.Exec(put, place.ID, made); err != nil {
		return out, fx, err
	}
	out, err = n.communityView(&tx.View, p, qCommunity, place.ID)
	fx.Out = act.Ref{ID: place.ID, Version: out.Version}
	return out, fx, err
}
