package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A scope that is killed stops by its halt, at once. Then its agents are ended one by
// one, each by agent.kill with a leaf, a number and the end of its credentials. The work
// is found in the tables alone, so another node takes it up where one has left it.

const (
	// sweeper is the part of the server that does it.
	sweeper = "containment"

	sweepPage  = 1024
	sweepWidth = 8 // kills at a time

	livingFrom = ` FROM agent WHERE id > $1 AND state NOT IN ($2, $3)`

	qLivingAll   store.Q = `SELECT id, depth` + livingFrom + ` ORDER BY id LIMIT $4`
	qLivingOwner store.Q = `SELECT id, depth` + livingFrom + ` AND owner = $5 ORDER BY id LIMIT $4`
	qLivingClass store.Q = `SELECT id, depth` + livingFrom + ` AND class = $5 AND class <> 0 ORDER BY id LIMIT $4`
	qLivingRoot  store.Q = `SELECT id, depth` + livingFrom + ` AND root = $5 AND root <> 0 ORDER BY id LIMIT $4`

	qSweptAll   store.Q = `SELECT COUNT(*) FROM agent WHERE state = $1 AND changed_at >= $2`
	qSweptClass store.Q = `SELECT COUNT(*) FROM agent WHERE class = $3 AND class <> 0 AND state = $1 AND changed_at >= $2`
	qSweptOwner store.Q = `SELECT COUNT(*) FROM agent WHERE owner = $3 AND state = $1 AND changed_at >= $2`
)

// living calls fn with every agent of a scope that has not ended, by id.
func (l *Lifecycle) living(v *store.View, s Scope, fn func(id act.ID, depth int64)) error {
	q, args := qLivingAll, []any{act.ID(0), int64(act.Killed), int64(act.Expired), int64(sweepPage)}
	switch s.Kind {
	case ScopeAll:
	case ScopeOwner:
		q, args = qLivingOwner, append(args, s.Target)
	case ScopeLineage:
		root, err := l.rootOf(v, s.Target, func(a Agent) {
			if !a.Standing.Final() {
				fn(a.ID, 0)
			}
		})
		if err != nil {
			return err
		}
		q, args = qLivingRoot, append(args, root)
	case ScopeClass, ScopeSkill:
		for id, c := range l.charters.Load().classes {
			if !s.means(c) {
				continue
			}
			if err := eachLiving(v, qLivingClass, append(slices.Clone(args), id), fn); err != nil {
				return err
			}
		}
		return nil
	case ScopeCommunity, ScopeMandate, ScopeSite:
		return nil
	}
	return eachLiving(v, q, args, func(id act.ID, depth int64) {
		if s.Kind != ScopeLineage || l.within(s, id) {
			fn(id, depth)
		}
	})
}

// eachLiving calls fn with the rows of a query of agents, a page at a time. The first of
// args is where it begins.
func eachLiving(v *store.View, q store.Q, args []any, fn func(id act.ID, depth int64)) error {
	for {
		n := 0
		if err := v.All(q, func(r *store.Row) error {
			n++
			args[0] = r.ID(0)
			fn(r.ID(0), r.Int(1))
			return nil
		}, args...); err != nil || n < sweepPage {
			return err
		}
	}
}

// left counts the agents of a scope that have not ended.
func (l *Lifecycle) left(v *store.View, s Scope) (n int64, err error) {
	err = l.living(v, s, func(act.ID, int64) { n++ })
	return n, err
}

