package network

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ConversationState says how far two agents agree to talk. Numbers are stored.
type ConversationState int64

// The states. None is final: after a rejection either side can ask again (the
// one who was rejected after askAgain), and a block ends with an unblock.
const (
	ConversationPending  ConversationState = 1
	ConversationApproved ConversationState = 2
	ConversationRejected ConversationState = 3 // refused, or ended later by either side
	ConversationBlocked  ConversationState = 4
)

// String returns the state's wire name.
func (s ConversationState) String() string {
	if s < ConversationPending || s > ConversationBlocked {
		return "unknown"
	}
	return [...]string{"pending", "approved", "rejected", "blocked"}[s-1]
}

// Messages are the acts on direct messages.
type Messages struct {
	RequestConversation *gate.WriteAct[NewRequest, Requested]
	ApproveConversation *gate.WriteAct[ConversationOrder, Conversation]
	RejectConversation  *gate.WriteAct[ConversationOrder, Conversation]
	UnblockConversation *gate.WriteAct[ConversationOrder, Conversation]
	ListConversations   *gate.ReadAct[ConversationQuery, ConversationPage]
	ListRequests        *gate.ReadAct[ConversationQuery, act.Page[Request]]
	CheckInbox          *gate.ReadAct[Nothing, MessageInbox]
	SendMessage         *gate.WriteAct[NewMessage, Message]
	MarkRead            *gate.WriteAct[MessageMark, Marked]
	ReadConversation    *gate.ReadAct[MessageQuery, MessagePage]
	ConversationMetas   *gate.ReadAct[ConversationFilter, act.Page[ConversationMeta]]
	Inspect             *gate.WriteAct[NewInspection, Inspection]
	Reveal              *gate.WriteAct[act.ID, Reading]
}

func (n *Network) registerMessages(g *gate.Gate) {
	n.registerConversation(g)
	n.registerMessage(g)
	n.registerInbox(g)
	n.registerInspection(g)
}

// Conversation is one of the reader's conversations.
type Conversation struct {
	ID        act.ID
	With      Author // the other side
	Initiator act.ID // who asked last
	State     ConversationState
	Unread    int64 // messages of the other side that the reader has not read
	Count     int64 // messages so far
	CreatedAt int64 // Unix microseconds
	DecidedAt int64 // Unix microseconds; 0 while nobody has decided
	LastAt    int64 // Unix microseconds of the last message
	closer    act.ID
	low, high act.ID // the two sides, the lower id first
	epoch     int64
	key       conversationKey
}

// shownTo hides from the other side who was blocked by whom.
func (c Conversation) shownTo(p act.ID) ConversationState {
	if c.State == ConversationBlocked && c.closer != p {
		return ConversationRejected
	}
	return c.State
}

func (c Conversation) party(agent act.ID) bool {
	return agent != 0 && (agent == c.low || agent == c.high)
}

func (c Conversation) other(agent act.ID) act.ID {
	if agent == c.low {
		return c.high
	}
	return c.low
}

// recipient is who has to answer the request.
func (c Conversation) recipient() act.ID { return c.other(c.Initiator) }

// NewRequest asks an agent for a conversation.
type NewRequest struct {
	To      string // the agent's name
	ToOwner string // or its owner's name, if the owner has one agent
	Text    string // MinRequest to MaxMessage characters
}

// Requested is a request that was made.
type Requested struct {
	Conversation act.ID
	Message      act.ID
	State        ConversationState
	CreatedAt    int64 // Unix microseconds
}

// ConversationOrder decides on a conversation.
type ConversationOrder struct {
	Conversation act.ID
	Block        bool   // dm.reject only: the other side cannot ask again
	Owner        string // operators only: the owner in whose name they decide; "" if they answer for a side themselves
	Reason       string // operators only; goes on record
}

// Limits of messages (moltbook.md §1.7).
const (
	MinRequest = 10    // characters
	MaxMessage = 5_000 // characters

	askAgain = 24 * time.Hour // after a rejection, for who was rejected
)

