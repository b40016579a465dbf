package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// classes are kept by class.put and class.retire. A change is a new version: agents keep
// the one that they have until a roll-out binds them to another.
func (m *Manifests) classes() *kind {
	there := func(c lifecycle.Class) (thing, error) {
		spec, err := said(c.Document)
		t := thing{id: c.ID, version: c.Version, spec: spec, status: map[string]any{"version": c.Version, "made_at": wireTime(c.MadeAt)}}
		if c.Retired {
			t.over = "retired"
		}
		return t, err
	}
	return &kind{
		name: "Class", doc: "What agents of a kind may do at most, and how long (docs/workloads.md).", spec: reflect.TypeFor[charter.Class](), sees: "class.list",
		named: lifecycle.CheckClass,
		find: func(v *store.View, _ act.ID, name string, _ map[string]any) (t thing, found bool, err error) {
			c, found, err := m.Lifecycle.ClassNamed(v, name)
			if err != nil || !found {
				return t, false, err
			}
			t, err = there(c)
			return t, true, err
		},
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			return m.Lifecycle.EachClass(v, func(c lifecycle.Class) error {
				t, err := there(c)
				if err != nil {
					return err
				}
				return do(c.Name, t)
			})
		},
		check: func(_ *scene, _ string, spec map[string]any) error {
			c, err := as[charter.Class](spec)
			if err == nil {
				err = c.Check()
			}
			if err != nil {
				return act.Errorf(act.Invalid, "%w", err).WithHint("docs/workloads.md says what a class can be")
			}
			return nil
		},
		put: func(ctx context.Context, p act.Principal, w work, _ string) (string, error) {
			raw, err := json.Marshal(w.target)
			if err != nil {
				return "", err
			}
			_, err = m.Lifecycle.PutClass.Do(ctx, p, lifecycle.NewClass{Name: w.Name, Document: string(raw)})
			return "", err
		},
		end: func(ctx context.Context, p act.Principal, w work, reason string) error {
			_, err := m.Lifecycle.RetireClass.Do(ctx, p, lifecycle.ClassOrder{Name: w.Name, Reason: reason})
			return err
		},
		effects: m.classEffects,
	}
}

// classEffects: who is made of a new version may do less, or more; who is made of a class
// that is retired stops.
func (m *Manifests) classEffects(s *scene, w work) error {
	switch w.Op {
	case OpEnd:
		c, err := as[charter.Class](w.there.spec)
		if err != nil {
			return err
		}
		s.stops(w, s.bound().classes[w.Name], fmt.Sprintf("the class is retired; they are paused, and ended %s later", c.GraceTime()))
	case OpUpdate:
		was, err := as[charter.Class](w.there.spec)
		if err != nil {
			return err
		}
		now, err := as[charter.Class](w.target)
		if err != nil {
			return err
		}
		var gains, loses []string
		for _, i := range m.Gate.Acts() {
			switch before, after := was.Grant.Acts.Has(i.Name), now.Grant.Acts.Has(i.Name); {
			case after && !before:
				gains = append(gains, i.Name)
			case before && !after:
				loses = append(loses, i.Name)
			}
		}
		agents := s.bound().classes[w.Name]
		why := fmt.Sprintf("version %d; those that are there keep theirs until a roll-out binds them to it", w.there.version+1)
		for _, e := range []Effect{{What: Gains, Acts: gains}, {What: Loses, Acts: loses}} {
			if len(e.Acts) > 0 {
				e.Object, e.Who, e.Why = w.title(), "agents of the class that are made from now on", why
				s.effect(e, agents)
			}
		}
	case OpCreate, OpOwn, OpRelease:
	}
	return nil
}
