package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The rules by which the server itself stops agents. They stand in the record and in the
// agent's reason, with what was found.
const (
	ruleLife    = "life.over"     // its time is over
	ruleParent  = "orphan.parent" // what it descends from has ended, or is about to
	ruleMandate = "mandate.stale" // its mandate was revised, closed or is over, and nobody attested it in time
	ruleClass   = "class.retired"
	ruleLease   = "lease.lost"  // it has been silent for longer than its class allows
	ruleOwner   = "owner.gone"  // nobody answers for it any more
	ruleTeam    = "owner.moved" // who answers for it works in another team
)

// Cause is why the server stops an agent.
type Cause struct {
	Agent    act.ID
	Rule     string
	Evidence string
	Since    int64 // Unix microseconds
	EndsAt   int64 // when it is ended unless somebody does something, Unix microseconds; 0 never by itself
}

// reaper is the part of the server that stops agents whose time has come.
const reaper = "reaper"

// bound is an agent's row as the rules look at it.
type bound struct {
	id, owner, class, mandate, parent act.ID
	state                             act.Standing
	epoch, revision, endsAt           int64
}

const (
	boundColumns = `id, owner, state, epoch, class, mandate, revision, parent, ends_at`

	qBound   store.Q = `SELECT ` + boundColumns + ` FROM agent WHERE id = $1`
	qBoundOf store.Q = `SELECT ` + boundColumns + ` FROM agent WHERE parent = $1 AND parent <> 0 AND state <> $2 AND state <> $3 ORDER BY id`
	// id + 0 is for those who plan: who is over is found by the time, among millions who are not.
	qOverLife store.Q = `SELECT id FROM agent WHERE ends_at <> 0 AND ends_at <= $1 AND id + 0 > $2 AND state <> $4 AND state <> $5 ORDER BY id + 0, id LIMIT $3`
	qOfClass  store.Q = `SELECT id FROM agent WHERE class = $1 AND class <> 0 AND id > $2 AND state <> $4 AND state <> $5 ORDER BY id LIMIT $3`
	qOfOwner  store.Q = `SELECT id FROM agent WHERE owner = $1 AND id > $2 AND state <> $4 AND state <> $5 ORDER BY id LIMIT $3`
	qOfLine   store.Q = `SELECT id FROM agent WHERE parent = $1 AND parent <> 0 AND id > $2 AND state <> $4 AND state <> $5 ORDER BY id LIMIT $3`
	qOfStale  store.Q = `SELECT id FROM agent WHERE mandate = $1 AND mandate <> 0 AND id > $2 AND revision < $6 AND state <> $4 AND state <> $5 ORDER BY id LIMIT $3`

	qHaltSince store.Q = `SELECT made_at FROM halt WHERE scope = $1 AND target = $2 AND label = $3`

	qAgentEnd store.Q = `UPDATE agent SET state = $2, epoch = epoch + 1, reason = $3, changed_at = $4, beneath = 0 WHERE id = $1 AND epoch = $5`
)

func scanBound(r *store.Row) bound {
	return bound{
		id: r.ID(0), owner: r.ID(1), state: act.Standing(r.Int(2)), epoch: r.Int(3), class: r.ID(4), mandate: r.ID(5), revision: r.Int(6),
		parent: r.ID(7), endsAt: r.Int(8),
	}
}

func readBound(v *store.View, id act.ID) (b bound, err error) {
	found, err := v.One(qBound, func(r *store.Row) error { b = scanBound(r); return nil }, id)
	if err == nil && !found {
		err = noAgent()
	}
	return b, err
}

// gone marks the halt of an owner whom the identity provider does not know any more, so
// that it is told from one that an operator has put on.
const gone = "gone"

// moved marks the halt of an owner who works in another team than they did.
const moved = "moved"

