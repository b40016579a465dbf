package lifecycle_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qTie     store.Q = `UPDATE agent SET parent = $2, root = $3, depth = $4 WHERE id = $1`
	qLeaves  store.Q = `SELECT COUNT(*) FROM event WHERE act = $1`
	qLiving  store.Q = `SELECT COUNT(*) FROM agent WHERE state NOT IN (5, 6)`
	qKillsBy store.Q = `SELECT agent FROM kill ORDER BY n`
)

// owned registers an agent that an owner answers for.
func (h *house) owned(name, owner string) act.Principal {
	h.t.Helper()
	r := h.register(name)
	if _, err := h.life.Claim.Do(h.t.Context(), h.operator, lifecycle.NewClaim{Agent: r.Agent, Owner: owner}); err != nil {
		h.t.Fatalf("claim %s: %v", name, err)
	}
	return h.principal(r.Key)
}

// tie makes an agent the child of another one, as memory will have it on every node.
func (h *house) tie(child, parent, root act.ID, depth int) {
	h.t.Helper()
	if err := h.db.Write(h.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(qTie, child, parent, root, depth)
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	for _, do := range []func(context.Context, act.Principal, lifecycle.Order) (lifecycle.Agent, error){h.life.Pause.Do, h.life.Resume.Do} {
		if _, err := do(h.t.Context(), h.operator, lifecycle.Order{Agent: child, Reason: "so that it is read again"}); err != nil {
			h.t.Fatal(err)
		}
	}
}

// scope gives an order about a scope by its name.
func (h *house) scope(verb string, on lifecycle.ScopeName) (lifecycle.Contained, error) {
	h.t.Helper()
	do := map[string]func(context.Context, act.Principal, lifecycle.ScopeOrder) (lifecycle.Contained, error){
		"pause": h.life.PauseScope.Do, "resume": h.life.ResumeScope.Do, "quarantine": h.life.QuarantineScope.Do,
		"release": h.life.ReleaseScope.Do, "kill": h.life.KillScope.Do,
	}[verb]
	return do(h.t.Context(), h.operator, lifecycle.ScopeOrder{On: on, Reason: "drill"})
}

func (h *house) scoped(verb string, on lifecycle.ScopeName) lifecycle.Contained {
	h.t.Helper()
	c, err := h.scope(verb, on)
	if err != nil {
		h.t.Fatalf("%s %v: %v", verb, on, err)
	}
	return c
}

func (h *house) sweep() {
	h.t.Helper()
	if err := h.life.SweepScopes(h.t.Context()); err != nil {
		h.t.Fatalf("sweep: %v", err)
	}
}

func owner(name string) lifecycle.ScopeName { return lifecycle.ScopeName{Kind: "owner", Name: name} }
func line(id act.ID) lifecycle.ScopeName    { return lifecycle.ScopeName{Kind: "lineage", Agent: id} }

var all = lifecycle.ScopeName{Kind: "all"}

// T36: who is in a scope that is stopped does nothing, who is not in it goes on, and when
// it is lifted everybody is what they were.
func TestT36_ScopesStopAndLetGo(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		root, child, grandchild := h.owned("anchor", "ann"), h.owned("child", "ann"), h.owned("grandchild", "bob")
		h.tie(child.ID, root.ID, root.ID, 1)
		h.tie(grandchild.ID, child.ID, root.ID, 2)
		other := h.owned("other", "cid")
		everybody := []act.Principal{root, child, grandchild, other}
		for _, c := range []struct {
			on lifecycle.ScopeName
			in []act.Principal
		}{
			{owner("ann"), []act.Principal{root, child}}, {line(root.ID), []act.Principal{root, child, grandchild}},
			{line(child.ID), []act.Principal{child, grandchild}}, {all, everybody},
		} {
			for _, o := range []struct{ stop, lift, rule string }{{"pause", "resume", "standing.paused"}, {"quarantine", "release", "standing.quarantined"}} {
				h.scoped(o.stop, c.on)
				for _, p := range everybody {
					if slices.ContainsFunc(c.in, func(x act.Principal) bool { return x.ID == p.ID }) {
						is(t, p.Name+" reads", h.reads(p), act.Denied, o.rule)
						is(t, p.Name+" writes", h.writes(p), act.Denied, o.rule)
					} else if err := h.writes(p); err != nil {
						t.Errorf("%s of %v stops %s: %v", o.stop, c.on, p.Name, err)
					}
				}
				h.scoped(o.lift, c.on)
				for _, p := range everybody {
					if err := h.writes(p); err != nil {
						t.Errorf("after %s of %v %s: %v", o.lift, c.on, p.Name, err)
					}
				}
			}
		}
		// What an agent has of its own is beneath, and stays.
		if _, err := h.life.Pause.Do(t.Context(), h.operator, lifecycle.Order{Agent: other.ID, Reason: "x"}); err != nil {
			t.Fatal(err)
		}
		h.scoped("quarantine", all)
		is(t, "who is paused and in quarantine with all", h.writes(other), act.Denied, "standing.quarantined")
		h.scoped("release", all)
		is(t, "who is paused", h.writes(other), act.Denied, "standing.paused")
		if err := h.writes(root); err != nil {
			t.Error(err)
		}
	})
}

