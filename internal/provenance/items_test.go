package provenance

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
)

func TestItemsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var items []act.Ref
		for range rapid.IntRange(0, 40).Draw(t, "n") {
			items = append(items, act.Ref{ID: act.ID(rapid.Int64().Draw(t, "id")), Version: rapid.Int64().Draw(t, "version")})
		}
		got, err := DecodeItems(AppendItems(nil, items))
		if err != nil || !slices.Equal(got, items) {
			t.Fatalf("%v %v, want %v", got, err, items)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	good := AppendItems(nil, []act.Ref{{ID: 5, Version: 1}, {ID: math.MaxInt64, Version: 2}})
	for name, b := range map[string][]byte{
		"nothing":   {},
		"cut":       good[:len(good)-1],
		"more":      append(slices.Clone(good), 0),
		"too many":  AppendItems(nil, make([]act.Ref, MaxItems+1)),
		"a lie":     {200, 1, 0, 0},
		"long zero": {1, 0x80, 0, 0},
		"long n":    {0x81, 0, 2, 2},
		"overflow":  append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...),
	} {
		if items, err := DecodeItems(b); err == nil {
			t.Errorf("%s: accepted as %v", name, items)
		}
	}
	if items, err := DecodeItems(AppendItems(nil, make([]act.Ref, MaxItems))); err != nil || len(items) != MaxItems {
		t.Errorf("a full row: %d items, %v", len(items), err)
	}
}

func FuzzDecodeItems(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendItems(nil, []act.Ref{{ID: 1 << 60, Version: 1}, {ID: 1<<60 - 1<<30, Version: -1}}))
	f.Add([]byte{1, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := DecodeItems(b)
		if err != nil {
			return
		}
		if again := AppendItems(nil, items); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %v, whose coding is %x", b, items, again)
		}
	})
}
