package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What a policy has redacted is shown without what it says, on every page that shows it,
// and its showing is on record as one of that sort; the author reads it whole.
func TestRedactedShowings(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ada, _ := s.Agent(t, "ada")
		bob, reader := s.Agent(t, "bob")
		made := s.Call(t, http.MethodPost, "/api/v1/posts", ada, map[string]any{"submolt": "general", "title": "a plum title", "content": "plums are canned"})
		post, _ := made.JSON["post"].(map[string]any)["id"].(string)
		if said := s.Call(t, http.MethodPost, "/api/v1/posts/"+post+"/comments", ada, map[string]any{"content": "more plums"}); said.Status != http.StatusCreated {
			t.Fatalf("%d %s", said.Status, said.Raw)
		}
		amend(t, s, `@id("redact") @redact("content")
permit (principal == Agent::"`+s.Codec.String(reader.ID)+`", action in [Action::"post.read", Action::"feed.read", Action::"comment.list", Action::"search.run"], resource)
when { resource.lineage == "none" };`)
		for _, path := range []string{"/api/v1/posts/" + post, "/api/v1/posts?sort=new", "/api/v1/posts/" + post + "/comments", "/api/v1/search?q=plums"} {
			hidden, whole := s.Call(t, http.MethodGet, path, bob, nil), s.Call(t, http.MethodGet, path, ada, nil)
			if hidden.Status != http.StatusOK || strings.Contains(string(hidden.Raw), "plum") && !strings.Contains(path, "search") || strings.Contains(string(hidden.Raw), "canned") || !strings.Contains(string(hidden.Raw), gate.Redacted) {
				t.Errorf("%s shows the reader %d %s", path, hidden.Status, hidden.Raw)
			}
			if !strings.Contains(string(whole.Raw), "plum") || strings.Contains(string(whole.Raw), gate.Redacted) {
				t.Errorf("%s shows the author %s", path, whole.Raw)
			}
		}
		var channels []string
		if err := s.DB.View(t.Context(), func(v *store.View) error {
			return provenance.Exposures(v, reader.ID, func(x provenance.Exposure) error {
				channels = append(channels, x.Channel)
				return nil
			})
		}); err != nil {
			t.Fatal(err)
		}
		// What is shown again is counted, not listed: the feed and the search showed what the
		// reader had been shown.
		for _, want := range []string{"post.read/redacted", "comment.list/redacted"} {
			if !slices.Contains(channels, want) {
				t.Errorf("%s is not among the showings %q", want, channels)
			}
		}
		if slices.ContainsFunc(channels, func(c string) bool { return !strings.HasSuffix(c, "/redacted") }) {
			t.Errorf("a whole showing is among %q", channels)
		}
	})
}

// A token that policy attenuates ends when the policy says, and so does what is carved
// out of it.
func TestAttenuatedTokens(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		m := enrol(t, s, "short", token.EdDSA)
		if life := lifeOf(t, hold(t, s, m, "*").token); life <= time.Minute {
			t.Fatalf("a token lives %s without the policy", life)
		}
		amend(t, s, `@id("brief") @attenuate("ttl=60s")
permit (principal is Agent, action in [Action::"token.issue", Action::"token.exchange"], resource) when { resource.own };
@id("less-brief") @attenuate("ttl=2m")
permit (principal is Agent, action == Action::"token.issue", resource) when { resource.own };`)
		if life := lifeOf(t, hold(t, s, m, "*").token); life <= 0 || life > time.Minute {
			t.Errorf("a token lives %s with the policy", life)
		}
	})
}

// lifeOf is how long an access token lives, by its own word.
func lifeOf(t *testing.T, text string) time.Duration {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Iat, Exp int64
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return time.Duration(claims.Exp-claims.Iat) * time.Second
}

