package provenance

import (
	"context"
	"fmt"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What edges can begin and end in: readers, and what they are shown or make.
const (
	qCheckAgents      store.Q = `SELECT id FROM agent ORDER BY id`
	qCheckProfiles    store.Q = `SELECT id FROM profile ORDER BY id`
	qCheckOperators   store.Q = `SELECT id FROM operator ORDER BY id`
	qCheckCommunities store.Q = `SELECT id FROM community ORDER BY id`
	qCheckPosts       store.Q = `SELECT id FROM post ORDER BY id`
	qCheckComments    store.Q = `SELECT id FROM comment ORDER BY id`
	qCheckMessages    store.Q = `SELECT id FROM message ORDER BY id`
	qCheckTasks       store.Q = `SELECT id FROM task ORDER BY id`
	qCheckLabels      store.Q = `SELECT id FROM label ORDER BY id`
	qCheckImages      store.Q = `SELECT id FROM image ORDER BY id`
	qCheckApprovals   store.Q = `SELECT id FROM approval ORDER BY id`

	qCheckEdges  store.Q = `SELECT pos, ord, source, made FROM derivation ORDER BY pos, ord`
	qCheckActs   store.Q = `SELECT d.pos, d.ord FROM derivation AS d LEFT JOIN event AS e ON e.pos = d.pos WHERE e.pos IS NULL ORDER BY d.pos, d.ord LIMIT 20`
	qCheckEvents store.Q = `SELECT ref, target FROM event ORDER BY pos`
)

// endsIn are the tables that have what edges end in.
var endsIn = [...]store.Q{
	qCheckAgents, qCheckProfiles, qCheckOperators, qCheckCommunities, qCheckPosts, qCheckComments,
	qCheckMessages, qCheckTasks, qCheckLabels, qCheckImages, qCheckApprovals,
}

// ends is a set of ids, put into order now and then.
type ends struct {
	ids    []act.ID
	sorted int // so many are in order and each once
}

const endsAtOnce = 1 << 16 // so many come in before they are put into order

func (e *ends) add(id act.ID) {
	if e.ids = append(e.ids, id); len(e.ids) > 2*e.sorted+endsAtOnce {
		e.sort()
	}
}

func (e *ends) sort() {
	slices.Sort(e.ids)
	e.ids = slices.Compact(e.ids)
	e.sorted = len(e.ids)
}

// CheckEnds reads every edge, exposures and derivations, and looks for ends that
// never were: an end has its row, or, where retention dropped that, an act on
// record that made it or was aimed at it. It returns a line for each, maxProblems
// at most. It reads everything that ever happened: minutes on a large network.
func CheckEnds(ctx context.Context, db *store.DB) (problems []string, err error) {
	err = db.Snapshot(ctx, func(v *store.View) error {
		problems = nil
		var all ends
		if err := endsOf(v, &all); err != nil {
			return err
		}
		all.sort()
		missing := all.ids
		for _, q := range endsIn {
			if missing, err = without(v, q, missing); err != nil {
				return err
			}
		}
		if len(missing) > 0 {
			witnessed := make(map[act.ID]bool, len(missing))
			for _, id := range missing {
				witnessed[id] = false
			}
			if err := v.All(qCheckEvents, func(r *store.Row) error {
				for _, id := range []act.ID{r.ID(0), r.ID(1)} {
					if _, is := witnessed[id]; is {
						witnessed[id] = true
					}
				}
				return nil
			}); err != nil {
				return err
			}
			for _, id := range missing {
				// A picture that was replaced is dropped with its row, and acts name
				// whose picture it was, not the picture.
				if !witnessed[id] && id.Kind() != act.KindImage && len(problems) < maxProblems {
					problems = append(problems, fmt.Sprintf("an edge ends in the %s %d, which never was", id.Kind(), id))
				}
			}
		}
		return v.All(qCheckActs, func(r *store.Row) error {
			problems = append(problems, fmt.Sprintf("the edge at position %d, %d belongs to no act", r.Int(0), r.Int(1)))
			return nil
		})
	})
	return problems, err
}

// without takes those out that a table has.
func without(v *store.View, q store.Q, ids []act.ID) (rest []act.ID, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	at := 0
	err = v.All(q, func(r *store.Row) error {
		id := r.ID(0)
		for at < len(ids) && ids[at] < id {
			rest = append(rest, ids[at])
			at++
		}
		if at < len(ids) && ids[at] == id {
			at++
		}
		return nil
	})
	return append(rest, ids[at:]...), err
}

// endsOf collects what every edge begins and ends in.
func endsOf(v *store.View, all *ends) error {
	page := func(x Exposure) error {
		if x.Reader != 0 { // the observers are nobody in particular
			all.add(x.Reader)
		}
		for _, it := range x.Items {
			all.add(it.ID)
		}
		return nil
	}
	for after := int64(0); ; {
		found, err := v.One(qCheckSegment, func(r *store.Row) error {
			after = r.Int(0)
			s, err := openSegment(r.Bytes(8))
			if err == nil && s.kind == sealedExposures {
				err = s.exposures(r.Bytes(9), everyone, page)
			}
			if err != nil {
				return fmt.Errorf("segment %d: %w", after, err)
			}
			return nil
		}, after)
		if err != nil {
			return err
		}
		if !found {
			break
		}
	}
	if err := v.All(qCheckTail, func(r *store.Row) error { return pagesOf(r, page) }); err != nil {
		return err
	}
	return v.All(qCheckEdges, func(r *store.Row) error {
		all.add(r.ID(2))
		all.add(r.ID(3))
		return nil
	})
}
