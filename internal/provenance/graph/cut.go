package graph

import (
	"cmp"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Barrier is what would have stopped a spread: agents and things through which it
// passed on everybody who was reached behind others. Who was shown the start itself
// is not behind anybody.
type Barrier struct {
	Read
	Hold    []act.ID // agents and things
	Behind  int      // agents that would not have been reached
	Least   int      // no set of fewer can do it; len(Hold) where it is the smallest
	Showing int      // showings between what was reached that were looked at
	Told
}

// maxExact is up to how many showings the smallest set is found; beyond, a small one.
const maxExact = 2_000_000

func (a *Acts) cut(v *store.View, q Question) (out Barrier, err error) {
	from, err := a.start(v, q.Subject)
	if err != nil {
		return out, err
	}
	b, err := a.Graph.Barrier(v, from, q.Level == LevelPossible)
	if err != nil {
		return out, err
	}
	out = *b
	out.Told, err = a.tell(v, slices.Clone(out.Hold))
	return out, err
}

// Barrier finds what would have stopped a spread: of all that is possible, or of what is
// likely.
func (g *Graph) Barrier(v *store.View, s Start, possible bool) (*Barrier, error) {
	if err := g.Refresh(v); err != nil {
		return nil, err
	}
	if err := v.Connect(); err != nil {
		return nil, err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.barrier(v, s, possible)
}

func (g *Graph) barrier(v *store.View, s Start, possible bool) (*Barrier, error) {
	w := g.walk(s)
	w.links = make(map[link]struct{})
	if err := g.each(v, w.from, &w.read, w.block); err != nil {
		return nil, err
	}
	w.acts(1<<63 - 1)
	w.read.Through = g.log.through
	t := w.likely
	if possible {
		t = w.possible
	}
	n := w.network(t)
	out := &Barrier{Read: w.read, Behind: n.targets, Showing: n.between}
	if n.targets == 0 {
		return out, nil
	}
	flow := n.flow(n.between > maxExact)
	if n.between > maxExact {
		out.Hold, out.Least = n.layer(w, t), flow
	} else {
		out.Hold = n.reached(w, t)
		out.Least = len(out.Hold)
	}
	slices.Sort(out.Hold)
	return out, nil
}

// flowNet is what was reached as a network in which each agent and thing lets one unit
// through: the most that flows is the fewest that have to be held (Menger's theorem).
// Every path along which something spread is a path in it, so holding what cuts it
// stops the spread; it may have paths against time besides, and hold one too many.
type flowNet struct {
	head, next []int32 // by node, by edge: the edges that leave a node
	to, left   []int32 // by edge: where it goes, and what it still lets through
	agents     []mark
	items      []mark
	direct     map[uint32]bool // agents that were shown or named the start, or stand there
	targets    int
	between    int
}

// Nodes: source, sink, then in and out of each item, then of each agent.
const (
	source  = 0
	sink    = 1
	endless = 1 << 30
)

func (n *flowNet) item(i int) (in, out int32)  { return int32(2 + 2*i), int32(3 + 2*i) } //nolint:gosec // far fewer
func (n *flowNet) agent(i int) (in, out int32) { return n.item(len(n.items) + i) }

func (n *flowNet) edge(from, to, room int32) {
	for _, e := range [2][3]int32{{from, to, room}, {to, from, 0}} {
		n.to, n.left = append(n.to, e[1]), append(n.left, e[2])
		n.next = append(n.next, n.head[e[0]])
		n.head[e[0]] = int32(len(n.to) - 1) //nolint:gosec // far fewer
	}
}

func (w *walk) network(t *trail) *flowNet {
	n := &flowNet{agents: t.agents, items: t.items}
	n.head = make([]int32, 2+2*(len(t.agents)+len(t.items)))
	for i := range n.head {
		n.head[i] = -1
	}
	n.direct = make(map[uint32]bool)
	links := w.between(t)
	n.between = len(links)
	for _, l := range links {
		if t.items[t.itemAt[l.item]-1].gen == 0 {
			n.direct[l.agent] = true
		}
	}
	for i, m := range t.items {
		in, out := n.item(i)
		if m.gen == 0 {
			n.edge(source, in, endless)
			n.edge(in, out, endless)
			continue
		}
		n.edge(in, out, 1)
		_, by := n.agent(int(t.agentAt[m.via]) - 1)
		n.edge(by, in, endless)
	}
	for i, m := range t.agents {
		in, out := n.agent(i)
		switch {
		case m.level == 0: // at the start
			n.edge(source, in, endless)
			n.edge(in, out, endless)
		case m.gen >= 2 && !n.direct[m.node]:
			n.targets++
			n.edge(in, out, 1)
			n.edge(in, sink, endless) // being reached is what must not be
		default:
			n.edge(in, out, 1)
		}
	}
	for _, l := range links {
		_, out := n.item(int(t.itemAt[l.item]) - 1)
		in, _ := n.agent(int(t.agentAt[l.agent]) - 1)
		n.edge(out, in, endless)
	}
	return n
}

// between lists which things led to which agents: showings, what acts named, and births, by
// which an agent leads to itself.
func (w *walk) between(t *trail) (list []link) {
	all := make(map[link]struct{})
	if t == w.possible {
		all = w.links
	}
	l := &w.g.log
	for i, place := range l.stated {
		one := link{l.source[i], l.actor[place]}
		if t == w.possible || l.level[i] >= levelLikely {
			all[one] = struct{}{}
		}
	}
	for _, m := range t.items {
		if id := w.g.items.ids[m.node]; id.Kind() == act.KindAgent {
			all[link{m.node, w.g.agents.number[id]}] = struct{}{}
		}
	}
	for one := range all {
		if t.itemAt[one.item] != 0 && t.agentAt[one.agent] != 0 && t.items[t.itemAt[one.item]-1].via != one.agent {
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(a, b link) int { return cmp.Or(cmp.Compare(a.item, b.item), cmp.Compare(a.agent, b.agent)) })
	return list
}

// flow sends as much as there is room for (Dinic's algorithm), or only along the shortest
// paths, whose number no set can be smaller than.
func (n *flowNet) flow(short bool) (total int) {
	depth := make([]int32, len(n.head))
	for n.layers(depth) {
		at := slices.Clone(n.head)
		for n.augment(at, depth) {
			total++
		}
		if short {
			break
		}
	}
	return total
}

// layers finds how far each node is from the source, and whether the sink is reached.
func (n *flowNet) layers(depth []int32) bool {
	for i := range depth {
		depth[i] = -1
	}
	depth[source] = 0
	queue := []int32{source}
	for len(queue) > 0 {
		from := queue[0]
		queue = queue[1:]
		for e := n.head[from]; e >= 0; e = n.next[e] {
			if to := n.to[e]; n.left[e] > 0 && depth[to] < 0 {
				depth[to] = depth[from] + 1
				queue = append(queue, to)
			}
		}
	}
	return depth[sink] >= 0
}

// augment finds one more shortest path, without recursion: paths are as long as chains of
// agents are. Every path passes something that lets one unit through.
func (n *flowNet) augment(at, depth []int32) bool {
	var path []int32
	node := int32(source)
	for node != sink {
		e := at[node]
		for e >= 0 && (n.left[e] == 0 || depth[n.to[e]] != depth[node]+1) {
			e = n.next[e]
		}
		at[node] = e
		if e >= 0 {
			path = append(path, e)
			node = n.to[e]
			continue
		}
		if len(path) == 0 {
			return false
		}
		depth[node] = -1 // nothing leads on from here
		back := path[len(path)-1]
		path = path[:len(path)-1]
		node = n.to[back^1]
	}
	for _, e := range path {
		n.left[e]--
		n.left[e^1]++
	}
	return true
}

// reached lists what stands between what the source still reaches and the rest.
func (n *flowNet) reached(w *walk, t *trail) (hold []act.ID) {
	depth := make([]int32, len(n.head))
	n.layers(depth)
	for i, m := range t.items {
		if in, out := n.item(i); depth[in] >= 0 && depth[out] < 0 {
			hold = append(hold, w.g.items.ids[m.node])
		}
	}
	for i, m := range t.agents {
		if in, out := n.agent(i); depth[in] >= 0 && depth[out] < 0 {
			hold = append(hold, w.g.agents.ids[m.node])
		}
	}
	return hold
}

// layer lists the agents that had the start itself and made something, or what they made,
// whichever is less: everything else is behind them.
func (n *flowNet) layer(w *walk, t *trail) (hold []act.ID) {
	made := make(map[uint32]bool)
	var things, agents []act.ID
	for _, m := range t.items {
		if m.gen == 0 || !n.direct[m.via] {
			continue
		}
		things = append(things, w.g.items.ids[m.node])
		if !made[m.via] {
			made[m.via] = true
			agents = append(agents, w.g.agents.ids[m.via])
		}
	}
	if len(agents) <= len(things) {
		return agents
	}
	return things
}
