package network

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// FeedQuery asks for a page of posts.
type FeedQuery struct {
	Community string // name; "" is the whole network
	Sort      FeedSort
	Window    FeedWindow // top only
	Limit     int        // 25 if 0, at most 100
	Cursor    act.Cursor
}

// FeedSort orders a feed.
type FeedSort string

// The orders.
const (
	FeedHot FeedSort = "hot"
	FeedNew FeedSort = "new"
	FeedTop FeedSort = "top"
)

// FeedWindow limits top to posts made since a time.
type FeedWindow string

// The windows.
const (
	WindowAll   FeedWindow = ""
	WindowHour  FeedWindow = "hour"
	WindowDay   FeedWindow = "day"
	WindowWeek  FeedWindow = "week"
	WindowMonth FeedWindow = "month"
	WindowYear  FeedWindow = "year"
)

func (w FeedWindow) length() (time.Duration, bool) {
	const day = 24 * time.Hour
	switch w {
	case WindowAll, "all":
		return 0, true
	case WindowHour:
		return time.Hour, true
	case WindowDay:
		return day, true
	case WindowWeek:
		return 7 * day, true
	case WindowMonth:
		return 30 * day, true
	case WindowYear:
		return 365 * day, true
	}
	return 0, false
}

// FeedLimit is the number of posts on a page when none is asked for.
const FeedLimit = 25

const (
	feedAll   = postJoins + `WHERE p.deleted_at = 0 AND `
	feedPlace = postJoins + `WHERE p.deleted_at = 0 AND p.community = $5 AND `
	feedHot   = `(p.hot, p.id) < ($1, $2) AND p.created_at >= $4 ORDER BY p.hot DESC, p.id DESC LIMIT $3`
	feedNew   = `(p.created_at, p.id) < ($1, $2) AND p.created_at >= $4 ORDER BY p.created_at DESC, p.id DESC LIMIT $3`
	feedTop   = `(p.score, p.id) < ($1, $2) AND p.created_at >= $4 ORDER BY p.score DESC, p.id DESC LIMIT $3`

	qFeedHot      store.Q = `SELECT ` + postColumns + feedAll + feedHot
	qFeedNew      store.Q = `SELECT ` + postColumns + feedAll + feedNew
	qFeedTop      store.Q = `SELECT ` + postColumns + feedAll + feedTop
	qFeedPlaceHot store.Q = `SELECT ` + postColumns + feedPlace + feedHot
	qFeedPlaceNew store.Q = `SELECT ` + postColumns + feedPlace + feedNew
	qFeedPlaceTop store.Q = `SELECT ` + postColumns + feedPlace + feedTop
)

func (n *Network) registerFeed(g *gate.Gate) {
	n.ReadFeed = gate.RegisterRead(g, gate.Read[FeedQuery, act.Page[Post]]{
		Info: gate.Info{Name: "feed.read", Doc: "Read a page of posts: hot, new or top, of the network or one community.", On: act.KindCommunity, Also: []act.Kind{act.KindPost}, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, _ act.Principal, in FeedQuery) (gate.Resource, error) {
			if in.Community == "" {
				return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
			}
			c, _, err := n.place(v, in.Community)
			return gate.Resource{Ref: act.Ref{ID: c.ID}, Facts: gate.Facts{Kind: act.KindCommunity, Community: c.ID}}, err
		},
		Run: func(ctx context.Context, v *store.View, p act.Principal, in FeedQuery) (act.Page[Post], error) {
			page, err := n.readFeed(ctx, v, p, in)
			if err == nil {
				page.Items, err = n.markFollowed(v, p, page.Items)
			}
			return page, err
		},
		Shown: n.shownPosts,
	})
}

// feedList names the list a feed cursor belongs to.
func feedList(q FeedQuery) string {
	return "feed/" + q.Community + "/" + string(q.Sort) + "/" + string(q.Window)
}

