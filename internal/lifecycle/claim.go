package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewClaim makes an owner answer for an agent. The agent is named by its id, or
// by the claim token that it sent to its human. Who holds the token and names nobody
// claims it for the owner of the invite, or else for themselves.
type NewClaim struct {
	Agent      act.ID
	ClaimToken string // used when Agent is 0
	Owner      string // its name
}

// Waiting is an agent as it is shown to who holds its claim token.
type Waiting struct {
	Agent
	Said   string // what it said of itself
	Wanted string // the owner that its invite names, "" for none
	Mine   bool   // a claim that names nobody is for the reader themselves
}

const (
	qClaimAgent store.Q = `SELECT agent FROM claim WHERE hash = $1`
	qAgentClaim store.Q = `UPDATE agent SET owner = $2, state = $3, epoch = epoch + 1, claimed_at = $4, changed_at = $4 WHERE id = $1 AND epoch = $5`
)

func (l *Lifecycle) registerClaim(g *gate.Gate) {
	l.Claim = gate.RegisterWrite(g, gate.Write[NewClaim, Agent]{
		Info: gate.Info{Name: "agent.claim", Doc: "Make an owner answer for an agent, which may act from then on.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewClaim) (gate.Resource, error) {
			if in.Owner != "" {
				if err := identity.CheckName("owner", in.Owner); err != nil {
					return gate.Resource{}, err
				}
			}
			a, err := l.claimed(v, in)
			if err != nil {
				return gate.Resource{}, err
			}
			r := a.resource()
			r.Facts.Answered, _, err = l.forSelf(v, p, a, in)
			return r, err
		},
		Run: l.claim,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Agent, error) {
			return l.agent(v, made.ID)
		},
	})
	l.ShowClaim = gate.RegisterRead(g, gate.Read[string, Waiting]{
		Info: gate.Info{Name: "claim.show", Doc: "Show the agent that waits with a claim token.", On: act.KindAgent, Quota: gate.QuotaNone},
		Target: func(_ context.Context, v *store.View, _ act.Principal, token string) (gate.Resource, error) {
			a, err := l.claimed(v, NewClaim{ClaimToken: token})
			return a.resource(), err
		},
		Run: func(_ context.Context, v *store.View, p act.Principal, token string) (w Waiting, err error) {
			in := NewClaim{ClaimToken: token}
			if w.Agent, err = l.claimed(v, in); err != nil {
				return w, err
			}
			if w.Mine, w.Wanted, err = l.forSelf(v, p, w.Agent, in); err != nil {
				return w, err
			}
			w.Said, err = l.cfg.Said(v, w.Agent.ID)
			return w, err
		},
		// What it says of itself is an agent's text.
		Shown: func(_ act.Principal, w Waiting, item func(act.Ref, gate.Facts) bool) Waiting {
			if !item(act.Ref{ID: w.Agent.ID}, gate.Facts{Kind: act.KindAgent, Author: w.Agent.ID, AuthorStanding: w.Standing}) {
				w.Said = ""
			}
			return w
		},
	})
}

// forSelf reports whether a claim is for who makes it: they have the token, and neither
// they nor the agent's invite name somebody else. wanted is whom the invite names.
func (l *Lifecycle) forSelf(v *store.View, p act.Principal, a Agent, in NewClaim) (self bool, wanted string, err error) {
	var invited act.ID
	if a.invite != 0 {
		if _, err := v.One(qInviteOwner, func(r *store.Row) error { invited = r.ID(0); return nil }, a.invite); err != nil {
			return false, "", err
		}
		if wanted, err = l.ids.OwnerName(v, invited); err != nil {
			return false, "", err
		}
	}
	if p.Kind != act.Operator || in.Agent != 0 {
		return false, wanted, nil
	}
	mine, found, err := l.ids.OwnerBy(v, p.ID)
	if in.Owner != "" {
		return found && in.Owner == mine.Name, wanted, err
	}
	return invited == 0 || found && invited == mine.ID, wanted, err
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

func (l *Lifecycle) claim(_ context.Context, tx *store.Tx, p act.Principal, in NewClaim) (a Agent, fx gate.Effects, err error) {
	if a, err = l.claimed(&tx.View, in); err != nil {
		return a, fx, err
	}
	owner, err := l.claimant(tx, p, a, in)
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
		if err := l.closed(tx, owner); err != nil {
			return a, fx, err
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

// claimant returns who will answer for an agent: the owner by the name given, else the
// one of the invite, else who claims it by its token.
func (l *Lifecycle) claimant(tx *store.Tx, p act.Principal, a Agent, in NewClaim) (act.ID, error) {
	self, wanted, err := l.forSelf(&tx.View, p, a, in)
	switch {
	case err != nil:
		return 0, err
	case self:
		return l.ids.EnsureOwnOwner(tx, p)
	case in.Owner != "":
		return l.ids.EnsureOwner(tx, in.Owner)
	case wanted != "":
		return l.ids.EnsureOwner(tx, wanted)
	}
	return 0, act.Errorf(act.Invalid, "the claim names no owner").WithRule("owner.name").
		WithHint("say who answers for the agent; its invite named nobody")
}
