package store_test

import (
	"slices"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const qTouchedBroken store.Q = `UPDATE event SET touched = $1 WHERE act = 'test.broken'`

// A transaction's caller is told what it touched, counters among it, and so are
// other nodes, in order; what cannot be read touches everything.
func TestTouched(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newCargo(t, db)
		did, err := db.WriteFenced(t.Context(), func(tx *store.Tx) error {
			tx.Add(qTestAdd, cargoCount, 1)
			tx.Touch(5, 7, 5)
			return c.row(1, nil)(tx)
		})
		if want := []act.ID{cargoCount, 5, 7}; err != nil || !slices.Equal(did.Touched, want) {
			t.Errorf("touched %v, %v, want %v", did.Touched, err, want)
		}
		if did, err := db.WriteFenced(t.Context(), noop); len(did.Touched) > 0 || err != nil {
			t.Errorf("a write that touches nothing touched %v, %v", did.Touched, err)
		}
	})
	t.Run("postgres/other_nodes", func(t *testing.T) {
		cfg := storetest.Config(t, store.Postgres)
		db, other := storetest.OpenConfig(t, cfg), storetest.OpenConfig(t, cfg)
		write := func(name string, ids ...act.ID) {
			t.Helper()
			if err := db.Write(t.Context(), func(tx *store.Tx) error {
				tx.Touch(ids...)
				_, err := tx.Event(store.Event{Act: name, Actor: 3, At: tx.Now()})
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		write("test.one", 1<<62, 9)
		write("test.none")
		write("test.broken", 1)
		write("test.all", store.TouchAll)
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(qTouchedBroken, []byte{0, 0xff})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		number(t, db)
		var got []store.Touched
		read := func(db *store.DB) (last int64) {
			t.Helper()
			got = nil
			if err := db.View(t.Context(), func(v *store.View) (err error) {
				last, err = v.TouchedAfter(0, 10, db.Node(), func(x store.Touched) { got = append(got, x) })
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return last
		}
		last := read(other)
		want := []store.Touched{
			{Act: "test.one", Actor: 3, IDs: []act.ID{1 << 62, 9}},
			{Act: "test.broken", Actor: 3, IDs: []act.ID{store.TouchAll}},
			{Act: "test.all", Actor: 3, IDs: []act.ID{store.TouchAll}},
		}
		if last != 4 || !slices.EqualFunc(got, want, func(a, b store.Touched) bool {
			return a.Act == b.Act && a.Actor == b.Actor && slices.Equal(a.IDs, b.IDs)
		}) {
			t.Errorf("up to %d another node hears %+v, want %+v", last, got, want)
		}
		if read(db); len(got) != 1 || got[0].Act != "test.broken" {
			t.Errorf("the node itself hears %+v", got)
		}
	})
}
