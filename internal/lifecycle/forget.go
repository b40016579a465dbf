package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// DefaultKeep is how long what is over is kept unless configured.
	DefaultKeep = 90 * 24 * time.Hour

	forgetRows = 500 // of each kind, dropped in one transaction

	overApprovals = ` FROM approval WHERE state >= 3 AND ended_at < $1 ORDER BY ended_at, id LIMIT `
	// An agent that waits still names the owner who invited it.
	overInvites = ` FROM invite AS i WHERE i.expires_at < $1 AND NOT EXISTS (SELECT 1 FROM agent AS a WHERE a.id = i.used_by AND a.state = $2)
ORDER BY i.expires_at, i.id LIMIT `
	overClaims = ` FROM claim AS c WHERE c.created_at < $1 AND NOT EXISTS (SELECT 1 FROM agent AS a WHERE a.id = c.agent AND a.state = $2)
ORDER BY c.created_at, c.agent LIMIT `
	// Sources from which nobody waits any more.
	overSeats = ` FROM seat WHERE id < 0 AND taken = 0 ORDER BY id LIMIT `

	qForgetApprovals store.Q = `DELETE FROM approval WHERE id IN (SELECT id` + overApprovals + `$2)`
	qForgetInvites   store.Q = `DELETE FROM invite WHERE id IN (SELECT i.id` + overInvites + `$3)`
	qForgetClaims    store.Q = `DELETE FROM claim WHERE agent IN (SELECT c.agent` + overClaims + `$3)`
	qForgetSeats     store.Q = `DELETE FROM seat WHERE taken = 0 AND id IN (SELECT id` + overSeats + `$1)`
	qDueApproval     store.Q = `SELECT id` + overApprovals + `1`
	qDueInvite       store.Q = `SELECT i.id` + overInvites + `1`
	qDueClaim        store.Q = `SELECT c.agent` + overClaims + `1`
	qDueSeat         store.Q = `SELECT id` + overSeats + `1`

	qExpired     store.Q = `SELECT id, changed_at FROM agent WHERE state = $1 AND id > $2 ORDER BY id LIMIT $3`
	qForgetAgent store.Q = `DELETE FROM agent WHERE id = $1 AND state = $2 AND changed_at < $3`

	// Those of QPast… count what is older than a time, as far as a number.

	// QPastApprovals counts held acts that are over.
	QPastApprovals store.Q = `SELECT COUNT(*) FROM (SELECT id` + overApprovals + `$2) AS past`
	// QPastInvites counts invites that nobody waits with.
	QPastInvites store.Q = `SELECT COUNT(*) FROM (SELECT i.id FROM invite AS i WHERE i.expires_at < $1
AND NOT EXISTS (SELECT 1 FROM agent AS a WHERE a.id = i.used_by AND a.state = 1) ORDER BY i.expires_at, i.id LIMIT $2) AS past`
	// QPastClaims counts claims that nobody waits for.
	QPastClaims store.Q = `SELECT COUNT(*) FROM (SELECT c.agent FROM claim AS c WHERE c.created_at < $1
AND NOT EXISTS (SELECT 1 FROM agent AS a WHERE a.id = c.agent AND a.state = 1) ORDER BY c.created_at, c.agent LIMIT $2) AS past`

	// QOldestApproval asks when the act ended that has been over for longest.
	QOldestApproval store.Q = `SELECT ended_at FROM approval WHERE state >= 3 ORDER BY ended_at, id LIMIT 1`
	// QOldestInvite asks when the first invite ends, or ended, that nobody waits with.
	QOldestInvite store.Q = `SELECT i.expires_at FROM invite AS i WHERE i.expires_at > 0
AND NOT EXISTS (SELECT 1 FROM agent AS a WHERE a.id = i.used_by AND a.state = 1) ORDER BY i.expires_at, i.id LIMIT 1`
	// QOldestClaim asks when the oldest claim was made that nobody waits for.
	QOldestClaim store.Q = `SELECT c.created_at FROM claim AS c WHERE c.created_at > 0
AND NOT EXISTS (SELECT 1 FROM agent AS a WHERE a.id = c.agent AND a.state = 1) ORDER BY c.created_at, c.agent LIMIT 1`
)

// forgetting asks to drop what is over, and registrations that expired.
type forgetting struct{ expired []act.ID }

