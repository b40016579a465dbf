package policy

import (
	"fmt"
	"iter"
	"slices"
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
	looks       looks  // the attributes that the whole policy asks for
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

// sort is in what way a request has something that a policy can be filed under.
type sort uint8

const (
	byPrincipal sort = iota // the agent or operator itself
	byPart                  // the part of the server
	byObserver
	byCommunity
	byOwner
	byClassName
	byTeam
	bySite
	byMandate
	byLineage
	byAuthorOwner
	byAuthorClass
	byAuthorTeam
	byAuthorSite
	byAuthorMandate
	sortCount
)

// need is something that a rule can be filed under: an owner, a community, an agent by
// its id; a class, a team by its number among the names.
type need struct {
	sort sort
	id   int64 // 0 is the one that is not there
}

// need returns what a request must have for a policy that needs it.
func (c *compiler) need(w wanted) need {
	switch w.sort {
	case byPart, byObserver, byClassName, byTeam, bySite, byAuthorClass, byAuthorTeam, byAuthorSite:
		if w.sort == byObserver {
			w.id = types.String(observerText(string(w.id)))
		}
		return need{w.sort, c.names.add(string(w.id))}
	}
	if w.id == noneID {
		return need{w.sort, 0}
	}
	id, ok := c.known[w.id]
	if !ok {
		panic("unchecked entity " + string(w.id))
	}
	return need{w.sort, int64(id)}
}

// observerText tells the one sort of observer that has a name from the other.
func observerText(name string) string {
	if name == act.PageReader {
		return name
	}
	return ""
}

// has returns what a key can satisfy, by sort; unnamed for what no policy names.
func (s *snapshot) has(k *key) (list [sortCount]int64) {
	for i := range list {
		list[i] = unnamed
	}
	list[byCommunity] = int64(k.community)
	switch k.principal {
	case act.Agent:
		list[byPrincipal], list[byOwner], list[byClassName] = int64(k.who), int64(k.owner), s.names.number(k.text)
		list[byTeam], list[bySite], list[byMandate], list[byLineage] = k.team, k.site, int64(k.mandate), int64(k.root)
	case act.Operator:
		list[byPrincipal] = int64(k.who)
	case act.System:
		list[byPart] = s.names.number(k.text)
	case act.Observer:
		list[byObserver] = s.names.number(observerText(k.text))
	}
	list[byAuthorOwner], list[byAuthorClass], list[byAuthorTeam] = int64(k.authorOwner), k.authorClass, k.authorTeam
	list[byAuthorSite], list[byAuthorMandate] = k.authorSite, int64(k.authorMandate)
	return list
}

// cell holds the policies that can apply to one act by one sort of principal.
type cell struct {
	general []*rule
	// by holds the policies that need something, each under one of its needs.
	by    map[need][]*rule
	sorts []sort // of the needs in by
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
		if !slices.Contains(c.sorts, best.sort) {
			c.sorts = append(c.sorts, best.sort)
		}
	}
	return c
}

// work returns a bound of the nodes that one request can make the cell
// evaluate: a request has one owner, one class, one community and so on.
func (c *cell) work() int {
	var most [sortCount]int
	for n, rules := range c.by {
		most[n.sort] = max(most[n.sort], cost(rules))
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
	has   [sortCount]int64
	lists [sortCount + 1][]*rule
	used  int // of lists
	kind  act.Kind
	asked []*rule // in the order in which the evaluator had them
}

// find returns the candidates for a key.
func (c *cell) find(s *snapshot, k *key) *candidates {
	found := &candidates{kind: k.kind, has: s.has(k)}
	add := func(rules []*rule) {
		if len(rules) > 0 {
			found.lists[found.used] = rules
			found.used++
		}
	}
	for _, sort := range c.sorts {
		if id := found.has[sort]; id != unnamed {
			add(c.by[need{sort, id}])
		}
	}
	add(c.general)
	return found
}

// covers reports whether the request is within the reach of a rule that is
// filed under something it has, for its act and sort of principal.
func (c *candidates) covers(r *rule) bool {
	if r.kinds>>c.kind&1 == 0 {
		return false
	}
	for _, n := range r.needs {
		if n.id != c.has[n.sort] {
			return false
		}
	}
	return true
}

// rules iterates over the candidates.
func (c *candidates) rules() iter.Seq[*rule] {
	return func(yield func(*rule) bool) {
		for _, list := range c.lists[:c.used] {
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
	s.looks = make([]looks, len(tables))
	for i, t := range tables {
		for _, r := range s.naming[t.name] {
			s.looks[i] |= r.looks
		}
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
