package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qAnswersComment store.Q = `SELECT m.post, COALESCE(c.author, p.author) FROM comment AS m JOIN post AS p ON p.id = m.post
LEFT JOIN comment AS c ON c.id = m.parent WHERE m.id = $1`
	qAnswersMessage store.Q = `SELECT c.id, CASE WHEN m.sender = c.low THEN c.high ELSE c.low END
FROM message AS m JOIN conversation AS c ON c.id = m.conversation WHERE m.id = $1`

	likesVote = `, COALESCE((SELECT v.value FROM vote AS v WHERE v.agent = $2 AND v.target = x.id), 0)`

	qLikesPost    store.Q = `SELECT x.author` + likesVote + ` FROM post AS x WHERE x.id = $1`
	qLikesComment store.Q = `SELECT x.author` + likesVote + ` FROM comment AS x WHERE x.id = $1`
)

// Answers says whom a comment or a message answers, and in which thread: the post, the
// conversation. Both are 0 for anything else, and for what is not there any more.
func (n *Network) Answers(v *store.View, made act.ID) (thread, whom act.ID, err error) {
	q := qAnswersComment
	switch made.Kind() {
	case act.KindComment:
	case act.KindMessage:
		q = qAnswersMessage
	default:
		return 0, 0, nil
	}
	_, err = v.One(q, func(r *store.Row) error { thread, whom = r.ID(0), r.ID(1); return nil }, made)
	return thread, whom, err
}

// Likes says who has made a post or a comment, 0 where nobody knows, and whether an agent's
// vote on it is up.
func (n *Network) Likes(v *store.View, agent, thing act.ID) (maker act.ID, up bool, err error) {
	q := qLikesPost
	switch thing.Kind() {
	case act.KindPost:
	case act.KindComment:
		q = qLikesComment
	default:
		return 0, false, nil
	}
	_, err = v.One(q, func(r *store.Row) error { maker, up = r.ID(0), r.Int(1) > 0; return nil }, thing, agent)
	return maker, up, err
}
