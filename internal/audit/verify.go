package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// MaxProblems bounds how many problems a report spells out.
const MaxProblems = 100

// Report is what Verify found.
type Report struct {
	Leaves      int64              // leaves of numbered events that were looked at
	Waiting     int64              // committed events that have no sequence number yet (PostgreSQL)
	Tree        int64              // leaves that the last checkpoint covers
	Checkpoints int64              // that were looked at
	Blocks      map[int64][32]byte // digest of each sealed segment of what was shown, by its number
	Bad         int64              // problems found
	Problems    []Problem          // the first MaxProblems of them
}

// Problem is one place where the record is not as it must be. Seq is the number of the
// first leaf that is wrong there.
type Problem struct {
	Seq  int64 // 0 for an event without a number or a leaf without an event
	Pos  int64
	What string
}

// First returns the problem with the lowest number; one that has none comes last.
func (r Report) First() (first Problem) {
	for i, p := range r.Problems {
		if i == 0 || p.Seq > 0 && (first.Seq == 0 || p.Seq < first.Seq) {
			first = p
		}
	}
	return first
}

// OK reports whether the record is whole.
func (r Report) OK() bool { return r.Bad == 0 }

// Add notes a problem that somebody else has found at a leaf.
func (r *Report) Add(seq int64, format string, args ...any) { r.add(seq, 0, format, args...) }

func (r *Report) add(seq, pos int64, format string, args ...any) {
	r.Bad++
	if len(r.Problems) < MaxProblems {
		r.Problems = append(r.Problems, Problem{seq, pos, fmt.Sprintf(format, args...)})
	}
}

const verifyPage = 1000

const (
	columns = `e.pos, e.act, e.ref, e.version, e.actor, e.at, l.body`

	qVerifyNumbered store.Q = `SELECT e.seq, ` + columns + ` FROM event e LEFT JOIN leaf l ON l.pos = e.pos
WHERE e.seq > $1 ORDER BY e.seq LIMIT $2`
	qVerifyWaiting store.Q = `SELECT CAST(0 AS BIGINT), ` + columns + ` FROM event e LEFT JOIN leaf l ON l.pos = e.pos
WHERE e.seq IS NULL AND e.pos > $1 ORDER BY e.pos LIMIT $2`
	qVerifyOrphans store.Q = `SELECT l.pos FROM leaf l
WHERE l.pos > $1 AND NOT EXISTS (SELECT 1 FROM event e WHERE e.pos = l.pos) ORDER BY l.pos LIMIT $2`
)

// Verifying is what a record is held against.
type Verifying struct {
	Codec *act.Codec
	Key   Key      // of the network's ring
	Kept  [][]byte // checkpoints that were kept outside the database
	// Witnesses vouch for checkpoints beside the log's own key. Optional.
	Witnesses []Witness
	Watch     func(leaves int64) // is told how many have been looked at; optional
}

// Verify walks the whole record in one snapshot of the database, in the order
// of the sequence, and reports where it is not whole: sequence numbers that are
// not dense from 1, an event without a leaf or a leaf without an event, a body
// that is not a canonical leaf, an event row that disagrees with its leaf on
// act, thing, actor or time; a leaf that is not the one that the tree has, a tile or a
// checkpoint that is not that of the leaves, a signature that is not good, and a log that
// does not go on from a kept checkpoint. It holds one page of rows in memory. An error
// means that the walk could not be finished, not that something was found.
func Verify(ctx context.Context, db *store.DB, with Verifying) (Report, error) {
	var r Report
	err := db.Snapshot(ctx, func(v *store.View) error {
		r = Report{Blocks: make(map[int64][32]byte)}
		c := check{report: &r, codec: with.Codec, marks: newMarker(with.Key), found: Report{Blocks: r.Blocks}}
		defer c.beside.Wait() // when an error cuts the walk short
		var err error
		if c.tree, err = newWalk(v, &r, with); err != nil {
			return err
		}
		for after := int64(0); ; {
			n, err := c.page(ctx, v, qVerifyNumbered, &after)
			if err != nil {
				return err
			}
			if r.Leaves += n; n < verifyPage {
				break
			}
			if with.Watch != nil {
				with.Watch(r.Leaves)
			}
		}
		if err := c.settle(); err != nil {
			return err
		}
		if err := c.tree.end(c.seq); err != nil {
			return err
		}
		for after := int64(0); ; {
			n, err := c.page(ctx, v, qVerifyWaiting, &after)
			if err != nil {
				return err
			}
			if r.Waiting += n; n < verifyPage {
				break
			}
		}
		if err := c.settle(); err != nil {
			return err
		}
		// One page is enough: more orphans than that are not told apart anyway.
		return v.All(qVerifyOrphans, func(row *store.Row) error {
			r.add(0, row.Int(0), "a leaf without an event")
			return nil
		}, -1, verifyPage)
	})
	// By number, those that have one first: not all were found in that order.
	slices.SortStableFunc(r.Problems, func(a, b Problem) int { return cmp.Compare(uint64(a.Seq-1), uint64(b.Seq-1)) })
	return r, err
}

