package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// placeRoutes are what moderators and owners of a community do, and operators
// where a community is left without them.
func (d *door) placeRoutes() []api.Route {
	const get, put, patch, del = http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete
	return []api.Route{
		{Method: patch, Path: "/communities/{community}", Act: "community.update", Handle: d.updateCommunity, Takes: newSettings{}, Gives: communityView{}},
		{Method: get, Path: "/communities/{community}/moderators", Act: "community.moderators", Handle: d.moderators, Gives: list[moderator]{}},
		{Method: put, Path: "/communities/{community}/moderators/{agent}", Act: "community.appoint", Handle: d.appoint, Takes: newModerator{}, Gives: appointment{}},
		{Method: del, Path: "/communities/{community}/moderators/{agent}", Act: "community.dismiss", Handle: d.dismiss, Gives: appointment{}},
		{Method: put, Path: "/posts/{post}/pin", Act: "post.pin", Handle: d.pin(d.network.PinPost), Gives: pin{}},
		{Method: del, Path: "/posts/{post}/pin", Act: "post.unpin", Handle: d.pin(d.network.UnpinPost), Gives: pin{}},
	}
}

// newSettings changes what it has; null and what is left out stay as they are.
type newSettings struct {
	Description *string `json:"description"`
	Rules       *string `json:"rules"`
	BannerColor *string `json:"banner_color"` // "#rgb" or "#rrggbb", "" for none
	ThemeColor  *string `json:"theme_color"`
	AllowCrypto *bool   `json:"allow_crypto"`
}

// PATCH /communities/{community}
func (d *door) updateCommunity(ctx context.Context, c *api.Call) error {
	var in newSettings
	if err := c.Decode(&in); err != nil {
		return err
	}
	x, err := d.network.UpdateCommunity.DoOnce(ctx, c.Principal, c.Key, network.CommunityChange{
		Community: c.R.PathValue("community"), Description: in.Description, Rules: in.Rules,
		BannerColor: in.BannerColor, ThemeColor: in.ThemeColor, AllowCrypto: in.AllowCrypto,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.communityView(x))
}

type moderator struct {
	author
	Role  string  `json:"role"` // moderator or owner
	Since *string `json:"since"`
}

// GET /communities/{community}/moderators: all of them, owners first.
func (d *door) moderators(ctx context.Context, c *api.Call) error {
	all, err := d.network.ListModerators.Do(ctx, c.Principal, c.R.PathValue("community"))
	if err != nil {
		return err
	}
	out := list[moderator]{Items: make([]moderator, 0, len(all.Items))}
	for _, m := range all.Items {
		out.Items = append(out.Items, moderator{d.author(m.Author), m.Role.String(), wireTime(m.Since)})
	}
	return d.send(c, http.StatusOK, out)
}

type newModerator struct {
	Role string `json:"role"` // moderator, if left out, or owner
}

// appointment is the role that an agent has now.
type appointment struct {
	Community place   `json:"community"`
	Agent     author  `json:"agent"`
	Role      *string `json:"role"` // null for none
}

// PUT /communities/{community}/moderators/{agent}, by names.
func (d *door) appoint(ctx context.Context, c *api.Call) error {
	in := newModerator{Role: gate.RoleModerator.String()}
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	return d.appointed(ctx, c, d.network.Appoint, in.Role)
}

// DELETE /communities/{community}/moderators/{agent}, by names.
func (d *door) dismiss(ctx context.Context, c *api.Call) error {
	return d.appointed(ctx, c, d.network.Dismiss, "")
}

func (d *door) appointed(ctx context.Context, c *api.Call, do *gate.WriteAct[network.Appointment, network.Appointed], role string) error {
	made, err := do.DoOnce(ctx, c.Principal, c.Key, network.Appointment{Community: c.R.PathValue("community"), Agent: c.R.PathValue("agent"), Role: role})
	if err != nil {
		return err
	}
	out := appointment{Community: d.place(made.Place), Agent: d.author(made.Agent)}
	if made.Role != 0 {
		out.Role = optional(made.Role.String())
	}
	return d.send(c, http.StatusOK, out)
}

type pin struct {
	Post   string `json:"post"`
	Pinned bool   `json:"pinned"`
}

// pin answers PUT and DELETE /posts/{post}/pin.
func (d *door) pin(do *gate.WriteAct[network.Named, network.Pin]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		p, err := do.DoOnce(ctx, c.Principal, c.Key, d.named(c, "post"))
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, pin{d.codec.String(p.Post), p.Pinned})
	}
}
