package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
)

// reach is the part of a policy that the index decides: a policy holds for a
// request exactly when the request is within the reach and what is left of the
// policy (the residue) evaluates to true.
//
// Why that is sound: Cedar evaluates a policy as principal scope && action scope
// && resource scope && each condition, left to right, and stops at the first
// false. The scopes cannot fail. A conjunct is taken into the reach only as long
// as every conjunct before it cannot fail either (total). So where the reach
// does not hold, evaluation gets to the conjunct that is false, or to an earlier
// false one, and the policy is false without an error; where it holds, the
// conjuncts taken are true, and leaving them out changes nothing.
type reach struct {
	acts []string         // nil: every act
	who  types.EntityType // type of the principal; "" any
	kind types.EntityType // type of the resource; "" any
	// need lists what the request must have, each of it: that owner, that class,
	// that community and so on.
	need []wanted
}

// wanted is one thing that a request must have: in which way, and the id or name.
type wanted struct {
	sort sort
	id   types.String
}

// entitySorts are the ways in which a request can have an entity of a type. A role stays
// to be evaluated, for an operator has several.
var entitySorts = map[types.EntityType]sort{
	typeAgent: byPrincipal, typeOperator: byPrincipal, typeSystem: byPart, typeObserver: byObserver,
	typeCommunity: byCommunity, typeOwner: byOwner, typeClass: byClassName, typeTeam: byTeam,
	typeMandate: byMandate, typeLineage: byLineage,
}

// attributeSorts are the ways in which a request can have the value of an attribute.
var attributeSorts = map[types.String]map[types.String]sort{
	varPrincipal: {attrOwner: byOwner, attrClass: byClassName, attrTeam: byTeam, attrSite: bySite, attrMandate: byMandate},
	varResource: {
		attrCommunity: byCommunity, attrAuthorOwner: byAuthorOwner, attrAuthorClass: byAuthorClass,
		attrAuthorTeam: byAuthorTeam, attrAuthorSite: byAuthorSite, attrAuthorMandate: byAuthorMandate,
	},
}

// reachOf splits a policy. The residue has no scopes left.
func reachOf(p *xast.Policy) (r reach, residue *xast.Policy) {
	residue = &xast.Policy{
		Effect: p.Effect, Principal: xast.Scope{}.All(), Action: xast.Scope{}.All(), Resource: xast.Scope{}.All(),
	}
	switch s := p.Principal.(type) {
	case xast.ScopeTypeEq:
		r.principal(s.Entity.Type)
		r.needs(s.Entity)
	case xast.ScopeTypeIn:
		if s.Entity.Type == typeRole {
			r.principal(typeOperator) // nobody else has one
		}
		r.belongs(residue, s.Entity)
	case xast.ScopeTypeIs:
		r.principal(s.Type)
	case xast.ScopeTypeIsIn:
		r.principal(s.Type)
		r.belongs(residue, s.Entity)
	}
	switch s := p.Action.(type) {
	case xast.ScopeTypeEq:
		r.acts = []string{string(s.Entity.ID)}
	case xast.ScopeTypeIn: // there are no groups of actions
		r.acts = []string{string(s.Entity.ID)}
	case xast.ScopeTypeInSet:
		r.acts = make([]string, 0, len(s.Entities))
		for _, e := range s.Entities {
			if !slices.Contains(r.acts, string(e.ID)) {
				r.acts = append(r.acts, string(e.ID))
			}
		}
	}
	switch s := p.Resource.(type) {
	case xast.ScopeTypeIn:
		r.needs(s.Entity)
	case xast.ScopeTypeIs:
		r.kind = s.Type
	case xast.ScopeTypeIsIn:
		r.kind = s.Type
		r.needs(s.Entity)
	}
	certain := true // no conjunct so far can fail
	for _, cond := range p.Conditions {
		if cond.Condition == xast.ConditionUnless {
			residue.Unless(xast.NewNode(cond.Body))
			certain = certain && r.truth(cond.Body)
			continue
		}
		for _, c := range conjuncts(cond.Body) {
			certain = certain && r.truth(c)
			if !certain || !r.take(c) {
				residue.When(xast.NewNode(c))
			}
		}
	}
	return r, residue
}

// principal narrows the reach to a type. When it is narrowed to another one
// already, nothing is taken.
func (r *reach) principal(t types.EntityType) bool {
	if r.who == "" {
		r.who = t
	}
	return r.who == t
}

func (r *reach) resource(t types.EntityType) bool {
	if r.kind == "" {
		r.kind = t
	}
	return r.kind == t
}

func (r *reach) needs(uid types.EntityUID) { r.wants(entitySorts[uid.Type], uid.ID) }

func (r *reach) wants(s sort, id types.String) {
	if w := (wanted{s, id}); !slices.Contains(r.need, w) {
		r.need = append(r.need, w)
	}
}

// belongs takes what the principal is in into the reach; a role stays to be evaluated,
// for an operator has several.
func (r *reach) belongs(residue *xast.Policy, uid types.EntityUID) {
	if uid.Type != typeRole {
		r.needs(uid)
		return
	}
	residue.When(xast.NewNode(xast.NodeTypeIn{BinaryNode: xast.BinaryNode{
		Left: xast.NodeTypeVariable{Name: "principal"}, Right: xast.NodeValue{Value: uid},
	}}))
}

