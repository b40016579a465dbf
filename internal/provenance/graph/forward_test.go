package graph

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
)

// naive answers from the definition: something is reached when it was shown or named
// after it was reached itself. It asks backward and remembers nothing.
type naive struct {
	world []deedDone
	start int
	least uint8 // 1: possible; 2: likely
}

// item reports whether an item was reached when i deeds had been done.
func (n naive) item(item, i int) bool {
	if item == n.start {
		return true
	}
	for ; i > 0; i-- {
		if d := n.world[i-1]; d.makes == item {
			return n.named(i-1) || n.least == 1 && n.agent(d.agent, i)
		}
	}
	return false
}

// named reports whether a deed names something reached.
func (n naive) named(i int) bool {
	d := n.world[i]
	return !d.shows() && (n.least == 1 || d.level >= n.least) && slices.ContainsFunc(d.of, func(it int) bool { return n.item(it, i) })
}

// agent reports whether an agent was reached when i deeds had been done.
func (n naive) agent(agent, i int) bool {
	for i--; i >= 0; i-- {
		d := n.world[i]
		if d.born > 0 && d.born == agent && (n.named(i) || n.least == 1 && n.agent(d.agent, i+1)) {
			return true
		}
		if d.agent != agent {
			continue
		}
		if n.named(i) {
			return true
		}
		if n.least == 1 && d.shows() && slices.ContainsFunc(d.of, func(it int) bool { return n.item(it, i) }) {
			return true
		}
	}
	return false
}

// anyWorld draws a world of a few agents who are shown each other's items, answer them, and
// make each other.
func anyWorld(rt *rapid.T) (world []deedDone, agents, items int) {
	agents = rapid.IntRange(1, 6).Draw(rt, "agents")
	var author []int
	born := make(map[int]bool)
	for range rapid.IntRange(1, 24).Draw(rt, "deeds") {
		d := deedDone{agent: rapid.IntRange(0, agents-1).Draw(rt, "agent"), makes: -1, level: uint8(rapid.IntRange(1, 4).Draw(rt, "level"))}
		for i := range author {
			if author[i] != d.agent && rapid.IntRange(0, 3).Draw(rt, "of") == 0 {
				d.of = append(d.of, i)
			}
		}
		child := rapid.IntRange(1, 12).Draw(rt, "child")
		if len(author) > 0 && child < agents && child != d.agent && !born[child] {
			d.born, born[child] = child, true
		} else if len(d.of) == 0 || rapid.Bool().Draw(rt, "makes") {
			d.makes = len(author)
			author = append(author, d.agent)
		}
		world = append(world, d)
	}
	return world, agents, len(author)
}

// Forward is what the definition says, whatever happened; and backward from everything
// that was made finds the start exactly where forward from the start has reached it.
func TestForwardAndBackwardAgreeWithTheDefinition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		world, agents, items := anyWorld(rt)
		g := planted(world, rapid.IntRange(1, 4).Draw(rt, "blocks"))
		start := rapid.IntRange(0, items-1).Draw(rt, "start")
		r, err := g.forward(nil, Start{Items: []act.ID{itemNo(start)}})
		if err != nil {
			rt.Fatal(err)
		}
		for name, side := range map[string]struct {
			got  Spread
			want naive
		}{"possible": {r.Possible, naive{world, start, 1}}, "likely": {r.Likely, naive{world, start, 2}}} {
			gotAgents, gotItems := has(side.got.Agents), has(side.got.Items)
			for a := range agents {
				if _, got := gotAgents[agentNo(a)]; got != side.want.agent(a, len(world)) {
					rt.Errorf("%s: agent %d is reached: %v, want %v: %+v", name, a, got, !got, world)
				}
			}
			for i := range items {
				if _, got := gotItems[itemNo(i)]; got != side.want.item(i, len(world)) {
					rt.Errorf("%s: item %d is reached: %v, want %v: %+v", name, i, got, !got, world)
				}
			}
			// Each step of a first path is not before the one that it goes on from.
			for _, s := range side.got.Agents {
				if from := gotItems[s.Via]; s.Seq < from.Seq || s.Gen != from.Gen+1 {
					rt.Errorf("%s: %+v comes of %+v", name, s, from)
				}
			}
			for _, s := range side.got.Items {
				if from := gotAgents[s.Via]; s.ID != itemNo(start) && (s.Seq < from.Seq || s.Gen != from.Gen) {
					rt.Errorf("%s: %+v comes of %+v", name, s, from)
				}
			}
		}
		reached := has(r.Possible.Items)
		for i := range items {
			s, err := g.backward(nil, itemNo(i), 0, Bounds{1 << 20, 1 << 20, 1 << 20})
			if err != nil {
				rt.Fatal(err)
			}
			found, cut := i == start, 0
			var look func(c *Cause)
			look = func(c *Cause) {
				cut += c.Cut
				for j := range c.Of {
					one := &c.Of[j]
					found = found || one.Item == itemNo(start)
					if one.Act != "" && one.Seq >= c.Seq || one.Shown.At != 0 && one.Shown.After >= c.Seq {
						rt.Errorf("a cause after its effect: %+v of %+v", one, c)
					}
					look(one)
				}
			}
			look(&s.Root)
			if _, want := reached[itemNo(i)]; found != want || cut != 0 {
				rt.Errorf("item %d: backward finds the start: %v, forward reached it: %v, cut %d: %+v", i, found, want, cut, world)
			}
		}
	})
}

