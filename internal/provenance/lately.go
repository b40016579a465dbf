package provenance

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What is looked at of what an author was shown does not grow with its history.
const (
	likeWindow = 2048 // showings of texts, the last before it wrote
	likeParts  = 16   // sealed parts of the log, the last ones

	qSegmentBefore store.Q = `SELECT id, last_seq, head FROM segment WHERE id < $1 ORDER BY id DESC LIMIT 1`
)

// glimpse is what an author was shown lately.
type glimpse struct {
	before int64           // the number of what it wrote then
	texts  []seenAfter     // as they were recorded, the last one first
	all    map[act.ID]bool // and those that were counted when they were shown again
	since  int64           // whatever it was shown after that event is among them
	n      int             // showings before it wrote
	full   bool            // nothing more is looked at
}

// seenAfter is a text that an agent was shown, after an event; -1 where that has no number yet.
type seenAfter struct {
	ref   act.Ref
	after int64
}

// take adds a page that comes before all that have been taken.
func (g *glimpse) take(x *Exposure) {
	if g.full {
		return
	}
	if g.n >= likeWindow {
		g.full, g.since = true, x.AfterSeq
		return
	}
	for _, ref := range x.Items {
		if kind := ref.ID.Kind(); kind != act.KindPost && kind != act.KindComment {
			continue
		}
		if g.all[ref.ID] = true; !x.Again {
			g.texts = append(g.texts, seenAfter{ref, x.AfterSeq})
		}
		if x.AfterSeq >= 0 && x.AfterSeq < g.before {
			g.n++
		}
	}
}

// last returns the texts that were shown last before something was written, each once.
func (g *glimpse) last(written int64, most int) (list []act.Ref) {
	had := make(map[act.ID]bool, most)
	for _, s := range g.texts {
		if len(list) == most {
			break
		}
		if s.after >= 0 && s.after < written && !had[s.ref.ID] {
			had[s.ref.ID] = true
			list = append(list, s.ref)
		}
	}
	return list
}

// lately reads what authors were shown, for all of them in one pass from the end of the log
// backwards: until each has enough, its window is full, or so many parts were looked at.
func lately(v *store.View, of map[act.ID]*glimpse, enough func(author act.ID, g *glimpse) bool) error {
	var pages []Exposure
	keep := func(x Exposure) error {
		if g := of[x.Reader]; g != nil && !g.full {
			pages = append(pages, x)
		}
		return nil
	}
	take := func() {
		for i := len(pages) - 1; i >= 0; i-- {
			of[pages[i].Reader].take(&pages[i])
		}
		pages = pages[:0]
	}
	// What is sealed between two questions is met in both, or in the segment only: the
	// tail comes first.
	if err := v.All(qTailAll, func(r *store.Row) error { return pagesOf(r, keep) }, int64(0)); err != nil {
		return err
	}
	slices.SortFunc(pages, func(a, b Exposure) int { // what has no number yet is the newest
		return cmp.Or(cmp.Compare(uint64(a.AfterSeq), uint64(b.AfterSeq)), cmp.Compare(a.Pos, b.Pos), cmp.Compare(a.Ord, b.Ord)) //nolint:gosec // -1 is the greatest then
	})
	take()
	for id, left := int64(math.MaxInt64), likeParts; ; left-- {
		last, head := int64(-1), []byte(nil)
		if _, err := v.One(qSegmentBefore, func(r *store.Row) error { id, last, head = r.Int(0), r.Int(1), r.Bytes(2); return nil }, id); err != nil {
			return err
		}
		open := 0
		for author, g := range of {
			if !g.full {
				g.since = last
				g.full = enough(author, g)
			}
			if !g.full {
				open++
			}
		}
		if head == nil || left == 0 || open == 0 {
			return nil
		}
		if err := sealedPages(v, id, head, of, keep); err != nil {
			return fmt.Errorf("segment %d: %w", id, err)
		}
		take()
	}
}

// sealedPages reads the pages of a segment, if it has any of those who have not enough.
func sealedPages(v *store.View, id int64, head []byte, of map[act.ID]*glimpse, keep func(Exposure) error) error {
	s, err := openSegment(head)
	if err != nil {
		return err
	}
	wanted := func(reader act.ID) bool { g := of[reader]; return g != nil && !g.full }
	if s.kind != sealedExposures || !slices.ContainsFunc(s.keys, wanted) {
		return nil
	}
	var body []byte
	if _, err := v.One(qSegment, func(r *store.Row) error { body = r.Bytes(1); return nil }, id); err != nil {
		return err
	}
	return s.exposures(body, wanted, keep)
}
