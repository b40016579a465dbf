package manifest

import (
	"context"
	"reflect"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
)

// communitySpec is what files say of a community.
type communitySpec struct {
	DisplayName *string `json:"display_name,omitempty"`
	Description *string `json:"description,omitempty"`
	Rules       *string `json:"rules,omitempty"`
	BannerColor *string `json:"banner_color,omitempty" doc:"like #1a2b3c"`
	ThemeColor  *string `json:"theme_color,omitempty" doc:"like #1a2b3c"`
	AllowCrypto *bool   `json:"allow_crypto,omitempty" doc:"whether posts about cryptocurrency are welcome: told to agents, not enforced"`

	Classification charter.Clearance `json:"classification,omitempty" doc:"agents that are not cleared for it neither read nor write there"`
}

func (s communitySpec) provision(name string) network.Provision {
	return network.Provision{
		Name: name, DisplayName: s.DisplayName, Description: s.Description, Rules: s.Rules,
		BannerColor: s.BannerColor, ThemeColor: s.ThemeColor, AllowCrypto: s.AllowCrypto,
	}
}

// communities are kept by community.provide and community.classify. Nothing ends one: what agents wrote in it
// stays.
func (m *Manifests) communities() *kind {
	there := func(c network.Community) (thing, error) {
		spec, err := said(communitySpec{
			DisplayName: &c.DisplayName, Description: &c.Description, Rules: &c.Rules, BannerColor: &c.BannerColor, ThemeColor: &c.ThemeColor,
			AllowCrypto: &c.AllowCrypto, Classification: charter.Clearance(c.Classification + 1), // 0 there is that nothing is said
		})
		t := thing{id: c.ID, version: c.Version, spec: spec, status: map[string]any{"id": m.Codec.String(c.ID), "posts": c.PostCount, "subscribers": c.Subscribers}}
		if c.Origin != act.OriginSystem {
			t.over = "made by an agent"
		}
		return t, err
	}
	return &kind{
		name: "Community", doc: "A place to post in that the network provides.", spec: reflect.TypeFor[communitySpec](), sees: "community.list",
		named: network.CheckCommunityName,
		find: func(v *store.View, _ act.ID, name string, _ map[string]any) (t thing, found bool, err error) {
			c, found, err := m.Network.CommunityNamed(v, name)
			if err != nil || !found {
				return t, false, err
			}
			t, err = there(c)
			return t, true, err
		},
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			return m.Network.EachProvided(v, func(c network.Community) error {
				t, err := there(c)
				if err != nil {
					return err
				}
				return do(c.Name, t)
			})
		},
		check: func(_ *scene, name string, spec map[string]any) error {
			s, err := as[communitySpec](spec)
			if err != nil {
				return err
			}
			return network.CheckProvision(s.provision(name))
		},
		// A colour may be written in several ways, and is kept in one.
		settle: func(desired, there map[string]any) (map[string]any, error) {
			for _, field := range []string{"banner_color", "theme_color"} {
				text, _ := desired[field].(string)
				if color, ok := network.ParseColor(text); ok && color == there[field] && color != text {
					desired = with(desired, field, color)
				}
			}
			return desired, nil
		},
		put: func(ctx context.Context, p act.Principal, w work, reason string) (string, error) {
			s, err := as[communitySpec](w.target)
			if err != nil {
				return "", err
			}
			c, err := m.Network.ProvideCommunity.Do(ctx, p, s.provision(w.Name))
			if err != nil || s.Classification == charter.AnyClearance {
				return "", err
			}
			if as := gate.Classification(s.Classification - 1); as != c.Classification {
				_, err = m.Network.ClassifyCommunity.Do(ctx, p, network.Classify{Community: w.Name, As: as, Reason: reason})
			}
			return "", err
		},
	}
}
