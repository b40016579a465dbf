package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/secret/secrettest"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// secrets are all secrets of a test's run, by what they are.
type secrets map[string][]byte

// find reports which of them stand in b, in any form in which bytes are written down.
func (s secrets) find(b []byte) (found []string) {
	for what, secret := range s {
		if len(secret) < 16 {
			found = append(found, what+" (too short to look for)")
			continue
		}
		for form, text := range map[string]string{
			"as it is": string(secret), "in hex": hex.EncodeToString(secret), "in HEX": strings.ToUpper(hex.EncodeToString(secret)),
			"in base64": base64.RawStdEncoding.EncodeToString(secret), "in base64 of URLs": base64.RawURLEncoding.EncodeToString(secret),
			"as Go prints bytes": strings.Trim(fmt.Sprint(secret), "[]"),
		} {
			if bytes.Contains(b, []byte(text)) {
				found = append(found, what+" "+form)
			}
		}
	}
	return found
}

// T52 (keys): no secret that is made in a run stands in clear where it does not belong:
// not in the data directory, the database, a backup, the log at its most talkative, the
// metrics, the configuration as it is printed, errors, or the process's arguments and
// environment. The key's file, where there is one, is sealed; with Vault there is none.
func TestT52_SecretsAreNowhereInClear(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		for _, kept := range []string{"sealed file", "passphrase", "double of vault"} {
			t.Run(d.String()+"/"+kept, func(t *testing.T) {
				cfg := servertest.Config(t, d)
				cfg.KeyRefresh, cfg.WebhookAllow = 20*time.Millisecond, []string{"127.0.0.0/8"}
				made := make(secrets)
				more := func() {}
				reader := &cfg // of the ring; what is wrapped opens once, which the server does
				switch kept {
				case "double of vault":
					v := secrettest.NewVault(t)
					another := cfg
					reader = &another
					for what, c := range map[string]*server.Config{"wrapping token": &cfg, "another wrapping token": reader} {
						wrapping := v.Wrap("auth/approle/role/reef/secret-id")
						inStore(t, c, map[string]any{"vault": map[string]any{"address": v.URL, "approle": map[string]any{
							"role_id_file": secretFile(t, v.RoleID), "secret_id_file": secretFile(t, wrapping), "wrapped": true,
						}}})
						made[what] = []byte(wrapping)
					}
					made["secret id"], made["role id"] = []byte(v.SecretID), []byte(v.RoleID)
					more = func() {
						for i, text := range v.Tokens() {
							made[fmt.Sprint("token of Vault ", i)] = []byte(text)
						}
					}
				case "passphrase":
					phrase := "a passphrase " + rand.Text()
					cfg.KeyUnlock = "passphrase:" + secretFile(t, phrase)
					made["passphrase"] = []byte(phrase)
				default:
					opener := rand.Text() + rand.Text()
					cfg.KeyUnlock = "key:" + secretFile(t, opener)
					made["what opens the key"] = []byte(opener)
				}
				var log lines
				logger := telemetry.NewLogger(&log, telemetry.Options{Level: slog.LevelDebug})
				s, err := server.New(t.Context(), cfg, logger)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				use(t, s, cfg, made)
				collect(t, s, reader, made)
				more()
				search(t, s, cfg, &log, made)
			})
		}
	}
}

