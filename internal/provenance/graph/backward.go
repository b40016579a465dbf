package graph

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Bounds are how far a question backward goes.
type Bounds struct {
	Depth int // acts behind each other; DefaultDepth if 0
	Width int // causes of each act, the strongest and newest; DefaultWidth if 0
	Nodes int // causes in all; DefaultNodes if 0
}

// What a question backward is given where it does not say.
const (
	DefaultDepth = 3
	DefaultWidth = 10
	DefaultNodes = 500
)

func (b Bounds) orDefault() Bounds {
	return Bounds{cmp.Or(b.Depth, DefaultDepth), cmp.Or(b.Width, DefaultWidth), cmp.Or(b.Nodes, DefaultNodes)}
}

// Cause is an act, and what its actor had before it.
type Cause struct {
	Item  act.ID // what it made or was about
	Act   string // "" where nothing on record made the thing
	Actor act.ID
	Seq   int64
	At    int64 // Unix microseconds

	// How it came to the one whose cause it is; zero at the root.
	Level uint8  // 1: it was shown; 2 and up: the act named it
	How   string // "shown", "reply", "vote"
	Shown Showing

	Of    []Cause
	Cut   int  // causes that are left out, for the bounds
	Again bool // what is behind it stands elsewhere in the answer
}

// Showing is when an agent was shown something before an act. It is zero where no
// showing is on record.
type Showing struct {
	After   int64 // number of the act before it
	At      int64 // Unix microseconds; of the last time
	First   int64 // Unix microseconds; of the first time
	Channel string
	Place   int // on the page, from 1
	Pages   int // on which it was shown to the agent before the act
}

// Slice is why something was done.
type Slice struct {
	Read
	Root  Cause
	Nodes int
}

