package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qBulkAdd    store.Q = `INSERT INTO meta (name, value) VALUES ($1, $2)`
	qBulkCount  store.Q = `SELECT COUNT(*) FROM meta WHERE name = $1`
	qBulkDelete store.Q = `DELETE FROM meta WHERE name >= 'bulk-' AND name < 'bulk.'`
)

// disk is a database with little space, and what has been acknowledged on it.
type disk struct {
	*ledger
	bulk  int             // rows with a body, named bulk-N
	acked map[act.ID]bool // acts
	named map[string]bool // bulk rows
}

func newDisk(t *testing.T, cfg store.Config) *disk {
	return &disk{ledger: newLedger(t, storetest.OpenConfig(t, cfg)), acked: map[act.ID]bool{}, named: map[string]bool{}}
}

// group writes a group of acts of which each that has a size adds a row with a
// body of so many bytes. An act is stored and acknowledged, or it is
// unavailable and not stored; it returns how many were which.
func (d *disk) group(t *testing.T, sizes ...int) (stored, refused int) {
	t.Helper()
	ids, names, fns := make([]act.ID, len(sizes)), make([]string, len(sizes)), make([]func(*store.Tx) error, len(sizes))
	for i, size := range sizes {
		id, fn := d.act(t)
		ids[i], fns[i] = id, fn
		if size == 0 {
			continue
		}
		d.bulk++
		name, body := "bulk-"+strconv.Itoa(d.bulk), bytes.Repeat([]byte{byte(i)}, size)
		names[i] = name
		fns[i] = func(tx *store.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			_, err := tx.Exec(qBulkAdd, name, body)
			return err
		}
	}
	errs := together(t, d.db, fns...)
	now := d.check(t)
	for i, err := range errs {
		switch {
		case err == nil:
			stored++
			d.acked[ids[i]] = true
			if names[i] != "" {
				d.named[names[i]] = true
			}
		case act.CodeOf(err) == act.Unavailable && act.AsError(err).RetryAfter > 0:
			refused++
		default:
			t.Errorf("act %d: %v, want unavailable with a time to come back", i, err)
		}
		if now[ids[i]] != (err == nil) || names[i] != "" && d.has(t, names[i]) != (err == nil) {
			t.Errorf("act %d: error %v, but stored %v", i, err, now[ids[i]])
		}
	}
	return stored, refused
}

