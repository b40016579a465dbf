package server_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T37: what travels between nodes are hints. Somebody who hears the bus and speaks on it,
// who forges, alters and repeats what nodes say, has nothing done: nobody is killed or
// stopped, no fence moves, what was withdrawn stays away, and no proof is taken twice.
func TestT37_TheBusOrdersNothing(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		cfg := servertest.Config(t, store.Postgres)
		cfg.KeyFile, cfg.NATS, cfg.PublicURL = filepath.Join(t.TempDir(), "network.key"), servertest.NATS(t).ClientURL(), "https://reef.example"
		conn, err := nats.Connect(cfg.NATS)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		var mu sync.Mutex
		var heard []*nats.Msg // guarded by mu
		answered := 0         // guarded by mu
		if _, err := conn.Subscribe("reef.>", func(m *nats.Msg) {
			mu.Lock()
			heard = append(heard, m)
			mu.Unlock()
			// Questions about proofs it answers in the other node's place: fresh.
			before, _, asks := strings.Cut(m.Subject, ".dpop.ask.")
			if !asks {
				return
			}
			at := max(bytes.IndexByte(m.Data, '{'), 0)
			said := m.Data[at:]
			_, rest, _ := bytes.Cut(said, []byte(`"n":`))
			number, _, _ := bytes.Cut(rest, []byte(","))
			_, rest, _ = bytes.Cut(said, []byte(`"from":`))
			from, _, _ := bytes.Cut(rest, []byte(","))
			answer := []byte(`{"n":` + string(number) + `}`)
			for _, tag := range [][]byte{nil, m.Data[:at], make([]byte, at)} {
				_ = conn.Publish(before+".dpop.answer."+string(from), slices.Concat(tag, answer))
			}
			_ = conn.Flush()
			mu.Lock()
			answered++
			mu.Unlock()
		}); err != nil {
			t.Fatal(err)
		}
		a := servertest.Start(t, cfg)
		cfg.Data = t.TempDir()
		b := servertest.Open(t, cfg)
		eventually(t, "the nodes hear each other", func() bool { return a.Bus.Connected() && b.Bus.Connected() })

		// A day in the life: things are done and withdrawn, on both nodes.
		op := operator(t, a)
		activeKey, active := a.Agent(t, "active")
		pausedKey, paused := a.Agent(t, "paused")
		killedKey, dead := a.Agent(t, "dead")
		gone := post(t, a, active, "gone")
		if r := inside(t, a, http.MethodDelete, "/v1/posts/"+a.Codec.String(gone.ID), activeKey, nil); r.Status >= 300 {
			t.Fatalf("delete: %d %s", r.Status, r.Raw)
		}
		if _, err := a.Lifecycle.Pause.Do(t.Context(), op, lifecycle.Order{Agent: paused.ID, Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Lifecycle.Kill.Do(t.Context(), op, lifecycle.Order{Agent: dead.ID, Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		m := enrol(t, a, "bound", token.ES256)
		h := hold(t, a, m, "*")
		const path = "/v1/whoami"
		send := func(n *servertest.Server, proof string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Authorization", "DPoP "+h.token)
			r.Header.Set("DPoP", proof)
			w := httptest.NewRecorder()
			n.API.Handler().ServeHTTP(w, r)
			return w
		}
		h.s = b
		proof := h.proof(http.MethodGet, path)
		if w := send(b, proof); w.Code != http.StatusOK {
			t.Fatalf("a fresh proof: %d %s", w.Code, w.Body)
		}
		for range 20 { // taken once, whatever the bus says
			if w := send(a, proof); w.Code != http.StatusUnauthorized {
				t.Fatalf("a proof that was taken at one node is taken at the other: %d %s", w.Code, w.Body)
			}
		}
		fences := [2]int64{a.Gate.Fences(), b.Gate.Fences()}
		leavesBefore := len(leaves(t, a))
		prefix := ""
		mu.Lock()
		for _, x := range heard {
			if before, _, ok := strings.Cut(x.Subject, ".fence"); ok {
				prefix = before
			}
		}
		recorded := slices.Clone(heard)
		if answered == 0 || prefix == "" || len(recorded) < 5 {
			t.Errorf("%d questions were answered, %d signals heard under %q", answered, len(recorded), prefix)
		}
		mu.Unlock()

		// All of it again, in order and backwards, altered, and made up.
		say := func(subject string, data []byte) {
			if err := conn.Publish(subject, data); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			for _, x := range recorded {
				say(x.Subject, x.Data)
			}
			slices.Reverse(recorded)
			for n, x := range recorded {
				if data := bytes.Clone(x.Data); len(data) > 0 {
					data[n%len(data)] ^= 1 << (n % 8)
					say(x.Subject, data)
				}
			}
		}
		for _, id := range []act.ID{active.ID, paused.ID, dead.ID, gone.ID} {
			for _, subject := range []string{"fence", "pulse", "numbered", "kill", "agent.kill", "fence.1", "dpop.ask.1", "dpop.ask.2", "dpop.answer.1", "dpop.answer.2"} {
				say(prefix+"."+subject, []byte(`{"act":"agent.kill","agent":"`+a.Codec.String(id)+`","kind":2,"id":`+a.Codec.String(id)+`,"n":1,"fence":9999999}`))
				say(prefix+"."+subject, []byte(a.Codec.String(id)))
				say(prefix+"."+subject, bytes.Repeat([]byte{0xff}, 1000))
			}
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		// They have heard it when they hear what comes after it.
		for _, n := range []*servertest.Server{a, b} {
			done := make(chan struct{})
			var once sync.Once
			cancel, err := n.Bus.Subscribe("test", func([]byte) { once.Do(func() { close(done) }) })
			if err != nil {
				t.Fatal(err)
			}
			say(prefix+".test", nil)
			<-done
			cancel()
		}
		if now := [2]int64{a.Gate.Fences(), b.Gate.Fences()}; now != fences {
			t.Errorf("fences moved from %v to %v", fences, now)
		}
		for name, n := range map[string]*servertest.Server{"one": a, "other": b} {
			for agent, want := range map[act.ID]act.Standing{active.ID: act.Active, paused.ID: act.Paused, dead.ID: act.Killed} {
				if got := standingOf(t, n, agent); got != want {
					t.Errorf("at the %s node an agent that was %s is %s", name, want, got)
				}
			}
			if r := inside(t, n, http.MethodGet, "/v1/home", activeKey, nil); r.Status != http.StatusOK {
				t.Errorf("at the %s node who is active reads: %d %s", name, r.Status, r.Raw)
			}
			for who, key := range map[string]string{"paused": pausedKey, "dead": killedKey} {
				if r := inside(t, n, http.MethodGet, "/v1/home", key, nil); r.Status < 400 {
					t.Errorf("at the %s node who is %s reads: %d %s", name, who, r.Status, r.Raw)
				}
			}
			if r := inside(t, n, http.MethodGet, "/v1/posts/"+n.Codec.String(gone.ID), activeKey, nil); r.Status != http.StatusNotFound && r.Status != http.StatusGone {
				t.Errorf("at the %s node what was deleted is served: %d %s", name, r.Status, r.Raw)
			}
			if w := send(n, proof); w.Code != http.StatusUnauthorized {
				t.Errorf("at the %s node an old proof is taken: %d %s", name, w.Code, w.Body)
			}
		}
		for _, l := range leaves(t, a)[leavesBefore:] {
			if l.Outcome == "done" {
				t.Errorf("something was done: %+v", l)
			}
		}
		// The node whose nonce it is has gone; somebody else says that its proof is fresh.
		orphan := h.proof(http.MethodGet, path)
		b.Stop()
		if w := send(a, orphan); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), `error="use_dpop_nonce"`) {
			t.Errorf("a proof that a stranger has vouched for: %d %v", w.Code, w.Header())
		}
	})
}
