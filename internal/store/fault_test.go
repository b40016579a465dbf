package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// fault fails one step once, after letting some pass.
type fault struct {
	mu    sync.Mutex
	armed bool
	step  store.Step
	skip  int
}

var errFault = errors.New("injected")

func (f *fault) arm(s store.Step, skip int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.step, f.skip = true, s, skip
}

// disarm reports whether the fault was still waiting.
func (f *fault) disarm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	armed := f.armed
	f.armed = false
	return armed
}

func (f *fault) check(s store.Step) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed || s != f.step {
		return nil
	}
	if f.skip--; f.skip >= 0 {
		return nil
	}
	f.armed = false
	return errFault
}

// TestFailureTable fails every step of a write, alone and among neighbours. A
// row says how many of the acts get an error and how many of those are stored
// all the same; every act that gets no error must be stored.
func TestFailureTable(t *testing.T) {
	const group = 6
	rows := []struct {
		on     store.Dialect
		step   store.Step
		acts   int // written at once
		skip   int // occurrences of the step, among those of the acts, that pass
		failed int
		kept   int // stored although an error came back
	}{
		{store.SQLite, store.StepBegin, 1, 0, 1, 0},
		{store.SQLite, store.StepStatement, 1, 0, 1, 0}, // the exposure
		{store.SQLite, store.StepStatement, 1, 1, 1, 0}, // the event
		{store.SQLite, store.StepStatement, 1, 2, 1, 0}, // the fence
		{store.SQLite, store.StepStatement, 1, 3, 1, 0}, // the counter
		{store.SQLite, store.StepCommit, 1, 0, 1, 0},
		{store.SQLite, store.StepCommitted, 1, 0, 1, 1},

		{store.SQLite, store.StepBegin, group, 0, group, 0},
		{store.SQLite, store.StepStatement, group, 0, 1, 0},             // of the first act
		{store.SQLite, store.StepStatement, group, 4, 1, 0},             // of the second act
		{store.SQLite, store.StepStatement, group, 3*group - 1, 1, 0},   // of the last act
		{store.SQLite, store.StepStatement, group, 3 * group, group, 0}, // of the group's counter
		{store.SQLite, store.StepCommit, group, 0, group, 0},
		{store.SQLite, store.StepCommitted, group, 0, group, group},

		{store.Postgres, store.StepBegin, 1, 0, 1, 0},
		{store.Postgres, store.StepStatement, 1, 0, 1, 0},
		{store.Postgres, store.StepCommit, 1, 0, 1, 0},
		{store.Postgres, store.StepCommitted, 1, 0, 1, 1},

		{store.Postgres, store.StepBegin, group, 2, 1, 0},
		{store.Postgres, store.StepStatement, group, 2, 1, 0},
		{store.Postgres, store.StepCommit, group, 2, 1, 0},
		{store.Postgres, store.StepCommitted, group, 2, 1, 1},
	}
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			var f fault
			cfg := storetest.Config(t, d)
			cfg.Fault = f.check
			l := newLedger(t, storetest.OpenConfig(t, cfg))
			kept := l.check(t)
			for _, row := range rows {
				if row.on != d {
					continue
				}
				name := fmt.Sprintf("%s/%d_acts/after_%d", row.step, row.acts, row.skip)
				t.Run(name, func(t *testing.T) {
					// On PostgreSQL the renewal of the node's lease is a write
					// too and may catch the fault: then the row is played again.
					for try := 0; ; try++ {
						failed := play(t, l, &f, row.step, row.acts, row.skip, row.kept, kept)
						if failed == row.failed {
							break
						}
						if failed != 0 || d == store.SQLite || try == 10 {
							t.Fatalf("%d acts failed, want %d", failed, row.failed)
						}
					}
					// And the store goes on as if nothing had happened.
					if failed := play(t, l, &f, store.StepBegin, 2, 1<<30, 0, kept); failed != 0 {
						t.Fatalf("%d of the next acts failed", failed)
					}
				})
			}
		})
	}
}

// play writes acts at once with one fault, checks what is stored against what
// was stored before and what the row says, and returns how many acts failed.
func play(t *testing.T, l *ledger, f *fault, step store.Step, acts, skip, keptOnError int, stored map[act.ID]bool) (failed int) {
	t.Helper()
	ids, fns := make([]act.ID, acts), make([]func(*store.Tx) error, acts)
	for i := range fns {
		ids[i], fns[i] = l.act(t)
	}
	var errs []error
	if acts == 1 {
		f.arm(step, skip)
		errs = []error{l.db.Write(t.Context(), fns[0])}
	} else {
		if l.db.Dialect() == store.SQLite && step != store.StepStatement {
			skip++ // the write that holds the writer while the group gathers has one of its own
		}
		f.arm(step, skip)
		errs = together(t, l.db, fns...)
	}
	f.disarm()
	now := l.check(t)
	kept := 0
	for i, err := range errs {
		switch {
		case err == nil && !now[ids[i]]:
			t.Errorf("act %d was acknowledged and is not stored", i)
		case err != nil:
			failed++
			if act.CodeOf(err) != act.Unavailable || !errors.Is(err, errFault) || act.AsError(err).RetryAfter <= 0 || act.AsError(err).Hint == "" {
				t.Errorf("act %d: %v, want unavailable with a hint, because of the fault", i, err)
			}
			if now[ids[i]] {
				kept++
			}
		}
		if now[ids[i]] {
			stored[ids[i]] = true
		}
	}
	if failed > 0 && kept != keptOnError {
		t.Errorf("%d acts are stored although an error came back, want %d", kept, keptOnError)
	}
	for id := range stored {
		if !now[id] {
			t.Errorf("act %d was stored and is gone", id)
		}
	}
	if len(now) != len(stored) {
		t.Errorf("%d acts are stored, want %d", len(now), len(stored))
	}
	return failed
}
