package lifecycle_test

import (
	"errors"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

var errStorage = errors.New("storage is gone")

// steps are the places at which a write can be lost, and the one after which it
// is stored although its answer is lost.
var steps = []struct {
	step   store.Step
	stored bool
}{
	{store.StepBegin, false}, {store.StepStatement, false}, {store.StepCommit, false}, {store.StepCommitted, true},
}

// during calls do while every write fails at the step, and wants Unavailable.
func (h *house) during(t *testing.T, what string, s store.Step, do func() error) {
	t.Helper()
	h.fault.hits.Store(0)
	h.fault.set(s, errStorage)
	err := do()
	h.fault.clear()
	if act.CodeOf(err) != act.Unavailable {
		t.Fatalf("%s with a fault at %s: %v, want unavailable", what, s, err)
	}
	if e := act.AsError(err); e.RetryAfter == 0 || e.Hint == "" {
		t.Errorf("%s: %v says neither when nor how to retry", what, e)
	}
	if h.fault.hits.Load() == 0 {
		t.Fatalf("%s never came to %s", what, s)
	}
}

// T06, T63: each write step × {lost, persisted though an error came back}.
//
//	step                     register                      claim             kill
//	begin, statement, commit nothing; the same code and    requested; retry  active, acts; retry
//	                         name work on retry            claims            kills
//	committed                agent requested, code used,   active, on        killed: writes refused at
//	                         name taken, key unknown to    record; retry     once, reads with the next
//	                         anybody; retry refused;       answers the same  look at the fences; retry
//	                         operator kills it             once more         answers as the first
func TestFaults(t *testing.T) {
	for _, s := range steps {
		t.Run(s.step.String(), func(t *testing.T) {
			each(t, plan{life: lifecycle.Config{ClaimRequired: true}}, func(t *testing.T, h *house) {
				faultyRegister(t, h, s.step, s.stored)
				faultyClaim(t, h, s.step, s.stored)
				faultyKill(t, h, s.step, s.stored)
			})
		})
	}
}

func faultyRegister(t *testing.T, h *house, step store.Step, stored bool) {
	t.Helper()
	in := lifecycle.NewAgent{Name: "nemo", Invite: h.invite("")}
	register := func() error {
		_, err := h.life.Register.Do(t.Context(), stranger, in)
		return err
	}
	h.during(t, "register", step, register)
	if !stored {
		if a, i := h.count(qCount), h.count(qInvitesUsed); a != 0 || i != 0 {
			t.Fatalf("%d agents and %d codes used after a lost write", a, i)
		}
		if err := register(); err != nil {
			t.Fatalf("register again: %v", err)
		}
		return
	}
	if a, i := h.count(qCount), h.count(qInvitesUsed); a != 1 || i != 1 {
		t.Fatalf("%d agents and %d codes used, want 1 and 1", a, i)
	}
	is(t, "register again", register(), act.Denied, "invite.used")
	in.Invite = h.invite("")
	is(t, "register again with a new code", register(), act.Conflict, "agent.name")
	orphan, err := h.life.Show.Do(t.Context(), h.operator, lifecycle.Named{Name: "nemo"})
	if err != nil || orphan.Standing != act.Requested {
		t.Fatalf("%+v, %v, want a requested agent", orphan, err)
	}
	if _, err := h.life.Kill.Do(t.Context(), h.operator, lifecycle.Order{Agent: orphan.ID, Reason: "its answer was lost"}); err != nil {
		t.Fatal(err)
	}
}

func faultyClaim(t *testing.T, h *house, step store.Step, stored bool) {
	t.Helper()
	r := h.register("dory")
	p := h.principal(r.Key)
	var a lifecycle.Agent
	claim := func() (err error) {
		a, err = h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{ClaimToken: r.ClaimToken, Owner: "ann"})
		return err
	}
	h.during(t, "claim", step, claim)
	want, events := act.Requested, int64(0)
	if stored {
		want, events = act.Active, 1
	}
	if got := h.show(p.ID); got.Standing != want || h.count(qEvents, "agent.claim", p.ID) != events {
		t.Fatalf("%+v, want %s", got, want)
	}
	if err := claim(); err != nil || a.Standing != act.Active || a.Epoch != 2 || a.OwnerName != "ann" {
		t.Fatalf("claim again: %+v, %v", a, err)
	}
	if err := h.writes(p); err != nil {
		t.Errorf("writes after the acknowledgement: %v", err)
	}
	if n := h.count(qEvents, "agent.claim", p.ID); n != events+1 {
		t.Errorf("%d claims on record, want %d", n, events+1)
	}
}

