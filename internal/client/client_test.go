package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err error, code act.Code, rule string) {
	t.Helper()
	e, ok := err.(*act.Error) //nolint:errorlint // the client promises this very type
	if !ok || e.Code != code || rule != "" && e.Rule != rule || e.Hint == "" {
		t.Errorf("%v (%+v), want %s %s with a hint", err, e, code, rule)
	}
}

// The operators' acts, all of them, from invite to kill.
func TestOperator(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.Registration, cfg.Claim, cfg.AutoClaim = "invite", true, ""
	s := servertest.Start(t, cfg)
	ctx := t.Context()
	op, err := client.New(s.URL+"/", s.Token)
	check(t, err)
	who, err := op.Whoami(ctx)
	if err != nil || who.Name != "operator" || who.Kind != "operator" {
		t.Fatalf("whoami: %+v, %v", who, err)
	}
	check(t, op.Ready(ctx))

	_, err = client.Register(ctx, s.URL, client.NewAccount{Name: "ada"})
	wants(t, err, act.Denied, "registration.invite")
	invite, err := op.Invite(ctx, "pricing", 2*time.Hour)
	check(t, err)
	if left := time.Until(invite.ExpiresAt); left < time.Hour || left > 3*time.Hour {
		t.Errorf("the invite is good for %s", left)
	}
	ada, err := client.Register(ctx, s.URL, client.NewAccount{Name: "ada", Invite: invite.Code})
	check(t, err)
	if ada.Status != "pending_claim" || ada.ClaimURL == "" || ada.VerificationCode == "" {
		t.Errorf("registered: %+v", ada)
	}
	second, err := op.Invite(ctx, "", 0)
	check(t, err)
	bob, err := client.Register(ctx, s.URL, client.NewAccount{Name: "bob", Invite: second.Code})
	check(t, err)

	claimed, err := op.Claim(ctx, ada.ID, "")
	check(t, err)
	if claimed.Owner != "pricing" || claimed.Standing != "active" || claimed.ClaimedAt == nil {
		t.Errorf("claimed: %+v", claimed)
	}
	token, err := url.Parse(bob.ClaimURL)
	check(t, err)
	if _, err := op.ClaimByToken(ctx, token.Path[len("/claim/"):], "ops"); err != nil {
		t.Errorf("claim by token: %v", err)
	}

	var seen []string
	for q := (client.AgentQuery{Limit: 1}); ; {
		page, err := op.Agents(ctx, q)
		check(t, err)
		for _, a := range page.Items {
			seen = append(seen, a.Name)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if fmt.Sprint(seen) != "[ada bob]" {
		t.Errorf("listed %v", seen)
	}

	paused, err := op.Pause(ctx, ada.ID, "looks odd")
	check(t, err)
	if paused.Standing != "paused" || paused.Reason != "looks odd" {
		t.Errorf("paused: %+v", paused)
	}
	agent, err := client.NewAgent(s.URL, ada.Key)
	check(t, err)
	_, err = agent.Me(ctx)
	wants(t, err, act.Denied, "standing.paused")
	list, err := op.Agents(ctx, client.AgentQuery{Standing: "paused", Owner: "pricing"})
	if err != nil || len(list.Items) != 1 || list.Items[0].ID != ada.ID {
		t.Errorf("paused agents: %+v, %v", list, err)
	}
	_, err = op.Resume(ctx, ada.ID, "explained")
	check(t, err)
	_, err = agent.Me(ctx)
	check(t, err)
	_, err = op.Kill(ctx, ada.ID, "drill")
	check(t, err)
	_, err = agent.Me(ctx)
	wants(t, err, act.Unauthenticated, "key.revoked")
	_, err = op.Resume(ctx, ada.ID, "regret")
	wants(t, err, act.Conflict, "")
	shown, err := op.Agent(ctx, "ada")
	if err != nil || shown.Standing != "killed" {
		t.Errorf("shown: %+v, %v", shown, err)
	}
	_, err = op.Agent(ctx, "no one/../x")
	wants(t, err, act.NotFound, "")

	done, err := op.Import(ctx, client.Batch{Source: "moltbook", Posts: []client.ForeignPost{{
		ID: "p1", Title: "Old", Author: client.ForeignAuthor{ID: "a1", Name: "elder"}, CreatedAt: time.Unix(1_769_774_000, 0),
		Tree: []client.ForeignComment{{ID: "c1", Content: "hi", CreatedAt: time.Unix(1_769_774_100, 0)}},
	}}})
	if err != nil || done.Posts != 1 || done.Comments != 1 {
		t.Errorf("imported %+v, %v", done, err)
	}
	stranger, err := client.New(s.URL, bob.Key)
	check(t, err)
	_, err = stranger.Agents(ctx, client.AgentQuery{})
	wants(t, err, act.Denied, "")
}

// What an agent does in a day.
func TestAgent(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	ctx := t.Context()
	agents := make([]*client.Agent, 2)
	for i := range agents {
		account, err := client.Register(ctx, s.URL, client.NewAccount{Name: fmt.Sprintf("diver-%d", i), Description: "dives"})
		check(t, err)
		agents[i], err = client.NewAgent(s.URL, account.Key)
		check(t, err)
	}
	ada, bob := agents[0], agents[1]
	me, err := ada.Me(ctx)
	if err != nil || me.Name != "diver-0" || !me.IsClaimed || me.Description != "dives" {
		t.Fatalf("me: %+v, %v", me, err)
	}
	check(t, ada.CreateSubmolt(ctx, "pricing", "Pricing", "what things cost"))
	post, err := ada.Post(ctx, client.NewPost{Submolt: "pricing", Title: "Hello", Content: "there"})
	check(t, err)
	root, err := bob.Comment(ctx, post.ID, "", "first")
	check(t, err)
	reply, err := ada.Comment(ctx, post.ID, root.ID, "thanks")
	if err != nil || reply.ParentID != root.ID || reply.Depth != 1 {
		t.Fatalf("reply: %+v, %v", reply, err)
	}
	tree, err := bob.Comments(ctx, post.ID, client.ListQuery{Sort: "old"})
	if err != nil || len(tree.Comments) != 1 || len(tree.Comments[0].Replies) != 1 || tree.Comments[0].Replies[0].ID != reply.ID {
		t.Fatalf("tree: %+v, %v", tree, err)
	}
	for _, want := range []string{"upvoted", "removed", "upvoted"} {
		if action, err := bob.VotePost(ctx, post.ID, true); err != nil || action != want {
			t.Errorf("vote: %q, %v, want %q", action, err, want)
		}
	}
	if action, err := ada.VoteComment(ctx, root.ID, false); err != nil || action != "downvoted" {
		t.Errorf("vote on a comment: %q, %v", action, err)
	}
	read, err := bob.ReadPost(ctx, post.ID)
	if err != nil || read.Upvotes != 1 || read.CommentCount != 2 || read.Author == nil || read.Author.Karma != 1 || read.Origin != "agent" {
		t.Errorf("read: %+v, %v", read, err)
	}
	_, err = bob.Post(ctx, client.NewPost{Submolt: "general", Title: "Mine"})
	check(t, err)
	var titles []string
	for q := (client.ListQuery{Sort: "new", Limit: 1}); ; {
		page, err := bob.Feed(ctx, q)
		check(t, err)
		for _, p := range page.Posts {
			titles = append(titles, p.Title)
		}
		if q.Cursor = page.Next; !page.HasMore {
			break
		}
	}
	if fmt.Sprint(titles) != "[Mine Hello]" {
		t.Errorf("feed: %v", titles)
	}
	check(t, ada.DeletePost(ctx, post.ID))
	_, err = bob.ReadPost(ctx, post.ID)
	wants(t, err, act.Gone, "")
	_, err = bob.Post(ctx, client.NewPost{Submolt: "nowhere", Title: "x"})
	wants(t, err, act.NotFound, "community")
}

// The bound on a rate comes back as a state a program can wait by.
func TestLimit(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.Limits = "moltbook"
	s := servertest.Start(t, cfg)
	key, _ := s.Agent(t, "eager")
	agent, err := client.NewAgent(s.URL, key)
	check(t, err)
	_, err = agent.Post(t.Context(), client.NewPost{Submolt: "general", Title: "one"})
	check(t, err)
	_, err = agent.Post(t.Context(), client.NewPost{Submolt: "general", Title: "two"}) // two hours, for one that is new, are too long to wait
	wants(t, err, act.RateLimited, "quota.post")
	e := act.AsError(err)
	if e.RetryAfter < 119*time.Minute || e.RetryAfter > 2*time.Hour || e.Limit == nil || e.Limit.Limit != 1 || e.Limit.Remaining != 0 {
		t.Errorf("retry after %s, limit %+v", e.RetryAfter, e.Limit)
	}
}

// scripted answers with one status after the other and keeps what was asked.
func scripted(t *testing.T, statuses ...int) (address string, keys func() []string) {
	t.Helper()
	var at atomic.Int32
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Idempotency-Key")
		n := min(int(at.Add(1)), len(statuses)) - 1
		if statuses[n] == 302 {
			w.Header().Set("Location", "/elsewhere")
		}
		if statuses[n] == 503 {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(statuses[n])
		if statuses[n] == 200 {
			_, _ = w.Write([]byte(`{"action":"upvoted"}`))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() (all []string) {
		for range len(asked) {
			all = append(all, <-asked)
		}
		return all
	}
}

// A write that is sent again is sent under the same key, after the wait that
// was asked for; what does not ask for it is not repeated.
func TestRepeats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		statuses []int
		asked    int
		code     act.Code
		fails    bool
	}{
		{[]int{503, 200}, 2, 0, false},
		{[]int{429}, 1, act.RateLimited, true}, // without Retry-After
		{[]int{500}, 1, act.Internal, true},
		{[]int{502}, 1, act.Unavailable, true},
		{[]int{302}, 1, act.Invalid, true},
		{[]int{404}, 1, act.NotFound, true},
	} {
		addr, keys := scripted(t, c.statuses...)
		agent, err := client.NewAgent(addr, "k")
		check(t, err)
		began := time.Now()
		_, err = agent.VotePost(t.Context(), "p", true)
		if (err != nil) != c.fails || c.fails && act.CodeOf(err) != c.code {
			t.Errorf("%v: %v", c.statuses, err)
		}
		sent := keys()
		if len(sent) != c.asked || sent[0] == "" || sent[0] != sent[len(sent)-1] {
			t.Errorf("%v: sent %d times with keys %q", c.statuses, len(sent), sent)
		}
		if took := time.Since(began); c.asked > 1 && took < time.Second {
			t.Errorf("%v: came back after %s", c.statuses, took)
		}
	}
}

// A caller who gives up is not kept waiting.
func TestRepeatEndsWithContext(t *testing.T) {
	t.Parallel()
	addr, keys := scripted(t, 503)
	agent, err := client.NewAgent(addr, "k")
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = agent.Me(ctx)
	if act.CodeOf(err) != act.Unavailable || len(keys()) != 1 {
		t.Errorf("after giving up: %v", err)
	}
}

func TestBadAddress(t *testing.T) {
	for _, a := range []string{"", "localhost:1", "ftp://x", "http://", "http://user:pw@x", "http://x?y"} {
		if _, err := client.New(a, "t"); act.CodeOf(err) != act.Invalid {
			t.Errorf("%q: %v", a, err)
		}
	}
	c, err := client.New("http://127.0.0.1:1", "t")
	check(t, err)
	wants(t, c.Ready(t.Context()), act.Unavailable, "")
}
