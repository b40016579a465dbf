package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// TreeConfig is what a tree is made of.
type TreeConfig struct {
	DB        *store.DB
	Key       Key
	Origin    string    // of a log that has no checkpoint yet: one that has keeps its own
	Head      string    // file in which the newest checkpoint is kept outside the database; none if ""
	Witnesses []Witness // that are asked to cosign
	Quorum    int       // how many of them a checkpoint needs before it is served
	Post      Post      // reaches witnesses; needed if there are any
	Log       *slog.Logger
}

// Tree is the Merkle log over the leaves: it takes them in the order of the sequence,
// without gaps, and signs checkpoints. It is safe for concurrent use, also by several
// processes: a pass that another one overtakes changes nothing.
type Tree struct {
	TreeConfig
	asked witnessing
}

// NewTree returns the tree of a database.
func NewTree(c TreeConfig) *Tree {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Tree{TreeConfig: c}
}

// IntegrateBatch is how many leaves one checkpoint covers at most that the one before
// did not.
const IntegrateBatch = 16384

const qLeavesAfter store.Q = `SELECT e.seq, l.body FROM event e LEFT JOIN leaf l ON l.pos = e.pos WHERE e.seq > $1 ORDER BY e.seq LIMIT $2`

var errOvertaken = errors.New("audit: another process has integrated meanwhile")

// Integrate takes what leaves there are into the tree. It signs nothing over a log that
// it does not find as the last checkpoint says.
func (t *Tree) Integrate(ctx context.Context) error {
	for {
		n, err := t.integrate(ctx)
		if errors.Is(err, errOvertaken) {
			return nil
		}
		if err != nil || n < IntegrateBatch {
			return err
		}
	}
}

// growth is what one pass adds.
type growth struct {
	base   Checkpoint // on which it stands
	hashes []tlog.Hash
	marks  []byte
}

// cursorName is whose row in the table cursor says how far the tree has come. Who
// integrates writes it first, and so stands alone until the commit.
const cursorName = "tree"

func (t *Tree) integrate(ctx context.Context) (n int, err error) {
	g, s, err := t.next(ctx)
	if err != nil || len(g.hashes) == 0 {
		return 0, err
	}
	err = t.DB.Write(ctx, func(tx *store.Tx) error {
		if err := tx.SaveCursor(cursorName, g.base.Size+int64(len(g.hashes))); err != nil {
			return err
		}
		last, _, err := lastKept(&tx.View)
		if err != nil {
			return err
		}
		if last.size != g.base.Size {
			return errOvertaken
		}
		return g.store(tx, s, t.Quorum)
	})
	return len(g.hashes), err
}

// signer returns what signs the log's checkpoints: under the name that the log has.
func (t *Tree) signer(v *store.View) (s signer, last kept, err error) {
	origin := t.Origin
	last, found, err := lastKept(v)
	if err != nil {
		return s, last, err
	}
	if found {
		origin = OriginOf(last.note)
	}
	s, err = t.Key.signer(origin)
	return s, last, err
}

// next reads the leaves that the tree does not have.
func (t *Tree) next(ctx context.Context) (g growth, s signer, err error) {
	m := newMarker(t.Key)
	err = t.DB.Snapshot(ctx, func(v *store.View) error {
		g = growth{}
		var last kept
		if s, last, err = t.signer(v); err != nil {
			return err
		}
		if g.base.Origin = s.Name(); last.size > 0 {
			if g.base, err = last.open(s); err != nil {
				return fmt.Errorf("audit: nothing is integrated: %w", err)
			}
		}
		return v.All(qLeavesAfter, func(r *store.Row) error {
			seq := g.base.Size + int64(len(g.hashes)) + 1
			if r.Int(0) != seq || r.Null(1) {
				return fmt.Errorf("audit: nothing is integrated: leaf %d is missing", seq)
			}
			h := tlog.RecordHash(r.Bytes(1))
			g.hashes = append(g.hashes, h)
			g.marks = append(g.marks, m.mark(seq, h)...)
			return nil
		}, g.base.Size, int64(IntegrateBatch))
	})
	return g, s, err
}

