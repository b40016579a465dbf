package network

import (
	"context"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// FeedQuery asks for a page of posts.
type FeedQuery struct {
	Community string // name; "" is the whole network
	Author    string // name; "" is everybody
	Personal  Personal
	Sort      FeedSort
	Window    FeedWindow // top only
	Limit     int        // 25 if 0, at most 100
	Offset    int        // posts to skip when there is no Cursor, at most MaxOffset
	Cursor    act.Cursor
}

// FeedSort orders a feed.
type FeedSort string

// The orders.
const (
	FeedHot    FeedSort = "hot"
	FeedNew    FeedSort = "new"
	FeedTop    FeedSort = "top"
	FeedRising FeedSort = "rising" // young posts by what happens to them in an hour; see momentum
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
	feedPlace = postJoins + `WHERE p.deleted_at = 0 AND p.community = $6 AND `
	feedHot   = `(p.hot, p.id) < ($1, $2) AND p.created_at >= $4 ORDER BY p.hot DESC, p.id DESC LIMIT $3 OFFSET $5`
	feedNew   = `(p.created_at, p.id) < ($1, $2) AND p.created_at >= $4 ORDER BY p.created_at DESC, p.id DESC LIMIT $3 OFFSET $5`
	feedTop   = `(p.score, p.id) < ($1, $2) AND p.created_at >= $4 ORDER BY p.score DESC, p.id DESC LIMIT $3 OFFSET $5`

	qFeedHot      store.Q = `SELECT ` + postColumns + feedAll + feedHot
	qFeedNew      store.Q = `SELECT ` + postColumns + feedAll + feedNew
	qFeedTop      store.Q = `SELECT ` + postColumns + feedAll + feedTop
	qFeedPlaceHot store.Q = `SELECT ` + postColumns + feedPlace + feedHot
	qFeedPlaceNew store.Q = `SELECT ` + postColumns + feedPlace + feedNew
	qFeedPlaceTop store.Q = `SELECT ` + postColumns + feedPlace + feedTop
)

func (n *Network) registerFeed(g *gate.Gate) {
	n.ReadFeed = gate.RegisterRead(g, gate.Read[FeedQuery, act.Page[Post]]{
		Info: gate.Info{Name: "feed.read", Doc: "Read a page of posts: hot, new, top or rising; of the network, a community, an author, or whom the reader follows.", On: act.KindCommunity, Also: []act.Kind{act.KindPost}, Quota: gate.QuotaRead},
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
		Shown:  n.shownPosts,
		Redact: redactPosts,
	})
}

// feedList names the list a feed cursor belongs to.
func feedList(q FeedQuery) string {
	return "feed/" + q.Community + "/" + string(q.Sort) + "/" + string(q.Window) + "/" + q.Author + "/" + string(q.Personal)
}

// FeedCursor opens a cursor of the feed that q asks for.
func FeedCursor(c *act.Codec, q FeedQuery, text string) (act.Cursor, error) {
	return c.OpenCursor(feedList(q), text)
}

// feedScope is what a feed is of, by ids; zero is no bound.
type feedScope struct {
	place, author act.ID
	since         int64 // Unix microseconds
}

func (n *Network) readFeed(ctx context.Context, v *store.View, p act.Principal, in FeedQuery) (page act.Page[Post], err error) {
	if err := checkPersonal(in.Personal); err != nil {
		return page, err
	}
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
	switch in.Sort {
	case FeedHot, FeedNew, FeedTop, FeedRising:
	default:
		return page, act.Errorf(act.Invalid, "no such order of posts").WithRule("sort").WithHint("use hot, new, top or rising")
	}
	at, err := startOf(in.Cursor, in.Offset)
	if err != nil {
		return page, err
	}
	scope, err := n.feedScope(v, in)
	if err != nil {
		return page, err
	}
	if length > 0 {
		scope.since = act.Micros(n.gate.Now().Add(-length))
	}
	if in.Personal != PersonalNone && p.Kind == act.Agent {
		if page, ok, err := n.personalFeed(v, p.ID, in, scope, at); ok || err != nil {
			return page, err
		}
	}
	switch {
	case scope.author != 0 && in.Sort == FeedNew:
		return n.authorNew(v, in, scope, at)
	case scope.author != 0 || in.Sort == FeedRising:
		return n.rankedFeed(v, in, at, func(as, since int64) ([]candidate, error) { return n.pool(ctx, v, scope, as, since) })
	case scope.since == 0:
		if page, ok, err := n.board.page(ctx, v, windowKey{scope.place, in.Sort}, in, at); ok || err != nil {
			return page, err
		}
	}
	return n.feedSQL(v, in, scope, at)
}

func (n *Network) feedScope(v *store.View, in FeedQuery) (scope feedScope, err error) {
	if in.Community != "" {
		c, _, err := n.place(v, in.Community)
		if err != nil {
			return scope, err
		}
		scope.place = c.ID
	}
	if in.Author != "" {
		scope.author, err = n.authorNamed(v, in.Author)
	}
	return scope, err
}

// feedSQL reads a page of the network or a community from the database, in an
// order that has an index: the path that memory is proven equal to.
func (n *Network) feedSQL(v *store.View, in FeedQuery, scope feedScope, at start) (page act.Page[Post], err error) {
	var q, inPlace store.Q
	switch in.Sort {
	case FeedNew:
		q, inPlace = qFeedNew, qFeedPlaceNew
	case FeedTop:
		q, inPlace = qFeedTop, qFeedPlaceTop
	default:
		q, inPlace = qFeedHot, qFeedPlaceHot
	}
	args := n.feedArgs(in, scope, at)
	if scope.place != 0 {
		q, args = inPlace, append(args, scope.place)
	}
	return n.feedPage(v, q, in, at, args)
}

func (n *Network) feedArgs(in FeedQuery, scope feedScope, at start) []any {
	from := [2]int64{lastKey, lastKey}
	if at.keyed {
		from = at.from
	}
	return []any{from[0], from[1], int64(in.Limit + 1), scope.since, at.skip}
}

// feedPage runs a query that gives whole posts in the order of the feed, one
// more than the page holds.
func (n *Network) feedPage(v *store.View, q store.Q, in FeedQuery, at start, args []any) (page act.Page[Post], err error) {
	page.Items = make([]Post, 0, in.Limit+1)
	if err := v.All(q, func(r *store.Row) error { page.Items = append(page.Items, n.scanPost(r)); return nil }, args...); err != nil {
		return page, err
	}
	more := len(page.Items) > in.Limit
	page.Items = page.Items[:min(len(page.Items), in.Limit)]
	page.Next = nextOf(in, at, page.Items, more)
	return page, nil
}

// nextOf is the cursor behind a page of an order that has an index.
func nextOf(in FeedQuery, at start, items []Post, more bool) act.Cursor {
	next := act.Cursor{List: feedList(in)}
	if more && len(items) > 0 {
		last := items[len(items)-1]
		next.Keys = []int64{feedKey(in.Sort, last), int64(last.ID), at.passed + int64(len(items))}
	}
	return next
}

// orderedPosts reads the beginning of an order from the database.
func (n *Network) orderedPosts(v *store.View, k windowKey, most int) ([]Post, error) {
	page, err := n.feedSQL(v, FeedQuery{Sort: k.sort, Limit: most}, feedScope{place: k.place}, start{})
	return page.Items, err
}

// feedKey is what an order that has an index sorts by.
func feedKey(s FeedSort, p Post) int64 {
	switch s {
	case FeedNew:
		return p.CreatedAt
	case FeedTop:
		return p.score
	}
	return p.Hot
}

// shownPosts lists the foreign posts of a page and takes out what the reader
// may not see.
func (n *Network) shownPosts(p act.Principal, page act.Page[Post], item func(act.Ref, gate.Facts) bool) act.Page[Post] {
	var kept []Post
	for i := range page.Items {
		post := &page.Items[i]
		shown := post.Author.ID == p.ID || item(act.Ref{ID: post.ID, Version: post.Version}, n.postFacts(post))
		switch {
		case !shown && kept == nil:
			kept = append(make([]Post, 0, len(page.Items)), page.Items[:i]...)
		case shown && kept != nil:
			kept = append(kept, *post)
		}
	}
	if kept != nil {
		page.Items = kept
	}
	if n.canaries != nil && p.Kind == act.Agent {
		page.Items = slices.Clone(page.Items) // other readers are shown these, too
		for i := range page.Items {
			if post := &page.Items[i]; post.Author.ID != p.ID {
				n.stampPost(p, post)
			}
		}
	}
	return page
}
