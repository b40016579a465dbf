package gate

import (
	"context"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What a token carries beside its agent: a scope, an end, and those on whose
// behalf the agent acts. Whoever acts for itself with a key pays a comparison.

// admitCredential checks what p has shown: that it was not withdrawn or over, that
// the act is in its scope, and that everybody on whose behalf p acts may act. It
// notes the epochs of those in p. A kept call is done after its token's end: the
// call was made before.
func (g *Gate) admitCredential(ctx context.Context, p *act.Principal, i Info, via act.ID) error {
	if g.Credentials != nil {
		if err := g.Credentials.Stands(ctx, *p); err != nil {
			return err
		}
	}
	if p.Grant == 0 {
		return nil
	}
	if via == 0 && p.Until != 0 && act.Micros(g.clock()) >= p.Until {
		return act.Errorf(act.Unauthenticated, "the access token has expired").WithRule("token.expired").
			WithHint("get a new one at the token endpoint; they live for minutes")
	}
	if !token.Scope(p.Scope).Has(i.Name) {
		return scopeError(i.Name)
	}
	if len(p.Chain) == 0 {
		return nil
	}
	p.Epochs = make([]int64, len(p.Chain))
	for n, member := range p.Chain {
		if member.Kind() != act.KindAgent {
			continue // a human's word is in the grant, and ends with it
		}
		state, epoch := g.Standings.Standing(member)
		if !state.MayAct() {
			return chainError(state)
		}
		p.Epochs[n] = epoch
	}
	return nil
}

func scopeError(name string) error {
	return act.Errorf(act.Denied, "the token's scope does not hold %s", name).WithRule("token.scope").
		WithHint("ask for a token with " + name + " in its scope, if you may have that")
}

func chainError(state act.Standing) error {
	return act.Errorf(act.Denied, "one on whose behalf you act may not act: its standing is %s", state).
		WithRule("chain." + state.String()).WithHint("act in your own name, with a token of your own; nothing is wrong with your credential")
}

// member is one of a chain as a principal of its own.
func member(p act.Principal, n int) act.Principal {
	return act.Principal{Kind: act.Agent, ID: p.Chain[n], Epoch: p.Epochs[n], Source: p.Source}
}

// decideChain asks the policy for everybody on whose behalf p acts: a strong agent
// does nothing for a weak one that the weak one may not do (T14). What the policy
// demands of any of them is demanded.
func (g *Gate) decideChain(p act.Principal, i Info, f Facts, chain []Facts, d *Decision) error {
	for n, id := range p.Chain {
		if id.Kind() != act.KindAgent {
			continue
		}
		facts := f
		if chain != nil {
			facts = chain[n]
		}
		if err := g.within(member(p, n), i.Name, facts); err != nil {
			return err
		}
		other := g.Decider.Decide(member(p, n), Question{Act: i.Name, Resource: facts})
		if !other.Allow {
			if state, _ := g.Standings.Standing(id); !state.MayAct() {
				return chainError(state)
			}
			return act.Errorf(act.Denied, "the policy does not allow %s here to one on whose behalf you act", i.Name).
				WithRule(other.Policy).WithHint("act in your own name, with a token of your own; or: " + other.Hint)
		}
		for _, o := range other.Obligations {
			if !slices.Contains(d.Obligations, o) {
				d.Obligations = append(slices.Clip(d.Obligations), o)
			}
		}
	}
	return nil
}

// recheckGrant looks again, inside the transaction, at what else than p's own
// standing lets it act.
func (g *Gate) recheckGrant(tx *store.Tx, p act.Principal) error {
	if p.Kind == act.Operator && g.Credentials != nil {
		if err := g.Credentials.Expect(tx, p); err != nil {
			return err
		}
	}
	for n, id := range p.Chain {
		if id.Kind() != act.KindAgent {
			continue
		}
		if err := g.Standings.Expect(tx, member(p, n), 0); err != nil {
			return err
		}
	}
	return nil
}

// chainMoved reports whether a fence after number n touches anybody on whose behalf
// p acts.
func (g *Gate) chainMoved(n int64, p act.Principal) bool {
	return slices.ContainsFunc(p.Chain, func(id act.ID) bool { return g.fence.movedSince(n, id, nil) })
}

// factsOfChain resolves the target for everybody on whose behalf p acts: what is
// p's own is not theirs, and what they cannot find p does not find for them.
func (a *WriteAct[In, Out]) factsOfChain(ctx context.Context, v *store.View, p act.Principal, in In) (chain []Facts, err error) {
	if len(p.Chain) == 0 || a.w.Resolve == nil {
		return nil, nil
	}
	return factsOf(p, func(as act.Principal) (Resource, error) { return a.w.Resolve(ctx, v, as, in) })
}

func (a *ReadAct[In, Out]) factsOfChain(ctx context.Context, v *store.View, p act.Principal, in In) (chain []Facts, err error) {
	if len(p.Chain) == 0 || a.r.Target == nil {
		return nil, nil
	}
	return factsOf(p, func(as act.Principal) (Resource, error) { return a.r.Target(ctx, v, as, in) })
}

func factsOf(p act.Principal, resolve func(act.Principal) (Resource, error)) ([]Facts, error) {
	chain := make([]Facts, len(p.Chain))
	for n, id := range p.Chain {
		if id.Kind() != act.KindAgent {
			continue
		}
		target, err := resolve(member(p, n))
		if err != nil {
			return nil, err
		}
		chain[n] = target.Facts
	}
	return chain, nil
}
