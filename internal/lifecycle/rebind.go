package lifecycle

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Rebinding has an agent bound to the version that a roll-out leads to, or back.
type Rebinding struct {
	Agent act.ID
	Name  string // of the class
	Back  bool
}

// RolloutEvery is how often the server calls RollOut.
const RolloutEvery = 2 * time.Second

const (
	rebindPage = 200              // agents bound in one pass
	rebindRest = 30 * time.Second // how long nobody is looked for when there was nobody

	ruleUnhealthy = "rollout.unhealthy"

	qBoundClass store.Q = `SELECT class, granted, state FROM agent WHERE id = $1`
	qRebind     store.Q = `UPDATE agent SET class = $3, granted = $4, epoch = epoch + 1 WHERE id = $1 AND epoch = $2`
	qRebindPut  store.Q = `INSERT INTO rebinding (agent, name, was, granted, bound_at, fault, fault_at) VALUES ($1, $2, $3, $4, $5, '', 0)`
	qRebindOf   store.Q = `SELECT was, granted FROM rebinding WHERE agent = $1 AND name = $2`
	qRebindDrop store.Q = `DELETE FROM rebinding WHERE agent = $1`
	qRebindLeft store.Q = `SELECT r.agent FROM rebinding AS r JOIN agent AS a ON a.id = r.agent WHERE r.name = $1 AND r.agent > $2 AND a.state <> $4 AND a.state <> $5 ORDER BY r.agent LIMIT $3`
)

// rolled remembers for which step of which roll-out nobody is left to be bound, so that a
// class is not walked through again and again.
type rolled struct {
	mu   sync.Mutex
	rest map[string]rested // guarded by mu
}

type rested struct{ epoch, until int64 }

func (l *Lifecycle) registerRebind(g *gate.Gate) {
	on := func(_ context.Context, v *store.View, _ act.Principal, in NamedClass) (gate.Resource, error) {
		r, err := rollout(v, in.Name)
		return r.resource(), err
	}
	l.rebind = gate.RegisterWrite(g, gate.Write[Rebinding, Agent]{
		Info: gate.Info{Name: "agent.rebind", Doc: "Bind an agent to another version of its class, by a roll-out.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in Rebinding) (gate.Resource, error) {
			a, err := l.agent(v, in.Agent)
			return a.resource(), err
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Rebinding) (Agent, gate.Effects, error) {
			return l.runRebind(tx, in)
		},
	})
	l.widen = gate.RegisterWrite(g, gate.Write[NamedClass, Rollout]{
		Info:    gate.Info{Name: "rollout.step", Doc: "Go on to the next step of a roll-out, or end it.", On: act.KindClass, Quota: gate.QuotaNone},
		Resolve: on,
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in NamedClass) (Rollout, gate.Effects, error) {
			return l.runStep(tx, in.Name)
		},
	})
	l.revert = gate.RegisterWrite(g, gate.Write[NamedClass, Rollout]{
		Info:    gate.Info{Name: "rollout.revert", Doc: "Take a roll-out back because too many of its agents were stopped.", On: act.KindClass, Quota: gate.QuotaNone},
		Resolve: on,
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in NamedClass) (Rollout, gate.Effects, error) {
			return l.runRevert(tx, in.Name)
		},
	})
}

// rebindDone says that there is nothing to do for an agent.
func rebindDone(why string) error {
	return act.Errorf(act.Conflict, "%s", why).WithRule("rollout.bound").WithHint("rollout.show says who is bound, and who cannot be")
}

