package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Adoption gives an agent that has lost its owner or its mandate another.
type Adoption struct {
	Agent   act.ID
	Owner   string // name; "" leaves it as it is
	Mandate act.ID // 0 leaves it as it is
	Reason  string // 1 to MaxReason characters; goes on record
}

const qAgentAdopt store.Q = `UPDATE agent SET owner = $3, mandate = $4, revision = $5, epoch = epoch + 1, reason = $6, changed_at = $7 WHERE id = $1 AND epoch = $2`

func (l *Lifecycle) registerAdopt(g *gate.Gate) {
	l.Adopt = gate.RegisterWrite(g, gate.Write[Adoption, Agent]{
		Info: gate.Info{Name: "agent.adopt", Doc: "Give an agent another owner or another mandate, and with that a reason to go on.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Adoption) (gate.Resource, error) {
			if _, err := checkReason(in.Reason); err != nil {
				return gate.Resource{}, err
			}
			if in.Owner != "" {
				if err := identity.CheckName("owner", in.Owner); err != nil {
					return gate.Resource{}, err
				}
			}
			a, err := l.agent(v, in.Agent)
			return a.resource(), err
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Adoption) (Agent, gate.Effects, error) {
			return l.adopt(tx, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Agent, error) {
			return l.agent(v, made.ID)
		},
	})
}

func (l *Lifecycle) adopt(tx *store.Tx, in Adoption) (a Agent, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return a, fx, err
	}
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	b, err := readBound(&tx.View, in.Agent)
	if err != nil {
		return a, fx, err
	}
	switch {
	case a.Standing.Final():
		return a, fx, act.Errorf(act.Conflict, "the agent is %s, which is final", a.Standing).WithRule("standing." + a.Standing.String()).
			WithHint("ask for another one")
	case a.Standing == act.Requested:
		return a, fx, act.Errorf(act.Conflict, "nobody has claimed the agent").WithRule("standing.requested").WithHint("claim it")
	case b.parent != 0:
		return a, fx, act.Errorf(act.Conflict, "a child has its parent's owner and mandate").WithRule("adopt.child").
			WithHint("adopt the first of its line; agent.show names its parent")
	}
	if in.Owner != "" && in.Owner != a.OwnerName {
		owner, err := l.ids.EnsureOwner(tx, in.Owner)
		if err != nil {
			return a, fx, err
		}
		if err := l.closed(tx, owner); err != nil {
			return a, fx, err
		}
		if err := l.seatOwner(tx, owner); err != nil {
			return a, fx, err
		}
		tx.Add(qAddSeats, a.Owner, -1)
		b.owner = owner
	}
	if in.Mandate != 0 {
		m, err := l.mandate(&tx.View, NamedMandate{Mandate: in.Mandate})
		switch {
		case err != nil:
			return a, fx, err
		case m.Closed || m.ExpiresAt != 0 && m.ExpiresAt <= tx.Now():
			return a, fx, closedMandate()
		case m.Owner != b.owner:
			return a, fx, foreignMandate(m)
		}
		b.mandate, b.revision = m.ID, m.Revision
	} else if b.mandate != 0 && b.owner != a.Owner {
		return a, fx, act.Errorf(act.Conflict, "the agent's mandate is its present owner's").WithRule("mandate.owner").
			WithHint("name a mandate of the new owner's, too")
	}
	changed, err := tx.Exec(qAgentAdopt, a.ID, a.Epoch, b.owner, b.mandate, b.revision, reason, tx.Now())
	if err != nil {
		return a, fx, err
	}
	if changed == 0 {
		return a, fx, gate.Moved()
	}
	if a, err = l.agent(&tx.View, a.ID); err != nil {
		return a, fx, err
	}
	tx.Fence(act.KindAgent, a.ID)
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Reason: reason}, nil
}

func foreignMandate(m Mandate) error {
	return act.Errorf(act.Conflict, "the mandate is another owner's").WithRule("mandate.owner").
		WithHint("who answers for the agent answers for what it is for: " + m.OwnerName)
}

// ownerGone halts the agents of an owner whom the identity provider gives no role any
// more: nobody answers for them.
func (l *Lifecycle) ownerGone(tx *store.Tx, person act.ID) error {
	o, found, err := l.ids.OwnerBy(&tx.View, person)
	if err != nil || !found {
		return err
	}
	return l.putHalt(tx, halt{Scope: Scope{Kind: ScopeOwner, Target: o.ID, Label: gone}, does: act.Paused}, 0, ruleOwner)
}

// ownerBack ends that when they sign in with the role again.
func (l *Lifecycle) ownerBack(tx *store.Tx, who act.Principal) error {
	if gate.OperatorRoles(who.Roles)&gate.OperatorOwner == 0 {
		return nil
	}
	o, found, err := l.ids.OwnerBy(&tx.View, who.ID)
	if err != nil || !found {
		return err
	}
	_, err = l.liftHalt(tx, Scope{Kind: ScopeOwner, Target: o.ID, Label: gone})
	return err
}
