package gate

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// Meter counts what the gate does (package telemetry).
type Meter interface {
	ActDone(act, outcome string, took time.Duration)
	Denied(act, rule string)
}

// Ports are the domains behind the gate. The first five are required.
type Ports struct {
	Standings Standings
	Decider   Decider
	Recorder  Recorder
	Tracer    Tracer
	Meter     Meter
	Holds     Holds // nil refuses what policy wants held

	Credentials Credentials // nil takes every credential for good, where nobody has any
	Bounds      Bounds      // nil bounds nobody
	Labels      Labels      // nil labels nothing
	Witness     Witness     // nil tells nobody, and costs nothing
}

// Config tunes a gate.
type Config struct {
	Limits    Limits        // which quota profile is in force; LimitsOpen if ""
	Rates     []string      // what differs from the profile: "post=1/10m", see CheckRates
	NewFor    time.Duration // how long an agent is held to the rates of new ones; DefaultNewFor if 0
	Heartbeat time.Duration // how often agents are asked to look in; DefaultHeartbeat if 0
	Log       *slog.Logger
	Held      func() error // says why this node may serve nobody, nil while it may; nil asks nobody

	// Bare switches decision, leaf and edges off, for the ungoverned side of
	// `reef bench`. Config.Check of the server refuses it.
	Bare bool
}

// Gate is the one place every act passes.
type Gate struct {
	Ports
	db        *store.DB
	bus       *bus.Bus
	clock     act.Clock
	log       *slog.Logger
	bare      bool
	heartbeat time.Duration
	held      func() error
	acts      map[string]Info    // written only before Start
	kept      map[string]keptAct // the writes among them; written only before Start
	quota     *quotas
	fence     *fences
	denied    *denials
	pulse     *pulse
	doubts    []func()              // written only before Start
	touched   []func(store.Touched) // written only before Start
	bar       bar
	withheld  atomic.Pointer[map[act.ID]struct{}] // nil while nothing is
}

// New returns a gate over a database and a bus. Domains register their acts on
// it; then Plug gives it its ports and Start begins its background work. Rates
// that CheckRates refuses are a programmer's error and panic.
func New(db *store.DB, b *bus.Bus, c Config) *Gate {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{db: db, bus: b, held: c.Held, clock: db.Clock(), log: c.Log, bare: c.Bare, acts: make(map[string]Info), kept: make(map[string]keptAct), heartbeat: cmp.Or(c.Heartbeat, DefaultHeartbeat)}
	var err error
	if g.quota, err = newQuotas(c, g.clock); err != nil {
		panic(err)
	}
	g.fence = newFences(db, b, c.Log)
	g.denied = newDenials(g)
	g.pulse = newPulse(b)
	return g
}

// Plug gives the gate its ports.
func (g *Gate) Plug(p Ports) { g.Ports = p }

// Start has the domains load their memory, in the given order, and begins the
// background work; what is fenced while they load is applied after. Close ends
// the work when the denials that wait have been recorded.
func (g *Gate) Start(ctx context.Context, loads ...func(context.Context) error) error {
	if err := g.fence.start(ctx, loads); err != nil {
		return err
	}
	g.denied.start()
	g.pulse.start()
	return nil
}

// How long housekeeping leaves things.
const (
	KeepKeys   = 24 * time.Hour // idempotency keys are good for a day
	KeepFences = 24 * time.Hour // far longer than a node can be silent and live
)

// Housekeep drops idempotency keys and fences that nobody needs any more. The
// server calls it now and then.
func (g *Gate) Housekeep(ctx context.Context) error {
	if err := g.ForgetKeys(ctx, act.Micros(g.clock().Add(-KeepKeys))); err != nil {
		return err
	}
	if err := g.db.MarkFenced(ctx, g.fence.number()); err != nil {
		return err
	}
	return g.db.ForgetFences(ctx, act.Micros(g.clock().Add(-KeepFences)))
}

// Flush puts every denial given so far on record.
func (g *Gate) Flush() { g.denied.store(true) }

// Close stops the background work.
func (g *Gate) Close() {
	g.denied.close()
	g.pulse.close()
	g.fence.close()
}

