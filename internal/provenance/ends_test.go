package provenance

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// An end that is in no table and no act of the record is found, in the log, in a
// segment and in a derivation; one that an act was about is not.
func TestEndsThatNeverWere(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ends := func() string {
			t.Helper()
			problems, err := CheckEnds(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(problems, "\n")
		}
		if got := ends(); got != "" {
			t.Errorf("an empty network: %s", got)
		}
		reader, items := mint(t, db, act.KindAgent), posts(t, db, 8)
		witness := func(ids ...act.ID) {
			for _, id := range ids {
				if err := db.Write(t.Context(), func(tx *store.Tx) error {
					_, err := tx.Event(store.Event{Act: "test", Ref: act.Ref{ID: id}, At: tx.Now()})
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		witness(reader)
		for _, it := range items[:7] {
			witness(it.ID)
		}
		write(t, db, rand.New(rand.NewPCG(3, 3)), []act.ID{reader}, items[:7], 9)
		number(t, db)
		if got := ends(); got != "" {
			t.Errorf("ends that acts made: %s", got)
		}
		seal(t, sealer(t, db, 3, 3))
		if got := ends(); got != "" {
			t.Errorf("the same, sealed: %s", got)
		}
		stranger := mint(t, db, act.KindAgent)
		write(t, db, rand.New(rand.NewPCG(3, 4)), []act.ID{stranger}, items[:7], 9)
		number(t, db)
		if got := ends(); !strings.Contains(got, "agent") || strings.Count(got, "\n") != 0 {
			t.Errorf("a reader who never was, in the log: %q", got)
		}
		seal(t, sealer(t, db, 1, 1))
		if got := ends(); !strings.Contains(got, "agent") || strings.Count(got, "\n") != 0 {
			t.Errorf("a reader who never was, in a segment: %q", got)
		}
		witness(stranger)
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			return tx.Batch(qDerivationAdd, int64(1<<40), 0, items[0].ID, 1, items[7].ID, 1, levelExplicit, 1)
		}); err != nil {
			t.Fatal(err)
		}
		if got := ends(); !strings.Contains(got, "post") || !strings.Contains(got, "belongs to no act") {
			t.Errorf("a derivation of nothing: %q", got)
		}
	})
}