// T31: what merely looks alike or comes later is not influence. Two agents write the same
// things of their own accord, one of them after the other: only who was shown
// something is reached, and only from then on.
func TestT31NoPathWithoutAShowingOrAgainstTime(t *testing.T) {
	g := planted([]deedDone{
		{agent: 0, makes: 0},                // the start
		{agent: 1, makes: 1},                // same topic, later, never shown it
		{agent: 2, makes: 2},                // before it was shown anything
		{agent: 2, makes: -1, of: []int{0}}, // is shown the start
		{agent: 3, makes: -1, of: []int{2}}, // is shown what was written before that
		{agent: 3, makes: 3},                //
		{agent: 2, makes: 4},                // after
		{agent: 4, makes: -1, of: []int{4}}, //
		{agent: 4, makes: 5, of: []int{4}, level: 3},
		{agent: 1, makes: -1, of: []int{5}}, // shown last, does nothing afterwards
	}, 2)
	r := g.forwardOf(t, Start{Items: []act.ID{itemNo(0)}})
	if got := len(r.Possible.Agents); got != 3 {
		t.Errorf("%d agents: %+v", got, r.Possible.Agents)
	}
	for item, want := range map[int]bool{0: true, 1: false, 2: false, 3: false, 4: true, 5: true} {
		if _, got := has(r.Possible.Items)[itemNo(item)]; got != want {
			t.Errorf("item %d is reached: %v", item, got)
		}
	}
	if s := has(r.Possible.Items)[itemNo(5)]; s.Gen != 2 || s.Via != agentNo(4) {
		t.Errorf("the path to the last: %+v", s)
	}
	if len(r.Likely.Items) != 1 || len(r.Likely.Agents) != 0 {
		t.Errorf("nothing names the start: %+v", r.Likely)
	}
	// From an agent since a time: all it does from then on, likely what names that.
	r = g.forwardOf(t, Start{Agents: []act.ID{agentNo(2)}, Since: 3})
	if _, early := has(r.Possible.Items)[itemNo(2)]; early || len(r.Possible.Items) != 2 || len(r.Likely.Items) != 2 || len(r.Shown) != 2 {
		t.Errorf("from an agent: %+v", r)
	}
}

// Bounds cut, and say how much.
func TestBackwardSaysWhatItCuts(t *testing.T) {
	world := []deedDone{}
	for i := range 30 {
		world = append(world, deedDone{agent: 0, makes: i}, deedDone{agent: 1, makes: -1, of: []int{i}})
	}
	world = append(world, deedDone{agent: 1, makes: 30})
	g := planted(world, 3)
	s, err := g.backward(nil, itemNo(30), 0, Bounds{Depth: 1, Width: 4, Nodes: 100})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Root.Of) != 4 || s.Root.Cut != 26 || s.Root.Of[0].Item != itemNo(29) {
		t.Errorf("%+v", s.Root)
	}
	if _, err := g.backward(nil, itemNo(99), 0, Bounds{}.orDefault()); act.CodeOf(err) != act.NotFound {
		t.Errorf("what is not there: %v", err)
	}
}