func faultyKill(t *testing.T, h *house, step store.Step, stored bool) {
	t.Helper()
	p, r := h.active("shark")
	var a lifecycle.Agent
	kill := func() (err error) {
		a, err = h.life.Kill.Do(t.Context(), h.operator, lifecycle.Order{Agent: p.ID, Reason: "x"})
		return err
	}
	h.during(t, "kill", step, kill)
	if stored {
		if got := h.show(p.ID); got.Standing != act.Killed {
			t.Fatalf("%+v, want killed", got)
		}
		if h.writes(p) == nil {
			t.Error("a write of an agent that is stored as killed")
		}
		eventually(t, "reads are refused without a retry", func() bool {
			err := h.reads(p)
			return err != nil && act.AsError(err).Rule == "standing.killed"
		})
	} else {
		if got := h.show(p.ID); got.Standing != act.Active {
			t.Fatalf("%+v, want active", got)
		}
		if err := errors.Join(h.reads(p), h.writes(p)); err != nil {
			t.Errorf("an agent whose kill was lost: %v", err)
		}
		h.principal(r.Key)
	}
	if err := kill(); err != nil || a.Standing != act.Killed || a.Epoch != 3 {
		t.Fatalf("kill again: %+v, %v", a, err)
	}
	is(t, "reads", h.reads(p), act.Denied, "standing.killed")
	is(t, "writes", h.writes(p), act.Denied, "standing.killed")
	_, err := h.ids.Authenticate(t.Context(), r.Key)
	is(t, "the key", err, act.Unauthenticated, "key.revoked")
}

// T06: when storage is gone a good key is told so, a wrong one is still wrong,
// and a dead agent stays refused.
func TestT06_StorageGone(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		h := open(t, cfg, plan{})
		known, k := h.active("nemo")
		_, fresh := h.active("dory")
		h.ids.Forget([]act.ID{fresh.Agent}) // as if it had never come to this node
		_, dead := h.active("shark")
		if _, err := h.life.Kill.Do(t.Context(), h.operator, lifecycle.Order{Agent: dead.Agent, Reason: "x"}); err != nil {
			t.Fatal(err)
		}
		h.check()
		h.gate.Flush()
		if err := h.db.Close(); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			p, err := h.ids.Authenticate(t.Context(), k.Key)
			if err != nil || p.ID != known.ID {
				t.Fatalf("a key seen before: %+v, %v", p, err)
			}
			for what, err := range map[string]error{"read": h.reads(p), "write": h.writes(p)} {
				if e := act.AsError(err); e == nil || e.Code != act.Unavailable || e.RetryAfter == 0 {
					t.Fatalf("%s: %v, want unavailable with a time", what, err)
				}
			}
			_, err = h.ids.Authenticate(t.Context(), fresh.Key)
			is(t, "a good key not seen before", err, act.Unavailable, "key.unchecked")
			_, err = h.ids.Authenticate(t.Context(), k.Key[:43]+"!")
			is(t, "a wrong key", err, act.Unauthenticated, "key.unknown")
			if _, err = h.ids.Authenticate(t.Context(), dead.Key); err == nil {
				t.Fatal("the key of a dead agent")
			}
			is(t, "a dead agent", h.reads(act.Principal{Kind: act.Agent, ID: dead.Agent}), act.Denied, "standing.killed")
		}
	})
}
