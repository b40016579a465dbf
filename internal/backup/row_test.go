package backup

import (
	"bytes"
	"math"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// FuzzRow reads rows of strangers' bytes: it never panics or reads beyond them,
// and what it reads is written so that it is read the same.
func FuzzRow(f *testing.F) {
	f.Add(appendRow(nil, []store.Value{{}, {Kind: store.ValueInt, Int: math.MinInt64}, {Kind: store.ValueText, Bytes: []byte("ü")}, {Kind: store.ValueBytes}}), uint8(4))
	f.Add([]byte{2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 'x'}, uint8(1))
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, uint8(1))
	f.Add([]byte{4}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, width uint8) {
		row := make([]store.Value, width%8)
		rest, err := cutRow(b, row)
		if err != nil {
			if act.CodeOf(err) != act.Invalid {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if !bytes.HasSuffix(b, rest) {
			t.Error("the rest is not the rest")
		}
		again := make([]store.Value, len(row))
		if left, err := cutRow(appendRow(nil, row), again); err != nil || len(left) != 0 {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		for i := range row {
			if row[i].Kind != again[i].Kind || row[i].Int != again[i].Int || !bytes.Equal(row[i].Bytes, again[i].Bytes) {
				t.Errorf("column %d is %+v, was %+v", i, again[i], row[i])
			}
		}
	})
}
