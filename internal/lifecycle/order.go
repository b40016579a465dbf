package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Order is an operator's word about one agent.
type Order struct {
	Agent  act.ID
	Reason string // 1 to MaxReason characters; goes on record
}

// transition is what an order does to a standing.
type transition struct {
	name, doc string
	to        act.Standing
	from      func(act.Standing) bool
	hint      string // what to do when the standing does not allow it
	revoke    bool   // the agent's credentials end with it
}

const qAgentChange store.Q = `UPDATE agent SET state = $2, epoch = epoch + 1, reason = $3, changed_at = $4 WHERE id = $1 AND epoch = $5`

func (l *Lifecycle) registerOrders(g *gate.Gate) {
	l.Pause = l.registerOrder(g, transition{
		name: "agent.pause", doc: "Stop an active agent until it is resumed.", to: act.Paused,
		from: func(s act.Standing) bool { return s == act.Active },
		hint: "only an active agent can be paused; one that is not claimed cannot do anything yet, and can be killed",
	})
	l.Resume = l.registerOrder(g, transition{
		name: "agent.resume", doc: "Let a paused agent act again.", to: act.Active,
		from: func(s act.Standing) bool { return s == act.Paused },
		hint: "only a paused agent can be resumed; a requested one has to be claimed",
	})
	l.Kill = l.registerOrder(g, transition{
		name: "agent.kill", doc: "End an agent for good and revoke its credentials.", to: act.Killed,
		from: func(s act.Standing) bool { return !s.Final() },
		hint: "the agent has ended already", revoke: true,
	})
}

func (l *Lifecycle) registerOrder(g *gate.Gate, t transition) *gate.WriteAct[Order, Agent] {
	return gate.RegisterWrite(g, gate.Write[Order, Agent]{
		Info: gate.Info{Name: t.name, Doc: t.doc, On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Order) (gate.Resource, error) {
			if _, err := checkReason(in.Reason); err != nil {
				return gate.Resource{}, err
			}
			a, err := l.agent(v, in.Agent)
			return a.resource(), err
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Order) (Agent, gate.Effects, error) {
			return l.order(tx, t, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Agent, error) {
			return l.agent(v, made.ID)
		},
	})
}

// order changes the standing. An order that was carried out before changes
// nothing but is fenced again: whoever gives it after a lost answer may rely on
// the acknowledgement as on the first.
func (l *Lifecycle) order(tx *store.Tx, t transition, in Order) (a Agent, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return a, fx, err
	}
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	switch {
	case a.Standing == t.to:
	case !t.from(a.Standing):
		return a, fx, act.Errorf(act.Conflict, "the agent is %s", a.Standing).
			WithRule("standing." + a.Standing.String()).WithHint(t.hint)
	default:
		changed, err := tx.Exec(qAgentChange, a.ID, int64(t.to), reason, tx.Now(), a.Epoch)
		if err != nil {
			return a, fx, err
		}
		if changed == 0 {
			return a, fx, gate.Moved()
		}
		if t.to.Final() {
			l.leave(tx, a)
		}
		a.Standing, a.Reason, a.ChangedAt = t.to, reason, tx.Now()
		a.Epoch++
	}
	if t.revoke {
		if _, err := l.ids.Revoke(tx, a.ID); err != nil {
			return a, fx, err
		}
		if _, err := tx.Exec(qApprovalWithdraw, a.ID, noBytes, tx.Now()); err != nil {
			return a, fx, err
		}
	}
	tx.Fence(act.KindAgent, a.ID)
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Reason: reason}, nil
}
