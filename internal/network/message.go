package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Message is one message of a conversation, opened for one of its sides.
type Message struct {
	ID           act.ID
	Conversation act.ID
	Ord          int64 // 1 for the first of its conversation, without gaps
	Sender       act.ID
	SenderName   string
	Text         string
	NeedsHuman   bool // the sender asks that the other side's human sees it
	Origin       act.Origin
	CreatedAt    int64 // Unix microseconds
	ReadAt       int64 // Unix microseconds; 0 while unread
	standing     act.Standing
}

// NewMessage sends a message in a conversation.
type NewMessage struct {
	Conversation act.ID
	Text         string // 1 to MaxMessage characters
	NeedsHuman   bool
}

// MessageMark says that the caller has read a conversation.
type MessageMark struct {
	Conversation act.ID
	UpTo         int64 // the last message's Ord; 0 is all of them
}

// Marked is what a mark did.
type Marked struct {
	Conversation act.ID
	Read         int64 // messages that were unread before
}

// MessageQuery asks for a page of a conversation, the newest first.
type MessageQuery struct {
	Conversation act.ID
	Limit        int // 50 if 0, at most 100
	Cursor       act.Cursor
}

// MessagePage is a page of a conversation: the messages in the order they were
// sent. Next leads to older ones.
type MessagePage struct {
	act.Page[Message]
	Conversation Conversation
}

const (
	messageColumns = `m.id, m.conversation, m.ord, m.sender, m.body, m.needs_human, m.origin, m.created_at, m.read_at, s.name`
	messageJoins   = ` FROM message AS m JOIN profile AS s ON s.id = m.sender `

	qMessage      store.Q = `SELECT ` + messageColumns + messageJoins + `WHERE m.id = $1`
	qMessagesPage store.Q = `SELECT ` + messageColumns + messageJoins + `WHERE m.conversation = $1 AND m.ord < $2 ORDER BY m.ord DESC LIMIT $3`
	qMessageLast  store.Q = `SELECT id FROM message WHERE conversation = $1 AND sender = $2 ORDER BY ord DESC LIMIT 1`

	qMessageMake store.Q = `INSERT INTO message (id, conversation, ord, sender, body, needs_human, origin, read_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7)`
	// The row lock that this takes numbers the messages of a conversation in the
	// order of their commits.
	qConversationNext store.Q = `UPDATE conversation SET last_ord = last_ord + 1,
last_at = CASE WHEN last_at < $2 THEN $2 ELSE last_at END WHERE id = $1 AND epoch = $3 RETURNING last_ord`
	qMessagesRead store.Q = `UPDATE message SET read_at = $4 WHERE conversation = $1 AND sender = $2 AND read_at = 0 AND ord <= $3`

	qAddUnreadLow  store.Q = `UPDATE conversation SET unread_low = unread_low + $2 WHERE id = $1`
	qAddUnreadHigh store.Q = `UPDATE conversation SET unread_high = unread_high + $2 WHERE id = $1`
)

const endOfOrder = 1<<63 - 1

func (n *Network) registerMessage(g *gate.Gate) {
	n.SendMessage = gate.RegisterWrite(g, gate.Write[NewMessage, Message]{
		Info:   gate.Info{Name: "dm.send", Doc: "Send a message in a conversation that both sides agreed to.", On: act.KindConversation, Quota: gate.QuotaMessage},
		Shares: true,
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewMessage) (gate.Resource, error) {
			if err := checkWritten("message", in.Text, MaxMessage, true); err != nil {
				return gate.Resource{}, err
			}
			c, err := n.ownConversation(v, in.Conversation, p)
			if err != nil {
				return gate.Resource{}, err
			}
			if c.State != ConversationApproved {
				return gate.Resource{}, act.Errorf(act.Denied, "the conversation is %s", c.shownTo(p.ID)).WithRule("dm.state").
					WithHint("messages can be sent once the other side has approved; a new request opens what was rejected")
			}
			return n.conversationTarget(c, p.ID), nil
		},
		Run: n.sendMessage,
		Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (Message, error) {
			m, _, err := n.sentMessage(v, p, made.ID)
			return m, err
		},
	})
	n.MarkRead = gate.RegisterWrite(g, gate.Write[MessageMark, Marked]{
		Info: gate.Info{Name: "dm.mark", Doc: "Mark the messages of a conversation as read.", On: act.KindConversation, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in MessageMark) (gate.Resource, error) {
			c, err := n.ownConversation(v, in.Conversation, p)
			if err != nil {
				return gate.Resource{}, err
			}
			res := n.conversationTarget(c, p.ID)
			res.Guards = nil // reading what was sent stays allowed, whatever is decided meanwhile
			return res, nil
		},
		Run: n.markRead,
		Replay: func(_ context.Context, _ *store.View, _ act.Principal, made act.Ref) (Marked, error) {
			return Marked{Conversation: made.ID}, nil
		},
	})
	n.ReadConversation = gate.RegisterRead(g, gate.Read[MessageQuery, MessagePage]{
		Info: gate.Info{Name: "dm.read", Doc: "Read one of the caller's own conversations.", On: act.KindConversation, Also: []act.Kind{act.KindMessage}, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, p act.Principal, in MessageQuery) (gate.Resource, error) {
			c, err := n.ownConversation(v, in.Conversation, p)
			if err != nil {
				return gate.Resource{}, err
			}
			return n.conversationTarget(c, p.ID), nil
		},
		Run: n.readConversation,
		Shown: func(p act.Principal, page MessagePage, item func(act.Ref, gate.Facts) bool) MessagePage {
			page.Items = shownMessages(p, page.Items, item)
			return page
		},
	})
}

