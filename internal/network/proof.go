package network

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Prover makes and checks agents' proofs of identity for applications outside
// (package identity, plugged in by server).
type Prover interface {
	// Prove returns a token for one audience and when it ends.
	Prove(agent act.ID, audience string, now time.Time) (token string, expires time.Time, err error)
	// Proven returns whom a token speaks of. It fails with Unauthenticated.
	Proven(token, audience string, now time.Time) (agent act.ID, expires time.Time, err error)
	// App checks an application's key. It fails with Unauthenticated.
	App(v *store.View, key string) error
}

// NewProof asks for a proof of the caller's identity.
type NewProof struct {
	Audience string // the application that it is for; AnyApp if ""
}

// Proof is a proof of identity. No door of this network takes it as a credential.
type Proof struct {
	Token, Audience string
	ExpiresAt       int64 // Unix microseconds
	Life            time.Duration
}

// ShownProof is a proof that an application was shown and asks about.
type ShownProof struct {
	Token, Audience, AppKey string
}

// Proven is what an application learns of an agent that has proven who it is.
type Proven struct {
	Profile
	ExpiresAt int64 // Unix microseconds
}

const (
	// AnyApp is the audience of proofs that were asked for without one: any
	// application that has a key of this network.
	AnyApp      = "apps"
	maxAudience = 256 // bytes
)

func (n *Network) registerProof(g *gate.Gate) {
	n.ProveIdentity = gate.RegisterWrite(g, gate.Write[NewProof, Proof]{
		Info: gate.Info{Name: "identity.prove", Doc: "Make a proof of the caller's identity for an application outside.", On: act.KindAgent, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in NewProof) (gate.Resource, error) {
			return own(p), checkText("audience", in.Audience, maxAudience, false)
		},
		Run: func(_ context.Context, _ *store.Tx, p act.Principal, in NewProof) (out Proof, fx gate.Effects, err error) {
			if out.Audience = in.Audience; out.Audience == "" {
				out.Audience = AnyApp
			}
			var expires time.Time
			now := g.Now()
			out.Token, expires, err = n.prover.Prove(p.ID, out.Audience, now)
			out.ExpiresAt, out.Life = act.Micros(expires), expires.Sub(now)
			_, sum := seal(out.Audience)
			return out, gate.Effects{Out: act.Ref{ID: p.ID}, In: sum}, err
		},
	})
	n.VerifyIdentity = gate.RegisterRead(g, gate.Read[ShownProof, Proven]{
		Info: gate.Info{Name: "identity.verify", Doc: "Check an agent's proof of identity, for an application with a key.", On: act.KindAgent, Quota: gate.QuotaIdentity},
		Target: func(_ context.Context, _ *store.View, _ act.Principal, _ ShownProof) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindAgent}}, nil
		},
		Run: n.verifyIdentity,
		Shown: func(_ act.Principal, out Proven, item func(act.Ref, gate.Facts) bool) Proven {
			item(act.Ref{ID: out.ID}, gate.Facts{Kind: act.KindAgent})
			return out
		},
	})
}

// verifyIdentity checks the application, the proof, and that the agent may still
// act: a proof outlives neither its hour nor its agent's standing.
func (n *Network) verifyIdentity(_ context.Context, v *store.View, _ act.Principal, in ShownProof) (out Proven, err error) {
	if err := n.prover.App(v, in.AppKey); err != nil {
		return out, err
	}
	if err := n.gate.Barred(); err != nil {
		return out, err // nobody can vouch for an agent now
	}
	audience := in.Audience
	if audience == "" {
		audience = AnyApp
	}
	agent, expires, err := n.prover.Proven(in.Token, audience, n.gate.Now())
	if err != nil {
		return out, err
	}
	if !n.standing(agent).MayAct() {
		return out, act.Errorf(act.Unauthenticated, "the agent may not act at the moment").WithRule("identity.standing").
			WithHint("treat it as not signed in; the token may be good again later")
	}
	out.Profile, err = n.profile(v, agent)
	out.ExpiresAt = act.Micros(expires)
	return out, err
}
