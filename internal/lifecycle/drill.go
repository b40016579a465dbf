package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A control that is not exercised is assumed to be broken (T67). A drill makes an agent of
// the network's own, a canary, has it act through the gate, and tries on it whether what
// stops agents stops them. It ends with the canary's kill.

// Drill is what came of a control the last time that it was tried.
type Drill struct {
	Control string        // DrillDeny, DrillHalt or DrillKill
	Fault   string        // why it failed; "" when it held
	Acts    int64         // of the canary before it was stopped
	Stop    time.Duration // from the order to the canary's last act; 0 for a denial
	Ack     time.Duration // from the order to its answer
	At      int64         // Unix microseconds
}

// The controls.
const (
	DrillDeny = "default-deny" // what no policy permits is refused
	DrillHalt = "halt"         // a scope that is paused does nothing, and goes on when it is resumed
	DrillKill = "kill"
)

const (
	driller     = "drill" // the part of the server that does it, and the owner of its canaries
	drillWarm   = 8       // acts of a canary before it is stopped
	drillTries  = 4       // acts of each of its loops after the answer
	drillLimit  = 30 * time.Second
	drillReason = "a drill: the controls are tried on an agent of the network's own"

	qDrillPut store.Q = `INSERT INTO drill (control, fault, acts, stop_us, ack_us, at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (control) DO UPDATE SET fault = $2, acts = $3, stop_us = $4, ack_us = $5, at = $6`
	qDrills store.Q = `SELECT control, fault, acts, stop_us, ack_us, at FROM drill ORDER BY control`
)

func (l *Lifecycle) registerDrill(g *gate.Gate) {
	onNetwork := func(context.Context, *store.View, act.Principal, Drill) (gate.Resource, error) {
		return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
	}
	l.beginDrill = gate.RegisterWrite(g, gate.Write[struct{}, Member]{
		Info: gate.Info{Name: "drill.begin", Doc: "Make an agent of the network's own, on which it is tried whether agents can be stopped.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, struct{}) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: func(ctx context.Context, tx *store.Tx, _ act.Principal, _ struct{}) (Member, gate.Effects, error) {
			return l.canary(ctx, tx)
		},
		Apply: func(_ act.Principal, out Member) { l.agents.put(out.Agent, out.entry) },
	})
	l.recordDrill = gate.RegisterWrite(g, gate.Write[Drill, struct{}]{
		Info:    gate.Info{Name: "drill.record", Doc: "Put down how a control held that was tried, and how long it took.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: onNetwork,
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Drill) (struct{}, gate.Effects, error) {
			return struct{}{}, gate.Effects{Reason: in.text()}, tx.Batch(qDrillPut, in.Control, in.Fault, in.Acts, in.Stop.Microseconds(), in.Ack.Microseconds(), tx.Now())
		},
	})
}

// text is a drill in words, for the record.
func (d Drill) text() string {
	if d.Fault != "" {
		return cutReason(d.Control+" FAILED: ", d.Fault)
	}
	return fmt.Sprintf("%s held: after %d acts, stopped in %s, answered in %s", d.Control, d.Acts, d.Stop.Round(time.Microsecond), d.Ack.Round(time.Microsecond))
}

// canary makes the agent of a drill. It has no key, so nobody but the drill can be it.
func (l *Lifecycle) canary(ctx context.Context, tx *store.Tx) (out Member, fx gate.Effects, err error) {
	id, err := tx.Mint(act.KindAgent)
	if err != nil {
		return out, fx, err
	}
	e := entry{name: "canary-" + strconv.FormatInt(int64(id), 36), epoch: 1, state: act.Active}
	if e.owner, err = l.ids.EnsureOwner(tx, driller); err != nil {
		return out, fx, err
	}
	if err := l.closed(tx, e.owner); err != nil {
		return out, fx, err
	}
	if err := l.seatNetwork(tx, id); err != nil {
		return out, fx, err
	}
	if err := l.seatOwner(tx, e.owner); err != nil {
		return out, fx, err
	}
	if err := l.add(tx, id, e, 0, 0, tx.Now()); err != nil {
		return out, fx, err
	}
	if err := l.cfg.Born(ctx, tx, id, e.name, "A canary of the network's own drills; it is ended at once."); err != nil {
		return out, fx, err
	}
	tx.Fence(act.KindAgent, id)
	return Member{Agent: id, Name: e.name, Fresh: true, entry: e}, gate.Effects{Out: act.Ref{ID: id, Version: 1}}, nil
}

