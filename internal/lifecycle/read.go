package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// ListCursor is the name of the list in its cursors.
	ListCursor = "agent.list"

	// MaxList bounds a page of agents.
	MaxList = 100

	// MaxAgentsOf bounds the agents of an owner that are looked at in one go.
	MaxAgentsOf = 1000
)

// Query asks for a page of agents in the order of their ids.
type Query struct {
	Standing act.Standing // only these; act.StandingUnknown is any
	Mine     bool         // only those that the reader answers for
	Owner    string       // only this owner's; "" is any
	Cursor   act.Cursor   // of ListCursor; zero is the start
	Limit    int          // 1 to MaxList; MaxList if 0
}

// Named names an agent by id, or by name or any name that looks like it.
type Named struct {
	Agent act.ID
	Name  string // used when Agent is 0
}

const (
	qListAll     store.Q = `SELECT ` + agentColumns + ` FROM agent WHERE id > $1 ORDER BY id LIMIT $2`
	qListState   store.Q = `SELECT ` + agentColumns + ` FROM agent WHERE id > $1 AND state = $3 ORDER BY id LIMIT $2`
	qListOwner   store.Q = `SELECT ` + agentColumns + ` FROM agent WHERE id > $1 AND owner = $3 ORDER BY id LIMIT $2`
	qListOwnerIn store.Q = `SELECT ` + agentColumns + ` FROM agent WHERE id > $1 AND owner = $3 AND state = $4 ORDER BY id LIMIT $2`
)

// OnlyAgent returns the one active agent of an owner; found is false when there
// is none, or more than one.
func (l *Lifecycle) OnlyAgent(v *store.View, owner act.ID) (agent act.ID, found bool, err error) {
	n := 0
	err = v.All(qListOwnerIn, func(r *store.Row) error {
		n++
		agent = scanAgent(r).ID
		return nil
	}, act.ID(0), int64(2), owner, int64(act.Active))
	if err != nil || n != 1 {
		return 0, false, err
	}
	return agent, true, nil
}

// AgentsOf returns the agents of an owner that have not ended, at most MaxAgentsOf.
func (l *Lifecycle) AgentsOf(v *store.View, owner act.ID) (agents []act.ID, err error) {
	err = v.All(qListOwner, func(r *store.Row) error {
		if a := scanAgent(r); !a.Standing.Final() {
			agents = append(agents, a.ID)
		}
		return nil
	}, act.ID(0), int64(MaxAgentsOf), owner)
	return agents, err
}

func (l *Lifecycle) registerReads(g *gate.Gate) {
	l.List = gate.RegisterRead(g, gate.Read[Query, act.Page[Agent]]{
		Info:   gate.Info{Name: "agent.list", Doc: "List agents by id, with standing and owner.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Narrow: func(in Query) Query { in.Mine = true; return in },
		Run: func(_ context.Context, v *store.View, p act.Principal, in Query) (act.Page[Agent], error) {
			return l.list(v, p, in)
		},
	})
	l.Show = gate.RegisterRead(g, gate.Read[Named, Agent]{
		Info: gate.Info{Name: "agent.show", Doc: "Show one agent with standing, owner and the reason for it.", On: act.KindAgent, Quota: gate.QuotaNone},
		Target: func(_ context.Context, v *store.View, p act.Principal, in Named) (gate.Resource, error) {
			a, err := l.named(v, in)
			if err != nil {
				return gate.Resource{}, err
			}
			return l.answered(v, p, a)
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in Named) (Agent, error) {
			a, err := l.named(v, in)
			if err != nil {
				return a, err
			}
			return l.shown(v, a.ID)
		},
	})
}

func (l *Lifecycle) named(v *store.View, in Named) (Agent, error) {
	if in.Agent != 0 {
		return l.agent(v, in.Agent)
	}
	return l.one(v, qAgentBySkeleton, Skeleton(in.Name))
}

func (l *Lifecycle) list(v *store.View, p act.Principal, in Query) (page act.Page[Agent], err error) {
	n, after, err := listed(ListCursor, "agents", in.Limit, in.Cursor, 0)
	if err != nil {
		return page, err
	}
	if in.Mine {
		mine, found, err := l.ids.OwnerBy(v, p.ID)
		if err != nil || !found || in.Owner != "" && in.Owner != mine.Name {
			return page, err
		}
		in.Owner = mine.Name
	}
	q, args := qListAll, []any{after, int64(n + 1)}
	if in.Owner != "" {
		owner, found, err := l.ids.Owner(v, in.Owner)
		if err != nil || !found {
			return page, err
		}
		q, args = qListOwner, append(args, owner)
	}
	if in.Standing != act.StandingUnknown {
		args = append(args, int64(in.Standing))
		if q == qListOwner {
			q = qListOwnerIn
		} else {
			q = qListState
		}
	}
	var items []Agent
	if err := v.All(q, func(r *store.Row) error { items = append(items, scanAgent(r)); return nil }, args...); err != nil {
		return page, err
	}
	page = paged(ListCursor, items, n, func(a Agent) int64 { return int64(a.ID) })
	return page, l.nameOwners(v, page.Items)
}

// nameOwners fills in the owners' names, asking once for each owner.
func (l *Lifecycle) nameOwners(v *store.View, agents []Agent) (err error) {
	names := make(map[act.ID]string)
	for i := range agents {
		a := &agents[i]
		name, known := names[a.Owner]
		if !known {
			if name, err = l.ids.OwnerName(v, a.Owner); err != nil {
				return err
			}
			names[a.Owner] = name
		}
		a.OwnerName = name
		l.complete(a)
	}
	return nil
}
