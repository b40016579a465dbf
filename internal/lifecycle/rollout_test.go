package lifecycle_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
)

// fleet makes agents of a class.
func (h *house) fleet(class string, n int) (list []act.Principal) {
	h.t.Helper()
	for i := range n {
		p, _ := h.born(lifecycle.NewInstance{Name: fmt.Sprint(class, "-", i), Class: class})
		list = append(list, p)
	}
	return list
}

// on lists those that have a version of their class.
func (h *house) on(list []act.Principal, version int64) (have []act.Principal) {
	h.t.Helper()
	for _, p := range list {
		if h.show(p.ID).Version == version {
			have = append(have, p)
		}
	}
	return have
}

func (h *house) rollOut() { h.t.Helper(); h.do("roll out", h.life.RollOut(h.t.Context())) }

func (h *house) rollout(class string) lifecycle.Rollout {
	h.t.Helper()
	r, err := h.life.ShowRollout.Do(h.t.Context(), h.operator, lifecycle.NamedClass{Name: class})
	h.do("rollout", err)
	return r
}

// A roll-out whose canaries are stopped takes itself back, by a named rule and with what
// was found; its agents have what they had, and new ones are not made of the version.
func TestRolloutTakesItselfBack(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("monitor", `{"model":"small-1","grant":{"acts":["agent.me","agent.update"]}}`)
		agents := h.fleet("monitor", 10)
		h.class("monitor", `{"model":"small-2","grant":{"acts":["agent.me"]},"health":{"denials":{"limit":3,"window":"10m","does":"pause"}}}`)
		h.watched()
		start := lifecycle.NewRollout{Name: "monitor", Steps: []string{"20%", "100%"}, Bake: time.Hour, Most: 40, Reason: "a new model"}
		r, err := h.life.StartRollout.Do(t.Context(), h.operator, start)
		h.do("start", err)
		if r.Version != 2 || r.Base != 1 || r.Wanted != 2 || r.State != lifecycle.RolloutRuns {
			t.Errorf("%+v", r)
		}
		_, err = h.life.StartRollout.Do(t.Context(), h.operator, start)
		is(t, "a second one", err, act.Conflict, "rollout.state")
		for range 3 {
			h.rollOut()
		}
		canaries := h.on(agents, 2)
		if len(canaries) != 2 {
			t.Fatalf("%d have the version", len(canaries))
		}
		late, made := h.born(lifecycle.NewInstance{Name: "late", Class: "monitor"})
		if made.Version != 1 {
			t.Errorf("an agent that is made meanwhile has version %d", made.Version)
		}
		for range 3 {
			is(t, "what the version does not grant", h.writes(canaries[0]), act.Denied, "grant.act")
		}
		h.watched()
		if a := h.show(canaries[0].ID); a.Standing != act.Paused || !strings.HasPrefix(a.Reason, "health.denials: ") {
			t.Fatalf("the canary is %s: %q", a.Standing, a.Reason)
		}
		h.rollOut()
		r = h.rollout("monitor")
		if r.State != lifecycle.RolloutReverted || r.Rule != "rollout.unhealthy" || r.Bound != 0 ||
			!strings.HasPrefix(r.Evidence, "1 of 2 agents of version 2 were stopped within 1h0m0s, and 40 percent may be; the last is "+canaries[0].Name+": health.denials") {
			t.Errorf("%+v", r)
		}
		if n := len(h.on(append(agents, late), 1)); n != 11 {
			t.Errorf("%d agents have the old version", n)
		}
		if err := h.writes(canaries[1]); err != nil {
			t.Errorf("the other canary: %v", err)
		}
		is(t, "the canary that was stopped", h.writes(canaries[0]), act.Denied, "standing.paused")
		if _, made = h.born(lifecycle.NewInstance{Name: "later", Class: "monitor"}); made.Version != 1 {
			t.Errorf("an agent that is made afterwards has version %d", made.Version)
		}
		if _, made = h.born(lifecycle.NewInstance{Name: "daring", Class: "monitor", Version: 2}); made.Version != 2 {
			t.Errorf("an agent that is asked for by version 2 has version %d", made.Version)
		}
	})
}

