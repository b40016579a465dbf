package gate

import (
	"context"
	"errors"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// Step is one act of a series; see WriteAct.Step and Gate.Series.
type Step interface {
	// ready looks at everything that is looked at outside the transaction.
	ready(ctx context.Context, v *store.View) error
	// run does the act and puts it on record, with all that it puts off.
	run(ctx context.Context, tx *store.Tx) error
	// apply brings memory up to date after the commit.
	apply()
	// end counts the act and tells its caller, or gives back what it has taken.
	end(ctx context.Context, err error)
}

// Step returns the act as p asks for it, to be done in a series. then is given
// what comes of it when the series is committed; nil if nobody asks.
func (a *WriteAct[In, Out]) Step(p act.Principal, in In, then func(Out)) Step {
	return &step[In, Out]{a: a, as: p, in: in, then: then, refund: noRefund, giveBack: noRefund}
}

// Series does acts one after the other in one transaction: either all of them are
// stored or none. Each is an act like any other, with a standing, a quota, a
// decision, a leaf, an event and edges of its own, and at its own time: turn is
// called with a step's number when it is done, and the clock is read after that.
//
// What is looked at outside the transaction is looked at for all steps before the
// first: a step cannot be aimed at what another step of the series makes, nor done
// by an agent that another one registers. What policy wants held is refused.
//
// It is for those who have very much to do and wait for none of it by itself. A
// series keeps SQLite's writer to itself, so it should be short: hundreds of acts.
func (g *Gate) Series(ctx context.Context, turn func(i int), steps ...Step) (err error) {
	if len(steps) == 0 {
		return nil
	}
	blamed := -1 // the step that the error is about; none if it is about all
	err = g.redo(ctx, func() (err error) {
		if blamed, err = g.series(ctx, turn, steps); errors.Is(err, errMoved) {
			for _, s := range steps {
				s.end(ctx, errMoved)
			}
		}
		return err
	})
	if errors.Is(err, errMoved) {
		err = act.Errorf(act.Conflict, "what a series is aimed at keeps changing").WithHint("read it again and retry")
	}
	for i, s := range steps {
		if err != nil && blamed >= 0 && i != blamed {
			s.end(ctx, errMoved) // nothing is wrong with it; it is only not done
			continue
		}
		s.end(ctx, err)
	}
	return err
}

func (g *Gate) series(ctx context.Context, turn func(int), steps []Step) (blamed int, err error) {
	blamed = -1
	if err := g.db.View(ctx, func(v *store.View) error {
		for i, s := range steps {
			if err := s.ready(ctx, v); err != nil {
				blamed = i
				return err
			}
		}
		return nil
	}); err != nil {
		return blamed, err
	}
	did, err := g.db.WriteFenced(ctx, func(tx *store.Tx) error {
		for i, s := range steps {
			blamed = i
			turn(i)
			if _, err := tx.Turn(); err != nil {
				return err
			}
			if err := s.run(ctx, tx); err != nil {
				return err
			}
		}
		blamed = -1
		return nil
	})
	if err != nil {
		if act.CodeOf(err) == act.Unavailable {
			g.doubt() // it may be stored all the same
			blamed = -1
		}
		return blamed, err
	}
	for _, s := range steps {
		s.apply()
	}
	if did.Fence > 0 {
		if err := g.fence.settle(ctx, did.Fence); err != nil {
			return -1, err
		}
	}
	g.pulse.beat()
	return -1, nil
}

// step is an act with its types.
type step[In, Out any] struct {
	a    *WriteAct[In, Out]
	as   act.Principal
	in   In
	then func(Out)

	began            time.Time
	p                act.Principal // as, with its present epoch
	target           Resource
	d                Decision
	out              Out
	touched          []act.ID
	ended            *Ended // what the witness is told; nil without one
	refund, giveBack func()
}

func (s *step[In, Out]) ready(ctx context.Context, v *store.View) (err error) {
	g, w := s.a.g, &s.a.w
	s.began = g.clock()
	p, refund, err := g.admit(ctx, s.as, w.Info, 0)
	if err != nil {
		return err
	}
	s.p, s.refund = p, refund
	if w.Resolve != nil {
		if s.target, err = w.Resolve(ctx, v, s.p, s.in); err != nil {
			return err
		}
	}
	chain, err := s.a.factsOfChain(ctx, v, s.p, s.in)
	if err != nil {
		return err
	}
	if s.d, err = g.decide(s.p, w.Info, s.target.Facts, chain); err != nil {
		return err
	}
	if o, waits := s.d.demand(""); waits {
		return unheld(w.Info, &s.d, o)
	}
	if w.Take != nil {
		giveBack, err := w.Take(s.p, s.in, s.target)
		if err != nil {
			return err
		}
		s.giveBack = giveBack
	}
	return nil
}

func (s *step[In, Out]) run(ctx context.Context, tx *store.Tx) (err error) {
	g := s.a.g
	if err := g.recheck(tx, s.p, s.target); err != nil {
		return err
	}
	if err := g.charge(tx, s.p); err != nil {
		return err
	}
	var fx Effects
	do := s.in
	if by, demanded := s.d.attenuation(); demanded {
		do = s.a.w.Attenuate(do, by)
	}
	if s.out, fx, err = s.a.w.Run(ctx, tx, s.p, do); err != nil {
		return err
	}
	e := Entry{
		Act: s.a.w.Name, At: tx.Now(), Principal: s.p, Target: s.target.Ref, Out: fx.Out,
		Outcome: Done, Decision: s.d, In: fx.In, Reason: fx.Reason, Count: 1,
		Trace: act.TraceOf(ctx), Caller: telemetry.CallerOf(ctx),
	}
	if g.Witness != nil {
		s.ended = &Ended{Entry: e, Edges: fx.Edges, Write: true}
	}
	if err := g.record(tx, e, fx); err != nil {
		return err
	}
	if err := g.notify(tx, e); err != nil {
		return err
	}
	s.touched, err = tx.Turn() // so that the blame for what it has put off is its own
	return err
}

func (s *step[In, Out]) apply() {
	s.a.g.spread(store.Touched{Act: s.a.w.Name, Actor: s.p.ID, IDs: s.touched})
	if s.a.w.Apply != nil {
		s.a.w.Apply(s.p, s.out)
	}
}

func (s *step[In, Out]) end(ctx context.Context, err error) {
	if err != nil {
		s.refund()
		s.giveBack()
		s.refund, s.giveBack = noRefund, noRefund
	}
	if errors.Is(err, errMoved) {
		return
	}
	s.a.g.finish(ctx, s.as, s.a.w.Info, s.began, err, s.ended)
	if err == nil && s.then != nil {
		s.then(s.out)
	}
}
