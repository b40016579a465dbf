package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Provision is a community that operators provide, as it is to be; nil leaves a field as
// it is. What agents write in it stays theirs, and a community that an agent has made is
// its moderators' to change.
type Provision struct {
	Name        string
	DisplayName *string
	Description *string
	Rules       *string
	BannerColor *string
	ThemeColor  *string
	AllowCrypto *bool
}

const (
	qCommunityTitle    store.Q = `UPDATE community SET display_name = $2 WHERE id = $1`
	qCommunitiesSupply store.Q = `SELECT ` + communityColumns + ` FROM community AS c WHERE c.origin = 3 AND c.name > $1 ORDER BY c.name LIMIT $2`
	providedPage       int64   = 500
)

func (n *Network) registerProvide(g *gate.Gate) {
	n.ProvideCommunity = gate.RegisterWrite(g, gate.Write[Provision, Community]{
		Info: gate.Info{Name: "community.provide", Doc: "Provide a community, or change one that was provided: its names, rules and colours.", On: act.KindCommunity, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Provision) (r gate.Resource, err error) {
			r.Facts = gate.Facts{Kind: act.KindCommunity}
			if err := CheckProvision(in); err != nil {
				return r, err
			}
			c, found, err := n.CommunityNamed(v, in.Name)
			if found {
				r.Ref = act.Ref{ID: c.ID, Version: c.Version}
			}
			return r, err
		},
		Run: n.provide,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Community, error) {
			c, _, err := n.community(v, qCommunity, made.ID)
			return c, err
		},
	})
}

// CheckProvision reports what is wrong with a provision.
func CheckProvision(in Provision) error {
	if err := CheckCommunityName(in.Name); err != nil {
		return err
	}
	if in.DisplayName != nil {
		if err := checkWritten("display_name", *in.DisplayName, MaxDisplayName, true); err != nil {
			return err
		}
	}
	change := in.change()
	if change == (CommunityChange{Community: in.Name}) {
		return nil
	}
	return checkChange(change)
}

// change is what a provision has in common with a change by moderators.
func (in Provision) change() CommunityChange {
	return CommunityChange{
		Community: in.Name, Description: in.Description, Rules: in.Rules, BannerColor: in.BannerColor, ThemeColor: in.ThemeColor, AllowCrypto: in.AllowCrypto,
	}
}

func (n *Network) provide(ctx context.Context, tx *store.Tx, p act.Principal, in Provision) (c Community, fx gate.Effects, err error) {
	c, found, err := n.CommunityNamed(&tx.View, in.Name)
	switch {
	case err != nil:
		return c, fx, err
	case !found:
		if c, _, err = n.createCommunity(ctx, tx, p, NewCommunity{Name: in.Name}); err != nil {
			return c, fx, err
		}
	case c.Origin != act.OriginSystem:
		return c, fx, act.Errorf(act.Conflict, "the community %q was made by an agent", in.Name).WithRule("community.provided").
			WithHint("what agents make is for its moderators to change; provide one of another name")
	}
	if in.DisplayName != nil {
		if err := tx.Batch(qCommunityTitle, c.ID, *in.DisplayName); err != nil {
			return c, fx, err
		}
	}
	view, fx, err := n.updateCommunity(ctx, tx, p, in.change())
	return view.Community, fx, err
}

// CommunityNamed reads a community by its name.
func (n *Network) CommunityNamed(v *store.View, name string) (c Community, found bool, err error) {
	c, _, err = n.community(v, qCommunityByName, name)
	if act.CodeOf(err) == act.NotFound {
		return c, false, nil
	}
	return c, err == nil, err
}

// EachProvided calls do with every community that was provided, by name.
func (n *Network) EachProvided(v *store.View, do func(Community) error) error {
	for after := ""; ; {
		var page []Community
		if err := v.All(qCommunitiesSupply, func(r *store.Row) error { page = append(page, scanCommunity(r)); return nil }, after, providedPage); err != nil {
			return err
		}
		for _, c := range page {
			if err := do(c); err != nil {
				return err
			}
			after = c.Name
		}
		if int64(len(page)) < providedPage {
			return nil
		}
	}
}

// WebhooksOf lists the webhooks of an owner.
func (n *Network) WebhooksOf(v *store.View, owner act.ID) ([]Webhook, error) {
	return n.webhooksOf(v, owner)
}

// CheckFilter reports what is wrong with a filter of events.
func (n *Network) CheckFilter(f EventFilter) error { return f.check(n.gate) }
