package lifecycle_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// season is what happens to the agents of one network under quotas, drawn at random.
type season struct {
	agents []seasonAgent
	rounds []seasonRound
}

type seasonAgent struct {
	class, team int   // of two each
	budget      int64 // acts, 0 for no bound
	parent      int   // who makes it out of its own budget, -1 for an operator
}

// seasonRound is a change while nobody acts, acts of several agents on all nodes at once with
// something that happens under way, and the spending of all that is left.
type seasonRound struct {
	orders  []quotaOrderOf // by quota
	turn    time.Duration  // how far the clock leaps before, 0 mostly
	restart bool           // the second node ends, and another comes in its place
	work    []shift
	meet    meeting
	amid    quotaOrderOf // what an operator says under way, of the quota
	which   int
	leap    time.Duration // of the clock, under way
	spend   int           // the node on which the rest is spent: the others are not heard of
	first   int           // the agent who begins
}

// meeting is what happens while agents act.
type meeting int

const (
	nothing meeting = iota
	aSet
	aDropAndSet
	aLeap
	meetings
)

type quotaOrderOf struct {
	do     int   // 0 leaves it, 1 drops it, else it is set
	more   int64 // beyond what was done
	period lifecycle.Period
}

// shift is what one agent does on one node: 0 is a change, all else reports so many tokens.
type shift struct {
	agent, node int
	acts        []int64
}

func orders(t *rapid.T, label string) quotaOrderOf {
	return quotaOrderOf{
		do:     rapid.IntRange(0, 4).Draw(t, label+" do"),
		more:   rapid.Int64Range(0, 25).Draw(t, label+" more"),
		period: rapid.SampledFrom(lifecycle.Periods()).Draw(t, label+" period"),
	}
}

func seasons(t *rapid.T) (s season) {
	for i := range rapid.IntRange(2, 5).Draw(t, "agents") {
		m := seasonAgent{
			class: rapid.IntRange(0, 1).Draw(t, "class"), team: rapid.IntRange(0, 1).Draw(t, "team"),
			budget: rapid.SampledFrom([]int64{0, 12, 40}).Draw(t, "budget"), parent: -1,
		}
		if i > 0 && s.agents[i-1].parent < 0 && s.agents[i-1].budget != 12 && rapid.Bool().Draw(t, "child") {
			m.parent, m.class, m.team, m.budget = i-1, s.agents[i-1].class, s.agents[i-1].team, 12
		}
		s.agents = append(s.agents, m)
	}
	leaps := rapid.SampledFrom([]time.Duration{0, 0, time.Hour, 24 * time.Hour})
	for range rapid.IntRange(2, 4).Draw(t, "rounds") {
		r := seasonRound{
			turn: leaps.Draw(t, "turn"), restart: rapid.IntRange(0, 3).Draw(t, "restart") == 0,
			meet: meeting(rapid.IntRange(0, int(meetings)-1).Draw(t, "meeting")), amid: orders(t, "amid"), which: rapid.IntRange(0, 5).Draw(t, "which"),
			leap:  rapid.SampledFrom([]time.Duration{time.Hour, 24 * time.Hour}).Draw(t, "leap"),
			spend: rapid.IntRange(0, 1).Draw(t, "spend"), first: rapid.IntRange(0, 9).Draw(t, "first"),
		}
		for range 6 {
			r.orders = append(r.orders, orders(t, "order"))
		}
		amounts := rapid.SampledFrom([]int64{0, 0, 0, 1, 3, 8, 20, -2, -50})
		for range rapid.IntRange(2, 6).Draw(t, "shifts") {
			r.work = append(r.work, shift{
				agent: rapid.IntRange(0, len(s.agents)-1).Draw(t, "agent"), node: rapid.IntRange(0, 1).Draw(t, "node"),
				acts: rapid.SliceOfN(amounts, 2, 10).Draw(t, "acts"),
			})
		}
		s.rounds = append(s.rounds, r)
	}
	return s
}

// known is what the test knows of a quota without looking at its counters.
type known struct {
	on     lifecycle.QuotaName
	there  bool
	period lifecycle.Period
	limit  int64
	most   int64 // that may have been done in its period: the limit was higher, or more was done before it was set

	// Acts after sure count against it, and acts after maybe may: one that is under way when
	// a period ends, or a quota is dropped, counts in one of both. Unix microseconds.
	sure, maybe int64
	held        map[int]int64 // tokens that agents have reserved
}

type soul struct {
	seasonAgent
	act.Principal
	team, class string
	budget      int64 // acts of its own, what it gave its child is not among them; -1 without bound
}

// tester plays seasons on the nodes of one network.
type tester struct {
	t      *testing.T
	w      *watch
	nodes  []*house
	again  func() *house // makes another second node, nil where there is one node
	agents []soul
	quotas []*known
	mu     sync.Mutex // guards held of each quota while agents act
}

