package server_test

import (
	"context"
	"fmt"
	"slices"
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

// movable is a clock that a test moves.
type movable struct{ at atomic.Int64 }

func (c *movable) set(t time.Time) { c.at.Store(t.UnixMicro()) }
func (c *movable) now() time.Time  { return time.UnixMicro(c.at.Load()).UTC() }

func eachWithClock(t *testing.T, fn func(t *testing.T, s *servertest.Server, c *movable)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			c := &movable{}
			c.set(time.Now())
			cfg := servertest.Config(t, d)
			cfg.Clock = c.now
			fn(t, servertest.Start(t, cfg), c)
		})
	}
}

// events returns the events of the named acts in their order, by "act actor".
func eventsOf(t *testing.T, s *servertest.Server) (list []store.NumberedEvent) {
	t.Helper()
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.DB.View(t.Context(), func(v *store.View) (err error) {
		list, err = v.EventsAfter(0, 10_000)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// A series holds acts of several agents and kinds. Each has its own event, leaf
// and edges, and its own time; memory knows of them when the series is answered.
func TestSeries(t *testing.T) {
	eachWithClock(t, func(t *testing.T, s *servertest.Server, c *movable) {
		ctx := context.Background()
		_, ada := s.Agent(t, "ada")
		_, bob := s.Agent(t, "bob")
		s.Community(t, ada, "pricing")
		old, err := s.Network.CreatePost.Do(ctx, ada, network.NewPost{Community: "pricing", Title: "old", Content: "old"})
		if err != nil {
			t.Fatal(err)
		}
		before := len(eventsOf(t, s))
		var post network.Post
		var comment network.Comment
		var vote network.Vote
		var carol lifecycle.Registered
		begin := c.now().Truncate(time.Second)
		turns := 0
		if err := s.Gate.Series(ctx, func(i int) {
			turns++
			c.set(begin.Add(time.Duration(i+1) * 3 * time.Second))
		},
			s.Network.CreatePost.Step(bob, network.NewPost{Community: "pricing", Title: "new", Content: "new @ada"}, func(p network.Post) { post = p }),
			s.Network.CreateComment.Step(bob, network.NewComment{Post: network.Named{ID: old.ID}, Content: "well"}, func(m network.Comment) { comment = m }),
			s.Network.CastVote.Step(bob, network.NewVote{Target: network.Named{ID: old.ID}, On: act.KindPost, Up: true}, func(v network.Vote) { vote = v }),
			s.Lifecycle.Register.Step(act.Principal{Source: "here"}, lifecycle.NewAgent{Name: "carol"}, func(r lifecycle.Registered) { carol = r }),
			s.Network.FollowAgent.Step(ada, "bob", nil),
		); err != nil {
			t.Fatal(err)
		}
		if turns != 5 || post.ID == 0 || comment.ID == 0 || vote.Value != 1 {
			t.Fatalf("%d turns, post %d, comment %d, vote %d", turns, post.ID, comment.ID, vote.Value)
		}
		got := eventsOf(t, s)[before:]
		want := []string{"post.create", "comment.create", "vote.cast", "agent.register", "agent.follow"}
		if len(got) != len(want) {
			t.Fatalf("%d events, want %d", len(got), len(want))
		}
		for i, e := range got {
			at := begin.Add(time.Duration(i+1) * 3 * time.Second)
			if e.Act != want[i] || e.At != at.UnixMicro() {
				t.Errorf("event %d is %s at %s, want %s at %s", i, e.Act, act.FromMicros(e.At), want[i], at)
			}
		}
		if comment.CreatedAt != begin.Add(6*time.Second).UnixMicro() || !comment.ID.Time().Equal(begin.Add(6*time.Second)) {
			t.Errorf("the comment is of %s, its id of %s; want %s", act.FromMicros(comment.CreatedAt), comment.ID.Time(), begin.Add(6*time.Second))
		}
		// The new agent can act at once, and what was made can be read.
		p, err := s.Identity.Authenticate(ctx, carol.Key)
		if err != nil {
			t.Fatal(err)
		}
		read, err := s.Network.ReadPost.Do(ctx, p, network.Named{ID: post.ID})
		if err != nil || read.Title != "new" {
			t.Errorf("read the new post: %q, %v", read.Title, err)
		}
		home, err := s.Network.ReadHome.Do(ctx, ada, network.Nothing{})
		if err != nil || home.Unread != 3 || home.Following != 1 { // a mention, a comment, an upvote
			t.Errorf("ada has %d unread and follows %d, want 3 and 1: %v", home.Unread, home.Following, err)
		}
	})
}

// Of a series of which one step cannot be done nothing is stored. The step is on
// record as refused, in the name of its own agent, and no other.
func TestSeriesIsAllOrNothing(t *testing.T) {
	eachWithClock(t, func(t *testing.T, s *servertest.Server, _ *movable) {
		ctx := context.Background()
		_, ada := s.Agent(t, "ada")
		_, bob := s.Agent(t, "bob")
		s.Community(t, ada, "pricing")
		operator, err := s.Identity.Authenticate(ctx, s.Token)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lifecycle.Pause.Do(ctx, operator, lifecycle.Order{Agent: bob.ID, Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		var none [3]int
		post := func(p act.Principal, title string) gate.Step {
			return s.Network.CreatePost.Step(p, network.NewPost{Community: "pricing", Title: title, Content: title}, func(network.Post) { none[0]++ })
		}
		for _, try := range []struct {
			name  string
			steps []gate.Step
			code  act.Code
			event string // of the refusal, in the end
			actor act.ID
		}{
			{"refused by standing", []gate.Step{post(ada, "one"), post(bob, "two"), post(ada, "three")}, act.Denied, "post.create", bob.ID},
			{"a conflict found in the transaction", []gate.Step{
				post(ada, "four"),
				s.Network.CreateCommunity.Step(ada, network.NewCommunity{Name: "pricing"}, nil),
				post(ada, "five"),
			}, act.Conflict, "community.create", ada.ID},
			{"a name that is taken", []gate.Step{
				post(ada, "six"),
				s.Lifecycle.Register.Step(act.Principal{Source: "here"}, lifecycle.NewAgent{Name: "AD4"}, nil),
				s.Lifecycle.Register.Step(act.Principal{Source: "here"}, lifecycle.NewAgent{Name: "ad4"}, nil),
			}, act.Conflict, "agent.register", 0},
			{"aimed at nothing", []gate.Step{
				post(ada, "seven"),
				s.Network.CreateComment.Step(ada, network.NewComment{Post: network.Named{ID: ada.ID}, Content: "x"}, nil),
			}, act.NotFound, "comment.create", ada.ID},
		} {
			before := len(eventsOf(t, s))
			err := s.Gate.Series(ctx, func(int) {}, try.steps...)
			if act.CodeOf(err) != try.code {
				t.Errorf("%s: %v, want %s", try.name, err, try.code)
			}
			s.Gate.Flush()
			var told []string
			for _, e := range eventsOf(t, s)[before:] {
				told = append(told, fmt.Sprint(e.Act, " ", e.Actor, " ", e.Outcome != 0))
			}
			if want := []string{fmt.Sprint(try.event, " ", try.actor, " ", true)}; !slices.Equal(told, want) {
				t.Errorf("%s: on record is %q, want %q", try.name, told, want)
			}
		}
		page, err := s.Network.ReadFeed.Do(ctx, ada, network.FeedQuery{Community: "pricing", Sort: network.FeedNew})
		if err != nil || len(page.Items) != 0 || none != [3]int{} {
			t.Errorf("%d posts are stored of series that failed, %v told: %v", len(page.Items), none, err)
		}
	})
}

// A commit that fails or whose answer is lost fails the whole series as
// unavailable; what is stored is whole.
func TestSeriesWithoutStorage(t *testing.T) {
	eachFaulty(t, func(t *testing.T, s *servertest.Server, fault *atomic.Pointer[func(store.Step) error]) {
		ctx := context.Background()
		_, ada := s.Agent(t, "ada")
		s.Community(t, ada, "pricing")
		for n, step := range []store.Step{store.StepBegin, store.StepStatement, store.StepCommit, store.StepCommitted} {
			var steps []gate.Step
			for i := range 3 {
				steps = append(steps, s.Network.CreatePost.Step(ada, network.NewPost{Community: "pricing", Title: fmt.Sprint(step, i), Content: "c"}, nil))
			}
			fault.Store(failAt(step))
			err := s.Gate.Series(ctx, func(int) {}, steps...)
			fault.Store(nil)
			if act.CodeOf(err) != act.Unavailable {
				t.Errorf("%s: %v, want unavailable", step, err)
			}
			page, err := s.Network.ReadFeed.Do(ctx, ada, network.FeedQuery{Community: "pricing", Sort: network.FeedNew})
			want := 0
			if step == store.StepCommitted {
				want = 3
			}
			if err != nil || len(page.Items) != want || want > 0 && !strings.HasPrefix(page.Items[0].Title, step.String()) {
				t.Errorf("%d %s: %d posts, want %d: %v", n, step, len(page.Items), want, err)
			}
		}
	})
}
