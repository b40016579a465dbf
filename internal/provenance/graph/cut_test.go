package graph

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// without is a world in which some agents do nothing, and some items are shown to nobody
// and named by nobody.
func without(world []deedDone, hold []act.ID) (out []deedDone) {
	held := func(id act.ID) bool { return slices.Contains(hold, id) }
	for _, d := range world {
		if held(agentNo(d.agent)) {
			d = deedDone{agent: 1 << 20, makes: -1}
		}
		if d.makes >= 0 && held(itemNo(d.makes)) {
			d.makes = -1
			d.of = nil
		}
		d.of = slices.DeleteFunc(slices.Clone(d.of), func(i int) bool { return held(itemNo(i)) })
		out = append(out, d)
	}
	return out
}

// What a cut holds stops the spread: without it nobody is reached behind others. And the
// spread does pass through it: without a cut there is nobody behind.
func TestCutStopsTheSpread(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		world, agents, items := anyWorld(rt)
		start := rapid.IntRange(0, items-1).Draw(rt, "start")
		from := Start{Items: []act.ID{itemNo(start)}}
		for _, possible := range []bool{true, false} {
			g := planted(world, 2)
			b, err := g.barrier(nil, from, possible)
			if err != nil {
				rt.Fatal(err)
			}
			if (b.Behind == 0) != (len(b.Hold) == 0) || b.Least != len(b.Hold) {
				rt.Errorf("%d agents are behind %v: %+v", b.Behind, b.Hold, world)
			}
			n := naive{without(world, b.Hold), start, 1}
			if !possible {
				n.least = 2
			}
			for a := range agents {
				if slices.Contains(b.Hold, agentNo(a)) || !n.agent(a, len(n.world)) {
					continue
				}
				// Whoever is still reached had the start itself.
				direct := slices.ContainsFunc(world, func(d deedDone) bool {
					return d.agent == a && slices.Contains(d.of, start)
				})
				if !direct {
					rt.Errorf("agent %d is reached behind %v: %+v", a, b.Hold, world)
				}
			}
		}
	})
}

// One agent that everything passes through is the smallest cut, whatever it has made; the
// parts of a large network are bounded from both sides.
func TestCutFindsTheOneThatSpreads(t *testing.T) {
	world := []deedDone{{agent: 0, makes: 0}, {agent: 1, makes: -1, of: []int{0}}}
	for i := range 5 {
		world = append(world, deedDone{agent: 1, makes: 1 + i}, deedDone{agent: 2 + i, makes: -1, of: []int{1 + i}})
	}
	g := planted(world, 1)
	b, err := g.barrier(nil, Start{Items: []act.ID{itemNo(0)}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Hold, []act.ID{agentNo(1)}) || b.Behind != 5 || b.Least != 1 {
		t.Errorf("%+v", b)
	}
	w := g.walk(Start{Items: []act.ID{itemNo(0)}})
	w.links = make(map[link]struct{})
	if err := g.each(nil, 0, &w.read, w.block); err != nil {
		t.Fatal(err)
	}
	w.acts(1<<63 - 1)
	n := w.network(w.possible)
	if least, layer := n.flow(true), n.layer(w, w.possible); least != 1 || !slices.Equal(layer, []act.ID{agentNo(1)}) {
		t.Errorf("between %d and %v", least, layer)
	}
}

// Copies are found whatever their case and spaces, and in other words as far as they share
// them; what only has the same subject is none.
func TestSpreadComparesTexts(t *testing.T) {
	texts := map[act.ID]string{
		itemNo(1): "  PASS it on:\nshells are the only currency ",
		itemNo(2): "Remember, friends: shells are the only currency. Pass it on!",
		itemNo(3): "I collect shells and like the sea",
	}
	a := &Acts{Config: Config{Texts: func(*store.View, []act.ID) (map[act.ID]string, error) { return texts, nil }}}
	var out Copies
	like, err := a.alike(nil, &out, "Pass it on: shells are the only currency", []Step{{ID: itemNo(1)}, {ID: itemNo(2)}, {ID: itemNo(3)}, {ID: idOf(act.KindMessage, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	if like[itemNo(1)] != 2 || like[itemNo(2)] < nearEnough || like[itemNo(2)] > 1 || like[itemNo(3)] != 0 || out.Unread != 1 || out.Compared != 3 {
		t.Errorf("%v, %+v", like, out)
	}
}

// T27: fifty accounts of one owner and three of others agree: that is four sources, however
// many accounts there are.
func TestT27_SupportIsCountedByWhoAnswersForIt(t *testing.T) {
	g := New(0)
	claim := itemNo(0)
	owner := make(map[act.ID]string)
	g.log.add(g, 1, "post.create", claim, agentNo(0), 1)
	for i := range 53 {
		voter := agentNo(1 + i)
		owner[voter] = "sybil"
		if i >= 50 {
			owner[voter] = string(rune('a' + i - 50))
		}
		g.log.add(g, int64(2+i), "vote.cast", claim, voter, int64(2+i))
	}
	a := &Acts{Config: Config{People: func(_ *store.View, ids []act.ID) (map[act.ID]Person, error) {
		out := make(map[act.ID]Person)
		for _, id := range ids {
			out[id] = Person{Owner: owner[id]}
		}
		return out, nil
	}}}
	for _, of := range []act.ID{claim, agentNo(0)} {
		received, given := g.currents(of)
		var out Flow
		if err := a.count(nil, &out, received); err != nil {
			t.Fatal(err)
		}
		if out.Accounts != 53 || out.Sources != 4 || len(given) != 0 {
			t.Errorf("%d accounts, %d sources", out.Accounts, out.Sources)
		}
	}
	if _, given := g.currents(agentNo(1)); len(given) != 1 || given[0].Agent != agentNo(0) || given[0].Votes != 1 {
		t.Errorf("given: %+v", given)
	}
}
