package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// An agent lease is the right to go on, given by a class that asks for heartbeats. Any
// act that the gate admits renews it; that of a process is renewed by process.renew. Both
// are noted in memory, and in the database by the next RenewLeases of the node that saw it,
// which is far more often than leases are short.
const (
	qLeasePut   store.Q = `INSERT INTO lease (agent, until_at) VALUES ($1, $2) ON CONFLICT (agent) DO UPDATE SET until_at = $2`
	qLeaseRenew store.Q = `UPDATE lease SET until_at = $2 WHERE agent = $1 AND until_at < $2 AND until_at > $3`
	qLeaseDrop  store.Q = `DELETE FROM lease WHERE agent = $1`
	qLeaseOf    store.Q = `SELECT until_at FROM lease WHERE agent = $1`
	// agent + 0 is for those who plan, as in qOverLife.
	qLapsed store.Q = `SELECT agent FROM lease WHERE until_at <= $1 AND agent + 0 > $2 ORDER BY agent + 0, agent LIMIT $3`

	// The parents of an agent that are late; the parameters are filled up with 0.
	qLineLate store.Q = `SELECT COUNT(*) FROM lease WHERE agent IN ($1, $2, $3, $4, $5) AND until_at <= $6`

	renewPage = 500 // leases renewed in one transaction
)

// LeaseEvery is how often the server calls RenewLeases.
const LeaseEvery = time.Second

// alive holds who was seen since the last renewal.
type alive struct {
	mu   sync.Mutex
	seen map[act.ID]int64 // guarded by mu: when last, Unix microseconds
}

// Seen implements gate.Bounds.
func (l *Lifecycle) Seen(agent act.ID) {
	b := l.bondOf(agent)
	if b == nil || b.class == 0 {
		return
	}
	c := l.charters.Load().classes[b.class]
	if c == nil || c.Document.Heartbeat == 0 {
		return
	}
	l.alive.note(agent, act.Micros(l.db.Clock()()))
}

// note keeps that an agent or a process was alive at a time, Unix microseconds.
func (a *alive) note(id act.ID, now int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil {
		a.seen = make(map[act.ID]int64)
	}
	a.seen[id] = now // at most one entry for each within a second
}

// RenewLeases writes down who was seen. A lease that was lost meanwhile is not given back:
// its agent has been stopped, or is about to be. Every node calls it; who was seen and
// could not be written down is kept for the next time.
func (l *Lifecycle) RenewLeases(ctx context.Context) error {
	l.alive.mu.Lock()
	seen := l.alive.seen
	l.alive.seen = nil
	l.alive.mu.Unlock()
	classes := l.charters.Load().classes
	agents := make([]act.ID, 0, len(seen))
	for id := range seen {
		agents = append(agents, id)
	}
	slices.Sort(agents) // rows are locked in one order
	for page := range slices.Chunk(agents, renewPage) {
		if err := l.db.Write(ctx, func(tx *store.Tx) error {
			for _, id := range page {
				if id.Kind() == act.KindProcess {
					if err := tx.Batch(qProcessRenew, id, seen[id]); err != nil {
						return err
					}
					continue
				}
				b := l.bondOf(id)
				if b == nil || classes[b.class] == nil {
					continue
				}
				until := seen[id] + classes[b.class].Document.Lease().Microseconds()
				if err := tx.Batch(qLeaseRenew, id, until, seen[id]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			l.unsee(seen)
			return fmt.Errorf("lifecycle: renew leases: %w", err)
		}
	}
	return nil
}

// unsee puts back who was seen, unless they were seen again.
func (l *Lifecycle) unsee(seen map[act.ID]int64) {
	l.alive.mu.Lock()
	defer l.alive.mu.Unlock()
	if l.alive.seen == nil {
		l.alive.seen = seen
		return
	}
	for id, at := range seen {
		l.alive.seen[id] = max(l.alive.seen[id], at)
	}
}

// expectLine fails the transaction of an agent one of whose parents is late: a child
// does not outlive the lease that it hangs on, whether or not anybody has noticed yet.
func (l *Lifecycle) expectLine(tx *store.Tx, b *bond) error {
	var line [charter.MaxDepth]any
	up := b.parent
	for i := range line {
		line[i] = up
		if above := l.bondOf(up); above != nil {
			up = above.parent
		} else {
			up = 0
		}
	}
	return tx.Soon(qLineLate, func(r *store.Row) error {
		if r != nil && r.Int(0) > 0 {
			return act.Errorf(act.Denied, "one that you descend from has lost its lease").WithRule("lease.line").
				WithHint("nothing is wrong with you: you may act again when it does; else you end with it")
		}
		return nil
	}, append(line[:], tx.Now())...)
}
