package bench

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/provenance/graph"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The record that questions about influence are asked of: a week of pages in sealed
// segments, of a network of so many agents. A unit of scale is a million edges; an edge
// is one thing shown to one agent.
const (
	influenceAgents = 1_600_000
	influenceDays   = 7
	pageItems       = 25
	pagesPerAct     = 8 // pages that are read for each thing that is made
	places          = 40
	recentItems     = 2000
	readersKept     = 64   // who was shown a page lately, of whom most of those who write come
	actsAtOnce      = 2000 // of a transaction
	segmentPages    = 8192
	whyQueries      = 300
	blastQueries    = 60
)

// record is such a record.
type record struct {
	db    *store.DB
	dir   string
	bytes int64 // of its segments
	edges int64
	pages int64
	acts  int64
	made  []act.ID // posts and comments, the oldest first
	found []int64  // the number of the act that made each
}

// made is an act that waits to be stored with others.
type madeItem struct {
	item, actor, source act.ID
}

func worldID(kind act.Kind, n int64) act.ID { return act.ID((1+n)<<22 | int64(kind)<<17) }

// writeRecord makes the record of so many edges, the same each time.
func writeRecord(ctx context.Context, dir string, edges int64, each func(item, reader act.ID, after int64) error, make func(item, actor act.ID, seq int64) error) (*record, error) {
	db, err := store.Open(ctx, store.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	rec := &record{db: db, dir: dir}
	sealer, err := provenance.NewSealer(db, nil)
	if err != nil {
		return rec, err
	}
	w := &recordWriter{record: rec, sealer: sealer, tracer: provenance.New(db, provenance.Config{}), r: rand.New(rand.NewPCG(7, 1)), each: each, make: make} //nolint:gosec // the same world each time
	for i := range int64(places * pageItems) {
		if err := w.act(ctx, worldID(act.KindAgent, i), 0, int(i)%places); err != nil {
			return rec, err
		}
	}
	pages := edges / pageItems
	for p := range pages {
		now := time.Duration(float64(influenceDays*24*time.Hour) * float64(p) / float64(pages))
		if err := w.page(ctx, now); err != nil {
			return rec, err
		}
	}
	if err := w.store(ctx); err != nil {
		return rec, err
	}
	return rec, w.seal(ctx)
}

type recordWriter struct {
	*record
	sealer *provenance.Sealer
	tracer *provenance.Tracer
	r      *rand.Rand
	each   func(item, reader act.ID, after int64) error
	make   func(item, actor act.ID, seq int64) error

	tops    [places][]act.Ref
	waiting []madeItem
	pending []provenance.Exposure
	lately  []provenance.Exposure // pages whose readers may write
	seq     int64
}

// act has an agent make something, of something it was shown or of its own accord.
func (w *recordWriter) act(ctx context.Context, actor, source act.ID, place int) error {
	kind := act.KindPost
	if source != 0 {
		kind = act.KindComment
	}
	item := worldID(kind, int64(len(w.made)))
	w.waiting = append(w.waiting, madeItem{item, actor, source})
	w.seq++
	w.made, w.found, w.acts = append(w.made, item), append(w.found, w.seq), w.acts+1
	top := w.tops[place]
	at := 0
	if len(top) > 0 {
		at = w.r.IntN(min(len(top), 10))
	}
	w.tops[place] = slices.Insert(top, at, act.Ref{ID: item, Version: 1})
	if len(w.tops[place]) > 4*pageItems {
		w.tops[place] = w.tops[place][:2*pageItems]
	}
	if w.make != nil {
		if err := w.make(item, actor, w.seq); err != nil {
			return err
		}
	}
	if len(w.waiting) >= actsAtOnce {
		return w.store(ctx)
	}
	return nil
}

// page shows a page to an agent, and now and then has somebody who was shown one write.
func (w *recordWriter) page(ctx context.Context, now time.Duration) error {
	x := provenance.Exposure{
		AfterSeq: w.seq, Pos: 1<<40 + w.pages, At: 1_790_000_000_000_000 + now.Microseconds(), Channel: "feed.read", Count: 1,
		Reader: worldID(act.KindAgent, w.r.Int64N(influenceAgents)),
	}
	if w.r.IntN(2) == 0 {
		x.Items = slices.Clone(w.tops[w.r.IntN(places)][:pageItems])
	} else {
		for range pageItems {
			at := len(w.made) - 1 - w.r.IntN(min(len(w.made), recentItems))
			x.Items = append(x.Items, act.Ref{ID: w.made[at], Version: 1})
		}
	}
	w.pages++
	w.edges += int64(len(x.Items))
	if w.each != nil {
		for _, it := range x.Items {
			if err := w.each(it.ID, x.Reader, x.AfterSeq); err != nil {
				return err
			}
		}
	}
	w.pending = append(w.pending, x)
	if w.lately = append(w.lately, x); len(w.lately) > readersKept {
		w.lately = w.lately[1:]
	}
	if w.pages%pagesPerAct == 0 {
		by := w.lately[w.r.IntN(len(w.lately))]
		source := act.ID(0)
		if w.r.IntN(3) > 0 {
			source = by.Items[w.r.IntN(len(by.Items))].ID
		}
		if err := w.act(ctx, by.Reader, source, w.r.IntN(places)); err != nil {
			return err
		}
	}
	if len(w.pending) >= segmentPages {
		return w.seal(ctx)
	}
	return nil
}

// store writes the acts that wait.
func (w *recordWriter) store(ctx context.Context) error {
	if len(w.waiting) == 0 {
		return nil
	}
	err := w.db.Write(ctx, func(tx *store.Tx) error {
		for _, m := range w.waiting {
			name := "post.create"
			var edges []gate.Edge
			if m.source != 0 {
				name, edges = "comment.create", []gate.Edge{{From: act.Ref{ID: m.source}, Kind: gate.EdgeReply}}
			}
			ref := act.Ref{ID: m.item, Version: 1}
			if _, err := tx.Event(store.Event{Act: name, Ref: ref, Actor: m.actor, At: tx.Now()}); err != nil {
				return err
			}
			if err := w.tracer.Derive(tx, act.Principal{}, gate.Effects{Out: ref, Edges: edges}); err != nil {
				return err
			}
		}
		return nil
	})
	w.waiting = w.waiting[:0]
	return err
}

func (w *recordWriter) seal(ctx context.Context) error {
	if len(w.pending) == 0 {
		return nil
	}
	n, err := w.sealer.Load(ctx, w.pending)
	w.bytes += n
	w.pending = w.pending[:0]
	return err
}

func (rec *record) data() string {
	return fmt.Sprintf("%d edges on %d pages, %d acts, %d agents, %d days in sealed segments", rec.edges, rec.pages, rec.acts, influenceAgents, influenceDays)
}

// onRecord makes the record of each scale, and asks it.
func (r *runner) onRecord(ctx context.Context, ask func(context.Context, *record, *peerQueries, figure) error) error {
	for n, scale := range r.scales {
		dir := filepath.Join(r.dir, "record-"+strconv.Itoa(scale))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		var peers *peerQueries
		var err error
		if n == 0 { // the peers are asked where they can be waited for
			if peers, err = r.openPeers(ctx); err != nil {
				return err
			}
		}
		r.say("×%d: writing a week of pages", scale)
		rec, err := writeRecord(ctx, dir, int64(scale)*1_000_000, peers.shown(), peers.made())
		if err == nil {
			err = peers.filled(ctx)
		}
		if err == nil {
			err = ask(ctx, rec, peers, figure{DB: dbSQLite, Side: "graph", Scale: scale, Data: rec.data()})
		}
		peers.close()
		if rec != nil {
			err = cmp.Or(err, rec.db.Close())
		}
		if err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// times are how long each of some questions took, in milliseconds.
type times []float64

func (t times) percentile(p float64) float64 {
	s := slices.Sorted(slices.Values(t))
	if len(s) == 0 {
		return 0
	}
	return s[min(len(s)-1, int(p/100*float64(len(s))))]
}

func (t times) figure(f figure, metric string) figure {
	f.Metric = metric
	return f.with(spreadOf(t), "ms", len(t), int64(len(t))).latency(t.percentile(50), t.percentile(99))
}

// timed asks a question.
func timed(ctx context.Context, rec *record, fn func(v *store.View) error) (float64, error) {
	began := time.Now()
	err := rec.db.View(ctx, fn)
	return milliseconds(time.Since(began)), err
}

// scaled is the name of a figure at a scale: query_20m_ms.
func scaled(f figure, what string) string { return fmt.Sprintf("%s_%dm_ms", what, f.Scale) }

// asked is what is picked to ask about: things from all over the week.
func (rec *record) asked(n int) (items []int) {
	r := rand.New(rand.NewPCG(3, 9)) //nolint:gosec // the same questions each time
	for range n {
		items = append(items, r.IntN(len(rec.made)))
	}
	return items
}

const everything = 64 << 30 // bytes: no block leaves memory

// blasts measures the question how far something has spread.
func blasts(r *runner, ctx context.Context) error {
	var sizes, costs []float64
	err := r.onRecord(ctx, func(ctx context.Context, rec *record, peers *peerQueries, f figure) error {
		var cold, warm times
		var heap runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&heap)
		before := heap.HeapAlloc
		var g *graph.Graph
		ask := func(g *graph.Graph, item act.ID) (*graph.Reach, float64, error) {
			var out *graph.Reach
			ms, err := timed(ctx, rec, func(v *store.View) (err error) {
				out, err = g.Forward(v, graph.Start{Items: []act.ID{item}})
				return err
			})
			return out, ms, err
		}
		for range r.reps {
			g = graph.New(everything)
			_, ms, err := ask(g, rec.made[0])
			if err != nil {
				return err
			}
			r.say("×%d: %.0f ms with nothing in memory", f.Scale, ms)
			cold = append(cold, ms)
		}
		runtime.GC()
		runtime.ReadMemStats(&heap)
		var reached, rate []float64
		for _, at := range rec.asked(blastQueries) {
			out, ms, err := ask(g, rec.made[at])
			if err != nil {
				return err
			}
			warm = append(warm, ms)
			reached = append(reached, float64(len(out.Possible.Agents)))
			rate = append(rate, float64(out.Showings)/ms*1000)
		}
		whole, _, err := ask(g, rec.made[0])
		if err != nil {
			return err
		}
		mean := warm.figure(f, scaled(f, "query"))
		sizes, costs = append(sizes, float64(rec.edges)), append(costs, warm.percentile(50))
		if err := r.peerBlast(ctx, rec, peers, f, &mean); err != nil {
			return err
		}
		out := []figure{mean, cold.figure(f, scaled(f, "cold"))}
		for _, one := range []struct {
			metric, unit string
			list         []float64
		}{
			{"reached_agents", "agents", reached}, {"scan_rate", "edges/s", rate},
			{"memory_mb", "MB", []float64{float64(heap.HeapAlloc-before) / 1e6}},
			{"reached_by_the_first", "agents", []float64{float64(len(whole.Possible.Agents))}},
		} {
			f.Metric = one.metric
			out = append(out, f.with(spreadOf(one.list), one.unit, len(one.list), int64(len(one.list))))
		}
		return r.putAll(out...)
	})
	if err != nil {
		return err
	}
	return r.putGrowth(sizes, costs)
}

// whys measures the question why something was done.
func whys(r *runner, ctx context.Context) error {
	var sizes, costs []float64
	err := r.onRecord(ctx, func(ctx context.Context, rec *record, peers *peerQueries, f figure) error {
		g := graph.New(everything)
		if _, err := timed(ctx, rec, g.Refresh); err != nil {
			return err
		}
		var took times
		var nodes []float64
		for _, at := range rec.asked(whyQueries) {
			var out *graph.Slice
			ms, err := timed(ctx, rec, func(v *store.View) (err error) {
				out, err = g.Backward(v, rec.made[at], 0, graph.Bounds{})
				return err
			})
			if err != nil {
				return err
			}
			took, nodes = append(took, ms), append(nodes, float64(out.Nodes))
		}
		sizes, costs = append(sizes, float64(rec.edges)), append(costs, took.percentile(50))
		mean := took.figure(f, scaled(f, "query"))
		if err := r.peerWhy(ctx, rec, peers, f, &mean); err != nil {
			return err
		}
		f.Metric = "answer_nodes"
		return r.putAll(mean, f.with(spreadOf(nodes), "nodes", len(nodes), int64(len(nodes))))
	})
	if err != nil {
		return err
	}
	return r.putGrowth(sizes, costs)
}

// exposures measures what the record of what was shown costs: to keep, and to make while
// feeds are read.
func exposures(r *runner, ctx context.Context) error {
	if err := r.onRecord(ctx, func(_ context.Context, rec *record, _ *peerQueries, f figure) error {
		perDay := float64(rec.bytes) / influenceDays
		var out []figure
		for _, one := range []struct {
			metric, unit string
			value        float64
		}{
			{"bytes_per_exposure", "B", float64(rec.bytes) / float64(rec.edges)},
			{"bytes_per_page", "B", float64(rec.bytes) / float64(rec.pages)},
			{"days_per_gb", "days", 1e9 / perDay},
		} {
			f.Metric = one.metric
			out = append(out, f.with(spreadOf([]float64{one.value}), one.unit, 1, rec.edges))
		}
		return r.putAll(out...)
	}); err != nil {
		return err
	}
	r.scales = []int{1}
	return r.compare(ctx, sizeAt, func(ctx context.Context, st *stage) (list []contest, err error) {
		pages, err := r.capture(ctx, st)
		if err != nil {
			return nil, fmt.Errorf("capture a page: %w", err)
		}
		for _, v := range []variant{fresh, again} {
			list = append(list, contest{
				variant: string(v), data: fmt.Sprintf("%s, page of %d bytes", st.has, len(pages.body)),
				sides: []compared{{governed, ""}, {ungoverned, "ratio_unrecorded"}},
				run: func(ctx context.Context, kind sideKind, profile string) (measure, error) {
					return r.feedSide(ctx, st, kind, v, pages, profile)
				},
			})
		}
		return list, nil
	})
}

func (r *runner) putAll(list ...figure) error {
	for _, f := range list {
		if err := r.press.put(f); err != nil {
			return err
		}
	}
	return nil
}

// putGrowth prints how cost grows with the edges.
func (r *runner) putGrowth(sizes, costs []float64) error {
	e, ok := exponent(sizes, costs)
	if !ok {
		return nil
	}
	f := figure{DB: dbSQLite, Side: "graph", Metric: "growth_exponent", Data: fmt.Sprintf("edges %.0f", sizes)}
	return r.press.put(f.with(spreadOf([]float64{e}), "exponent", 1, int64(len(sizes))))
}
