package gate

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// Read describes an act that shows something.
type Read[In, Out any] struct {
	Info

	// Target gives the facts the whole read is decided by (the community of a
	// feed, say). Optional: without it the network itself is the target.
	Target func(ctx context.Context, v *store.View, p act.Principal, in In) (Resource, error)

	// Narrow makes of in what asks only for what p answers for. It is called where
	// policy does not let p read the whole, and lets it read that (Facts.Answered).
	// Optional.
	Narrow func(in In) In

	// Run reads. It may execute more than once.
	Run func(ctx context.Context, v *store.View, p act.Principal, in In) (Out, error)

	// Shown calls item with every piece of somebody else's content in out: its
	// reference and the facts that decide whether p may see it. An item for
	// which the answer is false must be taken out of the result that Shown
	// returns. Optional for reads that show no content.
	Shown func(p act.Principal, out Out, item func(act.Ref, Facts) bool) Out

	// Redact puts Redacted in the place of what the items say for which hidden is
	// true. Without it a policy that demands so denies the item, or the read. Optional.
	Redact func(out Out, hidden func(act.ID) bool) Out
}

// ReadAct is a registered read.
type ReadAct[In, Out any] struct {
	g *Gate
	r Read[In, Out]
}

// RegisterRead adds a read to the gate's registry.
func RegisterRead[In, Out any](g *Gate, r Read[In, Out]) *ReadAct[In, Out] {
	r.Write, r.Redacts = false, r.Redact != nil && r.Shown != nil
	g.register(r.Info)
	return &ReadAct[In, Out]{g: g, r: r}
}

// Do runs the read for p. When it returns without an error, the showing is on
// record and the bytes may leave.
func (a *ReadAct[In, Out]) Do(ctx context.Context, p act.Principal, in In) (out Out, err error) {
	return a.read(ctx, p, in, a.r.Info)
}

// Again reads the next part of a stream that Do began. It checks all that Do
// checks, standing and policy among it, but takes no quota: a caller's streams
// are bounded in number, and how often one is continued is not the caller's
// choice.
func (a *ReadAct[In, Out]) Again(ctx context.Context, p act.Principal, in In) (Out, error) {
	free := a.r.Info
	free.Quota = QuotaNone
	return a.read(ctx, p, in, free)
}

func (a *ReadAct[In, Out]) read(ctx context.Context, p act.Principal, in In, i Info) (out Out, err error) {
	began := a.g.clock()
	var ended *Ended // what the witness is told; nil without one
	if a.g.Witness != nil {
		ended = &Ended{}
	}
	err = a.g.redo(ctx, func() (err error) {
		out, err = a.once(ctx, p, in, i, ended)
		return err
	})
	if errors.Is(err, errMoved) {
		err = act.Errorf(act.Unavailable, "the page keeps changing").WithHint("retry").WithRetry(pollEvery)
	}
	if err != nil {
		var none Out
		out = none // nothing leaves with an error
	}
	a.g.finish(ctx, p, a.r.Info, began, err, ended)
	return out, err
}

