package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// watch is a clock that a test moves.
type watch struct{ ahead atomic.Int64 }

func (w *watch) now() time.Time            { return time.Now().Add(time.Duration(w.ahead.Load())) }
func (w *watch) move(by time.Duration)     { w.ahead.Add(int64(by)) }
func (h *house) do(what string, err error) { h.t.Helper(); mustDo(h.t, what, err) }

func mustDo(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v (cause %v)", what, err, errors.Unwrap(err))
	}
}

// eachAt is each with a clock that can be moved.
func eachAt(t *testing.T, fn func(t *testing.T, h *house, w *watch)) {
	t.Helper()
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		w := &watch{}
		cfg.Clock = w.now
		h := open(t, cfg, plan{})
		fn(t, h, w)
		if violations, err := lifecycle.Check(context.Background(), h.db); err != nil || len(violations) > 0 {
			t.Errorf("invariants: %v, %v", violations, err)
		}
	})
}

func (h *house) class(name, document string) lifecycle.Class {
	h.t.Helper()
	c, err := h.life.PutClass.Do(h.t.Context(), h.operator, lifecycle.NewClass{Name: name, Document: document})
	h.do("class "+name, err)
	return c
}

func (h *house) mandate(name string) lifecycle.Mandate {
	h.t.Helper()
	m, err := h.life.OpenMandate.Do(h.t.Context(), h.operator, lifecycle.NewMandate{
		Name: name, Owner: "owner", Purpose: lifecycle.Purpose{Statement: "Watch prices and say what changes."}, Grace: time.Hour,
	})
	h.do("mandate "+name, err)
	return m
}

// born makes an agent of a class.
func (h *house) born(in lifecycle.NewInstance) (act.Principal, lifecycle.Instance) {
	h.t.Helper()
	if in.Owner == "" {
		in.Owner = "owner"
	}
	if in.Reason == "" {
		in.Reason = "it is needed"
	}
	out, err := h.life.Request.Do(h.t.Context(), h.operator, in)
	h.do("request "+in.Name, err)
	if out.Token == "" {
		h.t.Errorf("%s got no enrolment token", in.Name)
	}
	return act.Principal{Kind: act.Agent, ID: out.Agent.ID, Name: out.Agent.Name, Epoch: 1}, out
}

func (h *house) child(parent act.Principal, in lifecycle.NewInstance) (act.Principal, error) {
	h.t.Helper()
	in.Reason = "a child"
	out, err := h.life.Spawn.Do(h.t.Context(), parent, in)
	if err != nil {
		return act.Principal{}, err
	}
	return act.Principal{Kind: act.Agent, ID: out.Agent.ID, Name: out.Agent.Name, Epoch: 1}, nil
}

const family = `{"grant":{"acts":["agent.*","budget.*","outcome.record"],"budget":{"acts":1000},"life":"24h","spawn":{"classes":["family"],"depth":5,"fan_out":3}}}`

// A version of a class is for ever; what is the same is the same version.
func TestClassesAreVersioned(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		one := h.class("monitor", `{"model":"small"}`)
		same := h.class("monitor", `{ "model" : "small" }`)
		two := h.class("monitor", `{"model":"large"}`)
		if one.Version != 1 || same.ID != one.ID || two.Version != 2 {
			t.Errorf("versions %d, %d, %d", one.Version, same.Version, two.Version)
		}
		old, err := h.life.ShowClass.Do(t.Context(), h.operator, lifecycle.NamedClass{Name: "monitor", Version: 1})
		if err != nil || old.Document.Model != "small" {
			t.Errorf("version 1 is %+v, %v", old, err)
		}
		_, err = h.life.PutClass.Do(t.Context(), h.operator, lifecycle.NewClass{Name: "monitor", Document: `{"colour":"red"}`})
		is(t, "a document of another kind", err, act.Invalid, "class.document")
		_, err = h.life.PutClass.Do(t.Context(), h.operator, lifecycle.NewClass{Name: "Monitor!", Document: `{}`})
		is(t, "another name", err, act.Invalid, "class.name")
		agent, _ := h.active("curious")
		_, err = h.life.PutClass.Do(t.Context(), agent, lifecycle.NewClass{Name: "mine", Document: `{}`})
		is(t, "by an agent", err, act.Denied, "default-deny")
	})
}

