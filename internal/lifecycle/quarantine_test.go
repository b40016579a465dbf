package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// orders are an operator's orders about one agent, by name.
func (h *house) orders(agent act.ID) map[string]func() (lifecycle.Agent, error) {
	of := func(do *gate.WriteAct[lifecycle.Order, lifecycle.Agent]) func() (lifecycle.Agent, error) {
		return func() (lifecycle.Agent, error) {
			return do.Do(h.t.Context(), h.operator, lifecycle.Order{Agent: agent, Reason: "drill"})
		}
	}
	return map[string]func() (lifecycle.Agent, error){
		"pause": of(h.life.Pause), "resume": of(h.life.Resume), "quarantine": of(h.life.Quarantine),
		"release": of(h.life.Release), "kill": of(h.life.Kill),
	}
}

// Pause and quarantine do not mask each other: whichever came first, each order
// lifts only what its counterpart has put on, and the agent acts when both are
// lifted. An order that was carried out before changes nothing.
func TestPauseAndQuarantineDoNotMaskEachOther(t *testing.T) {
	type step struct {
		order    string
		standing act.Standing
		beneath  act.Standing
	}
	const none = act.StandingUnknown
	for name, steps := range map[string][]step{
		"alone": {
			{"quarantine", act.Quarantined, act.Active}, {"quarantine", act.Quarantined, act.Active},
			{"release", act.Active, none}, {"release", act.Active, none},
		},
		"pause first": {
			{"pause", act.Paused, none}, {"quarantine", act.Quarantined, act.Paused}, {"release", act.Paused, none},
			{"release", act.Paused, none}, {"resume", act.Active, none},
		},
		"pause while quarantined": {
			{"quarantine", act.Quarantined, act.Active}, {"pause", act.Quarantined, act.Paused}, {"pause", act.Quarantined, act.Paused},
			{"release", act.Paused, none}, {"resume", act.Active, none},
		},
		"resume while quarantined": {
			{"pause", act.Paused, none}, {"quarantine", act.Quarantined, act.Paused}, {"resume", act.Quarantined, act.Active},
			{"resume", act.Quarantined, act.Active}, {"release", act.Active, none},
		},
		"killed while quarantined": {
			{"pause", act.Paused, none}, {"quarantine", act.Quarantined, act.Paused}, {"kill", act.Killed, none}, {"kill", act.Killed, none},
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
				p, _ := h.active("nemo")
				do := h.orders(p.ID)
				before := h.show(p.ID)
				for i, s := range steps {
					got, err := do[s.order]()
					if err != nil || got.Standing != s.standing || got.Beneath != s.beneath {
						t.Fatalf("step %d, %s: %+v, %v, want %s over %s", i, s.order, got, err, s.standing, s.beneath)
					}
					same := got.Standing == before.Standing && got.Beneath == before.Beneath
					if same != (got.Epoch == before.Epoch) || !same && got.Epoch != before.Epoch+1 {
						t.Errorf("step %d, %s: epoch %d after %d", i, s.order, got.Epoch, before.Epoch)
					}
					if shown := h.show(p.ID); shown != got {
						t.Errorf("step %d, %s: shown %+v, answered %+v", i, s.order, shown, got)
					}
					for what, err := range map[string]error{"reads": h.reads(p), "writes": h.writes(p)} {
						if s.standing == act.Active {
							if err != nil {
								t.Errorf("step %d, %s: %s: %v", i, s.order, what, err)
							}
							continue
						}
						is(t, fmt.Sprintf("step %d, %s: %s", i, s.order, what), err, act.Denied, "standing."+s.standing.String())
					}
					before = got
				}
			})
		})
	}
}

