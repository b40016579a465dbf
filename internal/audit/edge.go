package audit

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// Tiles are those of C2SP tlog-tiles: of a height of 8, so 256 hashes wide.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// edge is the right edge of a tree as it grows: at each level of tiles the hashes of
// the tile that is not full yet. The root follows from it.
type edge struct {
	size int64         // leaves
	rows [][]tlog.Hash // by level; fewer than tileWidth hashes each
}

// add appends the hash of a leaf, and calls full with every tile that it fills. What
// full gets is valid until it returns.
func (e *edge) add(h tlog.Hash, full func(level int, n int64, hashes []tlog.Hash) error) error {
	e.size++
	for level := 0; ; level++ {
		if level == len(e.rows) {
			e.rows = append(e.rows, make([]tlog.Hash, 0, tileWidth))
		}
		e.rows[level] = append(e.rows[level], h)
		if len(e.rows[level]) < tileWidth {
			return nil
		}
		if err := full(level, e.size>>(tileHeight*(level+1))-1, e.rows[level]); err != nil {
			return err
		}
		h = perfect(e.rows[level])
		e.rows[level] = e.rows[level][:0]
	}
}

// root returns the hash of the whole tree (RFC 6962 §2.1).
func (e *edge) root() tlog.Hash {
	if e.size == 0 {
		return sha256.Sum256(nil)
	}
	var root tlog.Hash
	first := true
	for _, row := range e.rows { // from the smallest subtrees, on the right, to the largest
		for rest := row; len(rest) > 0; {
			n := len(rest) & -len(rest)
			sub := perfect(rest[len(rest)-n:])
			rest = rest[:len(rest)-n]
			if first {
				root, first = sub, false
				continue
			}
			root = tlog.NodeHash(sub, root)
		}
	}
	return root
}

// perfect returns the root over a power of two of hashes.
func perfect(hashes []tlog.Hash) tlog.Hash {
	var room [tileWidth]tlog.Hash
	for row := room[:copy(room[:], hashes)]; len(row) > 1; row = row[:len(row)/2] {
		for i := range len(row) / 2 {
			row[i] = tlog.NodeHash(row[2*i], row[2*i+1])
		}
	}
	return room[0]
}
