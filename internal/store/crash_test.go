package store_test

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// TestKilledProcessLosesNothing kills a process that writes as fast as it can,
// 20 times on one database, at random moments. Every write that it acknowledged
// is there, once, and the sequence goes on without a gap. This shows that
// process death loses nothing; TestSyncedBeforeAcknowledged stands for power.
func TestKilledProcessLosesNothing(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		const rounds = 20
		acked := map[act.ID]int{} // by id, the round
		for round := range rounds {
			p := startWriters(t, "write", cfg, 4, 1<<30)
			var kill *time.Timer
			ids, err := p.ids(t, func() { // at the first acknowledgement
				kill = time.AfterFunc(time.Duration(rand.Int64N(int64(full(100, 1000))))*time.Millisecond, func() { _ = p.cmd.Process.Kill() })
			})
			if kill == nil {
				t.Fatalf("round %d: the child acknowledged nothing: %v: %s", round, err, p.err.String())
			}
			kill.Stop()
			if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.Exited() {
				t.Fatalf("round %d: the child was not killed: %v: %s", round, err, p.err.String())
			}
			for _, id := range ids {
				if before, twice := acked[id]; twice {
					t.Errorf("id %d was made in round %d and in round %d", id, before, round)
				}
				acked[id] = round
			}
		}
		db := storetest.OpenConfig(t, cfg)
		number(t, db)
		stored := map[act.ID]bool{}
		last := int64(0)
		if err := db.View(t.Context(), func(v *store.View) error {
			for {
				page, err := v.EventsAfter(last, 1000)
				if err != nil || len(page) == 0 {
					return err
				}
				for _, e := range page {
					if e.Seq != last+1 {
						t.Errorf("event %d follows %d", e.Seq, last)
					}
					if stored[e.Ref.ID] {
						t.Errorf("the act of %d is stored twice", e.Ref.ID)
					}
					last, stored[e.Ref.ID] = e.Seq, true
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		lost := 0
		for id := range acked {
			if !stored[id] {
				lost++
			}
		}
		t.Logf("%d acknowledged, %d stored, %d lost", len(acked), len(stored), lost)
		if lost != 0 || len(acked) < rounds {
			t.Errorf("of %d acknowledged writes %d are lost", len(acked), lost)
		}
		// And it goes on.
		l := newLedger(t, db)
		id, fn := l.act(t)
		if err := db.Write(t.Context(), fn); err != nil || acked[id] != 0 {
			t.Errorf("a write after the crashes: id %d, %v", id, err)
		}
	})
}
