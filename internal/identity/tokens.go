package identity

import (
	"context"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Shown is the client assertion that a call was made with. It is good once, and is
// used up in the act's own transaction.
type Shown struct {
	Client, ID string
	Until      int64 // Unix microseconds; 0 for calls without one

	svid  bool        // it is a JWT-SVID, which
	scope token.Scope // bounds what is got by it
}

// NewGrant asks for a grant of an agent's own, by its key.
type NewGrant struct {
	Scope    string   // what the key may ask for if ""
	Audience []string // the network if empty
	Delegate act.ID   // an agent that may carve its own out of the grant
	Confirm  token.Confirm
	Shown    Shown
	Life     time.Duration // of the grant at most, where policy bounds it; 0 where it does not
}

// NewExchange asks for a grant that is carved out of another one: of the agent's
// own, or of one that names it as its delegate.
type NewExchange struct {
	Subject  act.ID // the grant behind the subject token
	Actor    act.ID // the grant behind the actor token, 0 without one; it bounds, too
	Shows    Scopes // what the tokens themselves hold, which may be less than their grants
	Scope    string // required: nothing is asked for in the caller's place
	Audience []string
	Delegate act.ID // who may carve its own out of the new one
	Confirm  token.Confirm
	Shown    Shown
	Life     time.Duration // as in NewGrant
}

// Scopes are those of the tokens that are shown in an exchange. A refreshed token may
// have been narrowed: whoever holds it carves out of what it says, not of its grant.
type Scopes struct{ Subject, Actor token.Scope }

// NewRefresh asks for another access token of a grant.
type NewRefresh struct {
	Token   string // the refresh token
	Scope   string // what the grant has if ""
	Confirm token.Confirm
	Shown   Shown
}

// Issued is a grant for which an access token can be signed now.
type Issued struct {
	Grant   Grant
	Chain   []act.ID // on whose behalf its holder acts, outermost first
	Refresh string   // a refresh token, "" without one; it is in it and nowhere else
	Reused  bool     // the refresh token had been used: the grant has been revoked
}

const (
	qRefreshAdd store.Q = `INSERT INTO refresh_token (hash, holds, created_at, expires_at, used_at) VALUES ($1, $2, $3, $4, 0)`
	qRefresh    store.Q = `SELECT holds, expires_at, used_at FROM refresh_token WHERE hash = $1`
	qRefreshUse store.Q = `UPDATE refresh_token SET used_at = $2 WHERE hash = $1 AND used_at = 0`
)

func (i *Issuer) registerTokens(g *gate.Gate) {
	i.Issue = gate.RegisterWrite(g, gate.Write[NewGrant, Issued]{
		Info: gate.Info{Name: "token.issue", Doc: "Get an access token of your own, bound to your key, with the key that was enrolled.", On: act.KindGrant, Quota: gate.QuotaToken},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in NewGrant) (gate.Resource, error) {
			return own(p), i.checkAsked(in.Scope, in.Delegate, in.Confirm)
		},
		Attenuate: func(in NewGrant, by gate.Attenuation) NewGrant { in.Life = by.TTL; return in },
		Run:       i.issue,
	})
	i.Exchange = gate.RegisterWrite(g, gate.Write[NewExchange, Issued]{
		Info: gate.Info{Name: "token.exchange", Doc: "Carve a narrower token out of one that you hold, or that names you as its delegate.", On: act.KindGrant, Quota: gate.QuotaToken},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewExchange) (r gate.Resource, err error) {
			if in.Scope == "" {
				return r, token.Refuse("scope.missing")
			}
			if err := i.checkAsked(in.Scope, in.Delegate, in.Confirm); err != nil {
				return r, err
			}
			g, found, err := grant(v, in.Subject)
			if err == nil && !found {
				err = grantOver()
			}
			r = own(p)
			r.Ref.ID, r.Facts.Own = in.Subject, found && (g.Holder == p.ID || g.Delegate == p.ID && p.ID != 0)
			if err == nil && !r.Facts.Own {
				err = act.Errorf(act.Denied, "the subject token's holder has not named you as its delegate").WithRule("exchange.delegate").
					WithHint("its holder asks for a token with your id as its audience and gives you that one")
			}
			return r, err
		},
		Attenuate: func(in NewExchange, by gate.Attenuation) NewExchange { in.Life = by.TTL; return in },
		Run:       i.exchange,
	})
	i.Refresh = gate.RegisterWrite(g, gate.Write[NewRefresh, Issued]{
		Info: gate.Info{Name: "token.refresh", Doc: "Get another access token of a grant; the refresh token is good once and comes back renewed.", On: act.KindGrant, Quota: gate.QuotaToken},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewRefresh) (r gate.Resource, err error) {
			if in.Scope != "" {
				if _, err := token.ParseScope(in.Scope); err != nil {
					return r, err
				}
			}
			g, err := i.refreshed(v, in.Token)
			r = own(p)
			r.Ref.ID, r.Facts.Own = g.ID, g.Holder == p.ID
			return r, err
		},
		Run: i.refresh,
	})
}

