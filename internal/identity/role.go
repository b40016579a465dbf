package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A role of the network's own is a name for several that there are. Bindings name it like one
// of them; policies, sessions and the record know what it is made of, never its name.

const (
	// MaxRoles bounds the roles of a network's own.
	MaxRoles = 100
	// MaxRoleNote bounds what is said of one, in characters.
	MaxRoleNote = 500
)

// Role is a name for several roles.
type Role struct {
	Name  string   // small letters, digits and '-'; none of gate.OperatorRoleNames
	Roles []string // of gate.OperatorRoleNames, in their order
	Note  string

	By       act.ID
	At       int64 // when it was defined as it is, Unix microseconds
	Bindings int64 // that name it
	Reaches  int64 // operators whom these give it now
	Some     []string
}

// RoleOrder defines a role, anew where there is one of the name.
type RoleOrder struct {
	Name   string
	Roles  []string
	Note   string
	Reason string // goes on record
}

// DropOrder ends a role.
type DropOrder struct {
	Name   string
	Reason string // goes on record
}

// RoleList is who has which role beside what the settings say, and which roles there are
// beside those that policies know.
type RoleList struct {
	Bindings []Bound
	Roles    []Role
}

const (
	roleColumns = `name, roles, note, made_by, made_at`

	qRole         store.Q = `SELECT ` + roleColumns + ` FROM role WHERE name = $1`
	qRoleAt       store.Q = `SELECT ` + roleColumns + ` FROM role WHERE made_at = $1`
	qRoles        store.Q = `SELECT ` + roleColumns + ` FROM role ORDER BY name`
	qRoleCount    store.Q = `SELECT COUNT(*), COALESCE(MAX(made_at), 0) FROM role`
	qRolePut      store.Q = `INSERT INTO role (` + roleColumns + `) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO UPDATE SET roles = $2, note = $3, made_by = $4, made_at = $5`
	qRoleDrop     store.Q = `DELETE FROM role WHERE name = $1`
	qRoleBindings store.Q = `SELECT ` + bindingColumns + ` FROM role_binding WHERE named = $1 AND named <> '' ORDER BY name`
)

func (b *Bindings) registerRoles(g *gate.Gate) {
	network := gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}
	b.Define = gate.RegisterWrite(g, gate.Write[RoleOrder, Role]{
		Info: gate.Info{Name: "role.define", Doc: "Define a role of the network's own as several of those that there are; who has it has these at once.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in RoleOrder) (gate.Resource, error) {
			err := CheckReason(in.Reason)
			if err == nil {
				err = in.Check()
			}
			return network, err
		},
		Run: b.define,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Role, error) {
			return b.role(v, qRoleAt, made.Version)
		},
	})
	b.Drop = gate.RegisterWrite(g, gate.Write[DropOrder, Role]{
		Info: gate.Info{Name: "role.drop", Doc: "Drop a role of the network's own that no binding names.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in DropOrder) (gate.Resource, error) {
			err := CheckReason(in.Reason)
			if err == nil {
				_, err = b.role(v, qRole, in.Name)
			}
			return network, err
		},
		Run: b.drop,
	})
}

// CheckRoleName reports whether a role of the network's own can have a name.
func CheckRoleName(name string) error {
	if _, err := gate.ParseOperatorRole(name); err == nil || !bindingName.MatchString(name) {
		return act.Errorf(act.Invalid, "%.80q cannot be the name of a role of your own", name).WithRule("role.name").
			WithHint("use 1 to 63 small letters, digits and '-', like night-shift, and none of " + strings.Join(gate.OperatorRoleNames(), ", "))
	}
	return nil
}

// Check reports what is wrong with a role.
func (in RoleOrder) Check() error {
	if err := CheckRoleName(in.Name); err != nil {
		return err
	}
	if n := len([]rune(in.Note)); n > MaxRoleNote || strings.ContainsFunc(in.Note, isControl) {
		return act.Errorf(act.Invalid, "the note is too long, or has a control character").WithRule("role.note").WithHint(fmt.Sprintf("say it in %d characters", MaxRoleNote))
	}
	_, err := in.sum()
	return err
}

// sum is what a role is made of.
func (in RoleOrder) sum() (all gate.OperatorRoles, err error) {
	for _, name := range in.Roles {
		role, err := gate.ParseOperatorRole(name)
		if err != nil {
			return 0, act.Errorf(act.Invalid, "the role %v", err).WithRule("role.role").WithHint("a role is made of those of docs/roles.md, and of no other of your own")
		}
		all |= role
	}
	if all == 0 {
		err = act.Errorf(act.Invalid, "it is made of no role").WithRule("role.role").WithHint("name one or more of " + strings.Join(gate.OperatorRoleNames(), ", "))
	}
	return all, err
}

// Ordered has the names of roles in the order in which they are listed, each once.
func Ordered(names []string) []string {
	var list []string
	for _, name := range gate.OperatorRoleNames() {
		if slices.Contains(names, name) {
			list = append(list, name)
		}
	}
	return list
}

func scanRole(r *store.Row) Role {
	return Role{Name: r.Text(0), Roles: gate.OperatorRoles(rolesOf(r.Int(1))).Names(), Note: r.Text(2), By: r.ID(3), At: r.Int(4)}
}

func (b *Bindings) role(v *store.View, q store.Q, key any) (out Role, err error) {
	found, err := v.One(q, func(r *store.Row) error { out = scanRole(r); return nil }, key)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "there is no such role").WithRule("role.none").WithHint("role.list has those of your own; the others are " + strings.Join(gate.OperatorRoleNames(), ", "))
	}
	if err == nil {
		_, err = b.having(v, &out)
	}
	return out, err
}

