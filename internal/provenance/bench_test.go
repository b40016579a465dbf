package provenance

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	before := processor(b)
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
	b.ReportMetric(float64((processor(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// processor is the time this process has had of the processors.
func processor(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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

// BenchmarkMemory is what the memory costs a page of 25, without storage: shown
// first, shown again as it was, and shown in another order.
func BenchmarkMemory(b *testing.B) {
	const readers, pages = 1000, 32
	page := func(n int) (items []act.Ref) {
		for i := range 25 {
			items = append(items, act.Ref{ID: act.ID(1<<50 + (25*n+i)<<22), Version: 1})
		}
		return items
	}
	var all, mixed [pages][]act.Ref
	for n := range pages {
		all[n], mixed[n] = page(n), page(n)
		slices.Reverse(mixed[n])
	}
	long := span(1, 100*readers)
	filled := func() *memory {
		m := newMemory(1 << 30)
		for r := range readers {
			for _, items := range all {
				m.learn(act.ID(r+1)<<22, items)
			}
		}
		return m
	}
	look := func(b *testing.B, m *memory, reader act.ID, items []act.Ref, s *showing) bool {
		s.reader, s.sheet = reader, m.pool.get(items)
		known, ok := m.look(s)
		if !ok {
			b.Fatal("not counted")
		}
		return known
	}
	b.Run("first", func(b *testing.B) {
		var m *memory
		s := showing{}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			at := i % (readers * pages)
			if at == 0 {
				b.StopTimer()
				m = newMemory(1 << 30)
				b.StartTimer()
			}
			if look(b, m, act.ID(at%readers+1)<<22, all[at/readers], &s) {
				b.Fatal("known")
			}
			m.remember(s.reader, s.sheet)
		}
	})
	for name, list := range map[string]*[pages][]act.Ref{"again": &all, "mixed": &mixed} {
		b.Run(name, func(b *testing.B) {
			m, s := filled(), showing{}
			m.maxCounts = 1 << 40
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !look(b, m, act.ID(i%readers+1)<<22, list[i/readers%pages], &s) {
					b.Fatal("not known")
				}
			}
		})
	}
	b.Run("one", func(b *testing.B) { // a post that stood in a feed
		m, s := filled(), showing{}
		m.maxCounts = 1 << 40
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if !look(b, m, act.ID(i%readers+1)<<22, all[i/readers%pages][i%25:i%25+1], &s) {
				b.Fatal("not known")
			}
		}
	})
	b.Run("thread", func(b *testing.B) { // of 50 to 100 items, one of them new
		m, s := newMemory(defaultRemember), showing{}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			at, n := i/50%readers, 50+i%50
			if known := look(b, m, act.ID(i/50/readers+1)<<22, long[at*100:at*100+n], &s); known {
				b.Fatal("known")
			}
			m.remember(s.reader, s.sheet)
		}
	})
}
