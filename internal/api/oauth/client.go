package oauth

import (
	"net/url"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
)

// How clients say who they are (RFC 7591 §2 has the names).
const (
	authAssertion = "private_key_jwt"
	authSVID      = "spiffe_x509" // draft-ietf-oauth-spiffe-client-auth: the certificate of the connection
	authTokenSVID = "spiffe_jwt"
	authNone      = "none" // public clients, with a code or device code that only they have

	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2
	svidType      = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
	ruleHeader    = "client.header"
	maxAssertion  = 8 << 10 // bytes
	maxClientID   = 256
)

// client is who a request says it comes from, before anything of that is verified.
type client struct {
	id        string
	assertion string // RFC 7523; "" when the client is public or shows a certificate
	svid      string // a JWT-SVID in its place
}

// clientOf reads what a client sent to authenticate itself. There are no client
// secrets, so the Authorization header has nothing to say here.
func clientOf(c *api.Call, f url.Values) (client, error) {
	out := client{id: f.Get("client_id"), assertion: f.Get("client_assertion")}
	switch kind := f.Get("client_assertion_type"); {
	case len(c.R.Header["Authorization"]) > 0:
		return out, act.Errorf(act.Unauthenticated, "clients do not authenticate with a header here").WithRule(ruleHeader).
			WithHint("sign a client_assertion with your key (private_key_jwt); there are no client secrets")
	case f.Has("client_secret"):
		return out, act.Errorf(act.Unauthenticated, "there are no client secrets here").WithRule("client.secret").
			WithHint("sign a client_assertion with your key (private_key_jwt)")
	case (kind != "") != (out.assertion != ""):
		return out, badForm("client_assertion and client_assertion_type go together", "send both")
	case kind != "" && kind != assertionType && kind != svidType:
		return out, act.Errorf(act.Unauthenticated, "this type of client assertion is not taken here").WithRule("client.assertion_type").
			WithHint("send client_assertion_type=" + assertionType)
	case len(out.assertion) > maxAssertion || len(out.id) > maxClientID:
		return out, act.Errorf(act.Unauthenticated, "what the client sent about itself is too long").WithRule("client.size").
			WithHint("send a client_id and an assertion with the claims that it needs")
	}
	if f.Get("client_assertion_type") == svidType {
		out.assertion, out.svid = "", out.assertion
	}
	return out, nil
}
