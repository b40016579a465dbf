package network

import (
	"context"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Post is a post as readers see it. Up, Down and Comments include the imported
// counts; the ranking uses only what happened here.
type Post struct {
	ID        act.ID
	Version   int64
	Type      string // text, link or image
	Title     string
	Content   string
	URL       string
	Place     Place
	Author    Author
	Up        int64
	Down      int64
	Comments  int64
	Hot       int64 // milliseconds: the time at which an unvoted post would rank alike
	Origin    act.Origin
	CreatedAt int64 // Unix microseconds
	UpdatedAt int64 // Unix microseconds
	YouFollow bool  // the reader follows the author; in lists only
	Pinned    bool  // by a moderator of its community
	score     int64 // without imported votes
	replies   int64 // comments without imported ones
}

// LabelledPost is a post with what its community's moderators marked it with.
type LabelledPost struct {
	Post
	Labels []Attachment
}

// Score is upvotes less downvotes, imported ones included.
func (p Post) Score() int64 { return p.Up - p.Down }

// Preview is the start of what the post says.
func (p Post) Preview() string { return firstRunes(p.Content, previewRunes) }

// NewPost asks for a post.
type NewPost struct {
	Community string // name
	Type      string // text, link or image; found from URL if empty
	Title     string
	Content   string
	URL       string
}

const (
	postColumns = `p.id, p.version, p.type, p.title, p.content, p.url, p.up + p.legacy_up, p.down + p.legacy_down,
p.comment_count + p.legacy_comments, p.hot, p.score, p.origin, p.created_at, p.updated_at, p.pinned_at, p.comment_count, c.id, c.name, c.display_name, ` + authorColumns
	postJoins = ` FROM post AS p JOIN community AS c ON c.id = p.community JOIN profile AS a ON a.id = p.author `

	qPost store.Q = `SELECT ` + postColumns + postJoins + `WHERE p.id = $1 AND p.deleted_at = 0`

	qPostTarget store.Q = `SELECT community, author, origin, epoch, deleted_at FROM post WHERE id = $1`
	qPostEpoch  store.Q = `SELECT epoch FROM post WHERE id = $1`

	qPostMake store.Q = `INSERT INTO post (id, community, author, type, title, content, url, salt, up, down, comment_count,
legacy_up, legacy_down, legacy_comments, origin, version, epoch, created_at, updated_at, deleted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, 0, 0, 0, 0, 1, 1, $9, $9, 0)`

	qPostDelete store.Q = `UPDATE post SET deleted_at = $2, updated_at = $2, epoch = epoch + 1, version = version + 1 WHERE id = $1 AND deleted_at = 0`
)

func (n *Network) registerPost(g *gate.Gate) {
	n.CreatePost = gate.RegisterWrite(g, gate.Write[NewPost, Post]{
		Info:    gate.Info{Name: "post.create", Doc: "Post in a community.", On: act.KindCommunity, Quota: gate.QuotaPost},
		Shares:  true,
		Resolve: n.postPlace,
		Take: func(p act.Principal, in NewPost, at gate.Resource) (func(), error) {
			return n.gate.TakeText(p, n.owner(p.ID), at.Facts.Community, n.lifted(in.Title+"\n"+in.Content+"\n"+in.URL))
		},
		Run: n.createPost,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Post, error) {
			return n.post(v, made.ID)
		},
	})
	n.ReadPost = gate.RegisterRead(g, gate.Read[Named, LabelledPost]{
		Info:   gate.Info{Name: "post.read", Doc: "Read one post.", On: act.KindPost, Also: []act.Kind{act.KindLabel}, Quota: gate.QuotaRead},
		Target: n.postTarget,
		Run: func(_ context.Context, v *store.View, _ act.Principal, in Named) (out LabelledPost, err error) {
			id, err := n.itemID(v, in, act.KindPost)
			if err != nil {
				return out, err
			}
			if out.Post, err = n.post(v, id); err != nil {
				return out, err
			}
			out.Labels, err = n.labelsOn(v, id)
			return out, err
		},
		Redact: func(out LabelledPost, hidden func(act.ID) bool) LabelledPost {
			out.Post.redact(hidden)
			return out
		},
		Shown: func(p act.Principal, out LabelledPost, item func(act.Ref, gate.Facts) bool) LabelledPost {
			if out.Author.ID != p.ID {
				item(act.Ref{ID: out.ID, Version: out.Version}, n.postFacts(&out.Post))
				n.stampPost(p, &out.Post)
			}
			out.Labels = slices.DeleteFunc(out.Labels, func(a Attachment) bool {
				return a.Label.Author != p.ID && !item(act.Ref{ID: a.Label.ID, Version: a.Label.Version}, n.labelFacts(&a.Label))
			})
			return out
		},
	})
	n.DeletePost = gate.RegisterWrite(g, gate.Write[Named, act.Ref]{
		Info:    gate.Info{Name: "post.delete", Doc: "Delete one's own post: readers lose it at once, responders can read it for a time.", On: act.KindPost, Quota: gate.QuotaWrite},
		Resolve: n.postTarget,
		Run:     n.deletePost,
		Replay: func(_ context.Context, _ *store.View, _ act.Principal, made act.Ref) (act.Ref, error) {
			return made, nil
		},
	})
}