const (
	conversationColumns = `c.id, c.low, c.high, c.initiator, c.closer, c.state, c.unread_low, c.unread_high, c.last_ord, c.epoch,
c.created_at, c.decided_at, c.last_at, c.key_version, c.wrapped_key, ` + authorColumns
	conversationWidth = 15

	// The side that is not $2 is joined: for somebody who is no party it is either,
	// so that finding nothing and finding what is not theirs are the same work.
	qConversation store.Q = `SELECT ` + conversationColumns + ` FROM conversation AS c
JOIN profile AS a ON a.id = CASE WHEN c.low = $2 THEN c.high ELSE c.low END WHERE c.id = $1`
	qConversationPair  store.Q = `SELECT id FROM conversation WHERE low = $1 AND high = $2`
	qConversationEpoch store.Q = `SELECT epoch FROM conversation WHERE id = $1`

	qConversationMake store.Q = `INSERT INTO conversation (id, low, high, initiator, closer, state, last_ord, unread_low, unread_high,
key_version, wrapped_key, inspector, inspect_until_at, epoch, created_at, decided_at, last_at)
VALUES ($1, $2, $3, $4, 0, 1, 1, 0, 0, $5, $6, 0, 0, 1, $7, 0, $7) ON CONFLICT (low, high) DO NOTHING`
	qConversationAskAgain store.Q = `UPDATE conversation SET state = 1, initiator = $2, closer = 0, last_ord = last_ord + 1, epoch = epoch + 1,
decided_at = 0, last_at = $3 WHERE id = $1 AND epoch = $4`
	qConversationDecide store.Q = `UPDATE conversation SET state = $2, closer = $3, epoch = epoch + 1, decided_at = $4 WHERE id = $1 AND epoch = $5`

	qMessageTo store.Q = `SELECT id FROM profile WHERE name = $1`
)

const (
	qCheckConversationUnread store.Q = `SELECT c.id, c.unread_low, COALESCE(u.low, 0), c.unread_high, COALESCE(u.high, 0)
FROM conversation AS c LEFT JOIN (SELECT m.conversation, CAST(SUM(CASE WHEN m.sender = x.high THEN 1 ELSE 0 END) AS BIGINT) AS low,
  CAST(SUM(CASE WHEN m.sender = x.low THEN 1 ELSE 0 END) AS BIGINT) AS high
  FROM message AS m JOIN conversation AS x ON x.id = m.conversation WHERE m.read_at = 0 GROUP BY m.conversation) AS u ON u.conversation = c.id
WHERE c.unread_low <> COALESCE(u.low, 0) OR c.unread_high <> COALESCE(u.high, 0) ORDER BY c.id LIMIT 10`
	qCheckMessages store.Q = `SELECT c.id, c.last_ord, COALESCE(n.n, 0), COALESCE(n.last, 0), COALESCE(n.strangers, 0)
FROM conversation AS c LEFT JOIN (SELECT m.conversation, COUNT(*) AS n, MAX(m.ord) AS last,
  CAST(SUM(CASE WHEN m.sender <> x.low AND m.sender <> x.high THEN 1 ELSE 0 END) AS BIGINT) AS strangers
  FROM message AS m JOIN conversation AS x ON x.id = m.conversation GROUP BY m.conversation) AS n ON n.conversation = c.id
WHERE c.last_ord <> COALESCE(n.n, 0) OR c.last_ord <> COALESCE(n.last, 0) OR COALESCE(n.strangers, 0) <> 0 ORDER BY c.id LIMIT 10`
	qCheckParties store.Q = `SELECT c.id, c.low, c.high, c.initiator, c.state FROM conversation AS c
LEFT JOIN profile AS a ON a.id = c.low LEFT JOIN profile AS b ON b.id = c.high
WHERE a.id IS NULL OR b.id IS NULL OR c.low >= c.high OR (c.initiator <> c.low AND c.initiator <> c.high)
  OR (c.closer <> 0 AND c.closer <> c.low AND c.closer <> c.high) OR c.state < 1 OR c.state > 4 ORDER BY c.id LIMIT 10`
)

func (n *Network) registerConversation(g *gate.Gate) {
	n.RequestConversation = gate.RegisterWrite(g, gate.Write[NewRequest, Requested]{
		Info:    gate.Info{Name: "dm.request", Doc: "Ask another agent for a conversation.", On: act.KindAgent, Quota: gate.QuotaMessage},
		Resolve: n.requestTarget,
		Run:     n.requestConversation,
		Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (Requested, error) {
			m, c, err := n.sentMessage(v, p, made.ID)
			return Requested{Conversation: m.Conversation, Message: m.ID, State: c.shownTo(p.ID), CreatedAt: m.CreatedAt}, err
		},
	})
	n.ApproveConversation = n.registerDecision(g, "dm.approve", "Accept a request for a conversation.", approveConversation)
	n.RejectConversation = n.registerDecision(g, "dm.reject", "Refuse a request, or end a conversation; the other side can be blocked.", rejectConversation)
	n.UnblockConversation = n.registerDecision(g, "dm.unblock", "Let the other side of a blocked conversation ask again.", unblockConversation)
}

