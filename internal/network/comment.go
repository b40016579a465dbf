package network

import (
	"cmp"
	"context"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Comment is one node of a post's tree. A deleted or absent one stays as a
// tombstone without content, so that the replies under it keep their place.
type Comment struct {
	ID        act.ID
	Version   int64
	Post      act.ID
	Parent    act.ID // 0 for a root
	Root      act.ID
	Depth     int64 // 0 for a root
	Content   string
	Author    Author
	Up        int64
	Down      int64
	Replies   int64
	Deleted   bool
	Origin    act.Origin
	CreatedAt int64 // Unix microseconds
	place     act.ID
	score     int64
	divides   int64 // the database's measure of controversy
}

// Score is upvotes less downvotes, imported ones included.
func (c Comment) Score() int64 { return c.Up - c.Down }

// NewComment asks for a comment on a post or under another comment.
type NewComment struct {
	Post    Named
	Parent  Named // zero for a root
	Content string
}

// CommentQuery asks for a page of a post's tree: a number of roots, each with
// everything under it.
type CommentQuery struct {
	Post   Named
	Sort   CommentSort
	Limit  int // roots; 35 if 0, at most 100
	Offset int // roots to skip when there is no Cursor, at most MaxOffset
	Cursor act.Cursor
}

// CommentSort orders the roots.
type CommentSort string

// The orders.
const (
	CommentsBest          CommentSort = "best" // by votes
	CommentsNew           CommentSort = "new"
	CommentsOld           CommentSort = "old"
	CommentsControversial CommentSort = "controversial" // by votes in both directions, weighted by their balance
)

// CommentPage is a page of a tree: Items are the nodes, roots in the asked order
// and every parent before its replies.
type CommentPage struct {
	act.Page[Comment]
	Post act.ID
}

const (
	// MaxDepth bounds how deep a tree can grow.
	MaxDepth = 500
	// maxBranch bounds the nodes of one page; what is beyond is cut from the
	// youngest end and can be reached by reading again with a smaller limit.
	maxBranch = 5000

	commentColumns = `m.id, m.version, m.post, m.parent, m.root, m.depth, m.content, m.up + m.legacy_up, m.down + m.legacy_down,
m.reply_count, m.deleted_at, m.origin, m.created_at, m.score, m.controversy, p.community, ` + authorColumns
	commentJoins = ` JOIN post AS p ON p.id = m.post JOIN profile AS a ON a.id = m.author `

	qComment store.Q = `SELECT ` + commentColumns + ` FROM comment AS m` + commentJoins + `WHERE m.id = $1`

	qCommentTarget store.Q = `SELECT p.community, m.author, m.origin, m.epoch, m.deleted_at FROM comment AS m JOIN post AS p ON p.id = m.post WHERE m.id = $1`
	qCommentEpoch  store.Q = `SELECT epoch FROM comment WHERE id = $1`
	qCommentParent store.Q = `SELECT m.post, m.root, m.depth, m.author, m.epoch, m.deleted_at, p.author
FROM comment AS m JOIN post AS p ON p.id = m.post WHERE m.id = $1`
	qPostAuthor store.Q = `SELECT author FROM post WHERE id = $1`

	qCommentMake store.Q = `INSERT INTO comment (id, post, parent, root, author, depth, content, salt, up, down, reply_count,
legacy_up, legacy_down, origin, version, epoch, created_at, updated_at, deleted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, 0, 0, 0, 1, 1, $9, $9, 0)`

	qCommentHome   store.Q = `SELECT post, author, deleted_at FROM comment WHERE id = $1`
	qCommentDelete store.Q = `UPDATE comment SET deleted_at = $2, updated_at = $2, epoch = epoch + 1, version = version + 1 WHERE id = $1 AND deleted_at = 0`

	qAddPostComments store.Q = `UPDATE post SET comment_count = comment_count + $2 WHERE id = $1`
	qAddReplies      store.Q = `UPDATE comment SET reply_count = reply_count + $2 WHERE id = $1`

	rootsTree = commentColumns + ` FROM page JOIN comment AS m ON m.root = page.id` + commentJoins + `ORDER BY m.depth, m.id LIMIT $5`

	qRootsBest store.Q = `WITH page AS (SELECT id FROM comment WHERE post = $1 AND parent = 0 AND (score, id) < ($2, $3) ORDER BY score DESC, id DESC LIMIT $4 OFFSET $6)
SELECT ` + rootsTree
	qRootsNew store.Q = `WITH page AS (SELECT id FROM comment WHERE post = $1 AND parent = 0 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $6)
SELECT ` + rootsTree
	qRootsOld store.Q = `WITH page AS (SELECT id FROM comment WHERE post = $1 AND parent = 0 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4 OFFSET $6)
SELECT ` + rootsTree
	qRootsControversial store.Q = `WITH page AS (SELECT id FROM comment WHERE post = $1 AND parent = 0 AND (controversy, id) < ($2, $3) ORDER BY controversy DESC, id DESC LIMIT $4 OFFSET $6)
SELECT ` + rootsTree
)

func (n *Network) registerComment(g *gate.Gate) {
	n.CreateComment = gate.RegisterWrite(g, gate.Write[NewComment, Comment]{
		Info:    gate.Info{Name: "comment.create", Doc: "Comment on a post or reply to a comment.", On: act.KindPost, Quota: gate.QuotaComment},
		Shares:  true,
		Resolve: n.commentTarget,
		Take: func(p act.Principal, in NewComment, at gate.Resource) (func(), error) {
			return n.gate.TakeText(p, n.owner(p.ID), at.Facts.Community, n.lifted(in.Content))
		},
		Run: n.createComment,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Comment, error) {
			return n.comment(v, made.ID)
		},
	})
	n.DeleteComment = gate.RegisterWrite(g, gate.Write[Named, Deleted]{
		Info: gate.Info{Name: "comment.delete", Doc: "Delete one's own comment: it stays in the tree as a tombstone without text or author.", On: act.KindComment, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Named) (gate.Resource, error) {
			id, err := n.itemID(v, in, act.KindComment)
			if err != nil {
				return gate.Resource{}, err
			}
			return n.target(v, p, qCommentTarget, qCommentEpoch, id)
		},
		Run: n.deleteComment,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Deleted, error) {
			return n.deleted(v, made.ID)
		},
	})
	n.ListComments = gate.RegisterRead(g, gate.Read[CommentQuery, CommentPage]{
		Info: gate.Info{Name: "comment.list", Doc: "Read the comment tree of a post.", On: act.KindPost, Also: []act.Kind{act.KindComment}, Quota: gate.QuotaRead},
		Target: func(ctx context.Context, v *store.View, p act.Principal, in CommentQuery) (gate.Resource, error) {
			return n.postTarget(ctx, v, p, in.Post)
		},
		Run:    n.listComments,
		Shown:  n.shownComments,
		Redact: redactComments,
	})
}

