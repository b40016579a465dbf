package agent

import (
	"cmp"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
)

// mind is what one agent remembers and the rules by which it goes on from
// there. It touches no network: it is told what was seen ([mind.sees],
// [mind.hears]), says what it would read and do ([mind.unread], [mind.plan]) and
// is told what came of it. One goroutine owns it.
type mind struct {
	seed   uint64
	name   string
	self   *persona
	roster *roster
	script *script

	beat    int
	now     time.Time
	threads []*thread       // newest first
	parts   map[*story]bool // in which stories it plays
	feed    map[string]bool // what stands on the newest page: of other threads it says nothing
	chats   []*chat         // the one that was heard of last comes first
	errands []*errand       // the newest first

	tried    map[string]int // intents by key, and the beat in which they were acted on
	refusals map[string]int // by key: how often the network called the words a copy
	due      map[string]int // what is waiting to be done, and since which beat
	stage    map[string]int // steps seen of a case
	progress map[string]int // the beat in which stage last changed
	cases    map[string]map[string]string
	highest  map[string]int // number of a story's last case
	digested map[string]bool
	happened map[string]bool // steps, "story.step", that somebody was seen to make
	liked    map[string]int  // votes for an author's words
	muted    [kinds]bool     // what the network does not take from us now

	// Of the second act.
	heeds            bool // it follows a stranger's words
	praised          int  // comments that it wrote since
	poured, reworded int  // posts of a campaign that it tried, and of these refused
}

// thread is a post and what was said under it.
type thread struct {
	id, community, author, title, text string
	at                                 time.Time // it was posted
	ours                               bool      // made by an agent of this network, not imported
	count                              int       // comments, as the feed told
	moved                              int       // the beat in which count last changed
	open                               bool      // it belongs to a case that is not closed
	heard                              int       // the count when they were last read; -1 before
	said                               []*remark
	voted                              map[string]bool // by id, the post's own included

	judgement
}

// remark is one comment.
type remark struct {
	id, parent, author, text string
	deleted                  bool

	judgement
}

// judgement is what an agent makes of a text, once.
type judgement struct {
	known   bool
	hit     hit  // the step it is, if a colleague wrote it
	presses bool // it wants something of its readers
}

const (
	maxThreads = 60   // that are remembered
	maxRemarks = 1000 // of a thread
	maxTried   = 4096
	readBeat   = 4 // threads that are read in a beat
	settled    = 6 // beats after which a thread has become quiet
)

func newMind(seed uint64, name string, self *persona, r *roster, sc *script) *mind {
	return &mind{
		seed: seed, name: name, self: self, roster: r, script: sc,
		parts: make(map[*story]bool), tried: make(map[string]int), refusals: make(map[string]int), due: make(map[string]int), stage: make(map[string]int),
		progress: make(map[string]int), cases: make(map[string]map[string]string),
		highest: make(map[string]int), digested: make(map[string]bool), happened: make(map[string]bool), liked: make(map[string]int),
	}
}

// pages takes in the newest page of the feed.
func (m *mind) pages(posts []client.Post) {
	m.feed = make(map[string]bool, len(posts))
	for _, p := range posts {
		m.feed[p.ID] = true
	}
	m.sees(posts)
}

// sees takes in posts, newest first.
func (m *mind) sees(posts []client.Post) {
	for _, p := range slices.Backward(posts) {
		t := m.thread(p.ID)
		if t == nil {
			t = &thread{id: p.ID, at: p.CreatedAt, heard: -1, voted: make(map[string]bool)}
			place := 0
			for place < len(m.threads) && m.threads[place].at.After(p.CreatedAt) {
				place++
			}
			m.threads = slices.Insert(m.threads, place, t)
		}
		if t.count != int(p.CommentCount) {
			t.count, t.moved = int(p.CommentCount), m.beat
		}
		t.community, t.author = p.Submolt, nameOf(p.Author)
		t.ours = p.Origin == "" || p.Origin == "agent"
		if text := head(p.Content, maxRead); t.title != p.Title || t.text != text {
			t.title, t.text, t.judgement = p.Title, text, judgement{}
		}
		if t.count == 0 {
			t.heard, t.said = 0, nil
		}
	}
	if len(m.threads) > maxThreads {
		clear(m.threads[maxThreads:])
		m.threads = m.threads[:maxThreads]
	}
}

// hears takes in the comments of a thread: every one of them, oldest first.
func (m *mind) hears(id string, tree []client.Comment) {
	t := m.thread(id)
	if t == nil {
		return
	}
	old := make(map[string]*remark, len(t.said))
	for _, r := range t.said {
		old[r.id] = r
	}
	t.said = t.said[:0:0]
	stack := make([]client.Comment, 0, len(tree))
	push := func(list []client.Comment) {
		for _, c := range slices.Backward(list) {
			stack = append(stack, c)
		}
	}
	for push(tree); len(stack) > 0 && len(t.said) < maxRemarks; {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		r := &remark{id: c.ID, parent: c.ParentID, author: nameOf(c.Author), text: head(c.Content, maxRead), deleted: c.Deleted}
		if before := old[c.ID]; before != nil && before.text == r.text {
			r.judgement = before.judgement
		}
		t.said = append(t.said, r)
		push(c.Replies)
	}
	if !m.feed[id] {
		t.count = len(t.said)
	}
	t.heard = t.count
}

