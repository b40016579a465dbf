// Package oauth is the door of the authorization server: the OAuth 2.1 wire over
// the acts of identity. It hides how a request for a token is read and how an
// answer or an error is written, exactly as the RFCs have them.
//
//	/.well-known/oauth-authorization-server   RFC 8414
//	/.well-known/oauth-protected-resource     RFC 9728
//	/oauth/token                              RFC 6749, 7523, 8693, 8628, 9449
//	/oauth/introspect, /oauth/revoke          RFC 7662, 7009
//	/oauth/authorize, /oauth/device           what a human answers, RFC 6749, 7636, 8628
//	/oauth/device_authorization               RFC 8628
//
// Invariants:
//   - a parameter that stands twice is refused, but for the two that may; what is in
//     the address is not looked at where the RFC wants the body;
//   - a request counts against its source before anything in it is verified;
//   - every error is one that an RFC names (errors.go has the one table), with our
//     rule and hint beside it; none holds a token, a proof or a code;
//   - nothing is cached, and no page of another origin is let in: there is no CORS,
//     and forms that another site sends are refused;
//   - a human says yes on a page that no other site can frame or fill in.
//
// It owns no tables and imports no store. Entry point: [New].
package oauth
