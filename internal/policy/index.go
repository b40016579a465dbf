package policy

import (
	"fmt"
	"iter"
	"strconv"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// rule is one policy, ready to be evaluated.
type rule struct {
	id          string
	seq         int    // place in the bundle; the first of several that match is named
	needs       []need // reach.need, as requests have them
	place       string
	hint        string
	forbid      bool
	obligations []gate.Obligation
	residue     *cedar.Policy // what is left to evaluate; shared by rules that differ in reach only
	reach       reach
	kinds       uint32 // bit k: it can apply to resources of act.Kind k
	nodes       int    // size of the residue, the measure of its cost
	decision    *gate.Decision
}

// maxWork bounds what one decision can cost, in nodes of expressions that are
// evaluated. It is the time limit of a decision (T60), about a millisecond at 20
// to 50 ns a node; being checked when the bundle is loaded, it needs no clock
// and cannot be met at an unlucky moment.
const (
	maxWork   = 20_000
	perPolicy = 5 // what asking a policy costs beside its nodes
)

// need is an entity that a rule can be filed under: an owner, a community, an
// agent or an operator by its id, a class or a part of the server by its name.
type need struct {
	id   act.ID
	text string
}

// Needs that have no id; unnamed is one more number that no id has.
const (
	noOwner act.ID = -2 - iota
	noCommunity
	oneClass  // the class text
	oneSystem // the part of the server named text
	observer
)

// need returns what a request must have for a policy that needs uid.
func (c *compiler) need(uid types.EntityUID) need {
	switch uid.Type {
	case typeClass:
		return need{oneClass, string(uid.ID)}
	case typeSystem:
		return need{oneSystem, string(uid.ID)}
	case typeObserver:
		return need{observer, observerText(string(uid.ID))}
	case typeOwner:
		if uid.ID == noneID {
			return need{noOwner, ""}
		}
	case typeCommunity:
		if uid.ID == noneID {
			return need{noCommunity, ""}
		}
	}
	id, ok := c.known[uid.ID]
	if !ok {
		panic("unchecked entity " + uid.String())
	}
	return need{id, ""}
}

// observerText tells the one sort of observer that has a name from the other.
func observerText(name string) string {
	if name == act.PageReader {
		return name
	}
	return ""
}

// has returns what a key can satisfy: the principal, the resource's community,
// and for an agent its owner and its class.
func (k *key) has() (list [4]need) {
	orNone := func(id, none act.ID) need {
		if id == 0 {
			id = none
		}
		return need{id, ""}
	}
	list[1] = orNone(k.community, noCommunity)
	list[2], list[3] = need{unnamed, ""}, need{unnamed, ""}
	switch k.principal {
	case act.Agent:
		list[0], list[2], list[3] = need{k.who, ""}, orNone(k.owner, noOwner), need{oneClass, k.text}
	case act.Operator:
		list[0] = need{k.who, ""}
	case act.System:
		list[0] = need{oneSystem, k.text}
	case act.Observer:
		list[0] = need{observer, observerText(k.text)}
	}
	return list
}

// cell holds the policies that can apply to one act by one sort of principal.
type cell struct {
	general []*rule
	// by holds the policies that need something, each under one of its needs.
	by map[need][]*rule
}

// newCell indexes rules. Each goes under that of its needs which the fewest
// others have, so that neither "one act, many owners" nor "one owner, many
// communities" puts all in one place.
func newCell(rules []*rule) *cell {
	c := &cell{}
	crowd := make(map[need]int)
	for _, r := range rules {
		for _, n := range r.needs {
			crowd[n]++
		}
	}
	for _, r := range rules {
		if len(r.needs) == 0 {
			c.general = append(c.general, r)
			continue
		}
		best := r.needs[0]
		for _, n := range r.needs[1:] {
			if crowd[n] < crowd[best] {
				best = n
			}
		}
		if c.by == nil {
			c.by = make(map[need][]*rule)
		}
		c.by[best] = append(c.by[best], r)
	}
	return c
}

// work returns a bound of the nodes that one request can make the cell
// evaluate: a request has one owner, one class, one community and one principal.
func (c *cell) work() int {
	most := make(map[act.ID]int) // by sort of need
	for n, rules := range c.by {
		sort := n.id
		switch {
		case sort > 0:
			sort = act.ID(n.id.Kind())
		case sort == noOwner:
			sort = act.ID(act.KindOwner)
		case sort == noCommunity:
			sort = act.ID(act.KindCommunity)
		}
		most[sort] = max(most[sort], cost(rules))
	}
	total := cost(c.general)
	for _, n := range most {
		total += n
	}
	return total
}

func cost(rules []*rule) (n int) {
	for _, r := range rules {
		n += r.nodes
	}
	return n
}

// candidates are the policies within whose reach a request is. It is what the
// evaluator iterates over.
type candidates struct {
	has   [4]need
	lists [5][]*rule
	kind  act.Kind
	asked []*rule // in the order in which the evaluator had them
}

// find returns the candidates for a key.
func (c *cell) find(k *key) candidates {
	found := candidates{kind: k.kind, has: k.has()}
	found.lists[4] = c.general
	if c.by != nil {
		for i, n := range found.has {
			if n.id != unnamed {
				found.lists[i] = c.by[n]
			}
		}
	}
	return found
}

// covers reports whether the request is within the reach of a rule that is
// filed under something it has, for its act and sort of principal.
func (c *candidates) covers(r *rule) bool {
	if r.kinds>>c.kind&1 == 0 {
		return false
	}
	for _, n := range r.needs {
		if n != c.has[0] && n != c.has[1] && n != c.has[2] && n != c.has[3] {
			return false
		}
	}
	return true
}

// rules iterates over the candidates.
func (c *candidates) rules() iter.Seq[*rule] {
	return func(yield func(*rule) bool) {
		for _, list := range c.lists {
			for _, r := range list {
				if c.covers(r) && !yield(r) {
					return
				}
			}
		}
	}
}

// All implements cedar.PolicyIterator. The evaluator is told a policy's place in
// asked instead of its id.
func (c *candidates) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for r := range c.rules() {
			n := len(c.asked)
			c.asked = append(c.asked, r)
			if !yield(cedar.PolicyID(strconv.Itoa(n)), r.residue) {
				return
			}
		}
	}
}

// rule returns the rule that the evaluator reports.
func (c *candidates) rule(id cedar.PolicyID) *rule {
	n, err := strconv.Atoi(string(id))
	if err != nil {
		panic(err) // and so a denial; All gives out nothing but numbers
	}
	return c.asked[n]
}

// index builds the cells of a snapshot and checks the bound on their work.
func (s *snapshot) index(tables []*table) (problems []Problem) {
	s.cells = make([][len(principalTypes)]*cell, len(tables))
	for i, t := range tables {
		for who, name := range principalTypes {
			var here []*rule
			for _, r := range s.naming[t.name] {
				if r.reach.who == "" || r.reach.who == name {
					here = append(here, r)
				}
			}
			c := newCell(here)
			if n := c.work(); n > maxWork && len(problems) == 0 {
				problems = append(problems, Problem{
					Place: here[0].place,
					Text: fmt.Sprintf("%s by %s: one decision would have to weigh policies of %d nodes, %d are allowed; "+
						"narrow them by owner, class or community", t.name, name, n, maxWork),
				})
			}
			s.cells[i][who] = c
		}
	}
	return problems
}
