package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// holder sends requests as an agent that holds a key and a token for it.
type holder struct {
	t     testing.TB
	s     *servertest.Server
	key   token.Private
	token string
}

// proof makes a proof for a request with the holder's token.
func (h *holder) proof(method, path string) string {
	h.t.Helper()
	text, err := h.key.Prove(token.Prove{
		Method: method, URL: h.s.Server.URL() + path, AccessToken: h.token, Nonce: h.s.Issuer.Nonce(), Now: h.s.DB.Clock()(),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// request makes a request with the holder's token and a fresh proof.
func (h *holder) request(method, path string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", "DPoP "+h.token)
	r.Header.Set("DPoP", h.proof(method, r.URL.EscapedPath()))
	return r
}

// hold gets a token of an agent at the token endpoint.
func hold(t testing.TB, s *servertest.Server, m member, scope string) *holder {
	t.Helper()
	h := &holder{t: t, s: s, key: m.key}
	assertion, err := m.key.Assert(m.id, s.Server.URL(), s.DB.Clock()())
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {scope}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("DPoP", h.proof(http.MethodPost, "/oauth/token"))
	var out struct {
		Token string `json:"access_token"`
	}
	w := httptest.NewRecorder()
	s.API.Handler().ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
		t.Fatalf("token: %d %s (%v)", w.Code, w.Body, err)
	}
	h.token = out.Token
	return h
}

// open are the routes that need no credential, each with its reason beside it in the
// code. Adding one is a decision; see api.Route.Anonymous.
var open = []string{
	"GET /healthz", "GET /readyz", "GET /metrics",
	"GET /skill.md", "GET /heartbeat.md", "GET /messaging.md", "GET /rules.md", "GET /skill.json", "GET /skill.json.jws", "GET /.well-known/jwks.json",
	"GET /.well-known/oauth-authorization-server", "GET /.well-known/oauth-protected-resource",
	"POST /oauth/token", "POST /oauth/introspect", "POST /oauth/revoke", "POST /oauth/device_authorization", "GET /oauth/authorize",
	"GET /about", "GET /about.json", "GET /about.md", "GET /about.atom", "GET /v1/trust-bundle", "GET /leave", "GET /sign-in", "GET /claim/{token}", "GET /assets/{file}", "GET /openapi.json", "POST /v1/commands",
}

// T12: no route takes the presence of a token for its validity. The list of routes is
// read from the program. Each that is not on the short list of open ones meets no
// token, garbage, a token that has expired, one for another audience, one of another
// network and one of an agent that was killed, each with a good proof by the right
// key; none lets anybody in, and every refusal says what would do.
func TestT12_NoSideDoor(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			var ahead atomic.Int64
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			cfg.PublicURL = "https://before.example"
			before := servertest.Open(t, cfg)
			m := enrol(t, before, "moved", token.EdDSA)
			moved := hold(t, before, m, "*").token
			before.Stop()

			cfg.PublicURL = "https://reef.example"
			s := servertest.Start(t, cfg)
			other := servertest.Start(t, servertest.Config(t, store.SQLite))
			foreign := hold(t, other, enrol(t, other, "foreign", token.EdDSA), "*")
			victim := enrol(t, s, "victim", token.EdDSA)
			killed := hold(t, s, victim, "*")
			if got := status(s, killed.request(http.MethodGet, "/v1/whoami")); got != http.StatusOK {
				t.Fatalf("a good token: %d", got)
			}
			expired := hold(t, s, m, "*")
			ahead.Add(int64(6 * time.Minute))
			if err := s.DB.Reserve(t.Context(), cfg.Clock()); err != nil { // as the node's lease would in time
				t.Fatal(err)
			}
			if _, err := s.Lifecycle.Kill.Do(t.Context(), governor(t, s), lifecycle.Order{Agent: victim.p, Reason: "tried"}); err != nil {
				t.Fatal(err)
			}
			fresh := hold(t, s, m, "*")

			holders := map[string]*holder{
				"expired": expired, "another audience": {t, s, m.key, moved}, "another network": {t, s, foreign.key, foreign.token},
				"killed": {t, s, victim.key, killed.token}, "garbage": {t, s, m.key, "eyJhbGciOiJub25lIn0.e30."},
			}
			handler := s.API.Handler()
			parameter := regexp.MustCompile(`\{[^}]+\}`)
			closed, seen := 0, []string{}
			for _, door := range s.API.Doors() {
				for _, r := range door.Routes {
					name := door.Pattern(r)
					if r.Anonymous {
						seen = append(seen, name)
						if !slices.Contains(open, name) && !slices.Contains(strangers, r.Act) {
							t.Errorf("%s needs no credential and is not on the list", name)
						}
						continue
					}
					closed++
					path := parameter.ReplaceAllString(strings.TrimSuffix(door.Prefix+r.Path, "{$}"), s.Codec.String(m.p))
					refused := func(what string, req *http.Request) {
						w := httptest.NewRecorder()
						handler.ServeHTTP(w, req)
						if what == "nothing" && w.Code == http.StatusSeeOther && strings.HasPrefix(w.Header().Get("Location"), "../sign-in?") {
							return // a human is asked to sign in
						}
						if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
							t.Errorf("%s, %s: %d %s", name, what, w.Code, w.Body)
						}
					}
					refused("nothing", httptest.NewRequest(r.Method, path, nil))
					for _, header := range []string{"Bearer x", "DPoP x", "Bearer " + fresh.token, "DPoP " + fresh.token, "Basic eDp5", "Bearer moltbook_sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
						req := httptest.NewRequest(r.Method, path, nil)
						req.Header.Set("Authorization", header)
						refused(strings.Fields(header)[0]+" with something", req)
					}
					for what, h := range holders {
						refused(what, h.request(r.Method, path))
					}
				}
			}
			for _, name := range open {
				if !slices.Contains(seen, name) {
					t.Errorf("%s is on the list and not there", name)
				}
			}
			if closed < 100 {
				t.Errorf("tried %d routes only", closed)
			}
		})
	}
}

// strangers are the acts that need no credential: they bring a secret of their own in
// the body, or make the first one.
var strangers = []string{"agent.register", "agent.enroll", "claim.mail", "identity.verify", "session.open"}

func status(s *servertest.Server, r *http.Request) int {
	w := httptest.NewRecorder()
	s.API.Handler().ServeHTTP(w, r)
	return w.Code
}