// cause looks for a rule that stops an agent, the first that has come to its end before
// those that still give time. found is false when there is none. Discovery and the acts
// that stop agents ask the same question, the acts in their own transactions.
func (l *Lifecycle) cause(v *store.View, b bound, now int64) (c Cause, found bool, err error) {
	if b.state.Final() {
		return c, false, nil
	}
	for _, rule := range []func(*store.View, bound, int64) (Cause, bool, error){l.lifeOver, l.parentOver, l.mandateOver, l.classOver, l.leaseOver, l.ownerOver, l.healthOver, l.processOver} {
		one, ok, err := rule(v, b, now)
		if err != nil {
			return c, false, err
		}
		if ok && (!found || one.EndsAt < c.EndsAt) {
			c, found = one, true
			c.Agent = b.id
		}
	}
	return c, found, nil
}

func wireTime(at int64) string { return act.FromMicros(at).Format(act.WireTime) }

func (l *Lifecycle) lifeOver(_ *store.View, b bound, now int64) (Cause, bool, error) {
	if b.endsAt == 0 || b.endsAt > now {
		return Cause{}, false, nil
	}
	return Cause{Rule: ruleLife, Evidence: "its life was until " + wireTime(b.endsAt), Since: b.endsAt, EndsAt: b.endsAt}, true, nil
}

func (l *Lifecycle) parentOver(v *store.View, b bound, now int64) (c Cause, found bool, err error) {
	if b.parent == 0 {
		return c, false, nil
	}
	above, err := readBound(v, b.parent)
	if err != nil {
		return c, false, err
	}
	if above.state.Final() {
		return Cause{Rule: ruleParent, Evidence: "its parent " + l.Name(above.id) + " is " + above.state.String(), Since: now, EndsAt: now}, true, nil
	}
	c, found, err = l.cause(v, above, now)
	if found {
		c.Rule, c.Evidence = ruleParent, "its parent "+l.Name(above.id)+": "+c.Evidence
	}
	return c, found, err
}

func (l *Lifecycle) mandateOver(v *store.View, b bound, now int64) (c Cause, found bool, err error) {
	if b.mandate == 0 {
		return c, false, nil
	}
	m, err := l.mandate(v, NamedMandate{Mandate: b.mandate})
	if err != nil {
		return c, false, err
	}
	switch {
	case m.Closed:
		c.Evidence, c.Since = "the mandate "+m.Name+" is closed", m.ChangedAt
	case m.ExpiresAt != 0 && m.ExpiresAt <= now:
		c.Evidence, c.Since = "the mandate "+m.Name+" was until "+wireTime(m.ExpiresAt), m.ExpiresAt
	case b.revision < m.Revision:
		c.Evidence, c.Since = fmt.Sprintf("the mandate %s is of revision %d, the agent is bound to %d", m.Name, m.Revision, b.revision), m.ChangedAt
	default:
		return c, false, nil
	}
	c.Rule, c.EndsAt = ruleMandate, c.Since+m.Grace.Microseconds()
	return c, true, nil
}

// classOver asks memory: what is retired stays so, and nobody is stopped too early by it.
func (l *Lifecycle) classOver(_ *store.View, b bound, _ int64) (c Cause, found bool, err error) {
	k := l.charters.Load().classes[b.class]
	if k == nil || !k.Retired {
		return c, false, nil
	}
	return Cause{Rule: ruleClass, Evidence: "the class " + k.Name + " is retired", Since: k.ChangedAt, EndsAt: k.ChangedAt + l.graceOf(k.ID).Microseconds()}, true, nil
}

// graceOf is how long who is stopped by a rule waits for its end: as its class says, else
// DefaultGrace.
func (l *Lifecycle) graceOf(class act.ID) time.Duration {
	if k := l.charters.Load().classes[class]; k != nil && k.Document.GraceTime() > 0 {
		return k.Document.GraceTime()
	}
	return DefaultGrace
}

