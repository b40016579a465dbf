package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// bossOf is the principal of the local token.
func bossOf(t *testing.T, s *servertest.Server) act.Principal {
	t.Helper()
	p, err := s.Identity.Authenticate(t.Context(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// person signs in somebody with roles, as an identity provider would.
func person(t *testing.T, s *servertest.Server, name string, roles gate.OperatorRoles) act.Principal {
	t.Helper()
	out, err := s.Lifecycle.OpenSession.Do(t.Context(), act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
		Issuer: "https://idp.example", Subject: name, Name: name, Roles: roles, AuthAt: act.Micros(time.Now()), Once: name, Until: time.Now().Add(time.Minute),
	}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Identity.Session(t.Context(), out.Key)
	if err != nil {
		t.Fatal(err)
	}
	p.PasskeyAt = p.AuthAt // they have proved it by a passkey as well
	return p
}

// votes is a draft that decides votes by a policy that is named after it.
func votes(name string) policy.Draft {
	return policy.Draft{Files: []policy.File{{Name: "own.cedar", Text: fmt.Sprintf(`@id("write")
permit (
    principal is Agent,
    action in [Action::"community.create", Action::"post.create", Action::"comment.create", Action::"content.report"],
    resource
)
when { principal.standing == "active" && resource.visibility == "public" };
@id("votes-%s")
permit (principal is Agent, action == Action::"vote.cast", resource) when { principal.standing == "active" };`, name)}}}
}

// votesUnder counts the votes on record that were decided by each bundle, and checks that
// each was decided by a policy of it.
func votesUnder(t *testing.T, s *servertest.Server, first int64) map[int64]int {
	t.Helper()
	under := make(map[int64]int)
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		return v.All(qTestLeaves, func(r *store.Row) error {
			l, err := audit.Parse(r.Bytes(0))
			if err != nil || l.Act != "vote.cast" {
				return err
			}
			if l.Outcome != "done" {
				t.Errorf("a vote was %s by %s", l.Outcome, l.Policy.ID)
			}
			if under[l.Policy.Bundle]++; l.Policy.Bundle >= first && l.Policy.ID != fmt.Sprintf("votes-%d", l.Policy.Bundle-first) {
				t.Errorf("a vote under bundle %d was decided by %s", l.Policy.Bundle, l.Policy.ID)
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	return under
}

const (
	qTestDenials store.Q = `SELECT COUNT(*) FROM event WHERE actor = $1 AND act = $2`
	qTestKept    store.Q = `SELECT COUNT(*) FROM policy_bundle`
)

func counted(t *testing.T, s *servertest.Server, q store.Q, args ...any) (n int64) {
	t.Helper()
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		_, err := v.One(q, func(r *store.Row) error { n = r.Int(0); return nil }, args...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// T41: an agent tries a hundred ways to change the policy that governs it, over the wire
// and behind it, alone and through an operator's delegation, also where a policy has been
// put in force that lets it. Nothing changes, and every try is on record.
func TestT41_AgentsCannotChangeThePolicy(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		key, ada := s.Agent(t, "ada")
		boss := bossOf(t, s)
		// What operators brought lets agents do it; the tests that would have found it are
		// the operators' own, too. It is refused all the same.
		lax := policy.Draft{
			Files:   []policy.File{{Name: "lax.cedar", Text: `@id("lax") permit (principal, action, resource);`}},
			Without: []string{"policy-governed"},
			Tests:   []policy.File{{Name: "default/tests.yaml", Text: ""}},
		}
		if _, err := s.Policies.Activate.Do(ctx, boss, policy.Proposal{Draft: lax, Reason: "a mistake"}); err != nil {
			t.Fatal(err)
		}
		before, kept := s.Policy.Version(), counted(t, s, qTestKept)
		tried := 0
		refused := func(what string, ok bool, got any) {
			t.Helper()
			if tried++; !ok {
				t.Errorf("%s: %v", what, got)
			}
		}
		bodies := []any{map[string]any{"reason": "x"}, map[string]any{"reason": "x", "without": []string{"step-up"}}, map[string]any{"reason": "x", "files": []map[string]string{{"name": "a.cedar", "text": `@id("all") permit (principal, action, resource);`}}}}
		for _, path := range []string{"/v1/policies", "/v1/policies/1/revert", "/v1/policies/current/revert", "/v1/policy-shadow", "/v1/policy-shadow/end"} {
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
				for _, body := range bodies {
					a := s.Call(t, method, path, key, body)
					refused(method+" "+path, a.Status == http.StatusForbidden || a.Status == http.StatusMethodNotAllowed || a.Status == http.StatusBadRequest || a.Status == http.StatusNotFound, a.Raw)
				}
			}
		}
		chained := ada
		chained.Chain = []act.ID{boss.ID}
		through := boss
		through.Chain = []act.ID{ada.ID}
		for _, p := range []act.Principal{ada, chained, through, act.SystemPrincipal("setup"), {}} {
			for _, d := range []policy.Draft{{}, votes("mine"), lax} {
				_, err := s.Policies.Activate.Do(ctx, p, policy.Proposal{Draft: d, Reason: "x"})
				refused("activate", act.CodeOf(err) == act.Denied, err)
				_, err = s.Policies.Shadow.Do(ctx, p, policy.Proposal{Draft: d, Reason: "x"})
				refused("shadow", act.CodeOf(err) == act.Denied, err)
			}
			_, err := s.Policies.Revert.Do(ctx, p, policy.Reversal{Version: before - 1, Reason: "x"})
			refused("revert", act.CodeOf(err) == act.Denied, err)
			_, err = s.Policies.Unshadow.Do(ctx, p, policy.Ending{Reason: "x"})
			refused("unshadow", act.CodeOf(err) == act.Denied, err)
		}
		if tried < 100 {
			t.Errorf("%d ways were tried", tried)
		}
		if s.Policy.Version() != before || counted(t, s, qTestKept) != kept {
			t.Errorf("version %d is in force, %d are kept", s.Policy.Version(), counted(t, s, qTestKept))
		}
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"policy.activate", "policy.revert", "policy.shadow", "policy.unshadow"} {
			if n := counted(t, s, qTestDenials, ada.ID, name); n == 0 {
				t.Errorf("no try of %s is on record", name)
			}
		}
	})
}

// T65: where the network wants two persons, an admin alone changes no policy: who asked
// cannot approve, whatever their roles, and somebody else can. Every try is on record.
func TestT65_TwoPersonsForPolicies(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.TwoPerson = true
			s := servertest.Start(t, cfg)
			ctx := t.Context()
			mara, abel := person(t, s, "mara", gate.OperatorAdmin|gate.OperatorApprover), person(t, s, "abel", gate.OperatorApprover)
			before := s.Policy.Version()
			ask := func(p act.Principal, d policy.Draft) act.ID {
				t.Helper()
				_, err := s.Policies.Activate.Do(ctx, p, policy.Proposal{Draft: d, Reason: "a new rule"})
				w, ok := errors.AsType[*gate.Pending](err)
				if !ok || act.CodeOf(err) != act.Held {
					t.Fatalf("it is not held: %v", err)
				}
				return w.Approval
			}
			id := ask(mara, votes("two"))
			if _, err := s.Lifecycle.Approve(ctx, mara, gate.Key{}, lifecycle.Verdict{Approval: id, Reason: "mine"}); act.CodeOf(err) != act.Denied || act.AsError(err).Rule != "two-persons" {
				t.Errorf("who asked approves: %v", err)
			}
			if _, err := s.Policies.Revert.Do(ctx, mara, policy.Reversal{Version: before, Reason: "back"}); act.CodeOf(err) != act.Held {
				t.Errorf("a revert by one alone: %v", err)
			}
			if s.Policy.Version() != before {
				t.Fatalf("version %d is in force by one alone", s.Policy.Version())
			}
			if a, err := s.Lifecycle.Approve(ctx, abel, gate.Key{}, lifecycle.Verdict{Approval: id, Reason: "looked at it"}); err != nil || a.State != lifecycle.ApprovalExecuted {
				t.Fatalf("somebody else approves: %+v, %v", a.State, err)
			}
			if s.Policy.Version() != before+1 || s.Policy.Rules("vote.cast")[len(s.Policy.Rules("vote.cast"))-1] != "votes-two" {
				t.Errorf("version %d is in force, votes by %q", s.Policy.Version(), s.Policy.Rules("vote.cast"))
			}
			if err := s.Settle(ctx); err != nil {
				t.Fatal(err)
			}
			if n := counted(t, s, qTestDenials, mara.ID, "approval.approve"); n != 1 {
				t.Errorf("%d refusals are on record", n)
			}
		})
	}
}

// Activation under load on two nodes: every act is decided by one bundle, and after the
// acknowledgement none by the one before, on either node. A node that starts later, and
// one that is asked for an earlier version, have what is in force.
func TestActivationOnTwoNodesUnderLoad(t *testing.T) {
	a, b := twoNodes(t)
	ctx := t.Context()
	_, ada := a.Agent(t, "ada")
	post, err := a.Network.CreatePost.Do(ctx, ada, network.NewPost{Community: "general", Title: "votes", Content: "x"})
	if err != nil {
		t.Fatal(err)
	}
	boss := bossOf(t, a)
	var stop atomic.Bool
	var load sync.WaitGroup
	var cast atomic.Int64
	for n := range 6 {
		s := []*servertest.Server{a, b}[n%2]
		_, voter := a.Agent(t, fmt.Sprintf("voter-%d", n))
		eventually(t, "the node knows the voter", func() bool { state, _ := s.Lifecycle.Standing(voter.ID); return state == act.Active })
		load.Go(func() {
			for up := true; !stop.Load(); up = !up {
				if _, err := s.Network.CastVote.Do(ctx, voter, network.NewVote{Target: network.Named{ID: post.ID}, On: act.KindPost, Up: up}); err != nil {
					t.Errorf("vote: %v", err)
					return
				}
				cast.Add(1)
			}
		})
	}
	first := a.Policy.Version() + 1
	var committed []map[int64]int // on record at each acknowledgement
	for n := range 5 {
		for was := cast.Load(); cast.Load() < was+20 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		k, err := []*servertest.Server{a, b}[n%2].Policies.Activate.Do(ctx, boss, policy.Proposal{Draft: votes(fmt.Sprint(n)), Reason: "load"})
		if err != nil {
			t.Fatal(err)
		}
		committed = append(committed, votesUnder(t, a, first))
		if k.Version != first+int64(n) || a.Policy.Version() != k.Version || b.Policy.Version() != k.Version {
			t.Errorf("acknowledged %d; in force are %d and %d", k.Version, a.Policy.Version(), b.Policy.Version())
		}
	}
	stop.Store(true)
	load.Wait()
	if err := a.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	end := votesUnder(t, a, first)
	for n, then := range committed {
		for version := range end {
			if version < first+int64(n) && end[version] != then[version] {
				t.Errorf("%d votes by bundle %d were committed after %d was acknowledged", end[version]-then[version], version, first+int64(n))
			}
		}
	}
	t.Logf("votes under each bundle: %v", end)
	back, err := b.Policies.Revert.Do(ctx, boss, policy.Reversal{Version: first + 1, Reason: "back"})
	if err != nil || back.Version != first+5 || a.Policy.Version() != back.Version {
		t.Fatalf("revert: %+v, %v", back, err)
	}
	if rules := a.Policy.Rules("vote.cast"); rules[len(rules)-1] != "votes-1" {
		t.Errorf("after the revert votes are decided by %q", rules)
	}
	if _, err := a.Policies.Activate.Do(ctx, boss, policy.Proposal{Draft: votes("late"), Base: first, Reason: "x"}); act.AsError(err).Rule != "bundle.base" {
		t.Errorf("for a version that is past: %v", err)
	}
}

// An upgrade keeps the operators' files. Where they do not fit, what is in force stays,
// and /readyz says so.
func TestUpgradeKeepsOperatorsFiles(t *testing.T) {
	for _, fits := range []bool{true, false} {
		t.Run(fmt.Sprint("fits ", fits), func(t *testing.T) {
			cfg := servertest.Config(t, store.SQLite)
			s := servertest.Open(t, cfg)
			d := votes("own")
			if !fits {
				d.Without = append(d.Without, "origin") // the next release has a case that it breaks
			}
			b, err := policy.Compose(d, s.Policy.Version()+1, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			b.Defaults-- // as a release before this one has composed it
			b.Tests = nil
			if _, err := policy.Sign(b, s.Keys.PolicyKey()); err != nil {
				t.Fatal(err)
			}
			if err := s.DB.Write(t.Context(), func(tx *store.Tx) error {
				_, err := policy.Save(tx, b, policy.Origin{Source: policy.SourceOperator})
				return err
			}); err != nil {
				t.Fatal(err)
			}
			s.Stop()
			s = servertest.Open(t, cfg)
			want, behind := b.Version+1, false
			if !fits {
				want, behind = b.Version, true
			}
			rules := s.Policy.Rules("vote.cast")
			if s.Policy.Version() != want || (s.Policies.Behind() != "") != behind || rules[len(rules)-1] != "votes-own" {
				t.Errorf("version %d is in force, want %d; behind %q; votes by %q", s.Policy.Version(), want, s.Policies.Behind(), rules)
			}
			ready := s.Call(t, "GET", "/readyz", "", nil)
			if said := strings.Contains(string(ready.Raw), "no operator writes in an agent's place"); ready.Status != http.StatusOK || said != behind {
				t.Errorf("/readyz: %d %s", ready.Status, ready.Raw)
			}
			if behind {
				d.Without = nil
				if _, err := s.Policies.Activate.Do(t.Context(), bossOf(t, s), policy.Proposal{Draft: d, Reason: "corrected"}); err != nil || s.Policies.Behind() != "" {
					t.Errorf("corrected: %v, behind %q", err, s.Policies.Behind())
				}
			}
		})
	}
}

// A shadow lasts over a restart, and ends with the next activation; what is decided
// beside is listed at the door with who it would be for.
func TestT08_ShadowAtTheDoor(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	s := servertest.Open(t, cfg)
	ctx := t.Context()
	boss := bossOf(t, s)
	strict := policy.Draft{Files: []policy.File{{Name: "strict.cedar", Text: `@id("quiet") forbid (principal is Agent, action == Action::"post.create", resource);`}}}
	if _, err := s.Policies.Shadow.Do(ctx, boss, policy.Proposal{Draft: strict, Reason: "try it"}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s = servertest.Open(t, cfg)
	_, ada := s.Agent(t, "ada")
	for n := range 3 {
		if _, err := s.Network.CreatePost.Do(ctx, ada, network.NewPost{Community: "general", Title: fmt.Sprint("post ", n), Content: "x"}); err != nil {
			t.Fatalf("the shadow decides: %v", err)
		}
	}
	a := s.Call(t, "GET", "/v1/policy-shadow", s.Token, nil)
	items, _ := a.JSON["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("flips: %d %s", a.Status, a.Raw)
	}
	if f := items[0].(map[string]any); f["count"] != 3.0 || f["name"] != "ada" || f["by"] != "quiet" || f["now"] != "deny" || f["was"] != "allow" || f["at"] != "strict.cedar:1" {
		t.Errorf("flip %v", f)
	}
	if _, err := s.Policies.Activate.Do(ctx, boss, policy.Proposal{Reason: "the defaults"}); err != nil {
		t.Fatal(err)
	}
	if a := s.Call(t, "GET", "/v1/policy-shadow", s.Token, nil); a.JSON["ended_at"] == nil {
		t.Errorf("after an activation the shadow lasts: %s", a.Raw)
	}
	if _, err := s.Policies.Unshadow.Do(ctx, boss, policy.Ending{Reason: "x"}); act.CodeOf(err) != act.NotFound {
		t.Errorf("ending what has ended: %v", err)
	}
}
