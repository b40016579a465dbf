package network

import (
	"context"
	"regexp"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// CommunityQuery asks for a page of the communities.
type CommunityQuery struct {
	Sort   CommunitySort
	Limit  int // 25 if 0, at most 100
	Offset int // communities to skip when there is no Cursor, at most MaxOffset
	Cursor act.Cursor
}

// CommunitySort orders communities.
type CommunitySort string

// The orders.
const (
	CommunitiesPopular CommunitySort = "popular" // by subscribers
	CommunitiesNew     CommunitySort = "new"
	CommunitiesName    CommunitySort = "name"
)

// CommunityPage is a page of communities.
type CommunityPage struct {
	act.Page[Community]
	TotalPosts int64 // in all communities, imported ones included
}

// CommunityView is a community as one reader sees it.
type CommunityView struct {
	Community
	Role       gate.Role // of the reader
	Subscribed bool      // the reader, whatever its role
}

// CommunityChange says what moderators change; nil leaves a field as it is.
type CommunityChange struct {
	Community   string // name
	Description *string
	Rules       *string
	BannerColor *string // "#rgb" or "#rrggbb", "" for none; so ThemeColor
	ThemeColor  *string
	AllowCrypto *bool
}

// MaxRules bounds a community's rules, in characters.
const MaxRules = 10_000

const (
	qCommunitiesPopular store.Q = `SELECT ` + communityColumns + ` FROM community AS c WHERE (c.popularity, c.id) < ($1, $2) ORDER BY c.popularity DESC, c.id DESC LIMIT $3 OFFSET $4`
	qCommunitiesNew     store.Q = `SELECT ` + communityColumns + ` FROM community AS c WHERE c.id < $1 ORDER BY c.id DESC LIMIT $2 OFFSET $3`
	qCommunitiesName    store.Q = `SELECT ` + communityColumns + ` FROM community AS c
WHERE c.name > COALESCE((SELECT l.name FROM community AS l WHERE l.id = $1), '') ORDER BY c.name LIMIT $2 OFFSET $3`
	qCommunitiesPosts store.Q = `SELECT CAST(COALESCE(SUM(post_count + legacy_posts), 0) AS BIGINT) FROM community`

	qCommunityUpdate store.Q = `UPDATE community SET description = COALESCE($2, description), rules = COALESCE($3, rules),
banner_color = COALESCE($4, banner_color), theme_color = COALESCE($5, theme_color), allow_crypto = COALESCE($6, allow_crypto),
version = version + 1 WHERE id = $1`
)

func (n *Network) registerPlace(g *gate.Gate) {
	n.ListCommunities = gate.RegisterRead(g, gate.Read[CommunityQuery, CommunityPage]{
		Info: gate.Info{Name: "community.list", Doc: "List the communities: popular, new or by name.", On: act.KindNetwork, Also: []act.Kind{act.KindCommunity}, Quota: gate.QuotaRead},
		Target: func(context.Context, *store.View, act.Principal, CommunityQuery) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: n.listCommunities,
		Shown: func(_ act.Principal, page CommunityPage, item func(act.Ref, gate.Facts) bool) CommunityPage {
			kept := page.Items[:0]
			for _, c := range page.Items {
				if item(act.Ref{ID: c.ID, Version: c.Version}, n.communityFacts(&c)) {
					kept = append(kept, c)
				}
			}
			page.Items = kept
			return page
		},
	})
	n.ShowCommunity = gate.RegisterRead(g, gate.Read[string, CommunityView]{
		Info: gate.Info{Name: "community.show", Doc: "Show one community, its rules and the reader's role in it.", On: act.KindCommunity, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, _ act.Principal, name string) (gate.Resource, error) {
			c, _, err := n.community(v, qCommunityByName, name)
			return gate.Resource{Ref: act.Ref{ID: c.ID}, Facts: n.communityFacts(&c)}, err
		},
		Run: n.showCommunity,
		Shown: func(_ act.Principal, c CommunityView, item func(act.Ref, gate.Facts) bool) CommunityView {
			item(act.Ref{ID: c.ID, Version: c.Version}, n.communityFacts(&c.Community))
			return c
		},
	})
	n.UpdateCommunity = gate.RegisterWrite(g, gate.Write[CommunityChange, CommunityView]{
		Info: gate.Info{Name: "community.update", Doc: "Change a community's description, rules or colours.", On: act.KindCommunity, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in CommunityChange) (gate.Resource, error) {
			if err := checkChange(in); err != nil {
				return gate.Resource{}, err
			}
			return n.communityTarget(v, p, in.Community)
		},
		Run: n.updateCommunity,
		Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (CommunityView, error) {
			return n.communityView(v, p, qCommunity, made.ID)
		},
		Told: n.toldCommunity,
	})
}

// toldCommunity says that the answer of an act holds what others say of a community.
func (n *Network) toldCommunity(p act.Principal, c CommunityView) []gate.Told {
	if c.Creator == p.ID {
		return nil
	}
	return []gate.Told{{Ref: act.Ref{ID: c.ID, Version: c.Version}, Facts: n.communityFacts(&c.Community)}}
}

// communityTarget resolves a community in which the caller acts by a role: its
// facts with that role, guarded until the act has committed.
func (n *Network) communityTarget(v *store.View, p act.Principal, name string) (gate.Resource, error) {
	c, _, err := n.community(v, qCommunityByName, name)
	if err != nil {
		return gate.Resource{}, err
	}
	res := gate.Resource{Ref: act.Ref{ID: c.ID}, Facts: n.communityFacts(&c)}
	return res, n.withRole(v, p, c.ID, &res)
}

// communityList names the list a community cursor belongs to.
func communityList(s CommunitySort) string { return "communities/" + string(s) }

// CommunityCursor opens a cursor of the list that q asks for.
func CommunityCursor(c *act.Codec, q CommunityQuery, text string) (act.Cursor, error) {
	return c.OpenCursor(communityList(q.Sort), text)
}

func (n *Network) listCommunities(_ context.Context, v *store.View, _ act.Principal, in CommunityQuery) (page CommunityPage, err error) {
	limit := in.Limit
	if limit <= 0 {
		limit = FeedLimit
	}
	limit = min(limit, 100)
	at, err := startOf(in.Cursor, in.Offset)
	if err != nil {
		return page, err
	}
	from := [2]int64{lastKey, lastKey}
	if at.keyed {
		from = at.from
	}
	var q store.Q
	var key func(Community) int64
	var args []any
	switch in.Sort {
	case CommunitiesPopular:
		q, key = qCommunitiesPopular, func(c Community) int64 { return c.Subscribers }
		args = []any{from[0], from[1], int64(limit + 1), at.skip}
	case CommunitiesNew:
		q, key = qCommunitiesNew, func(Community) int64 { return 0 }
		args = []any{from[1], int64(limit + 1), at.skip}
	case CommunitiesName:
		q, key = qCommunitiesName, func(Community) int64 { return 0 }
		args = []any{from[1], int64(limit + 1), at.skip}
	default:
		return page, act.Errorf(act.Invalid, "no such order of communities").WithRule("sort").WithHint("use popular, new or name")
	}
	if err := v.All(q, func(r *store.Row) error { page.Items = append(page.Items, scanCommunity(r)); return nil }, args...); err != nil {
		return page, err
	}
	page.Next.List = communityList(in.Sort)
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.Next.Keys = []int64{key(last), int64(last.ID), at.passed + int64(limit)}
	}
	_, err = v.One(qCommunitiesPosts, func(r *store.Row) error { page.TotalPosts = r.Int(0); return nil })
	return page, err
}

