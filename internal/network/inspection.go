package network

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Owners knows who answers for agents (packages identity and lifecycle, through
// server).
type Owners interface {
	// OwnerOf returns the name of an agent's owner; "" while it has none.
	OwnerOf(v *store.View, agent act.ID) (string, error)
	// AgentOf returns the agent of the named owner; found is false when the owner
	// has none or several.
	AgentOf(v *store.View, owner string) (agent act.ID, found bool, err error)
	// Answers returns the name of an agent's owner if p is the person who answers as it,
	// with what an act has to look at again in its transaction; else "".
	Answers(v *store.View, p act.Principal, agent act.ID) (owner string, guards []gate.Guard, err error)
	// AgentsOf returns the agents that p answers for.
	AgentsOf(v *store.View, p act.Principal) ([]act.ID, error)
}

// ConversationMeta is what operators see of a conversation: that it exists,
// between whom, and how it stands. Nothing of what was said.
type ConversationMeta struct {
	ID           act.ID
	From, To     Party // who asked last, and who was asked
	State        ConversationState
	Messages     int64
	CreatedAt    int64 // Unix microseconds
	DecidedAt    int64 // Unix microseconds; 0 while nobody has decided
	LastAt       int64 // Unix microseconds
	InspectUntil int64 // Unix microseconds until which one reading is granted; 0 is none
}

// Party is one side of a conversation.
type Party struct {
	Agent act.ID
	Name  string
	Owner string // "" while it has none
}

// ConversationFilter asks operators' view for conversations in a state.
type ConversationFilter struct {
	State  ConversationState
	Mine   bool // only those of agents that the reader answers for
	Limit  int  // 50 if 0, at most 100
	Cursor act.Cursor
}

// NewInspection asks to read a conversation of others.
type NewInspection struct {
	Conversation act.ID
	Reason       string // 1 to MaxReason characters; goes on record
}

// Inspection is the right to read a conversation once.
type Inspection struct {
	Conversation act.ID
	Until        int64 // Unix microseconds
}

// Reading is a conversation laid open.
type Reading struct {
	Conversation ConversationMeta
	Messages     []Message // oldest first; the newest maxReading of them
}

const (
	inspectFor = time.Hour // how long a granted reading can wait
	maxReading = 1000      // messages

	metaColumns = `c.id, c.initiator, c.state, c.last_ord, c.created_at, c.decided_at, c.last_at, c.inspect_until_at, c.low, a.name, c.high, b.name`
	metaJoins   = ` FROM conversation AS c JOIN profile AS a ON a.id = c.low JOIN profile AS b ON b.id = c.high `

	qConversationMeta  store.Q = `SELECT ` + metaColumns + metaJoins + `WHERE c.id = $1`
	qConversationMetas store.Q = `SELECT ` + metaColumns + metaJoins + `WHERE c.state = $1 AND (c.last_at, c.id) < ($2, $3)
ORDER BY c.last_at DESC, c.id DESC LIMIT $4`
	qConversationMetasOf store.Q = `SELECT ` + metaColumns + metaJoins + `WHERE (c.low = $5 OR c.high = $5) AND c.state = $1 AND (c.last_at, c.id) < ($2, $3)
ORDER BY c.last_at DESC, c.id DESC LIMIT $4`

	qInspectGrant store.Q = `UPDATE conversation SET inspector = $2, inspect_until_at = $3 WHERE id = $1`
	qInspectUse   store.Q = `UPDATE conversation SET inspector = 0, inspect_until_at = 0
WHERE id = $1 AND inspector = $2 AND inspect_until_at >= $3 RETURNING key_version, wrapped_key`
)

func (n *Network) registerInspection(g *gate.Gate) {
	n.ConversationMetas = gate.RegisterRead(g, gate.Read[ConversationFilter, act.Page[ConversationMeta]]{
		Info:   gate.Info{Name: "dm.survey", Doc: "List who talks with whom, without what they say.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Narrow: func(in ConversationFilter) ConversationFilter { in.Mine = true; return in },
		Run:    n.surveyConversations,
	})
	n.Inspect = gate.RegisterWrite(g, gate.Write[NewInspection, Inspection]{
		Info: gate.Info{Name: "dm.inspect", Doc: "Break the glass: be granted one reading of others' conversation.", On: act.KindConversation, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in NewInspection) (gate.Resource, error) {
			if err := checkText("reason", strings.TrimSpace(in.Reason), MaxReason, true); err != nil {
				return gate.Resource{}, err
			}
			return n.inspectionTarget(v, in.Conversation)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in NewInspection) (Inspection, gate.Effects, error) {
			out := Inspection{Conversation: in.Conversation, Until: tx.Now() + inspectFor.Microseconds()}
			changed, err := tx.Exec(qInspectGrant, in.Conversation, p.ID, out.Until)
			if err == nil && changed == 0 {
				err = notFound(act.KindConversation)
			}
			return out, gate.Effects{Out: act.Ref{ID: in.Conversation}, Reason: strings.TrimSpace(in.Reason)}, err
		},
	})
	n.Reveal = gate.RegisterWrite(g, gate.Write[act.ID, Reading]{
		Info: gate.Info{Name: "dm.reveal", Doc: "Use up a granted reading of others' conversation.", On: act.KindConversation, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in act.ID) (gate.Resource, error) {
			return n.inspectionTarget(v, in)
		},
		Run: n.reveal,
	})
}

func (n *Network) inspectionTarget(v *store.View, id act.ID) (gate.Resource, error) {
	_, err := n.conversation(v, id, 0)
	return gate.Resource{
		Ref: act.Ref{ID: id}, Facts: gate.Facts{Kind: act.KindConversation, Visibility: gate.Restricted},
	}, err
}

// reveal opens a conversation for the operator who was granted a reading. The
// grant, the reading and its leaf are one transaction, so there is one leaf for
// each reading and no reading without one.
func (n *Network) reveal(_ context.Context, tx *store.Tx, p act.Principal, id act.ID) (out Reading, fx gate.Effects, err error) {
	c := Conversation{ID: id}
	granted, err := tx.One(qInspectUse, func(r *store.Row) error {
		c.key = conversationKey{r.Int(0), r.Bytes(1)}
		return nil
	}, id, p.ID, tx.Now())
	if err != nil {
		return out, fx, err
	}
	if !granted {
		return out, fx, act.Errorf(act.Denied, "no reading of this conversation is granted to you").WithRule("dm.inspect").
			WithHint("POST /v1/conversations/{id}/inspect with a reason and have it approved; it is good for one reading within an hour")
	}
	if _, err := tx.One(qConversationMeta, func(r *store.Row) error { out.Conversation = scanMeta(r); return nil }, id); err != nil {
		return out, fx, err
	}
	if err := n.addOwners(&tx.View, &out.Conversation); err != nil {
		return out, fx, err
	}
	out.Messages, err = n.messages(&tx.View, c, endOfOrder, maxReading)
	return out, gate.Effects{Out: act.Ref{ID: id}}, err
}

// SurveyCursor opens a cursor of operators' view of conversations.
func SurveyCursor(c *act.Codec, s ConversationState, text string) (act.Cursor, error) {
	return c.OpenCursor(surveyList(s), text)
}

func surveyList(s ConversationState) string { return "survey/" + s.String() }

func (n *Network) surveyConversations(_ context.Context, v *store.View, p act.Principal, in ConversationFilter) (page act.Page[ConversationMeta], err error) {
	limit := in.Limit
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, 100)
	from := [2]int64{endOfOrder, endOfOrder}
	if !in.Cursor.IsZero() {
		if len(in.Cursor.Keys) != 2 {
			return page, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor").WithHint("use next_cursor exactly as returned")
		}
		from = [2]int64(in.Cursor.Keys)
	}
	args := []any{int64(in.State), from[0], from[1], int64(limit + 1)}
	if in.Mine {
		page.Items, err = n.metasOf(v, p, args)
	} else {
		err = v.All(qConversationMetas, func(r *store.Row) error { page.Items = append(page.Items, scanMeta(r)); return nil }, args...)
	}
	if err != nil {
		return page, err
	}
	page.Next.List = surveyList(in.State)
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.Next.Keys = []int64{last.LastAt, int64(last.ID)}
	}
	for i := range page.Items {
		if err := n.addOwners(v, &page.Items[i]); err != nil {
			return page, err
		}
	}
	return page, nil
}