// Write describes an act that changes something.
type Write[In, Out any] struct {
	Info

	// Resolve finds what the act is aimed at and the facts that policy decides
	// by. It runs before the decision, outside the transaction.
	Resolve func(ctx context.Context, v *store.View, p act.Principal, in In) (Resource, error)

	// Shares says that Run may share its transaction with other acts: it relies on
	// no lock that an earlier statement of its own took, and makes no fence. See
	// store.DB.Shared.
	Shares bool

	// Take counts the act against a quota of the domain's own. It is called when
	// policy allows the act, before its transaction; giveBack undoes it when
	// nothing new comes of the act. Optional.
	Take func(p act.Principal, in In, target Resource) (giveBack func(), err error)

	// After says that nothing which was decided before the act's fence was in force may
	// be committed after the act is acknowledged: its answer waits for every write that
	// is under way then.
	After bool

	// Run does the act in its transaction. It may execute more than once and
	// must change nothing but the transaction.
	Run func(ctx context.Context, tx *store.Tx, p act.Principal, in In) (Out, Effects, error)

	// Attenuate makes what in asks for smaller, as the policy demands. Without it a
	// policy that demands so denies the act. Optional.
	Attenuate func(in In, by Attenuation) In

	// Told lists what others have made that an answer holds, the first one or one that is
	// rendered again. Who gets it has been shown that, as by a read. Optional.
	Told func(p act.Principal, out Out) []Told

	// Replay renders again what an earlier Run with the same idempotency key
	// made. Acts without it refuse a used key as a conflict.
	Replay func(ctx context.Context, v *store.View, p act.Principal, made act.Ref) (Out, error)

	// Apply brings memory projections up to date after the commit. Optional.
	Apply func(p act.Principal, out Out)
}

// Resource is what an act is aimed at.
type Resource struct {
	Ref    act.Ref
	Facts  Facts
	Guards []Guard

	// Demands are what the domain asks for beside the policy, whoever acts: a class says
	// how many people approve its instances.
	Demands []Obligation
}

// Guard re-checks inside the transaction that a row is as Resolve saw it: Q is
// "SELECT epoch FROM t WHERE id = $1". When the epoch has moved the act starts
// again from Resolve.
type Guard struct {
	Q     store.Q
	ID    act.ID
	Epoch int64
}

// Effects are what a Run did, as values.
type Effects struct {
	Out    act.Ref  // what it made or changed
	Named  bool     // it only names Out: what that says is as it was, and not the actor's
	Edges  []Edge   // where that came from, explicitly
	In     [32]byte // salted hash of the content it took in; zero without content
	Reason string   // an operator's stated reason
}

// OnRecord is an operator's reason as Effects have it, with what the act was about before it.
func OnRecord(about, reason string) string {
	const longest = 500 // characters
	text := []rune(about + ": " + strings.TrimSpace(reason))
	return string(text[:min(len(text), longest)])
}

// Told is a thing that others have made and that the answer of a write holds.
type Told struct {
	Ref   act.Ref
	Facts Facts
}

// Key makes a write idempotent: the same Name by the same principal with the
// same Hash gives the first answer again; with another Hash it is refused.
type Key struct {
	Name string
	Hash [32]byte

	// Context is what the caller says went into what it does: things that it was shown.
	Context []act.ID
}

// MaxContext bounds how many things a caller can say to have gone into one act.
const MaxContext = 512

// WriteAct is a registered write.
type WriteAct[In, Out any] struct {
	g *Gate
	w Write[In, Out]
}

// RegisterWrite adds a write to the gate's registry.
func RegisterWrite[In, Out any](g *Gate, w Write[In, Out]) *WriteAct[In, Out] {
	w.Info.Write, w.Attenuates = true, w.Attenuate != nil
	g.register(w.Info)
	a := &WriteAct[In, Out]{g: g, w: w}
	g.kept[w.Name] = a
	return a
}

// errMoved says that something moved between resolve and transaction, so that
// the act must start again.
var errMoved = errors.New("moved")

const (
	maxRedo   = 8  // tries while what an act is aimed at moves
	maxBehind = 64 // tries that met what this node had not applied yet

	maxLacking = 256 // tries that lacked something which was then brought
)

