package lifecycle

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	reapPage = 256

	qWaiting     store.Q = `SELECT id, created_at FROM agent WHERE state = $1 AND id > $2 ORDER BY id LIMIT $3`
	qAgentExpire store.Q = `UPDATE agent SET state = $2, epoch = epoch + 1, skeleton = $3, changed_at = $4 WHERE id = $1 AND epoch = $5`
	qClaimDrop   store.Q = `DELETE FROM claim WHERE agent = $1`
)

// Expiry names an agent that nobody has claimed in time.
type Expiry struct{ Agent act.ID }

func (l *Lifecycle) registerExpire(g *gate.Gate) {
	l.expire = gate.RegisterWrite(g, gate.Write[Expiry, Agent]{
		Info: gate.Info{Name: "agent.expire", Doc: "End an agent that nobody claimed in time and free its name.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Expiry) (gate.Resource, error) {
			a, err := l.agent(v, in.Agent)
			return a.resource(), err
		},
		Run: l.runExpire,
	})
}

// overdue reports whether an agent has waited longer than it may at a time in
// Unix microseconds.
func (l *Lifecycle) overdue(createdAt, now int64) bool {
	return l.cfg.Unclaimed > 0 && now-createdAt >= l.cfg.Unclaimed.Microseconds()
}

// runExpire ends the agent. It has done nothing yet, so only its name, its key
// and its claim have to go; its id stays, for what points at it.
func (l *Lifecycle) runExpire(ctx context.Context, tx *store.Tx, _ act.Principal, in Expiry) (a Agent, fx gate.Effects, err error) {
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	if a.Standing != act.Requested || !l.overdue(a.CreatedAt, tx.Now()) {
		return a, fx, act.Errorf(act.Conflict, "the agent is %s", a.Standing).WithRule("standing." + a.Standing.String()).
			WithHint("only agents that have waited too long expire")
	}
	changed, err := tx.Exec(qAgentExpire, a.ID, int64(act.Expired), "~"+strconv.FormatInt(int64(a.ID), 10), tx.Now(), a.Epoch)
	if err != nil {
		return a, fx, err
	}
	if changed == 0 {
		return a, fx, gate.Moved()
	}
	if err := l.bury(tx, a); err != nil {
		return a, fx, err
	}
	if err := tx.Batch(qClaimDrop, a.ID); err != nil {
		return a, fx, err
	}
	if l.cfg.Ended != nil {
		if err := l.cfg.Ended(ctx, tx, a.ID); err != nil {
			return a, fx, err
		}
	}
	l.leave(tx, a)
	a.Standing, a.ChangedAt = act.Expired, tx.Now()
	a.Epoch++
	l.complete(&a)
	tx.Fence(act.KindAgent, a.ID)
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}}, nil
}

// Reap ends the agents that nobody has claimed in time, each by an act of the
// system's, and returns how many. The server calls it on one node at a time; an
// agent that is claimed meanwhile stays.
func (l *Lifecycle) Reap(ctx context.Context) (ended int, err error) {
	if l.cfg.Unclaimed <= 0 {
		return 0, nil
	}
	now := act.Micros(l.db.Clock()())
	var last act.ID
	for {
		var due []act.ID
		seen, early := 0, 0
		if err := l.db.View(ctx, func(v *store.View) error {
			due, seen, early = due[:0], 0, 0
			return v.All(qWaiting, func(r *store.Row) error {
				seen++
				last = r.ID(0)
				if l.overdue(r.Int(1), now) {
					due = append(due, last)
				} else {
					early++
				}
				return nil
			}, int64(act.Requested), last, int64(reapPage))
		}); err != nil {
			return ended, fmt.Errorf("lifecycle: read who waits: %w", err)
		}
		for _, id := range due {
			_, err := l.expire.Do(ctx, act.SystemPrincipal(reaper), Expiry{Agent: id})
			switch act.CodeOf(err) {
			case act.None:
				ended++
			case act.Conflict, act.NotFound: // claimed or killed meanwhile
			default:
				return ended, err
			}
		}
		if seen < reapPage || early > 0 {
			return ended, nil
		}
	}
}

// ReapEvery is how often the server should call Reap: often enough that nobody
// outstays the time by a tenth.
func (l *Lifecycle) ReapEvery() time.Duration {
	return min(max(l.cfg.Unclaimed/10, time.Second), time.Minute)
}
