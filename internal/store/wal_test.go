package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const qLedgerGrow store.Q = `UPDATE exposure SET items = $2 WHERE pos = $1`

// The WAL stays within a bound however long writers and readers go on without a
// pause, and one that grew while a reader stayed gives its room back when that
// reader is gone, under the same load.
func TestWALIsBounded(t *testing.T) {
	const (
		limit = 32 << 20  // four times Config.WAL
		slack = 2 * limit // what is written while the WAL is moved and restarted
		piece = 1 << 20
	)
	cfg := store.Config{Dir: t.TempDir(), WAL: limit / 4}
	db := storetest.OpenConfig(t, cfg)
	l := newLedger(t, db)
	id, fn := l.act(t)
	if err := db.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
	number(t, db)
	pos := int64(0)
	if err := db.View(t.Context(), func(v *store.View) error {
		return v.All(qLedgerShown, func(r *store.Row) error {
			if r.ID(2) == id {
				pos = r.Int(0)
			}
			return nil
		})
	}); err != nil || pos == 0 {
		t.Fatalf("find the row that grows: %v", err)
	}

	size := func() int64 {
		info, err := os.Stat(filepath.Join(cfg.Dir, "reef.db-wal"))
		if err != nil {
			t.Error(err)
			return 0
		}
		return info.Size()
	}
	write := func(pieces int, each func()) {
		t.Helper()
		items := make([]byte, piece)
		for range pieces {
			_, _ = rand.Read(items) // pages that stay as they are would not be written
			if err := db.Write(t.Context(), func(tx *store.Tx) error {
				_, err := tx.Exec(qLedgerGrow, pos, items)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if each != nil {
				each()
			}
		}
	}

	// Readers who come and go, at every moment some.
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := db.Snapshot(ctx, func(v *store.View) error {
					return v.All(qLedgerShown, func(*store.Row) error { return nil })
				}); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}

	// How far past the limit it gets depends on the disk and on when readers let a
	// restart through; that it does not grow with what is written does not.
	total := full(600, 4000)
	write(total, func() {
		if n := size(); n > int64(total)*piece/2 {
			t.Fatalf("the WAL has %d MB of at most %d that were written without a pause", n>>20, total)
		}
	})

	// One who stays, as a backup does.
	left := errors.New("left")
	stay, gone := make(chan struct{}), make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		gone <- db.Snapshot(t.Context(), func(v *store.View) error {
			err := v.All(qLedgerShown, func(*store.Row) error { return nil })
			close(begun)
			<-stay
			return errors.Join(err, left)
		})
	}()
	<-begun
	for size() <= limit+slack { // without this the rest would show nothing
		write(10, nil)
	}
	close(stay)
	if err := <-gone; !errors.Is(err, left) || act.CodeOf(err) == act.Unavailable {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for size() > limit {
		if time.Now().After(deadline) {
			t.Fatalf("the WAL still has %d MB after its reader had gone", size()>>20)
		}
		write(10, nil)
	}
}
