package policy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qTestDecided store.Q = `SELECT CAST(COALESCE(SUM(n), 0) AS BIGINT), COUNT(*) FROM policy_decision WHERE principal <> $1`
	qTestHours   store.Q = `SELECT COUNT(DISTINCT hour) FROM policy_decision`
)

// timed is a clock that a test turns.
type timed struct {
	mu sync.Mutex
	at time.Time
}

func (c *timed) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *timed) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// crowded asks the engine n questions, by agents of several sorts about things of several
// sorts, and returns what was answered, by what a flip is told apart by.
type inquiry struct {
	p act.Principal
	q gate.Question
}

func questions(r *rand.Rand, n int) (list []inquiry) {
	names := []string{"post.create", "comment.create", "vote.cast", "post.read", "feed.read", "agent.kill", "post.delete"}
	for range n {
		p := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, 1+r.IntN(40))}
		switch r.IntN(10) {
		case 0:
			p = act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1+r.IntN(3)), Roles: uint8(r.IntN(64)), Binding: act.BindingOperator}
		case 1:
			p = act.Principal{}
		}
		list = append(list, inquiry{p, gate.Question{Act: names[r.IntN(len(names))], Resource: gate.Facts{
			Kind: act.KindPost, Visibility: gate.Visibility(r.IntN(2)), Own: r.IntN(4) == 0, Locked: r.IntN(5) == 0, AuthorStanding: act.Active,
		}}})
	}
	return list
}

func crowdOf(r *rand.Rand) *people {
	d := &people{by: make(map[act.ID]PrincipalFacts)}
	for n := range 41 {
		d.by[testID(act.KindAgent, n)] = PrincipalFacts{
			Standing: []act.Standing{act.Active, act.Active, act.Active, act.Paused}[r.IntN(4)], Claimed: r.IntN(3) > 0,
			Class: []string{"", "editor", "reader"}[r.IntN(3)], Owner: testID(act.KindOwner, 1+r.IntN(5)),
		}
	}
	return d
}

// house is an engine with a keeper over a real database and a clock.
func kept(t *testing.T, db *store.DB, clock *timed, d Directory) (*Engine, *Keeper) {
	t.Helper()
	k := NewKeeper(db, slog.New(slog.DiscardHandler))
	e := newEngine(t, d, func(c *Config) { c.Keeper, c.Clock = k, clock.now })
	if err := e.Activate(compose(t, Draft{}, 1)); err != nil {
		t.Fatal(err)
	}
	return e, k
}

