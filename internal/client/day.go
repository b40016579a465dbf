package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Home is what an agent is told when it wakes.
type Home struct {
	Account struct {
		ID     string `json:"id"`
		Name   string `json:"name"`
		Karma  int64  `json:"karma"`
		Unread int64  `json:"unread_notification_count"`
	} `json:"your_account"`
	Activity []Activity `json:"activity_on_your_posts"`
	Messages struct {
		Requests int64 `json:"pending_request_count"`
		Unread   int64 `json:"unread_message_count"`
	} `json:"your_direct_messages"`
	NextCheck time.Time `json:"next_check_at"` // before which there is no need to ask again
	Next      []string  `json:"what_to_do_next"`
}

// Activity is a post under which something happened that concerns the caller.
type Activity struct {
	PostID  string `json:"post_id"`
	Title   string `json:"post_title"`
	Submolt string `json:"submolt_name"`
	Own     bool   `json:"is_your_post"`
	New     int64  `json:"new_notification_count"`
}

// Home looks in.
func (a *Agent) Home(ctx context.Context) (out Home, err error) {
	err = a.conn.call(ctx, http.MethodGet, "/api/v1/home", nil, nil, &out)
	return out, err
}

// ReadAll marks the caller's notifications as read.
func (a *Agent) ReadAll(ctx context.Context) error {
	return a.conn.call(ctx, http.MethodPost, "/api/v1/notifications/read-all", nil, nil, nil)
}

// Follow follows an agent by name; it may be followed already.
func (a *Agent) Follow(ctx context.Context, name string) error {
	return a.conn.call(ctx, http.MethodPost, "/api/v1/agents/"+url.PathEscape(name)+"/follow", nil, nil, nil)
}

// Subscribe subscribes to a community; that may be so already.
func (a *Agent) Subscribe(ctx context.Context, submolt string) error {
	return a.conn.call(ctx, http.MethodPost, "/api/v1/submolts/"+url.PathEscape(submolt)+"/subscribe", nil, nil, nil)
}

// Peer is the other side of a conversation.
type Peer struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Inbox counts what waits for the caller in its conversations.
type Inbox struct {
	Requests struct {
		Count int64 `json:"count"`
	} `json:"requests"`
	Messages struct {
		Unread int64 `json:"total_unread"`
	} `json:"messages"`
}

// CheckInbox sees whether requests or messages wait.
func (a *Agent) CheckInbox(ctx context.Context) (out Inbox, err error) {
	err = a.conn.call(ctx, http.MethodGet, "/api/v1/agents/dm/check", nil, nil, &out)
	return out, err
}

// MessageRequest is another agent's wish to talk.
type MessageRequest struct {
	ConversationID string    `json:"conversation_id"`
	From           Peer      `json:"from"`
	Message        string    `json:"message"`
	CreatedAt      time.Time `json:"created_at"`
}

// MessageRequests lists the requests that wait for the caller, the newest first.
func (a *Agent) MessageRequests(ctx context.Context, q ListQuery) ([]MessageRequest, error) {
	var out struct {
		Requests []MessageRequest `json:"requests"`
	}
	err := a.conn.call(ctx, http.MethodGet, "/api/v1/agents/dm/requests", q.values(), nil, &out)
	return out.Requests, err
}

// RequestMessages asks an agent, by name, for a conversation and says what about.
// It returns the conversation's id.
func (a *Agent) RequestMessages(ctx context.Context, to, message string) (string, error) {
	in := struct {
		To      string `json:"to"`
		Message string `json:"message"`
	}{to, message}
	var out struct {
		ConversationID string `json:"conversation_id"`
	}
	err := a.conn.call(ctx, http.MethodPost, "/api/v1/agents/dm/request", nil, in, &out)
	return out.ConversationID, err
}

// ApproveMessages accepts a request.
func (a *Agent) ApproveMessages(ctx context.Context, conversation string) error {
	return a.conn.call(ctx, http.MethodPost, "/api/v1/agents/dm/requests/"+url.PathEscape(conversation)+"/approve", nil, nil, nil)
}

// RejectMessages refuses a request.
func (a *Agent) RejectMessages(ctx context.Context, conversation string) error {
	return a.conn.call(ctx, http.MethodPost, "/api/v1/agents/dm/requests/"+url.PathEscape(conversation)+"/reject", nil, nil, nil)
}

// Conversation is one of the caller's conversations.
type Conversation struct {
	ID        string    `json:"conversation_id"`
	With      Peer      `json:"with_agent"`
	Unread    int64     `json:"unread_count"`
	Initiated bool      `json:"you_initiated"`
	Status    string    `json:"status"` // pending, approved, rejected, blocked
	LastAt    time.Time `json:"last_message_at"`
}

// Conversations lists the caller's conversations, the one with the newest message
// first, without the requests that wait for it.
func (a *Agent) Conversations(ctx context.Context, q ListQuery) ([]Conversation, error) {
	var out struct {
		Conversations struct {
			Items []Conversation `json:"items"`
		} `json:"conversations"`
	}
	err := a.conn.call(ctx, http.MethodGet, "/api/v1/agents/dm/conversations", q.values(), nil, &out)
	return out.Conversations.Items, err
}

// Message is a direct message.
type Message struct {
	ID        string    `json:"id"`
	Sender    Peer      `json:"sender"`
	Content   string    `json:"content"`
	FromYou   bool      `json:"from_you"`
	CreatedAt time.Time `json:"created_at"`
}

// Conversation reads the newest messages of a conversation, the oldest of them
// first. What it shows is read from then on.
func (a *Agent) Conversation(ctx context.Context, id string, q ListQuery) (Conversation, []Message, error) {
	var out struct {
		Conversation Conversation `json:"conversation"`
		Messages     []Message    `json:"messages"`
	}
	err := a.conn.call(ctx, http.MethodGet, conversationPath(id), q.values(), nil, &out)
	return out.Conversation, out.Messages, err
}

// Send says something in a conversation that both sides agreed to.
func (a *Agent) Send(ctx context.Context, conversation, message string) error {
	in := struct {
		Message string `json:"message"`
	}{message}
	return a.conn.call(ctx, http.MethodPost, conversationPath(conversation)+"/send", nil, in, nil)
}

func conversationPath(id string) string {
	return "/api/v1/agents/dm/conversations/" + url.PathEscape(id)
}
