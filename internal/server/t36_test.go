package server_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T36: hundreds of streams end when the scope of their agents is stopped, and each stop
// counts them beforehand.
func TestT36_StreamsOfAScopeEnd(t *testing.T) {
	const agents, each = 40, 8
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		op := operator(t, s)
		_, author := s.Agent(t, "author")
		var streams []*follower
		for n := range agents {
			key, _ := s.Agent(t, fmt.Sprintf("follower-%d", n))
			for range each {
				streams = append(streams, follow(t, s, key, client.EventQuery{Acts: []string{"post.create"}}))
			}
		}
		post(t, s, author, "before")
		for _, f := range streams {
			f.next(t)
		}
		for _, on := range []lifecycle.ScopeName{{Kind: "owner", Name: "tests"}, {Kind: "all"}} {
			p, err := s.Lifecycle.ShowScope.Do(t.Context(), op, on)
			if err != nil || p.Flying.Streams != agents*each || p.Agents[act.Active] != agents+1 || len(p.Examples) != lifecycle.MaxExamples {
				t.Errorf("%v beforehand: %+v, %v", on, p, err)
			}
		}
		if _, err := s.Lifecycle.PauseScope.Do(t.Context(), op, lifecycle.ScopeOrder{On: lifecycle.ScopeName{Kind: "owner", Name: "tests"}, Reason: "drill"}); err != nil {
			t.Fatal(err)
		}
		for n, f := range streams {
			if e := act.AsError(f.over(t)); e.Code != act.Denied || e.Rule != "standing.paused" {
				t.Fatalf("stream %d ended with %v", n, e)
			}
		}
	})
}

// T36: a scope's webhooks are silent while it is stopped, and go on where they were.
func TestT36_WebhooksOfAScopeAreSilent(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			s := withHooks(t, d)
			op := operator(t, s)
			_, author := s.Agent(t, "author")
			_, holder := s.Agent(t, "holder")
			_, other := s.Agent(t, "other")
			r, control := receive(t), receive(t)
			hook(t, s, holder, r)
			hook(t, s, other, control)
			order := lifecycle.ScopeOrder{On: lifecycle.ScopeName{Kind: "lineage", Agent: holder.ID}, Reason: "drill"}
			for _, o := range []struct {
				stop, lift *gate.WriteAct[lifecycle.ScopeOrder, lifecycle.Contained]
			}{{s.Lifecycle.PauseScope, s.Lifecycle.ResumeScope}, {s.Lifecycle.QuarantineScope, s.Lifecycle.ReleaseScope}} {
				if _, err := o.stop.Do(t.Context(), op, order); err != nil {
					t.Fatal(err)
				}
				held := s.Codec.String(post(t, s, author, "while it is stopped").ID)
				control.hears(t, []string{held}) // so deliveries are running
				r.mu.Lock()
				if slices.Contains(r.refs, held) {
					t.Error("who is stopped was told")
				}
				r.mu.Unlock()
				if _, err := o.lift.Do(t.Context(), op, order); err != nil {
					t.Fatal(err)
				}
				r.hears(t, []string{held})
			}
		})
	}
}

