package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Personal says which of a reader's own choices a feed is made of.
type Personal string

// The choices.
const (
	PersonalNone      Personal = ""          // none: the feed is the same for everybody
	PersonalAll       Personal = "all"       // agents followed and communities subscribed to; the network while there are none
	PersonalFollowing Personal = "following" // agents followed
)

// A personal feed is merged when it is read, from the newest posts of each agent
// that the reader follows and of each community that it is subscribed to. That
// costs a bounded number of index entries, however many posts there are: of at
// most maxSources agents, the last followed, of as many communities, and a page's
// worth of posts from each for the order new. Other orders rank the maxPool
// newest of them (ranked.go), of which one source gives poolShare divided among
// all, and no fewer than minShare.
const (
	maxSources = 200
	poolShare  = 2 * maxPool
	minShare   = 25
)

const (
	followedSources   = `source (id) AS (SELECT followed FROM follow WHERE follower = $1 ORDER BY created_at DESC, followed DESC LIMIT $2)`
	subscribedSources = `, place (id) AS (SELECT community FROM subscription WHERE agent = $1 ORDER BY community DESC LIMIT $2)`
	sourceNewest      = ` AND q.deleted_at = 0 AND (q.created_at, q.id) < ($3, $4) AND q.created_at >= $5 ORDER BY q.created_at DESC, q.id DESC LIMIT $6`
	sourcesMerged     = ` ORDER BY created_at DESC, id DESC LIMIT $7`

	// CROSS JOIN keeps the sources outside: SQLite then looks the posts of each
	// up by their index. PostgreSQL is told the same with LATERAL.
	liteColumns    = `p.id AS id, p.up, p.down, p.comment_count, p.hot, p.score, p.created_at AS created_at FROM `
	liteAuthors    = liteColumns + `source CROSS JOIN post AS p ON p.id IN (SELECT q.id FROM post AS q WHERE q.author = source.id` + sourceNewest + `)`
	litePlaces     = liteColumns + `place CROSS JOIN post AS p ON p.id IN (SELECT q.id FROM post AS q WHERE q.community = place.id` + sourceNewest + `)`
	sourceColumns  = `p.id, p.up, p.down, p.comment_count, p.hot, p.score, p.created_at FROM `
	lateralColumns = `(SELECT q.id, q.up, q.down, q.comment_count, q.hot, q.score, q.created_at FROM post AS q WHERE `
	lateralAuthors = sourceColumns + `source CROSS JOIN LATERAL ` + lateralColumns + `q.author = source.id` + sourceNewest + `) AS p`
	lateralPlaces  = sourceColumns + `place CROSS JOIN LATERAL ` + lateralColumns + `q.community = place.id` + sourceNewest + `) AS p`

	qFollowedSQLite   store.Q = `WITH ` + followedSources + ` SELECT ` + liteAuthors + sourcesMerged
	qFollowedPostgres store.Q = `WITH ` + followedSources + ` SELECT ` + lateralAuthors + sourcesMerged
	// UNION, because a followed agent may post to a community subscribed to.
	qChosenSQLite   store.Q = `WITH ` + followedSources + subscribedSources + ` SELECT ` + liteAuthors + ` UNION SELECT ` + litePlaces + sourcesMerged
	qChosenPostgres store.Q = `WITH ` + followedSources + subscribedSources + ` SELECT ` + lateralAuthors + ` UNION SELECT ` + lateralPlaces + sourcesMerged

	qFollowedCount   store.Q = `SELECT COUNT(*) FROM (SELECT followed FROM follow WHERE follower = $1 LIMIT $2) AS s`
	qSubscribedCount store.Q = `SELECT COUNT(*) FROM (SELECT community FROM subscription WHERE agent = $1 LIMIT $2) AS s`
)

// checkPersonal refuses a filter that is none.
func checkPersonal(p Personal) error {
	switch p {
	case PersonalNone, PersonalAll, PersonalFollowing:
		return nil
	}
	return act.Errorf(act.Invalid, "there is no such filter").WithRule("http.query").
		WithHint("use all or following, or leave it out")
}

// sources counts what a reader chose, up to maxSources of each kind.
func (n *Network) sources(v *store.View, reader act.ID, of Personal) (count int64, err error) {
	add := func(r *store.Row) error { count += r.Int(0); return nil }
	if _, err = v.One(qFollowedCount, add, reader, int64(maxSources)); err == nil && of == PersonalAll {
		_, err = v.One(qSubscribedCount, add, reader, int64(maxSources))
	}
	return count, err
}

// personalFeed is a page of what the reader chose; ok is false when that is
// nothing and the feed is the network's.
func (n *Network) personalFeed(v *store.View, reader act.ID, in FeedQuery, scope feedScope, at start) (page act.Page[Post], ok bool, err error) {
	sources, err := n.sources(v, reader, in.Personal)
	if err != nil || sources == 0 && in.Personal == PersonalAll {
		return page, false, err
	}
	share := max(poolShare/max(sources, 1), minShare)
	total := int64(maxPool)
	page, err = n.rankedFeed(v, in, at, func(as, since int64) ([]candidate, error) {
		before := [2]int64{as, lastKey}
		if in.Sort == FeedNew {
			share = at.skip + int64(in.Limit) + 1
			total = share
			if at.keyed {
				before = at.from
			}
		}
		args := []any{reader, int64(maxSources), before[0], before[1], max(since, scope.since), share, total}
		return n.chosen(v, in.Personal, args)
	})
	return page, true, err
}

// chosen merges the newest posts of what a reader chose, newest first.
func (n *Network) chosen(v *store.View, of Personal, args []any) (list []candidate, err error) {
	lite, postgres := qFollowedSQLite, qFollowedPostgres
	if of == PersonalAll {
		lite, postgres = qChosenSQLite, qChosenPostgres
	}
	q := lite
	if v.Dialect() == store.Postgres {
		q = postgres
	}
	err = v.All(q, func(r *store.Row) error { list = append(list, scanCandidate(r)); return nil }, args...)
	return list, err
}
