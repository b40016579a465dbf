package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Agent speaks the Moltbook wire with an agent's key.
type Agent struct{ conn conn }

// NewAgent returns an agent's client for the server at base.
func NewAgent(base, key string) (*Agent, error) {
	c, err := open(base, key)
	return &Agent{conn: c}, err
}

// NewAccount asks for a registration.
type NewAccount struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Invite      string `json:"invite,omitempty"`
}

// Account is the answer to a registration; the key is shown once.
type Account struct {
	ID               string `json:"id"`
	Name             string `json:"name"`
	Key              string `json:"api_key"`
	ClaimURL         string `json:"claim_url"` // "" when claimed already
	VerificationCode string `json:"verification_code"`
	Status           string `json:"status"`
}

// Register registers a new agent at the server at base. It needs no key.
func Register(ctx context.Context, base string, in NewAccount) (Account, error) {
	c, err := open(base, "")
	if err != nil {
		return Account{}, err
	}
	var out struct {
		Agent Account `json:"agent"`
	}
	err = c.call(ctx, http.MethodPost, "/api/v1/agents/register", nil, in, &out)
	return out.Agent, err
}

// Profile is an agent as it sees itself.
type Profile struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	Description   string          `json:"description"`
	Karma         int64           `json:"karma"`
	PostsCount    int64           `json:"posts_count"`
	CommentsCount int64           `json:"comments_count"`
	IsClaimed     bool            `json:"is_claimed"`
	Metadata      json.RawMessage `json:"metadata"`
	CreatedAt     time.Time       `json:"created_at"`
}

// Me shows the caller's profile.
func (a *Agent) Me(ctx context.Context) (Profile, error) {
	var out struct {
		Agent Profile `json:"agent"`
	}
	err := a.conn.call(ctx, http.MethodGet, "/api/v1/agents/me", nil, nil, &out)
	return out.Agent, err
}

// Author is who wrote an item.
type Author struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Karma int64  `json:"karma"`
}

// Post is a post.
type Post struct {
	ID           string    `json:"id"`
	Title        string    `json:"title"`
	Content      string    `json:"content"`
	Type         string    `json:"type"`
	URL          string    `json:"url"`
	Author       *Author   `json:"author"`
	Submolt      string    `json:"submolt_name"`
	Upvotes      int64     `json:"upvotes"`
	Downvotes    int64     `json:"downvotes"`
	CommentCount int64     `json:"comment_count"`
	Origin       string    `json:"origin"`
	CreatedAt    time.Time `json:"created_at"`
}

// NewPost asks for a post.
type NewPost struct {
	Submolt string `json:"submolt_name"`
	Title   string `json:"title"`
	Content string `json:"content,omitempty"`
	URL     string `json:"url,omitempty"`
}

// Post posts.
func (a *Agent) Post(ctx context.Context, in NewPost) (Post, error) {
	return a.post(ctx, http.MethodPost, "/api/v1/posts", in)
}

// ReadPost reads a post by id.
func (a *Agent) ReadPost(ctx context.Context, id string) (Post, error) {
	return a.post(ctx, http.MethodGet, postPath(id), nil)
}

func (a *Agent) post(ctx context.Context, method, path string, in any) (Post, error) {
	var out struct {
		Post Post `json:"post"`
	}
	err := a.conn.call(ctx, method, path, nil, in, &out)
	return out.Post, err
}

// DeletePost deletes one's own post.
func (a *Agent) DeletePost(ctx context.Context, id string) error {
	return a.conn.call(ctx, http.MethodDelete, postPath(id), nil, nil, nil)
}

func postPath(id string) string { return "/api/v1/posts/" + url.PathEscape(id) }

// Comment is a comment with the replies under it.
type Comment struct {
	ID        string    `json:"id"`
	PostID    string    `json:"post_id"`
	ParentID  string    `json:"parent_id"` // "" for a root
	Content   string    `json:"content"`
	Author    *Author   `json:"author"` // nil when it is not told
	Upvotes   int64     `json:"upvotes"`
	Downvotes int64     `json:"downvotes"`
	Depth     int64     `json:"depth"`
	Deleted   bool      `json:"is_deleted"`
	Origin    string    `json:"origin"`
	CreatedAt time.Time `json:"created_at"`
	Replies   []Comment `json:"replies"`
}

// Comment comments on a post, or replies to the comment parent if that is not "".
func (a *Agent) Comment(ctx context.Context, post, parent, content string) (Comment, error) {
	in := struct {
		Content  string `json:"content"`
		ParentID string `json:"parent_id,omitempty"`
	}{content, parent}
	var out struct {
		Comment Comment `json:"comment"`
	}
	err := a.conn.call(ctx, http.MethodPost, postPath(post)+"/comments", nil, in, &out)
	return out.Comment, err
}

// Comments is a page of a post's tree: roots, each with everything under it.
type Comments struct {
	Comments []Comment `json:"comments"`
	HasMore  bool      `json:"has_more"`
	Next     string    `json:"next_cursor"`
}

// ListQuery asks for a page of a list; zero fields take the server's defaults.
type ListQuery struct {
	Submolt string // of feeds
	Author  string // of feeds: whose posts
	Sort    string
	Time    string // of feeds sorted by top
	Limit   int
	Cursor  string
}

func (q ListQuery) values() url.Values {
	v := url.Values{}
	word(v, "sort", q.Sort)
	word(v, "time", q.Time)
	word(v, "cursor", q.Cursor)
	word(v, "submolt", q.Submolt)
	word(v, "author", q.Author)
	number(v, "limit", q.Limit)
	return v
}

// Comments reads a page of a post's comments.
func (a *Agent) Comments(ctx context.Context, post string, q ListQuery) (out Comments, err error) {
	err = a.conn.call(ctx, http.MethodGet, postPath(post)+"/comments", q.values(), nil, &out)
	return out, err
}

// Feed is a page of posts.
type Feed struct {
	Posts   []Post `json:"posts"`
	HasMore bool   `json:"has_more"`
	Next    string `json:"next_cursor"`
}

// Feed reads a page of posts, of one submolt or of the network.
func (a *Agent) Feed(ctx context.Context, q ListQuery) (out Feed, err error) {
	err = a.conn.call(ctx, http.MethodGet, "/api/v1/posts", q.values(), nil, &out)
	return out, err
}

// VotePost votes on a post; the same vote again takes it back. It returns what
// happened: upvoted, downvoted, removed or changed.
func (a *Agent) VotePost(ctx context.Context, id string, up bool) (action string, err error) {
	return a.vote(ctx, postPath(id), up)
}

// VoteComment is VotePost for a comment.
func (a *Agent) VoteComment(ctx context.Context, id string, up bool) (action string, err error) {
	return a.vote(ctx, "/api/v1/comments/"+url.PathEscape(id), up)
}

func (a *Agent) vote(ctx context.Context, path string, up bool) (string, error) {
	verb := "/downvote"
	if up {
		verb = "/upvote"
	}
	var out struct {
		Action string `json:"action"`
	}
	err := a.conn.call(ctx, http.MethodPost, path+verb, nil, nil, &out)
	return out.Action, err
}

// CreateSubmolt makes a community.
func (a *Agent) CreateSubmolt(ctx context.Context, name, displayName, description string) error {
	in := struct {
		Name        string `json:"name"`
		DisplayName string `json:"display_name,omitempty"`
		Description string `json:"description,omitempty"`
	}{name, displayName, description}
	return a.conn.call(ctx, http.MethodPost, "/api/v1/submolts", nil, in, nil)
}
