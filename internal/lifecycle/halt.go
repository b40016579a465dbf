package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ScopeKind says by what a halt tells the agents that it stops. Numbers are stored.
type ScopeKind uint8

// The scopes. Number 0 is the row that counts.
const (
	ScopeLineage   ScopeKind = 1 // everybody who descends from an agent; itself has its own standing
	ScopeClass     ScopeKind = 2 // every version of the class with a name
	ScopeSkill     ScopeKind = 3 // every class that holds the skill with a digest
	ScopeOwner     ScopeKind = 4
	ScopeCommunity ScopeKind = 5 // what happens in it, whoever does it
	ScopeMandate   ScopeKind = 6 // who is bound to a revision below the least
	ScopeSite      ScopeKind = 7
	ScopeAll       ScopeKind = 8
)

// String returns the scope's name as wires have it.
func (s ScopeKind) String() string {
	if s < ScopeLineage || s > ScopeAll {
		return "unknown"
	}
	return [...]string{"lineage", "class", "skill", "owner", "community", "mandate", "site", "all"}[s-1]
}

// Scope names agents that are stopped together.
type Scope struct {
	Kind   ScopeKind
	Target act.ID // of a lineage, an owner, a community, a mandate; else 0
	Label  string // of a class its name, of a skill its digest, of a site its name; else ""
}

// halt is one row: a scope, and what becomes of whoever is in it. One row stops any
// number of agents at once: it counts in the transactions of their acts (Expect), so
// nothing of theirs is committed once its fence is acknowledged.
type halt struct {
	Scope
	does  act.Standing // Paused, Stale, Quarantined or Killed; StandingUnknown for a halt that was lifted
	least int64        // of a mandate: the first revision that is not stopped
}

// halts is what memory knows of them, as of one count. It never changes.
type halts struct {
	n           int64 // of the changes, see haltCount
	busy        bool  // something is stopped
	all         act.Standing
	lineages    map[act.ID]act.Standing
	classes     map[act.ID]act.Standing // by version
	owners      map[act.ID]act.Standing
	communities map[act.ID]act.Standing
	mandates    map[act.ID]halt
	lines       map[act.ID]act.Standing // by operators' word: the agent and everybody who descends from it
}

// none is true of nil, too: before the start there are none.
func (h *halts) none() bool { return h == nil || !h.busy }

const (
	// haltCount is the number of changes, as part of another statement.
	haltCount = `COALESCE((SELECT h.n FROM halt AS h WHERE h.scope = 0 AND h.target = 0 AND h.label = ''), 0)`

	qHaltCount store.Q = `SELECT n FROM halt WHERE scope = 0 AND target = 0 AND label = ''`
	qHaltNext  store.Q = `INSERT INTO halt (scope, target, label, does, least, n, reason, made_by, made_at) VALUES (0, 0, '', 0, 0, 1, '', 0, 0)
ON CONFLICT (scope, target, label) DO UPDATE SET n = halt.n + 1`
	qHaltPut store.Q = `INSERT INTO halt (scope, target, label, does, least, n, reason, made_by, made_at)
VALUES ($1, $2, $3, $4, $5, (SELECT c.n FROM halt AS c WHERE c.scope = 0 AND c.target = 0 AND c.label = ''), $6, $7, $8)
ON CONFLICT (scope, target, label) DO UPDATE SET does = $4, least = $5, n = excluded.n, reason = $6, made_by = $7, made_at = $8`
	qHaltLift store.Q = `DELETE FROM halt WHERE scope = $1 AND target = $2 AND label = $3`
	qHalts    store.Q = `SELECT scope, target, label, does, least FROM halt WHERE scope > 0 ORDER BY scope, target, label`
)

// haltsNow returns the number of changes that a snapshot has.
func haltsNow(v *store.View) (n int64, err error) {
	_, err = v.One(qHaltCount, func(r *store.Row) error { n = r.Int(0); return nil })
	return n, err
}