// FeedCursor opens a cursor of the feed that q asks for.
func FeedCursor(c *act.Codec, q FeedQuery, text string) (act.Cursor, error) {
	return c.OpenCursor(feedList(q), text)
}

func (n *Network) readFeed(_ context.Context, v *store.View, _ act.Principal, in FeedQuery) (page act.Page[Post], err error) {
	if in.Limit <= 0 {
		in.Limit = FeedLimit
	}
	if in.Sort == "" {
		in.Sort = FeedHot
	}
	in.Limit = min(in.Limit, 100)
	length, ok := in.Window.length()
	if !ok {
		return page, act.Errorf(act.Invalid, "no such window").WithRule("time").WithHint("use hour, day, week, month, year or all")
	}
	if len(in.Cursor.Keys) != 0 && len(in.Cursor.Keys) != 2 {
		return page, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor")
	}
	var place act.ID
	if in.Community != "" {
		c, _, err := n.place(v, in.Community)
		if err != nil {
			return page, err
		}
		place = c.ID
	}
	first := in.Cursor.IsZero() && length == 0
	if first {
		if page, ok := n.cards.page(place, in); ok {
			return page, nil
		}
	}
	begun := n.cards.begin()
	var since int64
	if length > 0 {
		since = act.Micros(n.gate.Now().Add(-length))
	}
	page, err = n.feedSQL(v, place, in, since)
	if err == nil && first {
		n.cards.keepPage(place, in, page, begun)
	}
	return page, err
}

// feedSQL reads a page from the database: the path that memory is proven equal
// to.
func (n *Network) feedSQL(v *store.View, place act.ID, in FeedQuery, since int64) (page act.Page[Post], err error) {
	var q store.Q
	var key func(Post) int64
	switch in.Sort {
	case FeedHot:
		q, key = qFeedHot, func(p Post) int64 { return p.Hot }
		if place != 0 {
			q = qFeedPlaceHot
		}
	case FeedNew:
		q, key = qFeedNew, func(p Post) int64 { return p.CreatedAt }
		if place != 0 {
			q = qFeedPlaceNew
		}
	case FeedTop:
		q, key = qFeedTop, func(p Post) int64 { return p.score }
		if place != 0 {
			q = qFeedPlaceTop
		}
	default:
		return page, act.Errorf(act.Invalid, "no such order of posts").WithRule("sort").WithHint("use hot, new or top")
	}
	const end = 1<<63 - 1
	from := [2]int64{end, end}
	if !in.Cursor.IsZero() {
		from = [2]int64(in.Cursor.Keys)
	}
	args := []any{from[0], from[1], int64(in.Limit + 1), since}
	if place != 0 {
		args = append(args, place)
	}
	page.Items = make([]Post, 0, in.Limit+1)
	if err := v.All(q, func(r *store.Row) error { page.Items = append(page.Items, n.scanPost(r)); return nil }, args...); err != nil {
		return page, err
	}
	page.Next.List = feedList(in)
	if len(page.Items) > in.Limit {
		page.Items = page.Items[:in.Limit]
		last := page.Items[in.Limit-1]
		page.Next.Keys = []int64{key(last), int64(last.ID)}
	}
	return page, nil
}

// shownPosts lists the foreign posts of a page and takes out what the reader
// may not see.
func (n *Network) shownPosts(p act.Principal, page act.Page[Post], item func(act.Ref, gate.Facts) bool) act.Page[Post] {
	var kept []Post
	for i := range page.Items {
		post := &page.Items[i]
		shown := post.Author.ID == p.ID || item(act.Ref{ID: post.ID, Version: post.Version}, n.postFacts(post))
		switch {
		case !shown && kept == nil: // the items may be the cache's own: leave them as they are
			kept = append(make([]Post, 0, len(page.Items)), page.Items[:i]...)
		case shown && kept != nil:
			kept = append(kept, *post)
		}
	}
	if kept != nil {
		page.Items = kept
	}
	return page
}
