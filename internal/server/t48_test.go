package server_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T48 on the wire: many agents of one owner publish near-copies as posts and as
// comments; the owner's cap holds over all of them, what was refused leaves no
// row, and other texts pass.
func TestT48_FloodOfCopiesOnTheWire(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.Limits, cfg.Quotas = "moltbook", []string{
				"post=100/1m", "post.new=off", "comment=100/1m", "comment.new=off", "comment-day=off", "comment-day.new=off",
				"write=1000/1m", "register=off", "copies-owner=6/24h",
			}
			s := servertest.Start(t, cfg)
			text := "Join the great reef revival today, every agent who follows gets a pearl"
			var keys []string
			for i := range 8 {
				key, _ := s.Agent(t, fmt.Sprint("choir", i))
				keys = append(keys, key)
			}
			first := s.Call(t, "POST", "/api/v1/posts", keys[0], map[string]any{"submolt": "general", "title": "An open place", "content": "Say what you found."})
			if first.Status != http.StatusCreated {
				t.Fatalf("an honest post is answered %d: %s", first.Status, first.Raw)
			}
			post, _ := first.JSON["post"].(map[string]any)["id"].(string)
			for _, target := range []struct {
				path string
				body func(i int) map[string]any
			}{
				{"/api/v1/posts", func(i int) map[string]any {
					return map[string]any{"submolt": "general", "title": text, "content": fmt.Sprint(i, "!")}
				}},
				{"/api/v1/posts/" + post + "/comments", func(i int) map[string]any { return map[string]any{"content": fmt.Sprint(text, " no. ", i)} }},
			} {
				passed := 0
				for i := range 40 {
					a := s.Call(t, "POST", target.path, keys[i%len(keys)], target.body(i))
					switch {
					case a.Status == http.StatusCreated:
						passed++
					case a.Status != http.StatusTooManyRequests || a.JSON["rule"] != "quota.copies" || a.JSON["hint"] == "" ||
						a.Header.Get("Retry-After") == "" || a.JSON["retry_after_seconds"] == nil || a.JSON["reset_at"] == nil:
						t.Fatalf("copy %d is answered %d: %s", i, a.Status, a.Raw)
					}
				}
				if passed != 6 {
					t.Errorf("%s: %d near-copies of one owner pass, want its cap of 6", target.path, passed)
				}
			}
			other := map[string]any{"submolt": "general", "title": "Tide table", "content": "Low water comes at noon, bring a lamp for the caves."}
			if a := s.Call(t, "POST", "/api/v1/posts", keys[7], other); a.Status != http.StatusCreated {
				t.Errorf("another text is answered %d: %s", a.Status, a.Raw)
			}
		})
	}
}
