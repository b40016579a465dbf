package lifecycle

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// bond is what ties an agent to its class, its mandate and its parent. It never
// changes: an agent that is bound anew gets another.
type bond struct {
	class    act.ID // the version of its class; 0 without
	mandate  act.ID // 0 without
	revision int64  // of the mandate, when the agent was bound to it
	parent   act.ID // 0 for who has none
	root     act.ID // the first of its line; 0 for who has no parent
	depth    int64  // parents above it
	endsAt   int64  // Unix microseconds; 0 for ever
	terms    *terms // what it was granted; nil is no bound
}

// timed reports whether what the bond says of a standing changes with the time alone.
func (b *bond) timed() bool { return b != nil && (b.endsAt != 0 || b.mandate != 0) }

// scanBond reads a bond from the columns of loadColumns that begin at i, nil when the
// agent has none.
func (l *Lifecycle) scanBond(r *store.Row, i int) *bond {
	b := bond{
		class: r.ID(i), mandate: r.ID(i + 1), revision: r.Int(i + 2), parent: r.ID(i + 3), root: r.ID(i + 4), depth: r.Int(i + 5),
		endsAt: r.Int(i + 6),
	}
	if b == (bond{}) {
		return nil
	}
	b.terms = l.grants.of(r.Text(i + 7))
	return &b
}

// bondOf returns an agent's bond from memory, nil when it has none.
func (l *Lifecycle) bondOf(agent act.ID) *bond {
	if s := l.agents.look(agent); s != nil {
		return s.record.bond.Load()
	}
	return nil
}

// effective is an agent's standing now: what its row says, unless something above it
// says less.
func (l *Lifecycle) effective(agent act.ID, r *record, state act.Standing) act.Standing {
	b, h := r.bond.Load(), l.halts.Load()
	if b == nil && h.none() || state.Final() {
		return state
	}
	var now int64
	if b.timed() {
		now = act.Micros(l.db.Clock()())
	}
	return l.weighed(h, agent, r, state, now)
}

// weighedRow is weighed of a row that was read.
func (l *Lifecycle) weighedRow(h *halts, agent act.ID, state act.Standing, now int64) act.Standing {
	if s := l.agents.look(agent); s != nil {
		return l.weighed(h, agent, s.record, state, now)
	}
	return state
}

// weighed is effective under given halts and at a time, Unix microseconds. It does not
// allocate.
func (l *Lifecycle) weighed(h *halts, agent act.ID, r *record, state act.Standing, now int64) act.Standing {
	if state.Final() {
		return state
	}
	if !h.none() {
		state = sterner(state, h.lines[agent])
	}
	b := r.bond.Load()
	if b == nil {
		return h.on(l, act.ID(r.owner.Load()), nil, state)
	}
	if b.endsAt != 0 && now >= b.endsAt {
		return act.Expired
	}
	if b.mandate != 0 {
		if ends, ok := l.charters.Load().mandates[b.mandate]; ok && now >= ends {
			state = sterner(state, act.Stale)
		}
	}
	return h.on(l, act.ID(r.owner.Load()), b, state)
}

const qLivingChild store.Q = `SELECT id FROM agent WHERE parent = $1 AND parent <> 0 AND state NOT IN ($2, $3) ORDER BY id LIMIT 1`

// hasChildren reports whether an agent has children that have not ended.
func hasChildren(v *store.View, agent act.ID) (bool, error) {
	return v.One(qLivingChild, func(*store.Row) error { return nil }, agent, int64(act.Killed), int64(act.Expired))
}

// haltLine has everybody who descends from an agent share what has become of it: who
// is stopped stops them, who has ended ends them, and who may act again lets them. The
// caller has changed the agent's row in this transaction, so that no child is born
// meanwhile (see spawn). Each halt is a fence that every act has to do with, so none is made
// for children who have all ended.
func (l *Lifecycle) haltLine(tx *store.Tx, a Agent, by act.ID, reason string) error {
	line := Scope{Kind: ScopeLineage, Target: a.ID}
	does := act.Paused
	switch {
	case a.Standing.MayAct():
		_, err := l.liftHalt(tx, line)
		return err
	case a.Standing.Final():
		does = act.Expired
	}
	parent, err := hasChildren(&tx.View, a.ID)
	if err != nil || !parent {
		return err
	}
	return l.putHalt(tx, halt{Scope: line, does: does}, by, reason)
}
