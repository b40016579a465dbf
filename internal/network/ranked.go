package network

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Some orders have no index, because what they sort by changes with the hour, or
// because an index for it would cost every vote more than the order is worth.
// They rank a pool of candidates: the newest posts of what is asked for, at most
// maxPool of them, made before a moment that the cursor carries from page to
// page. So a page costs a bounded number of rows however large the network is,
// new posts do not push others off the list while it is walked, and a post that
// did not move appears once. What is older than the pool is not on the list; the
// order new reaches it.

const (
	maxPool      = 500
	risingWindow = 48 * time.Hour  // a post older than this rises no more
	clockSlack   = 5 * time.Second // by which the clocks of two nodes may differ
	risingStart  = 30              // minutes that every post is given, so that one early vote is no avalanche
)

// candidate is what of a post decides its place in a ranked list.
type candidate struct {
	id                  act.ID
	up, down, comments  int64
	hot, score, created int64
	key                 int64
}

// momentum is what happened to a post for each hour of its life: votes up less
// votes down, and two for each comment, in millionths.
func (c candidate) momentum(as int64) int64 {
	minutes := max(as-c.created, 0) / int64(time.Minute/time.Microsecond)
	return (c.up - c.down + 2*c.comments) * 60 * 1_000_000 / (minutes + risingStart)
}

func (c candidate) rank(s FeedSort, as int64) int64 {
	switch s {
	case FeedRising:
		return c.momentum(as)
	case FeedTop:
		return c.score
	case FeedNew:
		return c.created
	}
	return c.hot
}

const (
	poolColumns = `p.id, p.up, p.down, p.comment_count, p.hot, p.score, p.created_at FROM post AS p WHERE p.deleted_at = 0 AND `
	poolNewest  = `p.created_at <= $1 AND p.created_at >= $2 ORDER BY p.created_at DESC, p.id DESC LIMIT $3`

	qPool       store.Q = `SELECT ` + poolColumns + poolNewest
	qPoolPlace  store.Q = `SELECT ` + poolColumns + `p.community = $4 AND ` + poolNewest
	qPoolAuthor store.Q = `SELECT ` + poolColumns + `p.author = $4 AND (p.community = $5 OR $5 = 0) AND ` + poolNewest

	qFeedAuthorNew store.Q = `SELECT ` + postColumns + postJoins + `WHERE p.deleted_at = 0 AND p.author = $6 AND (p.community = $7 OR $7 = 0) AND ` + feedNew

	// idBatch ids at a time; 0 is nothing's.
	qPostsByID   store.Q = `SELECT ` + postColumns + postJoins + `WHERE p.deleted_at = 0 AND p.id IN ` + batchOfIDs
	qAuthorsByID store.Q = `SELECT ` + authorColumns + ` FROM profile AS a WHERE a.id IN ` + batchOfIDs
	batchOfIDs           = `($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)`
	idBatch              = 25

	qAuthorNamed store.Q = `SELECT id FROM profile WHERE name = $1`
)

func (n *Network) authorNamed(v *store.View, name string) (id act.ID, err error) {
	found, err := v.One(qAuthorNamed, func(r *store.Row) error { id = r.ID(0); return nil }, name)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such agent").WithRule("author").WithHint("write the name exactly as posts show it in author.name")
	}
	return id, err
}

// authorNew is the one order of an author's posts that has an index.
func (n *Network) authorNew(v *store.View, in FeedQuery, scope feedScope, at start) (act.Page[Post], error) {
	return n.feedPage(v, qFeedAuthorNew, in, at, append(n.feedArgs(in, scope, at), scope.author, scope.place))
}

// pool reads the candidates of a network, a community or an author.
func (n *Network) pool(ctx context.Context, v *store.View, scope feedScope, as, since int64) (list []candidate, err error) {
	if scope.author == 0 && scope.since == 0 {
		if list, ok, err := n.board.pool(ctx, v, scope.place, as, since); ok || err != nil {
			return list, err
		}
	}
	q, args := qPool, []any{as, max(since, scope.since), int64(maxPool)}
	switch {
	case scope.author != 0:
		q, args = qPoolAuthor, append(args, scope.author, scope.place)
	case scope.place != 0:
		q, args = qPoolPlace, append(args, scope.place)
	}
	err = v.All(q, func(r *store.Row) error { list = append(list, scanCandidate(r)); return nil }, args...)
	return list, err
}

