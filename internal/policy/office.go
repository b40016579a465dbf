package policy

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// OfficeConfig says what an office works with. All fields are required.
type OfficeConfig struct {
	Gate   *gate.Gate
	DB     *store.DB
	Key    func() ed25519.PrivateKey // the network's policy key
	Keeper *Keeper
	Agents Agents
	Log    *slog.Logger
}

// Office is where policies are looked at and changed: the acts on bundles.
type Office struct {
	Schema *gate.ReadAct[struct{}, SchemaForms]

	List   *gate.ReadAct[BundleQuery, act.Page[Kept]]
	Show   *gate.ReadAct[Pick, Shown]
	Check  *gate.ReadAct[Draft, Report]
	Diff   *gate.ReadAct[DiffQuery, Difference]
	DryRun *gate.ReadAct[DryRunQuery, DryRun]
	Flips  *gate.ReadAct[FlipQuery, FlipPage]

	Activate *gate.WriteAct[Proposal, Kept]
	Revert   *gate.WriteAct[Reversal, Kept]
	Shadow   *gate.WriteAct[Proposal, Shadow]
	Unshadow *gate.WriteAct[Ending, Shadow]

	OfficeConfig
	engine *Engine // set by Serve
	behind atomic.Pointer[string]

	mu   sync.Mutex
	last *prepared // guarded by mu: the draft that was looked at last
}

// NewOffice registers the acts on bundles. The engine is made of the registry, so it
// comes later, with Serve.
func NewOffice(c OfficeConfig) *Office {
	o := &Office{OfficeConfig: c, Schema: registerSchema(c.Gate)}
	o.registerLooks(c.Gate)
	o.registerChanges(c.Gate)
	c.Gate.OnFence(act.KindBundle, func(ctx context.Context, _ []act.ID) error { return o.Load(ctx) })
	return o
}

func (o *Office) pub() ed25519.PublicKey {
	pub, _ := o.Key().Public().(ed25519.PublicKey)
	return pub
}

// Serve gives the office its engine and puts the newest bundle that is kept in force.
// Where that has the defaults of an earlier release, they are composed anew with the
// operators' files as they are. If that does not fit, the bundle that is kept stays, and
// Behind says why. Of two nodes that start at once, one wins.
func (o *Office) Serve(ctx context.Context, e *Engine) error {
	o.engine = e
	for range 2 {
		kept, found, err := o.kept(ctx)
		if err != nil {
			return fmt.Errorf("the policy bundle that is kept: %w", err)
		}
		if found && DefaultsOf(kept) >= DefaultVersion {
			return e.Activate(kept)
		}
		draft, version := Draft{}, int64(DefaultVersion)
		if found {
			draft, version = DraftOf(kept), max(kept.Version+1, DefaultVersion)
		}
		b, err := o.ready(draft, version, o.DB.Clock()())
		if err != nil && found {
			why := act.AsError(err).Message
			o.behind.Store(&why)
			o.Log.ErrorContext(ctx, "the operators' policies do not fit the defaults of this release: the bundle in force stays",
				"version", kept.Version, "defaults", DefaultsOf(kept), "want", int64(DefaultVersion), "err", err)
			return e.Activate(kept)
		}
		if err != nil {
			return err
		}
		err = o.DB.Write(ctx, func(tx *store.Tx) error {
			_, err := Save(tx, b, Origin{Reason: fmt.Sprintf("defaults %d", DefaultVersion), Source: SourceRelease})
			return err
		})
		if act.CodeOf(err) == act.Conflict {
			continue
		}
		if err != nil {
			return err
		}
		return e.Activate(b)
	}
	return errors.New("the policy bundle cannot be kept")
}

// Behind says why the bundle in force has the defaults of an earlier release, "" when it
// has those of this one.
func (o *Office) Behind() string {
	if why := o.behind.Load(); why != nil {
		return *why
	}
	return ""
}

func (o *Office) kept(ctx context.Context) (b *Bundle, found bool, err error) {
	err = o.DB.View(ctx, func(v *store.View) error {
		b, found, err = Load(v, o.pub())
		return err
	})
	return b, found, err
}

// Load brings the engine up to date with what is kept: the newest bundle, and what is
// beside it. A node that cannot put the newest in force fails, and then serves nobody
// (gate.Fresh); one that cannot put a bundle beside it does without.
func (o *Office) Load(ctx context.Context) error {
	if o.engine == nil {
		return nil
	}
	var b *Bundle
	var beside Shadow
	var found, has bool
	if err := o.DB.View(ctx, func(v *store.View) (err error) {
		if b, found, err = Load(v, o.pub()); err != nil {
			return err
		}
		beside, has, err = shadowNow(v, o.pub())
		if err != nil {
			o.Log.WarnContext(ctx, "the policy bundle in shadow cannot be read", "err", err)
			has, err = false, nil
		}
		return err
	}); err != nil {
		return err
	}
	if found {
		if err := o.engine.Activate(b); err != nil {
			return err
		}
		if DefaultsOf(b) >= DefaultVersion {
			o.behind.Store(nil)
		}
	}
	if !has {
		return o.engine.Beside(0, nil)
	}
	if err := o.engine.Beside(beside.ID, beside.Bundle); err != nil {
		o.Log.WarnContext(ctx, "the policy bundle in shadow does not fit", "err", err)
		return o.engine.Beside(0, nil)
	}
	return nil
}

// prepared is a draft, composed and looked at.
type prepared struct {
	hash     [sha256.Size]byte
	bundle   *Bundle // unsigned; nil when it cannot be composed
	snap     *snapshot
	problems []Problem
	trials   []Trial
	err      error // why it may not be in force; nil if it may
}

// prepare composes and checks a draft, or finds that it did so just now: an act does it
// before its transaction, and needs the result within. What comes out depends on nothing
// but the draft, the program and its settings.
func (o *Office) prepare(d Draft) *prepared {
	hash := d.hash()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last != nil && o.last.hash == hash {
		return o.last
	}
	p := &prepared{hash: hash}
	if p.bundle, p.err = Compose(d, 1, time.Unix(0, 0)); p.err == nil {
		p.snap, p.problems = o.engine.compile(p.bundle)
		if len(p.problems) > 0 {
			p.err = refuseProblems(p.problems)
		} else if p.trials = o.engine.trials(p.snap, p.bundle); p.err == nil {
			p.err = refuseTrials(p.trials)
		}
		if p.err == nil && o.engine.locks(p.snap) {
			p.err = refuse("bundle.locked", "no operator could change the policies any more").
				WithHint("let operators with the role admin do policy.activate and policy.revert")
		}
	} else {
		p.bundle = nil
	}
	o.last = p
	return p
}

// locks reports whether nobody could change the policies any more, and so mend them.
func (e *Engine) locks(s *snapshot) bool {
	t := e.acts["policy.activate"]
	admin := sample{act: t, asker: asker{
		kind: act.Operator, who: unnamed, roles: uint8(gate.OperatorAdmin), facts: PrincipalFacts{Fresh: true, Passkey: true},
	}}
	return t != nil && resultOf(e.decide(s, admin, e.context)) == ResultDeny
}

// ready is a bundle of a draft, signed, that may be in force.
func (o *Office) ready(d Draft, version int64, at time.Time) (*Bundle, error) {
	p := o.prepare(d)
	if p.err != nil {
		return nil, p.err
	}
	b := *p.bundle
	b.Version, b.CreatedAt = version, at
	_, err := Sign(&b, o.Key())
	return &b, err
}
