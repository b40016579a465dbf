package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const qBackendPostgres store.Q = `SELECT CAST(pg_backend_pid() AS BIGINT)`

// ownDatabase is storetest.Config in a database that nobody else uses, for tests
// that end sessions or read what PostgreSQL counts for a whole database.
func ownDatabase(t testing.TB) store.Config {
	t.Helper()
	cfg := storetest.Config(t, store.Postgres)
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme == "" {
		storetest.Missing(t, "DATABASE_URL is not of the form postgres://…, which is needed to name another database")
	}
	conn, err := pgx.Connect(t.Context(), cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	name := pgx.Identifier{cfg.Schema}.Sanitize()
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		_ = conn.Close(t.Context())
		storetest.Missing(t, "make a database: %v", err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop database: %v", err)
		}
		_ = conn.Close(ctx)
	})
	u.Path = "/" + cfg.Schema
	cfg.URL = u.String()
	return cfg
}

// admin is a connection beside the store, in the same schema.
func admin(t testing.TB, cfg store.Config) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	sql(t, conn, "SET search_path TO "+pgx.Identifier{cfg.Schema}.Sanitize())
	return conn
}

func sql(t testing.TB, conn *pgx.Conn, text string, args ...any) (changed int64) {
	t.Helper()
	tag, err := conn.Exec(t.Context(), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return tag.RowsAffected()
}

func one(t testing.TB, conn *pgx.Conn, text string, args ...any) (n int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), text, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return n
}

const deadlocks = `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`