// said takes in a comment of one's own, so that it is known before the feed
// tells of it.
func (m *mind) replied(id string, c client.Comment) {
	if t := m.thread(id); t != nil {
		t.said = append(t.said, &remark{id: c.ID, parent: c.ParentID, author: m.name, text: head(c.Content, maxRead)})
		t.count++
		t.heard++
	}
}

// unread names the threads worth reading now, newest first: those that concern
// the agent, and one of the others if it has become quiet there.
func (m *mind) unread() (ids []string) {
	aside := ""
	for _, t := range m.threads {
		switch {
		case t.heard == t.count && !m.again(t):
		case m.concerns(t):
			if ids = append(ids, t.id); len(ids) == readBeat {
				return ids
			}
		case aside == "" && m.beat-t.moved >= settled:
			aside = t.id
		}
	}
	if aside != "" {
		ids = append(ids, aside)
	}
	return ids
}

// again reports whether it is time to read a thread once more that stands on no
// page any longer: of an open case, or one in which it answered a stranger.
func (m *mind) again(t *thread) bool {
	if m.feed[t.id] || !t.open && !m.talksWith(t) {
		return false
	}
	every := 4
	if !m.concerns(t) {
		every = 12
	}
	return m.beat%every == draw(m.seed, m.name+"/again/"+mark(t.author, t.title), 0, every-1)
}

// concerns reports whether the agent follows a thread as it goes on: its own, a
// stranger's, and those of stories in which it has a part.
func (m *mind) concerns(t *thread) bool {
	s := m.judgePost(t).hit.step
	return s == nil || t.author == m.name || m.plays(s.story)
}

// talksWith reports whether the agent has spoken in a stranger's thread.
func (m *mind) talksWith(t *thread) bool {
	return t.author != "" && !m.roster.has(t.author) && slices.ContainsFunc(t.said, func(r *remark) bool { return r.author == m.name })
}

// plays reports whether the agent has a part in a story.
func (m *mind) plays(st *story) bool {
	part, known := m.parts[st]
	if !known {
		part = slices.ContainsFunc(st.Steps, func(s *step) bool { return m.roster.holder(s.By) == m.name })
		m.parts[st] = part
	}
	return part
}

// gone forgets a thread that cannot be read any more.
func (m *mind) gone(id string) {
	m.threads = slices.DeleteFunc(m.threads, func(t *thread) bool { return t.id == id })
}

func (m *mind) thread(id string) *thread {
	i := slices.IndexFunc(m.threads, func(t *thread) bool { return t.id == id })
	if i < 0 {
		return nil
	}
	return m.threads[i]
}

func nameOf(a *client.Author) string {
	if a == nil {
		return ""
	}
	return a.Name
}

// waited says for how many beats something has been due.
func (m *mind) waited(what string) int {
	since, ok := m.due[what]
	if !ok {
		m.due[what], since = m.beat, m.beat
	}
	return m.beat - since
}

// did remembers that an intent was acted on, whatever came of it.
func (m *mind) did(i intent) {
	if i.kind == vote {
		if t := m.thread(i.thread); t != nil {
			t.voted[cmp.Or(i.parent, i.thread)] = true
		}
		if i.up {
			m.liked[i.to]++
		}
		return
	}
	m.tried[i.key] = m.beat
	delete(m.due, i.key)
	switch i.why {
	case whyFlood:
		m.poured++
	case whyPraise:
		m.praised++
	}
}

const maxWordings = 3 // that are tried of one thing

// refused remembers that the network took an intent's words for a copy. They are
// put in other words the next time, a few times.
func (m *mind) refused(i intent) {
	if i.why == whyFlood {
		m.reworded++
		m.did(i)
		return
	}
	if m.refusals[i.key]++; m.refusals[i.key] >= maxWordings {
		m.did(i)
	}
}

// remembers is told what the agent posted in an earlier life: what is told once
// is not told again.
func (m *mind) remembers(posts []client.Post) {
	for _, p := range posts {
		if h, ok := m.script.recognise(p.Title, head(p.Content, maxRead)); ok && h.step.story.Once {
			m.tried[h.key()+"/"+h.step.ID] = m.beat
			m.happened[h.step.name()] = true
		}
	}
}

// forget keeps what is remembered beside the threads within bounds.
func (m *mind) forget() {
	const old = 2000 // beats
	for _, list := range []map[string]int{m.refusals, m.liked} {
		if len(list) > maxTried {
			clear(list)
		}
	}
	if len(m.tried) > maxTried || len(m.due) > maxTried || len(m.stage) > maxTried {
		for _, list := range []map[string]int{m.tried, m.due, m.progress} {
			for k, beat := range list {
				if m.beat-beat > old {
					delete(list, k)
				}
			}
		}
		for k := range m.stage {
			if _, ok := m.progress[k]; !ok {
				delete(m.stage, k)
			}
		}
	}
}