// T36, T38: a kill stops its scope with its answer; the sweep ends each agent by itself,
// children first and on record; nobody new comes in until it is released; nobody comes
// back.
func TestT36_KillOfAScope(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		root, child, leaf := h.owned("anchor", "ann"), h.owned("child", "ann"), h.owned("leaf", "ann")
		h.tie(child.ID, root.ID, root.ID, 1)
		h.tie(leaf.ID, child.ID, root.ID, 2)
		other := h.owned("other", "bob")
		late := h.register("late")
		h.scoped("kill", owner("ann"))
		for _, p := range []act.Principal{root, child, leaf} {
			is(t, p.Name, h.writes(p), act.Denied, "standing.killed")
			is(t, p.Name, h.reads(p), act.Denied, "standing.killed")
		}
		if n := h.count(qKills); n != 0 {
			t.Errorf("%d kills before the sweep", n)
		}
		_, err := h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{Agent: late.Agent, Owner: "ann"})
		is(t, "a new agent of the owner", err, act.Denied, "scope.killed")
		_, err = h.scope("release", owner("ann"))
		is(t, "release before everybody has ended", err, act.Conflict, "scope.sweeping")
		if list := h.listed(); len(list) != 1 || list[0].Left != 3 || list[0].DoneAt != 0 || list[0].By != h.operator.ID || list[0].Reason != "drill" {
			t.Errorf("listed before the sweep: %+v", list)
		}

		h.sweep()
		var order []act.ID
		if err := h.db.View(t.Context(), func(v *store.View) error {
			return v.All(qKillsBy, func(r *store.Row) error { order = append(order, r.ID(0)); return nil })
		}); err != nil || !slices.Equal(order, []act.ID{leaf.ID, child.ID, root.ID}) {
			t.Errorf("the order of the kills is %v, %v", order, err)
		}
		if kills, done := h.count(qLeaves, "agent.kill"), h.count(qLeaves, "scope.finish"); kills != 3 || done != 1 {
			t.Errorf("%d kills and %d ends on record", kills, done)
		}
		if list := h.listed(); len(list) != 1 || list[0].Left != 0 || list[0].DoneAt == 0 || list[0].Ended != 3 {
			t.Errorf("listed after the sweep: %+v", list)
		}
		h.sweep()
		if kills := h.count(qLeaves, "agent.kill"); kills != 3 {
			t.Errorf("the sweep was done twice: %d kills", kills)
		}
		if err := h.writes(other); err != nil {
			t.Errorf("another owner's: %v", err)
		}
		h.scoped("release", owner("ann"))
		for _, p := range []act.Principal{root, child, leaf} {
			is(t, p.Name+" after the release", h.writes(p), act.Denied, "standing.killed")
		}
		if _, err := h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{Agent: late.Agent, Owner: "ann"}); err != nil {
			t.Errorf("a new agent after the release: %v", err)
		}

		h.scoped("kill", all)
		_, err = h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "newcomer", Invite: h.invite("")})
		is(t, "a newcomer", err, act.Denied, "scope.killed")
		h.sweep()
		if n := h.count(qLiving); n != 0 {
			t.Errorf("%d agents are left", n)
		}
	})
}

