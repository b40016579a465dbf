package policy

import (
	"context"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Proposal asks for a draft to be put in force, or beside what is.
type Proposal struct {
	Draft  Draft
	Base   int64  // the version that it was made for; any if 0
	Reason string // 1 to MaxReason characters; goes on record
}

// Reversal asks for what operators had brought of an earlier version.
type Reversal struct {
	Version int64
	Reason  string // goes on record
}

// Ending ends the shadow.
type Ending struct {
	Reason string // goes on record
}

// MaxReason bounds an operator's stated reason, in characters.
const MaxReason = 500

// serial is what changes of the policies wait for each other by (store.Tx.Serialize).
const serial = "policy"

func (o *Office) registerChanges(g *gate.Gate) {
	o.Activate = gate.RegisterWrite(g, gate.Write[Proposal, Kept]{
		Info:  gate.Info{Name: "policy.activate", Doc: "Put policies in force on all nodes, as a new version.", On: act.KindNetwork, Quota: gate.QuotaNone},
		After: true,
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in Proposal) (gate.Resource, error) {
			return o.proposed(p, in)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Proposal) (Kept, gate.Effects, error) {
			return o.activate(tx, p, in.Draft, in.Base, Origin{p.ID, in.Reason, SourceOperator})
		},
		Replay: o.replay,
	})
	o.Revert = gate.RegisterWrite(g, gate.Write[Reversal, Kept]{
		Info:  gate.Info{Name: "policy.revert", Doc: "Put what operators had brought of an earlier version in force again, as a new version.", On: act.KindNetwork, Quota: gate.QuotaNone},
		After: true,
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Reversal) (gate.Resource, error) {
			if err := mayChange(p, in.Reason); err != nil {
				return gate.Resource{}, err
			}
			draft, err := o.earlier(v, in.Version)
			if err != nil {
				return gate.Resource{}, err
			}
			return o.proposed(p, Proposal{Draft: draft, Reason: in.Reason})
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Reversal) (k Kept, fx gate.Effects, err error) {
			draft, err := o.earlier(&tx.View, in.Version)
			if err != nil {
				return k, fx, err
			}
			return o.activate(tx, p, draft, 0, Origin{p.ID, in.Reason, SourceRevert})
		},
		Replay: o.replay,
	})
	o.Shadow = gate.RegisterWrite(g, gate.Write[Proposal, Shadow]{
		Info: gate.Info{Name: "policy.shadow", Doc: "Put policies beside those in force: both decide, and only those in force count.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in Proposal) (gate.Resource, error) {
			return o.proposed(p, in)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Proposal) (Shadow, gate.Effects, error) {
			return o.shadow(tx, p, in)
		},
		Replay: o.replayShadow,
	})
	o.Unshadow = gate.RegisterWrite(g, gate.Write[Ending, Shadow]{
		Info: gate.Info{Name: "policy.unshadow", Doc: "Take away the policies beside those in force.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in Ending) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, mayChange(p, in.Reason)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Ending) (Shadow, gate.Effects, error) {
			return o.unshadow(tx, p, in)
		},
		Replay: o.replayShadow,
	})
}

// mayChange refuses everybody but operators who act for themselves. The policies do so
// too; this is so whatever they say (T41: nobody changes the policy that governs them).
func mayChange(p act.Principal, reason string) error {
	agents := p.Kind != act.Operator
	for _, id := range p.Chain {
		agents = agents || id.Kind() != act.KindOperator
	}
	if agents {
		return act.Errorf(act.Denied, "policies are changed by operators alone").WithRule("policy.operators").
			WithHint("nobody changes the policy that governs them: ask an operator")
	}
	if n := utf8.RuneCountInString(reason); n < 1 || n > MaxReason || !utf8.ValidString(reason) {
		return act.Errorf(act.Invalid, "a reason has 1 to %d characters", MaxReason).WithRule("reason").
			WithHint("say why; it goes on record")
	}
	return nil
}

func (o *Office) proposed(p act.Principal, in Proposal) (gate.Resource, error) {
	r := gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}
	if err := mayChange(p, in.Reason); err != nil {
		return r, err
	}
	return r, o.prepare(in.Draft).err
}

