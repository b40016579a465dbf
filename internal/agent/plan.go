package agent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// intent is one act that an agent wants to do.
type intent struct {
	kind kind
	key  string // what it is about; an intent is acted on once
	why  string // the rule that led to it, for the log

	community, title string // of a post
	text             string // of a post or reply
	thread, parent   string // what is answered or voted on; parent is a comment or ""
	up               bool   // of a vote
}

type kind uint8

const (
	post kind = iota
	reply
	vote
)

const kinds = int(vote) + 1

func (k kind) String() string { return [...]string{"post", "reply", "vote"}[k] }

const (
	patience    = 15  // beats after which another takes a step over
	openAgain   = 10  // beats between two cases of a story, at first
	openSlowest = 90  // and in the long run
	abandoned   = 150 // beats after which a case that stands still is given up
	digestSize  = 3   // closed cases in a digest
	maxAnswers  = 2   // to a post
	lastWords   = 2   // from one of us to one stranger in one thread
	votesBeat   = 2
)

// plan says what the agent does in this beat: one thing to say at most, and a
// few votes. It is a function of the mind: the same seed and the same things
// seen at the same beats give the same intents. now is used for times of day in
// texts only.
func (m *mind) plan(beat int, now time.Time) []intent {
	m.beat, m.now = beat, now
	m.forget()
	matters := m.matters()
	rules := []func([]*matter) (intent, bool){m.nextStep, m.answerComment, m.answerPost, m.openCase, m.digest}
	if beat%2 == 0 { // strangers are not kept waiting by a long story, nor stories by many strangers
		rules = []func([]*matter) (intent, bool){m.answerComment, m.answerPost, m.nextStep, m.openCase, m.digest}
	}
	var out []intent
	for _, rule := range rules {
		if i, ok := rule(matters); ok {
			out = append(out, i)
			break
		}
	}
	return append(out, m.votes()...)
}

// nextStep goes on with a case: the next step, if it is ours or its agent has
// been away for long.
func (m *mind) nextStep(matters []*matter) (intent, bool) {
	for _, mt := range matters {
		s := mt.next()
		if s == nil {
			continue
		}
		i := intent{kind: reply, why: mt.story.Name + "." + s.ID, key: mt.key + "/" + s.ID}
		rank := m.roster.rank(s.By, i.key, m.name)
		if s.posts() {
			i.kind = post
		}
		if _, tried := m.tried[i.key]; tried || m.muted[i.kind] || rank < 0 || m.waited(i.key) < s.Wait+rank*patience {
			continue
		}
		if m.fill(&i, mt, s, rank > 0) {
			return i, true
		}
	}
	return intent{}, false
}

// fill writes a step.
func (m *mind) fill(i *intent, mt *matter, s *step, standing bool) bool {
	under, ok := mt.made[s.Under]
	if !ok && s.index > 0 {
		return false
	}
	subject := mt.story.subject(mt.facts)
	value := func(p part) (string, bool) {
		switch {
		case p.mark == '@':
			return m.mention(mt, p.slot)
		case p.slot == "quote":
			q := quote(under.text)
			return q, q != ""
		case p.slot == "title" && under.thread != nil:
			return clean(under.thread.title, maxQuote), true
		}
		return mt.story.value(m.seed, mt.key, mt.facts, subject, p, m.now.UTC().Format("15:04"))
	}
	if i.text, ok = m.choose(i.key, s.text, value); !ok {
		return false
	}
	if standing {
		i.text = fmt.Sprintf(standIn, "@"+m.roster.holder(s.By)) + i.text
	}
	if !s.posts() {
		i.thread, i.parent = under.thread.id, under.remark
		return true
	}
	i.community = mt.story.Community
	i.title, ok = m.choose(i.key, s.title, value)
	return ok
}

// mention names the agent who made a step, or would make it.
func (m *mind) mention(mt *matter, id string) (string, bool) {
	if done, ok := mt.made[id]; ok {
		return "@" + done.by, true
	}
	s := mt.story.step(id)
	if s == nil {
		return "", false
	}
	return "@" + m.roster.holder(s.By), true
}

// choose fills the first template that can be filled, beginning with one that
// the key determines.
func (m *mind) choose(key string, list []*template, value func(part) (string, bool)) (string, bool) {
	for n := range list {
		at := (draw(m.seed, "choose/"+key, 0, len(list)-1) + n) % len(list)
		if text, ok := list[at].fill(value); ok {
			return text, true
		}
	}
	return "", false
}

