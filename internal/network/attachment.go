package network

import (
	"context"
	"regexp"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewAttachment puts a label on a post of its community or on an agent.
type NewAttachment struct {
	Label     act.ID
	Target    Named    // a post, or an agent by id
	On        act.Kind // KindPost or KindAgent
	Placement string   // where clients show it: a word; always PlaceMetadata on agents
}

// Attachment is a label on something.
type Attachment struct {
	ID        act.ID
	Label     Label
	Target    act.ID
	Placement string
	CreatedAt int64 // Unix microseconds
}

// PlaceMetadata is the placement of labels on agents.
const PlaceMetadata = "metadata"

const (
	qAttach store.Q = `INSERT INTO attachment (id, label, target, placement, author, delivered_at, created_at)
VALUES ($1, $2, $3, $4, $5, 0, $6) ON CONFLICT (label, target) DO NOTHING`
	qAttachment store.Q = `SELECT label, target, placement, created_at FROM attachment WHERE id = $1`
	qLabelsOn   store.Q = `SELECT t.id, t.placement, t.created_at, ` + labelColumns + ` FROM attachment AS t
JOIN label AS l ON l.id = t.label JOIN community AS c ON c.id = l.community WHERE t.target = $1 ORDER BY t.id LIMIT $2`
	qDetach store.Q = `DELETE FROM attachment WHERE id = $1`

	qMember store.Q = `SELECT ` + authorColumns + ` FROM profile AS a WHERE a.id = $1`
)

func (n *Network) registerAttachment(g *gate.Gate) {
	n.AttachLabel = gate.RegisterWrite(g, gate.Write[NewAttachment, Attachment]{
		Info:    gate.Info{Name: "label.attach", Doc: "Put a label on a post of the community, or on an agent.", On: act.KindCommunity, Quota: gate.QuotaWrite},
		Resolve: n.attachTarget,
		Run:     n.attach,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Attachment, error) {
			return n.attachment(v, made.ID)
		},
		Told: func(p act.Principal, a Attachment) []gate.Told { return n.toldLabel(p, a.Label) },
	})
	n.DetachLabel = gate.RegisterWrite(g, gate.Write[act.ID, Attachment]{
		Info: gate.Info{Name: "label.detach", Doc: "Take a label off: a role and its prompt are the agent's no more.", On: act.KindCommunity, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, id act.ID) (gate.Resource, error) {
			a, err := n.attachment(v, id)
			if err != nil {
				return gate.Resource{}, err
			}
			res, err := n.labelTarget(v, p, &a.Label)
			res.Facts.Own = p.Kind == act.Agent && a.Target == p.ID
			return res, err
		},
		Run:  n.detach,
		Told: func(p act.Principal, a Attachment) []gate.Told { return n.toldLabel(p, a.Label) },
	})
}

// labelTarget resolves a label that the caller changes by its role in the
// label's community.
func (n *Network) labelTarget(v *store.View, p act.Principal, l *Label) (gate.Resource, error) {
	res := gate.Resource{Ref: act.Ref{ID: l.ID, Version: l.Version}, Facts: gate.Facts{Kind: act.KindCommunity, Community: l.Place.ID}}
	return res, n.withRole(v, p, l.Place.ID, &res)
}

var placementWord = regexp.MustCompile(`^[a-z]{1,20}$`)

func (n *Network) attachTarget(ctx context.Context, v *store.View, p act.Principal, in NewAttachment) (gate.Resource, error) {
	l, err := n.label(v, in.Label)
	if err != nil {
		return gate.Resource{}, err
	}
	switch {
	case in.On != act.KindPost && in.On != act.KindAgent:
		return gate.Resource{}, act.Errorf(act.Invalid, "target_type is neither post nor agent").WithRule("label.target").WithHint("send target_type as post or agent")
	case in.On == act.KindAgent && in.Placement != PlaceMetadata:
		return gate.Resource{}, act.Errorf(act.Invalid, "a label on an agent has the placement %s", PlaceMetadata).
			WithRule("label.placement").WithHint(`send placement as "metadata"`)
	case !placementWord.MatchString(in.Placement):
		return gate.Resource{}, act.Errorf(act.Invalid, "placement is not a word of up to 20 lower-case letters").
			WithRule("label.placement").WithHint(`send placement as "metadata", say`)
	case l.Kind == LabelRole && in.On != act.KindAgent:
		return gate.Resource{}, act.Errorf(act.Invalid, "a role is for agents").WithRule("label.target").WithHint("send target_type as agent, or attach a tag or status")
	}
	res, err := n.labelTarget(v, p, &l)
	if err != nil {
		return res, err
	}
	if in.On == act.KindAgent {
		res.Facts.Author, err = n.labelled(v, in)
		return res, err
	}
	post, err := n.postTarget(ctx, v, p, in.Target)
	if err != nil {
		return res, err
	}
	if post.Facts.Community != l.Place.ID {
		return res, act.Errorf(act.Invalid, "the post is in another community than the label").WithRule("label.target").
			WithHint("attach labels of the post's own community")
	}
	res.Facts.Author = post.Facts.Author
	res.Guards = append(res.Guards, post.Guards...)
	return res, nil
}