// once is the life of a read.
func (a *ReadAct[In, Out]) once(ctx context.Context, p act.Principal, in In, i Info, ended *Ended) (out Out, err error) {
	g := a.g
	p, refund, err := g.admit(ctx, p, i, 0)
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			refund()
		}
	}()
	before := g.fence.number()
	var target Resource
	var chain []Facts
	var all bool // the decision about the whole is that nothing says anything
	var d Decision
	if err := g.db.View(ctx, func(v *store.View) error {
		if a.r.Target != nil {
			if target, err = a.r.Target(ctx, v, p, in); err != nil {
				return err
			}
			if target.Facts, err = g.placed(ctx, target.Facts); err != nil {
				return err
			}
			if chain, err = a.factsOfChain(ctx, v, p, in); err != nil {
				return err
			}
		}
		in := in
		if d, err = g.decide(p, a.r.Info, target.Facts, chain); err != nil {
			if in, d, err = a.narrowed(p, in, target.Facts, chain, err); err != nil {
				return err
			}
		}
		if g.withholds(p, target.Ref.ID) {
			return withheldError()
		}
		all = d.redacts()
		out, err = a.r.Run(ctx, v, p, in)
		return err
	}); err != nil {
		return out, err
	}
	var shown, hidden []act.Ref
	var met Meeting // with all that is seen
	if a.r.Shown != nil {
		mark, err := a.marker(ctx, p, &out)
		if err != nil {
			return out, err
		}
		see := g.seer(p, a.r.Info, all)
		out = a.r.Shown(p, out, func(ref act.Ref, f Facts) bool {
			if g.withholds(p, ref.ID) {
				return false
			}
			f = mark(ref, f)
			switch see(f) {
			case unseen:
				return false
			case redacted:
				hidden = append(hidden, ref)
				return true
			case seen:
			}
			if shown == nil {
				shown = make([]act.Ref, 0, usualPage)
			}
			met.add(ref, f)
			shown = append(shown, ref)
			return true
		})
	}
	if len(hidden) > 0 {
		out = a.r.Redact(out, func(id act.ID) bool {
			return slices.ContainsFunc(hidden, func(r act.Ref) bool { return r.ID == id })
		})
	}
	// What clings to the page clings to its reader before the bytes leave.
	if raised, err := g.raise(ctx, p, met); err != nil || raised {
		return out, cmp.Or(err, errMoved)
	}
	for _, x := range []Exposure{{Channel: a.r.Name, Items: shown}, {Channel: a.r.Name + redactedShown, Items: hidden}} {
		if len(x.Items) == 0 || g.bare {
			continue
		}
		x.Principal, x.Trace = p, act.TraceOf(ctx)
		if err := g.Tracer.Expose(ctx, x); err != nil {
			return out, err
		}
	}
	shown = append(shown, hidden...)
	// Between filter and commit something on the page, or the reader itself, may
	// have been fenced: then the page is not shown but made again.
	// So may the policies: then it is decided anew.
	if g.fence.movedSince(before, p.ID, shown) || !g.stillDecides(d) {
		return out, errMoved
	}
	if len(p.Chain) > 0 && g.chainMoved(before, p) {
		return out, errMoved
	}
	if ended != nil {
		*ended = Ended{Entry: Entry{
			Act: a.r.Name, At: act.Micros(g.clock()), Principal: p, Target: target.Ref, Outcome: Done, Decision: d, Count: 1,
			Trace: act.TraceOf(ctx), Caller: telemetry.CallerOf(ctx),
		}, Shown: shown}
	}
	return out, g.touch(p) // a page that took long must not outlive what this node knows
}

// marker returns a function that puts what is known of the items of a page into their
// facts. Where storage has to be asked it lists them, and takes nothing out that would
// have stayed.
func (a *ReadAct[In, Out]) marker(ctx context.Context, p act.Principal, out *Out) (func(act.Ref, Facts) Facts, error) {
	if a.g.Labels == nil || a.g.bare {
		return func(_ act.Ref, f Facts) Facts { return f }, nil
	}
	return a.g.Labels.Marker(ctx, func() (things []act.Ref) {
		*out = a.r.Shown(p, *out, func(ref act.Ref, _ Facts) bool { things = append(things, ref); return true })
		return things
	})
}

// narrowed is what p may read of what it has asked for, where policy has denied the
// whole: what it answers for, or nothing.
func (a *ReadAct[In, Out]) narrowed(p act.Principal, in In, f Facts, chain []Facts, denial error) (In, Decision, error) {
	if a.r.Narrow == nil || act.CodeOf(denial) != act.Denied {
		return in, Decision{}, denial
	}
	f.Answered = true
	d, err := a.g.decide(p, a.r.Info, f, chain)
	if err != nil {
		return in, d, denial
	}
	return a.r.Narrow(in), d, nil
}

// usualPage is how many items most pages have at most.
const usualPage = 25

// sight is how a reader sees an item.
type sight uint8

const (
	unseen sight = iota
	redacted
	seen
)

// seer returns a function that decides how p sees an item of a page. It is decide, but for
// what is the same for each.
func (g *Gate) seer(p act.Principal, i Info, redactAll bool) func(Facts) sight {
	var sitting Sitting
	if !g.bare {
		sitting = g.Decider.Sit(p, i.Name)
	}
	return func(f Facts) sight {
		var d Decision
		if !g.bare {
			if g.reaches(p, i, f) != nil {
				return unseen
			}
			if d = *sitting.Decide(f); g.allowed(p, i, f, nil, &d) != nil {
				return unseen
			}
		}
		if redactAll || d.redacts() {
			return redacted
		}
		return seen
	}
}
