package lifecycle

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Rollout is the last roll-out of a version of a class: its agents are bound to the
// version by and by, and all back when too many of them are stopped.
type Rollout struct {
	Name     string // of the class
	Version  int64  // that it leads to
	Base     int64  // the version that new agents are made of until it is done
	Steps    []string
	Step     int           // the place in Steps
	Bake     time.Duration // from the last agent of a step to the next step
	Window   time.Duration // in which faults count
	Most     int64         // percent of those bound that may be stopped within the window
	State    RolloutState
	Rule     string // by which the server has taken it back; "" else
	Evidence string
	Reason   string
	MadeBy   act.ID
	MadeAt   int64 // Unix microseconds
	StepAt   int64 // Unix microseconds

	// What rollout.show fills in.
	Wanted     int64       // agents that have the version when the step is done
	Bound      int64       // agents that were bound to it and have not ended
	Faults     int64       // of them, or of those that have ended, stopped within the window
	Stragglers []Straggler // who cannot be bound to it, or has not been when it is done; at most MaxStragglers

	class act.ID // the version's id
	n     int64
	epoch int64
}

// Straggler is an agent that stays what it is.
type Straggler struct {
	Agent   act.ID
	Name    string
	Version int64
	Why     string
}

// MaxStragglers bounds those that rollout.show lists.
const MaxStragglers = 100

// RolloutState says how far a roll-out is. Numbers are stored.
type RolloutState int64

// The states.
const (
	RolloutRuns     RolloutState = 1
	RolloutPaused   RolloutState = 2
	RolloutDone     RolloutState = 3
	RolloutReverted RolloutState = 4
)

// String returns the state's name as wires have it.
func (s RolloutState) String() string {
	if s < RolloutRuns || s > RolloutReverted {
		return "unknown"
	}
	return [...]string{"running", "paused", "done", "reverted"}[s-1]
}

// NewRollout begins a roll-out.
type NewRollout struct {
	Name    string
	Version int64         // the newest if 0
	Steps   []string      // "3" agents, "25%" of them; the last is "100%". DefaultSteps if empty
	Bake    time.Duration // DefaultBake if 0
	Window  time.Duration // Bake if 0
	Most    int64         // percent; 0 takes it back at the first fault
	Reason  string        // 1 to MaxReason characters; goes on record
}

// DefaultBake is how long a step is looked at unless said otherwise.
const DefaultBake = 10 * time.Minute

const (
	maxSteps = 20
	maxBake  = 30 * 24 * time.Hour
)

// DefaultSteps are a tenth, a half, all.
func DefaultSteps() []string { return []string{"10%", "50%", "100%"} }

const (
	rolloutColumns = `name, version, base, steps, step, bake, window_us, most, state, rule, evidence, reason, made_by, made_at, step_at, class, n, epoch`

	qRollout      store.Q = `SELECT ` + rolloutColumns + ` FROM rollout WHERE name = $1`
	qRolloutEpoch store.Q = `SELECT epoch FROM rollout WHERE class = $1`
	qRollouts     store.Q = `SELECT ` + rolloutColumns + ` FROM rollout WHERE state <> 3 ORDER BY name`
	qRolloutPut   store.Q = `INSERT INTO rollout (name, version, base, steps, step, bake, window_us, most, state, rule, evidence, reason, made_by, made_at, step_at, class, n, epoch, changed_at)
VALUES ($1, $2, $3, $4, 0, $5, $6, $7, 1, '', '', $8, $9, $10, $10, $11, 1, 1, $10)
ON CONFLICT (name) DO UPDATE SET version = $2, base = $3, steps = $4, step = 0, bake = $5, window_us = $6, most = $7, state = 1, rule = '', evidence = '',
reason = $8, made_by = $9, made_at = $10, step_at = $10, class = $11, n = rollout.n + 1, epoch = rollout.epoch + 1, changed_at = $10`
	qRolloutTurn store.Q = `UPDATE rollout SET state = $3, step = $4, step_at = $5, rule = $6, evidence = $7, reason = $8, epoch = epoch + 1, changed_at = $9 WHERE name = $1 AND epoch = $2`

	qRebindings   store.Q = `SELECT COUNT(*) FROM rebinding WHERE name = $1`
	qRebound      store.Q = `SELECT COUNT(*) FROM rebinding AS r JOIN agent AS a ON a.id = r.agent WHERE r.name = $1 AND a.state <> $2 AND a.state <> $3`
	qRebindFaults store.Q = `SELECT COUNT(*) FROM rebinding WHERE name = $1 AND fault <> '' AND fault_at >= $2`
	qRebindFault  store.Q = `SELECT agent, fault FROM rebinding WHERE name = $1 AND fault <> '' AND fault_at >= $2 ORDER BY fault_at DESC, agent LIMIT 1`
	qRebindLast   store.Q = `SELECT bound_at FROM rebinding WHERE name = $1 ORDER BY bound_at DESC, agent LIMIT 1`
	qRebindMark   store.Q = `UPDATE rebinding SET fault = $2, fault_at = $3 WHERE agent = $1 AND fault = ''`
	qRebindClear  store.Q = `UPDATE rebinding SET fault = '', fault_at = 0 WHERE agent = $1`
	qRebindForget store.Q = `DELETE FROM rebinding WHERE name = $1`
)