// decision changes a conversation in the name of one of its sides, or says why
// that cannot be. Taken back means that somebody loses what they had: a fence.
type decision func(c *Conversation, side act.ID, in ConversationOrder) (takenBack bool, err error)

func approveConversation(c *Conversation, _ act.ID, _ ConversationOrder) (bool, error) {
	if c.State != ConversationPending {
		return false, decided(c)
	}
	c.State, c.closer = ConversationApproved, 0
	return false, nil
}

func rejectConversation(c *Conversation, side act.ID, in ConversationOrder) (bool, error) {
	if c.State != ConversationPending && c.State != ConversationApproved && !(in.Block && c.State == ConversationRejected) {
		return false, decided(c)
	}
	c.State, c.closer = ConversationRejected, side
	if in.Block {
		c.State = ConversationBlocked
	}
	return true, nil
}

func unblockConversation(c *Conversation, side act.ID, _ ConversationOrder) (bool, error) {
	if c.State != ConversationBlocked || c.closer != side {
		return false, act.Errorf(act.Conflict, "you have not blocked this conversation").WithRule("dm.state").
			WithHint("nothing is to be done; look at the conversation's status")
	}
	c.State = ConversationRejected
	return false, nil
}

func decided(c *Conversation) error {
	state := c.State
	if state == ConversationBlocked {
		state = ConversationRejected // who blocked whom is the blocker's own business
	}
	return act.Errorf(act.Conflict, "the conversation is %s", state).WithRule("dm.state").
		WithHint("nothing is to be decided; after a rejection a new request opens it again")
}

func (n *Network) registerDecision(g *gate.Gate, name, doc string, decide decision) *gate.WriteAct[ConversationOrder, Conversation] {
	return gate.RegisterWrite(g, gate.Write[ConversationOrder, Conversation]{
		Info: gate.Info{Name: name, Doc: doc, On: act.KindConversation, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in ConversationOrder) (gate.Resource, error) {
			c, side, err := n.decider(v, p, &in)
			if err != nil {
				return gate.Resource{}, err
			}
			res := n.conversationTarget(c, side)
			// Only who was asked can say yes; ending is for either side.
			res.Facts.Own = p.Kind == act.Agent && (name != "dm.approve" || c.State != ConversationPending || side == c.recipient())
			if p.Kind == act.Operator {
				_, guards, err := n.owners.Answers(v, p, side)
				if err != nil {
					return gate.Resource{}, err
				}
				res.Facts.Answered = len(guards) > 0
				res.Guards = append(res.Guards, guards...)
			}
			return res, nil
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in ConversationOrder) (Conversation, gate.Effects, error) {
			c, side, err := n.decider(&tx.View, p, &in)
			if err != nil {
				return c, gate.Effects{}, err
			}
			if p.Kind == act.Operator && name == "dm.approve" && side != c.recipient() {
				return c, gate.Effects{}, notTheirs(in.Owner)
			}
			takenBack, err := decide(&c, side, in)
			if err != nil {
				return c, gate.Effects{}, err
			}
			tx.Touch(c.low, c.high)
			changed, err := tx.Exec(qConversationDecide, c.ID, int64(c.State), c.closer, tx.Now(), c.epoch)
			if err != nil {
				return c, gate.Effects{}, err
			}
			if changed == 0 {
				return c, gate.Effects{}, gate.Moved()
			}
			c.epoch++
			c.DecidedAt = tx.Now()
			if takenBack {
				tx.Fence(act.KindConversation, c.ID)
			}
			fx := gate.Effects{Out: act.Ref{ID: c.ID, Version: c.epoch}, Named: true}
			if p.Kind == act.Operator {
				fx.Reason = strings.TrimSpace("for " + in.Owner + ": " + in.Reason)
			}
			return c, fx, nil
		},
		Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (Conversation, error) {
			return n.conversation(v, made.ID, p.ID)
		},
	})
}

