package network

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	defaultBoard = 128 << 20 // bytes of posts
	boardWindows = 4096
	boardDoubts  = 4096 // posts and authors in doubt; beyond, everything is
	postOverhead = 512  // bytes of a post beside its text
)

// board is the memory of feeds: the beginnings of the orders that are read, kept
// in step with the database. Its posts are candidates and copies, never permission.
//
// Nothing is changed in memory by what an act says it did. An act says what it
// touched (store.Tx.Touch), here after its commit and before its answer, on other
// nodes by the sequence of events; a post or author in doubt is read from the
// database again before anything is served to whoever came after. So memory can be
// early to doubt and never late to notice, whatever the order in which readers and
// writers finish:
//
//   - doubts counts what has been put in doubt, settled up to where the doubts have
//     been answered. A reader notes doubts when it begins and is served only from
//     a board that is settled that far;
//   - one reader at a time settles: it takes what is in doubt, asks the database,
//     and puts the answers in place. All of it was committed before it was in
//     doubt, so the answers are not older;
//   - a window is read from the database beside others' work; what was put in
//     doubt meanwhile is put in doubt again when the window is in place;
//   - doubting everything (an outcome unknown, an import) begins a new era: what
//     was asked in an older one is not put in place.
//
// A nil *board serves nothing.
type board struct {
	net   *Network // to ask the database with
	limit int      // bytes
	sizes [2]int   // posts that a window begins with: of the network, of a community

	live    atomic.Int64 // windows there are or are being read; with none nothing needs doubt
	tick    atomic.Int64 // of use
	settled atomic.Uint64

	doubting sync.Mutex
	doubts   atomic.Uint64         // raised under doubting
	posts    map[act.ID]struct{}   // guarded by doubting: in doubt
	people   map[act.ID]struct{}   // guarded by doubting: in doubt
	anew     bool                  // guarded by doubting: everything is
	missed   map[*loading][]act.ID // guarded by doubting: put in doubt while a window is read
	settling sync.Mutex            // held by the one reader who settles

	mu      sync.RWMutex
	era     int64                  // guarded by mu
	windows map[windowKey]*window  // guarded by mu
	items   map[act.ID]*item       // guarded by mu: posts that stand in a window
	authors map[act.ID]*authorCopy // guarded by mu: of those posts
	coming  map[windowKey]*loading // guarded by mu
	changed map[*window]struct{}   // guarded by mu: windows to be looked at by trim
	bytes   int                    // guarded by mu: of the items
}

// item is a post in memory. It belongs to the board's lock; its post is replaced,
// never changed.
type item struct {
	post   *Post // its Author is not used
	author *authorCopy
	in     []*window
}

func (i *item) size() int {
	return postOverhead + len(i.post.Title) + len(i.post.Content) + len(i.post.URL)
}

func (i *item) slot(s FeedSort) slot { return slot{feedKey(s, *i.post), i.post.ID, i} }

// authorCopy is an author in memory, shared by the author's posts.
type authorCopy struct {
	Author
	posts int
}

// loading is a window that is being read.
type loading struct {
	era  int64
	done chan struct{}
}

func newBoard(n *Network, limit int) *board {
	return &board{
		net: n, limit: cmp.Or(limit, defaultBoard), sizes: [2]int{windowNetwork, windowPlace},
		posts: make(map[act.ID]struct{}), people: make(map[act.ID]struct{}), missed: make(map[*loading][]act.ID),
		windows: make(map[windowKey]*window), items: make(map[act.ID]*item), authors: make(map[act.ID]*authorCopy),
		coming: make(map[windowKey]*loading), changed: make(map[*window]struct{}),
	}
}

// doubt notes that posts and agents have changed.
func (b *board) doubt(ids ...act.ID) {
	if b == nil || b.live.Load() == 0 {
		return
	}
	b.doubting.Lock()
	defer b.doubting.Unlock()
	for _, id := range ids {
		switch id.Kind() {
		case act.KindPost:
			b.posts[id] = struct{}{}
		case act.KindAgent:
			b.people[id] = struct{}{}
		default:
			continue
		}
		for l := range b.missed {
			b.missed[l] = append(b.missed[l], id)
		}
	}
	b.anew = b.anew || len(b.posts)+len(b.people) > boardDoubts
	b.doubts.Add(1)
}

