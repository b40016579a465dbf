package lifecycle

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What package graph asks about agents that something has reached.

// Members lists the agents of a scope that have not ended, by what memory has of them.
func (l *Lifecycle) Members(v *store.View, in ScopeName) (agents []act.ID, err error) {
	p, err := l.place(v, in)
	if err != nil {
		return nil, err
	}
	l.agents.each(func(id act.ID, r *record, state act.Standing) bool {
		if !state.Final() && l.holds(p.Scope, id, r) {
			agents = append(agents, id)
		}
		return true
	})
	return agents, nil
}

// QuarantineIn quarantines an agent as part of another act. changed is false for one that
// is quarantined, or that cannot be: it has ended, or was never claimed.
func (l *Lifecycle) QuarantineIn(tx *store.Tx, p act.Principal, agent act.ID, reason string) (changed bool, err error) {
	return l.orderIn(tx, quarantineOrder(), p, Order{agent, reason})
}

// ReleaseIn ends a quarantine as part of another act.
func (l *Lifecycle) ReleaseIn(tx *store.Tx, p act.Principal, agent act.ID, reason string) (changed bool, err error) {
	return l.orderIn(tx, releaseOrder(), p, Order{agent, reason})
}

func (l *Lifecycle) orderIn(tx *store.Tx, t transition, p act.Principal, in Order) (changed bool, err error) {
	a, err := l.agent(&tx.View, in.Agent)
	if act.CodeOf(err) == act.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	before := standings{a.Standing, a.Beneath}
	if after, ok := t.to(before); !ok || after == before {
		return false, nil
	}
	_, _, err = l.order(tx, t, p, in)
	return err == nil, err
}
