package lifecycle_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	treesOfGrove = 5
	treeClass    = `{"heartbeat":"10s","tolerance":3,"grace":"1m","grant":{"acts":["agent.*"],"spawn":{"classes":["tree"],"depth":5,"fan_out":3}}}`

	qTestLeaves store.Q = `SELECT COUNT(*) FROM event JOIN leaf ON leaf.pos = event.pos WHERE event.act = $1 AND event.ref = $2`
)

// grove is a network of one node on SQLite, and of two on PostgreSQL, the second of which
// is cut off from the bus. Trees of agents grow in it.
type grove struct {
	t     *testing.T
	cfg   store.Config
	clock *watch
	hub   *bus.Local
	nodes []*house
	r     *rand.Rand
	names int
}

// tree is one line with all its branches. Members come while it is looked at.
type tree struct {
	mu   sync.Mutex
	list []member // guarded by mu; a parent stands before its children
}

type member struct {
	act.Principal
	parent int // place in the list; -1 for the first
}

// T34: parents come to their end at random moments in the life of random trees, by an order
// or by their silence, while their line acts and has children; the node that sweeps may die
// on the way, and another one hears nothing on the bus. Nobody who descends from one acts
// once its end is acknowledged, or its lease is over; all of them end, children first, each
// by an act on record; and nobody else is harmed.
func TestT34_RandomTrees(t *testing.T) {
	groves := 1
	if os.Getenv("REEF_SOAK") == "1" {
		groves = 1000 / treesOfGrove
	}
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			for seed := range groves {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					g := &grove{t: t, cfg: storetest.Config(t, d), clock: &watch{}, hub: bus.NewLocal(), r: rand.New(rand.NewPCG(34, uint64(seed)))}
					g.cfg.Clock = g.clock.now
					g.nodes = []*house{open(t, g.cfg, plan{hub: g.hub})}
					if d == store.Postgres {
						g.nodes = append(g.nodes, open(t, g.cfg, plan{hub: g.hub, dir: g.nodes[0].dir, deaf: true}))
					}
					g.nodes[0].class("tree", treeClass)
					for n := range treesOfGrove {
						tr := g.grow()
						if victim := g.r.IntN(len(tr.list)); n%2 == 0 {
							g.kill(tr, victim)
						} else {
							g.silence(tr, victim)
						}
					}
					if violations, err := lifecycle.Check(context.Background(), g.nodes[0].db); err != nil || len(violations) > 0 {
						t.Errorf("invariants: %v, %v", violations, err)
					}
				})
			}
		})
	}
}

// grow makes a tree of random shape, its members on random nodes.
func (g *grove) grow() *tree {
	g.t.Helper()
	root, _ := g.any().born(lifecycle.NewInstance{Name: g.name(), Class: "tree"})
	tr := &tree{list: []member{{root, -1}}}
	for range 2 + g.r.IntN(8) {
		_ = g.spawn(tr, g.any(), g.r.IntN(len(tr.list)), g.name()) // one that may have no more stays as it is
	}
	return tr
}

func (g *grove) any() *house { return g.nodes[g.r.IntN(len(g.nodes))] }

func (g *grove) name() string { g.names++; return fmt.Sprintf("leaf-%d", g.names) }

// spawn has a member make a child.
func (g *grove) spawn(tr *tree, h *house, parent int, name string) error {
	p, err := h.child(tr.at(parent).Principal, lifecycle.NewInstance{Name: name, Class: "tree"})
	if err == nil {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.list = append(tr.list, member{p, parent})
	}
	return err
}

func (tr *tree) at(i int) member {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.list[i]
}

// parts tells who descends from a member from who does not, the member itself in neither.
func (tr *tree) parts(of int) (below, others []int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	in := make([]bool, len(tr.list))
	for i, m := range tr.list {
		switch in[i] = i == of || m.parent >= 0 && in[m.parent]; {
		case i == of:
		case in[i]:
			below = append(below, i)
		default:
			others = append(others, i)
		}
	}
	return below, others
}

