package provenance

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const benchReaders = 32 // for each processor

// benchExpose shows pages of 25 to many readers at once; next gives the number
// of the first item of a reader's n-th page.
func benchExpose(b *testing.B, db *store.DB, next func(reader, n int64) int64) {
	tr := start(b, db, Config{Every: time.Minute})
	var readers atomic.Int64
	b.SetParallelism(benchReaders)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		reader := readers.Add(1)
		p := act.Principal{Kind: act.Agent, ID: act.ID(reader)<<22 | act.ID(act.KindAgent)<<17}
		items := make([]act.Ref, 25)
		for n := int64(0); pb.Next(); n++ {
			from := next(reader, n)
			for i := range items {
				items[i] = act.Ref{ID: act.ID(1<<50 + (from+int64(i))<<22), Version: 1}
			}
			if err := tr.Expose(context.Background(), page25(p, items)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pages/s")
}

// BenchmarkExpose is a page of 25 new items, committed.
func BenchmarkExpose(b *testing.B) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		b.Run(d.String(), func(b *testing.B) {
			benchExpose(b, storetest.Open(b, d), func(_, n int64) int64 { return 25 * n })
		})
	}
}

// BenchmarkExposeAgain is a page of 25 that the reader has been shown before.
func BenchmarkExposeAgain(b *testing.B) {
	benchExpose(b, storetest.Open(b, store.SQLite), func(_, n int64) int64 { return 0 })
}

// BenchmarkItems is the coding of a page of 25.
func BenchmarkItems(b *testing.B) {
	items := make([]act.Ref, 25)
	for i := range items {
		items[i] = act.Ref{ID: act.ID(1<<60 - int64(i*i)<<40 + int64(act.KindPost)<<17), Version: 1}
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendItems(buf[:0], items)
	}
	b.ReportMetric(float64(len(buf)), "bytes/page")
}
