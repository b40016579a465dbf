package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
)

// reach is what a policy's text says about the requests it can apply to. It is
// necessary, never sufficient: a request outside the reach makes the policy
// false without an error, a request inside still has to be evaluated.
//
// Why that is sound: Cedar evaluates a policy as principal scope && action scope
// && resource scope && each condition, left to right, and stops at the first
// false. The scopes cannot fail. reachOf takes a constraint from a conjunct only
// as long as every conjunct before it cannot fail either (total), so where a
// constraint does not hold, evaluation gets to it, or to an earlier false one.
type reach struct {
	acts []string         // nil: every act
	who  types.EntityType // type of the principal; "" any
	kind types.EntityType // type of the resource; "" any
	// need lists entities of which each must be the principal, its owner, its
	// class or the resource's community.
	need []types.EntityUID
}

func reachOf(p *xast.Policy) reach {
	var r reach
	switch s := p.Principal.(type) {
	case xast.ScopeTypeEq:
		r.principal(s.Entity.Type)
		r.needs(s.Entity)
	case xast.ScopeTypeIn:
		r.needs(s.Entity)
	case xast.ScopeTypeIs:
		r.principal(s.Type)
	case xast.ScopeTypeIsIn:
		r.principal(s.Type)
		r.needs(s.Entity)
	}
	switch s := p.Action.(type) {
	case xast.ScopeTypeEq:
		r.acts = []string{string(s.Entity.ID)}
	case xast.ScopeTypeIn:
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
		r.resource(s.Type)
	case xast.ScopeTypeIsIn:
		r.resource(s.Type)
		r.needs(s.Entity)
	}
	for _, cond := range p.Conditions {
		if cond.Condition == xast.ConditionUnless {
			if !r.truth(cond.Body) {
				return r
			}
			continue
		}
		for _, c := range conjuncts(cond.Body) {
			if !r.truth(c) {
				return r
			}
			r.conjunct(c)
		}
	}
	return r
}

// A second, different type would make the policy false everywhere; the first is
// kept, which is still necessary.
func (r *reach) principal(t types.EntityType) {
	if r.who == "" {
		r.who = t
	}
}

func (r *reach) resource(t types.EntityType) {
	if r.kind == "" {
		r.kind = t
	}
}

func (r *reach) needs(uid types.EntityUID) {
	if !slices.Contains(r.need, uid) {
		r.need = append(r.need, uid)
	}
}

// conjunct takes what constraint a conjunct is; most are none.
func (r *reach) conjunct(n xast.IsNode) {
	switch n := n.(type) {
	case xast.NodeTypeEquals:
		r.equal(n.Left, n.Right)
		r.equal(n.Right, n.Left)
	case xast.NodeTypeIs:
		r.is(n)
	case xast.NodeTypeIsIn:
		r.is(n.NodeTypeIs)
		r.in(n.Left, n.Entity)
	case xast.NodeTypeIn:
		r.in(n.Left, n.Right)
	}
}

func (r *reach) is(n xast.NodeTypeIs) {
	switch variable(n.Left) {
	case "principal":
		r.principal(n.EntityType)
	case "resource":
		r.resource(n.EntityType)
	}
}

func (r *reach) in(left, right xast.IsNode) {
	value, _ := right.(xast.NodeValue)
	if uid, ok := value.Value.(types.EntityUID); ok {
		if v := variable(left); v == "principal" || v == "resource" {
			r.needs(uid)
		}
	}
}

func (r *reach) equal(a, b xast.IsNode) {
	value, _ := b.(xast.NodeValue)
	switch v := value.Value.(type) {
	case types.EntityUID:
		switch {
		case variable(a) == "principal":
			r.principal(v.Type)
			r.needs(v)
		case isAccess(a, "principal", attrOwner), isAccess(a, "resource", attrCommunity):
			r.needs(v)
		}
	case types.String:
		if isAccess(a, "principal", attrClass) {
			r.needs(types.NewEntityUID(typeClass, v))
		}
	}
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
	case xast.NodeTypeAnd:
		return r.truth(n.Left) && r.truth(n.Right)
	case xast.NodeTypeOr:
		return true
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
		return boolean(n.Value) && r.total(n)
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
		return slices.Contains(attributes(v), n.Value) && (v != "principal" || r.who == typeAgent)
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