// lack is what an act's transaction needs and cannot bring about itself.
type lack struct {
	mend func(context.Context) error
}

func (*lack) Error() string { return "something has to be brought first" }

// Lack is returned within an act's transaction that lacks something: it is undone, mend
// brings what is missing, outside, and the act starts again. An error of mend is the act's.
func Lack(mend func(context.Context) error) error { return &lack{mend} }

// redo does an act until nothing has moved under it.
func (g *Gate) redo(ctx context.Context, once func() error) (err error) {
	for moved, behind, lacking := 0, 0, 0; moved < maxRedo && behind < maxBehind && lacking < maxLacking; {
		applied := g.fence.number()
		err = once()
		if l, ok := errors.AsType[*lack](err); ok {
			if err = l.mend(ctx); err == nil {
				err = errMoved // what comes of it when this was the last try
				lacking++
				continue
			}
		}
		if !errors.Is(err, errMoved) {
			return err
		}
		if g.fence.catchUp(ctx, applied) {
			behind++
		} else {
			moved++
		}
	}
	return err
}

// Do runs the act for p.
func (a *WriteAct[In, Out]) Do(ctx context.Context, p act.Principal, in In) (Out, error) {
	return a.DoOnce(ctx, p, Key{}, in)
}

// DoOnce is Do under an idempotency key; an empty key name is no key.
func (a *WriteAct[In, Out]) DoOnce(ctx context.Context, p act.Principal, key Key, in In) (Out, error) {
	if p.ID == 0 {
		key = Key{} // strangers have no name under which a key could be theirs
	}
	return a.do(ctx, p, &passage{key: key}, in)
}

// DoSpending is Do for a call that was ordered by a document which is good once. spend
// uses the document up, in the transaction of the act or, if the act has to wait for a
// human, in the one that keeps it: an act that is refused or fails uses up nothing. It
// may run more than once.
func (a *WriteAct[In, Out]) DoSpending(ctx context.Context, p act.Principal, in In, spend func(*store.Tx) error) (Out, error) {
	return a.do(ctx, p, &passage{spend: spend}, in)
}

func (a *WriteAct[In, Out]) do(ctx context.Context, p act.Principal, pass *passage, in In) (out Out, err error) {
	began := a.g.clock()
	err = a.g.redo(ctx, func() (err error) {
		out, err = a.once(ctx, p, pass, in)
		return err
	})
	if errors.Is(err, errMoved) {
		err = act.Errorf(act.Conflict, "what the act is aimed at keeps changing").WithHint("read it again and retry")
	}
	a.g.finish(ctx, p, a.w.Info, began, err, pass.ended)
	return out, err
}