// commentTarget resolves what is commented on: the post, and the parent if
// there is one, both guarded against being deleted before the commit.
func (n *Network) commentTarget(ctx context.Context, v *store.View, p act.Principal, in NewComment) (gate.Resource, error) {
	if err := checkWritten("content", in.Content, MaxContent, true); err != nil {
		return gate.Resource{}, err
	}
	res, err := n.postTarget(ctx, v, p, in.Post)
	if err != nil || in.Parent == (Named{}) {
		return res, err
	}
	parent, err := n.itemID(v, in.Parent, act.KindComment)
	if err != nil {
		return res, err
	}
	at, found, err := n.parent(v, parent)
	switch {
	case err != nil:
		return res, err
	case !found:
		return res, notFound(act.KindComment)
	case at.post != res.Ref.ID:
		return res, act.Errorf(act.Invalid, "the parent is a comment on another post").
			WithRule("comment.parent").WithHint("reply under the post that holds the comment")
	case at.deleted:
		return res, gone(act.KindComment)
	case at.depth+1 > MaxDepth:
		return res, act.Errorf(act.Invalid, "the tree is %d deep here", at.depth).
			WithRule("comment.depth").WithHint("reply higher up")
	}
	res.Guards = append(res.Guards, gate.Guard{Q: qCommentEpoch, ID: parent, Epoch: at.epoch})
	return res, nil
}

// parentNode is what a reply needs of the comment above it.
type parentNode struct {
	post, root, author act.ID
	depth, epoch       int64
	deleted            bool
	postAuthor         act.ID
}

func (n *Network) parent(v *store.View, id act.ID) (at parentNode, found bool, err error) {
	found, err = v.One(qCommentParent, func(r *store.Row) error {
		at = parentNode{post: r.ID(0), root: r.ID(1), depth: r.Int(2), author: r.ID(3), epoch: r.Int(4), deleted: r.Int(5) != 0, postAuthor: r.ID(6)}
		return nil
	}, id)
	return at, found, err
}