// runRebind binds one agent. It never gets more than it was granted: what a version adds
// is for the agents that are asked for by it, whom people approve. What it has used of its
// budget, and when its life ends, stays as it is.
func (l *Lifecycle) runRebind(tx *store.Tx, in Rebinding) (a Agent, fx gate.Effects, err error) {
	r, err := rollout(&tx.View, in.Name)
	if err != nil {
		return a, fx, err
	}
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	if in.Back != (r.State == RolloutReverted) || !in.Back && r.State != RolloutRuns || a.Standing.Final() {
		return a, fx, rebindDone("the roll-out does not bind the agent any more")
	}
	var to act.ID
	var granted string
	if in.Back {
		found, err := tx.One(qRebindOf, func(row *store.Row) error { to, granted = row.ID(0), row.Text(1); return nil }, a.ID, r.Name)
		if err != nil || !found {
			return a, fx, cmp.Or(err, rebindDone("the agent is not bound by the roll-out"))
		}
		err = tx.Batch(qRebindDrop, a.ID)
		if err != nil {
			return a, fx, err
		}
	} else if to, granted, err = l.forward(tx, a, r); err != nil {
		return a, fx, err
	}
	changed, err := tx.Exec(qRebind, a.ID, a.Epoch, to, granted)
	if err != nil {
		return a, fx, err
	}
	if changed == 0 {
		return a, fx, gate.Moved()
	}
	c, err := l.classBy(&tx.View, to)
	if err != nil {
		return a, fx, err
	}
	reason := fmt.Sprintf("%s: from version %d to %d", r.Name, a.Version, c.Version)
	switch lease := c.Document.Lease(); {
	case a.Standing != act.Active:
	case lease > 0:
		err = tx.Batch(qLeasePut, a.ID, tx.Now()+lease.Microseconds())
	default:
		err = tx.Batch(qLeaseDrop, a.ID)
	}
	if err != nil {
		return a, fx, err
	}
	a.Epoch++
	a.class, a.Class, a.Version = to, c.Name, c.Version
	tx.Fence(act.KindAgent, a.ID)
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Reason: reason}, nil
}

// forward works out what an agent has under the version that a roll-out leads to, and keeps
// what it had.
func (l *Lifecycle) forward(tx *store.Tx, a Agent, r Rollout) (to act.ID, granted string, err error) {
	if err := tx.Batch(qParentLock, a.ID, a.Epoch, int64(a.Standing)); err != nil { // nobody is born to it meanwhile
		return 0, "", err
	}
	var was string
	if _, err := tx.One(qBoundClass, func(row *store.Row) error { was = row.Text(1); return nil }, a.ID); err != nil {
		return 0, "", err
	}
	why, granted, err := l.pinned(&tx.View, a.ID, r)
	if err != nil {
		return 0, "", err
	}
	if why != "" {
		return 0, "", rebindDone(why)
	}
	return r.class, granted, tx.Batch(qRebindPut, a.ID, r.Name, a.class, was, tx.Now())
}

// pinned says why an agent cannot be bound by a roll-out, "" if it can, and then what it is
// granted.
func (l *Lifecycle) pinned(v *store.View, agent act.ID, r Rollout) (why, granted string, err error) {
	c := l.charters.Load().classes[r.class]
	var class act.ID
	var state act.Standing
	if _, err := v.One(qBoundClass, func(row *store.Row) error {
		class, granted, state = row.ID(0), row.Text(1), act.Standing(row.Int(2))
		return nil
	}, agent); err != nil {
		return "", "", err
	}
	switch {
	case class == r.class || c == nil:
		return "it has the version", "", nil
	case state == act.Quarantined:
		return "it is quarantined: what is examined stays as it is", "", nil
	}
	had, err := charter.ParseGrant([]byte(granted))
	if err != nil {
		return "what it was granted cannot be read", "", nil
	}
	has := charter.Narrow(had, c.Document.Grant)
	has.Budget, has.Life = had.Budget, had.Life
	text, err := has.Text()
	if err != nil || string(text) == granted {
		return "", granted, err
	}
	parent, err := hasChildren(v, agent)
	if parent {
		why = "it has children, who would have more than it"
	}
	return why, string(text), err
}

// runStep goes on when the present step was looked at for long enough.
func (l *Lifecycle) runStep(tx *store.Tx, name string) (r Rollout, fx gate.Effects, err error) {
	if r, err = rollout(&tx.View, name); err != nil {
		return r, fx, err
	}
	due, err := baked(&tx.View, r)
	switch {
	case err != nil:
		return r, fx, err
	case r.State != RolloutRuns || due > tx.Now():
		return r, fx, act.Errorf(act.Conflict, "the step is not over").WithRule("rollout.state").WithHint("wait")
	case r.Step == len(r.Steps)-1:
		r.State = RolloutDone
	default:
		r.Step++
	}
	r.StepAt = tx.Now()
	return l.turnRollout(tx, r, fmt.Sprintf("%s: version %d is %s, step %s", r.Name, r.Version, r.State, r.Steps[r.Step]))
}

// baked is when the present step was looked at for long enough.
func baked(v *store.View, r Rollout) (due int64, err error) {
	last := r.StepAt
	_, err = v.One(qRebindLast, func(row *store.Row) error { last = max(last, row.Int(0)); return nil }, r.Name)
	return last + r.Bake.Microseconds(), err
}

