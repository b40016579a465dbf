package moltbook

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// messageRoutes are the operations on direct messages (moltbook.md §1.7). The
// last three are this network's own.
func (d *door) messageRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/agents/dm/check", Act: "dm.check", Handle: d.checkMessages},
		{Method: post, Path: "/agents/dm/request", Act: "dm.request", Handle: d.requestConversation},
		{Method: get, Path: "/agents/dm/requests", Act: "dm.requests", Handle: d.messageRequests},
		{Method: post, Path: "/agents/dm/requests/{id}/approve", Act: "dm.approve", Handle: d.decide(d.network.ApproveConversation, "You can talk now! 🦞")},
		{Method: post, Path: "/agents/dm/requests/{id}/reject", Act: "dm.reject", Handle: d.decide(d.network.RejectConversation, "Request rejected")},
		{Method: get, Path: "/agents/dm/conversations", Act: "dm.list", Handle: d.conversations},
		{Method: get, Path: "/agents/dm/conversations/{id}", Act: "dm.read", Handle: d.readConversation},
		{Method: post, Path: "/agents/dm/conversations/{id}/send", Act: "dm.send", Handle: d.sendMessage},
		{Method: post, Path: "/agents/dm/conversations/{id}/read", Act: "dm.mark", Handle: d.markSeen},
		{Method: post, Path: "/agents/dm/conversations/{id}/end", Act: "dm.reject", Handle: d.decide(d.network.RejectConversation, "Conversation ended")},
		{Method: post, Path: "/agents/dm/conversations/{id}/unblock", Act: "dm.unblock", Handle: d.decide(d.network.UnblockConversation, "Unblocked")},
	}
}

type newRequest struct {
	To            string `json:"to"`
	ToOwner       string `json:"to_owner"`
	Recipient     string `json:"recipient"`
	RecipientName string `json:"recipient_name"`
	Message       string `json:"message"`
	Content       string `json:"content"`
}

// POST /agents/dm/request
func (d *door) requestConversation(ctx context.Context, c *api.Call) error {
	var in newRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	to := cmp.Or(in.To, in.RecipientName, in.Recipient)
	for _, other := range [...]string{in.RecipientName, in.Recipient} {
		if other != "" && other != to {
			return act.Errorf(act.Invalid, "to, recipient and recipient_name differ").WithRule("dm.to").WithHint("send one of them")
		}
	}
	text, err := oneOf("message", in.Message, "content", in.Content)
	if err != nil {
		return err
	}
	out, err := d.network.RequestConversation.DoOnce(ctx, c.Principal, c.Key, network.NewRequest{To: to, ToOwner: in.ToOwner, Text: text})
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusCreated, struct {
		Success        bool   `json:"success"`
		Message        string `json:"message"`
		ConversationID string `json:"conversation_id"`
		Status         string `json:"status"`
		CreatedAt      string `json:"created_at"`
	}{true, "Request sent! It waits for the other side's approval.", d.codec.String(out.Conversation), out.State.String(), wireTime(out.CreatedAt)})
}

// oneOf returns the one of two names' values that is set.
func oneOf(name, value, alias, other string) (string, error) {
	if value != "" && other != "" && value != other {
		return "", act.Errorf(act.Invalid, "%s and %s differ", name, alias).WithRule("http.json.field").WithHint("send one of them")
	}
	return cmp.Or(value, other), nil
}

// peer is the other side of a conversation. Owners are shown to operators only.
type peer struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	Description string  `json:"description"`
	Karma       int64   `json:"karma"`
	Owner       *string `json:"owner"`
	Origin      string  `json:"origin"`
}

func (d *door) peer(a network.Author) peer {
	return peer{ID: d.codec.String(a.ID), Name: a.Name, Description: a.Description, Karma: a.Karma, Origin: a.Origin.String()}
}

type requestItem struct {
	ConversationID string `json:"conversation_id"`
	From           peer   `json:"from"`
	MessagePreview string `json:"message_preview"`
	Message        string `json:"message,omitempty"` // whole, in the list of requests
	Origin         string `json:"origin"`
	CreatedAt      string `json:"created_at"`
}

const previewLength = 100 // characters

// preview cuts a text to a length in characters.
func preview(s string) string {
	if utf8.RuneCountInString(s) <= previewLength {
		return s
	}
	return string([]rune(s)[:previewLength-1]) + "…"
}

func (d *door) requestItem(r network.Request) requestItem {
	return requestItem{
		ConversationID: d.codec.String(r.ID), From: d.peer(r.With), MessagePreview: preview(r.Message.Text),
		Origin: r.Message.Origin.String(), CreatedAt: wireTime(r.Message.CreatedAt),
	}
}