func (n *Network) createComment(_ context.Context, tx *store.Tx, p act.Principal, in NewComment) (Comment, gate.Effects, error) {
	post, err := n.itemID(&tx.View, in.Post, act.KindPost)
	if err != nil {
		return Comment{}, gate.Effects{}, err
	}
	id, err := tx.Mint(act.KindComment)
	if err != nil {
		return Comment{}, gate.Effects{}, err
	}
	copied := n.lift(p, &in.Content)
	made := Comment{
		ID: id, Version: 1, Post: post, Root: id, Content: in.Content, Origin: act.OriginAgent, CreatedAt: tx.Now(),
		Author: Author{ID: p.ID, Name: p.Name, Standing: n.standing(p.ID), Owned: n.owner(p.ID) != 0},
	}
	edge := gate.Edge{From: act.Ref{ID: post}, Kind: gate.EdgeReply}
	var postAuthor, replied act.ID
	if in.Parent != (Named{}) {
		if made.Parent, err = n.itemID(&tx.View, in.Parent, act.KindComment); err != nil {
			return Comment{}, gate.Effects{}, err
		}
		at, found, err := n.parent(&tx.View, made.Parent)
		if err != nil || !found {
			return Comment{}, gate.Effects{}, cmp.Or(err, notFound(act.KindComment))
		}
		made.Root, made.Depth, edge.From.ID = at.root, at.depth+1, made.Parent
		postAuthor, replied = at.postAuthor, at.author
		tx.Add(qAddReplies, made.Parent, 1)
	} else if _, err := tx.One(qPostAuthor, func(r *store.Row) error { postAuthor = r.ID(0); return nil }, post); err != nil {
		return Comment{}, gate.Effects{}, err
	}
	salt, sum := seal(in.Content)
	if err := tx.Batch(qCommentMake, id, post, made.Parent, made.Root, p.ID, made.Depth, in.Content, salt, tx.Now()); err != nil {
		return Comment{}, gate.Effects{}, err
	}
	tx.Add(qAddPostComments, post, 1)
	tx.Add(qAddComments, p.ID, 1)
	tx.Raise(qRaiseActive, p.ID, tx.Now())
	if err := n.notifyComment(tx, &made, postAuthor, replied); err != nil {
		return Comment{}, gate.Effects{}, err
	}
	named, err := n.mention(tx, notice{Actor: p.ID, Post: post, Comment: id}, []act.ID{postAuthor, replied}, in.Content)
	if err != nil {
		return Comment{}, gate.Effects{}, err
	}
	if err := n.index(tx, id, in.Content); err != nil {
		return Comment{}, gate.Effects{}, err
	}
	return made, gate.Effects{Out: act.Ref{ID: id, Version: 1}, Edges: append(append(named, edge), copied...), In: sum}, nil
}

// notifyComment tells the author of what was replied to, and the post's author if
// that is somebody else.
func (n *Network) notifyComment(tx *store.Tx, c *Comment, postAuthor, replied act.ID) error {
	if replied != 0 {
		x := notice{To: replied, Actor: c.Author.ID, Kind: NoticeCommentReply, Post: c.Post, Comment: c.ID}
		if err := n.notify(tx, x); err != nil {
			return err
		}
	}
	if postAuthor == replied {
		return nil
	}
	return n.notify(tx, notice{To: postAuthor, Actor: c.Author.ID, Kind: NoticePostComment, Post: c.Post, Comment: c.ID})
}

// Deleted names a deleted comment and the post that holds it.
type Deleted struct{ Comment, Post act.ID }

func (n *Network) deleted(v *store.View, id act.ID) (d Deleted, err error) {
	d.Comment = id
	_, err = v.One(qCommentHome, func(r *store.Row) error { d.Post = r.ID(0); return nil }, id)
	return d, err
}

func (n *Network) deleteComment(_ context.Context, tx *store.Tx, _ act.Principal, in Named) (Deleted, gate.Effects, error) {
	id, err := n.itemID(&tx.View, in, act.KindComment)
	if err != nil {
		return Deleted{}, gate.Effects{}, err
	}
	d, err := n.deleted(&tx.View, id)
	if err != nil {
		return d, gate.Effects{}, err
	}
	if err := n.uncount(tx, id); err != nil {
		return d, gate.Effects{}, err
	}
	changed, err := tx.Exec(qCommentDelete, id, tx.Now())
	if err != nil {
		return d, gate.Effects{}, err
	}
	if changed == 0 {
		return d, gate.Effects{}, gone(act.KindComment)
	}
	if err := n.sealText(tx, id); err != nil {
		return d, gate.Effects{}, err
	}
	tx.Fence(act.KindComment, id)
	return d, gate.Effects{Out: act.Ref{ID: id, Version: 2}, Named: true}, nil
}

func (n *Network) comment(v *store.View, id act.ID) (c Comment, err error) {
	found, err := v.One(qComment, func(r *store.Row) error { c = n.scanComment(r); return nil }, id)
	if err == nil && !found {
		err = notFound(act.KindComment)
	}
	return c, err
}

