package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

func unavailable(t testing.TB, what string, err error) {
	t.Helper()
	if act.CodeOf(err) != act.Unavailable {
		t.Errorf("%s: %v, want unavailable", what, err)
	}
}

// A caller that gives up while its write is queued is answered at once, its
// function never runs, and the writer does not wait for it.
func TestQueuedWriteIsLeft(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	l := newLedger(t, db)
	free := hold(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	const writes = 20
	var ran atomic.Int32
	left := make(chan error, writes)
	for range writes {
		go func() { left <- db.Write(ctx, func(*store.Tx) error { ran.Add(1); return nil }) }()
	}
	until(t, "queue the writes", func() bool { return db.QueueDepth() == writes })
	cancel()
	for range writes { // while the writer is still held
		unavailable(t, "a write that was left", soon(t, "answer a write that was left", left))
	}
	free()
	unavailable(t, "a write that had ended before it began", db.Write(ctx, func(*store.Tx) error { ran.Add(1); return nil }))
	id, fn := l.act(t)
	if err := db.Write(t.Context(), fn); err != nil || !l.check(t)[id] {
		t.Errorf("the write behind them: %v", err)
	}
	if n := ran.Load(); n != 0 {
		t.Errorf("%d functions ran after their callers had gone", n)
	}
}

// A deadline bounds the wait, not the work: once the function has begun its
// caller gets the true answer.
func TestRunningWriteIsAnsweredTruly(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	l := newLedger(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	id, fn := l.act(t)
	if err := db.Write(ctx, func(tx *store.Tx) error { cancel(); return fn(tx) }); err != nil {
		t.Errorf("a write whose caller gave up while it ran: %v", err)
	}
	if !l.check(t)[id] {
		t.Error("it is not stored")
	}
}

// Panics and errors of some acts of a group, before and after their statements
// and in the middle of a query, leave their neighbours alone.
func TestPanicsHurtNobodyElse(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		l := newLedger(t, db)
		const acts = 12
		ids, fns := make([]act.ID, acts), make([]func(*store.Tx) error, acts)
		mine := errors.New("mine")
		for i := range fns {
			id, fn := l.act(t)
			ids[i] = id
			fns[i] = func(tx *store.Tx) error {
				if i%4 == 1 {
					panic("before")
				}
				if err := fn(tx); err != nil {
					return err
				}
				switch i % 4 {
				case 2:
					_, _ = tx.One(qLedgerTotal, func(*store.Row) error { panic("in a query") }, l.counter)
				case 3:
					return mine
				}
				return nil
			}
		}
		errs := together(t, db, fns...)
		now := l.check(t)
		for i, err := range errs {
			bad := i%4 != 0
			if (err != nil) != bad || now[ids[i]] == bad {
				t.Errorf("act %d: error %v, stored %v", i, err, now[ids[i]])
			}
			if bad && i%4 != 3 && act.CodeOf(err) != act.Internal {
				t.Errorf("a panic gave %v, want internal", err)
			}
			if i%4 == 3 && !errors.Is(err, mine) {
				t.Errorf("an act's own error came back as %v", err)
			}
		}
	})
}

// Close answers every write, those that are queued and those that come; what
// was acknowledged is stored.
func TestCloseAnswersEverything(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		db, err := store.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		l := newLedger(t, db)
		const writers = 16
		var acked sync.Map
		var all sync.WaitGroup
		begun := make(chan struct{}, writers)
		for range writers {
			all.Go(func() {
				for n := 0; ; n++ {
					id, fn := l.act(t)
					if err := db.Write(context.WithoutCancel(t.Context()), fn); err != nil {
						unavailable(t, "a write of a closing store", err)
						return
					}
					acked.Store(id, true)
					if n == 0 {
						begun <- struct{}{}
					}
				}
			})
		}
		for range writers {
			soon(t, "the first writes", begun)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		done := make(chan struct{})
		go func() { all.Wait(); close(done) }()
		soon(t, "answer every write", done)
		if err := db.Close(); err != nil {
			t.Errorf("close again: %v", err)
		}
		unavailable(t, "a write after the end", db.Write(t.Context(), func(*store.Tx) error { return nil }))
		unavailable(t, "a read after the end", db.Ping(t.Context()))

		l.db = storetest.OpenConfig(t, cfg)
		now := l.check(t)
		acked.Range(func(id, _ any) bool {
			if !now[id.(act.ID)] {
				t.Errorf("act %d was acknowledged and is not stored", id)
			}
			return true
		})
	})
}

