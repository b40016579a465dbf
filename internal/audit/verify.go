package audit

import (
	"context"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// MaxProblems bounds how many problems a report spells out.
const MaxProblems = 100

// Report is what Verify found.
type Report struct {
	Leaves   int64     // leaves of numbered events that were looked at
	Waiting  int64     // committed events that have no sequence number yet (PostgreSQL)
	Bad      int64     // problems found
	Problems []Problem // the first MaxProblems of them
}

// Problem is one place where the record is not as it must be.
type Problem struct {
	Seq  int64 // 0 for an event without a number or a leaf without an event
	Pos  int64
	What string
}

// OK reports whether the record is whole.
func (r Report) OK() bool { return r.Bad == 0 }

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

// Verify walks the whole record in one snapshot of the database, in the order
// of the sequence, and reports where it is not whole: sequence numbers that are
// not dense from 1, an event without a leaf or a leaf without an event, a body
// that is not a canonical leaf, and an event row that disagrees with its leaf on
// act, thing, actor or time. It holds one page of rows in memory. An error means
// that the walk could not be finished, not that something was found.
func Verify(ctx context.Context, db *store.DB, codec *act.Codec) (Report, error) {
	var r Report
	err := db.Snapshot(ctx, func(v *store.View) error {
		c := check{report: &r, codec: codec}
		for {
			n, err := c.page(ctx, v, qVerifyNumbered, &c.seq)
			if err != nil {
				return err
			}
			if r.Leaves += n; n < verifyPage {
				break
			}
		}
		for {
			n, err := c.page(ctx, v, qVerifyWaiting, &c.pos)
			if err != nil {
				return err
			}
			if r.Waiting += n; n < verifyPage {
				break
			}
		}
		// One page is enough: more orphans than that are not told apart anyway.
		return v.All(qVerifyOrphans, func(row *store.Row) error {
			r.add(0, row.Int(0), "a leaf without an event")
			return nil
		}, -1, verifyPage)
	})
	return r, err
}

// check is a walk in progress.
type check struct {
	report  *Report
	codec   *act.Codec
	seq     int64 // of the last numbered event
	pos     int64 // of the last event without a number
	scratch []byte
}

// page looks at the next page of rows after *after and moves it.
func (c *check) page(ctx context.Context, v *store.View, q store.Q, after *int64) (n int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("verify the record: %w", err)
	}
	err = v.All(q, func(row *store.Row) error {
		n++
		seq, pos := row.Int(0), row.Int(1)
		if seq == 0 {
			c.pos = pos
		} else {
			if seq != c.seq+1 {
				c.report.add(seq, pos, "event %d follows event %d", seq, c.seq)
			}
			c.seq = seq
		}
		c.row(row, seq, pos)
		return nil
	}, *after, verifyPage)
	return n, err
}

// row compares an event with its leaf.
func (c *check) row(row *store.Row, seq, pos int64) {
	if row.Null(7) {
		c.report.add(seq, pos, "an event without a leaf")
		return
	}
	leaf, err := Parse(row.Bytes(7))
	if err != nil {
		c.report.add(seq, pos, "%v", err)
		return
	}
	if name := row.Text(2); leaf.Act != name {
		c.report.add(seq, pos, "the event says act %q, the leaf %q", name, leaf.Act)
	}
	ref := leaf.Out
	if ref.ID == "" {
		ref = leaf.Target
	}
	if id := row.ID(3); !c.same(id, ref.ID) || row.Int(4) != ref.Version || id != 0 && id.Kind().String() != ref.Kind {
		c.report.add(seq, pos, "the event says thing %s version %d, the leaf %s version %d",
			c.codec.String(id), row.Int(4), ref.ID, ref.Version)
	}
	who := leaf.Principal.ID
	if leaf.Principal.Kind != act.Agent.String() && leaf.Principal.Kind != act.Operator.String() {
		who = ""
	}
	if id := row.ID(5); !c.same(id, who) {
		c.report.add(seq, pos, "the event says actor %s, the leaf %s", c.codec.String(id), who)
	}
	if at := row.Int(6); at != leaf.At {
		c.report.add(seq, pos, "the event says time %d, the leaf %d", at, leaf.At)
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
