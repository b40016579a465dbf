package lifecycle

import (
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Census counts agents and what waits for a human.
type Census struct {
	Agents      [act.Stale + 1]int64 // by standing, as this node's memory has them
	Waiting     int64                // acts that wait for a human now
	Held        int64                // acts that policy has held for a human since the given time
	Quarantined int64                // agents that were quarantined since then and still are
}

const (
	qCensusWaiting     store.Q = `SELECT COUNT(*) FROM approval WHERE state = 1 AND demand = 'hold'`
	qCensusHeld        store.Q = `SELECT COUNT(*) FROM approval WHERE id >= $1 AND demand = 'hold'`
	qCensusQuarantined store.Q = `SELECT COUNT(*) FROM agent WHERE state = 4 AND changed_at >= $1`
)

// Census counts what is, and what has come about since a time. Agents that were
// registered on another node and have neither been claimed nor seen here are not
// in this node's memory and so not in the count.
func (l *Lifecycle) Census(v *store.View, since time.Time) (c Census, err error) {
	for i := range c.Agents {
		c.Agents[i] = l.agents.counts[i].Load()
	}
	for _, q := range []struct {
		q    store.Q
		into *int64
		args []any
	}{
		{qCensusWaiting, &c.Waiting, nil},
		{qCensusHeld, &c.Held, []any{act.FirstID(since)}},
		{qCensusQuarantined, &c.Quarantined, []any{act.Micros(since)}},
	} {
		if _, err := v.One(q.q, func(r *store.Row) error { *q.into = r.Int(0); return nil }, q.args...); err != nil {
			return c, err
		}
	}
	return c, nil
}
