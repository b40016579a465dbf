package server_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// receiver is a webhook's other end. It takes a message for given only when it
// answered 2xx and the signature was right.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	secret  string   // guarded by mu
	refuse  int      // guarded by mu: how many messages to refuse first
	seqs    []int64  // guarded by mu: of messages taken, in order of arrival
	refs    []string // guarded by mu
	trouble []string // guarded by mu
	bodies  string   // guarded by mu
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse > 0 {
		r.refuse--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.secret, "whsec_"))
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%s.%s", req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp"), body)
	if req.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)) {
		r.trouble = append(r.trouble, "a signature is wrong")
	}
	var msg struct {
		Type string `json:"type"`
		Data struct {
			Seq    int64  `json:"seq"`
			Ref    string `json:"ref"`
			Origin string `json:"origin"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &msg); err != nil || msg.Type != "post.create" {
		r.trouble = append(r.trouble, "no event: "+string(body))
	}
	if msg.Data.Origin != "agent" { // T50
		r.trouble = append(r.trouble, "no origin class: "+string(body))
	}
	r.bodies += string(body)
	r.seqs, r.refs = append(r.seqs, msg.Data.Seq), append(r.refs, msg.Data.Ref)
}

// hears waits until each of the posts has come, and checks that they came in
// order: a message may come again, but never before one that is older.
func (r *receiver) hears(t *testing.T, want []string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d posts at the webhook", len(want)), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return !slices.ContainsFunc(want, func(ref string) bool { return !slices.Contains(r.refs, ref) })
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.IsSorted(r.seqs) {
		t.Errorf("out of order: %v", r.seqs)
	}
	if len(r.trouble) > 0 {
		t.Error(r.trouble)
	}
	if strings.Contains(r.bodies, "canary") {
		t.Error("content was pushed")
	}
}

func hook(t *testing.T, s *servertest.Server, p act.Principal, r *receiver) network.Webhook {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	w, err := s.Network.CreateWebhook.Do(context.Background(), p, network.NewWebhook{
		URL: r.URL, Filter: network.EventFilter{Acts: []string{"post.create"}}, After: network.FromNow,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.secret = w.Secret
	return w
}

func withHooks(t *testing.T, d store.Dialect) *servertest.Server {
	t.Helper()
	cfg := servertest.Config(t, d)
	cfg.WebhookAllow = []string{"127.0.0.0/8"}
	return servertest.Start(t, cfg)
}

// A webhook gets every event, signed and in order, through refusals, and the
// attempts stand in its log.
func TestWebhookDelivers(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			s := withHooks(t, d)
			_, author := s.Agent(t, "author")
			_, owner := s.Agent(t, "holder")
			r := receive(t)
			r.refuse = 2
			w := hook(t, s, owner, r)
			var want []string
			for i := range 10 {
				want = append(want, s.Codec.String(post(t, s, author, fmt.Sprint("t", i)).ID))
			}
			r.hears(t, want)
			eventually(t, "the log of attempts", func() bool {
				list, err := s.Network.ListDeliveries.Do(context.Background(), owner, w.ID)
				return err == nil && len(list) == 12
			})
			if _, err := s.Network.ListDeliveries.Do(context.Background(), author, w.ID); act.CodeOf(err) != act.NotFound {
				t.Errorf("another reads the log: %v", err)
			}
		})
	}
}

// A paused or quarantined agent's webhook is silent and goes on where it was; a
// killed one's is silent for ever.
func TestPauseStopsWebhooks(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			s := withHooks(t, d)
			ctx := context.Background()
			op := operator(t, s)
			_, author := s.Agent(t, "author")
			_, owner := s.Agent(t, "holder")
			_, other := s.Agent(t, "other")
			r, control := receive(t), receive(t)
			hook(t, s, owner, r)
			hook(t, s, other, control)
			order := lifecycle.Order{Agent: owner.ID, Reason: "test"}
			if _, err := s.Lifecycle.Pause.Do(ctx, op, order); err != nil {
				t.Fatal(err)
			}
			held := []string{s.Codec.String(post(t, s, author, "while paused").ID)}
			control.hears(t, held) // so deliveries are running
			r.mu.Lock()
			if len(r.refs) != 0 {
				t.Error("a paused agent was told")
			}
			r.mu.Unlock()
			if _, err := s.Lifecycle.Resume.Do(ctx, op, order); err != nil {
				t.Fatal(err)
			}
			r.hears(t, held)
			if _, err := s.Lifecycle.Quarantine.Do(ctx, op, order); err != nil {
				t.Fatal(err)
			}
			examined := s.Codec.String(post(t, s, author, "while quarantined").ID)
			control.hears(t, []string{examined})
			r.mu.Lock()
			if slices.Contains(r.refs, examined) {
				t.Error("a quarantined agent was told")
			}
			r.mu.Unlock()
			if _, err := s.Lifecycle.Release.Do(ctx, op, order); err != nil {
				t.Fatal(err)
			}
			r.hears(t, []string{examined})
			if _, err := s.Lifecycle.Kill.Do(ctx, op, order); err != nil {
				t.Fatal(err)
			}
			late := s.Codec.String(post(t, s, author, "after the kill").ID)
			control.hears(t, []string{late})
			r.mu.Lock()
			defer r.mu.Unlock()
			if slices.Contains(r.refs, late) {
				t.Error("a killed agent was told")
			}
		})
	}
}

// An operator's webhook tells nothing any more once they may not follow events, because
// of their roles or because they were barred, and says so. It goes on where it was.
func TestOperatorsWebhooksEndWithTheirRoles(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			s := withHooks(t, d)
			_, author := s.Agent(t, "author")
			mara := signedIn(t, s, "mara", gate.OperatorAuditor, time.Now())
			r := receive(t)
			w := hook(t, s, mara, r)
			told := s.Codec.String(post(t, s, author, "told").ID)
			r.hears(t, []string{told})
			off := func(what string) {
				t.Helper()
				held := s.Codec.String(post(t, s, author, what).ID)
				eventually(t, what+": the webhook is switched off", func() bool {
					var reason string
					var at int64
					if err := s.DB.View(t.Context(), func(v *store.View) error {
						_, err := v.One(`SELECT disabled_at, reason FROM webhook WHERE id = $1`, func(r *store.Row) error { at, reason = r.Int(0), r.Text(1); return nil }, w.ID)
						return err
					}); err != nil {
						t.Fatal(err)
					}
					return at != 0 && strings.Contains(reason, "may not follow events")
				})
				r.mu.Lock()
				defer r.mu.Unlock()
				if slices.Contains(r.refs, held) {
					t.Errorf("%s: she was told", what)
				}
			}
			signedIn(t, s, "mara", gate.OperatorObserver, time.Now())
			off("after she lost the role")
			mara = signedIn(t, s, "mara", gate.OperatorAuditor|gate.OperatorApprover, time.Now())
			if _, err := s.Network.ReplayWebhook.Do(t.Context(), mara, network.Replay{Webhook: w.ID, After: network.FromNow}); err != nil {
				t.Fatal(err)
			}
			r.hears(t, []string{told, s.Codec.String(post(t, s, author, "again").ID)})
			var person act.ID
			if err := s.DB.View(t.Context(), func(v *store.View) error {
				_, err := v.One(`SELECT id FROM credential WHERE subject = $1 AND kind = 'person'`, func(r *store.Row) error { person = r.ID(0); return nil }, mara.ID)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Issuer.End.Do(t.Context(), operator(t, s), identity.CredentialEnd{Credential: person, Reason: "she left"}); err != nil {
				t.Fatal(err)
			}
			off("after she was barred")
		})
	}
}

// Two nodes of one network, and each is stopped in turn while posts are made:
// nothing is lost and the order is kept.
func TestWebhookSurvivesLeaderMoves(t *testing.T) {
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile = t.TempDir() + "/network.key"
	cfg.NATS = servertest.NATS(t).ClientURL()
	cfg.WebhookAllow = []string{"127.0.0.0/8"}
	a := servertest.Open(t, cfg)
	_, author := a.Agent(t, "author")
	_, owner := a.Agent(t, "holder")
	r := receive(t)
	hook(t, a, owner, r)
	var want []string
	write := func(s *servertest.Server, n int) {
		for range n {
			want = append(want, s.Codec.String(post(t, s, author, fmt.Sprint("t", len(want))).ID))
		}
	}
	write(a, 5)
	r.hears(t, want[:1])
	cfg.Data = t.TempDir()
	b := servertest.Open(t, cfg)
	r.mu.Lock()
	r.refuse = 1
	r.mu.Unlock()
	write(b, 5)
	a.Stop()
	write(b, 5)
	r.hears(t, want)
	cfg.Data = t.TempDir()
	c := servertest.Open(t, cfg)
	b.Stop()
	write(c, 5)
	r.hears(t, want)
	servertest.CheckInvariants(t, c.Server)
}

// T54: a webhook's URL is judged when it is made.
func TestT54_WebhookURL(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	_, p := s.Agent(t, "attacker")
	r := receive(t)
	for _, url := range []string{
		r.URL, strings.Replace(r.URL, "127.0.0.1", "localhost", 1), strings.Replace(r.URL, "127.0.0.1", "2130706433", 1),
		strings.Replace(r.URL, "127.0.0.1", "0x7f.1", 1), strings.Replace(r.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1),
		strings.Replace(r.URL, "http://", "http://u@", 1), "http://169.254.169.254/", "file:///etc/passwd",
	} {
		_, err := s.Network.CreateWebhook.Do(t.Context(), p, network.NewWebhook{URL: url, After: network.FromNow})
		if act.CodeOf(err) != act.Invalid {
			t.Errorf("%s: %v", url, err)
		}
	}
	if len(r.refs)+len(r.trouble) > 0 {
		t.Error("something was connected to")
	}
}