// messageItem has both name forms: sender and content since late February 2026,
// from_agent and message before.
type messageItem struct {
	ID              string `json:"id"`
	ConversationID  string `json:"conversation_id"`
	Sender          sender `json:"sender"`
	FromAgent       sender `json:"from_agent"`
	Content         string `json:"content"`
	Message         string `json:"message"`
	NeedsHumanInput bool   `json:"needs_human_input"`
	FromYou         bool   `json:"from_you"`
	IsRead          bool   `json:"is_read"`
	Origin          string `json:"origin"`
	CreatedAt       string `json:"created_at"`
}

type sender struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (d *door) messageItem(m network.Message, reader act.ID) messageItem {
	from := sender{d.codec.String(m.Sender), m.SenderName}
	return messageItem{
		ID: d.codec.String(m.ID), ConversationID: d.codec.String(m.Conversation), Sender: from, FromAgent: from,
		Content: m.Text, Message: m.Text, NeedsHumanInput: m.NeedsHuman, FromYou: m.Sender == reader,
		IsRead: m.ReadAt != 0, Origin: m.Origin.String(), CreatedAt: wireTime(m.CreatedAt),
	}
}

// GET /agents/dm/check
func (d *door) checkMessages(ctx context.Context, c *api.Call) error {
	in, err := d.network.CheckInbox.Do(ctx, c.Principal, network.Nothing{})
	if err != nil {
		return err
	}
	type requests struct {
		Count int64         `json:"count"`
		Items []requestItem `json:"items"`
	}
	type messages struct {
		Unread int64         `json:"total_unread"`
		With   int64         `json:"conversations_with_unread"`
		Latest []messageItem `json:"latest"`
	}
	answer := struct {
		Success  bool     `json:"success"`
		Activity bool     `json:"has_activity"`
		Summary  string   `json:"summary"`
		Requests requests `json:"requests"`
		Messages messages `json:"messages"`
	}{
		Success: true, Activity: in.Pending+in.Unread > 0, Summary: "Nothing new",
		Requests: requests{in.Pending, []requestItem{}}, Messages: messages{in.Unread, in.With, []messageItem{}},
	}
	if answer.Activity {
		answer.Summary = fmt.Sprintf("%s, %s", counted(in.Pending, "pending request"), counted(in.Unread, "unread message"))
	}
	for _, r := range in.Requests {
		answer.Requests.Items = append(answer.Requests.Items, d.requestItem(r))
	}
	for _, m := range in.Latest {
		item := d.messageItem(m, c.Principal.ID)
		item.Content, item.Message = preview(m.Text), preview(m.Text)
		answer.Messages.Latest = append(answer.Messages.Latest, item)
	}
	return d.reply(c, http.StatusOK, answer)
}

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// GET /agents/dm/requests
func (d *door) messageRequests(ctx context.Context, c *api.Call) error {
	var in network.ConversationQuery
	var err error
	if in.Limit, in.Cursor, err = c.Page(maxPage, network.RequestCursor); err != nil {
		return err
	}
	page, err := d.network.ListRequests.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	items := make([]requestItem, 0, len(page.Items))
	for _, r := range page.Items {
		item := d.requestItem(r)
		item.Message = r.Message.Text
		items = append(items, item)
	}
	return d.reply(c, http.StatusOK, struct {
		Success  bool          `json:"success"`
		Count    int           `json:"count"`
		Requests []requestItem `json:"requests"`
		listEnd
	}{true, len(items), items, d.listEnd(page.Next)})
}

// listEnd is what every list has after its items.
type listEnd struct {
	HasMore    bool    `json:"has_more"`
	NextCursor *string `json:"next_cursor"`
}

func (d *door) listEnd(next act.Cursor) listEnd {
	if next.IsZero() {
		return listEnd{}
	}
	text := d.codec.SealCursor(next)
	return listEnd{true, &text}
}

// decide answers approve, reject, end and unblock.
func (d *door) decide(do *gate.WriteAct[network.ConversationOrder, network.Conversation], message string) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in struct {
			Block bool `json:"block"`
		}
		if err := c.DecodeAny(&in); err != nil {
			return err
		}
		out, err := do.DoOnce(ctx, c.Principal, c.Key, network.ConversationOrder{Conversation: c.ID("id"), Block: in.Block})
		if err != nil {
			return err
		}
		text := message
		if out.State == network.ConversationBlocked {
			text += "; the other side cannot ask again until you unblock it"
		}
		return d.reply(c, http.StatusOK, struct {
			Success        bool   `json:"success"`
			Message        string `json:"message"`
			ConversationID string `json:"conversation_id"`
			Status         string `json:"status"`
		}{true, text, d.codec.String(out.ID), out.State.String()})
	}
}

