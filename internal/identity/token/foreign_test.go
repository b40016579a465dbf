package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// The RSA key of RFC 7638 §3.1, whose thumbprint is given there.
const (
	rfc7638Key = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256"}`
	rfc7638Sum = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

	idp = "https://idp.example"
)

func TestKeySet(t *testing.T) {
	t.Parallel()
	set, err := token.ParseKeySet([]byte(`{"keys":[` + rfc7638Key + `,{"kid":"laptop",` + rfcKey[1:] + `]}`))
	must(t, err)
	if got := set.Names(); !slices.Equal(got, []string{rfc7638Sum, "laptop"}) {
		t.Errorf("keys %q", got)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	private := jwkOf(t, small)
	tiny := `{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("w", 171) + `"}` // 1,024 bits
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(t, err)
	useless := []string{private, tiny, jwkOf(t, p521.Public()), jwkOf(t, []byte("symmetric")), `{"kty":"XYZ"}`, `{}`, `7`, `null`, `{"use":"enc",` + rfcKey[1:]}
	set, err = token.ParseKeySet([]byte(`{"keys":[` + strings.Join(useless, ",") + `,` + rfcKey + `]}`))
	must(t, err)
	if got := set.Names(); !slices.Equal(got, []string{rfcJKT}) {
		t.Errorf("of useless keys are left %q", got)
	}
	for _, bad := range []string{
		"", "[]", "{}", `{"keys":{}}`, `{"keys":[]}`, `{"keys":[` + strings.Join(useless, ",") + `]}`,
		`{"keys":[` + strings.Repeat(rfcKey+",", 100) + rfcKey + `]}`, `{"keys":[` + rfcKey + `]}` + strings.Repeat(" ", 1<<18),
	} {
		if _, err := token.ParseKeySet([]byte(bad)); ruleOf(err) != "key.set" {
			t.Errorf("%.60s: %v", bad, err)
		}
	}
}

// Assertions that another library signs, by every algorithm that issuers use.
func TestForeignAssertions(t *testing.T) {
	t.Parallel()
	a := newActors(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	var published jose.JSONWebKeySet
	for name, key := range map[string]crypto.PublicKey{"rsa": rsaKey.Public(), "p256": a.ec.Public(), "p384": p384.Public(), "ed": a.ed.Public()} {
		published.Keys = append(published.Keys, jose.JSONWebKey{Key: key, KeyID: name, Use: "sig"})
	}
	text, err := json.Marshal(published)
	must(t, err)
	keys, err := token.ParseKeySet(text)
	must(t, err)
	expect := token.ForeignExpect{Issuer: idp, Audience: issuer, Keys: keys, Now: now}

	c := foreignClaims()
	for _, s := range []struct {
		alg jose.SignatureAlgorithm
		key any
		kid string
	}{
		{jose.RS256, rsaKey, "rsa"}, {jose.PS256, rsaKey, "rsa"}, {jose.ES256, a.ec, "p256"}, {jose.ES384, p384, "p384"}, {jose.EdDSA, a.ed, "ed"}, {jose.RS256, rsaKey, ""},
	} {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, (&jose.SignerOptions{}).WithType("JWT"))
		must(t, err)
		obj, err := signer.Sign([]byte(c.String()))
		must(t, err)
		text, err := obj.CompactSerialize()
		must(t, err)
		f, err := token.ReadForeign(text, expect)
		if err != nil {
			t.Errorf("%s by %q: %v (%s)", s.alg, s.kid, err, ruleOf(err))
			continue
		}
		if email, ok := f.Claim("email"); f.Subject != "workload-7" || f.ID != "one" || !ok || email != "ci@corp.example" || !f.Until.Equal(f.Expires.Add(token.Skew)) {
			t.Errorf("%s: %+v, email %q", s.alg, f, email)
		}
		if _, ok := f.Claim("exp"); ok {
			t.Errorf("%s: a number is a text", s.alg)
		}
	}

	h := doc{{"alg", `"EdDSA"`}, {"kid", `"ed"`}, {"typ", `"JWT"`}}
	by := byEd25519(a.ed)
	sign := func(h, c doc) string { return compact(h.String(), c.String(), by) }
	good := sign(h, c)
	wrong := func(name, raw string) string { return sign(h, c.with(name, raw)) }
	for name, text := range map[string]string{
		"the assertion that all others are made from": good,
		"a list of one audience":                      wrong("aud", `["`+issuer+`"]`),
		"no typ":                                      sign(h.without("typ"), c),
		"an identity assertion grant":                 sign(h.with("typ", `"oauth-id-jag+jwt"`), c),
		"the new name of the algorithm":               sign(h.with("alg", `"Ed25519"`), c),
		"a day long":                                  wrong("exp", at(24*time.Hour)),
	} {
		if _, err := token.ReadForeign(text, expect); err != nil {
			t.Errorf("%s: %v (%s)", name, err, ruleOf(err))
		}
	}
	one, err := token.ReadForeign(sign(h, c.without("jti")), expect)
	must(t, err)
	two, err := token.ReadForeign(sign(h, c.without("jti").with("email", `"x"`)), expect)
	must(t, err)
	if !strings.HasPrefix(one.ID, "sha256:") || one.ID == two.ID {
		t.Errorf("without jti the ids are %q and %q", one.ID, two.ID)
	}

	mixed := rsaKey.Public()
	refused(t, "grant", append(formFaults(t, a, good, "JWT"), []fault{
		{"none", compact(h.with("alg", `"none"`).String(), c.String(), unsigned), "algorithm"},
		{"HS256 with the public key", compact(h.with("alg", `"HS256"`).with("kid", `"rsa"`).String(), c.String(), byHMAC(publicPEM(t, mixed))), "algorithm"},
		{"RS384", compact(h.with("alg", `"RS384"`).with("kid", `"rsa"`).String(), c.String(), by), "algorithm"},
		{"another key's algorithm", sign(h.with("alg", `"RS256"`), c), "algorithm"},
		{"crit", sign(h.with("crit", `["exp"]`), c), "critical"},
		{"jku", sign(h.with("jku", `"https://evil.example/keys"`), c), "critical"},
		{"a key of its own", sign(h.with("jwk", jwkOf(t, a.ed.Public())), c), "critical"},
		{"an access token", sign(h.with("typ", `"at+jwt"`), c), "type"},
		{"a proof", sign(h.with("typ", `"dpop+jwt"`), c), "type"},
		{"kid of nobody", sign(h.with("kid", `"nobody"`), c), "key"},
		{"empty kid", sign(h.with("kid", `""`), c), "key"},
		{"by another key", compact(h.String(), c.String(), byEd25519(a.other)), "signature"},
		{"by another RSA key", compact(h.with("alg", `"RS256"`).with("kid", `"rsa"`).String(), c.String(), by), "signature"},
		{"no signature", compact(h.String(), c.String(), unsigned), "signature"},
		{"another issuer", wrong("iss", `"https://evil.example"`), "issuer"},
		{"no issuer", sign(h, c.without("iss")), "issuer"},
		{"another audience", wrong("aud", `"https://evil.example"`), "audience"},
		{"a list of two audiences", wrong("aud", `["`+issuer+`","https://evil.example"]`), "audience"},
		{"no audience", sign(h, c.without("aud")), "audience"},
		{"no subject", sign(h, c.without("sub")), "claims"},
		{"no end", sign(h, c.without("exp")), "claims"},
		{"jti is a number", wrong("jti", `1`), "claims"},
		{"nbf is text", wrong("nbf", `"x"`), "claims"},
		{"a claim twice", sign(h, c.twice("sub", `"workload-8"`)), "claims"},
		{"30 s after its end", wrong("exp", at(-30*time.Second)), "expired"},
		{"31 s before its beginning", wrong("nbf", at(31*time.Second)), "early"},
		{"made 31 s ahead", wrong("iat", at(31*time.Second)), "early"},
		{"longer than a day", wrong("exp", at(24*time.Hour+time.Second)), "life"},
	}...), func(text string) error { _, err := token.ReadForeign(text, expect); return err })
	declared, err := token.ParseKeySet([]byte(`{"keys":[{"alg":"PS256","kid":"rsa",` + jwkOf(t, rsaKey.Public())[1:] + `]}`))
	must(t, err)
	byRSA := compact(h.with("alg", `"RS256"`).with("kid", `"rsa"`).String(), c.String(), func(in string) []byte {
		sum := sha256.Sum256([]byte(in))
		sig, err := rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, sum[:])
		must(t, err)
		return sig
	})
	if _, err := token.ReadForeign(byRSA, expect); err != nil {
		t.Error(err)
	}
	if _, err := token.ReadForeign(byRSA, token.ForeignExpect{Issuer: idp, Audience: issuer, Keys: declared, Now: now}); ruleOf(err) != "grant.algorithm" {
		t.Errorf("a key that is declared for another algorithm: %v", err)
	}
	if _, err := token.ReadForeign(good, token.ForeignExpect{Issuer: idp, Audience: issuer, Now: now}); ruleOf(err) != "grant.key" {
		t.Errorf("no keys: %v", err)
	}
}

func foreignClaims() doc {
	return doc{
		{"iss", `"` + idp + `"`}, {"sub", `"workload-7"`}, {"aud", `"` + issuer + `"`}, {"jti", `"one"`},
		{"exp", at(time.Hour)}, {"iat", at(0)}, {"email", `"ci@corp.example"`},
	}
}
