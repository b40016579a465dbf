package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
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
				switch kept {
				case "double of vault":
					v := secrettest.NewVault(t)
					wrapping := v.Wrap("auth/approle/role/reef/secret-id")
					inStore(t, &cfg, map[string]any{"vault": map[string]any{"address": v.URL, "approle": map[string]any{
						"role_id_file": secretFile(t, v.RoleID), "secret_id_file": secretFile(t, wrapping), "wrapped": true,
					}}})
					made["secret id"], made["role id"], made["wrapping token"] = []byte(v.SecretID), []byte(v.RoleID), []byte(wrapping)
					more = func() {
						for i, token := range v.Tokens() {
							made[fmt.Sprint("token of Vault ", i)] = []byte(token)
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
				more()
				search(t, s, cfg, &log, made)
			})
		}
	}
}

// use has every kind of secret made, shown and refused once.
func use(t *testing.T, s *server.Server, cfg server.Config, made secrets) {
	ctx := t.Context()
	token, err := os.ReadFile(cfg.TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	made["operator's token"] = bytes.TrimSpace(token)
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
	var ring identity.KeyStore
	if cfg.KeyStore == "" { // a wrapping token opens once, which the server has done
		if ring, err = cfg.Ring(ctx); err != nil {
			t.Fatal(err)
		}
	}
	collect(t, s, ring, made)
}

// flipped changes one character of a secret.
func flipped(s string) string {
	last := byte('a')
	if s[len(s)-1] == 'a' {
		last = 'b'
	}
	return s[:len(s)-1] + string(last)
}

// collect takes what is in the ring, and what follows from it.
func collect(t *testing.T, s *server.Server, ring identity.KeyStore, made secrets) {
	t.Helper()
	made["id key"], made["index key"], made["backup key"] = s.Keys.CodecKey(), s.Keys.IndexKey(), s.Keys.BackupKey()
	made["policy key"] = s.Keys.PolicyKey().Seed()
	if ring == nil {
		return
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
	if len(made) < 15 {
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
