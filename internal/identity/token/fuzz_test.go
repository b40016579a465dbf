package token_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// fuzzKey is one key for all runs, so that what was found is found again.
func fuzzKey(t testing.TB) (ed25519.PrivateKey, token.Private) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	private, err := token.PrivateFrom(key)
	must(t, err)
	return key, private
}

// named holds a refusal to a rule of this package, and lets nothing come with it.
func named(t *testing.T, err error, nothing bool) {
	t.Helper()
	if !slices.Contains(token.Rules(), ruleOf(err)) {
		t.Fatalf("refused by %q", ruleOf(err))
	}
	if !nothing {
		t.Fatalf("refused by %q, and something came of it", ruleOf(err))
	}
}

// taken holds a text that was taken to being one that another library takes too,
// with one signature and the same payload, which it returns.
func taken(t *testing.T, text string, key ed25519.PublicKey) map[string]any {
	t.Helper()
	if strings.Contains(text, "\n") || strings.Count(text, ".") != 2 {
		t.Fatalf("%q is no compact form", text)
	}
	obj, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.EdDSA, "Ed25519"})
	if err != nil {
		t.Fatalf("go-jose does not take %s: %v", text, err)
	}
	var payload []byte
	if obj.Signatures[0].Protected.Algorithm == "Ed25519" { // it does not know the new name
		i := strings.LastIndexByte(text, '.')
		if !ed25519.Verify(key, []byte(text[:i]), obj.Signatures[0].Signature) {
			t.Fatalf("the signature of %s does not verify", text)
		}
		payload = obj.UnsafePayloadWithoutVerification()
	} else if payload, err = obj.Verify(key); err != nil {
		t.Fatalf("go-jose does not verify %s: %v", text, err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatalf("payload %s: %v", payload, err)
	}
	return claims
}

// FuzzReadToken gives Read a text as it is, and a header and payload under a good
// signature.
func FuzzReadToken(f *testing.F) {
	key, private := fuzzKey(f)
	set, err := token.NewSet(private)
	must(f, err)
	a := actors{ed: key, public: private.Public()}
	h, c := base(a)
	good, err := set.Sign(exampleClaims())
	must(f, err)
	f.Add(good, h.String(), c.String())
	f.Add("", h.with("crit", `["x"]`).String(), c.with("act", `{"sub":"b","act":{"sub":"a"}}`).String())
	f.Add(flattened(good), h.with("kid", `"../key"`).String(), c.with("aud", `["`+issuer+`"]`).with("budget", "7").with("site", `"berlin"`).String())
	f.Add(good[:len(good)-3], `{"alg":"none"}`, c.twice("sub", `"x"`).String())
	f.Fuzz(func(t *testing.T, text, header, payload string) {
		for _, text := range []string{text, compact(header, payload, byEd25519(key))} {
			got, err := set.Read(text, atIssuer)
			if err != nil {
				named(t, err, got.Subject == "" && got.Scope == "")
				continue
			}
			claims := taken(t, text, key.Public().(ed25519.PublicKey))
			if claims["sub"] != got.Subject || claims["iss"] != issuer || claims["scope"] != string(got.Scope) || claims["jti"] != got.ID || claims["grant"] != got.Grant {
				t.Fatalf("%s was read as %+v", text, got)
			}
			exp, iat := claims["exp"].(float64)-float64(got.Expires.Unix()), claims["iat"].(float64)-float64(got.IssuedAt.Unix())
			if exp < 0 || exp > 1 || iat < 0 || iat > 1 || now.After(got.Expires.Add(token.Skew)) { // fractions are cut off
				t.Fatalf("%s was read as %+v", text, got)
			}
			if !got.Confirm.Bound() || len(got.Actors) > token.MaxDepth {
				t.Fatalf("%s was read as %+v", text, got)
			}
			// What was read can be signed, and is then the same.
			again, err := set.Sign(got)
			if err != nil {
				t.Fatalf("%+v cannot be signed: %v", got, err)
			}
			if back, err := set.Read(again, atIssuer); err != nil || !back.Authority.Equal(got.Authority) || !slices.Equal(back.Actors, got.Actors) || back.Subject != got.Subject {
				t.Fatalf("%+v came back as %+v, %v", got, back, err)
			}
		}
	})
}

