package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// selfSigned makes a certificate that its holder has signed itself: what counts here
// is whose key it is (RFC 8705 §3).
func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: k}
}

// pemFiles writes a certificate and its key into files.
func pemFiles(t testing.TB, c tls.Certificate) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	putPEM(t, cert, key, c)
	return cert, key
}

func putPEM(t testing.TB, cert, key string, c tls.Certificate) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// secured is a network that is reached by TLS and asks callers for a certificate.
type secured struct {
	t   *testing.T
	s   *servertest.Server
	url string
}

// secure starts one.
func secure(t *testing.T, d store.Dialect) *secured {
	t.Helper()
	cfg := servertest.Config(t, d)
	cfg.TLSCert, cfg.TLSKey = pemFiles(t, selfSigned(t))
	s := servertest.Start(t, cfg)
	return &secured{t: t, s: s, url: s.URL}
}

// client calls with a certificate, or with none.
func (x *secured) client(cert ...tls.Certificate) *http.Client {
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the callers are tried here, not the server
		Certificates:       cert,
	}}}
	x.t.Cleanup(c.CloseIdleConnections)
	return c
}

func (x *secured) do(c *http.Client, method, path, body string, head http.Header) (int, http.Header, []byte) {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), method, x.url+path, strings.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	r.Header = head
	a, err := c.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return a.StatusCode, a.Header, raw
}

func (x *secured) token(c *http.Client, m member, more url.Values, proof string) (int, tokens) {
	x.t.Helper()
	assertion, err := m.key.Assert(m.id, x.url, x.s.DB.Clock()())
	if err != nil {
		x.t.Fatal(err)
	}
	form := url.Values{"client_assertion": {assertion}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
	for name, v := range more {
		form[name] = v
	}
	head := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if proof != "" {
		head["Dpop"] = []string{proof}
	}
	status, _, raw := x.do(c, http.MethodPost, tokenPath, form.Encode(), head)
	var out tokens
	_ = json.Unmarshal(raw, &out)
	return status, out
}

// The certificate of a trusted proxy's connection is the proxy's own: no token is bound to
// it, which all its callers could use, and none that is bound to it is taken.
func TestT11_CertificateOfATrustedProxy(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		cfg := servertest.Config(t, store.SQLite)
		cfg.TLSCert, cfg.TLSKey = pemFiles(t, selfSigned(t))
		wanted, refused := http.StatusOK, ""
		if trusted {
			cfg.TrustedProxy = []string{"127.0.0.1"}
			wanted, refused = http.StatusBadRequest, "dpop.missing"
		}
		s := servertest.Start(t, cfg)
		x := &secured{t: t, s: s, url: s.URL}
		cert := selfSigned(t)
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		mine := x.client(cert)
		ask := url.Values{"grant_type": {grantClient}, "scope": {"agent.me"}}
		if status, out := x.token(mine, enrol(t, s, "ada", token.ES256), ask, ""); status != wanted || out.Rule != refused {
			t.Errorf("trusted %v: a token for the certificate: %d %s", trusted, status, out.Rule)
		}

		_, bea := s.Agent(t, "bea")
		out, err := s.Issuer.Issue.Do(t.Context(), bea, identity.NewGrant{Scope: "agent.me", Confirm: token.Confirm{X5T: token.CertificateThumbprint(leaf)}})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := s.Issuer.Answer(out)
		if err != nil {
			t.Fatal(err)
		}
		if status := x.me(mine, answer.AccessToken); (status == http.StatusOK) == trusted {
			t.Errorf("trusted %v: a token that is bound to the certificate: %d", trusted, status)
		}
	}
}