// T37: four targets, three commands. Whatever is wrong with one it executes nothing, and
// that is on record; a valid one is executed once. Where two persons are wanted nobody stops
// the fleet alone, by a command or without.
func TestT37_CommandsAboutScopes(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			s := servertest.Start(t, cfg)
			op := operator(t, s)
			c := command(t, s, op, token.EdDSA, "scope.pause", "scope.quarantine", "scope.resume", "scope.release", "agent.pause", "agent.quarantine", "agent.resume", "agent.release", "agent.kill", "scope.kill")
			narrow := command(t, s, op, token.ES256, "agent.resume")
			stranger, err := token.NewKey(token.EdDSA)
			if err != nil {
				t.Fatal(err)
			}
			_, victim := s.Agent(t, "victim")
			id := s.Codec.String(victim.ID)
			sign := func(k token.Private, act string, at token.Target, life, ago time.Duration) string {
				text, _, err := k.Command(token.Command{Audience: s.Server.URL(), Act: act, Target: at, Reason: "drill"}, life, time.Now().Add(-ago))
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			refused := func(what, text, rule string) {
				t.Helper()
				before := len(leaves(t, s))
				if status, got := deliver(t, s, text); got != rule || status < 400 || standingOf(t, s, victim.ID) != act.Active {
					t.Errorf("%s: %d %s, it is %s", what, status, got, standingOf(t, s, victim.ID))
				}
				if !slices.ContainsFunc(leaves(t, s)[before:], func(l audit.Leaf) bool { return l.Rule == rule && l.Outcome == "denied" }) {
					t.Errorf("%s: no leaf says so", what)
				}
			}
			targets := []struct {
				noun string
				at   token.Target
			}{
				{"agent", token.Target{Kind: "agent", ID: id}}, {"scope", token.Target{Kind: "lineage", ID: id}},
				{"scope", token.Target{Kind: "owner", ID: "tests"}}, {"scope", token.Target{Kind: "all", ID: "all"}},
			}
			lifts := map[string]string{"pause": "resume", "quarantine": "release"}
			wants := map[string]act.Standing{"pause": act.Paused, "quarantine": act.Quarantined, "kill": act.Killed}
			for n, target := range targets {
				for _, verb := range []string{"pause", "quarantine", "kill"} {
					name, what := target.noun+"."+verb, verb+" of "+target.at.Kind
					good := sign(c.key, name, target.at, 0, 0)
					refused(what+" with a bad signature", good[:len(good)-8]+"AAAAAAAA", "command.signature")
					refused(what+" by a key that nobody knows", sign(stranger, name, target.at, 0, 0), "command.key")
					refused(what+" expired", sign(c.key, name, target.at, time.Minute, 10*time.Minute), "command.expired")
					refused(what+" beyond the key", sign(narrow.key, name, target.at, 0, 0), "command.scope")
					refused(what+" of another kind of thing", sign(c.key, name, token.Target{Kind: "site", ID: "north"}, 0, 0), "command.target")
					if verb == "kill" && n < len(targets)-1 {
						continue // or nobody would be left for the next one
					}
					if status, rule := deliver(t, s, good); status != http.StatusOK || standingOf(t, s, victim.ID) != wants[verb] {
						t.Fatalf("%s: %d %s, it is %s", what, status, rule, standingOf(t, s, victim.ID))
					}
					if status, rule := deliver(t, s, good); status != http.StatusForbidden || rule != "command.replayed" {
						t.Errorf("%s again: %d %s", what, status, rule)
					}
					done := 0
					for _, l := range leaves(t, s) {
						if l.Act == name && l.Outcome == "done" && l.Principal.Binding == "command" && l.Principal.Credential == s.Codec.String(c.credential) {
							done++
						}
					}
					if want := 1 + max(0, n-1)*min(1, len(lifts[verb])); done != want { // those of scopes add up
						t.Errorf("%s is on record %d times, want %d", what, done, want)
					}
					if lift := lifts[verb]; lift != "" {
						if status, rule := deliver(t, s, sign(c.key, target.noun+"."+lift, target.at, 0, 0)); status != http.StatusOK || standingOf(t, s, victim.ID) != act.Active {
							t.Fatalf("%s of %s: %d %s", lift, target.at.Kind, status, rule)
						}
					}
				}
			}
		})
	}
}

