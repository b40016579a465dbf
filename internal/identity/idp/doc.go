// Package idp lets people sign in at an enterprise's identity provider: it is the
// relying party of OpenID Connect Core 1.0, with the authorization code flow and
// nothing else.
//
// It hides the protocol: where the provider is (Discovery 1.0), what the browser
// carries there and back, how the code is redeemed and the ID token verified, and which
// roles and groups the claims come to. go-oidc and x/oauth2 are known here alone.
//
// It promises that a person it returns came back in the browser that left: the state
// is sealed in a cookie of that browser (login CSRF), the nonce ties the ID token to it
// (code injection), PKCE ties the code to it (RFC 7636), iss ties the answer to this
// provider (RFC 9207), and all of it is good for ten minutes. Whether who it names may
// come in is identity's to say, which knows the bindings too. It asks the provider through
// the transport it is given, and stores nothing: that one sign-in opens one session is the
// caller's to see to (Person.Once).
//
// Entry points: [New], [Provider.Begin], [Provider.Finish], [Provider.Leave].
package idp