const qTestDone store.Q = `SELECT COUNT(*) FROM event WHERE actor = $1 AND at > $2 AND outcome = 0 AND act IN ('agent.update', 'budget.report')`

// in makes a test the one that fails when something does.
func (x *tester) in(t *testing.T) {
	x.t = t
	for _, h := range x.nodes {
		h.t = t
	}
}

func (x *tester) now() int64 { return act.Micros(x.w.now()) }

// advance moves the clock of all nodes.
func (x *tester) advance(by time.Duration) error {
	x.w.move(by)
	for _, h := range x.nodes {
		if err := h.db.Reserve(context.Background(), x.w.now()); err != nil {
			return err
		}
	}
	return nil
}

// began is when the period began that the clock is in.
func (x *tester) began(p lifecycle.Period) int64 {
	length := map[lifecycle.Period]time.Duration{lifecycle.Hourly: time.Hour, lifecycle.Daily: 24 * time.Hour}[p].Microseconds()
	if length == 0 {
		return 0
	}
	return x.now() / length * length
}

// begin makes the agents, and the clock stand early in an hour.
func (x *tester) begin(seed int, s season) {
	x.t.Helper()
	h := x.nodes[0]
	h.do("advance", x.advance(x.w.now().UTC().Truncate(time.Hour).Add(time.Hour+time.Minute).Sub(x.w.now())))
	x.agents, x.quotas = nil, nil
	name := func(what string, i int) string { return fmt.Sprintf("%s-%d-%d", what, seed, i) }
	for i := range 2 {
		h.class(name("class", i), `{"grant":{"spawn":{"classes":["*"],"depth":2,"fan_out":5}}}`)
	}
	for i, m := range s.agents {
		one := soul{seasonAgent: m, team: name("team", m.team), class: name("class", m.class), budget: m.budget}
		in := lifecycle.NewInstance{Name: name("one", i), Class: one.class, Owner: name("owner", m.team)}
		if m.budget > 0 {
			in.Grant = fmt.Sprintf(`{"budget":{"acts":%d},"spawn":{"classes":["*"],"depth":2,"fan_out":5}}`, m.budget)
		} else {
			one.budget = -1
		}
		if m.parent < 0 {
			one.Principal, _ = h.born(in)
		} else {
			var err error
			one.Principal, err = h.child(x.agents[m.parent].Principal, lifecycle.NewInstance{Name: in.Name, Class: in.Class, Grant: in.Grant})
			h.do("a child", err)
			if up := &x.agents[m.parent]; up.budget >= 0 {
				up.budget -= 1 + m.budget // to ask for it is an act
			}
		}
		_, err := h.life.MoveOwner.Do(x.t.Context(), h.operator, lifecycle.OwnerMove{Owner: name("owner", m.team), Team: one.team, Keep: true, Reason: "x"})
		if act.CodeOf(err) != act.Conflict {
			h.do("move", err)
		}
		x.agents = append(x.agents, one)
	}
	for _, scope := range []string{lifecycle.QuotaNetwork, lifecycle.QuotaTeam + name("team", 0), lifecycle.QuotaClass + name("class", 0)} {
		for _, kind := range []string{"acts", "tokens"} {
			x.quotas = append(x.quotas, &known{on: lifecycle.QuotaName{Scope: scope, Kind: kind}})
		}
	}
}

// done is what counts against a quota since a time: acts by the record, tokens by what was
// answered.
func (x *tester) done(q *known, since int64) (n int64) {
	if q.on.Kind == "tokens" {
		for _, held := range q.held {
			n += held
		}
		return n
	}
	for _, one := range x.agents {
		if q.on.Bounds(one.team, one.class) {
			n += x.nodes[0].count(qTestDone, one.ID, since)
		}
	}
	return n
}

// order does to a quota what an operator says, at any time. limit is what it is set to.
func (x *tester) order(q *known, o quotaOrderOf, limit int64) error {
	h, before := x.nodes[0], x.now()
	if o.do == 0 || o.do == 1 && !q.there {
		return nil
	}
	if o.do == 1 {
		q.there = false
		_, err := h.life.DropQuota.Do(context.Background(), h.operator, lifecycle.QuotaOrder{On: q.on, Reason: "x"})
		return err
	}
	if _, err := h.life.SetQuota.Do(context.Background(), h.operator, lifecycle.NewQuota{On: q.on, Limit: limit, Period: o.period, Reason: "x"}); err != nil {
		return err
	}
	if !q.there || q.period != o.period {
		q.sure, q.maybe, q.most, q.held = x.now(), before, 0, make(map[int]int64)
	}
	q.there, q.period, q.limit, q.most = true, o.period, limit, max(q.most, limit)
	return nil
}