// Backward finds why an act was done: what its actor had been shown before it, who had
// made that, and why they had. The act goes by its number, or by the thing that it made.
func (g *Graph) Backward(v *store.View, of act.ID, seq int64, b Bounds) (*Slice, error) {
	if err := g.Refresh(v); err != nil {
		return nil, err
	}
	if err := v.Connect(); err != nil {
		return nil, err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.backward(v, of, seq, b.orDefault())
}

func (g *Graph) backward(v *store.View, of act.ID, seq int64, b Bounds) (*Slice, error) {
	place, found := uint32(0), false
	if seq > 0 {
		place, found = g.log.placeOf(seq)
	} else if item, known := g.items.number[of]; known {
		place, found = g.log.maker(item, 1<<63-1)
	}
	if !found {
		return nil, act.Errorf(act.NotFound, "no act on record made that").WithRule("trace.act").
			WithHint("use the id of a post, comment, message or task, or the number of an act as GET /v1/events shows it")
	}
	r := &reverse{g: g, v: v, bounds: b, seen: map[uint32]bool{place: true}}
	r.read.Through, r.read.Waiting, r.read.Wrong = g.log.through, g.tail.Waiting+g.log.waiting, g.log.wrong
	out := &Slice{Root: g.causeOf(place)}
	// Breadth first: what is near is in the answer whatever the bounds.
	level := []*Cause{&out.Root}
	for depth := 0; depth < b.Depth && len(level) > 0; depth++ {
		var below []*Cause
		for _, c := range level {
			if err := r.expand(c); err != nil {
				return nil, err
			}
			for i := range c.Of {
				if one := &c.Of[i]; one.Act != "" && !one.Again {
					below = append(below, one)
				}
			}
		}
		level = below
	}
	for _, c := range level { // what the depth leaves out
		n, err := r.behind(c)
		if err != nil {
			return nil, err
		}
		c.Cut = n
	}
	out.Read, out.Nodes = r.read, r.nodes+1
	return out, nil
}

func (g *Graph) causeOf(place uint32) Cause {
	l := &g.log
	return Cause{
		Item: g.items.ids[l.item[place]], Act: l.deeds[l.deed[place]].name, Actor: g.agents.ids[l.actor[place]],
		Seq: l.seq[place], At: l.at[place],
	}
}

// reverse is one question backward.
type reverse struct {
	g      *Graph
	v      *store.View
	bounds Bounds
	read   Read
	nodes  int
	seen   map[uint32]bool // acts that are in the answer
}

// found is a cause in the making.
type found struct {
	item  uint32
	level uint8
	how   string
	shown Showing
	by    int64 // number of the act after which the agent knew it
}

// expand finds the causes of an act.
func (r *reverse) expand(c *Cause) error {
	all, err := r.causes(c)
	if err != nil {
		return err
	}
	keep := min(len(all), r.bounds.Width, max(0, r.bounds.Nodes-r.nodes))
	c.Cut = len(all) - keep
	c.Of = make([]Cause, 0, keep)
	for _, f := range all[:keep] {
		one := Cause{Item: r.g.items.ids[f.item]}
		// What the agent saw is what the thing was then.
		if place, made := r.g.log.maker(f.item, f.by); made && r.g.log.seq[place] < c.Seq {
			one = r.g.causeOf(place)
			one.Again = r.seen[place]
			r.seen[place] = true
		}
		one.Level, one.How, one.Shown = f.level, f.how, f.shown
		c.Of = append(c.Of, one)
		r.nodes++
	}
	return nil
}

// behind counts the causes of an act that are not in the answer.
func (r *reverse) behind(c *Cause) (int, error) {
	all, err := r.causes(c)
	return len(all), err
}

// causes lists what an act's actor had before it: what the act names first, then what
// was shown, the newest first.
func (r *reverse) causes(c *Cause) ([]found, error) {
	g := r.g
	place, _ := g.log.placeOf(c.Seq)
	byItem := make(map[uint32]int)
	var all []found
	from, to := g.log.names(place)
	for i := from; i < to; i++ {
		n, known := byItem[g.log.source[i]]
		if !known {
			n = len(all)
			byItem[g.log.source[i]] = n
			all = append(all, found{item: g.log.source[i], by: c.Seq - 1})
		}
		if f := &all[n]; g.log.level[i] > f.level {
			f.level, f.how = g.log.level[i], howName(g.log.how[i])
		}
	}
	if c.Actor == 0 {
		return all, nil
	}
	actor := g.agents.number[c.Actor]
	if item, born, known := g.log.birth(g, actor); known && born < place {
		byItem[item] = len(all)
		all = append(all, found{item: item, level: levelNamed, how: "spawn", by: g.log.seq[born]})
	}
	if err := r.shownTo(c.Actor, c.Seq, func(cols *columns, page uint32) {
		for at, item := range cols.Page(int(page)) {
			n, known := byItem[item]
			if !known {
				n = len(all)
				byItem[item] = n
				all = append(all, found{item: item, level: 1, how: "shown"})
			}
			s := &all[n].shown
			if s.Pages == 0 {
				all[n].by = cols.After[page]
				*s = Showing{After: cols.After[page], At: cols.At[page], Channel: cols.Channels[cols.Channel[page]], Place: at + 1}
			}
			s.First = cols.At[page]
			s.Pages++
		}
	}); err != nil {
		return nil, err
	}
	// What it named in earlier acts it knew, even where no showing is on record.
	for _, i := range g.log.namers[actor] {
		if g.log.stated[i] >= place {
			break
		}
		item := g.log.source[i]
		if _, known := byItem[item]; !known {
			byItem[item] = len(all)
			all = append(all, found{item: item, level: 1, how: "named before", by: g.log.seq[g.log.stated[i]] - 1})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(b.by, a.by), cmp.Compare(b.shown.At, a.shown.At), cmp.Compare(a.shown.Place, b.shown.Place))
	})
	return all, nil
}

// shownTo calls fn with the pages that an agent was shown before an act, the newest
// first.
func (r *reverse) shownTo(agent act.ID, before int64, fn func(c *columns, page uint32)) error {
	look := func(c *columns) {
		pages := c.of(agent)
		for i := len(pages) - 1; i >= 0; i-- {
			if after := c.After[pages[i]]; after >= 0 && after < before {
				fn(c, pages[i])
			}
		}
	}
	if b := r.g.open; b != nil && b.pages > 0 {
		look(b.cols)
	}
	for i := len(r.g.blocks) - 1; i >= 0; i-- {
		b := r.g.blocks[i]
		if b.first >= before {
			continue
		}
		if b.cols != nil {
			look(b.cols)
			continue
		}
		r.read.Cold++
		if err := decode(r.v, []int64{b.segment}, func(c *provenance.Columns) { look(r.g.look(c)) }); err != nil {
			return err
		}
	}
	return nil
}

// Number reads the number of an act, as it stands in the place of an id.
func Number(text string) (seq int64, is bool) {
	seq, err := strconv.ParseInt(text, 10, 64)
	return seq, err == nil && seq > 0
}