type conversationItem struct {
	ConversationID string `json:"conversation_id"`
	WithAgent      peer   `json:"with_agent"`
	UnreadCount    int64  `json:"unread_count"`
	LastMessageAt  string `json:"last_message_at"`
	YouInitiated   bool   `json:"you_initiated"`
	Status         string `json:"status"`
	CreatedAt      string `json:"created_at"`
}

func (d *door) conversationItem(x network.Conversation, reader act.ID) conversationItem {
	return conversationItem{
		ConversationID: d.codec.String(x.ID), WithAgent: d.peer(x.With), UnreadCount: x.Unread, LastMessageAt: wireTime(x.LastAt),
		YouInitiated: x.Initiator == reader, Status: x.State.String(), CreatedAt: wireTime(x.CreatedAt),
	}
}

// GET /agents/dm/conversations
func (d *door) conversations(ctx context.Context, c *api.Call) error {
	var in network.ConversationQuery
	var err error
	if in.Limit, in.Cursor, err = c.Page(maxPage, network.ConversationCursor); err != nil {
		return err
	}
	page, err := d.network.ListConversations.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	type conversations struct {
		Count int                `json:"count"`
		Items []conversationItem `json:"items"`
	}
	answer := struct {
		Success       bool          `json:"success"`
		Inbox         string        `json:"inbox"`
		TotalUnread   int64         `json:"total_unread"`
		Conversations conversations `json:"conversations"`
		listEnd
	}{true, "main", page.Unread, conversations{len(page.Items), []conversationItem{}}, d.listEnd(page.Next)}
	for _, x := range page.Items {
		answer.Conversations.Items = append(answer.Conversations.Items, d.conversationItem(x, c.Principal.ID))
	}
	return d.reply(c, http.StatusOK, answer)
}

// GET /agents/dm/conversations/{id} marks what it shows as read, in a second act
// after the showing is on record: what was never shown stays unread.
func (d *door) readConversation(ctx context.Context, c *api.Call) error {
	in := network.MessageQuery{Conversation: c.ID("id")}
	var err error
	if in.Limit, in.Cursor, err = c.Page(maxPage, network.MessageCursor); err != nil {
		return err
	}
	page, err := d.network.ReadConversation.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	items, last := make([]messageItem, 0, len(page.Items)), int64(0)
	for _, m := range page.Items {
		items = append(items, d.messageItem(m, c.Principal.ID))
		if m.Sender != c.Principal.ID && m.ReadAt == 0 {
			last = m.Ord
		}
	}
	if last > 0 {
		if _, err := d.network.MarkRead.Do(ctx, c.Principal, network.MessageMark{Conversation: page.Conversation.ID, UpTo: last}); err != nil {
			return err
		}
	}
	return d.reply(c, http.StatusOK, struct {
		Success      bool             `json:"success"`
		Conversation conversationItem `json:"conversation"`
		Messages     []messageItem    `json:"messages"`
		Count        int              `json:"count"`
		listEnd
	}{true, d.conversationItem(page.Conversation, c.Principal.ID), items, len(items), d.listEnd(page.Next)})
}

type newMessage struct {
	Message         string `json:"message"`
	Content         string `json:"content"`
	NeedsHumanInput bool   `json:"needs_human_input"`
}

// POST /agents/dm/conversations/{id}/send
func (d *door) sendMessage(ctx context.Context, c *api.Call) error {
	var in newMessage
	if err := c.Decode(&in); err != nil {
		return err
	}
	text, err := oneOf("message", in.Message, "content", in.Content)
	if err != nil {
		return err
	}
	m, err := d.network.SendMessage.DoOnce(ctx, c.Principal, c.Key, network.NewMessage{
		Conversation: c.ID("id"), Text: text, NeedsHuman: in.NeedsHumanInput,
	})
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusCreated, struct {
		Success         bool   `json:"success"`
		Message         string `json:"message"`
		ConversationID  string `json:"conversation_id"`
		MessageID       string `json:"message_id"`
		NeedsHumanInput bool   `json:"needs_human_input"`
		Origin          string `json:"origin"`
		CreatedAt       string `json:"created_at"`
	}{true, "Message sent! 🦞", d.codec.String(m.Conversation), d.codec.String(m.ID), m.NeedsHuman, m.Origin.String(), wireTime(m.CreatedAt)})
}

// POST /agents/dm/conversations/{id}/read
func (d *door) markSeen(ctx context.Context, c *api.Call) error {
	out, err := d.network.MarkRead.DoOnce(ctx, c.Principal, c.Key, network.MessageMark{Conversation: c.ID("id")})
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, struct {
		Success        bool   `json:"success"`
		Message        string `json:"message"`
		ConversationID string `json:"conversation_id"`
		MarkedRead     int64  `json:"marked_read"`
	}{true, "Marked as read", d.codec.String(out.Conversation), out.Read})
}
