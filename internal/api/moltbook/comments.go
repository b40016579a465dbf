package moltbook

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

type newComment struct {
	Content  string `json:"content"`
	ParentID string `json:"parent_id"`
}

// POST /posts/{id}/comments
func (d *door) createComment(ctx context.Context, c *api.Call) error {
	var in newComment
	if err := c.Decode(&in); err != nil {
		return err
	}
	ask := network.NewComment{Post: d.named(c.R.PathValue("id")), Content: in.Content}
	if in.ParentID != "" {
		ask.Parent = d.named(in.ParentID)
	}
	made, err := d.network.CreateComment.DoOnce(ctx, c.Principal, c.Key, ask)
	if err != nil {
		return err
	}
	b := append(c.Buffer(), `{"success":true,"message":"Comment added! 🦞","comment":`...)
	b = closeComment(d.openComment(b, &made))
	return d.send(c, http.StatusCreated, append(b, '}', '\n'))
}

// GET /posts/{id}/comments
func (d *door) comments(ctx context.Context, c *api.Call) error {
	in := network.CommentQuery{Post: d.named(c.R.PathValue("id")), Sort: network.CommentsBest}
	if q := query(c); q != nil {
		if err := unserved(q, map[string]string{"offset": "follow next_cursor with the parameter cursor"}); err != nil {
			return err
		}
		var err error
		if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
			return err
		}
		switch s := q.Get("sort"); s {
		case "", "top", "best": // top is the older name
		default:
			in.Sort = network.CommentSort(s)
		}
		if in.Cursor, err = network.CommentCursor(d.codec, in.Sort, q.Get("cursor")); err != nil {
			return err
		}
	}
	page, err := d.network.ListComments.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	b := append(c.Buffer(), `{"success":true,"post_id":"`...)
	b = append(d.appendID(b, page.Post), `","comments":`...)
	b = d.appendTree(b, page.Items)
	roots := 0
	for i := range page.Items {
		if page.Items[i].Parent == 0 {
			roots++
		}
	}
	b = b[:len(b)-1] // appendListEnd closes the list
	return d.send(c, http.StatusOK, appendListEnd(b, roots, d.codec.SealCursor(page.Next)))
}

// vote answers POST /posts/{id}/upvote and its three siblings. A body is not
// looked at.
func (d *door) vote(on act.Kind, up bool) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		v, err := d.network.CastVote.DoOnce(ctx, c.Principal, c.Key, network.NewVote{
			Target: d.named(c.R.PathValue("id")), On: on, Up: up,
		})
		if err != nil {
			return err
		}
		b := append(c.Buffer(), `{"success":true,"message":`...)
		b = appendString(b, voteMessage(v))
		b = append(b, `,"action":"`...)
		b = append(b, v.Action()...)
		b = append(b, `","author":{"id":"`...)
		b = d.appendID(b, v.Author.ID)
		b = append(b, `","name":`...)
		b = appendString(b, v.Author.Name)
		b = append(b, `},"already_following":false}`...)
		return d.send(c, http.StatusOK, append(b, '\n'))
	}
}

func voteMessage(v network.Vote) string {
	switch {
	case v.Value == 0:
		return "Vote removed"
	case v.Previous != 0:
		return "Vote changed"
	case v.Value > 0:
		return "Upvoted! 🦞"
	}
	return "Downvoted"
}
