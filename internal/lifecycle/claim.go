package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewClaim makes an owner answer for an agent. The agent is named by its id, or
// by the claim token that it sent to its human.
type NewClaim struct {
	Agent      act.ID
	ClaimToken string // used when Agent is 0
	Owner      string // the owner of the invite if ""
}

const (
	qClaimAgent store.Q = `SELECT agent FROM claim WHERE hash = $1`
	qAgentClaim store.Q = `UPDATE agent SET owner = $2, state = $3, epoch = epoch + 1, claimed_at = $4, changed_at = $4 WHERE id = $1 AND epoch = $5`
)

func (l *Lifecycle) registerClaim(g *gate.Gate) {
	l.Claim = gate.RegisterWrite(g, gate.Write[NewClaim, Agent]{
		Info: gate.Info{Name: "agent.claim", Doc: "Make an owner answer for an agent, which may act from then on.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in NewClaim) (gate.Resource, error) {
			if in.Owner != "" {
				if err := identity.CheckName("owner", in.Owner); err != nil {
					return gate.Resource{}, err
				}
			}
			a, err := l.claimed(v, in)
			return a.resource(), err
		},
		Run: l.claim,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Agent, error) {
			return l.agent(v, made.ID)
		},
	})
}

// claimed finds the agent that a claim is about.
func (l *Lifecycle) claimed(v *store.View, in NewClaim) (Agent, error) {
	if in.Agent != 0 {
		return l.agent(v, in.Agent)
	}
	var id act.ID
	hash, ok := l.ids.HashSecret(identity.ClaimToken, in.ClaimToken)
	var err error
	if ok {
		ok, err = v.One(qClaimAgent, func(r *store.Row) error { id = r.ID(0); return nil }, hash)
	}
	if err != nil {
		return Agent{}, err
	}
	if !ok {
		return Agent{}, act.Errorf(act.NotFound, "no agent waits with this claim token").WithRule("claim.token").
			WithHint("check that the token is whole; it begins with moltbook_claim_")
	}
	return l.agent(v, id)
}

func (l *Lifecycle) claim(_ context.Context, tx *store.Tx, _ act.Principal, in NewClaim) (a Agent, fx gate.Effects, err error) {
	if a, err = l.claimed(&tx.View, in); err != nil {
		return a, fx, err
	}
	owner, err := l.claimant(tx, a, in.Owner)
	if err != nil {
		return a, fx, err
	}
	conflict := func(message, hint string) error {
		return act.Errorf(act.Conflict, "%s", message).WithRule("claim.state").WithHint(hint)
	}
	switch {
	case a.Standing.Final():
		return a, fx, conflict("the agent is "+a.Standing.String()+", which is final", "let its owner register a new one")
	case a.Owner == owner:
		// Done before: a retry, which is fenced again.
	case a.Owner != 0:
		return a, fx, conflict("the agent has another owner", "agent.show says whose it is")
	case a.Standing != act.Requested && a.Standing != act.Active:
		return a, fx, conflict("the agent is "+a.Standing.String(), "resume or release it first, then claim it")
	case a.Standing == act.Requested && l.overdue(a.CreatedAt, tx.Now()):
		return a, fx, act.Errorf(act.Gone, "the agent waited too long to be claimed").WithRule("claim.expired").
			WithHint("let it register again")
	default:
		if a.Standing == act.Requested && a.source != 0 {
			if _, err := tx.Exec(qSeatFree, a.source); err != nil {
				return a, fx, err
			}
		}
		if err := l.seatOwner(tx, owner); err != nil {
			return a, fx, err
		}
		changed, err := tx.Exec(qAgentClaim, a.ID, owner, int64(act.Active), tx.Now(), a.Epoch)
		if err != nil {
			return a, fx, err
		}
		if changed == 0 {
			return a, fx, gate.Moved()
		}
		if a, err = l.agent(&tx.View, a.ID); err != nil {
			return a, fx, err
		}
	}
	tx.Fence(act.KindAgent, a.ID)
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}}, nil
}

// claimant returns the owner by the name given, else the one of the invite.
func (l *Lifecycle) claimant(tx *store.Tx, a Agent, name string) (owner act.ID, err error) {
	if name != "" {
		return l.ids.EnsureOwner(tx, name)
	}
	if a.invite != 0 {
		if _, err := tx.One(qInviteOwner, func(r *store.Row) error { owner = r.ID(0); return nil }, a.invite); err != nil {
			return 0, err
		}
	}
	if owner == 0 {
		return 0, act.Errorf(act.Invalid, "the claim names no owner").WithRule("owner.name").
			WithHint("say who answers for the agent; its invite named nobody")
	}
	return owner, nil
}
