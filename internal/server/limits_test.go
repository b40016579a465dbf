package server_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// hours is a clock that a test puts forward.
type hours struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (h *hours) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.ahead)
}

func (h *hours) forward(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ahead += d
}

var (
	tableRow   = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`)
	rateInText = regexp.MustCompile(`^(one|[0-9]+) (?:a|an|in) (?:([0-9]+) )?(second|minute|hour|day)s?$`)
)

// told reads a limit as a document says it.
func told(t *testing.T, text string) (limit int, window time.Duration) {
	t.Helper()
	if text == "none" {
		return 0, 0
	}
	m := rateInText.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("the limit %q cannot be read", text)
	}
	limit, many := 1, 1
	if m[1] != "one" {
		limit, _ = strconv.Atoi(m[1])
	}
	if m[2] != "" {
		many, _ = strconv.Atoi(m[2])
	}
	return limit, time.Duration(many) * map[string]time.Duration{
		"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour,
	}[m[3]]
}

// The tables of limits say what is enforced: for new agents and for others every
// act is done as often as the document says and not once more, until the time is
// over that the document says.
func TestDocumentsTellTheLimitsThatAreEnforced(t *testing.T) {
	h := &hours{}
	cfg := servertest.Config(t, store.SQLite)
	cfg.Clock, cfg.Limits, cfg.NewAgent, cfg.Heartbeat = h.clock, "moltbook", 2*time.Hour, 45*time.Minute
	cfg.Quotas = []string{
		"post=3/10m", "post.new=2/40m", "comment=4/90s", "comment.new=off", "comment-day=off", "comment-day.new=off",
		"community=2/1h", "community.new=0/1h", "search=5/1m", "vote=6/1h", "vote.new=1/1h", "copies=2/24h",
	}
	r := &reader{Server: servertest.Start(t, cfg)}
	skill, rules := string(fetch(t, r.Server, "/skill.md")), string(fetch(t, r.Server, "/rules.md"))
	rows := make(map[string][2]string) // for new agents and for others
	for _, m := range tableRow.FindAllStringSubmatch(skill[strings.Index(skill, "\n## Limits"):], -1) {
		rows[m[1]] = [2]string{m[3], m[2]}
	}
	for _, m := range tableRow.FindAllStringSubmatch(rules[strings.Index(rules, "\n## New here"):strings.Index(rules, "\n## What happens")], -1)[2:] {
		if row := rows[m[1]]; row != [2]string{m[2], m[3]} || m[2] == m[3] {
			t.Errorf("rules.md says of %s %q and %q, skill.md %q", m[1], m[2], m[3], row)
		}
	}
	for name, text := range map[string]string{"skill.md": skill, "rules.md": rules} {
		if !strings.Contains(text, "or 2 hours after") {
			t.Errorf("%s does not say how long an agent is new", name)
		}
	}
	if !strings.Contains(string(fetch(t, r.Server, "/heartbeat.md")), "Do this every 45 minutes, ") {
		t.Error("heartbeat.md does not say the configured heartbeat")
	}

	_, author := r.newcomer(t)
	posts := make([]string, 8) // to vote and comment on
	for i := range posts {
		h.forward(time.Hour)
		r.made++
		posts[i] = idOf(r.must(t, http.MethodPost, "/api/v1/posts", author, map[string]string{
			"submolt_name": "general", "title": "On " + agentNameOf(r.made), "content": "What I found out about " + agentNameOf(r.made),
		}), "post")
	}
	say := func(key, text string) servertest.Answer {
		return r.Call(t, http.MethodPost, "/api/v1/posts/"+posts[0]+"/comments", key, map[string]string{"content": text})
	}
	other := func() string { // a text that is not like another
		r.made++
		return "Something else to think about: " + agentNameOf(r.made)
	}
	acts := map[string]func(key string, i int) servertest.Answer{
		"posts": func(key string, _ int) servertest.Answer {
			return r.Call(t, http.MethodPost, "/api/v1/posts", key, map[string]string{"submolt_name": "general", "title": other(), "content": other()})
		},
		"comments": func(key string, _ int) servertest.Answer { return say(key, other()) },
		"the same text, by one agent in one submolt": func(key string, _ int) servertest.Answer {
			return say(key, "A text that is said again and again, word by word.")
		},
		"submolts": func(key string, _ int) servertest.Answer {
			r.made++
			return r.Call(t, http.MethodPost, "/api/v1/submolts", key, map[string]string{"name": "on-" + agentNameOf(r.made), "display_name": "On", "description": "x"})
		},
		"searches": func(key string, _ int) servertest.Answer {
			return r.Call(t, http.MethodGet, "/api/v1/search?q=found", key, nil)
		},
		"votes": func(key string, i int) servertest.Answer {
			return r.Call(t, http.MethodPost, "/api/v1/posts/"+posts[i%len(posts)]+"/upvote", key, nil)
		},
		"reads": func(key string, _ int) servertest.Answer {
			return r.Call(t, http.MethodGet, "/api/v1/agents/me", key, nil)
		},
	}
	for what, do := range acts {
		row, there := rows[what]
		if !there {
			t.Errorf("skill.md has no limit of %s", what)
			continue
		}
		for age, text := range row {
			h.forward(24 * time.Hour) // what others did counts no more
			_, key := r.newcomer(t)
			if age == 1 {
				h.forward(2*time.Hour + time.Minute)
			}
			limit, window := told(t, text)
			for i := range limit {
				if a := do(key, i); a.Status/100 != 2 {
					t.Errorf("%s, %q: number %d is answered %d %s", what, text, i+1, a.Status, a.Raw)
				}
			}
			a := do(key, limit)
			wait, _ := a.JSON["retry_after_seconds"].(float64)
			switch {
			case limit == 0:
				if a.Status != http.StatusForbidden {
					t.Errorf("%s, %q: answered %d %s", what, text, a.Status, a.Raw)
				}
				continue
			case a.Status != http.StatusTooManyRequests || wait <= 0 || wait > window.Seconds()+1:
				t.Errorf("%s, %q: one more is answered %d %s", what, text, a.Status, a.Raw)
			}
			h.forward(window + time.Second)
			if a := do(key, limit+1); a.Status/100 != 2 {
				t.Errorf("%s, %q: after the window the answer is %d %s", what, text, a.Status, a.Raw)
			}
		}
	}
	for _, what := range []string{"writes of all kinds", "messages", "uploads", "webhooks", "answers to challenges", "registrations and mails, from one address"} {
		if _, there := rows[what]; !there {
			t.Errorf("skill.md has no limit of %s", what)
		}
	}
	if rows["messages"] != [2]string{"none", "30 a minute"} {
		t.Errorf("messages: %q", rows["messages"])
	}

	open := servertest.Start(t, servertest.Config(t, store.SQLite))
	if text := string(fetch(t, open, "/skill.md")); !strings.Contains(text, "This network has no limits of rate.") || strings.Contains(text, "<no value>") {
		t.Error("a network without limits does not say so")
	}
}
