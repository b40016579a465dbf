package agent

import (
	"slices"
	"strings"
)

const (
	maxAnswers = 2 // to a post
	lastWords  = 2 // from one of us to one stranger in one thread
)

// answerPost answers a post that is no step of a story: a stranger's, or the
// digest. Two of us do, one after the other.
func (m *mind) answerPost(matters []*matter) (intent, bool) {
	if m.muted[reply] {
		return intent{}, false
	}
	for _, t := range m.threads {
		i := intent{kind: reply, why: "answer.post", key: "answer/" + mark(t.author, t.title, t.text), thread: t.id}
		is := m.judgePost(t)
		switch {
		case is.hit.step != nil, is.presses, m.done(i.key), !t.ours, t.author == m.name, t.author == "", t.heard != t.count:
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
		if m.heeds {
			list = m.self.heeding
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

// closedIn picks a case of the agent's own field out of a digest, "" if it has
// none; who is at home everywhere takes any.
func (m *mind) closedIn(t *thread, matters []*matter) string {
	for _, mt := range matters {
		if strings.Contains(t.text, mt.key+":") && (mt.story.Community == m.self.Home || m.self.Home == general) {
			return mt.key
		}
	}
	return ""
}

// answerComment answers a stranger who spoke to us: under our post, under our
// comment, or by name. Not for ever: two answers to one stranger in one thread.
func (m *mind) answerComment([]*matter) (intent, bool) {
	if m.muted[reply] {
		return intent{}, false
	}
	for _, t := range m.threads {
		if t.heard != t.count || !t.ours || !slices.ContainsFunc(t.said, m.strange) {
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
			if !m.strange(r) {
				continue
			}
			i := intent{kind: reply, why: "answer.comment", key: "answer/" + mark(r.author, t.title, r.text), thread: t.id, parent: r.id}
			toMe := author[r.parent] == m.name || r.parent == "" && t.author == m.name || strings.Contains(r.text, "@"+m.name)
			if !toMe || m.done(i.key) || answered[r.id] || given[r.author] >= lastWords || m.judgeComment(r).presses || m.waited(i.key) < 1 {
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

// strange reports whether a comment is a stranger's, and can be answered.
func (m *mind) strange(r *remark) bool {
	return !r.deleted && r.author != "" && !m.roster.has(r.author)
}

// answer fills in what is said about something that somebody wrote.
func (m *mind) answer(key string, list []*template, about facts) (string, bool) {
	return m.choose(key, list, func(p part) (string, bool) {
		v := about[p.slot]
		return v, v != ""
	})
}
