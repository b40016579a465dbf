package manifest

import (
	"context"
	"reflect"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// bindingSpec is what files say of a role binding.
type bindingSpec struct {
	Role    string `json:"role,omitempty" doc:"admin, approver, responder, auditor, observer, owner, or the name of a Role"`
	Issuer  string `json:"issuer,omitempty" doc:"of the group or the person, as it stands in oidc-issuer"`
	Group   string `json:"group,omitempty" doc:"a value of the claim that oidc-claim names"`
	Person  string `json:"person,omitempty" doc:"the subject by which the issuer knows somebody"`
	Service string `json:"service,omitempty" doc:"the name of a service account"`
}

func (s bindingSpec) binding(name string) identity.Binding {
	return identity.Binding{Name: name, Role: s.Role, Issuer: s.Issuer, Group: s.Group, Person: s.Person, Service: s.Service}
}

// bindings are kept by role.bind and role.unbind, and do not change.
func (m *Manifests) bindings() *kind {
	there := func(b identity.Bound) (thing, error) {
		spec, err := said(bindingSpec{b.Role, b.Issuer, b.Group, b.Person, b.Service})
		return thing{id: act.ID(b.At), version: b.At, spec: spec, status: map[string]any{"operators": b.Reaches}}, err
	}
	return &kind{
		name: "RoleBinding", doc: "A role of whoever it names, beside what the settings give them.", spec: reflect.TypeFor[bindingSpec](), sees: "role.list", fixed: []string{"*"},
		named: identity.CheckBindingName,
		find: func(v *store.View, _ act.ID, name string, _ map[string]any) (t thing, found bool, err error) {
			b, found, err := m.Roles.Named(v, name)
			if err != nil || !found {
				return t, false, err
			}
			t, err = there(b)
			return t, true, err
		},
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			list, err := m.Roles.All(v)
			for _, b := range list {
				var t thing
				if err == nil {
					t, err = there(b)
				}
				if err == nil {
					err = do(b.Name, t)
				}
			}
			return err
		},
		check: func(sc *scene, name string, spec map[string]any) error {
			s, err := as[bindingSpec](spec)
			if err != nil {
				return err
			}
			b := s.binding(name)
			if err := b.Check(); err != nil {
				return err
			}
			roles, found, err := sc.roleOf(b.Role)
			if err == nil && !found {
				err = act.Errorf(act.Invalid, "there is no Role %q", b.Role).WithHint("say it in the files, or name one of those of docs/roles.md")
			}
			if err == nil {
				err = identity.CheckHolder(b, roles)
			}
			return err
		},
		put: func(ctx context.Context, p act.Principal, w work, reason string) (string, error) {
			s, err := as[bindingSpec](w.target)
			if err == nil {
				_, err = m.Roles.Bind.Do(ctx, p, identity.BindOrder{Binding: s.binding(w.Name), Reason: reason})
			}
			return "", err
		},
		end: func(ctx context.Context, p act.Principal, w work, reason string) error {
			_, err := m.Roles.Unbind.Do(ctx, p, identity.UnbindOrder{Name: w.Name, Reason: reason})
			return err
		},
		effects: m.bindingEffects,
	}
}

// bindingEffects says who gains a role, or loses it unless something else gives it to them.
func (m *Manifests) bindingEffects(s *scene, w work) error {
	e := Effect{Object: w.title(), What: Gains, Who: "operators"}
	spec := w.target
	switch w.Op {
	case OpCreate:
	case OpEnd:
		e.What, spec = Loses, w.there.spec
	case OpUpdate, OpOwn, OpRelease:
		return nil
	}
	b, err := as[bindingSpec](spec)
	if err != nil {
		return err
	}
	e.Acts = []string{"the role " + b.Role}
	if e.Agents, e.Names, err = m.Roles.Reach(s.v, b.binding(w.Name)); err != nil {
		return err
	}
	e.Why = "whoever it names and comes later, too"
	if w.Op == OpEnd {
		e.Why = "unless something else gives it to them"
	}
	s.list(e)
	return nil
}
