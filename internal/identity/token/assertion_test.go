package token_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// The audience of a client assertion is the issuer as one text, its time is
// short, and its key is the client's.
func TestAssertionCorpus(t *testing.T) {
	a := newActors(t)
	laptop, err := token.ParseJWK([]byte(`{"kid":"laptop","kty":"OKP","crv":"Ed25519","x":"` + b64(a.ed.Public().(ed25519.PublicKey)) + `"}`))
	must(t, err)
	asked := 0
	expect := token.AssertionExpect{Audience: issuer, Now: now, Keys: func(client string) ([]token.Public, error) {
		asked++
		if client != "agent-a" {
			return nil, token.Refuse("assertion.key")
		}
		return []token.Public{a.p256, laptop}, nil
	}}
	h := doc{{"alg", `"EdDSA"`}, {"kid", `"` + laptop.Thumbprint() + `"`}}
	c := doc{
		{"iss", `"agent-a"`}, {"sub", `"agent-a"`}, {"aud", `"` + issuer + `"`}, {"jti", `"one"`}, {"exp", at(time.Minute)}, {"iat", at(0)},
	}
	by := byEd25519(a.ed)
	sign := func(h, c doc) string { return compact(h.String(), c.String(), by) }
	good := sign(h, c)
	wrong := func(name, raw string) string { return sign(h, c.with(name, raw)) }
	fine := func(name, text string) {
		t.Helper()
		x, err := token.ReadAssertion(text, expect)
		if err != nil {
			t.Errorf("%s is refused: %v (%s)", name, err, ruleOf(err))
		} else if x.Client != "agent-a" || x.ID != "one" || !x.Until.Equal(x.Expires.Add(token.Skew)) || x.Key.Algorithm() == 0 {
			t.Errorf("%s: %+v", name, x)
		}
	}
	fine("the assertion that all others are made from", good)
	fine("typ JWT", sign(h.with("typ", `"JWT"`), c))
	fine("typ of rfc7523bis", sign(h.with("typ", `"client-authentication+jwt"`), c))
	fine("typ in full and another case", sign(h.with("typ", `"application/Client-Authentication+JWT"`), c))
	fine("no kid", sign(h.without("kid"), c))
	fine("the name that the client gave the key", sign(h.with("kid", `"laptop"`), c))
	fine("the new name of the algorithm", sign(h.with("alg", `"Ed25519"`), c))
	fine("no kid, another key of the client", compact(h.without("kid").with("alg", `"ES256"`).String(), c.String(), byES256(a.ec)))
	fine("no iat", sign(h, c.without("iat")))
	fine("29 s after its end", wrong("exp", at(-29*time.Second)))
	fine("30 s before its beginning", wrong("nbf", at(30*time.Second)))
	fine("ten minutes and 30 s long", wrong("exp", at(10*time.Minute+30*time.Second)))

	unlooked := []fault{ // refused before anybody's keys are asked for
		{"none", compact(h.with("alg", `"none"`).String(), c.String(), unsigned), "algorithm"},
		{"HS256 with the public key", compact(h.with("alg", `"HS256"`).String(), c.String(), byHMAC(publicPEM(t, a.ed.Public()))), "algorithm"},
		{"RS256", sign(h.with("alg", `"RS256"`), c), "algorithm"},
		{"no alg", sign(h.without("alg"), c), "algorithm"},

		{"an access token", sign(h.with("typ", `"at+jwt"`), c), "type"},
		{"a proof", sign(h.with("typ", `"dpop+jwt"`), c), "type"},
		{"a proof of identity", sign(h.with("typ", `"reef-identity+jwt"`), c), "type"},
		{"typ is empty", sign(h.with("typ", `""`), c), "type"},
		{"typ is null", sign(h.with("typ", `null`), c), "type"},

		{"crit", sign(h.with("crit", `["exp"]`), c), "critical"},
		{"b64", sign(h.with("b64", `false`), c), "critical"},
		{"jku", sign(h.with("jku", `"https://evil.example/keys"`), c), "critical"},
		{"x5u", sign(h.with("x5u", `"https://evil.example/cert"`), c), "critical"},
		{"a key of its own", sign(h.with("jwk", jwkOf(t, a.ed.Public())), c), "critical"},
		{"a private key of its own", sign(h.with("jwk", jwkOf(t, a.ed)), c), "critical"},

		{"two kids", sign(h.twice("kid", `"laptop"`), c), "malformed"},
		{"empty kid", sign(h.with("kid", `""`), c), "key"},
		{"kid is a number", sign(h.with("kid", `1`), c), "key"},
		{"kid is long", sign(h.with("kid", `"`+strings.Repeat("k", 200)+`"`), c), "key"},

		{"no iss", sign(h, c.without("iss")), "client"},
		{"another iss", wrong("iss", `"agent-b"`), "client"},
		{"iss in escapes that say something else", sign(h, c.with("sub", `"agent\\u002da"`).with("iss", `"agent\u002da"`)), "client"},
		{"no sub", sign(h, c.without("sub")), "claims"},
		{"sub is a number", wrong("sub", `7`), "claims"},
		{"no jti", sign(h, c.without("jti")), "claims"},
		{"long jti", wrong("jti", `"`+strings.Repeat("j", 256)+`"`), "claims"},
		{"no exp", sign(h, c.without("exp")), "claims"},
		{"exp is text", wrong("exp", `"soon"`), "claims"},
		{"iat is text", wrong("iat", `"now"`), "claims"},
		{"a claim twice", sign(h, c.twice("sub", `"agent-b"`)), "claims"},
		{"payload is a list", compact(h.String(), `[]`, by), "claims"},

		{"no aud", sign(h, c.without("aud")), "audience"},
		{"another audience", wrong("aud", `"https://evil.example"`), "audience"},
		{"the token endpoint", wrong("aud", `"`+issuer+`/oauth/token"`), "audience"},
		{"the issuer with a slash", wrong("aud", `"`+issuer+`/"`), "audience"},
		{"a list of the issuer", wrong("aud", `["`+issuer+`"]`), "audience"},
		{"a list of two", wrong("aud", `["`+issuer+`","https://evil.example"]`), "audience"},

		{"30 s after its end", wrong("exp", at(-30*time.Second)), "expired"},
		{"31 s after its end", wrong("exp", at(-31*time.Second)), "expired"},
		{"31 s too long", wrong("exp", at(10*time.Minute+31*time.Second)), "life"},
		{"a year long", wrong("exp", at(8760*time.Hour)), "life"},
		{"31 s before its beginning", wrong("nbf", at(31*time.Second)), "early"},
		{"made 31 s ahead", wrong("iat", at(31*time.Second)), "early"},
		{"made next year", wrong("iat", at(8760*time.Hour)), "early"},
	}
	read := func(text string) error { _, err := token.ReadAssertion(text, expect); return err }
	asked = 0
	refused(t, "assertion", append(formFaults(t, a, good, "JWT"), unlooked...), read)
	if asked != 0 {
		t.Errorf("the keys were asked for %d times", asked)
	}
	refused(t, "assertion", []fault{
		{"a client that is not known", sign(h, c.with("iss", `"agent-b"`).with("sub", `"agent-b"`)), "key"},
		{"kid of nobody", sign(h.with("kid", `"`+rfcJKT+`"`), c), "key"},
		{"kid is a path", sign(h.with("kid", `"../../keys/laptop"`), c), "key"},
		{"kid is SQL", sign(h.with("kid", `"laptop' OR '1'='1"`), c), "key"},
		{"kid is an address", sign(h.with("kid", `"https://evil.example/k"`), c), "key"},
		{"the other key's kid", sign(h.with("kid", `"`+a.p256.Thumbprint()+`"`), c), "algorithm"},
		{"by another key", compact(h.String(), c.String(), byEd25519(a.other)), "signature"},
		{"by another key, no kid", compact(h.without("kid").String(), c.String(), byEd25519(a.other)), "signature"},
		{"no signature", compact(h.String(), c.String(), unsigned), "signature"},
		{"another payload", strings.Split(good, ".")[0] + "." + b64([]byte(c.with("jti", `"two"`).String())) + "." + strings.Split(good, ".")[2], "signature"},
	}, read)

	// An answer that cannot be given is not "unauthenticated" (T06).
	expect.Keys = func(string) ([]token.Public, error) { return nil, act.Errorf(act.Unavailable, "down") }
	if _, err := token.ReadAssertion(good, expect); act.CodeOf(err) != act.Unavailable {
		t.Errorf("keys that cannot be read: %v", err)
	}
	// A client without a kid cannot have us try keys without end.
	tried := 0
	expect.Keys = func(string) ([]token.Public, error) {
		many := make([]token.Public, 0, 64)
		for range 64 {
			tried++
			many = append(many, a.p256)
		}
		return append(many, laptop), nil
	}
	if _, err := token.ReadAssertion(compact(h.without("kid").with("alg", `"ES256"`).String(), c.String(), byES256(a.ec)), expect); err != nil || tried != 64 {
		t.Errorf("the right key first: %v", err)
	}
}
