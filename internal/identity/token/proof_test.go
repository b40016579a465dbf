package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

const accessToken = "any.access.token"

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return b64(sum[:])
}

// jwkOf has another library write a key.
func jwkOf(t testing.TB, key any) string {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKey{Key: key})
	must(t, err)
	return string(b)
}

func baseProof(t testing.TB, a actors) (header, claims doc) {
	header = doc{{"typ", `"dpop+jwt"`}, {"alg", `"EdDSA"`}, {"jwk", jwkOf(t, a.ed.Public())}}
	claims = doc{
		{"jti", `"one"`}, {"htm", `"GET"`}, {"htu", `"` + resource + `"`}, {"iat", at(0)}, {"ath", `"` + hashOf(accessToken) + `"`},
	}
	return header, claims
}

// T11, T15: a proof that is not exactly for this request, by this key and of now
// is refused by the rule that says why.
func TestProofCorpus(t *testing.T) {
	a := newActors(t)
	h, c := baseProof(t, a)
	by := byEd25519(a.ed)
	sign := func(h, c doc) string { return compact(h.String(), c.String(), by) }
	good := sign(h, c)
	request := token.Request{Method: "GET", URL: resource, AccessToken: accessToken, Now: now}

	wrong := func(name, raw string) string { return sign(h, c.with(name, raw)) }
	htu := func(url string) string { return wrong("htu", `"`+url+`"`) }
	ec := h.with("alg", `"ES256"`).with("jwk", jwkOf(t, a.ec.Public()))
	fine := func(name, text string) {
		t.Helper()
		p, err := token.ReadProof(text, request)
		if err != nil {
			t.Errorf("%s is refused: %v (%s)", name, err, ruleOf(err))
		} else if p.JTI != "one" || p.JKT != p.Key.Thumbprint() || !p.Until.Equal(p.IssuedAt.Add(token.Skew)) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	fine("the proof that all others are made from", good)
	fine("ES256", compact(ec.String(), c.String(), byES256(a.ec)))
	fine("the new name of the algorithm", sign(h.with("alg", `"Ed25519"`), c))
	fine("29 s old", wrong("iat", at(-29*time.Second)))
	fine("30 s early", wrong("iat", at(30*time.Second)))
	fine("iat with a fraction", wrong("iat", at(0)+".75"))
	fine("claims and header members that mean nothing here", sign(h.with("kid", `"k"`).with("x", `[{}]`), c.with("exp", at(0)).with("x", "null")))
	fine("htu in escapes", htu(strings.ReplaceAll(resource, "/", `\/`)))
	// RFC 9449 §4.3: htu without query and fragment, after syntax- and scheme-based
	// normalisation.
	for _, url := range []string{
		"HTTPS://reef.example/v1/posts", "https://REEF.Example/v1/posts", "https://reef.example:443/v1/posts", "https://reef.example:/v1/posts",
		resource + "?page=2", resource + "#top", resource + "?a=b#c?d", "https://reef.example/%761/p%6Fsts", "https://reef.example/v1/./posts",
		"https://reef.example/v1/x/../posts", "https://reef.example/../v1/posts", "https://reef.example/./v1/posts",
	} {
		fine("htu "+url, htu(url))
	}

	private := func(name string) string {
		return strings.TrimSuffix(jwkOf(t, a.ed.Public()), "}") + `,"` + name + `":"` + rfcJKT + `"}`
	}
	other := func(alg string, key any, by forger) string {
		return compact(h.with("alg", `"`+alg+`"`).with("jwk", jwkOf(t, key)).String(), c.String(), by)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	weakRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	offCurve := `{"kty":"EC","crv":"P-256","x":"` + rfcJKT + `","y":"` + rfcJKT + `"}`
	point, err := a.ec.PublicKey.Bytes()
	must(t, err)
	x, y := b64(point[1:33]), b64(point[33:])
	edX := b64(a.ed.Public().(ed25519.PublicKey))

	faults := append(formFaults(t, a, good, "dpop+jwt"), []fault{
		{"none", sign(h.with("alg", `"none"`), c), "algorithm"},
		{"none and no signature", compact(h.with("alg", `"none"`).String(), c.String(), unsigned), "algorithm"},
		{"no alg", sign(h.without("alg"), c), "algorithm"},
		{"HS256 with the public key", compact(h.with("alg", `"HS256"`).String(), c.String(), byHMAC(publicPEM(t, a.ed.Public()))), "algorithm"},
		{"HS256 with a symmetric JWK", other("HS256", []byte(rfcJKT), byHMAC([]byte(rfcJKT))), "algorithm"},
		{"RS256", other("RS256", weakRSA.Public(), by), "algorithm"},
		{"PS256", other("PS256", weakRSA.Public(), by), "algorithm"},
		{"ES384", other("ES384", p384.Public(), byES256(p384)), "algorithm"},
		{"the other key's algorithm", sign(h.with("alg", `"ES256"`), c), "algorithm"},
		{"the other algorithm's key", sign(h.with("jwk", jwkOf(t, a.ec.Public())), c), "algorithm"},

		{"no typ", sign(h.without("typ"), c), "type"},
		{"typ JWT", sign(h.with("typ", `"JWT"`), c), "type"},
		{"an access token", sign(h.with("typ", `"at+jwt"`), c), "type"},
		{"another case", sign(h.with("typ", `"DPoP+JWT"`), c), "type"},
		{"a media type in full", sign(h.with("typ", `"application/dpop+jwt"`), c), "type"},
		{"two typs", sign(h.twice("typ", `"dpop+jwt"`), c), "malformed"},

		{"no key", sign(h.without("jwk"), c), "key"},
		{"key is text", sign(h.with("jwk", `"`+edX+`"`), c), "key"},
		{"key is null", sign(h.with("jwk", `null`), c), "key"},
		{"empty key", sign(h.with("jwk", `{}`), c), "key"},
		{"private key of go-jose", sign(h.with("jwk", jwkOf(t, a.ed)), c), "key"},
		{"private EC key", compact(ec.with("jwk", jwkOf(t, a.ec)).String(), c.String(), byES256(a.ec)), "key"},
		{"with d", sign(h.with("jwk", private("d")), c), "key"},
		{"with k", sign(h.with("jwk", private("k")), c), "key"},
		{"with p", sign(h.with("jwk", private("p")), c), "key"},
		{"with qi", sign(h.with("jwk", private("qi")), c), "key"},
		{"with priv", sign(h.with("jwk", private("priv")), c), "key"},
		{"symmetric key", sign(h.with("jwk", jwkOf(t, []byte(rfcJKT))), c), "key"},
		{"RSA key", sign(h.with("jwk", jwkOf(t, weakRSA.Public())), c), "key"},
		{"P-384", compact(ec.with("jwk", jwkOf(t, p384.Public())).String(), c.String(), byES256(a.ec)), "key"},
		{"P-384 in name", sign(ec.with("jwk", `{"kty":"EC","crv":"P-384","x":"`+x+`","y":"`+y+`"}`), c), "key"},
		{"secp256k1", sign(ec.with("jwk", `{"kty":"EC","crv":"secp256k1","x":"`+x+`","y":"`+y+`"}`), c), "key"},
		{"X25519", sign(h.with("jwk", `{"kty":"OKP","crv":"X25519","x":"`+edX+`"}`), c), "key"},
		{"Ed448", sign(h.with("jwk", `{"kty":"OKP","crv":"Ed448","x":"`+edX+`"}`), c), "key"},
		{"no curve", sign(h.with("jwk", `{"kty":"OKP","x":"`+edX+`"}`), c), "key"},
		{"no y", sign(ec.with("jwk", `{"kty":"EC","crv":"P-256","x":"`+x+`"}`), c), "key"},
		{"a point off the curve", sign(ec.with("jwk", offCurve), c), "key"},
		{"a coordinate that is too short", sign(ec.with("jwk", `{"kty":"EC","crv":"P-256","x":"`+x[:40]+`","y":"`+y+`"}`), c), "key"},
		{"a coordinate in other words", sign(h.with("jwk", `{"kty":"OKP","crv":"Ed25519","x":"`+nonCanonical(edX)+`"}`), c), "key"},
		{"a coordinate with padding", sign(h.with("jwk", `{"kty":"OKP","crv":"Ed25519","x":"`+edX+`="}`), c), "key"},
		{"a key for encryption", sign(h.with("jwk", `{"use":"enc","kty":"OKP","crv":"Ed25519","x":"`+edX+`"}`), c), "key"},
		{"a key of another algorithm", sign(h.with("jwk", `{"alg":"ES256","kty":"OKP","crv":"Ed25519","x":"`+edX+`"}`), c), "key"},
		{"a member of the key twice", sign(h.with("jwk", `{"kty":"OKP","crv":"Ed25519","x":"`+edX+`","x":"`+edX+`"}`), c), "malformed"},
		{"two keys", sign(h.twice("jwk", jwkOf(t, a.ed.Public())), c), "malformed"},

		{"crit", sign(h.with("crit", `["b64"]`), c), "critical"},
		{"b64", sign(h.with("b64", `false`), c), "critical"},
		{"jku", sign(h.with("jku", `"https://evil.example/keys"`), c), "critical"},
		{"x5u", sign(h.with("x5u", `"https://evil.example/cert"`), c), "critical"},
		{"zip", sign(h.with("zip", `"DEF"`), c), "critical"},

		{"by another key", compact(h.String(), c.String(), byEd25519(a.other)), "signature"},
		{"no signature", compact(h.String(), c.String(), unsigned), "signature"},
		{"another payload", strings.Split(good, ".")[0] + "." + b64([]byte(c.with("htm", `"POST"`).String())) + "." + strings.Split(good, ".")[2], "signature"},

		{"no jti", sign(h, c.without("jti")), "claims"},
		{"empty jti", wrong("jti", `""`), "claims"},
		{"jti is a number", wrong("jti", `1`), "claims"},
		{"long jti", wrong("jti", `"`+strings.Repeat("j", 300)+`"`), "claims"},
		{"no htm", sign(h, c.without("htm")), "claims"},
		{"no htu", sign(h, c.without("htu")), "claims"},
		{"htu is a list", wrong("htu", `["`+resource+`"]`), "claims"},
		{"no iat", sign(h, c.without("iat")), "claims"},
		{"iat is text", wrong("iat", `"`+at(0)+`"`), "claims"},
		{"iat with an exponent", wrong("iat", `1.7e9`), "claims"},
		{"iat in milliseconds", wrong("iat", at(0)+"000"), "claims"},
		{"a claim twice", sign(h, c.twice("jti", `"two"`)), "claims"},
		{"payload is a list", compact(h.String(), `[]`, by), "claims"},

		{"another method", wrong("htm", `"POST"`), "method"},
		{"the method in lower case", wrong("htm", `"get"`), "method"},
		{"the method with a space", wrong("htm", `"GET "`), "method"},

		{"another scheme", htu("http://reef.example/v1/posts"), "url"},
		{"another host", htu("https://evil.example/v1/posts"), "url"},
		{"a longer host", htu("https://reef.example.evil.example/v1/posts"), "url"},
		{"a host with a dot", htu("https://reef.example./v1/posts"), "url"},
		{"another port", htu("https://reef.example:8443/v1/posts"), "url"},
		{"the other scheme's port", htu("https://reef.example:80/v1/posts"), "url"},
		{"a user", htu("https://reef.example@evil.example/v1/posts"), "url"},
		{"a user of ours", htu("https://x@reef.example/v1/posts"), "url"},
		{"another path", htu("https://reef.example/v1/post"), "url"},
		{"a slash behind", htu(resource + "/"), "url"},
		{"a slash twice", htu("https://reef.example/v1//posts"), "url"},
		{"the path in upper case", htu("https://reef.example/V1/posts"), "url"},
		{"a slash in escapes", htu("https://reef.example/v1%2Fposts"), "url"},
		{"an escape that is none", htu("https://reef.example/v1/posts%"), "url"},
		{"an escape twice", htu("https://reef.example/v1/%2570osts"), "url"},
		{"a path only", htu("/v1/posts"), "url"},
		{"no scheme", htu("//reef.example/v1/posts"), "url"},
		{"a letter that looks alike", htu("https://reef.example/v1/p\u043Ests"), "url"},
		{"a space", htu("https://reef.example/v1/posts "), "url"},
		{"a backslash", htu(`https://reef.example\\v1/posts`), "url"},
		{"empty htu", htu(""), "claims"},

		{"30 s old", wrong("iat", at(-30*time.Second)), "expired"},
		{"31 s old", wrong("iat", at(-31*time.Second)), "expired"},
		{"a year old", wrong("iat", at(-8760*time.Hour)), "expired"},
		{"31 s early", wrong("iat", at(31*time.Second)), "early"},
		{"a year early", wrong("iat", at(8760*time.Hour)), "early"},

		{"no ath", sign(h, c.without("ath")), "claims"},
		{"another token's hash", wrong("ath", `"`+hashOf("another")+`"`), "token"},
		{"the token itself", wrong("ath", `"`+accessToken+`"`), "token"},
		{"ath is null", wrong("ath", `null`), "token"},

		{"nonce is a number", wrong("nonce", `1`), "nonce"},
		{"empty nonce", wrong("nonce", `""`), "nonce"},
		{"long nonce", wrong("nonce", `"`+strings.Repeat("n", 200)+`"`), "nonce"},
	}...)
	refused(t, "dpop", faults, func(text string) error { _, err := token.ReadProof(text, request); return err })

	if p, err := token.ReadProof(good, token.Request{Method: "GET", URL: resource, Now: now}); ruleOf(err) != "dpop.token" || p.JKT != "" {
		t.Errorf("the hash of a token where none is: %+v, %v", p, err)
	}
	if p, err := token.ReadProof(sign(h, c.without("ath").with("nonce", `"n-1"`)), token.Request{Method: "GET", URL: resource, Now: now}); err != nil || p.Nonce != "n-1" {
		t.Errorf("at the token endpoint: %+v, %v", p, err)
	}
}

// A request's address is normalised as well as the proof's.
func TestProofForAnyForm(t *testing.T) {
	t.Parallel()
	key, err := token.NewKey(token.ES256)
	must(t, err)
	for request, htu := range map[string]string{
		"https://reef.example":                      "https://reef.example/",
		"https://reef.example/":                     "https://reef.example",
		"https://Reef.Example:443/a%7eb?x=1":        "https://reef.example/a~b",
		"https://reef.example/caf%c3%a9":            "https://reef.example/caf%C3%A9",
		"http://127.0.0.1:7333/v1/x?y":              "http://127.0.0.1:7333/v1/x",
		"http://[::1]:80/v1/x":                      "http://[::1]/v1/x",
		"http://[::1]:7333/":                        "http://[::1]:7333",
		"https://reef.example/a/./b/../c":           "https://reef.example/a/c",
		"https://reef.example/a/..":                 "https://reef.example/",
		"https://reef.example/v1/posts/..":          "https://reef.example/v1/",
		"https://reef.example/.well-known/x":        "https://reef.example/.well-known/x",
		"https://reef.example/a%2fb":                "https://reef.example/a%2Fb",
		"https://reef.example/search?q=a/../b#frag": "https://reef.example/search",
	} {
		for _, pair := range [][2]string{{request, htu}, {htu, request}, {request, request}} {
			proof, err := key.Prove(token.Prove{Method: "GET", URL: pair[1], Now: now})
			must(t, err)
			if _, err := token.ReadProof(proof, token.Request{Method: "GET", URL: pair[0], Now: now}); err != nil {
				t.Errorf("proof for %s at %s: %v", pair[1], pair[0], err)
			}
		}
	}
}

// Small-order points verify signatures that nobody made: crypto/ed25519 takes
// them (as RFC 8032 lets it), a binding must not.
func TestWeakKeysBindNothing(t *testing.T) {
	t.Parallel()
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	order8 := ofOrderEight(t, p)
	var weak [][]byte
	for _, y := range []*big.Int{
		big.NewInt(0), big.NewInt(1), new(big.Int).Sub(p, big.NewInt(1)), p, new(big.Int).Add(p, big.NewInt(1)),
		order8, new(big.Int).Sub(p, order8),
	} {
		key := y.FillBytes(make([]byte, 32))
		for i, j := 0, 31; i < j; i, j = i+1, j-1 {
			key[i], key[j] = key[j], key[i]
		}
		signed := append([]byte(nil), key...)
		signed[31] |= 0x80
		weak = append(weak, key, signed)
	}
	for _, key := range weak {
		forged := 0
		// With S = 0 the equation is R = -kA, and kA is one of these few points.
		for n := 0; n < 64 && forged == 0; n++ {
			for _, r := range weak {
				if ed25519.Verify(key, []byte(strconv.Itoa(n)), append(append([]byte(nil), r...), make([]byte, 32)...)) {
					forged++
				}
			}
		}
		if forged == 0 {
			t.Errorf("no signature by %x could be forged: it is not weak", key)
		}
		if k, err := token.PublicFrom(ed25519.PublicKey(key)); ruleOf(err) != "key.form" {
			t.Errorf("%x is taken: %v", key, k)
		}
		jwk := `{"kty":"OKP","crv":"Ed25519","x":"` + b64(key) + `"}`
		if _, err := token.ParseJWK([]byte(jwk)); ruleOf(err) != "key.form" {
			t.Errorf("%s is taken", jwk)
		}
	}
}

// ofOrderEight returns a y of a point whose double has y = 0: by the curve's
// addition d*y^4 + 2*y^2 = 1 then, with d = -121665/121666 (RFC 8032 §5.1).
func ofOrderEight(t *testing.T, p *big.Int) *big.Int {
	mod := func(n *big.Int) *big.Int { return n.Mod(n, p) }
	d := mod(new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p)))
	root := new(big.Int).ModSqrt(mod(new(big.Int).Add(d, big.NewInt(1))), p)
	if root == nil {
		t.Fatal("1+d has no root")
	}
	for _, r := range []*big.Int{root, new(big.Int).Neg(root)} {
		square := mod(new(big.Int).Mul(new(big.Int).Sub(r, big.NewInt(1)), new(big.Int).ModInverse(d, p)))
		if y := new(big.Int).ModSqrt(square, p); y != nil {
			return y
		}
	}
	t.Fatal("no point of order eight")
	return nil
}

