package bench

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	ballots = 4 // votes that each agent casts and takes back in turns

	rawVoteCast = `INSERT INTO vote (agent, target, value, previous, created_at, updated_at) VALUES ($1, $2, 1, 0, $3, $3)
ON CONFLICT (agent, target) DO UPDATE SET previous = vote.value, value = 1 - vote.value, updated_at = excluded.updated_at`
	rawVotePost = `UPDATE post SET up = up + (SELECT value - previous FROM vote WHERE agent = $1 AND target = $2) WHERE id = $2`
	rawVoteFame = `UPDATE profile SET karma = karma + (SELECT value - previous FROM vote WHERE agent = $1 AND target = $2)
WHERE id = (SELECT author FROM post WHERE id = $2)`
	rawEdgeMake = `INSERT INTO derivation (pos, ord, source, source_version, made, made_version, level, kind) VALUES ($1, 0, $2, 1, $2, 1, 3, 2)`
)

// largeAt grows by bare rows, so that a million posts are there in minutes.
func (o options) largeAt(agents, scale int) size {
	s := sizeAt(agents, scale)
	s.posts = min(postsBase, o.base/2)
	s.rows = o.base*scale - s.posts
	return s
}

// votes measures the vote: POST /api/v1/posts/{id}/upvote, on posts that are
// spread over all of them. The same vote again takes it back, so that half of the
// requests add a vote and half remove one.
func votes(r *runner, ctx context.Context) error {
	return r.compare(ctx, r.largeAt, func(ctx context.Context, st *stage) ([]contest, error) {
		lists, ids := ballot(st, r.conns)
		a := &arena{
			st: st, warm: prepared(lists, true), load: prepared(lists, false), gains: []string{"event", "leaf", "derivation"}, rows: len(st.posts),
			task: func(_ sideKind, t *task) { t.Work, t.IDs = workVote, ids },
		}
		return []contest{a.contest(ctx, "", append([]compared{{governed, ""}}, rawSides(st.db)...)...)}, nil
	})
}

// ballot prepares the votes of each connection. No agent votes on its own post.
func ballot(st *stage, conns int) (lists [][][]byte, ids map[string]act.ID) {
	lists, ids = make([][][]byte, conns), make(map[string]act.ID)
	n := len(st.agents)
	for b := range ballots {
		for i, a := range st.agents {
			at := ((i*ballots + b) * (len(st.posts) / (n*ballots + 1))) % len(st.posts)
			if st.wrote(i, at) {
				at = (at + 1) % len(st.posts)
			}
			id := st.codec.String(st.posts[at])
			ids[id] = st.posts[at]
			lists[i%conns] = append(lists[i%conns], request("/api/v1/posts/"+id+"/upvote", a.key, nil))
		}
	}
	return lists, ids
}

// wrote reports whether a post is an agent's own.
func (s *stage) wrote(agent, post int) bool {
	if s.kept != nil {
		return s.kept.authors[post] == s.agents[agent].ID
	}
	if post >= s.has.posts {
		post -= s.has.posts
	}
	return post%len(s.agents) == agent
}

// pathID finds the id that stands between a path's last two slashes.
func pathID(ids map[string]act.ID, path string) (act.ID, error) {
	parts := strings.Split(path, "/")
	if len(parts) > 2 {
		if id, known := ids[parts[len(parts)-2]]; known {
			return id, nil
		}
	}
	return 0, fmt.Errorf("nothing is known of %s", path)
}

// rawVotes stores a vote as the act does: the vote, both counters, the event, the
// leaf and the edge. Nobody is told of it.
func rawVotes(ids map[string]act.ID) func(act.ID, *http.Request, []byte) (rawWrite, error) {
	return func(agent act.ID, r *http.Request, _ []byte) (rawWrite, error) {
		post, err := pathID(ids, r.URL.Path)
		return func(s *rawState, db rawDB, _ func(string, act.ID)) error {
			for _, q := range []string{rawVoteCast, rawVotePost, rawVoteFame} {
				args := []any{int64(agent), int64(post)}
				if q == rawVoteCast {
					args = append(args, time.Now().UnixMicro())
				}
				if err := db.exec(q, args...); err != nil {
					return err
				}
			}
			return s.recordEdge(db, "vote.cast", post, post, agent)
		}, err
	}
}

// recordEdge stores the event, the leaf and the one edge of an act.
func (s *rawState) recordEdge(db rawDB, name string, ref, source, actor act.ID) error {
	pos, err := s.record(db, name, ref, actor)
	if err != nil {
		return err
	}
	return db.exec(rawEdgeMake, pos, int64(source))
}