// unhealthy counts whom a roll-out has bound, and who of them was stopped within its window.
func unhealthy(v *store.View, r Rollout, now int64) (faults, bound int64, err error) {
	since := now - r.Window.Microseconds()
	if _, err := v.One(qRebindFaults, func(row *store.Row) error { faults = row.Int(0); return nil }, r.Name, since); err != nil || faults == 0 {
		return 0, 0, err
	}
	_, err = v.One(qRebindings, func(row *store.Row) error { bound = row.Int(0); return nil }, r.Name)
	return faults, bound, err
}

// runRevert takes a roll-out back. From then on nobody is bound by it, and a pass after the
// other binds those back that were.
func (l *Lifecycle) runRevert(tx *store.Tx, name string) (r Rollout, fx gate.Effects, err error) {
	if r, err = rollout(&tx.View, name); err != nil {
		return r, fx, err
	}
	faults, bound, err := unhealthy(&tx.View, r, tx.Now())
	if err != nil {
		return r, fx, err
	}
	if r.State != RolloutRuns && r.State != RolloutPaused || faults*100 <= bound*r.Most {
		return r, fx, act.Errorf(act.Conflict, "nothing is wrong with the roll-out").WithRule("rollout.state").WithHint("rollout.show says how far it is")
	}
	r.State, r.Rule = RolloutReverted, ruleUnhealthy
	r.Evidence = fmt.Sprintf("%d of %d agents of version %d were stopped within %s, and %d percent may be", faults, bound, r.Version, r.Window, r.Most)
	if _, err := tx.One(qRebindFault, func(row *store.Row) error {
		r.Evidence = cutReason(r.Evidence+"; the last is ", l.Name(row.ID(0))+": "+row.Text(1))
		return nil
	}, r.Name, tx.Now()-r.Window.Microseconds()); err != nil {
		return r, fx, err
	}
	return l.turnRollout(tx, r, cutReason(r.Rule+": ", r.Evidence))
}