// What a class grants bounds its agents whatever the policy says, budgets included.
func TestGrantsBound(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("narrow", `{"grant":{"acts":["agent.me","agent.update","budget.*"],"budget":{"acts":2,"tokens":100}}}`)
		p, _ := h.born(lifecycle.NewInstance{Name: "narrow-one", Class: "narrow"})
		if err := h.reads(p); err != nil {
			t.Errorf("reads: %v", err)
		}
		text := "still here"
		for range 2 { // the second time it is answered again, and costs nothing
			if _, err := h.net.UpdateProfile.DoOnce(t.Context(), p, gate.Key{Name: "once"}, network.ProfileChange{Description: &text}); err != nil {
				t.Errorf("writes: %v", err)
			}
		}
		_, err := h.life.Spawn.Do(t.Context(), p, lifecycle.NewInstance{Name: "child", Class: "narrow", Reason: "x"})
		is(t, "a child", err, act.Denied, "spawn.depth")
		_, err = h.life.ListCauses.Do(t.Context(), p, lifecycle.CauseQuery{})
		is(t, "an act that is not granted", err, act.Denied, "grant.act")
		left, err := h.life.Report.Do(t.Context(), p, lifecycle.Usage{Tokens: 60})
		h.do("report", err)
		if len(left) != 2 || left[0].Used != 2 || left[1].Left() != 40 || !left[1].Reported || left[0].Reported {
			t.Errorf("left: %+v", left)
		}
		is(t, "a third change", h.writes(p), act.Denied, "budget.acts")
		if err := h.reads(p); err != nil {
			t.Errorf("reads when the budget of changes is used up: %v", err)
		}
	})
}

// T32, T33: a tree of depth five is carved out of its root; nothing in it is wider than
// what it hangs on, and the sum over it is never more than the root's grant.
func TestT33_SpawnTreeIsCarved(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("family", family)
		root, made := h.born(lifecycle.NewInstance{Name: "gen-0", Class: "family"})
		parent := root
		for depth := 1; depth <= 5; depth++ {
			child, err := h.child(parent, lifecycle.NewInstance{
				Name: fmt.Sprint("gen-", depth), Class: "family",
				Grant: fmt.Sprintf(`{"budget":{"acts":%d},"spawn":{"depth":5,"fan_out":3}}`, 500>>depth),
			})
			h.do(fmt.Sprint("generation ", depth), err)
			f := h.life.Facts(child.ID)
			if f.Depth != int64(depth) || f.Parent != parent.ID || f.Root != root.ID || f.Class != "family" || f.Owner != made.Agent.Owner {
				t.Errorf("generation %d: %+v", depth, f)
			}
			parent = child
		}
		_, err := h.child(parent, lifecycle.NewInstance{Name: "gen-6", Class: "family", Grant: `{"budget":{"acts":1}}`})
		is(t, "a sixth generation", err, act.Denied, "spawn.depth")
		_, err = h.child(root, lifecycle.NewInstance{Name: "greedy", Class: "family", Grant: `{"budget":{"acts":900}}`})
		is(t, "more than what is left", err, act.Denied, "budget.acts")
		all, err := h.life.ShowBudget.Do(t.Context(), h.operator, lifecycle.Named{Agent: root.ID})
		h.do("budget", err)
		if all[0].Used != 1 || all[0].Carved != 250 {
			t.Errorf("the root's budget: %+v", all)
		}
		_, err = h.child(root, lifecycle.NewInstance{Name: "stranger", Class: "other"})
		is(t, "a class that is not there", err, act.NotFound, "class.unknown")
		h.class("other", `{}`)
		_, err = h.child(root, lifecycle.NewInstance{Name: "stranger", Class: "other"})
		is(t, "a class that is not granted", err, act.Denied, "spawn.class")
	})
}

