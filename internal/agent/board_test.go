package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
)

// board is a network on paper: it shows the minds what each of them did. It is
// no stand-in for a server (see run_test.go for that) but the place where plans
// can be compared act by act.
type board struct {
	posts []client.Post // oldest first
	trees map[string][]client.Comment
	votes map[string]int
	tasks []*client.Task // oldest first
	talks []*talking
	log   []string // every act, in order
	next  int
}

func newBoard() *board {
	return &board{trees: make(map[string][]client.Comment), votes: make(map[string]int)}
}

func (b *board) id(kind string) string {
	b.next++
	return fmt.Sprintf("%s-%d", kind, b.next)
}

func (b *board) post(by, community, title, text string) string {
	id := b.id("post")
	b.posts = append(b.posts, client.Post{
		ID: id, Title: title, Content: text, Submolt: community, Author: &client.Author{Name: by}, Origin: "agent",
	})
	return id
}

func (b *board) comment(by, post, parent, text string) string {
	c := client.Comment{ID: b.id("comment"), PostID: post, ParentID: parent, Content: text, Author: &client.Author{Name: by}}
	if parent == "" {
		b.trees[post] = append(b.trees[post], c)
	} else if at := find(b.trees[post], parent); at != nil {
		at.Replies = append(at.Replies, c)
	}
	for i := range b.posts {
		if b.posts[i].ID == post {
			b.posts[i].CommentCount++
		}
	}
	return c.ID
}

func find(tree []client.Comment, id string) *client.Comment {
	for i := range tree {
		if tree[i].ID == id {
			return &tree[i]
		}
		if c := find(tree[i].Replies, id); c != nil {
			return c
		}
	}
	return nil
}

func (b *board) feed() []client.Post {
	page := slices.Clone(b.posts)
	slices.Reverse(page)
	return page[:min(len(page), feedSize)]
}

// talking is a conversation of two agents.
type talking struct {
	id, from, to string
	agreed       bool
	said         []client.Message // without FromYou
	read         map[string]int   // lines, by reader
}

func (b *board) talk(id string) *talking {
	return b.talks[slices.IndexFunc(b.talks, func(t *talking) bool { return t.id == id })]
}

func (b *board) task(id string) *client.Task {
	return b.tasks[slices.IndexFunc(b.tasks, func(t *client.Task) bool { return t.ID == id })]
}

// whispers shows a mind what is said to it in private.
func (b *board) whispers(m *mind) {
	for _, t := range b.talks {
		switch {
		case !t.agreed && t.to == m.name:
			m.asked([]client.MessageRequest{{ConversationID: t.id, From: client.Peer{Name: t.from}, Message: t.said[0].Content}})
		case t.agreed && (t.to == m.name || t.from == m.name) && t.read[m.name] < len(t.said):
			c := client.Conversation{ID: t.id, With: client.Peer{Name: t.from}, Status: "approved", Unread: 1}
			if t.from == m.name {
				c.With.Name = t.to
			}
			m.listed([]client.Conversation{c})
			said := slices.Clone(t.said)
			for i := range said {
				said[i].FromYou = said[i].Sender.Name == m.name
			}
			m.heard(c, said)
			t.read[m.name] = len(t.said)
		}
	}
}

// assigns shows a mind the tasks that concern it.
func (b *board) assigns(m *mind) {
	for _, q := range m.enquiries() {
		for _, t := range b.tasks {
			if q.View == "posted" && t.Poster == m.name || q.View == "offered" && t.OfferedTo == m.name ||
				q.View == "open" && t.Community == q.Community && t.Status == taskOpen {
				for range m.tasked([]client.Task{*t}) {
					m.reported(*t)
				}
			}
		}
	}
}

// labour does what a mind intends with tasks and in private.
func (b *board) labour(m *mind, i intent) {
	note := func(kind string) {
		t := b.task(i.task)
		t.History = append(t.History, client.TaskStep{Kind: kind, AgentID: m.name, Note: i.text})
		m.took(i, *t)
	}
	switch i.kind {
	case offer:
		b.tasks = append(b.tasks, &client.Task{
			ID: b.id("task"), Poster: m.name, Community: i.community, OfferedTo: i.to, Title: i.title, Content: i.text, Status: taskOpen,
		})
		m.took(i, *b.tasks[len(b.tasks)-1])
	case claim:
		t := b.task(i.task)
		t.Status, t.ClaimantID, t.Lease = taskClaimed, m.name, t.Lease+1
		note("claimed")
	case progress:
		note(stepProgress)
	case complete:
		b.task(i.task).Status = taskCompleted
		note("completed")
	case ask:
		t := &talking{id: b.id("talk"), from: m.name, to: i.to, read: map[string]int{m.name: 1}}
		t.said = []client.Message{{Sender: client.Peer{Name: m.name}, Content: i.text}}
		b.talks = append(b.talks, t)
		m.spoke(i, t.id)
	case consent:
		b.talk(i.chat).agreed = true
		m.spoke(i, i.chat)
	case say:
		t := b.talk(i.chat)
		t.said = append(t.said, client.Message{Sender: client.Peer{Name: m.name}, Content: i.text})
		m.spoke(i, i.chat)
	}
}

// beat lets one mind look, plan and act, and returns what it intended.
func (b *board) beat(m *mind, beat int) []intent {
	m.pages(b.feed())
	for _, id := range m.unread() {
		m.hears(id, b.trees[id])
	}
	b.whispers(m)
	b.assigns(m)
	plan := m.plan(beat, noon)
	for _, i := range plan {
		switch i.kind {
		case post:
			b.post(m.name, i.community, i.title, i.text)
		case reply:
			b.comment(m.name, i.thread, i.parent, i.text)
		case vote:
			b.votes[i.key]++
		default:
			b.labour(m, i)
		}
		m.did(i)
		b.log = append(b.log, fmt.Sprintf("%s %s %s %s %q %q", m.name, i.kind, i.why, i.key, i.title, i.text))
	}
	return plan
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func book(t testing.TB, second bool) *script {
	t.Helper()
	sc, err := readBook(second)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// minds makes the first n agents of the cast.
func minds(t testing.TB, seed uint64, n int) []*mind {
	t.Helper()
	return mindsOf(seed, book(t, false), n)
}

func mindsOf(seed uint64, sc *script, n int) []*mind {
	var members []member
	for i := range n {
		p := sc.cast[i%len(sc.cast)]
		name := p.Name
		if i >= len(sc.cast) {
			name = fmt.Sprintf("%s-%d", name, i/len(sc.cast)+1)
		}
		members = append(members, member{name: name, self: p, first: i < len(sc.cast)})
	}
	r := newRoster(members)
	var list []*mind
	for _, m := range members {
		list = append(list, newMind(seed, m.name, m.self, r, sc))
	}
	return list
}

// play lets the agents beat in turn.
func play(b *board, cast []*mind, from, to int) {
	for beat := from; beat <= to; beat++ {
		for _, m := range cast {
			b.beat(m, beat)
		}
	}
}
