package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Fetch reads a file of a log in the layout of C2SP tlog-tiles, like "checkpoint" or
// "tile/0/x001/234": from a server, or from a bundle.
type Fetch func(ctx context.Context, path string) ([]byte, error)

// Inspection is what of a log is looked at by somebody who trusts a key and nobody else.
type Inspection struct {
	Key       string   // the log's, as its auditor has pinned it
	Witnesses []string // keys of witnesses that must have cosigned, all of them
	From, To  int64    // numbers of leaves; all if 0
	Kept      [][]byte // checkpoints from elsewhere, with which the log must agree
	Watch     func(seq int64)
	Each      func(seq int64, leaf Leaf) // is called with every good leaf; optional
}

// Inspected is what was found.
type Inspected struct {
	Report
	Checkpoint Checkpoint
	From, To   int64
}

// inspectBatch is how many tiles of leaves are looked at together: hashes above them are
// then hashed once.
const inspectBatch = 16

// Inspect checks a log as it is served or was exported: that the checkpoint is signed, that
// all hashes are those of its tree, and that every leaf is canonical and in its place. An
// error means that there is nothing to check; what is wrong is in the report.
func Inspect(ctx context.Context, fetch Fetch, in Inspection) (out Inspected, err error) {
	v, err := note.NewVerifier(in.Key)
	if err != nil {
		return out, act.Errorf(act.Invalid, "the key of the log: %w", err).WithRule("audit.key").WithHint("it has the form NAME+HASH+KEY: compare it with what the operators of the network have published")
	}
	raw, err := fetch(ctx, "checkpoint")
	if err != nil {
		return out, err
	}
	out.From, out.To = max(in.From, 1), in.To
	if out.Checkpoint, err = OpenCheckpoint(raw, v); err != nil {
		out.add(out.From, 0, "%v", err)
		return out, nil
	}
	size := out.Checkpoint.Size
	if out.To == 0 || out.To > size {
		out.To = size
	}
	out.Tree, out.Checkpoints = size, 1
	i := &inspector{Inspected: &out, in: in, fetch: fetch, ctx: ctx, tiles: make(map[tlog.Tile][]byte)}
	i.read = tlog.TileHashReader(tlog.Tree{N: size, Hash: out.Checkpoint.Root}, i)
	i.witnesses(v)
	i.kept(v)
	for n := (out.From - 1) >> tileHeight; n<<tileHeight < out.To; n += inspectBatch {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		last := min(n+inspectBatch, (out.To-1)>>tileHeight+1)
		if err := i.tilesOf(n, last); err != nil {
			return out, err
		}
		if in.Watch != nil {
			in.Watch(min(last<<tileHeight, out.To))
		}
	}
	if i.unsure != nil && out.OK() {
		out.add(i.unsure.Seq, 0, "%s", i.unsure.What)
	}
	return out, nil
}

// inspector is an inspection in progress. It reads tiles for package tlog, which finds out
// whether they are those of the tree.
type inspector struct {
	*Inspected
	in    Inspection
	ctx   context.Context //nolint:containedctx // package tlog passes none on
	fetch Fetch
	read  tlog.HashReader
	mu    sync.Mutex           // tlog may ask for tiles at once
	tiles map[tlog.Tile][]byte // guarded by mu: of the levels above the leaves

	unsure *Problem // the first tile that is good in itself, and not shown to be of the tree
}

func (i *inspector) Height() int { return tileHeight }

func (i *inspector) SaveTiles([]tlog.Tile, [][]byte) {}

func (i *inspector) ReadTiles(tiles []tlog.Tile) (out [][]byte, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, t := range tiles {
		data, known := i.tiles[t]
		if !known {
			if data, err = i.fetch(i.ctx, TilePath(strconv.Itoa(t.L), t.N, t.W)); err != nil {
				return nil, err
			}
			if t.L > 0 {
				i.tiles[t] = data
			}
		}
		if len(data) != t.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %d/%d has %d bytes, want %d", t.L, t.N, len(data), t.W*tlog.HashSize)
		}
		out = append(out, data)
	}
	return out, nil
}