// check is a walk in progress. While a page is read, the page before it is looked at
// beside: each leaf against its event, and its hash and mark. What is left, the tree, is
// walked when that is done.
type check struct {
	report *Report
	codec  *act.Codec
	tree   *walk
	seq    int64     // of the last numbered event
	pages  [2][]pair // one is read while the other is looked at
	last   []pair    // of them, the one that is looked at

	beside  sync.WaitGroup
	marks   *marker // of who is beside, as the two below
	scratch []byte
	found   Report // read when they are done
}

// pair is an event with its leaf.
type pair struct {
	seq, pos   int64
	act        string
	ref, actor act.ID
	version    int64
	at         int64
	body       []byte // nil: there is no leaf
	hash       tlog.Hash
	mark       [markSize]byte
}

// page reads the page of rows after *after and moves it.
func (c *check) page(ctx context.Context, v *store.View, q store.Q, after *int64) (n int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("verify the record: %w", err)
	}
	rows := c.pages[0][:0]
	if err := v.All(q, func(r *store.Row) error {
		p := pair{seq: r.Int(0), pos: r.Int(1), act: r.Text(2), ref: r.ID(3), version: r.Int(4), actor: r.ID(5), at: r.Int(6)}
		if !r.Null(7) {
			if p.body = r.Bytes(7); p.body == nil {
				p.body = []byte{} // it is there, and empty
			}
		}
		if *after = p.seq; p.seq == 0 {
			*after = p.pos
		}
		rows = append(rows, p)
		return nil
	}, *after, int64(verifyPage)); err != nil {
		return 0, err
	}
	if err := c.settle(); err != nil {
		return 0, err
	}
	c.pages[0], c.pages[1], c.last = c.pages[1], rows, rows
	c.beside.Go(func() {
		for i := range rows {
			p := &rows[i]
			c.pair(p)
			p.hash = tlog.RecordHash(p.body)
			copy(p.mark[:], c.marks.mark(p.seq, p.hash))
		}
	})
	return int64(len(rows)), nil
}

// settle waits for who is beside, takes over what was found there, and walks the tree over
// the page.
func (c *check) settle() error {
	c.beside.Wait()
	for _, p := range c.found.Problems {
		c.report.add(p.Seq, p.Pos, "%s", p.What)
	}
	c.report.Bad += c.found.Bad - int64(len(c.found.Problems))
	c.found.Bad, c.found.Problems = 0, nil
	for i := range c.last {
		p := &c.last[i]
		if p.seq == 0 {
			continue
		}
		if p.seq != c.seq+1 {
			c.report.add(c.seq+1, p.pos, "event %d follows event %d", p.seq, c.seq)
		}
		c.seq = p.seq
		if err := c.tree.leaf(p); err != nil {
			return err
		}
	}
	c.last = nil
	return nil
}

// pair compares an event with its leaf.
func (c *check) pair(p *pair) {
	if p.body == nil {
		c.found.add(p.seq, p.pos, "an event without a leaf")
		return
	}
	leaf, err := Parse(p.body)
	if err != nil {
		c.found.add(p.seq, p.pos, "%v", err)
		return
	}
	if segment, digest, ok := blockOf(&leaf); ok && p.seq > 0 {
		c.found.Blocks[segment] = digest
	}
	if leaf.Act != p.act {
		c.found.add(p.seq, p.pos, "the event says act %q, the leaf %q", p.act, leaf.Act)
	}
	ref := leaf.Out
	if ref.ID == "" {
		ref = leaf.Target
	}
	if !c.same(p.ref, ref.ID) || p.version != ref.Version || p.ref != 0 && p.ref.Kind().String() != ref.Kind {
		c.found.add(p.seq, p.pos, "the event says thing %s version %d, the leaf %s version %d",
			c.codec.String(p.ref), p.version, ref.ID, ref.Version)
	}
	who := leaf.Principal.ID
	if leaf.Principal.Kind != act.Agent.String() && leaf.Principal.Kind != act.Operator.String() {
		who = ""
	}
	if !c.same(p.actor, who) {
		c.found.add(p.seq, p.pos, "the event says actor %s, the leaf %s", c.codec.String(p.actor), who)
	}
	if p.at != leaf.At {
		c.found.add(p.seq, p.pos, "the event says time %d, the leaf %d", p.at, leaf.At)
	}
}

// same reports whether outside is the outside form of id; "" is that of 0.
func (c *check) same(id act.ID, outside string) bool {
	if id == 0 {
		return outside == ""
	}
	c.scratch = c.codec.Append(c.scratch[:0], id)
	return string(c.scratch) == outside
}
