package store_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qRowWrite store.Q = `INSERT INTO event (pos, seq, act, ref, version, actor, at) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	qRowRead  store.Q = `SELECT pos, seq, act, ref, version, actor, at FROM event WHERE pos = $1`
	qRowBytes store.Q = `SELECT value FROM meta WHERE name = $1`
)

// Arguments and columns mean the same on both databases, at their ends too.
func TestValuesMeanTheSame(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		text := "naïve\n\U0001f40b'\"\\"
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(qRowWrite, 1, nil, text, act.ID(math.MaxInt64), int64(math.MinInt64), true, false)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.View(t.Context(), func(v *store.View) error {
			found, err := v.One(qRowRead, func(r *store.Row) error {
				if r.Int(0) != 1 || !r.Null(1) || r.Int(1) != 0 || r.Text(2) != text || r.ID(3) != math.MaxInt64 ||
					r.Int(4) != math.MinInt64 || !r.Bool(5) || r.Bool(6) || r.Null(6) {
					t.Errorf("read %d %v %q %d %d %v %v", r.Int(0), r.Null(1), r.Text(2), r.ID(3), r.Int(4), r.Bool(5), r.Bool(6))
				}
				return nil
			}, 1)
			if !found {
				t.Error("the row is not there")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string][]byte{
			"bytes": {0, 1, 0xff, 0}, "empty": {}, "none": nil, "large": bytes.Repeat([]byte{7}, 1<<20),
		} {
			if err := db.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(qBulkAdd, name, value); return err }); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if err := db.View(t.Context(), func(v *store.View) error {
				_, err := v.One(qRowBytes, func(r *store.Row) error {
					if got := r.Bytes(0); !bytes.Equal(got, value) || r.Null(0) {
						t.Errorf("%s came back as %d bytes, NULL %v", name, len(got), r.Null(0))
					}
					return nil
				}, name)
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	})
}

// The value that a network was made with is pinned: another is refused.
func TestPin(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for i, value := range []string{"first", "first", "second"} {
			if err := db.Pin(t.Context(), "key", []byte(value)); (err != nil) != (i == 2) {
				t.Errorf("pin %q: %v", value, err)
			}
		}
	})
}