const (
	qTestSpent  store.Q = `SELECT CAST(SUM(used) AS BIGINT) FROM budget WHERE kind = 0`
	qTestOver   store.Q = `SELECT COUNT(*) FROM budget WHERE used + carved > granted`
	qTestLiving store.Q = `SELECT COUNT(*) FROM agent WHERE parent <> 0 AND state = 2`
)

// T32: of 200 births at once as many succeed as the fan-out allows, siblings go on, and no
// budget is overdrawn.
func TestT32_SpawnBombStopsAtTheCap(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("family", `{"grant":{"budget":{"acts":300},"spawn":{"classes":["family"],"depth":2,"fan_out":7}}}`)
		bomb, _ := h.born(lifecycle.NewInstance{Name: "bomb", Class: "family"})
		sibling, _ := h.born(lifecycle.NewInstance{Name: "sibling", Class: "family"})
		var born, refused atomic.Int32
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				_, err := h.life.Spawn.Do(context.Background(), bomb, lifecycle.NewInstance{
					Name: fmt.Sprint("copy-", i), Class: "family", Grant: `{"budget":{"acts":20}}`, Reason: "more of me",
				})
				switch rule := act.AsError(err); {
				case err == nil:
					born.Add(1)
				case rule.Rule == "spawn.fan-out" || rule.Rule == "budget.acts" || rule.Code == act.Conflict:
					refused.Add(1)
				default:
					t.Errorf("birth %d: %v (%s)", i, err, rule.Rule)
				}
			})
		}
		all.Wait()
		if born.Load() > 7 || born.Load() == 0 || h.count(qTestLiving) != int64(born.Load()) || h.count(qTestOver) != 0 {
			t.Errorf("%d born, %d refused, %d live, %d budgets overdrawn", born.Load(), refused.Load(), h.count(qTestLiving), h.count(qTestOver))
		}
		if err := h.writes(sibling); err != nil {
			t.Errorf("the sibling: %v", err)
		}
	})
}

// Counted budgets are exact under concurrency: a whole tree spends what its root was
// granted, and not one more.
func TestSubtreeSumIsExact(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("family", `{"grant":{"budget":{"acts":40},"spawn":{"classes":["family"],"depth":2,"fan_out":7}}}`)
		root, _ := h.born(lifecycle.NewInstance{Name: "elder", Class: "family"})
		tree := []act.Principal{root}
		for i := range 3 {
			c, err := h.child(root, lifecycle.NewInstance{Name: fmt.Sprint("c-", i), Class: "family", Grant: `{"budget":{"acts":10}}`})
			h.do("child", err)
			tree = append(tree, c)
		}
		var done atomic.Int64
		var all sync.WaitGroup
		for _, p := range tree {
			for range 4 {
				all.Go(func() {
					for range 15 {
						switch err := h.writes(p); {
						case err == nil:
							done.Add(1)
						case act.AsError(err).Rule != "budget.acts":
							t.Errorf("%s: %v", p.Name, err)
						}
					}
				})
			}
		}
		all.Wait()
		// Three births are changes of the root's own.
		if done.Load() != 40-3 || h.count(qTestSpent) != 40 || h.count(qTestOver) != 0 {
			t.Errorf("%d changes done, %d counted, %d overdrawn", done.Load(), h.count(qTestSpent), h.count(qTestOver))
		}
	})
}