// use has every kind of secret made, shown and refused once.
func use(t *testing.T, s *server.Server, cfg server.Config, made secrets) {
	ctx := t.Context()
	text, err := os.ReadFile(cfg.TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	made["operator's token"] = bytes.TrimSpace(text)
	operator, err := s.Identity.Authenticate(ctx, string(made["operator's token"]))
	if err != nil {
		t.Fatal(err)
	}
	var agents [2]act.Principal
	for i := range agents {
		out, err := s.Lifecycle.Register.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewAgent{Name: fmt.Sprint("keeper-", i)})
		if err != nil {
			t.Fatal(err)
		}
		made[fmt.Sprint("key of agent ", i)] = []byte(out.Key)
		if agents[i], err = s.Identity.Authenticate(ctx, out.Key); err != nil {
			t.Fatal(err)
		}
	}
	invited, err := s.Issuer.Invite.Do(ctx, operator, identity.NewEnrollment{Agent: agents[0].ID})
	if err != nil {
		t.Fatal(err)
	}
	made["enrolment token"] = []byte(invited.Token)
	asked, err := s.Network.RequestConversation.Do(ctx, agents[0], network.NewRequest{To: agents[1].Name, Text: "shall we talk?"})
	if err != nil {
		t.Fatal(err)
	}
	conversation := network.ConversationOrder{Conversation: asked.Conversation, Owner: "tests", Reason: "test"}
	if _, err := s.Network.ApproveConversation.Do(ctx, operator, conversation); err != nil {
		t.Fatal(err)
	}
	hooked, err := s.Network.CreateWebhook.Do(ctx, agents[0], network.NewWebhook{URL: receive(t).URL, After: network.FromNow})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(hooked.Secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	made["secret of a webhook"], made["that secret as it is shown"] = shown, []byte(hooked.Secret)
	// Two renewals, so that the ring has more than its root.
	for version := 2; version <= 3; version++ {
		if _, err := s.Issuer.RenewWrapping.Do(ctx, operator, identity.Renewal{Reason: "drill"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the version is used", func() bool { return int(s.Keys.Wrapper().Version()) == version })
	}
	// What is shown wrongly is refused, and must not be repeated.
	for what, key := range map[string]string{
		"a changed agent's key":        flipped(string(made["key of agent 0"])),
		"a changed operator's token":   flipped(string(made["operator's token"])),
		"an enrolment token misplaced": invited.Token,
	} {
		made[what] = []byte(key)
		r := httptest.NewRequest(http.MethodGet, "/v1/home?token="+key, nil)
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s is answered with %d", what, w.Code)
		}
		if found := made.find(w.Body.Bytes()); len(found) > 0 {
			t.Errorf("the refusal of %s shows %q", what, found)
		}
	}
	session, err := s.Lifecycle.OpenSession.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewSession{Token: string(made["operator's token"])})
	if err != nil {
		t.Fatal(err)
	}
	made["key of a session"] = []byte(session.Key)
	letIn(t, s, operator, made)
}

// letIn lets a program act for an operator, which it does once and renews its token.
func letIn(t *testing.T, s *server.Server, operator act.Principal, made secrets) {
	t.Helper()
	key, err := token.NewKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	const back = "http://127.0.0.1:1/callback"
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	code, err := s.Consents.Give.Do(t.Context(), operator, identity.NewConsent{
		Client: identity.CommandLine, Redirect: back, Scope: "*", Challenge: base64.RawURLEncoding.EncodeToString(sum[:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	made["code of a consent"], made["its verifier"] = []byte(code.Code), []byte(verifier)
	for turn, form := range []url.Values{
		{"grant_type": {"authorization_code"}, "code": {code.Code}, "redirect_uri": {back}, "code_verifier": {verifier}},
		{"grant_type": {"refresh_token"}},
		{"grant_type": {"refresh_token"}}, // with the first one, which is over
	} {
		if form.Set("client_id", identity.CommandLine); turn > 0 {
			form.Set("refresh_token", string(made["refresh token 0"]))
		}
		proof, err := key.Prove(token.Prove{Method: http.MethodPost, URL: s.URL() + "/oauth/token", Nonce: s.Issuer.Nonce(), Now: s.DB.Clock()()})
		if err != nil {
			t.Fatal(err)
		}
		made[fmt.Sprint("proof ", turn)] = []byte(proof)
		r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("DPoP", proof)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		var out struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || (w.Code == http.StatusOK) != (turn < 2) {
			t.Fatalf("turn %d at the token endpoint: %d %v", turn, w.Code, err)
		}
		if turn == 2 {
			if found := made.find(w.Body.Bytes()); len(found) > 0 {
				t.Errorf("the refusal of a used token shows %q", found)
			}
			return
		}
		made[fmt.Sprint("access token ", turn)], made[fmt.Sprint("refresh token ", turn)] = []byte(out.Access), []byte(out.Refresh)
	}
}

// flipped changes one character of a secret.
func flipped(s string) string {
	last := byte('a')
	if s[len(s)-1] == 'a' {
		last = 'b'
	}
	return s[:len(s)-1] + string(last)
}

const (
	qTestSigners    store.Q = `SELECT id, wrap_version, wrapped FROM issuer_key`
	qTestCertifiers store.Q = `SELECT id, wrap_version, wrapped FROM authority`
)

// collect takes what is in the ring, what follows from it, and what it keeps shut: the
// private keys that sign tokens and SVIDs.
func collect(t *testing.T, s *server.Server, cfg *server.Config, made secrets) {
	t.Helper()
	private := func(kind string) func(*store.Row) error {
		return func(r *store.Row) error {
			bound := []byte(kind + " key ")
			for shift := 56; shift >= 0; shift -= 8 {
				bound = append(bound, byte(r.ID(0)>>shift))
			}
			der, err := s.Keys.Wrapper().Unwrap(r.Int(1), r.Bytes(2), bound)
			if err != nil {
				return err
			}
			key, err := x509.ParsePKCS8PrivateKey(der)
			name := fmt.Sprint("private ", kind, " key ", r.ID(0))
			switch k := key.(type) {
			case ed25519.PrivateKey:
				made[name] = k.Seed()
			case *ecdsa.PrivateKey:
				made[name], err = k.Bytes()
			default:
				t.Errorf("a %s key is a %T (%v)", kind, key, err)
			}
			return err
		}
	}
	before := len(made)
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		return errors.Join(v.All(qTestSigners, private("issuer")), v.All(qTestCertifiers, private("authority")))
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(made) - before; n < 3 {
		t.Errorf("%d private keys, of tokens and SVIDs", n)
	}
	made["id key"], made["index key"], made["backup key"] = s.Keys.CodecKey(), s.Keys.IndexKey(), s.Keys.BackupKey()
	made["policy key"] = s.Keys.PolicyKey().Seed()
	ring, err := cfg.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept, err := ring.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var parts struct {
		Root     []byte `json:"root"`
		Wrapping []struct {
			Key []byte `json:"key"`
		} `json:"wrapping"`
	}
	if err := json.Unmarshal(kept.Ring, &parts); err != nil || len(parts.Wrapping) != 2 {
		t.Fatalf("the ring has %d versions (%v)", len(parts.Wrapping), err)
	}
	made["master key"] = parts.Root
	for i, w := range parts.Wrapping {
		made[fmt.Sprint("wrapping key ", i+2)] = w.Key
	}
}

// search looks for the secrets wherever something of a network is written down.
func search(t *testing.T, s *server.Server, cfg server.Config, log *lines, made secrets) {
	ctx := t.Context()
	if len(made) < 28 {
		t.Errorf("%d secrets are not all of them", len(made))
	}
	settled, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.Settle(settled); err != nil {
		t.Fatal(err)
	}
	looked := 0
	look := func(where string, b []byte) {
		t.Helper()
		looked += len(b)
		for _, found := range made.find(b) {
			t.Errorf("%s holds %s", where, found)
		}
	}
	if err := filepath.WalkDir(cfg.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == cfg.TokenFile() { // where the operators' token belongs
			return err
		}
		b, err := os.ReadFile(path)
		look(path, b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cfg.KeyPath()); (err == nil) != (cfg.KeyStore == "") {
		t.Errorf("the key's file: %v", err)
	}
	if s.DB.Dialect() == store.Postgres {
		dump(t, cfg.Schema, s.DB, look)
	}
	operator, err := s.Identity.Authenticate(ctx, string(made["operator's token"]))
	if err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if _, err := s.Lifecycle.Backup(ctx, operator, lifecycle.NewBackup{}, func() (io.Writer, error) { return &copied, nil }, nil); err != nil {
		t.Fatal(err)
	}
	look("a backup", copied.Bytes())
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.RemoteAddr = "127.0.0.1:4242"
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	look("the metrics", w.Body.Bytes())
	look("the log", log.bytes())
	if len(log.bytes()) == 0 {
		t.Error("the log is empty: nothing was looked at")
	}
	look("the configuration", fmt.Appendf(nil, "%+v %#v", cfg, cfg))
	text, err := json.Marshal(server.Settings())
	look("the settings", text)
	for _, file := range []string{"/proc/self/cmdline", "/proc/self/environ"} {
		b, rerr := os.ReadFile(file)
		err = errors.Join(err, rerr)
		look(file, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Errors of a start that goes wrong, with what is right but for one thing.
	for what, change := range map[string]func(*server.Config){
		"another key":  func(c *server.Config) { c.KeyStore, c.KeyUnlock = "", "key:"+secretFile(t, rand.Text()+rand.Text()) },
		"in the clear": func(c *server.Config) { c.KeyStore, c.KeyUnlock = "", "plain" },
		"a spoiled setting": func(c *server.Config) {
			c.KeyUnlock, c.KeyStore = "", secretFile(t, `{"vault":{"secret_id":"`+string(made["operator's token"])+`"}}`)
		},
		"what opens is gone": func(c *server.Config) { c.KeyStore, c.KeyUnlock = "", "key:"+filepath.Join(t.TempDir(), "gone") },
	} {
		wrong := cfg
		change(&wrong)
		wrong.KeyFile = ""
		_, err := wrong.OpenKeys(ctx, false)
		if err == nil {
			t.Errorf("%s: the key opens", what)
		}
		look("the error of "+what, fmt.Appendf(nil, "%v %+v %s", err, err, act.AsError(err).Hint))
	}
	if looked < 100<<10 {
		t.Errorf("%d bytes were looked at: that is not a network", looked)
	}
}
