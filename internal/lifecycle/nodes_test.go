package lifecycle_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// twoNodes opens two nodes of one network; deaf cuts the second off the bus.
func twoNodes(t *testing.T, deaf bool) (a, b *house) {
	t.Helper()
	cfg := storetest.Config(t, store.Postgres)
	hub := bus.NewLocal()
	life := lifecycle.Config{ClaimRequired: true}
	a = open(t, cfg, plan{hub: hub, life: life})
	b = open(t, cfg, plan{hub: hub, life: life, dir: a.dir, deaf: deaf})
	return a, b
}

// busy lets the agent act on a node until the test says stop. It counts what
// succeeded, and what succeeded although it began after the order had been
// acknowledged.
type busy struct {
	acked, stop atomic.Bool
	done, late  atomic.Int64
	workers     sync.WaitGroup
}

func (b *busy) run(act func() error) {
	b.workers.Go(func() {
		for !b.stop.Load() {
			acked := b.acked.Load()
			if act() == nil {
				b.done.Add(1)
				if acked {
					b.late.Add(1)
				}
			}
		}
	})
}

func TestKillOnAnotherNode(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf=%t", deaf), func(t *testing.T) {
			a, b := twoNodes(t, deaf)
			for round := range 3 {
				p, r := a.active(fmt.Sprintf("shark-%d", round))
				onB := b.principal(r.Key)
				if onB.ID != p.ID || onB.Name != p.Name {
					t.Fatalf("the other node sees %+v", onB)
				}
				var load busy
				load.run(func() error { return b.reads(onB) })
				load.run(func() error { return b.writes(onB) })
				load.run(func() error { return a.reads(p) })
				eventually(t, "the agent acts", func() bool { return load.done.Load() > 20 })
				began := time.Now()
				if _, err := a.life.Kill.Do(t.Context(), a.operator, lifecycle.Order{Agent: p.ID, Reason: "drill"}); err != nil {
					t.Fatal(err)
				}
				load.acked.Store(true)
				is(t, "a read on the other node", b.reads(onB), act.Denied, "standing.killed")
				is(t, "a write on the other node", b.writes(onB), act.Denied, "standing.killed")
				_, err := b.ids.Authenticate(t.Context(), r.Key)
				is(t, "the key on the other node", err, act.Unauthenticated, "key.revoked")
				if d := time.Since(began); d > gate.FreshBound+time.Second {
					t.Errorf("the kill was acknowledged after %s, by the bound and not by the poll", d)
				}
				load.stop.Store(true)
				load.workers.Wait()
				if n := load.late.Load(); n != 0 {
					t.Errorf("%d acts after the acknowledgement", n)
				}
			}
			a.check()
		})
	}
}

// An agent is known on a node that has never heard of it, before and after its
// claim; pause and resume hold on both.
func TestStandingOnAnotherNode(t *testing.T) {
	a, b := twoNodes(t, true)
	r := a.register("nemo")
	if s, _ := b.life.Standing(r.Agent); s != act.StandingUnknown {
		t.Fatalf("the other node has %s before the agent came to it", s)
	}
	p := b.principal(r.Key)
	if err := b.reads(p); err != nil {
		t.Errorf("a new agent on the other node: %v", err)
	}
	is(t, "an unclaimed agent writes", b.writes(p), act.Denied, "unclaimed")
	if _, err := a.life.Claim.Do(t.Context(), a.operator, lifecycle.NewClaim{Agent: p.ID, Owner: "ann"}); err != nil {
		t.Fatal(err)
	}
	if err := b.writes(p); err != nil {
		t.Errorf("a claimed agent writes on the other node: %v", err)
	}
	order := lifecycle.Order{Agent: p.ID, Reason: "x"}
	if _, err := a.life.Pause.Do(t.Context(), a.operator, order); err != nil {
		t.Fatal(err)
	}
	is(t, "a paused agent on the other node", b.reads(p), act.Denied, "standing.paused")
	if _, err := b.life.Resume.Do(t.Context(), b.operator, order); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*house{a, b} {
		if err := h.writes(p); err != nil {
			t.Errorf("a resumed agent: %v", err)
		}
	}
	if b.operator.ID != a.operator.ID {
		t.Errorf("two operators of one name: %d, %d", a.operator.ID, b.operator.ID)
	}

	// An agent that is born active is on every node as soon as it is answered.
	cfg := storetest.Config(t, store.Postgres)
	hub := bus.NewLocal()
	life := lifecycle.Config{Registration: lifecycle.RegistrationOpen, AutoClaim: "dev"}
	c := open(t, cfg, plan{hub: hub, life: life})
	d := open(t, cfg, plan{hub: hub, life: life, dir: c.dir})
	born, err := c.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "dory"})
	if err != nil {
		t.Fatal(err)
	}
	if f := d.life.Facts(born.Agent); f.Standing != act.Active || !f.Claimed || d.life.Name(born.Agent) != "dory" {
		t.Errorf("the other node has %+v", f)
	}
}

// A node that starts later reads every agent there is.
func TestStartReadsAll(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	a := open(t, cfg, plan{life: lifecycle.Config{ClaimRequired: true}})
	p, _ := a.active("nemo")
	q := a.register("dory")
	if _, err := a.life.Pause.Do(t.Context(), a.operator, lifecycle.Order{Agent: p.ID, Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	b := open(t, cfg, plan{dir: a.dir})
	for id, want := range map[act.ID]act.Standing{p.ID: act.Paused, q.Agent: act.Requested} {
		wantFacts := a.life.Facts(id)
		if got := b.life.Facts(id); got != wantFacts || got.Standing != want {
			t.Errorf("the new node has %+v, the old one %+v", got, wantFacts)
		}
	}
}