// doubtAll notes that anything may have changed.
func (b *board) doubtAll() {
	if b == nil || b.live.Load() == 0 {
		return
	}
	b.doubting.Lock()
	defer b.doubting.Unlock()
	b.anew = true
	b.doubts.Add(1)
}

// forget drops posts at once: memory keeps no text that has been taken back.
func (b *board) forget(posts []act.ID) {
	if b == nil {
		return
	}
	b.doubt(posts...)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range posts {
		b.remove(id)
	}
}

// settle returns when everything that was in doubt when it was called has been
// read again.
func (b *board) settle(v *store.View) error {
	seen := b.doubts.Load()
	if b.settled.Load() >= seen {
		return nil
	}
	if err := v.Connect(); err != nil { // before anybody waits
		return err
	}
	b.settling.Lock()
	defer b.settling.Unlock()
	if b.settled.Load() >= seen {
		return nil // by another reader meanwhile
	}
	b.doubting.Lock()
	posts, people, anew, upTo := b.posts, b.people, b.anew, b.doubts.Load()
	b.posts, b.people, b.anew = make(map[act.ID]struct{}), make(map[act.ID]struct{}), false
	b.doubting.Unlock()
	if anew {
		b.clear()
		b.settled.Store(upTo)
		return nil
	}
	b.mu.RLock()
	for id := range people {
		if b.authors[id] == nil {
			delete(people, id)
		}
	}
	b.mu.RUnlock()
	fresh, authors, err := b.ask(v, posts, people)
	if err != nil { // nothing is known: the doubts stand
		b.doubting.Lock()
		maps.Copy(b.posts, posts)
		maps.Copy(b.people, people)
		b.doubting.Unlock()
		return err
	}
	b.mu.Lock()
	for id := range posts {
		b.update(id, fresh[id])
	}
	for _, a := range authors { // the one read last is the newest
		if known := b.authors[a.ID]; known != nil {
			known.Author = a
		}
	}
	b.trim()
	b.mu.Unlock()
	b.settled.Store(upTo)
	return nil
}

// ask reads posts, and authors, those of the posts among them, in the order in
// which they were read.
func (b *board) ask(v *store.View, posts, people map[act.ID]struct{}) (fresh map[act.ID]*Post, authors []Author, err error) {
	fresh = make(map[act.ID]*Post, len(posts))
	list, err := b.net.postsByID(v, slices.Collect(maps.Keys(posts)))
	if err != nil {
		return nil, nil, err
	}
	for i := range list {
		fresh[list[i].ID] = &list[i]
		authors = append(authors, list[i].Author)
		delete(people, list[i].Author.ID)
	}
	more, err := b.net.authorsByID(v, slices.Collect(maps.Keys(people)))
	return fresh, append(authors, more...), err
}

// clear begins a new era with nothing in memory.
func (b *board) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.era++
	b.live.Add(-int64(len(b.windows)))
	clear(b.windows)
	clear(b.items)
	clear(b.authors)
	clear(b.changed)
	b.bytes = 0
}

// update puts a post as it is now where it belongs; nil is one that is not to be
// shown. The caller holds mu.
func (b *board) update(id act.ID, p *Post) {
	it := b.items[id]
	switch {
	case p == nil:
		b.remove(id)
		return
	case it == nil:
		it = &item{post: p}
	default:
		b.unplace(it)
		it.post, it.in = p, it.in[:0]
	}
	for _, place := range [...]act.ID{0, p.Place.ID} {
		for _, sort := range [...]FeedSort{FeedHot, FeedNew, FeedTop} {
			if w := b.windows[windowKey{place, sort}]; w != nil && w.covers(it.slot(sort)) {
				w.put(it.slot(sort))
				it.in = append(it.in, w)
				b.changed[w] = struct{}{}
			}
		}
	}
	b.keep(it, p)
}

