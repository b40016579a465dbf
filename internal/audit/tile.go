package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qTile    store.Q = `SELECT hashes, marks FROM tile WHERE level = $1 AND n = $2`
	qTilePut store.Q = `INSERT INTO tile (level, n, hashes, marks) VALUES ($1, $2, $3, $4)
ON CONFLICT (level, n) DO UPDATE SET hashes = excluded.hashes, marks = excluded.marks`
	qTileAfter store.Q = `SELECT n FROM tile WHERE level = $1 AND n > $2 ORDER BY n LIMIT 1`
)

// tile is a stored tile.
type tile struct {
	level  int
	n      int64
	hashes []byte // tlog.HashSize each
	marks  []byte // markSize each; of level 0 only
}

// readTile reads a tile; one that is not there is empty.
func readTile(v *store.View, level int, n int64) (tile, error) {
	t := tile{level: level, n: n}
	_, err := v.One(qTile, func(r *store.Row) error { t.hashes, t.marks = r.Bytes(0), r.Bytes(1); return nil }, int64(level), n)
	return t, err
}

func (t *tile) put(tx *store.Tx) error {
	return tx.Batch(qTilePut, int64(t.level), t.n, t.hashes, t.marks)
}

func appendHashes(dst []byte, hashes []tlog.Hash) []byte {
	for i := range hashes {
		dst = append(dst, hashes[i][:]...)
	}
	return dst
}

// width is how many hashes a tile has in a tree of so many leaves.
func width(size int64, level int, n int64) int {
	return int(max(0, min(tileWidth, size>>(tileHeight*level)-n<<tileHeight)))
}

// levels is how many levels of tiles a tree of so many leaves has.
func levels(size int64) (n int) {
	for ; size>>(tileHeight*n) > 0; n++ {
	}
	return n
}

// stored gives the hashes of the tree to package tlog, as the database has them.
type stored struct {
	view *store.View
	last tile // what was read last: neighbours are asked for one after the other
}

func (s *stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, 0, len(indexes))
	for _, index := range indexes {
		at := tlog.TileForIndex(tileHeight, index)
		if s.last.hashes == nil || s.last.level != at.L || s.last.n != at.N {
			var err error
			if s.last, err = readTile(s.view, at.L, at.N); err != nil {
				return nil, err
			}
		}
		if len(s.last.hashes) < at.W*tlog.HashSize {
			return nil, fmt.Errorf("audit: tile %d/%d has %d bytes, and %d hashes of it are wanted", at.L, at.N, len(s.last.hashes), at.W)
		}
		h, err := tlog.HashFromTile(at, s.last.hashes[:at.W*tlog.HashSize], index)
		if err != nil {
			return nil, fmt.Errorf("audit: tile %d/%d: %w", at.L, at.N, err)
		}
		out = append(out, h)
	}
	return out, nil
}

// readEdge reads the right edge of a tree.
func readEdge(v *store.View, size int64) (*edge, []byte, error) {
	e := &edge{size: size}
	var marks []byte
	for level := range levels(size) {
		n := size >> (tileHeight * (level + 1))
		row := make([]tlog.Hash, 0, tileWidth)
		if w := width(size, level, n); w > 0 {
			t, err := readTile(v, level, n)
			if err != nil {
				return nil, nil, err
			}
			if len(t.hashes) != w*tlog.HashSize || level == 0 && len(t.marks) != w*markSize {
				return nil, nil, fmt.Errorf("audit: tile %d/%d is not as long as a tree of %d leaves has it", level, n, size)
			}
			for i := range w {
				row = append(row, tlog.Hash(t.hashes[i*tlog.HashSize:(i+1)*tlog.HashSize]))
			}
			if level == 0 {
				marks = t.marks
			}
		}
		e.rows = append(e.rows, row)
	}
	return e, marks, nil
}
