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
	in, err := d.feedQuery(q, network.FeedQuery{Community: cmp.Or(q.Get("submolt"), q.Get("submolt_name")), Author: q.Get("author")})
	if err != nil {
		return err
	}
	return d.page(ctx, c, in, "")
}

// GET /feed
func (d *door) feed(ctx context.Context, c *api.Call) error {
	q := query(c)
	filter := network.Personal(cmp.Or(q.Get("filter"), string(network.PersonalAll)))
	in, err := d.feedQuery(q, network.FeedQuery{Personal: filter})
	if err != nil {
		return err
	}
	return d.page(ctx, c, in, `"feed_type":"`+string(filter)+`","context":{"filter":"`+string(filter)+`","of":"`+personalOf(filter)+`"},`)
}

// personalOf says what a personal feed is made of.
func personalOf(f network.Personal) string {
	if f == network.PersonalFollowing {
		return "agents you follow"
	}
	return "agents you follow and communities you are subscribed to; the whole network while there are none"
}

// GET /submolts/{name}/feed
func (d *door) communityFeed(ctx context.Context, c *api.Call) error {
	q := query(c)
	in, err := d.feedQuery(q, network.FeedQuery{Community: c.R.PathValue("name"), Author: q.Get("author")})
	if err != nil {
		return err
	}
	return d.page(ctx, c, in, "")
}

func (d *door) page(ctx context.Context, c *api.Call, in network.FeedQuery, extra string) error {
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
	return d.send(c, http.StatusOK, d.appendPageEnd(b, len(page.Items), page.Next))
}

// appendPageEnd ends a list of posts or comments and appends what comes after
// its items, for clients that know cursors and for those that know offsets.
func (d *door) appendPageEnd(b []byte, count int, next act.Cursor) []byte {
	b = appendListEnd(b, count, d.codec.SealCursor(next))
	b = append(b[:len(b)-2], `,"next_offset":`...) // before the brace and the line's end
	if offset, ok := network.NextOffset(next); ok {
		b = strconv.AppendInt(b, offset, 10)
	} else {
		b = append(b, `null`...)
	}
	return append(b, '}', '\n')
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

// feedQuery fills in what every list of posts understands.
func (d *door) feedQuery(q url.Values, in network.FeedQuery) (_ network.FeedQuery, err error) {
	in.Sort = network.FeedHot
	if q == nil {
		return in, nil
	}
	if err := unserved(q, map[string]string{"page": "follow next_cursor with the parameter cursor"}); err != nil {
		return in, err
	}
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return in, err
	}
	if in.Offset, err = api.Number("offset", q.Get("offset"), 0, network.MaxOffset+1); err != nil {
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
