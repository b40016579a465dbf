package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// names collects which single things the policies of a bundle speak of. What is
// not in it, no policy can tell from any other: the cache key drops it (key.go).
type names struct {
	ids     map[act.ID]types.String // id to the text that stands in policies
	classes map[string]bool
	// anyClass is set when a policy looks at a class otherwise than by
	// comparing it with a word ("researcher-*"): then every class counts.
	anyClass bool
}

// checker looks at one policy. It finds what Cedar's own type check would let
// pass although it could not work here, and collects the names.
type checker struct {
	*compiler
	place    string
	problems []Problem
	seen     map[types.String]int // uses of each variable
	fine     map[types.String]int // uses in a place where it may stand
	classes  int                  // uses of principal.class
	plain    int                  // uses of it that compare it with words
	ownUsed  bool                 // resource.own is looked at
}

func (c *checker) problem(format string, args ...any) {
	c.problems = append(c.problems, Problem{Place: c.place, Text: fmt.Sprintf(format, args...)})
}

// policy checks scope and conditions.
func (c *checker) policy(p *xast.Policy) {
	c.scope("principal", p.Principal)
	c.scope("action", p.Action)
	c.scope("resource", p.Resource)
	for _, cond := range p.Conditions {
		walk(cond.Body, c.node)
	}
	for _, v := range []types.String{"principal", "action", "resource", "context"} {
		if c.seen[v] > c.fine[v] {
			c.problem("%s cannot stand alone here: %s", v, aloneHint(v))
		}
	}
	if c.classes > c.plain {
		c.names.anyClass = true
	}
}

func aloneHint(v types.String) string {
	switch v {
	case "resource":
		return "policies see what kind a thing is and its attributes, never a single thing; use resource is Post, resource.own, resource.community"
	case "principal":
		return `compare it with a principal (principal == Agent::"…") or ask what it is in`
	case "action":
		return `compare it with an action (action == Action::"post.create")`
	}
	return "use " + string(v) + "." + string(attributes(v)[0])
}

func (c *checker) scope(variable types.String, s xast.IsScopeNode) {
	switch s := s.(type) {
	case xast.ScopeTypeAll:
	case xast.ScopeTypeEq:
		if variable == "resource" {
			c.problem("%s: %s", s.Entity, aloneHint("resource"))
			return
		}
		c.inScope(variable, s.Entity)
	case xast.ScopeTypeIn:
		c.inScope(variable, s.Entity)
	case xast.ScopeTypeInSet:
		for _, e := range s.Entities {
			c.inScope(variable, e)
		}
	case xast.ScopeTypeIs:
		c.entityType(s.Type)
	case xast.ScopeTypeIsIn:
		c.entityType(s.Type)
		c.inScope(variable, s.Entity)
	default:
		c.problem("unknown form of %s", variable)
	}
}

func (c *checker) inScope(variable types.String, uid types.EntityUID) {
	if c.within(variable, uid) {
		c.literal(uid)
	}
}

// within checks that a variable can be, or be in, an entity that is written out.
func (c *checker) within(variable types.String, uid types.EntityUID) bool {
	if !fits(variable, uid.Type) {
		c.problem("%s can have nothing to do with %s", variable, uid)
		return false
	}
	return true
}

// fits reports whether a variable can be, or be in, an entity of a type.
func fits(variable types.String, t types.EntityType) bool {
	switch variable {
	case "action":
		return t == typeAction
	case "resource":
		return t == typeCommunity
	case "principal":
		return slices.Contains(principalTypes[:], t) || t == typeOwner || t == typeClass || t == typeRole
	}
	return false
}

// node checks one node of a condition; walk brings every node here.
func (c *checker) node(n xast.IsNode) {
	switch n := n.(type) {
	case xast.NodeTypeVariable:
		c.seen[n.Name]++
	case xast.NodeTypeAccess:
		c.attribute(n.Arg, n.Value)
		if isAccess(n, "principal", attrClass) {
			c.classes++
		}
	case xast.NodeTypeHas:
		c.attribute(n.Arg, n.Value)
	case xast.NodeTypeIs:
		c.entityType(n.EntityType)
		c.fine[variable(n.Left)]++
	case xast.NodeTypeIsIn:
		c.entityType(n.EntityType)
		c.in(n.Left, n.Entity)
	case xast.NodeTypeIn:
		c.in(n.Left, n.Right)
	case xast.NodeTypeEquals:
		c.equal(n.Left, n.Right)
		c.equal(n.Right, n.Left)
	case xast.NodeTypeNotEquals:
		c.equal(n.Left, n.Right)
		c.equal(n.Right, n.Left)
	case xast.NodeTypeContains:
		if set, ok := n.Left.(xast.NodeTypeSet); ok && len(set.Elements) > 0 {
			c.contains(set, n.Right)
		}
	case xast.NodeTypeExtensionCall:
		c.problem("%s(…) has nothing to work on: no attribute is of such a type", n.Name)
	case xast.NodeValue:
		if uid, ok := n.Value.(types.EntityUID); ok {
			c.literal(uid)
		}
	}
}

// in checks `left in right`: the right side must be one literal or a set of them.
func (c *checker) in(left, right xast.IsNode) {
	v := variable(left)
	if v == "" {
		c.problem("only principal, action and resource can be asked what they are in")
		return
	}
	c.fine[v]++
	elements := []xast.IsNode{right}
	if set, ok := right.(xast.NodeTypeSet); ok {
		elements = set.Elements
	}
	for _, e := range elements {
		value, _ := e.(xast.NodeValue)
		uid, ok := value.Value.(types.EntityUID)
		if !ok {
			c.problem("what %s is in must be written out, like Community::\"…\"", v)
			return
		}
		c.within(v, uid)
	}
}