// kill ends a member by an order, while it and its line act and multiply on every node.
func (g *grove) kill(tr *tree, victim int) {
	t := g.t
	below, _ := tr.parts(victim)
	line := append(below, victim)
	var load busy
	for _, h := range g.nodes {
		first := g.names
		g.names += 1000
		load.run(func() error { return h.reads(tr.at(line[rand.IntN(len(line))]).Principal) })
		load.run(func() error { return h.writes(tr.at(line[rand.IntN(len(line))]).Principal) })
		load.run(func() error {
			first++
			return g.spawn(tr, h, line[rand.IntN(len(line))], fmt.Sprintf("leaf-%d", first))
		})
	}
	most := int64(10 + g.r.IntN(40))
	eventually(t, "the line acts", func() bool { return load.done.Load() > most })
	_, err := g.any().life.Kill.Do(t.Context(), g.nodes[0].operator, lifecycle.Order{Agent: tr.at(victim).ID, Reason: "drill"})
	g.nodes[0].do("kill", err)
	load.acked.Store(true)
	below, _ = tr.parts(victim) // nobody comes any more
	for _, i := range below {
		for _, h := range g.nodes {
			if h.writes(tr.at(i).Principal) == nil || h.reads(tr.at(i).Principal) == nil {
				t.Errorf("%s acts although %s was killed", tr.at(i).Name, tr.at(victim).Name)
			}
		}
	}
	load.stop.Store(true)
	load.workers.Wait()
	if late := load.late.Load(); late != 0 {
		t.Errorf("%d acts after the acknowledgement", late)
	}
	g.sweep()
	g.ended(tr, victim, act.Killed)
}

// silence has everybody act but one member, until that one's lease and grace are over.
func (g *grove) silence(tr *tree, victim int) {
	t := g.t
	below, others := tr.parts(victim)
	pass := func(d time.Duration, who ...int) {
		t.Helper()
		g.clock.move(d)
		for _, h := range g.nodes { // their clock leaps
			h.do("reserve ids", h.db.Reserve(t.Context(), g.clock.now().Add(time.Minute)))
		}
		for _, i := range who {
			h := g.any()
			if err := h.writes(tr.at(i).Principal); err != nil {
				t.Errorf("%s, who keeps acting: %v", tr.at(i).Name, err)
			}
			h.do("renew", h.life.RenewLeases(t.Context()))
		}
	}
	pass(0, append(append(below, others...), victim)...)
	pass(20*time.Second, append(below, others...)...)
	pass(11*time.Second, others...)
	for _, i := range below {
		for _, h := range g.nodes {
			is(t, "whose parent is late, before anybody has noticed", h.writes(tr.at(i).Principal), act.Denied, "lease.line")
		}
	}
	g.sweep()
	for range 4 {
		pass(20*time.Second, others...)
	}
	g.sweep()
	g.ended(tr, victim, act.Expired)
}

// sweep looks for those whose time is over, on any node. The first may die on the way:
// then another one goes on, or the same when it has come back.
func (g *grove) sweep() {
	t := g.t
	if g.r.IntN(2) == 0 {
		dying := g.nodes[0]
		dying.fault.skip.Store(g.r.Int32N(8))
		dying.fault.set(store.StepCommit, errStorage)
		_, _ = dying.life.Sweep(t.Context()) // with few to end it gets through
		if err := dying.db.Close(); err != nil {
			t.Fatal(err)
		}
		g.nodes[0] = open(t, g.cfg, plan{hub: g.hub, dir: dying.dir})
	}
	_, err := g.any().life.Sweep(t.Context())
	g.nodes[0].do("sweep", err)
}

// ended checks what has become of a tree one of whose members has come to its end.
func (g *grove) ended(tr *tree, victim int, how act.Standing) {
	t, h := g.t, g.nodes[0]
	below, others := tr.parts(victim)
	gone := below
	if a := h.show(tr.at(victim).ID); a.Standing != how {
		t.Errorf("%s is %s: %q", a.Name, a.Standing, a.Reason)
	}
	if how == act.Expired {
		gone = append(gone, victim)
	} else if n := h.count(qTestLeaves, "agent.kill", tr.at(victim).ID); n != 1 {
		t.Errorf("%d kills of %s on record", n, tr.at(victim).Name)
	}
	var order []act.ID
	h.do("events", h.db.View(t.Context(), func(v *store.View) error {
		return v.All(qTestEnds, func(r *store.Row) error { order = append(order, r.ID(0)); return nil })
	}))
	for _, i := range gone {
		m := tr.at(i)
		if a := h.show(m.ID); a.Standing != act.Expired || i != victim && !strings.HasPrefix(a.Reason, "orphan.parent: ") {
			t.Errorf("%s, who descends from %s, is %s: %q", m.Name, tr.at(victim).Name, a.Standing, a.Reason)
		}
		if n := h.count(qTestLeaves, "agent.end", m.ID); n != 1 {
			t.Errorf("%d ends of %s on record", n, m.Name)
		}
		if m.parent >= 0 && slices.Contains(gone, m.parent) && slices.Index(order, m.ID) > slices.Index(order, tr.at(m.parent).ID) {
			t.Errorf("%s ended after its parent", m.Name)
		}
	}
	for _, i := range others {
		for _, h := range g.nodes {
			if err := h.writes(tr.at(i).Principal); err != nil {
				t.Errorf("%s, who has nothing to do with it: %v", tr.at(i).Name, err)
			}
		}
	}
}