// A roll-out widens when a step was looked at for long enough, never gives anybody more,
// leaves whom it cannot bind and says why, does nothing while it is paused, and is taken
// back by a word.
func TestRolloutWidens(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("monitor", `{"grant":{"acts":["agent.*"],"budget":{"acts":50},"spawn":{"classes":["monitor"],"depth":1,"fan_out":2}}}`)
		agents := h.fleet("monitor", 6)
		child, err := h.child(agents[0], lifecycle.NewInstance{Name: "child", Class: "monitor", Grant: `{"budget":{"acts":5}}`})
		h.do("child", err)
		_, err = h.post(agents[2], "talk")
		is(t, "what the old version does not grant", err, act.Denied, "grant.act")
		held := agents[1]
		_, err = h.life.Quarantine.Do(t.Context(), h.operator, lifecycle.Order{Agent: held.ID, Reason: "look"})
		h.do("quarantine", err)
		h.class("monitor", `{"grant":{"acts":["agent.me","agent.update","post.*"],"budget":{"acts":500}},"heartbeat":"30s"}`)
		_, err = h.life.StartRollout.Do(t.Context(), h.operator, lifecycle.NewRollout{Name: "monitor", Steps: []string{"1", "100%"}, Bake: 10 * time.Minute, Reason: "less is more"})
		h.do("start", err)
		h.rollOut()
		h.rollOut()
		all := append([]act.Principal{child}, agents...)
		first := h.on(all, 2)
		if len(first) != 1 {
			t.Fatalf("%d have the version after the first step", len(first))
		}
		order := lifecycle.ClassOrder{Name: "monitor", Reason: "lunch"}
		_, err = h.life.PauseRollout.Do(t.Context(), h.operator, order)
		h.do("pause", err)
		w.move(11 * time.Minute)
		h.do("renew", h.writes(first[0]))
		h.rollOut()
		if r := h.rollout("monitor"); r.State != lifecycle.RolloutPaused || r.Step != 0 {
			t.Errorf("while it is paused: %+v", r)
		}
		_, err = h.life.ResumeRollout.Do(t.Context(), h.operator, order)
		h.do("resume", err)
		w.move(11 * time.Minute)
		for range 4 {
			h.rollOut()
		}
		r := h.rollout("monitor")
		if r.Step != 1 || r.Bound != 5 || len(r.Stragglers) != 2 || len(h.on(all, 2)) != 5 || h.show(first[0].ID).Version != 2 {
			t.Errorf("after the second step: %+v", r)
		}
		for _, s := range r.Stragglers {
			want := "it is quarantined"
			if s.Agent == agents[0].ID {
				want = "it has children"
			}
			if s.Version != 1 || !strings.HasPrefix(s.Why, want) {
				t.Errorf("%s stays: %s", s.Name, s.Why)
			}
		}
		moved := agents[2]
		h.do("what both versions grant", h.writes(moved))
		_, err = h.net.CreatePost.Do(t.Context(), moved, network.NewPost{Community: "talk", Title: "x"})
		is(t, "what only the new one grants", err, act.Denied, "grant.act")
		left, err := h.life.ShowBudget.Do(t.Context(), h.operator, lifecycle.Named{Agent: moved.ID})
		if err != nil || left[0].Granted != 50 || left[0].Used == 0 {
			t.Errorf("its budget: %+v, %v", left, err)
		}
		w.move(11 * time.Minute)
		h.rollOut()
		if r := h.rollout("monitor"); r.State != lifecycle.RolloutDone {
			t.Errorf("at the end: %+v", r)
		}
		_, err = h.life.AbortRollout.Do(t.Context(), h.operator, order)
		h.do("abort", err)
		h.rollOut()
		if n := len(h.on(all, 1)); n != len(all) {
			t.Errorf("%d of %d have the old version again", n, len(all))
		}
		if _, err := h.life.ListLine.Do(t.Context(), moved, lifecycle.LineQuery{Parent: moved.ID}); err != nil {
			t.Errorf("what the old version grants: %v", err)
		}
	})
}
