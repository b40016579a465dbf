package token_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

func newKey(t testing.TB, a token.Algorithm) token.Private {
	t.Helper()
	k, err := token.NewKey(a)
	must(t, err)
	return k
}

func newSet(t testing.TB, active token.Private, others ...token.Verifier) *token.Set {
	t.Helper()
	s, err := token.NewSet(active, others...)
	must(t, err)
	return s
}

func exampleClaims() token.Claims {
	return token.Claims{
		Issuer: issuer, Subject: "agent-a", Client: "agent-b", ID: "one", Grant: "grant-1", IssuedAt: now,
		Actors: []string{"agent-b"}, Confirm: token.Confirm{JKT: rfcJKT},
		Authority: token.Authority{
			Scope: "dm.send post.*", Audience: token.Audience{issuer}, Expires: now.Add(5 * time.Minute),
			Budget: 7, Clearance: 2, Site: "berlin", Depth: 3,
		},
	}
}

var atIssuer = token.Expect{Issuer: issuer, Audience: issuer, Now: now}

// Another library reads what is signed, with the key set that is published.
func TestTokenReadByAnotherLibrary(t *testing.T) {
	t.Parallel()
	for _, a := range []token.Algorithm{token.EdDSA, token.ES256} {
		set := newSet(t, newKey(t, a), token.Verifier{Key: newKey(t, token.EdDSA).Public(), Until: now.Add(time.Hour)},
			token.Verifier{Key: newKey(t, token.ES256).Public(), Until: now})
		text, err := set.Sign(exampleClaims())
		must(t, err)
		doc, err := set.JWKS(now)
		must(t, err)
		var keys jose.JSONWebKeySet
		must(t, json.Unmarshal(doc, &keys))
		if len(keys.Keys) != 2 || len(keys.Key(set.KeyID())) != 1 || strings.Contains(string(doc), `"d"`) {
			t.Errorf("key set %s: want the two that are good now, public halves only", doc)
		}
		parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(a.String())})
		must(t, err)
		var std jwt.Claims
		var own struct {
			Client string            `json:"client_id"`
			Scope  string            `json:"scope"`
			Cnf    map[string]string `json:"cnf"`
			Act    struct {
				Sub string `json:"sub"`
			} `json:"act"`
			Budget int `json:"budget"`
		}
		must(t, parsed.Claims(keys, &std, &own))
		must(t, std.Validate(jwt.Expected{Issuer: issuer, Subject: "agent-a", AnyAudience: jwt.Audience{issuer}, ID: "one", Time: now}))
		if parsed.Headers[0].ExtraHeaders["typ"] != "at+jwt" || parsed.Headers[0].KeyID != set.KeyID() ||
			own.Client != "agent-b" || own.Scope != "dm.send post.*" || own.Cnf["jkt"] != rfcJKT || own.Act.Sub != "agent-b" || own.Budget != 7 {
			t.Errorf("%s: %+v %+v %+v", a, parsed.Headers[0], std, own)
		}
	}
}

// Whatever is signed is read back as it was, and whatever cannot be read is not
// signed.
func TestTokenRoundTrip(t *testing.T) {
	t.Parallel()
	sets := []*token.Set{newSet(t, newKey(t, token.EdDSA)), newSet(t, newKey(t, token.ES256))}
	name := rapid.StringMatching(`[ -~é漢"\\]{1,40}`)
	rapid.Check(t, func(t *rapid.T) {
		a := authorities().Draw(t, "authority")
		a.Audience = token.Audience{name.Draw(t, "audience")}
		c := token.Claims{
			Issuer: name.Draw(t, "issuer"), Subject: name.Draw(t, "subject"), Client: name.Draw(t, "client"), ID: name.Draw(t, "id"),
			Grant: name.Draw(t, "grant"), IssuedAt: now, Authority: a, Confirm: token.Confirm{X5T: rfcJKT},
			Actors: rapid.SliceOfN(name, 0, 5).Draw(t, "actors"),
		}
		set := rapid.SampledFrom(sets).Draw(t, "set")
		text, err := set.Sign(c)
		if bad := len(c.Actors)+c.Depth > token.MaxDepth || c.Audience[0] == "*"; bad != (err != nil) {
			t.Fatalf("%+v signed: %v", c, err)
		}
		if err != nil {
			return
		}
		got, err := set.Read(text, token.Expect{Issuer: c.Issuer, Audience: c.Audience[0], Now: now})
		if err != nil {
			t.Fatalf("%+v: %v (%s)", c, err, ruleOf(err))
		}
		if fmt.Sprint(got.Authority.Equal(c.Authority), got.Actors) != fmt.Sprint(true, c.Actors) || got.Issuer != c.Issuer || got.Subject != c.Subject ||
			got.Client != c.Client || got.ID != c.ID || got.Grant != c.Grant || got.Confirm != c.Confirm || !got.IssuedAt.Equal(c.IssuedAt) {
			t.Fatalf("signed %+v, read %+v", c, got)
		}
	})
}

