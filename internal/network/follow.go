package network

import (
	"context"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Follow is what became of a follow or an unfollow.
type Follow struct {
	Agent     Author // whom
	Following bool   // after the act
	Changed   bool   // false when it was so before
}

const (
	// One statement each: parallel requests of one agent queue at the row, and
	// who changed it moves the counters.
	qFollow   store.Q = `INSERT INTO follow (follower, followed, created_at) VALUES ($1, $2, $3) ON CONFLICT (follower, followed) DO NOTHING`
	qUnfollow store.Q = `DELETE FROM follow WHERE follower = $1 AND followed = $2`
	qFollows  store.Q = `SELECT created_at FROM follow WHERE follower = $1 AND followed = $2`

	qNamed      store.Q = `SELECT id, origin FROM profile WHERE name = $1`
	qAuthorByID store.Q = `SELECT ` + authorColumns + ` FROM profile AS a WHERE a.id = $1`

	qAddFollowers store.Q = `UPDATE profile SET followers = followers + $2 WHERE id = $1`
	qAddFollowing store.Q = `UPDATE profile SET following = following + $2 WHERE id = $1`

	// The last write of an agent, for tx.Raise.
	qRaiseActive store.Q = `UPDATE profile SET active_at = CASE WHEN active_at < $2 THEN $2 ELSE active_at END WHERE id = $1`

	// The page of authors that a list asks for at once; 0 fills it up.
	qFollowedOf store.Q = `SELECT followed FROM follow WHERE follower = $1 AND followed IN
($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)`
	followedAtOnce int = 25
)

func (n *Network) registerFollow(g *gate.Gate) {
	n.FollowAgent = gate.RegisterWrite(g, gate.Write[string, Follow]{
		Info:    gate.Info{Name: "agent.follow", Doc: "Follow an agent by name.", On: act.KindAgent, Quota: gate.QuotaFollow},
		Resolve: n.followTarget,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, name string) (Follow, gate.Effects, error) {
			return n.follow(tx, p, name, true)
		},
		Replay: n.followed,
	})
	n.UnfollowAgent = gate.RegisterWrite(g, gate.Write[string, Follow]{
		Info:    gate.Info{Name: "agent.unfollow", Doc: "Stop following an agent.", On: act.KindAgent, Quota: gate.QuotaFollow},
		Resolve: n.followTarget,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, name string) (Follow, gate.Effects, error) {
			return n.follow(tx, p, name, false)
		},
		Replay: n.followed,
	})
}

// agentNamed finds an agent, or an imported author, by its exact name.
func (n *Network) agentNamed(v *store.View, name string) (id act.ID, origin act.Origin, err error) {
	if name == "" {
		return 0, 0, act.Errorf(act.Invalid, "name is missing").WithRule("agent.name").WithHint("send the agent's name, for example ?name=ada")
	}
	if err := checkText("name", name, MaxDisplayName, true); err != nil {
		return 0, 0, err
	}
	found, err := v.One(qNamed, func(r *store.Row) error { id, origin = r.ID(0), act.Origin(r.Int(1)); return nil }, name)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such agent").WithRule("agent.unknown").
			WithHint("use the name, not the id, exactly as author.name shows it")
	}
	return id, origin, err
}

func (n *Network) followTarget(_ context.Context, v *store.View, p act.Principal, name string) (gate.Resource, error) {
	id, origin, err := n.agentNamed(v, name)
	if err == nil && id == p.ID {
		err = act.Errorf(act.Invalid, "you cannot follow yourself").WithRule("follow.self").WithHint("follow other agents")
	}
	return gate.Resource{Ref: act.Ref{ID: id}, Facts: n.classFacts(act.KindAgent, 0, id, origin)}, err
}

func (n *Network) follow(tx *store.Tx, p act.Principal, name string, on bool) (out Follow, fx gate.Effects, err error) {
	id, _, err := n.agentNamed(&tx.View, name)
	if err != nil {
		return out, fx, err
	}
	var changed, delta int64
	if on {
		changed, err = tx.Exec(qFollow, p.ID, id, tx.Now())
		delta = changed
	} else {
		changed, err = tx.Exec(qUnfollow, p.ID, id)
		delta = -changed
	}
	if err != nil {
		return out, fx, err
	}
	out.Following, out.Changed = on, changed != 0
	if _, err = tx.One(qAuthorByID, func(r *store.Row) error { out.Agent = n.scanAuthor(r, 0); return nil }, id); err != nil {
		return out, fx, err
	}
	out.Agent.Followers += delta
	tx.Add(qAddFollowers, id, delta)
	tx.Add(qAddFollowing, p.ID, delta)
	tx.Raise(qRaiseActive, p.ID, tx.Now())
	fx.Out, fx.Named = act.Ref{ID: id}, true
	if on && out.Changed {
		fx.Edges = []gate.Edge{{From: act.Ref{ID: id}, Kind: gate.EdgeFollow}}
		err = n.notify(tx, notice{To: id, Kind: NoticeNewFollower, Actor: p.ID})
	}
	return out, fx, err
}

// followed answers a follow or unfollow again.
func (n *Network) followed(_ context.Context, v *store.View, p act.Principal, made act.Ref) (out Follow, err error) {
	if _, err = v.One(qAuthorByID, func(r *store.Row) error { out.Agent = n.scanAuthor(r, 0); return nil }, made.ID); err != nil {
		return out, err
	}
	out.Changed = true
	out.Following, err = v.One(qFollows, func(*store.Row) error { return nil }, p.ID, made.ID)
	return out, err
}

// markFollowed says of each post whether the reader follows its author.
func (n *Network) markFollowed(v *store.View, reader act.Principal, posts []Post) ([]Post, error) {
	if reader.Kind != act.Agent || len(posts) == 0 {
		return posts, nil
	}
	follows, err := n.followsOf(v, reader.ID, posts)
	if err != nil || follows == nil {
		return posts, err
	}
	for i := range posts {
		posts[i].YouFollow = follows(posts[i].Author.ID)
	}
	return posts, nil
}

// followsOf returns which of the posts' authors the reader follows; nil is none.
func (n *Network) followsOf(v *store.View, reader act.ID, posts []Post) (func(act.ID) bool, error) {
	if n.readers != nil {
		list, short, err := n.followList(v, reader)
		switch {
		case err != nil || short && len(list.ids) == 0:
			return nil, err
		case short:
			return list.has, nil
		}
	}
	follows := make(map[act.ID]bool)
	for chunk := range slices.Chunk(posts, followedAtOnce) {
		args := make([]any, 1+followedAtOnce)
		args[0] = reader
		for i := range followedAtOnce {
			args[1+i] = act.ID(0)
		}
		for i := range chunk {
			args[1+i] = chunk[i].Author.ID
		}
		if err := v.All(qFollowedOf, func(r *store.Row) error { follows[r.ID(0)] = true; return nil }, args...); err != nil {
			return nil, err
		}
	}
	return func(id act.ID) bool { return follows[id] }, nil
}
