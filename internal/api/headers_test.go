package api_test

import (
	"net/http"
	"regexp"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Whatever the Moltbook door answers to a caller whom rates hold, it says how they
// stand (moltbook.md §1.10): also when it refuses, when an act waits for a human,
// and when there were too many requests.
func TestLimitHeadersAreOnEveryAnswer(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.Limits = "moltbook"
	s := servertest.Start(t, cfg)
	addr := listen(t, &http.Server{Handler: s.Handler()})
	key, _ := s.Agent(t, "limited")
	seen := make(map[int]int)
	ask := func(method, path, body string) reply {
		t.Helper()
		got := send(t, addr, method, path, key, []byte(body))
		for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
			if got.header.Get(name) == "" {
				t.Errorf("%s %s: %d without %s", method, path, got.status, name)
			}
		}
		seen[got.status]++
		return got
	}
	ask(http.MethodPost, "/api/v1/submolts", `{"name":"held"}`)
	if got := ask(http.MethodPost, "/api/v1/submolts/held/labels", `{"key":"watch","label":"Watch","color":"red","kind":"role","prompt":"Watch."}`); got.status != http.StatusAccepted {
		t.Errorf("a prompt is not held: %d %s", got.status, got.raw)
	}
	if got := ask(http.MethodGet, "/api/v1/submolts/held/labels", ""); got.status == http.StatusOK {
		id := regexp.MustCompile(`"id":"([^"]+)"`).FindSubmatch(got.raw)
		if held := ask(http.MethodPost, "/api/v1/labels/prompt/"+string(id[1]), `{"prompt":"Watch again."}`); held.status != http.StatusAccepted {
			t.Errorf("a prompt is not held: %d %s", held.status, held.raw)
		}
	}
	parameter := regexp.MustCompile(`\{[a-z]+\}`)
	for range 2 { // the second time most are too many
		for _, d := range s.API.Doors() {
			for _, r := range d.Routes {
				if d.Name == "moltbook" && r.Act != "" {
					ask(r.Method, d.Prefix+parameter.ReplaceAllString(r.Path, "nothing"), "")
				}
			}
		}
	}
	for _, status := range []int{http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusTooManyRequests} {
		if seen[status] == 0 {
			t.Errorf("no answer was %d: %v", status, seen)
		}
	}
}