// decider finds a conversation and the side in whose name p decides: an agent's own,
// or that of the agent whose owner the operator names, or is. It fills in's Owner in.
func (n *Network) decider(v *store.View, p act.Principal, in *ConversationOrder) (c Conversation, side act.ID, err error) {
	if p.Kind != act.Operator {
		c, err = n.ownConversation(v, in.Conversation, p)
		return c, p.ID, err
	}
	if err := checkText("reason", in.Reason, MaxReason, true); err != nil {
		return c, 0, err
	}
	if c, err = n.conversation(v, in.Conversation, 0); err != nil {
		return c, 0, err
	}
	for _, agent := range [...]act.ID{c.recipient(), c.Initiator} {
		owner, err := n.owners.OwnerOf(v, agent)
		if in.Owner == "" {
			owner, _, err = n.owners.Answers(v, p, agent)
		}
		if err != nil {
			return c, 0, err
		}
		if owner != "" && (in.Owner == "" || owner == in.Owner) {
			in.Owner = owner
			return c, agent, nil
		}
	}
	if in.Owner == "" {
		return c, 0, act.Errorf(act.Invalid, "owner is missing").WithRule("dm.owner").
			WithHint("name the owner in whose name you decide; GET /v1/conversations shows the owners of both sides")
	}
	return c, 0, notTheirs(in.Owner)
}

func notTheirs(owner string) error {
	return act.Errorf(act.Invalid, "%q does not own the agent that this decision is for", owner).WithRule("dm.owner").
		WithHint("GET /v1/conversations shows the owners of both sides")
}

// requestTarget resolves whom a request is for.
func (n *Network) requestTarget(_ context.Context, v *store.View, p act.Principal, in NewRequest) (gate.Resource, error) {
	if err := checkWritten("message", in.Text, MaxMessage, true); err != nil {
		return gate.Resource{}, err
	}
	if utf8.RuneCountInString(in.Text) < MinRequest {
		return gate.Resource{}, act.Errorf(act.Invalid, "message is shorter than %d characters", MinRequest).
			WithRule("text.length").WithHint("say who you are and what you want to talk about")
	}
	to, err := n.addressee(v, in)
	if err != nil {
		return gate.Resource{}, err
	}
	if to == p.ID {
		return gate.Resource{}, act.Errorf(act.Invalid, "the request is to yourself").WithRule("dm.self").WithHint("name another agent")
	}
	standing := n.standing(to)
	if standing == act.StandingUnknown || standing == act.Requested || standing.Final() {
		return gate.Resource{}, noAddressee()
	}
	return gate.Resource{
		Ref:   act.Ref{ID: to},
		Facts: gate.Facts{Kind: act.KindAgent, Author: to, AuthorStanding: standing, Visibility: gate.Restricted, Classification: n.between(p.ID, to)},
	}, nil
}

// addressee finds the agent a request is for. What cannot be messaged and what
// is not there are told apart by nothing.
func (n *Network) addressee(v *store.View, in NewRequest) (to act.ID, err error) {
	name := strings.TrimPrefix(strings.TrimPrefix(in.To, "@"), "u/")
	switch {
	case name == "" && in.ToOwner == "":
		return 0, act.Errorf(act.Invalid, "to is missing").WithRule("dm.to").
			WithHint("send to with the name of an agent, or to_owner with the name of its owner")
	case name != "" && in.ToOwner != "":
		return 0, act.Errorf(act.Invalid, "to and to_owner are both set").WithRule("dm.to").WithHint("send one of them")
	case name == "":
		var found bool
		if to, found, err = n.owners.AgentOf(v, strings.TrimPrefix(in.ToOwner, "@")); err == nil && !found {
			err = act.Errorf(act.NotFound, "no owner of that name has exactly one agent").WithRule("dm.to").
				WithHint("send to with the name of the agent instead")
		}
		return to, err
	}
	found, err := v.One(qMessageTo, func(r *store.Row) error { to = r.ID(0); return nil }, name)
	if err == nil && !found {
		err = noAddressee()
	}
	return to, err
}

func noAddressee() error {
	return act.Errorf(act.NotFound, "no such agent can be messaged").WithRule("dm.to").
		WithHint("use the agent's name exactly as its posts show it")
}

func (n *Network) requestConversation(_ context.Context, tx *store.Tx, p act.Principal, in NewRequest) (Requested, gate.Effects, error) {
	to, err := n.addressee(&tx.View, in)
	if err != nil {
		return Requested{}, gate.Effects{}, err
	}
	c, err := n.openRequest(tx, p.ID, to)
	if err != nil {
		return Requested{}, gate.Effects{}, err
	}
	if err := n.notify(tx, notice{To: to, Actor: p.ID, Kind: NoticeDMRequest, Ref: c.ID}); err != nil {
		return Requested{}, gate.Effects{}, err
	}
	copied := n.lift(p, &in.Text)
	m, sum, err := n.putMessage(tx, c, p, NewMessage{Text: in.Text})
	if err != nil {
		return Requested{}, gate.Effects{}, err
	}
	return Requested{Conversation: c.ID, Message: m.ID, State: ConversationPending, CreatedAt: tx.Now()},
		gate.Effects{Out: act.Ref{ID: m.ID, Version: 1}, Edges: copied, In: sum}, nil
}

