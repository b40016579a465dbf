package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Entrusting changes how far an agent is trusted: by an operator's word, or by the server,
// which says by which rule.
type Entrusting struct {
	Agent  act.ID
	Level  trust.Level // of an operator: trust.Unknown takes their word back
	Rule   string      // the server's, see package trust
	Reason string      // 1 to MaxReason characters; goes on record
}

// TrustChange is one change of an agent's level.
type TrustChange struct {
	Level  trust.Level // in force since
	Earned trust.Level // what it would be without an operator's word
	Rule   string      // trust.RuleSaid for an operator's
	Reason string
	By     act.ID // the operator; 0 for the server
	ByName string
	At     int64 // Unix microseconds

	n int64
}

// TrustQuery asks for the changes of an agent's trust, the newest first.
type TrustQuery struct {
	Agent  act.ID
	Cursor act.Cursor // of TrustCursor; zero is the newest
	Limit  int        // 1 to MaxList; MaxList if 0
}

// TrustCursor is the name of the list of changes in its cursors.
const TrustCursor = "trust.list"

const (
	assessor  = "trust" // the part of the server that judges
	trustLock = "trust" // of store.Tx.Serialize: merits are read and written

	qAgentTrust store.Q = `UPDATE agent SET trust = $3, epoch = epoch + 1 WHERE id = $1 AND epoch = $2`
	qMerit      store.Q = `SELECT owner, earned, said, days, bad, clean_at, day, acted, refused FROM merit WHERE agent = $1`
	qMeritPut   store.Q = `INSERT INTO merit (agent, owner, earned, said, days, bad, clean_at, day, acted, refused)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (agent) DO UPDATE SET
owner = $2, earned = $3, said = $4, days = $5, bad = $6, clean_at = $7, day = $8, acted = $9, refused = $10`
	qTrustAdd store.Q = `INSERT INTO trust (agent, n, level, earned, rule, reason, made_by, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	qTrusts   store.Q = `SELECT n, level, earned, rule, reason, made_by, made_at FROM trust WHERE agent = $1 AND n < $2 ORDER BY n DESC LIMIT $3`
)

func (l *Lifecycle) registerTrust(g *gate.Gate) {
	l.Entrust = gate.RegisterWrite(g, gate.Write[Entrusting, Agent]{
		Info: gate.Info{Name: "agent.trust", Doc: "Say how far an agent is trusted, or take that back.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(ctx context.Context, v *store.View, p act.Principal, in Entrusting) (gate.Resource, error) {
			return l.aimed(ctx, v, p, Order{Agent: in.Agent, Reason: in.Reason})
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Entrusting) (Agent, gate.Effects, error) {
			return l.entrust(tx, p, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Agent, error) {
			return l.shown(v, made.ID)
		},
	})
	l.ListTrust = gate.RegisterRead(g, gate.Read[TrustQuery, act.Page[TrustChange]]{
		Info: gate.Info{Name: "trust.list", Doc: "List how far an agent was trusted since when, by which rule and why, the newest first.", On: act.KindAgent, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, p act.Principal, in TrustQuery) (gate.Resource, error) {
			return l.ownOrAnswered(v, p, in.Agent)
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in TrustQuery) (page act.Page[TrustChange], err error) {
			n, before, err := listed(TrustCursor, "changes", in.Limit, in.Cursor, 1<<63-1)
			if err != nil {
				return page, err
			}
			list, err := l.trustChanges(v, in.Agent, before, n+1)
			return paged(TrustCursor, list, n, func(c TrustChange) int64 { return c.n }), err
		},
	})
}

// ownOrAnswered is an agent as the target of a read: agents look at themselves only.
func (l *Lifecycle) ownOrAnswered(v *store.View, p act.Principal, agent act.ID) (gate.Resource, error) {
	a, err := l.agent(v, agent)
	if err == nil && p.Kind == act.Agent && a.ID != p.ID {
		err = noAgent()
	}
	if err != nil {
		return gate.Resource{}, err
	}
	return l.answered(v, p, a)
}

func (l *Lifecycle) trustChanges(v *store.View, agent act.ID, before int64, most int) (list []TrustChange, err error) {
	if err := v.All(qTrusts, func(r *store.Row) error {
		list = append(list, TrustChange{
			n: r.Int(0), Level: trust.Level(r.Int(1)), Earned: trust.Level(r.Int(2)), Rule: r.Text(3), Reason: r.Text(4), By: r.ID(5), At: r.Int(6),
		})
		return nil
	}, agent, before, int64(most)); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].By != 0 {
			if list[i].ByName, err = l.ids.OperatorName(v, list[i].By); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// merit reads what is counted of an agent. One of whom nothing is, is unknown.
func (l *Lifecycle) merit(v *store.View, agent act.ID) (m trust.Merit, err error) {
	found, err := v.One(qMerit, func(r *store.Row) error {
		m = trust.Merit{
			Owner: r.ID(0), Earned: trust.Level(r.Int(1)), Said: trust.Level(r.Int(2)), Days: r.Int(3), Bad: r.Int(4), CleanAt: r.Int(5),
			Day: r.Int(6), Acted: r.Bool(7), Refused: r.Int(8),
		}
		return nil
	}, agent)
	if err == nil && !found {
		m.Owner = l.Facts(agent).Owner
		if s := l.agents.look(agent); s != nil {
			m.Earned = trustIn(s.word.Load()) // a child of who is low begins with less than nothing
		}
	}
	return m, err
}

func putMerit(tx *store.Tx, agent act.ID, m trust.Merit) error {
	acted := int64(0)
	if m.Acted {
		acted = 1
	}
	return tx.Batch(qMeritPut, agent, m.Owner, int64(m.Earned), int64(m.Said), m.Days, m.Bad, m.CleanAt, m.Day, acted, m.Refused)
}

// entrust changes an agent's level. Every node decides with the new one when it is
// acknowledged.
func (l *Lifecycle) entrust(tx *store.Tx, p act.Principal, in Entrusting) (a Agent, fx gate.Effects, err error) {
	if err := tx.Serialize(trustLock); err != nil {
		return a, fx, err
	}
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	if a.Standing.Final() {
		return a, fx, act.Errorf(act.Conflict, "the agent is %s, which is final", a.Standing).WithRule("standing." + a.Standing.String()).
			WithHint("nothing is decided by its trust any more")
	}
	m, err := l.merit(&tx.View, in.Agent)
	if err != nil {
		return a, fx, err
	}
	made := TrustChange{Rule: in.Rule, Reason: in.Reason, At: tx.Now(), n: a.Epoch + 1}
	if p.Kind == act.System {
		if !m.Take(in.Level, in.Rule, tx.Now()) {
			return a, fx, act.Errorf(act.Conflict, "that is known").WithRule("trust.known").WithHint("trust.list shows it")
		}
	} else {
		if made.Reason, err = checkReason(in.Reason); err != nil {
			return a, fx, err
		}
		m.Said, made.By, made.ByName, made.Rule = in.Level, p.ID, p.Name, trust.RuleSaid
	}
	made.Level, made.Earned = m.Level(), m.Earned
	changed, err := tx.Exec(qAgentTrust, a.ID, a.Epoch, int64(made.Level))
	if err != nil {
		return a, fx, err
	}
	if changed == 0 {
		return a, fx, gate.Moved()
	}
	if err := putMerit(tx, a.ID, m); err != nil {
		return a, fx, err
	}
	if err := tx.Batch(qTrustAdd, a.ID, made.n, int64(made.Level), int64(made.Earned), made.Rule, made.Reason, made.By, made.At); err != nil {
		return a, fx, err
	}
	a.Epoch, a.Trust, a.Trusted = made.n, made.Level, made
	tx.Fence(act.KindAgent, a.ID)
	reason := cutReason("trust is "+made.Level.String()+", "+made.Rule+": ", made.Reason)
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Reason: reason}, nil
}
