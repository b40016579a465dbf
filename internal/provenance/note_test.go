package provenance

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T64: every segment is put on record once, with its digest, in the transaction that adds
// it; those that were sealed before there was a record of them, too.
func TestT64_SegmentsArePutOnRecord(t *testing.T) {
	sealing(t, func(t *testing.T, db *store.DB, c *clock) {
		r := rand.New(rand.NewPCG(1, 1))
		var readers []act.ID
		var items []act.Ref
		for range 10 {
			a, err := db.Mint(t.Context(), act.KindAgent)
			if err != nil {
				t.Fatal(err)
			}
			readers, items = append(readers, a), append(items, act.Ref{ID: a, Version: 1})
		}
		seal := func(s *Sealer, want int) {
			t.Helper()
			write(t, db, r, readers, items, 25)
			number(t, db)
			if n, err := s.Seal(context.Background()); err != nil || n != want {
				t.Fatalf("%d segments, %v; want %d", n, err, want)
			}
		}
		seal(sealer(t, db, 1000, 10), 2) // an earlier release
		noted := make(map[int64][32]byte)
		var fail error
		s := sealer(t, db, 1000, 10)
		s.note = func(_ *store.Tx, x Sealed) error {
			if fail == nil {
				noted[x.ID] = x.Digest
			}
			return fail
		}
		same := func(want int) {
			t.Helper()
			report, err := Check(context.Background(), db)
			if err != nil || len(report.Problems) > 0 || len(noted) != want {
				t.Fatalf("%+v, %v; %d on record, want %d", report, err, len(noted), want)
			}
			for id, digest := range noted {
				if report.Digests[id] != digest {
					t.Errorf("segment %d has another digest than the record", id)
				}
			}
		}
		if n, err := s.Seal(context.Background()); err != nil || n != 0 {
			t.Fatal(n, err)
		}
		same(2)
		seal(s, 3) // with the rows that were left
		same(5)
		fail = errors.New("the record cannot be written")
		write(t, db, r, readers, items, 10)
		number(t, db)
		before := count(t, db, qTestSegments)
		if _, err := s.Seal(context.Background()); !errors.Is(err, fail) {
			t.Errorf("sealed without a record: %v", err)
		}
		if n := count(t, db, qTestSegments); n != before {
			t.Errorf("%d segments are there, %d were", n, before)
		}
		fail = nil
		seal(s, 3)
		same(8)
	})
}
