package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// copied is a dump in memory.
type copied struct {
	schema int64
	seq    int64
	tables []store.Table
	rows   map[string][][]store.Value
}

func dumped(t *testing.T, db *store.DB) *copied {
	t.Helper()
	c := &copied{rows: make(map[string][][]store.Value)}
	if err := db.Dump(t.Context(), func(d *store.Dump) error {
		c.schema, c.seq, c.tables = d.Schema, d.Seq, d.Tables
		for _, table := range d.Tables {
			if err := d.Rows(table, func(row []store.Value) error {
				kept := slices.Clone(row)
				for i := range kept {
					kept[i].Bytes = bytes.Clone(kept[i].Bytes)
				}
				c.rows[table.Name] = append(c.rows[table.Name], kept)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *copied) loading() store.Loading {
	return store.Loading{Schema: c.schema, Tables: c.tables, Rows: func(t store.Table) func() ([]store.Value, error) {
		rows := c.rows[t.Name]
		return func() ([]store.Value, error) {
			if len(rows) == 0 {
				return nil, io.EOF
			}
			row := rows[0]
			rows = rows[1:]
			return row, nil
		}
	}}
}

// text is a table's rows in an order of their own, without the named columns.
func (c *copied) text(table string, without ...string) []string {
	i := slices.IndexFunc(c.tables, func(t store.Table) bool { return t.Name == table })
	var lines []string
	for _, row := range c.rows[table] {
		line := ""
		for j, v := range row {
			if !slices.Contains(without, c.tables[i].Columns[j]) {
				line += fmt.Sprintf("%s=%d:%d:%q ", c.tables[i].Columns[j], v.Kind, v.Int, v.Bytes)
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

const (
	qDumpPost store.Q = `INSERT INTO post (id, community, author, type, title, content, url, salt, up, down, comment_count, legacy_up, legacy_down, legacy_comments,
origin, version, epoch, created_at, updated_at, deleted_at) VALUES ($1, 4, 3, 'text', $2, $3, '', $4, $5, 0, 0, 0, 0, 0, 0, 1, 1, 1767225600000000, 0, 0)`
	qDumpExposure store.Q = `INSERT INTO exposure (pos, after_seq, agent, at, channel, again, count, items, trace) VALUES ($1, $2, 7, 1, 'feed.read', 0, 1, $3, '')`
	qDumpSorted   store.Q = `SELECT id, hot, score FROM post ORDER BY hot DESC, id DESC`
	qDumpPlan     store.Q = `SELECT id FROM post ORDER BY score DESC, id DESC LIMIT 3`
	qDumpIDs      store.Q = `SELECT ids_until FROM node WHERE n = $1`
	qDumpPos      store.Q = `SELECT MAX(pos) FROM event`
)

// written fills a database with what is hard to carry: every kind of value, NULL
// (on PostgreSQL, where nobody numbers here), text of all sorts, large bytes.
func written(t *testing.T, db *store.DB) {
	t.Helper()
	texts := []string{"", "plain", "ünïcode 🦞 \u202e", "quote ' \" \\ \n\t", strings.Repeat("long ", 20_000), "NULL", "\\N"}
	for i := range 300 {
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			id, err := tx.Mint(act.KindPost)
			if err != nil {
				return err
			}
			if i%10 == 0 {
				pos, after, err := tx.Position()
				if err != nil {
					return err
				}
				if err := tx.Batch(qDumpExposure, pos, after, bytes.Repeat([]byte{0, 255}, i)); err != nil {
					return err
				}
			}
			if _, err := tx.Event(store.Event{Act: "post.create", Ref: act.Ref{ID: id, Version: 1}, At: tx.Now()}); err != nil {
				return err
			}
			if i == 100 {
				tx.Fence(act.KindPost, id)
			}
			return tx.Batch(qDumpPost, id, texts[i%len(texts)], texts[(i+1)%len(texts)], []byte{0, byte(i), 255}, i%17)
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// What is dumped from either database is restored into either: row by row the
// same, with what is computed computed again, ids that never repeat and a sequence
// that goes on.
func TestDumpIsRestoredOnEitherDatabase(t *testing.T) {
	for _, from := range []store.Dialect{store.SQLite, store.Postgres} {
		for _, to := range []store.Dialect{store.SQLite, store.Postgres} {
			t.Run(from.String()+"/"+to.String(), func(t *testing.T) { carried(t, from, to) })
		}
	}
}

func carried(t *testing.T, from, to store.Dialect) {
	source := storetest.Open(t, from)
	written(t, source)
	before := dumped(t, source)
	if n := len(before.rows["post"]); n != 300 {
		t.Fatalf("%d posts in the dump, want 300", n)
	}
	cfg := storetest.Config(t, to)
	if err := store.Vacant(t.Context(), cfg); err != nil {
		t.Fatalf("an empty place: %v", err)
	}
	var steps []string
	loading := before.loading()
	loading.Step = func(what string) { steps = append(steps, what) }
	if err := store.Restore(t.Context(), cfg, loading); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(steps, "loading post") || !slices.Contains(steps, "building indexes") {
		t.Errorf("steps %q", steps)
	}
	if _, err := store.Open(t.Context(), cfg); !errors.Is(err, store.ErrUnfinished) {
		t.Fatalf("an unfinished restore is opened: %v", err)
	}
	cfg.Unfinished = true
	half := storetest.OpenConfig(t, cfg)
	if err := half.FinishRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := half.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Unfinished = false
	db := storetest.OpenConfig(t, cfg)
	after := dumped(t, db)
	if after.schema != before.schema || len(after.tables) != len(before.tables) {
		t.Errorf("schema %d with %d tables, was %d with %d", after.schema, len(after.tables), before.schema, len(before.tables))
	}
	for _, table := range before.tables {
		var without []string
		switch table.Name {
		case "node", "cursor": // this process's own
			continue
		case "event", "exposure": // what was not numbered is now
			without = []string{"seq", "after_seq"}
		}
		if got, want := after.text(table.Name, without...), before.text(table.Name, without...); !slices.Equal(got, want) {
			t.Errorf("table %s differs: %d rows, were %d", table.Name, len(got), len(want))
		}
	}
	if after.seq != 300 {
		t.Errorf("the last event has number %d, want 300", after.seq)
	}
	sorted := func(db *store.DB) (list []string) {
		if err := db.View(t.Context(), func(v *store.View) error {
			return v.All(qDumpSorted, func(r *store.Row) error {
				list = append(list, fmt.Sprint(r.Int(0), r.Int(1), r.Int(2)))
				return nil
			})
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if !slices.Equal(sorted(db), sorted(source)) {
		t.Error("what is computed differs")
	}
	if plan, err := db.Prepare(t.Context(), qDumpPlan); err != nil || to == store.SQLite && !strings.Contains(strings.Join(plan, "\n"), "post_top") {
		t.Errorf("the indexes are not there: %q, %v", plan, err)
	}
	goesOn(t, db, before)
}

// goesOn checks that what is written next comes after what was restored.
func goesOn(t *testing.T, db *store.DB, before *copied) {
	t.Helper()
	known := make(map[string]bool)
	for _, row := range before.rows["post"] {
		for _, v := range row[:] {
			if v.Kind == store.ValueInt {
				known[fmt.Sprint(v.Int)] = true
			}
		}
	}
	number := func(q store.Q, args ...any) (n int64) {
		if err := db.View(t.Context(), func(v *store.View) error {
			_, err := v.One(q, func(r *store.Row) error { n = r.Int(0); return nil }, args...)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	last := number(qDumpPos)
	var at int64
	if err := db.Write(t.Context(), func(tx *store.Tx) error {
		id, err := tx.Mint(act.KindPost)
		if err != nil {
			return err
		}
		if known[fmt.Sprint(int64(id))] {
			t.Errorf("the id %d is given a second time", id)
		}
		if at, err = tx.Event(store.Event{Act: "post.create", Ref: act.Ref{ID: id}, At: tx.Now()}); err != nil {
			return err
		}
		tx.Fence(act.KindPost, id)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if at <= last {
		t.Errorf("the next event is at %d, after one at %d", at, last)
	}
	if db.Dialect() == store.Postgres {
		lease, leads, err := db.Lead(t.Context(), store.SequencerLease)
		if err != nil || !leads {
			t.Fatalf("nobody can lead: %v", err)
		}
		if _, err := db.SequencePass(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
	}
	if now := dumped(t, db); now.seq != 301 || len(now.rows["fence"]) != 2 {
		t.Errorf("the next event has number %d, and there are %d fences, want 301 and 2", now.seq, len(now.rows["fence"]))
	}
}

// A node reserves ids before it gives them: what is restored must not give those
// that were reserved and perhaps given after the dump.
func TestRestoredReservationsHold(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		source := storetest.Open(t, cfg2dialect(cfg))
		var until int64
		if err := source.View(t.Context(), func(v *store.View) error {
			_, err := v.One(qDumpIDs, func(r *store.Row) error { until = r.Int(0); return nil }, int64(source.Node()))
			return err
		}); err != nil || until == 0 {
			t.Fatalf("reserved until %d, %v", until, err)
		}
		before := dumped(t, source)
		if err := store.Restore(t.Context(), cfg, before.loading()); err != nil {
			t.Fatal(err)
		}
		cfg.Unfinished = true
		db := storetest.OpenConfig(t, cfg)
		id, err := db.Mint(t.Context(), act.KindPost)
		if err != nil {
			t.Fatal(err)
		}
		if made := act.IDMillis(id.Time()); made < until {
			t.Errorf("an id of the millisecond %d, reserved until %d", made, until)
		}
	})
}

func cfg2dialect(cfg store.Config) store.Dialect {
	if cfg.URL != "" {
		return store.Postgres
	}
	return store.SQLite
}

// A restore changes nothing where there is something, and leaves nothing where it
// fails: in the middle of a table, for want of room, or because it was called off.
func TestRestoreIsAllOrNothing(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		source := storetest.Open(t, cfg2dialect(cfg))
		written(t, source)
		before := dumped(t, source)

		nothing := func(what string) {
			t.Helper()
			if err := store.Vacant(context.Background(), cfg); err != nil {
				t.Errorf("%s: the place is not vacant: %v", what, err)
			}
			if cfg.Dir != "" {
				if left, err := os.ReadDir(cfg.Dir); err == nil && len(left) > 0 {
					t.Errorf("%s: left %v", what, left)
				}
			}
		}
		if cfg.Dir != "" {
			cfg.Dir = filepath.Join(cfg.Dir, "fresh")
		}
		broken := before.loading()
		rows := broken.Rows
		mine := errors.New("mine")
		broken.Rows = func(table store.Table) func() ([]store.Value, error) {
			next, n := rows(table), 0
			return func() ([]store.Value, error) {
				if n++; table.Name == "post" && n == 200 {
					return nil, mine
				}
				return next()
			}
		}
		if err := store.Restore(t.Context(), cfg, broken); !errors.Is(err, mine) {
			t.Errorf("a source that breaks: %v", err)
		}
		nothing("a source that breaks")

		ctx, cancel := context.WithCancel(t.Context())
		stopped := before.loading()
		stopped.Step = func(what string) {
			if what == "loading post" {
				cancel()
			}
		}
		if err := store.Restore(ctx, cfg, stopped); err == nil {
			t.Error("a restore that was called off succeeds")
		}
		nothing("a restore that was called off")

		if cfg.Dir != "" {
			small := cfg
			small.MaxBytes = 4 << 20
			err := store.Restore(t.Context(), small, before.loading())
			if !errors.Is(err, store.ErrNoRoom) {
				t.Errorf("a full disk: %v", err)
			}
			nothing("a full disk")
		}
		other := before.loading()
		other.Tables = other.Tables[1:]
		if err := store.Restore(t.Context(), cfg, other); err == nil {
			t.Error("a dump without a table is restored")
		}
		nothing("a dump without a table")
		later := before.loading()
		later.Schema = 9999
		if err := store.Restore(t.Context(), cfg, later); !errors.Is(err, store.ErrNewer) {
			t.Errorf("a dump of a later version: %v", err)
		}
		nothing("a dump of a later version")

		// An interrupted one cannot be served, and the next starts over.
		for range 2 {
			if err := store.Restore(t.Context(), cfg, before.loading()); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Open(t.Context(), cfg); !errors.Is(err, store.ErrUnfinished) {
				t.Fatalf("an unfinished restore: %v", err)
			}
		}
		cfg.Unfinished = true
		db := storetest.OpenConfig(t, cfg)
		if err := db.FinishRestore(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.Unfinished = false
		if err := store.Restore(t.Context(), cfg, before.loading()); !errors.Is(err, store.ErrOccupied) {
			t.Errorf("over a network: %v", err)
		}
		db = storetest.OpenConfig(t, cfg)
		if n := len(dumped(t, db).rows["post"]); n != 300 {
			t.Errorf("%d posts are left, want 300", n)
		}
	})
}

// A schema that has another application's tables is not touched.
func TestRestoreTouchesNothingForeign(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	before := dumped(t, storetest.Open(t, store.SQLite))
	db := storetest.OpenConfig(t, cfg) // makes the schema; no network was opened in it
	if err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`CREATE TABLE theirs (id BIGINT)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Restore(t.Context(), cfg, before.loading()); !errors.Is(err, store.ErrOccupied) {
		t.Fatalf("beside another's table: %v", err)
	}
	db = storetest.OpenConfig(t, cfg)
	if err := db.View(t.Context(), func(v *store.View) error {
		return v.All(`SELECT id FROM theirs`, func(*store.Row) error { return nil })
	}); err != nil {
		t.Error("another's table is gone")
	}
}

// Both databases list the same tables and columns, and the full-text index is not
// among them.
func TestDumpedTablesAreAlike(t *testing.T) {
	var lists []map[string]string
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		list := make(map[string]string)
		for _, table := range dumped(t, storetest.Open(t, d)).tables {
			list[table.Name] = strings.Join(table.Columns, " ")
		}
		lists = append(lists, list)
	}
	if !maps.Equal(lists[0], lists[1]) {
		t.Errorf("SQLite dumps %v, PostgreSQL %v", lists[0], lists[1])
	}
	if _, there := lists[0]["findable"]; there || lists[0]["post"] == "" || strings.Contains(lists[0]["post"], "hot") {
		t.Errorf("dumped: %v", lists[0])
	}
}

const (
	qDumpAgent store.Q = `INSERT INTO agent (id, name, skeleton, owner, state, epoch, reason, invite, created_at, claimed_at, changed_at, source)
VALUES ($1, $2, $2, 0, $3, 2, '', 0, 1, 1, $4, 0)`
	qDumpBeneath store.Q = `SELECT COUNT(*) FROM agent WHERE beneath = 0`
	qDumpKills   store.Q = `SELECT n, agent, total FROM kill ORDER BY n`
)

// A dump of an earlier version is restored as it was and then brought up to date,
// as the database itself would have been.
func TestOlderDumpIsBroughtUpToDate(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		source := storetest.Open(t, store.SQLite)
		if err := source.Write(t.Context(), func(tx *store.Tx) error {
			for i := range 10 {
				if err := tx.Batch(qDumpAgent, 1<<60+i, fmt.Sprint("agent-", i), 2+i%4, 100-i); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		old := dumped(t, source)
		old.schema = 60
		for _, column := range []string{"beneath", "class", "mandate", "revision", "parent", "root", "depth", "ends_at", "granted", "trust"} {
			old.drop("agent", column)
		}
		for _, column := range []string{"jwk", "scope", "used_at", "roles", "auth_at", "instance", "passkey_at"} {
			old.drop("credential", column)
		}
		old.drop("operator", "roles")
		old.drop("operator", "given")
		old.drop("owner", "operator")
		old.drop("owner", "team")
		old.drop("approval", "risk")
		old.drop("approval", "quorum")
		old.drop("sealed", "key_version")
		old.drop("webhook", "key_version")
		for _, column := range []string{"id", "operator", "reason", "source", "defaults", "policies", "own", "bytes"} {
			old.drop("policy_bundle", column)
		}
		old.drop("community", "classification")
		later := []string{"kill", "restoration", "issuer_key", "enrollment", "token_grant", "refresh_token", "assertion", "consent", "wrapping_key", "authority", "passkey", "policy_decision", "policy_shadow", "policy_flip", "halt", "class", "mandate", "revision", "outcome", "budget", "quota", "quota_block", "quota_use", "lease", "assent", "containment", "drill", "manifest", "notice", "rollout", "rebinding", "process", "hosted", "death", "taint", "likeness", "tile", "checkpoint", "agent_span", "caller", "recall", "legal_hold", "audit_query", "merit", "trust", "support", "role_binding", "membership", "retention", "role"}
		old.tables = slices.DeleteFunc(slices.Clone(old.tables), func(t store.Table) bool { return slices.Contains(later, t.Name) })
		if err := store.Restore(t.Context(), cfg, old.loading()); err != nil {
			t.Fatal(err)
		}
		cfg.Unfinished = true
		db := storetest.OpenConfig(t, cfg)
		if err := db.View(t.Context(), func(v *store.View) error {
			_, err := v.One(qDumpBeneath, func(r *store.Row) error {
				if r.Int(0) != 10 {
					t.Errorf("%d agents were brought up to date, want 10", r.Int(0))
				}
				return nil
			})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		// The kills of before there were numbers are numbered by their time.
		var kills []string
		if err := db.View(t.Context(), func(v *store.View) error {
			return v.All(qDumpKills, func(r *store.Row) error {
				kills = append(kills, fmt.Sprint(r.Int(0), r.Int(1)-1<<60, r.Int(2)))
				return nil
			})
		}); err != nil {
			t.Fatal(err)
		}
		weigh := func(id int64) int64 { return id % (1<<31 - 1) * 48271 % (1<<31 - 1) }
		if want := []string{fmt.Sprint(1, 7, weigh(1<<60+7)), fmt.Sprint(2, 3, weigh(1<<60+7)+weigh(1<<60+3))}; !slices.Equal(kills, want) {
			t.Errorf("kills %q, want %q", kills, want)
		}
		if now := dumped(t, db); now.schema <= 29 {
			t.Errorf("the schema is %d", now.schema)
		}
	})
}

// drop takes a column out, as if it had not been there yet.
func (c *copied) drop(table, column string) {
	i := slices.IndexFunc(c.tables, func(t store.Table) bool { return t.Name == table })
	j := slices.Index(c.tables[i].Columns, column)
	c.tables[i].Columns = slices.Delete(slices.Clone(c.tables[i].Columns), j, j+1)
	for n, row := range c.rows[table] {
		c.rows[table][n] = slices.Delete(row, j, j+1)
	}
}