func (l *Lifecycle) leaseOver(v *store.View, b bound, now int64) (c Cause, found bool, err error) {
	known := l.charters.Load().classes[b.class]
	if known == nil || known.Document.Heartbeat == 0 {
		return c, false, nil
	}
	var until int64
	if found, err = v.One(qLeaseOf, func(r *store.Row) error { until = r.Int(0); return nil }, b.id); err != nil || !found || until > now {
		return c, false, err
	}
	seen := until - known.Document.Lease().Microseconds()
	return Cause{Rule: ruleLease, Evidence: "it was last seen at " + wireTime(seen), Since: until, EndsAt: until + known.Document.GraceTime().Microseconds()}, true, nil
}

func (l *Lifecycle) ownerOver(v *store.View, b bound, _ int64) (c Cause, found bool, err error) {
	if b.owner == 0 {
		return c, false, nil
	}
	for _, one := range []Cause{
		{Rule: ruleOwner, Evidence: "the identity provider knows nobody who answers for it"},
		{Rule: ruleTeam, Evidence: "its owner works in another team, and nobody has said that it comes along"},
	} {
		label := gone
		if one.Rule == ruleTeam {
			label = moved
		}
		if found, err = v.One(qHaltSince, func(r *store.Row) error { one.Since = r.Int(0); return nil }, int64(ScopeOwner), b.owner, label); err != nil || found {
			one.EndsAt = one.Since + DefaultGrace.Microseconds()
			return one, found, err
		}
	}
	return c, false, nil
}

func (l *Lifecycle) registerEndings(g *gate.Gate) {
	l.lapse = l.registerEnding(g, "agent.lapse", "Pause an agent that has been silent for longer than its class allows.", l.runLapse)
	l.stop = l.registerEnding(g, "agent.end", "End an agent whose time, parent, mandate, class or owner is gone.", l.runEnd)
	l.ListCauses = gate.RegisterRead(g, gate.Read[CauseQuery, []Cause]{
		Info: gate.Info{Name: "agent.orphans", Doc: "Look for agents that nothing holds any more, or that nobody uses: by rule, with what was found, and when they end.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(ctx context.Context, v *store.View, _ act.Principal, in CauseQuery) (list []Cause, err error) {
			return l.causes(v, in)
		},
	})
}

func (l *Lifecycle) registerEnding(g *gate.Gate, name, doc string, run func(*store.Tx, Agent, Cause) (Agent, error)) *gate.WriteAct[Expiry, Agent] {
	return gate.RegisterWrite(g, gate.Write[Expiry, Agent]{
		Info: gate.Info{Name: name, Doc: doc, On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Expiry) (gate.Resource, error) {
			a, err := l.agent(v, in.Agent)
			return a.resource(), err
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Expiry) (a Agent, fx gate.Effects, err error) {
			b, err := readBound(&tx.View, in.Agent)
			if err != nil {
				return a, fx, err
			}
			c, found, err := l.cause(&tx.View, b, tx.Now())
			if err != nil {
				return a, fx, err
			}
			if !found {
				return a, fx, act.Errorf(act.Conflict, "nothing stops the agent any more").WithRule("ending.cause").WithHint("it was attested, resumed or has ended meanwhile")
			}
			if a, err = l.agent(&tx.View, in.Agent); err != nil {
				return a, fx, err
			}
			if a, err = run(tx, a, c); err != nil {
				return a, fx, err
			}
			l.complete(&a)
			tx.Fence(act.KindAgent, a.ID)
			return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Reason: a.Reason}, nil
		},
	})
}

// runLapse pauses. The lease stays as it is, so that the agent ends when its grace is over.
func (l *Lifecycle) runLapse(tx *store.Tx, a Agent, c Cause) (Agent, error) {
	if c.Rule != ruleLease && c.Rule != ruleProcess || a.Standing != act.Active {
		return a, act.Errorf(act.Conflict, "the agent is %s", a.Standing).WithRule("standing." + a.Standing.String()).WithHint("only an active agent that was silent is paused")
	}
	if err := l.become(tx, &a, act.Paused, c.Rule+": "+c.Evidence); err != nil {
		return a, err
	}
	if err := ordered(tx, a, a.Reason); err != nil {
		return a, err
	}
	if c.Rule == ruleLease {
		if err := l.died(tx, a); err != nil {
			return a, err
		}
	}
	return a, l.haltLine(tx, a, 0, c.Rule)
}

