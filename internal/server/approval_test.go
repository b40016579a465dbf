package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// holdPosts makes every post wait for the word of its agent's owner.
const holdPosts = `@id("hold-posts") @hold("owner")
permit (principal is Agent, action == Action::"post.create", resource) when { principal.standing == "active" };`

// amend puts the default bundle with one more file in force.
func amend(t *testing.T, s *servertest.Server, text string) {
	t.Helper()
	b, err := policy.Default(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.Version = s.Policy.Version() + 1
	b.Files = append(b.Files, policy.File{Name: "test.cedar", Text: text})
	if _, err := policy.Sign(b, s.Keys.PolicyKey()); err != nil {
		t.Fatal(err)
	}
	if err := s.Policy.Activate(b); err != nil {
		t.Fatal(err)
	}
}

// held asks for a post and returns the approval it waits for.
func held(t *testing.T, s *servertest.Server, p act.Principal, title string) *gate.Pending {
	t.Helper()
	_, err := s.Network.CreatePost.Do(context.Background(), p, network.NewPost{Community: "general", Title: title, Content: title})
	w, ok := errors.AsType[*gate.Pending](err)
	if !ok || act.CodeOf(err) != act.Held {
		t.Fatalf("post %q is not held: %v", title, err)
	}
	return w
}

func posts(t *testing.T, s *servertest.Server, p act.Principal) []network.Post {
	t.Helper()
	page, err := s.Network.ReadFeed.Do(context.Background(), p, network.FeedQuery{Sort: network.FeedNew})
	if err != nil {
		t.Fatal(err)
	}
	return page.Items
}

func yes(id act.ID) lifecycle.Verdict {
	return lifecycle.Verdict{Approval: id, Owner: "tests", Reason: "looked at"}
}

// A held act is done when a human has approved it, once and as it was asked for.
func TestHoldEndToEnd(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		key, agent := s.Agent(t, "ada")
		otherKey, _ := s.Agent(t, "eve")
		op := operator(t, s)
		amend(t, s, holdPosts)

		a := s.Call(t, http.MethodPost, "/api/v1/posts", key, map[string]any{"submolt": "general", "title": "First", "content": "hello"})
		if a.Status != http.StatusAccepted || a.JSON["status"] != "held" || a.JSON["hint"] == "" {
			t.Fatalf("%d %s", a.Status, a.Raw)
		}
		again := s.Call(t, http.MethodPost, "/api/v1/posts", key, map[string]any{"submolt": "general", "title": "First", "content": "hello"})
		if again.JSON["approval_id"] != a.JSON["approval_id"] {
			t.Errorf("the same request waits twice: %s", again.Raw)
		}
		path := "/v1/approvals/" + a.JSON["approval_id"].(string)
		if x := s.Call(t, http.MethodGet, path, otherKey, nil); x.Status != http.StatusNotFound {
			t.Errorf("another agent sees it: %d %s", x.Status, x.Raw)
		}
		if x := s.Call(t, http.MethodPost, path+"/approve", key, map[string]any{"reason": "mine", "owner": "tests"}); x.Status != http.StatusForbidden {
			t.Errorf("the agent approves its own act: %d %s", x.Status, x.Raw)
		}
		shown := s.Call(t, http.MethodGet, path, s.Token, nil)
		if in, _ := shown.JSON["input"].(map[string]any); in["content"] != "hello" || in["community"] != "general" {
			t.Errorf("the operator does not see what is held: %s", shown.Raw)
		}
		for body, want := range map[string]int{"": http.StatusBadRequest, "somebody else": http.StatusConflict} {
			if x := s.Call(t, http.MethodPost, path+"/approve", s.Token, map[string]any{"reason": "r", "owner": body}); x.Status != want {
				t.Errorf("approving for owner %q: %d %s", body, x.Status, x.Raw)
			}
		}
		done := s.Call(t, http.MethodPost, path+"/approve", s.Token, map[string]any{"reason": "fine", "owner": "tests"})
		made, _ := done.JSON["made"].(map[string]any)
		if done.Status != http.StatusOK || done.JSON["state"] != "executed" || made["kind"] != "post" {
			t.Fatalf("%d %s", done.Status, done.Raw)
		}
		if list := posts(t, s, agent); len(list) != 1 || list[0].Author.ID != agent.ID || list[0].Content != "hello" {
			t.Errorf("posts after the approval: %+v", list)
		}
		own := s.Call(t, http.MethodGet, "/api/v1/approvals/"+a.JSON["approval_id"].(string), key, nil)
		if x, _ := own.JSON["approval"].(map[string]any); x["state"] != "executed" || x["content_id"] != made["id"] {
			t.Errorf("the agent does not see what came of it: %s", own.Raw)
		}
		if x := s.Call(t, http.MethodPost, path+"/approve", s.Token, map[string]any{"reason": "again", "owner": "tests"}); x.Status != http.StatusConflict {
			t.Errorf("a second approval: %d %s", x.Status, x.Raw)
		}

		denied := held(t, s, agent, "Second")
		if x, err := s.Lifecycle.Deny.Do(ctx, op, yes(denied.Approval)); err != nil || x.State != lifecycle.ApprovalDenied {
			t.Fatalf("deny: %+v %v", x, err)
		}
		if _, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(denied.Approval)); act.CodeOf(err) != act.Denied {
			t.Errorf("approving a denied act: %v", err)
		}
		if n := len(posts(t, s, agent)); n != 1 {
			t.Errorf("%d posts, want 1", n)
		}
	})
}