// A token that a certificate binds is good on connections with that certificate and on
// no other, whatever is shown beside it (RFC 8705 §3, T11); it cannot be turned into
// one with another binding by who does not hold it.
func TestT11_CertificateBinding(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			x := secure(t, d)
			ada, bea := enrol(t, x.s, "ada", token.ES256), enrol(t, x.s, "bea", token.EdDSA)
			mine, others := x.client(selfSigned(t)), x.client(selfSigned(t))
			bare := x.client()

			status, got := x.token(mine, ada, url.Values{"grant_type": {grantClient}, "scope": {"agent.me"}}, "")
			if status != http.StatusOK || got.Type != "Bearer" {
				t.Fatalf("a token for a certificate: %d %+v", status, got.Error)
			}
			_, body := opened(t, got.Access)
			if cnf, _ := body["cnf"].(map[string]any); len(cnf) != 1 || cnf["x5t#S256"] == nil {
				t.Errorf("cnf is %v", body["cnf"])
			}
			me := func(c *http.Client, scheme, access, proof string) (int, string) {
				t.Helper()
				head := http.Header{"Authorization": {scheme + " " + access}}
				if proof != "" {
					head["Dpop"] = []string{proof}
				}
				status, _, raw := x.do(c, http.MethodGet, resourcePath, "", head)
				var out struct{ Rule string }
				_ = json.Unmarshal(raw, &out)
				return status, out.Rule
			}
			prove := func(k token.Private, access string) string {
				t.Helper()
				p := token.Prove{Method: http.MethodGet, URL: x.url + resourcePath, AccessToken: access, Nonce: x.s.Issuer.Nonce(), Now: x.s.DB.Clock()()}
				if access == "" {
					p.Method, p.URL = http.MethodPost, x.url+tokenPath
				}
				text, err := k.Prove(p)
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			if status, rule := me(mine, "Bearer", got.Access, ""); status != http.StatusOK {
				t.Errorf("on its connection: %d %s", status, rule)
			}
			bound, dpop := x.token(bare, ada, url.Values{"grant_type": {grantClient}, "scope": {"agent.me"}}, prove(ada.key, ""))
			if bound != http.StatusOK || dpop.Type != "DPoP" {
				t.Fatalf("a token for a proof: %d %s", bound, dpop.Error)
			}
			for name, c := range map[string]struct {
				client        *http.Client
				scheme, token string
				proof         string
			}{
				"another certificate":                            {others, "Bearer", got.Access, ""},
				"no certificate":                                 {bare, "Bearer", got.Access, ""},
				"a proof in its place":                           {bare, "DPoP", got.Access, prove(ada.key, got.Access)},
				"another certificate and a proof":                {others, "DPoP", got.Access, prove(ada.key, got.Access)},
				"its certificate, as a token of the other kind":  {mine, "DPoP", got.Access, prove(ada.key, got.Access)},
				"a token of the other kind, with a certificate":  {mine, "Bearer", dpop.Access, ""},
				"a token of the other kind, and another's proof": {mine, "DPoP", dpop.Access, prove(bea.key, dpop.Access)},
			} {
				if status, rule := me(c.client, c.scheme, c.token, c.proof); status != http.StatusUnauthorized || rule != "token.binding" {
					t.Errorf("%s: %d %s", name, status, rule)
				}
			}

			// A delegate's refresh token is bound to the certificate, too.
			_, given := x.token(mine, ada, url.Values{"grant_type": {grantClient}, "scope": {"agent.me"}, "audience": {bea.id}}, "")
			exchange := url.Values{"grant_type": {grantExchange}, "subject_token": {given.Access}, "subject_token_type": {accessType}, "scope": {"agent.me"}}
			status, carved := x.token(others, bea, exchange, "")
			if status != http.StatusOK || carved.Refresh == "" {
				t.Fatalf("bea takes over, with a certificate of its own: %d %s", status, carved.Error)
			}
			refresh := url.Values{"grant_type": {grantRefresh}, "refresh_token": {carved.Refresh}}
			if status, out := x.token(mine, bea, refresh, ""); status != http.StatusBadRequest || out.Rule != "grant.binding" {
				t.Errorf("refresh with another certificate: %d %s", status, out.Rule)
			}
			if status, out := x.token(bare, bea, refresh, prove(bea.key, "")); status != http.StatusBadRequest || out.Rule != "grant.binding" {
				t.Errorf("refresh with a proof in place of the certificate: %d %s", status, out.Rule)
			}
			if status, out := x.token(bare, bea, refresh, ""); status != http.StatusBadRequest || out.Rule != "dpop.missing" {
				t.Errorf("refresh with nothing: %d %s", status, out.Rule)
			}
			if status, out := x.token(others, bea, refresh, ""); status != http.StatusOK || out.Access == "" {
				t.Errorf("refresh: %d %s", status, out.Rule)
			}
		})
	}
}

// enterprise is another issuer: an identity provider, or one for workloads.
type enterprise struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	name string // iss
}

const enterpriseKey = "k1"

func (e *enterprise) keySet() []byte {
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: e.key.Public(), KeyID: enterpriseKey, Use: "sig"}}})
	if err != nil {
		e.t.Fatal(err)
	}
	return raw
}

// says signs an assertion as other issuers' libraries do.
func (e *enterprise) says(key *ecdsa.PrivateKey, kid string, c claims) string {
	e.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("oauth-id-jag+jwt"))
	if err != nil {
		e.t.Fatal(err)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		e.t.Fatal(err)
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		e.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		e.t.Fatal(err)
	}
	return text
}

