package network

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Flying is what some agents have under way.
type Flying struct {
	Webhooks   int64 // that are not switched off
	Leases     int64 // of tasks
	Deliveries int64 // from queues, that were received and not acknowledged
}

const (
	flyingPage = 1000

	qTasksLeased store.Q = `SELECT lease_until_at, id, claimant FROM task
WHERE state = 2 AND (lease_until_at > $1 OR lease_until_at = $1 AND id > $2) ORDER BY lease_until_at, id LIMIT $3`
	qQueuesFlying store.Q = `SELECT q.id, q.owner, (SELECT COUNT(*) FROM queue_item AS i WHERE i.queue = q.id AND i.receives > 0 AND i.visible_at > $2)
FROM queue AS q WHERE q.id > $1 ORDER BY q.id LIMIT $3`
)

// Flying counts what those have under way for whom in is true. It looks at everything that
// is under way, which is far less than there are agents.
func (n *Network) Flying(v *store.View, in func(agent act.ID) bool) (f Flying, err error) {
	now := act.Micros(n.gate.Now())
	var until int64
	var last act.ID
	if err := paged(flyingPage, func() (seen int, err error) {
		return seen, v.All(qTasksLeased, func(r *store.Row) error {
			seen++
			if until, last = r.Int(0), r.ID(1); until > now && in(r.ID(2)) {
				f.Leases++
			}
			return nil
		}, until, last, int64(flyingPage))
	}); err != nil {
		return f, err
	}
	last = 0
	if err := paged(hooksPage, func() (seen int, err error) {
		return seen, v.All(qWebhooksLive, func(r *store.Row) error {
			seen++
			w := scanWebhook(r)
			if last = w.ID; !w.operator && in(w.Owner) {
				f.Webhooks++
			}
			return nil
		}, last)
	}); err != nil {
		return f, err
	}
	last = 0
	return f, paged(flyingPage, func() (seen int, err error) {
		return seen, v.All(qQueuesFlying, func(r *store.Row) error {
			seen++
			if last = r.ID(0); in(r.ID(1)) {
				f.Deliveries += r.Int(2)
			}
			return nil
		}, last, now, int64(flyingPage))
	})
}

const hooksPage = 100 // of qWebhooksLive

// paged calls page until it sees less than a whole one.
func paged(whole int, page func() (seen int, err error)) error {
	for {
		if seen, err := page(); err != nil || seen < whole {
			return err
		}
	}
}
