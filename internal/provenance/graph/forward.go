package graph

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// levelLikely is the least evidence by which something is likely influenced: more than
// having been shown it.
const levelLikely = 2

// levelNamed is what an act itself says: an agent that makes another says what that is for.
const levelNamed = 3

// Start is where a question forward begins: with things, whoever made them, and with
// all that agents do after an act.
type Start struct {
	Items  []act.ID
	Agents []act.ID
	Since  int64 // number of the act after which the agents' doing counts

	only map[act.ID]bool // if not nil, nothing else counts as made
}

// Step is how something was reached first: the last part of a path. Of an agent, Via is
// what it was shown or named; of a thing, the agent that made it.
type Step struct {
	ID, Via act.ID
	Seq, At int64 // of an agent: the act after which it was shown, and when; of a thing: the act that made it
	Gen     int   // agents there are on the path, this one included
	Level   uint8 // 1: it was shown; 2 and up: it was named; 0 at the start
}

// Spread is what was reached by one kind of evidence, in the order in which it was.
type Spread struct {
	Agents, Items []Step
	Acts          map[string]int64 // by kind: what the agents did after they were reached; likely: what names what was reached
}

// Reach is how far something has spread.
type Reach struct {
	Read
	Possible Spread // who was shown it, and all that they did from then on
	Likely   Spread // only what names what it came of
	// Shown are the agents that were shown something of what is likely, in the order in
	// which they were first; of what is possible that is who is in Possible.
	Shown  []Step
	Public map[act.ID]bool // things reached that readers without a name were shown
}

