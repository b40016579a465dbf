package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// What strangers send is made here by hand, not by the code under test.

const (
	issuer   = "https://reef.example"
	resource = "https://reef.example/v1/posts"
)

// now is any time; the claims of the corpus are relative to it.
var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func ruleOf(err error) string {
	if err == nil {
		return ""
	}
	return act.AsError(err).Rule
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func at(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }

// doc is a JSON object in the making: names with raw values, in order.
type doc [][2]string

func (d doc) clone() doc { return append(doc(nil), d...) }

// with sets a member, or adds it.
func (d doc) with(name, raw string) doc {
	d = d.clone()
	for i := range d {
		if d[i][0] == name {
			d[i][1] = raw
			return d
		}
	}
	return append(d, [2]string{name, raw})
}

// without drops a member.
func (d doc) without(name string) doc {
	var out doc
	for _, m := range d {
		if m[0] != name {
			out = append(out, m)
		}
	}
	return out
}

// twice adds a member whatever is there.
func (d doc) twice(name, raw string) doc { return append(d.clone(), [2]string{name, raw}) }

func (d doc) String() string {
	parts := make([]string, len(d))
	for i, m := range d {
		parts[i] = strconv.Quote(m[0]) + ":" + m[1]
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// signers by hand.
type forger func(input string) []byte

func byEd25519(key ed25519.PrivateKey) forger {
	return func(input string) []byte { return ed25519.Sign(key, []byte(input)) }
}

func byES256(key *ecdsa.PrivateKey) forger {
	return func(input string) []byte {
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
}

func byHMAC(secret []byte) forger {
	return func(input string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}
}

func unsigned(string) []byte { return nil }

func compact(header, payload string, sign forger) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	return input + "." + b64(sign(input))
}

// actors are the keys of a corpus.
type actors struct {
	ed     ed25519.PrivateKey
	ec     *ecdsa.PrivateKey
	other  ed25519.PrivateKey
	public token.Public // of ed
	p256   token.Public // of ec
}

func newActors(t testing.TB) actors {
	t.Helper()
	var a actors
	var err error
	_, a.ed, err = ed25519.GenerateKey(rand.Reader)
	must(t, err)
	_, a.other, err = ed25519.GenerateKey(rand.Reader)
	must(t, err)
	a.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	a.public, err = token.PublicFrom(a.ed.Public())
	must(t, err)
	a.p256, err = token.PublicFrom(a.ec.Public())
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// publicPEM is what "HS256 with the public key" uses as its secret.
func publicPEM(t testing.TB, key any) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// encrypted returns a JWE of the payload for the key: five parts, not three.
func encrypted(t testing.TB, key *ecdsa.PrivateKey, typ, payload string) string {
	enc, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.ECDH_ES, Key: key.Public()}, (&jose.EncrypterOptions{}).WithType(jose.ContentType(typ)))
	must(t, err)
	obj, err := enc.Encrypt([]byte(payload))
	must(t, err)
	text, err := obj.CompactSerialize()
	must(t, err)
	return text
}

// flattened returns a compact JWS in the JSON serialisation (RFC 7515 §7.2.2).
func flattened(text string) string {
	p := strings.Split(text, ".")
	return `{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`
}

// nonCanonical changes bits of the last character that decoders drop.
func nonCanonical(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[i^1])
}

// formFaults are the ways in which a good compact JWS stops being one, whatever
// it is for: what was sent, and the rule's second half.
func formFaults(t testing.TB, a actors, good string, typ string) []fault {
	p := strings.Split(good, ".")
	return []fault{
		{"empty", "", "malformed"},
		{"text", "hello", "malformed"},
		{"two parts", p[0] + "." + p[1], "malformed"},
		{"four parts", good + ".", "malformed"},
		{"no header", "." + p[1] + "." + p[2], "malformed"},
		{"no payload", p[0] + ".." + p[2], "malformed"},
		{"padding", p[0] + "=." + p[1] + "." + p[2], "malformed"},
		{"standard base64", p[0] + "." + p[1] + "." + p[2][:len(p[2])-1] + "+", "malformed"},
		{"a line break inside", p[0] + "." + p[1][:8] + "\n" + p[1][8:] + "." + p[2], "malformed"},
		{"a space before", " " + good, "malformed"},
		{"a space after", good + " ", "malformed"},
		{"bits that do not count", nonCanonical(good), "malformed"},
		{"JSON serialisation", flattened(good), "malformed"},
		{"JWE", encrypted(t, a.ec, typ, "{}"), "malformed"},
		{"header is an array", compact(`["alg"]`, `{}`, unsigned), "malformed"},
		{"header is no JSON", compact(`alg=none`, `{}`, unsigned), "malformed"},
		{"header with more behind", compact(`{"alg":"EdDSA"} {}`, `{}`, unsigned), "malformed"},
		{"header in Latin-1", compact("{\"alg\":\"EdDSA\",\"x\":\"\xe9\"}", `{}`, unsigned), "malformed"},
		{"header nested too deep", compact(`{"x":`+strings.Repeat("[", 50)+strings.Repeat("]", 50)+`}`, `{}`, unsigned), "malformed"},
		{"oversized", good + strings.Repeat("A", 9000), "size"},
		{"oversized header", compact(`{"alg":"EdDSA","x":"`+strings.Repeat("a", 2000)+`"}`, `{}`, unsigned), "malformed"},
	}
}

// fault is one thing that must be refused.
type fault struct{ name, text, rule string }

func base(a actors) (header, claims doc) {
	header = doc{{"alg", `"EdDSA"`}, {"kid", `"` + a.public.Thumbprint() + `"`}, {"typ", `"at+jwt"`}}
	claims = doc{
		{"iss", `"` + issuer + `"`},
		{"sub", `"agent-a"`},
		{"client_id", `"agent-a"`},
		{"aud", `"` + issuer + `"`},
		{"scope", `"post.*"`},
		{"exp", at(5 * time.Minute)},
		{"iat", at(0)},
		{"jti", `"one"`},
		{"cnf", `{"jkt":"` + rfcJKT + `"}`},
		{"grant", `"grant-1"`},
	}
	return header, claims
}

// T12, T14: an access token that is not exactly ours, for us and of now is refused
// by the rule that says why.
func TestAccessTokenCorpus(t *testing.T) {
	a := newActors(t)
	active, err := token.PrivateFrom(a.ed)
	must(t, err)
	late, err := token.NewKey(token.EdDSA)
	must(t, err)
	set, err := token.NewSet(active, token.Verifier{Key: a.p256, Until: now.Add(time.Hour)}, token.Verifier{Key: late.Public(), Until: now})
	must(t, err)
	h, c := base(a)
	by := byEd25519(a.ed)
	sign := func(h, c doc) string { return compact(h.String(), c.String(), by) }
	good := sign(h, c)

	expect := token.Expect{Issuer: issuer, Audience: issuer, Now: now}
	fine := func(name, text string) {
		t.Helper()
		if _, err := set.Read(text, expect); err != nil {
			t.Errorf("%s is refused: %v (%s)", name, err, ruleOf(err))
		}
	}
	kid := func(raw string) string { return sign(h.with("kid", raw), c) }
	wrong := func(name, raw string) string { return sign(h, c.with(name, raw)) }
	cert := `{"x5t#S256":"` + rfcJKT + `"}`

	fine("the token that all others are made from", good)
	fine("one bound to a certificate", wrong("cnf", cert))
	fine("a list of one audience", wrong("aud", `["`+issuer+`"]`))
	fine("one by the other key", compact(h.with("alg", `"ES256"`).with("kid", `"`+a.p256.Thumbprint()+`"`).String(), c.String(), byES256(a.ec)))
	fine("29 s after its end", sign(h, c.with("iat", at(-time.Hour)).with("exp", at(-29*time.Second))))
	fine("30 s before its beginning", wrong("iat", at(30*time.Second)))
	fine("claims that are not ours", sign(h, c.with("name", `"Ann"`)))
	fine("five actors", wrong("act", `{"sub":"e","act":{"sub":"d","act":{"sub":"c","act":{"sub":"b","act":{"sub":"a"}}}}}`))

	private := `"` + strings.Repeat("A", 43) + `"`
	faults := append(formFaults(t, a, good, "at+jwt"), []fault{
		// the algorithm
		{"none", compact(h.with("alg", `"none"`).String(), c.String(), unsigned), "algorithm"},
		{"None", compact(h.with("alg", `"None"`).String(), c.String(), unsigned), "algorithm"},
		{"no alg", compact(h.without("alg").String(), c.String(), by), "algorithm"},
		{"alg is a number", compact(h.with("alg", `1`).String(), c.String(), by), "algorithm"},
		{"HS256 with the public key in PEM", compact(h.with("alg", `"HS256"`).String(), c.String(), byHMAC(publicPEM(t, a.ed.Public()))), "algorithm"},
		{"HS256 with the bytes of the public key", compact(h.with("alg", `"HS256"`).String(), c.String(), byHMAC(a.ed.Public().(ed25519.PublicKey))), "algorithm"},
		{"HS256 with the JWK", compact(h.with("alg", `"HS256"`).String(), c.String(), byHMAC(a.public.JWK())), "algorithm"},
		{"RS256", compact(h.with("alg", `"RS256"`).String(), c.String(), by), "algorithm"},
		{"a name that we never write", compact(h.with("alg", `"Ed25519"`).String(), c.String(), by), "algorithm"},
		{"another key's algorithm", compact(h.with("alg", `"ES256"`).String(), c.String(), byES256(a.ec)), "algorithm"},

		// the key
		{"no kid", sign(h.without("kid").with("x", "1"), c), "key"},
		{"empty kid", kid(`""`), "key"},
		{"kid of nobody", kid(`"` + rfcJKT + `"`), "key"},
		{"kid is a path", kid(`"../../../../dev/null"`), "key"},
		{"kid is an address", kid(`"https://evil.example/jwks.json"`), "key"},
		{"kid is SQL", kid(`"x' UNION SELECT 'key"`), "key"},
		{"kid is a shell's", kid(`"$(cat /etc/passwd)"`), "key"},
		{"kid is a number", kid(`1`), "key"},
		{"kid is null", kid(`null`), "key"},
		{"kid is long", kid(`"` + strings.Repeat("k", 1000) + `"`), "key"},
		{"two kids", sign(h.twice("kid", `"`+rfcJKT+`"`), c), "malformed"},
		{"two kids, one with an escape", compact(strings.Replace(h.String(), `"kid"`, `"k\u0069d":"`+rfcJKT+`","kid"`, 1), c.String(), by), "malformed"},
		{"a key whose time is over", compact(h.with("kid", `"`+late.Public().Thumbprint()+`"`).String(), c.String(), unsigned), "key"},
		{"a key of its own", sign(h.with("jwk", string(a.public.JWK())), c), "critical"},
		{"a private key of its own", sign(h.with("jwk", `{"kty":"OKP","crv":"Ed25519","x":"","d":`+private+`}`), c), "critical"},
		{"an address of keys", sign(h.with("jku", `"https://evil.example/jwks.json"`), c), "critical"},
		{"an address of a certificate", sign(h.with("x5u", `"https://evil.example/cert.pem"`), c), "critical"},
		{"a certificate of its own", sign(h.with("x5c", `["MIIB"]`), c), "critical"},

		// extensions
		{"crit", sign(h.with("crit", `["exp"]`), c), "critical"},
		{"empty crit", sign(h.with("crit", `[]`), c), "critical"},
		{"b64", sign(h.with("b64", `false`).with("crit", `["b64"]`), c), "critical"},
		{"b64 alone", sign(h.with("b64", `true`), c), "critical"},
		{"zip", sign(h.with("zip", `"DEF"`), c), "critical"},
		{"enc", sign(h.with("enc", `"A128GCM"`), c), "critical"},

		// the type
		{"no typ", sign(h.without("typ"), c), "type"},
		{"typ JWT", sign(h.with("typ", `"JWT"`), c), "type"},
		{"a proof of identity", sign(h.with("typ", `"reef-identity+jwt"`), c), "type"},
		{"a proof", sign(h.with("typ", `"dpop+jwt"`), c), "type"},
		{"an assertion", sign(h.with("typ", `"client-authentication+jwt"`), c), "type"},
		{"another case", sign(h.with("typ", `"AT+JWT"`), c), "type"},

		// the signature
		{"another's signature", compact(h.String(), c.String(), byEd25519(a.other)), "signature"},
		{"no signature", compact(h.String(), c.String(), unsigned), "signature"},
		{"half a signature", compact(h.String(), c.String(), func(in string) []byte { return by(in)[:32] }), "signature"},
		{"a longer signature", compact(h.String(), c.String(), func(in string) []byte { return append(by(in), 0) }), "signature"},
		{"another payload", strings.Split(good, ".")[0] + "." + b64([]byte(c.with("scope", `"*"`).String())) + "." + strings.Split(good, ".")[2], "signature"},
		{"another header", b64([]byte(h.String()+" ")) + good[strings.IndexByte(good, '.'):], "signature"},
		{"a signature in DER", compact(h.with("alg", `"ES256"`).with("kid", `"`+a.p256.Thumbprint()+`"`).String(), c.String(), func(in string) []byte {
			sum := sha256.Sum256([]byte(in))
			der, err := ecdsa.SignASN1(rand.Reader, a.ec, sum[:])
			must(t, err)
			return der
		}), "signature"},
		{"the signature of zeros", compact(h.with("alg", `"ES256"`).with("kid", `"`+a.p256.Thumbprint()+`"`).String(), c.String(), func(string) []byte { return make([]byte, 64) }), "signature"},

		// who and for whom
		{"another issuer", wrong("iss", `"https://evil.example"`), "issuer"},
		{"the issuer with a slash", wrong("iss", `"`+issuer+`/"`), "issuer"},
		{"no issuer", sign(h, c.without("iss")), "claims"},
		{"another audience", wrong("aud", `"https://evil.example"`), "audience"},
		{"a list with another audience", wrong("aud", `["https://evil.example"]`), "audience"},
		{"a list of two audiences", wrong("aud", `["`+issuer+`","https://evil.example"]`), "claims"},
		{"an empty list of audiences", wrong("aud", `[]`), "claims"},
		{"a list in a list", wrong("aud", `[["`+issuer+`"]]`), "claims"},
		{"any audience", wrong("aud", `"*"`), "claims"},
		{"no audience", sign(h, c.without("aud")), "claims"},
		{"audience null", wrong("aud", `null`), "claims"},

		// when
		{"30 s after its end", sign(h, c.with("iat", at(-time.Hour)).with("exp", at(-30*time.Second))), "expired"},
		{"31 s after its end", sign(h, c.with("iat", at(-time.Hour)).with("exp", at(-31*time.Second))), "expired"},
		{"an hour after its end", sign(h, c.with("iat", at(-2*time.Hour)).with("exp", at(-time.Hour))), "expired"},
		{"31 s before its beginning", wrong("iat", at(31*time.Second)), "early"},
		{"of next year", sign(h, c.with("iat", at(8760*time.Hour)).with("exp", at(8761*time.Hour))), "early"},
		{"not yet valid", wrong("nbf", at(31*time.Second)), "early"},
		{"not yet made, valid before", sign(h, c.with("iat", at(31*time.Second)).with("nbf", at(0))), "early"},
		{"nbf is text", wrong("nbf", `"`+at(0)+`"`), "claims"},
		{"ends before it begins", wrong("exp", at(-time.Second)), "claims"},
		{"exp is text", wrong("exp", `"`+at(time.Hour)+`"`), "claims"},
		{"exp is huge", wrong("exp", `1e300`), "claims"},
		{"exp is negative", wrong("exp", `-1`), "claims"},
		{"exp is beyond dates", wrong("exp", `99999999999999999999`), "claims"},

		// the rest
		{"no exp", sign(h, c.without("exp")), "claims"},
		{"no iat", sign(h, c.without("iat")), "claims"},
		{"no jti", sign(h, c.without("jti")), "claims"},
		{"empty jti", wrong("jti", `""`), "claims"},
		{"no sub", sign(h, c.without("sub")), "claims"},
		{"no client", sign(h, c.without("client_id")), "claims"},
		{"no grant", sign(h, c.without("grant")), "claims"},
		{"no scope", sign(h, c.without("scope")), "claims"},
		{"empty scope", wrong("scope", `""`), "claims"},
		{"scope that is not canonical", wrong("scope", `"post.read post.*"`), "claims"},
		{"scope is a list", wrong("scope", `["post.*"]`), "claims"},
		{"a subject with NUL", wrong("sub", `"agent-a\u0000"`), "claims"},
		{"a subject with half a character", wrong("sub", `"\ud800"`), "claims"},
		{"a long subject", wrong("sub", `"`+strings.Repeat("a", 300)+`"`), "claims"},
		{"payload is a list", compact(h.String(), `[]`, by), "claims"},
		{"payload is empty", compact(h.String(), ` `, by), "claims"},
		{"payload is no JSON", compact(h.String(), `{"iss":}`, by), "claims"},
		{"a claim twice", sign(h, c.twice("sub", `"agent-b"`)), "claims"},
		{"a claim twice, one with an escape", compact(h.String(), strings.Replace(c.String(), `"sub"`, `"s\u0075b":"agent-a","sub"`, 1), by), "claims"},
		{"a member twice further down", wrong("cnf", `{"jkt":"`+rfcJKT+`","jkt":"`+rfcJKT+`"}`), "claims"},
		{"a member twice in a list", wrong("x", `[{"a":1,"a":2}]`), "claims"},
		{"too many members", sign(h, manyClaims(c, 70)), "claims"},
		{"budget below nothing", wrong("budget", `-1`), "claims"},
		{"budget with a fraction", wrong("budget", `1.5`), "claims"},
		{"clearance over the top", wrong("clearance", `256`), "claims"},
		{"depth over the top", wrong("depth", `6`), "claims"},
		{"depth with actors over the top", sign(h, c.with("act", `{"sub":"b"}`).with("depth", `5`)), "claims"},
		{"empty site", wrong("site", `""`), "claims"},

		// the binding
		{"no cnf", sign(h, c.without("cnf")), "unbound"},
		{"empty cnf", wrong("cnf", `{}`), "unbound"},
		{"cnf null", wrong("cnf", `null`), "unbound"},
		{"cnf of two keys", wrong("cnf", `{"jkt":"`+rfcJKT+`","x5t#S256":"`+rfcJKT+`"}`), "unbound"},
		{"cnf with more in it", wrong("cnf", `{"jkt":"`+rfcJKT+`","kid":"x"}`), "unbound"},
		{"cnf of another sort", wrong("cnf", `{"kid":"x"}`), "unbound"},
		{"cnf that is no hash", wrong("cnf", `{"jkt":"x"}`), "unbound"},
		{"cnf that is not canonical", wrong("cnf", `{"jkt":"`+nonCanonical(rfcJKT)+`"}`), "unbound"},

		// T14: the chain
		{"act is text", wrong("act", `"b"`), "chain"},
		{"act is a list", wrong("act", `[{"sub":"b"}]`), "chain"},
		{"act is null", wrong("act", `null`), "chain"},
		{"act without sub", wrong("act", `{}`), "chain"},
		{"act with another issuer", wrong("act", `{"sub":"b","iss":"https://evil.example"}`), "chain"},
		{"act with more inside", wrong("act", `{"sub":"b","act":{"sub":"c","scope":"*"}}`), "chain"},
		{"six actors", wrong("act", `{"sub":"f","act":{"sub":"e","act":{"sub":"d","act":{"sub":"c","act":{"sub":"b","act":{"sub":"a"}}}}}}`), "chain"},
		{"two chains", sign(h, c.with("act", `{"sub":"b"}`).twice("act", `{"sub":"c"}`)), "claims"},
	}...)
	refused(t, "token", faults, func(text string) error { _, err := set.Read(text, expect); return err })
}

func manyClaims(c doc, n int) doc {
	for i := range n {
		c = c.with("x"+strconv.Itoa(i), "1")
	}
	return c
}

// refused holds every fault to its rule, and its error to say nothing of what
// was sent.
func refused(t *testing.T, family string, faults []fault, read func(text string) error) {
	t.Helper()
	for _, f := range faults {
		err := read(f.text)
		want := f.rule
		if !strings.Contains(want, ".") {
			want = family + "." + want
		}
		if got := ruleOf(err); got != want {
			t.Errorf("%s: rule %q, want %q", f.name, got, want)
			continue
		}
		e := act.AsError(err)
		if e.Message == "" || e.Hint == "" || e.Code == act.Internal {
			t.Errorf("%s: %+v says nothing", f.name, e)
		}
		for _, part := range strings.FieldsFunc(f.text, func(r rune) bool { return r == '.' || r == '"' || r == ' ' }) {
			if len(part) > 8 && (strings.Contains(e.Message, part) || strings.Contains(e.Hint, part)) {
				t.Errorf("%s: the error repeats %q", f.name, part)
			}
		}
	}
}
