package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewMember asks for the enrolment of a key that the agent has made: as a new agent,
// or as one that is there already, whichever the enrolment token is for.
type NewMember struct {
	Token       string // the enrolment token
	Key         string // the public key (JWK, RFC 7517)
	Proof       string // a signed assertion by the key over the token
	Name        string // of a new agent
	Description string // of a new agent, checked by Config.Born
}

// Member is an agent whose key is enrolled.
type Member struct {
	Agent      act.ID
	Name       string
	Credential act.ID // of the key
	Scope      string // what the key may ask for
	ExpiresAt  int64  // of the key, Unix microseconds
	Fresh      bool   // the agent is new

	entry entry
}

func (l *Lifecycle) registerEnroll(g *gate.Gate) {
	l.Enroll = gate.RegisterWrite(g, gate.Write[NewMember, Member]{
		Info: gate.Info{Name: "agent.enroll", Doc: "Enrol a key that an agent made, under an enrolment token; no secret is handed out.", On: act.KindAgent, Quota: gate.QuotaRegister},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in NewMember) (gate.Resource, error) {
			e, err := l.ids.Enrollment(v, in.Token)
			if err != nil {
				return gate.Resource{}, err
			}
			if e.Agent == 0 {
				return gate.Resource{Facts: gate.Facts{Kind: act.KindAgent}}, CheckName(in.Name)
			}
			a, err := l.agent(v, e.Agent)
			return a.resource(), err
		},
		Run: l.enroll,
		Apply: func(_ act.Principal, out Member) {
			if out.Fresh {
				l.agents.put(out.Agent, out.entry)
			}
		},
	})
}

func (l *Lifecycle) enroll(ctx context.Context, tx *store.Tx, _ act.Principal, in NewMember) (out Member, fx gate.Effects, err error) {
	e, err := l.ids.Enrollment(&tx.View, in.Token)
	if err != nil {
		return out, fx, err
	}
	if out.Agent = e.Agent; out.Agent == 0 {
		if out, err = l.enlist(ctx, tx, e, in); err != nil {
			return out, fx, err
		}
	} else {
		a, err := l.agent(&tx.View, out.Agent)
		if err != nil {
			return out, fx, err
		}
		if a.Standing.Final() {
			return out, fx, act.Errorf(act.Denied, "the agent is %s, which is final", a.Standing).
				WithRule("standing." + a.Standing.String()).WithHint("let its owner enrol a new one")
		}
		out.Name = a.Name
	}
	key, err := l.ids.Enroll(tx, e, out.Agent, in.Key, in.Proof)
	if err != nil {
		return out, fx, err
	}
	out.Credential, out.Scope, out.ExpiresAt = key.ID, key.Scope, key.ExpiresAt
	return out, gate.Effects{Out: act.Ref{ID: out.Agent, Version: 1}}, nil
}

// enlist makes the agent of an enrolment token that names its owner: it is claimed
// from the beginning.
func (l *Lifecycle) enlist(ctx context.Context, tx *store.Tx, en identity.Enrollment, in NewMember) (out Member, err error) {
	id, err := tx.Mint(act.KindAgent)
	if err != nil {
		return out, err
	}
	e := entry{name: in.Name, owner: en.Owner, epoch: 1, state: act.Active}
	if err := l.closed(tx, e.owner); err != nil {
		return out, err
	}
	if err := l.seatNetwork(tx, id); err != nil {
		return out, err
	}
	if err := l.seatOwner(tx, e.owner); err != nil {
		return out, err
	}
	if err := l.add(tx, id, e, 0, 0, tx.Now()); err != nil {
		return out, err
	}
	if err := l.cfg.Born(ctx, tx, id, in.Name, in.Description); err != nil {
		return out, err
	}
	tx.Fence(act.KindAgent, id) // what it writes must be recognised on every node
	return Member{Agent: id, Name: in.Name, Fresh: true, entry: e}, nil
}

const qAgentRaise store.Q = `UPDATE agent SET epoch = epoch + 1 WHERE id = $1`

// Raise implements identity.Agents: it raises the epochs of agents from which a
// credential or grant is taken, so that what they have under way is checked again.
func (l *Lifecycle) Raise(tx *store.Tx, agents []act.ID) error {
	for _, id := range agents {
		if err := tx.Batch(qAgentRaise, id); err != nil {
			return err
		}
		tx.Fence(act.KindAgent, id)
	}
	return nil
}

// AgentFacts implements identity.Agents, from memory.
func (l *Lifecycle) AgentFacts(agent act.ID) (name string, owner act.ID, standing act.Standing) {
	f := l.Facts(agent)
	return l.Name(agent), f.Owner, f.Standing
}
