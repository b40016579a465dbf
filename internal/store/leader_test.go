package store_test

import (
	"errors"
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

const qLeaseEnds store.Q = `UPDATE leader SET lease_until_at = 0 WHERE name = $1`

var errOnPurpose = errors.New("rolled back on purpose")

func noop(*store.Tx) error { return nil }

// The lease is led by one at a time. When it has run out and passed on, the old
// leader's transactions are refused whole, however late they come.
func TestLeaderIsFenced(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	first, second := storetest.OpenConfig(t, cfg), storetest.OpenConfig(t, cfg)
	old := lead(t, first)
	if _, ok, err := second.Lead(t.Context(), store.SequencerLease); ok || err != nil {
		t.Fatalf("a second leader: %v, %v", ok, err)
	}
	if _, ok, err := second.Lead(t.Context(), "another"); !ok || err != nil {
		t.Fatalf("a lease of another name: %v, %v", ok, err)
	}
	if a, b := first.Leads(), second.Leads(); !slices.Equal(a, []string{store.SequencerLease}) || !slices.Equal(b, []string{"another"}) {
		t.Errorf("they say that they lead %q and %q", a, b)
	}
	makeRows(t, first, 3)
	if n, err := first.SequencePass(t.Context(), old); n != 3 || err != nil {
		t.Fatalf("the leader numbered %d, %v", n, err)
	}

	expire := func(db *store.DB) {
		t.Helper()
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			n, err := tx.Exec(qLeaseEnds, store.SequencerLease)
			if n != 1 {
				t.Errorf("%d leases ended", n)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}

	// A leader that extends its lease in the last moment, in a transaction that
	// has not ended, is not overtaken.
	expire(first)
	in, out := make(chan struct{}), make(chan struct{})
	free := sync.OnceFunc(func() { close(out) })
	t.Cleanup(free)
	wrote := make(chan error, 1)
	go func() {
		wrote <- first.Write(t.Context(), func(tx *store.Tx) error {
			err := tx.Hold(old)
			close(in)
			<-out
			return err
		})
	}()
	soon(t, "hold the lease in a transaction", in)
	var took atomic.Bool
	tried := make(chan error, 1)
	go func() {
		_, ok, err := second.Lead(t.Context(), store.SequencerLease)
		took.Store(ok)
		tried <- err
	}()
	side := admin(t, cfg)
	until(t, "the second waits for the row", func() bool {
		return one(t, side, `SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'reef' AND wait_event_type = 'Lock' AND query LIKE '%leader%'`) > 0
	})
	free()
	if err := soon(t, "end the leader's transaction", wrote); err != nil {
		t.Error(err)
	}
	if err := soon(t, "answer the second", tried); err != nil || took.Load() {
		t.Errorf("the second took a lease that had just been extended: %v, %v", took.Load(), err)
	}

	// The lease runs out, the other takes over.
	expire(first)
	fresh := lead(t, second)
	makeRows(t, first, 2)
	n, err := first.SequencePass(t.Context(), old)
	unavailable(t, "a pass of the old leader", err)
	err = first.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Event(store.Event{Act: "test.late", At: tx.Now()}); err != nil {
			return err
		}
		return tx.Hold(old)
	})
	unavailable(t, "a transaction of the old leader", err)
	if got := one(t, side, `SELECT COUNT(*) FROM event WHERE seq IS NULL`); n != 0 || got != 2 {
		t.Errorf("the old leader numbered %d; %d events wait, want 2", n, got)
	}
	if err := first.Resign(t.Context(), old); err != nil {
		t.Errorf("the old leader resigns: %v", err)
	}
	if _, ok, _ := first.Lead(t.Context(), store.SequencerLease); ok {
		t.Error("the old leader's resignation ended the new one's lease")
	}
	if n, err := second.SequencePass(t.Context(), fresh); n != 2 || err != nil {
		t.Errorf("the new leader numbered %d, %v", n, err)
	}

	// Tokens grow: an old lease is not valid again when its holder leads again.
	if err := second.Resign(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	again := lead(t, first)
	_, err = first.SequencePass(t.Context(), old)
	unavailable(t, "a pass under a lease from before", err)
	if _, err := first.SequencePass(t.Context(), again); err != nil {
		t.Errorf("a pass under the new lease: %v", err)
	}
}

// Nodes that start at the same moment get different numbers, and ids that they
// mint at the same moment never collide.
func TestNodesGetDifferentNumbers(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	cfg.Readers = 2
	storetest.OpenConfig(t, cfg) // the schema is there
	const nodes, each = 8, 2000
	still := time.Now()
	cfg.Clock = func() time.Time { return still } // the same millisecond for all
	dbs, errs := make([]*store.DB, nodes), make([]error, nodes)
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() { dbs[i], errs[i] = store.Open(t.Context(), cfg) })
	}
	all.Wait()
	numbers, ids := map[int]bool{0: true}, map[act.ID]bool{}
	for i, db := range dbs {
		if errs[i] != nil {
			t.Fatalf("node %d does not start: %v", i, errs[i])
		}
		defer db.Close() //nolint:errcheck // the test is over
		if numbers[db.Node()] {
			t.Errorf("number %d is leased twice", db.Node())
		}
		numbers[db.Node()] = true
		for range each {
			id, err := db.Mint(t.Context(), act.KindPost)
			if err != nil {
				t.Fatal(err)
			}
			if ids[id] {
				t.Fatalf("id %d was made twice", id)
			}
			ids[id] = true
		}
	}
}