func scanRollout(r *store.Row) Rollout {
	return Rollout{
		Name: r.Text(0), Version: r.Int(1), Base: r.Int(2), Steps: strings.Split(r.Text(3), ","), Step: int(r.Int(4)),
		Bake: time.Duration(r.Int(5)) * time.Microsecond, Window: time.Duration(r.Int(6)) * time.Microsecond, Most: r.Int(7),
		State: RolloutState(r.Int(8)), Rule: r.Text(9), Evidence: r.Text(10), Reason: r.Text(11), MadeBy: r.ID(12), MadeAt: r.Int(13),
		StepAt: r.Int(14), class: r.ID(15), n: r.Int(16), epoch: r.Int(17),
	}
}

func rolloutOf(v *store.View, name string) (r Rollout, found bool, err error) {
	found, err = v.One(qRollout, func(row *store.Row) error { r = scanRollout(row); return nil }, name)
	return r, found, err
}

// rollout is rolloutOf; NotFound without one.
func rollout(v *store.View, name string) (Rollout, error) {
	r, found, err := rolloutOf(v, name)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no version of that class was rolled out").WithRule("rollout.unknown").WithHint("begin with rollout.start")
	}
	return r, err
}

func (r Rollout) resource() gate.Resource {
	return gate.Resource{
		Ref: act.Ref{ID: r.class, Version: r.epoch}, Facts: gate.Facts{Kind: act.KindClass},
		Guards: []gate.Guard{{Q: qRolloutEpoch, ID: r.class, Epoch: r.epoch}},
	}
}

