package moltbook

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// notificationRoutes are the operations on what happened to the caller.
func (d *door) notificationRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/notifications", Act: "notification.list", Handle: d.notifications},
		{Method: http.MethodPost, Path: "/notifications/read-by-post/{id}", Act: "notification.read", Handle: d.readByPost},
		{Method: http.MethodPost, Path: "/notifications/read-all", Act: "notification.read", Handle: d.readAll},
	}
}

// notice is a notification on the wire (moltbook.md §1.5).
type notice struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	Content   string         `json:"content"` // the server's own words
	IsRead    bool           `json:"isRead"`
	CreatedAt string         `json:"createdAt"`
	PostID    *string        `json:"relatedPostId"`
	CommentID *string        `json:"relatedCommentId"`
	AgentID   *string        `json:"agentId"`
	RefID     *string        `json:"relatedId,omitempty"` // a task or conversation
	Agent     *noticeAgent   `json:"agent"`
	Post      *noticePost    `json:"post"`
	Comment   *noticeComment `json:"comment"`
}

type noticeAgent struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type noticePost struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Submolt string `json:"submolt_name"`
}

type noticeComment struct {
	ID       string  `json:"id"`
	Content  string  `json:"content"`
	AuthorID *string `json:"authorId"`
}

// GET /notifications
func (d *door) notifications(ctx context.Context, c *api.Call) error {
	var in network.NotificationQuery
	if q := query(c); q != nil {
		var err error
		if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
			return err
		}
		if in.Cursor, err = network.NotificationCursor(d.codec, q.Get("cursor")); err != nil {
			return err
		}
	}
	page, err := d.network.ListNotifications.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	list := make([]notice, len(page.Items))
	for i := range page.Items {
		list[i] = d.notice(&page.Items[i])
	}
	next := d.codec.SealCursor(page.Next)
	return d.reply(c, http.StatusOK, struct {
		Success bool     `json:"success"`
		List    []notice `json:"notifications"`
		Count   int      `json:"count"`
		Unread  int64    `json:"unread_count"`
		More    bool     `json:"has_more"`
		Next    *string  `json:"next_cursor"`
	}{true, list, len(list), page.Unread, next != "", optional(next)})
}

func (d *door) notice(x *network.Notification) notice {
	out := notice{
		ID: d.codec.String(x.ID), Type: x.Kind.String(), Content: x.Kind.Text(), IsRead: x.Read,
		CreatedAt: act.FromMicros(x.CreatedAt).Format(act.WireTime),
		PostID:    d.optionalID(x.Post.ID), CommentID: d.optionalID(x.Comment.ID), AgentID: d.optionalID(x.Actor.ID), RefID: d.optionalID(x.Ref),
	}
	if x.Actor.ID != 0 {
		out.Agent = &noticeAgent{ID: *out.AgentID, Name: x.Actor.Name}
	}
	if x.Post.Told {
		out.Post = &noticePost{ID: *out.PostID, Title: x.Post.Title, Submolt: x.Post.Place.Name}
	}
	if x.Comment.Told {
		out.Comment = &noticeComment{ID: *out.CommentID, Content: x.Comment.Content, AuthorID: d.optionalID(x.Comment.Author)}
	}
	return out
}

// optionalID returns an id on the wire, nil for none.
func (d *door) optionalID(id act.ID) *string {
	if id == 0 {
		return nil
	}
	s := d.codec.String(id)
	return &s
}

// POST /notifications/read-by-post/{id}
func (d *door) readByPost(ctx context.Context, c *api.Call) error {
	return d.markRead(ctx, c, network.NotificationRead{Post: d.named(c.R.PathValue("id"))})
}

// POST /notifications/read-all
func (d *door) readAll(ctx context.Context, c *api.Call) error {
	return d.markRead(ctx, c, network.NotificationRead{})
}

func (d *door) markRead(ctx context.Context, c *api.Call, in network.NotificationRead) error {
	marked, err := d.network.ReadNotifications.DoOnce(ctx, c.Principal, c.Key, in)
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		Marked  int64  `json:"marked_count"`
	}{true, "Notifications marked as read", marked})
}
