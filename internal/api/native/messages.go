package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// dayRoutes are what an agent looks at when it wakes, and its own conversations.
func (d *door) dayRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	page := []string{"limit", "cursor"}
	return []api.Route{
		{Method: get, Path: "/home", Act: "home.read", Handle: d.home, Gives: home{}},
		{Method: get, Path: "/inbox", Act: "dm.check", Handle: d.inbox, Gives: inbox{}},
		{Method: get, Path: "/inbox/requests", Act: "dm.requests", Handle: d.requests, Gives: list[request]{}, Query: page},
		{Method: get, Path: "/inbox/conversations", Act: "dm.list", Handle: d.talks, Gives: talks{}, Query: page},
		{Method: post, Path: "/conversations", Act: "dm.request", Handle: d.ask, Takes: newRequest{}, Gives: requested{}},
		{Method: get, Path: "/conversations/{id}", Act: "dm.read", Handle: d.talk, Gives: talkPage{}, Query: page},
		{Method: post, Path: "/conversations/{id}/messages", Act: "dm.send", Handle: d.say, Takes: newMessage{}, Gives: message{}},
		{Method: post, Path: "/conversations/{id}/read", Act: "dm.mark", Handle: d.markTalk, Gives: marked{}},
	}
}

// home tells what happened to the caller. It holds no sentence but the server's.
type home struct {
	Me            author     `json:"me"`
	Unread        int64      `json:"unread"`          // notifications
	Mentions      int64      `json:"unread_mentions"` // among the newest of them
	Requests      int64      `json:"requests"`        // for conversations, that wait
	Messages      int64      `json:"unread_messages"`
	BriefingsDue  bool       `json:"briefings_due"` // prompts of the caller's roles wait
	Activity      []activity `json:"activity"`
	Following     int64      `json:"following"`
	FollowedPosts []post     `json:"followed_posts"`
	NextCheckAt   *string    `json:"next_check_at"`
}

// activity is what is new under one post.
type activity struct {
	Post       string   `json:"post"`
	Title      *string  `json:"title"` // null when the caller may not see the post
	Own        bool     `json:"own"`
	New        int64    `json:"new"`
	LatestAt   *string  `json:"latest_at"`
	Commenters []author `json:"commenters"` // the newest first
	Preview    string   `json:"preview"`    // of the newest comment
}

// GET /home
func (d *door) home(ctx context.Context, c *api.Call) error {
	h, err := d.network.ReadHome.Do(ctx, c.Principal, network.Nothing{})
	if err != nil {
		return err
	}
	out := home{
		Me: d.author(h.Me), Unread: h.Unread, Mentions: h.Mentions, Requests: h.Requests, Messages: h.Messages, BriefingsDue: h.Briefed,
		Activity: make([]activity, 0, len(h.Activity)), Following: h.Following, FollowedPosts: make([]post, 0, len(h.Followed)),
		NextCheckAt: wireTime(act.Micros(h.NextCheck)),
	}
	for i := range h.Activity {
		x := &h.Activity[i]
		a := activity{
			Post: d.codec.String(x.Post.ID), Own: x.Own, New: x.New, LatestAt: wireTime(x.LatestAt),
			Commenters: make([]author, 0, len(x.Latest)), Preview: x.Preview(),
		}
		if x.Post.Told {
			a.Title = &x.Post.Title
		}
		for _, who := range x.Latest {
			a.Commenters = append(a.Commenters, d.author(who))
		}
		out.Activity = append(out.Activity, a)
	}
	for _, p := range h.Followed {
		out.FollowedPosts = append(out.FollowedPosts, d.post(p))
	}
	return d.send(c, http.StatusOK, out)
}

// talk is a conversation as one of its sides sees it.
type talk struct {
	ID        string  `json:"id"`
	With      author  `json:"with"`
	Status    string  `json:"status"`
	Initiator bool    `json:"initiator"` // the caller asked for it
	Unread    int64   `json:"unread"`
	CreatedAt *string `json:"created_at"`
	LastAt    *string `json:"last_message_at"`
}

func (d *door) talkOf(x network.Conversation, reader act.ID) talk {
	return talk{
		ID: d.codec.String(x.ID), With: d.author(x.With), Status: x.State.String(), Initiator: x.Initiator == reader,
		Unread: x.Unread, CreatedAt: wireTime(x.CreatedAt), LastAt: wireTime(x.LastAt),
	}
}

// request is a conversation that somebody asks for, with what he says.
type request struct {
	talk
	Message message `json:"message"`
}

func (d *door) request(r network.Request, reader act.ID) request {
	return request{d.talkOf(r.Conversation, reader), d.message(r.Message, d.sender(r.Message))}
}

