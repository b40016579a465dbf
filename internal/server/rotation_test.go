package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/secret/secrettest"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qTestConversationKeys store.Q = `SELECT key_version, COUNT(*) FROM conversation GROUP BY key_version`
	qTestSealedKeys       store.Q = `SELECT key_version, COUNT(*) FROM sealed GROUP BY key_version`
	qTestWebhookKeys      store.Q = `SELECT key_version, COUNT(*) FROM webhook GROUP BY key_version`
	qTestSigningKeys      store.Q = `SELECT wrap_version, COUNT(*) FROM issuer_key GROUP BY wrap_version`
	qTestAuthorities      store.Q = `SELECT wrap_version, COUNT(*) FROM authority GROUP BY wrap_version`
)

// keyStores are where a network's ring can be kept, each with an outage that it can
// have (nil: it cannot).
var keyStores = map[string]func(t *testing.T, cfg *server.Config) (down func(bool)){
	"file": func(*testing.T, *server.Config) func(bool) { return nil },
	"sealed file": func(t *testing.T, cfg *server.Config) func(bool) {
		cfg.KeyUnlock = "key:" + secretFile(t, rand.Text()+rand.Text())
		return nil
	},
	"double of vault": func(t *testing.T, cfg *server.Config) func(bool) {
		v := secrettest.NewVault(t)
		v.Leases(2*time.Second, time.Minute) // renewed all the time
		inStore(t, cfg, map[string]any{"lease": "1m", "vault": map[string]any{"address": v.URL, "approle": map[string]any{
			"role_id_file": secretFile(t, v.RoleID), "secret_id_file": secretFile(t, v.SecretID),
		}}})
		return v.Down
	},
	"double of aws": func(t *testing.T, cfg *server.Config) func(bool) {
		a := secrettest.NewAWS(t)
		for name, value := range map[string]string{
			"AWS_ACCESS_KEY_ID": a.Keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": a.Keys.SecretAccessKey, "AWS_SESSION_TOKEN": "", "AWS_MAX_ATTEMPTS": "1",
		} {
			t.Setenv(name, value)
		}
		inStore(t, cfg, map[string]any{"lease": "1m", "aws": map[string]any{"region": a.Region, "endpoint": a.URL}})
		return a.Down
	},
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func inStore(t *testing.T, cfg *server.Config, place map[string]any) {
	t.Helper()
	text, err := json.Marshal(place)
	if err != nil {
		t.Fatal(err)
	}
	cfg.KeyFile, cfg.KeyStore = "", secretFile(t, string(text))
}

// Issue 5 §6.5: the wrapping key is renewed again and again, in every store, while
// messages are sent and read and posts deleted and examined. Nothing fails, in the end
// everything is wrapped under the newest version, and what was written before can be
// read.
func TestWrappingKeyRenewedUnderLoad(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		for name, kept := range keyStores {
			t.Run(d.String()+"/"+name, func(t *testing.T) {
				cfg := servertest.Config(t, d)
				kept(t, &cfg)
				cfg.KeyRefresh = 50 * time.Millisecond
				cfg.WebhookAllow = []string{"127.0.0.0/8"}
				renewUnderLoad(t, servertest.Start(t, cfg))
			})
		}
	}
}

// pairOf are two agents who talk.
type pairOf struct {
	keys         [2]string
	sides        [2]act.Principal
	conversation act.ID
}

