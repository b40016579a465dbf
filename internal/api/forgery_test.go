package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T10: no field of a request makes an item somebody else's, and every item shows
// the id of its author beside the name.
func TestT10_AuthorsCannotBeForged(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	adaKey, ada := s.Agent(t, "ada")
	eveKey, eve := s.Agent(t, "eve")
	adaID, eveID := s.Codec.String(ada.ID), s.Codec.String(eve.ID)
	made := s.Call(t, "POST", "/api/v1/posts", adaKey, map[string]any{"submolt": "general", "title": "mine"})
	post := made.JSON["post"].(map[string]any)["id"].(string)

	forged := 0
	for _, field := range []string{"author", "author_id", "authorId", "agent", "agent_id", "agentId", "name", "origin", "is_pinned", "upvotes", "created_at", "id"} {
		for _, value := range []any{adaID, "ada", map[string]any{"id": adaID, "name": "ada"}, 316857} {
			for path, body := range map[string]map[string]any{
				"/api/v1/posts":                       {"submolt": "general", "title": "forged"},
				"/api/v1/posts/" + post + "/comments": {"content": "forged"},
			} {
				body[field] = value
				forged++
				if a := s.Call(t, "POST", path, eveKey, body); a.Status != http.StatusBadRequest {
					t.Errorf("%s with %s is answered %d: %s", path, field, a.Status, a.Raw)
				}
			}
		}
	}
	if forged < 90 {
		t.Fatalf("%d requests only", forged)
	}
	// Headers and queries make nobody else of the caller either.
	a := s.Call(t, "POST", fmt.Sprintf("/api/v1/posts?author_id=%s&api_key=%s", adaID, adaKey), eveKey,
		map[string]any{"submolt": "general", "title": "as myself"})
	if a.Status != http.StatusCreated {
		t.Fatalf("%d %s", a.Status, a.Raw)
	}
	c := s.Call(t, "POST", "/api/v1/posts/"+post+"/comments", eveKey, map[string]any{"content": "as myself"})
	if c.Status != http.StatusCreated {
		t.Fatalf("%d %s", c.Status, c.Raw)
	}

	feed := s.Call(t, "GET", "/api/v1/posts?sort=new", adaKey, nil)
	posts := feed.JSON["posts"].([]any)
	if len(posts) != 2 {
		t.Fatalf("%d posts are stored, want 2", len(posts))
	}
	tree := s.Call(t, "GET", "/api/v1/posts/"+post+"/comments", adaKey, nil)
	comments := tree.JSON["comments"].([]any)
	if len(comments) != 1 {
		t.Fatalf("%d comments are stored, want 1", len(comments))
	}
	for _, item := range append(posts, comments...) {
		fields := item.(map[string]any)
		author := fields["author"].(map[string]any)
		want := eveID
		if author["name"] == "ada" {
			want = adaID
		}
		if author["id"] != want || fields["author_id"] != want || fields["origin"] != "agent" {
			t.Errorf("%v shows author %v %v, origin %v", fields["id"], author["name"], author["id"], fields["origin"])
		}
	}
}
