package agent

import (
	"slices"
	"strconv"
)

// matter is one case of a story as an agent sees it in the threads.
type matter struct {
	story  *story
	key    string
	facts  facts
	made   map[string]made // by step
	thread *thread         // the opening
	stale  bool            // something was said in it that the agent has not read
}

// made is a step that somebody made.
type made struct {
	thread *thread
	remark string // "" for a post
	by     string
	text   string
}

// next is the first step that nobody has made, nil when the case is closed.
// Whether the story can go on without it is another question, see mind.skips.
func (mt *matter) next() *step {
	for _, s := range mt.story.Steps {
		if _, ok := mt.made[s.ID]; !ok {
			return s
		}
	}
	return nil
}

// matters finds the cases in the threads, oldest first. Only what colleagues
// wrote counts: a stranger can neither open a case nor move one.
func (m *mind) matters() []*matter {
	var list []*matter
	byKey := make(map[string]*matter)
	posts := make([]*thread, 0, len(m.threads))
	for _, t := range slices.Backward(m.threads) {
		if h := m.judgePost(t).hit; h.step != nil && h.key() != "" {
			posts = append(posts, t)
		}
	}
	// A case begins with its opening; later posts belong to it by the key.
	for _, t := range posts {
		if h := t.hit; h.step.index == 0 && byKey[h.key()] == nil {
			mt := &matter{story: h.step.story, key: h.key(), facts: facts{}, made: make(map[string]made), thread: t}
			byKey[mt.key] = mt
			list = append(list, mt)
		}
	}
	for _, t := range posts {
		mt := byKey[t.hit.key()]
		if mt == nil || mt.story != t.hit.step.story {
			continue
		}
		mt.take(t.hit, made{thread: t, by: t.author, text: t.text})
		mt.stale = mt.stale || t.heard != t.count
		for _, r := range t.said {
			if h := m.judgeComment(r).hit; h.step != nil && h.step.story == mt.story {
				mt.take(h, made{thread: t, remark: r.id, by: r.author, text: r.text})
			}
		}
	}
	for _, mt := range list {
		for id := range mt.made {
			m.happened[mt.story.Name+"."+id] = true
		}
		m.follow(mt)
		m.learn(mt)
		open := mt.next() != nil && m.beat-m.progress[mt.key] < abandoned
		for _, done := range mt.made {
			done.thread.open = open
		}
	}
	return list
}

func (mt *matter) take(h hit, as made) {
	if _, twice := mt.made[h.step.ID]; twice {
		return
	}
	mt.made[h.step.ID] = as
	for k, v := range h.facts {
		if _, known := mt.facts[k]; !known {
			mt.facts[k] = v
		}
	}
}

// follow notes when a case went on and what it was about.
func (m *mind) follow(mt *matter) {
	if n := len(mt.made); m.stage[mt.key] != n {
		m.stage[mt.key], m.progress[mt.key] = n, m.beat
	}
	if m.cases[mt.story.Name] == nil {
		m.cases[mt.story.Name] = make(map[string]string)
	}
	m.cases[mt.story.Name][mt.key] = mt.facts[mt.story.Subject]
	if no, err := strconv.Atoi(mt.facts[numberSlot]); err == nil && no > m.highest[mt.story.Name] {
		m.highest[mt.story.Name] = no
	}
}

// judge reads a text once and remembers what it is.
func (m *mind) judge(j *judgement, author, title, text string) judgement {
	if !j.known {
		*j = judgement{known: true, presses: presses(title + "\n" + text)}
		if m.roster.has(author) {
			j.hit, _ = m.script.recognise(title, text)
		}
	}
	return *j
}

func (m *mind) judgePost(t *thread) judgement {
	return m.judge(&t.judgement, t.author, t.title, t.text)
}

func (m *mind) judgeComment(r *remark) judgement {
	if r.deleted {
		return judgement{}
	}
	return m.judge(&r.judgement, r.author, "", r.text)
}