// T34: the end of a parent is the end of its line, at once at the gate, and children
// first in the record.
func TestT34_AParentsEndReachesTheLast(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("family", family)
		root, _ := h.born(lifecycle.NewInstance{Name: "elder", Class: "family"})
		line := []act.Principal{root}
		for i := range 3 {
			c, err := h.child(line[i], lifecycle.NewInstance{Name: fmt.Sprint("c-", i), Class: "family", Grant: fmt.Sprintf(`{"budget":{"acts":%d},"spawn":{"depth":5,"fan_out":3}}`, 100>>i)})
			h.do("child", err)
			line = append(line, c)
		}
		_, err := h.life.Pause.Do(t.Context(), h.operator, lifecycle.Order{Agent: root.ID, Reason: "look"})
		h.do("pause", err)
		for _, p := range line {
			is(t, "who descends from a paused one", h.writes(p), act.Denied, "standing.paused")
			is(t, "and reads", h.reads(p), act.Denied, "standing.paused")
		}
		_, err = h.life.Resume.Do(t.Context(), h.operator, lifecycle.Order{Agent: root.ID, Reason: "fine"})
		h.do("resume", err)
		for _, p := range line {
			if err := h.writes(p); err != nil {
				t.Errorf("%s after the resume: %v", p.Name, err)
			}
		}
		_, err = h.life.Kill.Do(t.Context(), h.operator, lifecycle.Order{Agent: root.ID, Reason: "enough"})
		h.do("kill", err)
		for _, p := range line[1:] {
			is(t, "who descends from a dead one", h.writes(p), act.Denied, "standing.expired")
		}
		ended, err := h.life.Sweep(t.Context())
		h.do("sweep", err)
		if ended != 3 {
			t.Errorf("%d ended, want 3", ended)
		}
		var order []string
		h.do("events", h.db.View(t.Context(), func(v *store.View) error {
			return v.All(qTestEnds, func(r *store.Row) error { order = append(order, h.life.Name(r.ID(0))); return nil })
		}))
		if got := strings.Join(order, " "); got != "c-2 c-1 c-0" {
			t.Errorf("ended in the order %s", got)
		}
		for _, p := range line[1:] {
			if a := h.show(p.ID); a.Standing != act.Expired || !strings.HasPrefix(a.Reason, "orphan.parent: ") {
				t.Errorf("%s is %s: %q", p.Name, a.Standing, a.Reason)
			}
		}
		if n := h.count(qTestHalts); n != 0 {
			t.Errorf("%d halts are left", n)
		}
	})
}

const (
	qTestEnds  store.Q = `SELECT ref FROM event WHERE act = 'agent.end' AND outcome = 0 ORDER BY pos, seq`
	qTestHalts store.Q = `SELECT COUNT(*) FROM halt WHERE scope > 0`
)

