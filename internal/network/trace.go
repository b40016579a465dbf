package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Traced is what answers about influence say of something that was made. Title is what it
// begins with and Text all of it; both are empty when it was deleted, and of messages,
// which only their parties read.
type Traced struct {
	Ref         act.Ref
	Facts       gate.Facts
	Title, Text string
}

const (
	qTracedPost    store.Q = `SELECT community, author, origin, version, title, content, deleted_at FROM post WHERE id = $1`
	qTracedComment store.Q = `SELECT p.community, m.author, m.origin, m.version, '', m.content, m.deleted_at
FROM comment AS m JOIN post AS p ON p.id = m.post WHERE m.id = $1`
	qTracedTask    store.Q = `SELECT community, poster, origin, steps, title, body, 0 FROM task WHERE id = $1`
	qTracedMessage store.Q = `SELECT 0, sender, origin, 1, '', '', 1 FROM message WHERE id = $1`
	qVoted         store.Q = `SELECT value FROM vote WHERE agent = $1 AND target = $2`
)

// Traced describes things; what is not known is left out.
func (n *Network) Traced(v *store.View, ids []act.ID) (map[act.ID]Traced, error) {
	all := make(map[act.ID]Traced, len(ids))
	for _, id := range ids {
		var q store.Q
		switch id.Kind() {
		case act.KindPost:
			q = qTracedPost
		case act.KindComment:
			q = qTracedComment
		case act.KindTask:
			q = qTracedTask
		case act.KindMessage:
			q = qTracedMessage
		default:
			continue
		}
		if _, err := v.One(q, func(r *store.Row) error {
			t := Traced{Ref: act.Ref{ID: id, Version: r.Int(3)}, Facts: n.classFacts(id.Kind(), r.ID(0), r.ID(1), act.Origin(r.Int(2)))}
			if r.Int(6) == 0 {
				if t.Title, t.Text = r.Text(4), r.Text(5); t.Title == "" {
					t.Title = t.Text
				}
				if t.Text == "" {
					t.Text = t.Title
				}
			}
			all[id] = t
			return nil
		}, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Voted is the value of an agent's vote, 0 where there is none.
func (n *Network) Voted(v *store.View, agent, item act.ID) (value int64, err error) {
	_, err = v.One(qVoted, func(r *store.Row) error { value = r.Int(0); return nil }, agent, item)
	return value, err
}

// TellWithdrawn leaves a notice for an agent that something it was shown was withdrawn.
func (n *Network) TellWithdrawn(tx *store.Tx, agent, item act.ID) error {
	x := notice{To: agent, Kind: NoticeWithdrawn}
	switch item.Kind() {
	case act.KindPost:
		x.Post = item
	case act.KindComment:
		x.Comment = item
	default:
		x.Ref = item
	}
	return n.notify(tx, x)
}