// own is a grant of p's as the target of an act.
func own(p act.Principal) gate.Resource {
	return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindGrant, Own: true}}
}

func (i *Issuer) checkAsked(scope string, delegate act.ID, c token.Confirm) error {
	if scope != "" {
		if _, err := token.ParseScope(scope); err != nil {
			return err
		}
	}
	if !c.Bound() {
		return unbound()
	}
	if delegate != 0 {
		if name, _, _ := i.cfg.Agents.AgentFacts(delegate); name == "" {
			return act.Errorf(act.Denied, "the delegate is no agent of this network").WithRule("target.delegate").WithHint("name an agent by its id")
		}
	}
	return nil
}

func unbound() error {
	return refused("dpop.missing", "tokens are bound to a key or a certificate, and none was shown",
		"send a DPoP proof (RFC 9449), or call over a connection with a client certificate (RFC 8705)")
}

// asked is the authority that a request asks for.
func asked(scope string, audience []string) (token.Authority, error) {
	s := token.ScopeAll
	if scope != "" {
		var err error
		if s, err = token.ParseScope(scope); err != nil {
			return token.Authority{}, err
		}
	}
	a := token.Ask(s)
	if len(audience) > 0 {
		a.Audience = audience
	}
	return a, nil
}

// held is the authority of an agent by its key alone, which ends with the key at the
// latest. Clearance is none until classes give one.
func (i *Issuer) held(c Credential, end time.Time) token.Authority {
	if c.ExpiresAt != 0 && c.ExpiresAt < act.Micros(end) {
		end = act.FromMicros(c.ExpiresAt).Truncate(time.Second)
	}
	return token.Authority{
		Scope: token.Scope(c.Scope), Audience: token.Audience{i.URL()}, Expires: end, Budget: token.Unbounded, Site: token.Everywhere, Depth: token.MaxDepth,
	}
}

// ends is when a grant that is made now ends, in whole seconds as in tokens; bound is
// what policy allows it, 0 for no bound.
func ends(tx *store.Tx, delegate act.ID, bound time.Duration) time.Time {
	life := TokenLife
	if delegate != 0 {
		life = DelegationLife
	}
	if bound > 0 {
		life = min(life, bound)
	}
	return act.FromMicros(tx.Now()).Add(life).Truncate(time.Second)
}

// useUp uses up what a call was authenticated with, in the transaction of its act,
// and holds the credential's row so that it cannot be revoked before that is over.
func (i *Issuer) useUp(tx *store.Tx, p act.Principal, s Shown) (c Credential, err error) {
	if p.Credential == 0 {
		return c, refused("client.missing", "nobody has authenticated", "sign a client assertion with a key that is enrolled (RFC 7523)")
	}
	if err := holdCredential(tx, p.Credential); err != nil {
		return c, err
	}
	if s.Until != 0 {
		if err := i.ids.takeOnce(tx, token.Assertion{Client: s.Client, ID: s.ID, Until: act.FromMicros(s.Until)}); err != nil {
			return c, err
		}
	}
	c, _, err = credentialBy(&tx.View, qKeyByID, p.Credential)
	if s.svid {
		c.Scope = string(token.Scope(c.Scope).Intersect(s.scope))
	}
	return c, err
}

func (i *Issuer) issue(_ context.Context, tx *store.Tx, p act.Principal, in NewGrant) (out Issued, fx gate.Effects, err error) {
	key, err := i.useUp(tx, p, in.Shown)
	if err != nil {
		return out, fx, err
	}
	want, err := asked(in.Scope, in.Audience)
	if err != nil {
		return out, fx, err
	}
	out.Grant = Grant{Kind: GrantClient, Holder: p.ID, Delegate: in.Delegate, Credential: p.Credential, Confirm: in.Confirm}
	if out.Grant.Authority, err = token.Narrow(i.held(key, ends(tx, in.Delegate, in.Life)), want); err != nil {
		return out, fx, err
	}
	err = addGrant(tx, &out.Grant)
	return out, gate.Effects{Out: act.Ref{ID: out.Grant.ID}}, err
}

