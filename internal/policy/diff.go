package policy

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/ast"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// Bounds of a difference.
const (
	maxKindreds = 5_000  // classes of equal agents that are told apart; the rest is counted
	maxCombined = 20_000 // kinds of things that one act is asked about for one class
	mostChanges = 10_000 // different changes that are listed
	examples    = 3
)

// Difference is what two bundles decide otherwise, over those who live now.
type Difference struct {
	Added, Removed, Changed []string // ids of policies
	Acts                    []string // acts whose decisions may differ
	Agents                  int64    // that were looked at
	Changes                 []Change
	Rest                    int64    // changes beyond mostChanges
	Partial                 []string // acts of which not every kind of thing was asked about, and what was left out
}

// Change is what somebody gains or loses.
type Change struct {
	Who      string         // "agent", "operator", "observer"
	Facts    map[string]any // that all of them share, as policies spell them
	Count    int64          // agents of the class; 0 for operators and observers
	Examples []act.ID       // some of them
	Act      string
	Gains    bool
	Was, Now string         // results
	Rule, By string         // the policies that decide before and after
	From, At string         // their file:line; "" for none
	Things   int64          // kinds of things for which it is so
	Of       int64          // kinds of things that were asked about
	Thing    map[string]any // one of them
}

// Agents yields every agent that has not ended, from memory.
type Agents func(yield func(id act.ID, f PrincipalFacts) bool)

// kindred is agents that neither bundle can tell apart, or operators or observers.
type kindred struct {
	sample
	count    int64
	examples []act.ID
}

// ruleText is a policy as a difference sees it.
type ruleText struct {
	text string // with its annotations, without comments and spaces
	ast  *xast.Policy
}

// rulesOf reads the policies of a bundle that compiles.
func rulesOf(b *Bundle) map[string]ruleText {
	out := make(map[string]ruleText)
	for _, f := range b.Files {
		for _, p := range policiesOf(f) {
			out[p.id] = ruleText{string(cedar.NewPolicyFromAST((*cedarast.Policy)(p.ast)).MarshalCedar()), p.ast}
		}
	}
	return out
}

// difference compares two bundles. It asks only about acts that a policy reaches which
// one bundle has and the other has not, or otherwise; and of things only what a policy of
// either bundle looks at, which is all that a decision can depend on.
func (e *Engine) difference(a, b *Bundle, was, now *snapshot, agents Agents) (out Difference) {
	old, fresh := rulesOf(a), rulesOf(b)
	touched := make(map[string]bool)
	touch := func(p *xast.Policy) {
		r, _ := reachOf(p)
		for _, t := range e.tables {
			if r.acts == nil || slices.Contains(r.acts, t.name) {
				touched[t.name] = true
			}
		}
	}
	for id, r := range old {
		switch other, ok := fresh[id]; {
		case !ok:
			out.Removed = append(out.Removed, id)
			touch(r.ast)
		case other.text != r.text:
			out.Changed = append(out.Changed, id)
			touch(r.ast)
			touch(other.ast)
		}
	}
	for id, r := range fresh {
		if _, ok := old[id]; !ok {
			out.Added = append(out.Added, id)
			touch(r.ast)
		}
	}
	slices.Sort(out.Removed)
	slices.Sort(out.Changed)
	slices.Sort(out.Added)
	kindreds := e.kindreds(was, now, agents, &out)
	for _, t := range e.tables {
		if !touched[t.name] {
			continue
		}
		out.Acts = append(out.Acts, t.name)
		things := e.things(t, was, now, old, fresh, &out)
		for _, c := range kindreds {
			c.act = t
			e.compare(c, things, was, now, &out)
		}
	}
	slices.Sort(out.Acts)
	slices.SortStableFunc(out.Changes, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.Act, y.Act), cmp.Compare(y.Count, x.Count), cmp.Compare(x.Who, y.Who))
	})
	return out
}

// kindreds sorts everybody who can ask into classes that both bundles treat alike.
func (e *Engine) kindreds(was, now *snapshot, agents Agents, out *Difference) []kindred {
	by := make(map[sample]*kindred)
	fold := func(id act.ID) act.ID {
		if was.name(id) == unnamed && now.name(id) == unnamed {
			return unnamed
		}
		return id
	}
	rest := int64(0)
	agents(func(id act.ID, f PrincipalFacts) bool {
		out.Agents++
		x := sample{asker: asker{kind: act.Agent, who: fold(id), facts: f}}
		for field, v := range reflect.ValueOf(&x.facts).Elem().Fields() {
			if field.Type == reflect.TypeFor[act.ID]() && !v.IsZero() {
				v.SetInt(int64(fold(act.ID(v.Int()))))
			}
		}
		c := by[x]
		if c == nil {
			if len(by) >= maxKindreds {
				rest++
				return true
			}
			c = &kindred{sample: x}
			by[x] = c
		}
		if c.count++; len(c.examples) < examples {
			c.examples = append(c.examples, id)
		}
		return true
	})
	if rest > 0 {
		out.Partial = append(out.Partial, fmt.Sprintf("%d agents are of more than %d classes and were not asked about", rest, maxKindreds))
	}
	list := make([]kindred, 0, len(by)+16)
	for _, c := range by {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(x, y kindred) int {
		return cmp.Or(cmp.Compare(y.count, x.count), cmp.Compare(x.examples[0], y.examples[0]))
	})
	for _, name := range gate.OperatorRoleNames() {
		role, err := gate.ParseOperatorRole(name)
		if err != nil {
			continue
		}
		for _, there := range []bool{true, false} {
			list = append(list, kindred{sample: sample{asker: asker{
				kind: act.Operator, who: unnamed, roles: uint8(role), facts: PrincipalFacts{Fresh: there, Passkey: there},
			}}})
		}
	}
	for _, name := range []string{"", act.PageReader} {
		list = append(list, kindred{sample: sample{asker: asker{kind: act.Observer, name: name}}})
	}
	return list
}