// What is kept is every decision, however many decide at once, whatever storage refuses
// for a while; and what a dry run says of a day is what asking again says (issue 6 §5.6).
func TestDryRunIsReexecution(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		r := rand.New(rand.NewPCG(6, 1))
		clock := &timed{at: created}
		people := crowdOf(r)
		e, k := kept(t, db, clock, people)
		draft := Draft{
			Files: []File{{"own.cedar", `@id("editors") @hint("Only editors vote.")
forbid (principal is Agent, action == Action::"vote.cast", resource) unless { principal.class == "editor" };
@id("look") @hold("owner")
permit (principal is Agent, action == Action::"post.create", resource) when { principal.standing == "active" && resource.visibility == "public" && !principal.claimed };
@id("five") permit (principal == Agent::"` + testCodec(t).String(testID(act.KindAgent, 5)) + `", action == Action::"agent.kill", resource);`}},
			Tests: []File{{"own.yaml", "- {name: five, principal: {type: Agent, id: " + testCodec(t).String(testID(act.KindAgent, 5)) + "}, act: agent.kill, resource: {kind: Agent}, expect: allow}"}},
		}
		candidate := newEngine(t, people, func(c *Config) { c.Clock = clock.now })
		b := compose(t, draft, 2)
		snap, problems := e.compile(b)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if err := candidate.Activate(b); err != nil {
			t.Fatal(err)
		}
		want, total, flippedWant := make(map[flipKey]int64), int64(0), int64(0)
		for hour := range 24 {
			list := questions(r, 300)
			var wg sync.WaitGroup
			for part := range 3 {
				wg.Go(func() {
					for _, one := range list[part*100 : part*100+100] {
						e.Decide(one.p, one.q)
					}
				})
			}
			wg.Wait()
			for _, one := range list {
				total++
				a, c := e.answerAlone(one), candidate.Decide(one.p, one.q)
				if was, now := resultOf(a), resultOf(&c); was != now {
					flippedWant++
					want[flipKey{one.p.Kind, one.p.ID, "", one.q.Act, was, now, a.Policy, c.Policy, c.Place}]++
				}
			}
			if hour%5 == 0 {
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				if err := k.Flush(gone); err == nil {
					t.Fatal("storage took something without any time")
				}
			}
			if hour%3 == 0 {
				if err := k.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			// People change, and what was decided stays what it was.
			people.set(testID(act.KindAgent, 1+r.IntN(40)), PrincipalFacts{Standing: act.Active, Class: "editor", Claimed: true})
			clock.turn(time.Hour)
		}
		if err := k.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var out DryRun
		if err := db.View(t.Context(), func(v *store.View) (err error) {
			out, err = e.dryRun(t.Context(), v, snap, act.Micros(created), act.Micros(clock.now()))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if out.Decisions != total || out.Flipped != flippedWant || out.Rest != 0 || out.Unnamed != 0 || flippedWant < 100 {
			t.Errorf("%d decisions, %d flipped, want %d and %d: %+v", out.Decisions, out.Flipped, total, flippedWant, out.Rest)
		}
		got := make(map[flipKey]int64)
		for _, f := range out.Flips {
			got[flipKey{f.Kind, f.Who, f.Name, f.Act, f.Was, f.Now, f.Rule, f.By, f.At}] += f.Count
		}
		for key, n := range want {
			if got[key] != n {
				t.Errorf("%+v: %d, want %d", key, got[key], n)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d flips are told apart, want %d", len(got), len(want))
		}
		hours := int64(0)
		if err := db.View(t.Context(), func(v *store.View) error {
			_, err := v.One(qTestHours, func(r *store.Row) error { hours = r.Int(0); return nil })
			return err
		}); err != nil || hours != 24 {
			t.Errorf("%d hours are kept (%v)", hours, err)
		}
		if err := Housekeep(t.Context(), db, time.Since(created.Add(20*time.Hour))); err != nil {
			t.Fatal(err)
		}
		if err := db.View(t.Context(), func(v *store.View) error {
			_, err := v.One(qTestHours, func(r *store.Row) error { hours = r.Int(0); return nil })
			return err
		}); err != nil || hours != 4 {
			t.Errorf("%d hours are kept after housekeeping (%v), want 4", hours, err)
		}
	})
}

// answerAlone is what the engine decides, without anything being kept of it.
func (e *Engine) answerAlone(one inquiry) *gate.Decision {
	var t sitting
	e.sit(&t, &one.p, one.q.Act)
	q := t.about(one.q.Resource)
	return e.decide(t.s, q.sample(), e.context)
}

// A full buffer sends callers away and drops nothing; and beyond so many names of an hour
// only the numbers go on.
func TestKeeperIsBounded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		clock := &timed{at: created}
		e, k := kept(t, db, clock, fixed{Standing: act.Active, Claimed: true})
		if err := k.Full(); err != nil {
			t.Fatalf("an empty keeper is full: %v", err)
		}
		for n := range MaxWaiting {
			e.Decide(act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, n+1)}, gate.Question{Act: "vote.cast", Resource: gate.Facts{Kind: act.KindPost}})
		}
		if err := k.Full(); act.CodeOf(err) != act.Unavailable || ruleOf(err) != "policy.kept" {
			t.Errorf("a full keeper says %v", err)
		}
		k.named = make(map[uint64]struct{}, MaxNamed)
		for n := range uint64(MaxNamed - 1000) {
			k.named[n] = struct{}{}
		}
		k.hour = act.Micros(created) / hourMicros
		if err := k.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := k.Full(); err != nil || k.count.Load() != 0 {
			t.Errorf("after a flush %d wait: %v", k.count.Load(), err)
		}
		var counts []string
		if err := db.View(t.Context(), func(v *store.View) error {
			for _, not := range []int64{0, -1} {
				if _, err := v.One(qTestDecided, func(r *store.Row) error {
					counts = append(counts, fmt.Sprint(r.Int(0), " in ", r.Int(1)))
					return nil
				}, not); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint("[1000 in 1000 ", MaxWaiting, " in 1001]"); fmt.Sprint(counts) != want {
			t.Errorf("kept %v, want %s", counts, want)
		}
	})
}

