package network

import (
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	defaultCards = 50_000
	cardPages    = 4_096
	stampSlots   = 1 << 16
)

// cards is the memory copy of what is read most: posts and first pages of
// feeds. Nothing in it is ever updated. After each commit, and
// before the act is answered, what moved is marked; a copy is served only while
// nothing it was made of has been marked since. Memory can be early to doubt and
// never late to notice, whatever the order in which readers and writers finish:
//
//   - a writer commits, then raises changes, then the stamp of what moved;
//   - a reader takes changes, reads SQL, takes the stamps, and keeps its copy
//     only if changes still stands: no commit was marked meanwhile, so a mark for
//     anything its read did not see will raise a stamp the copy was kept with.
//
// Stamps are counters in fixed arrays, indexed by a hash of the id: two ids that
// share a slot only doubt each other's copies needlessly. A nil *cards keeps
// nothing.
type cards struct {
	posts *otter.Cache[act.ID, card]
	pages *otter.Cache[pageKey, cardPage]
	alone *otter.Cache[act.ID, uint32] // readers who follow nobody, with the stamp of their own profile

	changes atomic.Uint64
	items   stamps // posts
	authors stamps // what a post shows of its author
	orders  stamps // what is in a community, 0 for the network
	ranks   stamps // votes in a community, 0 for the network
}

type stamps [stampSlots]atomic.Uint32

func (s *stamps) slot(id act.ID) *atomic.Uint32 {
	return &s[uint64(id)*0x9E3779B97F4A7C15>>48]
}

// card is a copy of a post and the stamps of what it was made of.
type card struct {
	post         Post
	item, author uint32
}

func (c *cards) card(p Post) card {
	return card{post: p, item: c.items.slot(p.ID).Load(), author: c.authors.slot(p.Author.ID).Load()}
}

func (c *cards) stands(k *card) bool {
	return k.item == c.items.slot(k.post.ID).Load() && k.author == c.authors.slot(k.post.Author.ID).Load()
}

type pageKey struct {
	place act.ID
	sort  FeedSort
	limit int
}

// cardPage is a copy of the first page of a feed.
type cardPage struct {
	page        act.Page[Post]
	cards       []card // of the same posts, for their stamps
	order, rank uint32
}

func newCards(n int) *cards {
	if n <= 0 {
		n = defaultCards
	}
	return &cards{
		posts: otter.Must(&otter.Options[act.ID, card]{MaximumSize: n}),
		pages: otter.Must(&otter.Options[pageKey, cardPage]{MaximumSize: cardPages}),
		alone: otter.Must(&otter.Options[act.ID, uint32]{MaximumSize: n}),
	}
}

// postMoved marks a post whose own columns changed.
func (c *cards) postMoved(post act.ID) {
	if c != nil {
		c.changes.Add(1)
		c.items.slot(post).Add(1)
	}
}

// authorMoved marks an author of whom posts show something.
func (c *cards) authorMoved(author act.ID) {
	if c != nil {
		c.changes.Add(1)
		c.authors.slot(author).Add(1)
	}
}

// placeMoved marks a community in which posts came or went.
func (c *cards) placeMoved(place act.ID) {
	if c != nil {
		c.changes.Add(1)
		c.orders.slot(place).Add(1)
		c.orders.slot(0).Add(1)
	}
}

// voteMoved marks a post and the rankings it stands in.
func (c *cards) voteMoved(post, place act.ID) {
	if c != nil {
		c.changes.Add(1)
		c.items.slot(post).Add(1)
		c.ranks.slot(place).Add(1)
		c.ranks.slot(0).Add(1)
	}
}

// forget drops posts, and every page, from memory altogether: a mark would only
// keep their text from being shown.
func (c *cards) forget(posts []act.ID) {
	if c == nil {
		return
	}
	c.changes.Add(1)
	for _, id := range posts {
		c.items.slot(id).Add(1)
		c.posts.Invalidate(id)
	}
	c.orders.slot(0).Add(1)
	c.pages.InvalidateAll()
}

// allMoved drops every copy of a post or page.
func (c *cards) allMoved() {
	if c != nil {
		c.changes.Add(1)
		c.posts.InvalidateAll()
		c.pages.InvalidateAll()
		c.alone.InvalidateAll()
	}
}

// begin is taken before a read whose result may be kept.
func (c *cards) begin() uint64 {
	if c == nil {
		return 0
	}
	return c.changes.Load()
}

func (c *cards) post(id act.ID) (Post, bool) {
	if c == nil {
		return Post{}, false
	}
	k, ok := c.posts.GetIfPresent(id)
	if !ok || !c.stands(&k) {
		return Post{}, false
	}
	return k.post, true
}

func (c *cards) keepPost(p Post, begun uint64) {
	if c == nil {
		return
	}
	if k := c.card(p); c.changes.Load() == begun {
		c.posts.Set(p.ID, k)
	}
}

func (c *cards) page(place act.ID, q FeedQuery) (act.Page[Post], bool) {
	if c == nil {
		return act.Page[Post]{}, false
	}
	k, ok := c.pages.GetIfPresent(pageKey{place, q.Sort, q.Limit})
	if !ok || k.order != c.orders.slot(place).Load() || (q.Sort != FeedNew && k.rank != c.ranks.slot(place).Load()) {
		return act.Page[Post]{}, false
	}
	for i := range k.cards {
		if !c.stands(&k.cards[i]) {
			return act.Page[Post]{}, false
		}
	}
	return k.page, true
}

func (c *cards) keepPage(place act.ID, q FeedQuery, page act.Page[Post], begun uint64) {
	if c == nil {
		return
	}
	k := cardPage{page: page, order: c.orders.slot(place).Load(), rank: c.ranks.slot(place).Load(), cards: make([]card, len(page.Items))}
	for i, p := range page.Items {
		k.cards[i] = c.card(p)
	}
	if c.changes.Load() == begun {
		c.pages.Set(pageKey{place, q.Sort, q.Limit}, k)
	}
}

// followsNobody reports whether it is known that a reader follows nobody. Who
// follows somebody is marked as an author is.
func (c *cards) followsNobody(reader act.ID) bool {
	if c == nil {
		return false
	}
	stamp, ok := c.alone.GetIfPresent(reader)
	return ok && stamp == c.authors.slot(reader).Load()
}

func (c *cards) keepNobody(reader act.ID, begun uint64) {
	if c == nil {
		return
	}
	if stamp := c.authors.slot(reader).Load(); c.changes.Load() == begun {
		c.alone.Set(reader, stamp)
	}
}