// runEnd ends an agent that has no living children: they come first.
func (l *Lifecycle) runEnd(tx *store.Tx, a Agent, c Cause) (Agent, error) {
	if c.EndsAt > tx.Now() {
		return a, act.Errorf(act.Conflict, "the agent has time until %s", wireTime(c.EndsAt)).WithRule("ending.grace").WithHint("wait, or kill it")
	}
	living, err := hasChildren(&tx.View, a.ID)
	if err != nil {
		return a, err
	}
	if living {
		return a, act.Errorf(act.Conflict, "the agent has children that live").WithRule("ending.children").WithHint("children end first")
	}
	before := a
	if err := l.become(tx, &a, act.Expired, c.Rule+": "+c.Evidence); err != nil {
		return a, err
	}
	l.leave(tx, before)
	return a, l.bury(tx, a)
}

// become changes an agent's standing in its row.
func (l *Lifecycle) become(tx *store.Tx, a *Agent, to act.Standing, reason string) error {
	changed, err := tx.Exec(qAgentEnd, a.ID, int64(to), reason, tx.Now(), a.Epoch)
	if err == nil && changed == 0 {
		err = gate.Moved()
	}
	a.Standing, a.Beneath, a.Reason, a.ChangedAt = to, act.StandingUnknown, reason, tx.Now()
	a.Epoch++
	return err
}

// bury takes from an agent that has ended whatever it could still be used by: its
// credentials, what waits for it, its lease, what is left of its budget. When it was the
// last of a line that was halted for its parent's end, the halt goes.
func (l *Lifecycle) bury(tx *store.Tx, a Agent) error {
	if _, err := l.ids.Revoke(tx, a.ID); err != nil {
		return err
	}
	if err := tx.Batch(qApprovalWithdraw, a.ID, noBytes, tx.Now()); err != nil {
		return err
	}
	return l.unbind(tx, a.ID)
}

// unbind is what of bury has to do with an agent's bond.
func (l *Lifecycle) unbind(tx *store.Tx, agent act.ID) error {
	if err := tx.Batch(qNoticeDrop, agent); err != nil {
		return err
	}
	if err := tx.Batch(qUsesBy, agent); err != nil {
		return err
	}
	b, err := readBound(&tx.View, agent)
	if err != nil || b.class == 0 {
		return err
	}
	if err := tx.Batch(qLeaseDrop, agent); err != nil {
		return err
	}
	if err := tx.Batch(qHostedDrop, agent); err != nil {
		return err
	}
	heir := b.parent
	if heir != 0 {
		above, err := readBound(&tx.View, heir)
		if err != nil {
			return err
		}
		if above.state.Final() {
			heir = 0
			if err := l.lineOver(tx, above.id); err != nil {
				return err
			}
		}
	}
	if err := returnBudget(tx, agent, heir); err != nil {
		return err
	}
	return l.lineOver(tx, agent)
}

// lineOver lifts the halt of a line whose first has ended and has no living children.
func (l *Lifecycle) lineOver(tx *store.Tx, first act.ID) error {
	living, err := hasChildren(&tx.View, first)
	if err != nil || living {
		return err
	}
	_, err = l.liftHalt(tx, Scope{Kind: ScopeLineage, Target: first})
	return err
}

// relet gives an agent that may act again its lease back, and takes it from one that an
// operator has stopped: that one is not late.
func (l *Lifecycle) relet(tx *store.Tx, a Agent) error {
	b := l.bondOf(a.ID)
	if b == nil {
		return nil
	}
	if err := tx.Batch(qHostedDrop, a.ID); err != nil { // its process says again that it holds it
		return err
	}
	c := l.charters.Load().classes[b.class]
	if c == nil || c.Document.Heartbeat == 0 || a.Standing.Final() {
		return nil
	}
	if a.Standing != act.Active {
		return tx.Batch(qLeaseDrop, a.ID)
	}
	return tx.Batch(qLeasePut, a.ID, tx.Now()+c.Document.Lease().Microseconds())
}