// T37: where two persons are wanted, an order about the fleet is done when somebody else
// has let it through, and not before.
func TestT37_NobodyStopsTheFleetAlone(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.TwoPerson = true
			s := servertest.Start(t, cfg)
			op := operator(t, s) // with the operators' own token
			c := command(t, s, op, token.EdDSA, "scope.pause", "scope.quarantine", "scope.kill")
			_, victim := s.Agent(t, "victim")
			file := filepath.Join(t.TempDir(), "second.token")
			if err := s.Identity.EnsureOperator(t.Context(), "second", file); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			second, err := s.Identity.Authenticate(t.Context(), strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			for _, verb := range []string{"pause", "quarantine", "kill"} {
				a := s.Call(t, http.MethodPost, "/v1/scopes/all/"+verb, s.Token, map[string]string{"reason": "drill " + verb})
				own, _ := a.JSON["approval_id"].(string)
				if a.Status != http.StatusAccepted || own == "" {
					t.Fatalf("%s: %d %s", verb, a.Status, a.Raw)
				}
				text, _, err := c.key.Command(token.Command{Audience: s.Server.URL(), Act: "scope." + verb, Target: token.Target{Kind: "all", ID: "all"}, Reason: "by a command"}, 0, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if status, rule := deliver(t, s, text); status != http.StatusAccepted {
					t.Errorf("%s by a command: %d %s", verb, status, rule)
				}
				if a := s.Call(t, http.MethodPost, "/v1/approvals/"+own+"/approve", s.Token, map[string]string{"reason": "I say so myself"}); a.Status != http.StatusForbidden || a.JSON["rule"] != "two-persons" {
					t.Errorf("%s approved by who asked: %d %s", verb, a.Status, a.Raw)
				}
				if got := standingOf(t, s, victim.ID); got != act.Active {
					t.Fatalf("%s was executed: it is %s", verb, got)
				}
			}
			waiting, err := s.Lifecycle.ListApprovals.Do(t.Context(), op, lifecycle.ApprovalQuery{State: lifecycle.ApprovalPending})
			if err != nil || len(waiting.Items) != 6 {
				t.Fatalf("%d wait, %v", len(waiting.Items), err)
			}
			at := slices.IndexFunc(waiting.Items, func(a lifecycle.Approval) bool { return a.Act == "scope.quarantine" })
			out, err := s.Lifecycle.Approve(t.Context(), second, gate.Key{}, lifecycle.Verdict{Approval: waiting.Items[at].ID, Reason: "so do I"})
			if err != nil || out.State != lifecycle.ApprovalExecuted {
				t.Fatalf("approved by another: %+v, %v", out, err)
			}
			if got := standingOf(t, s, victim.ID); got != act.Quarantined {
				t.Errorf("it is %s", got)
			}
		})
	}
}

// T36: a stop that was acknowledged holds when the process that took it is killed without
// warning, from the first answer of the next one.
func TestT36_StopsOutliveTheirProcess(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			dir := t.TempDir()
			flags := []string{"--registration", "open", "--claim-required=false", "--limits", "open"}
			if d == store.Postgres {
				cfg := servertest.Config(t, d)
				flags = append(flags, "--db", cfg.DB, "--schema", cfg.Schema)
			}
			p := serve(t, dir, flags...)
			member := func(name string) (id, key string) {
				a := p.must(t, http.MethodPost, "/api/v1/agents/register", "", map[string]any{"name": name, "description": "d"})["agent"].(map[string]any)
				return a["id"].(string), a["api_key"].(string)
			}
			crash := func() {
				t.Helper()
				if err := p.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = p.cmd.Wait()
				p = serve(t, dir, flags...)
			}
			answers := func(key string, want int) {
				t.Helper()
				if status, out := p.call(http.MethodGet, "/api/v1/posts", key, nil); status != want {
					t.Errorf("answered %d, want %d: %v", status, want, out)
				}
			}
			shark, key := member("shark")
			_, other := member("nemo")
			p.must(t, http.MethodPost, "/v1/agents/"+shark+"/kill", p.token, map[string]any{"reason": "drill"})
			crash()
			answers(key, http.StatusUnauthorized)
			answers(other, http.StatusOK)
			p.must(t, http.MethodPost, "/v1/scopes/all/quarantine", p.token, map[string]any{"reason": "drill"})
			crash()
			answers(other, http.StatusForbidden)
			p.must(t, http.MethodPost, "/v1/scopes/all/release", p.token, map[string]any{"reason": "drill"})
			answers(other, http.StatusOK)
			_ = p.cmd.Process.Signal(os.Interrupt)
			_ = p.cmd.Wait()
		})
	}
}
