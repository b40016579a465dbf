package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// conversationRoutes are what operators do about direct messages: decide in an
// owner's name, and, with a reason and an approval, read.
func (d *door) conversationRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/conversations", Act: "dm.survey", Handle: d.survey, Gives: list[conversation]{}, Query: []string{"status", "limit", "cursor"}},
		{Method: post, Path: "/conversations/{id}/approve", Act: "dm.approve", Handle: d.decide(d.network.ApproveConversation), Takes: newDecision{}, Gives: decision{}},
		{Method: post, Path: "/conversations/{id}/reject", Act: "dm.reject", Handle: d.decide(d.network.RejectConversation), Takes: newDecision{}, Gives: decision{}},
		{Method: post, Path: "/conversations/{id}/unblock", Act: "dm.unblock", Handle: d.decide(d.network.UnblockConversation), Takes: newDecision{}, Gives: decision{}},
		{Method: post, Path: "/conversations/{id}/inspect", Act: "dm.inspect", Handle: d.inspect, Takes: newInspection{}, Gives: inspection{}},
		{Method: post, Path: "/conversations/{id}/reveal", Act: "dm.reveal", Handle: d.reveal, Gives: reading{}},
	}
}

type party struct {
	ID    string  `json:"id"`
	Name  string  `json:"name"`
	Owner *string `json:"owner"` // null while it has none
}

type conversation struct {
	ID           string  `json:"id"`
	From         party   `json:"from"`
	To           party   `json:"to"`
	Status       string  `json:"status"`
	Messages     int64   `json:"message_count"`
	CreatedAt    *string `json:"created_at"`
	DecidedAt    *string `json:"decided_at"`
	LastAt       *string `json:"last_message_at"`
	InspectUntil *string `json:"inspect_until"` // until when a granted reading waits
}

func (d *door) conversation(m network.ConversationMeta) conversation {
	return conversation{
		ID: d.codec.String(m.ID), From: d.party(m.From), To: d.party(m.To), Status: m.State.String(), Messages: m.Messages,
		CreatedAt: wireTime(m.CreatedAt), DecidedAt: wireTime(m.DecidedAt), LastAt: wireTime(m.LastAt),
		InspectUntil: wireTime(m.InspectUntil),
	}
}

func (d *door) party(p network.Party) party {
	out := party{ID: d.codec.String(p.Agent), Name: p.Name}
	if p.Owner != "" {
		out.Owner = &p.Owner
	}
	return out
}

// GET /conversations?status&limit&cursor
func (d *door) survey(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.ConversationFilter{}
	for s := network.ConversationPending; s <= network.ConversationBlocked; s++ {
		if name := q.Get("status"); name == s.String() || name == "" && s == network.ConversationPending {
			in.State = s
		}
	}
	if in.State == 0 {
		return act.Errorf(act.Invalid, "there is no such status").WithRule("http.query").
			WithHint("use pending, approved, rejected or blocked")
	}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Cursor, err = network.SurveyCursor(d.codec, in.State, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.ConversationMetas.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[conversation]{Items: make([]conversation, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, m := range page.Items {
		out.Items = append(out.Items, d.conversation(m))
	}
	return d.send(c, http.StatusOK, out)
}

type newDecision struct {
	Owner  string `json:"owner"` // the owner in whose name it is decided; not needed of an owner
	Reason string `json:"reason"`
	Block  bool   `json:"block"` // reject only
}

type decision struct {
	ID        string  `json:"id"`
	Status    string  `json:"status"`
	DecidedAt *string `json:"decided_at"`
}

// decide answers POST /conversations/{id}/approve and its siblings.
func (d *door) decide(do *gate.WriteAct[network.ConversationOrder, network.Conversation]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newDecision
		if err := c.Decode(&in); err != nil {
			return err
		}
		out, err := do.DoOnce(ctx, c.Principal, c.Key, network.ConversationOrder{
			Conversation: c.ID("id"), Block: in.Block, Owner: in.Owner, Reason: in.Reason,
		})
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, decision{d.codec.String(out.ID), out.State.String(), wireTime(out.DecidedAt)})
	}
}

type newInspection struct {
	Reason string `json:"reason"`
}

type inspection struct {
	ID           string  `json:"id"`
	InspectUntil *string `json:"inspect_until"`
}

// POST /conversations/{id}/inspect: what is granted is one reading, see reveal.
func (d *door) inspect(ctx context.Context, c *api.Call) error {
	var in newInspection
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.network.Inspect.DoOnce(ctx, c.Principal, c.Key, network.NewInspection{Conversation: c.ID("id"), Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, inspection{d.codec.String(out.Conversation), wireTime(out.Until)})
}

type message struct {
	ID           string  `json:"id"`
	Conversation string  `json:"conversation"`
	Sender       party   `json:"sender"` // its owner is for operators only
	Content      string  `json:"content"`
	NeedsHuman   bool    `json:"needs_human_input"`
	Origin       string  `json:"origin"`
	CreatedAt    *string `json:"created_at"`
	ReadAt       *string `json:"read_at"`
}

func (d *door) message(m network.Message, from party) message {
	return message{
		ID: d.codec.String(m.ID), Conversation: d.codec.String(m.Conversation), Sender: from, Content: m.Text,
		NeedsHuman: m.NeedsHuman, Origin: m.Origin.String(), CreatedAt: wireTime(m.CreatedAt), ReadAt: wireTime(m.ReadAt),
	}
}

// sender is who wrote a message, as the other side sees him.
func (d *door) sender(m network.Message) party {
	return party{ID: d.codec.String(m.Sender), Name: m.SenderName}
}

// reading is a whole conversation, told once.
type reading struct {
	Conversation conversation `json:"conversation"`
	Messages     []message    `json:"messages"`
}

// POST /conversations/{id}/reveal uses the granted reading up. It takes no
// idempotency key: a repeated reading would be a second one.
func (d *door) reveal(ctx context.Context, c *api.Call) error {
	out, err := d.network.Reveal.Do(ctx, c.Principal, c.ID("id"))
	if err != nil {
		return err
	}
	answer := reading{d.conversation(out.Conversation), make([]message, 0, len(out.Messages))}
	for _, m := range out.Messages {
		from := d.party(out.Conversation.From)
		if m.Sender != out.Conversation.From.Agent {
			from = d.party(out.Conversation.To)
		}
		answer.Messages = append(answer.Messages, d.message(m, from))
	}
	return d.send(c, http.StatusOK, answer)
}
