package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewVote votes on a post or comment. A vote is a toggle: the same direction
// again takes it back (field reports on Moltbook; moltbook.md §0.5).
type NewVote struct {
	Target Named
	On     act.Kind // KindPost or KindComment
	Up     bool
}

// Vote is what became of it. Value and Previous are +1, 0 or -1.
type Vote struct {
	Target   act.ID
	Post     act.ID // the target, or the post that holds the comment
	Place    act.ID
	Author   Author
	Value    int64
	Previous int64

	AuthorFollowed bool // by the voter

	active int64 // when the voter's last write was
	told   bool  // the author has an unread notification of upvotes on the post
}

// Action names the change as clients read it.
func (v Vote) Action() string {
	switch {
	case v.Value == 0:
		return "removed"
	case v.Previous != 0:
		return "changed"
	case v.Value > 0:
		return "upvoted"
	}
	return "downvoted"
}

const (
	// One statement finds the old vote and writes the new one: parallel requests
	// of one agent queue at its row and never count twice (T03).
	qVote store.Q = `INSERT INTO vote (agent, target, value, previous, created_at, updated_at) VALUES ($1, $2, $3, 0, $4, $4)
ON CONFLICT (agent, target) DO UPDATE SET previous = vote.value,
  value = CASE WHEN vote.value = excluded.value THEN 0 ELSE excluded.value END, updated_at = excluded.updated_at
RETURNING value, previous`
	// A vote is the lightest write, and an agent's last write is told to the
	// minute: most votes leave its profile alone.
	stirEvery = 60_000_000 // microseconds

	qVoteRead store.Q = `SELECT value, previous FROM vote WHERE agent = $1 AND target = $2`

	// Whether an unread notification tells of upvotes already is asked here, where
	// it costs no round trip of its own.
	qVotedPost store.Q = `SELECT p.id, p.community, p.author, (SELECT COUNT(*) FROM notification AS n
  WHERE n.agent = p.author AND n.post = p.id AND n.kind = 5 AND n.read_at = 0) FROM post AS p WHERE p.id = $1`
	qVotedComment store.Q = `SELECT m.post, p.community, m.author, 0 FROM comment AS m JOIN post AS p ON p.id = m.post WHERE m.id = $1`
	qVotedAuthor  store.Q = `SELECT ` + authorColumns + `,
  CASE WHEN EXISTS (SELECT 1 FROM follow AS f WHERE f.follower = $2 AND f.followed = a.id) THEN 1 ELSE 0 END,
  (SELECT w.active_at FROM profile AS w WHERE w.id = $2) FROM profile AS a WHERE a.id = $1`

	qAddPostUp      store.Q = `UPDATE post SET up = up + $2 WHERE id = $1`
	qAddPostDown    store.Q = `UPDATE post SET down = down + $2 WHERE id = $1`
	qAddCommentUp   store.Q = `UPDATE comment SET up = up + $2 WHERE id = $1`
	qAddCommentDown store.Q = `UPDATE comment SET down = down + $2 WHERE id = $1`
)

func (n *Network) registerVote(g *gate.Gate) {
	n.CastVote = gate.RegisterWrite(g, gate.Write[NewVote, Vote]{
		Info:   gate.Info{Name: "vote.cast", Doc: "Vote on a post or comment; the same vote again takes it back.", On: act.KindPost, Also: []act.Kind{act.KindComment}, Quota: gate.QuotaVote},
		Shares: true,
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewVote) (gate.Resource, error) {
			id, err := n.itemID(v, in.Target, in.On)
			if err != nil {
				return gate.Resource{}, err
			}
			if in.On == act.KindComment {
				return n.target(v, p, qCommentTarget, qCommentEpoch, id)
			}
			return n.target(v, p, qPostTarget, qPostEpoch, id)
		},
		Run: n.castVote,
		Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (Vote, error) {
			vote, err := n.voted(v, p, made.ID)
			if err != nil {
				return vote, err
			}
			_, err = v.One(qVoteRead, func(r *store.Row) error { vote.Value, vote.Previous = r.Int(0), r.Int(1); return nil }, p.ID, made.ID)
			return vote, err
		},
	})
}

// voted finds what a vote needs of its target.
func (n *Network) voted(v *store.View, p act.Principal, target act.ID) (out Vote, err error) {
	q := qVotedPost
	if target.Kind() == act.KindComment {
		q = qVotedComment
	}
	out.Target = target
	found, err := v.One(q, func(r *store.Row) error {
		out.Post, out.Place, out.Author.ID, out.told = r.ID(0), r.ID(1), r.ID(2), r.Bool(3)
		return nil
	}, target)
	if err != nil {
		return out, err
	}
	if !found {
		return out, notFound(target.Kind())
	}
	_, err = v.One(qVotedAuthor, func(r *store.Row) error {
		out.Author, out.AuthorFollowed, out.active = n.scanAuthor(r, 0), r.Bool(authorWidth), r.Int(authorWidth+1)
		return nil
	}, out.Author.ID, p.ID)
	return out, err
}

func (n *Network) castVote(_ context.Context, tx *store.Tx, p act.Principal, in NewVote) (Vote, gate.Effects, error) {
	target, err := n.itemID(&tx.View, in.Target, in.On)
	if err != nil {
		return Vote{}, gate.Effects{}, err
	}
	out, err := n.voted(&tx.View, p, target)
	if err != nil {
		return Vote{}, gate.Effects{}, err
	}
	value := int64(-1)
	if in.Up {
		value = 1
	}
	if _, err := tx.One(qVote, func(r *store.Row) error { out.Value, out.Previous = r.Int(0), r.Int(1); return nil },
		p.ID, target, value, tx.Now()); err != nil {
		return Vote{}, gate.Effects{}, err
	}
	up, down := qAddPostUp, qAddPostDown
	if in.On == act.KindComment {
		up, down = qAddCommentUp, qAddCommentDown
	}
	tx.Add(up, target, max(out.Value, 0)-max(out.Previous, 0))
	tx.Add(down, target, max(-out.Value, 0)-max(-out.Previous, 0))
	tx.Add(qAddKarma, out.Author.ID, out.Value-out.Previous)
	if in.On == act.KindPost && out.Value > 0 && !out.told {
		if err := n.notify(tx, notice{To: out.Author.ID, Actor: p.ID, Kind: NoticePostUpvote, Post: out.Post}); err != nil {
			return Vote{}, gate.Effects{}, err
		}
	}
	if tx.Now()-out.active > stirEvery {
		tx.Raise(qRaiseActive, p.ID, tx.Now())
	}
	return out, gate.Effects{
		Out: act.Ref{ID: target}, Named: true, Edges: []gate.Edge{{From: act.Ref{ID: target}, Kind: gate.EdgeVote}},
	}, nil
}
