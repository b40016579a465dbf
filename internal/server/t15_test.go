package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T15: a recorded proof is good once in the whole network. One valid proof is sent a
// hundred times at the same moment to three nodes, and one of them takes it; with
// another method, address or token it is not taken at all. A node that is cut off
// from the one whose nonce it was gives a nonce of its own instead of guessing.
func TestT15_ProofsAreTakenOnce(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		cfg := servertest.Config(t, store.Postgres)
		cfg.KeyFile, cfg.NATS, cfg.PublicURL = filepath.Join(t.TempDir(), "network.key"), servertest.NATS(t).ClientURL(), "https://reef.example"
		nodes := []*servertest.Server{servertest.Start(t, cfg)}
		for range 2 {
			cfg.Data = t.TempDir()
			nodes = append(nodes, servertest.Open(t, cfg))
		}
		var handlers []http.Handler
		for _, n := range nodes {
			handlers = append(handlers, n.API.Handler())
		}
		m := enrol(t, nodes[0], "recorded", token.ES256)
		h, another := hold(t, nodes[0], m, "*"), hold(t, nodes[0], m, "feed.read")

		send := func(n int, method, path, text, proof string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, path, nil)
			r.Header.Set("Authorization", "DPoP "+text)
			r.Header.Set("DPoP", proof)
			w := httptest.NewRecorder()
			handlers[n].ServeHTTP(w, r)
			return w
		}
		const path = "/v1/whoami"
		for _, c := range []struct{ name, method, path, text string }{
			{"another method", http.MethodHead, path, h.token}, {"another address", http.MethodGet, "/v1/agents", h.token}, {"another token", http.MethodGet, path, another.token},
		} {
			proof := h.proof(http.MethodGet, path)
			for n := range nodes {
				if w := send(n, c.method, c.path, c.text, proof); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), `error="invalid_dpop_proof"`) {
					t.Errorf("%s at node %d: %d %s", c.name, n, w.Code, w.Header())
				}
			}
		}
		for round := range 3 { // each node's nonce once
			h.s = nodes[round]
			proof := h.proof(http.MethodGet, path)
			h.s = nodes[0]
			var wg sync.WaitGroup
			var mu sync.Mutex
			answers := map[string]int{}
			for n := range 100 {
				wg.Go(func() {
					w := send(n%len(nodes), http.MethodGet, path, h.token, proof)
					what := "taken"
					if w.Code != http.StatusOK {
						_, rest, _ := strings.Cut(w.Header().Get("WWW-Authenticate"), `error="`)
						what, _, _ = strings.Cut(rest, `"`)
					}
					mu.Lock()
					answers[what]++
					mu.Unlock()
				})
			}
			wg.Wait()
			if answers["taken"] != 1 || answers["taken"]+answers["invalid_dpop_proof"]+answers["use_dpop_nonce"] != 100 {
				t.Errorf("a proof with a nonce of node %d: %v", round, answers)
			}
		}
		// The node whose nonce it is has gone: another does not take its word, and what
		// it asks for in return is enough.
		h.s = nodes[2]
		orphan := h.proof(http.MethodGet, path)
		nodes[2].Stop()
		w := send(0, http.MethodGet, path, h.token, orphan)
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), `error="use_dpop_nonce"`) || w.Header().Get("DPoP-Nonce") == "" {
			t.Errorf("a nonce of a node that is silent: %d %v", w.Code, w.Header())
		}
		h.s = nodes[0]
		if w := send(0, http.MethodGet, path, h.token, h.proof(http.MethodGet, path)); w.Code != http.StatusOK {
			t.Errorf("with a nonce of its own: %d %s", w.Code, w.Body)
		}
	})
}

// T15: what is true of proofs is true of client assertions, which storage remembers: one
// that is sent to both nodes at once, each time with a fresh proof, is taken once.
func TestT15_AssertionsAreTakenOnce(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		cfg := servertest.Config(t, store.Postgres)
		cfg.KeyFile, cfg.NATS, cfg.PublicURL = filepath.Join(t.TempDir(), "network.key"), servertest.NATS(t).ClientURL(), "https://reef.example"
		one := servertest.Start(t, cfg)
		cfg.Data = t.TempDir()
		nodes := []*wire{{t: t, s: one, handler: one.API.Handler()}}
		two := servertest.Open(t, cfg)
		nodes = append(nodes, &wire{t: t, s: two, handler: two.API.Handler()})
		m := enrol(t, one, "recorded", token.ES256)
		form := nodes[0].asks(m, grantClient, "scope", "agent.me").Encode()
		var wg sync.WaitGroup
		var mu sync.Mutex
		answers := map[string]int{}
		for n := range 40 {
			w := nodes[n%2]
			proof := w.proof(m.key, "")
			wg.Go(func() {
				r := httptest.NewRequest(http.MethodPost, tokenPath, strings.NewReader(form))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("DPoP", proof)
				a := httptest.NewRecorder()
				w.handler.ServeHTTP(a, r)
				var out tokens
				_ = json.Unmarshal(a.Body.Bytes(), &out)
				mu.Lock()
				answers[out.Error+" "+out.Rule]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if answers[" "] != 1 || answers["invalid_client assertion.replayed"] != 39 {
			t.Errorf("%v", answers)
		}
	})
}
