package manifest

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// roleSpec is what files say of a role of the network's own.
type roleSpec struct {
	Roles []string `json:"roles,omitempty" doc:"what it is made of: admin, approver, responder, auditor, observer or owner"`
	Note  string   `json:"note,omitempty"`
}

// roles are kept by role.define and role.drop.
func (m *Manifests) roles() *kind {
	there := func(r identity.Role) (thing, error) {
		spec, err := said(roleSpec{r.Roles, r.Note})
		return thing{id: act.ID(r.At), version: r.At, spec: spec, status: map[string]any{"bindings": r.Bindings, "operators": r.Reaches}}, err
	}
	wish := func(name string, spec map[string]any) (identity.RoleOrder, error) {
		s, err := as[roleSpec](spec)
		return identity.RoleOrder{Name: name, Roles: s.Roles, Note: s.Note}, err
	}
	return &kind{
		name: "Role", doc: "A name for several roles, which bindings can name.", spec: reflect.TypeFor[roleSpec](), sees: "role.list",
		named: identity.CheckRoleName,
		find: func(v *store.View, _ act.ID, name string, _ map[string]any) (t thing, found bool, err error) {
			r, found, err := m.Roles.RoleNamed(v, name)
			if err != nil || !found {
				return t, false, err
			}
			t, err = there(r)
			return t, true, err
		},
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			list, err := m.Roles.Roles(v)
			for _, r := range list {
				var t thing
				if err == nil {
					t, err = there(r)
				}
				if err == nil {
					err = do(r.Name, t)
				}
			}
			return err
		},
		check: func(_ *scene, name string, spec map[string]any) error {
			in, err := wish(name, spec)
			if err == nil {
				err = in.Check()
			}
			return err
		},
		settle: func(desired, _ map[string]any) (map[string]any, error) { // in whichever order they are named
			s, err := as[roleSpec](desired)
			if err != nil || len(identity.Ordered(s.Roles)) < len(slices.Compact(slices.Sorted(slices.Values(s.Roles)))) {
				return desired, err // it names what is none: see check
			}
			s.Roles = identity.Ordered(s.Roles)
			return said(s)
		},
		put: func(ctx context.Context, p act.Principal, w work, reason string) (string, error) {
			in, err := wish(w.Name, w.target)
			if err == nil {
				in.Reason = reason
				_, err = m.Roles.Define.Do(ctx, p, in)
			}
			return "", err
		},
		end: func(ctx context.Context, p act.Principal, w work, reason string) error {
			_, err := m.Roles.Drop.Do(ctx, p, identity.DropOrder{Name: w.Name, Reason: reason})
			return err
		},
		effects: m.roleEffects,
	}
}

// roleEffects says who gains or loses which roles because a role is made of others.
func (m *Manifests) roleEffects(s *scene, w work) error {
	if w.Op != OpUpdate {
		return nil // nobody has a role that is not there yet, or that can be dropped
	}
	now, err := as[roleSpec](w.target)
	if err != nil {
		return err
	}
	was, _, err := m.Roles.RoleNamed(s.v, w.Name)
	if err != nil || was.Reaches == 0 {
		return err
	}
	for _, name := range gate.OperatorRoleNames() {
		has, had := slices.Contains(now.Roles, name), slices.Contains(was.Roles, name)
		if has == had {
			continue
		}
		e := Effect{Object: w.title(), What: Gains, Who: "operators", Acts: []string{"the role " + name}, Agents: was.Reaches, Names: was.Some, Why: "whoever the role is bound to"}
		if had {
			e.What, e.Why = Loses, "unless something else gives it to them"
		}
		s.list(e)
	}
	return nil
}

// roleOf is what a role of a binding comes to, as the files say or as it is; found is false
// where there is no such role.
func (s *scene) roleOf(name string) (roles []string, found bool, err error) {
	if slices.Contains(gate.OperatorRoleNames(), name) {
		return strings.Fields(name), true, nil
	}
	spec, found, err := s.spec("Role", name)
	if err != nil || !found {
		return nil, false, err
	}
	of, err := as[roleSpec](spec)
	return of.Roles, true, err
}
