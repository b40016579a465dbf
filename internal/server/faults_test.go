package server_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// claims are the members of a header or a payload.
type claims map[string]any

// with returns the claims with others in place of some; nil takes one out.
func (c claims) with(other claims) claims {
	out := maps.Clone(c)
	for name, v := range other {
		if out[name] = v; v == nil {
			delete(out, name)
		}
	}
	return out
}

// jws signs by hand, so that what no library writes can be written.
func jws(t testing.TB, header, payload claims, sign func(input []byte) []byte) string {
	t.Helper()
	var parts []string
	for _, c := range []claims{header, payload} {
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
	}
	input := strings.Join(parts, ".")
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}

// opened returns header and payload of a token.
func opened(t testing.TB, text string) (header, payload claims) {
	t.Helper()
	parts := strings.Split(text, ".")
	for n, into := range []*claims{&header, &payload} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[n])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

func unsigned([]byte) []byte { return nil }

func (m member) signs(input []byte) []byte { return ed25519.Sign(m.held.(ed25519.PrivateKey), input) }

func macBy(secret []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil)
	}
}

// wire is a network at whose doors faults are tried. Each comes from a source of its
// own, so that each is on record by itself.
type wire struct {
	t       *testing.T
	s       *servertest.Server
	handler http.Handler
	sources int
	faults  [][2]string // act and rule of what was refused
}

func (w *wire) send(r *http.Request) *httptest.ResponseRecorder {
	w.sources++
	r.RemoteAddr = fmt.Sprintf("10.20.%d.%d:4711", w.sources>>8, w.sources&255)
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	return answer
}

const (
	resourcePath = "/v1/me"
	resourceAct  = "agent.me"
)

// call makes a call with a token.
func (w *wire) call(authorization string, proofs ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, resourcePath, nil)
	r.Header.Set("Authorization", authorization)
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	return w.send(r)
}

func (w *wire) noted(name, act, rule string, rules []string) {
	w.t.Helper()
	if !slices.Contains(rules, rule) {
		w.t.Errorf("%s: refused by %q, want %q", name, rule, rules)
	}
	w.faults = append(w.faults, [2]string{act, rule})
}

// refuses has a call refused with 401, the error of the RFC and one of our rules.
func (w *wire) refuses(name, authorization string, proofs []string, code string, rules ...string) {
	w.t.Helper()
	a := w.call(authorization, proofs...)
	var body struct{ Rule string }
	_ = json.Unmarshal(a.Body.Bytes(), &body)
	if challenge := strings.Join(a.Header().Values("WWW-Authenticate"), ", "); a.Code != http.StatusUnauthorized || !strings.Contains(challenge, `error="`+code+`"`) {
		w.t.Errorf("%s: %d %s, want 401 with %s", name, a.Code, challenge, code)
	}
	w.noted(name, resourceAct, body.Rule, rules)
}

// form sends a form to the token endpoint.
func (w *wire) form(f url.Values, proof string) (*httptest.ResponseRecorder, tokens) {
	r := httptest.NewRequest(http.MethodPost, tokenPath, strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	a := w.send(r)
	var out tokens
	_ = json.Unmarshal(a.Body.Bytes(), &out)
	return a, out
}

const tokenPath = "/oauth/token"

type tokens struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Refresh string `json:"refresh_token"`
	Scope   string
	Error   string
	Rule    string
}

// denies has a request at the token endpoint refused with 400.
func (w *wire) denies(name, act string, f url.Values, proof, code string, rules ...string) {
	w.t.Helper()
	a, out := w.form(f, proof)
	if a.Code != http.StatusBadRequest || out.Error != code {
		w.t.Errorf("%s: %d %s, want 400 with %s", name, a.Code, a.Body, code)
	}
	w.noted(name, act, out.Rule, rules)
}

// gives has a request at the token endpoint answered.
func (w *wire) gives(name string, f url.Values, proof string) tokens {
	w.t.Helper()
	a, out := w.form(f, proof)
	if a.Code != http.StatusOK || out.Access == "" {
		w.t.Fatalf("%s: %d %s", name, a.Code, a.Body)
	}
	return out
}

func (w *wire) now() time.Time { return w.s.DB.Clock()() }