// FuzzReadProof does the same for proofs, whose key comes with them.
func FuzzReadProof(f *testing.F) {
	key, private := fuzzKey(f)
	h, c := baseProof(f, actors{ed: key})
	good, err := private.Prove(token.Prove{Method: "GET", URL: resource, AccessToken: accessToken, Nonce: "n", Now: now})
	must(f, err)
	f.Add(good, h.String(), c.String(), resource)
	f.Add(rfcResourceProof, h.with("jwk", rfcKey).String(), c.with("htu", `"HTTPS://REEF.example:443/%761/./posts?x"`).String(), "https://reef.example/v1/posts#y")
	f.Add(flattened(good), h.with("jwk", jwkOf(f, key)).String(), c.with("iat", "1e9").String(), "http://[::1]:80/a/../b")
	f.Add("", h.with("alg", `"Ed25519"`).String(), c.without("ath").String(), "%")
	f.Fuzz(func(t *testing.T, text, header, payload, url string) {
		for _, text := range []string{text, compact(header, payload, byEd25519(key))} {
			got, err := token.ReadProof(text, token.Request{Method: "GET", URL: url, AccessToken: accessToken, Now: now})
			if err != nil {
				named(t, err, got.JKT == "" && got.JTI == "")
				continue
			}
			public, ok := got.Key.Key().(ed25519.PublicKey)
			if !ok {
				continue // a P-256 proof would have to be forged
			}
			claims := taken(t, text, public)
			if claims["jti"] != got.JTI || claims["htm"] != "GET" || claims["ath"] != hashOf(accessToken) || got.JKT != got.Key.Thumbprint() {
				t.Fatalf("%s was read as %+v", text, got)
			}
			if d := now.Sub(got.IssuedAt); d >= token.Skew || d < -token.Skew {
				t.Fatalf("%s is %s old", text, d)
			}
			// The address that the proof names is one that a proof can be made for.
			if _, err := private.Prove(token.Prove{Method: "GET", URL: claims["htu"].(string), Now: now}); err != nil {
				t.Fatalf("htu %q: %v", claims["htu"], err)
			}
		}
		// Whatever the address, a proof for it is taken at it and at no other.
		proof, err := private.Prove(token.Prove{Method: "GET", URL: url, AccessToken: accessToken, Now: now})
		if err != nil {
			return
		}
		if _, err := token.ReadProof(proof, token.Request{Method: "GET", URL: url, AccessToken: accessToken, Now: now}); err != nil && len(url) < 1500 {
			t.Fatalf("a proof for %q is refused there: %v", url, err)
		}
		for _, other := range []string{"https://evil.example/", url + "/x", "x" + url} {
			if len(url) > 0 && strings.ContainsAny(url, "?#") {
				break // what is behind does not count
			}
			if _, err := token.ReadProof(proof, token.Request{Method: "GET", URL: other, AccessToken: accessToken, Now: now}); err == nil && !strings.HasPrefix(url, "https://evil.example") {
				t.Fatalf("a proof for %q is taken at %q", url, other)
			}
		}
	})
}

