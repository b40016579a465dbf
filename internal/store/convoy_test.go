package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qConvoyRow   store.Q = `INSERT INTO fence (n, kind, id, at) VALUES ($1, 0, $2, $3)`
	qConvoyCheck store.Q = `SELECT kind FROM fence WHERE n = $1`
	qConvoyTotal store.Q = `SELECT kind FROM fence WHERE n = 1000000`
	qConvoyRows  store.Q = `SELECT n, id FROM fence WHERE n < 1000000 ORDER BY n`
)

// cargo is what the acts of these tests write: a row each, and all of them one
// counter, the row cargoCount.
type cargo struct{ db *store.DB }

const cargoCount = 1_000_000

func newCargo(t *testing.T, db *store.DB) *cargo {
	t.Helper()
	c := &cargo{db}
	if err := db.Write(t.Context(), c.row(cargoCount, nil)); err != nil {
		t.Fatal(err)
	}
	return c
}

// row is an act that asks for its neighbour, writes row n and counts it, or
// returns fail instead, before or after it has written.
func (c *cargo) row(n int64, fail func(tx *store.Tx) error) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		if err := tx.Soon(qConvoyCheck, func(*store.Row) error { return nil }, n+1); err != nil {
			return err
		}
		if fail != nil {
			if err := fail(tx); err != nil {
				return err
			}
		}
		if n != cargoCount {
			tx.Add(qTestAdd, cargoCount, 1)
		}
		return tx.Batch(qConvoyRow, n, n, tx.Now())
	}
}

// check compares the rows that are there with the wanted ones, and the counter
// with the rows.
func (c *cargo) check(t *testing.T, want ...int64) {
	t.Helper()
	var got []int64
	var total int64
	if err := c.db.Snapshot(t.Context(), func(v *store.View) error {
		if _, err := v.One(qConvoyTotal, func(r *store.Row) error { total = r.Int(0); return nil }); err != nil {
			return err
		}
		return v.All(qConvoyRows, func(r *store.Row) error { got = append(got, r.Int(0)); return nil })
	}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || total != int64(len(got)) {
		t.Errorf("rows %v with the counter at %d, want %v", got, total, want)
	}
}

var errOwn = errors.New("an act's own")

func convoyDB(t *testing.T) (*cargo, *fault) {
	t.Helper()
	f := &fault{}
	cfg := storetest.Config(t, store.Postgres)
	cfg.Fault = f.check
	return newCargo(t, storetest.OpenConfig(t, cfg)), f
}

// Acts in one transaction: a failure is its act's alone while it has written
// nothing; after that all of them are told to go alone, and nothing is kept.
func TestConvoyKeepsFailuresApart(t *testing.T) {
	c, _ := convoyDB(t)
	fails := func(*store.Tx) error { return errOwn }
	late := func(tx *store.Tx) error {
		if _, err := tx.Exec(qConvoyRow, 99, 0, tx.Now()); err != nil {
			return err
		}
		return errOwn
	}
	refused := func(tx *store.Tx) error {
		return tx.Soon(qConvoyCheck, func(*store.Row) error { return errOwn }, cargoCount)
	}
	var there []int64
	for i, row := range []struct {
		name  string
		fail  func(*store.Tx) error
		own   error // of the failing act
		alone bool  // all have to be done again
	}{
		{"it fails before it has sent anything", fails, errOwn, false},
		{"it fails after a question", func(tx *store.Tx) error {
			if _, err := tx.One(qConvoyCheck, func(*store.Row) error { return nil }, cargoCount); err != nil {
				return err
			}
			return errOwn
		}, errOwn, false},
		{"its own scan fails", func(tx *store.Tx) error {
			_, err := tx.One(qConvoyCheck, func(*store.Row) error { return errOwn }, cargoCount)
			return err
		}, errOwn, false},
		{"it panics", func(*store.Tx) error { panic("boom") }, nil, false},
		{"it fails after it has written", late, nil, true},
		{"what it checked does not hold", refused, nil, true},
		{"the database refuses its row", func(tx *store.Tx) error { return tx.Batch(qConvoyRow, cargoCount, 0, tx.Now()) }, nil, true},
		{"the database does not understand it", func(tx *store.Tx) error {
			_, err := tx.Exec("UPDATE nothing SET a = 1")
			return err
		}, nil, true},
		{"it makes a fence", func(tx *store.Tx) error { tx.Fence(act.KindPost, 1); return nil }, nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := int64(10 * i)
			errs := store.Travel(t.Context(), c.db, c.row(n+1, nil), c.row(n+2, row.fail), c.row(n+3, nil))
			for j, err := range errs {
				switch {
				case row.alone && !errors.Is(err, store.ErrAlone):
					t.Errorf("act %d: %v, want to be told to go alone", j+1, err)
				case !row.alone && j != 1 && err != nil:
					t.Errorf("act %d: %v", j+1, err)
				case !row.alone && j == 1 && (err == nil || row.own != nil && !errors.Is(err, row.own)):
					t.Errorf("the failing act: %v, want %v", err, row.own)
				}
			}
			if !row.alone {
				there = append(there, n+1, n+3)
			}
			c.check(t, there...)
		})
	}
}