func scanCandidate(r *store.Row) candidate {
	return candidate{
		id: r.ID(0), up: r.Int(1), down: r.Int(2), comments: r.Int(3), hot: r.Int(4), score: r.Int(5), created: r.Int(6),
	}
}

// rankedFeed is a page of a ranked list. pool reads the candidates made before
// a moment, both in Unix microseconds.
func (n *Network) rankedFeed(v *store.View, in FeedQuery, at start, pool func(as, since int64) ([]candidate, error)) (page act.Page[Post], err error) {
	as := at.as
	if as == 0 {
		as = act.Micros(n.gate.Now().Add(clockSlack))
	}
	var since int64
	if in.Sort == FeedRising {
		since = as - risingWindow.Microseconds()
	}
	list, err := pool(as, since)
	if err != nil {
		return page, err
	}
	for i := range list {
		list[i].key = list[i].rank(in.Sort, as)
	}
	slices.SortFunc(list, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.key, a.key), cmp.Compare(b.id, a.id)) })
	if at.keyed {
		first := slices.IndexFunc(list, func(c candidate) bool {
			return c.key < at.from[0] || c.key == at.from[0] && int64(c.id) < at.from[1]
		})
		if first < 0 {
			first = len(list)
		}
		list = list[first:]
	}
	list = list[min(int(at.skip), len(list)):]
	page.Next.List = feedList(in)
	if len(list) > in.Limit {
		list = list[:in.Limit]
		last := list[in.Limit-1]
		page.Next.Keys = []int64{last.key, int64(last.id), at.passed + int64(in.Limit), as}
	}
	page.Items, err = n.rankedPosts(v, list)
	return page, err
}

// rankedPosts reads whole posts in the order of their candidates. One that was
// deleted meanwhile is left out.
func (n *Network) rankedPosts(v *store.View, list []candidate) ([]Post, error) {
	ids := make([]act.ID, len(list))
	for i, c := range list {
		ids[i] = c.id
	}
	posts, _, err := n.postsInOrder(v, ids)
	return posts, err
}

// postsInOrder returns posts, from memory if it has all of them, in the order of
// their ids, and whether none of them was deleted meanwhile.
func (n *Network) postsInOrder(v *store.View, ids []act.ID) (posts []Post, all bool, err error) {
	if posts, all, err = n.board.byID(v, ids...); all || err != nil {
		return posts, all, err
	}
	if posts, err = n.postsByID(v, ids); err != nil {
		return nil, false, err
	}
	at := make(map[act.ID]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	slices.SortFunc(posts, func(a, b Post) int { return at[a.ID] - at[b.ID] })
	return posts, len(posts) == len(ids), nil
}

// postsByID reads the posts that are there from the database, in no order.
func (n *Network) postsByID(v *store.View, ids []act.ID) (posts []Post, err error) {
	err = byBatch(ids, func(args []any) error {
		return v.All(qPostsByID, func(r *store.Row) error { posts = append(posts, n.scanPost(r)); return nil }, args...)
	})
	return posts, err
}

// authorsByID reads authors from the database, in no order.
func (n *Network) authorsByID(v *store.View, ids []act.ID) (authors []Author, err error) {
	err = byBatch(ids, func(args []any) error {
		return v.All(qAuthorsByID, func(r *store.Row) error { authors = append(authors, n.scanAuthor(r, 0)); return nil }, args...)
	})
	return authors, err
}

// byBatch calls fn with idBatch ids at a time; 0 fills the last ones up.
func byBatch(ids []act.ID, fn func(args []any) error) error {
	for chunk := range slices.Chunk(ids, idBatch) {
		args := make([]any, idBatch)
		for i := range args {
			args[i] = act.ID(0)
		}
		for i, id := range chunk {
			args[i] = id
		}
		if err := fn(args); err != nil {
			return err
		}
	}
	return nil
}
