package moltbook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
)

func testDoor(t testing.TB) *door {
	t.Helper()
	codec, err := act.NewCodec(bytes.Repeat([]byte{7}, act.CodecKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return &door{codec: codec, memo: newMemo(), url: func() string { return "https://reef.example" }}
}

// The mirrors say in encoding/json's words what render.go writes by hand.
type postMirror struct {
	ID           string        `json:"id"`
	Title        string        `json:"title"`
	Content      string        `json:"content"`
	Type         string        `json:"type"`
	URL          *string       `json:"url"`
	AuthorID     string        `json:"author_id"`
	Author       any           `json:"author"`
	Submolt      submoltMirror `json:"submolt"`
	SubmoltName  string        `json:"submolt_name"`
	Upvotes      int64         `json:"upvotes"`
	Downvotes    int64         `json:"downvotes"`
	Score        int64         `json:"score"`
	CommentCount int64         `json:"comment_count"`
	HotScore     int64         `json:"hot_score"`
	IsPinned     bool          `json:"is_pinned"`
	IsLocked     bool          `json:"is_locked"`
	IsDeleted    bool          `json:"is_deleted"`
	Origin       string        `json:"origin"`
	CreatedAt    *string       `json:"created_at"`
	UpdatedAt    *string       `json:"updated_at"`
}

type submoltMirror struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
}

type authorMirror struct {
	ID              string  `json:"id"`
	Name            string  `json:"name"`
	Description     string  `json:"description"`
	AvatarURL       *string `json:"avatarUrl"`
	Karma           int64   `json:"karma"`
	FollowerCount   int64   `json:"followerCount"`
	FollowingCount  int64   `json:"followingCount"`
	IsClaimed       bool    `json:"isClaimed"`
	IsActive        bool    `json:"isActive"`
	CreatedAt       *string `json:"createdAt"`
	LastActive      *string `json:"lastActive"`
	AvatarURL2      *string `json:"avatar_url"`
	FollowerCount2  int64   `json:"follower_count"`
	FollowingCount2 int64   `json:"following_count"`
	IsClaimed2      bool    `json:"is_claimed"`
	IsActive2       bool    `json:"is_active"`
	CreatedAt2      *string `json:"created_at"`
	LastActive2     *string `json:"last_active"`
	Origin          string  `json:"origin"`
}

type shortAuthorMirror struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	IsClaimed  bool   `json:"isClaimed"`
	IsActive   bool   `json:"isActive"`
	IsClaimed2 bool   `json:"is_claimed"`
	IsActive2  bool   `json:"is_active"`
	Origin     string `json:"origin"`
}