// once is the life of a write.
func (a *WriteAct[In, Out]) once(ctx context.Context, p act.Principal, pass *passage, in In) (out Out, err error) {
	g, key := a.g, pass.key
	var replayed bool
	p, refund, err := g.admit(ctx, p, a.w.Info, pass.via)
	if err != nil {
		return out, err
	}
	p.Approval = pass.via
	kept := false // a call that waits has used its quota
	defer func() {
		if err != nil && !kept {
			refund()
		}
	}()
	var target Resource
	var chain []Facts
	if a.w.Resolve != nil {
		if err := g.db.View(ctx, func(v *store.View) error {
			if target, err = a.w.Resolve(ctx, v, p, in); err != nil || len(p.Chain) == 0 {
				return err
			}
			chain, err = a.factsOfChain(ctx, v, p, in)
			return err
		}); err != nil {
			return out, err
		}
	}
	if err := g.marked(ctx, &target); err != nil {
		return out, err
	}
	d, err := g.decide(p, a.w.Info, target.Facts, chain)
	if err == nil && g.withholds(p, target.Ref.ID) {
		err = withheldError()
	}
	if err != nil {
		return out, err
	}
	if pass.stated, err = g.stated(ctx, p, pass.key.Context); err != nil {
		return out, err
	}
	d.Obligations = append(slices.Clip(d.Obligations), target.Demands...)
	if o, waits := d.demand(pass.met); waits {
		out, kept, err = a.keep(ctx, p, pass, in, target, &d, o)
		return out, err
	}
	var input []byte
	if pass.via != 0 {
		if input, err = encodeInput(a.w.Name, in); err != nil {
			return out, err
		}
	}
	do := in
	if by, demanded := d.attenuation(); demanded {
		do = a.w.Attenuate(in, by)
	}
	giveBack := noRefund
	if a.w.Take != nil {
		if giveBack, err = a.w.Take(p, in, target); err != nil {
			return out, err
		}
	}
	defer func() {
		if err != nil || replayed {
			giveBack()
		}
	}()
	var replay act.Ref
	write := g.db.WriteFenced
	if a.w.Shares {
		write = g.db.Shared
	}
	did, err := write(ctx, func(tx *store.Tx) error {
		replayed, pass.ended = false, nil
		if err := g.recheck(tx, p, target); err != nil {
			return err
		}
		if !g.stillDecides(d) {
			return errMoved
		}
		if err := pass.used(tx); err != nil {
			return err
		}
		if key.Name != "" {
			var err error
			if replay, replayed, err = usedKey(tx, p, a.w.Name, key); err != nil || replayed {
				return err
			}
		}
		if err := g.charge(tx, p); err != nil { // what is answered again costs nothing
			return err
		}
		var fx Effects
		var err error
		if out, fx, err = a.w.Run(ctx, tx, p, do); err != nil {
			return err
		}
		pass.made = fx.Out
		if key.Name != "" {
			if err := saveKey(tx, p, a.w.Name, key, fx.Out); err != nil {
				return err
			}
		}
		if pass.via != 0 {
			done := Call{Act: a.w.Name, Principal: p, Target: target.Ref, Input: input}
			if err := g.Holds.Spend(tx, pass.via, done, fx.Out); err != nil {
				return err
			}
		}
		fx.Edges = append(fx.Edges, contextEdges(pass.stated)...)
		e := Entry{
			Act: a.w.Name, At: tx.Now(), Principal: p, Target: target.Ref, Out: fx.Out,
			Outcome: Done, Decision: d, In: fx.In, Reason: fx.Reason, Approval: pass.via, Count: 1, Context: pass.stated,
			Trace: act.TraceOf(ctx), Caller: telemetry.CallerOf(ctx),
		}
		if g.Witness != nil {
			pass.ended = &Ended{Entry: e, Edges: fx.Edges, Write: true}
		}
		if err := g.record(tx, e, fx); err != nil {
			return err
		}
		return g.notify(tx, e)
	})
	switch {
	case act.CodeOf(err) == act.Unavailable:
		g.doubt() // it may be stored all the same
		return out, err
	case err != nil:
		return out, err
	case replayed:
		return a.replay(ctx, p, replay)
	}
	g.spread(store.Touched{Act: a.w.Name, Actor: p.ID, IDs: did.Touched})
	if a.w.Apply != nil {
		a.w.Apply(p, out)
	}
	if did.Fence > 0 {
		if err := g.fence.settle(ctx, did.Fence); err != nil {
			return out, err
		}
		if a.w.After {
			if err := g.drain(ctx); err != nil {
				return out, err
			}
		}
	}
	g.pulse.beat()
	if a.w.Told == nil {
		return out, nil
	}
	return out, g.tell(ctx, p, a.w.Told(p, out)) // doors send no answer beside an error
}

// stillDecides reports whether the policies that decided are still those in force here.
func (g *Gate) stillDecides(d Decision) bool {
	return d.Bundle == 0 || g.Decider.Version() == d.Bundle
}

// drain returns when every write that began before the call has ended.
func (g *Gate) drain(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // the act is committed
	if err := g.db.Write(ctx, func(*store.Tx) error { return nil }); err != nil {
		return err
	}
	return g.db.Barrier(ctx)
}

// record puts an act that was done on record, in its own transaction.
func (g *Gate) record(tx *store.Tx, e Entry, fx Effects) error {
	if g.bare {
		return nil
	}
	e.Labels = g.labels(e.Principal)
	if err := g.Recorder.Record(tx, e); err != nil {
		return err
	}
	return g.Tracer.Derive(tx, e.Principal, fx)
}

