package oauth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// The grant types.
const (
	grantClient    = identity.TypeClient
	grantExchange  = identity.TypeExchange
	grantRefresh   = identity.TypeRefresh
	grantAssertion = identity.TypeAssert
	grantCode      = identity.TypeCode
	grantDevice    = identity.TypeDevice
)

// The types of token in an exchange (RFC 8693 §3). There is one sort of token here.
const (
	typeAccess = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // a name
	typeJWT    = "urn:ietf:params:oauth:token-type:jwt"          //nolint:gosec // a name
)

func (d *door) tokenRoutes() []api.Route {
	const post = http.MethodPost
	return []api.Route{
		{Method: post, Path: pathToken, Act: "token.issue", Also: []string{"token.exchange", "token.refresh", "token.assert", "consent.redeem"}, Anonymous: true, MaxBody: maxForm, Handle: d.token},
		{Method: post, Path: pathIntrospect, Act: "token.inspect", Anonymous: true, MaxBody: maxForm, Handle: d.introspect},
		{Method: post, Path: pathRevoke, Act: "token.revoke", Anonymous: true, MaxBody: maxForm, Handle: d.revoke},
	}
}

// begin is what the endpoints have in common: the source's rate, before anything is
// verified, then the form, then who says to have sent it.
func (d *door) begin(ctx context.Context, c *api.Call) (f url.Values, who identity.Client, err error) {
	if err := d.Kernel.Gate.Knock(ctx, c.Principal, c.Route.Act, gate.QuotaTry); err != nil {
		return nil, who, err
	}
	if f, err = form(c); err != nil {
		return nil, who, err
	}
	sent, err := clientOf(c, f)
	if err == nil {
		who.Proof, err = proofOf(c.R)
	}
	if err != nil {
		if act.CodeOf(err) == act.Unauthenticated {
			d.Kernel.Gate.Refuse(ctx, c.Principal, c.Route.Act, err)
		}
		return nil, who, err
	}
	return f, identity.Client{
		ID: sent.id, Assertion: sent.assertion, SVID: sent.svid, Proof: who.Proof, Method: c.R.Method, URL: d.URL() + c.R.URL.EscapedPath(), Cert: d.Kernel.Certificate(c.R),
	}, nil
}

// proofOf returns the DPoP header, of which there may be one (RFC 9449 §4.3).
func proofOf(r *http.Request) (string, error) {
	switch sent := r.Header["Dpop"]; len(sent) {
	case 0:
		return "", nil
	case 1:
		return sent[0], nil
	}
	return "", act.Errorf(act.Unauthenticated, "more than one DPoP header was sent").WithRule("dpop.twice").WithHint("send one proof with a request")
}

// issued is a good answer of the token endpoint (RFC 6749 §5.1).
type issued struct {
	AccessToken string `json:"access_token"`
	Issued      string `json:"issued_token_type,omitempty"` // RFC 8693 §2.2.1
	Type        string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Scope       string `json:"scope"`
	Refresh     string `json:"refresh_token,omitempty"`
}

// POST /oauth/token
func (d *door) token(ctx context.Context, c *api.Call) error {
	f, who, err := d.begin(ctx, c)
	if err != nil {
		return err
	}
	var a identity.TokenAnswer
	var kind string
	switch grant := f.Get("grant_type"); grant {
	case grantCode, grantDevice:
		if d.Sessions == nil {
			return unsupported()
		}
		r := identity.RedeemRequest{Type: grant, Client: who, Code: f.Get("code"), Redirect: f.Get("redirect_uri"), Verifier: f.Get("code_verifier")}
		if grant == grantDevice {
			r.Code = f.Get("device_code")
		}
		if r.Code == "" || who.ID == "" {
			return badForm("the code or the client_id is missing", "send the code and the client_id that it was given to")
		}
		a, err = d.Consents.Token(ctx, c.Principal.Source, r)
	case grantClient, grantExchange, grantRefresh, grantAssertion:
		r := identity.TokenRequest{
			Type: grant, Source: c.Principal.Source, Client: who, Scope: f.Get("scope"), Audience: append(f["resource"], f["audience"]...),
			Subject: f.Get("subject_token"), Actor: f.Get("actor_token"), Refresh: f.Get("refresh_token"), Bearer: f.Get("assertion"),
		}
		if err := complete(f, grant); err != nil {
			return err
		}
		if grant == grantExchange {
			kind = typeAccess
		}
		a, err = d.Issuer.Token(ctx, r)
	case "":
		return badForm("grant_type is missing", "the metadata document lists those there are")
	default:
		return unsupported()
	}
	if err != nil {
		return err
	}
	d.nonce(c)
	return d.send(c, issued{
		AccessToken: a.AccessToken, Issued: kind, Type: a.Type, ExpiresIn: int64(a.Expires.Sub(d.Kernel.Clock()) / time.Second), Scope: a.Scope, Refresh: a.Refresh,
	})
}

func unsupported() error {
	return act.Errorf(act.Invalid, "this grant type is not one of this network").WithRule("grant.type").WithHint("the metadata document lists those there are")
}

