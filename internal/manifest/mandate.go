package manifest

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// mandateSpec is what files say of a mandate.
type mandateSpec struct {
	Owner     string           `json:"owner,omitempty" doc:"who answers for it; does not change"`
	Statement string           `json:"statement,omitempty" doc:"what is to be done, and why"`
	Success   string           `json:"success,omitempty" doc:"how it is known that it is done"`
	Stop      string           `json:"stop,omitempty" doc:"when it has to end whatever is done"`
	ExpiresAt moment           `json:"expires_at,omitempty"`
	Grace     charter.Duration `json:"grace,omitempty" doc:"from when agents are stale to their end; does not change"`
}

func (s mandateSpec) purpose() lifecycle.Purpose {
	return lifecycle.Purpose{Statement: s.Statement, Success: s.Success, Stop: s.Stop, ExpiresAt: int64(s.ExpiresAt)}
}

func (s mandateSpec) mandate(name string) lifecycle.NewMandate {
	return lifecycle.NewMandate{Name: name, Owner: s.Owner, Purpose: s.purpose(), Grace: time.Duration(s.Grace)}
}

// mandates are kept by mandate.open, mandate.revise and mandate.close.
func (m *Manifests) mandates() *kind {
	there := func(x lifecycle.Mandate) (thing, error) {
		spec, err := said(mandateSpec{
			Owner: x.OwnerName, Statement: x.Statement, Success: x.Success, Stop: x.Stop, ExpiresAt: moment(x.ExpiresAt), Grace: charter.Duration(x.Grace),
		})
		t := thing{id: x.ID, version: x.Revision, spec: spec, status: map[string]any{"revision": x.Revision, "outcomes": x.Outcomes, "changed_at": wireTime(x.ChangedAt)}}
		if x.Closed {
			t.over = "closed"
		}
		return t, err
	}
	return &kind{
		name: "Mandate", doc: "What agents are for, and who answers for it.", spec: reflect.TypeFor[mandateSpec](), sees: "mandate.list", fixed: []string{"owner", "grace"},
		named: lifecycle.CheckClass, // the rule is the same
		find: func(v *store.View, _ act.ID, name string, _ map[string]any) (t thing, found bool, err error) {
			x, found, err := m.Lifecycle.MandateNamed(v, name)
			if err != nil || !found {
				return t, false, err
			}
			t, err = there(x)
			return t, true, err
		},
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			return m.Lifecycle.EachMandate(v, func(x lifecycle.Mandate) error {
				t, err := there(x)
				if err != nil {
					return err
				}
				return do(x.Name, t)
			})
		},
		check: func(_ *scene, name string, spec map[string]any) error {
			s, err := as[mandateSpec](spec)
			if err != nil {
				return err
			}
			return m.Lifecycle.CheckMandate(s.mandate(name))
		},
		put: func(ctx context.Context, p act.Principal, w work, reason string) (string, error) {
			s, err := as[mandateSpec](w.target)
			if err != nil {
				return "", err
			}
			if w.Op == OpCreate {
				_, err = m.Lifecycle.OpenMandate.Do(ctx, p, s.mandate(w.Name))
			} else {
				_, err = m.Lifecycle.ReviseMandate.Do(ctx, p, lifecycle.Revision{Mandate: w.there.id, Purpose: s.purpose(), Reason: reason})
			}
			return "", err
		},
		end: func(ctx context.Context, p act.Principal, w work, reason string) error {
			_, err := m.Lifecycle.CloseMandate.Do(ctx, p, lifecycle.MandateOrder{Mandate: w.there.id, Reason: reason})
			return err
		},
		effects: func(s *scene, w work) error {
			spec, err := as[mandateSpec](w.there.spec)
			if err != nil {
				return err
			}
			agents, grace := s.bound().mandates[w.there.id], time.Duration(spec.Grace)
			switch w.Op {
			case OpUpdate:
				s.stops(w, agents, fmt.Sprintf("the mandate is revised; they are stale until they are attested, and ended %s later if nobody does", grace))
			case OpEnd:
				s.stops(w, agents, fmt.Sprintf("the mandate is closed; they are stale, and ended %s later", grace))
			case OpCreate, OpOwn, OpRelease:
			}
			return nil
		},
	}
}

func wireTime(at int64) string { return act.FromMicros(at).Format(act.WireTime) }
