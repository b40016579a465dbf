package lifecycle

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Agent is an agent as operators see it.
type Agent struct {
	ID        act.ID
	Name      string
	Owner     act.ID // 0 while unclaimed
	OwnerName string
	Standing  act.Standing
	Beneath   act.Standing // what agent.release gives back; act.StandingUnknown unless quarantined
	Epoch     int64        // raised by one with each change of standing or owner
	KillEpoch string       // the network's with its kill, in the answer to that and in agent.show; else ""
	Reason    string       // the operator's reason for the last order, "" if none
	CreatedAt int64        // Unix microseconds
	ClaimedAt int64        // Unix microseconds; 0 while unclaimed
	ChangedAt int64        // Unix microseconds

	// Now is what the standing comes to with what is halted, late or over; see effective.
	Now      act.Standing
	Class    string // its class's name, "" without one
	Version  int64  // of the class
	Mandate  act.ID // 0 without
	Revision int64  // of the mandate that it is bound to
	Parent   act.ID // 0 without
	Depth    int64  // parents above it
	EndsAt   int64  // Unix microseconds; 0 never

	Trust   trust.Level // in force
	Trusted TrustChange // that the level came with, in agent.show; zero where it never changed

	class  act.ID
	invite act.ID // by which it was registered; 0 without
	source act.ID // the seat row of where it was registered from; 0 unknown
}

const (
	agentColumns = `id, name, owner, state, epoch, reason, created_at, claimed_at, changed_at, invite, source, beneath, class, mandate, revision, parent, depth, ends_at, trust`

	qAgent           store.Q = `SELECT ` + agentColumns + ` FROM agent WHERE id = $1`
	qAgentBySkeleton store.Q = `SELECT ` + agentColumns + ` FROM agent WHERE skeleton = $1`
	qAgentEpoch      store.Q = `SELECT epoch FROM agent WHERE id = $1`
)

func scanAgent(r *store.Row) Agent {
	return Agent{
		ID: r.ID(0), Name: r.Text(1), Owner: r.ID(2), Standing: act.Standing(r.Int(3)), Epoch: r.Int(4),
		Reason: r.Text(5), CreatedAt: r.Int(6), ClaimedAt: r.Int(7), ChangedAt: r.Int(8), invite: r.ID(9), source: r.ID(10),
		Beneath: act.Standing(r.Int(11)), class: r.ID(12), Mandate: r.ID(13), Revision: r.Int(14), Parent: r.ID(15), Depth: r.Int(16), EndsAt: r.Int(17), Trust: trust.Level(r.Int(18)),
	}
}

// agent reads one agent; NotFound without one.
func (l *Lifecycle) agent(v *store.View, id act.ID) (a Agent, err error) {
	return l.one(v, qAgent, id)
}

func (l *Lifecycle) one(v *store.View, q store.Q, key any) (a Agent, err error) {
	found, err := v.One(q, func(r *store.Row) error { a = scanAgent(r); return nil }, key)
	if err == nil && !found {
		err = noAgent()
	}
	if err == nil {
		a.OwnerName, err = l.ids.OwnerName(v, a.Owner)
		l.complete(&a)
	}
	return a, err
}

// complete fills in what memory knows of an agent.
func (l *Lifecycle) complete(a *Agent) {
	a.Now = a.Standing
	if s := l.agents.look(a.ID); s != nil {
		a.Now = l.effective(a.ID, s.record, a.Standing)
	}
	if c := l.charters.Load().classes[a.class]; c != nil {
		a.Class, a.Version = c.Name, c.Version
	}
}

func noAgent() error {
	return act.Errorf(act.NotFound, "no such agent").WithHint("use the id or name as agent.list shows it")
}

// resource is an agent as the target of an act that changes it.
func (a Agent) resource() gate.Resource {
	return gate.Resource{
		Ref:    act.Ref{ID: a.ID, Version: a.Epoch},
		Facts:  gate.Facts{Kind: act.KindAgent, Author: a.ID, AuthorStanding: a.Standing},
		Guards: []gate.Guard{{Q: qAgentEpoch, ID: a.ID, Epoch: a.Epoch}},
	}
}

// MaxReason bounds an operator's reason in characters.
const MaxReason = 500

// checkReason checks an operator's reason and returns it without space around.
func checkReason(reason string) (string, error) {
	reason = strings.TrimSpace(reason)
	bad := func(why string) (string, error) {
		return "", act.Errorf(act.Invalid, "the reason %s", why).WithRule("reason").
			WithHint("say in 1 to 500 characters why; it goes on record")
	}
	switch {
	case reason == "":
		return bad("is missing")
	case !utf8.ValidString(reason):
		return bad("is not UTF-8")
	case utf8.RuneCountInString(reason) > MaxReason:
		return bad("is too long")
	case strings.ContainsFunc(reason, unicode.IsControl):
		return bad("has a control character")
	}
	return reason, nil
}