// take takes a conjunct into the reach, or says that it does not fit there.
// Which entities fit where is also what checker.within lets through.
func (r *reach) take(n xast.IsNode) bool {
	switch n := n.(type) {
	case xast.NodeTypeEquals:
		return r.equal(n.Left, n.Right) || r.equal(n.Right, n.Left)
	case xast.NodeTypeIs:
		return r.is(n)
	case xast.NodeTypeIsIn:
		return r.is(n.NodeTypeIs) && r.in(n.Left, n.Entity)
	case xast.NodeTypeIn:
		return r.in(n.Left, n.Right)
	}
	return false
}

func (r *reach) is(n xast.NodeTypeIs) bool {
	switch variable(n.Left) {
	case "principal":
		return r.principal(n.EntityType)
	case "resource":
		return r.resource(n.EntityType)
	}
	return false
}

func (r *reach) in(left, right xast.IsNode) bool {
	value, _ := right.(xast.NodeValue)
	uid, ok := value.Value.(types.EntityUID)
	if v := variable(left); !ok || !fits(v, uid.Type) || v == "action" || uid.Type == typeRole {
		return false
	}
	r.needs(uid)
	return true
}

func (r *reach) equal(a, b xast.IsNode) bool {
	value, ok := b.(xast.NodeValue)
	if !ok {
		return false
	}
	uid, isEntity := value.Value.(types.EntityUID)
	if isEntity && variable(a) == varPrincipal {
		if !slices.Contains(principalTypes[:], uid.Type) || !r.principal(uid.Type) {
			return false
		}
		r.needs(uid)
		return true
	}
	access, ok := a.(xast.NodeTypeAccess)
	if !ok {
		return false
	}
	s, ok := attributeSorts[variable(access.Arg)][access.Value]
	if !ok {
		return false
	}
	if !isEntity {
		text, ok := value.Value.(types.String)
		if ok {
			r.wants(s, text)
		}
		return ok
	}
	r.wants(s, uid.ID)
	return true
}

// truth reports whether an expression is total and a truth value: evaluating it
// gives true or false and no error, whatever the request within the reach so
// far. It says no when in doubt.
func (r *reach) truth(n xast.IsNode) bool {
	switch n := n.(type) {
	case xast.NodeTypeEquals:
		return r.total(n.Left) && r.total(n.Right)
	case xast.NodeTypeNotEquals:
		return r.total(n.Left) && r.total(n.Right)
	case xast.NodeTypeLessThan:
		return r.total(n.Left) && r.total(n.Right)
	case xast.NodeTypeLessThanOrEqual:
		return r.total(n.Left) && r.total(n.Right)
	case xast.NodeTypeGreaterThan:
		return r.total(n.Left) && r.total(n.Right)
	case xast.NodeTypeGreaterThanOrEqual:
		return r.total(n.Left) && r.total(n.Right)
	case xast.NodeTypeAnd:
		return r.truth(n.Left) && r.truth(n.Right)
	case xast.NodeTypeOr:
		return r.truth(n.Left) && r.truth(n.Right)
	case xast.NodeTypeNot:
		return r.truth(n.Arg)
	case xast.NodeTypeHas:
		return variable(n.Arg) != ""
	case xast.NodeTypeIs:
		return isEntity(n.Left)
	case xast.NodeTypeIsIn:
		return isEntity(n.Left) && entities(n.Entity)
	case xast.NodeTypeIn:
		return isEntity(n.Left) && entities(n.Right)
	case xast.NodeTypeContains:
		_, set := n.Left.(xast.NodeTypeSet)
		return set && r.total(n.Left) && r.total(n.Right)
	case xast.NodeTypeAccess:
		a := attributeOf(variable(n.Arg), n.Value)
		return a != nil && a.typ == "Bool" && r.total(n)
	case xast.NodeValue:
		_, ok := n.Value.(types.Boolean)
		return ok
	}
	return false
}

// total reports whether evaluating an expression cannot fail.
func (r *reach) total(n xast.IsNode) bool {
	switch n := n.(type) {
	case xast.NodeValue, xast.NodeTypeVariable:
		return true
	case xast.NodeTypeAccess:
		v := variable(n.Arg)
		a := attributeOf(v, n.Value)
		return a != nil && (v != varPrincipal || r.who == a.who)
	case xast.NodeTypeSet:
		return !slices.ContainsFunc(n.Elements, func(e xast.IsNode) bool { return !r.total(e) })
	}
	return r.truth(n)
}

// isEntity reports whether a node is one of the variables that hold an entity.
func isEntity(n xast.IsNode) bool {
	v := variable(n)
	return v == "principal" || v == "action" || v == "resource"
}

// entities reports whether a node is a literal entity or a set of them.
func entities(n xast.IsNode) bool {
	set, ok := n.(xast.NodeTypeSet)
	if ok {
		return !slices.ContainsFunc(set.Elements, func(e xast.IsNode) bool { return !entities(e) })
	}
	value, _ := n.(xast.NodeValue)
	_, ok = value.Value.(types.EntityUID)
	return ok
}
