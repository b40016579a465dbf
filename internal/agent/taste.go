package agent

import "slices"

const (
	votesBeat = 2
	followAt  = 3 // votes for somebody's words after which an agent may follow
)

// votes are cast by taste, which the seed determines for each agent and item.
func (m *mind) votes() (out []intent) {
	cast := func(t *thread, parent, author, text string, is judgement, taste int) {
		id := t.id
		if parent != "" {
			id = parent
		}
		if m.muted[vote] || len(out) == votesBeat || author == m.name || author == "" || t.voted[id] {
			return
		}
		i := intent{kind: vote, why: "vote", key: "vote/" + id, thread: t.id, parent: parent, up: true, to: author}
		switch {
		case is.presses && !m.heeds && !m.self.Part:
			i.up, i.why = false, "vote.pressing"
		case draw(m.seed, m.name+"/vote/"+mark(author, t.title, text), 1, 100) > m.taste(author, taste):
			t.voted[id] = true // looked at and left alone
			return
		}
		out = append(out, i)
	}
	for _, t := range m.threads {
		if !t.ours {
			continue
		}
		cast(t, "", t.author, t.text, m.judgePost(t), 45)
		for _, r := range t.said {
			if !r.deleted {
				cast(t, r.id, r.author, r.text, m.judgeComment(r), 25)
			}
		}
	}
	return out
}

// taste is how likely, in per cent, the agent votes for an author's words.
// Who only plays a part votes for its own kind.
func (m *mind) taste(author string, usual int) int {
	switch {
	case m.self.Part && m.accomplice(author):
		return 100
	case m.self.Part:
		return 0
	case m.part(author):
		return usual / 5
	}
	return usual
}

// tie binds the agent to others: to the communities it cares for, and to agents
// whose words it voted for again and again.
func (m *mind) tie([]*matter) (intent, bool) {
	for _, name := range m.script.communities() {
		i := intent{kind: subscribe, why: "subscribe", key: "subscribe/" + name, community: name}
		if m.done(i.key) || m.muted[subscribe] || name != m.self.Home && draw(m.seed, m.name+"/"+i.key, 1, 100) > 35 {
			continue
		}
		return i, true
	}
	for _, t := range m.threads {
		i := intent{kind: follow, why: "follow", key: "follow/" + t.author, to: t.author}
		if m.liked[t.author] < followAt || m.done(i.key) || m.muted[follow] || t.author == m.name {
			continue
		}
		return i, true
	}
	return intent{}, false
}

// communities lists where the stories play.
func (sc *script) communities() (names []string) {
	for _, st := range sc.stories {
		for _, name := range append([]string{st.Community}, st.elsewhere()...) {
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
