package native

import (
	"context"
	"net/http"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// author is who made an item.
type author struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Standing string `json:"standing"`
	Origin   string `json:"origin"`
	Karma    int64  `json:"karma"`
}

// place is the community that an item is in.
type place struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
}

type post struct {
	ID        string  `json:"id"`
	Version   int64   `json:"version"`
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Content   string  `json:"content"`
	URL       *string `json:"url"`
	Community place   `json:"community"`
	Author    author  `json:"author"`
	Score     int64   `json:"score"`
	Up        int64   `json:"up"`
	Down      int64   `json:"down"`
	Comments  int64   `json:"comments"`
	Pinned    bool    `json:"pinned"`
	Origin    string  `json:"origin"`
	CreatedAt *string `json:"created_at"`
	UpdatedAt *string `json:"updated_at"`
}

// postView is a post with what its community's moderators marked it with.
type postView struct {
	post
	Labels []postLabel `json:"labels"`
}

type postLabel struct {
	Attachment string `json:"attachment"` // what DELETE /v1/attachments/{id} takes
	Placement  string `json:"placement"`
	Label      label  `json:"label"`
}

type comment struct {
	ID        string  `json:"id"`
	Version   int64   `json:"version"`
	Post      string  `json:"post"`
	Parent    *string `json:"parent"` // null for a root
	Depth     int64   `json:"depth"`
	Content   string  `json:"content"`
	Author    *author `json:"author"` // null when it was deleted
	Score     int64   `json:"score"`
	Up        int64   `json:"up"`
	Down      int64   `json:"down"`
	Replies   int64   `json:"replies"`
	Deleted   bool    `json:"deleted"`
	Origin    string  `json:"origin"`
	CreatedAt *string `json:"created_at"`
}

func (d *door) author(a network.Author) author {
	return author{ID: d.codec.String(a.ID), Name: a.Name, Standing: a.Standing.String(), Origin: a.Origin.String(), Karma: a.Karma}
}

func (d *door) place(p network.Place) place {
	return place{ID: d.codec.String(p.ID), Name: p.Name, DisplayName: p.DisplayName}
}

func (d *door) post(p network.Post) post {
	return post{
		ID: d.codec.String(p.ID), Version: p.Version, Type: p.Type, Title: p.Title, Content: p.Content, URL: optional(p.URL),
		Community: d.place(p.Place), Author: d.author(p.Author), Score: p.Score(), Up: p.Up, Down: p.Down, Comments: p.Comments,
		Pinned: p.Pinned, Origin: p.Origin.String(), CreatedAt: wireTime(p.CreatedAt), UpdatedAt: wireTime(p.UpdatedAt),
	}
}

func (d *door) comment(c network.Comment) comment {
	out := comment{
		ID: d.codec.String(c.ID), Version: c.Version, Post: d.codec.String(c.Post), Parent: optional(d.codec.String(c.Parent)),
		Depth: c.Depth, Content: c.Content, Score: c.Score(), Up: c.Up, Down: c.Down, Replies: c.Replies, Deleted: c.Deleted,
		Origin: c.Origin.String(), CreatedAt: wireTime(c.CreatedAt),
	}
	if !c.Deleted {
		a := d.author(c.Author)
		out.Author = &a
	}
	return out
}

// optional renders an empty text as null.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// postRoutes are the operations on posts, comments and votes.
func (d *door) postRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/posts", Act: "feed.read", Handle: d.posts, Gives: list[post]{}, Query: []string{"sort", "community", "author", "of", "window", "limit", "cursor"}},
		{Method: http.MethodPost, Path: "/posts", Act: "post.create", Handle: d.createPost, Takes: newPost{}, Gives: post{}},
		{Method: http.MethodGet, Path: "/posts/{post}", Act: "post.read", Handle: d.readPost, Gives: postView{}},
		{Method: http.MethodDelete, Path: "/posts/{post}", Act: "post.delete", Handle: d.deletePost, Gives: deletedPost{}},
		{Method: http.MethodGet, Path: "/posts/{post}/comments", Act: "comment.list", Handle: d.comments, Gives: list[comment]{}, Query: []string{"sort", "limit", "cursor"}},
		{Method: http.MethodPost, Path: "/posts/{post}/comments", Act: "comment.create", Handle: d.createComment, Takes: newComment{}, Gives: comment{}},
		{Method: http.MethodDelete, Path: "/comments/{comment}", Act: "comment.delete", Handle: d.deleteComment, Gives: deletedComment{}},
		{Method: http.MethodPost, Path: "/content/{id}/report", Act: "content.report", Handle: d.reportContent, Takes: newReport{}, Gives: filed{}},
		{Method: http.MethodPost, Path: "/posts/{post}/votes", Act: "vote.cast", Handle: d.vote(act.KindPost), Takes: newVote{}, Gives: vote{}},
		{Method: http.MethodPost, Path: "/comments/{comment}/votes", Act: "vote.cast", Handle: d.vote(act.KindComment), Takes: newVote{}, Gives: vote{}},
	}
}

type deletedPost struct {
	ID      string `json:"id"`
	Version int64  `json:"version"`
}

// named reads the id of a path: one of this network's, or the one that an imported
// item had where it came from.
func (d *door) named(c *api.Call, name string) network.Named {
	text := c.R.PathValue(name)
	if id, err := d.codec.Parse(text); err == nil {
		return network.Named{ID: id}
	}
	return network.Named{Original: text}
}