// leap moves the clock, and begins the periods that begin by that.
func (x *tester) leap(by time.Duration, since func(*known) int64) error {
	old := make([]int64, len(x.quotas))
	for i, q := range x.quotas {
		old[i] = x.began(q.period)
	}
	if err := x.advance(by); err != nil {
		return err
	}
	for i, q := range x.quotas {
		if now := x.began(q.period); q.there && now > old[i] {
			q.sure, q.maybe, q.most, q.held = now-1, since(q), q.limit, make(map[int]int64)
		}
	}
	return nil
}

// play plays a round.
func (x *tester) play(r seasonRound) {
	t := x.t
	t.Helper()
	if r.restart && x.again != nil {
		last := x.nodes[1]
		last.do("close", last.db.Close())
		x.nodes[1] = x.again()
		x.in(t)
	}
	mustDo(t, "the clock leaps", x.leap(r.turn, func(*known) int64 { return x.now() }))
	for i, q := range x.quotas {
		limit := r.orders[i].more
		if q.there && q.period == r.orders[i].period {
			limit += x.done(q, q.sure)
		}
		mustDo(t, "an operator's order", x.order(q, r.orders[i], limit))
	}
	began, was := x.now(), make([]known, len(x.quotas))
	for i, q := range x.quotas {
		was[i] = *q
	}
	amid := x.amid(r, began)
	reports := r.meet == nothing || r.meet == aSet && x.quotas[r.which].there
	var all sync.WaitGroup
	reporters := make(map[int]bool) // one for an agent, or nobody knew in which order its reports were counted
	for i, s := range r.work {
		report := reports && !reporters[s.agent]
		reporters[s.agent] = true
		all.Go(func() {
			for j, amount := range s.acts {
				if i == 0 && j == len(s.acts)/2 {
					if err := amid(); err != nil {
						t.Errorf("under way: %v", err)
					}
				}
				if !report {
					amount = 0
				}
				if err := x.act(s.agent, s.node, amount); err != nil && act.CodeOf(err) != act.Unavailable && !bounded(err) {
					t.Errorf("an act: %v (rule %q)", err, act.AsError(err).Rule)
				}
			}
		})
	}
	all.Wait()
	for i, q := range x.quotas {
		if !q.there {
			continue
		}
		n := x.done(q, q.sure)
		if n > q.most {
			t.Errorf("%v: %d were done, %d may be at most", q.on, n, q.most)
		}
		if before := was[i]; q.on.Kind == "acts" && r.meet == aLeap && q.sure != before.sure && before.there {
			if sum := x.done(q, before.sure); sum > before.most+q.limit {
				t.Errorf("%v: %d were done in two periods, %d and %d may be", q.on, sum, before.most, q.limit)
			}
		}
		q.most = max(q.limit, n)
	}
	x.spend(r)
}

// amid is what happens while agents act.
func (x *tester) amid(r seasonRound, began int64) func() error {
	q := x.quotas[r.which]
	o, limit := r.amid, r.amid.more
	if q.there {
		o.period, limit = q.period, limit+x.done(q, q.sure)
	}
	o.do = 2
	switch r.meet {
	case aSet:
		return func() error { return x.order(q, o, limit) }
	case aDropAndSet:
		return func() error {
			if err := x.order(q, quotaOrderOf{do: 1}, 0); err != nil {
				return err
			}
			return x.order(q, o, r.amid.more)
		}
	case aLeap:
		return func() error { return x.leap(r.leap, func(*known) int64 { return began }) }
	}
	return func() error { return nil }
}

// act lets an agent make a change, or report an amount of tokens.
func (x *tester) act(agent, node int, amount int64) error {
	h, one := x.nodes[node%len(x.nodes)], x.agents[agent]
	if amount == 0 {
		return h.writes(one.Principal)
	}
	if _, err := h.life.Report.Do(context.Background(), one.Principal, lifecycle.Usage{Tokens: amount}); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, q := range x.quotas {
		if q.there && q.on.Kind == "tokens" && q.on.Bounds(one.team, one.class) {
			q.held[agent] = max(0, q.held[agent]+amount)
		}
	}
	return nil
}

// bounded reports whether a quota or a budget has stopped an act.
func bounded(err error) bool {
	rule := act.AsError(err).Rule
	return act.CodeOf(err) == act.Denied && (rule == "budget.acts" || strings.HasPrefix(rule, "quota."))
}

// insist acts until it is done, or refused although nobody else acts and what nodes remember
// of a moment ago is over.
func (x *tester) insist(agent, node int, amount int64) error {
	x.t.Helper()
	err := x.act(agent, node, amount)
	if err == nil {
		return nil
	}
	mustDo(x.t, "advance", x.advance(2*time.Second))
	return x.act(agent, node, amount)
}

