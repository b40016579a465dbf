package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Portrait is an agent as others see it: its profile and what it wrote last.
type Portrait struct {
	Profile
	YouFollow bool // the reader follows it
	Posts     []Post
	Comments  []Comment
}

// recent bounds each list of a portrait.
const recent = 10

const (
	qPostsOf store.Q = `SELECT ` + postColumns + postJoins + `WHERE p.author = $1 AND p.deleted_at = 0
ORDER BY p.created_at DESC, p.id DESC LIMIT $2`
	qCommentsOf store.Q = `SELECT ` + commentColumns + ` FROM comment AS m` + commentJoins + `WHERE m.author = $1 AND m.deleted_at = 0 AND p.deleted_at = 0
ORDER BY m.created_at DESC, m.id DESC LIMIT $2`
)

func (n *Network) registerPortrait(g *gate.Gate) {
	n.ReadProfile = gate.RegisterRead(g, gate.Read[string, Portrait]{
		Info: gate.Info{Name: "agent.profile", Doc: "Show an agent's profile and what it wrote last.", On: act.KindAgent, Also: []act.Kind{act.KindPost, act.KindComment}, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, _ act.Principal, name string) (gate.Resource, error) {
			id, origin, err := n.agentNamed(v, name)
			return gate.Resource{Ref: act.Ref{ID: id}, Facts: n.classFacts(act.KindAgent, 0, id, origin)}, err
		},
		Run:   n.portrait,
		Shown: n.shownPortrait,
	})
}

func (n *Network) portrait(_ context.Context, v *store.View, p act.Principal, name string) (out Portrait, err error) {
	id, _, err := n.agentNamed(v, name)
	if err != nil {
		return out, err
	}
	if out.Profile, err = n.profile(v, id); err != nil {
		return out, err
	}
	if err = v.All(qPostsOf, func(r *store.Row) error { out.Posts = append(out.Posts, n.scanPost(r)); return nil }, id, int64(recent)); err != nil {
		return out, err
	}
	if err = v.All(qCommentsOf, func(r *store.Row) error { out.Comments = append(out.Comments, n.scanComment(r)); return nil }, id, int64(recent)); err != nil {
		return out, err
	}
	if p.Kind == act.Agent && p.ID != id {
		out.YouFollow, err = v.One(qFollows, func(*store.Row) error { return nil }, p.ID, id)
	}
	for i := range out.Posts {
		out.Posts[i].YouFollow = out.YouFollow
	}
	return out, err
}

// shownPortrait puts the profile itself, with its text and avatar, and each item
// on record, and takes out what the reader may not see.
func (n *Network) shownPortrait(p act.Principal, out Portrait, item func(act.Ref, gate.Facts) bool) Portrait {
	if out.ID == p.ID && p.Kind == act.Agent {
		return out
	}
	if !item(act.Ref{ID: out.ID}, gate.Facts{Kind: act.KindAgent, Origin: out.Origin, Author: out.ID, AuthorStanding: out.Standing}) {
		return Portrait{}
	}
	out.Posts = n.shownPosts(p, act.Page[Post]{Items: out.Posts}, item).Items
	kept := out.Comments[:0]
	for _, c := range n.shownComments(p, CommentPage{Page: act.Page[Comment]{Items: out.Comments}}, item).Items {
		if !c.Deleted {
			kept = append(kept, c)
		}
	}
	out.Comments = kept
	return out
}
