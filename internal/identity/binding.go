package identity

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// MaxBindings bounds the role bindings of a network.
const MaxBindings = 1000

// Binding gives a role to whoever it names, beside what the settings give them. Of Group,
// Person and Service one is set.
type Binding struct {
	Name    string // small letters, digits and '-'
	Role    string // of gate.OperatorRoleNames, or one of the network's own
	Issuer  string // of Group and Person: the identity provider's
	Group   string // a value of the claim that the provider's groups stand in
	Person  string // the subject of the issuer's tokens
	Service string // the name of a service account
}

// BindOrder makes a binding.
type BindOrder struct {
	Binding
	Reason string // goes on record
}

// UnbindOrder ends one.
type UnbindOrder struct {
	Name   string
	Reason string // goes on record
}

// Bound is a binding that is in force.
type Bound struct {
	Binding
	By      act.ID
	At      int64    // Unix microseconds
	Reaches int64    // operators whom it gives the role now; others may come
	Some    []string // names of some of them
}

// Bindings are the acts by which operators say who has which role, and which roles there are.
type Bindings struct {
	Bind   *gate.WriteAct[BindOrder, Bound]
	Unbind *gate.WriteAct[UnbindOrder, Bound]
	Define *gate.WriteAct[RoleOrder, Role]
	Drop   *gate.WriteAct[DropOrder, Role]
	List   *gate.ReadAct[struct{}, RoleList]

	ids *Service
}

// What a binding can name.
const (
	boundGroup   = "group"
	boundPerson  = "person"
	boundService = "service"

	adminRole = "admin"
	ownerRole = "owner"

	maxBound = 255 // characters of an issuer, a group, a subject
	maxSome  = 20
)