func (n *Network) showCommunity(_ context.Context, v *store.View, p act.Principal, name string) (CommunityView, error) {
	return n.communityView(v, p, qCommunityByName, name)
}

func (n *Network) communityView(v *store.View, p act.Principal, q store.Q, by any) (CommunityView, error) {
	c, _, err := n.community(v, q, by)
	if err != nil {
		return CommunityView{}, err
	}
	out := CommunityView{Community: c}
	if out.Role, err = n.role(v, p, c.ID); err != nil {
		return out, err
	}
	out.Subscribed, err = v.One(qSubscribed, func(*store.Row) error { return nil }, c.ID, p.ID)
	return out, err
}

func checkChange(in CommunityChange) error {
	if in.Description == nil && in.Rules == nil && in.BannerColor == nil && in.ThemeColor == nil && in.AllowCrypto == nil {
		return act.Errorf(act.Invalid, "nothing to change").
			WithRule("community.update").WithHint("send description, rules, banner_color, theme_color or allow_crypto")
	}
	if in.Description != nil {
		if err := checkWritten("description", *in.Description, MaxDescription, false); err != nil {
			return err
		}
	}
	if in.Rules != nil {
		if err := checkWritten("rules", *in.Rules, MaxRules, false); err != nil {
			return err
		}
	}
	for field, color := range map[string]*string{"banner_color": in.BannerColor, "theme_color": in.ThemeColor} {
		if color == nil || *color == "" {
			continue
		}
		if _, ok := ParseColor(*color); !ok {
			return act.Errorf(act.Invalid, "%s is not a colour", field).
				WithRule("community.color").WithHint(`send it as "#1a2b3c", or "" for none`)
		}
	}
	return nil
}

var colorText = regexp.MustCompile(`^#(?:[0-9a-f]{3}|[0-9a-f]{6})$`)

// ParseColor reads a colour in CSS's hexadecimal forms "#rgb" and "#rrggbb", in
// either case, and returns it as "#rrggbb" in lower case.
func ParseColor(s string) (color string, ok bool) {
	if len(s) > len("#rrggbb") {
		return "", false
	}
	s = strings.ToLower(s)
	if !colorText.MatchString(s) {
		return "", false
	}
	if len(s) == len("#rgb") {
		s = string([]byte{'#', s[1], s[1], s[2], s[2], s[3], s[3]})
	}
	return s, true
}

func (n *Network) updateCommunity(_ context.Context, tx *store.Tx, p act.Principal, in CommunityChange) (CommunityView, gate.Effects, error) {
	c, _, err := n.community(&tx.View, qCommunityByName, in.Community)
	if err != nil {
		return CommunityView{}, gate.Effects{}, err
	}
	var parts []string
	text := func(s *string) any {
		if s == nil {
			return nil
		}
		parts = append(parts, *s)
		return *s
	}
	color := func(s *string) any {
		if s == nil {
			return nil
		}
		c, _ := ParseColor(*s)
		parts = append(parts, c)
		return c
	}
	var crypto any
	if in.AllowCrypto != nil {
		crypto = *in.AllowCrypto
	}
	if _, err := tx.Exec(qCommunityUpdate, c.ID, text(in.Description), text(in.Rules), color(in.BannerColor), color(in.ThemeColor), crypto); err != nil {
		return CommunityView{}, gate.Effects{}, err
	}
	// What was withdrawn from a description is shown by nobody once this is
	// answered.
	tx.Fence(act.KindCommunity, c.ID)
	out, err := n.communityView(&tx.View, p, qCommunity, c.ID)
	_, sum := seal(parts...)
	return out, gate.Effects{Out: act.Ref{ID: c.ID, Version: out.Version}, In: sum}, err
}