// Every step of a shared transaction fails once: what was acknowledged is stored,
// and who gets an error knows that his act may be, or that it is not.
func TestConvoyFailureTable(t *testing.T) {
	c, f := convoyDB(t)
	var there []int64
	for i, row := range []struct {
		step  store.Step
		skip  int
		kept  int // acts that are stored
		fails int // acts that get an error
	}{
		{store.StepBegin, 0, 0, 3},
		{store.StepStatement, 0, 2, 1}, // one act's row
		{store.StepStatement, 2, 2, 1},
		{store.StepCommit, 0, 0, 3},
		{store.StepCommitted, 0, 3, 3},
	} {
		t.Run(fmt.Sprintf("%s/after_%d", row.step, row.skip), func(t *testing.T) {
			n := int64(10 * i)
			f.arm(row.step, row.skip)
			errs := store.Travel(t.Context(), c.db, c.row(n+1, nil), c.row(n+2, nil), c.row(n+3, nil))
			if f.disarm() {
				t.Fatal("the fault never struck")
			}
			before, fails := len(there), 0
			for j, err := range errs {
				if err != nil {
					fails++
					if act.CodeOf(err) != act.Unavailable || !errors.Is(err, errFault) || act.AsError(err).Hint == "" {
						t.Errorf("act %d: %v, want unavailable with a hint", j+1, err)
					}
				}
				if err == nil || row.step == store.StepCommitted {
					there = append(there, n+int64(j)+1)
				}
			}
			if kept := len(there) - before; fails != row.fails || kept != row.kept {
				t.Errorf("%d acts failed, %d are to be stored; want %d and %d", fails, kept, row.fails, row.kept)
			}
			c.check(t, there...)
		})
	}
}

// Many acts at once through the door that acts use: some fail, some collide, some
// panic. Every answer is true, and counters equal rows.
func TestSharedActsAreEachTheirOwn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newCargo(t, db)
		const acts = 400
		var stored [acts + 1]atomic.Bool
		var work sync.WaitGroup
		for i := int64(1); i <= acts; i++ {
			work.Go(func() {
				n, fail, code := i, func(*store.Tx) error { return nil }, act.Code(0)
				switch i % 10 {
				case 3:
					fail = func(*store.Tx) error { return errOwn }
				case 5:
					fail = func(tx *store.Tx) error {
						if _, err := tx.Exec(qConvoyRow, n+10*acts, 0, tx.Now()); err != nil {
							return err
						}
						return errOwn
					}
				case 7:
					n, code = cargoCount, act.Conflict
				}
				_, err := db.Shared(t.Context(), c.row(n, fail))
				switch {
				case code != 0 && act.CodeOf(err) != code, i%10 == 3 && !errors.Is(err, errOwn), i%10 == 5 && !errors.Is(err, errOwn):
					t.Errorf("act %d: %v", i, err)
				case err == nil:
					stored[i].Store(true)
				case i%10 != 3 && i%10 != 5 && i%10 != 7:
					t.Errorf("act %d: %v", i, err)
				}
			})
		}
		work.Wait()
		var want []int64
		for i := range stored {
			if stored[i].Load() {
				want = append(want, int64(i))
			}
		}
		c.check(t, want...)
	})
}

// Events of acts that share a transaction have positions and numbers of their
// own; a fence is made as always.
func TestSharedActsAreNumbered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		l := newLedger(t, db)
		var work sync.WaitGroup
		for range 50 {
			id, fn := l.act(t)
			work.Go(func() {
				if did, err := db.Shared(t.Context(), fn); err != nil || did.Fence == 0 {
					t.Errorf("act %d: %+v, %v", id, did, err)
				}
			})
		}
		work.Wait()
		if got := len(l.check(t)); got != 50 {
			t.Errorf("%d acts are stored", got)
		}
	})
}

// A caller that has gone before its act began has not acted, and one that goes
// later gets the act's true end. A store that closes refuses who waits.
func TestSharedActsWhoseCallersLeave(t *testing.T) {
	c, _ := convoyDB(t)
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := c.db.Shared(gone, c.row(1, nil)); act.CodeOf(err) != act.Unavailable {
		t.Errorf("an act whose caller had gone: %v", err)
	}
	var work sync.WaitGroup
	var stored [200]atomic.Bool
	for i := range stored {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
		defer cancel()
		work.Go(func() {
			_, err := c.db.Shared(ctx, c.row(int64(i+2), nil))
			if err != nil && act.CodeOf(err) != act.Unavailable {
				t.Errorf("act %d: %v", i, err)
			}
			stored[i].Store(err == nil)
		})
	}
	work.Wait()
	var want []int64
	for i := range stored {
		if stored[i].Load() {
			want = append(want, int64(i+2))
		}
	}
	c.check(t, want...)

	var late sync.WaitGroup
	for i := range 64 {
		late.Go(func() {
			if _, err := c.db.Shared(context.Background(), c.row(int64(1000+i), nil)); err != nil && act.CodeOf(err) != act.Unavailable {
				t.Errorf("an act at the close: %v", err)
			}
		})
	}
	if err := c.db.Close(); err != nil {
		t.Error(err)
	}
	late.Wait()
}
