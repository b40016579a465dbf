package idp

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

const (
	// Life is how long a human may take at the provider.
	Life = 10 * time.Minute
	// Skew is by how much the provider's clock may be off.
	Skew = 30 * time.Second

	knownFor = time.Hour       // how long the provider's metadata are believed
	pause    = 2 * time.Second // between two tries to get them
)

// Config names a provider and says what its claims mean here.
type Config struct {
	Issuer       string // https, or http on a loopback address
	ClientID     string
	ClientSecret string   // "" for a public client: PKCE is what protects the code
	Scopes       []string // "openid" is always among them; openid, profile and email if empty

	// Claim names the claim whose values Roles and bindings give roles to: groups, say, or
	// realm_access.roles for one within another. "groups" if "".
	Claim string
	Roles map[string]gate.OperatorRoles

	// Team names the claim that has the team which somebody works in; none if "".
	Team string

	// MaxAge is how old an authentication at the provider may be. Required.
	MaxAge time.Duration

	Redirect  func() string     // the address the browser comes back to, exactly
	Transport http.RoundTripper // by which the provider is asked
	Key       []byte            // seals what the browser carries; 32 bytes
	Clock     act.Clock
}

// Provider is an identity provider. It is safe for concurrent use.
type Provider struct {
	Config
	client *http.Client //arch:allow its transport is the guarded client of egress
	seal   cipher.AEAD

	mu    sync.Mutex
	known *known    // guarded by mu; nil until the provider has answered
	tried time.Time // guarded by mu: when it was asked last
	fault error     // guarded by mu: what came of that
}

// known is what a provider says of itself.
type known struct {
	oidc *oidc.Provider
	keys oidc.KeySet // those by which it signs, kept until an unknown one is met
	at   time.Time

	Iss      bool     `json:"authorization_response_iss_parameter_supported"`
	Keys     string   `json:"jwks_uri"`
	UserInfo string   `json:"userinfo_endpoint"`
	Methods  []string `json:"token_endpoint_auth_methods_supported"`
	End      string   `json:"end_session_endpoint"`
}

// algorithms are those by which ID tokens may be signed: no "none", and none whose key
// the client knows.
var algorithms = []string{oidc.RS256, oidc.PS256, oidc.ES256, oidc.ES384, oidc.EdDSA}

// New checks a configuration. It asks the provider nothing: that is done when somebody
// signs in, so that a provider which is down keeps nobody else out.
func New(c Config) (*Provider, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Claim = cmp.Or(c.Claim, "groups")
	if len(c.Scopes) == 0 {
		c.Scopes = []string{oidc.ScopeOpenID, "profile", "email"}
	}
	if !slices.Contains(c.Scopes, oidc.ScopeOpenID) {
		c.Scopes = append([]string{oidc.ScopeOpenID}, c.Scopes...)
	}
	block, err := aes.NewCipher(c.Key)
	if err != nil {
		return nil, fmt.Errorf("idp: %w", err)
	}
	p := &Provider{Config: c, client: &http.Client{ //arch:allow its transport is the guarded client of egress
		Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p.seal, err = cipher.NewGCMWithRandomNonce(block)
	return p, err
}

func (c *Config) check() error {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("the issuer %q is no plain address", c.Issuer)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return fmt.Errorf("the issuer %q is not https", c.Issuer)
	case c.ClientID == "":
		return errors.New("there is no client id")
	case c.MaxAge < time.Second || c.Redirect == nil || c.Transport == nil || c.Clock == nil:
		return errors.New("idp: age, redirect, transport and clock are required")
	}
	for value, roles := range c.Roles {
		if value == "" || !roles.Valid() {
			return fmt.Errorf("the value %q of the claim is no role", value)
		}
	}
	return nil
}

// loopback tells a host of this machine. A name that leads elsewhere is refused by the
// transport, which judges addresses.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Host is the name by which people know the provider.
func (p *Provider) Host() string {
	u, err := url.Parse(p.Issuer)
	if err != nil {
		return p.Issuer
	}
	return u.Host
}

// discover returns what the provider says of itself. What it said before is used for a
// while, and one that does not answer is not asked again at once.
func (p *Provider) discover(ctx context.Context) (*known, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Clock()
	switch {
	case p.known != nil && now.Sub(p.known.at) < knownFor:
		return p.known, nil
	case p.fault != nil && now.Sub(p.tried) < pause:
		return nil, p.fault
	}
	// The keys are fetched later, by other requests: the context of this one must not
	// end that.
	ctx = oidc.ClientContext(context.WithoutCancel(ctx), p.client)
	found, err := oidc.NewProvider(ctx, p.Issuer)
	k := &known{oidc: found, at: now}
	if err == nil {
		err = found.Claims(k)
	}
	if err == nil {
		err = p.endpoints(k)
	}
	p.tried, p.fault = p.Clock(), nil // those who waited meanwhile do not ask again
	if err != nil {
		p.fault = down(err)
		return nil, p.fault
	}
	k.keys = oidc.NewRemoteKeySet(ctx, k.Keys)
	p.known = k
	return k, nil
}

// signatures verifies by the provider's keys and notes when they could not be had, which
// says nothing about a token.
type signatures struct {
	oidc.KeySet
	missing error
}

func (s *signatures) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := s.KeySet.VerifySignature(ctx, token)
	if err != nil && strings.HasPrefix(err.Error(), "fetching keys") { // as go-oidc says it
		s.missing = err
	}
	return payload, err
}

// endpoints refuses a provider that would have people, or what proves who they are, go
// over plain http.
func (p *Provider) endpoints(k *known) error {
	e := k.oidc.Endpoint()
	for _, address := range []string{e.AuthURL, e.TokenURL, k.Keys, cmp.Or(k.UserInfo, p.Issuer)} {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			return fmt.Errorf("the provider's endpoint %q is not https", address)
		}
	}
	return nil
}

func down(err error) error {
	return act.Errorf(act.Unavailable, "the identity provider does not answer: %w", err).WithRule("sign-in.provider").WithRetry(pause).
		WithHint("try again in a while; who has the operator's token can sign in with it meanwhile")
}

// flow is the OAuth client.
func (p *Provider) flow(k *known) *oauth2.Config {
	at := k.oidc.Endpoint()
	at.AuthStyle = oauth2.AuthStyleInHeader // the default of OpenID Connect
	if p.ClientSecret == "" || len(k.Methods) > 0 && !slices.Contains(k.Methods, "client_secret_basic") {
		at.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: at, RedirectURL: p.Redirect(), Scopes: p.Scopes,
	}
}

// refuse is a sign-in that came to nothing.
func refuse(code act.Code, rule, message, hint string) *act.Error {
	return act.Errorf(code, "%s", message).WithRule("sign-in." + rule).WithHint(hint)
}

const beginAgain = "begin again from the page /sign-in"

// printable makes what the provider, or somebody in its name, wrote fit to be said.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= ' ' && r <= '~' {
			return r
		}
		return -1
	}, s)
	return s[:min(len(s), 100)]
}