// complete checks that what a grant needs was sent, and that an exchange is about
// the one sort of token that there is (RFC 8693 §2.1).
func complete(f url.Values, grant string) error {
	need := map[string][]string{
		grantExchange: {"subject_token", "subject_token_type"}, grantRefresh: {"refresh_token"}, grantAssertion: {"assertion"},
	}[grant]
	for _, name := range need {
		if !f.Has(name) {
			return badForm(name+" is missing", "send all that the grant needs")
		}
	}
	if grant != grantExchange {
		return nil
	}
	if f.Has("actor_token") != f.Has("actor_token_type") {
		return badForm("actor_token and actor_token_type go together", "send both, or none: the client has authenticated")
	}
	for _, name := range []string{"subject_token_type", "actor_token_type", "requested_token_type"} {
		if kind := f.Get(name); kind != "" && kind != typeAccess && (kind != typeJWT || name == "requested_token_type") {
			return badForm(name+" is none that is taken here", "send "+typeAccess)
		}
	}
	return nil
}

// client authenticates who asks about a token or ends one. Public clients have
// nothing but the token itself, which tells whose it is.
func (d *door) client(ctx context.Context, c *api.Call, who identity.Client) (act.Principal, error) {
	p, _, err := d.Issuer.Authenticate(ctx, who, "")
	p.Source = c.Principal.Source
	if err != nil {
		d.Kernel.Gate.Refuse(ctx, c.Principal, c.Route.Act, err)
	}
	return p, err
}

// inspection is what there is to say of a token (RFC 7662 §2.2).
type inspection struct {
	Active   bool     `json:"active"`
	Scope    string   `json:"scope,omitempty"`
	ClientID string   `json:"client_id,omitempty"`
	Type     string   `json:"token_type,omitempty"`
	Expires  int64    `json:"exp,omitempty"`
	IssuedAt int64    `json:"iat,omitempty"`
	Subject  string   `json:"sub,omitempty"`
	Audience []string `json:"aud,omitempty"`
	Issuer   string   `json:"iss,omitempty"`
	ID       string   `json:"jti,omitempty"`
	Confirm  *confirm `json:"cnf,omitempty"`
	Actor    *actor   `json:"act,omitempty"`
	Grant    string   `json:"grant,omitempty"`
}

type confirm struct {
	JKT string `json:"jkt,omitempty"`      // RFC 9449 §6.2
	X5T string `json:"x5t#S256,omitempty"` // RFC 8705 §3.2
}

// actor is who acts for a subject, and for whom that one does (RFC 8693 §4.1).
type actor struct {
	Subject string `json:"sub"`
	Actor   *actor `json:"act,omitempty"`
}

func actors(list []string) *actor {
	if len(list) == 0 {
		return nil
	}
	return &actor{list[0], actors(list[1:])}
}

// POST /oauth/introspect
func (d *door) introspect(ctx context.Context, c *api.Call) error {
	f, who, err := d.begin(ctx, c)
	if err != nil {
		return err
	}
	p, err := d.client(ctx, c, who)
	if err != nil {
		return err
	}
	if !f.Has("token") {
		return badForm("token is missing", "send the token to ask about")
	}
	i, err := d.Issuer.Inspect.Do(ctx, p, identity.Inspected{Token: f.Get("token")})
	if err != nil {
		return err
	}
	if !i.Active {
		return d.send(c, inspection{}) // nothing else is said of it
	}
	out := inspection{
		Active: true, Scope: string(i.Claims.Scope), ClientID: i.Claims.Client, Type: "DPoP", Expires: i.Claims.Expires.Unix(), IssuedAt: i.Claims.IssuedAt.Unix(),
		Subject: i.Claims.Subject, Audience: i.Claims.Audience, Issuer: i.Claims.Issuer, Confirm: &confirm{i.Claims.Confirm.JKT, i.Claims.Confirm.X5T},
		Actor: actors(i.Claims.Actors), Grant: d.Kernel.Codec.String(i.Grant),
	}
	if i.Claims.Confirm.X5T != "" {
		out.Type = "Bearer"
	}
	if i.Refresh {
		out.Type = ""
	} else {
		out.ID = i.Claims.ID
	}
	return d.send(c, out)
}

// POST /oauth/revoke
func (d *door) revoke(ctx context.Context, c *api.Call) error {
	f, who, err := d.begin(ctx, c)
	if err != nil {
		return err
	}
	text := f.Get("token")
	if text == "" {
		return badForm("token is missing", "send the token to end")
	}
	p, err := d.ender(ctx, c, who, text)
	if err != nil {
		return err
	}
	grant, found, err := d.Issuer.GrantOf(ctx, text)
	if err != nil {
		return err
	}
	if found {
		_, err = d.Issuer.Revoke.Do(ctx, p, identity.Revocation{Grant: grant, Reason: "the client ended it"})
		if e := act.AsError(err); err != nil && e.Code != act.NotFound {
			return err
		}
	}
	// A token that is over, or somebody else's, is none that this client could end:
	// RFC 7009 §2.2 has that be no error, and nothing is said of it.
	c.Send(http.StatusOK, nil, nil)
	return nil
}

// ender returns who ends a token: the agent that has authenticated, or the operator
// whose refresh token it is, which its public client alone has.
func (d *door) ender(ctx context.Context, c *api.Call, who identity.Client, text string) (act.Principal, error) {
	refresh := ""
	if who.Public() {
		if refresh = text; !strings.HasPrefix(text, identity.RefreshToken.Prefix()) {
			return act.Principal{}, act.Errorf(act.Invalid, "a public client ends its grant by its refresh token").WithRule("revoke.type").
				WithHint("send the refresh token: its access tokens end with it")
		}
	}
	p, _, err := d.Issuer.Authenticate(ctx, who, refresh)
	p.Source = c.Principal.Source
	if err != nil {
		d.Kernel.Gate.Refuse(ctx, c.Principal, c.Route.Act, err)
	}
	return p, err
}