// Operators are told of what a policy names by an event of its own, in the act's
// transaction; the agent hears nothing of it.
func TestNotifiedOperators(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ada, p := s.Agent(t, "ada")
		amend(t, s, `@id("tell") @notify("operators")
permit (principal is Agent, action == Action::"post.create", resource) when { principal.standing == "active" };`)
		if made := s.Call(t, http.MethodPost, "/api/v1/posts", ada, map[string]any{"submolt": "general", "title": "t", "content": "c"}); made.Status != http.StatusCreated {
			t.Fatalf("%d %s", made.Status, made.Raw)
		}
		told := slices.DeleteFunc(leaves(t, s), func(l audit.Leaf) bool { return l.Act != gate.NotifyAct })
		if len(told) != 1 || told[0].Reason != "post.create" {
			t.Fatalf("%d notices on record: %+v", len(told), told)
		}
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if all := s.Call(t, http.MethodGet, "/v1/events?act="+gate.NotifyAct, s.Token, nil); all.Status != http.StatusOK || strings.Count(string(all.Raw), `"`+gate.NotifyAct+`"`) != 1 {
			t.Errorf("operators are told %d %s", all.Status, all.Raw)
		}
		if own := s.Call(t, http.MethodGet, "/v1/events", ada, nil); own.Status != http.StatusOK || strings.Contains(string(own.Raw), gate.NotifyAct) {
			t.Errorf("the agent %s is told %d %s", p.Name, own.Status, own.Raw)
		}
	})
}

// Policies decide by whose content it is, and by what its author is to the agent.
func TestPoliciesSeeTheAuthor(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ada, _ := s.Agent(t, "ada")
		bob, _ := s.Agent(t, "bob")
		made := s.Call(t, http.MethodPost, "/api/v1/posts", ada, map[string]any{"submolt": "general", "title": "t", "content": "c"})
		post, _ := made.JSON["post"].(map[string]any)["id"].(string)
		vote := func(key string) int {
			return s.Call(t, http.MethodPost, "/api/v1/posts/"+post+"/upvote", key, nil).Status
		}
		amend(t, s, `@id("not-oneself") forbid (principal is Agent, action == Action::"vote.cast", resource) when { resource.lineage == "self" };`)
		if own, other := vote(ada), vote(bob); own != http.StatusForbidden || other/100 != 2 {
			t.Errorf("a vote for oneself is answered with %d, another's with %d", own, other)
		}
		amend(t, s, `@id("not-theirs") forbid (principal is Agent, action == Action::"post.read", resource) when { resource.author_age == "new" && resource.lineage != "self" };`)
		if own, other := s.Call(t, http.MethodGet, "/api/v1/posts/"+post, ada, nil), s.Call(t, http.MethodGet, "/api/v1/posts/"+post, bob, nil); own.Status != http.StatusOK || other.Status != http.StatusForbidden {
			t.Errorf("the author reads with %d, another with %d %s", own.Status, other.Status, other.Raw)
		}
	})
}

// The schema is for operators, and tells of every act that is registered.
func TestPublishedSchema(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, _ := s.Agent(t, "ada")
	if a := s.Call(t, http.MethodGet, "/v1/policy/schema", key, nil); a.Status != http.StatusForbidden {
		t.Errorf("an agent gets %d", a.Status)
	}
	a := s.Call(t, http.MethodGet, "/v1/policy/schema", s.Token, nil)
	text, _ := a.JSON["cedar"].(string)
	namespaces, _ := a.JSON["json"].(map[string]any)
	whole, _ := namespaces[""].(map[string]any)
	actions, _ := whole["actions"].(map[string]any)
	if a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Raw)
	}
	for _, i := range s.Gate.Acts() {
		if !strings.Contains(text, `action "`+i.Name+`" appliesTo`) || actions[i.Name] == nil {
			t.Errorf("%s is not in both forms", i.Name)
		}
	}
	if got := s.Policy.Decide(act.Principal{}, gate.Question{Act: "policy.schema"}); got.Allow {
		t.Errorf("a stranger may read it: %+v", got)
	}
}
