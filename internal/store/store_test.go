package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qTestInsert store.Q = `INSERT INTO fence (n, kind, id, at) VALUES ($1, $2, $1, $3)`
	qTestCount  store.Q = `SELECT COUNT(*) FROM fence WHERE n = $1`
	qTestAdd    store.Q = `UPDATE fence SET kind = kind + $2 WHERE n = $1`
	qTestKind   store.Q = `SELECT kind FROM fence WHERE n = $1`
)

func count(t *testing.T, db *store.DB, n int64) (c int64) {
	t.Helper()
	err := db.View(context.Background(), func(v *store.View) error {
		_, err := v.One(qTestCount, func(r *store.Row) error { c = r.Int(0); return nil }, n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWriteCommitsOrLeavesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		if err := db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(qTestInsert, 1, 0, tx.Now())
			tx.Add(qTestAdd, 1, 2)
			tx.Add(qTestAdd, 1, 3)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got := count(t, db, 1); got != 1 {
			t.Fatalf("rows of the committed write = %d, want 1", got)
		}
		mine := errors.New("mine")
		if err := db.Write(ctx, func(tx *store.Tx) error {
			if _, err := tx.Exec(qTestInsert, 2, 0, tx.Now()); err != nil {
				return err
			}
			tx.Add(qTestAdd, 1, 100)
			return mine
		}); !errors.Is(err, mine) {
			t.Fatalf("error of the function = %v, want its own", err)
		}
		if got := count(t, db, 2); got != 0 {
			t.Fatalf("rows of the failed write = %d, want 0", got)
		}
		if err := db.Write(ctx, func(*store.Tx) error { panic("boom") }); err == nil {
			t.Fatal("a panic gave no error")
		}
		var kind int64
		if err := db.View(ctx, func(v *store.View) error {
			_, err := v.One(qTestKind, func(r *store.Row) error { kind = r.Int(0); return nil }, 1)
			return err
		}); err != nil || kind != 5 {
			t.Fatalf("counter = %d, %v, want 5", kind, err)
		}
		if err := db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(qTestInsert, 1, 0, tx.Now())
			return err
		}); act.CodeOf(err) != act.Conflict {
			t.Fatalf("duplicate key gave %v, want a conflict", err)
		}
	})
}

func TestEventsAreDenseUnderConcurrency(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		const writers, each = 8, 25
		failed := errors.New("rolled back on purpose")
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					err := db.Write(ctx, func(tx *store.Tx) error {
						id, err := tx.Mint(act.KindPost)
						if err != nil {
							return err
						}
						if _, err := tx.Event(store.Event{Act: "post.create", Ref: act.Ref{ID: id}, At: tx.Now()}); err != nil {
							return err
						}
						if (w+i)%5 == 0 {
							return failed
						}
						return nil
					})
					if err != nil && !errors.Is(err, failed) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		lease, ok, err := db.Lead(ctx, store.SequencerLease)
		if err != nil || !ok {
			t.Fatalf("lead: %v %v", ok, err)
		}
		if _, err := db.SequencePass(ctx, lease); err != nil {
			t.Fatal(err)
		}
		var events []store.NumberedEvent
		if err := db.View(ctx, func(v *store.View) (err error) { events, err = v.EventsAfter(0, 1000); return err }); err != nil {
			t.Fatal(err)
		}
		if want := writers * each * 4 / 5; len(events) != want {
			t.Fatalf("%d events, want %d", len(events), want)
		}
		for i, e := range events {
			if e.Seq != int64(i+1) {
				t.Fatalf("event %d has number %d: not dense", i, e.Seq)
			}
		}
	})
}

// A check that travels with a later statement still stops the commit, also when
// nothing else would have waited for an answer.
func TestSoonStopsTheCommit(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := context.Background()
		refuse := errors.New("refused")
		for name, check := range map[string]struct {
			id     int64
			answer func(*store.Row) error
		}{
			"a row that is refused": {1, func(r *store.Row) error {
				if r == nil {
					return nil
				}
				return refuse
			}},
			"a row that is not there": {99, func(r *store.Row) error {
				if r == nil {
					return refuse
				}
				return nil
			}},
		} {
			_ = db.Write(ctx, func(tx *store.Tx) error { _, err := tx.Exec(qTestInsert, 1, 0, tx.Now()); return err })
			err := db.Write(ctx, func(tx *store.Tx) error {
				if err := tx.Soon(qTestKind, check.answer, check.id); err != nil {
					return err
				}
				return tx.Batch(qTestInsert, 2, 0, tx.Now())
			})
			if !errors.Is(err, refuse) {
				t.Errorf("%s: %v, want the check's error", name, err)
			}
			if count(t, db, 2) != 0 {
				t.Errorf("%s: the write was committed although its check failed", name)
			}
		}
		if err := db.Write(ctx, func(tx *store.Tx) error {
			if err := tx.Soon(qTestKind, func(r *store.Row) error {
				if r == nil {
					return refuse
				}
				return nil
			}, 1); err != nil {
				return err
			}
			return tx.Batch(qTestInsert, 3, 0, tx.Now())
		}); err != nil || count(t, db, 3) != 1 {
			t.Errorf("a check that holds: %v", err)
		}
	})
}