// lateContext closes the store between Write's look at it and the queueing.
type lateContext struct {
	context.Context
	once  sync.Once
	close func()
}

func (c *lateContext) Done() <-chan struct{} { c.once.Do(c.close); return nil }

func TestWriteThatRacesCloseIsAnswered(t *testing.T) {
	for range full(8, 200) { // which way it goes is a coin's throw each time
		db := storetest.Open(t, store.SQLite)
		ctx := &lateContext{Context: t.Context(), close: func() {
			if err := db.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}}
		answer := make(chan error, 1)
		go func() { answer <- db.Write(ctx, func(*store.Tx) error { return nil }) }()
		unavailable(t, "a write behind the close", soon(t, "answer the write behind the close", answer))
	}
}

// A database that is opened again goes on with higher numbers, positions and
// ids, even with a clock that is an hour behind.
func TestReopenGoesOn(t *testing.T) {
	cfg := storetest.Config(t, store.SQLite)
	var behind time.Duration
	cfg.Clock = func() time.Time { return time.Now().Add(-behind) }
	db, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger(t, db)
	var lastID act.ID
	var lastPos, lastSeq int64
	for round := range 4 {
		for range 3 {
			id, fn := l.act(t)
			var pos int64
			if err := l.db.Write(t.Context(), func(tx *store.Tx) error {
				if err := fn(tx); err != nil {
					return err
				}
				pos, _, err = tx.Position() // the highest of the transaction, and no row has it
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if id <= lastID || pos <= lastPos {
				t.Errorf("round %d: id %d after %d, position %d after %d", round, id, lastID, pos, lastPos)
			}
			lastID, lastPos = id, pos
		}
		l.check(t)
		if err := l.db.View(t.Context(), func(v *store.View) error {
			seq, err := v.LastSequence()
			if seq != lastSeq+3 && seq != lastSeq+4 { // the counter's own event
				t.Errorf("round %d: last number %d after %d", round, seq, lastSeq)
			}
			lastSeq = seq
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := l.db.Close(); err != nil {
			t.Fatal(err)
		}
		behind += time.Hour
		if l.db, err = store.Open(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.db.Close(); err != nil {
		t.Fatal(err)
	}
}

// Two processes on one directory would hand out the same numbers.
func TestSecondProcessIsRefused(t *testing.T) {
	cfg := storetest.Config(t, store.SQLite)
	db := storetest.OpenConfig(t, cfg)
	if second, err := store.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second open in this process: %v", err)
		_ = second.Close()
	}
	c := start(t, "open", cfg)
	out := c.all(t)
	if len(out) != 1 || !strings.HasPrefix(out[0], "refused") || !strings.Contains(out[0], "in use") {
		t.Errorf("a second process: %q", out)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out := start(t, "open", cfg).all(t); len(out) != 1 || out[0] != "opened" {
		t.Errorf("a second process after the first ended: %q", out)
	}
}

// The directory may be relative and have any name; files are the owner's alone.
func TestDirectoryNames(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"data", "./a b/../c", "what?mode=memory#x", "100%41ü"} {
		for range 2 { // make it, find it again
			db, err := store.Open(t.Context(), store.Config{Dir: dir})
			if err != nil {
				t.Errorf("open %q: %v", dir, err)
				break
			}
			l := newLedger(t, db)
			id, fn := l.act(t)
			if err := db.Write(t.Context(), fn); err != nil || id == 0 {
				t.Errorf("write in %q: %v", dir, err)
			}
			files, err := os.ReadDir(dir)
			if err != nil {
				t.Error(err)
			}
			for _, f := range files {
				if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: mode %v, %v", filepath.Join(dir, f.Name()), info.Mode(), err)
				}
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Whatever fails while the database is opened, Open says so and gives back what
// it had: the child opens with ever more file descriptors until it succeeds.
func TestOpenShortOfDescriptors(t *testing.T) {
	out := start(t, "descriptors", storetest.Config(t, store.SQLite)).all(t)
	if len(out) < 3 || out[len(out)-1] != "opened" {
		t.Fatalf("%d lines, the last ones %q: want some refusals and then success", len(out), out[max(0, len(out)-3):])
	}
	t.Logf("%d times too few descriptors", len(out)-1)
}