const qKills store.Q = `SELECT COUNT(*) FROM kill`

func (h *house) listed() []lifecycle.Containment {
	h.t.Helper()
	list, err := h.life.ListScopes.Do(h.t.Context(), h.operator, struct{}{})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

// What is not there, or cannot be stopped as it is named, is refused; nobody but operators
// stops anything.
func TestScopesThatAreRefused(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		p := h.owned("nemo", "ann")
		for _, c := range []struct {
			on   lifecycle.ScopeName
			code act.Code
			rule string
		}{
			{owner("nobody"), act.NotFound, "owner.name"}, {line(p.ID + 1), act.NotFound, ""}, {lifecycle.ScopeName{Kind: "site", Name: "x"}, act.Invalid, "scope.site"},
			{lifecycle.ScopeName{Kind: "galaxy"}, act.Invalid, "scope.kind"}, {lifecycle.ScopeName{}, act.Invalid, "scope.kind"},
			{lifecycle.ScopeName{Kind: "mandate", Name: "x"}, act.Invalid, "scope.kind"},
		} {
			for _, verb := range []string{"pause", "resume", "quarantine", "release", "kill"} {
				_, err := h.scope(verb, c.on)
				is(t, fmt.Sprintf("%s %v", verb, c.on), err, c.code, c.rule)
			}
		}
		_, err := h.life.KillScope.Do(t.Context(), h.operator, lifecycle.ScopeOrder{On: all})
		is(t, "without a reason", err, act.Invalid, "reason")
		_, err = h.life.KillScope.Do(t.Context(), p, lifecycle.ScopeOrder{On: all, Reason: "I am the captain now"})
		is(t, "by an agent", err, act.Denied, "default-deny")
		if len(h.listed()) != 0 || h.writes(p) != nil {
			t.Error("something is stopped")
		}
	})
}

// Nothing is done or read in a community that is stopped, and all else goes on.
func TestT36_CommunityStops(t *testing.T) {
	var h *house
	community := func(v *store.View, name string) (act.ID, error) { return h.net.CommunityID(v, name) }
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		h = open(t, cfg, plan{life: lifecycle.Config{ClaimRequired: true, Community: community}})
		p, reader := h.owned("nemo", "ann"), h.owned("dory", "ann")
		for _, name := range []string{"reef", "deep"} {
			if _, err := h.net.CreateCommunity.Do(t.Context(), p, network.NewCommunity{Name: name, DisplayName: name}); err != nil {
				t.Fatal(err)
			}
		}
		post := func(place string) error {
			_, err := h.net.CreatePost.Do(t.Context(), p, network.NewPost{Community: place, Title: "t", Content: "c"})
			return err
		}
		feed := func(place string) (int, error) {
			page, err := h.net.ReadFeed.Do(t.Context(), reader, network.FeedQuery{Community: place, Limit: 5})
			return len(page.Items), err
		}
		for _, place := range []string{"reef", "deep"} {
			if err := post(place); err != nil {
				t.Fatal(err)
			}
		}
		reef := lifecycle.ScopeName{Kind: "community", Name: "reef"}
		h.scoped("quarantine", reef)
		is(t, "a post in it", post("reef"), act.Denied, "place.quarantined")
		_, err := feed("reef")
		is(t, "its feed", err, act.Denied, "place.quarantined")
		if err := post("deep"); err != nil {
			t.Errorf("a post elsewhere: %v", err)
		}
		if n, err := feed(""); err != nil || n != 2 {
			t.Errorf("everybody's feed has %d posts, %v: want the two that are elsewhere", n, err)
		}
		_, err = h.scope("kill", reef)
		is(t, "its end", err, act.Invalid, "scope.community")
		h.scoped("release", reef)
		if err := post("reef"); err != nil {
			t.Error(err)
		}
		if n, err := feed("reef"); err != nil || n != 2 {
			t.Errorf("%d posts, %v", n, err)
		}
	})
}