// openCase begins a new case of a story that is ours to begin.
func (m *mind) openCase(matters []*matter) (intent, bool) {
	for _, st := range m.script.stories {
		first := st.Steps[0]
		rank := m.roster.rank(first.By, "open/"+st.Name, m.name)
		if m.muted[post] || rank < 0 || m.busy(st, matters) {
			delete(m.due, "open/"+st.Name)
			continue
		}
		gap := st.First
		if n := len(m.cases[st.Name]); n > 0 {
			gap = min(openAgain*n, openSlowest)
		}
		if m.waited("open/"+st.Name) < gap+rank*4*patience {
			continue
		}
		no := m.highest[st.Name] + 1
		if no == 1 {
			no = draw(m.seed, "first/"+st.Name, 101, 899)
		}
		mt := &matter{story: st, key: st.keyOf(strconv.Itoa(no)), facts: facts{numberSlot: strconv.Itoa(no)}}
		mt.facts[st.Subject] = m.subject(st)[st.Subject]
		i := intent{kind: post, why: st.Name + "." + first.ID, key: mt.key + "/" + first.ID}
		if _, tried := m.tried[i.key]; tried {
			m.highest[st.Name] = no // it was refused or is not in the feed yet
			delete(m.due, "open/"+st.Name)
			continue
		}
		if m.fill(&i, mt, first, false) {
			return i, true
		}
	}
	return intent{}, false
}

// busy reports whether a case of the story is under way.
func (m *mind) busy(st *story, matters []*matter) bool {
	return slices.ContainsFunc(matters, func(mt *matter) bool {
		return mt.story == st && mt.next() != nil && m.beat-m.progress[mt.key] < abandoned
	})
}

// subject picks what a new case is about: what came up least, in an order that
// the seed determines.
func (m *mind) subject(st *story) facts {
	used := make(map[string]int)
	for _, s := range m.cases[st.Name] {
		used[s]++
	}
	var best facts
	for _, n := range random(m.seed, "subjects/"+st.Name).Perm(len(st.Subjects)) {
		s := st.Subjects[n]
		if best == nil || used[s[st.Subject]] < used[best[st.Subject]] {
			best = s
		}
	}
	return best
}

// answerPost answers a post that is no step of a story: a stranger's, or the
// digest. Two of us do, one after the other.
func (m *mind) answerPost(matters []*matter) (intent, bool) {
	if m.muted[reply] {
		return intent{}, false
	}
	for _, t := range m.threads {
		i := intent{kind: reply, why: "answer.post", key: "answer/" + t.id, thread: t.id}
		is := m.judgePost(t)
		_, tried := m.tried[i.key]
		switch {
		case is.hit.step != nil, is.presses, tried, !t.ours, t.author == m.name, t.author == "", t.heard != t.count:
			continue
		}
		given := 0
		for _, r := range t.said {
			if r.author == m.name {
				given = maxAnswers
			}
			if r.parent == "" && m.roster.has(r.author) {
				given++
			}
		}
		rank := slices.Index(m.roster.order(i.key, t.community), m.name)
		if given >= maxAnswers || rank < 0 || m.waited(i.key) < 1+3*rank {
			continue
		}
		about := facts{"who": "@" + clean(t.author, 32), "title": clean(t.title, maxQuote), "quote": quote(t.text), "figure": figureOf(t.title + "\n" + t.text)}
		list := m.self.asks
		if about["figure"] != "" {
			list = withSlot(list, "figure")
		}
		if m.roster.has(t.author) {
			about, list = facts{"case": m.closedIn(t, matters)}, m.self.luck
		}
		var ok bool
		if i.text, ok = m.answer(i.key, list, about); ok {
			return i, true
		}
	}
	return intent{}, false
}

// withSlot keeps the templates that use a slot.
func withSlot(list []*template, slot string) []*template {
	return slices.DeleteFunc(slices.Clone(list), func(t *template) bool {
		return !slices.ContainsFunc(t.parts, func(p part) bool { return p.slot == slot })
	})
}

// closedIn picks a case out of a digest, one of the agent's own field if it can.
func (m *mind) closedIn(t *thread, matters []*matter) (key string) {
	for _, mt := range matters {
		if strings.Contains(t.text, mt.key+":") && (key == "" || mt.story.Community == m.self.Home) {
			key = mt.key
		}
	}
	return key
}