// candidate is a statement that finds who may have a cause. Its parameters are first, the
// last id, the limit and the final standings.
type candidate struct {
	q     store.Q
	first any
	least any  // a sixth parameter; nil without
	plain bool // it has the first three parameters only
}

// candidates lists where to look for agents that a rule stops.
func (l *Lifecycle) candidates(v *store.View, now int64) (list []candidate, err error) {
	list = append(list, candidate{q: qOverLife, first: now}, candidate{q: qNoticeEnds, first: int64(1) << 62, plain: true})
	if err := v.All(qHalts, func(r *store.Row) error {
		target, label := r.ID(1), r.Text(2)
		switch ScopeKind(r.Int(0)) {
		case ScopeLineage:
			list = append(list, candidate{q: qOfLine, first: target})
		case ScopeMandate:
			list = append(list, candidate{q: qOfStale, first: target, least: r.Int(4)})
		case ScopeOwner:
			if label == gone || label == moved {
				list = append(list, candidate{q: qOfOwner, first: target})
			}
		case ScopeClass, ScopeSkill, ScopeCommunity, ScopeSite, ScopeAll:
		}
		return nil
	}); err != nil {
		return nil, err
	}
	c := l.charters.Load()
	for id, one := range c.classes {
		if one.Retired {
			list = append(list, candidate{q: qOfClass, first: id})
		}
	}
	for id, ends := range c.mandates {
		if ends <= now {
			list = append(list, candidate{q: qOfStale, first: id, least: int64(1) << 62})
		}
	}
	return list, nil
}

// page lists the agents that a candidate yields after an id.
func (c candidate) page(v *store.View, after act.ID) (ids []act.ID, err error) {
	args := []any{c.first, after, int64(reapPage)}
	if !c.plain {
		args = append(args, int64(act.Killed), int64(act.Expired))
	}
	if c.least != nil {
		args = append(args, c.least)
	}
	err = v.All(c.q, func(r *store.Row) error { ids = append(ids, r.ID(0)); return nil }, args...)
	return ids, err
}