func (a *WriteAct[In, Out]) replay(ctx context.Context, p act.Principal, made act.Ref) (out Out, err error) {
	if made.ID.Kind() == act.KindApproval && a.g.Holds != nil && a.w.On != act.KindApproval {
		if made, err = a.recall(ctx, p, made.ID); err != nil {
			return out, err
		}
	}
	if a.w.Replay == nil {
		return out, act.Errorf(act.Conflict, "this was done already under the same idempotency key").
			WithRule("idempotency").WithHint("its answer is shown once; look the result up instead")
	}
	before := a.g.fence.number()
	err = a.g.db.View(ctx, func(v *store.View) error {
		out, err = a.w.Replay(ctx, v, p, made)
		return err
	})
	if err != nil || a.w.Told == nil {
		return out, err
	}
	return out, a.g.tellAgain(ctx, p, a.w.Name, a.w.Told(p, out), before)
}

// admit checks everything that needs neither storage nor policy: the standing,
// that the fence is fresh, and the quota, which a call done under an approval has
// used before. What is final needs no fresh fence. It returns p with its present
// epoch and a function that gives the quota back if nothing comes of the act.
func (g *Gate) admit(ctx context.Context, p act.Principal, i Info, via act.ID) (act.Principal, func(), error) {
	if i.Write && p.Kind == act.Observer && i.On != act.KindOperator { // nobody is an operator before they have signed in
		if err := g.Barred(); err != nil {
			return p, nil, err
		}
	}
	if g.held != nil && p.Kind != act.System {
		if err := g.held(); err != nil {
			return p, nil, err
		}
	}
	state := act.Active
	if p.Kind == act.Agent {
		state, p.Epoch = g.Standings.Standing(p.ID)
	}
	if !state.Final() {
		if err := g.touch(p); err != nil {
			return p, nil, err
		}
	}
	if !state.MayAct() {
		return p, nil, standingError(state)
	}
	if p.Credential != 0 || p.Grant != 0 {
		if err := g.admitCredential(ctx, &p, i, via); err != nil {
			return p, nil, err
		}
	}
	if p.Kind == act.Agent && g.Bounds != nil {
		g.Bounds.Seen(p.ID)
	}
	if via != 0 {
		return p, noRefund, nil
	}
	refund, err := g.quota.take(p, i)
	if err != nil || p.Kind != act.Agent || g.Bounds == nil {
		return p, refund, err
	}
	giveBack, err := g.Bounds.Pace(p.ID, i.Name)
	switch {
	case err != nil:
		refund()
		return p, noRefund, err
	case giveBack != nil:
		return p, func() { refund(); giveBack() }, nil
	}
	return p, refund, nil
}

// touch refuses to serve while this node cannot tell what was withdrawn, or
// while nobody can. Operators and the system itself are served: they are how it
// is mended.
func (g *Gate) touch(p act.Principal) error {
	if p.Kind == act.Agent {
		if err := g.Barred(); err != nil {
			return err
		}
	}
	if p.Kind == act.Operator || p.Kind == act.System || g.fence.fresh() {
		return nil
	}
	return act.Errorf(act.Unavailable, "this node has lost touch with its network").
		WithRule("fence.stale").WithRetry(time.Second).
		WithHint("it cannot tell what was withdrawn meanwhile, so it serves nobody; retry, your credential is fine")
}

// standingError says why an agent may not act and how that ends.
func standingError(s act.Standing) error {
	hint := "ask your owner; the operator's reason is in the agent's record"
	switch s {
	case act.Paused:
		hint = "an operator paused you; wait for agent.resume, keep your credential"
	case act.Quarantined:
		hint = "you are held for examination; wait, keep your credential"
	case act.Stale:
		hint = "your mandate was revised; your owner must attest it again"
	case act.Killed, act.Expired:
		hint = "this is final; your owner can register a new agent"
	case act.StandingUnknown, act.Requested, act.Active:
	}
	return act.Errorf(act.Denied, "your standing is %s", s).WithRule("standing." + s.String()).WithHint(hint)
}

// PlaceError says why nothing may be done or read in a community.
func PlaceError(s act.Standing) error {
	return act.Errorf(act.Denied, "this community is %s", s).WithRule("place." + s.String()).
		WithHint("an operator has stopped what happens in it; go on elsewhere, and keep your credential")
}

