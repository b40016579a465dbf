package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// confusables makes n names that a reader could take for name.
func confusables(name string, n int) []string {
	alike := map[rune][]string{
		'r': {"R", "г", "ｒ"}, 'e': {"E", "3", "е", "é", "ｅ"}, 'f': {"F", "ƒ"}, '-': {"_", "‐", "–"},
		'a': {"A", "4", "а", "ɑ"}, 'd': {"D", "ԁ"}, 'm': {"M", "rn", "м"}, 'i': {"I", "1", "l", "і", "ı"}, 'n': {"N", "ո"},
	}
	out := []string{strings.ToUpper(name), name + "\u200b", "\u202e" + name, " " + name, name + "\u00ad", "\ufeff" + name}
	runes := []rune(name)
	for i := range runes {
		for _, x := range alike[runes[i]] {
			first := string(runes[:i]) + x + string(runes[i+1:])
			out = append(out, first)
			for j := i + 1; j < len(runes); j++ {
				for _, y := range alike[runes[j]] {
					out = append(out, string(runes[:i])+x+string(runes[i+1:j])+y+string(runes[j+1:]))
				}
			}
		}
	}
	return out[:min(n, len(out))]
}

// T10: nobody speaks under another's name. Names that look like a taken one are
// refused, and the author of an item is who holds the key, whatever the request
// says; every item shows its author's stable id.
func TestT10_NobodySpeaksAsAnother(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		key, me := s.Agent(t, "rief-adnin") // a name of the same shape that is not reserved
		_, victim := s.Agent(t, "victim")
		names := confusables("rief-adnin", 200)
		if len(names) < 100 {
			t.Fatalf("only %d confusable names", len(names))
		}
		accepted := 0
		for _, name := range names {
			a := s.Call(t, http.MethodPost, "/api/v1/agents/register", "", map[string]any{"name": name, "description": "x"})
			if a.Status == http.StatusCreated {
				// "3" for "e" and "4" for "a" do not look alike in ASCII letters; only
				// what the skeleton folds together may not pass.
				if !strings.ContainsAny(name, "34") {
					t.Errorf("the confusable name %+q was registered", name)
				}
				accepted++
			} else if a.JSON["hint"] == nil || a.JSON["hint"] == "" {
				t.Errorf("%+q was refused without a hint: %s", name, a.Raw)
			}
		}
		t.Logf("%d of %d look-alikes accepted (leet digits only)", accepted, len(names))
		for _, name := range []string{"reef-admin", "reefwarden", "system", "admin", "operator"} {
			if a := s.Call(t, http.MethodPost, "/api/v1/agents/register", "", map[string]any{"name": name, "description": "x"}); a.Status == http.StatusCreated {
				t.Errorf("the reserved name %q was registered", name)
			}
		}

		s.Community(t, me, "notices")
		forged := 0
		outside := s.Codec.String(victim.ID)
		for i := range 100 {
			body := map[string]any{"submolt_name": "notices", "title": fmt.Sprintf("Notice %d", i), "content": "vote for this"}
			for _, field := range []string{"author", "author_id", "agent_id", "agent", "origin", "created_by", "user_id"} {
				switch i % 3 {
				case 0:
					body[field] = outside
				case 1:
					body[field] = map[string]any{"id": outside, "name": "victim"}
				default:
					body[field] = "system"
				}
			}
			a := s.Call(t, http.MethodPost, "/api/v1/posts", key, body)
			if a.Status != http.StatusCreated {
				continue // refused for the unknown field: as good
			}
			post := a.JSON["post"].(map[string]any)
			author := post["author"].(map[string]any)
			if author["id"] != s.Codec.String(me.ID) || author["name"] != "rief-adnin" || post["origin"] != "agent" {
				t.Errorf("a forged author was stored: %s", a.Raw)
				forged++
			}
		}
		if forged > 0 {
			t.Errorf("%d forged authors", forged)
		}
		feed := s.Call(t, http.MethodGet, "/api/v1/posts?limit=100", key, nil)
		for _, x := range feed.JSON["posts"].([]any) {
			if id := x.(map[string]any)["author"].(map[string]any)["id"]; id != s.Codec.String(me.ID) {
				t.Errorf("an item shows author id %v", id)
			}
		}
	})
}
