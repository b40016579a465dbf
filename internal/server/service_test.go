package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A pipeline that another issuer knows governs as an operator of its own, within its
// roles and never where a human has to be there. Whom the issuer was not told to speak
// for gets nothing, and a role that is taken from the file is gone at the next start.
func TestServiceAccounts(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			dir := t.TempDir()
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			write := func(name string, v any) {
				t.Helper()
				raw, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("keys.json", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
			const subject, issuer = "repo:reef/infra:ref:refs/heads/main", "https://ci.example"
			trust := func(roles ...string) {
				write("trusted.json", []map[string]any{{
					"name": "ci", "issuer": issuer, "jwks_file": "keys.json", "services": map[string]any{subject: map[string]any{"name": "deploy", "roles": roles}},
				}})
			}
			trust("responder")
			cfg := servertest.Config(t, d)
			cfg.Trusted = filepath.Join(dir, "trusted.json")
			s := servertest.Open(t, cfg)

			own, err := token.NewKey(token.ES256)
			if err != nil {
				t.Fatal(err)
			}
			ask := func(s *servertest.Server, claims map[string]any) (h *holder, w *httptest.ResponseRecorder) {
				t.Helper()
				h = &holder{t: t, s: s, key: own}
				now := time.Now()
				all := map[string]any{"iss": issuer, "sub": subject, "aud": s.Server.URL(), "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": now.String()}
				for name, value := range claims {
					all[name] = value
				}
				signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
				if err != nil {
					t.Fatal(err)
				}
				raw, err := json.Marshal(all)
				if err != nil {
					t.Fatal(err)
				}
				object, err := signer.Sign(raw)
				if err != nil {
					t.Fatal(err)
				}
				text, err := object.CompactSerialize()
				if err != nil {
					t.Fatal(err)
				}
				form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {text}, "scope": {"*"}}
				r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("DPoP", h.proof(http.MethodPost, "/oauth/token"))
				w = httptest.NewRecorder()
				s.API.Handler().ServeHTTP(w, r)
				var out struct {
					Token string `json:"access_token"`
				}
				_ = json.Unmarshal(w.Body.Bytes(), &out)
				h.token = out.Token
				return h, w
			}
			send := func(h *holder, method, path, body string) *httptest.ResponseRecorder {
				t.Helper()
				r := httptest.NewRequest(method, path, strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "DPoP "+h.token)
				r.Header.Set("DPoP", h.proof(method, path))
				w := httptest.NewRecorder()
				h.s.API.Handler().ServeHTTP(w, r)
				return w
			}
			for name, claims := range map[string]map[string]any{
				"another branch": {"sub": subject + "2"}, "nobody": {"sub": ""}, "another issuer": {"iss": "https://evil.example"},
				"for another network": {"aud": "https://other.example"}, "expired": {"exp": time.Now().Add(-time.Hour).Unix()},
			} {
				if h, w := ask(s, claims); w.Code == http.StatusOK || h.token != "" {
					t.Errorf("%s: %d %s", name, w.Code, w.Body)
				}
			}
			h, w := ask(s, nil)
			if w.Code != http.StatusOK {
				t.Fatalf("token: %d %s", w.Code, w.Body)
			}
			_, ada := s.Agent(t, "ada")
			agent := "/v1/agents/" + s.Codec.String(ada.ID)
			const why = `{"reason":"a deployment"}`
			if w := send(h, http.MethodGet, "/v1/whoami", ""); !strings.Contains(w.Body.String(), `"service deploy"`) || !strings.Contains(w.Body.String(), `"roles":["responder"]`) {
				t.Errorf("whoami: %d %s", w.Code, w.Body)
			}
			for _, c := range []struct {
				method, path, body string
				want               int
				rule               string
			}{
				{http.MethodPost, agent + "/pause", why, http.StatusOK, ""},
				{http.MethodPost, agent + "/resume", why, http.StatusOK, ""},
				{http.MethodPost, agent + "/kill", why, http.StatusForbidden, "step-up"},
				{http.MethodPost, "/v1/invites", `{"owner":"x"}`, http.StatusForbidden, "default-deny"},
				{http.MethodPost, "/v1/keys/rotate", `{"reason":"x"}`, http.StatusForbidden, "step-up"},
			} {
				if w := send(h, c.method, c.path, c.body); w.Code != c.want || !strings.Contains(w.Body.String(), c.rule) {
					t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
				}
			}
			// Another role in the file is another role at the next start, also for what is out.
			s.Stop()
			trust("auditor")
			cfg.PublicURL = s.URL // its token names the address that it was given at
			s = servertest.Start(t, cfg)
			h.s = s
			if w := send(h, http.MethodPost, agent+"/pause", why); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "default-deny") {
				t.Errorf("after the role was taken: %d %s", w.Code, w.Body)
			}
			if w := send(h, http.MethodGet, "/v1/identity/inventory", ""); w.Code != http.StatusOK {
				t.Errorf("an auditor reads the inventory: %d %s", w.Code, w.Body)
			}
		})
	}
}
