package provenance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const qTestOne store.Q = `SELECT holder FROM node WHERE n = 0`

// allow is a recheck that reads in the transaction and finds nothing wrong.
func allow(tx *store.Tx, _ []act.Principal, _ []error) error {
	_, err := tx.One(qTestOne, func(*store.Row) error { return nil })
	return err
}

// each is a recheck that asks about one agent after the other.
func each(one func(act.Principal) error) func(*store.Tx, []act.Principal, []error) error {
	return func(tx *store.Tx, agents []act.Principal, verdicts []error) error {
		for i, p := range agents {
			verdicts[i] = one(p)
		}
		return allow(tx, nil, nil)
	}
}

// start returns a running tracer; the test ends with its Close.
func start(t testing.TB, db *store.DB, c Config) *Tracer {
	t.Helper()
	if c.Recheck == nil {
		c.Recheck = allow
	}
	tr := New(db, c)
	tr.Start(t.Context())
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return tr
}

func mint(t testing.TB, db *store.DB, kind act.Kind) act.ID {
	t.Helper()
	id, err := db.Mint(context.Background(), kind)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func agent(t testing.TB, db *store.DB) act.Principal {
	return act.Principal{Kind: act.Agent, ID: mint(t, db, act.KindAgent), Epoch: 1}
}

func posts(t testing.TB, db *store.DB, n int) []act.Ref {
	list := make([]act.Ref, n)
	for i := range list {
		list[i] = act.Ref{ID: mint(t, db, act.KindPost), Version: int64(1 + i%3)}
	}
	return list
}

func page25(p act.Principal, items []act.Ref) gate.Exposure {
	return gate.Exposure{Principal: p, Channel: "feed.read", Items: items, Trace: strings.Repeat("0a", 16)}
}

func rows(t testing.TB, db *store.DB, reader act.ID) (list []Exposure) {
	t.Helper()
	if err := db.View(context.Background(), func(v *store.View) error {
		return Exposures(v, reader, func(x Exposure) error { list = append(list, x); return nil })
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// shownTimes adds up how often the rows say each item was shown.
func shownTimes(list []Exposure) map[act.Ref]int64 {
	times := make(map[act.Ref]int64)
	for _, x := range list {
		for _, it := range x.Items {
			times[it] += x.Count
		}
	}
	return times
}

func expose(t testing.TB, tr *Tracer, x gate.Exposure) {
	t.Helper()
	if err := tr.Expose(context.Background(), x); err != nil {
		t.Fatalf("expose: %v", err)
	}
}

// eventually polls until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		pause := time.NewTimer(time.Millisecond)
		<-pause.C
	}
}

func TestRowsEqualWhatWasShown(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		tr := start(t, db, Config{})
		ada, eve := agent(t, db), agent(t, db)
		items := posts(t, db, 30)
		slices.Reverse(items)
		expose(t, tr, page25(ada, items[:25]))
		got := rows(t, db, ada.ID)
		if len(got) != 1 {
			t.Fatalf("%d rows before Expose returned, want 1", len(got))
		}
		x := got[0]
		if !slices.Equal(x.Items, items[:25]) || x.Channel != "feed.read" || x.Again || x.Count != 1 ||
			x.Trace != strings.Repeat("0a", 16) || x.At == 0 || x.Reader != ada.ID {
			t.Errorf("row %+v", x)
		}
		// The next page overlaps: only what is new makes a row.
		expose(t, tr, page25(ada, items[20:]))
		newer := items[3]
		newer.Version++
		expose(t, tr, page25(ada, []act.Ref{items[0], newer}))
		got = rows(t, db, ada.ID)
		if len(got) != 3 || !slices.Equal(got[1].Items, items[25:]) || !slices.Equal(got[2].Items, []act.Ref{newer}) {
			t.Fatalf("rows %+v", got)
		}
		if len(rows(t, db, eve.ID)) != 0 {
			t.Error("eve has rows and was shown nothing")
		}
		expose(t, tr, gate.Exposure{Principal: eve, Channel: "post.read", Items: items[:1], Trace: "\x00\xff not a trace id at all, but 32"})
		if got := rows(t, db, eve.ID); len(got) != 1 || got[0].Trace != "" || got[0].Channel != "post.read" {
			t.Errorf("rows of eve %+v", got)
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		times := shownTimes(rows(t, db, ada.ID))
		for i, it := range items {
			want := int64(1)
			if i == 0 || i >= 20 && i < 25 {
				want = 2
			}
			if times[it] != want {
				t.Errorf("item %d was shown %d times, want %d", i, times[it], want)
			}
		}
		if err := db.View(t.Context(), func(v *store.View) error {
			x, found, err := Exposed(v, ada.ID, items[27].ID)
			if err != nil || !found || x.Pos != got[0].Pos && x.Again {
				t.Errorf("exposed: %+v %v %v", x, found, err)
			}
			if _, found, err = Exposed(v, eve.ID, items[27].ID); err != nil || found {
				t.Errorf("eve was exposed: %v %v", found, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := tr.Expose(t.Context(), page25(ada, items[:1])); act.CodeOf(err) != act.Unavailable {
			t.Errorf("counted after Close: %v", err)
		}
		if err := tr.Expose(t.Context(), page25(eve, items)); act.CodeOf(err) != act.Unavailable {
			t.Errorf("recorded after Close: %v", err)
		}
	})
}

func TestReadersAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		tr := start(t, db, Config{})
		items := posts(t, db, 200)
		const readers, pages = 8, 20
		who := make([]act.Principal, readers)
		for i := range who {
			who[i] = agent(t, db)
		}
		var wg sync.WaitGroup
		for i := range 2 * readers { // two connections of each agent
			wg.Go(func() {
				for n := range pages {
					from := (n*7 + i) % 175
					if err := tr.Expose(context.Background(), page25(who[i/2], items[from:from+25])); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		for r, p := range who {
			want := make(map[act.Ref]int64)
			for i := 2 * r; i < 2*r+2; i++ {
				for n := range pages {
					from := (n*7 + i) % 175
					for _, it := range items[from : from+25] {
						want[it]++
					}
				}
			}
			got := shownTimes(rows(t, db, p.ID))
			for it, n := range want {
				if got[it] != n {
					t.Fatalf("reader %d: %v shown %d times on record, %d in truth", r, it, got[it], n)
				}
			}
			if len(got) != len(want) {
				t.Errorf("reader %d: %d items on record, want %d", r, len(got), len(want))
			}
		}
	})
}

// gateway holds rechecks back until it is opened.
type gateway struct {
	open chan struct{}
	held atomic.Int64
}

func (g *gateway) recheck(act.Principal) error {
	g.held.Add(1)
	<-g.open
	return nil
}

func TestOneOfABatchMayNotRead(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		var commits atomic.Int64
		cfg.Fault = func(s store.Step) error {
			if s == store.StepCommit {
				commits.Add(1)
			}
			return nil
		}
		db := storetest.OpenConfig(t, cfg)
		denied := act.Errorf(act.Denied, "your standing is killed").WithRule("standing.killed")
		first, bad, moved, boom := agent(t, db), agent(t, db), agent(t, db), agent(t, db)
		hold := gateway{open: make(chan struct{})}
		tr := start(t, db, Config{Recheck: each(func(p act.Principal) error {
			switch p.ID {
			case first.ID:
				return hold.recheck(p)
			case bad.ID:
				return denied
			case moved.ID:
				return gate.Moved()
			case boom.ID:
				panic("a defect")
			}
			return nil
		})})
		items := posts(t, db, 3)
		lanes := lanesLite
		if db.Dialect() == store.Postgres {
			lanes = lanesPg
		}
		// Every lane is busy with a page, so that the others gather.
		var wg sync.WaitGroup
		for i := range lanes {
			wg.Go(func() {
				if err := tr.Expose(context.Background(), page25(first, []act.Ref{{ID: act.ID(i + 1)}})); err != nil {
					t.Error(err)
				}
			})
			eventually(t, "the lane is held", func() bool { return hold.held.Load() == int64(i+1) })
		}
		before := commits.Load()
		good := []act.Principal{agent(t, db), agent(t, db), agent(t, db)}
		errs := make(map[act.ID]error)
		var mu sync.Mutex
		for _, p := range append([]act.Principal{bad, moved, {Kind: act.Observer}}, good...) {
			wg.Go(func() {
				err := tr.Expose(context.Background(), page25(p, items))
				mu.Lock()
				errs[p.ID] = err
				mu.Unlock()
			})
		}
		eventually(t, "all wait", func() bool { return len(tr.queue) == 6 })
		close(hold.open)
		wg.Wait()
		if e := act.AsError(errs[bad.ID]); e.Code != act.Denied || e.Rule != "standing.killed" || e == denied {
			t.Errorf("the killed one got %v", errs[bad.ID])
		}
		if !errors.Is(errs[moved.ID], gate.Moved()) {
			t.Errorf("the moved one got %v", errs[moved.ID])
		}
		if len(rows(t, db, bad.ID))+len(rows(t, db, moved.ID)) != 0 {
			t.Error("rows of agents that may not read")
		}
		for _, p := range append(good, act.Principal{}) {
			if got := rows(t, db, p.ID); errs[p.ID] != nil || len(got) != 1 || !slices.Equal(got[0].Items, items) {
				t.Errorf("reader %d: %v, rows %+v", p.ID, errs[p.ID], got)
			}
		}
		if n := commits.Load() - before; db.Dialect() == store.SQLite && n != 2 {
			t.Errorf("%d commits, want one for the held page and one for the six", n)
		}
		// Nothing was remembered of what was not shown.
		if err := tr.Expose(t.Context(), page25(bad, items)); act.CodeOf(err) != act.Denied {
			t.Errorf("the killed one's second page gave %v", err)
		}
		// A defect that one page brings in does not fail the page beside it.
		hold.open = make(chan struct{})
		hold.held.Store(0)
		for i := range lanes {
			wg.Go(func() { _ = tr.Expose(context.Background(), page25(first, []act.Ref{{ID: act.ID(i + 100)}})) })
			eventually(t, "the lane is held", func() bool { return hold.held.Load() == int64(i+1) })
		}
		last := agent(t, db)
		var boomErr, lastErr error
		wg.Go(func() { boomErr = tr.Expose(context.Background(), page25(boom, items)) })
		eventually(t, "it waits", func() bool { return len(tr.queue) == 1 })
		wg.Go(func() { lastErr = tr.Expose(context.Background(), page25(last, items)) })
		eventually(t, "both wait", func() bool { return len(tr.queue) == 2 })
		close(hold.open)
		wg.Wait()
		if boomErr == nil || len(rows(t, db, boom.ID)) != 0 {
			t.Errorf("the panicking page: %v", boomErr)
		}
		if lastErr != nil || len(rows(t, db, last.ID)) != 1 {
			t.Errorf("the page beside the panicking one: %v", lastErr)
		}
	})
}

func TestFaultsOfTheCommit(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		var at atomic.Int64 // the step that fails, -1 for none
		at.Store(-1)
		cfg.Fault = func(s store.Step) error {
			if at.Load() == int64(s) {
				return errors.New("injected")
			}
			return nil
		}
		db := storetest.OpenConfig(t, cfg)
		tr := start(t, db, Config{Every: time.Hour})
		for _, step := range []store.Step{store.StepBegin, store.StepCommit, store.StepCommitted} {
			p, items := agent(t, db), posts(t, db, 5)
			at.Store(int64(step))
			err := tr.Expose(t.Context(), page25(p, items))
			at.Store(-1)
			if e := act.AsError(err); e == nil || e.Code != act.Unavailable || e.RetryAfter == 0 {
				t.Fatalf("%s: %v, want Unavailable with a time to come back", step, err)
			}
			lost := 0
			if step == store.StepCommitted {
				lost = 1 // stored, though an error came back
			}
			if got := rows(t, db, p.ID); len(got) != lost {
				t.Fatalf("%s: %d rows after the error, want %d", step, len(got), lost)
			}
			expose(t, tr, page25(p, items)) // nothing was remembered, so it is recorded now
			got := rows(t, db, p.ID)
			if len(got) != lost+1 || !slices.Equal(got[lost].Items, items) || got[lost].Again {
				t.Errorf("%s: rows after the next try %+v", step, got)
			}
		}
		// Counts: lost, then stored twice at worst, never too low.
		p, items := agent(t, db), posts(t, db, 5)
		expose(t, tr, page25(p, items))
		expose(t, tr, page25(p, items))
		for _, step := range []store.Step{store.StepCommit, store.StepCommitted} {
			at.Store(int64(step))
			if err := tr.flush(t.Context(), false); act.CodeOf(err) != act.Unavailable {
				t.Errorf("%s: flush gave %v", step, err)
			}
			at.Store(-1)
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		times := shownTimes(rows(t, db, p.ID))
		for _, it := range items {
			if times[it] != 3 { // 1 + 1 that was stored though an error came back + 1
				t.Errorf("shown %d times on record", times[it])
			}
		}
	})
}

func TestCountsAreStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		tr := start(t, db, Config{Every: 5 * time.Millisecond})
		p, items := agent(t, db), posts(t, db, 4)
		for range 3 {
			expose(t, tr, page25(p, items))
		}
		expose(t, tr, gate.Exposure{Principal: p, Channel: "post.read", Items: items[:1]})
		eventually(t, "the counts are stored without Close", func() bool { return shownTimes(rows(t, db, p.ID))[items[0]] == 4 })
		for _, x := range rows(t, db, p.ID)[1:] {
			if !x.Again || x.Channel == "post.read" && (len(x.Items) != 1 || x.Count != 1) {
				t.Errorf("row %+v", x)
			}
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		if n := shownTimes(rows(t, db, p.ID))[items[3]]; n != 3 {
			t.Errorf("shown %d times on record, want 3", n)
		}
	})
}

func TestWhoIsAReader(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		refuse := act.Errorf(act.Denied, "only agents have a standing")
		tr := start(t, db, Config{Recheck: each(func(act.Principal) error { return refuse })})
		items := posts(t, db, 3)
		operator := act.Principal{Kind: act.Operator, ID: mint(t, db, act.KindOperator)}
		importer := act.Principal{Kind: act.System, ID: mint(t, db, act.KindSystem), Name: "import"}
		for _, p := range []act.Principal{operator, importer, act.SystemPrincipal("timer"), {Source: "a"}} {
			expose(t, tr, page25(p, items))
		}
		// The observers' first showing is on record, later ones are counted.
		if got := rows(t, db, 0); len(got) != 1 || got[0].Again || !slices.Equal(got[0].Items, items) {
			t.Fatalf("observers' rows %+v", got)
		}
		expose(t, tr, page25(act.Principal{Source: "b"}, items[:2]))
		expose(t, tr, page25(act.Principal{}, items[:2]))
		expose(t, tr, page25(act.Principal{}, nil))
		for _, p := range []act.Principal{{Kind: act.Agent}, {Kind: act.Operator}} {
			if err := tr.Expose(t.Context(), page25(p, items)); act.CodeOf(err) != act.Internal {
				t.Errorf("%s without an id: %v", p.Kind, err)
			}
		}
		if err := tr.Expose(t.Context(), page25(agent(t, db), items)); act.CodeOf(err) != act.Denied {
			t.Errorf("agent: %v", err)
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		got := rows(t, db, 0)
		if len(got) != 2 || !got[1].Again || got[1].Count != 2 || !slices.Equal(got[1].Items, items[:2]) {
			t.Errorf("observers' rows %+v", got)
		}
		if len(rows(t, db, operator.ID)) != 1 || len(rows(t, db, importer.ID)) != 1 {
			t.Error("operators and named system principals are recorded by their ids")
		}
	})
}