// earlier is what operators had brought of a version.
func (o *Office) earlier(v *store.View, version int64) (Draft, error) {
	b, err := loadVersion(v, o.pub(), version)
	if err != nil {
		return Draft{}, err
	}
	return DraftOf(b), nil
}

func (o *Office) activate(tx *store.Tx, p act.Principal, d Draft, base int64, from Origin) (k Kept, fx gate.Effects, err error) {
	if err := mayChange(p, from.Reason); err != nil {
		return k, fx, err
	}
	if err := tx.Serialize(serial); err != nil {
		return k, fx, err
	}
	newest, _, err := newestKept(&tx.View)
	if err != nil {
		return k, fx, err
	}
	if base != 0 && base != newest {
		return k, fx, act.Errorf(act.Conflict, "it was made for version %d; version %d is in force", base, newest).
			WithRule("bundle.base").WithHint("look at what has changed (reef policy diff), then send it for that version")
	}
	b, err := o.ready(d, newest+1, act.FromMicros(tx.Now()))
	if err != nil {
		return k, fx, err
	}
	id, err := Save(tx, b, from)
	if err != nil {
		return k, fx, err
	}
	if _, err := tx.Exec(qShadowEnd, tx.Now()); err != nil {
		return k, fx, err
	}
	tx.Fence(act.KindBundle, id)
	if k, err = keptOf(&tx.View, b.Version); err != nil {
		return k, fx, err
	}
	return k, gate.Effects{Out: act.Ref{ID: id, Version: b.Version}, Reason: from.Reason}, nil
}

func (o *Office) replay(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Kept, error) {
	return keptOf(v, made.Version)
}

func (o *Office) shadow(tx *store.Tx, p act.Principal, in Proposal) (s Shadow, fx gate.Effects, err error) {
	if err := mayChange(p, in.Reason); err != nil {
		return s, fx, err
	}
	if err := tx.Serialize(serial); err != nil {
		return s, fx, err
	}
	newest, _, err := newestKept(&tx.View)
	if err != nil {
		return s, fx, err
	}
	s = Shadow{Operator: p.ID, Reason: in.Reason, BeganAt: tx.Now()}
	if s.Bundle, err = o.ready(in.Draft, newest+1, act.FromMicros(tx.Now())); err != nil {
		return s, fx, err
	}
	if s.ID, err = tx.Mint(act.KindBundle); err != nil {
		return s, fx, err
	}
	raw, err := s.Bundle.wire()
	if err != nil {
		return s, fx, err
	}
	if _, err := tx.Exec(qShadowEnd, tx.Now()); err != nil {
		return s, fx, err
	}
	if err := tx.Batch(qShadowAdd, s.ID, raw, p.ID, in.Reason, tx.Now()); err != nil {
		return s, fx, err
	}
	tx.Fence(act.KindBundle, s.ID)
	return s, gate.Effects{Out: act.Ref{ID: s.ID}, Reason: in.Reason}, nil
}

func (o *Office) unshadow(tx *store.Tx, p act.Principal, in Ending) (s Shadow, fx gate.Effects, err error) {
	if err := mayChange(p, in.Reason); err != nil {
		return s, fx, err
	}
	if err := tx.Serialize(serial); err != nil {
		return s, fx, err
	}
	s, found, err := shadowNow(&tx.View, o.pub())
	if err == nil && !found {
		err = noShadow()
	}
	if err != nil {
		return s, fx, err
	}
	if _, err := tx.Exec(qShadowEnd, tx.Now()); err != nil {
		return s, fx, err
	}
	s.EndedAt = tx.Now()
	tx.Fence(act.KindBundle, s.ID)
	return s, gate.Effects{Out: act.Ref{ID: s.ID}, Reason: in.Reason}, nil
}

func noShadow() error {
	return act.Errorf(act.NotFound, "no policies are beside those in force").WithRule("policy.shadow").
		WithHint("put some there: reef policy shadow DIR")
}

func (o *Office) replayShadow(_ context.Context, v *store.View, _ act.Principal, _ act.Ref) (Shadow, error) {
	s, found, err := shadowLast(v, o.pub())
	if err == nil && !found {
		err = noShadow()
	}
	return s, err
}