// A number whose holder is taken for dead passes on. The old holder may live
// and mint as long as its reservation lasts; the new one, with a clock an hour
// behind, mints above everything that the old one can ever make.
func TestNumberPassesOn(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	side := admin(t, cfg)
	var ahead atomic.Int64
	oldCfg, newCfg := cfg, cfg
	oldCfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	newCfg.Clock = func() time.Time { return time.Now().Add(-time.Hour) }
	old := storetest.OpenConfig(t, oldCfg)
	var last act.ID
	grow := func(db *store.DB) error {
		id, err := db.Mint(t.Context(), act.KindPost)
		if err == nil && id <= last {
			t.Errorf("id %d after %d", id, last)
		}
		if err == nil {
			last = id
		}
		return err
	}
	for range 3000 {
		if err := grow(old); err != nil {
			t.Fatal(err)
		}
	}
	// The old holder renews once a second and may win its lease back.
	var fresh *store.DB
	until(t, "take the number over", func() bool {
		sql(t, side, `UPDATE node SET lease_until_at = 0 WHERE n = $1`, old.Node())
		db, err := store.Open(t.Context(), newCfg)
		if err != nil {
			t.Fatal(err)
		}
		if db.Node() == old.Node() {
			fresh = db
			return true
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		return false
	})
	defer fresh.Close() //nolint:errcheck // the test is over
	firstOfNew, err := fresh.Mint(t.Context(), act.KindPost)
	if err != nil {
		t.Fatal(err)
	}
	// The old holder's clock runs through its whole reservation and beyond.
	for err = nil; err == nil; ahead.Add(int64(time.Second)) {
		if err = grow(old); ahead.Load() > int64(time.Hour) {
			t.Fatal("the old holder never stops")
		}
	}
	unavailable(t, "an id of the old holder beyond its reservation", err)
	if last >= firstOfNew {
		t.Errorf("the old holder came to %d, the new one began with %d", last, firstOfNew)
	}
	last = firstOfNew
	for range 3000 {
		if err := grow(fresh); err != nil {
			t.Fatal(err)
		}
	}
	if got := one(t, side, `SELECT COUNT(*) FROM node WHERE n = $1 AND lease_until_at > 0`, old.Node()); got != 1 {
		t.Error("the new holder lost its lease to the old one")
	}
}

// Renewals of a reservation that end in any order never shrink it: what a node
// may mint is always reserved in the database.
func TestReservationNeverShrinks(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	var ahead atomic.Int64
	start := time.Now()
	cfg.Clock = func() time.Time { return start.Add(time.Duration(ahead.Load())) }
	db := storetest.OpenConfig(t, cfg)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range full(25, 500) {
				ahead.Add(int64(61 * time.Second)) // beyond the reservation: minting must renew it
				id, err := db.Mint(t.Context(), act.KindPost)
				if err != nil {
					continue // the others moved the clock on
				}
				var reserved int64
				if err := db.View(t.Context(), func(v *store.View) error {
					_, err := v.One(qReserved, func(r *store.Row) error { reserved = r.Int(0); return nil }, db.Node())
					return err
				}); err != nil {
					t.Error(err)
				}
				if act.IDMillis(id.Time()) >= reserved {
					t.Errorf("minted in millisecond %d, reserved is up to %d", act.IDMillis(id.Time()), reserved)
				}
			}
		})
	}
	all.Wait()
}