// RollOut goes on with the roll-outs: it takes back those whose agents are stopped, binds
// who is to be bound, and goes on to the next step. The server calls it on one node at a
// time; two at once do nothing twice.
func (l *Lifecycle) RollOut(ctx context.Context) error {
	var list []Rollout
	if err := l.db.View(ctx, func(v *store.View) error {
		list = nil
		return v.All(qRollouts, func(row *store.Row) error { list = append(list, scanRollout(row)); return nil })
	}); err != nil {
		return fmt.Errorf("lifecycle: look for roll-outs: %w", err)
	}
	for _, r := range list {
		do := l.rollOn
		if r.State == RolloutReverted {
			do = l.rollBack
		}
		if err := do(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lifecycle) rollBack(ctx context.Context, r Rollout) error {
	return l.eachPage(ctx, candidate{q: qRebindLeft, first: r.Name}.page, func(id act.ID) error {
		_, err := l.rebind.Do(ctx, act.SystemPrincipal(reaper), Rebinding{Agent: id, Name: r.Name, Back: true})
		return mended(err)
	})
}

func (l *Lifecycle) rollOn(ctx context.Context, r Rollout) error {
	if c := l.charters.Load().classes[r.class]; c == nil || c.Retired {
		return nil
	}
	system := act.SystemPrincipal(reaper)
	now := act.Micros(l.db.Clock()())
	var faults, bound, due int64
	var next []act.ID
	if err := l.db.View(ctx, func(v *store.View) (err error) {
		if faults, bound, err = unhealthy(v, r, now); err != nil || faults*100 > bound*r.Most {
			return err
		}
		if due, err = baked(v, r); err != nil {
			return err
		}
		if r.State == RolloutRuns {
			next, err = l.nextToBind(v, r, now)
		}
		return err
	}); err != nil {
		return err
	}
	if faults*100 > bound*r.Most {
		taken, err := l.revert.Do(ctx, system, NamedClass{Name: r.Name})
		if err == nil {
			l.log.WarnContext(ctx, "a roll-out is taken back", slog.String("class", r.Name), slog.Int64("version", r.Version), slog.String("why", taken.Evidence))
			return l.rollBack(ctx, taken)
		}
		return mended(err)
	}
	for _, id := range next {
		if _, err := l.rebind.Do(ctx, system, Rebinding{Agent: id, Name: r.Name}); mended(err) != nil {
			return err
		}
	}
	if len(next) > 0 || due > now || r.State != RolloutRuns {
		return nil
	}
	_, err := l.widen.Do(ctx, system, NamedClass{Name: r.Name})
	return mended(err)
}

// nextToBind chooses who is bound next: of those that can be, the first by a number that
// follows from the agent and the roll-out, as many as the step wants beside those that have
// the version. So the same agents come first on every node, and stay when it widens.
func (l *Lifecycle) nextToBind(v *store.View, r Rollout, now int64) (next []act.ID, err error) {
	l.rolled.mu.Lock()
	defer l.rolled.mu.Unlock()
	if was := l.rolled.rest[r.Name]; was.epoch == r.epoch && now < was.until {
		return nil, nil
	}
	want, have, err := l.progress(v, r)
	if err != nil {
		return nil, err
	}
	type place struct {
		agent act.ID
		order uint64
	}
	var first []place
	if room := int(min(want-have, rebindPage)); room > 0 {
		if err := l.eachOther(v, r, func(id act.ID) (bool, error) {
			at := place{id, spread(id ^ act.ID(r.n*1_000_003))}
			if len(first) == room && at.order > first[room-1].order {
				return true, nil
			}
			if why, _, err := l.pinned(v, id, r); err != nil || why != "" {
				return true, err
			}
			i, _ := slices.BinarySearchFunc(first, at, func(a, b place) int { return cmp.Compare(a.order, b.order) })
			if first = slices.Insert(first, i, at); len(first) > room {
				first = first[:room]
			}
			return true, nil
		}); err != nil {
			return nil, err
		}
	}
	if len(first) == 0 {
		if l.rolled.rest == nil {
			l.rolled.rest = make(map[string]rested)
		}
		l.rolled.rest[r.Name] = rested{r.epoch, now + rebindRest.Microseconds()} // one for each class
	}
	for _, at := range first {
		next = append(next, at.agent)
	}
	return next, nil
}

// versions are the ids of the versions of a class.
func (l *Lifecycle) versions(name string) (ids []act.ID) {
	for id, c := range l.charters.Load().classes {
		if c.Name == name {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// progress is how many agents have the version when the present step is done, and how many
// have it now.
func (l *Lifecycle) progress(v *store.View, r Rollout) (want, have int64, err error) {
	var all int64
	for _, id := range l.versions(r.Name) {
		if _, err := v.One(qClassAgents, func(row *store.Row) error {
			all += row.Int(0)
			if id == r.class {
				have = row.Int(0)
			}
			return nil
		}, id, int64(act.Killed), int64(act.Expired)); err != nil {
			return 0, 0, err
		}
	}
	want, err = stepSize(r.Steps[r.Step], all)
	return want, have, err
}

// eachOther calls do with every living agent of the other versions, until it says no.
func (l *Lifecycle) eachOther(v *store.View, r Rollout, do func(act.ID) (bool, error)) error {
	for _, version := range l.versions(r.Name) {
		if version == r.class {
			continue
		}
		for after := act.ID(0); ; {
			ids, err := candidate{q: qOfClass, first: version}.page(v, after)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if more, err := do(id); err != nil || !more {
					return err
				}
				after = id
			}
			if len(ids) < reapPage {
				break
			}
		}
	}
	return nil
}

// showRollout is a roll-out with how far it is.
func (l *Lifecycle) showRollout(v *store.View, name string) (r Rollout, err error) {
	if r, err = rollout(v, name); err != nil {
		return r, err
	}
	if r.Wanted, _, err = l.progress(v, r); err != nil {
		return r, err
	}
	if r.Bound, err = rebound(v, name); err != nil {
		return r, err
	}
	if r.Faults, _, err = unhealthy(v, r, act.Micros(l.db.Clock()())); err != nil || r.State == RolloutReverted {
		return r, err
	}
	looked := 0
	err = l.eachOther(v, r, func(id act.ID) (bool, error) {
		why, _, err := l.pinned(v, id, r)
		if why == "" && r.State == RolloutDone {
			why = "it was made of another version since"
		}
		if why != "" {
			s := Straggler{Agent: id, Name: l.Name(id), Why: why}
			if b := l.bondOf(id); b != nil && l.charters.Load().classes[b.class] != nil {
				s.Version = l.charters.Load().classes[b.class].Version
			}
			r.Stragglers = append(r.Stragglers, s)
		}
		looked++
		return len(r.Stragglers) < MaxStragglers && looked < maxClasses, err
	})
	return r, err
}