func pairUp(t *testing.T, s *servertest.Server, name string) (p pairOf) {
	t.Helper()
	for i := range p.keys {
		p.keys[i], p.sides[i] = s.Agent(t, fmt.Sprintf("%s-%d", name, i))
	}
	asked, err := s.Network.RequestConversation.Do(t.Context(), p.sides[0], network.NewRequest{To: p.sides[1].Name, Text: "shall we talk?"})
	if err == nil {
		p.conversation = asked.Conversation
		_, err = s.Network.ApproveConversation.Do(t.Context(), governor(t, s), network.ConversationOrder{Conversation: p.conversation, Owner: "tests", Reason: "test"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func renewUnderLoad(t *testing.T, s *servertest.Server) {
	ctx := context.WithoutCancel(t.Context())
	operator := governor(t, s)
	r := receive(t)
	pairs := []pairOf{pairUp(t, s, "ada"), pairUp(t, s, "bob"), pairUp(t, s, "eve")}
	for i := range 250 { // more than one batch
		deleted(t, s, pairs[0].sides[0], fmt.Sprint("before ", i))
	}
	hook(t, s, pairs[0].sides[0], r)
	var stop atomic.Bool
	var load sync.WaitGroup
	var sent, examined atomic.Int64
	fail := func(format string, args ...any) {
		stop.Store(true)
		t.Errorf(format, args...)
	}
	for _, p := range pairs {
		path := "/api/v1/agents/dm/conversations/" + s.Codec.String(p.conversation)
		for i := range p.keys {
			load.Go(func() {
				for n := 0; !stop.Load(); n++ {
					if a := s.Call(t, http.MethodPost, path+"/send", p.keys[i], map[string]any{"message": fmt.Sprintf("message %d", n)}); a.Status/100 != 2 {
						fail("a message: %d %s", a.Status, a.Raw)
					}
					if a := s.Call(t, http.MethodGet, path, p.keys[1-i], nil); a.Status != http.StatusOK || !bytes.Contains(a.Raw, []byte("message ")) {
						fail("a conversation: %d %s", a.Status, a.Raw)
					}
					sent.Add(1)
				}
			})
		}
	}
	load.Go(func() {
		for n := 0; !stop.Load() && n < 100; n++ { // the webhook is told of each
			made, err := s.Network.CreatePost.Do(ctx, pairs[1].sides[0], network.NewPost{Community: "general", Title: fmt.Sprint("post ", n), Content: "words"})
			if err == nil {
				_, err = s.Network.DeletePost.Do(ctx, pairs[1].sides[0], network.Named{ID: made.ID})
			}
			var out network.Unsealed
			if err == nil {
				out, err = s.Network.Unseal.Do(ctx, operator, network.Examination{Item: network.Named{ID: made.ID}, On: act.KindPost, Reason: "incident 7"})
			}
			if err != nil || out.Content != "words" {
				fail("a deleted post: %v", err)
			}
			examined.Add(1)
		}
	})
	const renewals = 3
	for n := range renewals {
		progress := sent.Load()
		a := s.Call(t, http.MethodPost, "/v1/keys/renew", s.Token, map[string]any{"reason": "drill"})
		if a.Status != http.StatusAccepted || a.JSON["version"] != float64(n+2) {
			t.Fatalf("renewal %d: %d %s", n, a.Status, a.Raw)
		}
		eventually(t, fmt.Sprintf("everything is wrapped under version %d", n+2), func() bool {
			return stop.Load() || wrappedUnder(t, s, int64(n+2)) && sent.Load() > progress+10
		})
	}
	stop.Store(true)
	load.Wait()
	if !wrappedUnder(t, s, renewals+1) {
		t.Error("something is wrapped under an older version")
	}
	if sent.Load() < 30 || examined.Load() < 3 {
		t.Errorf("%d messages and %d examinations are no load", sent.Load(), examined.Load())
	}
	for _, p := range pairs {
		page, err := s.Network.ReadConversation.Do(ctx, p.sides[0], network.MessageQuery{Conversation: p.conversation, Limit: 100})
		if err != nil || len(page.Items) == 0 {
			t.Errorf("after all renewals: %d messages, %v", len(page.Items), err)
		}
	}
	made := post(t, s, pairs[2].sides[0], "told")
	r.hears(t, []string{s.Codec.String(made.ID)}) // signed with the secret that was wrapped anew
	// The permanent keys are what they were: a start finds the same network.
	if s.Keys.Versions() != renewals+1 {
		t.Errorf("the ring has %d versions", s.Keys.Versions())
	}
}

// deleted makes a post and deletes it, and returns its id.
func deleted(t *testing.T, s *servertest.Server, p act.Principal, text string) act.ID {
	t.Helper()
	made, err := s.Network.CreatePost.Do(t.Context(), p, network.NewPost{Community: "general", Title: text, Content: text})
	if err == nil {
		_, err = s.Network.DeletePost.Do(t.Context(), p, network.Named{ID: made.ID})
	}
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// wrappedUnder reports whether everything is wrapped under one version.
func wrappedUnder(t *testing.T, s *servertest.Server, version int64) bool {
	t.Helper()
	all := true
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		for _, q := range []store.Q{qTestConversationKeys, qTestSealedKeys, qTestWebhookKeys, qTestSigningKeys, qTestAuthorities} {
			rows := 0
			if err := v.All(q, func(r *store.Row) error {
				rows++
				all = all && r.Int(0) == version
				return nil
			}); err != nil {
				return err
			}
			if rows == 0 {
				t.Errorf("%s finds nothing", q)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// One renewal is under way at a time, whoever asks, and only operators do.
func TestOneRenewalAtATime(t *testing.T) {
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyRefresh = time.Hour // so that none is over while the test runs
	s := servertest.Start(t, cfg)
	key, _ := s.Agent(t, "ada")
	for _, c := range []struct {
		key, reason string
		want        int
	}{
		{key, "mine", http.StatusForbidden}, {"", "mine", http.StatusUnauthorized}, {s.Token, "", http.StatusBadRequest},
		{s.Token, "drill", http.StatusAccepted}, {s.Token, "drill", http.StatusConflict},
	} {
		if a := s.Call(t, http.MethodPost, "/v1/keys/renew", c.key, map[string]any{"reason": c.reason}); a.Status != c.want {
			t.Errorf("%q: %d %s, want %d", c.reason, a.Status, a.Raw, c.want)
		}
	}
	if got := s.Keys.Wrapper().Version(); got != 1 {
		t.Errorf("version %d is used before every node can have it", got)
	}
}

// Two nodes with one ring take a version into use together: what one wraps the other
// opens, at every moment. A third with an older copy of the file says so and does not
// start.
func TestRenewedOnTwoNodes(t *testing.T) {
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile = filepath.Join(t.TempDir(), "network.key")
	cfg.NATS, cfg.KeyRefresh = servertest.NATS(t).ClientURL(), 50*time.Millisecond
	a := servertest.Start(t, cfg)
	old, err := os.ReadFile(cfg.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	there := cfg
	there.Data = t.TempDir()
	b := servertest.Open(t, there)
	p := pairUp(t, a, "ada")
	path := "/api/v1/agents/dm/conversations/" + a.Codec.String(p.conversation)
	var stop atomic.Bool
	var load sync.WaitGroup
	var done atomic.Int64
	for i, nodes := range [][2]*servertest.Server{{a, b}, {b, a}} {
		load.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if w := nodes[0].Call(t, http.MethodPost, path+"/send", p.keys[i], map[string]any{"message": fmt.Sprint("message ", n)}); w.Status/100 != 2 {
					t.Errorf("a message: %d %s", w.Status, w.Raw)
					return
				}
				if w := nodes[1].Call(t, http.MethodGet, path, p.keys[1-i], nil); w.Status != http.StatusOK {
					t.Errorf("a conversation on the other node: %d %s", w.Status, w.Raw)
					return
				}
				done.Add(1)
			}
		})
	}
	for n := range 3 {
		if w := b.Call(t, http.MethodPost, "/v1/keys/renew", b.Token, map[string]any{"reason": "drill"}); w.Status != http.StatusAccepted {
			t.Fatalf("renewal %d: %d %s", n, w.Status, w.Raw)
		}
		before := done.Load()
		eventually(t, fmt.Sprintf("version %d is used", n+2), func() bool {
			return t.Failed() || conversationVersion(t, a) == int64(n+2) && done.Load() > before+5
		})
	}
	stop.Store(true)
	load.Wait()
	stale := there
	stale.Data, stale.KeyFile = t.TempDir(), secretFile(t, string(old))
	if s, err := server.New(t.Context(), stale, discard()); err == nil {
		s.Close()
		t.Error("a node with an older ring starts")
	} else if act.AsError(err).Rule != "key.version" {
		t.Errorf("a node with an older ring: %v", err)
	}
}

func conversationVersion(t *testing.T, s *servertest.Server) (version int64) {
	t.Helper()
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		return v.All(qTestConversationKeys, func(r *store.Row) error { version = r.Int(0); return nil })
	}); err != nil {
		t.Fatal(err)
	}
	return version
}

// A store that does not answer keeps a node from starting, with a clear error. One that
// stops answering later leaves it going on for the lease; then the node serves nobody,
// with 503, until the store is back. A renewal waits meanwhile.
func TestStoreOfKeysGoes(t *testing.T) {
	for name, kept := range keyStores {
		t.Run(name, func(t *testing.T) {
			cfg := servertest.Config(t, store.SQLite)
			var ahead atomic.Int64
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			cfg.KeyRefresh = 20 * time.Millisecond
			down := kept(t, &cfg)
			if down == nil {
				return // a file does not go, and has no lease
			}
			down(true)
			if s, err := server.New(t.Context(), cfg, discard()); err == nil {
				s.Close()
				t.Fatal("a node starts without its key")
			} else if e := act.AsError(err); e.Code != act.Unavailable || e.Rule != "key.store" || e.Hint == "" {
				t.Fatalf("a start without the store: %v", err)
			}
			if files, err := filepath.Glob(filepath.Join(cfg.Data, "*", "*")); err != nil || len(files) > 0 {
				t.Errorf("a start without the store leaves %v", files)
			}
			down(false)
			s := servertest.Start(t, cfg)
			key, _ := s.Agent(t, "ada")
			down(true)
			status := func(path, key string) int { return s.Call(t, http.MethodGet, path, key, nil).Status }
			for range 3 {
				if got := status("/v1/home", key); got != http.StatusOK {
					t.Fatalf("within the lease: %d", got)
				}
				ahead.Add(int64(15 * time.Second))
			}
			ahead.Add(int64(30 * time.Second))
			for path, key := range map[string]string{"/v1/home": key, "/v1/agents": s.Token, "/readyz": ""} {
				a := s.Call(t, http.MethodGet, path, key, nil)
				if a.Status != http.StatusServiceUnavailable || !bytes.Contains(a.Raw, []byte("store of the network's key")) {
					t.Errorf("after the lease %s answers %d %s", path, a.Status, a.Raw)
				}
			}
			if a := s.Call(t, http.MethodGet, "/v1/home", "moltbook_sk_wrong", nil); a.Status != http.StatusUnauthorized {
				t.Errorf("after the lease a wrong key is answered with %d", a.Status)
			}
			down(false)
			eventually(t, "the node serves again", func() bool { return status("/v1/home", key) == http.StatusOK })
		})
	}
}

// What cannot be this network's newest ring is not taken: another network's, an older
// one, one with another key under the same number. The node goes on with what it has.
func TestStrangeRings(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.KeyRefresh = time.Hour
	s := servertest.Start(t, cfg)
	path := cfg.KeyPath()
	keep, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text []byte) error {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return s.Keys.Refresh(t.Context(), time.Now())
	}
	if err := put(keep); err != nil {
		t.Fatal(err)
	}
	// Twice, from one beginning: two rings that differ in version 2.
	var rings [2][]byte
	for i := range rings {
		one := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(one, keep, 0o600); err != nil {
			t.Fatal(err)
		}
		other := servertest.Config(t, store.SQLite)
		other.KeyFile, other.KeyRefresh = one, 50*time.Millisecond
		o := servertest.Open(t, other)
		if a := o.Call(t, http.MethodPost, "/v1/keys/renew", o.Token, map[string]any{"reason": "drill"}); a.Status != http.StatusAccepted {
			t.Fatalf("renew: %d %s", a.Status, a.Raw)
		}
		eventually(t, "version 2 is in the ring", func() bool { return o.Keys.Versions() == 2 })
		o.Stop()
		if rings[i], err = os.ReadFile(one); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(rings[0]); err != nil || s.Keys.Versions() != 2 {
		t.Fatalf("a version that came from elsewhere: %v", err)
	}
	strange, err := identity.LoadKeys(filepath.Join(t.TempDir(), "strange"))
	if err != nil || bytes.Equal(strange.Check(), s.Keys.Check()) {
		t.Fatal(err)
	}
	other := make([]byte, identity.MasterKeySize)
	_, _ = rand.Read(other)
	for what, text := range map[string][]byte{"an older ring": keep, "another version 2": rings[1], "another network's": other, "nothing": {}, "zeros": make([]byte, 32)} {
		if err := put(text); err == nil {
			t.Errorf("%s is taken", what)
		}
		if s.Keys.Versions() != 2 {
			t.Fatalf("%s leaves %d versions", what, s.Keys.Versions())
		}
	}
	if err := put(rings[0]); err != nil {
		t.Errorf("the right one again: %v", err)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
