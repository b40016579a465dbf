package graph

import (
	"runtime"
	"slices"
	"sync"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
)

// DefaultMemory bounds the sealed pages that are kept in memory, in bytes.
const DefaultMemory = 512 << 20

// Graph is the influence graph of a network. It is safe for concurrent use. It reads
// what is new when it is asked something, so its memory is of no use before that, and
// never behind the view it is asked with.
type Graph struct {
	memory int64

	mu     sync.RWMutex // held for reading while a question is answered
	agents names        // guarded by mu, like all below; number 0 is nobody: readers without a name, timers
	items  names        // number 0 is nothing
	blocks []*block     // what is sealed, in its order
	tail   *provenance.Tail
	open   *block // what is not sealed
	log    log
	bytes  int64 // of the blocks that are in memory
	unsure bool  // it may have learned what will not be committed
}

// New returns a graph that keeps at most so many bytes of sealed pages in memory,
// DefaultMemory if 0.
func New(memory int64) *Graph {
	if memory <= 0 {
		memory = DefaultMemory
	}
	g := &Graph{memory: memory}
	g.forget()
	return g
}

// forget begins with nothing in memory.
func (g *Graph) forget() {
	g.agents, g.items, g.log = newNames(), newNames(), newLog()
	g.tail, g.open, g.blocks, g.bytes = provenance.NewTail(), nil, nil, 0
}

// Unsure says that a question was asked inside a transaction, which sees what may never be
// committed. Unless Sure says that it was, the next question begins with nothing in memory.
func (g *Graph) Unsure() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unsure = true
}

// Sure ends Unsure.
func (g *Graph) Sure() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unsure = false
}

// names gives ids small numbers, from 1 on.
type names struct {
	ids    []act.ID
	number map[act.ID]uint32
}

func newNames() names { return names{ids: []act.ID{0}, number: map[act.ID]uint32{0: 0}} }

func (n *names) of(id act.ID) uint32 {
	i, known := n.number[id]
	if !known {
		i = uint32(len(n.ids)) //nolint:gosec // four billion agents or things
		n.number[id] = i
		n.ids = append(n.ids, id)
	}
	return i
}

// block is a part of the log of pages.
type block struct {
	segment     int64
	first, last int64 // numbers of its pages: the acts before them
	pages       int
	showings    int64
	cols        *columns         // nil where it has to be read
	of          *provenance.Tail // of what is not sealed
}

// columns are the pages of a block, with the graph's numbers.
type columns struct {
	*provenance.Columns          // Listed has the graph's numbers of items
	readers             []uint32 // of each of its readers, the graph's number; looker for operators
	order               []uint32 // its pages by reader, each one's in their order
	starts              []uint32 // where each reader's pages begin in order; one more than there are readers
}

// size is about how many bytes the columns take.
func (c *columns) size() int64 {
	return int64(4*(len(c.Listed)+len(c.Ends)) + 30*len(c.After) + 16*len(c.Readers) + 8*len(c.Items))
}

// looker is the number of readers who are no agents: operators look into things, and
// write nothing. Nobody is 0.
const looker = 1<<32 - 1

func reads(id act.ID) bool { return id == 0 || id.Kind() == act.KindAgent }

// take gives the pages the graph's numbers.
func (g *Graph) take(c *provenance.Columns) *columns {
	out := &columns{Columns: c, readers: make([]uint32, len(c.Readers))}
	for i, id := range c.Readers {
		if out.readers[i] = looker; reads(id) {
			out.readers[i] = g.agents.of(id)
		}
	}
	g.number(out)
	return out
}

// number gives the items the graph's numbers, and each reader's pages their place.
func (g *Graph) number(c *columns) {
	items := make([]uint32, len(c.Items))
	for i, id := range c.Items {
		items[i] = g.items.of(id)
	}
	for i, n := range c.Listed {
		c.Listed[i] = items[n]
	}
	c.starts = make([]uint32, len(c.Readers)+1)
	for _, r := range c.Reader {
		c.starts[r+1]++
	}
	for i := range c.readers {
		c.starts[i+1] += c.starts[i]
	}
	c.order = make([]uint32, len(c.Reader))
	at := slices.Clone(c.starts)
	for p, r := range c.Reader {
		c.order[at[r]] = uint32(p) //nolint:gosec // a block has far fewer
		at[r]++
	}
}

// of returns the pages of a reader, by their numbers in the block.
func (c *columns) of(id act.ID) []uint32 {
	at, found := slices.BinarySearch(c.Readers, id)
	if !found && c.Segment == 0 { // what is not sealed is in no order
		at = slices.Index(c.Readers, id)
		found = at >= 0
	}
	if !found {
		return nil
	}
	return c.order[c.starts[at]:c.starts[at+1]]
}

func blockOf(c *columns) *block {
	b := &block{segment: c.Segment, pages: len(c.After), showings: c.Showings(), cols: c}
	if b.pages > 0 {
		b.first, b.last = c.After[0], c.After[b.pages-1]
	}
	return b
}

