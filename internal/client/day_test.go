package client_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

func divers(t *testing.T, s *servertest.Server, n int) (agents []*client.Agent) {
	t.Helper()
	for i := range n {
		account, err := client.Register(t.Context(), s.URL, client.NewAccount{Name: fmt.Sprintf("diver-%d", i)})
		check(t, err)
		a, err := client.NewAgent(s.URL, account.Key)
		check(t, err)
		agents = append(agents, a)
	}
	return agents
}

// What happened to an agent: under its posts, by whom it is followed, in its
// conversations.
func TestDay(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.OwnKeyApproval = true
	s := servertest.Start(t, cfg)
	ctx := t.Context()
	two := divers(t, s, 2)
	ada, bob := two[0], two[1]

	post, err := ada.Post(ctx, client.NewPost{Submolt: "general", Title: "Hello", Content: "there"})
	check(t, err)
	_, err = bob.Comment(ctx, post.ID, "", "A word about it.")
	check(t, err)
	check(t, bob.Follow(ctx, "diver-0"))
	check(t, bob.Follow(ctx, "diver-0")) // it is so already
	check(t, bob.Subscribe(ctx, "general"))
	wants(t, bob.Follow(ctx, "nobody"), act.NotFound, "")
	home, err := ada.Home(ctx)
	if err != nil || home.Account.Name != "diver-0" || home.Account.Unread != 2 || len(home.Next) == 0 ||
		len(home.Activity) != 1 || home.Activity[0].PostID != post.ID || !home.Activity[0].Own || home.Activity[0].New != 1 {
		t.Errorf("home: %+v, %v", home, err)
	}
	if wait := time.Until(home.NextCheck); wait < 14*time.Minute || wait > 46*time.Minute { // half to one and a half of 30 minutes
		t.Errorf("the next check is in %s", wait)
	}
	check(t, ada.ReadAll(ctx))
	if home, err = ada.Home(ctx); err != nil || home.Account.Unread != 0 {
		t.Errorf("after reading: %+v, %v", home, err)
	}

	id, err := bob.RequestMessages(ctx, "diver-0", "May I ask you something in private?")
	check(t, err)
	if home, err = ada.Home(ctx); err != nil || home.Messages.Requests != 1 {
		t.Errorf("a request waits: %+v, %v", home.Messages, err)
	}
	asked, err := ada.MessageRequests(ctx, client.ListQuery{})
	if err != nil || len(asked) != 1 || asked[0].ConversationID != id || asked[0].From.Name != "diver-1" || asked[0].Message != "May I ask you something in private?" {
		t.Fatalf("requests: %+v, %v", asked, err)
	}
	if err := bob.Send(ctx, id, "Hello?"); err == nil {
		t.Error("a message went out before the other side agreed")
	}
	check(t, ada.ApproveMessages(ctx, id))
	check(t, ada.Send(ctx, id, "Go ahead."))
	inbox, err := bob.CheckInbox(ctx)
	if err != nil || inbox.Messages.Unread != 1 || inbox.Requests.Count != 0 {
		t.Errorf("inbox: %+v, %v", inbox, err)
	}
	list, err := bob.Conversations(ctx, client.ListQuery{Limit: 10})
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].With.Name != "diver-0" || list[0].Status != "approved" || !list[0].Initiated || list[0].Unread != 1 {
		t.Errorf("conversations: %+v, %v", list, err)
	}
	talk, said, err := bob.Conversation(ctx, id, client.ListQuery{})
	if err != nil || talk.ID != id || len(said) != 2 || said[1].Content != "Go ahead." || said[1].FromYou || said[1].Sender.Name != "diver-0" || !said[0].FromYou {
		t.Errorf("conversation: %+v %+v, %v", talk, said, err)
	}
	check(t, ada.RejectMessages(ctx, id))
	if err := bob.Send(ctx, id, "And then?"); err == nil {
		t.Error("a message went out after the conversation was ended")
	}
}

// A task goes from one agent to another, and back with its result.
func TestTask(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	ctx := t.Context()
	two := divers(t, s, 2)
	ada, bob := two[0], two[1]

	open, err := ada.PostTask(ctx, client.NewTask{Community: "general", Title: "Count them", Content: "All of them."})
	check(t, err)
	offered, err := ada.PostTask(ctx, client.NewTask{To: "diver-1", Title: "Count these", Content: "Only these."})
	if err != nil || offered.OfferedTo == "" || offered.Community != "" || offered.Status != "open" || offered.Poster != "diver-0" {
		t.Fatalf("offered: %+v, %v", offered, err)
	}
	for view, want := range map[string]string{"open": open.ID, "offered": offered.ID} {
		q := client.TaskQuery{View: view, Limit: 5}
		if view == "open" {
			q.Community = "general"
		}
		list, err := bob.Tasks(ctx, q)
		if err != nil || len(list) != 1 || list[0].ID != want {
			t.Errorf("%s: %+v, %v", view, list, err)
		}
	}
	_, err = bob.CompleteTask(ctx, open.ID, 1, "without having it")
	wants(t, err, act.Conflict, "task.lease")
	held, err := bob.ClaimTask(ctx, open.ID, 10*time.Minute)
	if err != nil || held.Status != "claimed" || held.LeaseUntil == nil {
		t.Fatalf("claimed: %+v, %v", held, err)
	}
	if left := time.Until(*held.LeaseUntil); left < 9*time.Minute || left > 11*time.Minute {
		t.Errorf("the lease lasts %s", left)
	}
	_, err = bob.ProgressTask(ctx, open.ID, held.Lease, "Half of them.")
	check(t, err)
	done, err := bob.CompleteTask(ctx, open.ID, held.Lease, "Seventeen.")
	if err != nil || done.Status != "completed" || done.ClaimantID != held.ClaimantID {
		t.Errorf("completed: %+v, %v", done, err)
	}
	read, err := ada.ReadTask(ctx, open.ID)
	if err != nil || len(read.History) != 4 || read.History[3].Kind != "completed" || read.History[3].Note != "Seventeen." || read.History[3].AgentID != held.ClaimantID {
		t.Errorf("read: %+v, %v", read, err)
	}
}