// Forward follows a start to everything that it has reached, in one pass.
func (g *Graph) Forward(v *store.View, s Start) (*Reach, error) {
	if err := g.Refresh(v); err != nil {
		return nil, err
	}
	if err := v.Connect(); err != nil {
		return nil, err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.forward(v, s)
}

func (g *Graph) forward(v *store.View, s Start) (*Reach, error) {
	w := g.walk(s)
	err := g.each(v, w.from, &w.read, w.block)
	w.acts(1<<63 - 1)
	w.read.Through, w.read.Waiting, w.read.Wrong = g.log.through, g.tail.Waiting+g.log.waiting, g.log.wrong
	return w.reach(), err
}

// bits is a set of numbers.
type bits []uint64

func newBits(n int) bits         { return make(bits, n/64+1) }
func (b bits) has(n uint32) bool { return b[n>>6]&(1<<(n&63)) != 0 }
func (b bits) put(n uint32)      { b[n>>6] |= 1 << (n & 63) }

// mark is a step in the making.
type mark struct {
	node, via uint32
	seq, at   int64
	gen       int32
	level     uint8
}

// trail is what one kind of evidence has reached so far.
type trail struct {
	hot           bits     // items
	agentAt       []uint32 // by agent: 1 + its place in agents
	itemAt        []uint32 // by item, the same
	agents, items []mark
	acts          []int64 // by deed
}

func (g *Graph) newTrail() *trail {
	return &trail{
		hot: newBits(len(g.items.ids)), agentAt: make([]uint32, len(g.agents.ids)), itemAt: make([]uint32, len(g.items.ids)),
		acts: make([]int64, len(g.log.deeds)),
	}
}

func (t *trail) agent(m mark) {
	if t.agentAt[m.node] == 0 {
		t.agents = append(t.agents, m)
		t.agentAt[m.node] = uint32(len(t.agents)) //nolint:gosec // agents have numbers
	}
}

func (t *trail) item(m mark) {
	if t.itemAt[m.node] == 0 {
		t.items = append(t.items, m)
		t.itemAt[m.node] = uint32(len(t.items)) //nolint:gosec // items have numbers
		t.hot.put(m.node)
	}
}

// shown is the mark of an agent that was shown an item that is hot.
func (t *trail) shown(agent, item uint32, after, at int64) mark {
	return mark{node: agent, via: item, seq: after, at: at, gen: t.genOf(item) + 1, level: 1}
}

func (t *trail) genOf(item uint32) int32 { return t.items[t.itemAt[item]-1].gen }

// kinds counts what was done by kind.
func (t *trail) kinds(deeds []deed) map[string]int64 {
	out := make(map[string]int64)
	for n, count := range t.acts {
		if count > 0 {
			out[deeds[n].kind] += count
		}
	}
	return out
}

// link is a showing of an item to an agent.
type link struct{ item, agent uint32 }

// walk is one pass.
type walk struct {
	g    *Graph
	from int64 // number of the act it begins after
	read Read

	next             int // place of the next act
	stated           int // and of the next derivation
	possible, likely *trail
	shown            []mark
	shownAt          bits // agents; no page can say anything new about them
	begun            bits // agents at the start: all they do is likely
	public           bits // items
	only             map[act.ID]bool
	links            map[link]struct{} // if not nil, every showing of what was reached
	// Many pages share a list. By list of the block: how many things had been reached when
	// none of it was; likely, and at all.
	clean, unlikely []uint32
}

func (g *Graph) walk(s Start) *walk {
	w := &walk{g: g, possible: g.newTrail(), likely: g.newTrail()}
	w.shownAt, w.begun = newBits(len(g.agents.ids)), newBits(len(g.agents.ids))
	w.public = newBits(len(g.items.ids))
	w.from, w.only = 1<<63-1, s.only
	for _, id := range s.Items {
		item, known := g.items.number[id]
		if !known || item == 0 {
			continue // nobody was shown it, and nobody did anything about it
		}
		m := mark{node: item}
		w.from = min(w.from, 0)
		if place, made := g.log.maker(item, 0); made {
			m.via, m.seq, m.at = g.log.actor[place], g.log.seq[place], g.log.at[place]
			w.from = m.seq - 1
		}
		w.possible.item(m)
		w.likely.item(m)
	}
	for _, id := range s.Agents {
		agent, known := g.agents.number[id]
		if !known || agent == 0 {
			continue
		}
		w.from = min(w.from, s.Since)
		m := mark{node: agent, seq: s.Since}
		w.possible.agent(m)
		w.likely.agent(m)
		w.begun.put(agent)
	}
	place, _ := g.log.placeOf(w.from + 1)
	w.next = int(place)
	w.stated, _ = g.log.names(place)
	return w
}

// block looks at the pages of a block.
func (w *walk) block(c *columns) {
	if len(w.clean) < len(c.Ends) {
		w.clean, w.unlikely = make([]uint32, len(c.Ends)), make([]uint32, len(c.Ends))
	}
	clear(w.clean)
	clear(w.unlikely)
	for p, list := range c.List {
		after := c.After[p]
		if after < 0 {
			after = 1<<63 - 1 // no number yet: after everything
		}
		if w.next < len(w.g.log.seq) && w.g.log.seq[w.next] <= after {
			w.acts(after)
		}
		agent := c.readers[c.Reader[p]]
		if agent == looker || after < w.from || w.shownAt.has(agent) && w.links == nil {
			continue
		}
		// About who was reached before, a page says something new only if it shows what is likely.
		t, none := w.possible, w.clean
		if w.possible.agentAt[agent] != 0 && w.links == nil {
			t, none = w.likely, w.unlikely
		}
		items, now := c.Listing(list), uint32(len(t.items)+1) //nolint:gosec // things have numbers
		if none[list] == now {
			continue
		}
		hot := false
		for _, item := range items {
			if t.hot[item>>6]&(1<<(item&63)) != 0 {
				hot = true
				break
			}
		}
		if hot {
			w.page(agent, items, after, c.At[p])
		} else {
			none[list] = now
		}
	}
}

// page is one that shows something that was reached. Who is reached by it is reached by
// the first thing on it.
func (w *walk) page(agent uint32, items []uint32, after, at int64) {
	if agent == 0 {
		for _, item := range items {
			if w.possible.hot.has(item) {
				w.public.put(item)
			}
		}
		return
	}
	if w.links != nil {
		for _, item := range items {
			if w.possible.hot.has(item) && w.maker(item) != agent {
				w.links[link{item, agent}] = struct{}{}
			}
		}
	}
	if w.possible.agentAt[agent] == 0 {
		for i, item := range items {
			if w.possible.hot.has(item) && w.maker(item) != agent {
				w.possible.agent(w.possible.shown(agent, item, after, at))
				items = items[i:] // what is likely is possible
				break
			}
		}
	}
	if w.shownAt.has(agent) {
		return
	}
	for _, item := range items {
		if w.likely.hot.has(item) && w.maker(item) != agent {
			w.shown = append(w.shown, w.likely.shown(agent, item, after, at))
			w.shownAt.put(agent)
			return
		}
	}
}

// maker is who made an item that was reached: showing them their own tells nothing.
func (w *walk) maker(item uint32) uint32 { return w.possible.items[w.possible.itemAt[item]-1].via }

// acts goes through the acts up to a number.
func (w *walk) acts(through int64) {
	l := &w.g.log
	for ; w.next < len(l.seq) && l.seq[w.next] <= through; w.next++ {
		w.act(uint32(w.next)) //nolint:gosec // four billion acts
	}
}

func (w *walk) act(place uint32) {
	l := &w.g.log
	agent, seq, at := l.actor[place], l.seq[place], l.at[place]
	likely := w.begun.has(agent)
	for ; w.stated < len(l.stated) && l.stated[w.stated] <= place; w.stated++ {
		if l.stated[w.stated] < place || agent == 0 {
			continue
		}
		source, level := l.source[w.stated], l.level[w.stated]
		if !w.possible.hot.has(source) {
			continue
		}
		m := mark{node: agent, via: source, seq: seq, at: at, gen: w.possible.genOf(source) + 1, level: level}
		w.possible.agent(m)
		if level >= levelLikely && w.likely.hot.has(source) {
			likely = true
			m.gen = w.likely.genOf(source) + 1
			w.likely.agent(m)
		}
	}
	if w.possible.agentAt[agent] == 0 {
		return
	}
	w.possible.did(w, place)
	if likely {
		w.likely.did(w, place)
	}
}

// did takes in what an agent did after it was reached.
func (t *trail) did(w *walk, place uint32) {
	l := &w.g.log
	agent, item, d := l.actor[place], l.item[place], &l.deeds[l.deed[place]]
	t.acts[l.deed[place]]++
	if !d.makes || item == 0 || bool(d.grants) && !l.handed[item] || w.only != nil && !w.only[w.g.items.ids[item]] {
		return
	}
	by := t.agents[t.agentAt[agent]-1]
	m := mark{node: item, via: agent, seq: l.seq[place], at: l.at[place], gen: by.gen, level: by.level}
	t.item(m)
	if !d.births {
		return
	}
	child := w.g.agents.number[w.g.items.ids[item]]
	t.agent(mark{node: child, via: item, seq: m.seq, at: m.at, gen: m.gen + 1, level: levelNamed})
}

// reach is what the walk has found, with ids.
func (w *walk) reach() *Reach {
	g := w.g
	agents := func(list []mark) []Step { return steps(list, g.agents.ids, g.items.ids) }
	items := func(list []mark) []Step { return steps(list, g.items.ids, g.agents.ids) }
	r := &Reach{
		Read:     w.read,
		Possible: Spread{agents(w.possible.agents), items(w.possible.items), w.possible.kinds(g.log.deeds)},
		Likely:   Spread{agents(w.likely.agents), items(w.likely.items), w.likely.kinds(g.log.deeds)},
		Shown:    agents(w.shown), Public: make(map[act.ID]bool),
	}
	for _, m := range w.possible.items {
		if w.public.has(m.node) {
			r.Public[g.items.ids[m.node]] = true
		}
	}
	return r
}

func steps(list []mark, nodes, vias []act.ID) []Step {
	out := make([]Step, len(list))
	for i, m := range list {
		out[i] = Step{ID: nodes[m.node], Via: vias[m.via], Seq: m.seq, At: m.at, Gen: int(m.gen), Level: m.level}
	}
	return out
}
