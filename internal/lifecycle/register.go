package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewAgent asks for a registration.
type NewAgent struct {
	Name        string
	Description string // checked by Config.Born
	Invite      string // the code, where one is needed
}

// Registered is the answer to a registration. Key and ClaimToken are in it and
// nowhere else: they cannot be shown again.
type Registered struct {
	Agent      act.ID
	Name       string
	Key        string
	ClaimToken string // "" when the agent is claimed already
	ClaimCode  string // like "reef-X4B2"; "" when the agent is claimed already
	Claimed    bool

	entry entry
}

const (
	qAgentAdd store.Q = `INSERT INTO agent (id, name, skeleton, owner, state, epoch, reason, invite, source, created_at, claimed_at, changed_at)
VALUES ($1, $2, $3, $4, $5, 1, '', $6, $9, $7, $8, $7)`
	qClaimAdd store.Q = `INSERT INTO claim (agent, hash, code, created_at) VALUES ($1, $2, $3, $4)`
)

// An answer that is lost after the commit is not given again: the key exists as
// a hash only. The name stays taken and the code used; the agent has to register
// anew, and an operator kills the one that nobody can be. There is no Replay.
func (l *Lifecycle) registerRegister(g *gate.Gate) {
	l.Register = gate.RegisterWrite(g, gate.Write[NewAgent, Registered]{
		Info: gate.Info{Name: "agent.register", Doc: "Register a new agent and get its key.", On: act.KindAgent, Quota: gate.QuotaRegister},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewAgent) (gate.Resource, error) {
			if err := l.mayRegister(in); err != nil {
				return gate.Resource{}, err
			}
			return gate.Resource{Facts: gate.Facts{Kind: act.KindAgent}}, CheckName(in.Name)
		},
		Run: l.register,
		Apply: func(_ act.Principal, out Registered) {
			l.agents.put(out.Agent, out.entry)
		},
	})
}

// mayRegister checks what needs no storage.
func (l *Lifecycle) mayRegister(in NewAgent) error {
	switch {
	case l.cfg.Registration == RegistrationClosed:
		return act.Errorf(act.Denied, "this network takes no new agents").WithRule("registration.closed").
			WithHint("ask its operator; a key that you already have still works")
	case in.Invite != "" || l.cfg.Registration == RegistrationOpen:
		return nil
	}
	return act.Errorf(act.Denied, "registration needs an invite code").WithRule("registration.invite").
		WithHint("ask your owner for a code and send it as field invite or header X-Reef-Invite")
}

func (l *Lifecycle) register(ctx context.Context, tx *store.Tx, p act.Principal, in NewAgent) (out Registered, fx gate.Effects, err error) {
	id, err := tx.Mint(act.KindAgent)
	if err != nil {
		return out, fx, err
	}
	var invite act.ID
	if in.Invite != "" {
		if invite, err = l.useInvite(tx, in.Invite, id); err != nil {
			return out, fx, err
		}
	}
	e := entry{name: in.Name, epoch: 1, state: act.Active}
	var claimed int64
	var source act.ID
	switch {
	case l.cfg.AutoClaim != "":
		claimed = tx.Now()
		if e.owner, err = l.ids.EnsureOwner(tx, l.cfg.AutoClaim); err != nil {
			return out, fx, err
		}
	case l.cfg.ClaimRequired:
		e.state = act.Requested
		source = sourceSeat(p.Source)
	}
	if err := l.closed(tx, e.owner); err != nil {
		return out, fx, err
	}
	if err := l.seatSource(tx, source); err != nil {
		return out, fx, err
	}
	if err := l.seatNetwork(tx, id); err != nil {
		return out, fx, err
	}
	if e.owner != 0 {
		if err := l.seatOwner(tx, e.owner); err != nil {
			return out, fx, err
		}
	}
	if err := l.add(tx, id, e, invite, source, claimed); err != nil {
		return out, fx, err
	}
	if err := l.cfg.Born(ctx, tx, id, in.Name, in.Description); err != nil {
		return out, fx, err
	}
	out = Registered{Agent: id, Name: in.Name, Claimed: claimed != 0, entry: e}
	if out.Key, _, err = l.ids.IssueKey(tx, id); err != nil {
		return out, fx, err
	}
	if !out.Claimed {
		token, hash := l.ids.NewSecret(identity.ClaimToken)
		out.ClaimToken, out.ClaimCode = token, identity.NewClaimCode()
		if err := tx.Batch(qClaimAdd, id, hash, out.ClaimCode, tx.Now()); err != nil {
			return out, fx, err
		}
	}
	if e.state == act.Active {
		tx.Fence(act.KindAgent, id) // what it writes must be recognised on every node
	}
	return out, gate.Effects{Out: act.Ref{ID: id, Version: 1}}, nil
}

// add stores the agent. The name's skeleton is unique: of two registrations,
// also at the same time, the database lets one through.
func (l *Lifecycle) add(tx *store.Tx, id act.ID, e entry, invite, source act.ID, claimed int64) error {
	_, err := tx.Exec(qAgentAdd, id, e.name, Skeleton(e.name), e.owner, int64(e.state), invite, tx.Now(), claimed, source)
	return taken(e.name, err)
}

// taken says of a name that is there already that it is; other errors it leaves alone.
func taken(name string, err error) error {
	if err != nil && act.CodeOf(err) == act.Conflict {
		return act.Errorf(act.Conflict, "the name %q, or one that looks like it, is taken", name).
			WithRule("agent.name").WithHint("choose another name; case, 0/O, 1/I/l, rn/m, vv/w and -/_ do not tell names apart")
	}
	return err
}
