package policy

import (
	"fmt"
	"iter"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// rule is one policy, ready to be evaluated.
type rule struct {
	id          string
	seq         int // place in the bundle; the first of several that match is named
	place       string
	hint        string
	forbid      bool
	obligations []gate.Obligation
	policy      *cedar.Policy
	reach       reach
	kinds       uint32 // bit k: it can apply to resources of act.Kind k
	nodes       int    // size of the expression, the measure of its cost
	decision    *gate.Decision
}

// maxWork bounds what one decision can cost, in nodes of expressions that are
// evaluated. With some 20 to 50 ns a node it is the time limit of a decision
// (T60); being checked when the bundle is loaded, it needs no clock and cannot
// be met at an unlucky moment.
const maxWork = 20_000

// cell holds the policies that can apply to one act by one sort of principal.
type cell struct {
	general []*rule
	// by holds the policies that need a certain entity, each under one of those
	// it needs. A request asks for four at most: the principal, its owner, its
	// class and the resource's community.
	by map[types.EntityUID][]*rule
}

// newCell indexes rules. Each goes under that of the entities it needs which
// the fewest others need, so that neither "one act, many owners" nor "one
// owner, many communities" puts all in one place.
func newCell(rules []*rule) *cell {
	c := &cell{}
	crowd := make(map[types.EntityUID]int)
	for _, r := range rules {
		for _, uid := range r.reach.need {
			crowd[uid]++
		}
	}
	for _, r := range rules {
		if len(r.reach.need) == 0 {
			c.general = append(c.general, r)
			continue
		}
		best := r.reach.need[0]
		for _, uid := range r.reach.need[1:] {
			if crowd[uid] < crowd[best] {
				best = uid
			}
		}
		if c.by == nil {
			c.by = make(map[types.EntityUID][]*rule)
		}
		c.by[best] = append(c.by[best], r)
	}
	return c
}

// work returns the most nodes that one request can make the cell evaluate.
func (c *cell) work() int {
	most := make(map[types.EntityType]int)
	for uid, rules := range c.by {
		most[uid.Type] = max(most[uid.Type], cost(rules))
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

// candidates are the policies that can match or fail for one request. It is
// what the evaluator iterates over.
type candidates struct {
	lists [5][]*rule
	kind  act.Kind
}

// find returns the candidates for a request.
func (c *cell) find(q *request) candidates {
	found := candidates{kind: q.kind}
	found.lists[0] = c.general
	if c.by != nil {
		found.lists[1] = c.by[q.principal]
		found.lists[2] = c.by[q.community]
		if q.isAgent {
			found.lists[3] = c.by[q.owner]
			found.lists[4] = c.by[q.class]
		}
	}
	return found
}

// rules iterates over the candidates.
func (c *candidates) rules() iter.Seq[*rule] {
	return func(yield func(*rule) bool) {
		for _, list := range c.lists {
			for _, r := range list {
				if r.kinds>>c.kind&1 == 1 && !yield(r) {
					return
				}
			}
		}
	}
}

// All implements cedar.PolicyIterator.
func (c *candidates) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for r := range c.rules() {
			if !yield(cedar.PolicyID(r.id), r.policy) {
				return
			}
		}
	}
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