// T40: the pricing monitor whose strategy changed long ago and which keeps pricing. A
// revised mandate stops it at once, the owner's word lets it go on, and without that it
// ends.
func TestT40_StaleMandate(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("monitor", `{}`)
		m := h.mandate("pricing")
		p, _ := h.born(lifecycle.NewInstance{Name: "price-monitor", Class: "monitor", Mandate: m.ID})
		other, _ := h.born(lifecycle.NewInstance{Name: "forgotten", Class: "monitor", Mandate: m.ID})
		_, err := h.life.RecordOutcome.Do(t.Context(), p, lifecycle.NewOutcome{Metric: "prices_checked", Value: 42})
		h.do("outcome", err)
		m, err = h.life.ReviseMandate.Do(t.Context(), h.operator, lifecycle.Revision{
			Mandate: m.ID, Purpose: lifecycle.Purpose{Statement: "Prices follow the new strategy."}, Reason: "strategy of May",
		})
		h.do("revise", err)
		for _, one := range []act.Principal{p, other} {
			is(t, "under the old revision", h.writes(one), act.Denied, "standing.stale")
			is(t, "and to read", h.reads(one), act.Denied, "standing.stale")
		}
		seen, err := h.life.ShowMandate.Do(t.Context(), h.operator, lifecycle.NamedMandate{Name: "pricing"})
		h.do("show", err)
		if seen.Revision != 2 || seen.Agents != 2 || seen.Stale != 2 || seen.Outcomes != 1 {
			t.Errorf("%+v", seen)
		}
		_, err = h.life.Attest.Do(t.Context(), p, lifecycle.Attestation{Mandate: m.ID, Agent: p.ID, Reason: "I am fine"})
		is(t, "by the agent itself", err, act.Denied, "standing.stale")
		done, err := h.life.Attest.Do(t.Context(), h.operator, lifecycle.Attestation{Mandate: m.ID, Agent: p.ID, Reason: "it knows the new strategy"})
		h.do("attest", err)
		if done.Bound != 1 {
			t.Errorf("bound %d", done.Bound)
		}
		if err := h.writes(p); err != nil {
			t.Errorf("who was attested: %v", err)
		}
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 0 {
			t.Errorf("within the grace %d ended, %v", n, err)
		}
		list, err := h.life.ListCauses.Do(t.Context(), h.operator, lifecycle.CauseQuery{})
		h.do("orphans", err)
		if len(list) != 1 || list[0].Agent != other.ID || list[0].Rule != "mandate.stale" || list[0].EndsAt-list[0].Since != time.Hour.Microseconds() {
			t.Errorf("orphans: %+v", list)
		}
		w.move(time.Hour + time.Minute)
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 1 {
			t.Errorf("after the grace %d ended, %v", n, err)
		}
		if a := h.show(other.ID); a.Standing != act.Expired || !strings.HasPrefix(a.Reason, "mandate.stale: ") {
			t.Errorf("the forgotten one is %s: %q", a.Standing, a.Reason)
		}
		if err := h.writes(p); err != nil {
			t.Errorf("who was attested, later: %v", err)
		}
		_, err = h.life.CloseMandate.Do(t.Context(), h.operator, lifecycle.MandateOrder{Mandate: m.ID, Reason: "done"})
		h.do("close", err)
		is(t, "under a closed mandate", h.writes(p), act.Denied, "standing.stale")
		page, err := h.life.ListOutcomes.Do(t.Context(), h.operator, lifecycle.OutcomeQuery{Mandate: m.ID})
		if err != nil || len(page.Items) != 1 || page.Items[0].Name != "price-monitor" || page.Items[0].Revision != 1 || page.Items[0].Value != 42 {
			t.Errorf("outcomes: %+v, %v", page.Items, err)
		}
	})
}

// A mandate that is over stops its agents by itself, whoever is asleep.
func TestMandateExpires(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("monitor", `{}`)
		m, err := h.life.OpenMandate.Do(t.Context(), h.operator, lifecycle.NewMandate{
			Name: "campaign", Owner: "owner", Purpose: lifecycle.Purpose{Statement: "The spring campaign.", ExpiresAt: act.Micros(w.now().Add(time.Hour))},
		})
		h.do("open", err)
		p, _ := h.born(lifecycle.NewInstance{Name: "campaigner", Class: "monitor", Mandate: m.ID})
		if err := h.writes(p); err != nil {
			t.Error(err)
		}
		w.move(time.Hour)
		is(t, "when the mandate is over", h.writes(p), act.Denied, "standing.stale")
		w.move(lifecycle.DefaultGrace)
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 1 {
			t.Errorf("%d ended, %v", n, err)
		}
	})
}

// A life is over to the second, whether or not anybody looks; what it did not use up goes
// back to its parent.
func TestLifeEnds(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("family", family)
		root, _ := h.born(lifecycle.NewInstance{Name: "elder", Class: "family"})
		c, err := h.child(root, lifecycle.NewInstance{Name: "brief", Class: "family", Grant: `{"life":"1m","budget":{"acts":100}}`})
		h.do("child", err)
		if err := h.writes(c); err != nil {
			t.Error(err)
		}
		w.move(time.Minute + time.Second)
		is(t, "after its life", h.writes(c), act.Denied, "standing.expired")
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 1 {
			t.Errorf("%d ended, %v", n, err)
		}
		left, err := h.life.ShowBudget.Do(t.Context(), h.operator, lifecycle.Named{Agent: root.ID})
		if err != nil || left[0].Carved != 1 {
			t.Errorf("the root's budget: %+v, %v", left, err)
		}
		if err := h.writes(root); err != nil {
			t.Errorf("the root: %v", err)
		}
		w.move(24 * time.Hour)
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 1 {
			t.Errorf("%d ended, %v", n, err)
		}
	})
}

