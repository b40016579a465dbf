package identity

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/svid"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The grant types that agents use at the token endpoint.
const (
	TypeClient   = "client_credentials"
	TypeExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	TypeRefresh  = "refresh_token"
	TypeAssert   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// TokenRequest is a request at the token endpoint, decoded.
type TokenRequest struct {
	Type   string // grant_type
	Source string // keyed hash of where it comes from
	Client Client
	Scope  string

	Audience []string // resource and audience parameters: URLs, or one agent's outside id
	Subject  string   // subject_token
	Actor    string   // actor_token
	Refresh  string   // refresh_token
	Bearer   string   // assertion of another issuer (RFC 7523 §2.1)
}

// Client is how the sender of a request authenticates and what the token will be
// bound to.
type Client struct {
	ID        string // client_id, optional beside an assertion
	Assertion string // client_assertion (RFC 7523 §2.2)
	SVID      string // a JWT-SVID in its place
	Secret    string // an agent's bootstrap key in its place: it buys bound tokens only
	Proof     string // the DPoP header
	Method    string
	URL       string            // of the request, under the public URL
	Cert      *x509.Certificate // an X.509-SVID says who it is, too
}

// Public reports whether a client has said who it is and shown nothing for it.
func (c Client) Public() bool {
	return c.ID != "" && c.Assertion == "" && c.SVID == "" && c.Secret == "" && (c.Cert == nil || !svid.IsSVID(c.Cert))
}

// TokenAnswer is an access token and what belongs to it.
type TokenAnswer struct {
	AccessToken string
	Type        string // "DPoP", or "Bearer" for one that a certificate binds (RFC 8705 §3)
	Expires     time.Time
	Scope       string
	Refresh     string // a refresh token, "" without one
	Grant       act.ID
}

// Token answers a request at the token endpoint. What is refused before anybody is
// known is put on record here.
func (i *Issuer) Token(ctx context.Context, r TokenRequest) (TokenAnswer, error) {
	name := map[string]string{TypeClient: "token.issue", TypeExchange: "token.exchange", TypeRefresh: "token.refresh", TypeAssert: "token.assert"}[r.Type]
	if name == "" {
		return TokenAnswer{}, act.Errorf(act.Invalid, "this grant type is not one of this network").WithRule("grant.type").
			WithHint("the metadata document lists those there are")
	}
	stranger := act.Principal{Source: r.Source}
	confirm, err := i.Confirm(ctx, r.Client)
	if err != nil {
		i.refuse(ctx, stranger, name, err)
		return TokenAnswer{}, err
	}
	if r.Type == TypeAssert {
		return i.assert(ctx, stranger, r, confirm)
	}
	p, shown, err := i.Authenticate(ctx, r.Client, r.Refresh)
	p.Source = r.Source
	if err != nil {
		i.refuse(ctx, stranger, name, err)
		return TokenAnswer{}, err
	}
	audience, delegate := i.audience(r.Audience)
	var out Issued
	switch r.Type {
	case TypeClient:
		out, err = i.Issue.Do(ctx, p, NewGrant{Scope: r.Scope, Audience: audience, Delegate: delegate, Confirm: confirm, Shown: shown})
	case TypeExchange:
		in := NewExchange{Scope: r.Scope, Audience: audience, Delegate: delegate, Confirm: confirm, Shown: shown}
		if in.Subject, in.Shows.Subject, err = i.subject(r.Subject); err == nil && r.Actor != "" {
			in.Actor, in.Shows.Actor, err = i.subject(r.Actor)
		}
		if err != nil {
			i.refuse(ctx, p, name, err)
			return TokenAnswer{}, err
		}
		out, err = i.Exchange.Do(ctx, p, in)
	case TypeRefresh:
		if out, err = i.Refresh.Do(ctx, p, NewRefresh{Token: r.Refresh, Scope: r.Scope, Confirm: confirm, Shown: shown}); err == nil && out.Reused {
			err = act.Errorf(act.Denied, "this refresh token was used before; its grant has been revoked").WithRule("grant.reused").
				WithHint("somebody else may have had it: ask for a new grant, and have your key replaced if you did not use it twice yourself")
			i.refuse(ctx, p, name, err)
		}
	}
	if err != nil {
		return TokenAnswer{}, err
	}
	return i.Answer(out)
}

func (i *Issuer) refuse(ctx context.Context, p act.Principal, name string, err error) {
	if code := act.CodeOf(err); code == act.Unauthenticated || code == act.Denied || code == act.Invalid {
		i.gate.Refuse(ctx, p, name, err)
	}
}

// Confirm returns what a token for the sender is bound to: the key of its DPoP
// proof, which is taken here and has to have a nonce of this network, or the
// certificate of its connection.
func (i *Issuer) Confirm(ctx context.Context, c Client) (token.Confirm, error) {
	if c.Proof == "" {
		if c.Cert != nil {
			return token.Confirm{X5T: token.CertificateThumbprint(c.Cert)}, nil
		}
		return token.Confirm{}, unbound()
	}
	proof, err := token.ReadProof(c.Proof, token.Request{Method: c.Method, URL: c.URL, Now: i.ids.clock()})
	if err != nil {
		return token.Confirm{}, err
	}
	return token.Confirm{JKT: proof.JKT}, i.proofs.take(ctx, proof)
}

// Authenticate returns the agent that sent a request, by the assertion of a key that
// is enrolled, by an SVID, or by its bootstrap key. A refresh token of an operator's grant needs
// neither: it is bound to the key that the request proves.
func (i *Issuer) Authenticate(ctx context.Context, c Client, refresh string) (p act.Principal, shown Shown, err error) {
	seen := i.ids.fences.Load()
	switch {
	case c.Assertion != "":
		if p, shown, err = i.byAssertion(ctx, c.Assertion); err == nil && c.ID != "" && c.ID != shown.Client {
			err = token.Refuse("assertion.client")
		}
	case c.SVID != "":
		if p, shown, err = i.byTokenSVID(ctx, c.SVID); err == nil && c.ID != "" && c.ID != i.cfg.Codec.String(p.ID) && c.ID != shown.Client {
			err = token.Refuse("assertion.client")
		}
	case c.Secret != "":
		if p, err = i.ids.Authenticate(ctx, c.Secret); err == nil && (p.Kind != act.Agent || c.ID != "" && c.ID != i.cfg.Codec.String(p.ID)) {
			err = refused("client.secret", "this is no agent's key, or another agent's", "leave client_id out, or send the agent's own")
		}
	case c.Cert != nil && svid.IsSVID(c.Cert):
		var name string
		if p, name, err = i.bySVID(ctx, c.Cert); err == nil && c.ID != "" && c.ID != i.cfg.Codec.String(p.ID) && c.ID != name {
			err = token.Refuse("assertion.client")
		}
	case refresh != "":
		p, err = i.byRefresh(ctx, refresh)
	default:
		err = refused("client.missing", "nobody has authenticated", "sign a client assertion with a key that is enrolled (RFC 7523)")
	}
	p.Seen = seen
	return p, shown, err
}

func (i *Issuer) byAssertion(ctx context.Context, text string) (p act.Principal, shown Shown, err error) {
	s := i.ids
	var keys []Credential
	a, err := token.ReadAssertion(text, token.AssertionExpect{
		Audience: i.URL(), Now: s.clock(),
		Keys: func(client string) (list []token.Public, err error) {
			agent, err := i.cfg.Codec.ParseKind(client, act.KindAgent)
			if err != nil {
				return nil, token.Refuse("assertion.key")
			}
			if err := s.db.View(ctx, func(v *store.View) (err error) { keys, err = s.keysOf(v, agent); return err }); err != nil {
				return nil, unchecked(err)
			}
			for _, k := range keys {
				public, err := token.ParseJWK([]byte(k.jwk))
				if err != nil {
					return nil, err
				}
				list = append(list, public)
			}
			return list, nil
		},
	})
	if err != nil {
		return p, shown, err
	}
	n := slices.IndexFunc(keys, func(k Credential) bool { return k.KeyID == a.Key.Thumbprint() })
	p = act.Principal{Kind: act.Agent, ID: keys[n].Subject, Credential: keys[n].ID, Binding: act.BindingKey}
	if p.Name, err = s.subjects.Subject(ctx, p.ID); err != nil {
		return p, shown, unchecked(err)
	}
	return p, Shown{Client: a.Client, ID: a.ID, Until: act.Micros(a.Until)}, nil
}

// byRefresh returns the operator whose grant a refresh token is of.
func (i *Issuer) byRefresh(ctx context.Context, text string) (p act.Principal, err error) {
	err = i.ids.db.View(ctx, func(v *store.View) error {
		g, err := i.refreshed(v, text)
		if err != nil {
			return err
		}
		if g.Holder.Kind() != act.KindOperator {
			return refused("client.missing", "an agent authenticates when it refreshes", "sign a client assertion with a key that is enrolled (RFC 7523)")
		}
		p = act.Principal{Kind: act.Operator, ID: g.Holder, Credential: g.Credential, Binding: act.BindingDPoP}
		err = describeOperator(v, &p)
		g.within(&p)
		return err
	})
	if err != nil && act.CodeOf(err) != act.Unauthenticated {
		err = unchecked(err)
	}
	return p, err
}

// audience tells URLs from the agent that is named as the delegate: a token for it
// is one that it may carve its own out of.
func (i *Issuer) audience(list []string) (urls []string, delegate act.ID) {
	for _, a := range list {
		if id, err := i.cfg.Codec.ParseKind(a, act.KindAgent); err == nil && delegate == 0 {
			delegate = id
			continue
		}
		urls = append(urls, a)
	}
	return urls, delegate
}

// subject returns the grant behind a subject or actor token, and the token's scope.
func (i *Issuer) subject(text string) (act.ID, token.Scope, error) {
	claims, ok := i.claims(text)
	if ok {
		if id, err := i.cfg.Codec.ParseKind(claims.Grant, act.KindGrant); err == nil {
			return id, claims.Scope, nil
		}
	}
	return 0, "", refused("grant.subject", "the subject or actor token is no good access token of this network", "send one that has not expired, exactly as it was given to you")
}

// Answer signs an access token for a grant.
func (i *Issuer) Answer(out Issued) (TokenAnswer, error) {
	set := i.keySet()
	if set == nil {
		return TokenAnswer{}, unchecked(nil)
	}
	g := out.Grant
	claims, err := i.claimsOf(g, out.Chain, i.ids.clock())
	if err != nil {
		return TokenAnswer{}, err
	}
	a := TokenAnswer{Type: "DPoP", Expires: claims.Expires, Scope: string(claims.Scope), Refresh: out.Refresh, Grant: g.ID}
	if g.Confirm.X5T != "" {
		a.Type = "Bearer"
	}
	if a.AccessToken, err = set.Sign(claims); err != nil {
		return TokenAnswer{}, act.Errorf(act.Internal, "the token cannot be signed: %w", err)
	}
	return a, nil
}

// claimsOf returns the claims of an access token for a grant that is signed now.
func (i *Issuer) claimsOf(g Grant, chain []act.ID, now time.Time) (token.Claims, error) {
	codec := i.cfg.Codec
	now = now.UTC().Truncate(time.Second)
	var jti [16]byte
	_, _ = rand.Read(jti[:]) // never fails (crypto/rand)
	c := token.Claims{
		Issuer: i.URL(), Client: codec.String(g.Holder), Subject: codec.String(g.Holder), ID: base64.RawURLEncoding.EncodeToString(jti[:]),
		Grant: codec.String(g.ID), IssuedAt: now, Confirm: g.Confirm, Authority: g.Authority,
	}
	if len(chain) > 0 {
		c.Subject = codec.String(chain[0])
		c.Actors = append(c.Actors, codec.String(g.Holder))
		for n := len(chain) - 1; n > 0; n-- {
			c.Actors = append(c.Actors, codec.String(chain[n]))
		}
	}
	if end := now.Add(TokenLife); end.Before(c.Expires) {
		c.Expires = end
	}
	if !c.Expires.After(now) {
		return c, grantOver()
	}
	return c, nil
}