// T42: what waits for a human is bounded for each agent.
func TestT42_PendingApprovalsAreBounded(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		_, agent := s.Agent(t, "ada")
		amend(t, s, holdPosts)
		var kept, refused atomic.Int32
		var wg sync.WaitGroup
		for i := range 3 * lifecycle.MaxPending {
			wg.Go(func() {
				_, err := s.Network.CreatePost.Do(context.Background(), agent, network.NewPost{Community: "general", Title: fmt.Sprint(i), Content: "c"})
				switch act.CodeOf(err) {
				case act.Held:
					kept.Add(1)
				case act.RateLimited, act.Conflict:
					refused.Add(1)
				default:
					t.Errorf("post %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		page, err := s.Lifecycle.ListApprovals.Do(context.Background(), operator(t, s), lifecycle.ApprovalQuery{State: lifecycle.ApprovalPending})
		if err != nil || len(page.Items) != int(kept.Load()) || len(page.Items) > lifecycle.MaxPending || len(page.Items) < lifecycle.MaxPending/2 {
			t.Errorf("%d wait, %d were kept, %d refused (%v)", len(page.Items), kept.Load(), refused.Load(), err)
		}
	})
}

// Many approvals of one act at once, and the keeper beside them, do it once.
func TestApprovedActIsDoneOnceUnderParallelApproval(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, agent := s.Agent(t, "ada")
		op := operator(t, s)
		amend(t, s, holdPosts)
		for round := range soak(3, 30) {
			w := held(t, s, agent, fmt.Sprint("post ", round))
			var wg sync.WaitGroup
			var first atomic.Int32
			for range 8 {
				wg.Go(func() {
					if _, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(w.Approval)); err == nil {
						first.Add(1)
					} else if act.CodeOf(err) != act.Conflict {
						t.Errorf("approve: %v", err)
					}
				})
				wg.Go(func() {
					if err := s.Lifecycle.Tend(ctx); err != nil {
						t.Errorf("tend: %v", err)
					}
				})
			}
			wg.Wait()
			if n := first.Load(); n != 1 {
				t.Errorf("%d approvals of one act", n)
			}
			if n := len(posts(t, s, agent)); n != round+1 {
				t.Fatalf("round %d: %d posts", round, n)
			}
		}
	})
}