const qReserved store.Q = `SELECT ids_until FROM node WHERE n = $1`

// Fences are numbered in the order of their commits: a poller that keeps the
// last number it has seen misses none, whatever the writers do.
func TestFencePollerMissesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const writers = 8
		each := full(30, 1000)
		var mu sync.Mutex
		given := map[int64]act.ID{}
		var all sync.WaitGroup
		for w := range writers {
			r := rand.New(rand.NewPCG(7, uint64(w)))
			all.Go(func() {
				for i := range each {
					id, err := db.Mint(t.Context(), act.KindAgent)
					if err != nil {
						t.Error(err)
						return
					}
					did, err := db.WriteFenced(t.Context(), func(tx *store.Tx) error {
						if i%3 == 1 {
							tx.Fence(act.KindAgent, id)
						}
						tx.Fence(act.KindAgent, id)
						if err := linger(tx, r); err != nil {
							return err
						}
						if i%5 == 4 {
							return errOnPurpose
						}
						return nil
					})
					if i%5 == 4 {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					given[did.Fence] = id
					mu.Unlock()
				}
			})
		}
		over := make(chan struct{})
		go func() { all.Wait(); close(over) }()
		seen := []act.ID{0}
		poll := func() {
			t.Helper()
			last, err := db.Fences(t.Context(), int64(len(seen)-1), func(_ act.Kind, id act.ID) { seen = append(seen, id) })
			if err != nil {
				t.Fatal(err)
			}
			if last != int64(len(seen)-1) {
				t.Fatalf("the last fence is %d and %d were seen", last, len(seen)-1)
			}
		}
		until(t, "write every fence", func() bool {
			poll()
			select {
			case <-over:
				return true
			default:
				return false
			}
		})
		poll()
		for n, id := range given {
			if int(n) >= len(seen) || seen[n] != id {
				t.Errorf("the write of agent %d was told fence %d, which is not its own", id, n)
			}
		}
		if last, err := db.LastFence(t.Context()); err != nil || last != int64(len(seen)-1) {
			t.Errorf("last fence %d, %v, want %d", last, err, len(seen)-1)
		}
		if did, err := db.WriteFenced(t.Context(), noop); did.Fence != 0 || err != nil {
			t.Errorf("a write without a fence was told %d, %v", did.Fence, err)
		}
	})
}

// A fence is acknowledged when no live node lags; forgetting fences never lets a
// number be given again.
func TestLaggingNodes(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	first, second := storetest.OpenConfig(t, cfg), storetest.OpenConfig(t, cfg)
	fence := func() int64 {
		t.Helper()
		did, err := first.WriteFenced(t.Context(), func(tx *store.Tx) error { tx.Fence(act.KindAgent, 7); return nil })
		if err != nil {
			t.Fatal(err)
		}
		return did.Fence
	}
	lagging := func(n int64, want ...int) {
		t.Helper()
		got, err := first.LaggingNodes(t.Context(), n)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("lagging behind %d: %v, %v, want %v", n, got, err, want)
		}
	}
	mark := func(db *store.DB, n int64) {
		t.Helper()
		if err := db.MarkFenced(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	fence()
	n := fence()
	lagging(n, first.Node(), second.Node())
	mark(first, n)
	lagging(n, second.Node())
	mark(second, n)
	lagging(n)
	lagging(n+1, first.Node(), second.Node())

	third := storetest.OpenConfig(t, cfg) // has read everything there is when it starts
	lagging(n)
	n = fence()
	mark(first, n)
	if err := second.Close(); err != nil { // gave its number back: nobody waits for it
		t.Fatal(err)
	}
	lagging(n, third.Node())
	mark(third, n)
	lagging(n)
	if err := first.ForgetFences(t.Context(), act.Micros(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if next := fence(); next != n+1 {
		t.Errorf("after forgetting, fence %d follows %d", next, n)
	}
}