// Nothing that is decided while others are written down is lost or counted twice.
func TestKeeperCountsWhileItWrites(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const each = 2000
		e, k := kept(t, db, &timed{at: created}, fixed{Standing: act.Active, Claimed: true})
		var deciding, writing sync.WaitGroup
		done := make(chan struct{})
		writing.Go(func() {
			for {
				if err := k.Flush(t.Context()); err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
		for range 4 {
			deciding.Go(func() {
				for n := range each {
					e.Decide(act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, n%3+1)}, gate.Question{Act: "vote.cast", Resource: gate.Facts{Kind: act.KindPost}})
				}
			})
		}
		deciding.Wait()
		close(done)
		writing.Wait()
		if err := k.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var n, rows int64
		if err := db.View(t.Context(), func(v *store.View) error {
			_, err := v.One(qTestDecided, func(r *store.Row) error { n, rows = r.Int(0), r.Int(1); return nil }, int64(-1))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if n != 4*each || rows != 3 {
			t.Errorf("%d decisions in %d rows, want %d in 3", n, rows, 4*each)
		}
	})
}

// T08: a new rule is tried beside those in force. Nobody meets it, its flips are counted
// with who they would be for, and it ends.
func TestT08_ShadowCountsAndDecidesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		r := rand.New(rand.NewPCG(8, 8))
		clock := &timed{at: created}
		people := crowdOf(r)
		e, k := kept(t, db, clock, people)
		plain := newEngine(t, people, func(c *Config) { c.Clock = clock.now })
		if err := plain.Activate(compose(t, Draft{}, 1)); err != nil {
			t.Fatal(err)
		}
		const id = act.ID(99)
		strict := compose(t, Draft{Files: []File{{"own.cedar", `@id("strict") forbid (principal is Agent, action == Action::"vote.cast", resource) when { resource.locked };`}}}, 2)
		if err := e.Beside(id, strict); err != nil {
			t.Fatal(err)
		}
		want := make(map[act.ID]int64)
		total := int64(0)
		for _, one := range questions(r, 3000) {
			got, meant := e.Decide(one.p, one.q), plain.Decide(one.p, one.q)
			if got.Allow != meant.Allow || got.Policy != meant.Policy || got.Bundle != 1 {
				t.Fatalf("%+v is decided as %+v, want %+v", one, got, meant)
			}
			if got.Allow && one.q.Act == "vote.cast" && one.q.Resource.Locked {
				want[one.p.ID]++
				total++
			}
		}
		if total < 20 {
			t.Fatalf("only %d flips", total)
		}
		if err := e.Beside(0, nil); err != nil {
			t.Fatal(err)
		}
		for _, one := range questions(r, 300) {
			e.Decide(one.p, one.q)
		}
		if err := k.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.View(t.Context(), func(v *store.View) error {
			list, _, err := e.flips(v, id, nil, MaxFlipPage)
			for _, f := range list {
				if f.Act != "vote.cast" || f.Was != ResultAllow || f.Now != ResultDeny || f.By != "strict" || f.At != "own.cedar:1" || f.Kind != act.Agent {
					t.Errorf("flip %+v", f)
				}
				want[f.Who] -= f.Count
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for who, n := range want {
			if n != 0 {
				t.Errorf("%d flips of %d are missing", n, who)
			}
		}
	})
}

// A difference says who gains and who loses what, and by which line.
func TestDifference(t *testing.T) {
	e := newEngine(t, &people{}, nil)
	codec := testCodec(t)
	population := map[act.ID]PrincipalFacts{}
	for n := range 100 {
		f := PrincipalFacts{Standing: act.Active, Claimed: true, Class: []string{"editor", "reader"}[n%2], Owner: testID(act.KindOwner, 1+n%10)}
		population[testID(act.KindAgent, n+1)] = f
	}
	agents := func(yield func(act.ID, PrincipalFacts) bool) {
		for n := range 100 {
			id := testID(act.KindAgent, n+1)
			if !yield(id, population[id]) {
				return
			}
		}
	}
	named := testID(act.KindAgent, 7)
	a := compose(t, Draft{}, 1)
	b := compose(t, Draft{Files: []File{{"own.cedar", `@id("pin") permit (principal is Agent, action == Action::"post.pin", resource) when { principal.class == "editor" && !resource.locked };
@id("seven") forbid (principal == Agent::"` + codec.String(named) + `", action == Action::"vote.cast", resource);`}}}, 2)
	was, problems := e.compile(a)
	now, more := e.compile(b)
	if len(problems)+len(more) > 0 {
		t.Fatal(problems, more)
	}
	d := e.difference(a, b, was, now, agents)
	if fmt.Sprint(d.Added, d.Removed, d.Changed, d.Acts, d.Agents, d.Partial) != "[pin seven] [] [] [post.pin vote.cast] 100 []" {
		t.Errorf("added %v, removed %v, changed %v, acts %v, agents %d, partial %v", d.Added, d.Removed, d.Changed, d.Acts, d.Agents, d.Partial)
	}
	gained, lost := int64(0), int64(0)
	for _, c := range d.Changes {
		switch {
		case c.Act == "post.pin" && c.Gains && c.By == "pin" && c.At == "own.cedar:1" && c.Facts["class"] == "editor" && c.Things*2 <= c.Of+1 && c.Things > 0:
			gained += c.Count
		case c.Act == "vote.cast" && !c.Gains && c.By == "seven" && c.At == "own.cedar:2" && c.Count == 1 && c.Examples[0] == named && c.Facts["id"] == codec.String(named):
			lost += c.Count
		default:
			t.Errorf("change %+v", c)
		}
	}
	if gained != 50 || lost != 1 {
		t.Errorf("%d gain and %d lose, want 50 and 1: %+v", gained, lost, d.Changes)
	}
	if same := e.difference(b, b, now, now, agents); len(same.Changes)+len(same.Acts) > 0 {
		t.Errorf("a bundle differs from itself: %+v", same)
	}
	if back := e.difference(b, a, now, was, agents); len(back.Removed) != 2 || len(back.Changes) != len(d.Changes) {
		t.Errorf("the other way round: %+v", back)
	}
}

// What keeping costs a decision that is cached, for a hundred agents.
func BenchmarkDecideKept(b *testing.B) {
	for _, keeps := range []bool{false, true} {
		b.Run(fmt.Sprint("kept ", keeps), func(b *testing.B) {
			db := storetest.Open(b, store.SQLite)
			e := newEngine(b, fixed{Standing: act.Active, Claimed: true}, func(c *Config) {
				if keeps {
					c.Keeper = NewKeeper(db, slog.New(slog.DiscardHandler))
				}
			})
			if err := e.Activate(compose(b, Draft{}, 1)); err != nil {
				b.Fatal(err)
			}
			q := gate.Question{Act: "vote.cast", Resource: gate.Facts{Kind: act.KindPost, AuthorStanding: act.Active}}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = (n + 1) % 100
				e.Decide(act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, n+1)}, q)
			}
		})
	}
}

