package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const origin = "reef.test/log"

// testKey is one of several keys.
func testKey(n byte) audit.Key {
	return audit.Key{Sign: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)), Mark: bytes.Repeat([]byte{n}, 32)}
}

func newTree(db *store.DB) *audit.Tree {
	return audit.NewTree(audit.TreeConfig{DB: db, Key: testKey(1), Origin: origin})
}

func integrate(t testing.TB, tree *audit.Tree) audit.Checkpoint {
	t.Helper()
	if err := tree.Integrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return current(t, tree).Last
}

func current(t testing.TB, tree *audit.Tree) (st audit.State) {
	t.Helper()
	if err := tree.DB.View(t.Context(), func(v *store.View) (err error) { st, err = tree.Current(v); return err }); err != nil {
		t.Fatal(err)
	}
	return st
}

// record puts n acts on record, each of another agent's name, and numbers them.
func record(t testing.TB, db *store.DB, c *act.Codec, n int) {
	t.Helper()
	log := audit.New(audit.Config{Codec: c})
	list := entries(t, db)
	write(t, db, func(tx *store.Tx) error {
		for i := range n {
			e := list[i%len(list)]
			e.Reason = fmt.Sprintf("reason %d", i)
			if err := log.Record(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	number(t, db)
}

func TestIntegrate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		codec, tree := newCodec(t), newTree(db)
		if c := integrate(t, tree); c.Size != 0 {
			t.Fatalf("a checkpoint over nothing: %+v", c)
		}
		var last audit.Checkpoint
		total := int64(0)
		for _, n := range []int{1, 6, 249, 1, 255, 0, 300, 3000} {
			record(t, db, codec, n)
			total += int64(n)
			c := integrate(t, tree)
			if c.Size != total || n > 0 && c.Root == last.Root {
				t.Fatalf("after %d leaves the checkpoint is %+v", total, c)
			}
			last = c
			if r := verify(t, db, codec); !r.OK() || r.Tree != total || r.Leaves != total || r.Checkpoints == 0 {
				t.Fatalf("after %d leaves: %+v", total, r)
			}
		}
		// A log keeps its name, whatever its network is called later.
		again := audit.NewTree(audit.TreeConfig{DB: db, Key: testKey(1), Origin: "other.test/log"})
		record(t, db, codec, 1)
		if c := integrate(t, again); c.Origin != origin || c.Size != total+1 {
			t.Errorf("under another name: %+v", c)
		}
		if !strings.HasPrefix(current(t, again).Key, origin+"+") {
			t.Errorf("the key is %q", current(t, again).Key)
		}
	})
}

// Of an hour one checkpoint stays, and the one before it.
func TestCheckpointsAreThinned(t *testing.T) {
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	cfg := storetest.Config(t, store.SQLite)
	cfg.Clock = func() time.Time { return now }
	db := storetest.OpenConfig(t, cfg)
	codec, tree := newCodec(t), newTree(db)
	for range 3 {
		for range 5 {
			record(t, db, codec, 2)
			integrate(t, tree)
			now = now.Add(time.Minute)
		}
		now = now.Add(time.Hour)
	}
	if r := verify(t, db, codec); !r.OK() || r.Checkpoints != 3 {
		t.Errorf("%+v, want 3 checkpoints", r)
	}
}

// T63, T64: a pass that fails at any step leaves the tree as it was or whole, and the next
// one goes on: no gap, no duplicate, no checkpoint that does not verify.
func TestT63_IntegrationFailsAtEveryStep(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		var fail func(store.Step) error
		cfg.Fault = func(s store.Step) error {
			if fail == nil {
				return nil
			}
			return fail(s)
		}
		db := storetest.OpenConfig(t, cfg)
		codec, tree := newCodec(t), newTree(db)
		record(t, db, codec, 250)
		integrate(t, tree)
		size := int64(250)
		for _, step := range []store.Step{store.StepBegin, store.StepStatement, store.StepCommit, store.StepCommitted} {
			for skip, more := 0, true; more; skip++ {
				record(t, db, codec, 3)
				left := skip
				more = false
				fail = func(s store.Step) error {
					if s != step {
						return nil
					}
					if left--; left != -1 {
						return nil
					}
					more = true
					return errors.New("injected")
				}
				err := tree.Integrate(t.Context())
				fail = nil
				if more && err == nil {
					t.Errorf("step %v after %d: no error came back", step, skip)
				}
				was := current(t, tree).Last.Size
				if was != size && was != size+3 || more && step != store.StepCommitted && was != size {
					t.Errorf("step %v after %d: the tree has %d leaves, want %d or 3 more", step, skip, was, size)
				}
				if r := verify(t, db, codec); !r.OK() {
					t.Fatalf("step %v after %d: %+v", step, skip, r)
				}
				if size += 3; integrate(t, tree).Size != size {
					t.Errorf("step %v after %d: the next pass does not go on", step, skip)
				}
				if r := verify(t, db, codec); !r.OK() {
					t.Fatalf("step %v after %d, mended: %+v", step, skip, r)
				}
			}
		}
	})
}

