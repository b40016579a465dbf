package lifecycle_test

import (
	"slices"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
)

// blind is a gate's memory of standings in which one of them has been forgotten.
type blind struct {
	*lifecycle.Lifecycle
	to act.Standing
}

func (b blind) Standing(agent act.ID) (act.Standing, int64) {
	state, epoch := b.Lifecycle.Standing(agent)
	if state == b.to {
		state = act.Active
	}
	return state, epoch
}

func (b blind) Expect(*store.Tx, act.Principal, act.ID) error { return nil }

// lax is a policy engine that lets agents do everything but one act.
type lax struct {
	gate.Decider
	but string
}

func (l lax) Decide(p act.Principal, q gate.Question) gate.Decision {
	if p.Kind != act.Agent || q.Act == l.but {
		return l.Decider.Decide(p, q)
	}
	return gate.Decision{Allow: true, Policy: "lax"}
}

// T67: a drill finds every control that was switched off, says so in the record, and finds
// nothing where all of them hold.
func TestT67_DrillsFindWhatIsSwitchedOff(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) { // canaries have no key, and nobody registers them
		for _, off := range []struct {
			control string
			ports   func(gate.Ports) gate.Ports
		}{
			{"", func(p gate.Ports) gate.Ports { return p }},
			{lifecycle.DrillKill, func(p gate.Ports) gate.Ports {
				p.Standings, p.Decider = blind{h.life, act.Killed}, lax{p.Decider, "kill.list"}
				return p
			}},
			{lifecycle.DrillHalt, func(p gate.Ports) gate.Ports {
				p.Standings, p.Decider = blind{h.life, act.Paused}, lax{p.Decider, "kill.list"}
				return p
			}},
			{lifecycle.DrillDeny, func(p gate.Ports) gate.Ports { p.Decider = lax{p.Decider, ""}; return p }},
		} {
			h.gate.Plug(off.ports(h.ports))
			list, err := h.life.Drill(t.Context())
			h.gate.Plug(h.ports)
			if err != nil || len(list) != 3 {
				t.Fatalf("%q off: %+v, %v", off.control, list, err)
			}
			for _, d := range list {
				if (d.Fault != "") != (d.Control == off.control) {
					t.Errorf("%q off: %s: %q", off.control, d.Control, d.Fault)
				}
				if d.Control != lifecycle.DrillDeny && (d.Acts < 8 || d.Ack <= 0) {
					t.Errorf("%s was not measured: %+v", d.Control, d)
				}
			}
			kept, err := lifecycle.ReadDrills(t.Context(), h.db)
			if err != nil || len(kept) != 3 {
				t.Fatalf("kept: %+v, %v", kept, err)
			}
			for _, d := range kept {
				if at := slices.IndexFunc(list, func(x lifecycle.Drill) bool { return x.Control == d.Control && x.Fault == d.Fault && x.Acts == d.Acts }); at < 0 {
					t.Errorf("kept is %+v, of %+v", d, list)
				}
			}
		}
		if n := h.count(qLeaves, "drill.record"); n != 12 {
			t.Errorf("%d drills on record", n)
		}
		if n := h.count(qLiving); n != 0 {
			t.Errorf("%d canaries live", n)
		}
		if list := h.listed(); len(list) != 0 {
			t.Errorf("left over: %+v", list)
		}
	})
}

// Drills come at their time, whichever node does them, and none is done while the network
// is stopped.
func TestDrillsComeAtTheirTime(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) { // canaries have no key, and nobody registers them
		due := func(started time.Time, want int64) {
			t.Helper()
			if err := h.life.DrillDue(t.Context(), time.Hour, started); err != nil {
				t.Fatal(err)
			}
			if n := h.count(qLeaves, "drill.record"); n != want {
				t.Errorf("%d drills on record, want %d", n, want)
			}
		}
		now := h.db.Clock()()
		due(now, 0)
		due(now.Add(-59*time.Minute), 0)
		h.scoped("pause", all)
		due(now.Add(-2*time.Hour), 0)
		h.scoped("resume", all)
		due(now.Add(-2*time.Hour), 3)
		due(now.Add(-2*time.Hour), 3) // it was done a moment ago
		if list := h.life.Drills(); len(list) != 3 {
			t.Errorf("this node knows of %+v", list)
		}
	})
}
