package manifest

import (
	"context"
	"fmt"
	"reflect"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/store"
)

// retentionSpec is what files say of how long something is kept.
type retentionSpec struct {
	Days int64 `json:"days,omitempty" doc:"for how many days it is kept, in place of the setting keep-NAME"`
}

// retentions are kept by retention.set and retention.reset. Their names are terms. One that
// nobody has said is not there: the settings, which are each node's, are in no file.
func (m *Manifests) retentions() *kind {
	there := func(r audit.Retained) (thing, error) {
		spec, err := said(retentionSpec{r.Said})
		status := map[string]any{"days": r.Days, "least": r.Least, "most": r.Most}
		if r.From != 0 {
			status["from"] = wireTime(r.From)
		}
		last := r.Changes[0]
		return thing{id: act.ID(last.N), version: last.N, spec: spec, status: status}, err
	}
	order := func(w work, reason string) (audit.TermOrder, error) {
		s, err := as[retentionSpec](w.target)
		return audit.TermOrder{Term: w.Name, Days: s.Days, Reason: reason}, err
	}
	return &kind{
		name: "Retention", doc: "For how long is kept what its name says, in place of a setting of the server.", spec: reflect.TypeFor[retentionSpec](), sees: "retention.list",
		named: func(name string) error { return m.Retention.CheckTerm(name) },
		find: func(v *store.View, _ act.ID, name string, _ map[string]any) (t thing, found bool, err error) {
			r, err := m.Retention.Named(v, name)
			if err != nil || r.Said == 0 {
				return t, false, err
			}
			t, err = there(r)
			return t, true, err
		},
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			list, err := m.Retention.All(v)
			if err != nil {
				return err
			}
			for _, r := range list {
				if r.Said == 0 {
					continue
				}
				t, err := there(r)
				if err == nil {
					err = do(string(r.Name), t)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
		check: func(_ *scene, name string, spec map[string]any) error {
			s, err := as[retentionSpec](spec)
			if err == nil {
				err = m.Retention.CheckRetention(name, s.Days)
			}
			return err
		},
		put: func(ctx context.Context, p act.Principal, w work, reason string) (string, error) {
			in, err := order(w, reason)
			if err == nil {
				_, err = m.Retention.SetRetention.Do(ctx, p, in)
			}
			return "", err
		},
		end: func(ctx context.Context, p act.Principal, w work, reason string) error {
			in, err := order(w, reason)
			if err == nil {
				_, err = m.Retention.ResetRetention.Do(ctx, p, in)
			}
			return err
		},
		effects: m.retentionEffects,
	}
}

// retentionEffects says what is dropped by a shorter time, counted as of now.
func (m *Manifests) retentionEffects(s *scene, w work) error {
	if w.Op == OpOwn || w.Op == OpRelease {
		return nil
	}
	now, err := m.Retention.Named(s.v, w.Name)
	if err != nil {
		return err
	}
	next, err := as[retentionSpec](w.target)
	if err != nil {
		return err
	}
	days := now.Until(next.Days)
	if days >= now.Days {
		return nil
	}
	falls, err := m.Retention.Falls(s.v, w.Name, days)
	for _, f := range falls {
		e := Effect{Object: w.title(), What: Drops, Acts: []string{"rows of " + f.Table}, Agents: f.Rows, Why: "a week after it is said, unless something else is said by then or a hold keeps them"}
		if f.Rows == audit.MaxFalling {
			e.Who = fmt.Sprintf("%d or more", f.Rows)
		}
		s.list(e)
	}
	return err
}
