package provenance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

// sealing runs a test on both databases with a clock of its own, at noon.
func sealing(t *testing.T, fn func(t *testing.T, db *store.DB, c *clock)) {
	t.Helper()
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		c := &clock{at: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
		cfg.Clock = c.now
		fn(t, storetest.OpenConfig(t, cfg), c)
	})
}

func sealer(t testing.TB, db *store.DB, pages, rows int) *Sealer {
	t.Helper()
	s, err := NewSealer(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.pages, s.rows = pages, rows
	return s
}

// number gives everything its number, which PostgreSQL does after the commit.
func number(t testing.TB, db *store.DB) {
	t.Helper()
	if db.Dialect() == store.SQLite {
		return
	}
	l, ok, err := db.Lead(context.Background(), store.SequencerLease)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	for n := -1; n != 0; {
		if n, err = db.SequencePass(context.Background(), l); err != nil {
			t.Fatal(err)
		}
	}
}

// write puts pages on record, several in one row, and events between them.
func write(t testing.TB, db *store.DB, r *rand.Rand, readers []act.ID, items []act.Ref, rows int) {
	t.Helper()
	for range rows {
		var g group
		for range 1 + r.IntN(4) {
			e := entry{reader: readers[r.IntN(len(readers))], channel: [...]string{"feed.read", "post.read"}[r.IntN(2)], count: 1}
			if r.IntN(4) == 0 {
				e.again, e.count = true, 1+r.Int64N(9)
			}
			if r.IntN(2) == 0 {
				e.trace = fmt.Sprintf("%032x", r.Uint64())
			}
			from := r.IntN(len(items) - 5)
			e.items = AppendItems(nil, items[from:from+1+r.IntN(5)])
			g.add(e)
		}
		if err := db.Write(context.Background(), func(tx *store.Tx) error {
			if r.IntN(3) == 0 {
				if _, err := tx.Event(store.Event{Act: "test", Ref: items[0], At: tx.Now()}); err != nil {
					return err
				}
			}
			return addRow(tx, &g)
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func count(t testing.TB, db *store.DB, q store.Q) (n int64) {
	t.Helper()
	if err := db.View(context.Background(), func(v *store.View) error {
		_, err := v.One(q, func(r *store.Row) error { n = r.Int(0); return nil })
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	qTestRows     store.Q = `SELECT COUNT(*) FROM exposure`
	qTestSegments store.Q = `SELECT COUNT(*) FROM segment`
)

func seal(t testing.TB, s *Sealer) int {
	t.Helper()
	n, err := s.Seal(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func whole(t testing.TB, db *store.DB) Report {
	t.Helper()
	report, err := Check(context.Background(), db)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		t.Errorf("check: %s", p)
	}
	return report
}

func everything(t testing.TB, db *store.DB, readers []act.ID) map[act.ID][]Exposure {
	t.Helper()
	all := make(map[act.ID][]Exposure)
	for _, r := range readers {
		all[r] = rows(t, db, r)
	}
	return all
}

func readersOf(t testing.TB, db *store.DB, n int) (ids []act.ID) {
	ids = append(ids, 0) // the observers
	for range n {
		ids = append(ids, mint(t, db, act.KindAgent))
	}
	return ids
}

// Questions have the same answers before, between and after, while the log gets
// shorter; a closed day is sealed to its last row, the open one in full parts only.
func TestSealedAnswersTheSame(t *testing.T) {
	sealing(t, func(t *testing.T, db *store.DB, c *clock) {
		r := rand.New(rand.NewPCG(1, 1))
		readers, items := readersOf(t, db, 5), posts(t, db, 60)
		write(t, db, r, readers, items, 70)
		number(t, db)
		s := sealer(t, db, 40, 1000)
		before := everything(t, db, readers)
		if n := seal(t, s); n < 2 {
			t.Errorf("%d full parts of about 175 pages were sealed", n)
		}
		if left := count(t, db, qTestRows); left == 0 || left > 40 {
			t.Errorf("%d rows of the open day are left", left)
		}
		if after := everything(t, db, readers); !reflect.DeepEqual(before, after) {
			t.Error("answers differ when a part is sealed")
		}
		c.move(24 * time.Hour)
		seal(t, s)
		if left := count(t, db, qTestRows); left != 0 {
			t.Errorf("%d rows of a closed day are left", left)
		}
		if after := everything(t, db, readers); !reflect.DeepEqual(before, after) {
			t.Error("answers differ when the day is sealed")
		}
		write(t, db, r, readers, items, 5)
		number(t, db)
		if n := seal(t, s); n != 0 {
			t.Errorf("%d parts of an open day were sealed that are not full", n)
		}
		report := whole(t, db)
		if report.Waiting == 0 || report.Segments != count(t, db, qTestSegments) || report.Items < report.Pages {
			t.Errorf("report: %+v", report)
		}
		item := before[readers[1]][0].Items[0].ID
		if err := db.View(t.Context(), func(v *store.View) error {
			x, found, err := Exposed(v, readers[1], item)
			if !found || x.Pos != before[readers[1]][0].Pos {
				t.Errorf("the first exposure is %+v, %v", x, found)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// A segment has rows of one day.
func TestSegmentsEndWithTheDay(t *testing.T) {
	sealing(t, func(t *testing.T, db *store.DB, c *clock) {
		r := rand.New(rand.NewPCG(1, 2))
		readers, items := readersOf(t, db, 2), posts(t, db, 20)
		for range 3 {
			write(t, db, r, readers, items, 4)
			number(t, db)
			c.move(24 * time.Hour)
		}
		if n := seal(t, sealer(t, db, 1000, 1000)); n != 3 {
			t.Errorf("three days are in %d segments", n)
		}
		whole(t, db)
	})
}

// What has no number yet stays, and is sealed behind what was numbered before.
func TestUnnumberedRowsWait(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	c := &clock{at: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	cfg.Clock = c.now
	db := storetest.OpenConfig(t, cfg)
	readers, items := readersOf(t, db, 1), posts(t, db, 20)
	reader := readers[1]

	// The row of the lower position commits last.
	taken, commit, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	page := func(tx *store.Tx, n int) error {
		var g group
		g.add(entry{reader: reader, channel: "feed.read", count: 1, items: AppendItems(nil, items[:n])})
		return addRow(tx, &g)
	}
	release := sync.OnceFunc(func() { close(commit) })
	t.Cleanup(release)
	var once sync.Once
	go func() {
		done <- db.Write(context.Background(), func(tx *store.Tx) error {
			if err := page(tx, 1); err != nil {
				return err
			}
			once.Do(func() { close(taken) })
			<-commit
			return nil
		})
	}()
	<-taken
	if err := db.Write(t.Context(), func(tx *store.Tx) error { return page(tx, 2) }); err != nil {
		t.Fatal(err)
	}
	c.move(24 * time.Hour)
	s := sealer(t, db, 100, 100)
	if n := seal(t, s); n != 0 {
		t.Errorf("%d segments of rows without a number", n)
	}
	number(t, db)
	if n := seal(t, s); n != 1 {
		t.Errorf("%d segments of the row that has a number", n)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := rows(t, db, reader); len(got) != 2 || got[1].AfterSeq != -1 {
		t.Errorf("on record: %+v", got)
	}
	number(t, db)
	between := rows(t, db, reader)
	if n := seal(t, s); n != 1 {
		t.Errorf("%d segments of the late row", n)
	}
	after := rows(t, db, reader)
	if !reflect.DeepEqual(between, after) || len(after) != 2 || after[0].Pos > after[1].Pos {
		t.Errorf("before %+v, after %+v", between, after)
	}
	whole(t, db)
}

// Readers ask while others write and two seal at once: nobody ever misses a page
// that was there, or meets one twice.
func TestSealingUnderReaders(t *testing.T) {
	sealing(t, func(t *testing.T, db *store.DB, _ *clock) {
		r := rand.New(rand.NewPCG(1, 3))
		readers, items := readersOf(t, db, 3), posts(t, db, 30)
		write(t, db, r, readers, items, 60)
		number(t, db)
		ctx, cancel := context.WithCancel(context.Background())
		var work sync.WaitGroup
		for i := range 2 {
			s := sealer(t, db, 10+i, 1000)
			work.Go(func() {
				for ctx.Err() == nil {
					if _, err := s.Seal(context.Background()); err != nil && err != errMoved { //nolint:errorlint // the very one
						t.Errorf("seal: %v", err)
						return
					}
				}
			})
		}
		for _, reader := range readers[:2] {
			work.Go(func() {
				for last := 0; ctx.Err() == nil; {
					met := make(map[[2]int64]bool)
					for _, x := range rows(t, db, reader) {
						if met[[2]int64{x.Pos, x.Ord}] {
							t.Errorf("the page at %d, %d is met twice", x.Pos, x.Ord)
						}
						met[[2]int64{x.Pos, x.Ord}] = true
					}
					if len(met) < last {
						t.Errorf("%d pages, there were %d", len(met), last)
						return
					}
					last = len(met)
				}
			})
		}
		for range 10 {
			write(t, db, r, readers, items, 12)
			number(t, db)
		}
		cancel()
		work.Wait()
		before := everything(t, db, readers)
		seal(t, sealer(t, db, 1, 1))
		if after := everything(t, db, readers); !reflect.DeepEqual(before, after) {
			t.Error("answers differ after the last pass")
		}
		if left := count(t, db, qTestRows); left != 0 {
			t.Errorf("%d rows are left", left)
		}
		whole(t, db)
	})
}

// A transaction that fails, or whose answer is lost, leaves every page on record
// once, and the next pass goes on.
func TestFaultsOfSealing(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		for _, step := range []store.Step{store.StepStatement, store.StepCommit, store.StepCommitted} {
			t.Run(fmt.Sprintf("%s/%v", d, step), func(t *testing.T) {
				cfg := storetest.Config(t, d)
				var mu sync.Mutex
				fail := false
				cfg.Fault = func(s store.Step) error {
					mu.Lock()
					defer mu.Unlock()
					if fail && s == step {
						fail = false
						return fmt.Errorf("on purpose at %v", s)
					}
					return nil
				}
				c := &clock{at: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
				cfg.Clock = c.now
				db := storetest.OpenConfig(t, cfg)
				r := rand.New(rand.NewPCG(1, 4))
				readers, items := readersOf(t, db, 2), posts(t, db, 20)
				write(t, db, r, readers, items, 20)
				number(t, db)
				c.move(24 * time.Hour)
				before := everything(t, db, readers)
				mu.Lock()
				fail = true
				mu.Unlock()
				s := sealer(t, db, 15, 1000)
				if _, err := s.Seal(context.Background()); err == nil {
					t.Error("nobody noticed")
				}
				if after := everything(t, db, readers); !reflect.DeepEqual(before, after) {
					t.Error("answers differ after a failure")
				}
				whole(t, db)
				seal(t, s)
				if after := everything(t, db, readers); !reflect.DeepEqual(before, after) || count(t, db, qTestRows) != 0 {
					t.Error("the next pass did not go on")
				}
				whole(t, db)
			})
		}
	}
}

// A log that an earlier process left off sealing in the middle is sealed by the
// next; any part of any log comes back from its segment as it went in.
func TestSegmentsComeBack(t *testing.T) {
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var pages []Exposure
		var shared [][]act.Ref
		x := Exposure{AfterSeq: rapid.Int64Range(0, 1<<40).Draw(rt, "seq"), Pos: rapid.Int64Range(1, 1<<40).Draw(rt, "pos"), At: rapid.Int64Range(0, 1<<52).Draw(rt, "at")}
		for range rapid.IntRange(1, 40).Draw(rt, "pages") {
			next := drawPage(rt)
			if !next.Again {
				next.Count = 1
			}
			if rapid.IntRange(0, 9).Draw(rt, "odd trace") == 0 {
				next.Trace = rapid.StringN(0, 40, -1).Draw(rt, "text")
			}
			if len(shared) > 0 && rapid.Bool().Draw(rt, "shared") {
				next.Items = rapid.SampledFrom(shared).Draw(rt, "list")
			}
			shared = append(shared, next.Items)
			if rapid.Bool().Draw(rt, "another row") {
				x.AfterSeq += rapid.Int64Range(0, 1<<20).Draw(rt, "events")
				x.Pos += rapid.Int64Range(-5, 1<<20).Draw(rt, "further")
				x.At += rapid.Int64Range(-1000, 1<<30).Draw(rt, "later")
				x.Ord = 0
			} else {
				x.Ord++
			}
			next.AfterSeq, next.Pos, next.At, next.Ord = x.AfterSeq, x.Pos, x.At, x.Ord
			pages = append(pages, next)
		}
		_, head, body := sealExposures(pages, p)
		if err := proveSame(head, body, pages); err != nil {
			rt.Fatal(err)
		}
	})
}

// Whatever is changed in a segment, it is found and never read.
func TestChangedSegmentsAreFound(t *testing.T) {
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	pages := traffic(30, true)
	_, head, body := sealExposures(pages, p)
	for i := range len(head) + len(body) {
		h, b := []byte(string(head)), []byte(string(body))
		if i < len(h) {
			h[i] ^= 1 << (i % 8)
		} else {
			b[i-len(h)] ^= 1 << (i % 8)
		}
		if proveSame(h, b, pages) == nil {
			t.Fatalf("byte %d was changed and nobody noticed", i)
		}
	}
	for n := range head {
		if _, err := openSegment(head[:n]); err == nil {
			t.Fatalf("the first %d bytes of a head are a head", n)
		}
	}
}

// Check names what is wrong with stored segments.
func TestCheckFinds(t *testing.T) {
	wrongs := map[string]struct {
		do   store.Q
		says string
	}{
		"body":    {`UPDATE segment SET body = head WHERE id = 2`, "segment 2: not a segment: its body was changed"},
		"head":    {`UPDATE segment SET head = body WHERE id = 2`, "segment 2: not a segment"},
		"missing": {`DELETE FROM segment WHERE id = 2`, "segments 2 to 2 are missing"},
		"row":     {`UPDATE segment SET pages = pages + 1 WHERE id = 2`, "segment 2: its row says"},
		"twice":   {`INSERT INTO segment SELECT id + 1, kind, first_seq, last_seq, first_at, last_at, pages, items, head, body FROM segment WHERE id = 3`, "stands there twice"},
		"log":     {`INSERT INTO exposure (pos, after_seq, agent, at, channel, again, count, items, trace) VALUES ($1, 0, 0, 0, '', 0, 1, $2, '')`, "is in the log as well"},
	}
	for name, w := range wrongs {
		t.Run(name, func(t *testing.T) {
			sealing(t, func(t *testing.T, db *store.DB, c *clock) {
				r := rand.New(rand.NewPCG(1, 5))
				readers, items := readersOf(t, db, 2), posts(t, db, 20)
				for range 3 {
					write(t, db, r, readers, items, 4)
					number(t, db)
					c.move(24 * time.Hour)
				}
				if n := seal(t, sealer(t, db, 1000, 1000)); n != 3 {
					t.Fatalf("%d segments", n)
				}
				if err := db.Write(t.Context(), func(tx *store.Tx) error {
					var args []any
					if name == "log" {
						args = []any{rows(t, db, readers[1])[0].Pos, AppendItems(nil, items[:1])}
					}
					_, err := tx.Exec(w.do, args...)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				report, err := Check(t.Context(), db)
				if err != nil || !strings.Contains(strings.Join(report.Problems, "\n"), w.says) {
					t.Errorf("found %q, %v; want %q", report.Problems, err, w.says)
				}
			})
		})
	}
}

// Bytes that nobody sealed are refused, or read to something that is sealed the
// same.
func FuzzSegment(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range []int{1, 3, 40} {
		_, head, body := sealExposures(traffic(n, n == 40), p)
		f.Add(head[:len(head)-2*len(digest{})], body)
	}
	f.Fuzz(func(t *testing.T, head, body []byte) {
		// The digests would refuse everything; what is behind them must stand alone.
		s, err := parseHead(append(head[:len(head):len(head)], make([]byte, len(digest{}))...), digest{})
		if err != nil || s.kind != sealedExposures {
			return
		}
		table, err := unpack(body)
		if err != nil {
			return
		}
		items := 0
		_ = s.readExposures(table, everyone, func(x Exposure) error {
			if items += len(x.Items); items > 1<<22 {
				return errFound
			}
			return nil
		})
	})
}