// TilePath is where a tile is: of a level, or of "entries".
func TilePath(level string, n int64, width int) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/", n%1000) + path
	}
	if width < tileWidth {
		path += ".p/" + strconv.Itoa(width)
	}
	return "tile/" + level + "/" + path
}

// ParseTilePath reads the part of a tile's path that follows its level.
func ParseTilePath(path string) (n int64, width int, err error) {
	bad := act.Errorf(act.NotFound, "there is no tile %q", path).WithRule("audit.tile").WithHint("paths are those of C2SP tlog-tiles, like tile/0/x001/234 or tile/0/005.p/17")
	width = tileWidth
	number, part, partial := strings.Cut(path, ".p/")
	if partial {
		if width, err = strconv.Atoi(part); err != nil || width < 1 || width >= tileWidth || strconv.Itoa(width) != part {
			return 0, 0, bad
		}
	}
	parts := strings.Split(number, "/")
	for i, p := range parts {
		digits, more := strings.CutPrefix(p, "x")
		d, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || len(digits) != 3 || more != (i < len(parts)-1) || len(parts) > 5 || i == 0 && more && d == 0 {
			return 0, 0, bad
		}
		n = n*1000 + int64(d)
	}
	return n, width, nil
}

func (i *inspector) witnesses(log note.Verifier) {
	for _, key := range i.in.Witnesses {
		by, err := newCosigner(key)
		if err == nil {
			var has map[string]bool
			if has, err = cosigned(i.Checkpoint.Note, log, []*cosigner{by}); err == nil && !has[by.name] {
				err = fmt.Errorf("the witness %s has not cosigned the checkpoint", by.name)
			}
		}
		if err != nil {
			i.add(i.From, 0, "%v", err)
		}
	}
}

// kept holds the log against checkpoints from elsewhere.
func (i *inspector) kept(log note.Verifier) {
	for _, raw := range i.in.Kept {
		c, err := OpenCheckpoint(raw, log)
		if err != nil {
			i.add(1, 0, "a kept checkpoint: %v", err)
			continue
		}
		i.Checkpoints++
		if err := follows(i.read, c, i.Checkpoint); err != nil {
			i.add(min(c.Size, i.Checkpoint.Size)+1, 0, "%v", err)
		}
	}
}

// tilesOf looks at the leaves of some tiles: together, and if something is wrong there one
// by one, so that the first leaf that is wrong has a name.
func (i *inspector) tilesOf(first, last int64) error {
	hashes, err := i.hashes(first, last)
	if err != nil {
		if i.ctx.Err() != nil {
			return i.ctx.Err()
		}
		if last-first > 1 {
			for n := first; n < last; n++ {
				if err := i.tilesOf(n, n+1); err != nil {
					return err
				}
			}
			return nil
		}
		i.spoiled(first, err)
		return nil
	}
	for n := first; n < last; n++ {
		i.entries(n, hashes)
		hashes = hashes[min(len(hashes), width(i.Checkpoint.Size, 0, n)):]
	}
	return nil
}

// hashes returns those of the leaves of some tiles, as the signed tree has them.
func (i *inspector) hashes(first, last int64) ([]tlog.Hash, error) {
	var indexes []int64
	for n := first << tileHeight; n < min(last<<tileHeight, i.Checkpoint.Size); n++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, n))
	}
	return i.read.ReadHashes(indexes)
}

// leaves reads the leaves of a tile; what is wrong with them as a whole is noted.
func (i *inspector) leaves(n int64) [][]byte {
	w := width(i.Checkpoint.Size, 0, n)
	raw, err := i.fetch(i.ctx, TilePath("entries", n, w))
	var list [][]byte
	if err == nil {
		list, err = splitEntries(raw, w)
	}
	if err != nil {
		i.add(max(i.From, n<<tileHeight+int64(len(list))+1), 0, "%v", err)
	}
	return list[:min(len(list), w)]
}

