package manifest

import (
	"context"
	"encoding/json"
	"reflect"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// agentSpec is what files say of an agent. What it says of itself is its own.
type agentSpec struct {
	Class   string         `json:"class,omitempty" doc:"it is made of the newest version; does not change"`
	Owner   string         `json:"owner,omitempty" doc:"who answers for it"`
	Mandate string         `json:"mandate,omitempty" doc:"of the same owner"`
	Grant   *charter.Grant `json:"grant,omitempty" doc:"what it is to have of the grant of its class; all of it if left out; does not change"`
}

// agents are kept by agent.request, agent.adopt and agent.kill. They are those of classes
// that were asked for by operators; children are their parents' affair.
func (m *Manifests) agents() *kind {
	there := func(v *store.View, a lifecycle.Agent) (t thing, err error) {
		t = thing{id: a.ID, version: a.Epoch, status: map[string]any{"id": m.Codec.String(a.ID), "standing": a.Now.String(), "class_version": a.Version, "mandate_revision": a.Revision}}
		spec := agentSpec{Class: a.Class, Owner: a.OwnerName}
		if grant, bounded := m.Lifecycle.Granted(a.ID); bounded {
			spec.Grant = &grant
		}
		if a.Mandate != 0 {
			x, err := m.Lifecycle.MandateBy(v, a.Mandate)
			if err != nil {
				return t, err
			}
			spec.Mandate = x.Name
		}
		switch {
		case a.Standing.Final():
			t.over = a.Standing.String()
		case a.Class == "":
			t.over = "an agent that registered by itself"
		case a.Parent != 0:
			t.over = "the child of an agent"
		}
		t.spec, err = said(spec)
		return t, err
	}
	return &kind{
		name: "Agent", doc: "An agent of a class, under a mandate.", spec: reflect.TypeFor[agentSpec](), sees: "agent.list", fixed: []string{"class", "grant"},
		named: lifecycle.CheckName,
		find: func(v *store.View, _ act.ID, name string, _ map[string]any) (t thing, found bool, err error) {
			a, found, err := m.Lifecycle.AgentNamed(v, name)
			if err != nil || !found {
				return t, false, err
			}
			if t, err = there(v, a); a.Name != name {
				t.over = "the name of nobody, and looks like " + a.Name
			}
			return t, true, err
		},
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			return m.Lifecycle.EachInstance(v, MaxObjects+1, func(a lifecycle.Agent) error {
				t, err := there(v, a)
				if err != nil {
					return err
				}
				return do(a.Name, t)
			})
		},
		check: m.checkAgent,
		settle: func(desired, there map[string]any) (map[string]any, error) {
			wish, err := as[agentSpec](desired)
			if err != nil || wish.Grant == nil {
				return desired, err
			}
			has, err := as[agentSpec](there)
			if err != nil || has.Grant == nil || !has.Grant.Within(*wish.Grant) {
				return desired, err
			}
			wish.Grant = has.Grant // it got what its class had of the wish
			return said(wish)
		},
		put: m.putAgent,
		end: func(ctx context.Context, p act.Principal, w work, reason string) error {
			_, err := m.Lifecycle.Kill.Do(ctx, p, lifecycle.Order{Agent: w.there.id, Reason: reason})
			return err
		},
		effects: func(s *scene, w work) error {
			switch w.Op {
			case OpEnd:
				s.effect(Effect{Object: w.title(), What: Ends, Who: "agents", Why: "it is not in the files any more; whoever descends from it ends with it"}, []act.ID{w.there.id})
			case OpCreate:
				spec, err := as[agentSpec](w.target)
				if err != nil {
					return err
				}
				s.list(Effect{Object: w.title(), What: Begins, Who: "agents", Agents: 1, Names: []string{w.Name}, Why: "of the class " + spec.Class})
			case OpUpdate, OpOwn, OpRelease:
			}
			return nil
		},
	}
}

func (m *Manifests) checkAgent(s *scene, _ string, spec map[string]any) error {
	a, err := as[agentSpec](spec)
	if err != nil {
		return err
	}
	missing := func(kind, name, hint string) error {
		return act.Errorf(act.Invalid, "there is no %s %.80q", kind, name).WithHint(hint)
	}
	if err := identity.CheckName("owner", a.Owner); err != nil {
		return err
	}
	if found, err := s.has("Class", a.Class); err != nil || !found {
		return orElse(err, missing("Class", a.Class, "name one that is in the files, or in use (reef get Class)"))
	}
	if a.Mandate == "" {
		return nil
	}
	of, found, err := s.spec("Mandate", a.Mandate)
	if err != nil || !found {
		return orElse(err, missing("Mandate", a.Mandate, "name one that is in the files, or open (reef get Mandate)"))
	}
	if of["owner"] != a.Owner {
		return act.Errorf(act.Invalid, "its mandate %s is answered for by %v, not by %s", a.Mandate, of["owner"], a.Owner).
			WithHint("who answers for an agent answers for what it is for")
	}
	return nil
}

// orElse is what could not be asked, or else what was found wrong.
func orElse(err, wrong error) error {
	if err != nil {
		return err
	}
	return wrong
}

func (m *Manifests) putAgent(ctx context.Context, p act.Principal, w work, reason string) (once string, err error) {
	spec, err := as[agentSpec](w.target)
	if err != nil {
		return "", err
	}
	var mandate act.ID
	if spec.Mandate != "" {
		x, err := m.Lifecycle.ShowMandate.Do(ctx, p, lifecycle.NamedMandate{Name: spec.Mandate})
		if err != nil {
			return "", err
		}
		mandate = x.ID
	}
	if w.Op == OpUpdate {
		_, err := m.Lifecycle.Adopt.Do(ctx, p, lifecycle.Adoption{Agent: w.there.id, Owner: spec.Owner, Mandate: mandate, Reason: reason})
		return "", err
	}
	wish := ""
	if spec.Grant != nil {
		raw, err := json.Marshal(spec.Grant)
		if err != nil {
			return "", err
		}
		wish = string(raw)
	}
	made, err := m.Lifecycle.Request.Do(ctx, p, lifecycle.NewInstance{Name: w.Name, Class: spec.Class, Owner: spec.Owner, Mandate: mandate, Grant: wish, Reason: reason})
	return made.Token, err
}
