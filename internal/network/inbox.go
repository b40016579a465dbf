package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ConversationQuery asks for a page of the caller's conversations, the one with
// the newest message first.
type ConversationQuery struct {
	Limit  int // 50 if 0, at most 100
	Cursor act.Cursor
}

// ConversationPage is a page of conversations.
type ConversationPage struct {
	act.Page[Conversation]
	Unread int64 // messages unread in all of the caller's open conversations
}

// Request is a request that waits for the caller, with what it says.
type Request struct {
	Conversation
	Message Message
}

// MessageInbox is what waits for the caller.
type MessageInbox struct {
	Pending  int64     // requests that wait for a decision
	Requests []Request // the newest of them, inboxItems at most
	Unread   int64     // messages
	With     int64     // open conversations with unread messages
	Latest   []Message // the newest unread message of each, inboxItems at most
}

const inboxItems = 10

const (
	conversationPage = `page AS (SELECT id, high AS peer FROM conversation WHERE low = $1 AND (last_at, id) < ($2, $3)`
	conversationHalf = ` UNION ALL SELECT id, low AS peer FROM conversation WHERE high = $1 AND (last_at, id) < ($2, $3)`
	conversationOver = `) SELECT ` + conversationColumns + ` FROM page JOIN conversation AS c ON c.id = page.id
JOIN profile AS a ON a.id = page.peer ORDER BY c.last_at DESC, c.id DESC LIMIT $4`

	// Requests that wait for the agent stand in a list of their own.
	notWaiting = ` AND NOT (state = 1 AND initiator <> $1)`
	waiting    = ` AND state = 1 AND initiator <> $1`

	qConversationsOf store.Q = `WITH ` + conversationPage + notWaiting + conversationHalf + notWaiting + conversationOver
	qRequestsFor     store.Q = `WITH ` + conversationPage + waiting + conversationHalf + waiting + conversationOver
	qUnreadOf        store.Q = `WITH ` + conversationPage + ` AND state = 2 AND unread_low > 0` + conversationHalf + ` AND state = 2 AND unread_high > 0` + conversationOver

	qMessageCounts store.Q = `SELECT CAST(COALESCE(SUM(CASE WHEN x.state = 1 AND x.initiator <> $1 THEN 1 ELSE 0 END), 0) AS BIGINT),
CAST(COALESCE(SUM(CASE WHEN x.state = 2 THEN x.unread ELSE 0 END), 0) AS BIGINT),
CAST(COALESCE(SUM(CASE WHEN x.state = 2 AND x.unread > 0 THEN 1 ELSE 0 END), 0) AS BIGINT)
FROM (SELECT state, initiator, unread_low AS unread FROM conversation WHERE low = $1
  UNION ALL SELECT state, initiator, unread_high AS unread FROM conversation WHERE high = $1) AS x`

	qMessageByOrd      store.Q = `SELECT ` + messageColumns + messageJoins + `WHERE m.conversation = $1 AND m.ord = $2`
	qMessageLastUnread store.Q = `SELECT ` + messageColumns + messageJoins + `WHERE m.conversation = $1 AND m.sender = $2 AND m.read_at = 0
ORDER BY m.ord DESC LIMIT 1`
)

func (n *Network) registerInbox(g *gate.Gate) {
	target := func(_ context.Context, _ *store.View, p act.Principal, _ ConversationQuery) (gate.Resource, error) {
		return own(p), nil
	}
	n.ListConversations = gate.RegisterRead(g, gate.Read[ConversationQuery, ConversationPage]{
		Info:   gate.Info{Name: "dm.list", Doc: "List the caller's own conversations.", On: act.KindAgent, Quota: gate.QuotaRead},
		Target: target,
		Run: func(_ context.Context, v *store.View, p act.Principal, in ConversationQuery) (page ConversationPage, err error) {
			page.Page, err = n.conversations(v, qConversationsOf, p, in, conversationList)
			if err == nil {
				_, page.Unread, _, err = n.countMessages(v, p.ID)
			}
			return page, err
		},
	})
	n.ListRequests = gate.RegisterRead(g, gate.Read[ConversationQuery, act.Page[Request]]{
		Info:   gate.Info{Name: "dm.requests", Doc: "List the requests for a conversation that wait for the caller.", On: act.KindAgent, Also: []act.Kind{act.KindMessage}, Quota: gate.QuotaRead},
		Target: target,
		Run: func(_ context.Context, v *store.View, p act.Principal, in ConversationQuery) (act.Page[Request], error) {
			return n.requests(v, p, in)
		},
		Shown: func(_ act.Principal, page act.Page[Request], item func(act.Ref, gate.Facts) bool) act.Page[Request] {
			page.Items = shownRequests(page.Items, item)
			return page
		},
	})
	n.CheckInbox = gate.RegisterRead(g, gate.Read[Nothing, MessageInbox]{
		Info: gate.Info{Name: "dm.check", Doc: "See whether requests or messages wait for the caller.", On: act.KindAgent, Also: []act.Kind{act.KindMessage}, Quota: gate.QuotaRead},
		Target: func(_ context.Context, _ *store.View, p act.Principal, _ Nothing) (gate.Resource, error) {
			return own(p), nil
		},
		Run: n.checkInbox,
		Shown: func(p act.Principal, in MessageInbox, item func(act.Ref, gate.Facts) bool) MessageInbox {
			in.Requests = shownRequests(in.Requests, item)
			in.Latest = shownMessages(p, in.Latest, item)
			return in
		},
	})
}

