package policy

import (
	"fmt"
	"maps"
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

	numbers map[string]int64 // of the words that policies name, from 1; the empty one is 0
	words   []string         // by number
}

func newNames() names {
	return names{
		ids: make(map[act.ID]types.String), classes: make(map[string]bool),
		numbers: map[string]int64{"": 0}, words: []string{""},
	}
}

// add returns the number of a word that stands in a policy.
func (n *names) add(word string) int64 {
	i, known := n.numbers[word]
	if !known {
		i = int64(len(n.words))
		n.words = append(n.words, word)
		n.numbers[word] = i
	}
	return i
}

// number returns the number of a word, unnamed when it stands in no policy.
func (n *names) number(word string) int64 {
	if word == "" {
		return 0
	}
	if i, ok := n.numbers[word]; ok {
		return i
	}
	return unnamed
}

// word returns the word of a number; what is unnamed is a word that no policy can name.
func (n *names) word(number int64) string {
	if number == unnamed {
		return otherClass
	}
	return n.words[number]
}

// checker looks at one policy. It finds what Cedar's own type check would let
// pass although it could not work here, and collects the names.
type checker struct {
	*compiler
	place    string
	problems []Problem
	seen     map[types.String]int // uses of each variable
	fine     map[types.String]int // uses in a place where it may stand
	uses     map[*attribute]int   // uses of each attribute that names tell apart
	plain    map[*attribute]int   // uses of it that compare it with what is written out
	looks    looks                // all that the policy looks at
	writes   *attribute           // one that is for writes only; nil if none is looked at
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
	for a, n := range c.uses {
		switch {
		case n <= c.plain[a]:
		case a.fold == byClass:
			c.names.anyClass = true
		default:
			c.problem("%s.%s can be compared only with what is written out: %s", a.of, a.name, a.example())
		}
	}
}

// example shows how an attribute is compared.
func (a *attribute) example() string {
	if a.typ == "String" {
		return fmt.Sprintf("%s.%s == \"…\"; to compare two agents use resource.same_team, resource.same_owner, resource.same_mandate, resource.lineage", a.of, a.name)
	}
	return fmt.Sprintf("%s.%s == %s::\"…\"; to compare two agents use resource.same_owner, resource.same_mandate", a.of, a.name, a.typ)
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
		switch t {
		case typeOwner, typeClass, typeTeam, typeMandate, typeLineage, typeRole:
			return true
		}
		return slices.Contains(principalTypes[:], t)
	}
	return false
}