func (n *Network) sendMessage(_ context.Context, tx *store.Tx, p act.Principal, in NewMessage) (Message, gate.Effects, error) {
	c, err := n.ownConversation(&tx.View, in.Conversation, p)
	if err != nil {
		return Message{}, gate.Effects{}, err
	}
	found, err := tx.One(qConversationNext, func(r *store.Row) error { c.Count = r.Int(0); return nil }, c.ID, tx.Now(), c.epoch)
	if err != nil {
		return Message{}, gate.Effects{}, err
	}
	if !found || c.State != ConversationApproved {
		return Message{}, gate.Effects{}, gate.Moved()
	}
	var edges []gate.Edge
	if _, err := tx.One(qMessageLast, func(r *store.Row) error {
		edges = []gate.Edge{{From: act.Ref{ID: r.ID(0), Version: 1}, Kind: gate.EdgeMessage}}
		return nil
	}, c.ID, c.other(p.ID)); err != nil {
		return Message{}, gate.Effects{}, err
	}
	edges = append(edges, n.lift(p, &in.Text)...)
	m, sum, err := n.putMessage(tx, c, p, in)
	return m, gate.Effects{Out: act.Ref{ID: m.ID, Version: 1}, Edges: edges, In: sum}, err
}

// putMessage seals and stores the conversation's message number c.Count.
func (n *Network) putMessage(tx *store.Tx, c Conversation, p act.Principal, in NewMessage) (m Message, sum [32]byte, err error) {
	id, err := tx.Mint(act.KindMessage)
	if err != nil {
		return m, sum, err
	}
	e, err := n.openConversation(c.ID, c.key)
	if err != nil {
		return m, sum, err
	}
	body, sum := e.seal(id, p.ID, in.Text)
	human := int64(0)
	if in.NeedsHuman {
		human = 1
	}
	if err := tx.Batch(qMessageMake, id, c.ID, c.Count, p.ID, body, human, tx.Now()); err != nil {
		return m, sum, err
	}
	n.addUnread(tx, c, c.other(p.ID), 1)
	return Message{
		ID: id, Conversation: c.ID, Ord: c.Count, Sender: p.ID, SenderName: p.Name, Text: in.Text, NeedsHuman: in.NeedsHuman,
		Origin: act.OriginAgent, CreatedAt: tx.Now(), standing: n.standing(p.ID),
	}, sum, nil
}

// addUnread counts what an agent has not read.
func (n *Network) addUnread(tx *store.Tx, c Conversation, reader act.ID, delta int64) {
	tx.Touch(c.low, c.high)
	if reader == c.low {
		tx.Add(qAddUnreadLow, c.ID, delta)
		return
	}
	tx.Add(qAddUnreadHigh, c.ID, delta)
}

func (n *Network) markRead(_ context.Context, tx *store.Tx, p act.Principal, in MessageMark) (Marked, gate.Effects, error) {
	c, err := n.ownConversation(&tx.View, in.Conversation, p)
	if err != nil {
		return Marked{}, gate.Effects{}, err
	}
	upTo := in.UpTo
	if upTo <= 0 {
		upTo = c.Count
	}
	// Of two marks at once the second waits for the rows and finds them read.
	read, err := tx.Exec(qMessagesRead, c.ID, c.other(p.ID), upTo, tx.Now())
	if err != nil {
		return Marked{}, gate.Effects{}, err
	}
	n.addUnread(tx, c, p.ID, -read)
	return Marked{Conversation: c.ID, Read: read}, gate.Effects{Out: act.Ref{ID: c.ID}, Named: true}, nil
}

