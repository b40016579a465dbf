package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// follower reads a stream in the background.
type follower struct {
	events chan client.Event
	end    chan error
}

func follow(t *testing.T, s *servertest.Server, key string, q client.EventQuery) *follower {
	t.Helper()
	c, err := client.New(s.URL, key)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{events: make(chan client.Event, 1000), end: make(chan error, 1)}
	go func() {
		f.end <- c.StreamEvents(ctx, q, func(e client.Event) error { f.events <- e; return nil })
	}()
	t.Cleanup(cancel)
	return f
}

func (f *follower) next(t *testing.T) client.Event {
	t.Helper()
	select {
	case e := <-f.events:
		return e
	case err := <-f.end:
		t.Fatalf("the stream ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
	}
	return client.Event{}
}

func (f *follower) over(t *testing.T) error {
	t.Helper()
	for {
		select {
		case err := <-f.end:
			return err
		case <-f.events:
		case <-time.After(20 * time.Second):
			t.Fatal("the stream goes on")
		}
	}
}

func post(t *testing.T, s *servertest.Server, p act.Principal, title string) network.Post {
	t.Helper()
	made, err := s.Network.CreatePost.Do(context.Background(), p, network.NewPost{Community: "general", Title: title, Content: "canary-7f3a"})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A stream brings every post once and in order, is resumed by the number of the
// last event, and holds no content.
func TestStreamResumesBySequence(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		_, author := s.Agent(t, "author")
		key, _ := s.Agent(t, "reader")
		q := client.EventQuery{Acts: []string{"post.create"}}
		var want, got []string
		first := follow(t, s, key, q)
		for i := range 20 {
			want = append(want, s.Codec.String(post(t, s, author, fmt.Sprint("t", i)).ID))
		}
		for range 7 {
			e := first.next(t)
			got, q.After = append(got, e.Ref), e.Seq
			if e.Kind != "post" || e.Origin != "agent" || e.Outcome != "done" || e.Actor != "" {
				t.Fatalf("%+v", e)
			}
		}
		second := follow(t, s, key, q)
		for len(got) < len(want) {
			e := second.next(t)
			if e.Seq <= q.After {
				t.Fatalf("event %d came after %d", e.Seq, q.After)
			}
			got, q.After = append(got, e.Ref), e.Seq
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if raw := s.Call(t, "GET", "/v1/events", s.Token, nil).Raw; strings.Contains(string(raw), "canary") {
			t.Fatal("content is in the events")
		}
		if err := follow(t, s, key, client.EventQuery{After: 1 << 40}).over(t); !errors.Is(err, client.ErrReset) {
			t.Fatalf("a number that has not come: %v", err)
		}
	})
}

// A paused or killed agent's stream ends, and brings nothing of what happens
// after the order was answered.
func TestKillCutsStreams(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		op := operator(t, s)
		_, author := s.Agent(t, "author")
		key, victim := s.Agent(t, "victim")
		for _, order := range []*gate.WriteAct[lifecycle.Order, lifecycle.Agent]{s.Lifecycle.Pause, s.Lifecycle.Kill} {
			f := follow(t, s, key, client.EventQuery{Acts: []string{"post.create"}})
			post(t, s, author, "before")
			f.next(t)
			if _, err := order.Do(ctx, op, lifecycle.Order{Agent: victim.ID, Reason: "test"}); err != nil {
				t.Fatal(err)
			}
			late := s.Codec.String(post(t, s, author, "after").ID)
			for over := false; !over; {
				select {
				case e := <-f.events:
					if e.Ref == late {
						t.Fatal("an event came after the order was answered")
					}
				case err := <-f.end:
					over = true
					if e := act.AsError(err); e.Code != act.Denied && e.Code != act.Unauthenticated {
						t.Fatalf("the stream ended with %v", err)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("the stream goes on")
				}
			}
			if _, err := s.Lifecycle.Resume.Do(ctx, op, lifecycle.Order{Agent: victim.ID, Reason: "test"}); err != nil && act.CodeOf(err) != act.Conflict {
				t.Log(err) // a killed agent stays dead
			}
		}
	})
}

