package manifest

import (
	"context"
	"crypto/sha256"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Order asks that a set be applied as it was planned.
type Order struct {
	Set
	Digest string // of the plan
	Reason string // for the acts that want one; what is applied if ""
}

// Result is what became of one change.
type Result struct {
	Change
	State string // Done, Waits, Failed or Left
	Once  string // a secret that is shown once: a webhook's, an agent's enrolment token
	Error *act.Error
}

// What becomes of changes.
const (
	Done   = "done"
	Waits  = "waits"  // for somebody's word: reef approval list
	Failed = "failed" // Error says why
	Left   = "left"   // something before it has failed
)

// Applied is what came of a set. It is not an error of its own when a change fails: what
// was done is done, and applying the set again goes on where this has ended.
type Applied struct {
	Digest  string
	Results []Result
}

// Apply does what a plan says: it records what is to be, and then does one act after
// another as p. A change that waits for somebody's word does not hold up the others; one
// that fails ends it.
func (m *Manifests) Apply(ctx context.Context, p act.Principal, in Order) (out Applied, err error) {
	plan, err := m.Plan.Do(ctx, p, in.Set)
	if err != nil {
		return out, err
	}
	if err := in.fits(plan); err != nil {
		return out, err
	}
	// Where what is to be is on record already, nothing is left but to do it: an apply that
	// policy has held, and that is approved, is recorded then and done by the next.
	if plan.rows {
		if _, err := m.apply.Do(ctx, p, in); err != nil {
			return out, err
		}
	}
	out.Digest = plan.Digest
	failed := false
	for _, w := range plan.work {
		r := Result{Change: w.Change, State: Left}
		if !failed {
			r.Once, err = m.do(ctx, p, w, in.Reason)
			switch {
			case err == nil:
				r.State = Done
			case act.CodeOf(err) == act.Held:
				r.State = Waits
			default:
				r.State, r.Error, failed = Failed, act.AsError(err), true
			}
		}
		out.Results = append(out.Results, r)
	}
	return out, nil
}

func (m *Manifests) do(ctx context.Context, p act.Principal, w work, reason string) (once string, err error) {
	if reason == "" {
		reason = "as code: " + w.title()
	}
	switch w.Op {
	case OpCreate, OpUpdate:
		return w.kind.put(ctx, p, w, reason)
	case OpEnd:
		return "", w.kind.end(ctx, p, w, reason)
	case OpOwn, OpRelease:
	}
	return "", nil
}

// fits refuses an order for another plan than that of now, and one that cannot be applied.
func (o Order) fits(now Plan) error {
	if o.Digest != now.Digest {
		return act.Errorf(act.Conflict, "what is there, or what is to be, has changed since it was planned").WithRule("manifest.changed").
			WithHint("look at the plan of now, and apply that")
	}
	return now.applicable()
}

// recorded says how many objects an apply has put down.
type recorded struct{ Objects int }

func (m *Manifests) registerApply(g *gate.Gate) {
	m.apply = gate.RegisterWrite(g, gate.Write[Order, recorded]{
		Info: gate.Info{Name: "manifest.apply", Doc: "Put down what files say is to be; what comes of it is done by the acts of each kind.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Order) (gate.Resource, error) {
			r := gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}
			now, err := m.plan(v, p, in.Set)
			if err == nil {
				err = in.fits(now)
			}
			return r, err
		},
		Run: m.record,
	})
}

// record brings the rows of a set up to date. Who says what is found out anew: somebody
// else may have applied something since Resolve.
func (m *Manifests) record(_ context.Context, tx *store.Tx, p act.Principal, in Order) (out recorded, fx gate.Effects, err error) {
	fx = gate.Effects{In: sha256.Sum256([]byte(in.Digest)), Reason: in.Reason}
	if err := tx.Serialize("manifest"); err != nil {
		return out, fx, err
	}
	objects, _ := m.parse(in.Files)
	listed := make(map[string]bool, len(objects))
	var conflicts []Conflict
	for _, o := range objects {
		listed[o.title()] = true
		kept, err := m.kind(o.Kind).rowOf(&tx.View, p.ID, o.Name)
		if err != nil {
			return out, fx, err
		}
		next, _, found, err := merged(kept, o, in.Manager, in.Force)
		if err != nil {
			return out, fx, err
		}
		conflicts = append(conflicts, found...)
		if len(found) > 0 || next.equal(kept) {
			continue
		}
		next.changedBy, next.changedAt = p.ID, tx.Now()
		if err := next.keep(tx); err != nil {
			return out, fx, err
		}
		out.Objects++
	}
	if len(conflicts) > 0 {
		return out, fx, conflictError(conflicts)
	}
	for _, k := range m.kinds {
		rows, err := k.rowsOf(&tx.View, p.ID)
		if err != nil {
			return out, fx, err
		}
		for _, x := range rows {
			if x.managers[in.Manager] == nil || listed[title(x.kind, x.name)] || !in.Prune && x.leaving == 0 {
				continue
			}
			if err := m.release(tx, p, k, x, in.Manager); err != nil {
				return out, fx, err
			}
		}
	}
	return out, fx, bounded(tx)
}

// release takes a manager's hand off an object. A row of which nobody else says anything
// stays until what it speaks of has ended: so it is found again when its end was refused.
func (m *Manifests) release(tx *store.Tx, p act.Principal, k *kind, x row, manager string) error {
	if len(x.managers) > 1 {
		next, err := x.without(manager)
		if err != nil {
			return err
		}
		next.changedBy, next.changedAt = p.ID, tx.Now()
		return next.keep(tx)
	}
	there, found, err := k.find(&tx.View, p.ID, x.name, x.last())
	if err != nil {
		return err
	}
	if k.end == nil || !found || there.over != "" {
		return x.drop(tx)
	}
	if x.leaving == 0 {
		x.leaving, x.changedBy, x.changedAt = tx.Now(), p.ID, tx.Now()
		return x.keep(tx)
	}
	return nil
}

func bounded(tx *store.Tx) error {
	var n int64
	if _, err := tx.One(qRowCount, func(r *store.Row) error { n = r.Int(0); return nil }); err != nil {
		return err
	}
	if n > MaxObjects {
		return act.Errorf(act.Denied, "the network keeps %d objects as code, which is more than %d", n, MaxObjects).WithRule("quota.manifest").
			WithHint("keep fewer: what agents make of themselves needs no file")
	}
	return nil
}
