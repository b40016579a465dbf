package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// roleRoutes are how admins say who has which role, beside what the settings say.
func (d *door) roleRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/roles", Act: "role.list", Handle: d.ownRoles, Gives: list[ownRole]{}},
		{Method: post, Path: "/roles", Act: "role.define", Handle: d.defineRole, Takes: newRole{}, Gives: ownRole{}},
		{Method: post, Path: "/roles/{name}/drop", Act: "role.drop", Handle: d.dropRole, Takes: newOrder{}, Gives: ownRole{}},
		{Method: get, Path: "/role-bindings", Act: "role.list", Handle: d.roleBindings, Gives: list[roleBinding]{}},
		{Method: post, Path: "/role-bindings", Act: "role.bind", Handle: d.bindRole, Takes: newRoleBinding{}, Gives: roleBinding{}},
		{Method: post, Path: "/role-bindings/{name}/unbind", Act: "role.unbind", Handle: d.unbindRole, Takes: newOrder{}, Gives: roleBinding{}},
	}
}

// roleBinding gives a role to whoever it names: of group, person and service one is set.
type roleBinding struct {
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Issuer    *string  `json:"issuer"` // of the group or the person
	Group     *string  `json:"group"`
	Person    *string  `json:"person"` // the issuer's subject
	Service   *string  `json:"service"`
	By        *string  `json:"by"`
	At        *string  `json:"at"`
	Operators int64    `json:"operators"` // whom it reaches now
	Some      []string `json:"some"`      // names of some of them
}

func (d *door) roleBinding(b identity.Bound) roleBinding {
	return roleBinding{
		Name: b.Name, Role: b.Role, Issuer: optional(b.Issuer), Group: optional(b.Group), Person: optional(b.Person), Service: optional(b.Service),
		By: d.idOrNull(b.By), At: wireTime(b.At), Operators: b.Reaches, Some: orEmpty(b.Some),
	}
}

// GET /role-bindings
func (d *door) roleBindings(ctx context.Context, c *api.Call) error {
	all, err := d.bindings.List.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	out := list[roleBinding]{Items: make([]roleBinding, 0, len(all.Bindings))}
	for _, b := range all.Bindings {
		out.Items = append(out.Items, d.roleBinding(b))
	}
	return d.send(c, http.StatusOK, out)
}

type newRoleBinding struct {
	Name    string `json:"name"`   // small letters, digits and '-'
	Role    string `json:"role"`   // or the name of one of the network's own
	Issuer  string `json:"issuer"` // with group or person: as it stands in oidc-issuer
	Group   string `json:"group"`  // a value of the claim that oidc-claim names
	Person  string `json:"person"` // the issuer's subject
	Service string `json:"service"`
	Reason  string `json:"reason"`
}

// POST /role-bindings
func (d *door) bindRole(ctx context.Context, c *api.Call) error {
	var in newRoleBinding
	if err := c.Decode(&in); err != nil {
		return err
	}
	b, err := d.bindings.Bind.DoOnce(ctx, c.Principal, c.Key, identity.BindOrder{
		Binding: identity.Binding{Name: in.Name, Role: in.Role, Issuer: in.Issuer, Group: in.Group, Person: in.Person, Service: in.Service}, Reason: in.Reason,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.roleBinding(b))
}

// POST /role-bindings/{name}/unbind
func (d *door) unbindRole(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	b, err := d.bindings.Unbind.DoOnce(ctx, c.Principal, c.Key, identity.UnbindOrder{Name: c.R.PathValue("name"), Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.roleBinding(b))
}

// ownRole is a name for several roles.
type ownRole struct {
	Name      string   `json:"name"`
	Roles     []string `json:"roles"`
	Note      string   `json:"note"`
	By        *string  `json:"by"`
	At        *string  `json:"at"`
	Bindings  int64    `json:"bindings"`  // that name it
	Operators int64    `json:"operators"` // whom these reach now
	Some      []string `json:"some"`      // names of some of them
}

func (d *door) ownRole(r identity.Role) ownRole {
	return ownRole{r.Name, r.Roles, r.Note, d.idOrNull(r.By), wireTime(r.At), r.Bindings, r.Reaches, orEmpty(r.Some)}
}

// GET /roles lists the roles of the network's own.
func (d *door) ownRoles(ctx context.Context, c *api.Call) error {
	all, err := d.bindings.List.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, act.Page[identity.Role]{Items: all.Roles}, d.ownRole))
}

type newRole struct {
	Name   string   `json:"name"` // small letters, digits and '-'
	Roles  []string `json:"roles"`
	Note   string   `json:"note"`
	Reason string   `json:"reason"`
}

// POST /roles defines one, anew where there is one of the name.
func (d *door) defineRole(ctx context.Context, c *api.Call) error {
	var in newRole
	if err := c.Decode(&in); err != nil {
		return err
	}
	r, err := d.bindings.Define.DoOnce(ctx, c.Principal, c.Key, identity.RoleOrder(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.ownRole(r))
}

// POST /roles/{name}/drop answers what it was.
func (d *door) dropRole(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	r, err := d.bindings.Drop.DoOnce(ctx, c.Principal, c.Key, identity.DropOrder{Name: c.R.PathValue("name"), Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.ownRole(r))
}