// answerComment answers a stranger who spoke to us: under our post, under our
// comment, or by name. Not for ever: two answers to one stranger in one thread.
func (m *mind) answerComment([]*matter) (intent, bool) {
	if m.muted[reply] {
		return intent{}, false
	}
	for _, t := range m.threads {
		if t.heard != t.count || !t.ours {
			continue
		}
		author := make(map[string]string, len(t.said))
		for _, r := range t.said {
			author[r.id] = r.author
		}
		answered, given := make(map[string]bool), make(map[string]int)
		for _, r := range t.said {
			if r.author == m.name {
				answered[r.parent] = true
				given[author[r.parent]]++
			}
		}
		for _, r := range t.said {
			i := intent{kind: reply, why: "answer.comment", key: "answer/" + r.id, thread: t.id, parent: r.id}
			_, tried := m.tried[i.key]
			toMe := author[r.parent] == m.name || r.parent == "" && t.author == m.name || strings.Contains(r.text, "@"+m.name)
			if !toMe || tried || r.deleted || r.author == "" || m.roster.has(r.author) || answered[r.id] ||
				given[r.author] >= lastWords || m.judgeComment(r).presses || m.waited(i.key) < 1 {
				continue
			}
			var ok bool
			if i.text, ok = m.answer(i.key, m.self.thanks, facts{"who": "@" + clean(r.author, 32), "quote": quote(r.text)}); ok {
				return i, true
			}
		}
	}
	return intent{}, false
}

// answer fills in what is said about something that somebody wrote.
func (m *mind) answer(key string, list []*template, about facts) (string, bool) {
	return m.choose(key, list, func(p part) (string, bool) {
		v := about[p.slot]
		return v, v != ""
	})
}

// digest sums up closed cases.
func (m *mind) digest(matters []*matter) (intent, bool) {
	const opening = "Shift notes: "
	for _, t := range m.threads {
		if !m.roster.has(t.author) || !strings.HasPrefix(t.title, opening) {
			continue
		}
		for _, mt := range matters {
			if strings.Contains(t.text, mt.key+":") {
				m.digested[mt.key] = true
			}
		}
	}
	if m.muted[post] || m.roster.holder("reviewer") != m.name {
		return intent{}, false
	}
	var keys, lines []string
	for _, mt := range matters {
		if mt.next() != nil || m.digested[mt.key] {
			continue
		}
		last := mt.made[mt.story.Steps[len(mt.story.Steps)-1].ID]
		about := strings.TrimPrefix(clean(mt.thread.title, maxQuote), mt.key+": ")
		keys = append(keys, mt.key)
		lines = append(lines, fmt.Sprintf("- %s: %s, %d comments. Last word, from @%s: \"%s\"", mt.key, about, mt.thread.count, last.by, quote(last.text)))
	}
	if len(keys) < digestSize {
		return intent{}, false
	}
	i := intent{
		kind: post, why: "digest", key: "digest/" + strings.Join(keys, "+"), community: general,
		title: opening + strings.Join(keys[:len(keys)-1], ", ") + " and " + keys[len(keys)-1] + " are closed",
		text: "What came to an end since the last notes:\n\n" + strings.Join(lines, "\n") +
			"\n\nEach of them has one thing in it that was luck. If you know which, write it here; the next notes will have it.",
	}
	_, tried := m.tried[i.key]
	return i, !tried
}

// votes are cast by taste, which the seed determines for each agent and item.
func (m *mind) votes() (out []intent) {
	cast := func(t *thread, parent, author string, is judgement, taste int) {
		id := t.id
		if parent != "" {
			id = parent
		}
		if m.muted[vote] || len(out) == votesBeat || author == m.name || author == "" || t.voted[id] {
			return
		}
		i := intent{kind: vote, why: "vote", key: "vote/" + id, thread: t.id, parent: parent, up: true}
		switch {
		case is.presses:
			i.up, i.why = false, "vote.pressing"
		case draw(m.seed, m.name+"/"+i.key, 1, 100) > taste:
			t.voted[id] = true // looked at and left alone
			return
		}
		out = append(out, i)
	}
	for _, t := range m.threads {
		if !t.ours {
			continue
		}
		cast(t, "", t.author, m.judgePost(t), 45)
		for _, r := range t.said {
			if !r.deleted {
				cast(t, r.id, r.author, m.judgeComment(r), 25)
			}
		}
	}
	return out
}
