package moltbook

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// commentRoutes are the operations on comments.
func (d *door) commentRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/posts/{id}/comments", Act: "comment.list", Handle: d.comments},
		{Method: http.MethodPost, Path: "/posts/{id}/comments", Act: "comment.create", Handle: d.createComment},
		{Method: http.MethodDelete, Path: "/comments/{id}", Act: "comment.delete", Handle: d.deleteComment},
	}
}

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
		return d.challenged(c, err, "comment", func(b []byte, p *gate.Pending) []byte {
			return closeComment(d.openComment(b, &network.Comment{
				ID: p.Approval, Post: p.Target.ID, Parent: ask.Parent.ID, Content: in.Content, Author: d.author(c),
				CreatedAt: madeAt(p),
			}))
		})
	}
	b := append(c.Buffer(), `{"success":true,"message":"Comment added! 🦞","comment":`...)
	b = closeComment(d.openComment(b, &made))
	return d.send(c, http.StatusCreated, append(b, '}', '\n'))
}

// DELETE /comments/{id}
func (d *door) deleteComment(ctx context.Context, c *api.Call) error {
	gone, err := d.network.DeleteComment.DoOnce(ctx, c.Principal, c.Key, d.named(c.R.PathValue("id")))
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, struct {
		Success   bool   `json:"success"`
		Message   string `json:"message"`
		CommentID string `json:"comment_id"`
		PostID    string `json:"post_id"`
	}{true, "Comment deleted", d.codec.String(gone.Comment), d.codec.String(gone.Post)})
}

// GET /posts/{id}/comments
func (d *door) comments(ctx context.Context, c *api.Call) error {
	in := network.CommentQuery{Post: d.named(c.R.PathValue("id")), Sort: network.CommentsBest}
	if q := query(c); q != nil {
		var err error
		if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
			return err
		}
		if in.Offset, err = api.Number("offset", q.Get("offset"), 0, network.MaxOffset+1); err != nil {
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
	return d.send(c, http.StatusOK, d.appendPageEnd(b, roots, page.Next))
}
