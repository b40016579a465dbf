package server_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// instance makes an agent of a class that has enrolled its key.
func instance(t *testing.T, s *servertest.Server, api *client.Client, class, name string) act.Principal {
	t.Helper()
	made, err := api.RequestAgent(t.Context(), client.NewInstance{Name: name, Class: class, Owner: "team", Reason: "to read"})
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.PrivateFrom(private)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Enroll(t.Context(), client.Enrolling{URL: s.URL, Token: made.EnrollmentToken, Name: name, Key: key, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	info, err := api.Agent(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.Codec.ParseKind(info.ID, act.KindAgent)
	if err != nil {
		t.Fatal(err)
	}
	return act.Principal{Kind: act.Agent, ID: id, Name: name}
}

// vault is a network with places of two classifications and agents of a class that may
// see both.
type vault struct {
	*servertest.Server
	api    *client.Client
	agents []act.Principal
	hops   int // items made, for their texts
}

const cleared = 7

func newVault(t *testing.T, s *servertest.Server) *vault {
	t.Helper()
	api, err := client.New(s.URL, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	x := &vault{Server: s, api: api}
	if _, err := api.PutClass(t.Context(), "analyst", json.RawMessage(`{"model":"m","grant":{"clearance":"confidential"}}`)); err != nil {
		t.Fatal(err)
	}
	_, founder := s.Agent(t, "founder")
	for _, name := range []string{"vault", "annex"} {
		s.Community(t, founder, name)
		if err := api.Classify(t.Context(), name, "confidential", "what is said here stays here"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range cleared {
		x.agents = append(x.agents, instance(t, s, api, "analyst", fmt.Sprint("analyst-", i)))
	}
	return x
}

func (x *vault) post(t *testing.T, p act.Principal, place string) (network.Post, error) {
	t.Helper()
	x.hops++
	return x.Network.CreatePost.Do(t.Context(), p, network.NewPost{Community: place, Title: fmt.Sprint("note ", x.hops), Content: "what I know"})
}

// hand lets one agent tell another what it knows, by one of five ways, and the other read it.
func (x *vault) hand(t *testing.T, way int, from, to act.Principal) (thing string) {
	t.Helper()
	ctx := t.Context()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("from %s to %s by way %d: %v", from.Name, to.Name, way, err)
		}
	}
	switch way % 5 {
	case 0:
		post, err := x.post(t, from, "annex")
		fail(err)
		_, err = x.Network.ReadPost.Do(ctx, to, network.Named{ID: post.ID})
		fail(err)
		return "post"
	case 1:
		post, err := x.post(t, x.agents[cleared-1], "annex")
		fail(err)
		_, err = x.Network.CreateComment.Do(ctx, from, network.NewComment{Post: network.Named{ID: post.ID}, Content: "it is so"})
		fail(err)
		page, err := x.Network.ListComments.Do(ctx, to, network.CommentQuery{Post: network.Named{ID: post.ID}, Sort: network.CommentsNew})
		fail(err)
		if len(page.Items) == 0 {
			t.Fatal("the comment is not seen")
		}
		return "comment"
	case 2, 4:
		x.hops++
		task, err := x.Network.PostTask.Do(ctx, from, network.NewTask{To: to.Name, Title: fmt.Sprint("task ", x.hops), Body: "know this"})
		fail(err)
		if way%5 == 4 { // taken without being read: the answer has it
			_, err = x.Network.ClaimTask.Do(ctx, to, network.TaskClaim{Task: task.ID})
			fail(err)
			return "claim"
		}
		_, err = x.Network.ReadTask.Do(ctx, to, task.ID)
		fail(err)
		return "task"
	default:
		if _, err := x.Network.RequestConversation.Do(ctx, from, network.NewRequest{To: to.Name, Text: "there is something to know"}); err != nil {
			if act.CodeOf(err) == act.Denied {
				fail(err)
			}
			return x.hand(t, 2, from, to) // they talk already
		}
		page, err := x.Network.ListRequests.Do(ctx, to, network.ConversationQuery{})
		fail(err)
		if len(page.Items) == 0 {
			t.Fatal("the request is not seen")
		}
		return "message"
	}
}

// clear takes every label away.
func (x *vault) clear(t *testing.T) {
	t.Helper()
	for {
		page, err := x.api.Taints(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) == 0 {
			return
		}
		for _, one := range page.Items {
			if _, err := x.api.Declassify(t.Context(), one.ID, "the next chain begins"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A secret is read, handed from agent to agent by steps that are all allowed, and said in
// public by the last: that step is denied, and the denial names the whole path.
func TestT28_ChainsOfAllowedSteps(t *testing.T) {
	shapes := 6
	if os.Getenv("REEF_SOAK") != "" {
		shapes = 50
	}
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		x := newVault(t, s)
		r := mathrand.New(mathrand.NewPCG(28, 6)) //nolint:gosec // a reproducible choice of shapes
		for shape := range shapes {
			length := 2 + shape%5
			secret, err := x.post(t, x.agents[cleared-1], "vault")
			if err != nil {
				t.Fatal(err)
			}
			x.clear(t)
			if _, err := x.Network.ReadPost.Do(t.Context(), x.agents[0], network.Named{ID: secret.ID}); err != nil {
				t.Fatal(err)
			}
			ways := []string{}
			for hop := 1; hop < length; hop++ {
				ways = append(ways, x.hand(t, r.IntN(5), x.agents[hop-1], x.agents[hop]))
			}
			last := x.agents[length-1]
			_, err = x.post(t, last, "general")
			e := act.AsError(err)
			if err == nil || e.Code != act.Denied || e.Rule != "no-write-down" {
				t.Fatalf("a chain of %v ends with %v, want a denial by no-write-down", ways, err)
			}
			if want := s.Codec.String(secret.ID); !strings.Contains(e.Hint, want) || strings.Count(e.Hint, "which came of") != length-1 {
				t.Fatalf("a chain of %v to %s is told as %q", ways, want, e.Hint)
			}
		}
	})
}

// Labels are in force before the bytes leave, outlive the process, are seen by who has
// them, and go by an operator's word alone.
func TestT29_LabelsStayAndAreCleared(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			s := servertest.Open(t, cfg)
			x := newVault(t, s)
			reader, other := x.agents[0], x.agents[1]
			_, stranger := s.Agent(t, "stranger")
			secret, err := x.post(t, other, "vault")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.Network.ReadPost.Do(t.Context(), stranger, network.Named{ID: secret.ID}); act.CodeOf(err) == act.Internal || err == nil {
				t.Fatalf("who is not cleared reads: %v", err)
			}
			if _, err := x.post(t, reader, "general"); err != nil {
				t.Fatalf("who has read nothing cannot write: %v", err)
			}
			if _, err := x.Network.ReadPost.Do(t.Context(), reader, network.Named{ID: secret.ID}); err != nil {
				t.Fatal(err)
			}
			s.Stop()
			s = servertest.Start(t, cfg)
			x.Server = s
			if x.api, err = client.New(s.URL, s.Token); err != nil {
				t.Fatal(err)
			}
			if _, err := x.post(t, reader, "general"); act.AsError(err).Rule != "no-write-down" {
				t.Fatalf("after a restart: %v", err)
			}
			own, err := s.Labels.Own.Do(t.Context(), reader, struct{}{})
			if err != nil || own.Secrecy != gate.Confidential || len(own.Taint.Path) != 1 || own.Taint.Path[0].ID != secret.ID {
				t.Fatalf("its own labels are %+v (%v)", own, err)
			}
			made, err := x.post(t, reader, "annex") // where as much may be read
			if err != nil {
				t.Fatal(err)
			}
			shown, err := x.api.Labels(t.Context(), s.Codec.String(made.ID))
			if err != nil || shown.Confidentiality != "confidential" || shown.Taint == nil {
				t.Fatalf("what it writes is labelled %+v (%v)", shown, err)
			}
			if _, err := s.Labels.Clear.Do(t.Context(), reader, provenance.TaintOrder{Subject: reader.ID, Reason: "I say so"}); act.CodeOf(err) != act.Denied {
				t.Fatalf("an agent clears itself: %v", err)
			}
			id := s.Codec.String(reader.ID)
			if a := s.Call(t, http.MethodPost, "/v1/taints/"+id+"/clear", s.Token, map[string]string{"reason": "it has forgotten"}); a.Status != http.StatusOK {
				t.Fatalf("clear: %d %s", a.Status, a.Raw)
			}
			if _, err := x.post(t, reader, "general"); err != nil {
				t.Fatalf("after it was cleared: %v", err)
			}
			var rows int64
			if err := s.DB.View(t.Context(), func(v *store.View) error {
				_, err := v.One(`SELECT COUNT(*) FROM event WHERE act = 'taint.clear' AND outcome = 0`, func(r *store.Row) error { rows = r.Int(0); return nil })
				return err
			}); err != nil || rows != 1 {
				t.Fatalf("clearing left %d rows on record (%v), want 1", rows, err)
			}
			// What it came from is kept, and grows with what is confidential already.
			third, err := x.post(t, x.agents[2], "vault")
			if err != nil {
				t.Fatal(err)
			}
			// It is shown the same again, and has read it again.
			if _, err := x.Network.ReadPost.Do(t.Context(), reader, network.Named{ID: secret.ID}); err != nil {
				t.Fatal(err)
			}
			if _, err := x.post(t, reader, "general"); act.AsError(err).Rule != "no-write-down" {
				t.Fatalf("after reading it again: %v", err)
			}
			from := func(subject, origin act.ID) bool {
				t.Helper()
				of, err := s.Labels.Show.Do(t.Context(), operator(t, s), provenance.TaintQuestion{Subject: subject, Origin: origin})
				if err != nil || of.Taint.Origins.Error() != 0 {
					t.Fatalf("origins: %v %v", of.Taint.Origins, err)
				}
				return of.Among
			}
			if !from(reader.ID, other.ID) || from(reader.ID, x.agents[2].ID) {
				t.Error("its origins are not who it has read")
			}
			if _, err := x.Network.ReadPost.Do(t.Context(), reader, network.Named{ID: third.ID}); err != nil {
				t.Fatal(err)
			}
			if made, err = x.post(t, reader, "annex"); err != nil {
				t.Fatal(err)
			}
			last := x.agents[3]
			if _, err := x.Network.ReadPost.Do(t.Context(), last, network.Named{ID: made.ID}); err != nil {
				t.Fatal(err)
			}
			for _, subject := range []act.ID{reader.ID, made.ID, last.ID} {
				if !from(subject, other.ID) || !from(subject, x.agents[2].ID) || from(subject, stranger.ID) || subject != reader.ID && !from(subject, reader.ID) {
					t.Errorf("the origins of %s are wrong", s.Codec.String(subject))
				}
			}
			if own, err := s.Labels.Own.Do(t.Context(), reader, struct{}{}); err != nil || len(own.Taint.Path) != 1 {
				t.Errorf("the path that explains it is %v (%v)", own.Taint.Path, err)
			}
		})
	}
}

// What an operator flags spreads to who is shown it then, and to what they make; they
// command nobody, and others go on.
func TestT23_FlaggedContentGivesNoAuthority(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		api, err := client.New(s.URL, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		_, writer := s.Agent(t, "writer")
		_, reader := s.Agent(t, "reader")
		_, second := s.Agent(t, "second")
		_, bystander := s.Agent(t, "bystander")
		x := &vault{Server: s, api: api}
		bait, err := x.post(t, writer, "general")
		if err != nil {
			t.Fatal(err)
		}
		read := func(p act.Principal, id act.ID) {
			t.Helper()
			if _, err := s.Network.ReadPost.Do(t.Context(), p, network.Named{ID: id}); err != nil {
				t.Fatal(err)
			}
		}
		read(second, bait.ID) // before it is flagged
		if _, err := api.Flag(t.Context(), s.Codec.String(bait.ID), "it gives orders"); err != nil {
			t.Fatal(err)
		}
		read(reader, bait.ID)
		echo, err := x.post(t, reader, "general")
		if err != nil {
			t.Fatalf("who was shown it writes: %v", err)
		}
		read(second, echo.ID)
		for _, p := range []act.Principal{reader, second} {
			_, err := s.Network.PostTask.Do(t.Context(), p, network.NewTask{To: "bystander", Title: "do this", Body: "at once"})
			if act.AsError(err).Rule != "flagged" {
				t.Fatalf("%s hands out a task: %v", p.Name, err)
			}
		}
		if _, err := s.Network.PostTask.Do(t.Context(), bystander, network.NewTask{To: "writer", Title: "do this", Body: "some time"}); err != nil {
			t.Fatalf("who was shown nothing of it: %v", err)
		}
	})
}

// An answer that is asked for again under its idempotency key holds what others have said
// meanwhile: it clings to who is answered, and is on record, before it leaves.
func TestT28_RepeatedAnswersRaise(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		api, err := client.New(s.URL, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		_, poster := s.Agent(t, "poster")
		_, taker := s.Agent(t, "taker")
		task, err := s.Network.PostTask.Do(t.Context(), poster, network.NewTask{To: "taker", Title: "do this", Body: "some time"})
		if err != nil {
			t.Fatal(err)
		}
		claim := func() network.Task {
			t.Helper()
			out, err := s.Network.ClaimTask.DoOnce(t.Context(), taker, gate.Key{Name: "once"}, network.TaskClaim{Task: task.ID})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		claim()
		if l, _ := s.Labels.InForce(taker.ID); l.Integrity == gate.Flagged {
			t.Fatal("it is flagged for nothing")
		}
		if _, err := api.Flag(t.Context(), s.Codec.String(task.ID), "it gives orders"); err != nil {
			t.Fatal(err)
		}
		if again := claim(); again.Body != task.Body || again.Lease != 1 {
			t.Fatalf("the answer again is %+v", again)
		}
		if l, _ := s.Labels.InForce(taker.ID); l.Integrity != gate.Flagged {
			t.Errorf("who is answered is %s", l.Integrity)
		}
		if err := s.DB.View(t.Context(), func(v *store.View) error {
			x, found, err := provenance.Exposed(v, taker.ID, task.ID)
			if err == nil && (!found || x.Channel != "task.claim") {
				t.Errorf("it is not on record that it was shown: %+v", x)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// A role's prompt is told to nobody who is not cleared for where it comes from, and clings
// to those who are.
func TestT28_BriefingsStayBelowClearance(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		x := newVault(t, s)
		ctx := t.Context()
		_, mod := s.Agent(t, "mona")
		_, plain := s.Agent(t, "plain")
		analyst := x.agents[0]
		s.Community(t, mod, "pricing")
		role, err := s.Network.DefineLabel.Do(ctx, mod, network.NewLabel{Community: "pricing", Key: "watch", Name: "Night watch", Color: "red", Kind: "role"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []act.Principal{plain, analyst} {
			if _, err := s.Network.AttachLabel.Do(ctx, mod, network.NewAttachment{
				Label: role.ID, Target: network.Named{ID: p.ID}, On: act.KindAgent, Placement: network.PlaceMetadata,
			}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = s.Network.PromptRole.Do(ctx, mod, network.NewPrompt{Label: role.ID, Text: "the margin is nine"})
		waits, ok := errors.AsType[*gate.Pending](err)
		if !ok {
			t.Fatalf("the prompt does not wait: %v", err)
		}
		if _, err := s.Lifecycle.Approve(ctx, operator(t, s), gate.Key{}, yes(waits.Approval)); err != nil {
			t.Fatal(err)
		}
		told := func(p act.Principal, want int) {
			t.Helper()
			list, err := s.Network.TakeBriefings.Do(ctx, p, network.Nothing{})
			if err != nil || len(list) != want {
				t.Fatalf("%s is told %d prompts, want %d (%v)", p.Name, len(list), want, err)
			}
		}
		if err := x.api.Classify(ctx, "pricing", "confidential", "what is said here stays here"); err != nil {
			t.Fatal(err)
		}
		told(plain, 0)
		told(analyst, 1)
		if l, _ := s.Labels.InForce(analyst.ID); l.Secrecy != gate.Confidential {
			t.Errorf("who was told is %s", l.Secrecy)
		}
		if err := x.api.Classify(ctx, "pricing", "unclassified", "it is out"); err != nil {
			t.Fatal(err)
		}
		told(plain, 1)
	})
}

// Who is labelled does with things what everybody may. What others said, where they say it
// and they themselves are not labelled by who votes, joins, follows or reports, else one
// flagged agent could flag everything.
func TestT29_LabelledAgentsTouchThings(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		api, err := client.New(s.URL, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		_, writer := s.Agent(t, "writer")
		_, other := s.Agent(t, "other")
		if _, err := api.Flag(t.Context(), s.Codec.String(writer.ID), "it repeats what it reads"); err != nil {
			t.Fatal(err)
		}
		write := func(p act.Principal) act.ID {
			t.Helper()
			post, err := s.Network.CreatePost.Do(t.Context(), p, network.NewPost{Community: "general", Title: "news", Content: "of today by " + p.Name})
			if err != nil {
				t.Fatal(err)
			}
			return post.ID
		}
		own, others := write(writer), write(other)
		comment, err := s.Network.CreateComment.Do(t.Context(), writer, network.NewComment{Post: network.Named{ID: own}, Content: "and more"})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := s.Network.CastVote.Do(t.Context(), writer, network.NewVote{On: act.KindPost, Target: network.Named{ID: others}, Up: true}); err != nil {
				t.Errorf("a vote: %v", err)
			}
		}
		joined, err := s.Network.Subscribe.Do(t.Context(), writer, "general")
		if err != nil {
			t.Errorf("a subscription: %v", err)
		}
		if _, err := s.Network.FollowAgent.Do(t.Context(), writer, other.Name); err != nil {
			t.Errorf("a follow: %v", err)
		}
		if _, err := s.Network.ReportContent.Do(t.Context(), writer, network.NewReport{On: act.KindPost, Target: network.Named{ID: others}, Reason: "it is wrong"}); err != nil {
			t.Errorf("a report: %v", err)
		}
		if _, err := s.Network.DeleteComment.Do(t.Context(), writer, network.Named{ID: comment.ID}); err != nil {
			t.Errorf("a comment is not deleted: %v", err)
		}
		if _, err := s.Network.DeletePost.Do(t.Context(), writer, network.Named{ID: own}); err != nil {
			t.Errorf("a post is not deleted: %v", err)
		}
		if err := s.DB.View(t.Context(), func(v *store.View) error {
			for id, want := range map[act.ID]gate.Integrity{own: gate.Flagged, comment.ID: gate.Flagged, others: 0, other.ID: 0, joined.Place.ID: 0} {
				if l, err := s.Labels.On(v, id); err != nil || l.Integrity != want {
					t.Errorf("%s is labelled %+v, %v, want %s", id.Kind(), l, err, want)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
