package identity

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewEnrollment asks for a token under which one key can be enrolled: of an agent
// that is there, or of a new one that will be the owner's.
type NewEnrollment struct {
	Agent    act.ID
	Owner    string        // of a new agent
	Scope    string        // what the key may ask for; "*" if ""
	ValidFor time.Duration // MinEnrollmentLife to MaxEnrollmentLife; DefaultEnrollmentLife if 0
}

// Enrolling is a new enrolment token. It is in it and nowhere else.
type Enrolling struct {
	Token     string
	ID        act.ID
	ExpiresAt int64 // Unix microseconds
}

// NewKey replaces one of an agent's keys by one that the agent has made. The two
// vouch for each other: Proof is an assertion by the new key over the thumbprint of
// the old one, Old an assertion by the old key over the thumbprint of the new one.
type NewKey struct {
	Key   string // the new public key (JWK)
	Proof string
	Old   string
}

// Recovery is an owner's word, their own or given through an operator, that an agent has
// lost its keys, or lost them to somebody.
type Recovery struct {
	Agent  act.ID
	Owner  string // who asks for it: it has to be the agent's owner; "" is who calls
	Legacy bool   // hand out a bootstrap key, too
	Reason string
}

// Recovered is what an agent begins again with. Both secrets are in it and nowhere
// else.
type Recovered struct {
	Agent     act.ID
	Token     string // enrols a new key
	ExpiresAt int64  // of the token, Unix microseconds
	Key       string // bootstrap key, "" unless asked for
	Ended     int64  // credentials that were good until now
}

// CredentialEnd names a credential that is no good any more.
type CredentialEnd struct {
	Credential act.ID
	Reason     string // an operator's
}

func (i *Issuer) registerCredentials(g *gate.Gate) {
	i.Invite = gate.RegisterWrite(g, gate.Write[NewEnrollment, Enrolling]{
		Info: gate.Info{Name: "enrollment.create", Doc: "Make a token under which one agent can enrol a key, once.", On: act.KindNetwork, Also: []act.Kind{act.KindAgent}, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewEnrollment) (gate.Resource, error) {
			return i.resolveInvite(in)
		},
		Run: i.invite,
	})
	i.Renew = gate.RegisterWrite(g, gate.Write[NewKey, Credential]{
		Info: gate.Info{Name: "credential.rotate", Doc: "Replace one of your keys by a new one that it vouches for; the old one and its tokens end.", On: act.KindCredential, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, _ NewKey) (gate.Resource, error) {
			return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindCredential, Own: true}}, nil
		},
		Run: i.renew,
	})
	i.Recover = gate.RegisterWrite(g, gate.Write[Recovery, Recovered]{
		Info: gate.Info{Name: "credential.recover", Doc: "End all credentials and tokens of an agent at its owner's word and let it enrol a new key; it stays who it is.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Recovery) (gate.Resource, error) {
			if err := CheckReason(in.Reason); err != nil {
				return gate.Resource{}, err
			}
			name, owner, standing := i.cfg.Agents.AgentFacts(in.Agent)
			if name == "" {
				return gate.Resource{}, noAgent()
			}
			guards, err := i.ids.Answers(v, p, owner)
			return gate.Resource{
				Ref: act.Ref{ID: in.Agent}, Facts: gate.Facts{Kind: act.KindAgent, AuthorStanding: standing, Answered: len(guards) > 0}, Guards: guards,
			}, err
		},
		Run: i.recover,
	})
	i.End = gate.RegisterWrite(g, gate.Write[CredentialEnd, act.Ref]{
		Info: gate.Info{Name: "credential.revoke", Doc: "End a key or another credential, with every token that was got by it.", On: act.KindCredential, Also: []act.Kind{act.KindOperator}, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in CredentialEnd) (gate.Resource, error) {
			if p.Kind == act.Operator {
				if err := CheckReason(in.Reason); err != nil {
					return gate.Resource{}, err
				}
			}
			c, err := i.credential(v, p, in.Credential)
			kind := act.KindCredential
			if c.Subject.Kind() == act.KindOperator { // to policy, ending what an operator signs in with is ending the operator
				kind = act.KindOperator
			}
			return gate.Resource{Ref: act.Ref{ID: c.ID}, Facts: gate.Facts{Kind: kind, Own: c.Subject == p.ID}}, err
		},
		Run: i.end,
		Replay: func(_ context.Context, _ *store.View, _ act.Principal, made act.Ref) (act.Ref, error) {
			return made, nil
		},
	})
}