// store adds the growth to the tree and signs it, after what was stored has been read
// back and found to be a tree that the last one is the beginning of.
func (g *growth) store(tx *store.Tx, s signer, quorum int) error {
	e, marks, err := readEdge(&tx.View, g.base.Size)
	if err != nil {
		return fmt.Errorf("nothing is integrated: %w", err)
	}
	if e.size > 0 && e.root() != g.base.Root {
		return fmt.Errorf("audit: nothing is integrated: the tiles are not those of the checkpoint of %d leaves", g.base.Size)
	}
	marks = bytes.Clone(marks)
	for i, h := range g.hashes {
		marks = append(marks, g.marks[i*markSize:(i+1)*markSize]...)
		if err := e.add(h, func(level int, n int64, hashes []tlog.Hash) error {
			full := tile{level: level, n: n, hashes: appendHashes(nil, hashes)}
			if level == 0 {
				full.marks, marks = marks, nil
			}
			return full.put(tx)
		}); err != nil {
			return err
		}
	}
	for level, row := range e.rows {
		if len(row) == 0 {
			continue
		}
		part := tile{level: level, n: e.size >> (tileHeight * (level + 1)), hashes: appendHashes(nil, row)}
		if level == 0 {
			part.marks = marks
		}
		if err := part.put(tx); err != nil {
			return err
		}
	}
	c := Checkpoint{Origin: g.base.Origin, Size: e.size, Root: e.root()}
	if err := proveGrowth(&tx.View, g.base, c); err != nil {
		return err
	}
	if err := c.seal(s); err != nil {
		return fmt.Errorf("audit: sign a checkpoint: %w", err)
	}
	if _, err := OpenCheckpoint(c.Note, s); err != nil {
		return err
	}
	return keep(tx, c, quorum)
}

// proveGrowth reads what is stored and fails unless it is a tree with the root of c, of
// which base is the beginning.
func proveGrowth(v *store.View, base, c Checkpoint) error {
	r := &stored{view: v}
	root, err := tlog.TreeHash(c.Size, r)
	if err == nil && root != c.Root {
		err = fmt.Errorf("audit: the tiles of %d leaves have another root than the leaves", c.Size)
	}
	if err != nil || base.Size == 0 {
		return err
	}
	return consistent(r, base, c)
}

// consistent fails unless the tree of c begins with the tree of base.
func consistent(r tlog.HashReader, base, c Checkpoint) error {
	p, err := tlog.ProveTree(c.Size, base.Size, r)
	if err == nil {
		err = tlog.CheckTree(p, c.Size, c.Root, base.Size, base.Root)
	}
	if err != nil {
		return fmt.Errorf("audit: the log of %d leaves does not begin with that of %d: %w", c.Size, base.Size, err)
	}
	return nil
}

// keep stores a checkpoint and drops those of the same hour that nobody needs any more:
// the newest that has its witnesses is the one that is served.
func keep(tx *store.Tx, c Checkpoint, quorum int) error {
	var served int64
	if quorum > 0 {
		if _, err := tx.One(qCheckpointSeen, func(r *store.Row) error { served = r.Int(0); return nil }, int64(quorum)); err != nil {
			return err
		}
	}
	hour := tx.Now() - tx.Now()%time.Hour.Microseconds()
	if _, err := tx.Exec(qCheckpointDrop, hour, c.Size, served); err != nil {
		return err
	}
	return tx.Batch(qCheckpointKeep, c.Size, tx.Now(), int64(c.Witnesses), string(c.Note))
}

// State is how far the log has come.
type State struct {
	Origin string
	Key    string     // under which its checkpoints verify
	Last   Checkpoint // the newest
	Served Checkpoint // the newest that has its witnesses
	Leaves int64      // there are, in the tree or not
	Quorum int        // witnesses that a checkpoint needs to be served
}

// Current reads how far the log has come.
func (t *Tree) Current(v *store.View) (st State, err error) {
	st.Quorum = t.Quorum
	s, last, err := t.signer(v)
	if err != nil {
		return st, err
	}
	st.Origin = s.Name()
	if st.Key, err = t.Key.Public(st.Origin); err != nil {
		return st, err
	}
	if st.Leaves, err = v.LastSequence(); err != nil || last.size == 0 {
		return st, err
	}
	if st.Last, err = last.open(s); err != nil {
		return st, err
	}
	st.Served, err = t.served(v, s, st.Last)
	return st, err
}

// served returns the newest checkpoint that has its witnesses.
func (t *Tree) served(v *store.View, verifier note.Verifier, last Checkpoint) (Checkpoint, error) {
	if t.Quorum == 0 {
		return last, nil
	}
	var k kept
	found, err := v.One(qCheckpointSeen, func(r *store.Row) error { k = scanKept(r); return nil }, int64(t.Quorum))
	if err != nil || !found {
		return Checkpoint{}, err
	}
	return k.open(verifier)
}

var errNone = act.Errorf(act.NotFound, "there is no checkpoint yet").WithRule("audit.none").
	WithHint("the first is signed within seconds of the first act; where witnesses are wanted, when enough of them have cosigned it")