// An approved act that a fault kept from being done is done later, once, also by
// another run of the server.
func TestApprovedActSurvivesFaultsAndRestart(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		for _, step := range []store.Step{store.StepBegin, store.StepStatement, store.StepCommit, store.StepCommitted} {
			t.Run(fmt.Sprint(d, "/", step), func(t *testing.T) {
				ctx := context.Background()
				cfg, fault := faultyConfig(t, d)
				s := servertest.Open(t, cfg)
				_, agent := s.Agent(t, "ada")
				op := operator(t, s)
				amend(t, s, holdPosts)
				w := held(t, s, agent, "Once")
				// The decision itself goes through; everything after its commit fails,
				// and nothing before it, which other writers of the server may commit.
				var armed atomic.Bool
				f := func(at store.Step) error {
					if armed.Load() && at == step {
						return errInjected
					}
					if at == store.StepCommitted && decided(s, w.Approval) {
						armed.Store(true)
					}
					return nil
				}
				fault.Store(&f)
				a, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(w.Approval))
				fault.Store(nil)
				if err != nil {
					t.Fatalf("approve: %v", err)
				}
				if a.State != lifecycle.ApprovalApproved && step != store.StepCommitted {
					t.Fatalf("after the fault it is %s", a.State)
				}
				s.Stop()
				again := servertest.Open(t, cfg) // its policy is the default again: the hold is met all the same
				eventually(t, "the approved act is done", func() bool { return len(posts(t, again, agent)) == 1 })
				if err := again.Lifecycle.Tend(ctx); err != nil {
					t.Fatal(err)
				}
				if n := len(posts(t, again, agent)); n != 1 {
					t.Errorf("%d posts", n)
				}
				servertest.CheckInvariants(t, again.Server)
			})
		}
	}
}

// decided tells whether an approval no longer waits, as the database has it.
func decided(s *servertest.Server, id act.ID) (is bool) {
	return s.DB.View(context.Background(), func(v *store.View) error {
		_, err := v.One(qTestState, func(r *store.Row) error {
			is = lifecycle.ApprovalState(r.Int(0)) != lifecycle.ApprovalPending
			return nil
		}, id)
		return err
	}) == nil && is
}

// Nothing comes of what an agent that was killed or paused had waiting.
func TestApprovalEndsWithItsAgent(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, agent := s.Agent(t, "ada")
		_, reader := s.Agent(t, "reader")
		op := operator(t, s)
		amend(t, s, holdPosts)
		w := held(t, s, agent, "Last words")
		order := lifecycle.Order{Agent: agent.ID, Reason: "test"}
		if _, err := s.Lifecycle.Pause.Do(ctx, op, order); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(w.Approval)); act.CodeOf(err) != act.Conflict {
			t.Errorf("approving while the agent is paused: %v", err)
		}
		if _, err := s.Lifecycle.Kill.Do(ctx, op, order); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(w.Approval)); act.CodeOf(err) != act.Gone {
			t.Errorf("approving after the kill: %v", err)
		}
		a, err := s.Lifecycle.ShowApproval.Do(ctx, op, w.Approval)
		if err != nil || a.State != lifecycle.ApprovalWithdrawn || len(a.Input) > 0 {
			t.Errorf("%+v %v", a, err)
		}
		if n := len(posts(t, s, reader)); n != 0 {
			t.Errorf("%d posts of a dead agent", n)
		}
	})
}

const (
	qTestSealed store.Q = `UPDATE approval SET sealed = $2 WHERE id = $1`
	qTestState  store.Q = `SELECT state FROM approval WHERE id = $1`
	qTestRead   store.Q = `SELECT sealed, digest FROM approval WHERE id = $1`
	qTestDigest store.Q = `UPDATE approval SET digest = $2 WHERE id = $1`
	qTestAct    store.Q = `UPDATE approval SET act = $2 WHERE id = $1`
	qTestTarget store.Q = `UPDATE approval SET target = $2 WHERE id = $1`
)