func noAgent() error {
	return act.Errorf(act.NotFound, "no such agent").WithHint("use the id as agent.list shows it")
}

// credential finds a credential that p may know of: its own, or any for an operator.
func (i *Issuer) credential(v *store.View, p act.Principal, id act.ID) (Credential, error) {
	c, found, err := credentialBy(v, qKeyByID, id)
	if err == nil && (!found || p.Kind != act.Operator && c.Subject != p.ID) {
		err = act.Errorf(act.NotFound, "no such credential").WithRule("credential.unknown").WithHint("use the id as identity.inventory shows it")
	}
	return c, err
}

func (i *Issuer) resolveInvite(in NewEnrollment) (r gate.Resource, err error) {
	if in.ValidFor != 0 && (in.ValidFor < MinEnrollmentLife || in.ValidFor > MaxEnrollmentLife) {
		return r, act.Errorf(act.Invalid, "an enrolment token is valid for a minute to seven days").WithRule("enroll.life").
			WithHint("leave it out for an hour")
	}
	if in.Scope != "" {
		if _, err := token.ParseScope(in.Scope); err != nil {
			return r, err
		}
	}
	if in.Agent == 0 {
		return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, CheckName("owner", in.Owner)
	}
	name, _, standing := i.cfg.Agents.AgentFacts(in.Agent)
	if name == "" {
		return r, noAgent()
	}
	return gate.Resource{Ref: act.Ref{ID: in.Agent}, Facts: gate.Facts{Kind: act.KindAgent, AuthorStanding: standing}}, nil
}

func (i *Issuer) invite(_ context.Context, tx *store.Tx, p act.Principal, in NewEnrollment) (out Enrolling, fx gate.Effects, err error) {
	var owner act.ID
	if in.Agent == 0 {
		if owner, err = i.ids.EnsureOwner(tx, in.Owner); err != nil {
			return out, fx, err
		}
	}
	scope := token.ScopeAll
	if in.Scope != "" {
		if scope, err = token.ParseScope(in.Scope); err != nil {
			return out, fx, err
		}
	}
	life := in.ValidFor
	if life == 0 {
		life = DefaultEnrollmentLife
	}
	out, err = i.ids.enrolling(tx, p.ID, in.Agent, owner, scope, life)
	return out, gate.Effects{Out: act.Ref{ID: out.ID}}, err
}

func (i *Issuer) renew(_ context.Context, tx *store.Tx, p act.Principal, in NewKey) (out Credential, fx gate.Effects, err error) {
	fresh, err := token.ParseJWK([]byte(in.Key))
	if err != nil {
		return out, fx, err
	}
	keys, err := i.ids.keysOf(&tx.View, p.ID)
	if err != nil {
		return out, fx, err
	}
	var publics []token.Public
	for _, k := range keys {
		public, err := token.ParseJWK([]byte(k.jwk))
		if err != nil {
			return out, fx, err
		}
		publics = append(publics, public)
	}
	old, err := token.ReadAssertion(in.Old, token.AssertionExpect{
		Audience: i.URL(), Now: i.ids.clock(),
		Keys: func(client string) ([]token.Public, error) {
			if client != fresh.Thumbprint() {
				return nil, nil
			}
			return publics, nil
		},
	})
	if err != nil {
		return out, fx, err
	}
	if err := i.ids.takeOnce(tx, old); err != nil {
		return out, fx, err
	}
	if _, err := i.ids.possessed(tx, in.Key, in.Proof, old.Key.Thumbprint()); err != nil {
		return out, fx, err
	}
	scope := token.Scope("")
	for _, k := range keys {
		if k.KeyID != old.Key.Thumbprint() {
			continue
		}
		scope = token.Scope(k.Scope)
		if err := i.endCredential(tx, k); err != nil {
			return out, fx, err
		}
	}
	if out, err = i.ids.addKey(tx, p.ID, fresh, scope); err != nil {
		return out, fx, err
	}
	return out, gate.Effects{Out: act.Ref{ID: out.ID}}, nil
}