func (d *disk) has(t *testing.T, name string) (there bool) {
	t.Helper()
	if err := d.db.View(t.Context(), func(v *store.View) error {
		_, err := v.One(qBulkCount, func(r *store.Row) error { there = r.Int(0) == 1; return nil }, name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return there
}

// fill writes groups with bodies until every act of a group is refused.
func (d *disk) fill(t *testing.T, size int) {
	t.Helper()
	for range 1000 {
		if stored, _ := d.group(t, size, size, size, size); stored == 0 {
			return
		}
	}
	t.Fatal("the disk never got full")
}

// all reads everything that was acknowledged, after the database was opened again.
func (d *disk) all(t *testing.T, cfg store.Config) {
	t.Helper()
	if err := d.db.Close(); err != nil {
		t.Errorf("close on a full disk: %v", err)
	}
	d.db = storetest.OpenConfig(t, cfg)
	now := d.check(t)
	for id := range d.acked {
		if !now[id] {
			t.Errorf("act %d was acknowledged and is gone", id)
		}
	}
	if len(now) != len(d.acked) {
		t.Errorf("%d acts are stored, %d were acknowledged", len(now), len(d.acked))
	}
	for name := range d.named {
		if !d.has(t, name) {
			t.Errorf("row %s was acknowledged and is gone", name)
		}
	}
}

func (d *disk) empty(t *testing.T) {
	t.Helper()
	if err := d.db.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(qBulkDelete); return err }); err != nil {
		t.Errorf("delete on a full disk: %v", err)
	}
	clear(d.named)
}

// One act of a group does not fit: it gets 503, and so do all that SQLite threw
// out with it; the others are stored.
func TestDiskFullInsideAGroup(t *testing.T) {
	cfg := storetest.Config(t, store.SQLite)
	cfg.MaxBytes = 3 << 20
	d := newDisk(t, cfg)
	for i := range 3 { // the large act is the first, in the middle, the last to queue
		sizes := make([]int, 9)
		sizes[i*4] = 8 << 20
		if stored, refused := d.group(t, sizes...); refused == 0 {
			t.Errorf("%d acts were stored, one of them larger than the disk", stored)
		}
		if _, refused := d.group(t, 0, 0, 0); refused != 0 {
			t.Errorf("%d small acts were refused after the large one", refused)
		}
	}
	d.fill(t, 100_000)
	d.fill(t, 4000)
	for range 3 { // it stays refused, and cleanly
		if stored, _ := d.group(t, 100_000, 100_000); stored != 0 {
			t.Errorf("%d acts found room on a full disk", stored)
		}
	}
	d.all(t, cfg)
	d.empty(t)
	if _, refused := d.group(t, 0, 4000, 100_000, 0); refused != 0 {
		t.Errorf("%d acts were refused after space was freed", refused)
	}
	d.all(t, cfg)
}

const qBulkOrRollbackSQLite store.Q = `INSERT OR ROLLBACK INTO meta (name, value) VALUES ($1, $2)`

// SQLite may roll the whole transaction back under one act of a group, as it
// may on a full disk; here a statement makes it. Every act is told, the one that
// ignores the error and goes on among them, and nothing is stored.
func TestWholeGroupIsRolledBack(t *testing.T) {
	l := newLedger(t, storetest.Open(t, store.SQLite))
	if err := l.db.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(qBulkAdd, "there", []byte{1}); return err }); err != nil {
		t.Fatal(err)
	}
	for _, acts := range []int{1, 5} {
		for culprit := range acts {
			for _, ignores := range []bool{false, true} {
				fns := make([]func(*store.Tx) error, acts)
				for i := range fns {
					_, fn := l.act(t)
					fns[i] = fn
					if i == culprit {
						fns[i] = func(tx *store.Tx) error {
							if _, err := tx.Exec(qBulkOrRollbackSQLite, "there", []byte{2}); err == nil || !ignores {
								return err
							}
							_ = fn(tx)
							return nil
						}
					}
				}
				refused := 0
				for _, err := range together(t, l.db, fns...) {
					if err != nil {
						unavailable(t, "an act of the group", err)
						refused++
					}
				}
				// The writer's own order decides who is behind the culprit; the
				// acts of one group share its fate all the same.
				if stored := l.check(t); refused != acts || len(stored) != 0 {
					t.Errorf("culprit %d of %d, ignores %v: %d refused, %d stored", culprit, acts, ignores, refused, len(stored))
				}
			}
		}
	}
	id, fn := l.act(t)
	if err := l.db.Write(t.Context(), fn); err != nil || !l.check(t)[id] {
		t.Errorf("the write after: %v", err)
	}
}

// The same on a file system that is really full, where the log of SQLite cannot
// grow and every step of a commit may fail.
func TestFileSystemFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("reef-test", dir, "tmpfs", 0, "size=18m"); err != nil {
		t.Logf("NOT SHOWN HERE: a real file system that is full: mounting one: %v (needs root)", err)
		return
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	cfg := storetest.Config(t, store.SQLite)
	cfg.Dir = filepath.Join(dir, "data")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 9<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDisk(t, cfg)
	d.fill(t, 150_000)
	d.fill(t, 1000)
	rest := filepath.Join(dir, "rest") // not a byte is left
	if err := os.WriteFile(rest, make([]byte, 18<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	for range 3 {
		if stored, _ := d.group(t, 50_000, 50_000, 0, 50_000); stored != 0 {
			t.Errorf("%d acts found room on a full disk", stored)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if _, refused := d.group(t, 50_000, 0, 0, 1000); refused != 0 {
		t.Errorf("%d acts were refused after space was freed", refused)
	}
	d.all(t, cfg)
	if _, refused := d.group(t, 0, 1000); refused != 0 {
		t.Errorf("%d acts were refused after the database was opened again", refused)
	}
}
