package audit

import (
	"encoding/binary"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// The edge grows like package tlog's own tree: the same roots and the same tiles at every
// size.
func TestEdgeIsTheTreeOfTheLibrary(t *testing.T) {
	var e edge
	var hashes []tlog.Hash // as tlog stores them
	read := tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	for i := range int64(70_000) { // more than a tile of level 1
		data := binary.BigEndian.AppendUint64(nil, uint64(i))
		more, err := tlog.StoredHashes(i, data, read)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
		if err := e.add(tlog.RecordHash(data), func(level int, n int64, got []tlog.Hash) error {
			want, err := tlog.ReadTileData(tlog.Tile{H: tileHeight, L: level, N: n, W: tileWidth}, read)
			if err != nil || string(want) != string(appendHashes(nil, got)) {
				t.Errorf("the tile %d/%d is another one: %v", level, n, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if i < 1000 || i%997 == 0 || i > 69_990 || i&(i+1) == 0 {
			if want, err := tlog.TreeHash(i+1, read); err != nil || e.root() != want {
				t.Fatalf("the root of %d leaves is %v, want %v: %v", i+1, e.root(), want, err)
			}
		}
	}
	if (&edge{}).root().String() != "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" { // RFC 6962 §2.1
		t.Error("the empty tree has another root")
	}
}
