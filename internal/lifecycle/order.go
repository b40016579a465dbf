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

// standings are an agent's two layers. Pause and quarantine do not mask each
// other: each order lifts only what its counterpart has put on. A quarantine lies
// over whatever the standing was, which is kept beneath it and comes back with
// the release; pause and resume of a quarantined agent change what is beneath.
type standings struct {
	top     act.Standing
	beneath act.Standing // under a quarantine; else act.StandingUnknown
}

// own is what the standing would be without a quarantine.
func (s standings) own() act.Standing {
	if s.top == act.Quarantined {
		return s.beneath
	}
	return s.top
}

// with replaces what is beneath a quarantine, or the standing itself.
func (s standings) with(own act.Standing) standings {
	if s.top == act.Quarantined {
		return standings{act.Quarantined, own}
	}
	return standings{top: own}
}

// transition is what an order does to a standing.
type transition struct {
	name, doc string
	// to returns the standings after the order, which are the same when it was
	// carried out before; ok is false when they do not allow it.
	to     func(standings) (after standings, ok bool)
	hint   string // what to do when the standing does not allow it
	revoke bool   // the agent's credentials end with it
}

const qAgentChange store.Q = `UPDATE agent SET state = $2, epoch = epoch + 1, reason = $3, changed_at = $4, beneath = $6 WHERE id = $1 AND epoch = $5`

func (l *Lifecycle) registerOrders(g *gate.Gate) {
	l.Pause = l.registerOrder(g, pauseOrder())
	l.Resume = l.registerOrder(g, resumeOrder())
	l.Quarantine = l.registerOrder(g, quarantineOrder())
	l.Release = l.registerOrder(g, releaseOrder())
	l.Kill = l.registerOrder(g, transition{
		name: "agent.kill", doc: "End an agent for good and revoke its credentials.",
		to: func(s standings) (standings, bool) {
			return standings{top: act.Killed}, s.top != act.Expired
		},
		hint: "the agent has ended already", revoke: true,
	})
}

// The orders that the rules of classes give, too, and that an appeal takes back.

func pauseOrder() transition {
	return transition{
		name: "agent.pause", doc: "Stop an active agent until it is resumed.",
		to: func(s standings) (standings, bool) {
			return s.with(act.Paused), s.own() == act.Active || s.own() == act.Paused
		},
		hint: "only an active agent can be paused; one that is not claimed cannot do anything yet, and can be killed",
	}
}

func resumeOrder() transition {
	return transition{
		name: "agent.resume", doc: "Let a paused agent act again; a quarantine stays.",
		to: func(s standings) (standings, bool) {
			return s.with(act.Active), s.own() == act.Active || s.own() == act.Paused
		},
		hint: "only a paused agent can be resumed; a requested one has to be claimed",
	}
}

func quarantineOrder() transition {
	return transition{
		name: "agent.quarantine", doc: "Hold an agent for examination: it may do nothing, and what it wrote is marked.",
		to: func(s standings) (standings, bool) {
			switch s.top {
			case act.Quarantined:
				return s, true
			case act.Active, act.Paused, act.Stale:
				return standings{act.Quarantined, s.top}, true
			case act.StandingUnknown, act.Requested, act.Killed, act.Expired:
			}
			return s, false
		},
		hint: "only an agent that was claimed and has not ended can be quarantined; one that is not claimed cannot do anything yet, and can be killed",
	}
}

func releaseOrder() transition {
	return transition{
		name: "agent.release", doc: "End a quarantine: the agent is again what it was, paused if it was paused.",
		to: func(s standings) (standings, bool) {
			return standings{top: s.own()}, !s.top.Final() && s.top != act.Requested
		},
		hint: "only a quarantined agent can be released; a requested one has to be claimed",
	}
}

func (l *Lifecycle) registerOrder(g *gate.Gate, t transition) *gate.WriteAct[Order, Agent] {
	return gate.RegisterWrite(g, gate.Write[Order, Agent]{
		Info:    gate.Info{Name: t.name, Doc: t.doc, On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: l.aimed,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Order) (Agent, gate.Effects, error) {
			return l.order(tx, t, p, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Agent, error) {
			return l.shown(v, made.ID)
		},
	})
}

// aimed resolves an order: the agent that it is about, with whether p answers for it.
func (l *Lifecycle) aimed(_ context.Context, v *store.View, p act.Principal, in Order) (gate.Resource, error) {
	if _, err := checkReason(in.Reason); err != nil {
		return gate.Resource{}, err
	}
	a, err := l.agent(v, in.Agent)
	if err != nil {
		return gate.Resource{}, err
	}
	return l.answered(v, p, a)
}

// shown is an agent with the epoch of its kill, and since when and why it is trusted.
func (l *Lifecycle) shown(v *store.View, id act.ID) (Agent, error) {
	a, err := l.agent(v, id)
	if err != nil {
		return a, err
	}
	last, err := l.trustChanges(v, id, 1<<63-1, 1)
	if len(last) > 0 {
		a.Trusted = last[0]
	}
	if err == nil && a.Standing == act.Killed {
		var k Kill
		if k, _, err = killOf(v, a.ID); err == nil {
			a.KillEpoch = k.Epoch.String()
		}
	}
	return a, err
}

// order changes the standing. An order that was carried out before changes
// nothing but is fenced again: whoever gives it after a lost answer may rely on
// the acknowledgement as on the first.
func (l *Lifecycle) order(tx *store.Tx, t transition, p act.Principal, in Order) (a Agent, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return a, fx, err
	}
	if t.revoke {
		if err := tx.Serialize(killLock); err != nil {
			return a, fx, err
		}
	}
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	before := standings{a.Standing, a.Beneath}
	after, ok := t.to(before)
	switch {
	case !ok:
		return a, fx, act.Errorf(act.Conflict, "the agent is %s", a.Standing).
			WithRule("standing." + a.Standing.String()).WithHint(t.hint)
	case after != before && t.name == "agent.resume":
		if err := revivable(&tx.View, a, tx.Now()); err != nil {
			return a, fx, err
		}
	}
	if after != before {
		changed, err := tx.Exec(qAgentChange, a.ID, int64(after.top), reason, tx.Now(), a.Epoch, int64(after.beneath))
		if err != nil {
			return a, fx, err
		}
		if changed == 0 {
			return a, fx, gate.Moved()
		}
		if after.top.Final() {
			l.leave(tx, a)
		}
		a.Standing, a.Beneath, a.Reason, a.ChangedAt = after.top, after.beneath, reason, tx.Now()
		a.Epoch++
	}
	if err := l.haltLine(tx, a, p.ID, reason); err != nil {
		return a, fx, err
	}
	if err := l.relet(tx, a); err != nil {
		return a, fx, err
	}
	if err := ordered(tx, a, reason); err != nil {
		return a, fx, err
	}
	if t.revoke {
		if err := l.bury(tx, a); err != nil {
			return a, fx, err
		}
		epoch, err := number(tx, Kill{Agent: a.ID, Name: a.Name, Reason: reason, At: tx.Now()})
		if err != nil {
			return a, fx, err
		}
		a.KillEpoch = epoch.String()
	}
	l.complete(&a)
	tx.Fence(act.KindAgent, a.ID)
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Named: true, Reason: reason}, nil
}
