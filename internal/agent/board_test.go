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

// beat lets one mind look, plan and act, and returns what it intended.
func (b *board) beat(m *mind, beat int) []intent {
	m.sees(b.feed())
	for _, id := range m.unread() {
		m.hears(id, b.trees[id])
	}
	plan := m.plan(beat, noon)
	for _, i := range plan {
		switch i.kind {
		case post:
			b.post(m.name, i.community, i.title, i.text)
		case reply:
			b.comment(m.name, i.thread, i.parent, i.text)
		case vote:
			b.votes[i.key]++
		}
		m.did(i)
		b.log = append(b.log, fmt.Sprintf("%s %s %s %q %q", m.name, i.why, i.key, i.title, i.text))
	}
	return plan
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func book(t testing.TB) *script {
	t.Helper()
	sc, err := readBook()
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// minds makes the first n agents of the cast.
func minds(t testing.TB, seed uint64, n int) []*mind {
	t.Helper()
	sc := book(t)
	var members []member
	for i := range n {
		p := sc.cast[i%len(sc.cast)]
		name := p.Name
		if i >= len(sc.cast) {
			name = fmt.Sprintf("%s-%d", name, i/len(sc.cast)+1)
		}
		members = append(members, member{name: name, self: p, lead: i < len(sc.cast)})
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
