package oauth

import (
	"context"
	"net/http"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// Config says what the door is made of. All fields but Sessions are required.
type Config struct {
	Kernel     *api.Kernel
	Issuer     *identity.Issuer
	Consents   *identity.Consents
	URL        func() string // public URL of this network, without a slash at the end
	Algorithms []string      // by which clients may sign assertions and proofs

	// Sessions knows the operators who are signed in. Without it there is no page on
	// which a human could say yes, and the endpoints that lead there are not offered.
	Sessions *api.Sessions
}

// Paths of the endpoints.
const (
	pathToken       = "/oauth/token" //nolint:gosec // a path
	pathIntrospect  = "/oauth/introspect"
	pathRevoke      = "/oauth/revoke"
	pathAuthorize   = "/oauth/authorize"
	pathDevice      = "/oauth/device"
	pathDeviceStart = "/oauth/device_authorization"
)

type door struct {
	Config
	json []string
	html *drawer
}

// New returns the door.
func New(c Config) (*api.Door, error) {
	d := &door{Config: c, json: []string{"application/json"}}
	var err error
	if d.html, err = newDrawer(); err != nil {
		return nil, err
	}
	routes := slices.Concat(d.metadataRoutes(), d.tokenRoutes())
	if c.Sessions != nil {
		routes = slices.Concat(routes, d.authorizeRoutes(), d.deviceRoutes())
	}
	return &api.Door{Name: "oauth", Fail: d.fail, Who: d.who, Routes: routes}, nil
}

// who implements api.Door.Who: the operator whose browser it is. Only the forms in
// which a human says yes or no ask; the endpoints are for strangers.
func (d *door) who(ctx context.Context, c *api.Call) (act.Principal, error) {
	p, signed, err := d.Sessions.Of(ctx, c.R)
	if err == nil && !signed {
		err = act.Errorf(act.Unauthenticated, "you are not signed in, or no longer").WithRule("session.missing").WithHint("sign in and begin again")
	}
	return p, err
}

// nonce offers a nonce for the next proof (RFC 9449 §8).
func (d *door) nonce(c *api.Call) { c.W.Header().Set("DPoP-Nonce", d.Issuer.Nonce()) }

// send sends an answer of an endpoint.
func (d *door) send(c *api.Call, answer any) error {
	body, err := encode(answer)
	if err != nil {
		return err
	}
	c.W.Header()["Pragma"] = []string{"no-cache"} // RFC 6749 §5.1
	c.Send(http.StatusOK, d.json, body)
	return nil
}
