package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qDrawRow  store.Q = `INSERT INTO fence (n, kind, id, at) VALUES (1000000, 0, $1, 0)`
	qDraw     store.Q = `UPDATE fence SET kind = kind + $2 WHERE n = $1 AND kind + $2 <= id`
	qDrawMark store.Q = `INSERT INTO fence (n, kind, id, at) VALUES ($1, 0, 0, 0)`
	qDrawn    store.Q = `SELECT (SELECT COUNT(*) FROM fence WHERE n < 1000000), (SELECT kind FROM fence WHERE n = 1000000)`
)

// However acts share transactions, as many draw on a row as it has, and whoever finds
// nothing left leaves nothing behind.
func TestDraw(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const most, asked = 40, 100
		row := act.ID(1_000_000)
		if err := db.Write(t.Context(), func(tx *store.Tx) error { return tx.Batch(qDrawRow, int64(most)) }); err != nil {
			t.Fatal(err)
		}
		errShort := errors.New("nothing is left")
		var short atomic.Int64
		var all sync.WaitGroup
		for i := range asked {
			all.Go(func() {
				do := func(tx *store.Tx) error {
					if err := tx.Draw(qDraw, row, 1, errShort); err != nil {
						return err
					}
					return tx.Batch(qDrawMark, int64(i+1))
				}
				var err error
				if i%4 == 0 {
					err = db.Write(t.Context(), do)
				} else {
					_, err = db.Shared(t.Context(), do)
				}
				switch {
				case errors.Is(err, errShort):
					short.Add(1)
				case err != nil:
					t.Error(err)
				}
			})
		}
		all.Wait()
		var marks, drawn int64
		if err := db.View(t.Context(), func(v *store.View) error {
			_, err := v.One(qDrawn, func(r *store.Row) error { marks, drawn = r.Int(0), r.Int(1); return nil })
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if marks != most || drawn != most || short.Load() != asked-most {
			t.Errorf("%d marks, %d drawn, %d went short", marks, drawn, short.Load())
		}
	})
}