// unplace takes a post out of its windows. The caller holds mu and puts it
// elsewhere, or lets it go.
func (b *board) unplace(it *item) {
	for _, w := range it.in {
		w.drop(it.slot(w.sort))
		b.changed[w] = struct{}{}
	}
	b.bytes -= it.size()
}

// keep takes a post that stands in a window into memory, or lets one go that
// stands in none. The caller holds mu, and its bytes are not counted.
func (b *board) keep(it *item, p *Post) {
	id := p.ID
	if len(it.in) == 0 {
		delete(b.items, id)
		b.leave(it)
		return
	}
	b.items[id] = it
	b.bytes += it.size()
	if it.author == nil {
		if it.author = b.authors[p.Author.ID]; it.author == nil {
			it.author = &authorCopy{Author: p.Author}
			b.authors[p.Author.ID] = it.author
		}
		it.author.posts++
	}
}

// leave lets go of the author of a post that leaves. The caller holds mu.
func (b *board) leave(it *item) {
	if it.author == nil {
		return
	}
	if it.author.posts--; it.author.posts == 0 {
		delete(b.authors, it.author.ID)
	}
	it.author = nil
}

// remove takes a post out of memory. The caller holds mu.
func (b *board) remove(id act.ID) {
	it := b.items[id]
	if it == nil {
		return
	}
	b.unplace(it)
	delete(b.items, id)
	b.leave(it)
}

// out notes that a post has left a window. The caller holds mu.
func (b *board) out(it *item, w *window) {
	it.in = slices.DeleteFunc(it.in, func(x *window) bool { return x == w })
	if len(it.in) == 0 {
		b.bytes -= it.size()
		delete(b.items, it.post.ID)
		b.leave(it)
	}
}

// discard drops a window. The caller holds mu.
func (b *board) discard(w *window) {
	delete(b.windows, w.windowKey)
	b.live.Add(-1)
	for _, s := range w.slots {
		b.out(s.item, w)
	}
}

// trim cuts windows back that have grown, drops those that have lost too much, and
// the least used ones while there are too many bytes. The caller holds mu.
func (b *board) trim() {
	for w := range b.changed {
		for _, s := range w.excess() {
			b.out(s.item, w)
		}
		if w.short() {
			b.discard(w)
		}
	}
	clear(b.changed)
	for (b.bytes > b.limit || len(b.windows) > boardWindows) && len(b.windows) > 1 {
		var least *window
		for _, w := range b.windows {
			if least == nil || w.used.Load() < least.used.Load() {
				least = w
			}
		}
		b.discard(least)
	}
}

// open returns when the window is in memory, reading it if need be, and reports
// whether it is.
func (b *board) open(ctx context.Context, v *store.View, k windowKey) (ok bool, err error) {
	b.mu.RLock()
	w, coming := b.windows[k], b.coming[k]
	b.mu.RUnlock()
	if w != nil {
		w.used.Store(b.tick.Add(1))
		return true, nil
	}
	if coming != nil {
		select {
		case <-coming.done:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		b.mu.RLock()
		defer b.mu.RUnlock()
		return b.windows[k] != nil, nil
	}
	if err := v.Connect(); err != nil { // before anybody waits
		return false, err
	}
	l := &loading{done: make(chan struct{})}
	b.mu.Lock()
	if b.windows[k] != nil || b.coming[k] != nil {
		b.mu.Unlock()
		return b.open(ctx, v, k)
	}
	b.coming[k], l.era = l, b.era
	b.mu.Unlock()
	defer close(l.done)
	b.live.Add(1) // what commits from here on is put in doubt
	b.doubting.Lock()
	b.missed[l] = nil
	b.doubting.Unlock()
	posts, err := b.net.orderedPosts(v, k, b.size(k)+1)
	return b.install(k, l, posts, err == nil), err
}

func (b *board) size(k windowKey) int {
	if k.place == 0 {
		return b.sizes[0]
	}
	return b.sizes[1]
}

// install puts a window that was read in place, unless a new era has begun.
func (b *board) install(k windowKey, l *loading, posts []Post, good bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.coming, k)
	if good = good && l.era == b.era; good {
		w := &window{windowKey: k, size: b.size(k)}
		w.whole = len(posts) <= w.size
		posts = posts[:min(len(posts), w.size)]
		if n := len(posts); n > 0 {
			w.floor = slot{key: feedKey(k.sort, posts[n-1]), id: posts[n-1].ID}
		}
		for i := range posts {
			p := &posts[i]
			it := b.items[p.ID]
			if it == nil {
				it = &item{post: p, in: []*window{w}}
				b.keep(it, p)
			} else if w.covers(it.slot(k.sort)) { // memory's is newer, or in doubt
				it.in = append(it.in, w)
			} else {
				continue
			}
			w.slots = append(w.slots, it.slot(k.sort))
			w.bytes += it.size()
		}
		slices.SortFunc(w.slots, before)
		w.used.Store(b.tick.Add(1))
		b.windows[k] = w
		b.changed[w] = struct{}{}
		b.trim()
	} else {
		b.live.Add(-1)
	}
	// Before anybody can read the window.
	b.doubting.Lock()
	missed := b.missed[l]
	delete(b.missed, l)
	b.doubting.Unlock()
	b.doubt(missed...)
	return good
}

