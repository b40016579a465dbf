package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/store"
)

// walk holds the leaves, as they come by, against tiles and checkpoints: it grows the tree
// anew beside the stored one.
type walk struct {
	view   *store.View
	report *Report
	signer signer
	by     []*cosigner

	size  int64  // leaves that the last checkpoint covers
	last  int64  // number of the last leaf
	grown edge   // of the leaves that came by, as far as they are in the tree
	tile  tile   // of level 0, in which the present leaf is
	heads []head // that are still ahead, by size
	next  []kept // rows of checkpoint that are still ahead
	good  int64  // size of the last checkpoint that the leaves agree with
	after int64  // size of the last row of next that was read
	lost  bool   // a leaf was wrong or missing: no root after it can be right
}

// head is a checkpoint from outside the database.
type head struct {
	Checkpoint
	what string
}

func newWalk(v *store.View, r *Report, with Verifying) (*walk, error) {
	w := &walk{view: v, report: r}
	for _, one := range with.Witnesses {
		w.by = append(w.by, one.by)
	}
	last, found, err := lastKept(v)
	if err != nil {
		return nil, err
	}
	origin := OriginOf(last.note)
	if !found && len(with.Kept) > 0 {
		origin = OriginOf(with.Kept[0])
	}
	if w.signer, err = with.Key.signer(origin); err != nil {
		// No checkpoint opens then, which is said of each; leaves and tiles are looked at.
		if w.signer, err = with.Key.signer("unnamed"); err != nil {
			return nil, err
		}
	}
	w.size = last.size
	for _, raw := range with.Kept {
		c, err := OpenCheckpoint(raw, w.signer)
		if err != nil {
			r.add(1, 0, "a kept checkpoint is of another log: %v", err)
			continue
		}
		w.heads = append(w.heads, head{c, "the kept checkpoint"})
	}
	slices.SortStableFunc(w.heads, func(a, b head) int { return int(a.Size - b.Size) })
	return w, w.fetch()
}

const checkpointPage = 100

// fetch reads more rows of checkpoint, if there are more.
func (w *walk) fetch() error {
	return w.view.All(qCheckpointFirst, func(r *store.Row) error {
		k := scanKept(r)
		w.next, w.after = append(w.next, k), k.size
		return nil
	}, w.after, int64(checkpointPage))
}

// wrong notes what is wrong from a leaf on.
func (w *walk) wrong(seq, pos int64, format string, args ...any) {
	w.lost = true
	w.report.add(seq, pos, format, args...)
}

// leaf takes the next leaf.
func (w *walk) leaf(p *pair) error {
	w.lost = w.lost || p.seq != w.last+1
	w.last = p.seq
	if p.seq <= w.size {
		w.report.Tree++
		if err := w.compare(p); err != nil {
			return err
		}
	}
	if !w.lost {
		if err := w.grown.add(p.hash, w.filled); err != nil {
			return err
		}
		if p.seq == w.size {
			w.margin()
		}
	}
	return w.reached(p.seq)
}

// compare holds a leaf against the hash in its place.
func (w *walk) compare(p *pair) error {
	n, i := (p.seq-1)>>tileHeight, int((p.seq-1)%tileWidth)
	if i == 0 || w.tile.hashes == nil || w.tile.n != n {
		var err error
		if w.tile, err = readTile(w.view, 0, n); err != nil {
			return err
		}
	}
	switch {
	case len(w.tile.hashes) < (i+1)*tlog.HashSize || len(w.tile.marks) < (i+1)*markSize:
		w.wrong(p.seq, p.pos, "the tree has no hash in its place")
	case tlog.Hash(w.tile.hashes[i*tlog.HashSize:(i+1)*tlog.HashSize]) != p.hash:
		w.wrong(p.seq, p.pos, "the leaf is not the one that was taken into the tree")
	case !bytes.Equal(w.tile.marks[i*markSize:(i+1)*markSize], p.mark[:]):
		w.wrong(p.seq, p.pos, "the leaf and its hash in the tree were made anew: the hash has not the network's mark")
	}
	return nil
}