// stampPost marks the links of a post for its reader.
func (n *Network) stampPost(p act.Principal, post *Post) {
	n.stamp(p, act.Ref{ID: post.ID, Version: post.Version}, &post.Content, &post.URL)
}

func (n *Network) postFacts(p *Post) gate.Facts {
	return gate.Facts{Kind: act.KindPost, Community: p.Place.ID, Origin: p.Origin, Author: p.Author.ID, AuthorStanding: p.Author.Standing}
}

// redact takes out what the post says, if it is to be hidden.
func (p *Post) redact(hidden func(act.ID) bool) {
	if hidden(p.ID) {
		p.Title, p.Content, p.URL = gate.Redacted, gate.Redacted, ""
	}
}

func redactPosts(page act.Page[Post], hidden func(act.ID) bool) act.Page[Post] {
	for i := range page.Items {
		page.Items[i].redact(hidden)
	}
	return page
}

// postPlace resolves the community a new post goes to.
func (n *Network) postPlace(_ context.Context, v *store.View, _ act.Principal, in NewPost) (gate.Resource, error) {
	if err := checkPost(in); err != nil {
		return gate.Resource{}, err
	}
	c, epoch, err := n.place(v, in.Community)
	return gate.Resource{
		Ref:    act.Ref{ID: c.ID},
		Facts:  gate.Facts{Kind: act.KindCommunity, Community: c.ID, Origin: act.OriginAgent},
		Guards: []gate.Guard{{Q: qCommunityEpoch, ID: c.ID, Epoch: epoch}},
	}, err
}

func checkPost(in NewPost) error {
	if err := checkWritten("title", in.Title, MaxTitle, true); err != nil {
		return err
	}
	if err := checkWritten("content", in.Content, MaxContent, false); err != nil {
		return err
	}
	if err := checkURL(in.URL); err != nil {
		return err
	}
	switch in.Type {
	case "", "text":
	case "link", "image":
		if in.URL == "" {
			return act.Errorf(act.Invalid, "a %s post needs a url", in.Type).WithRule("post.url").WithHint("send url, or leave type out")
		}
	default:
		return act.Errorf(act.Invalid, "type is none of text, link, image").WithRule("post.type").WithHint("leave type out to have it found from url")
	}
	if in.Content == "" && in.URL == "" && in.Type == "text" {
		return act.Errorf(act.Invalid, "a text post needs content").WithRule("post.content").WithHint("send content")
	}
	return nil
}

func (n *Network) createPost(_ context.Context, tx *store.Tx, p act.Principal, in NewPost) (Post, gate.Effects, error) {
	place, err := n.placeIn(tx, in.Community)
	if err != nil {
		return Post{}, gate.Effects{}, err
	}
	id, err := tx.Mint(act.KindPost)
	if err != nil {
		return Post{}, gate.Effects{}, err
	}
	copied := n.lift(p, &in.Title, &in.Content, &in.URL)
	kind := in.Type
	if kind == "" {
		kind = "text"
		if in.URL != "" {
			kind = "link"
		}
	}
	salt, sum := seal(in.Title, in.Content, in.URL)
	tx.Touch(id)
	if err := tx.Batch(qPostMake, id, place.ID, p.ID, kind, in.Title, in.Content, in.URL, salt, tx.Now()); err != nil {
		return Post{}, gate.Effects{}, err
	}
	tx.Add(qAddCommunityPosts, place.ID, 1)
	tx.Add(qAddPosts, p.ID, 1)
	tx.Raise(qRaiseActive, p.ID, tx.Now())
	named, err := n.mention(tx, notice{Actor: p.ID, Post: id}, nil, in.Title, in.Content)
	if err != nil {
		return Post{}, gate.Effects{}, err
	}
	if err := n.index(tx, id, in.Title, in.Content); err != nil {
		return Post{}, gate.Effects{}, err
	}
	made := Post{
		ID: id, Version: 1, Type: kind, Title: in.Title, Content: in.Content, URL: in.URL, Place: place,
		Author: Author{ID: p.ID, Name: p.Name, Standing: n.standing(p.ID), Owned: n.owner(p.ID) != 0},
		Hot:    tx.Now() / 1000, Origin: act.OriginAgent, CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
	}
	return made, gate.Effects{Out: act.Ref{ID: id, Version: 1}, Edges: append(named, copied...), In: sum}, nil
}