// Drill tries every control once and puts down what came of it. It returns nothing where
// the network is stopped, so that no canary could act. An error means that a drill could
// not be done, which is no better than one that failed.
func (l *Lifecycle) Drill(ctx context.Context) (list []Drill, err error) {
	ctx, cancel := context.WithTimeout(ctx, drillLimit)
	defer cancel()
	system := act.SystemPrincipal(driller)
	if state := l.halts.Load().all; state != 0 {
		return nil, nil
	}
	made, err := l.beginDrill.Do(ctx, system, struct{}{})
	if err != nil {
		return nil, fmt.Errorf("lifecycle: make a canary: %w", err)
	}
	p := act.Principal{Kind: act.Agent, ID: made.Agent, Name: made.Name}
	line := ScopeOrder{On: ScopeName{Kind: ScopeLineage.String(), Agent: p.ID}, Reason: drillReason}
	order := Order{Agent: p.ID, Reason: drillReason}

	deny := Drill{Control: DrillDeny}
	if _, err := l.ListKills.Do(ctx, p, KillQuery{Limit: 1}); act.CodeOf(err) != act.Denied { // nothing is lost if it is let
		deny.Fault = "an agent asked for what no policy lets it have, and was not refused"
	}
	halt := l.tryStop(ctx, DrillHalt, p, func() error { _, err := l.PauseScope.Do(ctx, system, line); return err })
	if _, err := l.ResumeScope.Do(ctx, system, line); err != nil && halt.Fault == "" {
		halt.Fault = "the halt cannot be lifted: " + act.AsError(err).Message
	}
	if err := l.cfg.Canary(ctx, p, true); err != nil && halt.Fault == "" {
		halt.Fault = "it does not go on when the halt is lifted: " + act.AsError(err).Message
	}
	kill := l.tryStop(ctx, DrillKill, p, func() error { _, err := l.Kill.Do(ctx, system, order); return err })
	list = []Drill{deny, halt, kill}
	for i := range list {
		list[i].At = act.Micros(l.db.Clock()())
		if list[i].Fault != "" {
			l.log.ErrorContext(ctx, "a drill has failed: a control does not hold", slog.String("control", list[i].Control), slog.String("fault", list[i].Fault))
		}
		if _, err := l.recordDrill.Do(ctx, system, list[i]); err != nil {
			return list, fmt.Errorf("lifecycle: put a drill down: %w", err)
		}
	}
	l.drills.Store(&list)
	return list, nil
}

// tryStop has a canary read and write in loops, gives an order, and looks how long it goes
// on and whether it does anything after the answer.
func (l *Lifecycle) tryStop(ctx context.Context, control string, p act.Principal, order func() error) Drill {
	d := Drill{Control: control}
	var acts, late, last atomic.Int64
	var other atomic.Pointer[act.Error]
	var acked, over atomic.Bool
	began := time.Now() //arch:allow how long a stop takes is real time
	var loops sync.WaitGroup
	warm := make(chan struct{})
	for _, write := range []bool{false, true} {
		loops.Go(func() {
			for after := 0; after < drillTries && !over.Load() && ctx.Err() == nil; {
				answered := acked.Load()
				err := l.cfg.Canary(ctx, p, write)
				if err == nil {
					last.Store(int64(time.Since(began)))
					if acts.Add(1) == drillWarm {
						close(warm)
					}
				}
				if !answered {
					continue
				}
				after++
				switch {
				case err == nil:
					late.Add(1)
				case !strings.HasPrefix(act.AsError(err).Rule, "standing."):
					other.Store(act.AsError(err)) // refused, and not because it was stopped
				}
			}
		})
	}
	select {
	case <-warm:
	case <-ctx.Done():
		over.Store(true)
		loops.Wait()
		d.Fault = "the canary could not act in time"
		return d
	}
	start := time.Since(began)
	err := order()
	d.Ack = time.Since(began) - start
	acked.Store(true)
	over.Store(err != nil)
	loops.Wait()
	d.Acts, d.Stop = acts.Load(), max(0, time.Duration(last.Load())-start)
	switch {
	case err != nil:
		d.Fault = "the order was refused: " + act.AsError(err).Message
	case late.Load() > 0:
		d.Fault = fmt.Sprintf("%d acts after the order was answered", late.Load())
	case ctx.Err() != nil:
		d.Fault = "it took too long"
	case other.Load() != nil:
		d.Fault = "what the canary did after the answer failed for another reason: " + other.Load().Message
	}
	return d
}

// DrillDue does a drill when the last one, or the start of this node, is so long ago. The
// server calls it now and then, on one node at a time.
func (l *Lifecycle) DrillDue(ctx context.Context, every time.Duration, started time.Time) error {
	list, err := ReadDrills(ctx, l.db)
	if err != nil {
		return err
	}
	l.drills.Store(&list)
	last := act.Micros(started)
	for _, d := range list {
		last = max(last, d.At)
	}
	if act.Micros(l.db.Clock()())-last < every.Microseconds() {
		return nil
	}
	list, err = l.Drill(ctx)
	for _, d := range list {
		if d.Fault != "" {
			err = errors.Join(err, errors.New(d.text()))
		}
	}
	return err
}

// Drills returns what this node knows of the last drills, for metrics.
func (l *Lifecycle) Drills() []Drill {
	if list := l.drills.Load(); list != nil {
		return *list
	}
	return nil
}

// ReadDrills reads the last drill of each control, for who looks at a network's database.
func ReadDrills(ctx context.Context, db *store.DB) (list []Drill, err error) {
	err = db.View(ctx, func(v *store.View) error { list, err = DrillsIn(v); return err })
	return list, err
}

// DrillsIn reads the last drill of each control.
func DrillsIn(v *store.View) (list []Drill, err error) {
	err = v.All(qDrills, func(r *store.Row) error {
		list = append(list, Drill{
			Control: r.Text(0), Fault: r.Text(1), Acts: r.Int(2), Stop: time.Duration(r.Int(3)) * time.Microsecond,
			Ack: time.Duration(r.Int(4)) * time.Microsecond, At: r.Int(5),
		})
		return nil
	})
	return list, err
}
