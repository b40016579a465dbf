package provenance

import (
	"encoding/binary"
	"errors"

	"github.com/reefwarden/reefwarden/internal/act"
)

// MaxItems bounds how many items one row holds; a longer page takes several.
const MaxItems = 4096

// AppendItems appends the coding of a list of at most MaxItems items, in their
// order: their number (uvarint), then for each the difference of its id to the
// one before and its version (varints).
func AppendItems(dst []byte, items []act.Ref) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(items)))
	var last act.ID
	for _, it := range items {
		dst = binary.AppendVarint(dst, int64(it.ID-last))
		dst = binary.AppendVarint(dst, it.Version)
		last = it.ID
	}
	return dst
}

var errItems = errors.New("not a list of items")

// DecodeItems reads what AppendItems wrote. Every list has one coding; anything
// else is an error.
func DecodeItems(b []byte) ([]act.Ref, error) {
	n, b, ok := uvarint(b)
	if !ok || n > MaxItems || n > uint64(len(b))/2 { // an item takes two bytes at least
		return nil, errItems
	}
	items := make([]act.Ref, n)
	var last act.ID
	for i := range items {
		var delta, version uint64
		if delta, b, ok = uvarint(b); !ok {
			return nil, errItems
		}
		if version, b, ok = uvarint(b); !ok {
			return nil, errItems
		}
		last += act.ID(unzigzag(delta))
		items[i] = act.Ref{ID: last, Version: unzigzag(version)}
	}
	if len(b) > 0 {
		return nil, errItems
	}
	return items, nil
}

// uvarint takes one number off b; it refuses codings longer than needed.
func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