// Whom an order of quarantine or release can be about.
func TestQuarantineIsRefused(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		p, r := h.active("nemo")
		unclaimed := h.register("dory")
		do := h.orders(unclaimed.Agent)
		_, err := do["quarantine"]()
		is(t, "quarantine of a requested agent", err, act.Conflict, "standing.requested")
		_, err = do["release"]()
		is(t, "release of a requested agent", err, act.Conflict, "standing.requested")

		_, err = h.life.Quarantine.Do(t.Context(), p, lifecycle.Order{Agent: p.ID, Reason: "x"})
		is(t, "quarantine by an agent", err, act.Denied, "default-deny")
		_, err = h.life.Quarantine.Do(t.Context(), h.operator, lifecycle.Order{Agent: p.ID})
		is(t, "quarantine without a reason", err, act.Invalid, "reason")
		do = h.orders(p.ID)
		if _, err := do["quarantine"](); err != nil {
			t.Fatal(err)
		}
		if _, err := h.ids.Authenticate(t.Context(), r.Key); err != nil {
			t.Errorf("the key of a quarantined agent: %v", err)
		}
		_, err = h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{Agent: p.ID, Owner: "somebody else"})
		is(t, "claim of a quarantined agent", err, act.Conflict, "claim.state")
		_, err = h.life.Release.Do(t.Context(), p, lifecycle.Order{Agent: p.ID, Reason: "let me out"})
		is(t, "release by the agent itself", err, act.Denied, "standing.quarantined")
		if _, err := do["kill"](); err != nil {
			t.Fatal(err)
		}
		_, err = do["quarantine"]()
		is(t, "quarantine of the dead", err, act.Conflict, "standing.killed")
		_, err = do["release"]()
		is(t, "release of the dead", err, act.Conflict, "standing.killed")
		if n := h.count(qEvents, "agent.quarantine", p.ID); n != 1 {
			t.Errorf("%d quarantines on record, want 1", n)
		}
	})
}

// A quarantine holds on every node when it is acknowledged, and so does its end.
func TestQuarantineOnAnotherNode(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf=%t", deaf), func(t *testing.T) {
			a, b := twoNodes(t, deaf)
			p, r := a.active("shark")
			onB := b.principal(r.Key)
			do := a.orders(p.ID)
			for range 3 {
				var load busy
				load.run(func() error { return b.reads(onB) })
				load.run(func() error { return b.writes(onB) })
				load.run(func() error { return a.writes(p) })
				eventually(t, "the agent acts", func() bool { return load.done.Load() > 20 })
				if _, err := do["quarantine"](); err != nil {
					t.Fatal(err)
				}
				load.acked.Store(true)
				is(t, "a read on the other node", b.reads(onB), act.Denied, "standing.quarantined")
				is(t, "a write on the other node", b.writes(onB), act.Denied, "standing.quarantined")
				load.stop.Store(true)
				load.workers.Wait()
				if n := load.late.Load(); n != 0 {
					t.Errorf("%d acts after the acknowledgement", n)
				}
				if _, err := do["release"](); err != nil {
					t.Fatal(err)
				}
				if err := b.writes(onB); err != nil {
					t.Errorf("a released agent on the other node: %v", err)
				}
			}
			a.check()
		})
	}
}

// sudden has something happen in the middle of an agent's act: when policy is asked.
type sudden struct {
	gate.Decider
	then func()
}

func (s sudden) Decide(p act.Principal, q gate.Question) gate.Decision {
	if p.Kind == act.Agent {
		s.then()
	}
	return s.Decider.Decide(p, q)
}

// Policies look at standings, too. Who is stopped between the gate's look and theirs is
// told what has become of them, and not that something is forbidden.
func TestStoppedWhilePolicyIsAsked(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		p, _ := h.active("shark")
		order := lifecycle.Order{Agent: p.ID, Reason: "in the middle"}
		ports := h.ports
		ports.Decider = sudden{h.ports.Decider, func() {
			if _, err := h.life.Pause.Do(context.Background(), h.operator, order); err != nil {
				t.Error(err)
			}
		}}
		for what, try := range map[string]func(act.Principal) error{"a read": h.reads, "a write": h.writes} {
			h.gate.Plug(ports)
			is(t, what, try(p), act.Denied, "standing.paused")
			h.gate.Plug(h.ports)
			if _, err := h.life.Resume.Do(t.Context(), h.operator, order); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Whoever is not meant by an order is not kept from what they do, also not while this node
// has yet to apply it: their acts start again when it has.
func TestBystandersGoOn(t *testing.T) {
	each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
		var load busy
		var failed atomic.Pointer[error]
		for i := range 4 {
			p, _ := h.active(fmt.Sprintf("nemo-%d", i))
			load.run(func() error {
				err := errors.Join(h.writes(p), h.reads(p))
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
				return err
			})
		}
		h.owned("shark", "sharks")
		for range 20 {
			before := load.done.Load()
			h.scoped("pause", owner("sharks"))
			h.scoped("resume", owner("sharks"))
			eventually(t, "they go on", func() bool { return load.done.Load() > before || failed.Load() != nil })
		}
		load.stop.Store(true)
		load.workers.Wait()
		if err := failed.Load(); err != nil {
			t.Error(*err)
		}
	})
}
