package moltbook

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"net/http"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// communityRoutes are the operations on communities.
func (d *door) communityRoutes() []api.Route {
	return append(append(d.memberRoutes(), d.labelRoutes()...), []api.Route{
		{Method: http.MethodPost, Path: "/submolts", Act: "community.create", Handle: d.createCommunity},
		{Method: http.MethodGet, Path: "/submolts", Act: "community.list", Handle: d.listCommunities},
		{Method: http.MethodGet, Path: "/submolts/{name}", Act: "community.show", Handle: d.showCommunity},
		{Method: http.MethodPatch, Path: "/submolts/{name}/settings", Act: "community.update", Handle: d.updateCommunity},
		{Method: http.MethodPost, Path: "/submolts/{name}/settings", Act: "community.picture", MaxBody: network.MaxBanner + api.FormRoom, Handle: d.setFacade("")},
		{Method: http.MethodPost, Path: "/submolts/{name}/avatar", Act: "community.picture", MaxBody: network.MaxBanner + api.FormRoom, Handle: d.setFacade(network.FacadeAvatar)},
		{Method: http.MethodPost, Path: "/submolts/{name}/banner", Act: "community.picture", MaxBody: network.MaxBanner + api.FormRoom, Handle: d.setFacade(network.FacadeBanner)},
		{Method: http.MethodDelete, Path: "/submolts/{name}/avatar", Act: "community.picture", Handle: d.removeFacade(network.FacadeAvatar)},
		{Method: http.MethodDelete, Path: "/submolts/{name}/banner", Act: "community.picture", Handle: d.removeFacade(network.FacadeBanner)},
	}...)
}

type newSubmolt struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Description string `json:"description"`
	AllowCrypto bool   `json:"allow_crypto"`
}

type submolt struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	DisplayName string  `json:"display_name"`
	Description string  `json:"description"`
	Rules       string  `json:"rules"`
	BannerColor *string `json:"banner_color"`
	ThemeColor  *string `json:"theme_color"`
	AvatarURL   *string `json:"avatar_url"`
	BannerURL   *string `json:"banner_url"`
	CreatorID   string  `json:"creator_id"`
	Subscribers int64   `json:"subscriber_count"`
	Posts       int64   `json:"post_count"`
	AllowCrypto bool    `json:"allow_crypto"`
	Origin      string  `json:"origin"`
	CreatedAt   string  `json:"created_at"`
}

func (d *door) submolt(c *network.Community) submolt {
	return submolt{
		ID: d.codec.String(c.ID), Name: c.Name, DisplayName: c.DisplayName, Description: c.Description, Rules: c.Rules,
		BannerColor: optional(c.BannerColor), ThemeColor: optional(c.ThemeColor),
		AvatarURL: d.imageURL(c.Avatar), BannerURL: d.imageURL(c.Banner), CreatorID: d.codec.String(c.Creator),
		Subscribers: c.Subscribers, Posts: c.PostCount, AllowCrypto: c.AllowCrypto, Origin: c.Origin.String(), CreatedAt: wireTime(c.CreatedAt),
	}
}

// optional is null on the wire for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// POST /submolts
func (d *door) createCommunity(ctx context.Context, c *api.Call) error {
	var in newSubmolt
	if err := c.Decode(&in); err != nil {
		return err
	}
	m, err := d.network.CreateCommunity.DoOnce(ctx, c.Principal, c.Key, network.NewCommunity{
		Name: in.Name, DisplayName: in.DisplayName, Description: in.Description, AllowCrypto: in.AllowCrypto,
	})
	if err != nil {
		return d.challenged(c, err, "submolt", func(b []byte, p *gate.Pending) []byte {
			raw, _ := encode(submolt{ // strings and numbers always encode
				ID: d.codec.String(p.Approval), Name: in.Name, DisplayName: cmp.Or(in.DisplayName, in.Name), Description: in.Description,
				CreatorID: d.codec.String(c.Principal.ID), Origin: act.OriginAgent.String(), CreatedAt: wireTime(madeAt(p)),
			})
			return append(b, bytes.TrimSpace(raw)...)
		})
	}
	return d.reply(c, http.StatusCreated, struct {
		Success bool    `json:"success"`
		Message string  `json:"message"`
		Submolt submolt `json:"submolt"`
	}{true, "Welcome to m/" + m.Name + "! 🦞", d.submolt(&m)})
}

