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

type newPost struct {
	Submolt     string `json:"submolt"`
	SubmoltName string `json:"submolt_name"`
	Title       string `json:"title"`
	Content     string `json:"content"`
	URL         string `json:"url"`
	Type        string `json:"type"`
}

// POST /posts
func (d *door) createPost(ctx context.Context, c *api.Call) error {
	var in newPost
	if err := c.Decode(&in); err != nil {
		return err
	}
	place := cmp.Or(in.SubmoltName, in.Submolt)
	switch {
	case place == "":
		return act.Errorf(act.Invalid, "submolt_name is missing").WithRule("post.submolt").
			WithHint(`send submolt_name, for example "general"`)
	case in.Submolt != "" && in.Submolt != place:
		return act.Errorf(act.Invalid, "submolt and submolt_name differ").WithRule("post.submolt").WithHint("send one of them")
	}
	made, err := d.network.CreatePost.DoOnce(ctx, c.Principal, c.Key, network.NewPost{
		Community: place, Type: in.Type, Title: in.Title, Content: in.Content, URL: in.URL,
	})
	if err != nil {
		return err
	}
	b := append(c.Buffer(), `{"success":true,"message":"Post created! 🦞","post":`...)
	return d.send(c, http.StatusCreated, append(d.appendPost(b, &made), '}', '\n'))
}

// GET /posts/{id}
func (d *door) readPost(ctx context.Context, c *api.Call) error {
	p, err := d.network.ReadPost.Do(ctx, c.Principal, d.named(c.R.PathValue("id")))
	if err != nil {
		return err
	}
	b := append(c.Buffer(), `{"success":true,"post":`...)
	return d.send(c, http.StatusOK, append(d.appendKnownPost(b, &p), '}', '\n'))
}

// DELETE /posts/{id}
func (d *door) deletePost(ctx context.Context, c *api.Call) error {
	gone, err := d.network.DeletePost.DoOnce(ctx, c.Principal, c.Key, d.named(c.R.PathValue("id")))
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		PostID  string `json:"post_id"`
	}{true, "Post deleted", d.codec.String(gone.ID)})
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
		b = d.appendKnownPost(b, &page.Items[i])
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