// node checks one node of a condition; walk brings every node here.
func (c *checker) node(n xast.IsNode) {
	switch n := n.(type) {
	case xast.NodeTypeVariable:
		c.seen[n.Name]++
	case xast.NodeTypeAccess:
		if a := c.attribute(n.Arg, n.Value); a != nil && a.fold != freely {
			c.uses[a]++
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
		if value, ok := n.Right.(xast.NodeValue); ok { // context.labels
			c.word(n.Left, value.Value)
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
			return
		}
	}
	if at := c.word(a, value.Value); at != nil {
		c.plain[at]++
	}
}

// contains checks `[literals].contains(x)`.
func (c *checker) contains(set xast.NodeTypeSet, x xast.IsNode) {
	v := variable(x)
	var named *attribute
	plain := 0
	for _, e := range set.Elements {
		value, ok := e.(xast.NodeValue)
		if !ok {
			return
		}
		if uid, ok := value.Value.(types.EntityUID); ok && (v == "principal" || v == "action") {
			c.within(v, uid)
			continue
		} else if v != "" {
			return
		}
		if at := c.word(x, value.Value); at != nil {
			named = at
			plain++
		}
	}
	if v != "" {
		c.fine[v]++
	}
	if named != nil && plain == len(set.Elements) {
		c.plain[named]++
	}
}

// word checks the literal that an attribute is compared with. It returns the attribute
// when it is one that names tell apart.
func (c *checker) word(a xast.IsNode, value types.Value) *attribute {
	access, ok := a.(xast.NodeTypeAccess)
	if !ok {
		return nil
	}
	at := attributeOf(variable(access.Arg), access.Value)
	if at == nil {
		return nil
	}
	if at.fold == freely {
		if s, ok := value.(types.String); ok && at.words != nil && !slices.Contains(at.words, value) {
			c.problem("%s is never %q: it is one of %s%s", access.Value, s, wordList(at.words), didYouMean(string(s), stringsOf(at.words)))
		}
		return nil
	}
	if s, ok := value.(types.String); ok {
		c.named(at, s)
	}
	return at
}

// named remembers a word that a policy names.
func (c *checker) named(at *attribute, s types.String) {
	if at.fold == byClass {
		c.class(s)
	} else if c.sayable(s, "of a "+strings.TrimPrefix(string(at.name), "author_")) {
		c.names.add(string(s))
	}
}

// attribute checks `arg.attr` and `arg has attr`; it returns the attribute.
func (c *checker) attribute(arg xast.IsNode, attr types.String) *attribute {
	v := variable(arg)
	if v == "" || v == "action" {
		c.problem("unknown attribute %s: only principal, resource and context have attributes", attr)
		return nil
	}
	c.fine[v]++
	at := attributeOf(v, attr)
	if at == nil {
		known := attributes(v)
		c.problem("unknown attribute %s.%s: %s has %s%s", v, attr, v, joined(known), didYouMean(string(attr), stringsOf(known)))
		return nil
	}
	c.looks |= lookedAt(v, attr)
	if at.write {
		c.writes = at
	}
	return at
}

func (c *checker) entityType(t types.EntityType) {
	if !slices.Contains(principalTypes[:], t) && !c.kinds[t] {
		c.unknownType(t)
	}
}

func (c *checker) unknownType(t types.EntityType) {
	known := []string{string(typeOwner), string(typeClass), string(typeTeam), string(typeMandate), string(typeLineage), string(typeRole), string(typeAction)}
	for _, who := range principalTypes {
		known = append(known, string(who))
	}
	for k := range c.kinds {
		known = append(known, string(k))
	}
	slices.Sort(known)
	if best := nearest(string(t), known); best != "" {
		c.problem("unknown entity type %s; did you mean %s?", t, best)
	} else {
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
			c.problem("unknown action %s%s", uid, didYouMean(id, slices.Sorted(maps.Keys(c.acts))))
		}
	case typeAgent:
		c.id(uid, act.KindAgent)
	case typeOperator:
		c.id(uid, act.KindOperator)
	case typeOwner, typeCommunity, typeMandate:
		if uid.ID != noneID {
			c.id(uid, idKinds[uid.Type])
		}
		if uid.Type == typeMandate {
			c.looks |= looksMandate
		}
	case typeLineage:
		c.id(uid, act.KindAgent)
		c.looks |= looksRoot
	case typeClass:
		c.class(uid.ID)
	case typeTeam:
		if c.sayable(uid.ID, "of a team") {
			c.names.add(id)
		}
		c.looks |= looksTeam
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
			c.unknownType(uid.Type)
		}
	}
}

// idKinds are the kinds of what entities of a type are the ids of.
var idKinds = map[types.EntityType]act.Kind{
	typeOwner: act.KindOwner, typeCommunity: act.KindCommunity, typeMandate: act.KindMandate,
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
	if c.sayable(s, "of a class") {
		c.names.classes[string(s)] = true
	}
}

// sayable checks that a word can be a name.
func (c *checker) sayable(s types.String, whose string) bool {
	if len(s) > 100 || strings.ContainsFunc(string(s), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.problem("%q cannot be the name %s", s, whose)
		return false
	}
	return true
}

// variable returns the name of a variable node, "" for anything else.
func variable(n xast.IsNode) types.String {
	v, _ := n.(xast.NodeTypeVariable)
	return v.Name
}

func joined(list []types.String) string { return strings.Join(stringsOf(list), ", ") }

// stringsOf gives strings of Cedar's as ours.
func stringsOf[T types.Value](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		if s, ok := any(v).(types.String); ok {
			out[i] = string(s)
		}
	}
	return out
}

func wordList(values []types.Value) string { return strings.Join(stringsOf(values), ", ") }