// Refresh brings memory up to date: with every act that is numbered now, and every page
// that was shown before them.
func (g *Graph) Refresh(v *store.View) (err error) {
	// Who waits for the lock may hold a connection; whoever has the lock must not wait for one.
	if err := v.Connect(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unsure {
		g.forget()
		g.unsure = false
	}
	// What is numbered now is asked for first, then the pages, then the acts up to that
	// number: so no act comes in without the pages before it.
	if g.log.waiting, err = v.Unnumbered(); err != nil {
		return err
	}
	through, err := v.LastSequence()
	if err != nil {
		return err
	}
	for {
		added, err := g.sealed(v)
		if err != nil {
			return err
		}
		if added {
			g.tail = provenance.NewTail() // part of it is sealed now
		}
		if g.tail, err = g.tail.Follow(v); err != nil {
			return err
		}
		// What is sealed between the two questions is met twice; then both are asked anew.
		more, err := provenance.Segments(v, g.newest())
		if err != nil {
			return err
		}
		if len(more) == 0 {
			break
		}
	}
	g.openTail()
	return g.log.follow(v, g, through)
}

func (g *Graph) newest() int64 {
	if n := len(g.blocks); n > 0 {
		return g.blocks[n-1].segment
	}
	return 0
}

// openTail makes a block of what is not sealed. The tail keeps its own numbers, so its
// lists are copied.
func (g *Graph) openTail() {
	if g.open != nil && g.open.of == g.tail && g.open.pages == len(g.tail.After) {
		return
	}
	c := g.tail.Columns
	c.Listed = slices.Clone(c.Listed)
	g.open = blockOf(g.take(&c))
	g.open.of = g.tail
}

// sealed reads the segments that are new, and lets go of the oldest when there are more
// than memory may hold.
func (g *Graph) sealed(v *store.View) (added bool, err error) {
	ids, err := provenance.Segments(v, g.newest())
	if err != nil || len(ids) == 0 {
		return false, err
	}
	err = decode(v, ids, func(c *provenance.Columns) {
		b := blockOf(g.take(c))
		g.blocks = append(g.blocks, b)
		g.bytes += b.cols.size()
		for i := 0; g.bytes > g.memory && i < len(g.blocks)-1; i++ {
			if old := g.blocks[i]; old.cols != nil {
				g.bytes -= old.cols.size()
				old.cols = nil
			}
		}
	})
	return true, err
}

// decode calls fn with the pages of segments, in their order. They are unpacked beside
// each other.
func decode(v *store.View, ids []int64, fn func(*provenance.Columns)) error {
	type result struct {
		cols *provenance.Columns
		err  error
	}
	ahead := max(2, runtime.GOMAXPROCS(0))
	var waiting []chan result
	take := func() error {
		r := <-waiting[0]
		waiting = waiting[1:]
		if r.err == nil {
			fn(r.cols)
		}
		return r.err
	}
	for _, id := range ids {
		raw, err := provenance.RawSegment(v, id)
		if err != nil {
			return err
		}
		if len(waiting) == ahead {
			if err := take(); err != nil {
				return err
			}
		}
		done := make(chan result, 1)
		go func() { //arch:allow it ends with its segment, and nobody waits for it longer
			cols, err := raw.Columns()
			done <- result{cols, err}
		}()
		waiting = append(waiting, done)
	}
	for len(waiting) > 0 {
		if err := take(); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn with the blocks that have pages after the act numbered from, in their
// order, and reads what is not in memory. It counts what was read.
func (g *Graph) each(v *store.View, from int64, read *Read, fn func(*columns)) error {
	for i := 0; i < len(g.blocks); {
		b := g.blocks[i]
		if b.last < from {
			i++
			continue
		}
		if b.cols != nil {
			read.add(b)
			fn(b.cols)
			i++
			continue
		}
		var cold []int64
		for ; i < len(g.blocks) && g.blocks[i].cols == nil; i++ {
			read.add(g.blocks[i])
			cold = append(cold, g.blocks[i].segment)
		}
		read.Cold += len(cold)
		if err := decode(v, cold, func(c *provenance.Columns) { fn(g.look(c)) }); err != nil {
			return err
		}
	}
	if g.open != nil && g.open.pages > 0 {
		read.add(g.open)
		fn(g.open.cols)
	}
	return nil
}

// look is take for a block that is not kept: everything in it has its number.
func (g *Graph) look(c *provenance.Columns) *columns {
	out := &columns{Columns: c, readers: make([]uint32, len(c.Readers))}
	for i, id := range c.Readers {
		if out.readers[i] = looker; reads(id) {
			out.readers[i] = g.agents.number[id]
		}
	}
	g.number(out)
	return out
}

// Read says what an answer rests on.
type Read struct {
	Through  int64 // number of the last act that was looked at
	Pages    int64
	Showings int64 // of one thing each, on those pages
	Cold     int   // segments that were not in memory
	Waiting  int64 // pages that have no number yet, which are looked at as the last, and acts, which are not
	Wrong    int64 // at most so many of a million edges of level L2 are wrong
}

func (r *Read) add(b *block) {
	r.Pages += int64(b.pages)
	r.Showings += b.showings
}

// Size is what there is of a graph, and what of it is in memory.
type Size struct {
	Agents, Items, Acts, Edges int64
	Pages, Showings            int64
	Segments, InMemory         int
	Bytes                      int64 // of everything that is in memory, about
}

// Size counts.
func (g *Graph) Size() Size {
	g.mu.RLock()
	defer g.mu.RUnlock()
	s := Size{
		Agents: int64(len(g.agents.ids) - 1), Items: int64(len(g.items.ids) - 1), Acts: int64(len(g.log.seq)), Edges: int64(len(g.log.source)),
		Segments: len(g.blocks), Bytes: g.bytes + 32*int64(len(g.agents.ids)+len(g.items.ids)) + g.log.bytes(),
	}
	for _, b := range append(slices.Clip(g.blocks), g.open) {
		if b == nil {
			continue
		}
		s.Pages += int64(b.pages)
		s.Showings += b.showings
		if b.cols != nil && b.segment > 0 {
			s.InMemory++
		}
	}
	return s
}