// equal checks the comparison of a with b; it is called both ways round.
func (c *checker) equal(a, b xast.IsNode) {
	value, isValue := b.(xast.NodeValue)
	if !isValue {
		return
	}
	if uid, ok := value.Value.(types.EntityUID); ok {
		if v := variable(a); v == "principal" || v == "action" {
			c.fine[v]++
			c.within(v, uid)
		}
		return
	}
	c.word(a, value.Value)
}

// contains checks `[literals].contains(x)`.
func (c *checker) contains(set xast.NodeTypeSet, x xast.IsNode) {
	v := variable(x)
	plain := 0
	for _, e := range set.Elements {
		value, ok := e.(xast.NodeValue)
		if !ok {
			return
		}
		if uid, ok := value.Value.(types.EntityUID); ok && (v == "principal" || v == "action") {
			c.within(v, uid)
		} else if v != "" {
			return
		}
		before := c.plain
		c.word(x, value.Value)
		plain += c.plain - before
		c.plain = before
	}
	if v != "" {
		c.fine[v]++
	}
	if plain == len(set.Elements) {
		c.plain++
	}
}

// word checks the literal that an attribute is compared with.
func (c *checker) word(a xast.IsNode, value types.Value) {
	access, ok := a.(xast.NodeTypeAccess)
	if !ok {
		return
	}
	s, ok := value.(types.String)
	if !ok {
		return
	}
	if isAccess(a, "principal", attrClass) {
		c.class(s)
		c.plain++
		return
	}
	if known := enumerated(access.Value); known != nil && !slices.Contains(known, value) {
		c.problem("%s is never %q: it is one of %s", access.Value, s, wordList(known))
	}
}

// attribute checks `arg.attr` and `arg has attr`.
func (c *checker) attribute(arg xast.IsNode, attr types.String) {
	v := variable(arg)
	if v == "" || v == "action" {
		c.problem("unknown attribute %s: only principal, resource and context have attributes", attr)
		return
	}
	c.fine[v]++
	if known := attributes(v); !slices.Contains(known, attr) {
		c.problem("unknown attribute %s.%s: %s has %s", v, attr, v, joined(known))
	}
	c.ownUsed = c.ownUsed || v == "resource" && (attr == attrOwn || attr == attrRole || attr == attrRisk)
}

func (c *checker) entityType(t types.EntityType) {
	if !slices.Contains(principalTypes[:], t) && !c.kinds[t] {
		c.problem("unknown entity type %s", t)
	}
}

var systemName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// literal checks an entity that is written out, and remembers its name.
func (c *checker) literal(uid types.EntityUID) {
	id := string(uid.ID)
	switch uid.Type {
	case typeAction:
		if _, ok := c.acts[id]; !ok {
			c.problem("unknown action %s", uid)
		}
	case typeAgent:
		c.id(uid, act.KindAgent)
	case typeOperator:
		c.id(uid, act.KindOperator)
	case typeOwner, typeCommunity:
		kind := act.KindOwner
		if uid.Type == typeCommunity {
			kind = act.KindCommunity
		}
		if uid.ID != noneID {
			c.id(uid, kind)
		}
	case typeClass:
		c.class(uid.ID)
	case typeRole:
		if _, err := gate.ParseOperatorRole(id); err != nil {
			c.problem("%s: the roles of operators are %s", uid, strings.Join(gate.OperatorRoleNames(), ", "))
		}
	case typeSystem:
		if !systemName.MatchString(id) {
			c.problem("%s: the parts of the server have names like import", uid)
		}
	case typeObserver:
		if uid.ID != anonymousID && uid.ID != pagesID {
			c.problem("%s: the observers are Observer::%q and Observer::%q", uid, anonymousID, pagesID)
		}
	default:
		if c.kinds[uid.Type] {
			c.problem("%s: %s", uid, aloneHint("resource"))
		} else {
			c.problem("unknown entity type %s", uid.Type)
		}
	}
}

// id checks that an id is one of this network, of the right kind, and spelled
// as the network spells it: two spellings of one id would be two to Cedar.
func (c *checker) id(uid types.EntityUID, kind act.Kind) {
	if c.codec == nil {
		c.problem("%s: this engine was made without the network's ids", uid)
		return
	}
	id, err := c.codec.ParseKind(string(uid.ID), kind)
	if err != nil || c.codec.String(id) != string(uid.ID) {
		c.problem("%s is not the id of one of this network's %s: write it as the network shows it", uid, plural(kind))
		return
	}
	c.names.ids[id] = uid.ID
	c.known[uid.ID] = id
}

func plural(k act.Kind) string {
	if k == act.KindCommunity {
		return "communities"
	}
	return k.String() + "s"
}

// otherClass stands for every class that no policy names. Policies cannot name
// it, because class words have no control characters.
const otherClass = "\x00"

func (c *checker) class(s types.String) {
	if len(s) > 100 || strings.ContainsFunc(string(s), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.problem("%q cannot be the name of a class", s)
		return
	}
	c.names.classes[string(s)] = true
}

// variable returns the name of a variable node, "" for anything else.
func variable(n xast.IsNode) types.String {
	v, _ := n.(xast.NodeTypeVariable)
	return v.Name
}

func isAccess(n xast.IsNode, v, attr types.String) bool {
	a, ok := n.(xast.NodeTypeAccess)
	return ok && a.Value == attr && variable(a.Arg) == v
}

func joined(list []types.String) string {
	var b strings.Builder
	for i, s := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(s))
	}
	return b.String()
}

func wordList(values []types.Value) string {
	list := make([]types.String, len(values))
	for i, v := range values {
		list[i], _ = v.(types.String)
	}
	return joined(list)
}