// decide asks the policy, for p and for everybody on whose behalf it acts: chain
// holds the facts as those see them, nil when they are the same for all.
func (g *Gate) decide(p act.Principal, i Info, f Facts, chain []Facts) (Decision, error) {
	if g.bare {
		return Decision{Allow: true, Policy: "bare"}, nil
	}
	if err := g.reaches(p, i, f); err != nil {
		return Decision{}, err
	}
	d := g.Decider.Decide(p, Question{Act: i.Name, Resource: f})
	return d, g.allowed(p, i, f, chain, &d)
}

// reaches is what decide asks before the policy: whether the community is open, and the
// grant wide enough.
func (g *Gate) reaches(p act.Principal, i Info, f Facts) error {
	if f.Community != 0 && p.Kind != act.Operator && p.Kind != act.System {
		if state := g.Standings.Place(f.Community); !state.MayAct() {
			return PlaceError(state)
		}
	}
	return g.within(p, i.Name, f)
}

// allowed is what decide makes of the policy's answer: it fails for a denial, by the policy for p or
// for one on whose behalf p acts, and for what the act cannot honour. What these demand is
// added to the answer.
func (g *Gate) allowed(p act.Principal, i Info, f Facts, chain []Facts, d *Decision) error {
	if !d.Allow {
		// Policies look at standings, too: who was stopped since they were admitted hears that.
		if p.Kind == act.Agent {
			if state, _ := g.Standings.Standing(p.ID); !state.MayAct() {
				return standingError(state)
			}
		}
		return act.Errorf(act.Denied, "the policy does not allow %s here", i.Name).
			WithRule(d.Policy).WithHint(d.Hint + g.whence(p, d))
	}
	if len(p.Chain) > 0 {
		if err := g.decideChain(p, i, f, chain, d); err != nil {
			return err
		}
	}
	return unable(i, d)
}

// within asks whether an act is within what p was granted.
func (g *Gate) within(p act.Principal, name string, f Facts) error {
	if g.Bounds == nil || p.Kind != act.Agent {
		return nil
	}
	return g.Bounds.Within(p, name, f)
}

// charge counts a change against p's budget.
func (g *Gate) charge(tx *store.Tx, p act.Principal) error {
	if g.Bounds == nil || p.Kind != act.Agent {
		return nil
	}
	return g.Bounds.Charge(tx, p)
}

// May asks whether p may do an act to something with the given facts as things stand,
// by the policy and by the scope of what p has shown. Nothing is done, counted or
// recorded.
func (g *Gate) May(p act.Principal, name string, f Facts) error {
	i, known := g.acts[name]
	if !known {
		return act.Errorf(act.Invalid, "there is no act %.40q", name).WithRule("act.unknown").WithHint("GET /v1/acts lists them")
	}
	if p.Grant != 0 && !token.Scope(p.Scope).Has(name) {
		return scopeError(name)
	}
	_, err := g.decide(p, i, f, nil)
	return err
}

// recheck reads standing and epochs again inside the transaction.
func (g *Gate) recheck(tx *store.Tx, p act.Principal, target Resource) error {
	if p.Kind == act.Agent {
		if err := g.Standings.Expect(tx, p, target.Facts.Community); err != nil {
			return err
		}
	}
	if p.Grant != 0 {
		if err := g.recheckGrant(tx, p); err != nil {
			return err
		}
	}
	for _, guard := range target.Guards {
		if err := tx.Soon(guard.Q, func(r *store.Row) error {
			if r == nil || r.Int(0) != guard.Epoch {
				return errMoved
			}
			return nil
		}, guard.ID); err != nil {
			return err
		}
	}
	return nil
}

// Moved is what Standings.Expect returns when an agent may still act but its
// epoch has changed since it was admitted, or something may have stopped it that this
// node has not applied yet: the act starts again when it has.
func Moved() error { return errMoved }

