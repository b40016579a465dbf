package lifecycle_test

import (
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// T36: a class is stopped with all its versions, a skill with every class that has it, also
// with those that come later; nobody is made of one that is stopped, and the kill of one
// reaches the last child.
func TestT36_ClassesAndSkillsStop(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		skill := "sha256:" + strings.Repeat("ab", 32)
		with := func(spawn string) string {
			return `{"skills":["` + skill + `"],"grant":{"acts":["agent.*"],"life":"24h"` + spawn + `}}`
		}
		h.class("diver", `{"grant":{"acts":["agent.*"],"life":"24h"}}`)
		h.class("angler", with(""))
		one, _ := h.born(lifecycle.NewInstance{Name: "dory", Class: "diver"})
		two, _ := h.born(lifecycle.NewInstance{Name: "marlin", Class: "angler"})
		h.class("diver", with(""))
		three, _ := h.born(lifecycle.NewInstance{Name: "bruce", Class: "diver"})
		h.class("other", `{"grant":{"acts":["agent.*"],"life":"24h"}}`)
		four, _ := h.born(lifecycle.NewInstance{Name: "hank", Class: "other"})
		everybody := []act.Principal{one, two, three, four}
		divers, skilled := lifecycle.ScopeName{Kind: "class", Name: "diver"}, lifecycle.ScopeName{Kind: "skill", Name: skill}
		look := func(what string, stopped ...act.ID) {
			t.Helper()
			for _, p := range everybody {
				err := h.writes(p)
				in := false
				for _, id := range stopped {
					in = in || id == p.ID
				}
				if in {
					is(t, what+": "+p.Name, err, act.Denied, "standing.quarantined")
				} else if err != nil {
					t.Errorf("%s: %s: %v", what, p.Name, err)
				}
			}
		}
		look("nobody is stopped")
		h.scoped("quarantine", divers)
		look("a class", one.ID, three.ID)
		_, err := h.life.Request.Do(t.Context(), h.operator, lifecycle.NewInstance{Name: "late", Class: "diver", Owner: "owner", Reason: "x"})
		is(t, "one of a class that is stopped", err, act.Denied, "halt.birth")
		h.scoped("quarantine", skilled)
		look("a skill beside it", one.ID, two.ID, three.ID)
		h.scoped("release", divers)
		look("a skill", two.ID, three.ID)
		if p, err := h.life.ShowScope.Do(t.Context(), h.operator, skilled); err != nil || p.Agents[act.Quarantined] != 2 || p.Standing != act.Quarantined {
			t.Errorf("a skill shows %+v, %v", p, err)
		}
		h.class("other", with(""))
		look("a version that comes later stops nobody of the one before", two.ID, three.ID)
		h.scoped("release", skilled)
		look("all are let go")
		_, err = h.scope("pause", lifecycle.ScopeName{Kind: "skill", Name: "sha256:" + strings.Repeat("00", 32)})
		is(t, "a skill that nobody has", err, act.NotFound, "scope.skill")
		_, err = h.scope("pause", lifecycle.ScopeName{Kind: "class", Name: "nobody"})
		is(t, "a class that is not there", err, act.NotFound, "class.unknown")

		h.scoped("kill", skilled)
		h.sweep()
		if list := h.listed(); len(list) != 1 || list[0].Ended != 2 || list[0].DoneAt == 0 {
			t.Errorf("after the sweep: %+v", list)
		}
		for _, p := range []act.Principal{two, three} {
			is(t, p.Name, h.writes(p), act.Denied, "standing.killed")
		}
		for _, p := range []act.Principal{one, four} {
			if err := h.writes(p); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
	})
}