const (
	qTestFirst store.Q = `SELECT digest FROM policy_decision ORDER BY hour, digest LIMIT 1 FOR UPDATE`
	qTestStuck store.Q = `SELECT COUNT(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%policy_decision%'`
	qTestFree store.Q = `SELECT COUNT(*) FROM (SELECT digest FROM policy_decision FOR UPDATE SKIP LOCKED) AS free`
)

// Nodes that write down the same decisions at the same time wait for each other in one order,
// so that none has what another one waits for: a keeper that waits for the first row holds
// none of the others.
func TestKeepersLockInOneOrder(t *testing.T) {
	db, err := store.Open(t.Context(), storetest.Config(t, store.Postgres))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	e, k := kept(t, db, &timed{at: created}, fixed{Standing: act.Active, Claimed: true})
	const agents = flushBatch - 1
	decide := func() {
		for n := range agents {
			e.Decide(act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, n+1)}, gate.Question{Act: "vote.cast", Resource: gate.Facts{Kind: act.KindPost}})
		}
	}
	decide()
	if err := k.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	count := func(q store.Q) (n int64) {
		t.Helper()
		if err := db.View(t.Context(), func(v *store.View) error {
			_, err := v.One(q, func(r *store.Row) error { n = r.Int(0); return nil })
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	decide()
	wrote := make(chan error, 1)
	if err := db.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.One(qTestFirst, func(*store.Row) error { return nil }); err != nil {
			return err
		}
		go func() { wrote <- k.Flush(t.Context()) }()
		for end := time.Now().Add(30 * time.Second); count(qTestStuck) == 0; {
			if time.Now().After(end) {
				t.Fatal("nobody waits for the first row")
			}
			runtime.Gosched()
		}
		if free := count(qTestFree); free != agents-1 {
			t.Errorf("%d rows are free while a keeper waits for the first of %d, want all but that", free, agents)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
}
