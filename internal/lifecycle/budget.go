package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Budget is one kind of what an agent may use up.
type Budget struct {
	Kind     string // see charter.BudgetKinds
	Granted  int64
	Used     int64 // by itself
	Carved   int64 // given to children, less what came back from those that have ended
	Reported bool  // the agent's own word; the network counts the others

	Scope    string // of a quota that the agent is under, see QuotaName; "" for what is its own
	RenewsAt int64  // of a quota: when it begins anew, Unix microseconds; 0 never
}

// Left is what remains.
func (b Budget) Left() int64 { return b.Granted - b.Used - b.Carved }

// Usage is what an agent says that it uses: it reserves before it spends, and gives back
// what it did not need by a negative amount.
type Usage struct {
	Tokens int64
	Money  int64 // millionths
	CPU    int64 // milliseconds
}

const (
	qBudgetMake store.Q = `INSERT INTO budget (agent, kind, granted, used, carved) VALUES ($1, $2, $3, 0, 0)`
	qBudgets    store.Q = `SELECT kind, granted, used, carved FROM budget WHERE agent = $1 ORDER BY agent, kind`
	// Exact in the transaction: whoever would go beyond what is granted changes no row.
	qBudgetUse   store.Q = `UPDATE budget SET used = used + $3 WHERE agent = $1 AND kind = $2 AND used + carved + $3 <= granted AND used + $3 >= 0`
	qBudgetCarve store.Q = `UPDATE budget SET carved = carved + $3 WHERE agent = $1 AND kind = $2 AND used + carved + $3 <= granted`
	qBudgetBack  store.Q = `UPDATE budget SET carved = carved - $3 WHERE agent = $1 AND kind = $2`
	qBudgetShut  store.Q = `UPDATE budget SET granted = used + carved WHERE agent = $1`
)

const budgetActs = 0 // its place in charter.BudgetKinds

func (l *Lifecycle) registerBudgets(g *gate.Gate) {
	l.ShowBudget = gate.RegisterRead(g, gate.Read[Named, []Budget]{
		Info: gate.Info{Name: "budget.show", Doc: "Show what an agent may use up and what is left; your own if you name none.", On: act.KindAgent, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, p act.Principal, in Named) (gate.Resource, error) {
			a, err := l.named(v, in)
			if err == nil && p.Kind == act.Agent && a.ID != p.ID {
				err = noAgent() // agents look at their own
			}
			if err != nil {
				return gate.Resource{}, err
			}
			return l.answered(v, p, a)
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in Named) ([]Budget, error) {
			a, err := l.named(v, in)
			if err != nil {
				return nil, err
			}
			return l.allBudgets(v, a.ID)
		},
	})
	l.Report = gate.RegisterWrite(g, gate.Write[Usage, []Budget]{
		Info: gate.Info{Name: "budget.report", Doc: "Reserve tokens, money or processor time before you spend them, or give back what you did not need.", On: act.KindAgent, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, _ Usage) (gate.Resource, error) {
			return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindAgent, Own: true}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Usage) (out []Budget, fx gate.Effects, err error) {
			for kind, amount := range []int64{0, in.Tokens, in.Money, in.CPU} {
				if err := l.spend(tx, p.ID, kind, amount); err != nil {
					return nil, fx, err
				}
			}
			out, err = l.allBudgets(&tx.View, p.ID)
			return out, gate.Effects{Out: act.Ref{ID: p.ID}}, err
		},
	})
}

func budgets(v *store.View, agent act.ID) (list []Budget, err error) {
	err = v.All(qBudgets, func(r *store.Row) error {
		kind := int(r.Int(0))
		list = append(list, Budget{Kind: charter.BudgetKinds()[kind], Granted: r.Int(1), Used: r.Int(2), Carved: r.Int(3), Reported: kind != budgetActs})
		return nil
	}, agent)
	return list, err
}

// allBudgets is what an agent may use up, and after it the quotas that it is under: what
// is left of those is for others, too.
func (l *Lifecycle) allBudgets(v *store.View, agent act.ID) ([]Budget, error) {
	list, err := budgets(v, agent)
	if err != nil {
		return nil, err
	}
	above, err := l.boundBy(v, agent)
	for i := range above {
		q := &above[i]
		list = append(list, Budget{Kind: q.On.Kind, Granted: q.Limit, Used: q.Used, Reported: q.Reported(), Scope: q.On.Scope, RenewsAt: q.RenewsAt()})
	}
	return list, err
}

