package network

import (
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// FromSQL returns the network without its memory: what it reads, it reads from the
// database.
func FromSQL(n *Network) *Network {
	return &Network{gate: n.gate, db: n.db, log: n.log, owner: n.owner, places: newPlaces()}
}

// LimitMemory bounds the bytes of posts in memory.
func LimitMemory(n *Network, bytes int) { n.board.limit = bytes }

// ShrinkMemory makes windows so small that what a test does passes their floors.
func ShrinkMemory(n *Network, network, place int) { n.board.sizes = [2]int{network, place} }

// Windows returns how many windows are in memory and how many bytes of posts, and
// what does not fit together in it.
func Windows(n *Network) (count, bytes int, wrong string) {
	b := n.board
	b.mu.RLock()
	defer b.mu.RUnlock()
	stand := make(map[act.ID]int)
	for k, w := range b.windows {
		size := 0
		for i, s := range w.slots {
			switch {
			case i > 0 && before(w.slots[i-1], s) >= 0:
				wrong = fmt.Sprintf("%v is out of order at %d", k, i)
			case s != s.item.slot(k.sort) || b.items[s.id] != s.item:
				wrong = fmt.Sprintf("%v has a slot at %d that is not its post's", k, i)
			case !w.covers(s):
				wrong = fmt.Sprintf("%v has a post below its floor", k)
			}
			stand[s.id]++
			size += s.item.size()
		}
		if size != w.bytes {
			wrong = fmt.Sprintf("%v counts %d bytes, there are %d", k, w.bytes, size)
		}
	}
	posts := make(map[*authorCopy]int)
	for id, it := range b.items {
		bytes += it.size()
		posts[it.author]++
		if stand[id] != len(it.in) || stand[id] == 0 {
			wrong = fmt.Sprintf("post %d stands in %d windows and thinks %d", id, stand[id], len(it.in))
		}
	}
	for id, a := range b.authors {
		if posts[a] != a.posts || id != a.ID {
			wrong = fmt.Sprintf("author %d has %d posts and counts %d", id, posts[a], a.posts)
		}
	}
	if bytes != b.bytes || int64(len(b.windows)) != b.live.Load() {
		wrong = fmt.Sprintf("%d bytes in %d windows, counted are %d in %d", bytes, len(b.windows), b.bytes, b.live.Load())
	}
	return len(b.windows), bytes, wrong
}

// The reads that are compared.
var (
	ReadFeed = (*Network).readFeed
	ReadHome = (*Network).readHome
	ReadPost = (*Network).post
)

// Snippet is what a search shows of a text.
var Snippet = snippet

// Quiet reports whether an agent's home is answered from memory.
func Quiet(n *Network, v *store.View, p act.Principal) (bool, error) {
	_, quiet, err := n.quiet(v, p)
	return quiet, err
}

// Following marks a page's posts for a reader.
func Following(n *Network, v *store.View, p act.Principal, posts []Post) ([]Post, error) {
	return n.markFollowed(v, p, posts)
}

// The queries whose plans a test looks at.
const (
	PlanPool       = qPool
	PlanPoolPlace  = qPoolPlace
	PlanPoolAuthor = qPoolAuthor
	PlanAuthorNew  = qFeedAuthorNew
	PlanFollowed   = qFollowedSQLite
	PlanChosen     = qChosenSQLite
)