// spend uses up on one node what is left, while the others do nothing: whoever is refused
// has nothing left on some level, wherever it was set aside.
func (x *tester) spend(r seasonRound) {
	x.t.Helper()
	for i := range x.agents {
		i = (i + r.first) % len(x.agents)
		x.spendTokens(i, r.spend)
		for n := 0; ; n++ {
			err := x.insist(i, r.spend, 0)
			if err != nil {
				x.justified(i, err)
				break
			}
			if n > 40 && !x.boundedIn("acts", i) {
				break
			}
		}
	}
	for _, q := range x.quotas {
		if n := x.done(q, q.sure); q.there && n > q.most {
			x.t.Errorf("%v: %d were done when all was spent, %d may be at most", q.on, n, q.most)
		}
	}
}

// spendTokens reserves all that is left to an agent in one piece, and one more.
func (x *tester) spendTokens(agent, node int) {
	x.t.Helper()
	if !x.boundedIn("tokens", agent) {
		return
	}
	rest := int64(1 << 40)
	for _, q := range x.above("tokens", agent) {
		rest = min(rest, q.limit-x.done(q, 0))
	}
	if rest > 0 {
		if err := x.insist(agent, node, rest); err != nil {
			x.justified(agent, err)
			return
		}
	}
	err := x.insist(agent, node, 1)
	if err == nil {
		x.t.Errorf("%s has reserved a token more than there are", x.agents[agent].Name)
		return
	}
	x.justified(agent, err)
}

func (x *tester) above(kind string, agent int) (list []*known) {
	for _, q := range x.quotas {
		if q.there && q.on.Kind == kind && q.on.Bounds(x.agents[agent].team, x.agents[agent].class) {
			list = append(list, q)
		}
	}
	return list
}

// boundedIn reports whether an agent cannot go on for ever.
func (x *tester) boundedIn(kind string, agent int) bool {
	return kind == "acts" && x.agents[agent].budget >= 0 || len(x.above(kind, agent)) > 0
}

// justified fails the test when an agent was refused what there was room for.
func (x *tester) justified(agent int, err error) {
	x.t.Helper()
	one, e := x.agents[agent], act.AsError(err)
	if e.Rule == "budget.acts" {
		if n := x.nodes[0].count(qTestDone, one.ID, int64(0)); n != one.budget {
			x.t.Errorf("%s is refused by its own budget after %d of %d", one.Name, n, one.budget)
		}
		return
	}
	for _, kind := range []string{"acts", "tokens"} {
		for _, q := range x.above(kind, agent) {
			level, _, _ := strings.Cut(q.on.Scope, ":")
			if e.Rule != "quota."+level+"."+kind {
				continue
			}
			if n := x.done(q, q.maybe); n < q.limit {
				x.t.Errorf("%s is refused by %s when %d of %d are used: %v", one.Name, e.Rule, n, q.limit, e)
			}
			return
		}
	}
	x.t.Errorf("%s is refused by what does not bound it: %v (rule %q)", one.Name, err, e.Rule)
}

// T39: whatever quotas and budgets there are of network, teams, classes, lines and agents,
// whoever acts on whichever node at once, and whatever operators, the clock and nodes do
// meanwhile: not one more is done than the quota has, and nobody is refused what there is.
func TestT39_QuotasHoldWhateverHappens(t *testing.T) {
	n := 6
	if os.Getenv("REEF_SOAK") != "" {
		n = 150
	}
	for _, dialect := range []store.Dialect{store.SQLite, store.Postgres} {
		cfg := storetest.Config(t, dialect)
		t.Run(dialect.String(), func(t *testing.T) {
			x := &tester{w: &watch{}}
			cfg.Clock = x.w.now
			hub := bus.NewLocal()
			x.nodes = []*house{open(t, cfg, plan{hub: hub})}
			if dialect == store.Postgres {
				x.again = func() *house { return open(t, cfg, plan{hub: hub, dir: x.nodes[0].dir}) }
				x.nodes = append(x.nodes, x.again())
			}
			for seed := range n {
				if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
					x.in(t)
					s := rapid.Custom(seasons).Example(seed)
					x.begin(seed, s)
					for i, r := range s.rounds {
						if x.play(r); t.Failed() {
							t.Fatalf("in round %d of %+v", i, s)
						}
					}
					for _, q := range x.quotas {
						mustDo(t, "drop", x.order(q, quotaOrderOf{do: 1}, 0))
					}
				}) {
					return
				}
			}
			x.in(t)
			if n := x.nodes[0].count(qTestLeased); n != 0 {
				t.Errorf("what nodes have of %d quotas is not what was given", n)
			}
			violations, err := lifecycle.Check(context.Background(), x.nodes[0].db)
			if err != nil || len(violations) > 0 {
				t.Errorf("invariants: %v, %v", violations, err)
			}
		})
	}
}