// metasOf merges what the agents that p answers for have, newest first.
func (n *Network) metasOf(v *store.View, p act.Principal, args []any) (list []ConversationMeta, err error) {
	agents, err := n.owners.AgentsOf(v, p)
	if err != nil {
		return nil, err
	}
	for _, agent := range agents {
		if err := v.All(qConversationMetasOf, func(r *store.Row) error { list = append(list, scanMeta(r)); return nil }, append(args, agent)...); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b ConversationMeta) int {
		return cmp.Or(cmp.Compare(b.LastAt, a.LastAt), cmp.Compare(b.ID, a.ID))
	})
	return slices.CompactFunc(list, func(a, b ConversationMeta) bool { return a.ID == b.ID }), nil
}

func (n *Network) addOwners(v *store.View, m *ConversationMeta) error {
	for _, side := range [...]*Party{&m.From, &m.To} {
		owner, err := n.owners.OwnerOf(v, side.Agent)
		if err != nil {
			return err
		}
		side.Owner = owner
	}
	return nil
}

func scanMeta(r *store.Row) ConversationMeta {
	m := ConversationMeta{
		ID: r.ID(0), State: ConversationState(r.Int(2)), Messages: r.Int(3), CreatedAt: r.Int(4), DecidedAt: r.Int(5),
		LastAt: r.Int(6), InspectUntil: r.Int(7),
		From: Party{Agent: r.ID(8), Name: r.Text(9)}, To: Party{Agent: r.ID(10), Name: r.Text(11)},
	}
	if m.From.Agent != r.ID(1) {
		m.From, m.To = m.To, m.From
	}
	return m
}