// having fills in who has a role by bindings now, and lists these.
func (b *Bindings) having(v *store.View, of *Role) (list []Bound, err error) {
	if err := v.All(qRoleBindings, func(r *store.Row) error { list = append(list, scanBinding(r)); return nil }, of.Name); err != nil {
		return nil, err
	}
	who := make(map[act.ID]string)
	for _, one := range list {
		reached, err := b.ids.reached(v, one.Binding)
		if err != nil {
			return nil, err
		}
		for _, o := range reached {
			who[o.id] = o.name
		}
	}
	of.Bindings, of.Reaches, of.Some = int64(len(list)), int64(len(who)), nil
	for _, name := range who {
		of.Some = append(of.Some, name)
	}
	slices.Sort(of.Some)
	of.Some = of.Some[:min(len(of.Some), maxSome)]
	return list, nil
}

// Roles lists the roles of the network's own, by name.
func (b *Bindings) Roles(v *store.View) (list []Role, err error) {
	if err := v.All(qRoles, func(r *store.Row) error { list = append(list, scanRole(r)); return nil }); err != nil {
		return nil, err
	}
	for i := range list {
		if _, err := b.having(v, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// RoleNamed finds a role of the network's own.
func (b *Bindings) RoleNamed(v *store.View, name string) (out Role, found bool, err error) {
	out, err = b.role(v, qRole, name)
	if act.CodeOf(err) == act.NotFound {
		return out, false, nil
	}
	return out, err == nil, err
}

// gives is what a binding of a role gives: named is the role's name if it is of the network's own.
func (b *Bindings) gives(v *store.View, of Binding) (all gate.OperatorRoles, named string, err error) {
	if role, err := gate.ParseOperatorRole(of.Role); err == nil {
		return role, "", nil
	}
	r, found, err := b.RoleNamed(v, of.Role)
	if err != nil {
		return 0, "", err
	}
	if !found {
		return 0, "", errNoRole(of.Role)
	}
	all, err = RoleOrder{Roles: r.Roles}.sum()
	return all, of.Role, err
}

func errNoRole(name string) error {
	return act.Errorf(act.Invalid, "the role %.80q is none of %s, and none of your own", name, strings.Join(gate.OperatorRoleNames(), ", ")).
		WithRule("role.role").WithHint("docs/roles.md says what each may do; role.define makes one of several")
}

// CheckHolder refuses the role owner for who cannot answer for agents.
func CheckHolder(of Binding, roles []string) error {
	if of.Service != "" && slices.Contains(roles, ownerRole) {
		return act.Errorf(act.Invalid, "a service account is nobody who could answer for agents").WithRule("role.owner").WithHint("bind the role owner to people")
	}
	return nil
}

func (b *Bindings) define(_ context.Context, tx *store.Tx, p act.Principal, in RoleOrder) (out Role, fx gate.Effects, err error) {
	if err := tx.Serialize(rolesLock); err != nil {
		return out, fx, err
	}
	all, err := in.sum()
	if err != nil {
		return out, fx, err
	}
	was, found, err := b.RoleNamed(&tx.View, in.Name)
	if err != nil {
		return out, fx, err
	}
	var count, last int64
	if _, err := tx.One(qRoleCount, func(r *store.Row) error { count, last = r.Int(0), r.Int(1); return nil }); err != nil {
		return out, fx, err
	}
	if !found && count >= MaxRoles {
		return out, fx, act.Errorf(act.Conflict, "the network has %d roles of its own", count).WithRule("role.most").WithHint("bind several roles instead, or drop one that nobody has")
	}
	out = Role{Name: in.Name, Roles: all.Names(), Note: strings.TrimSpace(in.Note), By: p.ID, At: max(tx.Now(), last+1)}
	if _, err := tx.Exec(qRolePut, out.Name, int64(all), out.Note, out.By, out.At); err != nil {
		return out, fx, err
	}
	bindings, err := b.having(&tx.View, &out)
	if err != nil {
		return out, fx, err
	}
	for _, one := range bindings {
		if err := CheckHolder(one.Binding, out.Roles); err != nil {
			return out, fx, err
		}
		if err := b.extend(tx, p, one.Binding, all); err != nil {
			return out, fx, err
		}
	}
	if slices.Contains(was.Roles, adminRole) {
		err = adminLeft(tx)
	}
	return out, out.effects(in.Reason), err
}

func (b *Bindings) drop(_ context.Context, tx *store.Tx, _ act.Principal, in DropOrder) (out Role, fx gate.Effects, err error) {
	if err := tx.Serialize(rolesLock); err != nil {
		return out, fx, err
	}
	if out, err = b.role(&tx.View, qRole, in.Name); err != nil {
		return out, fx, err
	}
	if out.Bindings > 0 {
		return out, fx, act.Errorf(act.Conflict, "%d bindings name the role %s", out.Bindings, out.Name).WithRule("role.used").WithHint("end them first: role.list has them")
	}
	_, err = tx.Exec(qRoleDrop, in.Name)
	return out, out.effects(in.Reason), err
}

// effects put a role on record, with what it is made of before the reason.
func (r Role) effects(reason string) gate.Effects {
	return gate.Effects{Out: act.Ref{Version: r.At}, Reason: gate.OnRecord(fmt.Sprintf("role %s: %s", r.Name, strings.Join(r.Roles, ", ")), reason)}
}