// SweepScopes goes on with the scopes that are killed until nobody is left in them. The server
// calls it now and then, on one node at a time; two at once do nothing twice.
func (l *Lifecycle) SweepScopes(ctx context.Context) error {
	var list []Containment
	if err := l.db.View(ctx, func(v *store.View) (err error) {
		list = list[:0]
		return v.All(qContained, func(r *store.Row) error {
			if c := scanContainment(r); c.Does == act.Killed && c.DoneAt == 0 {
				list = append(list, c)
			}
			return nil
		})
	}); err != nil {
		return fmt.Errorf("lifecycle: read what is contained: %w", err)
	}
	l.sweeping.Store(int64(len(list)))
	for _, c := range list {
		if err := l.sweep(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// sweep ends who is left in a scope, the deepest first, until nobody is.
func (l *Lifecycle) sweep(ctx context.Context, c Containment) error {
	p := placed{Scope: c.Scope, name: c.Name}
	reason := cutReason(p.text()+" was killed: ", c.Reason)
	for {
		var deepest []act.ID
		depth := int64(-1)
		if err := l.db.View(ctx, func(v *store.View) error {
			deepest, depth = deepest[:0], -1
			return l.living(v, c.Scope, func(id act.ID, at int64) {
				if at > depth {
					deepest, depth = deepest[:0], at
				}
				if at == depth {
					deepest = append(deepest, id)
				}
			})
		}); err != nil {
			return fmt.Errorf("lifecycle: read who is left in a scope: %w", err)
		}
		if len(deepest) == 0 {
			break
		}
		if err := l.endAll(ctx, deepest, reason); err != nil {
			return fmt.Errorf("lifecycle: end the agents of a scope: %w", err)
		}
	}
	done, err := l.finishScope.Do(ctx, act.SystemPrincipal(sweeper), c.Scope)
	switch act.CodeOf(err) {
	case act.None:
		l.sweeping.Add(-1)
		l.log.InfoContext(ctx, "nobody is left in a scope that was killed", slog.String("scope", p.text()), slog.Int64("ended", done.Ended))
	case act.Conflict, act.NotFound: // somebody has come, or the order was given again
		return nil
	}
	return err
}

// endAll kills agents, a few at a time.
func (l *Lifecycle) endAll(ctx context.Context, agents []act.ID, reason string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var next atomic.Int64
	var work sync.WaitGroup
	errs := make([]error, sweepWidth)
	for w := range sweepWidth {
		work.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(agents)) {
					return
				}
				_, err := l.Kill.Do(ctx, act.SystemPrincipal(sweeper), Order{Agent: agents[i], Reason: reason})
				if code := act.CodeOf(err); err != nil && code != act.Conflict && code != act.NotFound { // those have ended meanwhile
					errs[w] = err
					stop()
				}
			}
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return ctx.Err()
}

// finish puts down that a scope has nobody left, if that is so.
func (l *Lifecycle) finish(tx *store.Tx, in Scope) (c Containment, fx gate.Effects, err error) {
	if err := tx.Serialize(haltLock); err != nil {
		return c, fx, err
	}
	now, err := l.containedIn(&tx.View, in)
	if err != nil {
		return c, fx, err
	}
	for _, one := range now.Orders {
		if one.Does == act.Killed {
			c = one
		}
	}
	if c.Does != act.Killed || c.DoneAt != 0 {
		return c, fx, act.Errorf(act.NotFound, "nobody has killed that scope").WithRule("scope.finished").WithHint("scope.list shows what is contained")
	}
	left, err := l.left(&tx.View, in)
	if err != nil {
		return c, fx, err
	}
	if left > 0 {
		return c, fx, act.Errorf(act.Conflict, "%d agents are left", left).WithRule("scope.sweeping").WithHint("they are being ended")
	}
	if c.Ended, err = l.swept(&tx.View, c); err != nil {
		return c, fx, err
	}
	c.DoneAt = tx.Now()
	if _, err := tx.Exec(qContainDone, int64(in.Kind), in.Target, in.Label, int64(act.Killed), c.Ended, c.DoneAt); err != nil {
		return c, fx, err
	}
	text := placed{Scope: in, name: c.Name}.text()
	return c, gate.Effects{Out: act.Ref{ID: in.Target}, Reason: cutReason(text+": ", strconv.FormatInt(c.Ended, 10)+" agents have ended, nobody is left")}, nil
}

// swept counts the agents of a scope that were killed since it was.
func (l *Lifecycle) swept(v *store.View, c Containment) (n int64, err error) {
	count := func(r *store.Row) error { n = r.Int(0); return nil }
	switch c.Kind {
	case ScopeAll:
		_, err = v.One(qSweptAll, count, int64(act.Killed), c.At)
	case ScopeOwner:
		_, err = v.One(qSweptOwner, count, int64(act.Killed), c.At, c.Target)
	case ScopeLineage:
		err = l.line(v, c.Target, func(state act.Standing, changed int64) {
			if state == act.Killed && changed >= c.At {
				n++
			}
		})
	case ScopeClass, ScopeSkill:
		total := int64(0)
		for id, class := range l.charters.Load().classes {
			if err == nil && c.means(class) {
				_, err = v.One(qSweptClass, count, int64(act.Killed), c.At, id)
				total += n
			}
		}
		n = total
	case ScopeCommunity, ScopeMandate, ScopeSite:
	}
	return n, err
}

const qLine store.Q = `SELECT id, state, changed_at FROM agent WHERE root = $1 AND root <> 0 AND id > $2 ORDER BY id LIMIT $3`

// rootOf returns the first of the line that an agent is in, and calls fn with the agent if
// it is that itself: no row says so.
func (l *Lifecycle) rootOf(v *store.View, agent act.ID, fn func(Agent)) (act.ID, error) {
	if b := l.bondOf(agent); b != nil && b.root != 0 {
		return b.root, nil
	}
	a, err := l.agent(v, agent)
	if err == nil {
		fn(a)
	}
	return agent, err
}

// line calls fn with every agent of a line, those that have ended among them.
func (l *Lifecycle) line(v *store.View, of act.ID, fn func(state act.Standing, changedAt int64)) error {
	root, err := l.rootOf(v, of, func(a Agent) { fn(a.Standing, a.ChangedAt) })
	if err != nil {
		return err
	}
	last := act.ID(0)
	for {
		n := 0
		if err := v.All(qLine, func(r *store.Row) error {
			n, last = n+1, r.ID(0)
			if l.within(Scope{Kind: ScopeLineage, Target: of}, last) {
				fn(act.Standing(r.Int(1)), r.Int(2))
			}
			return nil
		}, root, last, int64(sweepPage)); err != nil || n < sweepPage {
			return err
		}
	}
}

// Contained returns how many scopes, by this node's memory, are stopped by an order or for
// another cause, for metrics.
func (l *Lifecycle) Contained() int64 { return l.halts.Load().count() }

// Sweeping returns how many scopes that are killed still have agents that have not ended,
// for metrics.
func (l *Lifecycle) Sweeping() int64 { return l.sweeping.Load() }