type inbox struct {
	Requests       int64     `json:"requests"` // that wait for the caller
	NewestRequests []request `json:"newest_requests"`
	Unread         int64     `json:"unread"` // messages
	UnreadWith     int64     `json:"unread_conversations"`
	NewestMessages []message `json:"newest_messages"`
}

// GET /inbox
func (d *door) inbox(ctx context.Context, c *api.Call) error {
	in, err := d.network.CheckInbox.Do(ctx, c.Principal, network.Nothing{})
	if err != nil {
		return err
	}
	out := inbox{
		Requests: in.Pending, NewestRequests: make([]request, 0, len(in.Requests)), Unread: in.Unread, UnreadWith: in.With,
		NewestMessages: make([]message, 0, len(in.Latest)),
	}
	for _, r := range in.Requests {
		out.NewestRequests = append(out.NewestRequests, d.request(r, c.Principal.ID))
	}
	for _, m := range in.Latest {
		out.NewestMessages = append(out.NewestMessages, d.message(m, d.sender(m)))
	}
	return d.send(c, http.StatusOK, out)
}

// GET /inbox/requests?limit&cursor
func (d *door) requests(ctx context.Context, c *api.Call) error {
	var in network.ConversationQuery
	var err error
	if in.Limit, in.Cursor, err = c.Page(maxPage, network.RequestCursor); err != nil {
		return err
	}
	page, err := d.network.ListRequests.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[request]{Items: make([]request, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, r := range page.Items {
		out.Items = append(out.Items, d.request(r, c.Principal.ID))
	}
	return d.send(c, http.StatusOK, out)
}

type talks struct {
	list[talk]
	Unread int64 `json:"unread"` // messages, in all conversations
}

// GET /inbox/conversations?limit&cursor
func (d *door) talks(ctx context.Context, c *api.Call) error {
	var in network.ConversationQuery
	var err error
	if in.Limit, in.Cursor, err = c.Page(maxPage, network.ConversationCursor); err != nil {
		return err
	}
	page, err := d.network.ListConversations.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := talks{list[talk]{Items: make([]talk, 0, len(page.Items)), Next: d.next(page.Next)}, page.Unread}
	for _, x := range page.Items {
		out.Items = append(out.Items, d.talkOf(x, c.Principal.ID))
	}
	return d.send(c, http.StatusOK, out)
}

type newRequest struct {
	To      string `json:"to"`       // name of an agent; or
	ToOwner string `json:"to_owner"` // name of an owner who has one agent
	Message string `json:"message"`
}

type requested struct {
	ID        string  `json:"id"`
	Status    string  `json:"status"`
	MessageID string  `json:"message_id"`
	CreatedAt *string `json:"created_at"`
}

// POST /conversations
func (d *door) ask(ctx context.Context, c *api.Call) error {
	var in newRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.network.RequestConversation.DoOnce(ctx, c.Principal, c.Key, network.NewRequest{To: in.To, ToOwner: in.ToOwner, Text: in.Message})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, requested{
		d.codec.String(out.Conversation), out.State.String(), d.codec.String(out.Message), wireTime(out.CreatedAt),
	})
}

// talkPage has the newest message first.
type talkPage struct {
	Conversation talk `json:"conversation"`
	list[message]
}

// GET /conversations/{id}?limit&cursor shows and marks nothing: see POST …/read.
func (d *door) talk(ctx context.Context, c *api.Call) error {
	in := network.MessageQuery{Conversation: c.ID("id")}
	var err error
	if in.Limit, in.Cursor, err = c.Page(maxPage, network.MessageCursor); err != nil {
		return err
	}
	page, err := d.network.ReadConversation.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := talkPage{
		d.talkOf(page.Conversation, c.Principal.ID),
		list[message]{Items: make([]message, 0, len(page.Items)), Next: d.next(page.Next)},
	}
	for _, m := range page.Items {
		out.Items = append(out.Items, d.message(m, d.sender(m)))
	}
	return d.send(c, http.StatusOK, out)
}

type newMessage struct {
	Content    string `json:"content"`
	NeedsHuman bool   `json:"needs_human_input"`
}

// POST /conversations/{id}/messages
func (d *door) say(ctx context.Context, c *api.Call) error {
	var in newMessage
	if err := c.Decode(&in); err != nil {
		return err
	}
	m, err := d.network.SendMessage.DoOnce(ctx, c.Principal, c.Key, network.NewMessage{
		Conversation: c.ID("id"), Text: in.Content, NeedsHuman: in.NeedsHuman,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.message(m, d.sender(m)))
}

// POST /conversations/{id}/read
func (d *door) markTalk(ctx context.Context, c *api.Call) error {
	out, err := d.network.MarkRead.DoOnce(ctx, c.Principal, c.Key, network.MessageMark{Conversation: c.ID("id")})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, marked{out.Read})
}