// T11: a captured token is worth nothing with another key or certificate.
func TestBinding(t *testing.T) {
	t.Parallel()
	mine, err := token.NewKey(token.EdDSA)
	must(t, err)
	thief, err := token.NewKey(token.EdDSA)
	must(t, err)
	prove := func(k token.Private) token.Proof {
		text, err := k.Prove(token.Prove{Method: "GET", URL: resource, AccessToken: accessToken, Now: now})
		must(t, err)
		p, err := token.ReadProof(text, token.Request{Method: "GET", URL: resource, AccessToken: accessToken, Now: now})
		must(t, err)
		return p
	}
	bound := token.Confirm{JKT: mine.Public().Thumbprint()}
	if err := bound.CheckProof(prove(mine)); err != nil {
		t.Error(err)
	}
	cert, other := &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("another")}
	byCert := token.Confirm{X5T: token.CertificateThumbprint(cert)}
	if err := byCert.CheckCertificate(cert); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"another key":                       bound.CheckProof(prove(thief)),
		"no proof":                          bound.CheckProof(token.Proof{}),
		"a proof for a certificate's token": byCert.CheckProof(prove(mine)),
		"a proof for no binding":            token.Confirm{}.CheckProof(token.Proof{}),
		"another certificate":               byCert.CheckCertificate(other),
		"no certificate":                    byCert.CheckCertificate(nil),
		"a certificate for a key's token":   bound.CheckCertificate(cert),
		"a certificate for no binding":      token.Confirm{}.CheckCertificate(cert),
	} {
		if ruleOf(err) != "token.binding" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
