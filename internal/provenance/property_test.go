package provenance

import (
	"context"
	"maps"
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
			tr := New(db, Config{Recheck: allow, Remember: rapid.SampledFrom([]int{1, 300, 100_000}).Draw(rt, "memory")})
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

// The memory keeps to its bound and forgets the oldest first.
func TestMemoryIsBounded(t *testing.T) {
	const entries = 64 * 20
	m := newMemory(entries)
	known := func(s showing) bool {
		_, known := m.split(s.reader, []act.Ref{{ID: s.item, Version: s.version}}, nil, nil)
		return len(known) == 1
	}
	for i := range 50_000 {
		m.remember(act.ID(i%700)<<22, []act.Ref{{ID: act.ID(i + 1), Version: 1}}) // reader 0 among them: the observers
	}
	held, used := 0, 0
	for i := range m.shelves {
		n := 0
		for _, generation := range []map[act.ID]*table{m.shelves[i].young, m.shelves[i].old} {
			for _, t := range generation {
				n += t.used
			}
		}
		held += n
		if n > 0 {
			used++
		}
	}
	if held > entries || held < entries/2 || used != shelfCount {
		t.Errorf("holds %d showings on %d shelves, want %d at most, half of it at least, and all shelves in use", held, used, entries)
	}
	last := showing{reader: 49_999 % 700 << 22, item: 50_000, version: 1}
	if !known(last) {
		t.Error("the last showing is forgotten")
	}
	if known(showing{reader: 0, item: 1, version: 1}) {
		t.Error("the first showing is remembered")
	}
	if last.version = 2; known(last) {
		t.Error("another version is taken for the one that was shown")
	}
	// A reader that is met again keeps what it was shown, whoever else reads.
	m = newMemory(entries)
	m.remember(1, []act.Ref{{ID: 1, Version: 1}})
	for i := range 10_000 {
		m.remember(act.ID(i%300+2), []act.Ref{{ID: act.ID(i%7 + 1), Version: int64(i)}})
		if !known(showing{1, 1, 1}) {
			t.Fatalf("forgotten after %d others though it was met again", i)
		}
	}
	// One reader alone cannot fill more than a generation: it is forgotten as a
	// whole and recorded anew.
	for i := range 10 * m.keep {
		m.remember(1, []act.Ref{{ID: act.ID(i + 1), Version: 1}})
	}
	if sh := m.shelf(1, 0); sh.entries > m.keep+1 {
		t.Errorf("one reader holds %d showings of a generation of %d", sh.entries, m.keep)
	}
	m = newMemory(entries)
	m.remember(1, []act.Ref{{ID: 1, Version: 1}})
	// With no room for counts an item is as good as new.
	for i := range m.maxCounts {
		m.count(2, "feed.read", []act.Ref{{ID: act.ID(i + 1), Version: 1}}, 1)
	}
	if known(showing{1, 1, 1}) || !m.crowded() {
		t.Error("counts beyond the bound")
	}
	if n := len(m.take(false)); int64(n) != m.maxCounts || m.counts.Load() != 0 || !known(showing{1, 1, 1}) {
		t.Errorf("took %d counts of %d", n, m.maxCounts)
	}
}

// Counts are the same whether they stand in slots, have left them because their
// reader was forgotten, or came through several channels.
func TestCountsSurviveForgetting(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory(rapid.SampledFrom([]int{64 * 8, 64 * 64, 1 << 16}).Draw(rt, "entries"))
		m.maxCounts = 1 << 30
		want, got := make(map[repeat]int64), make(map[repeat]int64)
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			reader := act.ID(rapid.IntRange(0, 5).Draw(rt, "reader"))
			var items []act.Ref
			for range rapid.IntRange(1, 30).Draw(rt, "items") {
				items = append(items, act.Ref{ID: act.ID(rapid.IntRange(1, 40).Draw(rt, "item")), Version: int64(rapid.IntRange(0, 2).Draw(rt, "version"))})
			}
			channel := rapid.SampledFrom([]string{"feed.read", "post.read"}).Draw(rt, "channel")
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				m.remember(reader, items)
			case 1:
				for r, n := range m.take(false) {
					got[r] += n
				}
			default:
				if !m.count(reader, channel, items, 2) {
					rt.Fatal("not counted")
				}
				for _, it := range items {
					want[repeat{showing{reader, it.ID, it.Version}, channel}] += 2
				}
			}
		}
		for r, n := range m.take(true) {
			got[r] += n
		}
		if !maps.Equal(got, want) || m.counts.Load() != 0 {
			rt.Fatalf("counted %d kinds, want %d; %d counts left over", len(got), len(want), m.counts.Load())
		}
	})
}