func shownRequests(list []Request, item func(act.Ref, gate.Facts) bool) []Request {
	kept := list[:0]
	for _, r := range list {
		if item(act.Ref{ID: r.Message.ID, Version: 1}, messageFacts(r.Message)) {
			kept = append(kept, r)
		}
	}
	return kept
}

// The lists that cursors of conversations belong to.
const (
	conversationList = "conversations"
	requestList      = "requests"
)

// ConversationCursor opens a cursor of the caller's conversations.
func ConversationCursor(c *act.Codec, text string) (act.Cursor, error) {
	return c.OpenCursor(conversationList, text)
}

// RequestCursor opens a cursor of the requests that wait.
func RequestCursor(c *act.Codec, text string) (act.Cursor, error) {
	return c.OpenCursor(requestList, text)
}

// conversations reads a page of p's conversations.
func (n *Network) conversations(v *store.View, q store.Q, p act.Principal, in ConversationQuery, list string) (page act.Page[Conversation], err error) {
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
	if err := v.All(q, func(r *store.Row) error {
		c := n.scanConversation(r, p.ID)
		c.State = c.shownTo(p.ID)
		page.Items = append(page.Items, c)
		return nil
	}, p.ID, from[0], from[1], int64(limit+1)); err != nil {
		return page, err
	}
	page.Next.List = list
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.Next.Keys = []int64{last.LastAt, int64(last.ID)}
	}
	return page, nil
}

func (n *Network) requests(v *store.View, p act.Principal, in ConversationQuery) (page act.Page[Request], err error) {
	list, err := n.conversations(v, qRequestsFor, p, in, requestList)
	if err != nil {
		return page, err
	}
	page.Next = list.Next
	for _, c := range list.Items {
		m, found, err := n.oneMessage(v, c, qMessageByOrd, c.Count) // nothing is sent while a request waits
		if err != nil {
			return page, err
		}
		if found {
			page.Items = append(page.Items, Request{c, m})
		}
	}
	return page, nil
}

// oneMessage opens the message of a conversation that a query finds.
func (n *Network) oneMessage(v *store.View, c Conversation, q store.Q, by any) (m Message, found bool, err error) {
	e, err := n.openConversation(c.ID, c.key)
	if err != nil {
		return m, false, err
	}
	found, err = v.One(q, func(r *store.Row) (err error) { m, err = n.scanMessage(r, e); return err }, c.ID, by)
	return m, found, err
}

func (n *Network) checkInbox(_ context.Context, v *store.View, p act.Principal, _ Nothing) (in MessageInbox, err error) {
	if in.Pending, in.Unread, in.With, err = n.countMessages(v, p.ID); err != nil {
		return in, err
	}
	if in.Pending > 0 {
		page, err := n.requests(v, p, ConversationQuery{Limit: inboxItems})
		if err != nil {
			return in, err
		}
		in.Requests = page.Items
	}
	if in.Unread == 0 {
		return in, nil
	}
	page, err := n.conversations(v, qUnreadOf, p, ConversationQuery{Limit: inboxItems}, conversationList)
	if err != nil {
		return in, err
	}
	for _, c := range page.Items {
		m, found, err := n.oneMessage(v, c, qMessageLastUnread, c.other(p.ID))
		if err != nil {
			return in, err
		}
		if found {
			in.Latest = append(in.Latest, m)
		}
	}
	return in, nil
}

// messageCounts says how many requests and how many unread messages wait for an
// agent.
func (n *Network) messageCounts(v *store.View, agent act.ID) (pending, unread int64, err error) {
	pending, unread, _, err = n.countMessages(v, agent)
	return pending, unread, err
}

func (n *Network) countMessages(v *store.View, agent act.ID) (pending, unread, with int64, err error) {
	_, err = v.One(qMessageCounts, func(r *store.Row) error {
		pending, unread, with = r.Int(0), r.Int(1), r.Int(2)
		return nil
	}, agent)
	return pending, unread, with, err
}