// GET /submolts
func (d *door) listCommunities(ctx context.Context, c *api.Call) error {
	q := query(c)
	in := network.CommunityQuery{Sort: network.CommunitiesPopular}
	if s := q.Get("sort"); s != "" {
		in.Sort = network.CommunitySort(s)
	}
	err := unserved(q, map[string]string{"page": "follow next_cursor with the parameter cursor"})
	if err != nil {
		return err
	}
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Offset, err = api.Number("offset", q.Get("offset"), 0, math.MaxInt32); err != nil {
		return err
	}
	if in.Cursor, err = network.CommunityCursor(d.codec, in, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.ListCommunities.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := struct {
		Success    bool      `json:"success"`
		Submolts   []submolt `json:"submolts"`
		Count      int       `json:"count"`
		TotalPosts int64     `json:"total_posts"`
		HasMore    bool      `json:"has_more"`
		NextCursor *string   `json:"next_cursor"`
		NextOffset *int64    `json:"next_offset"`
	}{
		Success: true, Submolts: make([]submolt, 0, len(page.Items)), Count: len(page.Items), TotalPosts: page.TotalPosts,
		HasMore: !page.Next.IsZero(), NextCursor: optional(d.codec.SealCursor(page.Next)),
	}
	if next, ok := network.NextOffset(page.Next); ok {
		out.NextOffset = &next
	}
	for i := range page.Items {
		out.Submolts = append(out.Submolts, d.submolt(&page.Items[i]))
	}
	return d.reply(c, http.StatusOK, out)
}

// shownSubmolt is the answer to what shows one community to one reader.
type shownSubmolt struct {
	Success          bool     `json:"success"`
	Message          string   `json:"message,omitempty"`
	Submolt          submolt  `json:"submolt"`
	YourRole         *string  `json:"your_role"`
	IsSubscribed     bool     `json:"is_subscribed"`
	ModeratorActions []string `json:"moderator_actions,omitempty"`
}

// moderatorActions are what a moderator may ask this door for, in the server's
// own words.
var moderatorActions = [...]string{
	"PATCH /submolts/{name}/settings", "POST /submolts/{name}/avatar", "POST /submolts/{name}/banner", "POST /posts/{id}/pin", "DELETE /posts/{id}/pin",
	"POST /submolts/{name}/labels", "POST /labels/attach", "DELETE /labels/attach/{id}",
}

// ownerActions are what an owner may ask for beside those.
var ownerActions = [...]string{"POST /submolts/{name}/moderators", "DELETE /submolts/{name}/moderators"}

func (d *door) shownSubmolt(c *network.CommunityView, message string) shownSubmolt {
	out := shownSubmolt{Success: true, Message: message, Submolt: d.submolt(&c.Community), IsSubscribed: c.Subscribed}
	if c.Role >= gate.RoleModerator {
		out.YourRole = optional(c.Role.String())
		out.ModeratorActions = moderatorActions[:]
	}
	if c.Role == gate.RoleOwner {
		out.ModeratorActions = slices.Concat(moderatorActions[:], ownerActions[:])
	}
	return out
}

// GET /submolts/{name}
func (d *door) showCommunity(ctx context.Context, c *api.Call) error {
	if err := d.requester(c); err != nil {
		return err
	}
	m, err := d.network.ShowCommunity.Do(ctx, c.Principal, c.R.PathValue("name"))
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, d.shownSubmolt(&m, ""))
}

// requester refuses a requester_id that is not the caller's: who asks is told by
// the key and by nothing else.
func (d *door) requester(c *api.Call) error {
	s := query(c).Get("requester_id")
	if s == "" {
		return nil
	}
	if id, err := d.codec.Parse(s); err != nil || c.Principal.Kind != act.Agent || id != c.Principal.ID {
		return act.Errorf(act.Invalid, "requester_id is not the caller").WithRule("http.query").
			WithHint("leave requester_id out: the key says who asks")
	}
	return nil
}

type newSettings struct {
	Description *string `json:"description"`
	Rules       *string `json:"rules"`
	BannerColor *string `json:"banner_color"`
	ThemeColor  *string `json:"theme_color"`
	AllowCrypto *bool   `json:"allow_crypto"`
}

// PATCH /submolts/{name}/settings
func (d *door) updateCommunity(ctx context.Context, c *api.Call) error {
	var in newSettings
	if err := c.Decode(&in); err != nil {
		return err
	}
	m, err := d.network.UpdateCommunity.DoOnce(ctx, c.Principal, c.Key, network.CommunityChange{
		Community: c.R.PathValue("name"), Description: in.Description, Rules: in.Rules,
		BannerColor: in.BannerColor, ThemeColor: in.ThemeColor, AllowCrypto: in.AllowCrypto,
	})
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, d.shownSubmolt(&m, "Settings updated"))
}

func wireTime(us int64) string {
	if us == 0 {
		return ""
	}
	return act.FromMicros(us).Format(act.WireTime)
}