// Sweep stops who has a cause: it pauses those that are late, and ends, children first,
// those whose time of grace is over. It returns how many it has ended. The server calls
// it on one node at a time; two at once do nothing twice.
func (l *Lifecycle) Sweep(ctx context.Context) (ended int, err error) {
	now := act.Micros(l.db.Clock()())
	if err := l.sweepLeases(ctx, now, &ended); err != nil {
		return ended, err
	}
	var list []candidate
	if err := l.db.View(ctx, func(v *store.View) (err error) { list, err = l.candidates(v, now); return err }); err != nil {
		return ended, fmt.Errorf("lifecycle: look for orphans: %w", err)
	}
	for _, c := range list {
		if err := l.eachPage(ctx, c.page, func(id act.ID) error { return l.endTree(ctx, id, now, &ended) }); err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// sweepLeases looks at the leases of agents and of processes that are over.
func (l *Lifecycle) sweepLeases(ctx context.Context, now int64, ended *int) error {
	late := func(id act.ID) error {
		if s, _ := l.rowStanding(id); s == act.Active {
			_, err := l.lapse.Do(ctx, act.SystemPrincipal(reaper), Expiry{Agent: id})
			if err := mended(err); err != nil {
				return err
			}
		}
		return l.endTree(ctx, id, now, ended)
	}
	if err := l.eachPage(ctx, candidate{q: qLapsed, first: now, plain: true}.page, late); err != nil {
		return err
	}
	return l.eachPage(ctx, candidate{q: qHostLost, first: now, plain: true}.page, late)
}

// rowStanding is what memory has of an agent's row, whatever halts there are.
func (l *Lifecycle) rowStanding(agent act.ID) (act.Standing, int64) {
	s := l.agents.look(agent)
	if s == nil {
		return act.StandingUnknown, 0
	}
	word := s.word.Load()
	return standingIn(word), int64(word >> 8)
}

// eachPage calls do with every agent of a paged list.
func (l *Lifecycle) eachPage(ctx context.Context, page func(*store.View, act.ID) ([]act.ID, error), do func(act.ID) error) error {
	var last act.ID
	for {
		var ids []act.ID
		if err := l.db.View(ctx, func(v *store.View) (err error) { ids, err = page(v, last); return err }); err != nil {
			return err
		}
		for _, id := range ids {
			if err := do(id); err != nil {
				return err
			}
			last = id
		}
		if len(ids) < reapPage {
			return nil
		}
	}
}

// mended passes over what another node, or an operator, has done first.
func mended(err error) error {
	switch act.CodeOf(err) {
	case act.None, act.Conflict, act.NotFound:
		return nil
	default:
		return err
	}
}

// endTree ends an agent with a cause whose time is over, after everybody who descends
// from it. Lines are at most charter.MaxDepth deep.
func (l *Lifecycle) endTree(ctx context.Context, id act.ID, now int64, ended *int) error {
	var c Cause
	var found bool
	var children []act.ID
	if err := l.db.View(ctx, func(v *store.View) error {
		b, err := readBound(v, id)
		if err != nil {
			return err
		}
		if c, found, err = l.cause(v, b, now); err != nil || !found || c.EndsAt > now {
			return err
		}
		return v.All(qBoundOf, func(r *store.Row) error { children = append(children, scanBound(r).id); return nil }, id, int64(act.Killed), int64(act.Expired))
	}); err != nil || !found || c.EndsAt > now {
		return mended(err)
	}
	for _, child := range children {
		if err := l.endTree(ctx, child, now, ended); err != nil {
			return err
		}
	}
	_, err := l.stop.Do(ctx, act.SystemPrincipal(reaper), Expiry{Agent: id})
	if err == nil {
		*ended++
	}
	return mended(err)
}

// CauseQuery asks for agents that nothing holds any more.
type CauseQuery struct {
	Limit int // 1 to MaxCauses; MaxCauses if 0
}

// MaxCauses bounds an answer of agent.orphans.
const MaxCauses = 1000

func (l *Lifecycle) causes(v *store.View, in CauseQuery) (list []Cause, err error) {
	if in.Limit == 0 {
		in.Limit = MaxCauses
	}
	if in.Limit < 1 || in.Limit > MaxCauses {
		return nil, act.Errorf(act.Invalid, "an answer has 1 to %d agents", MaxCauses).WithRule("limit").WithHint("ask for less")
	}
	now := act.Micros(l.db.Clock()())
	where, err := l.candidates(v, now)
	where = append(where, candidate{q: qLapsed, first: now, plain: true}, candidate{q: qHostLost, first: now, plain: true})
	if err != nil {
		return nil, err
	}
	seen := make(map[act.ID]bool)
	for _, c := range where {
		for after := act.ID(0); len(list) < in.Limit; {
			ids, err := c.page(v, after)
			if err != nil {
				return nil, err
			}
			for _, id := range ids {
				after = id
				if seen[id] {
					continue
				}
				seen[id] = true
				b, err := readBound(v, id)
				if err != nil {
					return nil, err
				}
				if one, found, err := l.cause(v, b, now); err != nil {
					return nil, err
				} else if found && len(list) < in.Limit {
					list = append(list, one)
				}
			}
			if len(ids) < reapPage {
				break
			}
		}
	}
	idle, err := l.idle(v, in.Limit-len(list), now)
	return append(list, idle...), err
}

// SweepEvery is how often the server calls Sweep.
const SweepEvery = 2 * time.Second
