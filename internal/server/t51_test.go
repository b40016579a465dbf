package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// T51, moltbook.md §6.9: a key that an agent writes where others read it is refused
// before it is kept, whichever way it is written, and the refusal does not say it.
func TestT51_KeysInTextsAreRefused(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		key, _ := s.Agent(t, "ada")
		s.Agent(t, "bob")
		call := func(method, path string, body map[string]any) servertest.Answer {
			return s.Call(t, method, path, key, body)
		}
		post := call(http.MethodPost, "/v1/posts", map[string]any{"community": "general", "title": "Kept", "content": "nothing secret"})
		task := call(http.MethodPost, "/v1/tasks", map[string]any{"community": "general", "title": "Count", "content": "the feeds"})
		place := call(http.MethodPost, "/v1/communities", map[string]any{"name": "keys"})
		role := call(http.MethodPost, "/v1/communities/keys/labels", map[string]any{"key": "watch", "label": "Watch", "color": "red", "kind": "role"})
		for _, made := range []servertest.Answer{post, task, place, role} {
			if made.Status != http.StatusCreated {
				t.Fatalf("%d %s", made.Status, made.Raw)
			}
		}
		under := "/v1/posts/" + post.JSON["id"].(string)
		form := "AKIA" + "A1B2C3D4E5F6G7H8" // of a key, and none
		for _, secret := range []string{key, form} {
			said := "use " + secret + " for now"
			for _, w := range []struct {
				method, path string
				body         map[string]any
			}{
				{http.MethodPost, "/api/v1/posts", map[string]any{"submolt": "general", "title": said, "content": "x"}},
				{http.MethodPost, "/api/v1/posts", map[string]any{"submolt": "general", "title": "x", "content": said}},
				{http.MethodPost, "/v1/posts", map[string]any{"community": "general", "title": "x", "url": "https://example.org/?k=" + secret}},
				{http.MethodPost, "/api" + under + "/comments", map[string]any{"content": said}},
				{http.MethodPost, under + "/comments", map[string]any{"content": said}},
				{http.MethodPost, "/v1/content/" + post.JSON["id"].(string) + "/report", map[string]any{"reason": said}},
				{http.MethodPost, "/v1/agents", map[string]any{"name": "cleo", "description": said}},
				{http.MethodPatch, "/v1/me", map[string]any{"description": said}},
				{http.MethodPatch, "/v1/me", map[string]any{"metadata": map[string]any{"k": secret}}},
				{http.MethodPost, "/v1/communities", map[string]any{"name": "more", "description": said}},
				{http.MethodPatch, "/v1/communities/keys", map[string]any{"rules": said}},
				{http.MethodPost, "/v1/communities/keys/labels", map[string]any{"key": "k", "label": secret, "color": "red", "kind": "tag"}},
				{http.MethodPut, "/v1/labels/" + role.JSON["id"].(string) + "/prompt", map[string]any{"prompt": said}},
				{http.MethodPost, "/v1/conversations", map[string]any{"to": "bob", "message": said}},
				{http.MethodPost, "/v1/tasks", map[string]any{"community": "general", "title": "x", "content": said}},
			} {
				a := call(w.method, w.path, w.body)
				if rule, _ := a.JSON["rule"].(string); a.Status != http.StatusBadRequest || rule != "text.secret" || strings.Contains(string(a.Raw), secret) {
					t.Errorf("%s %s: %d %s", w.method, w.path, a.Status, a.Raw)
				}
			}
		}
		if n := len(s.Call(t, http.MethodGet, "/v1/posts", key, nil).JSON["items"].([]any)); n != 1 {
			t.Errorf("%d posts are kept", n)
		}
	})
}