// What is not public is told to its parties and to operators only; operators
// hear of denials.
func TestEventsAreSeenByTheirAudience(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		op := operator(t, s)
		_, a := s.Agent(t, "alice")
		_, b := s.Agent(t, "bruno")
		if _, err := s.Lifecycle.Pause.Do(ctx, a, lifecycle.Order{Agent: b.ID, Reason: "no"}); act.CodeOf(err) != act.Denied {
			t.Fatal(err)
		}
		if _, err := s.Lifecycle.Pause.Do(ctx, op, lifecycle.Order{Agent: b.ID, Reason: "yes"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lifecycle.Resume.Do(ctx, op, lifecycle.Order{Agent: b.ID, Reason: "yes"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		seen := func(p act.Principal) (list []string) {
			page, err := s.Network.ReadEvents.Do(ctx, p, network.EventQuery{Filter: network.EventFilter{Acts: []string{"agent.pause"}}})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Items {
				list = append(list, e.Outcome.String())
			}
			slices.Sort(list)
			return list
		}
		for _, c := range []struct {
			who  string
			p    act.Principal
			want []string
		}{{"the one refused", a, []string{"denied"}}, {"the one paused", b, []string{"done"}}, {"an operator", op, []string{"denied", "done"}}} {
			if got := seen(c.p); !slices.Equal(got, c.want) {
				t.Errorf("%s sees %v, want %v", c.who, got, c.want)
			}
		}
		_, err := s.Network.ReadEvents.Do(ctx, act.Principal{Source: "x"}, network.EventQuery{})
		if act.CodeOf(err) != act.Denied {
			t.Errorf("an observer reads events: %v", err)
		}
	})
}

// Both sides of a conversation, and of a task offered to one agent, hear of what is
// done in it; nobody else does. What is a community's, everybody hears of.
func TestEventsOfConversationsAndTasks(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		op := operator(t, s)
		_, a := s.Agent(t, "alice")
		_, b := s.Agent(t, "bruno")
		_, c := s.Agent(t, "carol")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		asked, err := s.Network.RequestConversation.Do(ctx, a, network.NewRequest{To: "bruno", Text: "may we talk about the prices?"})
		must(err)
		_, err = s.Network.ApproveConversation.Do(ctx, op, network.ConversationOrder{Conversation: asked.Conversation, Owner: "tests", Reason: "they work together"})
		must(err)
		_, err = s.Network.SendMessage.Do(ctx, b, network.NewMessage{Conversation: asked.Conversation, Text: "we may"})
		must(err)
		own, err := s.Network.PostTask.Do(ctx, a, network.NewTask{To: "bruno", Title: "count the prices"})
		must(err)
		_, err = s.Network.ClaimTask.Do(ctx, b, network.TaskClaim{Task: own.ID})
		must(err)
		s.Community(t, a, "pricing")
		open, err := s.Network.PostTask.Do(ctx, a, network.NewTask{Community: "pricing", Title: "count them again"})
		must(err)
		_, err = s.Network.ClaimTask.Do(ctx, b, network.TaskClaim{Task: open.ID})
		must(err)
		must(s.Settle(ctx))
		acts := []string{"dm.request", "dm.approve", "dm.send", "task.post", "task.claim"}
		both := []string{"dm.request", "dm.approve", "dm.send", "task.post", "task.claim", "task.post", "task.claim"}
		for _, x := range []struct {
			who  string
			p    act.Principal
			want []string
		}{{"one side", a, both}, {"the other side", b, both}, {"somebody else", c, []string{"task.post", "task.claim"}}, {"an operator", op, both}} {
			page, err := s.Network.ReadEvents.Do(ctx, x.p, network.EventQuery{Filter: network.EventFilter{Acts: acts}})
			must(err)
			var got []string
			for _, e := range page.Items {
				got = append(got, e.Act)
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("%s sees %v, want %v", x.who, got, x.want)
			}
		}
	})
}

// The list of announcements names registered acts only, or it says nothing.
func TestAnnouncedActsAreRegistered(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	for _, name := range gate.Announced() {
		if !slices.ContainsFunc(s.Gate.Acts(), func(i gate.Info) bool { return i.Name == name }) {
			t.Errorf("%s is announced and not registered", name)
		}
	}
}

// A poll that waits is answered when something happens.
func TestLongPollWakes(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		_, author := s.Agent(t, "author")
		key, _ := s.Agent(t, "reader")
		c, err := client.New(s.URL, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(context.Background()); err != nil {
			t.Fatal(err)
		}
		_, after, err := c.PollEvents(t.Context(), client.EventQuery{})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan []client.Event, 1)
		go func() {
			events, _, err := c.PollEvents(context.Background(), client.EventQuery{After: after, Acts: []string{"post.create"}, Wait: 50 * time.Second})
			if err != nil {
				t.Error(err)
			}
			got <- events
		}()
		made := post(t, s, author, "T")
		select {
		case events := <-got:
			if len(events) != 1 || events[0].Ref != s.Codec.String(made.ID) {
				t.Fatalf("%+v", events)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the poll sleeps")
		}
	})
}