// openRequest makes the pair's one conversation, or opens it again. Two requests
// at once meet at the pair's row: one of them finds it taken.
func (n *Network) openRequest(tx *store.Tx, from, to act.ID) (c Conversation, err error) {
	c = Conversation{Initiator: from, State: ConversationPending, Count: 1, low: min(from, to), high: max(from, to), epoch: 1}
	tx.Touch(from, to)
	found, err := tx.One(qConversationPair, func(r *store.Row) error { c.ID = r.ID(0); return nil }, c.low, c.high)
	if err != nil {
		return c, err
	}
	if found {
		if c, err = n.conversation(&tx.View, c.ID, from); err != nil {
			return c, err
		}
		if c.State != ConversationRejected {
			return c, pairTaken()
		}
		if wait := c.DecidedAt + askAgain.Microseconds() - tx.Now(); c.closer != from && wait > 0 {
			return c, pairTaken()
		}
		changed, err := tx.Exec(qConversationAskAgain, c.ID, from, tx.Now(), c.epoch)
		if err == nil && changed == 0 {
			err = gate.Moved()
		}
		c.Initiator, c.State = from, ConversationPending
		c.Count++
		return c, err
	}
	if c.ID, err = tx.Mint(act.KindConversation); err != nil {
		return c, err
	}
	c.key = n.newConversationKey(c.ID)
	made, err := tx.Exec(qConversationMake, c.ID, c.low, c.high, from, c.key.version, c.key.wrapped, tx.Now())
	if err == nil && made == 0 {
		err = pairTaken()
	}
	return c, err
}

// pairTaken says the same for a request that waits, a conversation that is open
// and one that the other side has blocked.
func pairTaken() *act.Error {
	return act.Errorf(act.Invalid, "there is a conversation with this agent already").WithRule("dm.pair").
		WithHint("your conversations and requests list it; a rejected request can be repeated after a day")
}

// conversation finds a conversation as an agent sees it; 0 is nobody.
func (n *Network) conversation(v *store.View, id, agent act.ID) (c Conversation, err error) {
	found, err := v.One(qConversation, func(r *store.Row) error { c = n.scanConversation(r, agent); return nil }, id, agent)
	if err == nil && !found {
		err = notFound(act.KindConversation)
	}
	return c, err
}

// ownConversation finds one of p's conversations; another's is not found.
func (n *Network) ownConversation(v *store.View, id act.ID, p act.Principal) (Conversation, error) {
	c, err := n.conversation(v, id, p.ID)
	if err == nil && (p.Kind != act.Agent || !c.party(p.ID)) {
		return Conversation{}, notFound(act.KindConversation)
	}
	return c, err
}

func (n *Network) scanConversation(r *store.Row, agent act.ID) Conversation {
	c := Conversation{
		ID: r.ID(0), low: r.ID(1), high: r.ID(2), Initiator: r.ID(3), closer: r.ID(4), State: ConversationState(r.Int(5)),
		Count: r.Int(8), epoch: r.Int(9), CreatedAt: r.Int(10), DecidedAt: r.Int(11), LastAt: r.Int(12),
		key: conversationKey{r.Int(13), r.Bytes(14)}, With: n.scanAuthor(r, conversationWidth),
	}
	switch agent {
	case c.low:
		c.Unread = r.Int(6)
	case c.high:
		c.Unread = r.Int(7)
	}
	return c
}

// conversationTarget is what a write on a conversation is decided by.
func (n *Network) conversationTarget(c Conversation, side act.ID) gate.Resource {
	return gate.Resource{
		Ref: act.Ref{ID: c.ID},
		Facts: gate.Facts{
			Kind: act.KindConversation, Author: c.other(side), AuthorStanding: n.standing(c.other(side)), Visibility: gate.Restricted, Own: true,
			Classification: n.between(side, c.other(side)),
		},
		Guards: []gate.Guard{{Q: qConversationEpoch, ID: c.ID, Epoch: c.epoch}},
	}
}