// things lists the kinds of things that an act can be about and that a policy of either
// bundle tells apart.
func (e *Engine) things(t *table, was, now *snapshot, old, fresh map[string]ruleText, out *Difference) []gate.Facts {
	looked := make(map[string]bool)
	communities := map[act.ID]bool{0: true, unnamed: true}
	for _, rules := range []map[string]ruleText{old, fresh} {
		for _, r := range rules {
			if reach, _ := reachOf(r.ast); reach.acts != nil && !slices.Contains(reach.acts, t.name) {
				continue
			}
			lookedAtBy(r.ast, looked)
		}
	}
	for _, s := range []*snapshot{was, now} {
		for id := range s.names.ids {
			if id.Kind() == act.KindCommunity {
				communities[id] = true
			}
		}
	}
	list := []gate.Facts{{}}
	shape := reflect.TypeFor[gate.Facts]()
	for i := range shape.NumField() {
		name := snake(shape.Field(i).Name)
		var values []reflect.Value
		switch {
		case name == "kind":
			for k := range kindCount {
				if t.kinds>>k&1 == 1 {
					values = append(values, reflect.ValueOf(act.Kind(k)))
				}
			}
		case !looked[name]:
			continue
		case name == "community":
			for id := range communities {
				values = append(values, reflect.ValueOf(id))
			}
			slices.SortFunc(values, func(a, b reflect.Value) int { return cmp.Compare(a.Int(), b.Int()) })
		default:
			values = valuesOf(shape.Field(i).Type)
		}
		if len(values) == 0 || len(list)*len(values) > maxCombined {
			out.Partial = append(out.Partial, t.name+": "+name)
			continue
		}
		var wider []gate.Facts
		for _, f := range list {
			for _, value := range values {
				reflect.ValueOf(&f).Elem().Field(i).Set(value)
				wider = append(wider, f)
			}
		}
		list = wider
	}
	for i := range shape.NumField() {
		delete(looked, snake(shape.Field(i).Name))
	}
	for _, name := range slices.Sorted(maps.Keys(looked)) { // of whoever made the thing
		out.Partial = append(out.Partial, t.name+": "+name)
	}
	return list
}

// lookedAtBy adds the attributes of things that a policy looks at.
func lookedAtBy(p *xast.Policy, looked map[string]bool) {
	switch s := p.Resource.(type) {
	case xast.ScopeTypeIn, xast.ScopeTypeIsIn:
		_ = s
		looked[string(attrCommunity)] = true
	}
	for _, c := range p.Conditions {
		walk(c.Body, func(n xast.IsNode) {
			switch n := n.(type) {
			case xast.NodeTypeAccess:
				if variable(n.Arg) == "resource" {
					looked[string(n.Value)] = true
				}
			case xast.NodeTypeIn:
				looked[string(attrCommunity)] = looked[string(attrCommunity)] || variable(n.Left) == "resource"
			case xast.NodeTypeIsIn:
				looked[string(attrCommunity)] = looked[string(attrCommunity)] || variable(n.Left) == "resource"
			}
		})
	}
}

// valuesOf lists what a field with few values can be; nil for others.
func valuesOf(t reflect.Type) (list []reflect.Value) {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Bool:
		return []reflect.Value{reflect.ValueOf(false), reflect.ValueOf(true)}
	case reflect.Uint8:
		for n := range uint64(1 << 8) {
			v.SetUint(n)
			if wordOf(v) == "" {
				break
			}
			one := reflect.New(t).Elem()
			one.SetUint(n)
			list = append(list, one)
		}
	}
	return list
}

// compare asks both bundles about everything that a kindred can be about.
func (e *Engine) compare(c kindred, things []gate.Facts, was, now *snapshot, out *Difference) {
	found := make(map[Flip]*Change)
	var order []*Change
	for _, on := range things {
		c.on = on
		before, after := e.decide(was, c.sample, e.context), e.decide(now, c.sample, e.context)
		if resultOf(before) == resultOf(after) {
			continue
		}
		k := Flip{Was: resultOf(before), Now: resultOf(after), Rule: before.Policy, By: after.Policy}
		one := found[k]
		if one == nil {
			if len(out.Changes)+len(order) >= mostChanges {
				out.Rest++
				continue
			}
			one = &Change{
				Who: c.kind.String(), Count: c.count, Examples: c.examples, Act: c.act.name, Gains: gains(k.Was, k.Now), Was: k.Was, Now: k.Now,
				Rule: k.Rule, By: k.By, From: before.Place, At: after.Place, Of: int64(len(things)), Thing: spell(on, e.nameOf), Facts: e.who(c.sample),
			}
			found[k] = one
			order = append(order, one)
		}
		one.Things++
	}
	for _, one := range order {
		out.Changes = append(out.Changes, *one)
	}
}

// who spells what all of a kindred share.
func (e *Engine) who(x sample) map[string]any {
	words := spell(x.facts, e.nameOf)
	if x.who != unnamed && x.who != 0 {
		words["id"] = e.nameOf(x.who)
	}
	if x.name != "" {
		words["name"] = x.name
	}
	if x.kind == act.Operator {
		words["roles"] = strings.Join(gate.OperatorRoles(x.roles).Names(), " ")
	}
	return words
}