// T43: what is executed is what was approved. One changed bit of the content, of
// its digest, of the act, the agent or the target, and a used or foreign
// approval, execute nothing.
func TestT43_ChangedOrUsedApprovalsExecuteNothing(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		_, agent := s.Agent(t, "ada")
		_, other := s.Agent(t, "eve")
		op := operator(t, s)
		amend(t, s, holdPosts)
		write := func(q store.Q, args ...any) {
			t.Helper()
			if err := s.DB.Write(ctx, func(tx *store.Tx) error { _, err := tx.Exec(q, args...); return err }); err != nil {
				t.Fatal(err)
			}
		}
		row := func(id act.ID) (sealed, digest []byte) {
			t.Helper()
			if err := s.DB.View(ctx, func(v *store.View) error {
				_, err := v.One(qTestRead, func(r *store.Row) error { sealed, digest = r.Bytes(0), r.Bytes(1); return nil }, id)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return sealed, digest
		}
		flip := func(b []byte, bit int) []byte {
			b = bytes.Clone(b)
			b[bit/8%len(b)] ^= 1 << (bit % 8)
			return b
		}
		tries := 0
		refused := func(what string, spoil func(id act.ID)) {
			t.Helper()
			tries++
			w := held(t, s, agent, fmt.Sprint("try ", tries))
			spoil(w.Approval)
			if a, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(w.Approval)); err == nil && a.State == lifecycle.ApprovalExecuted {
				t.Errorf("%s: executed", what)
			}
			if n := len(posts(t, s, agent)); n != 0 {
				t.Fatalf("%s: %d posts", what, n)
			}
			write(qTestAct, w.Approval, "post.create") // for the invariants, and out of the way
			if _, err := s.Lifecycle.Deny.Do(ctx, op, lifecycle.Verdict{Approval: w.Approval, Owner: "tests", Reason: "over"}); err != nil {
				t.Logf("%s: %v", what, err)
			}
		}
		for bit := 0; bit < 2000; bit += 97 {
			refused("content", func(id act.ID) { sealed, _ := row(id); write(qTestSealed, id, flip(sealed, bit)) })
		}
		refused("digest", func(id act.ID) { _, digest := row(id); write(qTestDigest, id, flip(digest, 5)) })
		refused("act", func(id act.ID) { write(qTestAct, id, "community.create") })
		refused("target", func(id act.ID) { write(qTestTarget, id, id) })
		refused("another's content", func(id act.ID) {
			sealed, _ := row(held(t, s, other, "of eve").Approval)
			write(qTestSealed, id, sealed)
		})

		// Used twice: the row is set back by hand, and still nothing is done twice,
		// because the row's content went with the first use.
		w := held(t, s, agent, "once")
		if a, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(w.Approval)); err != nil || a.State != lifecycle.ApprovalExecuted {
			t.Fatalf("%+v %v", a, err)
		}
		in := []byte(`{"Community":"general","Title":"once","Content":"once","Type":"","URL":""}`)
		call := gate.Call{Act: "post.create", Principal: agent, Target: w.Target, Input: in, Demand: w.Demand}
		if _, err := s.Gate.Carry(ctx, w.Approval, call); act.CodeOf(err) != act.Conflict {
			t.Errorf("using an approval twice: %v", err)
		}
		if n := len(posts(t, s, agent)); n != 1 {
			t.Errorf("%d posts", n)
		}
	})
}

// T02: what is held is nowhere in clear in the database's files, before and after.
func TestT02_HeldContentIsSealed(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	s := servertest.Start(t, cfg)
	ctx := context.Background()
	_, agent := s.Agent(t, "ada")
	amend(t, s, holdPosts)
	const canary = "canary-7f3a91c4-must-not-be-seen"
	held(t, s, agent, canary)
	denied := held(t, s, agent, canary+" too")
	if _, err := s.Lifecycle.Deny.Do(ctx, operator(t, s), yes(denied.Approval)); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(cfg.Data, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		raw, err := os.ReadFile(path)
		if bytes.Contains(raw, []byte(canary)) {
			t.Errorf("%s holds what is held in clear", path)
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files looked at (%v)", files, err)
	}
}

// Approvals end by themselves, and expiry denies.
func TestApprovalsExpire(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			var ahead atomic.Int64
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			s := servertest.Start(t, cfg)
			ctx := context.Background()
			_, agent := s.Agent(t, "ada")
			op := operator(t, s)
			amend(t, s, holdPosts)
			w := held(t, s, agent, "Late")
			ahead.Store(int64(lifecycle.HoldLife + time.Minute))
			if _, err := s.Lifecycle.Approve(ctx, op, gate.Key{}, yes(w.Approval)); act.CodeOf(err) != act.Gone {
				t.Errorf("approving too late: %v", err)
			}
			if err := s.Lifecycle.Tend(ctx); err != nil {
				t.Fatal(err)
			}
			a, err := s.Lifecycle.ShowApproval.Do(ctx, op, w.Approval)
			if err != nil || a.State != lifecycle.ApprovalExpired {
				t.Errorf("%+v %v", a, err)
			}
			// A clock that jumps outruns a node's id reservation until it is renewed.
			eventually(t, "the same request waits under a new approval", func() bool {
				_, err := s.Network.CreatePost.Do(ctx, agent, network.NewPost{Community: "general", Title: "Late", Content: "Late"})
				again, ok := errors.AsType[*gate.Pending](err)
				return ok && again.Approval != w.Approval
			})
		})
	}
}
