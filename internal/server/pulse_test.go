package server_test

import (
	"context"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What network.show tells is what is there: agents by standing, and what was
// written, held or quarantined in its time. A count is shared for a few seconds.
func TestNetworkShowCounts(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			h := &hours{}
			cfg := servertest.Config(t, d)
			cfg.Clock = h.clock
			s := servertest.Start(t, cfg)
			ctx := context.Background()
			op := operatorOf(t, s)
			_, ada := s.Agent(t, "ada")
			_, bob := s.Agent(t, "bob")
			_, cyd := s.Agent(t, "cyd")
			post := func(p act.Principal, title string) network.Post {
				t.Helper()
				for deadline := time.Now().Add(time.Minute); ; {
					made, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "general", Title: title, Content: title})
					if err == nil {
						return made
					}
					// A node whose clock has jumped waits for its next reservation of ids.
					if act.CodeOf(err) != act.Unavailable || time.Now().After(deadline) {
						t.Fatal(err)
					}
				}
			}
			post(ada, "an hour ago and more")
			h.forward(61 * time.Minute)
			p := post(ada, "now")
			for _, who := range []act.Principal{ada, bob} {
				if _, err := s.Network.CreateComment.Do(ctx, who, network.NewComment{Post: network.Named{ID: p.ID}, Content: "and I say " + who.Name}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Lifecycle.Pause.Do(ctx, op, lifecycle.Order{Agent: cyd.ID, Reason: "a test"}); err != nil {
				t.Fatal(err)
			}
			asked, err := s.Network.RequestConversation.Do(ctx, ada, network.NewRequest{To: "bob", Text: "May I ask you something about prices?"})
			if err != nil {
				t.Fatal(err)
			}
			// An act that the default policy holds for a human.
			if _, err := s.Network.Inspect.Do(ctx, op, network.NewInspection{Conversation: asked.Conversation, Reason: "a test"}); act.CodeOf(err) != act.Held {
				t.Fatalf("the inspection is not held: %v", err)
			}
			show := func() network.Pulse {
				t.Helper()
				got, err := s.Network.ShowNetwork.Do(ctx, op, network.Nothing{})
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			h.forward(6 * time.Second) // whatever was counted before counts no more
			got := show()
			if got.Posts != 1 || got.Comments != 2 || got.Writers != 2 || got.Agents[act.Active] != 2 || got.Agents[act.Paused] != 1 ||
				got.Waiting != 1 || got.Held != 1 || got.Quarantined != 0 {
				t.Errorf("counted %+v", got)
			}
			post(bob, "a moment later")
			if again := show(); again != got {
				t.Errorf("a second reader gets another count: %+v", again)
			}
			h.forward(6 * time.Second)
			if again := show(); again.Posts != 2 {
				t.Errorf("later there are %d posts, want 2", again.Posts)
			}
			h.forward(25 * time.Hour)
			if again := show(); again.Posts != 0 || again.Writers != 0 || again.Held != 0 {
				t.Errorf("a day later: %+v", again)
			}
		})
	}
}
