package store_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qSleepPostgres store.Q = `SELECT CAST(pg_sleep(CAST($1 AS BIGINT) * 0.0001) AS TEXT)`
	qNewest        store.Q = `SELECT pos FROM event ORDER BY pos DESC LIMIT 1`
	qOfExposures   store.Q = `SELECT pos, COALESCE(after_seq, -1), agent, at FROM exposure ORDER BY pos`
	qOfEvents      store.Q = `SELECT pos, seq, ref FROM event ORDER BY seq`
)

// linger delays a transaction before its commit by up to 3 ms, so that commits
// come in another order than positions.
func linger(tx *store.Tx, r *rand.Rand) error {
	if tx.Dialect() == store.SQLite {
		return nil
	}
	_, err := tx.One(qSleepPostgres, func(*store.Row) error { return nil }, r.Int64N(30))
	return err
}

// A reader that follows the sequence while many write misses nothing and meets
// no gap. Every writer is shown the newest event, on record, and then acts: the
// showing lies after the event that was shown and before the one it led to.
func TestSequenceReaderMissesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const writers = 8
		each := full(40, 1500)
		var committed atomic.Int64
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				r := rand.New(rand.NewPCG(3, uint64(w)))
				for range each {
					if err := seeAndAct(t.Context(), db, r); err != nil {
						t.Error(err)
						return
					}
					committed.Add(1)
				}
			})
		}
		over := make(chan struct{})
		go func() { all.Wait(); close(over) }()

		var background sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		defer background.Wait()
		defer cancel()
		if db.Dialect() == store.Postgres {
			lease := lead(t, db)
			background.Go(func() {
				for ctx.Err() == nil {
					if _, err := db.SequencePass(ctx, lease); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var last int64
		follow := func() {
			t.Helper()
			var page []store.NumberedEvent
			if err := db.View(t.Context(), func(v *store.View) (err error) { page, err = v.EventsAfter(last, 50); return err }); err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				if e.Seq != last+1 {
					t.Fatalf("event %d follows %d", e.Seq, last)
				}
				last = e.Seq
			}
		}
		until(t, "write everything", func() bool {
			follow()
			select {
			case <-over:
				return true
			default:
				return t.Failed()
			}
		})
		until(t, "read everything", func() bool { follow(); return t.Failed() || last >= committed.Load() })
		if last != int64(writers*each) {
			t.Errorf("the reader saw %d events, %d were written", last, writers*each)
		}
		until(t, "number everything", func() bool {
			var done bool
			if err := db.View(t.Context(), func(v *store.View) (err error) { done, err = v.Numbered(); return err }); err != nil {
				t.Fatal(err)
			}
			return done
		})
		cancel()
		background.Wait()
		number(t, db) // exposures may be waiting though no event is
		causality(t, db, writers*each)
	})
}

// seeAndAct records that a new agent is shown the newest event and then lets it
// act. The exposure keeps the position of what was shown in its time column.
func seeAndAct(ctx context.Context, db *store.DB, r *rand.Rand) error {
	agent, err := db.Mint(ctx, act.KindAgent)
	if err != nil {
		return err
	}
	var newest int64
	if err := db.View(ctx, func(v *store.View) error {
		_, err := v.One(qNewest, func(r *store.Row) error { newest = r.Int(0); return nil })
		return err
	}); err != nil {
		return err
	}
	if err := db.Write(ctx, func(tx *store.Tx) error {
		pos, after, err := tx.Position()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(qLedgerRow, pos, after, agent, newest, []byte{}); err != nil {
			return err
		}
		return linger(tx, r)
	}); err != nil {
		return err
	}
	return db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Event(store.Event{Act: "test.act", Ref: act.Ref{ID: agent}, At: tx.Now()}); err != nil {
			return err
		}
		return linger(tx, r)
	})
}

func causality(t *testing.T, db *store.DB, want int) {
	t.Helper()
	byPos, byRef := map[int64]int64{}, map[act.ID]int64{}
	shown := 0
	if err := db.Snapshot(t.Context(), func(v *store.View) error {
		if err := v.All(qOfEvents, func(r *store.Row) error {
			byPos[r.Int(0)] = r.Int(1)
			byRef[r.ID(2)] = r.Int(1)
			return nil
		}); err != nil {
			return err
		}
		return v.All(qOfExposures, func(r *store.Row) error {
			shown++
			after, led := r.Int(1), byRef[r.ID(2)]
			if what := r.Int(3); what != 0 && byPos[what] > after {
				t.Errorf("exposure %d is after event %d and shows event %d", r.Int(0), after, byPos[what])
			}
			if after < 0 || led <= after {
				t.Errorf("exposure %d is after event %d and led to event %d", r.Int(0), after, led)
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if shown != want {
		t.Errorf("%d exposures, want %d", shown, want)
	}
}

// A sequencer that has fallen behind by more than a batch, in exposures, in
// events or in both, still keeps showings before what they led to and after
// what they show.
func TestSequencerCatchesUp(t *testing.T) {
	const batch = store.SequenceBatch
	for name, fill := range map[string]string{
		"exposures": `INSERT INTO exposure (pos, agent, at, channel, again, count, items, trace)
SELECT nextval('position_seq'), 0, 0, 'fill', 0, 1, '', '' FROM generate_series(1, $1)`,
		"events": `INSERT INTO event (pos, act, ref, version, actor, at)
SELECT nextval('position_seq'), 'fill', 0, 0, 0, 0 FROM generate_series(1, $1)`,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := storetest.Config(t, store.Postgres)
			db := storetest.OpenConfig(t, cfg)
			side := admin(t, cfg)
			r := rand.New(rand.NewPCG(5, 5))
			const rounds = 3
			for range rounds {
				if err := seeAndAct(t.Context(), db, r); err != nil {
					t.Fatal(err)
				}
				sql(t, side, fill, batch+7)
			}
			lease := lead(t, db)
			for passes := 0; ; passes++ {
				n, err := db.SequencePass(t.Context(), lease)
				if err != nil {
					t.Fatal(err)
				}
				if n > batch {
					t.Errorf("a pass numbered %d rows, its bound is %d", n, batch)
				}
				if n < batch { // what a leader takes for the end
					break
				}
			}
			if left := one(t, side, `SELECT (SELECT COUNT(*) FROM event WHERE seq IS NULL) + (SELECT COUNT(*) FROM exposure WHERE after_seq IS NULL)`); left != 0 {
				t.Errorf("%d rows are left without a number", left)
			}
			sql(t, side, `DELETE FROM exposure WHERE channel = 'fill'`)
			causality(t, db, rounds)
			if n, top := one(t, side, `SELECT COUNT(*) FROM event`), one(t, side, `SELECT MAX(seq) FROM event`); n != top {
				t.Errorf("%d events, the last number is %d", n, top)
			}
		})
	}
}