type commentMirror struct {
	ID         string          `json:"id"`
	PostID     string          `json:"post_id"`
	ParentID   *string         `json:"parent_id"`
	Content    string          `json:"content"`
	AuthorID   *string         `json:"author_id"`
	Author     any             `json:"author"`
	Upvotes    int64           `json:"upvotes"`
	Downvotes  int64           `json:"downvotes"`
	Score      int64           `json:"score"`
	Depth      int64           `json:"depth"`
	ReplyCount int64           `json:"reply_count"`
	IsDeleted  bool            `json:"is_deleted"`
	Origin     string          `json:"origin"`
	CreatedAt  *string         `json:"created_at"`
	Replies    []commentMirror `json:"replies"`
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (d *door) mirrorAuthor(a network.Author) any {
	id, claimed, active := d.codec.String(a.ID), a.Standing > act.Requested, a.Standing == act.Active
	switch {
	case a.ID == 0:
		return nil
	case a.CreatedAt == 0:
		return shortAuthorMirror{id, a.Name, claimed, active, claimed, active, a.Origin.String()}
	}
	at := orNil(wireTime(a.CreatedAt))
	return authorMirror{
		ID: id, Name: a.Name, Description: a.Description, Karma: a.Karma,
		FollowerCount: a.Followers, FollowingCount: a.Following, IsClaimed: claimed, IsActive: active, CreatedAt: at,
		FollowerCount2: a.Followers, FollowingCount2: a.Following, IsClaimed2: claimed, IsActive2: active, CreatedAt2: at,
		AvatarURL: d.imageURL(a.Avatar), AvatarURL2: d.imageURL(a.Avatar), LastActive: orNil(wireTime(a.ActiveAt)), LastActive2: orNil(wireTime(a.ActiveAt)),
		Origin: a.Origin.String(),
	}
}

func (d *door) mirrorPost(p network.Post) postMirror {
	return postMirror{
		ID: d.codec.String(p.ID), Title: p.Title, Content: p.Content, Type: p.Type, URL: orNil(p.URL),
		AuthorID: d.codec.String(p.Author.ID), Author: d.mirrorAuthor(p.Author),
		Submolt:     submoltMirror{d.codec.String(p.Place.ID), p.Place.Name, p.Place.DisplayName},
		SubmoltName: p.Place.Name, Upvotes: p.Up, Downvotes: p.Down, Score: p.Up - p.Down, CommentCount: p.Comments,
		HotScore: p.Hot, IsPinned: p.Pinned, Origin: p.Origin.String(), CreatedAt: orNil(wireTime(p.CreatedAt)), UpdatedAt: orNil(wireTime(p.UpdatedAt)),
	}
}

func (d *door) mirrorComment(c network.Comment) commentMirror {
	return commentMirror{
		ID: d.codec.String(c.ID), PostID: d.codec.String(c.Post), ParentID: orNil(d.codec.String(c.Parent)), Content: c.Content,
		AuthorID: orNil(d.codec.String(c.Author.ID)), Author: d.mirrorAuthor(c.Author), Upvotes: c.Up, Downvotes: c.Down,
		Score: c.Up - c.Down, Depth: c.Depth, ReplyCount: c.Replies, IsDeleted: c.Deleted, Origin: c.Origin.String(),
		CreatedAt: orNil(wireTime(c.CreatedAt)), Replies: []commentMirror{},
	}
}

func mirrored(t testing.TB, v any) []byte {
	t.Helper()
	b, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

// FuzzRenderPost holds the hand-written rendering equal, byte for byte, to
// encoding/json of the same fields; also when it comes from the memo.
func FuzzRenderPost(f *testing.F) {
	f.Add(int64(1), int64(2), "title", "content", "https://x", "ada", int64(3), int64(4), int64(1769792400000000), byte(2), byte(0))
	f.Add(int64(9), int64(0), "\u2028\u2029<>&\x7f\b\f\n\r\t\x00\x1f\"\\/", "\xff\xc3\x28\xed\xa0\x80", "", "", int64(-3), int64(1)<<62, int64(0), byte(5), byte(3))
	f.Add(int64(1)<<62, int64(7), "🦞ẹ́", strings.Repeat("é", 100), "u", "\ufffd", int64(0), int64(-1), int64(-62135596800000000), byte(1), byte(9))
	d := testDoor(f)
	f.Fuzz(func(t *testing.T, id, author int64, title, content, link, name string, up, down, at int64, standing, origin byte) {
		at %= 250_000_000_000_000_000 // years of four digits, as every clock has
		if at < 0 {
			at = -at
		}
		p := network.Post{
			ID: act.ID(id & (1<<63 - 1)), Title: title, Content: content, URL: link, Type: name,
			Place: network.Place{ID: 5, Name: name, DisplayName: title},
			Author: network.Author{
				ID: act.ID(author & (1<<63 - 1)), Name: name, Description: content, Karma: up, Followers: down, Following: up,
				Standing: act.Standing(standing % 8), Origin: act.Origin(origin % 4), CreatedAt: at,
				Avatar: act.ID(id & 1), ActiveAt: at * int64(origin%2),
			},
			Up: up, Down: down, Comments: down, Hot: up, Origin: act.Origin(origin % 4), CreatedAt: at, UpdatedAt: at,
		}
		want := mirrored(t, d.mirrorPost(p))
		if got := d.appendPost(nil, &p); !bytes.Equal(got, want) {
			t.Fatalf("post\n%s\nwant\n%s", got, want)
		}
		for range 2 {
			if got := d.appendKnownPost([]byte("x"), &p); !bytes.Equal(got[1:], want) {
				t.Fatalf("post from the memo\n%s\nwant\n%s", got, want)
			}
		}
		changed := p
		changed.Up++
		if got, want := d.appendKnownPost(nil, &changed), mirrored(t, d.mirrorPost(changed)); !bytes.Equal(got, want) {
			t.Fatalf("changed post\n%s\nwant\n%s", got, want)
		}
		c := network.Comment{
			ID: p.ID, Post: 3, Parent: act.ID(author & (1<<63 - 1)), Content: content, Author: p.Author, Up: up, Down: down,
			Depth: up, Replies: down, Deleted: standing%2 == 0, Origin: p.Origin, CreatedAt: at,
		}
		if got, want := closeComment(d.openComment(nil, &c)), mirrored(t, d.mirrorComment(c)); !bytes.Equal(got, want) {
			t.Fatalf("comment\n%s\nwant\n%s", got, want)
		}
	})
}

// nest builds the tree that the flat list stands for.
func (d *door) nest(list []network.Comment) []commentMirror {
	under := make(map[act.ID][]network.Comment)
	for _, c := range list {
		under[c.Parent] = append(under[c.Parent], c)
	}
	var build func(parent act.ID) []commentMirror
	build = func(parent act.ID) []commentMirror {
		out := []commentMirror{}
		for _, c := range under[parent] {
			m := d.mirrorComment(c)
			m.Replies = build(c.ID)
			out = append(out, m)
		}
		return out
	}
	return build(0)
}

func TestRenderTree(t *testing.T) {
	d := testDoor(t)
	// Each string is a tree in preorder: the depth of every node.
	for _, depths := range []string{"", "0", "00", "01", "0101", "0123", "01230", "0112212", "012321230", "000111"} {
		var list []network.Comment
		var path []act.ID
		for i, r := range depths {
			depth := int(r - '0')
			c := network.Comment{ID: act.ID(i + 1), Post: 99, Depth: int64(depth), Content: fmt.Sprint("c", i)}
			path = path[:depth]
			if depth > 0 {
				c.Parent = path[depth-1]
			}
			path = append(path, c.ID)
			list = append(list, c)
		}
		got, want := d.appendTree(nil, list), mirrored(t, d.nest(list))
		if !bytes.Equal(got, want) {
			t.Errorf("%q:\n%s\nwant\n%s", depths, got, want)
		}
	}
	// As deep as a tree can be.
	var deep []network.Comment
	for i := range network.MaxDepth + 1 {
		deep = append(deep, network.Comment{ID: act.ID(i + 1), Parent: act.ID(i), Depth: int64(i)})
	}
	if got := d.appendTree(nil, deep); !json.Valid(got) || !bytes.Equal(got, mirrored(t, d.nest(deep))) {
		t.Error("the deepest tree is not rendered as it stands")
	}
}

// FuzzCursorQuery: query strings are read, or refused with a hint.
func FuzzCursorQuery(f *testing.F) {
	d := testDoor(f)
	good := d.codec.SealCursor(act.Cursor{List: "feed//new///", Keys: []int64{5, 6}})
	f.Add("sort=new&limit=2&cursor=" + good)
	f.Add("sort=top&time=day&cursor=" + good)
	f.Add("limit=99999999999999999999&offset=0&%zz;&&=")
	f.Add("cursor=" + strings.Repeat("A", 300))
	f.Fuzz(func(t *testing.T, raw string) {
		q, _ := url.ParseQuery(raw)
		in, err := d.feedQuery(q, network.FeedQuery{Community: q.Get("submolt")})
		if err != nil {
			if e := act.AsError(err); e.Code != act.Invalid || e.Hint == "" {
				t.Fatalf("%q is refused with %v", raw, err)
			}
			return
		}
		if in.Limit < 0 || in.Limit > maxPage {
			t.Fatalf("limit %d", in.Limit)
		}
		if !in.Cursor.IsZero() && q.Get("cursor") != d.codec.SealCursor(in.Cursor) {
			t.Fatalf("cursor %q was not made here", q.Get("cursor"))
		}
	})
}

func benchPosts(n int) []network.Post {
	list := make([]network.Post, n)
	for i := range list {
		list[i] = network.Post{
			ID: act.ID(i+1) << 30, Title: "An ordinary title of a post", Content: strings.Repeat("Some words of content. ", 15), Type: "text",
			Place:  network.Place{ID: 3, Name: "general", DisplayName: "General"},
			Author: network.Author{ID: 7, Name: "ada", Description: "watches prices", Standing: act.Active, CreatedAt: 1769792400000000},
			Up:     int64(i), CreatedAt: 1769792400000000, UpdatedAt: 1769792400000000,
		}
	}
	return list
}

// BenchmarkPage renders a page of 25 posts: from the memo, by hand, and with
// encoding/json.
func BenchmarkPage(b *testing.B) {
	d := testDoor(b)
	posts := benchPosts(25)
	buf := make([]byte, 0, 64<<10)
	b.Run("memo", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = buf[:0]
			for i := range posts {
				buf = d.appendKnownPost(buf, &posts[i])
			}
		}
	})
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = buf[:0]
			for i := range posts {
				buf = d.appendPost(buf, &posts[i])
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			list := make([]postMirror, len(posts))
			for i, p := range posts {
				list[i] = d.mirrorPost(p)
			}
			mirrored(b, list)
		}
	})
}