// Signing refuses what reading would.
func TestSignRefusesHalfClaims(t *testing.T) {
	t.Parallel()
	set := newSet(t, newKey(t, token.EdDSA))
	for name, change := range map[string]func(c *token.Claims){
		"no issuer":            func(c *token.Claims) { c.Issuer = "" },
		"no subject":           func(c *token.Claims) { c.Subject = "" },
		"no client":            func(c *token.Claims) { c.Client = "" },
		"no id":                func(c *token.Claims) { c.ID = "" },
		"no grant":             func(c *token.Claims) { c.Grant = "" },
		"no scope":             func(c *token.Claims) { c.Scope = "" },
		"a scope of no form":   func(c *token.Claims) { c.Scope = "post" },
		"no audience":          func(c *token.Claims) { c.Audience = nil },
		"any audience":         func(c *token.Claims) { c.Audience = token.AnyAudience() },
		"two audiences":        func(c *token.Claims) { c.Audience = append(c.Audience, "https://b.example") },
		"no end":               func(c *token.Claims) { c.Expires = time.Time{} },
		"an end before now":    func(c *token.Claims) { c.Expires = now },
		"no beginning":         func(c *token.Claims) { c.IssuedAt = time.Time{} },
		"no site":              func(c *token.Claims) { c.Site = "" },
		"no binding":           func(c *token.Claims) { c.Confirm = token.Confirm{} },
		"two bindings":         func(c *token.Claims) { c.Confirm.X5T = rfcJKT },
		"a binding of no form": func(c *token.Claims) { c.Confirm.JKT = "key" },
		"six actors":           func(c *token.Claims) { c.Actors, c.Depth = strings.Split("abcdef", ""), 0 },
		"a nameless actor":     func(c *token.Claims) { c.Actors = []string{""} },
		"depth and actors":     func(c *token.Claims) { c.Depth = 5 },
		"a debt":               func(c *token.Claims) { c.Budget = -1 },
		"a budget over all":    func(c *token.Claims) { c.Budget = token.Unbounded + 1 },
		"a long name":          func(c *token.Claims) { c.Subject = strings.Repeat("a", 256) },
	} {
		c := exampleClaims()
		change(&c)
		if text, err := set.Sign(c); err == nil || text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// Keys rotate with an overlap: the next is known before it signs, the last
// verifies until what it signed is over, and then it is gone from the key set.
func TestRotation(t *testing.T) {
	t.Parallel()
	first, second := newKey(t, token.EdDSA), newKey(t, token.ES256)
	until := now.Add(6 * time.Minute)
	before := newSet(t, first, token.Verifier{Key: second.Public(), Until: now.Add(time.Hour)})
	after := newSet(t, second, token.Verifier{Key: first.Public(), Until: until})
	old, err := before.Sign(exampleClaims())
	must(t, err)
	fresh, err := after.Sign(exampleClaims())
	must(t, err)
	for _, set := range []*token.Set{before, after} {
		for _, text := range []string{old, fresh} {
			if _, err := set.Read(text, atIssuer); err != nil {
				t.Errorf("in the overlap: %v", err)
			}
		}
	}
	late := atIssuer
	late.Now = until
	if _, err := after.Read(old, late); ruleOf(err) != "token.key" {
		t.Errorf("by a key whose time is over: %v", err)
	}
	if doc, err := after.JWKS(until); err != nil || strings.Contains(string(doc), first.Public().Thumbprint()) || !strings.Contains(string(doc), after.KeyID()) {
		t.Errorf("key set after the overlap: %s, %v", doc, err)
	}
	// What was signed by a key that was never in the set, or was taken out.
	gone := newSet(t, second)
	if _, err := gone.Read(old, atIssuer); ruleOf(err) != "token.key" {
		t.Errorf("by a key that was taken out: %v", err)
	}
	if _, err := token.NewSet(first, token.Verifier{Key: first.Public(), Until: until}); err == nil {
		t.Error("a key stands in a set twice")
	}
	if _, err := token.NewSet(first, token.Verifier{}); err == nil {
		t.Error("a key that is none stands in a set")
	}
	if _, err := token.NewSet(token.Private{}); err == nil {
		t.Error("nobody signs")
	}
}

// A key pair comes back from storage, and shows nothing of itself in a log.
func TestKeyPair(t *testing.T) {
	t.Parallel()
	for _, a := range []token.Algorithm{token.EdDSA, token.ES256} {
		k := newKey(t, a)
		der, err := k.PKCS8()
		must(t, err)
		again, err := token.ParsePKCS8(der)
		must(t, err)
		if again.Public().Thumbprint() != k.Public().Thumbprint() || again.Public().Algorithm() != a {
			t.Errorf("%s: came back as %v", a, again)
		}
		text, err := newSet(t, again).Sign(exampleClaims())
		must(t, err)
		if _, err := newSet(t, k).Read(text, atIssuer); err != nil {
			t.Error(err)
		}
		for _, shown := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s", k, k, k, k)} {
			if strings.Contains(strings.ReplaceAll(shown, "key pair "+k.Public().Thumbprint(), ""), "key") || len(shown) > 300 {
				t.Errorf("%s shows as %s", a, shown)
			}
		}
	}
	if _, err := token.NewKey(0); err == nil {
		t.Error("a key of no algorithm")
	}
	if _, err := token.ParsePKCS8([]byte("no key")); err == nil {
		t.Error("a key out of nothing")
	}
}

// T14: of a thousand tokens that were changed after they were signed none is
// taken: characters changed, dropped, doubled and moved, parts of two tokens put
// together, the chain of actors forged, reordered or dropped.
func TestMutatedTokens(t *testing.T) {
	t.Parallel()
	private := newKey(t, token.EdDSA)
	set := newSet(t, private)
	c := exampleClaims()
	c.Actors, c.Depth = []string{"agent-c", "agent-b"}, 2
	text, err := set.Sign(c)
	must(t, err)
	c.Scope, c.ID, c.Subject = "*", "two", "agent-s"
	strong, err := set.Sign(c)
	must(t, err)
	for _, s := range []string{text, strong} {
		if _, err := set.Read(s, atIssuer); err != nil {
			t.Fatal(err)
		}
	}
	p, q := strings.Split(text, "."), strings.Split(strong, ".")
	payload, err := base64.RawURLEncoding.DecodeString(p[1])
	must(t, err)
	const chain = `"act":{"sub":"agent-c","act":{"sub":"agent-b"}}`
	if !strings.Contains(string(payload), chain) {
		t.Fatalf("no chain in %s", payload)
	}
	var mutants []string
	for _, other := range []string{
		`"act":{"sub":"agent-b","act":{"sub":"agent-c"}}`, `"act":{"sub":"agent-c"}`, `"act":{"sub":"agent-b"}`, `"x":0`,
		`"act":{"sub":"agent-d","act":{"sub":"agent-c","act":{"sub":"agent-b"}}}`, `"act":{"sub":"agent-c","act":{"sub":"agent-s"}}`,
	} {
		mutants = append(mutants, p[0]+"."+b64([]byte(strings.Replace(string(payload), chain, other, 1)))+"."+p[2])
	}
	mutants = append(mutants, p[0]+"."+q[1]+"."+p[2], p[0]+"."+p[1]+"."+q[2], q[0]+"."+q[1]+"."+p[2], p[1]+"."+p[0]+"."+p[2], p[0]+"."+p[2]+"."+p[1])
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n"
	chance := rand.New(rand.NewPCG(14, 1000))
	for len(mutants) < 1000 {
		i, j := chance.IntN(len(text)), chance.IntN(len(text))
		m := []byte(text)
		switch chance.IntN(4) {
		case 0:
			m[i] = alphabet[chance.IntN(len(alphabet))]
		case 1:
			m = slices.Delete(m, min(i, j), max(i, j))
		case 2:
			m = slices.Insert(m, i, m[min(i, j):max(i, j)]...)
		case 3:
			m[i], m[j] = m[j], m[i]
		}
		if string(m) != text {
			mutants = append(mutants, string(m))
		}
	}
	for _, m := range mutants {
		if got, err := set.Read(m, atIssuer); err == nil || got.Subject != "" {
			t.Errorf("%q was taken as %+v", m, got)
		}
	}
}