func TestFullQueueAndImpatience(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		hold := gateway{open: make(chan struct{})}
		tr := start(t, db, Config{Queue: 2, Recheck: each(hold.recheck)})
		items := posts(t, db, 1)
		lanes := lanesLite
		if db.Dialect() == store.Postgres {
			lanes = lanesPg
		}
		var wg sync.WaitGroup
		readers := make([]act.Principal, lanes+2)
		for i := range readers {
			readers[i] = agent(t, db)
			ctx := context.Background()
			if i == lanes+1 { // the last one will not wait
				var cancel func()
				ctx, cancel = context.WithCancel(ctx)
				cancel()
				eventually(t, "one place is left", func() bool { return len(tr.queue) == 1 })
				if err := tr.Expose(ctx, page25(readers[i], items)); act.CodeOf(err) != act.Unavailable {
					t.Errorf("a reader that left got %v", err)
				}
				break
			}
			wg.Go(func() {
				if err := tr.Expose(ctx, page25(readers[i], items)); err != nil {
					t.Error(err)
				}
			})
			if i < lanes {
				eventually(t, "the lane is held", func() bool { return hold.held.Load() == int64(i+1) })
			}
		}
		late := agent(t, db)
		err := tr.Expose(t.Context(), page25(late, items))
		if e := act.AsError(err); e == nil || e.Code != act.Unavailable || e.Rule != "record.full" || e.RetryAfter <= 0 {
			t.Errorf("full queue gave %v", err)
		}
		close(hold.open)
		wg.Wait()
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		for i, p := range readers {
			want := 1
			if i == lanes+1 {
				want = 0
			}
			if got := len(rows(t, db, p.ID)); got != want {
				t.Errorf("reader %d has %d rows, want %d", i, got, want)
			}
		}
		if len(rows(t, db, late.ID)) != 0 {
			t.Error("the refused page has a row")
		}
	})
}

func TestLongPage(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		tr := start(t, db, Config{})
		p := agent(t, db)
		items := make([]act.Ref, 2*MaxItems+1)
		for i := range items {
			items[i] = act.Ref{ID: act.ID(i + 1), Version: 1}
		}
		expose(t, tr, page25(p, items))
		var got []act.Ref
		for _, x := range rows(t, db, p.ID) {
			got = append(got, x.Items...)
		}
		if !slices.Equal(got, items) {
			t.Errorf("%d items on record, want %d in their order", len(got), len(items))
		}
	})
}
