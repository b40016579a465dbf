package provenance

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// traffic makes pages as a network of many readers has them. Of hot pages (what
// is on top in a place, which changes as posts appear) many readers are shown the
// same; own pages are 25 posts that nobody else has in this order.
func traffic(pages int, hot bool) (list []Exposure) {
	r := rand.New(rand.NewPCG(1, 2))
	const places, readers = 40, 1_600_000
	now := int64(1_790_000_000_000_000)
	id := func(kind act.Kind, at int64) act.ID {
		return act.ID((at/1000-1767225600000)<<22 | int64(kind)<<17 | r.Int64N(1024))
	}
	var tops [places][]act.Ref
	var posts []act.Ref
	for i := range 4000 {
		post := act.Ref{ID: id(act.KindPost, now-int64(4000-i)*7_000_000), Version: 1}
		posts = append(posts, post)
		tops[i%places] = append(tops[i%places], post)
	}
	pos, seq := int64(1_000_000), int64(700_000)
	for len(list) < pages {
		group := 1 + r.IntN(60)
		pos++
		now += int64(group) * 100
		for ord := range group {
			if r.IntN(200) == 0 {
				seq++
				pos++
				post := act.Ref{ID: id(act.KindPost, now), Version: 1}
				posts = append(posts, post)
				p := r.IntN(places)
				tops[p] = slices.Insert(tops[p], r.IntN(10), post)
			}
			x := Exposure{
				AfterSeq: seq, Pos: pos, Ord: int64(ord), At: now, Channel: "feed.read", Count: 1,
				Reader: act.ID(1_000_000<<22 + (r.Int64N(readers) << 32) | 1<<17),
			}
			var trace [16]byte
			for i := range trace {
				trace[i] = byte(r.Uint32())
			}
			x.Trace = hex.EncodeToString(trace[:])
			if hot {
				x.Items = slices.Clone(tops[r.IntN(places)][:25])
			} else {
				for range 25 {
					x.Items = append(x.Items, posts[len(posts)-1-r.IntN(2000)])
				}
			}
			list = append(list, x)
		}
	}
	return list[:pages]
}

// BenchmarkSegment is what a segment costs to make, to read, and to keep.
func BenchmarkSegment(b *testing.B) {
	p, err := newPacker()
	if err != nil {
		b.Fatal(err)
	}
	for name, hot := range map[string]bool{"hot": true, "own": false} {
		pages := traffic(8192, hot)
		s, head, body := sealExposures(pages, p)
		b.Run(name+"/seal", func(b *testing.B) {
			for b.Loop() {
				sealExposures(pages, p)
			}
			b.ReportMetric(float64(len(head)+len(body))/float64(s.items), "bytes/showing")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*s.items), "ns/showing")
		})
		b.Run(name+"/read", func(b *testing.B) {
			for b.Loop() {
				s, err := openSegment(head)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.exposures(body, func(act.ID) bool { return true }, func(Exposure) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*s.items), "ns/showing")
		})
		b.Run(name+"/one", func(b *testing.B) { // one reader's pages
			for b.Loop() {
				s, err := openSegment(head)
				if err != nil || !s.has(pages[77].Reader) {
					b.Fatal(err)
				}
				if err := s.exposures(body, func(r act.ID) bool { return r == pages[77].Reader }, func(Exposure) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
		if t, err := unpack(body); err == nil && testing.Verbose() {
			for i := range t {
				b.Logf("%s column %d: %d bytes plain, %d packed", name, i, len(t[i]), len(p.encoder.EncodeAll(t[i], nil)))
			}
			b.Logf("head %d body %d items %d keys %d", len(head), len(body), s.items, len(s.keys))
		}
	}
}

// BenchmarkExposeWhileSealing is what readers wait for their pages of 25 new items
// to be on record, while nothing is sealed and while the log is sealed as soon as
// it is full.
func BenchmarkExposeWhileSealing(b *testing.B) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		for _, sealing := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/sealing=%v", d, sealing), func(b *testing.B) {
				db := storetest.Open(b, d)
				tr := start(b, db, Config{Every: time.Minute})
				s, err := NewSealer(db, nil)
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				made := 0
				var sealer sync.WaitGroup
				sealer.Go(func() {
					every := time.NewTicker(50 * time.Millisecond)
					defer every.Stop()
					for ctx.Err() == nil {
						if number(b, db); sealing {
							n, err := s.Seal(context.WithoutCancel(ctx))
							if err != nil {
								b.Error(err)
								return
							}
							made += n
						}
						select {
						case <-every.C:
						case <-ctx.Done():
						}
					}
				})
				var mu sync.Mutex
				var waits []time.Duration
				var readers atomic.Int64
				b.SetParallelism(benchReaders)
				b.RunParallel(func(pb *testing.PB) {
					p := act.Principal{Kind: act.Agent, ID: act.ID(readers.Add(1))<<22 | act.ID(act.KindAgent)<<17}
					items := make([]act.Ref, 25)
					var mine []time.Duration
					for n := int64(0); pb.Next(); n++ {
						for i := range items {
							items[i] = act.Ref{ID: act.ID(1<<50 + (25*n+int64(i))<<22), Version: 1}
						}
						from := time.Now()
						if err := tr.Expose(context.Background(), page25(p, items)); err != nil {
							b.Error(err)
							return
						}
						mine = append(mine, time.Since(from))
					}
					mu.Lock()
					defer mu.Unlock()
					waits = append(waits, mine...)
				})
				cancel()
				sealer.Wait()
				slices.Sort(waits)
				b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "p99-ms")
				b.ReportMetric(float64(waits[len(waits)-1].Microseconds())/1000, "max-ms")
				b.ReportMetric(float64(made), "segments")
			})
		}
	}
}