// endCredential revokes a credential and what was got by it: SVIDs, tokens, command keys. With an SVID
// end those that its key got later, since they may have been got by it; their holder gets
// others by the key. An agent's epoch is raised, so that nothing it has under way by the
// credential is done any more.
func (i *Issuer) endCredential(tx *store.Tx, c Credential) error {
	for _, q := range [...]store.Q{qSVIDsEnd, qCommandKeysEnd} {
		if _, err := tx.Exec(q, c.ID, tx.Now()); err != nil {
			return err
		}
	}
	ended := []act.ID{c.ID}
	if c.Kind == kindSVID {
		if err := tx.All(qSVIDsAfter, func(r *store.Row) error { ended = append(ended, r.ID(0)); return nil }, c.ID, token.Skew.Microseconds()); err != nil {
			return err
		}
	}
	for _, id := range ended {
		if _, err := tx.Exec(qKeyEnd, id, tx.Now()); err != nil {
			return err
		}
		if err := i.ids.revokeGrants(tx, id, c.Subject); err != nil {
			return err
		}
	}
	if c.Subject.Kind() == act.KindAgent {
		return i.cfg.Agents.Raise(tx, []act.ID{c.Subject})
	}
	tx.Fence(c.Subject.Kind(), c.Subject)
	return nil
}

func (i *Issuer) end(_ context.Context, tx *store.Tx, p act.Principal, in CredentialEnd) (ref act.Ref, fx gate.Effects, err error) {
	c, err := i.credential(&tx.View, p, in.Credential)
	if err != nil {
		return ref, fx, err
	}
	ref = act.Ref{ID: c.ID}
	return ref, gate.Effects{Out: ref, Reason: in.Reason}, i.endCredential(tx, c)
}

func (i *Issuer) recover(_ context.Context, tx *store.Tx, p act.Principal, in Recovery) (out Recovered, fx gate.Effects, err error) {
	_, owner, standing := i.cfg.Agents.AgentFacts(in.Agent)
	asks, found, err := i.ids.asker(&tx.View, p, in.Owner)
	switch {
	case err != nil:
		return out, fx, err
	case !found || asks != owner || owner == 0:
		return out, fx, act.Errorf(act.Denied, "the agent is somebody else's").WithRule("recover.owner").
			WithHint("only the agent's owner can have its keys replaced; agent.show says who that is")
	case standing.Final():
		return out, fx, act.Errorf(act.Conflict, "the agent is %s, which is final", standing).WithRule("standing." + standing.String()).
			WithHint("enrol a new agent")
	}
	if out.Ended, err = i.ids.Revoke(tx, in.Agent); err != nil {
		return out, fx, err
	}
	if err := i.cfg.Agents.Raise(tx, []act.ID{in.Agent}); err != nil {
		return out, fx, err
	}
	made, err := i.ids.enrolling(tx, p.ID, in.Agent, 0, token.ScopeAll, DefaultEnrollmentLife)
	if err != nil {
		return out, fx, err
	}
	out.Agent, out.Token, out.ExpiresAt = in.Agent, made.Token, made.ExpiresAt
	if in.Legacy {
		if out.Key, _, err = i.ids.IssueKey(tx, in.Agent); err != nil {
			return out, fx, err
		}
	}
	return out, gate.Effects{Out: act.Ref{ID: in.Agent}, Reason: in.Reason}, nil
}
