package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

var digits = regexp.MustCompile(`\d+`)

// solve works a challenge out as an agent would: it takes the noise out of the
// words and looks for what is asked.
func solve(t *testing.T, text string) float64 {
	t.Helper()
	numbers := digits.FindAllString(text, -1)
	if len(numbers) != 2 {
		t.Fatalf("no two numbers in %q", text)
	}
	a, _ := strconv.ParseFloat(numbers[0], 64)
	b, _ := strconv.ParseFloat(numbers[1], 64)
	var words strings.Builder
	var last rune
	for _, c := range strings.ToLower(text) {
		if c >= 'a' && c <= 'z' && c != last {
			words.WriteRune(c)
			last = c
		}
	}
	for word, answer := range map[string]float64{"lobster": a + b, "peb": a - b, "shelter": a * b, "curent": a / b} {
		if strings.Contains(words.String(), word) {
			return answer
		}
	}
	t.Fatalf("what is asked in %q (%s)?", text, words.String())
	return 0
}

// Content that is challenged is published when its agent has answered, and has
// the id then that the answer says.
func TestChallengeEndToEnd(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.Challenge = true
			s := servertest.Start(t, cfg)
			key, agent := s.Agent(t, "ada")
			for i := range soak(20, 400) {
				a := s.Call(t, http.MethodPost, "/api/v1/posts", key, map[string]any{"submolt": "general", "title": fmt.Sprint(i), "content": "c"})
				v, _ := a.JSON["verification"].(map[string]any)
				if a.Status != http.StatusCreated || a.JSON["verification_required"] != true || v == nil {
					t.Fatalf("%d %s", a.Status, a.Raw)
				}
				var answer any = solve(t, v["challenge_text"].(string))
				if i%2 == 0 {
					answer = fmt.Sprintf("%.2f", answer)
				}
				body := map[string]any{"verification_code": v["code"], "answer": answer}
				x := s.Call(t, http.MethodPost, "/api/v1/verify", key, body)
				if x.Status != http.StatusOK || x.JSON["success"] != true || x.JSON["content_type"] != "post" {
					t.Fatalf("%q answered with %v: %d %s", v["challenge_text"], answer, x.Status, x.Raw)
				}
				if p := s.Call(t, http.MethodGet, "/api/v1/posts/"+x.JSON["content_id"].(string), key, nil); p.Status != http.StatusOK {
					t.Fatalf("what was published is not there: %d %s", p.Status, p.Raw)
				}
				if again := s.Call(t, http.MethodPost, "/api/v1/verify", key, body); again.Status != http.StatusConflict {
					t.Errorf("a code works twice: %d %s", again.Status, again.Raw)
				}
				if n := len(posts(t, s, agent)); n != min(i+1, 25) {
					t.Fatalf("%d posts after %d answers", n, i+1)
				}
			}
			// A comment is published under its post, and a community too.
			post := posts(t, s, agent)[0]
			a := s.Call(t, http.MethodPost, "/api/v1/posts/"+s.Codec.String(post.ID)+"/comments", key, map[string]any{"content": "mine"})
			v := a.JSON["comment"].(map[string]any)["verification"].(map[string]any)
			x := s.Call(t, http.MethodPost, "/api/v1/verify", key, map[string]any{"code": v["verification_code"], "answer": solve(t, v["challenge"].(string))})
			if x.Status != http.StatusOK || x.JSON["content_type"] != "comment" {
				t.Errorf("comment: %d %s", x.Status, x.Raw)
			}

			// The same on the native wire, where a held act says what it waits for.
			h := s.Call(t, http.MethodPost, "/v1/posts", key, map[string]any{"community": "general", "title": "native", "content": "c"})
			question, _ := h.JSON["question"].(string)
			if h.Status != http.StatusAccepted || h.JSON["demand"] != gate.Challenge || question == "" {
				t.Fatalf("native: %d %s", h.Status, h.Raw)
			}
			answer := "/v1/approvals/" + h.JSON["approval_id"].(string) + "/answer"
			right := solve(t, question)
			if w := s.Call(t, http.MethodPost, answer, key, map[string]any{"answer": right + 1}); w.Status != http.StatusBadRequest || w.JSON["rule"] != "challenge.wrong" {
				t.Errorf("native: a wrong answer: %d %s", w.Status, w.Raw)
			}
			y := s.Call(t, http.MethodPost, answer, key, map[string]any{"answer": right})
			made, _ := y.JSON["made"].(map[string]any)
			if y.Status != http.StatusOK || y.JSON["state"] != "executed" || made["kind"] != "post" {
				t.Fatalf("native: %d %s", y.Status, y.Raw)
			}
			if p := s.Call(t, http.MethodGet, "/v1/posts/"+made["id"].(string), key, nil); p.Status != http.StatusOK || p.JSON["title"] != "native" {
				t.Errorf("native: what was published is not there: %d %s", p.Status, p.Raw)
			}
		})
	}
}

// T08: an exhaustive walk of the states that keep an agent from acting. Each
// refusal names its rule, and where time or an act ends it, when and how; after
// that the agent acts. Only killed, which an operator does by name and with a
// reason, has no way out.
func TestT08_NoSanctionIsForEver(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) { walkSanctions(t, d) })
	}
}

