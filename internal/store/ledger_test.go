package store_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The tests write with a small act of their own that uses everything a real one
// does: an id, an event, an exposure row between events, a counter and a fence.

const (
	qLedgerRow   store.Q = `INSERT INTO exposure (pos, after_seq, agent, at, channel, again, count, items, trace) VALUES ($1, $2, $3, $4, 'test', 0, 1, $5, '')`
	qLedgerAdd   store.Q = `UPDATE event SET version = version + $2 WHERE pos = $1`
	qLedgerTotal store.Q = `SELECT version FROM event WHERE pos = $1`
	qLedgerAll   store.Q = `SELECT pos, COALESCE(seq, -1), ref FROM event ORDER BY pos`
	qLedgerShown store.Q = `SELECT pos, COALESCE(after_seq, -1), agent FROM exposure ORDER BY pos`
)

// ledger is a database with a counter that has been counting its acts.
type ledger struct {
	db      *store.DB
	counter act.ID // position of the event whose version counts the acts
}

// newLedger makes the counter's row, which is the first event.
func newLedger(t testing.TB, db *store.DB) *ledger {
	t.Helper()
	l := &ledger{db: db}
	if err := db.Write(t.Context(), func(tx *store.Tx) error {
		pos, err := tx.Event(store.Event{Act: "test.counter", At: tx.Now()})
		l.counter = act.ID(pos)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return l
}

// act returns the function of one act under a new id.
func (l *ledger) act(t testing.TB) (act.ID, func(*store.Tx) error) {
	id, err := l.db.Mint(t.Context(), act.KindPost)
	if err != nil {
		t.Error(err)
	}
	return id, func(tx *store.Tx) error {
		shown, after, err := tx.Position()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(qLedgerRow, shown, after, id, tx.Now(), []byte{}); err != nil {
			return err
		}
		if _, err := tx.Event(store.Event{Act: "test.act", Ref: act.Ref{ID: id}, At: tx.Now()}); err != nil {
			return err
		}
		tx.Add(qLedgerAdd, l.counter, 1)
		tx.Fence(act.KindPost, id)
		return nil
	}
}

// check reads everything back. Events are dense in the order of commits, no
// position was given twice, an exposure lies between the right events, the
// counter equals its rows, fences are dense. It returns the ids that are stored.
func (l *ledger) check(t testing.TB) map[act.ID]bool {
	t.Helper()
	number(t, l.db)
	stored := map[act.ID]bool{}
	var seqs []bool
	given := map[int64]bool{}
	seqOf, shownAt := map[act.ID]int64{}, map[act.ID]int64{}
	var total, fences int64
	err := l.db.Snapshot(t.Context(), func(v *store.View) error {
		err := v.All(qLedgerAll, func(r *store.Row) error {
			pos, seq, id := r.Int(0), r.Int(1), r.ID(2)
			if given[pos] {
				t.Errorf("position %d was given twice", pos)
			}
			given[pos] = true
			for int64(len(seqs)) < seq {
				seqs = append(seqs, false)
			}
			if seq < 1 || seqs[seq-1] {
				t.Errorf("event %d has number %d, which is none or another's", pos, seq)
				return nil
			}
			seqs[seq-1], seqOf[id] = true, seq
			if id != 0 {
				stored[id] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := v.All(qLedgerShown, func(r *store.Row) error {
			if given[r.Int(0)] {
				t.Errorf("position %d was given twice", r.Int(0))
			}
			given[r.Int(0)] = true
			shownAt[r.ID(2)] = r.Int(1)
			return nil
		}); err != nil {
			return err
		}
		_, err = v.One(qLedgerTotal, func(r *store.Row) error { total = r.Int(0); return nil }, l.counter)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, there := range seqs {
		if !there {
			t.Errorf("no event has number %d of %d", i+1, len(seqs))
		}
	}
	for id := range stored {
		if after, ok := shownAt[id]; !ok || after < 0 || after >= seqOf[id] {
			t.Errorf("act %d: its exposure is after %d, its event is %d", id, after, seqOf[id])
		}
	}
	if len(shownAt) != len(stored) || total != int64(len(stored)) {
		t.Errorf("%d acts, %d exposures, counter %d", len(stored), len(shownAt), total)
	}
	last, err := l.db.Fences(t.Context(), 0, func(kind act.Kind, id act.ID) {
		fences++
		if kind != act.KindPost || !stored[id] {
			t.Errorf("a fence of %v %d, which is not stored", kind, id)
		}
	})
	if err != nil || last != fences || fences != int64(len(stored)) {
		t.Errorf("%d acts, %d fences, the last is %d, %v", len(stored), fences, last, err)
	}
	return stored
}

// number runs the sequencer until every event has its number.
func number(t testing.TB, db *store.DB) {
	t.Helper()
	if db.Dialect() == store.SQLite {
		return // the writer has done it
	}
	lease := lead(t, db)
	for {
		n, err := db.SequencePass(t.Context(), lease)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func lead(t testing.TB, db *store.DB) store.Lease {
	t.Helper()
	lease, ok, err := db.Lead(t.Context(), store.SequencerLease)
	if err != nil || !ok {
		t.Fatalf("lead: %v, %v", ok, err)
	}
	return lease
}

// until polls until done is true; it fails the test after half a minute.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after 30 s", what)
		case <-tick.C:
		}
	}
}

// soon receives from c, or fails the test after half a minute.
func soon[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatalf("%s: not after 30 s", what)
	}
	return v
}

// hold keeps SQLite's writer busy: what is written meanwhile becomes one group.
// It returns when the writer is in its hands; free lets it go.
func hold(t testing.TB, db *store.DB) (free func()) {
	t.Helper()
	in, out, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	let := sync.OnceFunc(func() { close(out) })
	t.Cleanup(let) // a test that fails must not hang
	go func() {
		done <- db.Write(context.WithoutCancel(t.Context()), func(*store.Tx) error { close(in); <-out; return nil })
	}()
	soon(t, "hold the writer", in)
	return func() {
		t.Helper()
		let()
		if err := soon(t, "let the writer go", done); err != nil {
			t.Errorf("the write that held the writer: %v", err)
		}
	}
}

// together runs fns as concurrent writes and returns their errors. On SQLite
// they are one group behind the writer's back.
func together(t testing.TB, db *store.DB, fns ...func(*store.Tx) error) []error {
	t.Helper()
	free := func() {}
	if db.Dialect() == store.SQLite {
		free = hold(t, db)
	}
	type answer struct {
		i   int
		err error
	}
	answers := make(chan answer, len(fns))
	for i, fn := range fns {
		go func() { answers <- answer{i, db.Write(context.WithoutCancel(t.Context()), fn)} }()
	}
	if db.Dialect() == store.SQLite {
		until(t, "queue the group", func() bool { return db.QueueDepth() == len(fns) })
	}
	free()
	errs := make([]error, len(fns))
	for range fns {
		a := soon(t, "answer a write", answers)
		errs[a.i] = a.err
	}
	return errs
}

// full returns n, or the full count under REEF_SOAK=1.
func full(n, soak int) int {
	if os.Getenv("REEF_SOAK") == "1" {
		return soak
	}
	return n
}
