package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A proof of identity is good for one audience, an hour, and as long as its agent
// may act; no door of the network takes it as a credential.
func TestProofOfIdentity(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			now := time.Now()
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return now }
			s := servertest.Start(t, cfg)
			key, agent := s.Agent(t, "walker")
			app := s.Call(t, http.MethodPost, "/v1/apps", s.Token, map[string]string{"owner": "portal"}).JSON["app_key"].(string)
			token := s.Call(t, http.MethodPost, "/api/v1/agents/me/identity-token", key, map[string]string{"audience": "portal"}).JSON["identity_token"].(string)
			verify := func(token, audience, app string) (valid bool, word string) {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/v1/agents/verify-identity",
					strings.NewReader(`{"token":"`+token+`","audience":"`+audience+`"}`))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("X-Moltbook-App-Key", app)
				a := s.Send(t, req)
				valid, _ = a.JSON["valid"].(bool)
				word, _ = a.JSON["error"].(string)
				if valid != (a.Status == http.StatusOK) {
					t.Errorf("valid %t with status %d", valid, a.Status)
				}
				return valid, word
			}
			check := func(what, want, token, audience, app string) {
				t.Helper()
				if valid, word := verify(token, audience, app); valid != (want == "") || word != want {
					t.Errorf("%s: valid %t, error %q, want %q", what, valid, word, want)
				}
			}
			check("good", "", token, "portal", app)
			check("another audience", "audience_mismatch", token, "shop", app)
			check("no audience", "audience_mismatch", token, "", app)
			check("no application key", "invalid_app_key", token, "portal", "")
			check("an agent's key for the application's", "invalid_app_key", token, "portal", key)
			check("no token", "invalid_identity_token", "", "portal", app)
			for i := range token { // every changed character
				if twin := token[:i] + string("AB"[map[bool]int{true: 1}[token[i] == 'A']]) + token[i+1:]; twin != token && i%7 == 0 {
					if valid, _ := verify(twin, "portal", app); valid && !sameSignature(token, twin) {
						t.Fatalf("a token changed at %d is valid", i)
					}
				}
			}
			none := "eyJhbGciOiJub25lIiwidHlwIjoicmVlZi1pZGVudGl0eStqd3QifQ" + token[strings.IndexByte(token, '.'):strings.LastIndexByte(token, '.')+1]
			check("algorithm none", "invalid_identity_token", none, "portal", app)
			for _, credential := range []string{token, app} {
				if a := s.Call(t, http.MethodGet, "/api/v1/agents/me", credential, nil); a.Status != http.StatusUnauthorized {
					t.Errorf("a door takes it as a credential: %d", a.Status)
				}
			}

			if _, err := s.Lifecycle.Pause.Do(t.Context(), operator(t, s), lifecycle.Order{Agent: agent.ID, Reason: "test"}); err != nil {
				t.Fatal(err)
			}
			check("a paused agent", "invalid_identity_token", token, "portal", app)
			if _, err := s.Lifecycle.Resume.Do(t.Context(), operator(t, s), lifecycle.Order{Agent: agent.ID, Reason: "test"}); err != nil {
				t.Fatal(err)
			}
			check("a resumed agent", "", token, "portal", app)
			now = now.Add(time.Hour)
			check("an hour later", "identity_token_expired", token, "portal", app)
			if a := s.Call(t, http.MethodDelete, "/v1/apps/portal", s.Token, nil); a.Status != http.StatusOK {
				t.Fatalf("end the key: %d", a.Status)
			}
			check("an ended application key", "invalid_app_key", token, "portal", app)
		})
	}
}

// sameSignature reports whether two tokens differ only in the bits of their last
// base64 character that stand for nothing.
func sameSignature(a, b string) bool { return a[:len(a)-1] == b[:len(b)-1] }

func operator(t *testing.T, s *servertest.Server) act.Principal {
	t.Helper()
	p, err := s.Identity.Authenticate(t.Context(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// With a sink the human of an agent that waits gets its claim token, once asked
// with that token; the address is nowhere in the database.
func TestMailToOwners(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.Claim, cfg.AutoClaim, cfg.MailDir, cfg.MailFrom = true, "", t.TempDir(), "reef@example.org"
	s := servertest.Open(t, cfg)
	agent := s.Call(t, http.MethodPost, "/api/v1/agents/register", "", map[string]string{"name": "walker", "description": "w"}).JSON["agent"].(map[string]any)
	token := agent["claim_url"].(string)[strings.LastIndexByte(agent["claim_url"].(string), '/')+1:]
	ask := func(email, token, name string) int {
		return s.Call(t, http.MethodPost, "/api/v1/agents/verify-email", "", map[string]string{"email": email, "claim_token": token, "username": name}).Status
	}
	const human = "owner.of.walker@example.org"
	if got := ask("Owner <"+human+">", token, "walker"); got != http.StatusBadRequest {
		t.Errorf("an address with a name: %d", got)
	}
	if got := ask(human+"\r\nBcc: all@example.org", token, "walker"); got != http.StatusBadRequest {
		t.Errorf("an address with a header: %d", got)
	}
	if got := ask(human, token, "another"); got != http.StatusNotFound {
		t.Errorf("another agent's name: %d", got)
	}
	if got := ask(human, token, "walker"); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	mails, err := filepath.Glob(filepath.Join(cfg.MailDir, "*.eml"))
	if err != nil || len(mails) != 1 {
		t.Fatalf("%d mails (%v), want 1", len(mails), err)
	}
	raw, err := os.ReadFile(mails[0])
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), "=\r\n", "")
	if !strings.Contains(text, "To: <"+human+">") || !strings.Contains(text, token) {
		t.Errorf("the mail is\n%s", raw)
	}
	a := s.Call(t, http.MethodPost, "/api/v1/agents/me/setup-owner-email", agent["api_key"].(string), map[string]string{"email": human})
	if a.Status != http.StatusForbidden && a.Status != http.StatusBadRequest {
		t.Errorf("an unclaimed agent has its owner mailed: %d", a.Status)
	}
	if a := s.Call(t, http.MethodPost, "/v1/claims", s.Token, map[string]string{"claim_token": token, "owner": "pricing"}); a.Status != http.StatusOK {
		t.Fatalf("claim: %d %s", a.Status, a.Raw)
	}
	if a := s.Call(t, http.MethodPost, "/api/v1/agents/me/setup-owner-email", agent["api_key"].(string), map[string]string{"email": human}); a.Status != http.StatusOK {
		t.Errorf("a claimed agent: %d %s", a.Status, a.Raw)
	}
	if got := ask(human, token, "walker"); got != http.StatusNotFound {
		t.Errorf("the token of a claimed agent: %d", got)
	}
	servertest.CheckInvariants(t, s.Server)
	s.Stop()
	files, err := filepath.Glob(filepath.Join(cfg.Data, "networks", "default", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database files (%v)", err)
	}
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil && strings.Contains(string(raw), human) {
			t.Errorf("%s holds the address", filepath.Base(f))
		}
	}
}
