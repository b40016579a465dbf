package provenance

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qCheckSegment store.Q = `SELECT id, kind, first_seq, last_seq, first_at, last_at, pages, items, head, body
FROM segment WHERE id > $1 ORDER BY id LIMIT 1`
	qCheckTail store.Q = `SELECT pos, after_seq, agent, at, channel, again, count, items, trace, pages
FROM exposure ORDER BY pos`
)

// Report is what Check found.
type Report struct {
	Segments, Pages, Items int64                       // sealed; items are showings of one thing each
	Bytes                  int64                       // of the segments
	Waiting                int64                       // pages that are not sealed
	Digests                map[int64][sha256.Size]byte // of each segment, by its number, as the record has them
	Problems               []string
}

// maxProblems is how many problems a report names.
const maxProblems = 20

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Check reads all that is on record as shown and looks for what must not be:
// segments that were changed or are missing, pages out of order, twice, or that
// cannot be read. It reads a segment at a time.
func Check(ctx context.Context, db *store.DB) (Report, error) {
	var report Report
	err := db.Snapshot(ctx, func(v *store.View) error {
		report = Report{Digests: make(map[int64][sha256.Size]byte)}
		tail := make(map[int64]struct{})
		lowest := int64(-1)
		if err := v.All(qCheckTail, func(r *store.Row) error {
			tail[r.Int(0)] = struct{}{}
			if !r.Null(1) && (lowest < 0 || r.Int(1) < lowest) {
				lowest = r.Int(1)
			}
			report.Waiting += r.Int(9)
			if err := pagesOf(r, func(Exposure) error { return nil }); err != nil {
				report.problem("%v", err)
			}
			return nil
		}); err != nil {
			return err
		}
		c := checker{Report: &report, tail: tail}
		for {
			found, err := v.One(qCheckSegment, c.segment, c.id)
			if err != nil {
				return err
			}
			if !found {
				break
			}
		}
		if lowest >= 0 && lowest < c.after {
			report.problem("the log has a page after event %d, pages after event %d are sealed", lowest, c.after)
		}
		return nil
	})
	return report, err
}

// checker goes through the segments in their order.
type checker struct {
	*Report
	tail  map[int64]struct{} // positions in the log
	id    int64              // of the last segment
	after int64              // number of the last page
	same  map[[2]int64]bool  // places of the pages with that number
}

func (c *checker) segment(r *store.Row) error {
	id, head, body := r.Int(0), r.Bytes(8), r.Bytes(9)
	if c.id > 0 && id != c.id+1 {
		c.problem("segments %d to %d are missing", c.id+1, id-1)
	}
	c.id = id
	c.Segments++
	c.Digests[id] = digestOf(id, head, body)
	c.Bytes += int64(len(head) + len(body))
	s, err := openSegment(head)
	if err != nil {
		c.problem("segment %d: %v", id, err)
		return nil
	}
	var first, last Exposure
	n := int64(0)
	if err := s.exposures(body, everyone, func(x Exposure) error {
		if last = x; n == 0 {
			first = x
		}
		n++
		c.page(id, &x)
		return nil
	}); err != nil {
		c.problem("segment %d: %v", id, err)
		return nil
	}
	c.Pages += n
	c.Items += int64(s.items)
	says := [7]int64{r.Int(1), r.Int(2), r.Int(3), r.Int(4), r.Int(5), r.Int(6), r.Int(7)}
	has := [7]int64{int64(s.kind), first.AfterSeq, last.AfterSeq, first.At, last.At, n, int64(s.items)}
	if says != has {
		c.problem("segment %d: its row says %v, it has %v", id, says, has)
	}
	return nil
}

func (c *checker) page(id int64, x *Exposure) {
	switch {
	case x.AfterSeq < c.after:
		c.problem("segment %d: a page after event %d stands behind one after event %d", id, x.AfterSeq, c.after)
	case x.AfterSeq > c.after || c.same == nil:
		c.after, c.same = x.AfterSeq, make(map[[2]int64]bool)
	}
	place := [2]int64{x.Pos, x.Ord}
	if c.same[place] {
		c.problem("segment %d: the page at position %d, %d stands there twice", id, x.Pos, x.Ord)
	}
	c.same[place] = true
	if _, is := c.tail[x.Pos]; is {
		c.problem("segment %d: the page at position %d, %d is in the log as well", id, x.Pos, x.Ord)
	}
}