func (w *wire) assertion(m member) string {
	text, err := m.key.Assert(m.id, w.s.Server.URL(), w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// proof makes a proof by a key for the token endpoint, or with a token for the resource.
func (w *wire) proof(k token.Private, access string) string {
	w.t.Helper()
	p := token.Prove{Method: http.MethodPost, URL: w.s.Server.URL() + tokenPath, Nonce: w.s.Issuer.Nonce(), Now: w.now()}
	if access != "" {
		p.Method, p.URL, p.AccessToken = http.MethodGet, w.s.Server.URL()+resourcePath, access
	}
	text, err := k.Prove(p)
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// asks is a form with a client's assertion and a grant's parameters.
func (w *wire) asks(m member, grant string, more ...string) url.Values {
	f := url.Values{"grant_type": {grant}, "client_assertion": {w.assertion(m)}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
	for n := 0; n < len(more); n += 2 {
		f.Set(more[n], more[n+1])
	}
	return f
}

// asserts is asks with an assertion that was made by hand.
func (w *wire) asserts(text string) url.Values {
	f := w.asks(member{key: anyKey(w.t)}, grantClient, "scope", "agent.me")
	f.Set("client_assertion", text)
	return f
}

func anyKey(t testing.TB) token.Private {
	k, err := token.NewKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const (
	grantClient   = identity.TypeClient
	grantExchange = identity.TypeExchange
	grantRefresh  = identity.TypeRefresh
	accessType    = "urn:ietf:params:oauth:token-type:access_token"
)

// What is wrong with tokens, proofs, assertions and exchanges, on the wire: each fault
// is refused with the error that its RFC names, and each is on record. The readers'
// own tests have many more of each kind (package token); here is one of every kind
// where it would be used (T11, T13, T14, T15, T16).
func TestFaultsAreRefusedAndRecorded(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			var ahead atomic.Int64
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			cfg.PublicURL = "https://reef.example"
			cfg.Quotas = []string{"try=100000/1m", "token=100000/1m"}
			s := servertest.Start(t, cfg)
			w := &wire{t: t, s: s, handler: s.API.Handler()}
			other := servertest.Start(t, servertest.Config(t, store.SQLite))
			elsewhere := &wire{t: t, s: other, handler: other.API.Handler()}

			ada, bea := enrol(t, s, "ada", token.EdDSA), enrol(t, s, "bea", token.EdDSA)
			foreign := enrol(t, other, "foreign", token.EdDSA)
			w.tokenFaults(ada, bea, elsewhere, foreign)
			w.proofFaults(ada, bea, elsewhere)
			w.assertionFaults(ada, bea)
			w.exchangeFaults(ada, bea, elsewhere, foreign)
			w.enrolmentFaults()
			w.skew(ada, func(by time.Duration) { ahead.Store(int64(by)) })

			if len(w.faults) < 80 {
				t.Errorf("only %d faults were tried", len(w.faults))
			}
			recorded := make(map[[2]string]int64)
			for _, l := range leaves(t, s) {
				if l.Outcome != "done" {
					recorded[[2]string{l.Act, l.Rule}] += max(l.Count, 1)
				}
			}
			for _, f := range w.faults {
				if recorded[f]--; recorded[f] < 0 {
					t.Errorf("%s refused by %s is not on record", f[0], f[1])
				}
			}
		})
	}
}

func (w *wire) tokenFaults(ada, bea member, elsewhere *wire, foreign member) {
	tok := w.gives("a token", w.asks(ada, grantClient, "scope", "agent.me"), w.proof(ada.key, "")).Access
	head, body := opened(w.t, tok)
	jwk, err := json.Marshal(json.RawMessage(ada.key.Public().JWK()))
	if err != nil {
		w.t.Fatal(err)
	}
	_, issuerKeys := w.published()
	parts := strings.Split(tok, ".")
	theirs := elsewhere.gives("another network's token", elsewhere.asks(foreign, grantClient, "scope", "agent.me"), elsewhere.proof(foreign.key, "")).Access
	resigned := func(change claims) string {
		return strings.Join([]string{parts[0], strings.Split(jws(w.t, head, body.with(change), unsigned), ".")[1], parts[2]}, ".")
	}
	for name, c := range map[string]struct {
		text  string
		rules []string
	}{
		"no signature, alg none":        {jws(w.t, head.with(claims{"alg": "none"}), body, unsigned), []string{"token.algorithm", "token.malformed"}},
		"HS256 by the published key":    {jws(w.t, head.with(claims{"alg": "HS256"}), body, macBy(issuerKeys)), []string{"token.algorithm"}},
		"HS256 by the public JWK":       {jws(w.t, head.with(claims{"alg": "HS256"}), body, macBy(jwk)), []string{"token.algorithm"}},
		"signed by the agent itself":    {jws(w.t, head, body, ada.signs), []string{"token.signature"}},
		"a key of its own in kid":       {jws(w.t, head.with(claims{"kid": ada.key.Public().Thumbprint()}), body, ada.signs), []string{"token.key"}},
		"a file in kid":                 {jws(w.t, head.with(claims{"kid": "../../../../dev/null"}), body, ada.signs), []string{"token.key"}},
		"an address in kid":             {jws(w.t, head.with(claims{"kid": "https://evil.example/jwks.json"}), body, ada.signs), []string{"token.key"}},
		"SQL in kid":                    {jws(w.t, head.with(claims{"kid": "x' UNION SELECT 'key"}), body, ada.signs), []string{"token.key"}},
		"no kid":                        {jws(w.t, head.with(claims{"kid": nil}), body, ada.signs), []string{"token.critical"}},
		"its own key in the header":     {jws(w.t, head.with(claims{"jwk": json.RawMessage(jwk)}), body, ada.signs), []string{"token.critical"}},
		"an address of keys":            {jws(w.t, head.with(claims{"jku": "https://evil.example/jwks.json"}), body, ada.signs), []string{"token.critical"}},
		"crit":                          {jws(w.t, head.with(claims{"crit": []string{"exp"}}), body, ada.signs), []string{"token.critical"}},
		"another typ":                   {jws(w.t, head.with(claims{"typ": "JWT"}), body, ada.signs), []string{"token.type"}},
		"a proof as a token":            {w.proof(ada.key, ""), []string{"token.type"}},
		"an assertion as a token":       {w.assertion(ada), []string{"token.type"}},
		"a wider scope":                 {resigned(claims{"scope": "*"}), []string{"token.signature"}},
		"a longer life":                 {resigned(claims{"exp": w.now().Add(time.Hour).Unix()}), []string{"token.signature"}},
		"another binding":               {resigned(claims{"cnf": claims{"jkt": bea.key.Public().Thumbprint()}}), []string{"token.signature"}},
		"another subject":               {resigned(claims{"sub": bea.id, "client_id": bea.id}), []string{"token.signature"}},
		"a chain that was forged":       {resigned(claims{"act": claims{"sub": bea.id}}), []string{"token.signature"}},
		"a chain and a signature of it": {jws(w.t, head, body.with(claims{"act": claims{"sub": bea.id, "act": claims{"sub": ada.id}}}), ada.signs), []string{"token.signature"}},
		"another network's":             {theirs, []string{"token.key"}},
		"its first two parts":           {parts[0] + "." + parts[1] + ".", []string{"token.signature", "token.malformed"}},
		"twice":                         {tok + tok, []string{"token.malformed", "token.signature"}},
		"too long":                      {tok + strings.Repeat("A", 8<<10), []string{"key.malformed", "token.size"}},
	} {
		proofs := []string{w.proof(ada.key, c.text)}
		w.refuses("token: "+name, "DPoP "+c.text, proofs, "invalid_token", c.rules...)
	}
	w.refuses("token: stolen, with the thief's key", "DPoP "+tok, []string{w.proof(bea.key, tok)}, "invalid_token", "token.binding")
	w.refuses("token: stolen, as a bearer", "Bearer "+tok, nil, "invalid_token", "token.binding")
	w.refuses("token: stolen, as a bearer with a proof", "Bearer "+tok, []string{w.proof(bea.key, tok)}, "invalid_token", "token.binding")
	if a := w.call("DPoP "+tok, w.proof(ada.key, tok)); a.Code != http.StatusOK {
		w.t.Errorf("the token itself: %d %s", a.Code, a.Body)
	}
}

// published returns the key set and the bytes of its first key, which somebody might
// take for a secret.
func (w *wire) published() (set, first []byte) {
	a := w.send(httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
	var doc struct{ Keys []struct{ X string } }
	if err := json.Unmarshal(a.Body.Bytes(), &doc); err != nil || len(doc.Keys) == 0 {
		w.t.Fatalf("%d %s", a.Code, a.Body)
	}
	first, err := base64.RawURLEncoding.DecodeString(doc.Keys[0].X)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.Body.Bytes(), first
}

func (w *wire) proofFaults(ada, bea member, elsewhere *wire) {
	tok := w.gives("a token", w.asks(ada, grantClient, "scope", "agent.me"), w.proof(ada.key, "")).Access
	good := w.proof(ada.key, tok)
	head, body := opened(w.t, good)
	fresh := func(change claims) string {
		return jws(w.t, head, body.with(claims{"jti": base64.RawURLEncoding.EncodeToString(fmt.Append(nil, w.sources))}).with(change), ada.signs)
	}
	base := w.s.Server.URL()
	for name, c := range map[string]struct {
		text string
		rule []string
	}{
		"for another method":       {fresh(claims{"htm": "POST"}), []string{"dpop.method"}},
		"the method in other case": {fresh(claims{"htm": "get"}), []string{"dpop.method"}},
		"for another path":         {fresh(claims{"htu": base + "/v1/agents"}), []string{"dpop.url"}},
		"the path in other case":   {fresh(claims{"htu": base + "/V1/me"}), []string{"dpop.url"}},
		"a slash more":             {fresh(claims{"htu": base + resourcePath + "/"}), []string{"dpop.url"}},
		"for another host":         {fresh(claims{"htu": "http://evil.example" + resourcePath}), []string{"dpop.url"}},
		"for another port":         {fresh(claims{"htu": base + ":8080" + resourcePath}), []string{"dpop.url"}},
		"for another scheme":       {fresh(claims{"htu": strings.Replace(base, "https:", "http:", 1) + resourcePath}), []string{"dpop.url"}},
		"for another token":        {fresh(claims{"ath": body["jti"]}), []string{"dpop.token"}},
		"without ath":              {fresh(claims{"ath": nil}), []string{"dpop.claims"}},
		"without jti":              {fresh(claims{"jti": nil}), []string{"dpop.claims"}},
		"of the token endpoint":    {w.proof(ada.key, ""), []string{"dpop.method"}},
		"31 seconds old":           {fresh(claims{"iat": w.now().Unix() - 31}), []string{"dpop.expired"}},
		"from the future":          {fresh(claims{"iat": w.now().Unix() + 33}), []string{"dpop.early"}},
		"alg none":                 {jws(w.t, head.with(claims{"alg": "none"}), body, unsigned), []string{"dpop.algorithm", "dpop.malformed"}},
		"HS256":                    {jws(w.t, head.with(claims{"alg": "HS256", "jwk": claims{"kty": "oct", "k": "c2VjcmV0"}}), body, macBy([]byte("secret"))), []string{"dpop.algorithm", "dpop.key"}},
		"another typ":              {jws(w.t, head.with(claims{"typ": "JWT"}), body, ada.signs), []string{"dpop.type"}},
		"another's key in it":      {jws(w.t, head.with(claims{"jwk": json.RawMessage(bea.key.Public().JWK())}), body, ada.signs), []string{"dpop.signature"}},
		"a private key in it":      {jws(w.t, head.with(claims{"jwk": json.RawMessage(ada.jwk(w.t))}), body, ada.signs), []string{"dpop.key"}},
		"kid in place of the key":  {jws(w.t, head.with(claims{"jwk": nil, "kid": ada.key.Public().Thumbprint()}), body, ada.signs), []string{"dpop.key", "dpop.critical"}},
		"crit":                     {jws(w.t, head.with(claims{"crit": []string{"b64"}, "b64": false}), body, ada.signs), []string{"dpop.critical"}},
		"the token itself":         {tok, []string{"dpop.type"}},
		"something":                {"x", []string{"dpop.malformed"}},
	} {
		w.refuses("proof: "+name, "DPoP "+tok, []string{c.text}, "invalid_dpop_proof", c.rule...)
	}
	w.refuses("proof: none", "DPoP "+tok, nil, "invalid_dpop_proof", "dpop.malformed")
	w.refuses("proof: two", "DPoP "+tok, []string{good, fresh(nil)}, "invalid_dpop_proof", "dpop.twice")
	w.refuses("proof: no nonce", "DPoP "+tok, []string{fresh(claims{"nonce": nil})}, "use_dpop_nonce", "dpop.nonce")
	w.refuses("proof: a nonce of another network", "DPoP "+tok, []string{fresh(claims{"nonce": elsewhere.s.Issuer.Nonce()})}, "use_dpop_nonce", "dpop.nonce")
	// A query and a fragment do not count (RFC 9449 §4.3).
	if a := w.call("DPoP "+tok, fresh(claims{"htu": base + resourcePath + "?x=1#y"})); a.Code != http.StatusOK {
		w.t.Errorf("proof: with a query: %d %s", a.Code, a.Body)
	}
	for n, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if a := w.call("DPoP "+tok, good); a.Code != want {
			w.t.Errorf("a proof, time %d: %d %s", n+1, a.Code, a.Body)
		}
	}
	w.refuses("proof: again", "DPoP "+tok, []string{good}, "invalid_dpop_proof", "dpop.replayed")
}

func (w *wire) assertionFaults(ada, bea member) {
	head, body := opened(w.t, w.assertion(ada))
	base, now := w.s.Server.URL(), w.now().Unix()
	made := func(change claims) string { return jws(w.t, head, body.with(change), ada.signs) }
	tok := w.gives("a token", w.asks(ada, grantClient, "scope", "agent.me"), w.proof(ada.key, "")).Access
	for name, c := range map[string]struct {
		text  string
		rules []string
	}{
		"by another agent's key":  {jws(w.t, head, body, bea.signs), []string{"assertion.signature"}},
		"another agent's kid":     {jws(w.t, head.with(claims{"kid": bea.key.Public().Thumbprint()}), body, bea.signs), []string{"assertion.key"}},
		"for another agent":       {made(claims{"iss": bea.id, "sub": bea.id}), []string{"assertion.key"}},
		"two names":               {made(claims{"sub": bea.id}), []string{"assertion.client"}},
		"nobody's":                {made(claims{"iss": "x", "sub": "x"}), []string{"assertion.key"}},
		"for the token endpoint":  {made(claims{"aud": base + tokenPath}), []string{"assertion.audience"}},
		"for another network":     {made(claims{"aud": "http://elsewhere.example"}), []string{"assertion.audience"}},
		"for several":             {made(claims{"aud": []string{base}}), []string{"assertion.audience", "assertion.claims"}},
		"expired":                 {made(claims{"iat": now - 120, "exp": now - 31}), []string{"assertion.expired"}},
		"from the future":         {made(claims{"nbf": now + 60, "exp": now + 120}), []string{"assertion.early"}},
		"for an hour":             {made(claims{"exp": now + 3600}), []string{"assertion.life"}},
		"without an end":          {made(claims{"exp": nil}), []string{"assertion.claims"}},
		"without jti":             {made(claims{"jti": nil}), []string{"assertion.claims"}},
		"alg none":                {jws(w.t, head.with(claims{"alg": "none"}), body, unsigned), []string{"assertion.algorithm", "assertion.malformed"}},
		"HS256 by the public key": {jws(w.t, head.with(claims{"alg": "HS256"}), body, macBy(ada.key.Public().JWK())), []string{"assertion.algorithm"}},
		"its key in the header":   {jws(w.t, head.with(claims{"jwk": json.RawMessage(bea.key.Public().JWK())}), body, bea.signs), []string{"assertion.critical"}},
		"a file in kid":           {jws(w.t, head.with(claims{"kid": "/etc/passwd"}), body, ada.signs), []string{"assertion.key"}},
		"an access token":         {tok, []string{"assertion.type"}},
		"a proof":                 {w.proof(ada.key, ""), []string{"assertion.critical", "assertion.type"}},
		"something":               {"x", []string{"assertion.malformed"}},
	} {
		w.denies("assertion: "+name, "token.issue", w.asserts(c.text), w.proof(ada.key, ""), "invalid_client", c.rules...)
	}
	once := w.asserts(w.assertion(ada))
	w.gives("an assertion", once, w.proof(ada.key, ""))
	w.denies("assertion: again", "token.issue", once, w.proof(ada.key, ""), "invalid_client", "assertion.replayed")
	w.denies("client: none", "token.issue", url.Values{"grant_type": {grantClient}, "scope": {"agent.me"}}, w.proof(ada.key, ""), "invalid_client", "client.missing")
	w.denies("client: a secret", "token.issue", url.Values{"grant_type": {grantClient}, "client_id": {ada.id}, "client_secret": {"x"}}, w.proof(ada.key, ""), "invalid_client", "client.secret")
	w.denies("client: a certificate in place of a proof, and none there", "token.issue", w.asks(ada, grantClient, "scope", "agent.me"), "", "invalid_dpop_proof", "dpop.missing")
	proof := w.proof(ada.key, "")
	w.gives("a proof", w.asks(ada, grantClient, "scope", "agent.me"), proof)
	w.denies("proof at the token endpoint: again", "token.issue", w.asks(ada, grantClient, "scope", "agent.me"), proof, "invalid_dpop_proof", "dpop.replayed")
	w.denies("scope: none that there is", "token.issue", w.asks(ada, grantClient, "scope", "agent..me"), w.proof(ada.key, ""), "invalid_scope", "scope.malformed")
	w.denies("audience: another network", "token.issue", w.asks(ada, grantClient, "scope", "agent.me", "resource", "https://elsewhere.example/"), w.proof(ada.key, ""), "invalid_target", "target.beyond")
}

func (w *wire) exchangeFaults(ada, bea member, elsewhere *wire, foreign member) {
	cid := enrol(w.t, w.s, "cid", token.EdDSA)
	given := w.gives("for bea", w.asks(ada, grantClient, "scope", "agent.me agent.update", "audience", bea.id), w.proof(ada.key, "")).Access
	theirs := elsewhere.gives("another network's", elsewhere.asks(foreign, grantClient, "scope", "agent.me"), elsewhere.proof(foreign.key, "")).Access
	exchange := func(m member, subject, scope string, more ...string) url.Values {
		return w.asks(m, grantExchange, append([]string{"subject_token", subject, "subject_token_type", accessType, "scope", scope}, more...)...)
	}
	denies := func(name string, m member, f url.Values, code string, rules ...string) {
		w.t.Helper()
		w.denies("exchange: "+name, "token.exchange", f, w.proof(m.key, ""), code, rules...)
	}
	own := w.gives("cid's own", w.asks(cid, grantClient, "scope", "agent.me"), w.proof(cid.key, "")).Access
	denies("by who was not named", cid, exchange(cid, given, "agent.me"), "invalid_request", "exchange.delegate")
	denies("beyond what was given", bea, exchange(bea, given, "post.create"), "invalid_scope", "scope.beyond")
	denies("for another audience", bea, exchange(bea, given, "agent.me", "resource", "https://elsewhere.example/"), "invalid_target", "target.beyond")
	denies("of another network's token", bea, exchange(bea, theirs, "agent.me"), "invalid_grant", "grant.subject")
	denies("of an assertion", bea, exchange(bea, w.assertion(ada), "agent.me"), "invalid_grant", "grant.subject")
	denies("with another's actor token", bea, exchange(bea, given, "agent.me", "actor_token", own, "actor_token_type", accessType), "invalid_request", "exchange.actor")
	head, body := opened(w.t, given)
	denies("of a token that names another holder", cid, exchange(cid, jws(w.t, head, body.with(claims{"sub": cid.id, "client_id": cid.id}), cid.signs), "agent.me"), "invalid_grant", "grant.subject")

	// One hand-over more than there may be, and one back into the chain.
	chain := []member{ada, bea, cid}
	for _, name := range []string{"dan", "eve", "fay", "gus"} {
		chain = append(chain, enrol(w.t, w.s, name, token.EdDSA))
	}
	at := given
	for n := 1; n <= token.MaxDepth; n++ {
		at = w.gives("a hand-over", exchange(chain[n], at, "agent.me", "audience", chain[n+1].id), w.proof(chain[n].key, "")).Access
	}
	last := chain[len(chain)-1]
	denies("a hand-over too many", last, exchange(last, at, "agent.me"), "invalid_request", "exchange.depth")
	back := w.gives("back", exchange(bea, given, "agent.me", "audience", ada.id), w.proof(bea.key, "")).Access
	denies("in a circle", ada, exchange(ada, back, "agent.me"), "invalid_request", "exchange.circle")

	// Refresh tokens.
	got := w.gives("bea takes over", exchange(bea, given, "agent.me"), w.proof(bea.key, ""))
	refresh := func(m member, text string) url.Values { return w.asks(m, grantRefresh, "refresh_token", text) }
	w.denies("refresh: by another key", "token.refresh", refresh(bea, got.Refresh), w.proof(anyKey(w.t), ""), "invalid_grant", "grant.binding")
	w.denies("refresh: by nobody", "token.refresh", url.Values{"grant_type": {grantRefresh}, "refresh_token": {got.Refresh}, "client_id": {bea.id}}, w.proof(bea.key, ""), "invalid_client", "client.missing")
	w.denies("refresh: an access token", "token.refresh", refresh(bea, got.Access), w.proof(bea.key, ""), "invalid_grant", "grant.unknown")
	next := w.gives("refresh", refresh(bea, got.Refresh), w.proof(bea.key, ""))
	w.denies("refresh: again", "token.refresh", refresh(bea, got.Refresh), w.proof(bea.key, ""), "invalid_grant", "grant.reused")
	w.denies("refresh: of a family that ended", "token.refresh", refresh(bea, next.Refresh), w.proof(bea.key, ""), "invalid_grant", "grant.over")
	w.refuses("token: of a family that ended", "DPoP "+next.Access, []string{w.proof(bea.key, next.Access)}, "invalid_token", "token.revoked")
	if a, _ := w.form(exchange(bea, given, "agent.me"), w.proof(bea.key, "")); a.Code != http.StatusOK {
		w.t.Errorf("what it was carved out of stands: %d %s", a.Code, a.Body)
	}
}

// enrolmentFaults uses one enrolment token twice.
func (w *wire) enrolmentFaults() {
	e, err := w.s.Issuer.Invite.Do(w.t.Context(), governor(w.t, w.s), identity.NewEnrollment{Owner: "tests"})
	if err != nil {
		w.t.Fatal(err)
	}
	for n, want := range []int{http.StatusCreated, http.StatusUnauthorized} {
		k := anyKey(w.t)
		proof, err := k.Assert(identity.Voucher(e.Token), w.s.Server.URL(), w.now())
		if err != nil {
			w.t.Fatal(err)
		}
		body, err := json.Marshal(map[string]string{"token": e.Token, "key": string(k.Public().JWK()), "proof": proof, "name": fmt.Sprintf("enrolled-%d", n)})
		if err != nil {
			w.t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/v1/enroll", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		a := w.send(r)
		if a.Code != want {
			w.t.Errorf("enrolment, time %d: %d %s", n+1, a.Code, a.Body)
		}
		if n > 0 {
			var out struct{ Rule string }
			_ = json.Unmarshal(a.Body.Bytes(), &out)
			w.noted("enrolment: again", "agent.enroll", out.Rule, []string{"enroll.used"})
		}
	}
}

// skew looks at tokens 29 and 31 seconds beside their time.
func (w *wire) skew(ada member, ahead func(time.Duration)) {
	tok := w.gives("a token", w.asks(ada, grantClient, "scope", "agent.me"), w.proof(ada.key, "")).Access
	_, body := opened(w.t, tok)
	end := time.Unix(int64(body["exp"].(float64)), 0)
	ahead(time.Until(end.Add(29 * time.Second)))
	if err := w.s.DB.Reserve(w.t.Context(), w.now()); err != nil { // as the node's lease would in time
		w.t.Fatal(err)
	}
	if a := w.call("DPoP "+tok, w.proof(ada.key, tok)); a.Code != http.StatusOK {
		w.t.Errorf("29 s after its end: %d %s", a.Code, a.Body)
	}
	ahead(time.Until(end.Add(31 * time.Second)))
	w.refuses("token: 31 s after its end", "DPoP "+tok, []string{w.proof(ada.key, tok)}, "invalid_token", "token.expired")
	later := w.gives("a later one", w.asks(ada, grantClient, "scope", "agent.me"), w.proof(ada.key, "")).Access
	if a := w.call("DPoP "+later, w.proof(ada.key, later)); a.Code != http.StatusOK {
		w.t.Errorf("a later token: %d %s", a.Code, a.Body)
	}
}
