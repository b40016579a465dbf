package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// governor is the operator whose token the server has made.
func governor(t testing.TB, s *servertest.Server) act.Principal {
	t.Helper()
	p, err := s.Identity.Authenticate(context.Background(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// member is an agent that has enrolled a key.
type member struct {
	id   string
	p    act.ID
	key  token.Private
	held any // the private key itself
}

// enrol makes an agent with a key pair of its own.
func enrol(t testing.TB, s *servertest.Server, name string, alg token.Algorithm) member {
	t.Helper()
	var m member
	var err error
	if alg == token.ES256 {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		m.held = k
		m.key, err = token.PrivateFrom(k)
		if err != nil {
			t.Fatal(err)
		}
	} else {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		m.held = k
		m.key, err = token.PrivateFrom(k)
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	e, err := s.Issuer.Invite.Do(ctx, governor(t, s), identity.NewEnrollment{Owner: "tests"})
	if err != nil {
		t.Fatal(err)
	}
	proof, err := m.key.Assert(identity.Voucher(e.Token), s.Issuer.URL(), s.DB.Clock()())
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Lifecycle.Enroll.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewMember{Token: e.Token, Key: string(m.key.Public().JWK()), Proof: proof, Name: name})
	if err != nil {
		t.Fatalf("enrol %s: %v", name, err)
	}
	m.p, m.id = out.Agent, s.Codec.String(out.Agent)
	return m
}

// jwk is the private key as others' libraries read it.
func (m member) jwk(t testing.TB) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKey{Key: m.held})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Strict clients that somebody else wrote and published, unmodified, get, use,
// exchange, refresh, ask about and end tokens, and each fault is refused as the RFCs
// say.
func TestThirdPartyOAuthClients(t *testing.T) {
	node, dir := servertest.Package(t, servertest.ThirdParty, "openid-client")
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.OAuthClients = []string{"board=http://127.0.0.1/callback"}
			cfg.Quotas = []string{"sign-in=100/1m"}
			s := servertest.Start(t, cfg)
			var agents []map[string]any
			for _, m := range []member{enrol(t, s, "weak", token.ES256), enrol(t, s, "strong", token.EdDSA)} {
				agents = append(agents, map[string]any{"id": m.id, "kid": m.key.Public().Thumbprint(), "jwk": m.jwk(t)})
			}
			list, err := json.Marshal(agents)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(node, "oauth.mjs")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "REEF_BASE="+s.URL, "REEF_OPERATOR="+s.Token, "REEF_AGENTS="+string(list), "REEF_CLIENT=board", "REEF_REDIRECT=http://127.0.0.1:54321/callback")
			out, err := cmd.CombinedOutput()
			if n := strings.Count(string(out), "\nok - "); err != nil || n < 60 {
				t.Fatalf("%d checks: %v\n%s", n, err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// Codes that a human types in are short, so guessing them counts as trying to sign in
// does, for operators as for anybody (RFC 8628 §5.1), and is on record.
func TestDeviceCodesAreNotGuessed(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		var cookie *http.Cookie
		visit := func(method, path string, form url.Values) *http.Response {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			if form != nil {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("Origin", s.URL)
			}
			if cookie != nil {
				r.AddCookie(cookie)
			}
			a, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Body.Close()
			return a
		}
		a := visit(http.MethodPost, "/sign-in", url.Values{"token": {s.Token}, "next": {"/"}})
		if len(a.Cookies()) != 1 {
			t.Fatalf("sign in: %d", a.StatusCode)
		}
		cookie = a.Cookies()[0]
		guesses, last := 0, http.StatusNotFound
		for ; last == http.StatusNotFound && guesses < 20; guesses++ {
			if guesses%2 == 0 {
				last = visit(http.MethodGet, fmt.Sprintf("/oauth/device?user_code=BCDF-GH%02d", guesses), nil).StatusCode
			} else {
				last = visit(http.MethodPost, "/oauth/device", url.Values{"user_code": {"BCDF-GHJK"}, "answer": {"allow"}}).StatusCode
			}
		}
		if last != http.StatusTooManyRequests || guesses > 10 {
			t.Errorf("after %d guesses: %d", guesses, last)
		}
		for _, l := range leaves(t, s) {
			if l.Outcome != "done" && l.Rule == "quota.sign-in" && strings.HasPrefix(l.Act, "device.") {
				return
			}
		}
		t.Error("the refusal is not on record")
	})
}
