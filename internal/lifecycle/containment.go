package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ScopeOrder is an operator's word about everybody in a scope.
type ScopeOrder struct {
	On     ScopeName
	Reason string // 1 to MaxReason characters; goes on record
}

// Containment is one order about a scope that is in force. An order of each sort may be
// at a time; they do not mask each other.
type Containment struct {
	Scope
	Does   act.Standing // Paused, Quarantined or Killed
	Name   string       // of the scope, as it was given; "" for all
	Reason string
	By     act.ID // operator
	At     int64  // Unix microseconds
	Ended  int64  // agents that a kill has ended, when it is done
	Left   int64  // agents that it has not ended yet
	DoneAt int64  // of a kill, when nobody in the scope was left; Unix microseconds, 0 before
}

// on is its scope as an order names it.
func (c *Containment) on() ScopeName {
	if c.Kind == ScopeLineage {
		return ScopeName{Kind: c.Kind.String(), Agent: c.Target}
	}
	return ScopeName{Kind: c.Kind.String(), Name: c.Name}
}

// Contained is what a scope comes to.
type Contained struct {
	Scope
	Name     string
	Standing act.Standing // what it leaves an active agent
	Orders   []Containment
}

const (
	containmentColumns = `scope, target, label, does, name, reason, made_by, made_at, ended, done_at`

	qContained   store.Q = `SELECT ` + containmentColumns + ` FROM containment ORDER BY scope, target, label, does`
	qContainedIn store.Q = `SELECT ` + containmentColumns + ` FROM containment WHERE scope = $1 AND target = $2 AND label = $3 ORDER BY scope, target, label, does`
	qContain     store.Q = `INSERT INTO containment (` + containmentColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)