func (n *Network) scanComment(r *store.Row) Comment {
	c := Comment{
		ID: r.ID(0), Version: r.Int(1), Post: r.ID(2), Parent: r.ID(3), Root: r.ID(4), Depth: r.Int(5), Content: r.Text(6),
		Up: r.Int(7), Down: r.Int(8), Replies: r.Int(9), Deleted: r.Int(10) != 0, Origin: act.Origin(r.Int(11)),
		CreatedAt: r.Int(12), score: r.Int(13), divides: r.Int(14), place: r.ID(15), Author: n.scanAuthor(r, 16),
	}
	if c.Deleted {
		c.Content, c.Author = "", Author{}
	}
	return c
}

func (n *Network) listComments(_ context.Context, v *store.View, _ act.Principal, in CommentQuery) (CommentPage, error) {
	post, err := n.itemID(v, in.Post, act.KindPost)
	if err != nil {
		return CommentPage{}, err
	}
	limit := in.Limit
	if limit <= 0 {
		limit = 35
	}
	limit = min(limit, 100)
	q, from, order, key := qRootsBest, [2]int64{lastKey, lastKey}, byScore, func(c Comment) int64 { return c.score }
	switch in.Sort {
	case CommentsNew:
		q, order, key = qRootsNew, byNewest, func(c Comment) int64 { return c.CreatedAt }
	case CommentsOld:
		q, from, order, key = qRootsOld, [2]int64{-lastKey, 0}, byOldest, func(c Comment) int64 { return c.CreatedAt }
	case CommentsControversial:
		q, order, key = qRootsControversial, byControversy, func(c Comment) int64 { return c.divides }
	case CommentsBest:
	default:
		return CommentPage{}, act.Errorf(act.Invalid, "no such order of comments").WithRule("sort").WithHint("use best, new, old, top or controversial")
	}
	at, err := startOf(in.Cursor, in.Offset)
	if err != nil {
		return CommentPage{}, err
	}
	if at.keyed {
		from = at.from
	}
	// One root more than asked for tells whether there is another page.
	children := make(map[act.ID][]Comment)
	if err := v.All(q, func(r *store.Row) error {
		c := n.scanComment(r)
		children[c.Parent] = append(children[c.Parent], c)
		return nil
	}, post, from[0], from[1], int64(limit+1), int64(maxBranch), at.skip); err != nil {
		return CommentPage{}, err
	}
	roots := children[0]
	slices.SortFunc(roots, order)
	page := CommentPage{Post: post}
	page.Next.List = commentList(in.Sort)
	if len(roots) > limit {
		roots = roots[:limit]
		last := roots[limit-1]
		page.Next.Keys = []int64{key(last), int64(last.ID), at.passed + int64(limit)}
	}
	for _, root := range roots {
		page.Items = appendBranch(page.Items, root, children, order)
	}
	return page, nil
}

// commentList names the list a comment cursor belongs to.
func commentList(s CommentSort) string { return "comments/" + string(s) }

// CommentCursor opens a cursor of a comment list.
func CommentCursor(c *act.Codec, s CommentSort, text string) (act.Cursor, error) {
	return c.OpenCursor(commentList(s), text)
}

// appendBranch appends a node and everything under it, parents first, without
// recursion: trees are as deep as agents make them.
func appendBranch(list []Comment, root Comment, children map[act.ID][]Comment, order func(a, b Comment) int) []Comment {
	stack := []Comment{root}
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		list = append(list, c)
		under := children[c.ID]
		slices.SortFunc(under, order)
		for _, child := range slices.Backward(under) {
			stack = append(stack, child)
		}
	}
	return list
}

func byScore(a, b Comment) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.ID, a.ID))
}

func byControversy(a, b Comment) int {
	return cmp.Or(cmp.Compare(b.divides, a.divides), cmp.Compare(b.ID, a.ID))
}

func byNewest(a, b Comment) int {
	return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(b.ID, a.ID))
}

func byOldest(a, b Comment) int { return -byNewest(a, b) }

// redactComments takes out what the comments say that are to be hidden.
func redactComments(page CommentPage, hidden func(act.ID) bool) CommentPage {
	for i := range page.Items {
		if c := &page.Items[i]; !c.Deleted && hidden(c.ID) {
			c.Content = gate.Redacted
		}
	}
	return page
}

// shownComments lists the foreign comments of a page; what the reader may not
// see becomes a tombstone.
func (n *Network) shownComments(p act.Principal, page CommentPage, item func(act.Ref, gate.Facts) bool) CommentPage {
	for i := range page.Items {
		c := &page.Items[i]
		if c.Deleted || c.Author.ID == p.ID {
			continue
		}
		f := gate.Facts{Kind: act.KindComment, Community: c.place, Origin: c.Origin, Author: c.Author.ID, AuthorStanding: c.Author.Standing}
		if !item(act.Ref{ID: c.ID, Version: c.Version}, f) {
			c.Content, c.Author, c.Deleted = "", Author{}, true
			continue
		}
		n.stamp(p, act.Ref{ID: c.ID, Version: c.Version}, &c.Content)
	}
	return page
}