const (
	bindingColumns = `name, role, issuer, kind, subject, made_by, made_at, named`

	qBinding       store.Q = `SELECT ` + bindingColumns + ` FROM role_binding WHERE name = $1`
	qBindingAt     store.Q = `SELECT ` + bindingColumns + ` FROM role_binding WHERE made_at = $1`
	qBindingAlike  store.Q = `SELECT name FROM role_binding WHERE name = $1 OR hash = $2 AND role = $3 AND named = $4 ORDER BY name LIMIT 1`
	qBindings      store.Q = `SELECT ` + bindingColumns + ` FROM role_binding ORDER BY name`
	qBindingCount  store.Q = `SELECT COUNT(*), COALESCE(MAX(made_at), 0) FROM role_binding`
	qBindingAdd    store.Q = `INSERT INTO role_binding (` + bindingColumns + `, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	qBindingDrop   store.Q = `DELETE FROM role_binding WHERE name = $1`
	qBindingReach  store.Q = `SELECT m.operator, o.name FROM membership AS m JOIN operator AS o ON o.id = m.operator WHERE m.hash = $1 ORDER BY m.operator, m.hash`
	qSessionsGain  store.Q = `UPDATE credential SET roles = roles | $2 WHERE subject = $1 AND kind = 'session' AND revoked_at = 0`
	qAdminStanding store.Q = `SELECT o.id FROM operator AS o WHERE o.roles & 1 = 1 AND EXISTS (SELECT 1 FROM credential AS c
WHERE c.subject = o.id AND c.kind IN ('operator-token', 'person') AND c.revoked_at = 0 AND (c.expires_at = 0 OR c.expires_at > $1)) ORDER BY o.id LIMIT 1`
)

// NewBindings registers the acts.
func NewBindings(g *gate.Gate, s *Service) *Bindings {
	b := &Bindings{ids: s}
	about := func(v *store.View, of Binding) (gate.Resource, error) {
		found, err := s.reached(v, of)
		return gate.Resource{Ref: act.Ref{ID: of.aims(found)}, Facts: gate.Facts{Kind: act.KindOperator}}, err
	}
	b.Bind = gate.RegisterWrite(g, gate.Write[BindOrder, Bound]{
		Info: gate.Info{Name: "role.bind", Doc: "Give a role to a group or a person of an identity provider, or to a service account.", On: act.KindOperator, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in BindOrder) (r gate.Resource, err error) {
			if err = CheckReason(in.Reason); err == nil {
				err = in.Check()
			}
			if err == nil {
				_, _, err = b.gives(v, in.Binding)
			}
			if err != nil {
				return r, err
			}
			return about(v, in.Binding)
		},
		Run: b.bind,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Bound, error) {
			return b.one(v, qBindingAt, made.Version)
		},
	})
	b.Unbind = gate.RegisterWrite(g, gate.Write[UnbindOrder, Bound]{
		Info: gate.Info{Name: "role.unbind", Doc: "Take a role back that was bound; who has it by nothing else loses it at once.", On: act.KindOperator, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in UnbindOrder) (r gate.Resource, err error) {
			if err := CheckReason(in.Reason); err != nil {
				return r, err
			}
			one, err := b.one(v, qBinding, in.Name)
			if err != nil {
				return r, err
			}
			return about(v, one.Binding)
		},
		Run: b.unbind,
	})
	b.registerRoles(g)
	b.List = gate.RegisterRead(g, gate.Read[struct{}, RoleList]{
		Info: gate.Info{Name: "role.list", Doc: "List which roles are bound to whom, how many operators that reaches, and which roles are the network's own.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) (out RoleList, err error) {
			out.Bindings, err = b.All(v)
			for i := range out.Bindings {
				if err == nil {
					err = b.reach(v, &out.Bindings[i])
				}
			}
			if err == nil {
				out.Roles, err = b.Roles(v)
			}
			return out, err
		},
	})
	return b
}

var bindingName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckBindingName reports whether a binding can have a name.
func CheckBindingName(name string) error {
	if !bindingName.MatchString(name) {
		return act.Errorf(act.Invalid, "%.80q cannot be the name of a binding", name).WithRule("role.name").WithHint("use 1 to 63 small letters, digits and '-', like oncall")
	}
	return nil
}

// Check reports what is wrong with a binding, whoever it names.
func (b Binding) Check() error {
	bad := func(rule, message, hint string) error {
		return act.Errorf(act.Invalid, "%s", message).WithRule("role." + rule).WithHint(hint)
	}
	if err := CheckBindingName(b.Name); err != nil {
		return err
	}
	if !bindingName.MatchString(b.Role) {
		return errNoRole(b.Role)
	}
	named := 0
	for _, text := range []string{b.Issuer, b.Group, b.Person, b.Service} {
		if utf8.RuneCountInString(text) > maxBound || !utf8.ValidString(text) || strings.ContainsFunc(text, isControl) {
			return bad("subject", "what the role is bound to is too long, or has a character that cannot be seen", "give it as the identity provider writes it")
		}
	}
	for _, text := range []string{b.Group, b.Person, b.Service} {
		if text != "" {
			named++
		}
	}
	switch {
	case named != 1:
		return bad("subject", "a binding names one group, one person or one service account", "make several bindings for several")
	case b.Service == "" && b.Issuer == "":
		return bad("issuer", "a group or a person is one of an issuer", "give the issuer as it stands in oidc-issuer")
	case b.Service != "" && b.Issuer != "":
		return bad("issuer", "a service account is bound by its name here", "leave the issuer out")
	}
	return CheckHolder(b, []string{b.Role})
}

// subject is whom a binding names: what it is, and its name.
func (b Binding) subject() (kind, name string) {
	switch {
	case b.Group != "":
		return boundGroup, b.Group
	case b.Person != "":
		return boundPerson, b.Person
	}
	return boundService, b.Service
}

// aims is the one operator whom a binding names, 0 for a group or somebody who was never here.
func (b Binding) aims(at []reachedOperator) act.ID {
	if b.Group == "" && len(at) > 0 {
		return at[0].id
	}
	return 0
}

// bindingHash is whom a binding names, as membership has them.
func (s *Service) bindingHash(b Binding) []byte {
	switch {
	case b.Group != "":
		return s.groupHash(b.Issuer, b.Group)
	case b.Person != "":
		return s.personHash(Person{Issuer: b.Issuer, Subject: b.Person})
	}
	return s.serviceHash(b.Service)
}

// reachedOperator is an operator whom a binding names.
type reachedOperator struct {
	id   act.ID
	name string
}

func (s *Service) reached(v *store.View, b Binding) (list []reachedOperator, err error) {
	err = v.All(qBindingReach, func(r *store.Row) error { list = append(list, reachedOperator{r.ID(0), r.Text(1)}); return nil }, s.bindingHash(b))
	return list, err
}

func scanBinding(r *store.Row) Bound {
	out := Bound{Binding: Binding{Name: r.Text(0), Role: strings.Join(gate.OperatorRoles(rolesOf(r.Int(1))).Names(), " "), Issuer: r.Text(2)}, By: r.ID(5), At: r.Int(6)}
	if named := r.Text(7); named != "" {
		out.Role = named
	}
	switch subject := r.Text(4); r.Text(3) {
	case boundGroup:
		out.Group = subject
	case boundPerson:
		out.Person = subject
	case boundService:
		out.Service = subject
	}
	return out
}

func (b *Bindings) one(v *store.View, q store.Q, key any) (out Bound, err error) {
	found, err := v.One(q, func(r *store.Row) error { out = scanBinding(r); return nil }, key)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such role binding").WithRule("role.unknown").WithHint("role.list has them by name")
	}
	if err == nil {
		err = b.reach(v, &out)
	}
	return out, err
}

// reach fills in whom a binding reaches now.
func (b *Bindings) reach(v *store.View, of *Bound) error {
	list, err := b.ids.reached(v, of.Binding)
	of.count(list)
	return err
}

func (b *Bound) count(list []reachedOperator) {
	b.Reaches, b.Some = int64(len(list)), nil
	for _, o := range list[:min(len(list), maxSome)] {
		b.Some = append(b.Some, o.name)
	}
}

// All lists the bindings by name, without whom they reach.
func (b *Bindings) All(v *store.View) (list []Bound, err error) {
	err = v.All(qBindings, func(r *store.Row) error { list = append(list, scanBinding(r)); return nil })
	return list, err
}

// Named finds a binding.
func (b *Bindings) Named(v *store.View, name string) (out Bound, found bool, err error) {
	out, err = b.one(v, qBinding, name)
	if act.CodeOf(err) == act.NotFound {
		return out, false, nil
	}
	return out, err == nil, err
}

// Reach says whom a binding that is not made yet would reach now.
func (b *Bindings) Reach(v *store.View, of Binding) (reaches int64, some []string, err error) {
	out := Bound{Binding: of}
	err = b.reach(v, &out)
	return out.Reaches, out.Some, err
}

func (b *Bindings) bind(_ context.Context, tx *store.Tx, p act.Principal, in BindOrder) (out Bound, fx gate.Effects, err error) {
	if err := tx.Serialize(rolesLock); err != nil {
		return out, fx, err
	}
	gives, named, err := b.gives(&tx.View, in.Binding)
	if err == nil {
		err = CheckHolder(in.Binding, gives.Names())
	}
	if err != nil {
		return out, fx, err
	}
	role := int64(gives)
	if named != "" {
		role = 0 // what the name means is looked up each time
	}
	var count, last int64
	if _, err := tx.One(qBindingCount, func(r *store.Row) error { count, last = r.Int(0), r.Int(1); return nil }); err != nil {
		return out, fx, err
	}
	if count >= MaxBindings {
		return out, fx, act.Errorf(act.Conflict, "the network has %d role bindings", count).WithRule("role.most").WithHint("bind groups rather than people")
	}
	hash := b.ids.bindingHash(in.Binding)
	var alike string
	if found, err := tx.One(qBindingAlike, func(r *store.Row) error { alike = r.Text(0); return nil }, in.Name, hash, role, named); err != nil || found {
		if err == nil {
			err = act.Errorf(act.Conflict, "the binding %q is there already", alike).WithRule("role.bound").WithHint("a binding does not change: end it, or choose another name for another one")
		}
		return out, fx, err
	}
	out = Bound{Binding: in.Binding, By: p.ID, At: max(tx.Now(), last+1)}
	kind, subject := in.subject()
	if _, err := tx.Exec(qBindingAdd, in.Name, role, in.Issuer, kind, subject, out.By, out.At, named, hash); err != nil {
		return out, fx, err
	}
	if err := b.extend(tx, p, out.Binding, gives); err != nil {
		return out, fx, err
	}
	list, err := b.ids.reached(&tx.View, out.Binding)
	out.count(list)
	return out, out.effects(list, in.Reason), err
}

func (b *Bindings) unbind(_ context.Context, tx *store.Tx, p act.Principal, in UnbindOrder) (out Bound, fx gate.Effects, err error) {
	if err := tx.Serialize(rolesLock); err != nil {
		return out, fx, err
	}
	if out, err = b.one(&tx.View, qBinding, in.Name); err != nil {
		return out, fx, err
	}
	gave, _, err := b.gives(&tx.View, out.Binding)
	if err != nil {
		return out, fx, err
	}
	if _, err := tx.Exec(qBindingDrop, in.Name); err != nil {
		return out, fx, err
	}
	list, err := b.settle(tx, p, out.Binding)
	if err != nil {
		return out, fx, err
	}
	fx = out.effects(list, in.Reason)
	if gave&gate.OperatorAdmin != 0 {
		err = adminLeft(tx)
	}
	return out, fx, err
}

// adminLeft refuses what leaves nobody who can bind the role admin again, and can prove who
// they are: two may take it from each other at once.
func adminLeft(tx *store.Tx) error {
	admin, err := tx.One(qAdminStanding, func(*store.Row) error { return nil }, tx.Now())
	if err == nil && !admin {
		err = act.Errorf(act.Denied, "nobody would be left who keeps the network").WithRule("role.last").
			WithHint("bind the role admin to somebody else first, who has signed in")
	}
	return err
}

// extend settles whom a binding names, and lets their open browsers have what it gives: they
// need not sign in again. Programs were let in for less.
func (b *Bindings) extend(tx *store.Tx, p act.Principal, of Binding, gives gate.OperatorRoles) error {
	list, err := b.settle(tx, p, of)
	for _, o := range list {
		if err == nil {
			err = tx.Batch(qSessionsGain, o.id, int64(gives))
		}
	}
	return err
}

// settle makes the roles of everybody whom a binding names what they are now, and lists
// them. It refuses who would bind or unbind themselves.
func (b *Bindings) settle(tx *store.Tx, p act.Principal, of Binding) ([]reachedOperator, error) {
	list, err := b.ids.reached(&tx.View, of)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(list, func(o reachedOperator) bool { return o.id == p.ID }) {
		return nil, act.Errorf(act.Denied, "it names yourself, or a group that you are in").WithRule("role.self").
			WithHint("nobody gives themselves a role or takes one from themselves: ask another admin")
	}
	for _, o := range list {
		if _, err := settleRoles(tx, o.id); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// effects put a binding on record, with what it says before the reason.
func (b Bound) effects(list []reachedOperator, reason string) gate.Effects {
	kind, subject := b.subject()
	text := fmt.Sprintf("binding %s: %s for the %s %s", b.Name, b.Role, kind, subject)
	if b.Issuer != "" {
		text += " of " + b.Issuer
	}
	return gate.Effects{Out: act.Ref{ID: b.aims(list), Version: b.At}, Reason: gate.OnRecord(text, reason)}
}