func (l *Lifecycle) registerRollouts(g *gate.Gate) {
	replay := func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Rollout, error) {
		c, err := l.classBy(v, made.ID)
		if err != nil {
			return Rollout{}, err
		}
		return l.showRollout(v, c.Name)
	}
	l.StartRollout = gate.RegisterWrite(g, gate.Write[NewRollout, Rollout]{
		Info: gate.Info{Name: "rollout.start", Doc: "Bind the agents of a class to another version of it, by and by, and all back if too many of them are stopped.", On: act.KindClass, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in NewRollout) (gate.Resource, error) {
			if err := in.check(); err != nil {
				return gate.Resource{}, err
			}
			c, err := class(v, NamedClass{Name: in.Name, Version: in.Version})
			return c.resource(), err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in NewRollout) (Rollout, gate.Effects, error) {
			return l.startRollout(tx, p, in)
		},
		Replay: replay,
	})
	order := func(name, doc string, from []RolloutState, to RolloutState) *gate.WriteAct[ClassOrder, Rollout] {
		return gate.RegisterWrite(g, gate.Write[ClassOrder, Rollout]{
			Info: gate.Info{Name: name, Doc: doc, On: act.KindClass, Quota: gate.QuotaNone},
			Resolve: func(_ context.Context, v *store.View, _ act.Principal, in ClassOrder) (gate.Resource, error) {
				if _, err := checkReason(in.Reason); err != nil {
					return gate.Resource{}, err
				}
				r, err := rollout(v, in.Name)
				return r.resource(), err
			},
			Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in ClassOrder) (r Rollout, fx gate.Effects, err error) {
				if r, err = rollout(&tx.View, in.Name); err != nil {
					return r, fx, err
				}
				if r.State != to && !slices.Contains(from, r.State) {
					return r, fx, act.Errorf(act.Conflict, "the roll-out is %s", r.State).WithRule("rollout.state").WithHint("rollout.show says how far it is")
				}
				if r.Reason, err = checkReason(in.Reason); err != nil {
					return r, fx, err
				}
				r.State = to
				if to == RolloutRuns {
					r.StepAt = tx.Now() // what it was paused for is looked at again
				}
				return l.turnRollout(tx, r, r.Reason)
			},
			Replay: replay,
		})
	}
	l.PauseRollout = order("rollout.pause", "Bind no more agents by a roll-out for now.", []RolloutState{RolloutRuns}, RolloutPaused)
	l.ResumeRollout = order("rollout.resume", "Go on with a roll-out that was paused.", []RolloutState{RolloutPaused}, RolloutRuns)
	l.AbortRollout = order("rollout.abort", "Take a roll-out back: who was bound to the version is bound again to what they had.",
		[]RolloutState{RolloutRuns, RolloutPaused, RolloutDone}, RolloutReverted)
	l.ShowRollout = gate.RegisterRead(g, gate.Read[NamedClass, Rollout]{
		Info: gate.Info{Name: "rollout.show", Doc: "Show how far the last roll-out of a class is, and who cannot be bound by it.", On: act.KindClass, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, _ act.Principal, in NamedClass) (gate.Resource, error) {
			r, err := rollout(v, in.Name)
			return r.resource(), err
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in NamedClass) (Rollout, error) {
			return l.showRollout(v, in.Name)
		},
	})
	l.registerRebind(g)
}

// check reports what is wrong with what is asked for.
func (in *NewRollout) check() error {
	if _, err := checkReason(in.Reason); err != nil {
		return err
	}
	wrong := func(format string, args ...any) error {
		return act.Errorf(act.Invalid, format, args...).WithRule("rollout.form").
			WithHint(`say steps like ["1","10%","100%"], a time to look at each, and the percentage of agents that may be stopped`)
	}
	switch {
	case in.Bake < 0 || in.Bake > maxBake || in.Window < 0 || in.Window > maxBake:
		return wrong("bake and window are at most %s", maxBake)
	case in.Most < 0 || in.Most > 100:
		return wrong("the share that may be stopped is 0 to 100 percent")
	case len(in.Steps) > maxSteps:
		return wrong("there are %d steps; %d are allowed", len(in.Steps), maxSteps)
	case len(in.Steps) > 0 && in.Steps[len(in.Steps)-1] != "100%":
		return wrong(`the last step is "100%%"`)
	}
	for _, step := range in.Steps {
		if _, err := stepSize(step, 0); err != nil {
			return wrong("%.40q is no step", step)
		}
	}
	return nil
}

// stepSize is how many of all agents have the version after a step: at least one, where
// there is any.
func stepSize(step string, all int64) (int64, error) {
	digits, percent := strings.CutSuffix(step, "%")
	n, err := strconv.ParseInt(digits, 10, 32)
	switch {
	case err != nil:
		return 0, err
	case n < 1 || percent && n > 100:
		return 0, strconv.ErrRange
	case percent:
		return (all*n + 99) / 100, nil
	}
	return min(n, all), nil
}

