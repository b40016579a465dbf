package provenance

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// Whatever is shown to whom in what order, and however small the memory is:
// at every moment each showing has a row, and after Close the rows add up to
// exactly what was shown.
func TestEveryShowingHasItsRow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		pool := posts(t, db, 40)
		rapid.Check(t, func(rt *rapid.T) {
			tr := New(db, Config{Recheck: allow, Remember: rapid.SampledFrom([]int{1, 8_000, 1 << 20}).Draw(rt, "memory")})
			tr.Start(context.Background())
			readers := []act.Principal{agent(t, db), agent(t, db), agent(t, db)}
			shown := make(map[act.ID]map[act.Ref]int64)
			for _, p := range readers {
				shown[p.ID] = make(map[act.Ref]int64)
			}
			for range rapid.IntRange(1, 8).Draw(rt, "pages") {
				p := rapid.SampledFrom(readers).Draw(rt, "reader")
				x := gate.Exposure{Principal: p, Channel: rapid.SampledFrom([]string{"feed.read", "post.read"}).Draw(rt, "channel")}
				for range rapid.IntRange(1, 12).Draw(rt, "items") {
					it := rapid.SampledFrom(pool).Draw(rt, "item")
					it.Version = rapid.Int64Range(1, 2).Draw(rt, "version")
					x.Items = append(x.Items, it)
				}
				if err := tr.Expose(context.Background(), x); err != nil {
					rt.Fatal(err)
				}
				now := shownTimes(rows(t, db, p.ID))
				for _, it := range x.Items {
					shown[p.ID][it]++
					if now[it] == 0 {
						rt.Fatalf("%v was shown and has no row", it)
					}
				}
			}
			if err := tr.Close(); err != nil {
				rt.Fatal(err)
			}
			for reader, want := range shown {
				got := shownTimes(rows(t, db, reader))
				for it, n := range want {
					if got[it] != n {
						rt.Fatalf("%v: %d on record, shown %d times", it, got[it], n)
					}
				}
				if len(got) != len(want) {
					rt.Fatalf("%d items on record, %d were shown", len(got), len(want))
				}
			}
		})
	})
}