// makeRows makes n events to lock and count on, and returns their positions.
func makeRows(t testing.TB, db *store.DB, n int) []act.ID {
	t.Helper()
	rows := make([]act.ID, n)
	if err := db.Write(t.Context(), func(tx *store.Tx) error {
		for i := range rows {
			pos, err := tx.Event(store.Event{Act: "test.row", At: tx.Now()})
			if err != nil {
				return err
			}
			rows[i] = act.ID(pos)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

func total(t testing.TB, db *store.DB, row act.ID) (n int64) {
	t.Helper()
	if err := db.View(t.Context(), func(v *store.View) error {
		_, err := v.One(qLedgerTotal, func(r *store.Row) error { n = r.Int(0); return nil }, row)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// Two transactions lock two rows in opposite order: PostgreSQL ends one of
// them, Write runs it again, both succeed and count once.
func TestDeadlockIsRetried(t *testing.T) {
	cfg := ownDatabase(t)
	side := admin(t, cfg)
	before := one(t, side, deadlocks)
	db := storetest.OpenConfig(t, cfg)
	rows := makeRows(t, db, 2)
	var runs atomic.Int32
	var met sync.WaitGroup // both hold their first row
	met.Add(2)
	answers := make(chan error, 2)
	for i := range 2 {
		first := true
		go func() {
			answers <- db.Write(context.WithoutCancel(t.Context()), func(tx *store.Tx) error {
				runs.Add(1)
				if _, err := tx.Exec(qLedgerAdd, rows[i], 1); err != nil {
					return err
				}
				if first {
					first = false
					met.Done()
					met.Wait()
				}
				if _, err := tx.Exec(qLedgerAdd, rows[1-i], 1); err != nil {
					return act.Errorf(act.Unavailable, "an act wraps what it gets: %w", err)
				}
				return nil
			})
		}()
	}
	for range 2 {
		if err := soon(t, "end the deadlock", answers); err != nil {
			t.Errorf("a write that met a deadlock: %v", err)
		}
	}
	if n := runs.Load(); n < 3 {
		t.Errorf("the functions ran %d times: there was no deadlock", n)
	}
	for _, row := range rows {
		if n := total(t, db, row); n != 2 {
			t.Errorf("row %d counts %d, want 2", row, n)
		}
	}
	if err := db.Close(); err != nil { // ending sessions report what they counted
		t.Error(err)
	}
	until(t, "count the deadlock", func() bool { return one(t, side, deadlocks) > before })
}

// Acts that change the same counters in opposite order, as reciprocal votes do,
// never wait for each other in a circle.
func TestCountersNeverDeadlock(t *testing.T) {
	cfg := ownDatabase(t)
	side := admin(t, cfg)
	before := one(t, side, deadlocks)
	db := storetest.OpenConfig(t, cfg)
	rows := makeRows(t, db, 6)
	const writers = 8
	each := full(60, 1000)
	var runs atomic.Int64
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range each {
				order := r.Perm(len(rows))
				if err := db.Write(t.Context(), func(tx *store.Tx) error {
					runs.Add(1)
					for _, i := range order {
						if i%2 == 0 {
							tx.Add(qLedgerAdd, rows[i], 1)
						} else { // another table's counter under the same id would have another text
							tx.Add(qLedgerAdd+" ", rows[i-1], 2)
						}
					}
					return nil
				}); err != nil {
					t.Errorf("a write of counters: %v", err)
				}
			}
		})
	}
	all.Wait()
	writes := int64(writers * each)
	for i, row := range rows {
		if want := writes * int64(3*(1-i%2)); total(t, db, row) != want {
			t.Errorf("counter %d = %d, want %d", i, total(t, db, row), want)
		}
	}
	if n := runs.Load(); n != writes {
		t.Errorf("%d writes ran %d times", writes, n)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	// Every session has ended, so everything that was counted is there.
	until(t, "end the sessions", func() bool {
		return one(t, side, `SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'reef' AND datname = current_database()`) == 0
	})
	if n := one(t, side, deadlocks) - before; n != 0 {
		t.Errorf("PostgreSQL counted %d deadlocks, want 0", n)
	}
}

// The connection is lost in the middle of an act, before its commit, or while
// nobody uses it: unavailable, nothing stored, and the store goes on.
func TestConnectionIsLost(t *testing.T) {
	cfg := ownDatabase(t)
	cfg.Readers = 4
	side := admin(t, cfg)
	l := newLedger(t, storetest.OpenConfig(t, cfg))
	terminate := func(pid int64) {
		one(t, side, `SELECT CAST(CAST(pg_terminate_backend(CAST(CAST($1 AS BIGINT) AS INTEGER)) AS INTEGER) AS BIGINT)`, pid)
		until(t, "end the session", func() bool { return one(t, side, `SELECT COUNT(*) FROM pg_stat_activity WHERE pid = $1`, pid) == 0 })
	}
	acked := map[act.ID]bool{}
	for name, place := range map[string]struct{ before, swallow bool }{
		"before a statement":                     {before: true},
		"before the commit":                      {},
		"before a statement whose error is lost": {before: true, swallow: true},
	} {
		id, fn := l.act(t)
		err := l.db.Write(t.Context(), func(tx *store.Tx) error {
			var pid int64
			if _, err := tx.One(qBackendPostgres, func(r *store.Row) error { pid = r.Int(0); return nil }); err != nil {
				return err
			}
			if place.before {
				terminate(pid)
			}
			err := fn(tx)
			if !place.before {
				terminate(pid)
			}
			if place.before && act.CodeOf(err) != act.Unavailable {
				t.Errorf("%s: the statement gave %v, want unavailable", name, err)
			}
			if place.swallow {
				return nil
			}
			return err
		})
		unavailable(t, "lost "+name, err)
		if l.check(t)[id] {
			t.Errorf("lost %s: the act is stored", name)
		}
		id, fn = l.act(t)
		if err := l.db.Write(t.Context(), fn); err != nil {
			t.Errorf("the write after: %v", err)
		}
		acked[id] = true
	}
	// Every idle connection is dead: each may cost one act, no more.
	sql(t, side, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reef' AND datname = current_database()`)
	refused := 0
	for acks := 0; acks < 10; {
		id, fn := l.act(t)
		if err := l.db.Write(t.Context(), fn); err != nil {
			unavailable(t, "a write on a dead connection", err)
			if refused++; refused > cfg.Readers {
				t.Fatalf("%d writes refused by a pool of %d", refused, cfg.Readers)
			}
			continue
		}
		acked[id] = true
		acks++
	}
	now := l.check(t)
	for id := range acked {
		if !now[id] {
			t.Errorf("act %d was acknowledged and is not stored", id)
		}
	}
	if len(now) != len(acked) {
		t.Errorf("%d acts are stored, %d were acknowledged", len(now), len(acked))
	}
}

// A request's deadline ends the wait for a connection, not a running act.
func TestPoolIsExhausted(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	cfg.Readers = 4
	const acts = 3 // of them may be held by acts at a time
	l := newLedger(t, storetest.OpenConfig(t, cfg))
	out, in := make(chan struct{}), make(chan struct{}, acts)
	free := sync.OnceFunc(func() { close(out) })
	t.Cleanup(free)
	held := make(chan error, acts)
	for range acts {
		go func() {
			held <- l.db.Write(context.WithoutCancel(t.Context()), func(*store.Tx) error { in <- struct{}{}; <-out; return nil })
		}()
	}
	for range acts {
		soon(t, "take every connection that acts may have", in)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := l.db.Write(ctx, func(*store.Tx) error { t.Error("it ran"); return nil })
	unavailable(t, "a write without a connection", err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v: want its deadline as the cause", err)
	}
	free()
	for range acts {
		if err := soon(t, "end a held write", held); err != nil {
			t.Errorf("a held write: %v", err)
		}
	}
	ctx, cancel = context.WithCancel(t.Context())
	id, fn := l.act(t)
	if err := l.db.Write(ctx, func(tx *store.Tx) error { cancel(); return fn(tx) }); err != nil || !l.check(t)[id] {
		t.Errorf("a write whose caller gave up while it ran: %v", err)
	}
}

// Barrier returns only when the writes that began before it have ended.
func TestBarrierWaitsForRunningWrites(t *testing.T) {
	cfg := ownDatabase(t)
	db := storetest.OpenConfig(t, cfg)
	side := admin(t, cfg)
	in, out := make(chan struct{}), make(chan struct{})
	free := sync.OnceFunc(func() { close(out) })
	t.Cleanup(free)
	var ended atomic.Bool
	wrote, passed := make(chan error, 1), make(chan error, 1)
	go func() {
		wrote <- db.Write(context.WithoutCancel(t.Context()), func(tx *store.Tx) error {
			_, _, err := tx.Position() // the transaction has begun
			close(in)
			<-out
			ended.Store(true)
			return err
		})
	}()
	soon(t, "begin a write", in)
	go func() {
		err := db.Barrier(context.WithoutCancel(t.Context()))
		if !ended.Load() {
			err = errors.Join(err, errors.New("the barrier did not wait"))
		}
		passed <- err
	}()
	until(t, "the barrier waits", func() bool {
		return one(t, side, `SELECT COUNT(*) FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND NOT l.granted AND a.datname = current_database()`) == 1
	})
	free()
	if err := soon(t, "end the write", wrote); err != nil {
		t.Error(err)
	}
	if err := soon(t, "pass the barrier", passed); err != nil {
		t.Error(err)
	}
}

// Acts that wait with their connections in hand leave some to whoever only looks, and to
// the node's own fences: else it would lose touch with its network for being busy.
func TestActsLeaveConnections(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	cfg.Readers = 4
	db := storetest.OpenConfig(t, cfg)
	var acts sync.WaitGroup
	defer acts.Wait()
	over := make(chan struct{})
	defer close(over)
	begun := make(chan struct{}, 8)
	for range 8 {
		acts.Go(func() {
			if err := db.Write(t.Context(), func(*store.Tx) error { begun <- struct{}{}; <-over; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		<-begun
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := db.Ping(ctx); err != nil {
		t.Errorf("who only looks: %v", err)
	}
	if err := db.MarkFenced(ctx, 1); err != nil {
		t.Errorf("its own fences: %v", err)
	}
}