func walkSanctions(t *testing.T, d store.Dialect) {
	var ahead atomic.Int64
	cfg := servertest.Config(t, d)
	cfg.Challenge, cfg.Claim, cfg.AutoClaim = true, true, ""
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := servertest.Start(t, cfg)
	ctx := context.Background()
	op := operator(t, s)
	_, agent := s.Agent(t, "ada")

	titles := 0
	ask := func() error {
		titles++
		_, err := s.Network.CreatePost.Do(ctx, agent, network.NewPost{Community: "general", Title: fmt.Sprint(titles), Content: "c"})
		return err
	}
	waits := func() *gate.Pending {
		t.Helper()
		var w *gate.Pending
		eventually(t, "a challenge can be had", func() (ok bool) { // a clock that jumps outruns the node's id reservation for a while
			w, ok = errors.AsType[*gate.Pending](ask())
			return ok
		})
		return w
	}
	acts := func(state string) {
		t.Helper()
		w := waits()
		before := len(posts(t, s, agent))
		answered, err := s.Lifecycle.Answer(ctx, agent, gate.Key{}, lifecycle.Answer{Approval: w.Approval, Text: fmt.Sprint(solve(t, w.Question))})
		if err != nil || !answered.Right || len(posts(t, s, agent)) != before+1 {
			t.Fatalf("after %s the agent does not act: %+v %v", state, answered, err)
		}
	}
	refused := func(state, rule string, timed bool) {
		t.Helper()
		e := act.AsError(ask())
		if e == nil || e.Rule != rule || e.Hint == "" || timed != (e.RetryAfter > 0) {
			t.Errorf("%s: refused with %+v, want rule %s, a hint and a time: %v", state, e, rule, timed)
		}
	}
	order := lifecycle.Order{Agent: agent.ID, Reason: "test"}

	// requested: an owner's claim ends it.
	refused("requested", "unclaimed", false)
	if _, err := s.Lifecycle.Claim.Do(ctx, op, lifecycle.NewClaim{Agent: agent.ID, Owner: "tests"}); err != nil {
		t.Fatal(err)
	}
	acts("requested")
	// paused: an operator's resume ends it.
	if _, err := s.Lifecycle.Pause.Do(ctx, op, order); err != nil {
		t.Fatal(err)
	}
	refused("paused", "standing.paused", false)
	if _, err := s.Lifecycle.Resume.Do(ctx, op, order); err != nil {
		t.Fatal(err)
	}
	acts("paused")
	// challenged: time ends it, and a new challenge can be had.
	w := waits()
	ahead.Add(int64(lifecycle.ChallengeLife + time.Second))
	if _, err := s.Lifecycle.Answer(ctx, agent, gate.Key{}, lifecycle.Answer{Approval: w.Approval, Text: "1"}); act.CodeOf(err) != act.Gone {
		t.Errorf("answering too late: %v", err)
	}
	acts("challenged")
	// cool-down: ten wrong answers in a row begin it, time ends it, and the count
	// begins anew; twice, because a sanction that gets longer would be found late.
	for range 2 {
		for i := range lifecycle.MaxFailures {
			w := waits()
			out, err := s.Lifecycle.Answer(ctx, agent, gate.Key{}, lifecycle.Answer{Approval: w.Approval, Text: "-1"})
			if err != nil || out.Right || (out.CoolEnds != 0) != (i == lifecycle.MaxFailures-1) || out.Failures != int64(i+1) {
				t.Fatalf("wrong answer %d: %+v %v", i+1, out, err)
			}
		}
		refused("cool-down", "challenge.cooldown", true)
		posts(t, s, agent) // everything else works
		ahead.Add(int64(lifecycle.CoolDown + time.Second))
		acts("cool-down")
	}
	// Nine, and a right one: the count is zero again.
	for range lifecycle.MaxFailures - 1 {
		if _, err := s.Lifecycle.Answer(ctx, agent, gate.Key{}, lifecycle.Answer{Approval: waits().Approval, Text: "-1"}); err != nil {
			t.Fatal(err)
		}
		ahead.Add(int64(lifecycle.ChallengeLife) / 8) // what waits ends by itself
	}
	acts("nine wrong answers")
	if out, err := s.Lifecycle.Answer(ctx, agent, gate.Key{}, lifecycle.Answer{Approval: waits().Approval, Text: "-1"}); err != nil || out.Failures != 1 {
		t.Errorf("after a right answer the count is %d (%v)", out.Failures, err)
	}
	// held: an operator's word or time ends it; see TestApprovalsExpire.
	amend(t, s, holdPosts)
	h := waits()
	if h.Demand.Name != gate.Hold {
		t.Fatalf("demand %+v", h.Demand)
	}
	if a, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(h.Approval)); err != nil || a.State != lifecycle.ApprovalExecuted {
		t.Errorf("held: %+v %v", a, err)
	}
	// killed: confirmed termination, by an operator.
	if _, err := s.Lifecycle.Kill.Do(ctx, op, order); err != nil {
		t.Fatal(err)
	}
	refused("killed", "standing.killed", false)
	for state := act.StandingUnknown; state <= act.Stale; state++ {
		if final := state == act.Killed || state == act.Expired; state.Final() != final {
			t.Errorf("%s: final is %v", state, state.Final())
		}
	}
}