// entries holds the leaves of a tile against their hashes.
func (i *inspector) entries(n int64, hashes []tlog.Hash) {
	for k, body := range i.leaves(n) {
		seq := n<<tileHeight + int64(k) + 1
		if seq < i.From || seq > i.To {
			continue
		}
		i.Leaves++
		if tlog.RecordHash(body) != hashes[k] {
			i.add(seq, 0, "the leaf is not the one that the signed tree has")
			continue
		}
		leaf, err := Parse(body)
		if err != nil {
			i.add(seq, 0, "%v", err)
			continue
		}
		if i.in.Each != nil {
			i.in.Each(seq, leaf)
		}
	}
}

// spoiled looks at a tile that cannot be shown to be of the signed tree, because it is not
// or because one is not that stands between it and the root. A leaf that is not under its
// hash, or a tile that is not under the hash above it, is where the log was changed.
func (i *inspector) spoiled(n int64, why error) {
	w := width(i.Checkpoint.Size, 0, n)
	there, err := i.fetch(i.ctx, TilePath("0", n, w))
	if err != nil || len(there) != w*tlog.HashSize {
		i.add(max(i.From, n<<tileHeight+1), 0, "the hashes of the leaves %d to %d: %v", n<<tileHeight+1, n<<tileHeight+int64(w), cmp.Or[error](err, why))
		return
	}
	found := false
	hashes := make([]tlog.Hash, w)
	for k := range w {
		hashes[k] = tlog.Hash(there[k*tlog.HashSize : (k+1)*tlog.HashSize])
	}
	for k, body := range i.leaves(n) {
		if seq := n<<tileHeight + int64(k) + 1; seq >= i.From && seq <= i.To && tlog.RecordHash(body) != hashes[k] {
			i.add(seq, 0, "the leaf is not under its hash, and the hash not under the signed root: %v", why)
			found = true
		}
	}
	if !found && w == tileWidth {
		above := width(i.Checkpoint.Size, 1, n>>tileHeight)
		up, err := i.fetch(i.ctx, TilePath("1", n>>tileHeight, above))
		at := int(n%tileWidth) * tlog.HashSize
		if err != nil || len(up) < at+tlog.HashSize || tlog.Hash(up[at:at+tlog.HashSize]) != perfect(hashes) {
			i.add(max(i.From, n<<tileHeight+1), 0, "the hashes of the leaves %d to %d are not those above them", n<<tileHeight+1, n<<tileHeight+int64(w))
			found = true
		}
	}
	if !found && i.unsure == nil {
		i.unsure = &Problem{Seq: max(i.From, n<<tileHeight+1), What: fmt.Sprintf("no leaf from here on can be shown to be under the signed root: %v", why)}
	}
}

// Since finds the first leaf of a log that was written at a time or after it: one more than
// there are leaves if none was.
func Since(ctx context.Context, fetch Fetch, size, at int64) (int64, error) {
	low, high := int64(0), (size+tileWidth-1)>>tileHeight // tiles: the wanted one is the last that begins before
	times := func(n int64) (list []int64, err error) {
		w := width(size, 0, n)
		raw, err := fetch(ctx, TilePath("entries", n, w))
		if err != nil {
			return nil, err
		}
		bodies, err := splitEntries(raw, w)
		for _, b := range bodies {
			l, bad := Parse(b)
			if err = errors.Join(err, bad); err != nil {
				return nil, err
			}
			list = append(list, l.At)
		}
		return list, err
	}
	for high-low > 1 {
		middle := low + (high-low)/2
		list, err := times(middle)
		if err != nil {
			return 0, err
		}
		if list[0] < at {
			low = middle
		} else {
			high = middle
		}
	}
	if size == 0 {
		return 1, nil
	}
	list, err := times(low)
	if err != nil {
		return 0, err
	}
	for k, t := range list {
		if t >= at {
			return low<<tileHeight + int64(k) + 1, nil
		}
	}
	return min(size, (low+1)<<tileHeight) + 1, nil
}