// Within implements gate.Bounds.
func (l *Lifecycle) Within(p act.Principal, name string, f gate.Facts) error {
	b := l.bondOf(p.ID)
	if b == nil || b.terms == nil {
		return nil
	}
	outside := func(rule, what string) error {
		return act.Errorf(act.Denied, "your grant does not hold %s", what).WithRule(rule).
			WithHint("it is what your class, and whoever made you, let you do at most; your owner can ask for an agent of another class")
	}
	switch {
	case !b.terms.allows(name):
		return outside("grant.act", name)
	case !b.terms.grant.Communities.All() && f.Community != 0 && !b.terms.grant.Communities.Has(l.placeName(f.Community)):
		return outside("grant.community", name+" there")
	case b.terms.grant.Clearance != charter.AnyClearance && uint8(f.Classification) >= uint8(b.terms.grant.Clearance):
		return outside("grant.clearance", "things so confidential")
	}
	return nil
}

// placeName is a community's name, "" for one that nobody knows.
func (l *Lifecycle) placeName(community act.ID) string {
	if l.cfg.Place == nil {
		return ""
	}
	return l.cfg.Place(community)
}

// Charge implements gate.Bounds: a change that the agent makes counts against its budget,
// and against the quotas that it is under, in the change's own transaction.
func (l *Lifecycle) Charge(tx *store.Tx, p act.Principal) error {
	return l.spend(tx, p.ID, budgetActs, 1)
}

// spend takes an amount of a kind; a kind that is not bounded has no row, and is not
// counted.
func (l *Lifecycle) spend(tx *store.Tx, agent act.ID, kind int, amount int64) error {
	if amount == 0 {
		return nil
	}
	if b := l.bondOf(agent); b != nil && b.terms != nil && b.terms.grant.Budget.Limits()[kind] != nil {
		changed, err := tx.Exec(qBudgetUse, agent, int64(kind), amount)
		if err == nil && changed == 0 {
			err = overspent(charter.BudgetKinds()[kind])
		}
		if err != nil {
			return err
		}
	}
	return l.levy(tx, agent, kind, amount)
}

func overspent(kind string) error {
	return act.Errorf(act.Denied, "your budget of %s is used up", kind).WithRule("budget." + kind).
		WithHint("it does not come back by waiting: ask your owner for another grant; budget.show says what is left")
}

// grantBudget makes the rows of what a new agent may use up, and takes them out of its
// parent's remainder, if it has one.
func grantBudget(tx *store.Tx, agent, parent act.ID, from, g charter.Budget) error {
	above := from.Limits()
	for kind, limit := range g.Limits() {
		if limit == nil {
			continue
		}
		if err := tx.Batch(qBudgetMake, agent, int64(kind), *limit); err != nil {
			return err
		}
		if parent == 0 || above[kind] == nil {
			continue
		}
		changed, err := tx.Exec(qBudgetCarve, parent, int64(kind), *limit)
		if err != nil {
			return err
		}
		if changed == 0 {
			name := charter.BudgetKinds()[kind]
			return act.Errorf(act.Denied, "a child with %d %s is more than what is left of yours", *limit, name).WithRule("budget." + name).
				WithHint("ask for less in grant.budget; budget.show says what is left")
		}
	}
	return nil
}

// returnBudget gives back to a parent what an agent that ends has not used up.
func returnBudget(tx *store.Tx, agent, parent act.ID) error {
	list := make(map[int]int64)
	if err := tx.All(qBudgets, func(r *store.Row) error {
		list[int(r.Int(0))] = r.Int(1) - r.Int(2) - r.Int(3)
		return nil
	}, agent); err != nil || len(list) == 0 {
		return err
	}
	if err := tx.Batch(qBudgetShut, agent); err != nil {
		return err
	}
	for kind := range charter.BudgetKinds() {
		if left := list[kind]; parent != 0 && left > 0 {
			if err := tx.Batch(qBudgetBack, parent, int64(kind), left); err != nil {
				return err
			}
		}
	}
	return nil
}
