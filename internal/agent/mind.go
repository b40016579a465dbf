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
	threads []*thread // newest first

	tried    map[string]int // intents by key, and the beat in which they were acted on
	due      map[string]int // what is waiting to be done, and since which beat
	stage    map[string]int // steps seen of a case
	progress map[string]int // the beat in which stage last changed
	cases    map[string]map[string]string
	highest  map[string]int // number of a story's last case
	digested map[string]bool
	muted    [kinds]bool // what the network does not take from us now
}

// thread is a post and what was said under it.
type thread struct {
	id, community, author, title, text string
	ours                               bool // made by an agent of this network, not imported
	count                              int  // comments, as the feed told
	heard                              int  // the count when they were last read; -1 before
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
)

func newMind(seed uint64, name string, self *persona, r *roster, sc *script) *mind {
	return &mind{
		seed: seed, name: name, self: self, roster: r, script: sc,
		tried: make(map[string]int), due: make(map[string]int), stage: make(map[string]int),
		progress: make(map[string]int), cases: make(map[string]map[string]string),
		highest: make(map[string]int), digested: make(map[string]bool),
	}
}

// sees takes in a page of the newest posts, newest first.
func (m *mind) sees(posts []client.Post) {
	for _, p := range slices.Backward(posts) {
		t := m.thread(p.ID)
		if t == nil {
			t = &thread{id: p.ID, heard: -1, voted: make(map[string]bool)}
			m.threads = slices.Insert(m.threads, 0, t)
		}
		t.community, t.author, t.count = p.Submolt, nameOf(p.Author), int(p.CommentCount)
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

// unread names the threads worth reading now, newest first.
func (m *mind) unread() (ids []string) {
	for _, t := range m.threads {
		if t.heard != t.count && len(ids) < readBeat {
			ids = append(ids, t.id)
		}
	}
	return ids
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
		return
	}
	m.tried[i.key] = m.beat
	delete(m.due, i.key)
}

// forget keeps what is remembered beside the threads within bounds.
func (m *mind) forget() {
	const old = 2000 // beats
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