// Many nodes that integrate at once, lease or not, make one tree.
func TestIntegrateAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		codec := newCodec(t)
		for range 5 {
			record(t, db, codec, 100)
			done := make(chan error)
			for range 4 {
				go func() { done <- newTree(db).Integrate(t.Context()) }()
			}
			for range 4 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		integrate(t, newTree(db))
		if r := verify(t, db, codec); !r.OK() || r.Tree != 500 {
			t.Errorf("%+v", r)
		}
	})
}

// T38: a node holds the log against the checkpoint that it keeps in a file.
func TestT38_RolledBackAndForkedLogsAreFound(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		db, err := store.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		codec := newCodec(t)
		tree := newTree(db)
		tree.Head = filepath.Join(t.TempDir(), "audit.head")
		anchor := func() error { return tree.Anchor(t.Context()) }
		if err := anchor(); err != nil {
			t.Fatal(err)
		}
		record(t, db, codec, 300)
		integrate(t, tree)
		if err := errors.Join(anchor(), anchor()); err != nil {
			t.Fatal(err)
		}
		older := dump(t, db)
		record(t, db, codec, 40)
		newest := integrate(t, tree)
		if err := anchor(); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(tree.Head)
		if err != nil || !bytes.Equal(kept, newest.Note) {
			t.Fatalf("kept is %q: %v", kept, err)
		}
		with := audit.Verifying{Codec: codec, Key: testKey(1), Kept: [][]byte{kept}}
		held := func() audit.Report {
			r, err := audit.Verify(t.Context(), db, with)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if r := held(); !r.OK() || r.Checkpoints != 2 {
			t.Fatalf("against what was kept: %+v", r)
		}

		restoreRows(t, db, older)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = storetest.OpenConfig(t, cfg)
		tree.DB = db
		if r := verify(t, db, codec); !r.OK() {
			t.Fatalf("an older database is whole in itself: %+v", r)
		}
		if r := held(); r.First().Seq != 301 || !strings.Contains(r.First().What, "earlier time") {
			t.Errorf("an older database: %+v", r)
		}
		rule := func(err error) string {
			e, ok := errors.AsType[*act.Error](err)
			if !ok {
				return fmt.Sprint(err)
			}
			return e.Rule
		}
		if err := anchor(); rule(err) != "audit.rolled-back" || !strings.Contains(err.Error(), "leaf 301") {
			t.Errorf("an older database: %v", err)
		}
		// It goes on, by the right key: another log than the one that was kept.
		record(t, db, codec, 100)
		integrate(t, tree)
		if err := anchor(); rule(err) != "audit.forked" {
			t.Errorf("a log that goes on from an older one: %v", err)
		}
		if r := held(); r.OK() || r.First().Seq != 1 {
			t.Errorf("a log that goes on from an older one: %+v", r)
		}
		aside, err := audit.SetAside(tree.Head)
		if err != nil || aside == "" {
			t.Fatalf("%q, %v", aside, err)
		}
		if err := errors.Join(anchor(), anchor()); err != nil {
			t.Error(err)
		}
		if raw, err := os.ReadFile(aside); err != nil || !bytes.Equal(raw, kept) {
			t.Errorf("the evidence is gone: %v", err)
		}
	})
}

// A checkpoint is read in one form only, under the right key.
func TestOpenCheckpoint(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	record(t, db, newCodec(t), 3)
	tree := newTree(db)
	c := integrate(t, tree)
	verifier := func(k audit.Key, name string) note.Verifier {
		text, err := k.Public(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := note.NewVerifier(text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if got, err := audit.OpenCheckpoint(c.Note, verifier(testKey(1), origin)); err != nil || got.Size != 3 || got.Root != c.Root {
		t.Errorf("%+v, %v", got, err)
	}
	for what, bad := range map[string][]byte{
		"a longer text": append([]byte("x"), c.Note...), "another size": bytes.Replace(c.Note, []byte("\n3\n"), []byte("\n4\n"), 1),
		"nothing": nil, "no signature": c.Note[:bytes.Index(c.Note, []byte("\n\n"))+2],
	} {
		if got, err := audit.OpenCheckpoint(bad, verifier(testKey(1), origin)); err == nil {
			t.Errorf("%s is taken for a checkpoint: %+v", what, got)
		}
	}
	if _, err := audit.OpenCheckpoint(c.Note, verifier(testKey(2), origin)); err == nil {
		t.Error("another key opens it")
	}
	if _, err := audit.OpenCheckpoint(c.Note, verifier(testKey(1), "other")); err == nil {
		t.Error("another name opens it")
	}
}
