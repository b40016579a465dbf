package provenance

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Shown returns things as they were shown to the principal, in the order of the question
// and each once: the version shown last, as far as memory has it. It fails with Invalid when one
// of them was never shown to it. Memory answers for what was shown lately; for the rest all that
// is on record of the principal is read.
func (t *Tracer) Shown(ctx context.Context, p act.Principal, things []act.ID) ([]act.Ref, error) {
	reader, is, err := readerOf(p)
	if err != nil || !is {
		return nil, err
	}
	found := make(map[act.ID]act.Ref, len(things))
	for _, id := range things {
		found[id] = act.Ref{}
	}
	missing := t.memory.shown(reader, found)
	if missing > 0 {
		if err := t.db.View(ctx, func(v *store.View) error {
			return Exposures(v, reader, func(x Exposure) error {
				for _, ref := range x.Items {
					if was, asked := found[ref.ID]; asked && was.Version <= ref.Version {
						found[ref.ID] = ref
					}
				}
				return nil
			})
		}); err != nil {
			return nil, err
		}
	}
	list := make([]act.Ref, 0, len(found))
	for _, id := range things {
		ref, once := found[id]
		if !once {
			continue
		}
		delete(found, id)
		if ref.ID == 0 {
			return nil, act.Errorf(act.Invalid, "a %s was never shown to you that you say went into this", id.Kind()).WithRule("context.unshown").
				WithHint("state ids exactly as you were shown them; what you wrote yourself need not be stated")
		}
		list = append(list, ref)
	}
	return list, nil
}

// shown puts what the reader has on record of the asked things into found and returns how
// many it does not know of.
func (m *memory) shown(reader act.ID, found map[act.ID]act.Ref) (missing int) {
	sh := m.shelf(reader)
	sh.mu.Lock()
	if r := sh.readers[reader]; r != nil {
		for i := range r.pages {
			for _, ref := range r.pages[i].sheet.items {
				if was, asked := found[ref.ID]; asked && was.Version <= ref.Version {
					found[ref.ID] = ref
				}
			}
		}
	}
	sh.mu.Unlock()
	for _, ref := range found {
		if ref.ID == 0 {
			missing++
		}
	}
	return missing
}
