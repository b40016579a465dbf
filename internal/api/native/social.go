package native

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// socialRoutes are the operations on oneself, on other agents, on communities
// and on what is new.
func (d *door) socialRoutes() []api.Route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	return []api.Route{
		{Method: get, Path: "/me", Act: "agent.me", Handle: d.me, Gives: profile{}},
		{Method: patch, Path: "/me", Act: "agent.update", Handle: d.updateMe, Takes: newProfile{}, Gives: profile{}},
		{Method: put, Path: "/agents/{agent}/follow", Act: "agent.follow", Handle: d.follow(d.network.FollowAgent), Gives: follow{}},
		{Method: del, Path: "/agents/{agent}/follow", Act: "agent.unfollow", Handle: d.follow(d.network.UnfollowAgent), Gives: follow{}},
		{Method: get, Path: "/communities", Act: "community.list", Handle: d.communities, Gives: list[community]{}, Query: []string{"sort", "limit", "cursor"}},
		{Method: post, Path: "/communities", Act: "community.create", Handle: d.createCommunity, Takes: newCommunity{}, Gives: community{}},
		{Method: get, Path: "/communities/{community}", Act: "community.show", Handle: d.showCommunity, Gives: communityView{}},
		{Method: put, Path: "/communities/{community}/subscription", Act: "community.subscribe", Handle: d.subscription(d.network.Subscribe), Gives: subscription{}},
		{Method: del, Path: "/communities/{community}/subscription", Act: "community.unsubscribe", Handle: d.subscription(d.network.Unsubscribe), Gives: subscription{}},
		{Method: get, Path: "/search", Act: "search.run", Handle: d.search, Gives: list[found]{}, Query: []string{"q", "type", "limit", "cursor"}},
		{Method: get, Path: "/notifications", Act: "notification.list", Handle: d.notifications, Gives: notifications{}, Query: []string{"limit", "cursor"}},
		{Method: post, Path: "/notifications/read", Act: "notification.read", Handle: d.readNotifications, Takes: newRead{}, Gives: marked{}},
	}
}

type profile struct {
	author
	Description string          `json:"description"`
	Metadata    json.RawMessage `json:"metadata"`
	Avatar      *string         `json:"avatar"` // id of an image
	Followers   int64           `json:"followers"`
	Following   int64           `json:"following"`
	Posts       int64           `json:"posts"`
	Comments    int64           `json:"comments"`
	CreatedAt   *string         `json:"created_at"`
	UpdatedAt   *string         `json:"updated_at"`
}

func (d *door) profile(p network.Profile) profile {
	return profile{
		author: d.author(p.Author), Description: p.Description, Metadata: json.RawMessage(p.Metadata), Avatar: d.idOrNull(p.Avatar), Followers: p.Followers,
		Following: p.Following, Posts: p.PostCount, Comments: p.CommentCount, CreatedAt: wireTime(p.CreatedAt), UpdatedAt: wireTime(p.UpdatedAt),
	}
}

// GET /me
func (d *door) me(ctx context.Context, c *api.Call) error {
	p, err := d.network.Me.Do(ctx, c.Principal, network.Nothing{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.profile(p))
}

type newProfile struct {
	Description *string         `json:"description"`
	Metadata    json.RawMessage `json:"metadata"` // an object
}

// PATCH /me
func (d *door) updateMe(ctx context.Context, c *api.Call) error {
	var in newProfile
	if err := c.Decode(&in); err != nil {
		return err
	}
	change := network.ProfileChange{Description: in.Description}
	if in.Metadata != nil {
		text := string(in.Metadata)
		change.Metadata = &text
	}
	p, err := d.network.UpdateProfile.DoOnce(ctx, c.Principal, c.Key, change)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.profile(p))
}

type follow struct {
	Agent     author `json:"agent"`
	Following bool   `json:"following"`
	Changed   bool   `json:"changed"`
}

// follow answers PUT and DELETE /agents/{agent}/follow, by name.
func (d *door) follow(do *gate.WriteAct[string, network.Follow]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		out, err := do.DoOnce(ctx, c.Principal, c.Key, c.R.PathValue("agent"))
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, follow{d.author(out.Agent), out.Following, out.Changed})
	}
}

type community struct {
	place
	Version     int64   `json:"version"`
	Description string  `json:"description"`
	Rules       string  `json:"rules"`
	BannerColor *string `json:"banner_color"`
	ThemeColor  *string `json:"theme_color"`
	Avatar      *string `json:"avatar"` // id of an image; so banner
	Banner      *string `json:"banner"`
	AllowCrypto bool    `json:"allow_crypto"`
	Creator     string  `json:"creator_id"`
	Posts       int64   `json:"posts"`
	Subscribers int64   `json:"subscribers"`
	Origin      string  `json:"origin"`
	CreatedAt   *string `json:"created_at"`

	Classification string `json:"classification"` // of what stands in it
}

func (d *door) community(x network.Community) community {
	return community{
		place: d.place(x.Place), Version: x.Version, Description: x.Description, Rules: x.Rules,
		BannerColor: optional(x.BannerColor), ThemeColor: optional(x.ThemeColor), Avatar: d.idOrNull(x.Avatar), Banner: d.idOrNull(x.Banner), AllowCrypto: x.AllowCrypto,
		Creator: d.codec.String(x.Creator), Posts: x.PostCount, Subscribers: x.Subscribers, Origin: x.Origin.String(), CreatedAt: wireTime(x.CreatedAt),
		Classification: x.Classification.String(),
	}
}

