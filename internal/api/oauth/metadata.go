package oauth

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/api"
)

// Where the documents are that say how tokens are had and used. A network below a
// path has its name behind them, not before (RFC 8414 §3, RFC 9728 §3).
const (
	ServerMetadata   = "/.well-known/oauth-authorization-server"
	ResourceMetadata = "/.well-known/oauth-protected-resource"
)

// server is the authorization server's description of itself (RFC 8414 §2, with
// what RFC 8628 §4, RFC 8705 §3.3, RFC 9207 §3 and RFC 9449 §5.1 add).
type server struct {
	Issuer              string   `json:"issuer"`
	Authorize           string   `json:"authorization_endpoint,omitempty"`
	Device              string   `json:"device_authorization_endpoint,omitempty"`
	Token               string   `json:"token_endpoint"`
	Introspect          string   `json:"introspection_endpoint"`
	Revoke              string   `json:"revocation_endpoint"`
	Keys                string   `json:"jwks_uri"`
	Scopes              []string `json:"scopes_supported"`
	ResponseTypes       []string `json:"response_types_supported"`
	ResponseModes       []string `json:"response_modes_supported,omitempty"`
	Grants              []string `json:"grant_types_supported"`
	Auth                []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgorithms      []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	InspectAuth         []string `json:"introspection_endpoint_auth_methods_supported"`
	InspectAlgorithms   []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevokeAuth          []string `json:"revocation_endpoint_auth_methods_supported"`
	RevokeAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	Challenges          []string `json:"code_challenge_methods_supported,omitempty"`
	ProofAlgorithms     []string `json:"dpop_signing_alg_values_supported"`
	IssuerInAnswer      bool     `json:"authorization_response_iss_parameter_supported"`
	BoundByCertificates bool     `json:"tls_client_certificate_bound_access_tokens"`
}

// resource is this network's description of itself as what tokens are for (RFC
// 9728 §2).
type resource struct {
	Resource            string   `json:"resource"`
	Servers             []string `json:"authorization_servers"`
	Scopes              []string `json:"scopes_supported"`
	Methods             []string `json:"bearer_methods_supported"`
	ProofAlgorithms     []string `json:"dpop_signing_alg_values_supported"`
	ProofRequired       bool     `json:"dpop_bound_access_tokens_required"`
	BoundByCertificates bool     `json:"tls_client_certificate_bound_access_tokens"`
	Name                string   `json:"resource_name"`
}

func (d *door) metadataRoutes() []api.Route {
	show := func(path string, make func() any) api.Route {
		return api.Route{
			Method: http.MethodGet, Path: path, Anonymous: true, Exempt: "made from the configuration alone, for clients that have no token yet",
			Handle: func(_ context.Context, c *api.Call) error {
				body, err := encode(make())
				if err != nil {
					return err
				}
				c.Send(http.StatusOK, d.json, body)
				return nil
			},
		}
	}
	return []api.Route{
		show(ServerMetadata, func() any { return d.server() }),
		show(ResourceMetadata, func() any { return d.resource() }),
	}
}

func (d *door) server() server {
	base, secure := d.URL(), strings.HasPrefix(d.URL(), "https://")
	s := server{
		Issuer: base, Token: base + pathToken, Introspect: base + pathIntrospect, Revoke: base + pathRevoke, Keys: base + "/.well-known/jwks.json",
		Scopes: d.scopes(), ResponseTypes: []string{}, Grants: []string{grantClient, grantExchange, grantRefresh, grantAssertion},
		Auth: []string{authAssertion}, AuthAlgorithms: d.Algorithms,
		InspectAuth: []string{authAssertion}, InspectAlgorithms: d.Algorithms,
		RevokeAuth: []string{authAssertion}, RevokeAlgorithms: d.Algorithms,
		ProofAlgorithms: d.Algorithms, BoundByCertificates: secure,
	}
	methods := []*[]string{&s.Auth, &s.InspectAuth, &s.RevokeAuth}
	for _, m := range methods {
		if *m = append(*m, authTokenSVID); secure {
			*m = append(*m, authSVID)
		}
	}
	if d.Sessions != nil {
		s.Authorize, s.Device = base+pathAuthorize, base+pathDeviceStart
		s.ResponseTypes, s.ResponseModes, s.Challenges = []string{responseCode}, []string{"query"}, []string{challengeS256}
		s.Grants = append(s.Grants, grantCode, grantDevice)
		s.Auth = append(s.Auth, authNone)
		s.RevokeAuth = append(s.RevokeAuth, authNone)
		s.IssuerInAnswer = true
	}
	return s
}

func (d *door) resource() resource {
	base := d.URL()
	return resource{
		Resource: base, Servers: []string{base}, Scopes: d.scopes(), Methods: []string{"header"}, ProofAlgorithms: d.Algorithms,
		ProofRequired: true, BoundByCertificates: strings.HasPrefix(base, "https://"), Name: "Reefwarden",
	}
}

// scopes lists the words that a scope can have short of single acts, which are in
// docs/acts.md: all of a noun, or everything.
func (d *door) scopes() []string {
	list := []string{"*"}
	for _, a := range d.Kernel.Gate.Acts() {
		noun, _, _ := strings.Cut(a.Name, ".")
		if word := noun + ".*"; noun != "system" && !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return list
}
