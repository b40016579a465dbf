package server_test

import (
	"errors"
	"slices"
	"strings"
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

// T65: where a network wants two persons, an admin with every role can do nothing alone
// that loosens policy, opens messages, lets what is held be dropped or erased, or touches
// the record and its key. Each attempt is on record, and under a checkpoint.
func TestT65_OneAdminAloneClearsNothing(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.TwoPerson = true
	s := servertest.Start(t, cfg)
	ctx := t.Context()
	eve := person(t, s, "eve", gate.OperatorAdmin|gate.OperatorApprover|gate.OperatorResponder|gate.OperatorAuditor)
	_, ada := s.Agent(t, "ada")
	_, bob := s.Agent(t, "bob")
	post, err := s.Network.CreatePost.Do(ctx, ada, network.NewPost{Community: "general", Title: "T", Content: "what eve did"})
	if err != nil {
		t.Fatal(err)
	}
	talk, err := s.Network.RequestConversation.Do(ctx, ada, network.NewRequest{To: "bob", Text: "Have you seen what eve did to the prices?"})
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Audit.PlaceHold.Do(ctx, bossOf(t, s), audit.HoldOrder{Thing: ada.ID, Reason: "a claim"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tree.Integrate(ctx); err != nil {
		t.Fatal(err)
	}
	first, policies := recordOf(t, s), s.Policy.Version()

	// What waits for somebody else, whom she cannot be.
	for name, try := range map[string]func() error{
		"loosen policy": func() error {
			_, err := s.Policies.Activate.Do(ctx, eve, policy.Proposal{Draft: votes("all"), Reason: "it is better so"})
			return err
		},
		"bring an earlier policy back": func() error {
			_, err := s.Policies.Revert.Do(ctx, eve, policy.Reversal{Version: policies, Reason: "it was better"})
			return err
		},
		"read messages": func() error {
			_, err := s.Network.Inspect.Do(ctx, eve, network.NewInspection{Conversation: talk.Conversation, Reason: "I want to know"})
			return err
		},
		"shorten what is kept": func() error {
			_, err := s.Audit.SetRetention.Do(ctx, eve, audit.TermOrder{Term: "closed", Days: 30, Reason: "it is too much"})
			return err
		},
		"let retention go on": func() error {
			_, err := s.Audit.ReleaseHold.Do(ctx, eve, audit.ReleaseOrder{N: h.N, Reason: "it is over"})
			return err
		},
	} {
		err := try()
		waits, held := errors.AsType[*gate.Pending](err)
		if !held {
			t.Fatalf("%s: it does not wait for anybody: %v", name, err)
		}
		if _, err := s.Lifecycle.Approve(ctx, eve, gate.Key{}, lifecycle.Verdict{Approval: waits.Approval, Reason: "mine"}); act.AsError(err).Rule != "two-persons" {
			t.Errorf("%s: approved by who asked: %v", name, err)
		}
	}
	// What nobody can, while it is held.
	if _, err := s.Network.Erase(ctx, eve, gate.Key{}, network.Examination{Item: network.Named{ID: post.ID}, On: act.KindPost, Reason: "gone"}); act.AsError(err).Rule != "legal-hold" {
		t.Errorf("what is held was erased: %v", err)
	}
	// What she can alone changes neither the record nor its key.
	if _, err := s.Issuer.Rotate.Do(ctx, eve, identity.Rotation{Reason: "another key"}); err != nil {
		t.Errorf("rotate the issuer's key: %v", err)
	}
	if err := s.Housekeep(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Policy.Version() != policies {
		t.Errorf("policies %d are in force, %d were", s.Policy.Version(), policies)
	}
	if list, err := s.Audit.ListHolds.Do(ctx, eve, audit.HoldQuery{}); err != nil || len(list.Items) != 1 || list.Items[0].ReleasedAt != 0 {
		t.Errorf("the hold: %+v %v", list, err)
	}
	if text, err := s.Network.ReadPost.Do(ctx, bob, network.Named{ID: post.ID}); err != nil || text.Content != "what eve did" {
		t.Errorf("the post: %+v %v", text, err)
	}
	// On record, each of them, and anchored: the log goes on from what was kept before.
	if err := s.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Tree.Integrate(ctx); err != nil {
		t.Fatal(err)
	}
	last := recordOf(t, s)
	if last.Key != first.Key || last.Last.Size <= first.Last.Size {
		t.Errorf("the record was %+v and is %+v", first, last)
	}
	count := map[string]int64{}
	page, err := s.Audit.Query.Do(ctx, bossOf(t, s), audit.Inquiry{Name: "operators", Narrowed: audit.Filter{Actor: eve.ID}, To: act.Micros(time.Now().Add(time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range page.Items {
		count[a.Act+" "+a.Outcome+" "+a.Rule] += max(1, a.Count)
		if a.Seq > last.Last.Size {
			t.Errorf("act %d is under no checkpoint", a.Seq)
		}
	}
	for what, want := range map[string]int64{"approval.hold done ": 5, "approval.approve denied two-persons": 5, "content.erase denied legal-hold": 1, "key.rotate done ": 1} {
		if count[what] != want {
			t.Errorf("%s is on record %d times, want %d (%v)", what, count[what], want, count)
		}
	}
	// And somebody else can.
	_, err = s.Audit.ReleaseHold.Do(ctx, bossOf(t, s), audit.ReleaseOrder{N: h.N, Reason: "it is settled"})
	waits, held := errors.AsType[*gate.Pending](err)
	if !held {
		t.Fatalf("a release by the other: %v", err)
	}
	if a, err := s.Lifecycle.Approve(ctx, eve, gate.Key{}, lifecycle.Verdict{Approval: waits.Approval, Reason: "I have looked"}); err != nil || a.State != lifecycle.ApprovalExecuted {
		t.Errorf("released by two: %+v %v", a.State, err)
	}
	// No other act of auditors changes anything, so none can drop what is on record.
	for _, a := range s.Gate.Acts() {
		if strings.HasPrefix(a.Name, "audit.") && a.Write && !slices.Contains([]string{"audit.hold", "audit.release", "audit.define", "audit.withdraw"}, a.Name) {
			t.Errorf("%s writes what only the record's own keeping should", a.Name)
		}
	}
}

func recordOf(t *testing.T, s *servertest.Server) (st audit.State) {
	t.Helper()
	if err := s.DB.View(t.Context(), func(v *store.View) (err error) { st, err = s.Tree.Current(v); return err }); err != nil {
		t.Fatal(err)
	}
	return st
}