func (l *Lifecycle) registerForget(g *gate.Gate) {
	l.forget = gate.RegisterWrite(g, gate.Write[forgetting, int64]{
		Info: gate.Info{Name: "system.forget", Doc: "Drop held acts, invites, claims, keys and registrations that have been over for long.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, forgetting) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: l.runForget,
	})
}

func (l *Lifecycle) runForget(ctx context.Context, tx *store.Tx, _ act.Principal, in forgetting) (dropped int64, fx gate.Effects, err error) {
	before, err := tx.Expired(store.TermClosed, l.cfg.Keep)
	if err != nil {
		return 0, fx, err
	}
	dead, err := l.db.Droppable(&tx.View, tx.Now()-KeepDeaths.Microseconds())
	if err != nil {
		return 0, fx, err
	}
	for _, one := range []struct {
		q    store.Q
		args []any
	}{
		{qForgetApprovals, []any{before, int64(forgetRows)}},
		{qForgetInvites, []any{before, int64(act.Requested), int64(forgetRows)}},
		{qForgetClaims, []any{before, int64(act.Requested), int64(forgetRows)}},
		{qForgetSeats, []any{int64(forgetRows)}},
		{qForgetProcesses, []any{before, int64(forgetRows)}},
		{qForgetDeaths, []any{dead}},
	} {
		n, err := tx.Exec(one.q, one.args...)
		if err != nil {
			return 0, fx, err
		}
		dropped += n
	}
	n, err := l.ids.Forgotten(tx, before, forgetRows)
	if err != nil {
		return 0, fx, err
	}
	dropped += n
	agents := 0
	for _, id := range in.expired {
		gone, err := l.forgetAgent(ctx, tx, id, before)
		if err != nil {
			return 0, fx, err
		}
		if gone {
			agents++
		}
	}
	dropped += int64(agents)
	return dropped, gate.Effects{Reason: fmt.Sprintf("%d rows were over, %d of them registrations", dropped, agents)}, nil
}

// forgetAgent drops an agent that expired before it ever acted, unless somebody
// else's doing still points at it. Memory, which has it as expired, forgets it at
// the next start; that it was here stays in the record.
func (l *Lifecycle) forgetAgent(ctx context.Context, tx *store.Tx, id act.ID, before int64) (gone bool, err error) {
	if l.cfg.Gone == nil {
		return false, nil
	}
	if gone, err = l.cfg.Gone(ctx, tx, id); err != nil || !gone {
		return false, err
	}
	n, err := tx.Exec(qForgetAgent, id, int64(act.Expired), before)
	if err == nil && n == 0 {
		err = act.Errorf(act.Conflict, "agent %d is not to be forgotten", id)
	}
	if err != nil {
		return false, err
	}
	return true, l.ids.ForgetSubject(tx, id)
}

// Housekeep drops what has been over for longer than it is kept. The server calls
// it now and then, on one node at a time; two at once do nothing twice.
func (l *Lifecycle) Housekeep(ctx context.Context) error {
	for {
		due, err := l.forgettable(ctx)
		if err != nil {
			return err
		}
		if !due {
			return l.forgetExpired(ctx)
		}
		if _, err := l.forget.Do(ctx, act.SystemPrincipal("housekeeping"), forgetting{}); err != nil {
			return err
		}
	}
}

func (l *Lifecycle) forgettable(ctx context.Context) (due bool, err error) {
	nothing := func(*store.Row) error { return nil }
	err = l.db.View(ctx, func(v *store.View) error {
		before, err := l.db.Expired(v, store.TermClosed, l.cfg.Keep)
		if err != nil {
			return err
		}
		dead, err := l.db.Droppable(v, act.Micros(l.db.Clock()().Add(-KeepDeaths)))
		if err != nil {
			return err
		}
		if due, err = v.One(qDueApproval, nothing, before); err != nil || due {
			return err
		}
		if due, err = v.One(qDueInvite, nothing, before, int64(act.Requested)); err != nil || due {
			return err
		}
		if due, err = v.One(qDueClaim, nothing, before, int64(act.Requested)); err != nil || due {
			return err
		}
		if due, err = v.One(qDueSeat, nothing); err != nil || due {
			return err
		}
		if due, err = v.One(qDueProcess, nothing, before); err != nil || due {
			return err
		}
		if due, err = v.One(qDueDeath, nothing, dead); err != nil || due {
			return err
		}
		due, err = l.ids.Forgettable(v, before)
		return err
	})
	return due, err
}

// forgetExpired drops the registrations that expired long ago.
func (l *Lifecycle) forgetExpired(ctx context.Context) error {
	for last := act.ID(0); ; {
		var due []act.ID
		seen, early := 0, 0
		if err := l.db.View(ctx, func(v *store.View) error {
			before, err := l.db.Expired(v, store.TermClosed, l.cfg.Keep)
			if err != nil {
				return err
			}
			due, seen, early = due[:0], 0, 0
			return v.All(qExpired, func(r *store.Row) error {
				seen++
				last = r.ID(0)
				if r.Int(1) < before {
					due = append(due, last)
				} else {
					early++
				}
				return nil
			}, int64(act.Expired), last, int64(reapPage))
		}); err != nil {
			return fmt.Errorf("lifecycle: read who expired: %w", err)
		}
		if len(due) > 0 {
			if _, err := l.forget.Do(ctx, act.SystemPrincipal("housekeeping"), forgetting{expired: due}); err != nil {
				return err
			}
		}
		if seen < reapPage || early > 0 {
			return nil
		}
	}
}