func (i *Issuer) exchange(_ context.Context, tx *store.Tx, p act.Principal, in NewExchange) (out Issued, fx gate.Effects, err error) {
	key, err := i.useUp(tx, p, in.Shown)
	if err != nil {
		return out, fx, err
	}
	from, err := holdGrant(tx, in.Subject)
	if err != nil {
		return out, fx, err
	}
	from.Authority.Scope = from.Authority.Scope.Intersect(in.Shows.Subject)
	want, err := asked(in.Scope, in.Audience)
	if err != nil {
		return out, fx, err
	}
	// What the caller may do itself bounds what it gets, whoever it acts for.
	if want, err = token.Narrow(i.held(key, from.Authority.Expires), want); err != nil {
		return out, fx, err
	}
	if in.Actor != 0 {
		actor, err := holdGrant(tx, in.Actor)
		if err != nil {
			return out, fx, err
		}
		if actor.Holder != p.ID {
			return out, fx, act.Errorf(act.Denied, "the actor token is somebody else's").WithRule("exchange.actor").
				WithHint("send a token of your own, or none: you have authenticated")
		}
		actor.Authority.Scope = actor.Authority.Scope.Intersect(in.Shows.Actor)
		if want, err = token.Narrow(actor.Authority, want); err != nil {
			return out, fx, err
		}
	}
	chain, height, err := line(&tx.View, from)
	if err != nil {
		return out, fx, err
	}
	if height >= maxLine {
		return out, fx, token.Refuse("exchange.depth")
	}
	narrow := token.Narrow
	out.Chain = chain
	if from.Holder != p.ID {
		if slices.Contains(append(chain, from.Holder), p.ID) {
			return out, fx, act.Errorf(act.Denied, "you are in the chain already").WithRule("exchange.circle").
				WithHint("use the token that you have been given before")
		}
		narrow, out.Chain = token.Delegate, append(chain, from.Holder)
	}
	out.Grant = Grant{Kind: GrantExchange, Holder: p.ID, Parent: from.ID, Delegate: in.Delegate, Credential: p.Credential, Confirm: in.Confirm}
	if out.Grant.Authority, err = narrow(from.Authority, want); err != nil {
		return out, fx, err
	}
	if end := act.FromMicros(tx.Now()).Add(in.Life).Truncate(time.Second); in.Life > 0 && end.Before(out.Grant.Authority.Expires) {
		out.Grant.Authority.Expires = end
	}
	if err := addGrant(tx, &out.Grant); err != nil {
		return out, fx, err
	}
	fx.Out = act.Ref{ID: out.Grant.ID}
	if from.Holder == p.ID {
		return out, fx, nil
	}
	fx.Edges = []gate.Edge{{From: act.Ref{ID: from.ID}, Kind: gate.EdgeDelegation}}
	if act.Micros(out.Grant.Authority.Expires)-tx.Now() > TokenLife.Microseconds() {
		out.Refresh, err = i.addRefresh(tx, &out.Grant)
	}
	return out, fx, err
}

// addRefresh makes a refresh token of a grant.
func (i *Issuer) addRefresh(tx *store.Tx, g *Grant) (text string, err error) {
	text, hash := i.ids.NewSecret(RefreshToken)
	return text, tx.Batch(qRefreshAdd, hash, g.ID, tx.Now(), act.Micros(g.Authority.Expires))
}

// refreshed finds the grant of a refresh token, used or not.
func (i *Issuer) refreshed(v *store.View, text string) (g Grant, err error) {
	hash, ok := i.ids.HashSecret(RefreshToken, text)
	var of act.ID
	if ok {
		ok, err = v.One(qRefresh, func(r *store.Row) error { of = r.ID(0); return nil }, hash)
	}
	if err == nil && ok {
		g, ok, err = grant(v, of)
	}
	if err == nil && !ok {
		err = refused("grant.unknown", "this is no refresh token of this network, or its grant is long over", "ask for a new grant")
	}
	return g, err
}

func (i *Issuer) refresh(_ context.Context, tx *store.Tx, p act.Principal, in NewRefresh) (out Issued, fx gate.Effects, err error) {
	key, err := i.useUp(tx, p, in.Shown)
	if err != nil {
		return out, fx, err
	}
	g, err := i.refreshed(&tx.View, in.Token)
	if err != nil {
		return out, fx, err
	}
	fx.Out.ID = g.ID
	if g.Holder != p.ID || g.Confirm != in.Confirm {
		// Somebody else has it. It is not used up by that: who has it without the key
		// could end its holder's grant otherwise.
		return out, fx, act.Errorf(act.Denied, "the refresh token is bound to another client or key").WithRule("grant.binding").
			WithHint("refresh with the key that the grant was given for")
	}
	hash, _ := i.ids.HashSecret(RefreshToken, in.Token)
	used, err := tx.Exec(qRefreshUse, hash, tx.Now())
	if err != nil {
		return out, fx, err
	}
	if used == 0 {
		// Two have had it. Who is the thief cannot be told, so nobody keeps the grant;
		// that is committed, and the caller is told after.
		out.Reused, fx.Reason = true, "a refresh token was used twice"
		return out, fx, i.ids.revokeGrants(tx, g.ID, 0)
	}
	if g, err = holdGrant(tx, g.ID); err != nil {
		return out, fx, err
	}
	want, err := asked(in.Scope, nil)
	if err != nil {
		return out, fx, err
	}
	if in.Shown.svid {
		want.Scope = want.Scope.Intersect(token.Scope(key.Scope))
	}
	if out.Chain, _, err = line(&tx.View, g); err != nil {
		return out, fx, err
	}
	if out.Refresh, err = i.addRefresh(tx, &g); err != nil {
		return out, fx, err
	}
	out.Grant = g
	out.Grant.Authority, err = token.Narrow(g.Authority, want)
	return out, fx, err
}