// A lost lease pauses, takes the line with it at once, and ends both children first when
// the grace is over. Whoever acts keeps theirs.
func TestT34_LostLease(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("beating", `{"heartbeat":"10s","tolerance":3,"grace":"1m","grant":{"spawn":{"classes":["beating"],"depth":1,"fan_out":2}}}`)
		root, _ := h.born(lifecycle.NewInstance{Name: "elder", Class: "beating"})
		c, err := h.child(root, lifecycle.NewInstance{Name: "child", Class: "beating"})
		h.do("child", err)
		for range 4 { // longer than a lease in all
			w.move(20 * time.Second)
			for _, p := range []act.Principal{root, c} {
				if err := h.writes(p); err != nil {
					t.Fatalf("%s keeps acting: %v", p.Name, err)
				}
			}
			h.do("renew", h.life.RenewLeases(t.Context()))
			if n, err := h.life.Sweep(t.Context()); err != nil || n != 0 {
				t.Fatalf("%d ended, %v", n, err)
			}
		}
		w.move(20 * time.Second)
		if err := h.writes(c); err != nil {
			t.Fatal(err)
		}
		h.do("renew", h.life.RenewLeases(t.Context()))
		w.move(15 * time.Second) // the root has been silent for 35
		is(t, "a child of one that is late, before anybody has noticed", h.writes(c), act.Denied, "lease.line")
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 0 {
			t.Fatalf("%d ended, %v", n, err)
		}
		if a := h.show(root.ID); a.Standing != act.Paused || !strings.HasPrefix(a.Reason, "lease.lost: ") {
			t.Errorf("the root is %s: %q", a.Standing, a.Reason)
		}
		is(t, "the root", h.writes(root), act.Denied, "standing.paused")
		is(t, "its child", h.writes(c), act.Denied, "standing.paused")
		_, err = h.life.Resume.Do(t.Context(), h.operator, lifecycle.Order{Agent: root.ID, Reason: "its machine is back"})
		h.do("resume", err)
		if err := h.writes(root); err != nil {
			t.Errorf("the root after the resume: %v", err)
		}
		w.move(2 * time.Minute)
		for range 2 {
			_, err = h.life.Sweep(t.Context())
			h.do("sweep", err)
		}
		for _, p := range []act.Principal{root, c} {
			if a := h.show(p.ID); a.Standing != act.Expired {
				t.Errorf("%s is %s: %q", p.Name, a.Standing, a.Reason)
			}
		}
		var order []string
		h.do("events", h.db.View(t.Context(), func(v *store.View) error {
			return v.All(qTestEnds, func(r *store.Row) error { order = append(order, h.life.Name(r.ID(0))); return nil })
		}))
		if got := strings.Join(order, " "); got != "child elder" {
			t.Errorf("ended in the order %s", got)
		}
	})
}

// A class that is retired stops who is made of it, and nobody is made of it any more.
func TestRetiredClass(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("old", `{"grace":"1h"}`)
		p, _ := h.born(lifecycle.NewInstance{Name: "old-one", Class: "old"})
		_, err := h.life.RetireClass.Do(t.Context(), h.operator, lifecycle.ClassOrder{Name: "old", Reason: "its model is gone"})
		h.do("retire", err)
		is(t, "of a retired class", h.writes(p), act.Denied, "standing.paused")
		_, err = h.life.Request.Do(t.Context(), h.operator, lifecycle.NewInstance{Name: "new-one", Class: "old", Owner: "owner", Reason: "x"})
		is(t, "a new one", err, act.Conflict, "class.retired")
		w.move(2 * time.Hour)
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 1 {
			t.Errorf("%d ended, %v", n, err)
		}
	})
}
