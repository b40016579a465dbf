package lifecycle

import (
	"fmt"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// An agent that falls silent again and again is broken, and bringing it back makes it
// worse (T35). Two deaths within a day are its last: it is not resumed, and ends when its
// grace is over. That its whole process was lost is no death of its own. A parent whose
// children die waits before it has the next one, longer each time.
const (
	deathsMost    = 2
	deathsWithin  = 24 * time.Hour
	backOffWithin = time.Hour
	backOffFirst  = time.Minute
	backOffTimes  = 6 // doublings

	ruleTombstone = "revival.tombstone"

	qDeathAdd    store.Q = `INSERT INTO death (agent, at, parent) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
	qDeaths      store.Q = `SELECT COUNT(*) FROM death WHERE agent = $1 AND at > $2`
	qDeathsUnder store.Q = `SELECT COUNT(*), COALESCE(MAX(at), 0) FROM death WHERE parent = $1 AND at > $2`

	qForgetDeaths store.Q = `DELETE FROM death WHERE at < $1`
	qDueDeath     store.Q = `SELECT agent FROM death WHERE at < $1 ORDER BY at, agent LIMIT 1`

	// QOldestDeath asks when the first agent lost its lease that is remembered.
	QOldestDeath store.Q = `SELECT at FROM death WHERE at > 0 ORDER BY at, agent LIMIT 1`
)

// KeepDeaths is how long it is remembered that an agent lost its lease.
const KeepDeaths = 2 * deathsWithin

func deaths(v *store.View, agent act.ID, now int64) (n int64, err error) {
	_, err = v.One(qDeaths, func(r *store.Row) error { n = r.Int(0); return nil }, agent, now-deathsWithin.Microseconds())
	return n, err
}

// died notes that an agent has lost its lease, and tells owner and operators if that was
// once too often.
func (l *Lifecycle) died(tx *store.Tx, a Agent) error {
	if err := tx.Batch(qDeathAdd, a.ID, tx.Now(), a.Parent); err != nil {
		return err
	}
	n, err := deaths(&tx.View, a.ID, tx.Now())
	if err != nil || n < deathsMost {
		return err
	}
	return tx.Batch(qNoticePut, a.ID, ruleTombstone, string(charter.Alert), fmt.Sprintf("it has lost its lease %d times within %s and is not brought back", n, deathsWithin), tx.Now(), int64(0))
}

// revivable refuses to bring back an agent that has died too often.
func revivable(v *store.View, a Agent, now int64) error {
	n, err := deaths(v, a.ID, now)
	if err == nil && n >= deathsMost {
		err = act.Errorf(act.Conflict, "the agent has lost its lease %d times within %s", n, deathsWithin).WithRule(ruleTombstone).
			WithHint("bringing it back would break it again: see what is wrong with it, and ask for another agent")
	}
	return err
}

// backOff has a parent wait whose children have lost their leases.
func backOff(v *store.View, parent act.ID, now int64) error {
	var n, last int64
	if _, err := v.One(qDeathsUnder, func(r *store.Row) error { n, last = r.Int(0), r.Int(1); return nil }, parent, now-backOffWithin.Microseconds()); err != nil || n < deathsMost {
		return err
	}
	wait := backOffFirst << min(n-deathsMost, backOffTimes)
	if left := time.Duration(last+wait.Microseconds()-now) * time.Microsecond; left > 0 {
		return act.Errorf(act.RateLimited, "%d of your children have lost their leases within %s", n, backOffWithin).WithRule("spawn.back-off").WithRetry(left).
			WithHint("wait for retry_after_seconds, and find out why they die: another one would die, too")
	}
	return nil
}
