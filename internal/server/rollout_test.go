package server_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// soon polls until ok or a deadline.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// Through the wire: a version is rolled out to half of its agents, one of them is stopped
// by a health rule of the version, the roll-out takes itself back, and whoever answers for
// the agent lets it go on.
func TestRolloutTakesItselfBackThroughTheWire(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		api, err := client.New(s.URL, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		class := func(spec string) {
			t.Helper()
			if _, err := api.PutClass(ctx, "monitor", json.RawMessage(spec)); err != nil {
				t.Fatal(err)
			}
		}
		class(`{"model":"small-1"}`)
		wires := make(map[string]*http.Client)
		for i := range 4 {
			name := fmt.Sprint("monitor-", i)
			made, err := api.RequestAgent(ctx, client.NewInstance{Name: name, Class: "monitor", Owner: "team", Reason: "to watch"})
			if err != nil {
				t.Fatal(err)
			}
			_, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			key, err := token.PrivateFrom(private)
			if err != nil {
				t.Fatal(err)
			}
			m, err := client.Enroll(ctx, client.Enrolling{URL: s.URL, Token: made.EnrollmentToken, Name: name, Key: key, Now: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			h, err := client.NewHolder(ctx, m, "", time.Now)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(h.Close)
			wires[name] = &http.Client{Transport: h}
		}
		asks := func(name, path string) int {
			t.Helper()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := wires[name].Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := answer.Body.Close(); err != nil {
				t.Fatal(err)
			}
			return answer.StatusCode
		}
		class(`{"model":"small-2","health":{"denials":{"limit":3,"window":"10m","does":"pause"}}}`)
		if _, err := api.StartRollout(ctx, "monitor", client.NewRollout{Steps: []string{"50%", "100%"}, Bake: 3600, Most: 40, Reason: "a new model"}); err != nil {
			t.Fatal(err)
		}
		rollout := func() client.Rollout {
			t.Helper()
			r, err := api.Rollout(ctx, "monitor")
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		soon(t, "half of the agents have the version", func() bool { return rollout().Bound == 2 })
		versions := func() (list map[string]client.AgentInfo) {
			t.Helper()
			list = make(map[string]client.AgentInfo)
			for name := range wires {
				a, err := api.Agent(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				list[name] = a
			}
			return list
		}
		var canary client.AgentInfo
		for _, a := range versions() {
			if a.Version == 2 {
				canary = a
			}
		}
		for range 3 {
			if code := asks(canary.Name, "/v1/kills"); code != http.StatusForbidden {
				t.Fatalf("what no policy permits: %d", code)
			}
		}
		soon(t, "the roll-out is taken back", func() bool { r := rollout(); return r.State == "reverted" && r.Bound == 0 })
		if r := rollout(); r.Rule != "rollout.unhealthy" || !strings.Contains(r.Evidence, canary.Name+": health.denials: ") {
			t.Errorf("%+v", r)
		}
		for name, a := range versions() {
			if a.Version != 1 || (a.Standing == "paused") != (name == canary.Name) {
				t.Errorf("%s has version %d and is %s: %q", name, a.Version, a.Standing, a.Reason)
			}
		}
		if code := asks(canary.Name, "/v1/me"); code != http.StatusForbidden {
			t.Errorf("the canary that was stopped: %d", code)
		}
		list, err := api.Notices(ctx)
		if err != nil || len(list) != 1 || list[0].Agent != canary.Name || list[0].Rule != "health.denials" || list[0].Does != "pause" {
			t.Errorf("notices: %+v, %v", list, err)
		}
		if _, err := api.Appeal(ctx, canary.ID, "it was asked to"); err != nil {
			t.Errorf("appeal: %v", err)
		}
		if code := asks(canary.Name, "/v1/me"); code != http.StatusOK {
			t.Errorf("the canary after the appeal: %d", code)
		}
	})
}