// filled holds a tile that the leaves give against the stored one.
func (w *walk) filled(level int, n int64, hashes []tlog.Hash) error {
	if w.lost || (n+1)<<(tileHeight*(level+1)) > w.size {
		return nil
	}
	return w.same(level, n, hashes)
}

func (w *walk) same(level int, n int64, hashes []tlog.Hash) error {
	t, err := readTile(w.view, level, n)
	if err != nil {
		return err
	}
	want := appendHashes(nil, hashes)
	if bytes.Equal(t.hashes, want) && (level > 0 || len(t.marks) == len(hashes)*markSize) {
		return nil
	}
	i := 0
	for i < len(hashes) && len(t.hashes) >= (i+1)*tlog.HashSize && tlog.Hash(t.hashes[i*tlog.HashSize:(i+1)*tlog.HashSize]) == hashes[i] {
		i++
	}
	first := (n<<tileHeight+int64(i))<<(tileHeight*level) + 1
	w.wrong(min(first, w.size), 0, "the tile %d/%d is not that of the leaves", level, n)
	return nil
}

// reached holds the tree, when it has so many leaves, against the checkpoints of that size.
func (w *walk) reached(size int64) error {
	for len(w.next) > 0 && w.next[0].size <= size {
		k := w.next[0]
		if w.next = w.next[1:]; len(w.next) == 0 {
			if err := w.fetch(); err != nil {
				return err
			}
		}
		w.report.Checkpoints++
		c, err := k.open(w.signer)
		if err == nil {
			err = w.witnesses(c)
		}
		if err != nil {
			w.report.add(w.good+1, 0, "the checkpoint of %d leaves: %v", k.size, err)
			continue
		}
		w.root(c, "the checkpoint")
	}
	for len(w.heads) > 0 && w.heads[0].Size <= size {
		h := w.heads[0]
		w.heads = w.heads[1:]
		w.report.Checkpoints++
		w.root(h.Checkpoint, h.what)
	}
	return nil
}

func (w *walk) witnesses(c Checkpoint) error {
	if len(w.by) == 0 || c.Witnesses == 0 {
		return nil
	}
	has, err := cosigned(c.Note, w.signer, w.by)
	if err == nil && len(has) < min(c.Witnesses, len(w.by)) {
		err = fmt.Errorf("%d witnesses have cosigned it, and it is kept as cosigned by %d", len(has), c.Witnesses)
	}
	return err
}

// root compares roots, as long as all leaves were right.
func (w *walk) root(c Checkpoint, what string) {
	switch {
	case w.lost:
	case c.Size != w.grown.size || c.Root != w.grown.root():
		w.wrong(w.good+1, 0, "%s of %d leaves is not over these leaves: those after %d are others", what, c.Size, w.good)
	default:
		w.good = c.Size
	}
}

// end holds what is left against the stored tree, when the last leaf was number seq.
func (w *walk) end(seq int64) error {
	if seq < w.size {
		w.wrong(seq+1, 0, "the log ends with leaf %d, and its last checkpoint covers %d", seq, w.size)
	}
	for _, k := range w.next {
		if k.size > max(seq, w.size) {
			w.report.add(seq+1, 0, "the log ends with leaf %d, and there is a checkpoint of %d", seq, k.size)
		}
	}
	for _, h := range w.heads {
		w.wrong(seq+1, 0, "the log ends with leaf %d, and %s covers %d: the database is of an earlier time", seq, h.what, h.Size)
	}
	for level := range levels(w.size) + 1 {
		last := w.size>>(tileHeight*(level+1)) - 1
		if width(w.size, level, last+1) > 0 {
			last++
		}
		found, err := w.view.One(qTileAfter, func(*store.Row) error { return nil }, int64(level), last)
		if err != nil {
			return err
		}
		if found {
			w.wrong(w.size+1, 0, "the tree has tiles of level %d beyond its last checkpoint", level)
		}
	}
	return nil
}

// margin looks at the tiles that are not full, when all leaves that are in the tree have
// come by.
func (w *walk) margin() {
	e, _, err := readEdge(w.view, w.size)
	if err == nil && e.root() != w.grown.root() {
		err = errors.New("the tiles that are not full are not those of the leaves")
	}
	if err != nil {
		w.wrong(w.size, 0, "%v", err)
	}
}