// FuzzReadAssertion does the same for client assertions.
func FuzzReadAssertion(f *testing.F) {
	key, private := fuzzKey(f)
	good, err := private.Assert("agent-a", issuer, now)
	must(f, err)
	h := doc{{"alg", `"EdDSA"`}, {"kid", `"` + private.Public().Thumbprint() + `"`}, {"typ", `"JWT"`}}
	c := doc{{"iss", `"agent-a"`}, {"sub", `"agent-a"`}, {"aud", `"` + issuer + `"`}, {"jti", `"one"`}, {"exp", at(time.Minute)}}
	f.Add(good, h.String(), c.String())
	f.Add("", h.without("kid").String(), c.with("iat", at(0)+".5").String())
	f.Add(good+".", h.with("typ", `"at+jwt"`).String(), c.with("aud", `["`+issuer+`"]`).String())
	expect := token.AssertionExpect{Audience: issuer, Now: now, Keys: func(string) ([]token.Public, error) { return []token.Public{private.Public()}, nil }}
	f.Fuzz(func(t *testing.T, text, header, payload string) {
		for _, text := range []string{text, compact(header, payload, byEd25519(key))} {
			got, err := token.ReadAssertion(text, expect)
			if err != nil {
				named(t, err, got.Client == "")
				continue
			}
			claims := taken(t, text, key.Public().(ed25519.PublicKey))
			if claims["sub"] != got.Client || claims["iss"] != got.Client || claims["aud"] != issuer || claims["jti"] != got.ID {
				t.Fatalf("%s was read as %+v", text, got)
			}
			if left := got.Expires.Sub(now); left <= -token.Skew || left > token.MaxAssertionLife+token.Skew {
				t.Fatalf("%s ends in %s", text, left)
			}
		}
	})
}

// FuzzParseJWK: a key that is taken is one to go-jose too, with the same name.
func FuzzParseJWK(f *testing.F) {
	f.Add(rfcKey)
	f.Add(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"k","use":"sig","alg":"Ed25519"}`)
	f.Add(rfc7638Key)
	f.Add(`{"kty":"EC","crv":"P-256","x":"","y":"","d":""}`)
	f.Fuzz(func(t *testing.T, text string) {
		if set, err := token.ParseKeySet([]byte(`{"keys":[` + text + `]}`)); err != nil {
			named(t, err, set == nil)
		} else if len(set.Names()) == 0 {
			t.Fatalf("%s is a set of no key", text)
		}
		key, err := token.ParseJWK([]byte(text))
		if err != nil {
			named(t, err, key.Algorithm() == 0)
			return
		}
		var other jose.JSONWebKey
		if err := other.UnmarshalJSON(key.JWK()); err != nil || !other.IsPublic() || !other.Valid() {
			t.Fatalf("go-jose does not take %s: %v", key.JWK(), err)
		}
		if sum, err := other.Thumbprint(crypto.SHA256); err != nil || b64(sum) != key.Thumbprint() {
			t.Fatalf("%s is %s to one and %s to the other, %v", text, key.Thumbprint(), b64(sum), err)
		}
		// It may stumble over members of other kinds of key, which mean nothing here.
		var whole jose.JSONWebKey
		if err := whole.UnmarshalJSON([]byte(text)); err == nil && (!whole.IsPublic() || whole.KeyID != key.ID() || !reflect.DeepEqual(whole.Key, other.Key)) {
			t.Fatalf("%s is %+v to one and %+v to the other", text, key, whole)
		}
	})
}

// FuzzReadForeign gives the reader of other issuers' assertions a header and a
// payload under a good signature.
func FuzzReadForeign(f *testing.F) {
	key, _ := fuzzKey(f)
	keys, err := token.ParseKeySet([]byte(`{"keys":[` + jwkOf(f, key.Public()) + `]}`))
	must(f, err)
	f.Add("", `{"alg":"EdDSA"}`, foreignClaims().String())
	f.Add("a.b.c", `{"alg":"Ed25519","typ":"oauth-id-jag+jwt"}`, foreignClaims().with("aud", `["`+issuer+`"]`).without("jti").String())
	f.Fuzz(func(t *testing.T, text, header, payload string) {
		for _, text := range []string{text, compact(header, payload, byEd25519(key))} {
			got, err := token.ReadForeign(text, token.ForeignExpect{Issuer: idp, Audience: issuer, Keys: keys, Now: now})
			if err != nil {
				named(t, err, got.Subject == "")
				continue
			}
			claims := taken(t, text, key.Public().(ed25519.PublicKey))
			if claims["sub"] != got.Subject || claims["iss"] != idp || got.ID == "" || got.Expires.Sub(now) > token.MaxForeignLife {
				t.Fatalf("%s was read as %+v", text, got)
			}
		}
	})
}