// messageList names the list a cursor of messages belongs to.
const messageList = "messages"

// MessageCursor opens a cursor of a conversation's messages.
func MessageCursor(c *act.Codec, text string) (act.Cursor, error) {
	return c.OpenCursor(messageList, text)
}

func (n *Network) readConversation(_ context.Context, v *store.View, p act.Principal, in MessageQuery) (page MessagePage, err error) {
	c, err := n.ownConversation(v, in.Conversation, p)
	if err != nil {
		return page, err
	}
	c.State = c.shownTo(p.ID)
	page.Conversation = c
	limit := in.Limit
	if limit <= 0 {
		limit = 50
	}
	limit = min(limit, 100)
	before := int64(endOfOrder)
	if !in.Cursor.IsZero() {
		if len(in.Cursor.Keys) != 2 || in.Cursor.Keys[0] != int64(c.ID) {
			return page, act.Errorf(act.Invalid, "the cursor is not one of this conversation").WithRule("cursor").
				WithHint("use next_cursor exactly as returned")
		}
		before = in.Cursor.Keys[1]
	}
	if page.Items, err = n.messages(v, c, before, limit+1); err != nil {
		return page, err
	}
	page.Next.List = messageList
	if len(page.Items) > limit {
		page.Items = page.Items[1:] // the oldest stands first
		page.Next.Keys = []int64{int64(c.ID), page.Items[0].Ord}
	}
	return page, nil
}

// messages opens the last messages of a conversation before one, oldest first.
func (n *Network) messages(v *store.View, c Conversation, before int64, limit int) ([]Message, error) {
	e, err := n.openConversation(c.ID, c.key)
	if err != nil {
		return nil, err
	}
	var list []Message
	if err := v.All(qMessagesPage, func(r *store.Row) error {
		m, err := n.scanMessage(r, e)
		list = append(list, m)
		return err
	}, c.ID, before, int64(limit)); err != nil {
		return nil, err
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list, nil
}

func (n *Network) scanMessage(r *store.Row, e envelope) (m Message, err error) {
	m = Message{
		ID: r.ID(0), Conversation: r.ID(1), Ord: r.Int(2), Sender: r.ID(3), NeedsHuman: r.Bool(5),
		Origin: act.Origin(r.Int(6)), CreatedAt: r.Int(7), ReadAt: r.Int(8), SenderName: r.Text(9),
	}
	m.standing = n.standing(m.Sender)
	m.Text, err = e.open(m.ID, m.Sender, r.Bytes(4))
	return m, err
}

// sentMessage finds a message that p sent, to render it again.
func (n *Network) sentMessage(v *store.View, p act.Principal, id act.ID) (m Message, c Conversation, err error) {
	var body []byte
	found, err := v.One(qMessage, func(r *store.Row) error {
		body = r.Bytes(4)
		m = Message{
			ID: r.ID(0), Conversation: r.ID(1), Ord: r.Int(2), Sender: r.ID(3), NeedsHuman: r.Bool(5),
			Origin: act.Origin(r.Int(6)), CreatedAt: r.Int(7), ReadAt: r.Int(8), SenderName: r.Text(9),
		}
		return nil
	}, id)
	if err == nil && (!found || m.Sender != p.ID) {
		err = notFound(act.KindMessage)
	}
	if err != nil {
		return m, c, err
	}
	if c, err = n.ownConversation(v, m.Conversation, p); err != nil {
		return m, c, err
	}
	e, err := n.openConversation(c.ID, c.key)
	if err != nil {
		return m, c, err
	}
	m.Text, err = e.open(m.ID, m.Sender, body)
	return m, c, err
}

// shownMessages lists the other side's messages and takes out what the reader
// may not see.
func shownMessages(p act.Principal, list []Message, item func(act.Ref, gate.Facts) bool) []Message {
	kept := list[:0]
	for _, m := range list {
		if m.Sender == p.ID || item(act.Ref{ID: m.ID, Version: 1}, messageFacts(m)) {
			kept = append(kept, m)
		}
	}
	return kept
}

func messageFacts(m Message) gate.Facts {
	return gate.Facts{Kind: act.KindMessage, Author: m.Sender, AuthorStanding: m.standing, Origin: m.Origin, Visibility: gate.Restricted}
}
