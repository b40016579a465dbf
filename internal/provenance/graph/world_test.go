package graph

import (
	"fmt"
	"slices"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// deedDone is one thing that happens in a planted world: an agent makes an item that
// comes of others, or is shown some.
type deedDone struct {
	agent int
	makes int   // number of the item, -1 for a showing
	of    []int // what it names, or what is shown
	level uint8
	born  int // number of the agent that it makes, 0 for none; makes is -1 then
}

// shows reports whether it is a showing.
func (d deedDone) shows() bool { return d.makes < 0 && d.born == 0 }

func idOf(kind act.Kind, n int) act.ID { return act.ID(int64(n+1)<<22 | int64(kind)<<17) }
func agentNo(n int) act.ID             { return idOf(act.KindAgent, n) }
func itemNo(n int) act.ID              { return idOf(act.KindComment, n) }

// planted makes the graph of a world. Its pages are in one block, or in several.
func planted(world []deedDone, blocks int) *Graph {
	g := New(0)
	var pages []provenance.Exposure
	seq := int64(0)
	for i, d := range world {
		at := int64(i+1) * 1000
		if d.shows() {
			x := provenance.Exposure{AfterSeq: seq, Pos: int64(i), At: at, Reader: agentNo(d.agent), Channel: "feed.read", Count: 1}
			for _, it := range d.of {
				x.Items = append(x.Items, act.Ref{ID: itemNo(it), Version: 1})
			}
			pages = append(pages, x)
			continue
		}
		seq++
		if d.born > 0 {
			g.log.add(g, seq, "agent.spawn", agentNo(d.born), agentNo(d.agent), at)
		} else {
			g.log.add(g, seq, "comment.create", itemNo(d.makes), agentNo(d.agent), at)
		}
		for _, it := range d.of {
			g.log.state(g, seq, itemNo(it), d.level, gate.EdgeReply)
		}
	}
	g.log.through = seq
	for part := range slices.Chunk(pages, max(1, len(pages)/blocks)) {
		g.blocks = append(g.blocks, blockOf(g.take(columnsOf(part))))
	}
	return g
}

// columnsOf makes columns of pages without sealing them.
func columnsOf(pages []provenance.Exposure) *provenance.Columns {
	c := &provenance.Columns{Segment: 1, Channels: []string{"feed.read"}}
	for _, x := range pages {
		c.Readers = append(c.Readers, x.Reader)
	}
	slices.Sort(c.Readers)
	c.Readers = slices.Compact(c.Readers)
	for i, x := range pages {
		for _, it := range x.Items {
			n := slices.Index(c.Items, it.ID)
			if n < 0 {
				n = len(c.Items)
				c.Items = append(c.Items, it.ID)
			}
			c.Listed = append(c.Listed, uint32(n))
		}
		c.Ends = append(c.Ends, uint32(len(c.Listed)))
		r, _ := slices.BinarySearch(c.Readers, x.Reader)
		c.After, c.At, c.Reader = append(c.After, x.AfterSeq), append(c.At, x.At), append(c.Reader, uint32(r))
		c.List, c.Channel = append(c.List, uint32(i)), append(c.Channel, 0)
	}
	return c
}

func (g *Graph) forwardOf(t testing.TB, s Start) *Reach {
	t.Helper()
	r, err := g.forward(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// has lists what is in steps, by the numbers of a world.
func has(steps []Step) map[act.ID]Step {
	all := make(map[act.ID]Step)
	for _, s := range steps {
		all[s.ID] = s
	}
	return all
}

// network writes a world into a database as the server does.
type network struct {
	t  *testing.T
	db *store.DB
	tr *provenance.Tracer
}

func newNetwork(t *testing.T, db *store.DB) *network {
	tr := provenance.New(db, provenance.Config{Recheck: func(*store.Tx, []act.Principal, []error) error { return nil }})
	tr.Start(t.Context())
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return &network{t, db, tr}
}

func (n *network) mint(kind act.Kind) act.ID {
	n.t.Helper()
	id, err := n.db.Mint(n.t.Context(), kind)
	if err != nil {
		n.t.Fatal(err)
	}
	return id
}

// does records an act that names where it comes from.
func (n *network) does(actor act.ID, name string, about act.ID, of ...act.ID) {
	n.t.Helper()
	if err := n.db.Write(n.t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Event(store.Event{Act: name, Ref: act.Ref{ID: about, Version: 1}, Actor: actor, At: tx.Now()}); err != nil {
			return err
		}
		var edges []gate.Edge
		for _, id := range of {
			edges = append(edges, gate.Edge{From: act.Ref{ID: id}, Kind: gate.EdgeReply})
		}
		return n.tr.Derive(tx, act.Principal{}, gate.Effects{Out: act.Ref{ID: about, Version: 1}, Edges: edges})
	}); err != nil {
		n.t.Fatal(err)
	}
	n.number()
}

func (n *network) shows(reader act.ID, items ...act.ID) {
	n.t.Helper()
	x := gate.Exposure{Principal: act.Principal{Kind: act.Agent, ID: reader}, Channel: "feed.read"}
	if reader == 0 {
		x.Principal.Kind = act.Observer
	}
	for _, id := range items {
		x.Items = append(x.Items, act.Ref{ID: id, Version: 1})
	}
	if err := n.tr.Expose(n.t.Context(), x); err != nil {
		n.t.Fatal(err)
	}
	n.number()
}

// number is what the sequencer does.
func (n *network) number() {
	n.t.Helper()
	lease, ok, err := n.db.Lead(n.t.Context(), store.SequencerLease)
	if err != nil || !ok {
		n.t.Fatal(ok, err)
	}
	if _, err := n.db.SequencePass(n.t.Context(), lease); err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) forward(g *Graph, s Start) (r *Reach) {
	n.t.Helper()
	if err := n.db.View(n.t.Context(), func(v *store.View) (err error) { r, err = g.Forward(v, s); return err }); err != nil {
		n.t.Fatal(err)
	}
	return r
}

// The graph follows what happens, before and after it is sealed, and with nothing in
// memory.
func TestGraphFollowsTheLog(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		n := newNetwork(t, db)
		author, reader, second, late := n.mint(act.KindAgent), n.mint(act.KindAgent), n.mint(act.KindAgent), n.mint(act.KindAgent)
		post, reply, other := n.mint(act.KindPost), n.mint(act.KindComment), n.mint(act.KindPost)
		n.does(author, "post.create", post)
		n.does(late, "post.create", other)
		g, cold := New(0), New(1)
		check := func(when string, agents, items int) {
			t.Helper()
			for name, g := range map[string]*Graph{"warm": g, "cold": cold, "new": New(0)} {
				r := n.forward(g, Start{Items: []act.ID{post}})
				if len(r.Possible.Agents) != agents || len(r.Possible.Items) != items || r.Waiting != 0 {
					t.Errorf("%s, %s: %d agents and %d items, want %d and %d: %+v", when, name, len(r.Possible.Agents), len(r.Possible.Items), agents, items, r)
				}
			}
		}
		check("nobody was shown it", 0, 1)
		n.shows(reader, post, other)
		n.shows(0, post)
		check("one was", 1, 1)
		n.does(reader, "comment.create", reply, post)
		check("who answered", 1, 2)
		r := n.forward(g, Start{Items: []act.ID{post}})
		if !r.Public[post] || r.Public[reply] {
			t.Errorf("observers were shown %v", r.Public)
		}
		if l := has(r.Likely.Items)[reply]; l.Gen != 1 || l.Via != reader || l.Level != 3 {
			t.Errorf("the answer: %+v", l)
		}
		s, err := provenance.NewSealer(db, nil)
		if err != nil {
			t.Fatal(err)
		}
		// More of the same, sealed as a network's past is, behind what is not: the order of
		// the sequence is what counts.
		if _, err := s.Load(t.Context(), []provenance.Exposure{
			{AfterSeq: r.Through, Pos: 1 << 40, Reader: second, At: 1, Channel: "feed.read", Count: 1, Items: []act.Ref{{ID: reply, Version: 1}}},
			{AfterSeq: r.Through, Pos: 1<<40 + 1, Reader: late, At: 2, Channel: "feed.read", Count: 1, Items: []act.Ref{{ID: other, Version: 1}}},
		}); err != nil {
			t.Fatal(err)
		}
		check("another was shown the answer", 2, 2)
		if r := n.forward(cold, Start{Items: []act.ID{post}}); r.Pages < 4 {
			t.Errorf("what the answer rests on: %+v", r.Read)
		}
		vote := n.forward(g, Start{Items: []act.ID{post}}).Through
		n.does(second, "vote.cast", post, post)
		r = n.forward(g, Start{Items: []act.ID{post}})
		if r.Likely.Acts["vote"] != 1 || len(r.Likely.Items) != 2 || r.Through <= vote {
			t.Errorf("after a vote: %+v", r.Likely)
		}
		var why *Slice
		if err := db.View(t.Context(), func(v *store.View) (err error) { why, err = cold.Backward(v, 0, r.Through, Bounds{}); return err }); err != nil {
			t.Fatal(err)
		}
		if c := why.Root; c.Act != "vote.cast" || c.Actor != second || len(c.Of) != 2 || c.Of[0].Item != post || c.Of[1].Item != reply || c.Of[1].Shown.Pages != 1 || c.Of[1].Of[0].Item != post {
			t.Errorf("why: %s", fmt.Sprintf("%+v", c))
		}
	})
}
