package server

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/console"
	"github.com/reefwarden/reefwarden/internal/egress"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/idp"
	"github.com/reefwarden/reefwarden/internal/policy"
)

const maxSecretFile = 4 << 10 // bytes

// checkSignIn refuses sessions that would last too long and an identity provider that
// cannot work.
func (c Config) checkSignIn() error {
	life := cmp.Or(c.SessionLife, identity.DefaultSessionLife)
	idle := cmp.Or(c.SessionIdle, identity.DefaultSessionIdle)
	step := cmp.Or(c.StepUp, policy.DefaultFresh)
	switch {
	case life < 5*time.Minute || life > 7*24*time.Hour:
		return fmt.Errorf("--session-life %s is not from 5m to 168h", c.SessionLife)
	case idle < 5*time.Minute || c.SessionIdle > life:
		return fmt.Errorf("--session-idle %s is not from 5m to the session's life, %s", c.SessionIdle, life)
	case step < time.Minute || step > time.Hour:
		return fmt.Errorf("--step-up-within %s is not from 1m to 1h", c.StepUp)
	case c.OIDCIssuer == "" && (c.OIDCClient != "" || len(c.OIDCRoles) > 0 || c.OIDCTeam != "" || c.OIDCSecret != ""):
		return errors.New("--oidc-client, --oidc-roles, --oidc-team and --oidc-client-secret-file say how people sign in at --oidc-issuer, which is not given")
	case c.OIDCIssuer == "":
		return nil
	case c.ObserverPages == PagesOff:
		return errors.New("--oidc-issuer signs people in to the pages, and --observer-pages is off")
	}
	_, err := c.provider(make([]byte, 32), act.RealClock, func() string { return "" })
	return err
}

// provider makes the relying party of the identity provider; nil without one. The
// provider is reached by the guarded client: on the public internet and where the
// configuration says so, and nowhere else.
func (c Config) provider(key []byte, clock act.Clock, base func() string) (*idp.Provider, error) {
	if c.OIDCIssuer == "" {
		return nil, nil
	}
	fail := func(err error) (*idp.Provider, error) { return nil, fmt.Errorf("--oidc-issuer: %w", err) }
	reach := egress.Config{Ports: []uint16{443}}
	for _, a := range c.OIDCAllow {
		prefix, err := parsePrefix(a)
		if err != nil {
			return nil, fmt.Errorf("--oidc-allow %q is neither an address nor a CIDR", a)
		}
		reach.Allow = append(reach.Allow, netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()))
	}
	if u, err := url.Parse(c.OIDCIssuer); err == nil && u.Port() != "" {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			return fail(err)
		}
		reach.Ports = append(reach.Ports, uint16(port))
	}
	if c.OIDCRoots != "" {
		pem, err := os.ReadFile(c.OIDCRoots)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca: %w", err)
		}
		reach.Roots = x509.NewCertPool()
		if !reach.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--oidc-ca %s holds no certificate", c.OIDCRoots)
		}
	}
	out := idp.Config{
		Issuer: c.OIDCIssuer, ClientID: c.OIDCClient, Scopes: c.OIDCScopes, Claim: c.OIDCClaim, Team: c.OIDCTeam, Roles: make(map[string]gate.OperatorRoles),
		MaxAge: cmp.Or(c.SessionLife, identity.DefaultSessionLife), Redirect: func() string { return base() + console.Callback },
		Transport: egress.New(reach), Key: key, Clock: clock,
	}
	for _, text := range c.OIDCRoles {
		at := strings.LastIndexByte(text, '=') // names of groups have some of their own
		if at < 0 {
			return nil, fmt.Errorf("--oidc-roles %q is not VALUE=ROLE", text)
		}
		role, err := gate.ParseOperatorRole(text[at+1:])
		if err != nil {
			return nil, fmt.Errorf("--oidc-roles: %w", err)
		}
		out.Roles[text[:at]] |= role
	}
	if c.OIDCSecret != "" {
		secret, err := os.ReadFile(c.OIDCSecret)
		if err != nil {
			return nil, fmt.Errorf("--oidc-client-secret-file: %w", err)
		}
		if out.ClientSecret = strings.TrimSpace(string(secret)); out.ClientSecret == "" || len(secret) > maxSecretFile {
			return nil, fmt.Errorf("--oidc-client-secret-file %s holds no secret", c.OIDCSecret)
		}
	}
	p, err := idp.New(out)
	if err != nil {
		return fail(err)
	}
	return p, nil
}
