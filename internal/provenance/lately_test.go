package provenance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// What is read backwards is the end of the whole history, and nothing is missing of what
// came after the event it says.
func TestT31_ShownLately(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		r := rand.New(rand.NewPCG(31, 4)) //nolint:gosec // a reproducible log
		items, readers := posts(t, db, 60), readersOf(t, db, 4)
		s := sealer(t, db, 40, 40)
		for range 4 {
			write(t, db, r, readers, items, 60)
			number(t, db)
			seal(t, s)
		}
		write(t, db, r, readers, items, 20)
		whole := everything(t, db, readers)
		for _, want := range []int{3, likeShown} {
			of := make(map[act.ID]*glimpse)
			for _, id := range readers {
				of[id] = &glimpse{before: 30, all: make(map[act.ID]bool)}
			}
			if err := db.View(t.Context(), func(v *store.View) error {
				return lately(v, of, func(_ act.ID, g *glimpse) bool { return len(g.last(30, want)) == want })
			}); err != nil {
				t.Fatal(err)
			}
			for id, g := range of {
				if (g.since >= 0) != (want == 3) {
					t.Errorf("%d texts are looked for until event %d", want, g.since)
				}
				var last []act.Ref
				for i := len(whole[id]) - 1; i >= 0; i-- {
					x := whole[id][i]
					for _, ref := range x.Items {
						if x.AfterSeq > g.since && !g.all[ref.ID] {
							t.Fatalf("after event %d it was shown %v as well, by %d", g.since, ref, x.AfterSeq)
						}
						if !x.Again && x.AfterSeq >= 0 && x.AfterSeq < 30 && len(last) < want && !slices.ContainsFunc(last, func(l act.Ref) bool { return l.ID == ref.ID }) {
							last = append(last, ref)
						}
					}
				}
				if got := g.last(30, want); !slices.Equal(got, last) {
					t.Errorf("the last texts before event 30 are %v, want %v", got, last)
				}
			}
		}
	})
}

// A window that is full ends the search, and says from where on it is complete.
func TestShownLatelyIsBounded(t *testing.T) {
	g := glimpse{before: 1 << 40, all: make(map[act.ID]bool)}
	for i := range int64(3 * likeWindow) {
		g.take(&Exposure{AfterSeq: 1<<30 - i, Items: []act.Ref{{ID: act.ID(i<<22 | int64(act.KindPost)<<17)}}})
	}
	if len(g.texts) != likeWindow || !g.full || g.since != 1<<30-likeWindow {
		t.Errorf("%d texts, since %d", len(g.texts), g.since)
	}
}

// BenchmarkLikenessPage is the judging of a page of the record with one text, by the
// segments of what its author and two hundred others were shown before.
func BenchmarkLikenessPage(b *testing.B) {
	for _, segments := range []int{4, 40, 400} {
		b.Run(fmt.Sprint(segments), func(b *testing.B) {
			db := storetest.Open(b, store.SQLite)
			s := sealer(b, db, blockPages, BlockRows)
			author := act.ID(1<<22 | int64(act.KindAgent)<<17)
			seq := int64(0)
			text := func() act.Ref { seq++; return act.Ref{ID: act.ID(seq<<22 | int64(act.KindPost)<<17), Version: 1} }
			l := NewLikenesses(db, func(_ *store.View, ids []act.ID) (map[act.ID]string, error) {
				texts := make(map[act.ID]string, len(ids))
				for _, id := range ids {
					texts[id] = fmt.Sprintf("what is said in %d of common things", id)
				}
				return texts, nil
			})
			for range segments {
				var pages []Exposure
				for i := range 2000 {
					x := Exposure{AfterSeq: seq, Pos: seq, At: seq, Reader: act.ID(int64(i%200+1)<<22 | int64(act.KindAgent)<<17), Channel: "feed.read", Count: 1}
					for range 5 {
						ref := text()
						x.Items = append(x.Items, ref)
						l.recent = append(l.recent, wrote{seq: seq, ref: ref, author: author + 1<<40})
					}
					pages = append(pages, x)
				}
				if _, err := s.Load(context.Background(), pages); err != nil {
					b.Fatal(err)
				}
			}
			l.recent = l.recent[max(0, len(l.recent)-likeRecent):]
			b.ReportAllocs()
			for b.Loop() {
				page := []wrote{{seq: seq + 1, ref: act.Ref{ID: act.ID((seq+1)<<22 | int64(act.KindPost)<<17)}, author: author}}
				if err := db.View(context.Background(), func(v *store.View) error { return l.judgeAll(v, page) }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Labels of agents are found at a start among those of many things, in pages.
func TestLabelsAreLoaded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		l := &Labels{LabelsConfig: LabelsConfig{DB: db}, agents: make(map[act.ID]Taint)}
		if err := l.Load(t.Context()); err != nil || l.any.Load() {
			t.Fatalf("nothing is labelled: %v %v", l.any.Load(), err)
		}
		const agents = taintsLoad + 20
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			for i := range int64(3 * agents) {
				kind := []act.Kind{act.KindAgent, act.KindPost, act.KindPost}[i%3]
				made := Taint{Subject: act.ID((i+1)<<22 | int64(kind)<<17)}
				if err := made.put(tx); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := l.Load(t.Context()); err != nil || len(l.agents) != agents || !l.any.Load() {
			t.Fatalf("%d agents are labelled, want %d (%v)", len(l.agents), agents, err)
		}
	})
}

// BenchmarkRaised is a fence that raises an agent, by how many have labels already.
func BenchmarkRaised(b *testing.B) {
	for _, agents := range []int64{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(agents), func(b *testing.B) {
			db := storetest.Open(b, store.SQLite)
			c := &Labels{LabelsConfig: LabelsConfig{DB: db}, agents: make(map[act.ID]Taint), things: otter.Must(&otter.Options[act.ID, cling]{MaximumSize: 16})}
			if err := db.Write(context.Background(), func(tx *store.Tx) error {
				for i := range agents {
					made := Taint{Subject: act.ID((i+1)<<22 | int64(act.KindAgent)<<17)}
					if err := made.put(tx); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			if err := c.Load(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(began).Microseconds()), "load-µs")
			for i := 0; b.Loop(); i++ {
				if err := c.reload(context.Background(), []act.ID{act.ID((int64(i)%agents+1)<<22 | int64(act.KindAgent)<<17)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