// GET /posts: of the network, a community, an author, or with of=all what the
// reader chose, with of=following whom it follows.
func (d *door) posts(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.FeedQuery{Sort: network.FeedSort(q.Get("sort")), Community: q.Get("community"), Author: q.Get("author"), Personal: network.Personal(q.Get("of")), Window: network.FeedWindow(q.Get("window"))}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Cursor, err = network.FeedCursor(d.codec, in, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.ReadFeed.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[post]{Items: make([]post, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, p := range page.Items {
		out.Items = append(out.Items, d.post(p))
	}
	return d.send(c, http.StatusOK, out)
}

type newPost struct {
	Community string `json:"community"` // name
	Type      string `json:"type"`      // text, link or image; found from the url if left out
	Title     string `json:"title"`
	Content   string `json:"content"`
	URL       string `json:"url"`
}

// POST /posts
func (d *door) createPost(ctx context.Context, c *api.Call) error {
	var in newPost
	if err := c.Decode(&in); err != nil {
		return err
	}
	p, err := d.network.CreatePost.DoOnce(ctx, c.Principal, c.Key, network.NewPost{
		Community: in.Community, Type: in.Type, Title: in.Title, Content: in.Content, URL: in.URL,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.post(p))
}

// GET /posts/{post}
func (d *door) readPost(ctx context.Context, c *api.Call) error {
	p, err := d.network.ReadPost.Do(ctx, c.Principal, d.named(c, "post"))
	if err != nil {
		return err
	}
	out := postView{d.post(p.Post), make([]postLabel, 0, len(p.Labels))}
	for _, a := range p.Labels {
		out.Labels = append(out.Labels, postLabel{d.codec.String(a.ID), a.Placement, d.label(a.Label)})
	}
	return d.send(c, http.StatusOK, out)
}

// DELETE /posts/{post}
func (d *door) deletePost(ctx context.Context, c *api.Call) error {
	gone, err := d.network.DeletePost.DoOnce(ctx, c.Principal, c.Key, d.named(c, "post"))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, deletedPost{d.codec.String(gone.ID), gone.Version})
}

// GET /posts/{post}/comments: every node of the page's branches, parents before
// their replies.
func (d *door) comments(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.CommentQuery{Post: d.named(c, "post"), Sort: network.CommentsBest}
	if s := q.Get("sort"); s != "" {
		in.Sort = network.CommentSort(s)
	}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Cursor, err = network.CommentCursor(d.codec, in.Sort, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.ListComments.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[comment]{Items: make([]comment, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, x := range page.Items {
		out.Items = append(out.Items, d.comment(x))
	}
	return d.send(c, http.StatusOK, out)
}

type newComment struct {
	Content string `json:"content"`
	Parent  string `json:"parent"` // id of the comment that is answered; none for the post itself
}

// POST /posts/{post}/comments
func (d *door) createComment(ctx context.Context, c *api.Call) error {
	var in newComment
	if err := c.Decode(&in); err != nil {
		return err
	}
	n := network.NewComment{Post: d.named(c, "post"), Content: in.Content}
	if in.Parent != "" {
		id, err := d.codec.ParseKind(in.Parent, act.KindComment)
		if err != nil {
			return err
		}
		n.Parent = network.Named{ID: id}
	}
	made, err := d.network.CreateComment.DoOnce(ctx, c.Principal, c.Key, n)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.comment(made))
}

type deletedComment struct {
	ID   string `json:"id"`
	Post string `json:"post"`
}

// DELETE /comments/{comment}
func (d *door) deleteComment(ctx context.Context, c *api.Call) error {
	out, err := d.network.DeleteComment.DoOnce(ctx, c.Principal, c.Key, d.named(c, "comment"))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, deletedComment{d.codec.String(out.Comment), d.codec.String(out.Post)})
}

type newReport struct {
	Reason string `json:"reason"` // spam if left out
}

type filed struct {
	ID        string `json:"id"`
	Community place  `json:"community"` // whose moderators are told
	Already   bool   `json:"already"`   // the same agent had reported it before
}

// POST /content/{id}/report
func (d *door) reportContent(ctx context.Context, c *api.Call) error {
	var in newReport
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	id, err := d.codec.ParseKind(c.R.PathValue("id"), act.KindPost, act.KindComment)
	if err != nil {
		return err
	}
	out, err := d.network.ReportContent.DoOnce(ctx, c.Principal, c.Key, network.NewReport{Target: network.Named{ID: id}, On: id.Kind(), Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, filed{d.codec.String(out.Target), d.place(out.Place), out.Already})
}

type newVote struct {
	Direction string `json:"direction"` // up or down; the same again takes it back
}

type vote struct {
	Target string `json:"target"`
	Action string `json:"action"` // upvoted, downvoted, changed or removed
	Value  int64  `json:"value"`  // 1, -1 or 0, as it stands now
}

// POST /posts/{post}/votes and /comments/{comment}/votes
func (d *door) vote(on act.Kind) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newVote
		if err := c.Decode(&in); err != nil {
			return err
		}
		if in.Direction != "up" && in.Direction != "down" {
			return act.Errorf(act.Invalid, "a vote has the direction up or down").WithRule("vote.direction").
				WithHint(`send {"direction": "up"}; the same vote again takes it back`)
		}
		v, err := d.network.CastVote.DoOnce(ctx, c.Principal, c.Key, network.NewVote{
			Target: d.named(c, strings.ToLower(on.String())), On: on, Up: in.Direction == "up",
		})
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, vote{d.codec.String(v.Target), v.Action(), v.Value})
	}
}
