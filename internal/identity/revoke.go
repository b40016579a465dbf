package identity

import (
	"context"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Revocation ends one grant, or all grants of an agent, with everything that was
// carved out of them. The agents themselves, and their keys, stay as they are.
type Revocation struct {
	Grant  act.ID
	Agent  act.ID // used when Grant is 0
	Reason string // an operator's
}

// Inspected asks about an access token or a refresh token.
type Inspected struct{ Token string }

// Inspection is what there is to say of a token (RFC 7662 §2.2). Of one that is not
// good, or that the caller may not know of, only that is said.
type Inspection struct {
	Active  bool
	Claims  token.Claims // of an access token; of a refresh token what its grant has
	Refresh bool         // it is a refresh token
	Holder  act.ID       // who acts with it
	Chain   []act.ID     // on whose behalf, outermost first
	Grant   act.ID
}

func (i *Issuer) registerRevoke(g *gate.Gate) {
	i.Revoke = gate.RegisterWrite(g, gate.Write[Revocation, act.Ref]{
		Info: gate.Info{Name: "token.revoke", Doc: "End a grant, or all grants of an agent, with every token that was carved out of it.", On: act.KindGrant, Also: []act.Kind{act.KindAgent}, Quota: gate.QuotaToken},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Revocation) (r gate.Resource, err error) {
			if p.Kind == act.Operator {
				if err := CheckReason(in.Reason); err != nil {
					return r, err
				}
			}
			if in.Grant == 0 {
				name, _, standing := i.cfg.Agents.AgentFacts(in.Agent)
				if name == "" || p.Kind == act.Agent && p.ID != in.Agent {
					return r, noAgent()
				}
				return gate.Resource{Ref: act.Ref{ID: in.Agent}, Facts: gate.Facts{Kind: act.KindAgent, Author: in.Agent, AuthorStanding: standing, Own: p.ID == in.Agent}}, nil
			}
			g, found, err := grant(v, in.Grant)
			if err != nil {
				return r, err
			}
			var above []act.ID
			if found {
				if above, _, err = line(v, g); err != nil {
					return r, err
				}
			}
			mine := found && (g.Holder == p.ID || slices.Contains(above, p.ID))
			if !found || p.Kind == act.Agent && !mine {
				return r, act.Errorf(act.NotFound, "no such grant").WithRule("grant.unknown").WithHint("a grant can be ended by who holds it and by those on whose behalf it is")
			}
			return gate.Resource{Ref: act.Ref{ID: g.ID}, Facts: gate.Facts{Kind: act.KindGrant, Own: mine}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Revocation) (act.Ref, gate.Effects, error) {
			of := in.Grant
			if of == 0 {
				of = in.Agent
			}
			return act.Ref{ID: of}, gate.Effects{Out: act.Ref{ID: of}, Reason: in.Reason}, i.ids.revokeGrants(tx, of, 0)
		},
		Replay: func(_ context.Context, _ *store.View, _ act.Principal, made act.Ref) (act.Ref, error) {
			return made, nil
		},
	})
	i.Inspect = gate.RegisterRead(g, gate.Read[Inspected, Inspection]{
		Info: gate.Info{Name: "token.inspect", Doc: "Say whether a token is good and what it is good for, to its holder, those on whose behalf it is, and operators.", On: act.KindGrant, Quota: gate.QuotaToken},
		Target: func(_ context.Context, _ *store.View, _ act.Principal, _ Inspected) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindGrant}}, nil
		},
		Run: i.inspect,
	})
}

// GrantOf returns the grant behind a token, for who wants to end it. found is false
// for a token that nobody need end: RFC 7009 §2.2 has that be no error.
func (i *Issuer) GrantOf(ctx context.Context, text string) (id act.ID, found bool, err error) {
	if _, ok := i.ids.HashSecret(RefreshToken, text); ok {
		err = i.ids.db.View(ctx, func(v *store.View) error {
			g, err := i.refreshed(v, text)
			id, found = g.ID, err == nil
			if act.CodeOf(err) == act.Unauthenticated {
				err = nil
			}
			return err
		})
		if err != nil {
			err = unchecked(err)
		}
		return id, found, err
	}
	claims, ok := i.claims(text)
	if !ok {
		return 0, false, nil
	}
	id, err = i.cfg.Codec.ParseKind(claims.Grant, act.KindGrant)
	return id, err == nil, nil
}

func (i *Issuer) claims(text string) (token.Claims, bool) {
	set := i.keySet()
	if set == nil {
		return token.Claims{}, false
	}
	claims, err := set.Read(text, token.Expect{Issuer: i.URL(), Audience: i.URL(), Now: i.ids.clock()})
	return claims, err == nil
}

func (i *Issuer) inspect(_ context.Context, v *store.View, p act.Principal, in Inspected) (out Inspection, err error) {
	now := act.Micros(i.ids.clock())
	var g Grant
	if hash, ok := i.ids.HashSecret(RefreshToken, in.Token); ok {
		fresh := false
		if _, err := v.One(qRefresh, func(r *store.Row) error {
			out.Grant, fresh = r.ID(0), r.Int(1) > now && r.Int(2) == 0
			return nil
		}, hash); err != nil || !fresh {
			return Inspection{}, err
		}
		out.Refresh = true
	} else {
		var ok bool
		if out.Claims, ok = i.claims(in.Token); !ok || act.Micros(out.Claims.Expires) <= now {
			return Inspection{}, nil // what others' clocks are allowed is not what we say
		}
		if out.Grant, err = i.cfg.Codec.ParseKind(out.Claims.Grant, act.KindGrant); err != nil {
			return Inspection{}, nil
		}
	}
	g, found, err := grant(v, out.Grant)
	if err != nil || !found || g.RevokedAt != 0 || out.Refresh && !g.live(now) {
		return Inspection{}, err
	}
	if out.Chain, _, err = line(v, g); err != nil {
		return Inspection{}, err
	}
	if p.Kind != act.Operator && g.Holder != p.ID && !slices.Contains(out.Chain, p.ID) {
		return Inspection{}, nil
	}
	for _, id := range append([]act.ID{g.Holder}, out.Chain...) {
		if id.Kind() != act.KindAgent {
			continue
		}
		if _, _, standing := i.cfg.Agents.AgentFacts(id); !standing.MayAct() {
			return Inspection{}, nil
		}
	}
	out.Holder, out.Active = g.Holder, true
	if out.Refresh {
		out.Claims, err = i.claimsOf(g, out.Chain, i.ids.clock())
	}
	return out, err
}