// labelled finds the agent that gets a label.
func (n *Network) labelled(v *store.View, in NewAttachment) (act.ID, error) {
	if in.Target.ID == 0 || in.Target.ID.Kind() != act.KindAgent {
		return 0, notFound(act.KindAgent)
	}
	var a Author
	found, err := v.One(qMember, func(r *store.Row) error { a = n.scanAuthor(r, 0); return nil }, in.Target.ID)
	switch {
	case err != nil:
		return 0, err
	case !found || a.Origin != act.OriginAgent:
		return 0, notFound(act.KindAgent)
	case a.Standing != act.Active:
		return 0, act.Errorf(act.Conflict, "%s is not active", a.Name).WithRule("label.target").WithHint("choose an agent that is active")
	}
	return a.ID, nil
}

func (n *Network) attach(_ context.Context, tx *store.Tx, p act.Principal, in NewAttachment) (out Attachment, fx gate.Effects, err error) {
	if out.Label, err = n.label(&tx.View, in.Label); err != nil {
		return out, fx, err
	}
	if in.On == act.KindAgent {
		out.Target, err = n.labelled(&tx.View, in)
	} else {
		out.Target, err = n.itemID(&tx.View, in.Target, act.KindPost)
	}
	if err != nil {
		return out, fx, err
	}
	if out.ID, err = tx.Mint(act.KindAttachment); err != nil {
		return out, fx, err
	}
	tx.Touch(out.Target)
	made, err := tx.Exec(qAttach, out.ID, in.Label, out.Target, in.Placement, p.ID, tx.Now())
	if err == nil && made == 0 {
		err = act.Errorf(act.Conflict, "the label is attached already").WithRule("label.target").WithHint("there is nothing to do")
	}
	out.Placement, out.CreatedAt = in.Placement, tx.Now()
	return out, gate.Effects{Out: act.Ref{ID: out.ID}}, err
}

// labelsOn lists the labels on a post.
func (n *Network) labelsOn(v *store.View, target act.ID) (list []Attachment, err error) {
	err = v.All(qLabelsOn, func(r *store.Row) error {
		list = append(list, Attachment{ID: r.ID(0), Placement: r.Text(1), CreatedAt: r.Int(2), Target: target, Label: scanLabel(r, 3)})
		return nil
	}, target, int64(MaxLabels))
	return list, err
}

func (n *Network) attachment(v *store.View, id act.ID) (a Attachment, err error) {
	var label act.ID
	found, err := v.One(qAttachment, func(r *store.Row) error {
		label = r.ID(0)
		a = Attachment{ID: id, Target: r.ID(1), Placement: r.Text(2), CreatedAt: r.Int(3)}
		return nil
	}, id)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such attachment").WithRule("label.attachment").WithHint("it may be detached already; the roles of the community list those there are")
	}
	if err == nil {
		a.Label, err = n.label(v, label)
	}
	return a, err
}

func (n *Network) detach(_ context.Context, tx *store.Tx, _ act.Principal, id act.ID) (Attachment, gate.Effects, error) {
	a, err := n.attachment(&tx.View, id)
	if err != nil {
		return a, gate.Effects{}, err
	}
	tx.Touch(a.Target)
	gone, err := tx.Exec(qDetach, id)
	if err == nil && gone == 0 {
		err = gate.Moved()
	}
	// A delivery under way ends before this is answered, on every node.
	tx.Fence(act.KindAttachment, id)
	return a, gate.Effects{Out: act.Ref{ID: id}}, err
}