// finish counts the act, puts its denial or failure on record and tells the witness:
// ended is what it knows of an act that was done, nil when there is none.
func (g *Gate) finish(ctx context.Context, p act.Principal, i Info, began time.Time, err error, ended *Ended) {
	if err == nil {
		took := g.clock().Sub(began)
		g.Meter.ActDone(i.Name, Done.String(), took)
		if ended != nil {
			ended.Began, ended.Took = began, took
			g.Witness.Ended(ended)
		}
		return
	}
	e := act.AsError(err)
	outcome, took := Failed, g.clock().Sub(began)
	if g.Witness != nil {
		defer func() {
			g.Witness.Ended(&Ended{Entry: refusal(ctx, p, i.Name, outcome, e, began.Add(took)), Began: began, Took: took, Write: i.Write})
		}()
	}
	switch e.Code {
	case act.Held: // put on record with the call
		g.Meter.ActDone(i.Name, e.Code.String(), took)
		return
	case act.Denied, act.Unauthenticated, act.RateLimited:
		outcome = Refused
		g.Meter.Denied(i.Name, e.Rule)
	case act.Internal:
		g.log.ErrorContext(ctx, "act failed", "act", i.Name, "err", err)
	case act.Unavailable:
		level := slog.LevelWarn
		if ctx.Err() != nil || g.bar.refuses(e) {
			level = slog.LevelDebug // the caller left, or it is as it was told to be; nothing is wrong here
		}
		g.log.Log(ctx, level, "act unavailable", "act", i.Name, "err", err)
	case act.Invalid, act.NotFound, act.Conflict, act.TooLarge, act.Gone, act.Mismatch, act.Method:
	}
	g.Meter.ActDone(i.Name, outcome.String(), took)
	g.denied.add(ctx, p, i.Name, outcome, e)
}

// Refuse records that a request was refused before any act began: no valid
// credential, say. The principal carries only its source.
func (g *Gate) Refuse(ctx context.Context, p act.Principal, name string, err error) {
	e := act.AsError(err)
	g.Meter.Denied(name, e.Rule)
	g.denied.add(ctx, p, name, Refused, e)
}

// Limit returns the state of the quota that governs an act of p, for response
// headers; ok is false when no quota applies.
func (g *Gate) Limit(p act.Principal, name string) (act.LimitState, bool) {
	return g.quota.peek(p, g.acts[name].Quota)
}

// LimitOf is Limit for a quota class, for requests that reach no act.
func (g *Gate) LimitOf(p act.Principal, class string) (act.LimitState, bool) {
	return g.quota.peek(p, class)
}

// OnFence registers fn to be called, before a fence is acknowledged, with the
// ids of the kind that have changed. It must bring memory up to date from the
// database. Registration ends at Start.
func (g *Gate) OnFence(kind act.Kind, fn func(ctx context.Context, ids []act.ID) error) {
	g.fence.handlers[kind] = append(g.fence.handlers[kind], fn)
}

// OnTouched registers fn to be called with what an act on this node has touched
// (store.Tx.Touch), after its commit and before its answer. fn must see to it that
// no copy in memory that is older than the commit is served afterwards.
// Registration ends at Start.
func (g *Gate) OnTouched(fn func(store.Touched)) { g.touched = append(g.touched, fn) }

func (g *Gate) spread(t store.Touched) {
	if len(t.IDs) == 0 {
		return
	}
	for _, fn := range g.touched {
		fn(t)
	}
}

// OnDoubt registers fn to be called when a commit's outcome is unknown: its
// answer was lost, so what is in memory may be behind what is stored. fn drops
// every copy that an act could have changed. Registration ends at Start.
func (g *Gate) OnDoubt(fn func()) { g.doubts = append(g.doubts, fn) }

func (g *Gate) doubt() {
	for _, fn := range g.doubts {
		fn()
	}
	g.fence.poke()
}

// Now tells the time by the gate's clock.
func (g *Gate) Now() time.Time { return g.clock() }

// Fresh reports whether this node is sure of its fences, for /readyz.
func (g *Gate) Fresh() bool { return g.fence.fresh() }

// FenceAge tells how long ago this node last confirmed its fences; 0 on SQLite,
// where nobody else makes any.
func (g *Gate) FenceAge() time.Duration { return g.fence.age() }

// Fences returns the number of the last fence that this node has applied.
func (g *Gate) Fences() int64 { return g.fence.number() }