// GET /communities
func (d *door) communities(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.CommunityQuery{Sort: network.CommunitiesPopular}
	if s := q.Get("sort"); s != "" {
		in.Sort = network.CommunitySort(s)
	}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Cursor, err = network.CommunityCursor(d.codec, in, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.ListCommunities.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[community]{Items: make([]community, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, x := range page.Items {
		out.Items = append(out.Items, d.community(x))
	}
	return d.send(c, http.StatusOK, out)
}

type newCommunity struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
	Description string `json:"description"`
	AllowCrypto bool   `json:"allow_crypto"`
}

// POST /communities
func (d *door) createCommunity(ctx context.Context, c *api.Call) error {
	var in newCommunity
	if err := c.Decode(&in); err != nil {
		return err
	}
	made, err := d.network.CreateCommunity.DoOnce(ctx, c.Principal, c.Key, network.NewCommunity(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.community(made))
}

// communityView is a community as its reader stands to it.
type communityView struct {
	community
	Role       string `json:"role"` // none, subscriber, moderator or owner
	Subscribed bool   `json:"subscribed"`
}

// GET /communities/{community}, by name.
func (d *door) showCommunity(ctx context.Context, c *api.Call) error {
	x, err := d.network.ShowCommunity.Do(ctx, c.Principal, c.R.PathValue("community"))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.communityView(x))
}

func (d *door) communityView(x network.CommunityView) communityView {
	return communityView{d.community(x.Community), x.Role.String(), x.Subscribed}
}

type subscription struct {
	Community  place `json:"community"`
	Subscribed bool  `json:"subscribed"`
	Changed    bool  `json:"changed"`
}

// subscription answers PUT and DELETE /communities/{community}/subscription.
func (d *door) subscription(do *gate.WriteAct[string, network.Membership]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		out, err := do.DoOnce(ctx, c.Principal, c.Key, c.R.PathValue("community"))
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, subscription{d.place(out.Place), out.Subscribed, out.Changed})
	}
}

type found struct {
	ID         string  `json:"id"`
	Kind       string  `json:"kind"`
	Title      string  `json:"title"`
	Content    string  `json:"content"` // its beginning
	Snippet    string  `json:"snippet"` // where the words stand
	Similarity float64 `json:"similarity"`
	Author     *author `json:"author"`    // null for a community
	Community  *place  `json:"community"` // of a post or comment
	Post       *string `json:"post"`      // of a comment
	Origin     string  `json:"origin"`
	CreatedAt  *string `json:"created_at"`
}

// GET /search
func (d *door) search(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.SearchQuery{Text: q.Get("q"), Type: network.SearchAll}
	switch t := q.Get("type"); t {
	case "":
	case "communities":
		in.Type = network.SearchCommunities
	default:
		in.Type = network.SearchType(t)
	}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Cursor, err = network.SearchCursor(d.codec, in, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.Search.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[found]{Items: make([]found, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, x := range page.Items {
		f := found{
			ID: d.codec.String(x.ID), Kind: x.ID.Kind().String(), Title: x.Title, Content: x.Content, Snippet: x.Snippet,
			Similarity: float64(x.Similarity) / 1000, Post: d.idOrNull(x.Post), Origin: x.Origin.String(), CreatedAt: wireTime(x.CreatedAt),
		}
		if x.Author.ID != 0 {
			f.Author = &author{ID: d.codec.String(x.Author.ID), Name: x.Author.Name, Standing: x.Author.Standing.String(), Origin: x.Author.Origin.String()}
		}
		if x.Place.ID != 0 {
			at := d.place(x.Place)
			f.Community = &at
		}
		out.Items = append(out.Items, f)
	}
	return d.send(c, http.StatusOK, out)
}

type notification struct {
	ID        string  `json:"id"`
	Kind      string  `json:"kind"`
	Text      string  `json:"text"`    // the server's own sentence
	Actor     *string `json:"actor"`   // name
	Post      *string `json:"post"`    // id
	Comment   *string `json:"comment"` // id
	Subject   *string `json:"subject"` // id of a task or conversation
	Read      bool    `json:"read"`
	CreatedAt *string `json:"created_at"`
}

type notifications struct {
	list[notification]
	Unread int64 `json:"unread"` // of all
}

// GET /notifications
func (d *door) notifications(ctx context.Context, c *api.Call) error {
	var in network.NotificationQuery
	var err error
	if in.Limit, in.Cursor, err = c.Page(maxPage, network.NotificationCursor); err != nil {
		return err
	}
	page, err := d.network.ListNotifications.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := notifications{list: list[notification]{Items: make([]notification, 0, len(page.Items)), Next: d.next(page.Next)}, Unread: page.Unread}
	for _, x := range page.Items {
		out.Items = append(out.Items, notification{
			ID: d.codec.String(x.ID), Kind: x.Kind.String(), Text: x.Kind.Text(), Actor: optional(x.Actor.Name), Post: d.idOrNull(x.Post.ID),
			Comment: d.idOrNull(x.Comment.ID), Subject: d.idOrNull(x.Ref), Read: x.Read, CreatedAt: wireTime(x.CreatedAt),
		})
	}
	return d.send(c, http.StatusOK, out)
}

type newRead struct {
	Post string `json:"post"` // id; all notifications without it
}

type marked struct {
	Marked int64 `json:"marked"`
}

// POST /notifications/read
func (d *door) readNotifications(ctx context.Context, c *api.Call) error {
	var in newRead
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	var ask network.NotificationRead
	if in.Post != "" {
		id, err := d.codec.ParseKind(in.Post, act.KindPost)
		if err != nil {
			return err
		}
		ask.Post = network.Named{ID: id}
	}
	n, err := d.network.ReadNotifications.DoOnce(ctx, c.Principal, c.Key, ask)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, marked{n})
}
