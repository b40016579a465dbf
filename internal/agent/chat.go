package agent

import (
	"slices"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/client"
)

// chat is a conversation in private.
type chat struct {
	id, with string
	stage    chatStage
	said     []line // oldest first
}

type line struct {
	mine bool
	text string
}

type chatStage uint8

const (
	chatAsked chatStage = iota // by this agent; the other side has not answered
	chatWaits                  // for this agent's word
	chatOpen
	chatOver
)

const (
	maxChats = 60 // that are remembered
	maxLines = 20 // of each
	chatPage = 20
)

// asked takes in the requests that wait for the agent, the newest first.
func (m *mind) asked(list []client.MessageRequest) {
	for _, r := range slices.Backward(list) {
		c := m.chat(r.ConversationID, r.From.Name)
		c.stage, c.said = chatWaits, []line{{text: head(r.Message, maxRead)}}
	}
}

// listed takes in the agent's conversations, the one with the newest message
// first, and returns those worth reading now.
func (m *mind) listed(list []client.Conversation) (ids []string) {
	for _, c := range slices.Backward(list) {
		known := m.chat(c.ID, c.With.Name)
		switch {
		case c.Status == "approved":
			known.stage = chatOpen
		case c.Status == "pending" && c.Initiated:
			known.stage = chatAsked
		case c.Status != "pending":
			known.stage = chatOver
		}
		if known.stage == chatOpen && (c.Unread > 0 || len(known.said) == 0) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// heard takes in what is said in a conversation, the oldest first.
func (m *mind) heard(c client.Conversation, said []client.Message) {
	known := m.chat(c.ID, c.With.Name)
	known.said = known.said[:0]
	for _, s := range said[max(0, len(said)-maxLines):] {
		known.said = append(known.said, line{mine: s.FromYou, text: head(s.Content, maxRead)})
	}
}

// chat finds a conversation, or begins to remember it.
func (m *mind) chat(id, with string) *chat {
	if i := slices.IndexFunc(m.chats, func(c *chat) bool { return c.id == id }); i >= 0 {
		return m.chats[i]
	}
	c := &chat{id: id, with: with}
	m.chats = slices.Insert(m.chats, 0, c)
	if len(m.chats) > maxChats {
		clear(m.chats[maxChats:])
		m.chats = m.chats[:maxChats]
	}
	return c
}

func (m *mind) chatWith(name string) *chat {
	i := slices.IndexFunc(m.chats, func(c *chat) bool { return c.with == name })
	if i < 0 {
		return nil
	}
	return m.chats[i]
}

// awaits reports whether the agent has asked somebody who has not answered yet.
func (m *mind) awaits() bool {
	return slices.ContainsFunc(m.chats, func(c *chat) bool { return c.stage == chatAsked })
}

// spoken finds the line of a talk that a message was made of.
func (sc *script) spoken(text string) (t *talk, line int, f facts) {
	for _, st := range sc.stories {
		for _, t := range st.Talks {
			for n, list := range t.says {
				f := facts{}
				if matchAny(list, text, f) {
					return t, n, f
				}
			}
		}
	}
	return nil, 0, nil
}

// converse is the rule about messages in private: decide about requests, answer,
// and ask a colleague what does not belong into a thread.
func (m *mind) converse(matters []*matter) (intent, bool) {
	for _, c := range slices.Backward(m.chats) {
		var i intent
		var ok bool
		switch c.stage {
		case chatWaits:
			i, ok = m.decide(c)
		case chatOpen:
			i, ok = m.reply(c, matters)
		}
		if ok {
			return i, true
		}
	}
	for _, mt := range matters {
		for _, t := range mt.story.Talks {
			if i, ok := m.address(mt, t); ok {
				return i, true
			}
		}
	}
	return intent{}, false
}

// decide answers a request: with yes, unless it presses.
func (m *mind) decide(c *chat) (intent, bool) {
	i := intent{kind: consent, why: "consent", key: "consent/" + c.id, chat: c.id}
	if presses(c.said[0].text) {
		i.kind, i.why = refuse, "refuse.pressing"
	}
	return i, !m.done(i.key) && !m.muted[i.kind] && m.waited(i.key) >= 1
}

// reply answers the last line of a conversation. Where it goes on is found in
// what was said: the case is named in a talk's first line.
func (m *mind) reply(c *chat, matters []*matter) (intent, bool) {
	if len(c.said) == 0 || c.said[len(c.said)-1].mine || m.muted[say] {
		return intent{}, false
	}
	last := c.said[len(c.said)-1].text
	i := intent{kind: say, why: "answer.message", chat: c.id}
	if !m.roster.has(c.with) {
		given := 0
		for _, l := range c.said {
			if l.mine {
				given++
			}
		}
		i.key = "answer/" + mark(c.with, last)
		if given >= lastWords || presses(last) || m.done(i.key) || m.waited(i.key) < 1 {
			return intent{}, false
		}
		var ok bool
		i.text, ok = m.answer(i.key, m.self.thanks, facts{"who": "@" + clean(c.with, 32), "quote": quote(last)})
		return i, ok
	}
	t, n, _ := m.script.spoken(last)
	if t == nil || n+1 >= len(t.says) {
		return intent{}, false
	}
	key := ""
	for _, l := range c.said {
		if of, at, f := m.script.spoken(l.text); of == t && at == 0 {
			key = t.story.keyOf(f[numberSlot])
		}
	}
	at := slices.IndexFunc(matters, func(mt *matter) bool { return mt.key == key && mt.story == t.story })
	i.key, i.why = "talk/"+key+"/"+t.ID+"/"+strconv.Itoa(n+1), t.story.Name+"."+t.ID
	if at < 0 || m.done(i.key) || m.waited(i.key) < 1 {
		return intent{}, false
	}
	var ok bool
	i.text, ok = m.choose(i.key, t.says[n+1], m.values(matters[at], last))
	return i, ok
}

// address begins a talk: a request if the two have not talked yet.
func (m *mind) address(mt *matter, t *talk) (intent, bool) {
	i := intent{kind: ask, why: mt.story.Name + "." + t.ID, key: "talk/" + mt.key + "/" + t.ID, to: m.roster.holder(t.To)}
	if _, made := mt.made[t.After]; !made || m.roster.holder(t.From) != m.name || i.to == m.name || m.done(i.key) {
		return intent{}, false
	}
	if c := m.chatWith(i.to); c != nil {
		if c.stage != chatOpen {
			return intent{}, false
		}
		for _, l := range c.said { // in an earlier life
			if of, at, f := m.script.spoken(l.text); of == t && at == 0 && t.story.keyOf(f[numberSlot]) == mt.key {
				return intent{}, false
			}
		}
		i.kind, i.chat = say, c.id
	}
	if m.muted[i.kind] || m.waited(i.key) < 1 {
		return intent{}, false
	}
	var ok bool
	i.text, ok = m.choose(i.key, t.says[0], m.values(mt, ""))
	return i, ok
}

// spoke remembers what the agent said in a conversation; id is its, for a request
// too.
func (m *mind) spoke(i intent, id string) {
	c := m.chat(id, i.to)
	switch i.kind {
	case consent:
		c.stage = chatOpen
	case refuse:
		c.stage = chatOver
	case ask:
		c.stage, c.said = chatAsked, []line{{mine: true, text: i.text}}
	case say:
		c.said = append(c.said, line{mine: true, text: i.text})
		if len(c.said) > maxLines {
			c.said = c.said[1:]
		}
	}
}
