package lifecycle

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Preview is who would be stopped with a scope, as this node's memory has them.
type Preview struct {
	Contained
	Agents   [act.Stale + 1]int64 // by what their standing comes to now
	Examples []act.ID             // a few who may act now
	Held     int64                // acts that wait for somebody's word
	Flying   Flying
}

// Flying is what agents have under way, which a stop cuts.
type Flying struct {
	Streams    int64 // open on this node
	Webhooks   int64 // that are not switched off
	Leases     int64 // of tasks
	Deliveries int64 // from queues that were received and not acknowledged
}

// MaxExamples bounds Preview.Examples.
const MaxExamples = 10

const qApprovalsOpen store.Q = `SELECT id, agent FROM approval WHERE state < 3 AND id > $1 ORDER BY id LIMIT $2`

func (l *Lifecycle) preview(v *store.View, in ScopeName) (p Preview, err error) {
	at, err := l.place(v, in)
	if err != nil {
		return p, err
	}
	if p.Contained, err = l.containedIn(v, at.Scope); err != nil {
		return p, err
	}
	p.Name = at.name
	l.agents.each(func(id act.ID, r *record, state act.Standing) bool {
		if !l.holds(at.Scope, id, r) {
			return true
		}
		state = l.effective(id, r, state)
		p.Agents[state]++
		if state.MayAct() && len(p.Examples) < MaxExamples {
			p.Examples = append(p.Examples, id)
		}
		return true
	})
	var last act.ID
	for more := true; more; {
		n := 0
		if err := v.All(qApprovalsOpen, func(r *store.Row) error {
			n, last = n+1, r.ID(0)
			if l.within(at.Scope, r.ID(1)) {
				p.Held++
			}
			return nil
		}, last, int64(loadPage)); err != nil {
			return p, err
		}
		more = n == loadPage
	}
	if l.cfg.Flying != nil {
		p.Flying, err = l.cfg.Flying(v, func(agent act.ID) bool { return l.within(at.Scope, agent) })
	}
	return p, err
}