ON CONFLICT (scope, target, label, does) DO UPDATE SET ended = 0, done_at = 0`
	qContainLift store.Q = `DELETE FROM containment WHERE scope = $1 AND target = $2 AND label = $3 AND does = $4`
	qContainDone store.Q = `UPDATE containment SET ended = $5, done_at = $6 WHERE scope = $1 AND target = $2 AND label = $3 AND does = $4 AND done_at = 0`

	// Of the whole network, and of one owner.
	qContainBirth store.Q = `SELECT does FROM containment WHERE does = $3 AND ((scope = $1 AND target = 0) OR (scope = $2 AND target = $4)) ORDER BY scope, target, label, does LIMIT 1`

	// MaxContained bounds the scopes that are contained at a time: every node has them in
	// memory.
	MaxContained = 10_000

	qContainedCount store.Q = `SELECT COUNT(*) FROM containment`
)

func scanContainment(r *store.Row) Containment {
	return Containment{
		Scope: Scope{ScopeKind(r.Int(0)), r.ID(1), r.Text(2)}, Does: act.Standing(r.Int(3)), Name: r.Text(4), Reason: r.Text(5),
		By: r.ID(6), At: r.Int(7), Ended: r.Int(8), DoneAt: r.Int(9),
	}
}

// contain takes an operator's order in, beside the halts that come of other causes. One of a
// line holds for the agent that it begins with, too: what has become of a parent stands in
// its own row, an order about its line does not.
func (h *halts) contain(classes map[act.ID]*Class, s Scope, does act.Standing) {
	if s.Kind == ScopeLineage {
		h.lines[s.Target] = sterner(h.lines[s.Target], does)
		return
	}
	h.add(classes, halt{Scope: s, does: does})
}

// killedScopes lists the kills of scopes that are in force, as of now. each, if not nil, is
// called with every containment.
func killedScopes(v *store.View, each func(Containment)) (list []scopeKill, err error) {
	if err := v.All(qContained, func(r *store.Row) error {
		c := scanContainment(r)
		if each != nil {
			each(c)
		}
		if c.Does == act.Killed {
			list = append(list, scopeKill{on: c.on(), reason: c.Reason, at: c.At})
		}
		return nil
	}); err != nil || len(list) == 0 {
		return nil, err
	}
	seq, err := v.LastSequence()
	for i := range list {
		list[i].seq = seq
	}
	return list, err
}

// count is how many scopes are stopped.
func (h *halts) count() int64 {
	n := len(h.lineages) + len(h.classes) + len(h.owners) + len(h.communities) + len(h.mandates) + len(h.lines)
	if h.all != 0 {
		n++
	}
	return int64(n)
}

// scopeOrder is what an order does to a scope.
type scopeOrder struct {
	name, doc string
	does      act.Standing
	lift      bool
}

func (l *Lifecycle) registerScopes(g *gate.Gate) {
	l.PauseScope = l.registerScopeOrder(g, scopeOrder{
		name: "scope.pause", does: act.Paused,
		doc: "Stop everybody in a scope until it is resumed: a line, a class, who has a skill, an owner's agents, what happens in a community, or all.",
	})
	l.ResumeScope = l.registerScopeOrder(g, scopeOrder{
		name: "scope.resume", does: act.Paused, lift: true, doc: "End the pause of a scope: its agents are again what they are by themselves.",
	})
	l.QuarantineScope = l.registerScopeOrder(g, scopeOrder{
		name: "scope.quarantine", does: act.Quarantined, doc: "Hold everybody in a scope for examination.",
	})
	l.ReleaseScope = l.registerScopeOrder(g, scopeOrder{
		name: "scope.release", does: act.Quarantined, lift: true,
		doc: "End the quarantine of a scope, and let new agents into one whose agents were all ended.",
	})
	l.KillScope = l.registerScopeOrder(g, scopeOrder{
		name: "scope.kill", does: act.Killed, doc: "End everybody in a scope for good: it stops at once, and its agents are then ended one by one.",
	})
	l.finishScope = gate.RegisterWrite(g, gate.Write[Scope, Containment]{
		Info: gate.Info{Name: "scope.finish", Doc: "Put down that the last agent of a scope that was killed has ended.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in Scope) (gate.Resource, error) {
			return gate.Resource{Ref: act.Ref{ID: in.Target}, Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Scope) (Containment, gate.Effects, error) {
			return l.finish(tx, in)
		},
	})
	l.ListScopes = gate.RegisterRead(g, gate.Read[struct{}, []Containment]{
		Info: gate.Info{Name: "scope.list", Doc: "List the scopes that are stopped: by whom, when and why, and how far their end has come.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) ([]Containment, error) {
			return l.contained(v)
		},
	})
	l.ShowScope = gate.RegisterRead(g, gate.Read[ScopeName, Preview]{
		Info: gate.Info{Name: "scope.show", Doc: "Show who is in a scope and what of theirs is under way, before it is stopped.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in ScopeName) (Preview, error) {
			return l.preview(v, in)
		},
	})
}

// registerScopeOrder registers an order. What it is aimed at is an agent, an owner, a
// community or the network, so policies can tell them apart.
func (l *Lifecycle) registerScopeOrder(g *gate.Gate, o scopeOrder) *gate.WriteAct[ScopeOrder, Contained] {
	return gate.RegisterWrite(g, gate.Write[ScopeOrder, Contained]{
		Info: gate.Info{
			Name: o.name, Doc: o.doc, On: act.KindNetwork, Also: []act.Kind{act.KindAgent, act.KindOwner, act.KindCommunity, act.KindClass},
			Quota: gate.QuotaNone,
		},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in ScopeOrder) (gate.Resource, error) {
			if _, err := checkReason(in.Reason); err != nil {
				return gate.Resource{}, err
			}
			p, err := l.place(v, in.On)
			if err == nil {
				err = o.fits(p.Scope)
			}
			return gate.Resource{Ref: act.Ref{ID: p.Target}, Facts: p.facts}, err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in ScopeOrder) (Contained, gate.Effects, error) {
			return l.orderScope(tx, o, p, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Contained, error) {
			return l.containedBy(v, made)
		},
	})
}

// fits refuses to end a community's agents: it has none.
func (o scopeOrder) fits(s Scope) error {
	if o.does == act.Killed && s.Kind == ScopeCommunity {
		return act.Errorf(act.Invalid, "a community has no agents that could be ended").WithRule("scope.community").
			WithHint("pause or quarantine it: nobody acts or reads in it then")
	}
	return nil
}

// orderScope changes the containments of a scope, and fences that. An order that was
// carried out before changes nothing but is fenced again.
func (l *Lifecycle) orderScope(tx *store.Tx, o scopeOrder, by act.Principal, in ScopeOrder) (out Contained, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return out, fx, err
	}
	p, err := l.place(&tx.View, in.On)
	if err == nil {
		err = o.fits(p.Scope)
	}
	if err != nil {
		return out, fx, err
	}
	if err := tx.Serialize(haltLock); err != nil {
		return out, fx, err
	}
	now, err := l.containedIn(&tx.View, p.Scope)
	if err != nil {
		return out, fx, err
	}
	if o.lift {
		err = l.lift(tx, o, now)
	} else {
		err = l.hold(tx, o, p, by.ID, reason)
	}
	if err == nil {
		err = tx.Batch(qHaltNext)
	}
	if err == nil {
		out, err = l.containedIn(&tx.View, p.Scope)
	}
	out.Name = p.name
	tx.Fence(act.KindSystem, 0)
	return out, gate.Effects{Out: act.Ref{ID: p.Target, Version: int64(p.Kind)}, Reason: cutReason(p.text()+": ", reason)}, err
}

const haltLock = "halt" // of store.Tx.Serialize

func (l *Lifecycle) hold(tx *store.Tx, o scopeOrder, p placed, by act.ID, reason string) error {
	var n int64
	if _, err := tx.One(qContainedCount, func(r *store.Row) error { n = r.Int(0); return nil }); err != nil {
		return err
	}
	if n >= MaxContained {
		return act.Errorf(act.Conflict, "%d scopes are contained", n).WithRule("scope.most").WithHint("lift some that are not needed, or contain a wider scope")
	}
	return tx.Batch(qContain, int64(p.Kind), p.Target, p.Label, int64(o.does), p.name, reason, by, tx.Now())
}

// lift ends an order. What was killed stays so; that its scope is closed to new agents
// ends with a release, when nobody is left in it.
func (l *Lifecycle) lift(tx *store.Tx, o scopeOrder, now Contained) error {
	for _, c := range now.Orders {
		switch {
		case c.Does == act.Killed && o.does == act.Quarantined && c.DoneAt == 0:
			return act.Errorf(act.Conflict, "the agents of this scope are being ended").WithRule("scope.sweeping").
				WithHint("a kill is final; release the scope for new agents when scope.list says that nobody is left")
		case c.Does == o.does, c.Does == act.Killed && o.does == act.Quarantined:
			if err := tx.Batch(qContainLift, int64(c.Kind), c.Target, c.Label, int64(c.Does)); err != nil {
				return err
			}
		}
	}
	return nil
}

// containedIn reads what a scope comes to.
func (l *Lifecycle) containedIn(v *store.View, s Scope) (out Contained, err error) {
	out.Scope, out.Standing = s, act.Active
	err = v.All(qContainedIn, func(r *store.Row) error {
		c := scanContainment(r)
		out.Orders, out.Standing, out.Name = append(out.Orders, c), sterner(out.Standing, c.Does), c.Name
		return nil
	}, int64(s.Kind), s.Target, s.Label)
	return out, err
}

// containedBy reads what an order's Effects name.
func (l *Lifecycle) containedBy(v *store.View, made act.Ref) (Contained, error) {
	return l.containedIn(v, Scope{Kind: ScopeKind(made.Version), Target: made.ID})
}

// contained lists what is in force.
func (l *Lifecycle) contained(v *store.View) (list []Containment, err error) {
	if err := v.All(qContained, func(r *store.Row) error {
		list = append(list, scanContainment(r))
		return nil
	}); err != nil {
		return nil, err
	}
	for i := range list {
		if c := &list[i]; c.Does == act.Killed && c.DoneAt == 0 {
			if c.Left, err = l.left(v, c.Scope); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// closed refuses to bring an agent into a scope that was killed: of its owner (0 for one
// that nobody has claimed), or the whole network.
func (l *Lifecycle) closed(tx *store.Tx, owner act.ID) error {
	shut, err := tx.One(qContainBirth, func(*store.Row) error { return nil }, int64(ScopeAll), int64(ScopeOwner), int64(act.Killed), owner)
	if err == nil && shut {
		err = act.Errorf(act.Denied, "an operator has ended every agent there and lets none in").WithRule("scope.killed").
			WithHint("ask an operator; they can release the scope for new agents")
	}
	return err
}