// putHalt stores a halt in place of what there was of its scope, and fences it.
func (l *Lifecycle) putHalt(tx *store.Tx, h halt, by act.ID, reason string) error {
	if err := tx.Batch(qHaltNext); err != nil {
		return err
	}
	if err := tx.Batch(qHaltPut, int64(h.Kind), h.Target, h.Label, int64(h.does), h.least, reason, by, tx.Now()); err != nil {
		return err
	}
	tx.Fence(act.KindSystem, 0)
	return nil
}

// liftHalt ends the halt of a scope, if there is one, and fences that. lifted reports
// whether there was.
func (l *Lifecycle) liftHalt(tx *store.Tx, s Scope) (lifted bool, err error) {
	changed, err := tx.Exec(qHaltLift, int64(s.Kind), s.Target, s.Label)
	if err != nil || changed == 0 {
		return false, err
	}
	tx.Fence(act.KindSystem, 0)
	return true, tx.Batch(qHaltNext)
}

// reloadHalts reads every halt, and notes in the kill log which scopes were killed; see
// gate.OnFence.
func (l *Lifecycle) reloadHalts(ctx context.Context, _ []act.ID) error {
	h := &halts{
		lineages: make(map[act.ID]act.Standing), classes: make(map[act.ID]act.Standing), owners: make(map[act.ID]act.Standing),
		communities: make(map[act.ID]act.Standing), mandates: make(map[act.ID]halt),
		lines: make(map[act.ID]act.Standing),
	}
	classes := l.charters.Load().classes
	var killed []scopeKill
	if err := l.db.Snapshot(ctx, func(v *store.View) (err error) {
		if h.n, err = haltsNow(v); err != nil {
			return err
		}
		if err := v.All(qHalts, func(r *store.Row) error {
			h.add(classes, halt{Scope: Scope{ScopeKind(r.Int(0)), r.ID(1), r.Text(2)}, does: act.Standing(r.Int(3)), least: r.Int(4)})
			return nil
		}); err != nil {
			return err
		}
		killed, err = killedScopes(v, func(c Containment) { h.contain(classes, c.Scope, c.Does) })
		return err
	}); err != nil {
		return err
	}
	h.busy = h.count() > 0
	l.halts.Store(h)
	return l.logScopes(killed)
}

// add takes a halt in. One of a class or a skill is kept by the versions that it means;
// several of one scope leave what the sternest leaves.
func (h *halts) add(classes map[act.ID]*Class, one halt) {
	keep := func(by map[act.ID]act.Standing, id act.ID) { by[id] = sterner(by[id], one.does) }
	switch one.Kind {
	case ScopeLineage:
		keep(h.lineages, one.Target)
	case ScopeOwner:
		keep(h.owners, one.Target)
	case ScopeCommunity:
		keep(h.communities, one.Target)
	case ScopeMandate:
		h.mandates[one.Target] = one
	case ScopeAll:
		h.all = sterner(h.all, one.does)
	case ScopeClass, ScopeSkill:
		for id, c := range classes {
			if one.means(c) {
				keep(h.classes, id)
			}
		}
	case ScopeSite: // there are none; see place
	}
}

// on is a standing with the halts that an agent is in, by its owner and its bond, nil
// without. It does not allocate.
func (h *halts) on(l *Lifecycle, owner act.ID, b *bond, state act.Standing) act.Standing {
	if h.none() {
		return state
	}
	state = sterner(sterner(state, h.all), h.owners[owner])
	if b == nil {
		return state
	}
	state = sterner(state, h.classes[b.class])
	if m, ok := h.mandates[b.mandate]; ok && b.revision < m.least {
		state = sterner(state, m.does)
	}
	if len(h.lineages)+len(h.lines) == 0 {
		return state
	}
	for up := b.parent; up != 0; {
		state = sterner(sterner(state, h.lineages[up]), h.lines[up])
		above := l.bondOf(up)
		if above == nil {
			break
		}
		up = above.parent
	}
	return state
}

// sternness orders standings by how little they leave.
var sternness = [...]uint8{
	act.StandingUnknown: 0, act.Active: 1, act.Requested: 2, act.Paused: 3, act.Stale: 4, act.Quarantined: 5, act.Expired: 6, act.Killed: 7,
}

// sterner returns that of two standings which leaves less.
func sterner(a, b act.Standing) act.Standing {
	if sternness[b] > sternness[a] {
		return b
	}
	return a
}