// Whatever is ordered of agents and scopes, in any order: what an agent comes to is the
// sternest of what was said of it and has not been taken back.
func TestEffectiveStandingIsTheSternest(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		root, child, other := h.owned("anchor", "ann"), h.owned("child", "bob"), h.owned("other", "bob")
		h.tie(child.ID, root.ID, root.ID, 1)
		type said struct{ paused, quarantined bool }
		scopes := []lifecycle.ScopeName{owner("ann"), owner("bob"), line(root.ID), line(child.ID), all}
		of := map[act.ID][]int{root.ID: {0, 2, 4}, child.ID: {1, 2, 3, 4}, other.ID: {1, 4}}
		on, own := make([]said, len(scopes)), map[act.ID]*said{root.ID: {}, child.ID: {}, other.ID: {}}
		agents := []act.ID{root.ID, child.ID, other.ID}
		random := rand.New(rand.NewPCG(6, 36)) //nolint:gosec // a test's choices are no secret
		for step := range 120 {
			verb := []string{"pause", "resume", "quarantine", "release"}[random.IntN(4)]
			note := func(s *said) {
				switch verb {
				case "pause":
					s.paused = true
				case "resume":
					s.paused = false
				case "quarantine":
					s.quarantined = true
				case "release":
					s.quarantined = false
				}
			}
			what := ""
			if i := random.IntN(len(scopes) + len(agents)); i < len(scopes) {
				h.scoped(verb, scopes[i])
				note(&on[i])
				what = fmt.Sprintf("%d: %s of %v", step, verb, scopes[i])
			} else {
				id := agents[i-len(scopes)]
				do := map[string]func(context.Context, act.Principal, lifecycle.Order) (lifecycle.Agent, error){
					"pause": h.life.Pause.Do, "resume": h.life.Resume.Do, "quarantine": h.life.Quarantine.Do, "release": h.life.Release.Do,
				}[verb]
				if _, err := do(t.Context(), h.operator, lifecycle.Order{Agent: id, Reason: "x"}); err != nil {
					t.Fatal(err)
				}
				note(own[id])
				what = fmt.Sprintf("%d: %s of agent %d", step, verb, i-len(scopes))
			}
			for n, id := range agents {
				want := act.Active
				take := func(s said) {
					if s.paused && want == act.Active {
						want = act.Paused
					}
					if s.quarantined {
						want = act.Quarantined
					}
				}
				take(*own[id])
				for _, i := range of[id] {
					take(on[i])
				}
				// A parent's own standing is its line's, see haltLine: paused at the most.
				if id == child.ID && want == act.Active && (own[root.ID].paused || own[root.ID].quarantined) {
					want = act.Paused
				}
				if got, _ := h.life.Standing(id); got != want {
					t.Fatalf("after %s agent %d is %s, want %s (of its own %+v, scopes %+v)", what, n, got, want, *own[id], on)
				}
			}
		}
	})
}

