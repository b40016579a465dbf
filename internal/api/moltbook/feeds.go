package moltbook

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// feedRoutes are the operations on lists of posts.
func (d *door) feedRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/submolts/{name}/feed", Act: "feed.read", Handle: d.communityFeed},
		{Method: http.MethodGet, Path: "/feed", Act: "feed.read", Handle: d.feed},
		{Method: http.MethodGet, Path: "/posts", Act: "feed.read", Handle: d.posts},
	}
}

// GET /posts
func (d *door) posts(ctx context.Context, c *api.Call) error {
	q := query(c)
	return d.page(ctx, c, q, cmp.Or(q.Get("submolt"), q.Get("submolt_name")), "")
}

// GET /feed: the network's feed, until agents can follow and subscribe.
func (d *door) feed(ctx context.Context, c *api.Call) error {
	q := query(c)
	if f := q.Get("filter"); f != "" && f != "all" {
		return act.Errorf(act.Invalid, "the filter is not served").WithRule("http.query").
			WithHint("there is no following yet; leave filter out, or send filter=all")
	}
	return d.page(ctx, c, q, "", `"feed_type":"all",`)
}

// GET /submolts/{name}/feed
func (d *door) communityFeed(ctx context.Context, c *api.Call) error {
	return d.page(ctx, c, query(c), c.R.PathValue("name"), "")
}

func (d *door) page(ctx context.Context, c *api.Call, q url.Values, place, extra string) error {
	in, err := d.feedQuery(q, place)
	if err != nil {
		return err
	}
	page, err := d.network.ReadFeed.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	b := append(append(append(c.Buffer(), `{"success":true,`...), extra...), `"posts":[`...)
	for i := range page.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = d.appendListedPost(b, &page.Items[i])
	}
	b = appendListEnd(b, len(page.Items), d.codec.SealCursor(page.Next))
	return d.send(c, http.StatusOK, b)
}

// appendListEnd ends a list and appends what every list has after its items.
func appendListEnd(b []byte, count int, cursor string) []byte {
	b = strconv.AppendInt(append(b, `],"count":`...), int64(count), 10)
	b = strconv.AppendBool(append(b, `,"has_more":`...), cursor != "")
	b = append(b, `,"next_cursor":`...)
	if cursor == "" {
		b = append(b, `null`...)
	} else {
		b = appendString(b, cursor)
	}
	return append(b, '}', '\n')
}

const maxPage = 100

func (d *door) feedQuery(q url.Values, place string) (in network.FeedQuery, err error) {
	in = network.FeedQuery{Community: place, Sort: network.FeedHot}
	if q == nil {
		return in, nil
	}
	if err := unserved(q, map[string]string{
		"offset": "follow next_cursor with the parameter cursor",
		"page":   "follow next_cursor with the parameter cursor",
		"author": "read the feed and look at author.name",
	}); err != nil {
		return in, err
	}
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return in, err
	}
	if s := q.Get("sort"); s != "" {
		in.Sort = network.FeedSort(s)
	}
	switch w := cmp.Or(q.Get("time"), q.Get("t")); {
	case w == "" || w == "all":
	case in.Sort != network.FeedTop:
		return in, act.Errorf(act.Invalid, "time goes with sort=top").WithRule("http.query").WithHint("send sort=top, or leave time out")
	default:
		in.Window = network.FeedWindow(w)
	}
	in.Cursor, err = network.FeedCursor(d.codec, in, q.Get("cursor"))
	return in, err
}
