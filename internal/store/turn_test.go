package store_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const qTurnCursor store.Q = `INSERT INTO cursor (name, seq, updated_at) VALUES ($1, $2, $3)`

// A transaction that holds several acts has a time for each, and an error of what
// one has put off is found before the next.
func TestTurn(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		var now atomic.Int64
		begin := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		now.Store(begin.UnixMicro())
		cfg.Clock = func() time.Time { return time.UnixMicro(now.Load()).UTC() }
		db := storetest.OpenConfig(t, cfg)
		// Ids can be made in a transaction that takes an hour, if they are reserved.
		if err := db.Reserve(context.Background(), begin.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		var times []int64
		var ids []act.ID
		if err := db.Write(context.Background(), func(tx *store.Tx) error {
			times, ids = nil, nil
			for i := range 3 {
				now.Store(begin.Add(time.Duration(i) * 30 * time.Minute).UnixMicro())
				if _, err := tx.Turn(); err != nil {
					return err
				}
				id, err := tx.Mint(act.KindPost)
				if err != nil {
					return err
				}
				times, ids = append(times, tx.Now()), append(ids, id)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i := range times {
			at := begin.Add(time.Duration(i) * 30 * time.Minute)
			if times[i] != at.UnixMicro() || !ids[i].Time().Equal(at) {
				t.Errorf("turn %d is at %s with the id of %s, want %s", i, act.FromMicros(times[i]), ids[i].Time(), at)
			}
		}
		passed := false
		err := db.Write(context.Background(), func(tx *store.Tx) error {
			for range 2 { // the second breaks the key
				if err := tx.Batch(qTurnCursor, "twice", 1, tx.Now()); err != nil {
					return err
				}
			}
			if _, err := tx.Turn(); err != nil {
				return err
			}
			passed = true
			return nil
		})
		if act.CodeOf(err) != act.Conflict || passed {
			t.Errorf("a turn after an error passed: %t, %v", passed, err)
		}
	})
}