// T36: with acts under way on three nodes, one of them cut off from the bus, nothing is
// done in a scope once its stop is acknowledged, and what others do goes on.
func TestT36_ScopesOnThreeNodes(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	hub := bus.NewLocal()
	life := lifecycle.Config{ClaimRequired: true}
	a := open(t, cfg, plan{hub: hub, life: life})
	b := open(t, cfg, plan{hub: hub, life: life, dir: a.dir})
	c := open(t, cfg, plan{hub: hub, life: life, dir: a.dir, deaf: true})
	nodes := []*house{a, b, c}
	for n, on := range []func(root act.ID) lifecycle.ScopeName{
		func(act.ID) lifecycle.ScopeName { return owner("ann-0") }, line, func(act.ID) lifecycle.ScopeName { return all },
	} {
		root, child := a.owned(fmt.Sprintf("anchor-%d", n), fmt.Sprintf("ann-%d", n)), a.owned(fmt.Sprintf("child-%d", n), fmt.Sprintf("ann-%d", n))
		a.tie(child.ID, root.ID, root.ID, 1)
		for _, o := range []struct{ stop, lift, rule string }{{"pause", "resume", "standing.paused"}, {"quarantine", "release", "standing.quarantined"}, {"kill", "", "standing.killed"}} {
			var load busy
			for _, h := range nodes {
				for _, p := range []act.Principal{root, child} {
					load.run(func() error { return h.reads(p) })
					load.run(func() error { return h.writes(p) })
				}
			}
			before := load.done.Load()
			eventually(t, "the agents act", func() bool { return load.done.Load() > before+20 })
			a.scoped(o.stop, on(root.ID))
			load.acked.Store(true)
			for _, h := range nodes {
				is(t, o.stop+": a write", h.writes(child), act.Denied, o.rule)
				is(t, o.stop+": a read", h.reads(root), act.Denied, o.rule)
			}
			load.stop.Store(true)
			load.workers.Wait()
			if late := load.late.Load(); late != 0 {
				t.Errorf("%s of %v: %d acts after the acknowledgement", o.stop, on(root.ID), late)
			}
			if o.lift != "" {
				b.scoped(o.lift, on(root.ID))
				for _, h := range nodes {
					if err := h.writes(child); err != nil {
						t.Errorf("after %s: %v", o.lift, err)
					}
				}
			}
		}
		// Any node takes the work up, and two at once do nothing twice.
		var sweeps busy
		for _, h := range nodes {
			sweeps.workers.Go(func() {
				if err := h.life.SweepScopes(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		sweeps.workers.Wait()
		if list := a.listed(); len(list) == 0 || list[0].DoneAt == 0 {
			t.Errorf("after the sweep: %+v", list)
		}
		if n == 0 { // or the last one would be closed by the first
			a.scoped("release", on(root.ID))
		}
	}
	if n := a.count(qLiving); n != 0 {
		t.Errorf("%d agents are left", n)
	}
	a.check()
}

// T36, T38: a node that dies after it has taken an order leaves nothing undone: the halt
// holds from the start of the next one, and the sweep goes on there where it was.
func TestT36_ANodeDiesInTheMiddle(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		life := lifecycle.Config{ClaimRequired: true}
		h := open(t, cfg, plan{life: life})
		var owned []act.Principal
		for n := range 12 {
			owned = append(owned, h.owned(fmt.Sprintf("diver-%d", n), "ann"))
		}
		other := h.owned("other", "bob")
		h.scoped("kill", owner("ann"))
		// Nothing reaches the database any more after a few kills of the sweep, of which
		// SQLite commits several together.
		h.fault.skip.Store(5)
		if cfg.Dir != "" {
			h.fault.skip.Store(1)
		}
		h.fault.set(store.StepCommit, errStorage)
		if err := h.life.SweepScopes(t.Context()); err == nil {
			t.Fatal("the sweep was not cut short")
		}
		before := h.count(qKills)
		if before == 0 || before >= 12 {
			t.Fatalf("%d kills before the node died", before)
		}
		if err := h.db.Close(); err != nil {
			t.Fatal(err)
		}

		next := open(t, cfg, plan{life: life, dir: h.dir})
		for _, p := range owned {
			is(t, p.Name+" on the next node", next.writes(p), act.Denied, "standing.killed")
		}
		if err := next.writes(other); err != nil {
			t.Error(err)
		}
		next.sweep()
		if list := next.listed(); len(list) != 1 || list[0].DoneAt == 0 || list[0].Ended != 12 {
			t.Errorf("after the sweep: %+v", list)
		}
		if n := next.count(qLeaves, "agent.kill"); n != 12 {
			t.Errorf("%d kills on record", n)
		}
		next.check()
	})
}