func (l *Lifecycle) startRollout(tx *store.Tx, p act.Principal, in NewRollout) (r Rollout, fx gate.Effects, err error) {
	refused := func(rule, why, hint string) error {
		return act.Errorf(act.Conflict, "%s", why).WithRule(rule).WithHint(hint)
	}
	c, err := class(&tx.View, NamedClass{Name: in.Name, Version: in.Version})
	if err == nil {
		err = c.used()
	}
	if err != nil {
		return r, fx, err
	}
	last, _, err := rolloutOf(&tx.View, in.Name)
	if err != nil {
		return r, fx, err
	}
	left, err := rebound(&tx.View, in.Name)
	switch {
	case err != nil:
		return r, fx, err
	case last.State == RolloutRuns || last.State == RolloutPaused:
		return r, fx, refused("rollout.state", "a roll-out of the class is under way", "wait until it is done, or abort it")
	case last.State == RolloutReverted && left > 0:
		return r, fx, refused("rollout.state", "the last roll-out of the class is being taken back", "wait until rollout.show says that nobody is bound by it")
	}
	r = Rollout{Name: in.Name, Version: c.Version, Base: l.baseOf(c), Steps: in.Steps, Bake: in.Bake, Window: in.Window, Most: in.Most, class: c.ID}
	if r.Base == 0 {
		return r, fx, refused("rollout.version", "the class has no other version", "make one with class.put; agents of this one have it already")
	}
	if len(r.Steps) == 0 {
		r.Steps = DefaultSteps()
	}
	if r.Bake == 0 {
		r.Bake = DefaultBake
	}
	if r.Window == 0 {
		r.Window = r.Bake
	}
	if r.Reason, err = checkReason(in.Reason); err != nil {
		return r, fx, err
	}
	if err := tx.Batch(qRebindForget, r.Name); err != nil {
		return r, fx, err
	}
	if _, err := tx.Exec(qRolloutPut, r.Name, r.Version, r.Base, strings.Join(r.Steps, ","), r.Bake.Microseconds(), r.Window.Microseconds(), r.Most,
		r.Reason, p.ID, tx.Now(), r.class); err != nil {
		return r, fx, err
	}
	if r, err = l.showRollout(&tx.View, r.Name); err != nil {
		return r, fx, err
	}
	return r, gate.Effects{Out: act.Ref{ID: r.class, Version: r.epoch}, Reason: r.Reason}, nil
}

// baseOf is the version before another one, else the newest of the others, 0 without any.
func (l *Lifecycle) baseOf(c Class) (base int64) {
	var other int64
	for _, one := range l.charters.Load().classes {
		if one.Name != c.Name || one.Version == c.Version {
			continue
		}
		other = max(other, one.Version)
		if one.Version < c.Version {
			base = max(base, one.Version)
		}
	}
	if base == 0 {
		return other
	}
	return base
}

// turnRollout stores what has become of a roll-out.
func (l *Lifecycle) turnRollout(tx *store.Tx, r Rollout, reason string) (Rollout, gate.Effects, error) {
	changed, err := tx.Exec(qRolloutTurn, r.Name, r.epoch, int64(r.State), int64(r.Step), r.StepAt, r.Rule, r.Evidence, r.Reason, tx.Now())
	if err == nil && changed == 0 {
		err = gate.Moved()
	}
	if err == nil {
		r, err = l.showRollout(&tx.View, r.Name)
	}
	return r, gate.Effects{Out: act.Ref{ID: r.class, Version: r.epoch}, Reason: reason}, err
}

// ordered has what rules have found about an agent, and the roll-out that has bound it, know
// of an order. It takes the place of what a rule has done; who is stopped counts as a fault
// of the roll-out until they are let go on.
func ordered(tx *store.Tx, a Agent, reason string) error {
	if a.class == 0 {
		return nil
	}
	if err := tx.Batch(qNoticeLift, a.ID); err != nil {
		return err
	}
	if a.Standing == act.Active {
		return tx.Batch(qRebindClear, a.ID)
	}
	return tx.Batch(qRebindMark, a.ID, reason, tx.Now())
}

// rebound counts who was bound by the last roll-out of a class and has not ended.
func rebound(v *store.View, name string) (n int64, err error) {
	_, err = v.One(qRebound, func(r *store.Row) error { n = r.Int(0); return nil }, name, int64(act.Killed), int64(act.Expired))
	return n, err
}

// inUse is the version of a class that new agents are made of where none is named: the
// newest, but not one that is being rolled out or was taken back.
func inUse(v *store.View, name string) (c Class, err error) {
	if c, err = class(v, NamedClass{Name: name}); err != nil {
		return c, err
	}
	r, found, err := rolloutOf(v, name)
	if err != nil || !found {
		return c, err
	}
	if r.State == RolloutRuns || r.State == RolloutPaused || r.State == RolloutReverted && r.Version == c.Version {
		return class(v, NamedClass{Name: name, Version: r.Base})
	}
	return c, nil
}