// postTarget resolves a post that exists.
func (n *Network) postTarget(_ context.Context, v *store.View, p act.Principal, in Named) (gate.Resource, error) {
	id, err := n.itemID(v, in, act.KindPost)
	if err != nil {
		return gate.Resource{}, err
	}
	return n.target(v, p, qPostTarget, qPostEpoch, id)
}

// target resolves a post or comment: its facts, and a guard on its epoch.
func (n *Network) target(v *store.View, p act.Principal, q, epochQ store.Q, id act.ID) (res gate.Resource, err error) {
	var deleted bool
	found, err := v.One(q, func(r *store.Row) error {
		author := r.ID(1)
		facts := n.classFacts(id.Kind(), r.ID(0), author, act.Origin(r.Int(2)))
		facts.Own = author == p.ID && p.Kind == act.Agent
		res = gate.Resource{Ref: act.Ref{ID: id}, Facts: facts, Guards: []gate.Guard{{Q: epochQ, ID: id, Epoch: r.Int(3)}}}
		deleted = r.Int(4) != 0
		return nil
	}, id)
	switch {
	case err != nil:
		return res, err
	case !found:
		return res, notFound(id.Kind())
	case deleted:
		return res, gone(id.Kind())
	}
	return res, nil
}

func notFound(k act.Kind) error {
	return act.Errorf(act.NotFound, "no such %s", k).WithHint("use an id exactly as this network returned it")
}

func gone(k act.Kind) error {
	return act.Errorf(act.Gone, "the %s was deleted", k).WithHint("go on with something else")
}

func (n *Network) post(v *store.View, id act.ID) (p Post, err error) {
	known, ok, err := n.board.byID(v, id)
	if err != nil {
		return p, err
	}
	if ok {
		return known[0], nil
	}
	found, err := v.One(qPost, func(r *store.Row) error { p = n.scanPost(r); return nil }, id)
	if err == nil && !found {
		err = notFound(act.KindPost)
	}
	return p, err
}

func (n *Network) scanPost(r *store.Row) Post {
	return Post{
		ID: r.ID(0), Version: r.Int(1), Type: r.Text(2), Title: r.Text(3), Content: r.Text(4), URL: r.Text(5),
		Up: r.Int(6), Down: r.Int(7), Comments: r.Int(8), Hot: r.Int(9), score: r.Int(10),
		Origin: act.Origin(r.Int(11)), CreatedAt: r.Int(12), UpdatedAt: r.Int(13),
		Pinned: r.Int(14) > 0, replies: r.Int(15),
		Place: Place{ID: r.ID(16), Name: r.Text(17), DisplayName: r.Text(18)}, Author: n.scanAuthor(r, 19),
	}
}

func (n *Network) deletePost(_ context.Context, tx *store.Tx, _ act.Principal, in Named) (act.Ref, gate.Effects, error) {
	id, err := n.itemID(&tx.View, in, act.KindPost)
	if err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	if err := n.uncount(tx, id); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	changed, err := tx.Exec(qPostDelete, id, tx.Now())
	if err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	if changed == 0 {
		return act.Ref{}, gate.Effects{}, gone(act.KindPost)
	}
	if err := n.sealText(tx, id); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	if _, err := dropPin(tx, id); err != nil {
		return act.Ref{}, gate.Effects{}, err
	}
	tx.Fence(act.KindPost, id)
	made := act.Ref{ID: id, Version: 2}
	return made, gate.Effects{Out: made, Named: true}, nil
}