// The word of another issuer, which the operator trusts for some agents, gets such an
// agent a bound token, once, within what the operator has set; nobody else's word does
// (RFC 7523 §2.1).
func TestWordOfAnotherIssuer(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			e := &enterprise{t: t, key: k, name: "https://idp.example"}
			dir := t.TempDir()
			cfg := servertest.Config(t, d)
			cfg.PublicURL = "https://reef.example"

			// The agent has to be there before it can be named.
			first := servertest.Open(t, cfg)
			ada := enrol(t, first, "ada", token.EdDSA)
			first.Stop()
			list := []identity.Trusted{{
				Name: "idp", Issuer: e.name, KeysFile: "keys.json", Claim: "email", Agents: map[string]string{"ada@corp.example": ada.id}, Scope: "agent.me feed.*", Once: true,
			}}
			raw, err := json.Marshal(list)
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string][]byte{"trusted.json": raw, "keys.json": e.keySet()} {
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cfg.Trusted = filepath.Join(dir, "trusted.json")
			s := servertest.Start(t, cfg)
			w := &wire{t: t, s: s, handler: s.API.Handler()}
			now := w.now().Unix()
			said := func(change claims) claims {
				return claims{"iss": e.name, "sub": "u-1", "email": "ada@corp.example", "aud": "https://reef.example", "iat": now, "exp": now + 300, "jti": anyKey(t).Public().Thumbprint()}.with(change)
			}
			form := func(text string) url.Values {
				return url.Values{"grant_type": {identity.TypeAssert}, "assertion": {text}, "scope": {"agent.me"}}
			}
			dpop := anyKey(t)
			good := e.says(k, enterpriseKey, said(nil))
			got := w.gives("on the issuer's word", form(good), w.proof(dpop, ""))
			if got.Scope != "agent.me" || got.Refresh != "" {
				t.Errorf("scope %q, refresh %q", got.Scope, got.Refresh)
			}
			if a := w.call("DPoP "+got.Access, w.proof(dpop, got.Access)); a.Code != http.StatusOK || !strings.Contains(a.Body.String(), `"name":"ada"`) {
				t.Errorf("a call: %d %s", a.Code, a.Body)
			}
			w.refuses("stolen", "DPoP "+got.Access, []string{w.proof(anyKey(t), got.Access)}, "invalid_token", "token.binding")
			stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			for name, c := range map[string]struct{ text, rule string }{
				"again":                      {good, "grant.replayed"},
				"by another key":             {e.says(stranger, enterpriseKey, said(nil)), "grant.signature"},
				"by an unknown key":          {e.says(stranger, "k2", said(nil)), "grant.key"},
				"of an issuer that is none":  {e.says(k, enterpriseKey, said(claims{"iss": "https://evil.example"})), "grant.issuer"},
				"for somebody else":          {e.says(k, enterpriseKey, said(claims{"aud": "https://elsewhere.example"})), "grant.audience"},
				"of a person without agent":  {e.says(k, enterpriseKey, said(claims{"email": "eve@corp.example"})), "grant.subject"},
				"of nobody":                  {e.says(k, enterpriseKey, said(claims{"email": nil})), "grant.subject"},
				"expired":                    {e.says(k, enterpriseKey, said(claims{"exp": now - 60, "iat": now - 120})), "grant.expired"},
				"for two days":               {e.says(k, enterpriseKey, said(claims{"exp": now + 48*3600})), "grant.life"},
				"a token of this network":    {got.Access, "grant.issuer"},
				"an assertion of an agent":   {w.assertion(ada), "grant.issuer"},
				"nothing that could be read": {"x", "grant.issuer"},
			} {
				w.denies("word: "+name, "token.assert", form(c.text), w.proof(dpop, ""), "invalid_grant", c.rule)
			}
			f := form(e.says(k, enterpriseKey, said(nil)))
			f.Set("scope", "post.create")
			w.denies("word: beyond what the operator has set", "token.assert", f, w.proof(dpop, ""), "invalid_scope", "scope.beyond")
			w.denies("word: nothing to bind to", "token.assert", form(e.says(k, enterpriseKey, said(nil))), "", "invalid_dpop_proof", "dpop.missing")

			// Recovery of the agent ends what the issuer's word is good for, too.
			if _, err := s.Issuer.Recover.Do(t.Context(), governor(t, s), identity.Recovery{Agent: ada.p, Owner: "tests", Reason: "a drill"}); err != nil {
				t.Fatal(err)
			}
			w.refuses("after recovery", "DPoP "+got.Access, []string{w.proof(dpop, got.Access)}, "invalid_token", "token.revoked")
			w.denies("word: after recovery", "token.assert", form(e.says(k, enterpriseKey, said(nil))), w.proof(dpop, ""), "invalid_grant", "grant.revoked")
		})
	}
}