// copies returns the posts that stand in the slots. The caller holds mu for
// reading.
func (b *board) copies(slots []slot) []Post {
	list := make([]Post, len(slots))
	for i, s := range slots {
		list[i] = b.copy(s.item)
	}
	return list
}

func (b *board) copy(it *item) Post {
	p := *it.post
	p.Author = it.author.Author
	p.Author.Standing = b.net.standing(p.Author.ID)
	return p
}

// page returns a page of the network or a community, if memory has all of it.
func (b *board) page(ctx context.Context, v *store.View, k windowKey, in FeedQuery, at start) (page act.Page[Post], ok bool, err error) {
	if b == nil {
		return page, false, nil
	}
	if ok, err = b.open(ctx, v, k); err != nil || !ok {
		return page, false, err
	}
	if err = b.settle(v); err != nil {
		return page, false, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	w := b.windows[k]
	if w == nil {
		return page, false, nil
	}
	from := 0
	if at.keyed {
		from = w.after(at.from[0], act.ID(at.from[1]))
	}
	from += int(at.skip)
	to := from + in.Limit
	if to >= len(w.slots) && !w.whole {
		return page, false, nil
	}
	from, to = min(from, len(w.slots)), min(to, len(w.slots))
	page.Items = b.copies(w.slots[from:to])
	page.Next = nextOf(in, at, page.Items, to < len(w.slots))
	return page, true, nil
}

// pool returns the candidates of a community or, with place 0, of the network that
// were made before a moment, as [Network.pool] does, if memory has all of them.
func (b *board) pool(ctx context.Context, v *store.View, place act.ID, as, since int64) (list []candidate, ok bool, err error) {
	if b == nil {
		return nil, false, nil
	}
	k := windowKey{place, FeedNew}
	if ok, err = b.open(ctx, v, k); err != nil || !ok {
		return nil, false, err
	}
	if err = b.settle(v); err != nil {
		return nil, false, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	w := b.windows[k]
	if w == nil {
		return nil, false, nil
	}
	all := w.whole
	for _, s := range w.slots[w.after(as, lastKey):] {
		if s.key < since || len(list) == maxPool {
			all = true
			break
		}
		p := s.item.post
		list = append(list, candidate{id: s.id, up: p.score, comments: p.replies, hot: p.Hot, score: p.score, created: p.CreatedAt})
	}
	return list, all || len(list) == maxPool, nil
}

// byID returns posts that memory has, in the order of the ids, and whether it has
// all of them.
func (b *board) byID(v *store.View, ids ...act.ID) (list []Post, all bool, err error) {
	if b == nil || b.live.Load() == 0 {
		return nil, false, nil
	}
	if err := b.settle(v); err != nil {
		return nil, false, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	list = make([]Post, 0, len(ids))
	for _, id := range ids {
		it := b.items[id]
		if it == nil {
			return nil, false, nil
		}
		list = append(list, b.copy(it))
	}
	return list, true, nil
}
